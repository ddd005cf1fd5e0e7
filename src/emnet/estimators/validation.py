"""Checks of input that all estimators share."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from emnet.exceptions import InvalidInputError

_NAMED_COLUMNS = 5


def require_finite(X: np.ndarray, names: np.ndarray | None, remedy: str) -> None:
    """Raise InvalidInputError that names the columns with NaN or infinity and counts their cells."""
    bad = ~np.isfinite(X)
    if not bad.any():
        return
    what = "NaN" if np.isnan(X).any() else "infinity"
    counts = bad.sum(axis=0)
    columns = np.flatnonzero(counts)
    parts = [f"{_column(j, names)}: {counts[j]}" for j in columns[:_NAMED_COLUMNS]]
    more = f" and {len(columns) - _NAMED_COLUMNS} more columns" if len(columns) > _NAMED_COLUMNS else ""
    raise InvalidInputError(
        f"Input X contains {what} (cells that are NaN or infinite, by column: {', '.join(parts)}{more}; "
        f"the first in row {int(np.flatnonzero(bad.any(axis=1))[0])}). {remedy}"
    )


def require_positive_integer(name: str, value: Any) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise InvalidInputError(f"{name} must be a whole number of at least 1; got {value!r}.")


def require_not_negative(name: str, value: Any) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < float("inf"):
        raise InvalidInputError(f"{name} must be a finite number of at least 0; got {value!r}.")


def _column(j: int, names: np.ndarray | None) -> str:
    return f"column {j}" if names is None else f"column {names[j]!r}"
