"""Gaussians given what is observed of each row, of operations that no value of the rows changes: for other programs.

`gaussian_missing` groups rows by their holes, which a graph of fixed operations cannot. Elimination of the observed
columns from (Σ r), where r is x − m where x is observed and 0 elsewhere, leaves of the other rows
(Σ_uu − Σ_uo Σ_oo⁻¹ Σ_ou, −Σ_uo Σ_oo⁻¹ r_o); the pivots multiply to det Σ_oo, and Σ_j r_j²/pivot_j is r_oᵀ Σ_oo⁻¹ r_o.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


class Eliminated(NamedTuple):
    """What k Gaussians say of rows of which some columns are observed."""

    log_density: Tensor  # (n, k), of what is observed
    mean: Tensor  # (n, k, d): E[x | x_o] of the columns that are not
    variance: Tensor  # (n, k, d): Var[x_j | x_o] of them


def eliminated(x: Tensor, means: Tensor, covariances: Tensor) -> Eliminated:
    """Of rows (n, d) with NaN, means (k, d) and covariances (k, d, d)."""
    seen = ~x.isnan()
    away = torch.where(seen, x, 0.0)[:, None] - means
    away = torch.where(seen[:, None], away, 0.0)
    left = torch.cat((covariances.expand(x.shape[0], *covariances.shape), away[..., None]), dim=-1)
    total = torch.zeros_like(away[..., 0])
    for j in range(x.shape[1]):
        here, pivot, rest = seen[:, j, None], left[:, :, j, j], left[:, :, j]
        share = torch.where(here, pivot.reciprocal(), 0.0)
        total = total + share * rest[..., -1].square() + torch.where(here, pivot.log() + _LOG_2PI, 0.0)
        left = left - left[:, :, :, j, None] * (share[..., None] * rest)[:, :, None]
    variance = left[..., :-1].diagonal(dim1=-2, dim2=-1)
    return Eliminated(-0.5 * total, means - left[..., -1], variance)


def independent_log_density(x: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """log p of what is observed, (n, k), of rows (n, d) with NaN and columns that are independent: (k, d) twice."""
    seen = ~x.isnan()
    away = torch.where(seen, x, 0.0)[:, None] - means
    terms = away.square() / variances + variances.log() + _LOG_2PI
    return -0.5 * (terms * seen[:, None]).sum(-1)
