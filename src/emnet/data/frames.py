"""Tables as users have them: arrays, pandas' and polars' data frames; their columns, and what is missing in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from importlib import import_module
from typing import Any

import numpy as np

from emnet.exceptions import InvalidInputError

_NO_VALUE = ("NAType", "NaTType")
_TIMES = (date, time, timedelta)
_PERIOD = "Period"  # of pandas, which need not be there
_LISTED = 8
CATEGORY, ORDERED = "category", "ordered category"


def is_frame(table: Any) -> bool:
    return hasattr(table, "columns") and hasattr(table, "__getitem__") and library(table) in ("pandas", "polars")


def require_frame(table: Any) -> None:
    """Raise InvalidInputError for a data frame that is not there yet, or whose columns cannot be told apart."""
    if hasattr(table, "collect_schema") and not hasattr(table, "to_numpy"):
        raise InvalidInputError("X is a lazy frame: give X.collect().")
    if np.ma.is_masked(table):
        raise InvalidInputError(
            "X is a masked array: give X.astype(float).filled(np.nan), and what is masked is missing."
        )
    times = Counter(table.columns) if is_frame(table) else Counter()
    twice = next((name for name, count in times.items() if count > 1), None)
    if twice is not None:
        raise InvalidInputError(f"X has several columns that are called {twice!r}. Rename all but one.")


def column_names(table: Any) -> list[Any]:
    return list(table.columns) if is_frame(table) else list(range(np.shape(table)[1]))


def cells_of(table: Any, position: int) -> np.ndarray:
    """A column's cells, (n,)."""
    if is_frame(table):
        return np.asarray(table[list(table.columns)[position]].to_numpy())
    return np.asarray(table)[:, position]


def dtype_of(table: Any, position: int) -> str:
    if not is_frame(table):
        return "float64"
    dtype = table[list(table.columns)[position]].dtype
    return ORDERED if str(dtype) == CATEGORY and getattr(dtype, "ordered", False) else str(dtype)


def declared_values(table: Any, position: int) -> tuple[Any, ...] | None:
    """The categories that a data frame's column says it may have, None of other columns."""
    found = getattr(table[list(table.columns)[position]].dtype, "categories", None) if is_frame(table) else None
    plain_list = getattr(found, "tolist", None) or getattr(found, "to_list", None)
    return None if plain_list is None else tuple(plain_list())


def library_of(table: Any) -> str | None:
    """Whose data frame it is, None of an array."""
    return library(table) if is_frame(table) else None


def missing_cells(cells: np.ndarray) -> np.ndarray:
    """Which cells are NaN, None or a library's own value for nothing: (n,)."""
    if cells.dtype.kind in "fc":
        return np.isnan(cells)
    if cells.dtype.kind in "mM":
        return np.isnat(cells)
    if cells.dtype.kind != "O":
        return np.zeros(len(cells), dtype=bool)
    return np.array([is_nothing(cell) for cell in cells], dtype=bool)


def values_of(name: Any, cells: np.ndarray) -> tuple[Any, ...]:
    """The different values of a column, in order."""
    there = ~missing_cells(cells)
    try:
        found = {plain(cell) for cell in cells[there]}
    except TypeError as error:
        row = next(row for row in np.flatnonzero(there) if not is_value(plain(cells[row])))
        raise InvalidInputError(
            f"Column {name!r} has {cells[row]!r} in row {row}, which is no category: those are words, numbers or "
            "booleans. Make columns of what is in it, or leave the column out."
        ) from error
    try:
        return tuple(sorted(found))
    except TypeError as error:
        raise InvalidInputError(f"The categories of column {name!r} must all be of one kind: {error}.") from error


def is_value(cell: Any) -> bool:
    """Whether a cell can be told from others and found again, as a list cannot."""
    try:
        hash(cell)
    except TypeError:
        return False
    return True


def declares_times(table: Any, position: int) -> bool:
    """Whether a column is of dates, times, durations or periods by its type."""
    if not is_frame(table):
        return table.dtype.kind in "mM"
    dtype = str(table[list(table.columns)[position]].dtype).lower()
    return dtype.startswith(("date", "time", "duration", "period"))


