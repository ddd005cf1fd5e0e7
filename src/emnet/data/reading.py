"""Columns of cells from files and from standard input, read strictly: what cannot be understood is an error."""

from __future__ import annotations

import csv
import io
import math
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emnet.data.guards import delimiter_of, require_plain, require_unique, unchanging
from emnet.exceptions import InvalidInputError
from emnet.extras import needed
from emnet.kernels.memory import require_bytes

Columns = dict[str, list]
"""Cells by column: text as a CSV file has it, or the values of a typed file."""

STDIN = "-"
MISSING = frozenset({"", "na", "nan", "n/a", "null", "none", "n.a.", "#n/a", "?", "-", "--", "–", "—"})
_NPY_HEADER, _MOST_BYTES = 2**16, 2**34
_BYTES_A_CHARACTER, _BYTES_A_CELL = 16, 64  # of memory, as text and then as Python's numbers


def read_columns(name: str) -> Columns:
    """Read a file by its ending: .parquet, .feather, .arrow, .npy, .npz, else CSV; "-" is CSV from standard input.

    Raises InvalidInputError, which names the line and column where it can, or MissingDependencyError.
    """
    path = Path(name)
    if name != STDIN:
        if path.is_dir():
            raise InvalidInputError(f"{path}: a folder, where a CSV or Parquet file was expected.")
        if not path.exists():
            raise InvalidInputError(f"{path}: no such file.")
    columns = _read(path)
    if not columns or not len(next(iter(columns.values()))):
        raise InvalidInputError(f"{path}: the table has no {'rows' if columns else 'columns'}.")
    return columns


def _read(path: Path) -> Columns:
    read = _READERS.get(path.suffix.lower(), _read_csv)
    if not path.is_file():
        return read(path)  # standard input, or a pipe, of which nothing may be taken beforehand
    if read is not _read_npz:
        require_plain(path)
    with unchanging(path):
        return read(path)


def _require_memory(path: Path, needed: int) -> None:
    require_bytes(needed, "cpu", purpose=f"{path}: the table", remedy="Take fewer rows or columns.")


def without_words(columns: Columns, words: Collection[str]) -> Columns:
    """The table with None for cells that are one of the words, of numbers in any form: -999 is -999.0."""
    if not words:
        return columns
    numbers = {float(word) for word in words if _is_number(word)}

    def stands_for_nothing(cell: Any) -> bool:
        return str(cell) in words or (isinstance(cell, (int, float)) and not isinstance(cell, bool) and cell in numbers)

    return {name: [None if stands_for_nothing(cell) else cell for cell in cells] for name, cells in columns.items()}


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def require_pyarrow(what: str) -> None:
    """Raise MissingDependencyError with the command that installs it."""
    needed("pyarrow", "io", f"{what} need")


def _read_csv(path: Path) -> Columns:
    if path.is_file():
        _require_memory(path, _BYTES_A_CHARACTER * path.stat().st_size)
    content = sys.stdin.buffer.read() if str(path) == STDIN else path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8, for example with `iconv` from the "
            "encoding that it has (latin1, utf-16, …)."
        ) from error
    if "\0" in text:
        raise InvalidInputError(f"{path}: line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL byte.")
    before = csv.field_size_limit(len(text) + 1)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InvalidInputError(f"{path}: not a CSV file ({error}).") from error
    finally:
        csv.field_size_limit(before)
    if len(lines) < 2:
        raise InvalidInputError(f"{path}: a header and at least one row were expected; lines that came: {len(lines)}.")
    header = [name.strip() for name in lines[0][1]]
    require_unique(path, header)
    if len(header) > 1:  # else "" is a row
        lines = [(number, row) for number, row in lines if len(row) > 1 or row[0].strip()]
    for number, row in lines[1:]:
        if len(row) != len(header):
            raise InvalidInputError(
                f"{path}: the number of cells in line {number} is {len(row)}, in the header {len(header)}."
            )
    return {name: [row[j].strip() for _, row in lines[1:]] for j, name in enumerate(header)}


def _read_parquet(path: Path) -> Columns:
    require_pyarrow("Parquet files")
    import pyarrow
    import pyarrow.parquet

    try:
        outline = pyarrow.parquet.read_metadata(path)
        _require_memory(path, _BYTES_A_CELL * outline.num_rows * outline.num_columns)
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path}: not a whole Parquet file ({error}).") from error
    return _of_arrow(path, table)


def _read_feather(path: Path) -> Columns:
    require_pyarrow("Feather and Arrow files")
    import pyarrow
    import pyarrow.feather
    import pyarrow.ipc

    try:
        return _of_arrow(path, pyarrow.feather.read_table(path))
    except (pyarrow.ArrowException, OSError):
        pass  # a stream has no footer
    try:
        return _of_arrow(path, pyarrow.ipc.open_stream(path).read_all())
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path}: not a whole Arrow or Feather file ({error}).") from error


def _of_arrow(path: Path, table: Any) -> Columns:
    """Without spaces around names and words, as they are read from a CSV file."""
    names = [name.strip() for name in table.column_names]
    require_unique(path, names)
    columns = {name: column.to_pylist() for name, column in zip(names, table.columns, strict=True)}
    return {
        name: [cell.strip() if isinstance(cell, str) else cell for cell in cells] for name, cells in columns.items()
    }


def _read_npy(path: Path) -> Columns:
    with path.open("rb") as file:
        array = _array(path, file, path.stat().st_size)
    return _of_array(path, "", array)


def _read_npz(path: Path) -> Columns:
    columns: Columns = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    array = _array(path, file, entry.file_size)
                columns |= _of_array(path, entry.filename.removesuffix(".npy"), array)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InvalidInputError(f"{path}: not a whole .npz file ({error}).") from error
    if len({len(cells) for cells in columns.values()}) > 1:
        sizes = ", ".join(f"{name} {len(cells)}" for name, cells in columns.items())
        raise InvalidInputError(f"{path}: the arrays have different numbers of rows: {sizes}.")
    return columns


def _array(path: Path, file: Any, size: int) -> np.ndarray:
    """The array, whose header is not believed where it asks for more than there is."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        head = io.BytesIO(file.read(_NPY_HEADER))
        version = np.lib.format.read_magic(head)
        shape, _, dtype = readers[version](head)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize > size or size > _MOST_BYTES:
            raise ValueError(f"its header says {dtype} of shape {shape}")
        file.seek(0)
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except (KeyError, ValueError, EOFError, OSError) as error:
        raise InvalidInputError(f"{path}: not a whole array of numbers ({error}).") from error
    return array


def _of_array(path: Path, name: str, array: np.ndarray) -> Columns:
    """Columns of an array of rows: named by it, or x0, x1, …"""
    if array.dtype.names:
        return {field: array[field].tolist() for field in array.dtype.names}
    if array.ndim == 1:
        return {name or "x0": array.tolist()}
    if array.ndim != 2:
        raise InvalidInputError(f"{path}: rows and columns were expected; the array has {array.ndim} dimensions.")
    prefix = name if name not in ("", "arr_0", "X", "x") else "x"
    return {f"{prefix}{j}": array[:, j].tolist() for j in range(array.shape[1])}


_READERS: Mapping[str, Callable[[Path], Columns]] = {
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".feather": _read_feather,
    ".arrow": _read_feather,
    ".ipc": _read_feather,
    ".npy": _read_npy,
    ".npz": _read_npz,
}
