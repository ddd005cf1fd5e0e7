"""Rows of files and of Arrow data sets, in pieces, read strictly: what cannot be read is told with file and row."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emnet.data.columns import require_names
from emnet.data.csv_batches import CsvFile, TypedCsv, cells_by_name
from emnet.data.guards import Version, require_plain, require_unique, require_version, version_of
from emnet.data.sources import Piece, Request, Table
from emnet.exceptions import InvalidInputError, MissingDependencyError
from emnet.extras import needed

_READ_AT_ONCE = 2**18  # bytes of each column of a Parquet file
_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".arrow": "ipc",
    ".feather": "ipc",
}
_READ = (*_FORMATS, ".npy")


@dataclass(frozen=True, eq=False)
class Files:
    """Files of one format, in the order of their names; an .npy file is mapped into memory.

    CSV files are read by Arrow where it is there and types are wanted, else cell by cell.
    """

    paths: tuple[str, ...]
    _versions: dict[str, Version] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, request: Request) -> Sequence[Piece]:
        kinds = {Path(path).suffix.lower() for path in self.paths}
        if len(kinds) > 1:
            raise InvalidInputError(f"A stream reads files of one format; {_several_formats(self.paths)}")
        self._require_versions(self.paths)
        pieces = self._pieces(next(iter(kinds)), request)
        return [Piece(piece.label, self._unchanging(piece), piece.path) for piece in pieces]

    def _pieces(self, ending: str, request: Request) -> Iterable[Piece]:
        if ending == ".npy":
            return [piece for path in self.paths for piece in _mapped(path)(request)]
        kind = _FORMATS.get(ending)
        if kind is None:
            raise InvalidInputError(
                f"{self.paths[0]}: a stream reads {', '.join(_FORMATS)} and .npy files; convert it, or give a function "
                "that makes an iterator over its batches."
            )
        for path in self.paths:
            require_plain(Path(path))
        if kind == "csv" and (request.columns.as_cells or _arrow() is None):
            return _csv_pieces(self.paths, request)
        with _readable(self.paths[0]):
            return Dataset(_dataset(self.paths, kind, request))(request)

    def _unchanging(self, piece: Piece) -> Callable[[], Iterator[Any]]:
        def tables() -> Iterator[Any]:
            for table in piece.tables():
                self._require_versions([piece.path])
                yield table

        return tables

    def _require_versions(self, paths: Iterable[str]) -> None:
        """Raise InvalidInputError for a file that is not what it was when it was first read, or is gone."""
        for path in filter(None, paths):
            with _readable(path):
                before = self._versions.setdefault(path, version_of(Path(path)))
                require_version(Path(path), before)


@dataclass(frozen=True, eq=False)
class Dataset:
    """An Arrow data set; the row groups of its Parquet files are pieces, of other formats the files."""

    dataset: Any

    def __call__(self, request: Request) -> list[Piece]:
        wanted, own = request.columns.read(), self._own_names(request)
        require_names(wanted or (), list(own))
        names = None if wanted is None else [own[name] for name in wanted]
        return [
            Piece(label, self._reader(fragment, request, names, label), fragment.path)
            for whole in self.dataset.get_fragments()
            for label, fragment in self._divided(whole, request, names)
        ]

    def _own_names(self, request: Request) -> dict[str, str]:
        """{name: as it stands in the files}: without spaces around it where cells are wanted, as in other files."""
        if not request.columns.as_cells:
            return {name: name for name in self.dataset.schema.names}
        names = [name.strip() for name in self.dataset.schema.names]
        require_unique(Path(getattr(self.dataset, "files", ["."])[0]), names)
        return dict(zip(names, self.dataset.schema.names, strict=True))

    def _divided(self, fragment: Any, request: Request, names: Any) -> Iterator[tuple[str, Any]]:
        """Neighboring row groups of a Parquet file together, as many as have not more than a batch of rows."""
        path = fragment.path
        with _readable(path):
            # Arrow would take a column that one file lacks as nothing but missing cells, in silence.
            lacking = set(names or self.dataset.schema.names).difference(fragment.physical_schema.names)
        if lacking:
            raise InvalidInputError(
                f"{path}: the file has no column {min(lacking)!r}, which the first of the files has."
            )
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

    def _reader(self, fragment: Any, request: Request, names: Any, label: str) -> Callable[[], Iterator[Any]]:
        def tables() -> Iterator[Any]:
            with _readable(label):
                if hasattr(fragment, "row_groups"):
                    yield from _in_batches(fragment, self.dataset.schema, names, request.batch_rows)
                    return
                yield from fragment.to_batches(
                    schema=self.dataset.schema,
                    columns=names,
                    batch_size=request.batch_rows,
                    batch_readahead=1,
                    fragment_readahead=1,
                    use_threads=False,
                )

        return (lambda: map(_without_spaces, tables())) if request.columns.as_cells else tables


def _without_spaces(table: Any) -> Any:
    """The table, or batch of one, without spaces around its names."""
    names = [name.strip() for name in table.schema.names]
    return table if names == table.schema.names else type(table).from_arrays(table.columns, names=names)


def _in_batches(fragment: Any, schema: Any, names: Sequence[str] | None, size: int) -> Iterator[Any]:
    """Tables of at most `size` rows of a Parquet file's row groups, which may be larger than memory.

    Fragments read a row group as a whole, and of one of a few kilobytes come gigabytes where rows repeat.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    names = list(names or schema.names)
    wanted = pyarrow.schema([schema.field(name) for name in names])
    own = [group.id for group in fragment.row_groups]
    with ParquetFile(
        fragment.path,
        metadata=fragment.metadata,  # as it has been read already
        filesystem=fragment.filesystem,
        pre_buffer=False,
        buffer_size=_READ_AT_ONCE,
    ) as file:
        for batch in file.iter_batches(size, row_groups=own, columns=names, use_threads=False):
            table = pyarrow.Table.from_batches([batch]).select(names)
            yield table if table.schema.equals(wanted) else table.cast(wanted)


