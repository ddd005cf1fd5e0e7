"""Input that may be an array of numbers, or of words and numbers, or a data frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from emnet.data.frames import has_words, is_frame, require_frame
from emnet.data.stream import Stream
from emnet.estimators.stream_passes import example_of, without_targets
from emnet.exceptions import InvalidInputError


def check_table(estimator: Any, X: Any, reset: bool) -> Any:
    """X as it came if it is a data frame or has words, else as numbers, (n, d), NaN for what is missing.

    Of a stream, which `fit` alone takes, the columns are taken down, and what comes back is it without targets.
    Raises InvalidInputError for too few rows, and for a frame that cannot be read.
    """
    if reset and isinstance(X, Stream):
        table = example_of(X)
        if isinstance(table, np.ndarray):
            table = np.where(np.isinf(table), 0.0, table)  # the fit says in which row
        check_table(estimator, table, reset=True)
        return X.through(without_targets)
    require_frame(X)
    if not (is_frame(X) or has_words(X)):
        return validate_data(
            estimator,
            X,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
            reset=reset,
        )
    validate_data(estimator, X, skip_check_array=True, reset=reset)
    if len(X) < (2 if reset else 1):
        raise InvalidInputError(f"X has {len(X)} rows, and needs at least {2 if reset else 1}.")
    return X if is_frame(X) else np.asarray(X, dtype=object)
