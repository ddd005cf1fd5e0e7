"""What a state emits: factors whose states can be counted, drawn from, and asked what a missing cell may be."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Generator, Tensor, nn

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

    def moments(self) -> tuple[Tensor, Tensor]:
        """E[x_j | state] and Var[x_j | state], (k, d) each, of columns that are independent given the state."""
        raise NotImplementedError(f"{type(self).__name__} does not say how sure it is of a cell.")

    def uncertainty(self, target: Tensor, responsibilities: Tensor) -> Tensor:
        """How unsure `fill` is of each hole, (n, d), 0 where there is none, under responsibilities (n, k).

        Of numbers the standard deviation, Var[x] = E[Var[x | k]] + Var[E[x | k]]; of categories the probability that it
        is another one.
        """
        means, variances = self.moments()
        share = responsibilities.double()
        expected = share @ means
        endless = share.gt(0).double() @ variances.isinf().double() > 0
        variance = share @ variances.nan_to_num(posinf=0.0)
        for of_state, own in zip(share.T, means, strict=True):  # never (n, k, d)
            variance += of_state[:, None] * (own - expected).square()
        return torch.where(target.isnan(), variance.masked_fill(endless, torch.inf).sqrt(), 0.0)

    def portable(self) -> nn.Module:
        """A module that takes (n, d) rows with NaN to `log_prob`, (n, k), less what is the same of all states.

        It is of operations that no value of the rows changes, which other programs can run.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no module that other programs can run.")

    def draw_missing(self, target: Tensor, responsibilities: Tensor, generator: Generator) -> Tensor:
        """The target, (n, d), with draws in its holes: a state from its responsibility, then what the state emits."""
        states = torch.multinomial(responsibilities.double(), 1, generator=generator)[:, 0]
        return torch.where(target.isnan(), self.draw(states, generator), target.double())
