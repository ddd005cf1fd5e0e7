"""Figures and counts as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable

_ROUNDING = 1e-12
_LISTED = 12


def number(x: float) -> str:
    """Four digits; what rounding left of 0 is 0."""
    return "–" if math.isnan(x) else "0" if abs(x) < _ROUNDING else f"{x:.4g}"


def percent(share: float) -> str:
    """With a decimal where it is small, so that a little is not nothing."""
    return f"{share:.0%}" if share == 0 or share >= 0.095 else f"{share:.1%}"


def several(n: int, noun: str) -> str:
    """A count of things."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listed(words: Iterable[str]) -> str:
    """Words with commas between, and not for ever."""
    words = list(words)
    return ", ".join([*words[:_LISTED], *([f"and {len(words) - _LISTED} more"] if len(words) > _LISTED else [])])
