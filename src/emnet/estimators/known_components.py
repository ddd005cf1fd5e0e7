"""What a user knows of the rows' components or states: labels, −1 where they are unknown, and soft labels."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from emnet.exceptions import InvalidInputError


def tells_of_components(y: Any, n: int, k: int) -> bool:
    """Whether y is soft labels or shares of another number of components, or whole numbers with a −1 among them.

    Of −1 and 1 alone it is two classes, as ordinary targets have them.
    """
    values = _numbers(y)
    if values is None or _is_soft(values, n, k):
        return values is not None
    labels = _without_column(values)
    if labels.ndim == 2:
        return bool((labels >= 0).all() and np.allclose(labels.sum(axis=1), 1.0))
    if labels.ndim != 1 or not (_is_whole(labels).all() and (labels == -1).any()):
        return False
    return not np.array_equal(np.unique(labels), (-1, 1))


def require_labels(y: Any, n: int, k: int) -> np.ndarray:
    """Known states, (n,) with −1 for unknown, or multipliers of the states' probabilities, (n, k).

    Raises InvalidInputError for what is neither, and names the first row that is not.
    """
    values = _numbers(y)
    if values is not None and _is_soft(values, n, k):
        return _require_soft(values.astype(np.float64))
    labels = _without_column(np.asarray(y) if values is None else values)
    if labels.shape != (n,):
        raise InvalidInputError(f"y must be labels, ({n},), or soft labels, ({n}, {k}); it is {labels.shape}.")
    if values is None:
        usable = np.array([_is_number(label) for label in labels.tolist()])
    else:
        usable = _is_whole(labels) & (labels >= -1) & (labels < k)
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0])
        raise InvalidInputError(
            f"Labels must be whole numbers, −1 for unknown or a component from 0 to {k - 1}; row {row} has "
            f"{labels[row : row + 1].tolist()[0]!r}. Encode the labels, for example with np.unique(y, "
            "return_inverse=True)[1], raise n_components, or give labels=False."
        )
    return labels.astype(np.int64)


def tell_anything(labels: np.ndarray) -> np.ndarray:
    """Of which rows labels, or soft labels, say anything, (n,)."""
    return labels >= 0 if labels.ndim == 1 else labels.max(axis=1) > labels.min(axis=1)


def one_hot(labels: np.ndarray, k: int) -> np.ndarray:
    """(n,) → (n, k), 0 throughout where a label is −1."""
    return (labels[:, None] == np.arange(k)).astype(float)


def best_order(found: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Which cluster each component is, (k,), so that clusters and shares of components, (rows, k), agree best."""
    return linear_sum_assignment(shares.T @ found, maximize=True)[1]


def _numbers(y: Any) -> np.ndarray | None:
    """y as numbers or booleans, None if there is anything else in it: text is no number, whatever it says."""
    values = np.asarray(y)
    if values.dtype.kind == "O" and all(map(_is_number, values.ravel().tolist())):
        return values.astype(np.float64)
    return values if values.dtype.kind in "biuf" else None


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | np.bool_)


def _without_column(values: np.ndarray) -> np.ndarray:
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _is_soft(values: np.ndarray, n: int, k: int) -> bool:
    return values.shape == (n, k) and k > 1


def _is_whole(labels: np.ndarray) -> np.ndarray:
    """Which are whole numbers, (n,): no booleans, no NaN."""
    return (labels == np.trunc(labels)) & np.isfinite(labels) & (labels.dtype.kind != "b")


def _require_soft(labels: np.ndarray) -> np.ndarray:
    bad = ~(np.isfinite(labels) & (labels >= 0)).all(axis=1) | ~(labels > 0).any(axis=1)
    if bad.any():
        raise InvalidInputError(
            f"Soft labels must be finite, not negative and not all 0 in a row; row {int(np.flatnonzero(bad)[0])} "
            "is not. Give an unknown row the same number for each component."
        )
    return labels
