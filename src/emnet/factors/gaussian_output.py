"""The linear Gaussian output: real targets given bits."""

from __future__ import annotations

import torch
from torch import Tensor

from emnet.batch import with_constant
from emnet.exceptions import InvalidInputError
from emnet.factors.base import linear_predictor_with, require_given
from emnet.factors.gaussian_regression import GaussianRegression
from emnet.factors.least_squares import ConjugatePrior, RegressionMoments, log_density, maximum
from emnet.kernels.configurations import second_moments


class GaussianOutput(GaussianRegression):
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
        super().__init__(weights, variance, ConjugatePrior(float(precision)))

    @property
    def n_bits(self) -> int:
        return self.weights.shape[1] - 1

    def predictor(self, given: Tensor) -> Tensor:
        """Means: (…, n, 1 + m) → (…, n, d)."""
        return given @ self.weights.T

    means = predictor

    def moments_of_bits(self, probability: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the targets, (n, d) each, of independent bits that are on with (n, m) probabilities."""
        weights = self.weights64()
        spread = (probability * (1 - probability)) @ weights[:, 1:].square().T
        return with_constant(probability) @ weights.T, self.variance + spread

    def predictor_with(self, given: Tensor, columns: Tensor, values: Tensor) -> Tensor:
        """The means with some columns of `given` set to each row of `values`: (c, n, d)."""
        return linear_predictor_with(self.weights, given, columns, values)

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        return self.log_prob_of_predictor(target, self.predictor(require_given(given)))

    def log_prob_of_predictor(self, target: Tensor, predictor: Tensor) -> Tensor:
        return log_density(target.double(), predictor, self.variance).sum(-1)

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
        second = second_moments(counts[0])
        first = torch.cat((torch.ones_like(mean[:, :1]), mean), dim=1)
        return RegressionMoments(
            second, (first * weights[:, None]).T @ target, weights @ target.square(), weights.sum()
        )

    def maximize(self, statistics: RegressionMoments) -> None:
        weights, variance = maximum(statistics, self.prior)
        self.weights.data.copy_(weights)
        self.log_variance.data.copy_(variance.clamp_min(torch.finfo(variance.dtype).tiny).log())
