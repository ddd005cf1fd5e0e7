"""What weighted regressions ask of linear algebra: Gram matrices of rows, and solutions of nearly singular systems."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK_ELEMENTS = 2**22


def weighted_grams(design: Tensor, weights: Tensor) -> Tensor:
    """Σ_j weights_jk x_j x_jᵀ for every k, in chunks of rows: (n, p), (n, k) → (k, p, p)."""
    p = design.shape[1]
    total = design.new_zeros(weights.shape[1], p * p)
    for rows, part in zip(
        design.split(max(1, _CHUNK_ELEMENTS // p**2)), weights.split(max(1, _CHUNK_ELEMENTS // p**2)), strict=True
    ):
        total.addmm_(part.T, (rows[:, :, None] * rows[:, None, :]).flatten(1))
    return total.view(-1, p, p)


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve a positive semidefinite system; a singular one gets the smallest ridge that makes it definite."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    ridge = torch.finfo(matrix.dtype).eps * matrix.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-300)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    while bool(info.any()) and bool(torch.isfinite(ridge).all()):
        factor, info = torch.linalg.cholesky_ex(matrix + ridge[..., None, None] * identity)
        ridge = ridge * 100
    return torch.cholesky_solve(right, factor)
