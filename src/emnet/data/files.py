"""Tables for classification from files, read strictly: what cannot be understood is an error with its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emnet.data.reading import MISSING, read_columns
from emnet.data.table import Table
from emnet.exceptions import InvalidInputError

_BOOLEANS = {"false": 0.0, "true": 1.0}


def read_table(path: Path, target: str | None, drop: Sequence[str] = ()) -> Table:
    """Read `path` by its ending (see `read_columns`); column `target` gives the labels.

    Raises InvalidInputError (naming the line and column) or MissingDependencyError.
    """
    columns = read_columns(str(path))
    if target is None:
        raise InvalidInputError(f"{path}: say which column holds the classes, --target COLUMN; {_columns(columns)}")
    for name in (target, *drop):
        if name not in columns:
            raise InvalidInputError(f"{path}: no column {name!r}; {_columns(columns)}")
    if target in drop:
        raise InvalidInputError(f"{path}: column {target!r} is the target, so it cannot be left out with --drop.")
    if "" in columns and "" not in drop and _counts_rows(columns[""]):
        raise InvalidInputError(f"{path}: the column without a name only counts the rows; leave it out (--drop '').")
    inputs = [name for name in columns if name != target and name not in drop]
    if not inputs:
        raise InvalidInputError(f"{path}: no columns are left beside the target {target!r}.")
    labels = _labels(path, target, columns[target])
    X = np.column_stack([_numbers(path, name, columns[name]) for name in inputs])
    return Table(path.name, X, labels, tuple(inputs), target)


def _numbers(path: Path, name: str, cells: list) -> np.ndarray:
    return np.array([_number(path, name, row, cell) for row, cell in enumerate(cells, start=1)])


def _number(path: Path, name: str, row: int, cell: object) -> float:
    if _is_missing(cell):
        return math.nan
    if isinstance(cell, str) and cell.lower() in _BOOLEANS:
        return _BOOLEANS[cell.lower()]
    try:
        value = float("" if "_" in str(cell) else cell)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        comma = " (write decimals with a point)" if "," in str(cell) else ""
        raise InvalidInputError(
            f"{path}: column {name!r}, row {row} holds {cell!r:.60}, which is not a number{comma}; leave the column "
            f"out (--drop {name!r}) or encode it as numbers."
        ) from error
    if math.isinf(value):
        raise InvalidInputError(f"{path}: column {name!r}, row {row} holds {cell!r:.60}, beyond the range of numbers.")
    return value


def _counts_rows(cells: list) -> bool:
    """Whether the cells are 0, 1, 2, … or 1, 2, 3, …, as an index that was written with its table."""
    return any([str(cell) for cell in cells] == [str(i + first) for i in range(len(cells))] for first in (0, 1))


def _is_missing(cell: object) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and cell.lower() in MISSING)


def _labels(path: Path, target: str, cells: list) -> np.ndarray:
    missing = [row for row, cell in enumerate(cells, start=1) if _is_missing(cell)]
    if missing:
        raise InvalidInputError(
            f"{path}: rows in which the target {target!r} is missing: {len(missing)} (the first is row {missing[0]}); "
            "drop them."
        )
    return np.array([str(cell) for cell in cells])


def _columns(columns: dict[str, list]) -> str:
    names = list(columns)
    return f"the columns are {', '.join(names[:20])}{', …' if len(names) > 20 else ''}."
