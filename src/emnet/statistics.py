"""Expected sufficient statistics: the vector space in which every way of running EM does its arithmetic.

Q(θ; s) is linear in s. Batches, streams and processes add statistics; online EM averages them; incremental EM
takes a block's old ones away and adds its new ones. A kind of statistics therefore needs +, a scale and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


class Statistics(ABC):
    """A vector: s + t, s − t, c·s."""

    @abstractmethod
    def __add__(self, other: Self) -> Self: ...

    @abstractmethod
    def __mul__(self, scale: float) -> Self: ...

    def __rmul__(self, scale: float) -> Self:
        return self * scale

    def __neg__(self) -> Self:
        return self * -1.0

    def __sub__(self, other: Self) -> Self:
        return self + -other


class Moments(Statistics):
    """Statistics of constant size: a dataclass of tensors, added entry by entry."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(a + b for a, b in zip(self._tensors(), other._tensors(), strict=True)))

    def __mul__(self, scale: float) -> Self:
        return type(self)(*(scale * a for a in self._tensors()))

    def _tensors(self) -> Iterator[Tensor]:
        return (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Observations(Statistics):
    """Weighted rows themselves, for factors whose likelihood has no sufficient statistics of constant size.

    They are a sum of point masses: + puts rows end to end, a scale multiplies their weights.
    """

    target: Tensor  # (n, d)
    given: Tensor  # (n, p)
    weights: Tensor  # (n,)

    def __add__(self, other: Observations) -> Observations:
        return Observations(
            torch.cat((self.target, other.target)),
            torch.cat((self.given, other.given)),
            torch.cat((self.weights, other.weights)),
        )

    def __mul__(self, scale: float) -> Observations:
        return Observations(self.target, self.given, scale * self.weights)


@dataclass(frozen=True, eq=False)
class ModelStatistics(Statistics):
    """The statistics of a model: one entry for each of its factors, by name."""

    by_factor: Mapping[str, Statistics]

    def __getitem__(self, name: str) -> Statistics:
        return self.by_factor[name]

    def __add__(self, other: ModelStatistics) -> ModelStatistics:
        return ModelStatistics({name: s + other[name] for name, s in self.by_factor.items()})

    def __mul__(self, scale: float) -> ModelStatistics:
        return ModelStatistics({name: s * scale for name, s in self.by_factor.items()})
