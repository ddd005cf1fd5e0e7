"""What may stand beside `run` and keep what it has done, so that it can go on where a process ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol


class Recorder(Protocol):
    """Told of every run in turn. A run is an object with a history that can be taken down and taken up again."""

    advice: str  # how to go on after an interruption, or ""

    def begin(self, run: Any, algorithm: Any, parts: Iterable[Any]) -> Any:
        """A run begins: put it where it was, if it is known. The record of one that had ended, else None."""
        ...

    def line(self) -> None:
        """The run has a new line of history, and the model has gone on from it."""
        ...

    def end(self, fit: Any) -> None:
        """The run has ended well; the model holds what it found."""
        ...


class Nobody:
    """Keeps nothing."""

    advice = ""

    def begin(self, run: Any, algorithm: Any, parts: Iterable[Any]) -> None:
        return None

    def line(self) -> None:
        return None

    def end(self, fit: Any) -> None:
        return None


_NOBODY = Nobody()
RECORDER: ContextVar[Recorder] = ContextVar("emnet_recorder", default=_NOBODY)
"""Who keeps the runs of this thread."""


@contextmanager
def unrecorded() -> Iterator[None]:
    """Runs that are none of the fit's own, which a fit that is taken up again does not have."""
    before = RECORDER.set(_NOBODY)
    try:
        yield
    finally:
        RECORDER.reset(before)
