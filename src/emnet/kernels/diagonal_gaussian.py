"""Gaussians with independent entries: densities, divergences and expectations, with their graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


def log_density(values: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """log Normal(x_j; m_j, s_j²) of each entry, from log s_j; shapes broadcast, and few steps are of the full one."""
    scaled = (values - means) * (-log_scales).exp()
    return torch.addcmul(-0.5 * _LOG_2PI - log_scales, scaled, scaled, value=-0.5)


def divergence_from_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(Normal(m, s²) ‖ Normal(0, 1)) of each entry."""
    return 0.5 * torch.addcmul(log_variance.expm1() - log_variance, mean, mean)


def negative_entropy(log_variance: Tensor) -> Tensor:
    """E_q log q of Gaussians with those log variances: (…, l) → (…)."""
    return -0.5 * (log_variance + (1 + _LOG_2PI)).sum(-1)


def log_densities(values: Tensor, means: Tensor, inverse: Tensor) -> Tensor:
    """log Normal(z; m_k, Σ_k) with Σ_k⁻¹ = U_kᵀU_k: (…, n, l), (k, l) and U, (k, l, l) or (k, l) → (…, n, k).

    Differences are squared, not expanded: posteriors may be far narrower than where they lie.
    """
    away = values.unsqueeze(-2) - means
    if inverse.dim() == 2:
        scaled, log_scale = away * inverse, inverse.log().sum(-1)
    else:
        scaled = torch.einsum("kij,...kj->...ki", inverse, away)
        log_scale = inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return log_scale - 0.5 * (scaled.square().sum(-1) + means.shape[1] * _LOG_2PI)


def draws(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """m + s ε: (n, l) twice and (s, n or 1, l) → (s, n, l); of one draw from (n or 1, l) → (n, l)."""
    return torch.addcmul(mean, (0.5 * log_variance).exp(), noise)


def mean_of_draws(values: Tensor) -> Tensor:
    """(s, n) → (n,), which those of one draw are already."""
    return values if values.dim() == 1 else values.mean(0)