def matching(pattern: str) -> list[str]:
    """The files that a path, a folder or a pattern stands for, in the order of their names."""
    if os.path.isdir(pattern):
        found = [str(path) for path in Path(pattern).rglob("*") if path.is_file() and path.name[0] not in "._"]
        if not found:
            raise InvalidInputError(f"{pattern}: a folder without files; {', '.join(_READ)} files were expected in it.")
    else:
        found = [pattern] if os.path.exists(pattern) else glob.glob(pattern, recursive=True)
    if not found:
        raise InvalidInputError(f"{pattern}: no such file, and no file that the pattern names.")
    return sorted(found)


def _several_formats(paths: Sequence[str]) -> str:
    """What was found, and a pattern for the most frequent of what can be read."""
    counts = Counter(Path(path).suffix.lower() for path in paths)
    found = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in sorted(counts.items()))
    best = max(counts.keys() & set(_READ), key=lambda ending: (counts[ending], ending), default=None)
    if best is None:
        return f"found {found}, none of which is {', '.join(_READ)}."
    folder = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
    deep = any(Path(path).parent != folder for path in paths if path.lower().endswith(best))
    return f"found {found}. Give a pattern, such as '{folder / '**' if deep else folder}/*{best}'."


def _labeled(path: str, groups: list[int]) -> str:
    return f"{path}, row group {groups[0]}" + (f" to {groups[-1]}" if len(groups) > 1 else "")


def _mapped(path: str) -> Callable[[Request], list[Piece]]:
    with _readable(path):
        table = Table(np.load(path, mmap_mode="r", allow_pickle=False))
    return lambda request: [Piece(f"{path}, {piece.label}", piece.tables, path) for piece in table(request)]


# -- CSV --------------------------------------------------------------------------------------------------------------


def _csv_pieces(paths: Sequence[str], request: Request) -> list[Piece]:
    """A piece of each file: text where cells are wanted, else columns of numbers or words."""
    files, wanted = _csv_files(paths), request.columns.read()
    require_names(wanted or (), files[0].names)
    typed = None if request.columns.as_cells else TypedCsv(files[0], request)

    def piece(file: CsvFile) -> Piece:
        def tables() -> Iterator[dict[str, np.ndarray]]:
            with _readable(str(file.path)):
                for batch in file.batches(request.batch_rows):
                    named = cells_by_name(file, batch) if typed is None else typed.columns(file, batch)
                    yield {name: named[name] for name in wanted or files[0].names}

        return Piece(str(file.path), tables, str(file.path))

    return [piece(file) for file in files]


def _csv_files(paths: Sequence[str]) -> list[CsvFile]:
    """Files that have the same columns."""
    files: list[CsvFile] = []
    for path in paths:
        with _readable(path):
            files.append(CsvFile(path))
        odd = set(files[0].names) ^ set(files[-1].names)
        if odd:
            raise InvalidInputError(f"{path}: the column {min(odd)!r} is not in both this file and {paths[0]}.")
    return files


def _dataset(paths: Sequence[str], kind: str, request: Request) -> Any:
    """An Arrow data set; the numbers of CSV files are real, as Arrow would fail at 2.5 where the first were whole."""
    arrow = _require_arrow()
    if kind != "csv":
        return arrow.dataset(list(paths), format=kind)
    import pyarrow

    first = _csv_files(paths)[0]
    form = arrow.CsvFileFormat(parse_options=pyarrow.csv.ParseOptions(delimiter=first.delimiter))
    found = arrow.dataset(list(paths), format=form)
    if request.columns.as_frames:
        return found
    roles = request.columns.roles
    real = [f.with_type(pyarrow.float64()) if f.name not in roles and _may_be_real(f.type) else f for f in found.schema]
    return arrow.dataset(list(paths), format=form, schema=pyarrow.schema(real))


def _may_be_real(kind: Any) -> bool:
    import pyarrow.types

    return pyarrow.types.is_integer(kind) or pyarrow.types.is_null(kind)


def _arrow() -> Any:
    try:
        import pyarrow.csv
        import pyarrow.dataset
    except ImportError:
        return None
    return pyarrow.dataset


def _require_arrow() -> Any:
    return needed("pyarrow.dataset", "io", "Streams of Parquet, Arrow and Feather files need")


@contextmanager
def _readable(label: str) -> Iterator[None]:
    """What a reader cannot read is the input's fault; says where."""
    try:
        yield
    except (InvalidInputError, MissingDependencyError):
        raise
    except (OSError, ValueError) as error:  # Arrow's own are of these
        raise InvalidInputError(f"{label}: cannot be read ({error}).") from error
