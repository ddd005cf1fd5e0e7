"""Transitions that depend on inputs: what leads from state to state in an input–output hidden Markov model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError
from emnet.factors.base import require_given
from emnet.factors.composite import Composite, bundle
from emnet.factors.gates import ModuleGate, PartialGate, SoftmaxGate
from emnet.statistics import ModelStatistics

Gate = SoftmaxGate | ModuleGate | PartialGate


class InputTransitions(Composite):
    """p(state | state before, x): a gate on x for each state before (Bengio & Frasconi 1995, eq. 2).

    The M-step fits each gate to the expected pairs that begin in its state.

    Parameters
    ----------
    parts : a gate to k states for each of k states before.
    """

    by_step = True

    def __init__(self, parts: Sequence[Gate]):
        super().__init__(parts)
        reached = [part.n_states for part in parts]
        if reached != [len(parts)] * len(parts):
            raise InvalidInputError(
                f"{len(parts)} states need as many gates, each to {len(parts)} states; got gates to {reached}."
            )

    @property
    def n_states(self) -> int:
        return len(self.parts)

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(state | state before, x): (n, 1 + p) → (n, k, k)."""
        given = require_given(given)
        return torch.stack([part.log_weights(given) for part in self.parts], dim=1)  # type: ignore[operator]

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(second state | first, x) of pairs by index: (n, 2) → (n,)."""
        rows = torch.arange(len(target), device=target.device)
        return self.log_weights(given)[rows, target[:, 0], target[:, 1]]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> ModelStatistics:
        """From expected pairs by step, (n, k, k), which have the sequences' weights in them already."""
        pairs = target.to(require_given(given).dtype)
        parts = enumerate(self._factors())
        return bundle(part.statistics(pairs[:, before], weights, given) for before, part in parts)