def holds_times(cells: np.ndarray) -> bool:
    """Whether a column has dates, times, durations or periods in it."""
    if cells.dtype.kind != "O":
        return cells.dtype.kind in "mM"
    return any(isinstance(cell, _TIMES) or type(cell).__name__ == _PERIOD for cell in cells)


def kind_of(cells: np.ndarray) -> type:
    """bool, int, float or str: the narrowest that holds the cells that are there."""
    if cells.dtype.kind in "biuf":
        return {"b": bool, "i": int, "u": int, "f": float}[cells.dtype.kind]
    kinds = {type(plain(cell)) for cell in cells[~missing_cells(cells)]}
    return next((kind for kind in (bool, int, float) if kinds == {kind}), float if kinds == {int, float} else str)


def has_words(table: Any) -> bool:
    """Whether a table has columns that are no numbers: strings, booleans, declared categories."""
    if is_frame(table):
        cells = ((declared_values(table, j), cells_of(table, j)) for j in range(len(table.columns)))
        return any(
            values is not None or (column.dtype.kind not in "mM" and kind_of(column) in (str, bool))
            for values, column in cells
        )
    kind = "O" if isinstance(table, (list, tuple)) else getattr(getattr(table, "dtype", None), "kind", "")
    if kind in "US" and kind:
        return np.ndim(table) == 2
    whole = np.asarray(table, dtype=object) if kind == "O" else np.empty(0)
    return whole.ndim == 2 and any(isinstance(cell, str) for cell in whole.flat)


def without_column(table: Any, position: int) -> Any:
    """The table, of which that column is missing in every row."""
    library = library_of(table)
    if library is None:
        rows = np.array(table, dtype=object if has_words(table) else float)
        rows[:, position] = None if rows.dtype == object else np.nan
        return rows
    name = list(table.columns)[position]
    if library == "pandas":
        frame = table.copy()
        frame[name] = np.nan if cells_of(table, position).dtype.kind in "iuf" else None
        return frame
    polars = import_module(library)
    return table.with_columns(polars.lit(None, dtype=table[name].dtype).alias(name))


def rows_given(like: Any, n: int, given: Mapping[Any, Any]) -> Any:
    """A table of n rows like `like` in which nothing is known but the values given by column: name, or position.

    Raises InvalidInputError for a column that is not there.
    """
    names = column_names(like)
    for name in given:
        if name not in names:
            raise InvalidInputError(f"No column {name!r}; the columns are {listed(names)}.")
    library = library_of(like)
    if library is None:
        words = has_words(like) or any(isinstance(value, str) for value in given.values())
        rows: Any = np.full((n, len(names)), None if words else np.nan, dtype=object if words else float)
        for name, value in given.items():
            rows[:, name] = value
        return rows
    if library == "pandas":
        rows = like.iloc[:0].reindex(range(n))
        for name, value in given.items():
            rows[name] = value
        return rows
    polars = import_module(library)
    return like.clear(n).with_columns(**{name: polars.lit(value) for name, value in given.items()})


def is_nothing(cell: Any) -> bool:
    """Whether it is None, NaN of any type, or a library's own value for nothing."""
    if cell is None or type(cell).__name__ in _NO_VALUE:
        return True
    return isinstance(cell, (float, np.floating)) and bool(np.isnan(cell))


def plain(cell: Any) -> Any:
    """A value of Python's own."""
    return cell.item() if isinstance(cell, np.generic) else cell


def stacked(cells: Sequence[np.ndarray]) -> np.ndarray:
    if all(column.dtype.kind in "biuf" for column in cells):
        return np.column_stack(cells)
    out = np.empty((len(cells[0]), len(cells)), dtype=object)
    for j, column in enumerate(cells):
        out[:, j] = column
    return out


def library(table: Any) -> str | None:
    return type(table).__module__.partition(".")[0] or None


def listed(values: Sequence[Any]) -> str:
    more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return ", ".join(map(repr, values[:_LISTED])) + more
