"""A factor made of factors: its Q is the sum of theirs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from emnet.factors.base import Factor
from emnet.statistics import ModelStatistics, Statistics


class Composite(Factor[ModelStatistics]):
    """Parts with parameters of their own, maximized one by one. A subclass says how rows become the parts' rows."""

    def __init__(self, parts: Iterable[Factor[Any]]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    @property
    def m_step(self) -> Any:
        """The parts' way of maximizing, of parts that have the choice."""
        return self.parts[0].m_step

    def maximize(self, statistics: ModelStatistics) -> None:
        for part, own in self._with(statistics):
            part.maximize(own)

    def gradient(self, statistics: ModelStatistics) -> Tensor:
        return torch.cat([part.gradient(own) for part, own in self._with(statistics)])

    def log_prior(self) -> float:
        return sum(part.log_prior() for part in self._factors())

    def coordinates(self) -> Tensor:
        return torch.cat([part.coordinates() for part in self._factors()])

    def set_coordinates(self, vector: Tensor) -> None:
        sizes = [len(part.coordinates()) for part in self._factors()]
        for part, own in zip(self._factors(), vector.split(sizes), strict=True):
            part.set_coordinates(own)

    def _factors(self) -> list[Factor[Any]]:
        return list(self.parts)  # type: ignore[arg-type]

    def _with(self, statistics: ModelStatistics) -> list[tuple[Factor[Any], Statistics]]:
        return list(zip(self._factors(), statistics.by_factor.values(), strict=True))


def bundle(parts: Iterable[Statistics]) -> ModelStatistics:
    """The parts' statistics, in their order."""
    return ModelStatistics({str(number): part for number, part in enumerate(parts)})
