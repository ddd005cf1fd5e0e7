"""Differences of Gamma functions that keep their digits where the functions themselves are large."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGE = 50.0  # above it the series below are right to the last bits
_STEPS = 12
_TINY = 1e-300


def log_gamma_half_step(a: Tensor) -> Tensor:
    """log Γ(a + ½) − log Γ(a) − ½ log a, which goes to 0."""
    square = 1 / (a * a)
    series = (-1 / 8 + square * (1 / 192 + square * (-1 / 640 + square * 17 / 14336))) / a
    exact = torch.lgamma(a + 0.5) - torch.lgamma(a) - 0.5 * a.log()
    return torch.where(a > _LARGE, series, exact)


def log_minus_digamma(a: Tensor) -> Tensor:
    """log a − ψ(a): falls from ∞ at 0 to 0 at ∞, as 1/(2a)."""
    square = 1 / (a * a)
    series = 0.5 / a + square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))
    return torch.where(a > _LARGE, series, a.log() - torch.digamma(a))


def inverse_log_minus_digamma(value: Tensor) -> Tensor:
    """a with log a − ψ(a) = value; what is not positive counts as next to 0.

    Newton's method on log(log a − ψ(a)) as a function of log a, which is nearly a straight line.
    """
    wanted = value.clamp_min(_TINY)
    a = 0.5 / wanted + 1 / (2 + 6 * wanted)
    for _ in range(_STEPS):
        here = log_minus_digamma(a)
        slope = _slope(a)
        a = a * ((wanted / here).log() * here / (a * slope)).clamp(-2.0, 2.0).exp()
    return a


def _slope(a: Tensor) -> Tensor:
    """d/da of it: 1/a − ψ′(a)."""
    square = 1 / (a * a)
    series = -square * (0.5 + (1 / 6 - square * (1 / 30 - square / 42)) / a)
    return torch.where(a > _LARGE, series, 1 / a - torch.polygamma(1, a))
