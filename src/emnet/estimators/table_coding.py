"""Tables of numbers, categories and yes or no: as numbers for a model, and back as the kind of table they came as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from emnet.exceptions import InvalidInputError

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_NO_VALUE = ("NAType", "NaTType")
_LISTED = 8
_CATEGORY, _ORDERED = "category", "ordered category"


@dataclass(frozen=True)
class ColumnCoding:
    """How a column's cells become numbers: as they are, or as indices of the values that it had when it was fitted.

    position : in the table.
    values : of a category or a flag, in order; None of numbers.
    dtype : of the column in a data frame.
    """

    name: Any
    position: int
    values: tuple[Any, ...] | None
    dtype: str

    def encode(self, cells: np.ndarray) -> np.ndarray:
        """(n,) float64, NaN for what is missing."""
        missing = missing_cells(cells)
        out = np.full(len(cells), np.nan)
        if self.values is None:
            out[~missing] = self._numbers(cells, missing)
            return out
        index = {value: code for code, value in enumerate(self.values)}
        for row in np.flatnonzero(~missing):
            code = index.get(_plain(cells[row]))
            if code is None:
                raise InvalidInputError(
                    f"Column {self.name!r} has {_plain(cells[row])!r} in row {row}, which is none of the values it was "
                    f"fitted with: {_listed(self.values)}. Fit with rows that have it, or take it as missing (NaN)."
                )
            out[row] = code
        return out

    def decode(self, numbers: np.ndarray) -> np.ndarray:
        """The cells that those numbers stand for, none of them missing."""
        if self.values is not None:
            table = np.empty(len(self.values), dtype=object)
            table[:] = self.values
            cells = table[numbers.astype(int)]
            return cells if isinstance(self.values[0], str) else np.array(cells.tolist())
        whole = self.dtype.lower() in _INTEGERS and (numbers == np.floor(numbers)).all()
        return numbers.astype(self.dtype.lower()) if whole else numbers

    def _numbers(self, cells: np.ndarray, missing: np.ndarray) -> np.ndarray:
        try:
            numbers = cells[~missing].astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"Column {self.name!r} should hold numbers: {error}. Give it the family 'categorical'."
            ) from error
        if not np.isfinite(numbers).all():
            row = np.flatnonzero(~missing)[~np.isfinite(numbers)][0]
            raise InvalidInputError(f"Column {self.name!r} has infinity in row {row}. Take it as missing (NaN).")
        return numbers


@dataclass(frozen=True)
class TableCoding:
    """The columns of a table that a model explains; `library` is whose data frames it came as, None for arrays."""

    columns: tuple[ColumnCoding, ...]
    library: str | None

    def encode(self, table: Any) -> np.ndarray:
        """(n, d) float64."""
        return np.column_stack([column.encode(cells_of(table, column.position)) for column in self.columns])

    def decode(self, numbers: np.ndarray) -> Any:
        """A table of those columns alone, (n, d) of codes and numbers without NaN."""
        cells = [column.decode(numbers[:, j]) for j, column in enumerate(self.columns)]
        if self.library is None:
            return _stacked(cells)
        frame = import_module(self.library).DataFrame(
            {c.name: values for c, values in zip(self.columns, cells, strict=True)}
        )
        return self._typed(frame)

    def filled(self, table: Any, numbers: np.ndarray) -> Any:
        """A table like `table`, with what `numbers` stand for where it has nothing."""
        if not is_frame(table):
            cells = [np.asarray(table)[:, j] for j in range(np.shape(table)[1])]
            for j, column in enumerate(self.columns):
                cells[column.position] = self._patched(cells[column.position], column.decode(numbers[:, j]))
            return _stacked(cells)
        named = {name: np.asarray(table[name].to_numpy()) for name in table.columns}
        for j, column in enumerate(self.columns):
            named[column.name] = self._patched(named[column.name], column.decode(numbers[:, j]))
        frame = import_module(_library(table) or "").DataFrame(named)
        if hasattr(table, "index"):
            frame.index = table.index
        return self._typed(frame)

    @staticmethod
    def _patched(cells: np.ndarray, found: np.ndarray) -> np.ndarray:
        missing = missing_cells(cells)
        if not missing.any():
            return cells
        whole = np.array(
            [new if gone else old for old, new, gone in zip(cells, found, missing, strict=True)], dtype=object
        )
        return whole if any(isinstance(value, str) for value in whole) else np.array(whole.tolist())

    def _typed(self, frame: Any) -> Any:
        """Columns of categories as the type they came as."""
        for column in self.columns:
            if self.library == "pandas" and column.dtype in (_CATEGORY, _ORDERED):
                pandas = import_module("pandas")
                frame[column.name] = pandas.Categorical(
                    frame[column.name], categories=list(column.values or ()), ordered=column.dtype == _ORDERED
                )
            if self.library == "polars" and column.dtype in ("Categorical", "String"):
                polars = import_module("polars")
                frame = frame.with_columns(frame[column.name].cast(getattr(polars, column.dtype)))
        return frame


def is_frame(table: Any) -> bool:
    return hasattr(table, "columns") and hasattr(table, "__getitem__") and _library(table) in ("pandas", "polars")


def require_frame(table: Any) -> None:
    """Raise InvalidInputError for a data frame that is not there yet, or whose columns cannot be told apart."""
    if hasattr(table, "collect_schema") and not hasattr(table, "to_numpy"):
        raise InvalidInputError("X is a lazy frame: give X.collect().")
    names = list(table.columns) if is_frame(table) else []
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise InvalidInputError(f"X has several columns that are called {twice!r}. Rename all but one.")


def has_words(table: Any) -> bool:
    """Whether an array, or a list of rows, holds strings."""
    kind = "O" if isinstance(table, (list, tuple)) else getattr(getattr(table, "dtype", None), "kind", "")
    if kind in "US" and kind:
        return np.ndim(table) == 2
    cells = np.asarray(table, dtype=object) if kind == "O" else np.empty(0)
    return cells.ndim == 2 and any(isinstance(cell, str) for cell in cells.flat)


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
    return _ORDERED if str(dtype) == _CATEGORY and getattr(dtype, "ordered", False) else str(dtype)


def declared_values(table: Any, position: int) -> tuple[Any, ...] | None:
    """The categories that a data frame's column says it may have, None of other columns."""
    found = getattr(table[list(table.columns)[position]].dtype, "categories", None) if is_frame(table) else None
    return None if found is None or not hasattr(found, "tolist") else tuple(found.tolist())


