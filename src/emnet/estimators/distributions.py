"""Predictive distributions as `torch.distributions`, in the units of the data."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal, Normal


def gaussian_mixture(weights: Tensor, means: Tensor, lower: Tensor) -> Distribution:
    """Σ_k w_k Normal(m_k, L_k L_kᵀ), of weights (…, k), means (…, k, d) and Cholesky factors (…, k, d, d)."""
    return MixtureSameFamily(Categorical(probs=weights), MultivariateNormal(means, scale_tril=lower))


def of_targets(
    weights: Tensor, means: Tensor, lower: Tensor, center: np.ndarray, scale: np.ndarray, flat: bool
) -> Distribution:
    """The same of standardized targets, whose center and scale are (d,); a `flat` one has no axis of its own."""
    by, at = (torch.as_tensor(x, dtype=means.dtype, device=means.device) for x in (scale, center))
    means, lower = means * by + at, lower * by[:, None]
    if not flat:
        return gaussian_mixture(weights, means, lower)
    one, sd = means[..., 0], lower[..., 0, 0]
    return MixtureSameFamily(Categorical(probs=weights), Normal(one, sd.expand_as(one)))
