"""The data sets that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from emnet.data.table import Table

NAMES = ("iris", "wine", "breast_cancer", "digits")


def load_bundled(name: str) -> Table:
    """One of `NAMES`, with the classes by name."""
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{name}")()
    labels = np.asarray([str(label) for label in bunch.target_names])[bunch.target]
    return Table(name, bunch.data.astype(np.float64), labels, tuple(map(str, bunch.feature_names)), "target")
