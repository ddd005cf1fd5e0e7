"""Tables of numbers, categories and yes or no: as numbers for a model, and back as the kind of table they came as."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from emnet.data.frames import (
    CATEGORY,
    ORDERED,
    cells_of,
    is_frame,
    is_value,
    library,
    listed,
    missing_cells,
    plain,
    stacked,
    values_of,
)
from emnet.exceptions import InvalidInputError

WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_NULLABLE, _WORDS_OF_POLARS = ("boolean", "string"), ("Categorical", "String", "Enum")


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

    @property
    def is_whole(self) -> bool:
        """Whether it came as whole numbers, by the data frame's word."""
        return self.values is None and self.dtype.lower() in WHOLE

    def encode(self, cells: np.ndarray) -> np.ndarray:
        """(n,) float64, NaN for what is missing."""
        missing = missing_cells(cells)
        out = np.full(len(cells), np.nan)
        if self.values is None:
            out[~missing] = self._numbers(cells, missing)
            return out
        index = {value: code for code, value in enumerate(self.values)}
        for row in np.flatnonzero(~missing):
            value = plain(cells[row])
            code = index.get(value) if is_value(value) else None
            if code is None:
                raise InvalidInputError(
                    f"Column {self.name!r} has {value!r} in row {row}, which is none of the values it was "
                    f"fitted with: {listed(self.values)}. Fit with rows that have it, or take it as missing (NaN)."
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
        whole = self.is_whole and (numbers == np.floor(numbers)).all()
        return numbers.astype(self.dtype.lower()) if whole else numbers

    def _numbers(self, cells: np.ndarray, missing: np.ndarray) -> np.ndarray:
        try:
            numbers = cells[~missing].astype(np.float64)
        except (TypeError, ValueError) as error:
            row = next(row for row in np.flatnonzero(~missing) if not is_number(cells[row]))
            raise InvalidInputError(
                f"Column {self.name!r} should hold numbers; row {row} has {plain(cells[row])!r}. Take it as missing "
                "(NaN), or fit with the family 'categorical'."
            ) from error
        if not np.isfinite(numbers).all():
            raise InvalidInputError(infinite(self.name, np.flatnonzero(~missing)[~np.isfinite(numbers)][0]))
        return numbers


@dataclass(frozen=True)
class TableCoding:
    """The columns of a table that a model explains; `library` is whose data frames it came as, None for arrays."""

    columns: tuple[ColumnCoding, ...]
    library: str | None

    def portable(self) -> tuple[list[Any], dict[str, Any]]:
        """The columns' names, and the categories whose indices stand for them, by column: for other programs."""
        values = {str(column.name): list(column.values) for column in self.columns if column.values is not None}
        return [column.name for column in self.columns], {"categories": values}

    def encode(self, table: Any) -> np.ndarray:
        """(n, d) float64."""
        return np.column_stack([column.encode(cells_of(table, column.position)) for column in self.columns])

    def decode(self, numbers: np.ndarray) -> Any:
        """A table of those columns alone, (n, d) of codes and numbers without NaN."""
        cells = [column.decode(numbers[:, j]) for j, column in enumerate(self.columns)]
        if self.library is None:
            return stacked(cells)
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
            return stacked(cells)
        named = {name: np.asarray(table[name].to_numpy()) for name in table.columns}
        for j, column in enumerate(self.columns):
            named[column.name] = self._patched(named[column.name], column.decode(numbers[:, j]))
        frame = import_module(library(table) or "").DataFrame(named)
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
        """Columns as the type they came as; of whole numbers those that are whole still."""
        for column in self.columns:
            whole = column.is_whole and (np.mod(frame[column.name].to_numpy(), 1) == 0).all()
            if self.library == "pandas" and column.dtype in (CATEGORY, ORDERED):
                pandas = import_module("pandas")
                frame[column.name] = pandas.Categorical(
                    frame[column.name], categories=list(column.values or ()), ordered=column.dtype == ORDERED
                )
            elif self.library == "pandas" and (whole or column.dtype in _NULLABLE):
                frame[column.name] = frame[column.name].astype(column.dtype)
            elif self.library == "polars" and (whole or column.dtype.startswith(_WORDS_OF_POLARS)):
                frame = frame.with_columns(frame[column.name].cast(self._dtype_of_polars(column)))
        return frame

    @staticmethod
    def _dtype_of_polars(column: ColumnCoding) -> Any:
        polars = import_module("polars")
        return polars.Enum(list(column.values or ())) if "Enum" in column.dtype else getattr(polars, column.dtype)


def infinite(name: Any, row: int) -> str:
    return f"Column {name!r} has infinity in row {row}. Take it as missing (NaN)."


def is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


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
        f"Column {name!r} has {len(values)} different values ({listed(values)}); 'bernoulli' needs 0 and 1, "
        "booleans, or two values. Take 'categorical'."
    )
