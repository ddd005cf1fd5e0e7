"""Networks as emissions: any that gives log densities of all states, or the states' probabilities given the row."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor
from emnet.factors.mixture_density import Gaussians
from emnet.factors.module import Gradient, learned
from emnet.kernels.ascent import ascend
from emnet.statistics import Observations

Known = Observations | Gradient
"""What an E-step leaves of the rows."""


class NetworkEmission(Factor[Any]):
    """log p(target | state, given) of all states at once, (n, k). A row that is NaN throughout is not observed.

    Its statistics are the rows with their responsibilities, so the M-step sees Q and never lowers it; or for streams
    ∇Q, whose size is constant, and which L-BFGS and Adam need alone.

    Parameters
    ----------
    network : a torch module, deterministic (no dropout in training), of which all parameters that require a gradient
        are learned.
    precision : of a Gaussian prior on all of them.
    steps : gradient steps of an M-step. L-BFGS and Adam take no M-steps.
    keeps_rows : whether the statistics are rows.
    """

    def __init__(self, network: nn.Module, *, precision: float = 0.0, steps: int = 10, keeps_rows: bool = True):
        super().__init__()
        self.network = network
        self.precision, self.steps, self.keeps_rows = float(precision), steps, keeps_rows

    @abstractmethod
    def _log_density(self, target: Tensor, given: Tensor) -> Tensor:
        """(n, d) rows that are there, (n, p) what they are given, p = 0 of nothing → (n, k), with a graph behind it."""

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """(n, d) → (n, k), 0 of a row that is not observed."""
        with torch.no_grad():
            seen, rows, past = self._seen(target, given)
            found = self._log_density(rows, past)
        out = found.new_zeros(len(target), found.shape[1])
        out[seen] = found
        return out.to(target.dtype)

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Known:
        """From responsibilities times the rows' weights, (n, k)."""
        seen, rows, past = self._seen(target, given)
        if weights is None:
            weights = torch.ones_like(self.log_prob(target, given))
        found = Observations(rows, past, weights.detach()[seen])
        if self.keeps_rows:
            return found
        return Gradient(self.gradient(found) + self.precision * self.coordinates())

    def maximize(self, statistics: Known) -> None:
        """Raises InvalidInputError where the statistics are ∇Q alone."""
        if isinstance(statistics, Gradient):
            raise InvalidInputError("An M-step of a network asks for rows, and there is ∇Q alone: take 'lbfgs'.")
        length = 1 / float(statistics.weights.abs().sum().clamp_min(1.0))
        start = self.coordinates()
        self.set_coordinates(ascend(lambda at: self._objective(at, statistics), start, length=length, steps=self.steps))

    def gradient(self, statistics: Known) -> Tensor:
        if isinstance(statistics, Gradient):
            return statistics.vector - self.precision * self.coordinates()
        return self._objective(self.coordinates(), statistics)[1]

    def log_prior(self) -> float:
        return -0.5 * self.precision * float(self.coordinates().square().sum())

    def coordinates(self) -> Tensor:
        return parameters_to_vector(learned(self.network)).detach().double().clone()

    def set_coordinates(self, vector: Tensor) -> None:
        parameters = learned(self.network)
        vector_to_parameters(vector.to(parameters[0].dtype), parameters)

    def _objective(self, vector: Tensor, statistics: Observations) -> tuple[float, Tensor]:
        """Q + log prior at a vector of coordinates, which stays in the network, and its gradient."""
        self.set_coordinates(vector)
        with torch.enable_grad():
            found = self._log_density(statistics.target, statistics.given)
            total = (found.double() * statistics.weights.double()).sum()
            parts = torch.autograd.grad(total, learned(self.network), allow_unused=True, materialize_grads=True)
        slope = parameters_to_vector(parts).double() - self.precision * vector
        return float(total.detach()) + self.log_prior(), slope

    def _seen(self, target: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Which rows are there, as indices; them, and what they are given without the constant 1."""
        own = next(self.network.parameters()).dtype
        seen = torch.nonzero(~target.isnan().all(1)).flatten()
        past = target.new_zeros(len(seen), 0) if given is None else given[seen, 1:]
        return seen, target[seen].to(own), past.to(own)


class ModuleDensity(NetworkEmission):
    """p(target | state, given) by a network that gives its logarithm.

    Parameters
    ----------
    network : (n, d) rows, or (n, d) rows and (n, p) what they are given → (n, k) log densities, which must be
        normalized: integrate to 1 over the rows. For `draw` it needs a method draw(states, given, generator) → (n, d),
        for `fill` means(rows, given) → (n, k, d), what each state expects of rows whose missing cells are NaN, and for
        the distribution of a forecast gaussians(given) → `Gaussians`.
    """

    def _log_density(self, target: Tensor, given: Tensor) -> Tensor:
        return self.network(target, given) if given.shape[1] else self.network(target)  # type: ignore[no-any-return]

    def draw(self, states: Tensor, given: Tensor | None, generator: torch.Generator) -> Tensor:
        """Rows of (n,) states, (n, d), by the network's own `draw`."""
        with torch.no_grad():
            return self._asked("draw", "rows cannot be drawn")(states, self._past(given), generator)  # type: ignore[no-any-return]

    def gaussians(self, given: Tensor | None) -> Gaussians:
        """p(row | state, given), by the network's own `gaussians`."""
        with torch.no_grad():
            return self._asked("gaussians", "a row to come has no distribution: take samples")(self._past(given))  # type: ignore[return-value]

    def fill(self, target: Tensor, responsibilities: Tensor, given: Tensor | None) -> Tensor:
        """The target, (n, d), in float64, with expectations under responsibilities (n, k) for what is missing."""
        missing = target.isnan()
        if not bool(missing.any()):
            return target.double()
        with torch.no_grad():
            means = self._asked("means", "holes cannot be filled")(
                target.to(next(self.network.parameters())), self._past(given)
            )
        return torch.where(missing, (responsibilities.double()[:, :, None] * means.double()).sum(1), target.double())

    def _past(self, given: Tensor | None) -> Tensor | None:
        return None if given is None else given[:, 1:].to(next(self.network.parameters()).dtype)

    def _asked(self, method: str, without: str) -> Callable[..., Tensor]:
        """A method that a network need not have."""
        if not callable(getattr(self.network, method, None)):
            raise InvalidInputError(
                f"{type(self.network).__name__} has no method `{method}`, and without it {without}: see "
                "emnet.factors.module_density.ModuleDensity for what it takes and gives."
            )
        return getattr(self.network, method)  # type: ignore[no-any-return]


class ScaledLikelihood(NetworkEmission):
    """p(target | state) / p(target) = p(state | target) / p(state): a discriminative network in the hybrid way.

    The network is a softmax classifier of states (Bourlard & Morgan 1994, ch. 7), and p(state) its mean over reference
    rows: so exp(log_prob) is a density beside the distribution of the reference rows, over which it averages to 1,
    the evidence is a likelihood ratio, and its gradient is that of Q.

    Parameters
    ----------
    network : (n, d) rows → (n, k) logits.
    reference : (r, d), rows that stand for the distribution of the data, none missing.
    options : `precision`, `steps` and `keeps_rows` of any network emission.
    """

    reference: Tensor

    def __init__(self, network: nn.Module, reference: Tensor, **options: Any):
        super().__init__(network, **options)
        self.register_buffer("reference", reference)

    def log_prior_of_states(self) -> Tensor:
        """log p(state), the network's mean over the reference rows: (k,)."""
        return self.network(self.reference).log_softmax(1).logsumexp(0) - math.log(len(self.reference))  # type: ignore[no-any-return]

    def _log_density(self, target: Tensor, given: Tensor) -> Tensor:
        return self.network(target).log_softmax(1) - self.log_prior_of_states()  # type: ignore[no-any-return]
