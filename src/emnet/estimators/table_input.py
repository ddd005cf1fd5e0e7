"""Input that may be an array of numbers, or of words and numbers, or a data frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from emnet.data.frames import (
    cells_of,
    column_names,
    declares_times,
    has_words,
    holds_times,
    is_frame,
    missing_cells,
    plain,
    require_frame,
)
from emnet.data.stream import Stream
from emnet.estimators.stream_passes import example_of, without_targets
from emnet.estimators.table_coding import infinite, is_number
from emnet.exceptions import InvalidInputError


def check_table(estimator: Any, X: Any, reset: bool) -> Any:
    """X as it came if it is a data frame or has words, else as numbers, (n, d), NaN for what is missing.

    Of a stream, which `fit` alone takes, the columns are taken down, and what comes back is it without targets.
    Raises InvalidInputError for too few rows, and for a frame that cannot be read.
    """
    if reset and isinstance(X, Stream):
        table = example_of(X)
        if isinstance(table, np.ndarray):
            table = np.where(np.isinf(table), 0.0, table)  # the fit says in which row
        check_table(estimator, table, reset=True)
        return X.through(without_targets)
    require_frame(X)
    if not (is_frame(X) or has_words(X)):
        with naming_cells(X):
            return validate_data(
                estimator,
                X,
                dtype=np.float64,
                ensure_all_finite="allow-nan",
                ensure_min_samples=2 if reset else 1,
                reset=reset,
            )
    validate_data(estimator, X, skip_check_array=True, reset=reset)
    if len(X) < (2 if reset else 1):
        raise InvalidInputError(f"X has {len(X)} rows, and needs at least {2 if reset else 1}.")
    return X if is_frame(X) else np.asarray(X, dtype=object)


@contextmanager
def naming_cells(X: Any) -> Iterator[None]:
    """Where scikit-learn refuses a table of numbers, an InvalidInputError that names the column, and the cell's row.

    Dates are refused, too: scikit-learn would take them as numbers, and one that is missing as a number like others.
    """
    require_frame(X)
    _require_no_times(X, declares_times)
    try:
        yield
    except TypeError:
        _require_no_times(X, lambda table, position: holds_times(cells_of(table, position)))
        raise
    except ValueError as error:
        table = X if is_frame(X) or isinstance(X, np.ndarray) else np.array(X, dtype=object)
        fault = _first_fault(table) if np.ndim(table) == 2 else None
        if fault is None:
            raise
        raise InvalidInputError(fault) from error


def _require_no_times(X: Any, has_times: Callable[[Any, int], bool]) -> None:
    if not is_frame(X) and (not isinstance(X, np.ndarray) or X.dtype.kind not in "mMO" or X.ndim != 2):
        return
    name = next((name for position, name in enumerate(column_names(X)) if has_times(X, position)), None)
    if name is not None:
        raise InvalidInputError(
            f"Column {name!r} has dates or times. Give numbers in their place, such as days since a date, with NaN for "
            "what is missing, or leave the column out."
        )


def _first_fault(table: Any) -> str | None:
    """Of the first cell that is infinite or no number, in words."""
    for position, name in enumerate(column_names(table)):
        cells = cells_of(table, position)
        if cells.dtype.kind in "OUS":
            row = next((row for row in np.flatnonzero(~missing_cells(cells)) if not is_number(cells[row])), None)
            if row is not None:
                return (
                    f"Column {name!r} should hold numbers; row {row} has {plain(cells[row])!r}. Take it as missing "
                    "(NaN), leave the column out, or take MixtureModel for a table with words."
                )
            cells = np.where(missing_cells(cells), np.nan, cells).astype(np.float64)
        if cells.dtype.kind == "f" and np.isinf(cells).any():
            return infinite(name, int(np.isinf(cells).argmax()))
    return None
