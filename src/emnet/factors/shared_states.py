"""States that emit alike: hidden states that differ in where they lead, and share the parameters of an emission."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError
from emnet.factors.emission import Emission
from emnet.statistics import Statistics


class SharedStates(Emission[Statistics]):
    """p(target | state k) = p(target | group of k), for an emission of g groups.

    Parameters
    ----------
    groups : an emission of g states, or experts.
    group_of : the group of each of k states, numbers from 0 to g − 1.
    """

    group_of: Tensor

    def __init__(self, groups: Emission[Any], group_of: Sequence[int] | Tensor):
        super().__init__()
        index = torch.as_tensor(group_of)
        self.n_groups = getattr(groups, "n_states", int(index.max()) + 1)  # networks do not say of how many they are
        if sorted(set(index.tolist())) != list(range(self.n_groups)):
            raise InvalidInputError(
                f"group_of must name each of the {self.n_groups} groups, from 0 on; got {index.tolist()}."
            )
        self.groups = groups
        self.register_buffer("group_of", index)

    @property
    def prepare(self) -> Callable[[Tensor], Any]:  # type: ignore[override]
        return self.groups.prepare  # type: ignore[no-any-return]

    @property
    def n_states(self) -> int:
        return len(self.group_of)

    @property
    def n_parameters(self) -> int:
        return self.groups.n_parameters

    def log_prob(self, target: Any, given: Tensor | None = None) -> Tensor:
        """(n, k)."""
        return self.groups.log_prob(target, given)[:, self.group_of]

    def statistics(self, target: Any, weights: Tensor | None, given: Tensor | None = None) -> Statistics:
        """Those of the groups, from responsibilities times the rows' weights, (n, k)."""
        return self.groups.statistics(target, None if weights is None else self.summed(weights), given)

    def implied(self, counts: Tensor) -> Statistics:
        return self.groups.implied(self.summed(counts[None])[0])

    def implied_by(self, shares: Tensor, given: Tensor | None = None) -> Statistics:
        return self.groups.implied_by(self.summed(shares), given)

    def maximize(self, statistics: Statistics) -> None:
        self.groups.maximize(statistics)

    def gradient(self, statistics: Statistics) -> Tensor:
        return self.groups.gradient(statistics)

    def log_prior(self) -> float:
        return self.groups.log_prior()

    def coordinates(self) -> Tensor:
        return self.groups.coordinates()

    def set_coordinates(self, vector: Tensor) -> None:
        self.groups.set_coordinates(vector)

    def fill(self, target: Any, responsibilities: Tensor, *given: Tensor | None) -> Tensor:
        """`given` of emissions that are explained from it."""
        return self.groups.fill(target, self.summed(responsibilities), *given)

    def draw(self, states: Tensor, *given_and_generator: Any) -> Tensor:
        return self.groups.draw(self.group_of[states], *given_and_generator)

    def summed(self, weights: Tensor) -> Tensor:
        """Over the states of each group: (n, k) → (n, g)."""
        return weights.new_zeros(len(weights), self.n_groups).index_add_(1, self.group_of, weights)
