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


def _spans(levels: Sequence[int]) -> list[tuple[int, int, int]]:
    """Of each level the number of its first node, how many there are, and their branches."""
    spans, first, count = [], 0, 1
    for branches in levels:
        spans.append((first, count, branches))
        first, count = first + count, count * branches
    return spans
