"""What linear Gaussian models need of their rows before they learn: fewer rows, second moments, a start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emnet.factors.factor_analysis import principal, principal_axes
from emnet.statistics import Moments

_LEAST_SHARE = 1e-3  # of the mean variance, that a direction has at the start
_WORTHWHILE = 4  # times as many rows as columns, of a pattern of holes


def condensed(X: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fewer rows that are the same to a linear Gaussian model: of a pattern of holes two for each column, with weights.

    Rows of one pattern enter evidence and statistics by their weight w, mean m and covariance Σ_i λ_i u_i u_iᵀ alone,
    and the o columns' 2o rows m ± √(o λ_i) u_i of weight w/2o have the same three.
    """
    observed = ~np.isnan(X)
    patterns, which = np.unique(observed, axis=0, return_inverse=True)
    which = which.ravel()
    many = np.bincount(which, minlength=len(patterns)) > _WORTHWHILE * np.maximum(patterns.sum(axis=1), 1)
    kept = ~many[which]
    parts = [(X[kept], weights[kept])]
    for i in np.flatnonzero(many):
        own = which == i
        parts.append(_condensed(X[own], weights[own], patterns[i]))
    rows, of_rows = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(of_rows)


def _condensed(X: np.ndarray, weights: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one pattern; of no column, one row."""
    o, total = int(observed.sum()), weights.sum()
    if o == 0:
        return X[:1], np.array([total])
    values = X[:, observed]
    mean = weights @ values / total
    away = values - mean
    variances, axes = np.linalg.eigh((away * (weights / total)[:, None]).T @ away)
    rows = np.full((2 * o, X.shape[1]), np.nan)
    rows[:, observed], of_rows = rows_with(mean, variances, axes, total)
    return rows, of_rows


def rows_with(mean: np.ndarray, variances: np.ndarray, axes: np.ndarray, total: float) -> tuple[np.ndarray, np.ndarray]:
    """Two rows for each column, and their weights, that have this mean, variances along these axes, and weight."""
    o = len(mean)
    steps = np.sqrt(o * np.maximum(variances, 0.0))[:, None] * axes.T
    return np.concatenate((mean + steps, mean - steps)), np.full(2 * o, total / (2 * o))


@dataclass(frozen=True, eq=False)
class PairSums(Moments):
    """Σ w and Σ w x xᵀ, (d, d), each entry over the rows that have both columns; and how many cells are missing."""

    mass: Tensor
    products: Tensor
    holes: Tensor  # (1,)

    @property
    def weight(self) -> Tensor:
        """Of the rows that have the column that most rows have."""
        return self.mass.diagonal().max()


def pair_sums(X: np.ndarray, weights: np.ndarray) -> PairSums:
    seen = (~np.isnan(X)).astype(float)
    values, share = np.nan_to_num(X), seen * weights[:, None]
    parts = share.T @ seen, (values * weights[:, None]).T @ values, np.array([X.size - seen.sum()])
    return PairSums(*map(torch.from_numpy, parts))


def of_whole_rows(sums: PairSums) -> tuple[np.ndarray, np.ndarray]:
    """Rows and weights with the second moments of centered rows without holes."""
    variances, axes = torch.linalg.eigh(sums.products / sums.weight)
    return rows_with(np.zeros(len(axes)), variances.numpy(), axes.numpy(), float(sums.weight))


def second_moments(sums: PairSums) -> Tensor:
    """E[x xᵀ], (d, d), each entry over the rows that have both columns, 0 where none has.

    What pairs of columns say together need be the covariance of nothing: eigenvalues are then lifted above 0.
    """
    moments = sums.products / torch.where(sums.mass > 0, sums.mass, 1.0)
    if not float(sums.holes):
        return moments
    strengths, axes = torch.linalg.eigh(moments)
    return (axes * strengths.clamp_min(_LEAST_SHARE * strengths.mean())) @ axes.mT


def rank(covariance: Tensor) -> int:
    """Directions in which the rows vary."""
    values = torch.linalg.eigvalsh(covariance)
    return int((values > len(covariance) * torch.finfo(values.dtype).eps * values[-1].abs()).sum())


def start(covariance: Tensor, q: int, noise: Tensor | None, shared: bool) -> tuple[Tensor, Tensor]:
    """Loadings, (d, q), and noise, (1,) or (d,): of `shared` noise and no holes the maximum (Tipping & Bishop 1999).

    With `noise` given, (1,) or (d,), the loadings are the best for it.
    """
    if noise is not None:
        root = noise.sqrt().expand(len(covariance))
        loadings, _ = principal_axes((covariance / (root[:, None] * root))[None], q, noise.new_ones(1))
        return root[:, None] * loadings[0], noise
    if shared:
        loadings, noise = principal_axes(covariance[None], q)
        return loadings[0], noise
    loadings, noise = principal(covariance[None], q)
    return loadings[0], noise[0]
