"""Gates: the weights of a mixture of experts, which depend on the inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emnet.exceptions import InvalidInputError
from emnet.factors.base import require_given
from emnet.factors.classes import log_softmax_of
from emnet.factors.composite import Composite, bundle
from emnet.factors.module import ModuleFactor
from emnet.factors.regression import SoftmaxOutput
from emnet.statistics import ModelStatistics


class SoftmaxGate(Composite):
    """p(state | x) as a product of softmax regressions down a tree (Jordan & Jacobs 1994); its leaves are the states.

    A tree of one level is the usual gate, softmax(v·x). With levels (b₁, b₂, …) the root has b₁ branches, each of the
    b₁ nodes below it b₂, and so on: k = b₁ b₂ …, the states in the order of the leaves.

    Parameters
    ----------
    nodes : a softmax regression for each inner node: the root, then level after level.
    levels : branches of the nodes of each level.
    """

    def __init__(self, nodes: Sequence[SoftmaxOutput], levels: Sequence[int]):
        super().__init__(nodes)
        self.levels = tuple(levels)
        wanted = [branches for _, count, branches in _spans(self.levels) for _ in range(count)]
        if [node.n_classes for node in nodes] != wanted:
            raise InvalidInputError(
                f"A gate of levels {self.levels} has nodes of {wanted} branches, from the root down; got "
                f"{[node.n_classes for node in nodes]}."
            )

    @property
    def n_states(self) -> int:
        return math.prod(self.levels)

    def softmax_weights(self) -> Tensor:
        """v, (k, 1 + p), float64, of a gate of one level."""
        (node,) = self.parts
        return node.weights64()  # type: ignore[operator, no-any-return]

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(state | x): (n, 1 + p) → (n, k)."""
        given = require_given(given)
        log_path = given.new_zeros(given.shape[0], 1)
        for first, count, _ in _spans(self.levels):
            nodes = self._factors()[first : first + count]
            branches = torch.stack([node.log_weights(given) for node in nodes], dim=1)  # type: ignore[attr-defined, operator]
            log_path = (log_path[:, :, None] + branches).flatten(1)
        return log_path

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(state | x) of states by index: (n,) → (n,)."""
        return self.log_weights(given).gather(1, target[:, None])[:, 0]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> ModelStatistics:
        """From the responsibilities, (n, k), and the rows' weights: a node's rows weigh what goes through it."""
        found = []
        for _, count, branches in _spans(self.levels):
            shares = target.view(len(target), count, branches, -1).sum(3)
            found += [shares[:, node] for node in range(count)]
        nodes = zip(self._factors(), found, strict=True)
        return bundle(node.statistics(share, weights, given) for node, share in nodes)


class ModuleGate(ModuleFactor):
    """p(state | x) = softmax of what a network gives: p → k.

    Its statistics are taken of the responsibilities, (n, k), and the rows' weights, (n,).
    """

    log_prob_of_predictor = staticmethod(log_softmax_of)

    def __init__(self, network: nn.Module, n_states: int, **options: Any):
        super().__init__(network, **options)
        self.n_states = n_states

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(state | x): (n, 1 + p) → (n, k)."""
        return self.predictor(require_given(given)).log_softmax(-1)


class PartialGate(Composite):
    """p(state | x) of a gate to some of k states; the others are never reached.

    Parameters
    ----------
    gate : to as many states as are reached.
    reached : (k,), which states those are.
    """

    reached: Tensor

    def __init__(self, gate: SoftmaxGate | ModuleGate, reached: Tensor):
        super().__init__([gate])
        if int(reached.sum()) != gate.n_states:
            raise InvalidInputError(f"A gate to {gate.n_states} states cannot lead to {int(reached.sum())}.")
        self.register_buffer("reached", reached)

    @property
    def n_states(self) -> int:
        return len(self.reached)

    def softmax_weights(self) -> Tensor:
        """v, (k, 1 + p), float64, with a bias of −∞ for what is not reached."""
        own: Tensor = self.parts[0].softmax_weights()  # type: ignore[operator]
        found = own.new_zeros(self.n_states, own.shape[1])
        found[:, 0] = -torch.inf
        found[self.reached] = own
        return found

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(state | x): (n, 1 + p) → (n, k), −∞ of what is not reached."""
        own: Tensor = self.parts[0].log_weights(given)  # type: ignore[operator]
        found = own.new_full((len(own), self.n_states), -torch.inf)
        found[:, self.reached] = own
        return found

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(state | x) of states by index: (n,) → (n,)."""
        return self.log_weights(given).gather(1, target[:, None])[:, 0]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> ModelStatistics:
        """From the responsibilities, (n, k), and the rows' weights, (n,)."""
        return bundle([self._factors()[0].statistics(target[:, self.reached], weights, given)])


class Columns(nn.Module):
    """Some columns of what a network gives."""

    chosen: Tensor

    def __init__(self, chosen: Tensor):
        super().__init__()
        self.register_buffer("chosen", chosen)

    def forward(self, values: Tensor) -> Tensor:
        return values[..., self.chosen]


def _spans(levels: Sequence[int]) -> list[tuple[int, int, int]]:
    """Of each level the number of its first node, how many there are, and their branches."""
    spans, first, count = [], 0, 1
    for branches in levels:
        spans.append((first, count, branches))
        first, count = first + count, count * branches
    return spans
