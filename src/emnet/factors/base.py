"""The contract of a factor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from emnet.exceptions import InvalidInputError
from emnet.statistics import Statistics

S = TypeVar("S", bound=Statistics)


class Factor(nn.Module, ABC, Generic[S]):
    """A conditional distribution p(target | state, given) with parameters θ.

    Its part of the expected complete-data log-likelihood, Q(θ; s), is linear in the statistics s.
    `maximize` raises Q(θ; s) + log p(θ); it is the only place where EM writes θ.
    Factors are abstract or final: a concrete one is never subclassed.
    """

    @staticmethod
    def prepare(target: Tensor) -> Any:
        """What every pass over the same rows needs of `target` and no parameter changes; kept by `Batch.derived`.

        `log_prob` and `statistics` of a mixture's emissions are given this in place of the target.
        """
        return target

    @abstractmethod
    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(target | given) of each row, and of each state where there are several: (n,) or (n, k)."""

    @abstractmethod
    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> S:
        """Expected sufficient statistics of weighted (expected) targets. Pure."""

    def expectations(self, target: Any, log_weights: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, S] | None:
        """What a mixture of the states needs of `log_prob` and `statistics`, in one pass, None if there is none. Pure.

        With the states' log weights, (k,), each row's log evidence, (n,); then the sum of the responsibilities times
        the rows' weights, (n,) or None for 1 each, over the rows, (k,), and the statistics under them.
        """
        return None

    @abstractmethod
    def maximize(self, statistics: S) -> None:
        """M-step: raise Q(θ; statistics) + log p(θ)."""

    @abstractmethod
    def gradient(self, statistics: S) -> Tensor:
        """∇ [Q(θ; statistics) + log p(θ)] with respect to `coordinates`, flat."""

    @abstractmethod
    def log_prior(self) -> float:
        """log p(θ) up to a constant."""

    @abstractmethod
    def coordinates(self) -> Tensor:
        """θ as a flat float64 vector without constraints; a copy."""

    @abstractmethod
    def set_coordinates(self, vector: Tensor) -> None:
        """Write θ from such a vector."""


def linear_predictor_with(weights: Tensor, given: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    """given @ weightsᵀ with some columns of given set to each row of values: (n, 1 + p), (b,), (c, b) → (c, n, k)."""
    rest = given @ weights.T - given[:, columns] @ weights[:, columns].T
    return rest + (values @ weights[:, columns].T)[:, None]


def require_given(given: Tensor | None) -> Tensor:
    """`given`, for factors that condition on inputs."""
    if given is None:
        raise InvalidInputError("This factor is a regression: it needs `given`, (n, p), besides its target.")
    return given
