"""Any torch network as a factor: of units, of classes, of real targets."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from emnet.batch import with_constant
from emnet.exceptions import InvalidInputError
from emnet.factors.base import require_given
from emnet.factors.classes import ClassOutput, log_softmax_of
from emnet.factors.least_squares import ConjugatePrior, log_density
from emnet.factors.neural import Known, NeuralFactor
from emnet.factors.regression import ConfigurationCounts
from emnet.kernels.configurations import all_configurations
from emnet.kernels.logistic import softplus
from emnet.statistics import Observations

_SAMPLED_ONLY = "With real targets and a module for the output, take the importance or the Gibbs E-step."
_NO_ROWS = 1e-10  # expected rows of a target that has none: its noise stays as it is


class ModuleFactor(NeuralFactor):
    """p(target | network(given)).

    Parameters
    ----------
    network, precision, m_step : as of `NeuralFactor`.
    """

    @staticmethod
    @abstractmethod
    def log_prob_of_predictor(target: Tensor, predictor: Tensor) -> Tensor:
        """log p(target | what the network says): (…, n, k) → (…, n)."""

    def predictor(self, given: Tensor) -> Tensor:
        """What the network says, with no graph behind it: (…, n, 1 + p) → (…, n, k)."""
        with torch.no_grad():
            return self.network(given[..., 1:])

    def predictor_with(self, given: Tensor, columns: Tensor, values: Tensor) -> Tensor:
        """The predictor with some columns of `given` set to each row of `values`: (c, n, k)."""
        candidates = given.expand(len(values), *given.shape).clone()
        candidates[:, :, columns] = values[:, None]
        return self.predictor(candidates)

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        return self.log_prob_of_predictor(target, self.predictor(require_given(given)))

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Known:
        given = require_given(given)
        return self._collect(target, given[:, 1:], given.new_ones(len(given)) if weights is None else weights)

    def _log_likelihood(self, target: Tensor, given: Tensor) -> Tensor:
        return self.log_prob_of_predictor(target, self.network(given))


class ModuleUnits(ModuleFactor):
    """m Bernoulli units whose logits a network gives: p → m."""

    def __init__(self, network: nn.Module, n_units: int, **options: Any):
        super().__init__(network, **options)
        self.n_units = n_units

    @staticmethod
    def log_prob_of_predictor(target: Tensor, predictor: Tensor) -> Tensor:
        return (target * predictor - softplus(predictor)).sum(-1)


class ModuleGaussian(ModuleFactor):
    """y_i ~ Normal(network(x)_i, σ_i²), i = 1 … d, above inputs or bits; an entry of y that is NaN is not observed.

    The prior on σ is that of `least_squares.ConjugatePrior`, one row with a residual; the network's is not conjugate.

    Parameters
    ----------
    network, precision, m_step : as of `NeuralFactor`.
    variance : (d,), the start of σ², float64.
    residual : s of the prior, 0 for none.
    """

    def __init__(self, network: nn.Module, variance: Tensor, *, residual: float = 0.0, **options: Any):
        super().__init__(network, **options)
        self.log_variance = nn.Parameter(variance.double().log())
        self.prior = ConjugatePrior(residual=residual)

    @property
    def variance(self) -> Tensor:
        """σ², (d,), float64."""
        return self.log_variance.detach().exp()

    def log_prob_of_predictor(self, target: Tensor, predictor: Tensor) -> Tensor:  # type: ignore[override]
        seen = ~target.isnan()
        known = torch.where(seen, target, 0.0).double()
        terms = log_density(known, torch.where(seen, predictor, 0.0).double(), self.log_variance.exp())
        return (terms * seen).sum(-1)

    def maximize(self, statistics: Known) -> None:
        """Network and noise together, and then the noise alone, whose maximum is closed where there are rows."""
        super().maximize(statistics)
        if isinstance(statistics, Observations):
            self._maximize_noise(statistics)

    def _maximize_noise(self, rows: Observations) -> None:
        """σ² = (Σ w (y − f)² + s²) / (Σ w + 1), without the 1 where there is no prior."""
        with torch.no_grad():
            away = (rows.target - self.network(rows.given)).double()
        weights = rows.weights.double()[:, None] * ~away.isnan()
        squares = (weights * away.nan_to_num(0.0).square()).sum(0) + self.prior.residual**2
        count = weights.sum(0) + self._rows_of_prior()
        found = (squares / count.clamp_min(_NO_ROWS)).clamp_min(torch.finfo(squares.dtype).tiny).log()
        self.log_variance.data.copy_(torch.where(count > _NO_ROWS, found, self.log_variance))

    def theta(self) -> list[nn.Parameter]:
        return [*super().theta(), self.log_variance]

    def slope_of_prior(self) -> Tensor:
        slope, d = super().slope_of_prior(), len(self.log_variance)
        slope[-d:] = 0.5 * (self.prior.residual**2 / self.variance - self._rows_of_prior())
        return slope

    def log_prior(self) -> float:
        network = self.coordinates()[: -len(self.log_variance)]
        of_noise = self.prior.log_density(torch.zeros_like(self.log_variance)[:, None], self.variance)
        return of_noise - 0.5 * self.precision * float(network.square().sum())

    def _rows_of_prior(self) -> int:
        """By how many rows the prior counts for σ."""
        return int(self.prior.residual > 0)

    # -- as an output above bits: no row's likelihood is linear in them, so the E-step is sampled ---------------------

    n_tables = 1

    def means(self, given: Tensor) -> Tensor:
        """(…, n, 1 + m) → (…, n, d)."""
        return self.predictor(given)

    @staticmethod
    def features(target: Tensor) -> Tensor:
        """What a recognition network is told of the target: (1, y)."""
        return with_constant(target)

    def draw(self, given: Tensor, generator: torch.Generator) -> Tensor:
        """Targets, (n, d)."""
        mean = self.means(given)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + noise * self.variance.sqrt().to(mean.dtype)

    @staticmethod
    def table_of(target: Tensor) -> Tensor:
        raise InvalidInputError(_SAMPLED_ONLY)

    def log_table(self) -> Tensor:
        raise InvalidInputError(_SAMPLED_ONLY)

    def tilt(self, target: Tensor) -> Tensor:
        raise InvalidInputError(_SAMPLED_ONLY)

    def log_scale(self, target: Tensor) -> Tensor:
        raise InvalidInputError(_SAMPLED_ONLY)

    def statistics_of_bits(self, target: Tensor, weights: Tensor | None, mean: Tensor, counts: Tensor) -> Known:
        raise InvalidInputError(_SAMPLED_ONLY)

    def statistics_of_means(self, target: Tensor, weights: Tensor | None, means: Tensor) -> Known:
        raise InvalidInputError(_SAMPLED_ONLY)


class ModuleOutput(ModuleFactor, ClassOutput):
    """A class whose logits a network gives from m bits, or any inputs: m → g.

    Above bits, exact EM asks it of 2^m configurations, not of rows.
    """

    log_prob_of_predictor = staticmethod(log_softmax_of)

    def __init__(self, network: nn.Module, n_bits: int, n_classes: int, **options: Any):
        super().__init__(network, **options)
        self.n_bits, self._n_classes = n_bits, n_classes

    @property
    def n_classes(self) -> int:
        return self._n_classes

    def statistics_of_means(self, target: Tensor, weights: Tensor | None, means: Tensor) -> Known:
        raise InvalidInputError(
            "The mean-field E-step is for a linear output; take the exact or the importance E-step."
        )

    def log_table(self) -> Tensor:
        """log p(y = i | z) for all configurations, (g, 2^m)."""
        states = all_configurations(self.n_bits, dtype=self.dtype, device=next(self.network.parameters()).device)
        with torch.no_grad():
            return self.network(states).log_softmax(1).T.contiguous()

    @staticmethod
    def statistics_of_bits(target: Tensor, weights: Tensor | None, mean: Tensor, counts: Tensor) -> ConfigurationCounts:
        """From the rows' weight in each class and configuration, (g, 2^m)."""
        return ConfigurationCounts(counts)
