"""A mixture within each state: what a hidden state emits comes from one of several components of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from emnet.exceptions import InvalidInputError
from emnet.factors.composite import Composite, bundle
from emnet.factors.emission import Emission
from emnet.factors.tables import Counts, Table
from emnet.statistics import ModelStatistics


class ComponentWeights(Table):
    """p(component | state), (k, c). The target is the expected weight of each."""

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log p of the components by index, of every state: (n,) → (n, k)."""
        return self.log_probabilities.T[target]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Counts:
        """From expected weights, (k, c)."""
        return Counts(target.double())


class StateMixtures(Composite, Emission[ModelStatistics]):
    """p(target | state k) = Σ_c w_kc p(target | component kc), whose component is a hidden variable of its own.

    Its statistics hold the exact E-step over the components given the state, so the M-step is that of EM over both.

    Parameters
    ----------
    weights : w, (k, c).
    components : an emission of k·c states, those of a state side by side.
    """

    def __init__(self, weights: ComponentWeights, components: Emission[Any]):
        super().__init__([weights, components])
        if components.n_states != weights.logits.numel():
            raise InvalidInputError(
                f"Weights of {tuple(weights.logits.shape)} need an emission of {weights.logits.numel()} states; it has "
                f"{components.n_states}."
            )

    @property
    def weights(self) -> Any:
        return self.parts[0]

    @property
    def components(self) -> Any:
        return self.parts[1]

    @property
    def prepare(self) -> Callable[[Tensor], Any]:  # type: ignore[override]
        return self.components.prepare  # type: ignore[no-any-return]

    @property
    def n_states(self) -> int:
        return len(self.weights.logits)

    @property
    def n_parameters(self) -> int:
        return self.weights.n_parameters + self.components.n_parameters  # type: ignore[no-any-return]

    def log_prob(self, target: Any, given: Tensor | None = None) -> Tensor:
        """(n, k)."""
        return self._log_joint(target).logsumexp(2)

    def statistics(self, target: Any, weights: Tensor | None, given: Tensor | None = None) -> ModelStatistics:
        """From responsibilities times the rows' weights, (n, k)."""
        shares = self._shares(target)
        if weights is not None:
            shares = shares * weights[:, :, None].to(shares.dtype)
        return bundle([Counts(shares.double().sum(0)), self.components.statistics(target, shares.flatten(1))])

    def implied(self, counts: Tensor) -> ModelStatistics:
        shares = counts[:, None] * self.weights.log_probabilities.exp()
        return bundle([Counts(shares), self.components.implied(shares.flatten())])

    def fill(self, target: Any, responsibilities: Tensor) -> Tensor:
        shares = self._shares(target) * responsibilities[:, :, None]
        return self.components.fill(target, shares.flatten(1))  # type: ignore[no-any-return]

    def draw(self, states: Tensor, generator: Generator) -> Tensor:
        chosen = torch.multinomial(self.weights.log_probabilities.exp()[states], 1, generator=generator)[:, 0]
        return self.components.draw(states * self.weights.logits.shape[1] + chosen, generator)  # type: ignore[no-any-return]

    def _log_joint(self, target: Any) -> Tensor:
        """log p(c, target | k), (n, k, c)."""
        weights = self.weights.log_probabilities
        densities = self.components.log_prob(target)
        return densities.view(len(densities), *weights.shape) + weights.to(densities.dtype)  # type: ignore[no-any-return]

    def _shares(self, target: Any) -> Tensor:
        """p(c | k, target), (n, k, c)."""
        return self._log_joint(target).softmax(2)
