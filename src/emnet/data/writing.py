"""Columns of cells into files, by the ending; what a spreadsheet would run as a formula gets a prefix."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emnet.data.reading import STDIN, Columns, require_pyarrow
from emnet.data.schema import Schema
from emnet.exceptions import InvalidInputError

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_columns(name: str, columns: Columns, schema: Schema | None = None, *, decimal: str | None = None) -> None:
    """Write by the ending: .parquet, .feather, .arrow, .npy, .npz, .tsv, else CSV; "-" is CSV to standard output.

    Text goes into a CSV file as it is, and numbers with the mark `decimal`, that of the schema if not given; where that
    is a comma there are semicolons between cells, as spreadsheets have it. Files that have types get values of their
    kinds in `schema`.

    Raises InvalidInputError where the columns do not fit into such a file, or MissingDependencyError.
    """
    suffix = Path(name).suffix.lower()
    if name == STDIN or suffix not in _WRITERS:
        mark = decimal or ("." if schema is None else schema.decimal)
        text = _as_csv(columns, "\t" if suffix == ".tsv" else ";" if mark == "," else ",", mark)
        if name == STDIN:
            sys.stdout.write(text)
        else:
            Path(name).write_text(text, encoding="utf-8", newline="")
        return
    _WRITERS[suffix](Path(name), columns if schema is None else schema.typed(columns))


def without_formulas(cell: Any) -> Any:
    """The cell, with ' before text that a spreadsheet would take for a formula; numbers stay as they are."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return "" if cell == "-" else f"'{cell}"
    return cell


def _as_csv(columns: Columns, delimiter: str, decimal: str) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow([without_formulas(name) for name in columns])
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if cell is None else _as_text(cell, decimal) for cell in row])
    return out.getvalue()


def _as_text(cell: Any, decimal: str) -> Any:
    if isinstance(cell, (float, np.floating)):
        return "" if cell != cell else repr(float(cell)).removesuffix(".0").replace(".", decimal)
    return without_formulas(cell)


def _arrow(columns: Columns) -> Any:
    require_pyarrow("Parquet, Feather and Arrow files")
    import pyarrow

    arrays = {}
    for name, cells in columns.items():
        safe = [without_formulas(cell) for cell in cells]
        try:
            arrays[name] = pyarrow.array(safe)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # of several types
            arrays[name] = pyarrow.array([None if cell is None else str(cell) for cell in safe])
    return pyarrow.table(arrays)


def _write_parquet(path: Path, columns: Columns) -> None:
    table = _arrow(columns)
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, path)


def _write_feather(path: Path, columns: Columns) -> None:
    table = _arrow(columns)
    import pyarrow.feather

    pyarrow.feather.write_feather(table, path)


def _write_npy(path: Path, columns: Columns) -> None:
    np.save(path, np.column_stack([_as_numbers(path, name, cells) for name, cells in columns.items()]))


def _write_npz(path: Path, columns: Columns) -> None:
    np.savez(path, **{name: _as_array(cells) for name, cells in columns.items()})  # type: ignore[arg-type]


def _as_numbers(path: Path, name: str, cells: list) -> np.ndarray:
    try:
        return np.array([np.nan if cell is None else float(cell) for cell in cells])
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{path}: column {name!r} is not made of numbers ({error}), and .npy files hold nothing else. Take .csv or "
            ".parquet."
        ) from error


def _as_array(cells: list) -> np.ndarray:
    try:
        return np.array([np.nan if cell is None else float(cell) for cell in cells])
    except (TypeError, ValueError):
        return np.array(["" if cell is None else str(cell) for cell in cells])


_WRITERS: Mapping[str, Callable[[Path, Columns], None]] = {
    ".parquet": _write_parquet,
    ".pq": _write_parquet,
    ".feather": _write_feather,
    ".arrow": _write_feather,
    ".ipc": _write_feather,
    ".npy": _write_npy,
    ".npz": _write_npz,
}
