"""SQUAREM: EM with squared extrapolation of its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from emnet.algorithms.base import Progress, evaluate
from emnet.algorithms.em import EM
from emnet.batch import Data
from emnet.exceptions import ImpossibleRowError
from emnet.models.base import LatentModel


@dataclass
class Squarem:
    """Scheme S3 of Varadhan & Roland 2008 on unconstrained coordinates, kept above plain EM.

    From θ₀ two EM steps give θ₁ and θ₂; with r = θ₁ − θ₀, v = θ₂ − 2θ₁ + θ₀ and α = −‖r‖/‖v‖ the candidate is
    θ₀ − 2αr + α²v. It is taken only if its objective is finite and no lower than θ₂'s; then the longest allowed step
    grows fourfold, else it shrinks and θ₂ stands.
    """

    em: EM
    first_longest: float = 4.0
    kept = ("_longest",)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._longest = self.first_longest

    def step(self, model: LatentModel, data: Data) -> Progress:
        start = model.coordinates()
        progress = self.em.step(model, data)
        first = model.coordinates()
        self.em.step(model, data)
        second = model.coordinates()
        length = self._length(first - start, second - 2 * first + start)
        if length > 1.0:
            self._extrapolate(model, data, start, first, second, length)
        return progress

    def _length(self, step: Tensor, bend: Tensor) -> float:
        ratio = float(step.norm() / bend.norm()) if float(bend.norm()) > 0 else 1.0
        return min(max(ratio, 1.0), self._longest) if math.isfinite(ratio) else 1.0

    def _extrapolate(
        self, model: LatentModel, data: Data, start: Tensor, first: Tensor, second: Tensor, length: float
    ) -> None:
        floor = evaluate(model, data, self.em.inference).objective
        model.set_coordinates(start + 2 * length * (first - start) + length**2 * (second - 2 * first + start))
        try:
            reached = evaluate(model, data, self.em.inference).objective
        except (torch.linalg.LinAlgError, ImpossibleRowError):  # too far: a matrix is not definite, all paths are lost
            reached = math.nan
        if reached >= floor:
            if length == self._longest:
                self._longest *= 4
        else:
            model.set_coordinates(second)
            self._longest = max(self._longest / 4, 2.0)
