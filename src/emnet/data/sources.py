"""Where rows come from: arrays, tables, files, data sets, and functions that make iterators, in pieces."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emnet.data.columns import Columns
from emnet.exceptions import InvalidInputError, MissingDependencyError
from emnet.extras import needed

_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".arrow": "ipc",
    ".feather": "ipc",
}


@dataclass(frozen=True)
class Piece:
    """Rows that can be read without those before them: `tables()` gives them in batches, `label` says what they are."""

    label: str
    tables: Callable[[], Iterator[Any]]


@dataclass(frozen=True)
class Request:
    """What a source is asked for.

    whole : whether a piece must hold all that belongs together: a whole file, or table.
    """

    columns: Columns
    batch_rows: int
    whole: bool = False


Source = Callable[[Request], Sequence[Piece]]
"""How a source answers. It can be copied to another process where what it was made of can."""


def source_of(data: Any) -> Source:
    """The source for whatever `emnet.stream` may be given."""
    if isinstance(data, (str, os.PathLike)):
        return Files(tuple(_matching(os.fspath(data))))
    if isinstance(data, (list, tuple)) and data and all(isinstance(part, (str, os.PathLike)) for part in data):
        return Files(tuple(path for part in data for path in _matching(os.fspath(part))))
    if type(data).__module__.startswith("pyarrow._dataset"):
        return Dataset(data)
    if callable(data) and not hasattr(data, "__len__"):
        return Factory(data)
    if _is_table(data):
        return Table(data)
    if isinstance(data, Iterator):
        raise InvalidInputError(
            f"EM goes through the data many times, and {type(data).__name__} can be gone through once: give a function "
            "that makes it, such as lambda: read_batches(path)."
        )
    if isinstance(data, Iterable):
        return Factory(data.__iter__)
    raise InvalidInputError(
        f"emnet.stream takes a path, a pattern, an array, a table, an Arrow data set, a DataLoader or a function that "
        f"makes an iterator; got {type(data).__name__}."
    )


@dataclass(frozen=True, eq=False)
class Table:
    """An array, a memory map among them, a tuple of arrays (X, y, weights), or a data frame."""

    table: Any

    def __call__(self, request: Request) -> list[Piece]:
        n, size = _length(self.table), request.batch_rows
        if request.whole:
            return [Piece("the table", lambda: (self._rows(i, i + size) for i in range(0, n, size)))]
        return [self._piece(start, min(start + size, n)) for start in range(0, n, size)]

    def _piece(self, start: int, stop: int) -> Piece:
        return Piece(f"rows {start} to {stop - 1}", lambda: iter([self._rows(start, stop)]))

    def _rows(self, start: int, stop: int) -> Any:
        if isinstance(self.table, tuple):
            return tuple(part if part is None else part[start:stop] for part in self.table)
        if hasattr(self.table, "iloc"):
            return self.table.iloc[start:stop]
        return self.table.slice(start, stop - start) if hasattr(self.table, "slice") else self.table[start:stop]


@dataclass(frozen=True, eq=False)
class Factory:
    """A function that makes an iterator over batches, as often as it is asked to; a DataLoader is one."""

    make: Callable[[], Iterable[Any]]

    def __call__(self, request: Request) -> list[Piece]:
        return [Piece("the iterator", lambda: iter(self.make()))]


@dataclass(frozen=True, eq=False)
class Files:
    """Files of one format, in the order of their names; an .npy file is mapped into memory."""

    paths: tuple[str, ...]

    def __call__(self, request: Request) -> list[Piece]:
        kinds = {Path(path).suffix.lower() for path in self.paths}
        if len(kinds) > 1:
            raise InvalidInputError(f"A stream reads files of one format; those are of {', '.join(sorted(kinds))}.")
        if kinds == {".npy"}:
            return [piece for path in self.paths for piece in _mapped(path)(request)]
        kind = _FORMATS.get(next(iter(kinds)))
        if kind is None:
            raise InvalidInputError(
                f"{self.paths[0]}: a stream reads {', '.join(_FORMATS)} and .npy files; convert it, or give a function "
                "that makes an iterator over its batches."
            )
        with _readable(self.paths[0]):
            return Dataset(_arrow_dataset().dataset(list(self.paths), format=kind))(request)


@dataclass(frozen=True, eq=False)
class Dataset:
    """An Arrow data set; the row groups of its Parquet files are pieces, of other formats the files."""

    dataset: Any

    def __call__(self, request: Request) -> list[Piece]:
        names = request.columns.read()
        for name in names or ():
            if name not in self.dataset.schema.names:
                raise InvalidInputError(f"No column {name!r}; there are {', '.join(self.dataset.schema.names)}.")
        return [
            Piece(label, self._reader(fragment, request, names, label))
            for whole in self.dataset.get_fragments()
            for label, fragment in _divided(whole, request)
        ]

    def _reader(self, fragment: Any, request: Request, names: Any, label: str) -> Callable[[], Iterator[Any]]:
        def read() -> Iterator[Any]:
            with _readable(label):
                yield from fragment.to_batches(
                    schema=self.dataset.schema,
                    columns=names,
                    batch_size=request.batch_rows,
                    batch_readahead=1,
                    fragment_readahead=1,
                    use_threads=False,
                )

        return read


def _divided(fragment: Any, request: Request) -> Iterator[tuple[str, Any]]:
    """Neighboring row groups of a Parquet file together, as many as have not more than a batch of rows."""
    path = fragment.path
    if request.whole or not hasattr(fragment, "row_groups"):
        yield path, fragment
        return
    with _readable(path):
        groups = [(group.id, group.num_rows) for group in fragment.row_groups]
    own: list[int] = []
    rows = 0
    for number, length in groups:
        if own and rows + length > request.batch_rows:
            yield _labeled(path, own), fragment.subset(row_group_ids=own)
            own, rows = [], 0
        own.append(number)
        rows += length
    if own:
        yield _labeled(path, own), fragment.subset(row_group_ids=own)


def _labeled(path: str, groups: list[int]) -> str:
    return f"{path}, row group {groups[0]}" + (f" to {groups[-1]}" if len(groups) > 1 else "")


def _mapped(path: str) -> Table:
    with _readable(path):
        return Table(np.load(path, mmap_mode="r", allow_pickle=False))


def _matching(pattern: str) -> list[str]:
    if os.path.isdir(pattern):
        found = [str(path) for path in Path(pattern).rglob("*") if path.is_file() and path.name[0] not in "._"]
    else:
        found = [pattern] if os.path.exists(pattern) else glob.glob(pattern, recursive=True)
    if not found:
        raise InvalidInputError(f"{pattern}: no such file, and no file that the pattern names.")
    return sorted(found)


def _is_table(data: Any) -> bool:
    if isinstance(data, tuple):
        return bool(data) and all(part is None or hasattr(part, "shape") for part in data)
    return hasattr(data, "shape") or hasattr(data, "__dataframe__") or hasattr(data, "__arrow_c_stream__")


def _length(table: Any) -> int:
    if not isinstance(table, tuple):
        return len(table)
    lengths = {len(part) for part in table if part is not None}
    if len(lengths) > 1:
        raise InvalidInputError(f"The parts of (X, y, weights) must have as many rows; they have {sorted(lengths)}.")
    return lengths.pop()


def _arrow_dataset() -> Any:
    return needed("pyarrow.dataset", "io", "Streams of files need")


@contextmanager
def _readable(label: str) -> Iterator[None]:
    """What a reader cannot read is the input's fault; says where."""
    try:
        yield
    except (InvalidInputError, MissingDependencyError):
        raise
    except (OSError, ValueError) as error:  # Arrow's own are of these
        raise InvalidInputError(f"{label}: cannot be read ({error}).") from error
