"""Warnings that point at the user's line, however deep in emnet they arise."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_BETWEEN = ("emnet", "sklearn", "joblib", "torch", "contextlib")  # whose lines say nothing to the user

_SAID: ContextVar[set[tuple[str, type[Warning]]] | None] = ContextVar("emnet_said", default=None)


@contextmanager
def saying_once() -> Iterator[None]:
    """Within the block, and the blocks within it, the same words are said once: a fit has many M-steps."""
    if _SAID.get() is not None:
        yield
        return
    before = _SAID.set(set())
    try:
        yield
    finally:
        _SAID.reset(before)


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the innermost line that is none of emnet's, nor of what it runs within."""
    said = _SAID.get()
    if said is not None:
        if (message, category) in said:
            return
        said.add((message, category))
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
