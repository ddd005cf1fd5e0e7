"""Rotations in coordinates without constraints: Cayley's D = (I − S)(I + S)⁻¹, S skew."""

from __future__ import annotations

import torch
from torch import Tensor


def cayley(vector: Tensor, d: int) -> Tensor:
    """(g, d (d − 1)/2), the entries of S above its diagonal → orthogonal matrices (g, d, d)."""
    rows, columns = torch.triu_indices(d, d, 1, device=vector.device)
    upper = vector.new_zeros(len(vector), d, d)
    states = torch.arange(len(vector), device=vector.device)[:, None]
    upper = upper.index_put((states, rows[None], columns[None]), vector)
    skew, identity = upper - upper.mT, torch.eye(d, dtype=vector.dtype, device=vector.device)
    return torch.linalg.solve(identity + skew, identity - skew, left=False)


def skew_of(matrices: Tensor) -> Tensor:
    """Coordinates of orthogonal matrices (g, d, d) up to the signs of their columns: (g, d (d − 1)/2).

    S = (I − D)(I + D)⁻¹ needs I + D to be far from singular; signs chosen one after the other, so that every pivot of
    its elimination is at least 1, see to that (Ballard et al. 2015, J. Parallel Distrib. Comput. 85:3).
    """
    d = matrices.shape[1]
    signed = matrices * _signs(matrices)[:, None]
    identity = torch.eye(d, dtype=matrices.dtype, device=matrices.device)
    skew = torch.linalg.solve(identity + signed, identity - signed, left=False)
    rows, columns = torch.triu_indices(d, d, 1, device=matrices.device)
    return (0.5 * (skew - skew.mT))[:, rows, columns]


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The orthogonal D of largest tr(Dᵀ M), (d, d)."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right


def _signs(matrices: Tensor) -> Tensor:
    """Of each column, (g, d)."""
    rest, signs = matrices.clone(), torch.ones_like(matrices[:, 0])
    for j in range(matrices.shape[1]):
        pivot = rest[:, j, j]
        signs[:, j] = torch.where(pivot >= 0, 1.0, -1.0)
        column = signs[:, j, None] * rest[:, j + 1 :, j] / (1 + pivot.abs())[:, None]
        rest[:, j + 1 :, j + 1 :] -= column[:, :, None] * rest[:, j, None, j + 1 :]
    return signs
