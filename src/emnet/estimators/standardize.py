"""Centering and scaling of inputs, so that offsets of 1e9 and scales of 1e±150 are ordinary data."""

from __future__ import annotations

import numpy as np

from emnet.exceptions import InvalidInputError

_PIECE = 2**16  # rows
_LARGE_EXPONENT = 100
_LARGEST_EXPONENT = 505  # whose square, and its inverse, are still numbers


def weighted_location_scale(X: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of each column, (p,) each; a constant column has scale 1.

    NaN is left out; a column with nothing else has mean 0.
    """
    if np.isnan(X).any():
        return _of_what_is_there(X, weights)
    reach = np.abs(X).max(axis=0)
    reach[reach == 0] = 1.0
    unit = X / reach  # squares of it neither overflow nor underflow
    first = unit[0].copy()
    unit -= first  # exactly 0 in a constant column, whatever the weights round to
    share = weights / weights.sum()
    mean = share @ unit
    deviation = np.sqrt(share @ (unit - mean) ** 2)
    constant = deviation <= 10 * np.finfo(np.float64).eps
    return np.where(constant, first, first + mean) * reach, np.where(constant, 1.0, deviation * reach)


def _of_what_is_there(X: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
    for j, column in enumerate(X.T):
        seen = ~np.isnan(column)
        if seen.any():
            mean[j : j + 1], scale[j : j + 1] = weighted_location_scale(column[seen, None], weights[seen])
    return mean, scale


def center_and_scale(X: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Weighted mean of what is there of each column, (d,), and one power of two by which to divide them all.

    The power is 1 unless squares of the data would come near the ends of what numbers can hold; division by it is
    exact. A column with nothing in it has NaN for its mean. Rows are gone through in pieces: no copy of X is made.
    """
    reach = np.zeros(X.shape[1])
    for rows in _pieces(X):
        reach = np.fmax(reach, np.abs(np.where(np.isnan(X[rows]), 0.0, X[rows])).max(axis=0))
    reach[reach == 0] = 1.0
    total, mass = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for rows in _pieces(X):
        share = np.ones(len(X[rows])) if weights is None else weights[rows]
        seen = ~np.isnan(X[rows])
        total += share @ np.where(seen, X[rows] / reach, 0.0)
        mass += share @ seen
    with np.errstate(invalid="ignore"):
        mean = total / mass
    return mean * reach, common_scale(mean, reach)


def common_scale(mean: np.ndarray, reach: np.ndarray) -> float:
    """The power of two of `center_and_scale`, from the largest |x| of each column and its mean in units of that."""
    spread = float(np.nanmax((1 + np.abs(mean)) * reach))
    require_variance(spread)
    exponent = int(np.frexp(spread)[1])
    return float(np.ldexp(1.0, exponent)) if abs(exponent) > _LARGE_EXPONENT else 1.0


def require_variance(spread: float) -> None:
    """Raise InvalidInputError for data whose squares, or the inverses of these, are no numbers."""
    if abs(int(np.frexp(spread)[1])) > _LARGEST_EXPONENT:
        raise InvalidInputError(
            f"The data reach {spread:.1g}, and their variance is beyond what float64 can hold. Divide the columns by "
            "their size first."
        )


def location_scale_of_seen(X: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of what is there of each column, (d,); a constant column has scale 1."""
    share = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=float)
    columns = [(column[~np.isnan(column)], share[~np.isnan(column)]) for column in X.T]
    pairs = [weighted_location_scale(values[:, None], of_values) for values, of_values in columns]
    location, scale = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return location, scale


def _pieces(X: np.ndarray) -> list[slice]:
    return [slice(start, start + _PIECE) for start in range(0, len(X), _PIECE)]


def seen_location_scale(X: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of what is there of each column, (d,) each; 1 of a constant column."""
    reach = np.nanmax(np.abs(X), axis=0)
    reach[reach == 0] = 1.0
    unit, seen = np.nan_to_num(X / reach), ~np.isnan(X)
    share = seen * (np.ones(len(X)) if weights is None else weights)[:, None]
    mass = share.sum(axis=0)
    mean = (share * unit).sum(axis=0) / mass
    deviation = np.sqrt((share * (unit - mean) ** 2).sum(axis=0) / mass)
    return mean * reach, np.where(deviation <= 10 * np.finfo(np.float64).eps, 1.0, deviation * reach)
