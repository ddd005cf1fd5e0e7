"""Deterministic annealing: EM on a posterior that is flat at first, and then sharper than it should be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from emnet.algorithms.base import Algorithm, Progress, e_step
from emnet.batch import Batch, Data
from emnet.inference.base import EStep
from emnet.models.base import LatentModel
from emnet.posteriors import Discrete, require_discrete


@dataclass
class Annealing:
    """EM with responsibilities r^β / Σ r^β, where β rises from below 1 to above it and ends at 1.

    With a small β the rows of a cluster that a start gave to the wrong states can still change hands (Ueda & Nakano
    1998, Neural Networks 11:271). But states that fell together never part while β ≤ 1: a small difference between
    two Gaussians over all the data grows by β in each step. So β goes on to `peak` before it comes back to 1, where
    `algorithm` goes on (Naim & Gildea 2012, ICML: anti-annealing). For posteriors over one of k states.

    Parameters
    ----------
    algorithm : what follows.
    inference : the E-step.
    first, peak : β at the start, above 0, and at most, at least 1.
    growth : the ratio of β from one step to the next, above 1.
    jitter : standard deviation of what is added to each coordinate x before it is 1, relative to 1 + |x|: what fell
        together needs a difference that can grow.
    seed : of the jitter.
    """

    algorithm: Algorithm
    inference: EStep
    first: float = 0.3
    peak: float = 1.5
    growth: float = 1.05
    jitter: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.first <= 1 <= self.peak and self.growth > 1 and self.jitter >= 0):
            raise ValueError("Annealing needs 0 < first ≤ 1 ≤ peak, a growth above 1 and a jitter of at least 0.")
        self.reset()

    def reset(self) -> None:
        self._sharpness, self._rising = self.first, True
        self._generator = torch.Generator().manual_seed(self.seed)
        self.algorithm.reset()

    def step(self, model: LatentModel, data: Data) -> Progress:
        if self._sharpness == 1.0 and not self._rising:
            return self.algorithm.step(model, data)
        progress, statistics = e_step(model, data, Tempered(self.inference, self._sharpness))
        model.m_step(statistics)
        vector = model.coordinates()
        noise = torch.randn(len(vector), generator=self._generator, dtype=vector.dtype).to(vector.device)
        model.set_coordinates(vector + self.jitter * (1 + vector.abs()) * noise)
        self._cool()
        return replace(progress, unsettled=True)

    def _cool(self) -> None:
        """The next β."""
        if self._rising:
            self._sharpness = min(self._sharpness * self.growth, self.peak)
            self._rising = self._sharpness < self.peak
        else:
            self._sharpness = max(self._sharpness / self.growth, 1.0)


@dataclass(frozen=True)
class Tempered:
    """Responsibilities r^β / Σ r^β beside the evidence as it is."""

    inference: EStep
    sharpness: float

    def __call__(self, model: LatentModel, batch: Batch) -> Discrete:
        posterior = require_discrete(self.inference(model, batch))
        powers = posterior.responsibilities**self.sharpness
        return replace(posterior, responsibilities=powers / powers.sum(1, keepdim=True))
