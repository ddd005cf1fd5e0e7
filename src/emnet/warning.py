"""Warnings that point at the user's line, however deep in emnet they arise."""

from __future__ import annotations

import sys
import warnings

_BETWEEN = ("emnet", "sklearn", "joblib", "torch", "contextlib")  # whose lines say nothing to the user


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the innermost line that is none of emnet's, nor of what it runs within."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
