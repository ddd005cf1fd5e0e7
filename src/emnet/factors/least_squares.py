"""Weighted least squares with a conjugate prior: what linear Gaussian factors maximize.

    Q = −½ Σ_j w_j Σ_i [(y_ji − v_i·x_j)²/σ_i² + log 2πσ_i²],     v_i | σ_i² ~ Normal(0, σ_i²/λ) but for the bias

for each target i; any leading axes (the states of a mixture) are regressions of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from emnet.kernels.normal_equations import solve
from emnet.statistics import Moments


@dataclass(frozen=True, eq=False)
class RegressionMoments(Moments):
    """Expected Σ w x xᵀ, Σ w x yᵀ, Σ w y² and Σ w of weighted rows: all that least squares needs.

    `given` x carries the constant 1 first.
    """

    given: Tensor  # (…, 1 + p, 1 + p)
    cross: Tensor  # (…, 1 + p, d)
    target: Tensor  # (…, d)
    weight: Tensor  # (…)

    def residual(self, weights: Tensor) -> Tensor:
        """Σ w (y − v·x)², (…, d), of v (…, d, 1 + p)."""
        explained = 2 * (weights * self.cross.mT).sum(-1) - ((weights @ self.given) * weights).sum(-1)
        return (self.target - explained).clamp_min(0.0)


@dataclass(frozen=True)
class ConjugatePrior:
    """On v and σ² of every target; it does not depend on the units of y where `residual` is 0.

    Parameters
    ----------
    precision : λ ≥ 0. With λ > 0 a plane that fits perfectly and is not flat keeps σ² > 0.
    residual : s ≥ 0. σ² as after one more row whose residual is s, p(σ²) ∝ σ⁻¹ exp(−s²/2σ²), which keeps it above 0
        whatever is fitted; with 0 there is no such row.
    """

    precision: float = 0.0
    residual: float = 0.0

    def penalty(self, weights: Tensor) -> Tensor:
        """λ for each column of the weights, (1 + p,)."""
        penalty = torch.full(weights.shape[-1:], self.precision, dtype=torch.float64, device=weights.device)
        penalty[0] = 0.0
        return penalty

    def rows(self, weights: Tensor) -> int:
        """By how many rows the prior counts for σ: a weight's density scales with σ too."""
        return (weights.shape[-1] - 1 if self.precision > 0 else 0) + (self.residual > 0)

    def squares(self, weights: Tensor) -> Tensor:
        """What the prior adds to Σ w (y − v·x)², (…, d)."""
        return (self.penalty(weights) * weights.square()).sum(-1) + self.residual**2

    def log_density(self, weights: Tensor, variance: Tensor) -> float:
        """Up to a constant, over all regressions."""
        return -0.5 * float((self.squares(weights) / variance + self.rows(weights) * variance.log()).sum())


def maximum(moments: RegressionMoments, prior: ConjugatePrior) -> tuple[Tensor, Tensor]:
    """v, (…, d, 1 + p), and σ², (…, d), where Q + log prior is highest: ridge regression."""
    penalty = torch.diag(prior.penalty(moments.given))
    weights = solve(moments.given + penalty, moments.cross).mT
    residual = moments.residual(weights) + prior.squares(weights)
    return weights, residual / (moments.weight[..., None] + prior.rows(weights))


def gradient(
    moments: RegressionMoments, weights: Tensor, variance: Tensor, prior: ConjugatePrior
) -> tuple[Tensor, Tensor]:
    """∇(Q + log prior) with respect to v, (…, d, 1 + p), and to log σ², (…, d)."""
    slope = moments.cross.mT - weights @ moments.given - prior.penalty(weights) * weights
    residual = moments.residual(weights) + prior.squares(weights)
    rows = moments.weight[..., None] + prior.rows(weights)
    return slope / variance[..., None], 0.5 * (residual / variance - rows)


def log_density(target: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log Normal(y_i; mean_i, σ_i²), (…, d), one by one."""
    return -0.5 * ((target - mean).square() / variance + variance.log() + math.log(2 * math.pi))
