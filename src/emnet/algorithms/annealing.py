"""Deterministic annealing: EM on a posterior that is flat at first, and then sharper than it should be."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emnet.algorithms.base import Algorithm, Progress, e_step
from emnet.batch import Batch, Data, total_weight
from emnet.exceptions import DegenerateFitError
from emnet.inference.base import EStep
from emnet.models.base import LatentModel
from emnet.posteriors import Discrete, require_discrete


@dataclass
class Annealing:
    """EM to its rest; then, from the same start, with responsibilities r^β / Σ r^β, where β ends at 1; and the better.

    With a small β the rows of a cluster that a start gave to the wrong states can still change hands (Ueda & Nakano
    1998, Neural Networks 11:271). But states that fell together never part while β ≤ 1: a small difference between
    two Gaussians over all the data grows by β in each step. So β goes on to `peak` before it comes back to 1, where
    `algorithm` goes on (Naim & Gildea 2012, ICML: anti-annealing). For posteriors over one of k states.

    What `algorithm` reaches without annealing is kept, and put back if annealing ends lower or fails: no run ends below
    where `algorithm` alone would have ended. The line of the history where this is seen has "annealed", 1 if what
    annealing found was taken; lines before it have their β as "sharpness".

    Parameters
    ----------
    algorithm : what climbs, before and after.
    inference : the E-step.
    tol : at rest is where the objective per row changes by less; what ends the run should not be looser.
    first, peak : β at the start, above 0, and at most, at least 1.
    growth : the ratio of β from one step to the next, above 1.
    jitter : standard deviation of what is added to each coordinate x before it is 1, relative to 1 + |x|: what fell
        together needs a difference that can grow.
    seed : of the jitter.
    """

    algorithm: Algorithm
    inference: EStep
    tol: float = 1e-3
    first: float = 0.3
    peak: float = 1.5
    growth: float = 1.05
    jitter: float = 0.01
    seed: int = 0
    kept = ("_sharpness", "_rising", "_generator", "_start", "_plain", "_settled", "_last")

    def __post_init__(self) -> None:
        if not (0 < self.first <= 1 <= self.peak and self.growth > 1 and self.jitter >= 0):
            raise ValueError("Annealing needs 0 < first ≤ 1 ≤ peak, a growth above 1 and a jitter of at least 0.")
        self.reset()

    def reset(self) -> None:
        self._sharpness, self._rising = self.first, True
        self._generator = torch.Generator().manual_seed(self.seed)
        self._start: Tensor | None = None
        self._plain: tuple[float, Tensor] | None = None  # what was reached without annealing
        self._settled, self._last = False, -math.inf
        self.algorithm.reset()

    def step(self, model: LatentModel, data: Data) -> Progress:
        if self._start is None:
            self._start = model.coordinates()
        if self._settled or self._plain is None:
            return self._climb(model, data)
        try:
            progress = self._temper(model, data) if self._is_tempering() else self._climb(model, data)
        except (DegenerateFitError, torch.linalg.LinAlgError):  # a state that annealing left without rows
            return self._put_back(model, data)
        return progress if math.isfinite(progress.objective) else self._put_back(model, data)

    def _climb(self, model: LatentModel, data: Data) -> Progress:
        progress = self.algorithm.step(model, data)
        change, self._last = progress.objective - self._last, progress.objective
        if self._settled or not abs(change) <= self.tol * total_weight(data):
            return progress
        return self._leave(model, progress) if self._plain is None else self._choose(model, progress)

    def _leave(self, model: LatentModel, progress: Progress) -> Progress:
        """From the rest of plain EM back to the start."""
        assert self._start is not None
        self._plain, self._last = (progress.objective, model.coordinates()), -math.inf
        model.set_coordinates(self._start)
        self.algorithm.reset()
        return replace(progress, unsettled=True)

    def _choose(self, model: LatentModel, progress: Progress) -> Progress:
        """At rest after annealing: the better of the two ends."""
        assert self._plain is not None
        self._settled = True
        reached, plain = self._plain
        higher = progress.objective >= reached
        if not higher:
            model.set_coordinates(plain)
            self.algorithm.reset()
        return _noted(replace(progress, unsettled=not higher), "annealed", float(higher))

    def _put_back(self, model: LatentModel, data: Data) -> Progress:
        """A step of plain EM from where it had come to rest."""
        assert self._plain is not None
        self._settled = True
        at = self._plain[1]
        model.set_coordinates(at)
        self.algorithm.reset()
        return _noted(replace(self.algorithm.step(model, data), unsettled=True, at=at), "annealed", 0.0)

    def _is_tempering(self) -> bool:
        return self._rising or self._sharpness > 1.0

    def _temper(self, model: LatentModel, data: Data) -> Progress:
        sharpness = self._sharpness
        progress, statistics = e_step(model, data, Tempered(self.inference, sharpness))
        model.m_step(statistics)
        vector = model.coordinates()
        noise = torch.randn(len(vector), generator=self._generator, dtype=vector.dtype).to(vector.device)
        model.set_coordinates(vector + self.jitter * (1 + vector.abs()) * noise)
        self._cool()
        return _noted(replace(progress, unsettled=True), "sharpness", sharpness)

    def _cool(self) -> None:
        """The next β."""
        if self._rising:
            self._sharpness = min(self._sharpness * self.growth, self.peak)
            self._rising = self._sharpness < self.peak
        else:
            self._sharpness = max(self._sharpness / self.growth, 1.0)


def _noted(progress: Progress, name: str, value: float) -> Progress:
    return replace(progress, diagnostics={**progress.diagnostics, name: value})


@dataclass(frozen=True)
class Tempered(EStep):
    """Responsibilities r^β / Σ r^β beside the evidence as it is."""

    inference: EStep
    sharpness: float

    def __call__(self, model: LatentModel, batch: Batch) -> Discrete:
        posterior = require_discrete(self.inference(model, batch))
        powers = posterior.responsibilities**self.sharpness
        return replace(posterior, responsibilities=powers / powers.sum(1, keepdim=True))
