"""From joint log probabilities to the evidence and the posterior of a discrete variable, in place."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_NEGLIGIBLE = {torch.float64: -670.0, torch.float32: -70.0}  # beside 0, of a logarithm
_CHUNK_ELEMENTS = 2**17  # that six passes find in the second-level cache


def normalized(joint: Tensor) -> tuple[Tensor, Tensor]:
    """log Σ_k e^{joint}, (n,) in float64, and e^{joint} over it, (n, k), in the memory of `joint`.

    What is negligible beside a row's largest is 0: subnormal numbers would take a hundred times as long, here and in
    every product to come.
    """
    evidence = [_normalized(rows) for rows in joint.split(max(1, _CHUNK_ELEMENTS // joint.shape[1]))]
    return evidence[0] if len(evidence) == 1 else torch.cat(evidence), joint


def _normalized(joint: Tensor) -> Tensor:
    least = _NEGLIGIBLE[joint.dtype]
    top = joint.amax(1, keepdim=True)
    shares = joint.sub_(top).clamp_(min=least).exp_()
    torch.threshold_(shares, math.exp(least + 1), 0.0)
    total = shares.sum(1, keepdim=True)
    shares.mul_(total.reciprocal())  # a division takes four times as long
    return (top.double() + total.double().log_())[:, 0]
