"""Centring and scaling of inputs, so that offsets of 1e9 and scales of 1e±150 are ordinary data."""

from __future__ import annotations

import numpy as np


def weighted_location_scale(X: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of each column, (p,) each; a constant column has scale 1."""
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
