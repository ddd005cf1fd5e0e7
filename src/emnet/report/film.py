"""The parameters of a fit, iteration by iteration: what a report steps through."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from emnet.algorithms.base import Fit
from emnet.algorithms.recording import RECORDER, Recorder

_EVERY_ONE, _GROWTH = 8, 1.4  # the first iterations are all kept, as EM moves most in them; then ever fewer
_MOST_STEPS = 20
_MOST_BYTES = 2**27

State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Step:
    """An iteration: the parameters that its E-step was done at, and those that its M-step found from there."""

    number: int
    log_evidence: float
    before: State
    after: State


@dataclass(eq=False)
class Take:
    """One run of an algorithm."""

    model: Any
    algorithm: str
    steps: list[Step] = field(default_factory=list)
    fit: Fit | None = None

    def estimators(self, estimator: Any) -> list[tuple[Step, Any, Any]]:
        """Of some twenty steps the estimator as if its fit had ended before, and after the M-step."""
        far = len(self.steps) - _EVERY_ONE
        thin = range(len(self.steps)) if far <= 0 else [*range(_EVERY_ONE), *_spread(_EVERY_ONE, len(self.steps))]
        shown = [self.steps[number] for number in thin]
        return [(step, self._at(estimator, step.before), self._at(estimator, step.after)) for step in shown]

    def _at(self, estimator: Any, state: State) -> Any:
        model = copy.deepcopy(self.model)
        model.load_state_dict(state)
        return estimator._ended_with(model)


class Film:
    """Keeps some twenty iterations of each run within ``with``, most of them early ones, for `emnet.report.write`.

    Parameters larger than 128 MB in all are not kept: then there is nothing to step through.

    Examples
    --------
    >>> from emnet import GaussianMixture
    >>> with Film() as film:
    ...     model = GaussianMixture(2, random_state=0).fit([[0.0], [0.2], [5.0], [5.1]])
    >>> film.of(model).steps[0].number
    0
    """

    def __init__(self) -> None:
        self.takes: list[Take] = []
        self._inner: Recorder = RECORDER.get()
        self._run: Any = None
        self._now: State | None = None

    def of(self, estimator: Any) -> Take | None:
        """The run that the estimator's parameters come from, None where it was not filmed."""
        best = best_fit(estimator)
        same = (take for take in self.takes if best and take.fit and take.fit.history is best.history and take.steps)
        return next(same, None)

    def __enter__(self) -> Self:
        self._inner = RECORDER.get()
        self._token = RECORDER.set(self)  # type: ignore[arg-type]  # whose advice is that of another
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        RECORDER.reset(self._token)
        self._run = None

    # -- what `run` tells it ----------------------------------------------------------------------------------------

    @property
    def advice(self) -> str:  # type: ignore[override]
        return self._inner.advice

    def begin(self, run: Any, algorithm: Any, parts: Iterable[Any]) -> Any:
        ended = self._inner.begin(run, algorithm, parts)
        self.takes.append(Take(run.model, type(algorithm).__name__))
        self._run, self._now = run, _state(run.model)
        if sum(part.nbytes for part in self._now.values()) * 2 * _MOST_STEPS > _MOST_BYTES:
            self._run = None
        if ended is not None:
            self.takes[-1].fit = ended
        return ended

    def line(self) -> None:
        self._inner.line()
        if self._run is None:
            return
        number = self._run.history[-1].number
        after = _state(self._run.model) if _is_kept(number) or _is_kept(number + 1) else None
        if _is_kept(number) and self._now is not None and after is not None:
            self.takes[-1].steps.append(Step(number, self._run.history[-1].log_evidence, self._now, after))
        self._now = after

    def end(self, fit: Any) -> None:
        self._inner.end(fit)
        self.takes[-1].fit = fit


def best_fit(estimator: Any) -> Fit | None:
    """The record of the run that an estimator's parameters come from."""
    return max(fits_of(estimator), key=lambda fit: fit.last.objective, default=None)


def fits_of(estimator: Any) -> list[Fit]:
    """The records of an estimator's starts."""
    fits = getattr(estimator, "fits_", None) or [getattr(estimator, "_run", None)]
    return [fit for fit in fits if fit is not None and fit.history]


def _is_kept(number: int) -> bool:
    """Whether an iteration is shown: 0 … 8, and from there about each one that is 1.4 times the last."""
    kept = float(_EVERY_ONE)
    while round(kept) < number:
        kept *= _GROWTH
    return number <= _EVERY_ONE or round(kept) == number


def _spread(start: int, stop: int) -> list[int]:
    """Up to as many numbers as there is room for, evenly, the last among them."""
    room = min(_MOST_STEPS - start, stop - start)
    return [stop - 1 - round(i * (stop - 1 - start) / max(room - 1, 1)) for i in reversed(range(room))]


def _state(model: Any) -> State:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
