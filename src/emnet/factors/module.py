"""Any torch network as a factor: its statistics are the gradient of Q, its M-step a gradient step."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from emnet.batch import with_constant
from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor, require_given
from emnet.factors.classes import ClassOutput, log_softmax_of
from emnet.factors.least_squares import ConjugatePrior, log_density
from emnet.kernels.configurations import all_configurations
from emnet.kernels.logistic import softplus
from emnet.statistics import Moments

_SAMPLED_ONLY = "With real targets and a module for the output, take the importance or the Gibbs E-step."


@dataclass(frozen=True, eq=False)
class Gradient(Moments):
    """∇Q at the θ of the E-step, without the prior's part: additive, of constant size, used for one step."""

    vector: Tensor


def learned(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that are learned."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


class ModuleFactor(Factor[Gradient]):
    """p(target | network(given)). `given` carries the constant 1 first, which the network does not see.

    Parameters
    ----------
    network : a torch module, deterministic (no dropout in training), of which all parameters that require a gradient
        are learned.
    precision : of a Gaussian prior on all of them.
    learning_rate : η of the M-step θ ← θ + η ∇(Q + log prior). L-BFGS and Adam take no M-steps.
    """

    def __init__(self, network: nn.Module, *, precision: float = 0.0, learning_rate: float = 0.01):
        super().__init__()
        self.network = network
        self.precision, self.learning_rate = float(precision), learning_rate

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

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Gradient:
        own = next(self.network.parameters())
        given = require_given(given).to(own.dtype)
        target = target.to(own.dtype) if target.is_floating_point() else target
        with torch.enable_grad():
            terms = self.log_prob_of_predictor(target, self.network(given[..., 1:]))
            return self._gradient_of(terms.sum() if weights is None else (terms * weights.detach().to(terms)).sum())

    def _gradient_of(self, total: Tensor) -> Gradient:
        parts = torch.autograd.grad(total, learned(self.network), allow_unused=True, materialize_grads=True)
        return Gradient(parameters_to_vector(parts).double())

    def maximize(self, statistics: Gradient) -> None:
        self.set_coordinates(self.coordinates() + self.learning_rate * self.gradient(statistics))

    def gradient(self, statistics: Gradient) -> Tensor:
        return statistics.vector - self.precision * self.coordinates()

    def log_prior(self) -> float:
        return -0.5 * self.precision * float(self.coordinates().square().sum())

    def coordinates(self) -> Tensor:
        return parameters_to_vector(learned(self.network)).detach().double().clone()

    def set_coordinates(self, vector: Tensor) -> None:
        own = learned(self.network)
        vector_to_parameters(vector.to(own[0].dtype), own)


class ModuleUnits(ModuleFactor):
    """m Bernoulli units whose logits a network gives: p → m."""

    def __init__(self, network: nn.Module, n_units: int, *, precision: float = 0.0, learning_rate: float = 0.01):
        super().__init__(network, precision=precision, learning_rate=learning_rate)
        self.n_units = n_units

    @staticmethod
    def log_prob_of_predictor(target: Tensor, predictor: Tensor) -> Tensor:
        return (target * predictor - softplus(predictor)).sum(-1)


class ModuleGaussian(ModuleFactor):
    """y_i ~ Normal(network(x)_i, σ_i²), i = 1 … d, above inputs or bits; an entry of y that is NaN is not observed.

    The prior on σ is that of `least_squares.ConjugatePrior`, one row with a residual; the network's is not conjugate.

    Parameters
    ----------
    variance : (d,), the start of σ², float64.
    residual : s of the prior, 0 for none.
    """

    def __init__(
        self,
        network: nn.Module,
        variance: Tensor,
        *,
        residual: float = 0.0,
        precision: float = 0.0,
        learning_rate: float = 0.01,
    ):
        super().__init__(network, precision=precision, learning_rate=learning_rate)
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

    def gradient(self, statistics: Gradient) -> Tensor:
        slope = statistics.vector - self.precision * self.coordinates()
        d = len(self.log_variance)
        rows = int(self.prior.residual > 0)
        slope[-d:] = statistics.vector[-d:] + 0.5 * (self.prior.residual**2 / self.variance - rows)
        return slope

    def maximize(self, statistics: Gradient) -> None:
        """The step of the network is that of its squared error, ησ̄² times the gradient, whatever the noise is."""
        step = self.learning_rate * self.gradient(statistics)
        step[: -len(self.log_variance)] *= self.variance.mean()
        self.set_coordinates(self.coordinates() + step)

    def log_prior(self) -> float:
        network = self.coordinates()[: -len(self.log_variance)]
        of_noise = self.prior.log_density(torch.zeros_like(self.log_variance)[:, None], self.variance)
        return of_noise - 0.5 * self.precision * float(network.square().sum())

    def coordinates(self) -> Tensor:
        return torch.cat((super().coordinates(), self.log_variance.detach()))

    def set_coordinates(self, vector: Tensor) -> None:
        d = len(self.log_variance)
        super().set_coordinates(vector[:-d])
        self.log_variance.data.copy_(vector[-d:])

    def _gradient_of(self, total: Tensor) -> Gradient:
        own = [*learned(self.network), self.log_variance]
        parts = torch.autograd.grad(total, own, allow_unused=True, materialize_grads=True)
        return Gradient(torch.cat([part.flatten().double() for part in parts]))

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

    def statistics_of_bits(self, target: Tensor, weights: Tensor | None, mean: Tensor, counts: Tensor) -> Gradient:
        raise InvalidInputError(_SAMPLED_ONLY)

    def statistics_of_means(self, target: Tensor, weights: Tensor | None, means: Tensor) -> Gradient:
        raise InvalidInputError(_SAMPLED_ONLY)


class ModuleOutput(ModuleFactor, ClassOutput):
    """A class whose logits a network gives from m bits, or any inputs: m → g.

    Above bits, exact EM asks it of 2^m configurations, not of rows.
    """

    def __init__(
        self, network: nn.Module, n_bits: int, n_classes: int, *, precision: float = 0.0, learning_rate: float = 0.01
    ):
        super().__init__(network, precision=precision, learning_rate=learning_rate)
        self.n_bits, self._n_classes = n_bits, n_classes

    @property
    def n_classes(self) -> int:
        return self._n_classes

    def statistics_of_means(self, target: Tensor, weights: Tensor | None, means: Tensor) -> Gradient:
        raise InvalidInputError(
            "The mean-field E-step is for a linear output; take the exact or the importance E-step."
        )

    @staticmethod
    def log_prob_of_predictor(target: Tensor, predictor: Tensor) -> Tensor:
        """`target` are class indices, (n,)."""
        return log_softmax_of(target, predictor)

    def log_table(self) -> Tensor:
        """log p(y = i | z) for all configurations, (g, 2^m)."""
        with torch.no_grad():
            return self._log_table()

    def _log_table(self) -> Tensor:
        own = next(self.network.parameters())
        states = all_configurations(self.n_bits, dtype=own.dtype, device=own.device)
        return self.network(states).log_softmax(1).T.contiguous()

    def statistics_of_bits(self, target: Tensor, weights: Tensor | None, mean: Tensor, counts: Tensor) -> Gradient:
        """From the rows' weight in each class and configuration, (g, 2^m)."""
        with torch.enable_grad():
            table = self._log_table()
            return self._gradient_of((table * counts.to(table)).sum())
