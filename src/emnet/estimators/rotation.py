"""Rotations of loadings: one that makes them unique, and two that make them simple."""

from __future__ import annotations

import numpy as np

_MAX_ITER, _TOL = 500, 1e-9


def canonical(loadings: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Λ, (d, q), turned so that ΛᵀΨ⁻¹Λ is diagonal and falls, and each factor's largest loading is positive."""
    root = np.sqrt(noise)[:, None]  # (d, 1), or (1, 1)
    axes, strengths, _ = np.linalg.svd(loadings / root, full_matrices=False)
    turned = root * axes * strengths
    return with_positive_peaks(turned)


def with_positive_peaks(loadings: np.ndarray) -> np.ndarray:
    """The same with factors' signs such that each one's largest loading is positive."""
    peaks = loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])]
    return loadings * np.where(peaks < 0, -1.0, 1.0)


def simplified(loadings: np.ndarray, kind: str) -> np.ndarray:
    """Λ, (d, q), turned to few large loadings: "varimax" for each factor (Kaiser 1958), "quartimax" for each column."""
    d, q = loadings.shape
    share = {"varimax": 1.0, "quartimax": 0.0}[kind]
    rotation, reached = np.eye(q), 0.0
    for _ in range(_MAX_ITER):
        turned = loadings @ rotation
        target = turned**3 - share / d * turned * (turned**2).sum(axis=0)
        left, values, right = np.linalg.svd(loadings.T @ target)
        rotation, before, reached = left @ right, reached, values.sum()
        if reached <= before * (1 + _TOL):
            break
    return loadings @ rotation
