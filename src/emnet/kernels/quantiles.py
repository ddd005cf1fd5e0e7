"""Quantiles of mixtures of Gaussians, by bisection of their distribution functions."""

from __future__ import annotations

import torch
from torch import Tensor

_BISECTIONS = 60
_CHUNK_ELEMENTS = 2**22
_REACH = 10  # standard deviations beyond the outermost component, where the search begins


def mixture_quantiles(weights: Tensor, means: Tensor, scales: Tensor, levels: Tensor) -> Tensor:
    """Of each row and column: weights (n, k) that add up to 1, means (n, k, d), scales (n or 1, k, d) → (n, l, d)."""
    k, d = means.shape[1:]
    size = max(1, _CHUNK_ELEMENTS // (k * d * max(1, len(levels))))
    found = []
    for start in range(0, len(means), size):
        rows = slice(start, start + size)
        own = scales if len(scales) == 1 else scales[rows]
        found.append(_bisect(weights[rows], means[rows], own, levels))
    return torch.cat(found) if found else means.new_zeros(0, len(levels), d)


def _bisect(weights: Tensor, means: Tensor, scales: Tensor, levels: Tensor) -> Tensor:
    low = (means - _REACH * scales).amin(1)[:, None].expand(-1, len(levels), -1)
    high = (means + _REACH * scales).amax(1)[:, None].expand(-1, len(levels), -1)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        z = (middle[:, None] - means[:, :, None]) / scales[:, :, None]
        below = (weights[:, :, None, None] * torch.special.ndtr(z)).sum(1) < levels[:, None]
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
