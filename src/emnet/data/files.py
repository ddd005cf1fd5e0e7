"""Tables from CSV and Parquet files, read strictly: what cannot be understood is an error with its place."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import numpy as np

from emnet.data.table import Table
from emnet.exceptions import InvalidInputError, MissingDependencyError
from emnet.kernels.memory import require_bytes

MISSING = frozenset({"", "na", "nan", "n/a", "null", "none", "?", "-"})
_DELIMITERS = ",;\t|"
_SNIFFED_CHARACTERS, _SNIFFED_LINES = 2**16, 10
_BYTES_A_CHARACTER, _BYTES_A_CELL = 16, 64  # of memory, as text and then as Python's numbers
_PACKED = {b"PK\x03\x04": "zip", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_BOOLEANS = {"false": 0.0, "true": 1.0}


def read_table(path: Path, target: str | None, drop: Sequence[str] = ()) -> Table:
    """Read `path` by its ending (.parquet, else CSV); column `target` gives the labels.

    Raises InvalidInputError (naming the line and column) or MissingDependencyError.
    """
    if path.is_dir():
        raise InvalidInputError(f"{path}: a folder, where a CSV or Parquet file was expected.")
    if not path.exists():
        raise InvalidInputError(f"{path}: no such file.")
    _require_plain(path)
    read = _read_parquet if path.suffix.lower() in (".parquet", ".pq") else _read_csv
    with _unchanging(path):
        columns = read(path)
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


def _require_plain(path: Path) -> None:
    """Raise InvalidInputError for an archive: what a small one unpacks to may fill the memory."""
    if not path.is_file():
        return  # a pipe, of which nothing may be taken beforehand
    with path.open("rb") as file:
        start = file.read(max(map(len, _PACKED)))
    for mark, kind in _PACKED.items():
        if start.startswith(mark):
            raise InvalidInputError(f"{path}: a {kind} archive, whatever its name says; unpack it first.")


@contextmanager
def _unchanging(path: Path) -> Iterator[None]:
    """Raise InvalidInputError if somebody writes to the file within the block."""
    before = path.stat()
    yield
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InvalidInputError(
            f"{path}: the file changed while it was read (from {before.st_size} to {after.st_size} bytes); read it "
            "again when it is finished."
        )


def _require_memory(path: Path, needed: int) -> None:
    require_bytes(needed, "cpu", purpose=f"{path}: the table", remedy="Take fewer rows or columns.")


def _read_csv(path: Path) -> dict[str, list]:
    _require_memory(path, _BYTES_A_CHARACTER * path.stat().st_size)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8, for example with `iconv` from the "
            "encoding that it has (latin1, utf-16, …)."
        ) from error
    if "\0" in text:
        raise InvalidInputError(f"{path}: line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL byte.")
    before = csv.field_size_limit(len(text) + 1)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row) or len(row) > 1]
    except csv.Error as error:
        raise InvalidInputError(f"{path}: not a CSV file ({error}).") from error
    finally:
        csv.field_size_limit(before)
    if len(lines) < 2:
        raise InvalidInputError(f"{path}: a header and at least one row were expected; lines that came: {len(lines)}.")
    header = [name.strip() for name in lines[0][1]]
    _require_unique(path, header)
    for number, row in lines[1:]:
        if len(row) != len(header):
            raise InvalidInputError(
                f"{path}: the number of cells in line {number} is {len(row)}, in the header {len(header)}."
            )
    return {name: [row[j].strip() for _, row in lines[1:]] for j, name in enumerate(header)}


def _read_parquet(path: Path) -> dict[str, list]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet files need pyarrow: pip install 'emnet[io]'.") from error
    try:
        outline = pyarrow.parquet.read_metadata(path)
        _require_memory(path, _BYTES_A_CELL * outline.num_rows * outline.num_columns)
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path}: not a whole Parquet file ({error}).") from error
    _require_unique(path, table.column_names)
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _delimiter(text: str) -> str:
    """The delimiter that every one of the first lines holds, and most of; the header's most frequent if none does."""
    lines = [line for line in text[:_SNIFFED_CHARACTERS].split("\n")[:_SNIFFED_LINES] if line.strip()]
    return max(_DELIMITERS, key=lambda mark: (min(map(str.count, lines, repeat(mark)), default=0), text.count(mark)))


def _require_unique(path: Path, header: Iterable[str]) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise InvalidInputError(f"{path}: the column name {twice[0]!r} stands more than once in the header.")


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
