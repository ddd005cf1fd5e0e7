"""Gaussians with independent entries: densities, divergences and expectations, with their graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


def log_density(values: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """log Normal(x_j; m_j, s_j²) of each entry; shapes broadcast."""
    squares = (values - means).square() * (-log_variances).exp()
    return -0.5 * (squares + log_variances + _LOG_2PI)


def divergence_from_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(Normal(m, s²) ‖ Normal(0, 1)) of each entry."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def negative_entropy(log_variance: Tensor) -> Tensor:
    """E_q log q of Gaussians with those log variances: (…, l) → (…)."""
    return -0.5 * (log_variance + (1 + _LOG_2PI)).sum(-1)


def expected_log_density(mean: Tensor, variance: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """E log Normal(z; m_k, s_k²) for z ~ Normal(mean, variance): (…, l) twice, (k, l) twice → (…, k).

    With variance 0 it is the log density at `mean`. Two products, and no (…, k, l) array.
    """
    precisions = variances.reciprocal()
    constant = (means.square() * precisions + variances.log() + _LOG_2PI).sum(-1)
    return (mean @ (means * precisions).mT) - 0.5 * ((mean.square() + variance) @ precisions.mT + constant)


def expected_log_density_full(mean: Tensor, variance: Tensor, means: Tensor, inverse: Tensor) -> Tensor:
    """The same with Σ_k⁻¹ = U_kᵀU_k, U (k, l, l)."""
    away = torch.einsum("kij,...kj->...ki", inverse, mean.unsqueeze(-2) - means).square().sum(-1)
    spread = variance @ inverse.square().sum(-2).mT
    log_scale = inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * means.shape[1] * _LOG_2PI
    return log_scale - 0.5 * (away + spread)


def draws(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """m + s ε: (n, l) twice and (s, n or 1, l) → (s, n, l)."""
    return torch.addcmul(mean, (0.5 * log_variance).exp(), noise)
