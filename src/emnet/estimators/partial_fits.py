"""Estimators that learn from portions of the data, one after another."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import torch

from emnet.algorithms.adam import Adam
from emnet.algorithms.base import Algorithm, Fit, Iteration, Reason, evaluate
from emnet.algorithms.stepwise import Stepwise
from emnet.batch import Batch, Data, MiniBatches, total_weight
from emnet.estimators.iterative_results import M
from emnet.estimators.iterative_stream import StreamedFits
from emnet.exceptions import DegenerateFitError, InvalidInputError
from emnet.inference.exact import Exact
from emnet.models.emitting import implied

_RATE_AFTER_A_FIT = 0.005  # Adam's first step goes so far in every coordinate, and ten times as far undoes a fit


class PartialFits(StreamedFits[M]):
    """A `partial_fit` is a step of an algorithm that is kept between calls, from each of the starts."""

    _steppers: list[Algorithm]

    def _has_closed_m_steps(self) -> bool:
        """Whether stepwise EM can be taken: all statistics are of constant size, all M-steps closed."""
        return False

    def _going_on(self) -> list[M]:
        """The starts that a fit goes on with."""
        return list(self.members_)

    def _starts(self, seeds: list[int], batch: Batch) -> Iterable[M]:
        if not self._continues():
            return super()._starts(seeds, batch)
        starts = self._going_on()
        if len(starts) != len(seeds):
            raise InvalidInputError(
                f"With warm_start a fit goes on with its starts, of which there are {len(starts)}; n_init says "
                f"{len(seeds)}. Set it back, or fit anew without warm_start."
            )
        return starts

    def _fit_pass(self, X: np.ndarray, target: np.ndarray, weights: np.ndarray) -> Self:
        """A step on rows that have been checked; the first ones say how inputs are standardized."""
        first = not getattr(self, "members_", None)
        if first:
            self._standardize(X, weights)
        self.prior_ = self._resolve_prior(X.shape[1])
        return self._take_steps(self._batch(X, target, weights), first)

    def _fit_starts(self, *arguments: Any) -> Self:
        self._steppers = []  # what was kept belongs to the parameters before
        return super()._fit_starts(*arguments)

    def _take_steps(self, batch: Batch, first: bool) -> Self:
        """A step on this batch: of stepwise EM, or of Adam on its mini-batches, by Fisher's identity along ∇Q."""
        if first:
            seeds = self._seeds()
            starts = [self._start(seed, batch) for seed in seeds]
        else:
            starts = self._going_on()
            seeds = list(range(len(starts)))
        if first or not getattr(self, "_steppers", None):
            self._steppers = [self._stepper(seed, first) for seed in seeds]
        data = self._portion(batch)
        with torch.no_grad():
            fits = [self._step(model, data, each) for model, each in zip(starts, self._steppers, strict=True)]
        self.members_, self.fits_ = [], []
        for model, fit in zip(starts, fits, strict=True):
            self._publish(model, fit)
        return self

    def _portion(self, batch: Batch) -> Data:
        """What a step goes through."""
        if self._has_closed_m_steps():
            return [batch]
        return MiniBatches(batch, self.batch_size or usual_batch(batch.n_units), 0)

    def _stepper(self, seed: int, first: bool) -> Algorithm:
        if self._has_closed_m_steps():
            return Stepwise(Exact()) if first else Stepwise(Exact(), implied, units_of(self.fits_))
        return Adam(self._e_step(seed)) if first else Adam(self._e_step(seed), learning_rate=_RATE_AFTER_A_FIT)

    def _step(self, model: M, data: Data, algorithm: Algorithm) -> Fit:
        """The record of a step: what it met, and what it reached on the same rows.

        Raises DegenerateFitError where that is not finite; the parameters are then those before.
        """
        began, before = time.perf_counter(), model.coordinates()
        met = Iteration(0, algorithm.step(model, data), time.perf_counter() - began)
        reached = Iteration(1, evaluate(model, data, self._e_step(0)), time.perf_counter() - began)
        if not math.isfinite(reached.progress.objective):
            model.set_coordinates(before)
            raise DegenerateFitError(
                "These rows gave an evidence or parameters that are not finite; the parameters before are kept. Scale "
                "the inputs, or take a smaller learning rate."
            )
        return Fit((met, reached), Reason.MAX_ITER, total_weight(data), reached.seconds)


def units_of(fits: Iterable[Fit]) -> float | None:
    """The weight of the units that fits were on; None of none."""
    return max((fit.rows for fit in fits), default=0.0) or None


def usual_batch(n: int) -> int:
    """Units of a mini-batch of n, where nothing else is said."""
    return min(200, max(16, n // 25))
