"""The loop that runs any algorithm on any model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from emnet.algorithms.recording import RECORDER, Recorder
from emnet.algorithms.snapshot import keepable
from emnet.batch import Batch, Data, combined, total_weight
from emnet.exceptions import CheckpointError, DegenerateFitError, EvidenceDecreasedWarning
from emnet.inference.base import EStep
from emnet.interruption import interrupted
from emnet.models.base import LatentModel
from emnet.posteriors import EvidenceKind
from emnet.statistics import ModelStatistics, Statistics
from emnet.warning import saying_once, warn

keepable(EvidenceKind)
_ROUNDING = 1e-9  # relative fall of the objective that is rounding (4e-16 a row is ordinary), not a fault
_ROUNDING_OF_FLOAT32 = 1e-4  # a Gaussian much narrower than the data may cost each row 1e-3 nats, of either sign


class Reason(StrEnum):
    """Why a run ended."""

    CONVERGED = "converged"
    MAX_ITER = "max_iter"
    DECREASED = "decreased"
    DEGENERATE = "degenerate"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"


@keepable
@dataclass(frozen=True)
class Progress:
    """What an E-step over the data says of the parameters it was done at."""

    log_evidence: float  # Σ_j weight_j log evidence_j
    log_prior: float
    kind: EvidenceKind
    diagnostics: dict[str, float] = field(default_factory=dict)
    unsettled: bool = False  # whether the algorithm is on its way elsewhere: neither a rest nor a fall ends the run
    at: Tensor | None = None  # the coordinates it was done at, where a step had to give up those that it met
    rounding: float = field(default=_ROUNDING, repr=False)  # relative fall of the objective that is none

    @property
    def objective(self) -> float:
        """The penalized log evidence: what EM raises."""
        return self.log_evidence + self.log_prior

    @property
    def passing(self) -> bool:
        """Whether nothing can be told from it, nor from what comes after it, of a rest or a fall."""
        return self.unsettled or self.kind is EvidenceKind.ESTIMATE


@dataclass(frozen=True)
class Iteration:
    """A line of the history. Number 0 is the start; the last is the E-step that ends the run."""

    number: int
    progress: Progress
    seconds: float  # since the run began

    @property
    def log_evidence(self) -> float:
        """Σ_j weight_j log evidence_j, in nats, without the prior."""
        return self.progress.log_evidence


@dataclass(frozen=True)
class Fit:
    """The record of a run."""

    history: tuple[Iteration, ...]
    reason: Reason
    rows: float  # total weight of the data
    seconds: float

    @property
    def converged(self) -> bool:
        """Whether it ended because its objective had stopped rising."""
        return self.reason is Reason.CONVERGED

    @property
    def n_iter(self) -> int:
        """M-steps that were taken; a line that puts parameters back is none."""
        return max(len(self.history) - 1 - (self.returned_to is not None), 0)

    def is_kept_beside(self, best: float | None) -> bool:
        """Whether its parameters are, where it did not end well, and other starts reached `best`, None of no others.

        What was interrupted counts for what it reached; what failed may well be the likeliest.
        """
        if best is None or not self.history:
            return bool(self.history)
        return self.reason is Reason.INTERRUPTED and self.last.objective > best

    @property
    def estimated(self) -> bool:
        """Whether its steps reported estimates, which end no run: it had as many as it was given."""
        return bool(self.history) and self.history[0].progress.kind is EvidenceKind.ESTIMATE

    @property
    def last(self) -> Progress:
        """What the last line says, of the parameters that were kept."""
        return self.history[-1].progress

    @property
    def returned_to(self) -> int | None:
        """The line whose parameters were put back at the end, None if they are those of the last step."""
        number = self.last.diagnostics.get("returned_to") if self.history else None
        return None if number is None else int(number)


Callback = Callable[[LatentModel, Iteration], bool | None]
"""Called after every line of the history; one that returns True ends the run."""


@runtime_checkable
class Algorithm(Protocol):
    """One way up the evidence. `step` reports on the parameters it found, then improves them.

    What it remembers from step to step it names in `kept`, see `emnet.algorithms.snapshot`.
    """

    def step(self, model: LatentModel, data: Data) -> Progress:
        """Say what an E-step finds at the parameters as they are, and then improve them in place."""
        ...

    def reset(self) -> None:
        """Forget what was kept between steps."""
        ...


def e_step(model: LatentModel, data: Data, inference: EStep) -> tuple[Progress, ModelStatistics]:
    """Posterior, evidence and statistics over all batches."""
    total = _pass(model, data, inference, collects=True)
    return total.progress(model), total.statistics


def _is_finite(values: Tensor) -> bool:
    """Whether all are, mostly told by their sum, in a third of the time."""
    return math.isfinite(float(values.sum())) or bool(values.isfinite().all())


def evaluate(model: LatentModel, data: Data, inference: EStep) -> Progress:
    """The evidence over all batches."""
    return _pass(model, data, inference, collects=False).progress(model)


def _pass(model: LatentModel, data: Data, inference: EStep, *, collects: bool) -> Sums:
    """Every batch goes into the sum of its block, and the data say how blocks become one: see `Batch.block`."""
    blocks: dict[int, Sums] = {}
    for batch in data:
        part = _sums(model, batch, inference, collects)
        blocks[batch.block] = blocks[batch.block] + part if batch.block in blocks else part
    return combined(data, blocks)


def _sums(model: LatentModel, batch: Batch, inference: EStep, collects: bool) -> Sums:
    evidence, statistics = (
        inference.expectations(model, batch) if collects else (inference(model, batch), ModelStatistics({}))
    )
    diagnostics = evidence.diagnostics
    totals = [evidence.total(batch.weights), len(batch), *(len(batch) * value for value in diagnostics.values())]
    narrow = any(values.dtype == torch.float32 for values in (batch.target, batch.given) if values is not None)
    rounding = _ROUNDING_OF_FLOAT32 if narrow else _ROUNDING
    return Sums(torch.tensor(totals, dtype=torch.float64), statistics, evidence.kind, tuple(diagnostics), rounding)


@dataclass(frozen=True, eq=False)
class Sums(Statistics):
    """What a pass adds up; kind and rounding of the evidence, and the diagnostics' names, are those of every batch."""

    totals: Tensor  # log evidence, rows, and of each diagnostic its sum over the rows
    statistics: ModelStatistics
    kind: EvidenceKind
    names: tuple[str, ...]
    rounding: float

    def __add__(self, other: Sums) -> Sums:
        return replace(self, totals=self.totals + other.totals, statistics=self.statistics + other.statistics)

    def __mul__(self, scale: float) -> Sums:
        return replace(self, totals=scale * self.totals, statistics=scale * self.statistics)

    def progress(self, model: LatentModel) -> Progress:
        evidence, rows, *sums = self.totals.tolist()
        means = {name: value / rows for name, value in zip(self.names, sums, strict=True)}
        return Progress(evidence, model.log_prior(), self.kind, means, rounding=self.rounding)