def library_of(table: Any) -> str | None:
    return _library(table) if is_frame(table) else None


def missing_cells(cells: np.ndarray) -> np.ndarray:
    """Which cells are NaN, None or a library's own value for nothing: (n,)."""
    if cells.dtype.kind in "fc":
        return np.isnan(cells)
    if cells.dtype.kind in "mM":
        return np.isnat(cells)
    if cells.dtype.kind != "O":
        return np.zeros(len(cells), dtype=bool)
    return np.array([_is_nothing(cell) for cell in cells], dtype=bool)


def values_of(name: Any, cells: np.ndarray) -> tuple[Any, ...]:
    """The different values of a column, in order."""
    found = {_plain(cell) for cell in cells[~missing_cells(cells)]}
    try:
        return tuple(sorted(found))
    except TypeError as error:
        raise InvalidInputError(f"The categories of column {name!r} must all be of one kind: {error}.") from error


def flag_values(name: Any, cells: np.ndarray) -> tuple[Any, ...] | None:
    """The two values of a column of yes or no; None of 0 and 1, which stand for themselves."""
    values = values_of(name, cells)
    if any(isinstance(value, bool) for value in values):
        return (False, True)
    if all(isinstance(value, (int, float)) for value in values):
        return None
    if len(values) == 2:
        return values
    raise InvalidInputError(
        f"Column {name!r} has {len(values)} different values ({_listed(values)}); 'bernoulli' needs 0 and 1, "
        "booleans, or two values. Take 'categorical'."
    )


def kind_of(cells: np.ndarray) -> type:
    """bool, int, float or str: the narrowest that holds the cells that are there."""
    if cells.dtype.kind in "biuf":
        return {"b": bool, "i": int, "u": int, "f": float}[cells.dtype.kind]
    kinds = {type(_plain(cell)) for cell in cells[~missing_cells(cells)]}
    return next((kind for kind in (bool, int, float) if kinds == {kind}), float if kinds == {int, float} else str)


def _is_nothing(cell: Any) -> bool:
    return cell is None or type(cell).__name__ in _NO_VALUE or (isinstance(cell, float) and cell != cell)


def _plain(cell: Any) -> Any:
    """A value of Python's own."""
    return cell.item() if isinstance(cell, np.generic) else cell


def _stacked(cells: Sequence[np.ndarray]) -> np.ndarray:
    if all(column.dtype.kind in "biuf" for column in cells):
        return np.column_stack(cells)
    out = np.empty((len(cells[0]), len(cells)), dtype=object)
    for j, column in enumerate(cells):
        out[:, j] = column
    return out


def _library(table: Any) -> str | None:
    return type(table).__module__.partition(".")[0] or None


def _listed(values: Sequence[Any]) -> str:
    more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return ", ".join(map(repr, values[:_LISTED])) + more
