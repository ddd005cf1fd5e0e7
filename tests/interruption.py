"""Ctrl-C at a line of the history."""

from __future__ import annotations

from typing import Any


class InterruptAt:
    """A callback that is Ctrl-C after so many lines of all starts together."""

    def __init__(self, lines: int):
        self.left = lines

    def __call__(self, model: Any, iteration: Any) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
