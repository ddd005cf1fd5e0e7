"""The linear Gaussian output: real targets given bits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emnet.batch import with_constant
from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor, linear_predictor_with, require_given
from emnet.kernels import bits
from emnet.kernels.logistic import solve
from emnet.statistics import Moments


@dataclass(frozen=True, eq=False)
class RegressionMoments(Moments):
    """Expected Σ w z̃ z̃ᵀ, Σ w z̃ yᵀ, Σ w y² and Σ w of weighted rows, z̃ = (1, z): all that least squares needs."""

    given: Tensor  # (1 + m, 1 + m)
    cross: Tensor  # (1 + m, d)
    target: Tensor  # (d,)
    weight: Tensor  # ()


class GaussianOutput(Factor[RegressionMoments]):
    """d targets given m bits: y_i ~ Normal(v_i·(1, z), σ_i²).

    The prior is conjugate, v_ih | σ_i² ~ Normal(0, σ_i²/λ) but for the biases, so it does not depend on the units of
    y, the M-step is closed (ridge regression), and with λ > 0 a perfect fit keeps σ² > 0.

    Parameters
    ----------
    weights : (d, 1 + m), the start, biases first.
    variance : (d,), the start of σ².
    precision : λ ≥ 0.
    """

    def __init__(self, weights: Tensor, variance: Tensor, *, precision: float = 0.0):
        super().__init__()
        self.weights = nn.Parameter(weights.clone(), requires_grad=False)
        self.log_variance = nn.Parameter(variance.double().log(), requires_grad=False)
        self.precision = float(precision)

    @property
    def n_bits(self) -> int:
        return self.weights.shape[1] - 1

    @property
    def variance(self) -> Tensor:
        """σ², (d,), float64."""
        return self.log_variance.detach().exp()

    def weights64(self) -> Tensor:
        return self.weights.detach().double()

    def predictor(self, given: Tensor) -> Tensor:
        """Means: (…, n, 1 + m) → (…, n, d)."""
        return given @ self.weights.T

    means = predictor

    def predictor_with(self, given: Tensor, columns: Tensor, values: Tensor) -> Tensor:
        """The means with some columns of `given` set to each row of `values`: (c, n, d)."""
        return linear_predictor_with(self.weights, given, columns, values)

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        return self.log_prob_of_predictor(target, self.predictor(require_given(given)))

    def log_prob_of_predictor(self, target: Tensor, predictor: Tensor) -> Tensor:
        squares = (target.double() - predictor).square() / self.variance
        return -0.5 * (squares + self.log_variance + math.log(2 * math.pi)).sum(-1)

    # -- the exact sum over bits --------------------------------------------------------------------------------------

    def log_table(self) -> Tensor:
        """−½ Σ_i (v_i·z)²/σ_i² for all configurations, without the biases: (1, 2^m).

        With `tilt` and `log_scale` it makes up the likelihood, log Normal(y; b + Vz, σ²)
        = log Normal(y; b, σ²) + z·Vᵀ(y − b)/σ² − ½ Σ (Vz)²/σ²: the part that knows both the row and the bits is
        linear in the bits, so it only shifts the units' logits, and the rest is one table for all rows.
        """
        means = self.weights.new_zeros(len(self.weights), 1).double()
        for h in range(self.n_bits):
            means = torch.cat((means, means + self.weights[:, 1 + h : 2 + h]), dim=1)
        return (-0.5 * (means.square() / self.variance[:, None]).sum(0, keepdim=True)).to(self.weights.dtype)

    n_tables = 1

    @staticmethod
    def table_of(target: Tensor) -> Tensor:
        """Which table holds a row's likelihood, (n,): there is one."""
        return torch.zeros(len(target), dtype=torch.int64, device=target.device)

    def draw(self, given: Tensor, generator: torch.Generator) -> Tensor:
        """Targets, (n, d)."""
        mean = self.predictor(given)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + noise * self.variance.sqrt().to(mean.dtype)

    def tilt(self, target: Tensor) -> Tensor:
        """Vᵀ(y − b)/σ²: (n, d) → (n, m), float64."""
        return ((target.double() - self.weights[:, 0]) / self.variance) @ self.weights[:, 1:].double()

    def log_scale(self, target: Tensor) -> Tensor:
        """log Normal(y; b, σ²): (n,), float64."""
        return self.log_prob_of_predictor(target, self.weights[:, 0].double().expand_as(target))

    @staticmethod
    def features(target: Tensor) -> Tensor:
        """What a recognition network is told of the target: (1, y), in which the tilt of independent bits is linear."""
        return with_constant(target)

    def statistics_of_means(self, target: Tensor, weights: Tensor | None, means: Tensor) -> RegressionMoments:
        raise InvalidInputError('The mean-field E-step is for classes; with real targets use "exact" or "importance".')

    # -- the M-step -------------------------------------------------------------------------------------------------

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> RegressionMoments:
        given = require_given(given)
        weights = given.new_ones(len(given)) if weights is None else weights.to(given.dtype)
        target = target.to(given.dtype)
        weighted = given * weights[:, None]
        return RegressionMoments(
            (weighted.T @ given).double(),
            (weighted.T @ target).double(),
            (weights @ target.square()).double(),
            weights.sum().double(),
        )

    def statistics_of_bits(
        self, target: Tensor, weights: Tensor | None, mean: Tensor, counts: Tensor
    ) -> RegressionMoments:
        """From E[z | x, y] of every row, (n, m), and the rows' weight in each configuration, (1, 2^m)."""
        weights = torch.ones_like(mean[:, 0]) if weights is None else weights
        mean, target, weights = mean.double(), target.double(), weights.double()
        second = bits.second_moments(counts[0])
        first = torch.cat((torch.ones_like(mean[:, :1]), mean), dim=1)
        return RegressionMoments(
            second, (first * weights[:, None]).T @ target, weights @ target.square(), weights.sum()
        )

    def maximize(self, statistics: RegressionMoments) -> None:
        ridge = torch.diag(self._penalty())
        weights = solve(statistics.given + ridge, statistics.cross).T
        residual = self._residual(statistics, weights) + (self._penalty() * weights.square()).sum(1)
        variance = residual / (statistics.weight + self._penalised())
        self.weights.data.copy_(weights)
        self.log_variance.data.copy_(variance.clamp_min(torch.finfo(variance.dtype).tiny).log())

    def gradient(self, statistics: RegressionMoments) -> Tensor:
        weights, variance = self.weights64(), self.variance
        slope = statistics.cross.T - weights @ statistics.given - self._penalty() * weights
        residual = self._residual(statistics, weights) + (self._penalty() * weights.square()).sum(1)
        of_variance = 0.5 * (residual / variance - statistics.weight - self._penalised())
        return torch.cat(((slope / variance[:, None]).flatten(), of_variance))

    def log_prior(self) -> float:
        squares = (self._penalty() * self.weights64().square()).sum(1)
        return -0.5 * float((squares / self.variance + self._penalised() * self.log_variance).sum())

    def coordinates(self) -> Tensor:
        return torch.cat((self.weights64().flatten(), self.log_variance.detach()))

    def set_coordinates(self, vector: Tensor) -> None:
        self.weights.data.copy_(vector[: self.weights.numel()].view(self.weights.shape))
        self.log_variance.data.copy_(vector[self.weights.numel() :])

    def _penalty(self) -> Tensor:
        penalty = torch.full((1 + self.n_bits,), self.precision, dtype=torch.float64, device=self.weights.device)
        penalty[0] = 0.0
        return penalty

    def _penalised(self) -> int:
        """How many weights of a target have a prior, whose density scales with σ."""
        return self.n_bits if self.precision > 0 else 0

    @staticmethod
    def _residual(statistics: RegressionMoments, weights: Tensor) -> Tensor:
        """Σ w (y − v·z̃)², (d,)."""
        explained = 2 * (weights * statistics.cross.T).sum(1) - ((weights @ statistics.given) * weights).sum(1)
        return (statistics.target - explained).clamp_min(0.0)
