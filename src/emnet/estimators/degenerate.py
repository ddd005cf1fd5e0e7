"""Which components of a Gaussian mixture are flat: as thin as the floor in directions in which the data are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALL = 0.25  # share of a variance up to which a floor is small beside it
_OWN = 0.1  # share of the floor up to which a component has no variance of its own
_THIN, _WIDE = 1 + _OWN, 1 + 1 / SMALL  # of variances that have the floor in them: floors
_ROUNDING = 1e-12  # share of the columns' variances up to which a difference may be one of rounding
_NAMED = 0.5  # share of the largest part in a direction from which a column is named for it


@dataclass(frozen=True)
class Flat:
    """A component's variance along a direction in which it is flat, and the columns that have most part in that."""

    variance: float
    columns: tuple[int, ...]


def flat_components(
    weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, floor: np.ndarray
) -> dict[int, Flat]:
    """The flat components by their number.

    A component is flat along a direction where it has no variance but the floor's and the mixture as a whole has much
    more: along a column that is constant, or follows from others, the whole is as thin, and nothing is wrong.

    Parameters
    ----------
    weights, means : (k,) and (k, d).
    covariances : (k, d, d), or of diagonals (k, d).
    floor : (d,), at least 0, what the diagonals of the covariances have of what was added to them.
    """
    away = means - weights @ means
    whole = np.tensordot(weights, covariances, 1)
    if covariances.ndim == 2:
        whole = whole + weights @ away**2
        flat = (covariances <= _THIN * floor) & (whole > _WIDE * floor)
        return {
            int(i): Flat(float(covariances[i, flat[i]].min()), tuple(np.flatnonzero(flat[i]).tolist()))
            for i in np.flatnonzero(flat.any(axis=1))
        }
    whole = whole + (weights[:, None] * away).T @ away
    unit = np.sqrt(np.diagonal(whole))  # so that a column of small numbers loses no digits to one of large ones
    scaled, ratio = covariances / np.outer(unit, unit), np.diag(floor / unit**2)
    if _is_definite(scaled - _THIN * ratio):
        return {}
    wide = whole / np.outer(unit, unit) - _WIDE * ratio
    directions = {i: _flat_direction(own - _THIN * ratio, wide) for i, own in enumerate(scaled)}
    return {i: _along(direction, covariances[i], unit) for i, direction in directions.items() if direction is not None}


def _is_definite(matrices: np.ndarray) -> bool:
    """Whether all are, beyond rounding, as is mostly so, told in a tenth of the time of eigenvalues."""
    try:
        np.linalg.cholesky(matrices - _ROUNDING * np.eye(matrices.shape[-1]))
    except np.linalg.LinAlgError:
        return False
    return True


def _flat_direction(own: np.ndarray, wide: np.ndarray) -> np.ndarray | None:
    """The direction in which `wide` is largest of those in which `own` is not positive; None if it is nowhere."""
    values, axes = np.linalg.eigh(own)
    thin = axes[:, values <= _ROUNDING]
    if not thin.shape[1]:
        return None
    spread, within = np.linalg.eigh(thin.T @ wide @ thin)
    return thin @ within[:, -1] if spread[-1] > 1000 * _ROUNDING else None


def _along(direction: np.ndarray, covariance: np.ndarray, unit: np.ndarray) -> Flat:
    """Of a direction in units of the columns."""
    part, own = np.abs(direction), direction / unit
    variance = own @ covariance @ own / (own @ own)
    return Flat(float(variance), tuple(np.flatnonzero(part >= _NAMED * part.max()).tolist()))
