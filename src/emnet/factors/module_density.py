"""Networks as emissions: any that gives log densities of all states, or the states' probabilities given the row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from emnet.exceptions import InvalidInputError
from emnet.factors.mixture_density import Gaussians
from emnet.factors.neural import Known, NeuralFactor


class NetworkEmission(NeuralFactor):
    """log p(target | state, given) of all states at once, (n, k). A row that is NaN throughout is not observed.

    Parameters
    ----------
    network, precision, m_step : as of `NeuralFactor`.
    """

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """(n, d) → (n, k), 0 of a row that is not observed."""
        seen, rows, past = self._seen(target, given)
        with torch.no_grad():
            found = self._log_likelihood(rows.to(self.dtype), past.to(self.dtype))
        out = found.new_zeros(len(target), found.shape[1])
        out[seen] = found
        return out.to(target.dtype)

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Known:
        """From responsibilities times the rows' weights, (n, k)."""
        seen, rows, past = self._seen(target, given)
        if weights is None:
            weights = torch.ones_like(self.log_prob(target, given))
        return self._collect(rows, past, weights[seen])

    @staticmethod
    def _seen(target: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Which rows are there, as indices; them, and what they are given without the constant 1, p = 0 of nothing."""
        seen = torch.nonzero(~target.isnan().all(1)).flatten()
        return seen, target[seen], target.new_zeros(len(seen), 0) if given is None else given[seen, 1:]


class ModuleDensity(NetworkEmission):
    """p(target | state, given) by a network that gives its logarithm.

    Parameters
    ----------
    network : (n, d) rows, or (n, d) rows and (n, p) what they are given → (n, k) log densities, which must be
        normalized: integrate to 1 over the rows. For `draw` it needs a method draw(states, given, generator) → (n, d),
        for `fill` means(rows, given) → (n, k, d), what each state expects of rows whose missing cells are NaN, and for
        the distribution of a forecast gaussians(given) → `Gaussians`.
    """

    def _log_likelihood(self, target: Tensor, given: Tensor) -> Tensor:
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
    options : `precision` and `m_step` of any network.
    """

    reference: Tensor

    def __init__(self, network: nn.Module, reference: Tensor, **options: Any):
        super().__init__(network, **options)
        self.register_buffer("reference", reference)

    def log_prior_of_states(self) -> Tensor:
        """log p(state), the network's mean over the reference rows: (k,)."""
        return self.network(self.reference).log_softmax(1).logsumexp(0) - math.log(len(self.reference))  # type: ignore[no-any-return]

    def _log_likelihood(self, target: Tensor, given: Tensor) -> Tensor:
        return self.network(target).log_softmax(1) - self.log_prior_of_states()  # type: ignore[no-any-return]
