"""The 2^m configurations of m bits, and their moments: row Σ_h z_h 2^h holds z, so the first bit runs fastest."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

_CHUNK_ELEMENTS = 2**22


def all_configurations(m: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Tensor:
    """All configurations of m bits, (2^m, m); row Σ_h z_h 2^h holds z."""
    index = torch.arange(2**m, device=device)
    return (index[:, None] >> torch.arange(m, device=device) & 1).to(dtype)


def bits_by_configuration(k: int, like: Tensor) -> Tensor:
    """Each bit in every configuration: (k, 2^k), in the type and on the device of `like`; not to be written into."""
    return _cached_bits(k, like.dtype, like.device)


@cache
def _cached_bits(k: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return all_configurations(k, dtype=dtype, device=device).T.contiguous()


def second_moments(counts: Tensor) -> Tensor:
    """Σ_z counts(z) z̃ z̃ᵀ with z̃ = (1, z): (2^m,) → (1 + m, 1 + m), float64."""
    m = len(counts).bit_length() - 1
    result = counts.new_zeros(1 + m, 1 + m, dtype=torch.float64)
    for part in torch.arange(len(counts), device=counts.device).split(_CHUNK_ELEMENTS // (1 + m)):
        states = (part[:, None] >> torch.arange(m, device=counts.device) & 1).double()
        states = torch.cat((torch.ones_like(states[:, :1]), states), dim=1)
        result += (states * counts[part, None]).T @ states
    return result
