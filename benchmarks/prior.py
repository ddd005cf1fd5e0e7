"""What the default prior was chosen from: precisions c·p of the hidden layer and a of the output, 30 splits."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks.results import markdown, write
from emnet import EMMLPClassifier
from emnet.data.bundled import load_bundled

_SPLITS = {"iris": 30, "wine": 30, "breast_cancer": 30, "digits": 5}
_HIDDEN = (0.002, 0.004, 0.008, 0.016, 0.032)
_OUTPUT = (0.003, 0.01, 0.03)


def test_cross_entropy(name: str, c: float, output: float) -> float:
    table = load_bundled(name)
    found = []
    for seed in range(_SPLITS[name]):
        X, X_test, y, y_test = train_test_split(table.X, table.y, test_size=0.2, random_state=seed, stratify=table.y)
        model = EMMLPClassifier(8, prior=(c * X.shape[1], output), random_state=seed).fit(X, y)
        columns = np.searchsorted(model.classes_, y_test)
        found.append(-model.predict_log_proba(X_test)[np.arange(len(y_test)), columns].mean())
    return float(np.mean(found))


def main() -> None:
    rows = [
        [name, output, *(f"{test_cross_entropy(name, c, output):.4f}" for c in _HIDDEN)]
        for name in _SPLITS
        for output in _OUTPUT
    ]
    header = ["data", "output precision", *(f"hidden {c:g}·p" for c in _HIDDEN)]
    write("prior", "Mean test CE by the prior's precisions, 8 units, three starts averaged", markdown(header, rows))
