"""Expected sufficient statistics: the vector space in which every way of running EM does its arithmetic.

Q(θ; s) is linear in s. Batches, streams and processes add statistics; online EM averages them; incremental EM
takes a block's old ones away and adds its new ones. A kind of statistics therefore needs +, a scale and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError


class Statistics(ABC):
    """A vector: s + t, s − t, c·s; a dataclass whose tensors, statistics and mappings of those are its numbers.

    frame : the fields that are no sums but what the sums are about; in the same frame statistics add number by number.
    is_constant_in_size : whether it is as large for many rows as for one, as streams and many processes need.
    """

    frame: ClassVar[tuple[str, ...]] = ()
    is_constant_in_size: ClassVar[bool] = True

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

    def numbers(self) -> list[Tensor]:
        """The tensors that add, in the order of the fields."""
        own = [(name in self.frame, value) for name, value in self._values()]
        return [x for framed, v in own if not framed for x in ([v] if isinstance(v, Tensor) else _each(v, "numbers"))]

    def frames(self) -> list[Tensor]:
        """The tensors of the frame, likewise."""
        own = [(name in self.frame, value) for name, value in self._values()]
        return [x for framed, v in own for x in ([v] * framed if isinstance(v, Tensor) else _each(v, "frames"))]

    def with_numbers(self, numbers: Iterator[Tensor]) -> Self:
        """The same kind, in the same frame, with those numbers, each reshaped."""
        own = {name: _with(value, numbers) for name, value in self._values() if name not in self.frame}
        return replace(self, **own)  # type: ignore[type-var]

    def in_frame(self, frame: Iterator[Tensor]) -> Self:
        """The same in another frame."""
        own = {name: _framed(value, frame) for name, value in self._values() if not isinstance(value, Tensor)}
        return replace(self, **own) if own else self  # type: ignore[type-var]

    def growing(self) -> Statistics | None:
        """A part that is not constant in size, None if there is none."""
        if not self.is_constant_in_size:
            return self
        parts = (part for _, v in self._values() if not isinstance(v, Tensor) for part in _parts(v))
        return next((found for part in parts if (found := part.growing()) is not None), None)

    def _values(self) -> Iterator[tuple[str, Any]]:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, (Tensor, Statistics, Mapping)):
                yield field.name, value


def require_constant_size(statistics: Statistics) -> None:
    """Raise InvalidInputError for statistics that hold rows, where those would pile up or have to travel."""
    if (growing := statistics.growing()) is not None:
        raise InvalidInputError(
            f"An M-step asks for the rows themselves ({type(growing).__name__}), which are kept neither of streams nor "
            "from pass to pass, and which processes do not exchange. Take m_step='mm' or 'gradient' (of networks "
            "'gradient'), or algorithm='lbfgs'."
        )


def _parts(value: Any) -> list[Statistics]:
    return [value] if isinstance(value, Statistics) else list(value.values())


def _each(value: Any, what: str) -> list[Tensor]:
    return [tensor for part in _parts(value) for tensor in getattr(part, what)()]


def _with(value: Any, numbers: Iterator[Tensor]) -> Any:
    if isinstance(value, Tensor):
        return next(numbers).reshape(value.shape).to(value)
    if isinstance(value, Statistics):
        return value.with_numbers(numbers)
    return {name: part.with_numbers(numbers) for name, part in value.items()}


def _framed(value: Any, frame: Iterator[Tensor]) -> Any:
    if isinstance(value, Statistics):
        return value.in_frame(frame)
    return {name: part.in_frame(frame) for name, part in value.items()}


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

    is_constant_in_size = False

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
