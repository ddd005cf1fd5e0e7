"""Tables from CSV and Parquet files, read strictly: what cannot be understood is an error with its place."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from emnet.data.table import Table
from emnet.exceptions import InvalidInputError, MissingDependencyError

MISSING = frozenset({"", "na", "nan", "n/a", "null", "none", "?", "-"})
_DELIMITERS = ",;\t|"
_SNIFFED_CHARACTERS = 2**16


def read_table(path: Path, target: str | None, drop: Sequence[str] = ()) -> Table:
    """Read `path` by its ending (.parquet, else CSV); column `target` gives the labels.

    Raises InvalidInputError (naming the line and column) or MissingDependencyError.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file.")
    read = _read_parquet if path.suffix.lower() in (".parquet", ".pq") else _read_csv
    columns = read(path)
    if target is None:
        raise InvalidInputError(f"{path}: say which column holds the classes, --target COLUMN; {_columns(columns)}")
    for name in (target, *drop):
        if name not in columns:
            raise InvalidInputError(f"{path}: no column {name!r}; {_columns(columns)}")
    inputs = [name for name in columns if name != target and name not in drop]
    if not inputs:
        raise InvalidInputError(f"{path}: no columns are left beside the target {target!r}.")
    labels = _labels(path, target, columns[target])
    X = np.column_stack([_numbers(path, name, columns[name]) for name in inputs])
    return Table(path.name, X, labels, tuple(inputs), target)


def _read_csv(path: Path) -> dict[str, list]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8, for example with "
            "`iconv -f latin1 -t utf-8`."
        ) from error
    if "\0" in text:
        raise InvalidInputError(f"{path}: line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL byte.")
    try:
        lines = [
            (reader.line_num, row)
            for reader in [csv.reader(text.splitlines(keepends=True), delimiter=_delimiter(text), strict=True)]
            for row in reader
            if row
        ]
    except csv.Error as error:
        raise InvalidInputError(f"{path}: not a CSV file ({error}).") from error
    if len(lines) < 2:
        raise InvalidInputError(f"{path}: a header and at least one row were expected; {len(lines)} lines came.")
    header = [name.strip() for name in lines[0][1]]
    _require_unique(path, header)
    for number, row in lines[1:]:
        if len(row) != len(header):
            raise InvalidInputError(f"{path}: line {number} has {len(row)} cells, the header has {len(header)}.")
    return {name: [row[j].strip() for _, row in lines[1:]] for j, name in enumerate(header)}


def _read_parquet(path: Path) -> dict[str, list]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet files need pyarrow: pip install 'emnet[io]'.") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path}: not a whole Parquet file ({error}).") from error
    _require_unique(path, table.column_names)
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _delimiter(text: str) -> str:
    """The delimiter that the header line holds most often."""
    header = text[:_SNIFFED_CHARACTERS].split("\n", 1)[0]
    return max(_DELIMITERS, key=header.count)


def _require_unique(path: Path, header: Iterable[str]) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise InvalidInputError(f"{path}: the column name {twice[0]!r} stands more than once in the header.")


def _numbers(path: Path, name: str, cells: list) -> np.ndarray:
    return np.array([_number(path, name, row, cell) for row, cell in enumerate(cells, start=1)])


def _number(path: Path, name: str, row: int, cell: object) -> float:
    if cell is None or (isinstance(cell, str) and cell.lower() in MISSING):
        return math.nan
    try:
        value = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{path}: column {name!r}, row {row} holds {cell!r}, which is not a number; leave the column out "
            f"(--drop {name!r}) or encode it as numbers."
        ) from error
    if math.isinf(value):
        raise InvalidInputError(f"{path}: column {name!r}, row {row} holds {cell!r}, beyond the range of numbers.")
    return value


def _labels(path: Path, target: str, cells: list) -> np.ndarray:
    missing = sum(cell is None or cell == "" or cell != cell for cell in cells)
    if missing:
        raise InvalidInputError(
            f"{path}: the target {target!r} is missing in {missing} rows (the first is row "
            f"{next(i for i, cell in enumerate(cells, start=1) if cell is None or cell == '' or cell != cell)}); "
            "drop those rows."
        )
    return np.array([str(cell) for cell in cells])


def _columns(columns: dict[str, list]) -> str:
    names = list(columns)
    return f"the columns are {', '.join(names[:20])}{', …' if len(names) > 20 else ''}."
