"""What a state emits: factors whose states can be counted, drawn from, and asked what a missing cell may be."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Generator, Tensor

from emnet.factors.base import Factor, S


class Emission(Factor[S]):
    """p(target | state) of one column or several, whose parameters are those of k states."""

    @property
    @abstractmethod
    def n_states(self) -> int:
        """k."""

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Free parameters, as information criteria count them."""

    @abstractmethod
    def implied(self, counts: Tensor) -> S:
        """Statistics of so many rows of each state, (k,), that are as the parameters have it on average.

        Without a prior `maximize` gives the parameters back.
        """

    def implied_by(self, shares: Tensor, given: Tensor | None = None) -> S:
        """The same of rows with such shares in the states, (n, k)."""
        return self.implied(shares.double().sum(0))

    @abstractmethod
    def fill(self, target: Any, responsibilities: Tensor) -> Tensor:
        """The target, (n, d), in float64, its holes filled under responsibilities (n, k).

        Numbers get their expectation given what is observed, categories the most probable one.
        """

    @abstractmethod
    def draw(self, states: Tensor, generator: Generator) -> Tensor:
        """A row for each of (n,) states: (n, d), float64."""
