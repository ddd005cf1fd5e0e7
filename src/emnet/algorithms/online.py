"""Stepwise EM: an M-step after every batch, on statistics that forget what is old."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from emnet.algorithms.base import Progress, e_step
from emnet.batch import Data, require_own, total_weight
from emnet.inference.base import EStep
from emnet.models.base import LatentModel
from emnet.posteriors import EvidenceKind
from emnet.statistics import ModelStatistics, require_constant_size

_POWER = 0.6


def blended(
    kept: ModelStatistics | None, found: ModelStatistics, t: float, power: float = _POWER, delay: float = 0.0
) -> ModelStatistics:
    """(1 − γ)·kept + γ·found with γ = (t + delay)^−power; of nothing kept, what was found."""
    share = (t + delay) ** -power
    return found if kept is None else found * share + kept * (1 - share)


@dataclass
class Online:
    """s ← (1 − γ_t)·s + γ_t·ŝ after every batch, then M (Cappé & Moulines 2009, algorithm 1); a step is one pass.

    ŝ are a batch's statistics scaled to a unit of weight, and M has s scaled to all the data, so that priors weigh as
    they do in batch EM. What a pass reports is the sum over its batches, each at the parameters it met: an estimate.

    Parameters
    ----------
    inference : the E-step.
    power, delay : γ_t = (t + delay)^−power of the t-th batch, t = 1, 2, …; the first one's statistics are taken whole.
        Powers in (½, 1] converge; a delay keeps the first batches from being forgotten at once.
    average_from : from which pass on the parameters of all batches are averaged, in their unconstrained coordinates
        (Polyak & Ruppert); None for the last ones.
    """

    inference: EStep
    power: float = _POWER
    delay: float = 0.0
    average_from: int | None = None

    kept = ("_pass", "_batches", "_averaged", "_statistics", "_mean", "_last")

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._pass = self._batches = self._averaged = 0
        self._statistics: ModelStatistics | None = None
        self._mean: Tensor | None = None
        self._last: Tensor | None = None

    def step(self, model: LatentModel, data: Data) -> Progress:
        require_own(data, "online")
        total, evidence, log_prior = total_weight(data), 0.0, model.log_prior()
        averages = self.average_from is not None and self._pass >= self.average_from
        if averages and self._last is not None:
            model.set_coordinates(self._last)  # what is averaged does not go on from the average
        for batch in data:
            progress, found = e_step(model, [batch], self.inference)
            evidence += progress.log_evidence
            if batch.total_weight == 0:
                continue
            require_constant_size(found)
            self._take(found * (1 / batch.total_weight))
            assert self._statistics is not None
            model.m_step(self._statistics * total)
            if averages:
                self._average(model.coordinates())
        self._pass += 1
        if averages and self._mean is not None:
            self._last = model.coordinates()
            model.set_coordinates(self._mean)
        return Progress(evidence, log_prior, EvidenceKind.ESTIMATE)

    def _take(self, found: ModelStatistics) -> None:
        self._batches += 1
        self._statistics = blended(self._statistics, found, self._batches, self.power, self.delay)

    def _average(self, vector: Tensor) -> None:
        self._averaged += 1
        self._mean = vector if self._mean is None else self._mean + (vector - self._mean) / self._averaged
