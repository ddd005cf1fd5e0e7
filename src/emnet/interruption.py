"""Ctrl-C and SIGTERM: an iteration is finished or dropped whole, and what a program then exits with."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from emnet.exceptions import FitInterrupted, FitTerminated

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ORDINARY = (signal.SIG_DFL, signal.default_int_handler)  # what may be replaced: no handler that a program has set
_ASKED = "Stopping after this iteration; once more to drop it."


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it is handled as Ctrl-C is."""


def interrupted(fit: Any, cause: KeyboardInterrupt, advice: str = "") -> FitInterrupted:
    """What a run raises that `cause` ended: FitTerminated after SIGTERM, else FitInterrupted."""
    return (FitTerminated if isinstance(cause, Terminated) else FitInterrupted)(fit, advice)


@contextmanager
def one_of_several() -> Iterator[None]:
    """The fit in the block is a part of a whole that is nothing without it: an interruption says that none is kept."""
    try:
        yield
    except FitInterrupted as stop:
        raise type(stop)(None, stop.advice) from stop


def exit_code(interrupt: BaseException) -> int:
    """130 after Ctrl-C, 143 after SIGTERM."""
    return 143 if isinstance(interrupt, (Terminated, FitTerminated)) else 130


class Requests:
    """Whether the user or the system has asked for the end."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """The first request waits for `obey`; the second raises at once, as does one that nobody waits for."""
        if self.signal is not None:
            self.obey()
        self.signal = number
        print(_ASKED, file=sys.stderr, flush=True)

    def share(self, largest: Callable[[int], int]) -> bool:
        """Whether any of many processes has been asked, of which `largest` gives the largest number: then all have."""
        number = largest(self.signal or 0)
        if number and self.signal is None:
            self.signal = number
        return number > 0

    def obey(self) -> None:
        """Raise KeyboardInterrupt or Terminated if there was a request."""
        if self.signal is not None:
            number, self.signal = self.signal, None
            _raise(number)


@contextmanager
def finishing_iterations() -> Iterator[Requests]:
    """Let a request wait until `obey` is called, at the latest until the end of the block."""
    requests = Requests()
    with handling(requests.ask):
        yield requests
    requests.obey()


@contextmanager
def terminating_as_interrupts() -> Iterator[None]:
    """SIGTERM raises a KeyboardInterrupt, so that what Ctrl-C leaves in order it leaves so too."""
    with handling(_raise):
        yield


def _raise(number: int, frame: FrameType | None = None) -> None:
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def handling(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Handle the signals that nobody else does; elsewhere than in the main thread, none."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) in (*_ORDINARY, _raise):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for known, own in before.items():
            signal.signal(known, own)
