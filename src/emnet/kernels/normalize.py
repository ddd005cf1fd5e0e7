"""From joint log probabilities to the evidence and the posterior of a discrete variable, in place."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from emnet.kernels.compilation import compiled

NEGLIGIBLE = {torch.float64: -670.0, torch.float32: -70.0}  # beside 0, of a logarithm
_CHUNK_ELEMENTS = 2**17  # that six passes find in the second-level cache


def normalized(joint: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """log Σ_k w_k e^{joint}, (n,) in float64, and w_k e^{joint} over it, (n, k), in the memory of `joint`.

    What is negligible beside a row's largest is 0: subnormal numbers would take a hundred times as long, here and in
    every product to come.

    Parameters
    ----------
    joint : (n, k); where the states come one after another in memory, and rows are many, there is a compiled pass.
    log_weights : log w, (k,) or (n, k).
    """
    log_weights = log_weights.to(joint.dtype)
    if log_weights.dim() == 1 and joint.numel() > _CHUNK_ELEMENTS and (passes := _passes(joint)):
        top, total = passes.normalize(joint, log_weights.contiguous(), NEGLIGIBLE[joint.dtype])
        return top.add_(total.log_()), joint
    joint.add_(log_weights)  # fresh memory costs more than the sum
    if joint.numel() <= _CHUNK_ELEMENTS:
        return _normalized(joint), joint
    parts = joint.split(max(1, _CHUNK_ELEMENTS // joint.shape[1]))
    return torch.cat([_normalized(rows) for rows in parts]), joint


def _passes(joint: Tensor) -> Any:
    """The compiled pass, None for memory that it does not take."""
    usable = joint.device.type == "cpu" and joint.T.is_contiguous()
    return compiled("emnet.kernels.normalize_numba", "the kernel of responsibilities") if usable else None


def _normalized(joint: Tensor) -> Tensor:
    least = NEGLIGIBLE[joint.dtype]
    top = joint.amax(1, keepdim=True)
    shares = joint.sub_(top).clamp_(min=least).exp_()
    torch.threshold_(shares, math.exp(least + 1), 0.0)
    total = shares.sum(1, keepdim=True)
    shares.mul_(total.reciprocal())  # a division takes four times as long
    return (top.double() + total.double().log_())[:, 0]
