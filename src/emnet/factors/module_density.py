"""Networks as emissions: any that gives log densities of all states, or the states' probabilities given the row."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from emnet.factors.module import Gradient, NetworkFactor


class NetworkEmission(NetworkFactor):
    """log p(target | state, given) of all states at once, (n, k). A row that is NaN throughout is not observed."""

    @abstractmethod
    def _log_density(self, target: Tensor, given: Tensor | None) -> Tensor:
        """(n, d) rows that are there, (n, p) what they are given → (n, k), with a graph behind it."""

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """(n, d) → (n, k), 0 of a row that is not observed."""
        with torch.no_grad():
            seen, found = self._of_seen(target, given)
        out = found.new_zeros(len(target), found.shape[1])
        out[seen] = found
        return out.to(target.dtype)

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Gradient:
        """From responsibilities times the rows' weights, (n, k)."""
        with torch.enable_grad():
            seen, found = self._of_seen(target, given)
            own = torch.ones_like(found) if weights is None else weights.detach()[seen].to(found)
            return self._gradient_of((found * own).sum())

    def _of_seen(self, target: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """The rows that are there, as indices, and their log densities."""
        own = next(self.network.parameters()).dtype
        seen = torch.nonzero(~target.isnan().all(1)).flatten()
        past = None if given is None else given[seen, 1:].to(own)
        return seen, self._log_density(target[seen].to(own), past)


class ModuleDensity(NetworkEmission):
    """p(target | state, given) by a network that gives its logarithm.

    Parameters
    ----------
    network : (n, d) rows, or (n, d) rows and (n, p) what they are given → (n, k) log densities, which must be
        normalised: integrate to 1 over the rows.
    """

    def _log_density(self, target: Tensor, given: Tensor | None) -> Tensor:
        return self.network(target) if given is None else self.network(target, given)  # type: ignore[no-any-return]

    def draw(self, states: Tensor, given: Tensor | None, generator: torch.Generator) -> Tensor:
        """Rows of (n,) states, (n, d), by the network's own `draw`."""
        own = next(self.network.parameters()).dtype
        with torch.no_grad():
            return self.network.draw(states, None if given is None else given[:, 1:].to(own), generator)  # type: ignore[operator, no-any-return]


class ScaledLikelihood(NetworkEmission):
    """p(target | state) / p(target) = p(state | target) / p(state): a discriminative network in the hybrid way.

    The network is a softmax classifier of states (Bourlard & Morgan 1994, ch. 7), and p(state) its mean over reference
    rows: so exp(log_prob) is a density beside the distribution of the reference rows, over which it averages to 1,
    the evidence is a likelihood ratio, and its gradient is that of Q.

    Parameters
    ----------
    network : (n, d) rows → (n, k) logits.
    reference : (r, d), rows that stand for the distribution of the data, none missing.
    """

    reference: Tensor

    def __init__(self, network: nn.Module, reference: Tensor, *, precision: float = 0.0, learning_rate: float = 0.01):
        super().__init__(network, precision=precision, learning_rate=learning_rate)
        self.register_buffer("reference", reference)

    def log_prior_of_states(self) -> Tensor:
        """log p(state), the network's mean over the reference rows: (k,)."""
        return torch.logsumexp(self.network(self.reference).log_softmax(1), dim=0) - torch.tensor(
            float(len(self.reference))
        ).log().to(self.reference)

    def _log_density(self, target: Tensor, given: Tensor | None) -> Tensor:
        return self.network(target).log_softmax(1) - self.log_prior_of_states()  # type: ignore[no-any-return]
