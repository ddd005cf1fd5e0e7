"""L-BFGS on the evidence, whose gradient the E-step gives."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from emnet.algorithms.base import Progress, e_step
from emnet.algorithms.em import EM
from emnet.algorithms.snapshot import keepable
from emnet.batch import Data
from emnet.exceptions import ImpossibleRowError
from emnet.models.base import LatentModel

_SUFFICIENT_RISE = 1e-4
_CURVATURE = 0.9
_MAX_TRIALS = 25


@keepable
class _Point(NamedTuple):
    """An E-step and where it was done."""

    vector: Tensor
    progress: Progress
    gradient: Tensor  # of the objective


@dataclass
class LBFGS:
    """Quasi-Newton ascent of the penalized log evidence in float64 (Nocedal & Wright 2006, algorithm 7.5).

    ∇ log evidence = ∇Q at θ (Fisher's identity), so each trial costs one E-step and no M-step. The line search
    asks for the weak Wolfe conditions by bisection (Lewis & Overton 2013); where it finds no rise, one EM step is
    taken in its place and the curvature forgotten, so a run does not end where plain EM would still rise.
    """

    em: EM
    memory: int = 20
    kept = ("_pairs", "_next")

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=self.memory)
        self._next: _Point | None = None

    def step(self, model: LatentModel, data: Data) -> Progress:
        vector = model.coordinates()
        if self._next is None or not vector.equal(self._next.vector):
            self._next = self._evaluate(model, data, vector)
        here = self._next
        there = self._search(model, data, here, self._direction(here.gradient))
        if there is None:
            self.reset()
            model.set_coordinates(vector)
            self.em.step(model, data)
        else:
            self._pairs.append((there.vector - here.vector, here.gradient - there.gradient))
            self._next = there
        return here.progress

    def _evaluate(self, model: LatentModel, data: Data, vector: Tensor) -> _Point:
        model.set_coordinates(vector)
        progress, statistics = e_step(model, data, self.em.inference)
        return _Point(model.coordinates(), progress, model.gradient(statistics))

    def _try(self, model: LatentModel, data: Data, vector: Tensor) -> _Point | None:
        """None at parameters under which the data are impossible, or a matrix is not definite to rounding."""
        try:
            return self._evaluate(model, data, vector)
        except (ImpossibleRowError, torch.linalg.LinAlgError):
            return None

    def _direction(self, gradient: Tensor) -> Tensor:
        """Two-loop recursion; the first step has length 1 at most."""
        if not self._pairs:
            return gradient / gradient.norm().clamp_min(1.0)
        direction, shares = gradient.clone(), []
        for moved, turned in reversed(self._pairs):
            shares.append(moved.dot(direction) / moved.dot(turned))
            direction -= shares[-1] * turned
        moved, turned = self._pairs[-1]
        direction *= moved.dot(turned) / turned.dot(turned)
        for (moved, turned), share in zip(self._pairs, reversed(shares), strict=True):
            direction += (share - turned.dot(direction) / moved.dot(turned)) * moved
        return direction

    def _search(self, model: LatentModel, data: Data, here: _Point, direction: Tensor) -> _Point | None:
        """A point along `direction` that rises enough and is less steep; None if bisection finds none."""
        slope = float(here.gradient.dot(direction))
        low, high, length = 0.0, math.inf, 1.0
        best = None
        for _ in range(_MAX_TRIALS):
            there = self._try(model, data, here.vector + length * direction)
            rise = math.nan if there is None else there.progress.objective - here.progress.objective
            if there is None or not rise > _SUFFICIENT_RISE * length * slope:  # NaN too
                high = length
            elif float(there.gradient.dot(direction)) > _CURVATURE * slope:
                low, best = length, there
            else:
                return there
            length = 2 * low if high == math.inf else (low + high) / 2
        # Rounding hides the curvature near the maximum: a rise without it is still a rise, but it ends the
        # quasi-Newton sequence, whose pairs must have s·y > 0.
        if best is not None:
            self._pairs.clear()
            model.set_coordinates(best.vector)
            if float((best.vector - here.vector).dot(here.gradient - best.gradient)) > 0:
                return best
        return None