def run(
    model: LatentModel,
    data: Data | Batch,
    algorithm: Algorithm,
    *,
    inference: EStep,
    max_iter: int = 300,
    tol: float = 1e-6,
    callbacks: Iterable[Callback] = (),
    monotone: bool = True,
) -> Fit:
    """Improve `model` in place until its objective stops rising; the last act is an E-step.

    Converged: the penalized log evidence per unit of weight rose by at most tol · (1 + |its value|).
    A fall puts the best parameters back, and beyond rounding (`Progress.rounding`, more in float32) it is a fault: it
    warns and ends with reason "decreased"; a smaller one is a rest. NaN puts the last
    finite parameters back and raises DegenerateFitError, Ctrl-C the best and raises FitInterrupted, a
    KeyboardInterrupt; both carry the Fit. With `monotone=False` a fall ends nothing: for
    algorithms that promise no rise, such as gradient steps of a fixed rate. Evidence that is an estimate neither
    ends a run by falling nor by standing still, nor does what is compared with it: such a run has `max_iter` steps.
    Where an algorithm was on its way elsewhere (`Progress.unsettled`) and the run ends below a line that it came by,
    that line's parameters are put back, and a last line says "returned_to".
    """
    data = [data] if isinstance(data, Batch) else data
    loop, recorder = _Loop(model, total_weight(data), tuple(callbacks), monotone), RECORDER.get()
    algorithm.reset()
    ended: Fit | None = recorder.begin(loop, algorithm, (inference, data, *loop.callbacks))
    if ended is not None:
        return ended
    try:
        with torch.no_grad(), saying_once():
            fit = loop.end(_climb(loop, data, algorithm, inference, max_iter, tol, recorder))
    except KeyboardInterrupt as interrupt:
        loop.restore()
        raise interrupted(loop.end(Reason.INTERRUPTED), interrupt, recorder.advice) from interrupt
    except CheckpointError as error:
        loop.restore()
        error.fit = loop.end(Reason.INTERRUPTED)
        raise
    recorder.end(fit)
    return fit


