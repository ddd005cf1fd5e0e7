"""Stepwise EM: a step on every portion of the data, which need not come again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from emnet.algorithms.base import Progress, e_step
from emnet.algorithms.online import blended
from emnet.batch import Data, total_weight
from emnet.inference.base import EStep
from emnet.models.base import LatentModel
from emnet.statistics import ModelStatistics


@dataclass
class Stepwise:
    """s ← (1 − γ)·s + γ·ŝ, statistics of a unit on average, γ = t^−power, and then M (Cappé & Moulines 2009).

    t is how many portions of the size of this one all units so far would make, itself among them: a small portion
    after much that was learned changes little. For models whose statistics do not grow with the data. The prior counts
    beside all units seen so far.

    Parameters
    ----------
    inference : the E-step.
    learned : what gives the statistics of the data as a model expects them that has learned before; None of a start,
        which the first step forgets.
    learned_from : the weight of the units that it has learned from; None for as many as the first portion has.
    power : above ½ and at most 1: how soon what came early is forgotten.
    """

    inference: EStep
    learned: Callable[[LatentModel, Data], ModelStatistics] | None = None
    learned_from: float | None = None
    power: float = 0.6

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._mean: ModelStatistics | None = None
        self._units = 0.0

    def step(self, model: LatentModel, data: Data) -> Progress:
        units = total_weight(data)
        if self._mean is None and self.learned is not None:
            self._mean, self._units = self.learned(model, data) * (1 / units), self.learned_from or units
        progress, found = e_step(model, data, self.inference)
        self._mean = blended(self._mean, found * (1 / units), self._units / units + 1, self.power)
        self._units += units
        model.m_step(self._mean * self._units)
        return progress
