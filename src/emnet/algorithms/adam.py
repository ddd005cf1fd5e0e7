"""Stochastic gradient ascent of the evidence, batch by batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from emnet.algorithms.base import Progress, e_step
from emnet.batch import Data, require_own, total_weight
from emnet.inference.base import EStep
from emnet.models.base import LatentModel
from emnet.posteriors import EvidenceKind

_MEAN, _SQUARE, _FLOOR = 0.9, 0.999, 1e-8


@dataclass
class Adam:
    """Adam (Kingma & Ba 2015) on ∇ log evidence = ∇Q (Fisher's identity); a step is one pass over the batches.

    Each batch's statistics are scaled to the whole data's weight, so its gradient is an estimate of the whole one,
    prior included. What a pass reports is the sum over its batches, each at the parameters it met: an estimate.

    Parameters
    ----------
    inference : the E-step.
    learning_rate : of the first pass, in units of the parameters.
    passes : over which the rate falls to 0 along half a cosine; None keeps it.
    """

    inference: EStep
    learning_rate: float = 0.05
    passes: int | None = None
    kept = ("_pass", "_updates", "_mean", "_square")

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._pass = self._updates = 0
        self._mean: Tensor | None = None
        self._square: Tensor | None = None

    def step(self, model: LatentModel, data: Data) -> Progress:
        require_own(data, "adam")
        total = total_weight(data)
        rate, evidence, log_prior = falling(self.learning_rate, self._pass, self.passes), 0.0, model.log_prior()
        diagnostics: dict[str, float] = {}
        for batch in data:
            progress, statistics = e_step(model, [batch], self.inference)
            share = batch.total_weight / total
            gradient = model.gradient(statistics * (1 / share))
            model.set_coordinates(model.coordinates() + rate * self._direction(gradient))
            evidence += progress.log_evidence
            for name, value in progress.diagnostics.items():
                diagnostics[name] = diagnostics.get(name, 0.0) + share * value
        self._pass += 1
        return Progress(evidence, log_prior, EvidenceKind.ESTIMATE, diagnostics)

    def _direction(self, gradient: Tensor) -> Tensor:
        if self._mean is None or self._square is None:
            self._mean, self._square = torch.zeros_like(gradient), torch.zeros_like(gradient)
        self._updates += 1
        self._mean.lerp_(gradient, 1 - _MEAN)
        self._square.lerp_(gradient.square(), 1 - _SQUARE)
        mean = self._mean / (1 - _MEAN**self._updates)
        square = self._square / (1 - _SQUARE**self._updates)
        return mean / (square.sqrt() + _FLOOR)


def falling(rate: float, done: int, passes: int | None) -> float:
    """The rate after so many passes: it falls to 0 over `passes` along half a cosine; None keeps it."""
    return rate if passes is None else rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done / passes)))