def _climb(
    loop: _Loop, data: Data, algorithm: Algorithm, inference: EStep, max_iter: int, tol: float, recorder: Recorder
) -> Reason:
    for _ in range(len(loop.history), max_iter):
        if reason := loop.judge(lambda: algorithm.step(loop.model, data), tol):
            return reason
        recorder.line()
    return loop.judge(lambda: evaluate(loop.model, data, inference), tol) or Reason.MAX_ITER


class _Loop:
    """State of one run: the history, and the parameters of its last line."""

    def __init__(self, model: LatentModel, rows: float, callbacks: tuple[Callback, ...], monotone: bool):
        self.model, self.rows, self.callbacks, self.monotone = model, rows, callbacks, monotone
        self.history: list[Iteration] = []
        self.best = model.coordinates()
        self.highest: tuple[Iteration, Tensor] | None = None
        self.began = time.perf_counter()

    def judge(self, step: Callable[[], Progress], tol: float) -> Reason | None:
        """Take one step; None if the run should go on. Parameters end where the history does."""
        before = self.model.coordinates()
        progress = self._try(step)
        before = before if progress.at is None else progress.at
        gain = self._gain(progress)
        if math.isnan(gain) or not _is_finite(before):
            self._raise_degenerate()
        sure = not progress.passing
        if self.monotone and sure and gain < -_ROUNDING:
            self.restore()
            if gain >= -progress.rounding:
                return Reason.CONVERGED
            self._warn_decreased(gain)
            return Reason.DECREASED
        self.best = before
        self._record(progress)
        stopped = [callback(self.model, self.history[-1]) for callback in self.callbacks]
        converged = sure and abs(gain) <= tol
        if not converged and not any(stopped):
            return None
        self.restore()
        return Reason.CONVERGED if converged else Reason.STOPPED

    def _try(self, step: Callable[[], Progress]) -> Progress:
        """The step; an M-step that fails leaves the parameters that it met, and says how far the run had come."""
        try:
            return step()
        except DegenerateFitError as error:
            self.restore()
            error.fit = self.fit(Reason.DEGENERATE)
            raise

    def restore(self) -> None:
        self.model.set_coordinates(self.best)

    def go_on(self, history: Iterable[Iteration], best: Tensor, highest: tuple[int, Tensor] | None) -> None:
        """Stand where a run stood after those lines; `highest` is the number of a line, and its parameters."""
        self.history, self.best = list(history), best
        self.highest = None if highest is None else (self.history[highest[0]], highest[1])
        self.began -= self.history[-1].seconds if self.history else 0.0

    def _record(self, progress: Progress) -> None:
        """A line of the history, of the parameters `best`."""
        line = Iteration(len(self.history), progress, time.perf_counter() - self.began)
        self.history.append(line)
        if self.highest is None or progress.objective > self.highest[0].progress.objective:
            self.highest = line, self.best

    def end(self, reason: Reason) -> Fit:
        """The record; where an algorithm was elsewhere and ends lower, the parameters of the highest line come back."""
        if self.highest is not None and any(line.progress.unsettled for line in self.history):
            line, coordinates = self.highest
            top = line.progress.objective
            if self.history[-1].progress.objective < top - _ROUNDING * (self.rows + abs(top)):
                self.model.set_coordinates(coordinates)
                note = {**line.progress.diagnostics, "returned_to": float(line.number)}
                self._record(replace(line.progress, diagnostics=note, unsettled=False))
        return self.fit(reason)

    def fit(self, reason: Reason) -> Fit:
        return Fit(tuple(self.history), reason, self.rows, time.perf_counter() - self.began)

    def _gain(self, progress: Progress) -> float:
        """Rise of the objective since the last line, per unit of weight, relative; ∞ where that tells nothing, NaN
        beside NaN or +∞.
        """
        if not math.isfinite(progress.objective):
            return math.nan
        if not self.history or self.history[-1].progress.passing:
            return math.inf
        last = self.history[-1].progress.objective
        return (progress.objective - last) / (self.rows + abs(last))

    def _raise_degenerate(self) -> None:
        self.restore()
        fit = self.fit(Reason.DEGENERATE)
        raise DegenerateFitError(
            f"Iteration {len(self.history)} gave an evidence or parameters that are not finite. "
            f"The parameters of iteration {max(len(self.history) - 1, 0)} are kept. "
            "Give a stronger prior, scale the inputs, or take a smaller learning rate.",
            fit,
        )

    def _warn_decreased(self, gain: float) -> None:
        warn(
            f"Iteration {len(self.history)} lowered the log evidence (relative change {gain:.2e}); the parameters of "
            f"iteration {len(self.history) - 1} are kept and the run has not converged. With a gradient M-step take "
            "a smaller learning rate; else use float64.",
            EvidenceDecreasedWarning,
        )
