"""Streams: data in batches, of which a few at a time are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emnet.data.columns import Column, Columns, Parts, Reading
from emnet.data.prefetch import prefetched
from emnet.data.source_choice import source_of
from emnet.data.sources import Piece, Request, Source, n_rows
from emnet.data.spool import Spool
from emnet.distributed import Group
from emnet.exceptions import InvalidInputError

_ROWS, _BLOCKS = 2**16, 12


@dataclass(frozen=True)
class Chunk:
    """Rows of a stream, or whole sequences of them.

    X : (n, d) float64, NaN for what is missing, or a data frame where there are words.
    y, weights : (n,), or None.
    lengths : of the sequences, None where rows are by themselves.
    block : see `emnet.batch.Batch`.
    place : (piece, number within it), the same in every pass and for any number of processes.
    label : where the rows are.
    names : of the columns, None of arrays.
    """

    X: Any
    y: np.ndarray | None
    weights: np.ndarray | None
    lengths: np.ndarray | None
    block: int
    place: tuple[int, int]
    label: str
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.X)


def all_rows(parts: Parts) -> Parts:
    return parts


@dataclass(frozen=True)
class _Then:
    """One change of rows after another."""

    first: Callable[[Parts], Parts]
    second: Callable[[Parts], Parts]

    def __call__(self, parts: Parts) -> Parts:
        return self.second(self.first(parts))


@dataclass(frozen=True, eq=False)
class Stream:
    """Chunks of a source, as often as they are asked for; made by `emnet.stream`.

    chosen : makes of a table's rows those that count; it can be copied to another process.
    spool : where rows are kept once they have been read, of arrays of numbers; None for nowhere.
    """

    source: Source
    columns: Reading = field(default_factory=Columns)
    batch_rows: int = _ROWS
    blocks: int = _BLOCKS
    prefetch: int = 2
    group: Group = field(default_factory=Group)
    chosen: Callable[[Parts], Parts] = all_rows
    spool: Spool | None = None

    def shared(self, group: Group) -> Stream:
        """This process's share."""
        if group.size > self.blocks:
            raise InvalidInputError(
                f"A stream of {self.blocks} blocks is for as many processes at most, and there are {group.size}: give "
                f"emnet.stream(…, blocks={group.size}), or a multiple of that."
            )
        return replace(self, group=group)

    def as_frames(self) -> Stream:
        """The stream whose tables stay data frames, for what tells integers and booleans from other numbers."""
        return replace(self, columns=replace(self.columns, as_frames=True))  # type: ignore[type-var]

    def through(self, change: Callable[[Parts], Parts]) -> Stream:
        """The stream whose rows go through `change` last, which can be copied to another process."""
        return replace(self, chosen=_Then(self.chosen, change), spool=None)

    def __iter__(self) -> Iterator[Chunk]:
        return prefetched(self._chunks(), self.prefetch)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise InvalidInputError(
            "A stream is for `fit`, of the estimators that docs/streams.md names; others need the rows in memory. All "
            "else goes chunk by chunk: [model.predict(chunk.X) for chunk in stream]."
        )

    def labels(self) -> list[str]:
        """What the pieces are, in order."""
        return [piece.label for piece in self._pieces()]

    def _pieces(self) -> Sequence[Piece]:
        return self.source(Request(self.columns, self.batch_rows, self.columns.sequence is not None))

    def _chunks(self) -> Iterator[Chunk]:
        """Pieces go to blocks in turn; where there are fewer pieces, the chunks of each go to blocks of its own."""
        pieces = self._pieces()
        for number, piece in enumerate(pieces):
            blocks = range(number % self.blocks, self.blocks, len(pieces)) if pieces else ()
            if not any(map(self.group.owns, blocks)):
                continue
            for within, (parts, start, lengths) in enumerate(self._parts_of(piece, number)):
                block = blocks[within % len(blocks)]
                if self.group.owns(block):
                    _require_rows(parts, start, piece.label)
                    place, label = (number, within), f"{piece.label}, from row {start} on"
                    yield Chunk(parts.X, parts.y, parts.weights, lengths, block, place, label, parts.names)

    def _parts_of(self, piece: Piece, number: int) -> Iterator[tuple[Parts, int, np.ndarray | None]]:
        """Rows with the number of the first within the piece, and the lengths of sequences."""
        read = self._tables(piece) if self.spool is None else self.spool.through(number, self._tables(piece))
        tables = (parts for table in read for parts in self._sliced(table) if len(parts.X))
        start = 0
        for parts, lengths in (
            _in_sequences(tables, piece.label) if self.columns.sequence is not None else ((p, None) for p in tables)
        ):
            yield parts, start, lengths
            start += len(parts.X)

    def _tables(self, piece: Piece) -> Iterator[Parts]:
        start = 0
        for table in piece.tables():
            try:
                yield self.chosen(self.columns.parts(table))
            except InvalidInputError as error:
                place = f", from row {start} on" if start else ""
                raise type(error)(f"{piece.label}{place}: {error}") from error
            start += n_rows(table)

    def _sliced(self, parts: Parts) -> Iterator[Parts]:
        """Batches as a source gives them, cut where they are longer than was asked for."""
        n, size = len(parts.X), self.batch_rows
        if n <= size:
            yield parts
            return
        for first in range(0, n, size):
            yield rows_of(parts, slice(first, first + size))


def stream(
    data: Any,
    *,
    columns: Sequence[Column] | None = None,
    target: Column | None = None,
    weight: Column | None = None,
    sequence: Column | None = None,
    batch_rows: int = _ROWS,
    blocks: int = _BLOCKS,
    prefetch: int = 2,
) -> Stream:
    """Data that need not fit into memory, to be given to `fit` in place of an array.

    Parameters
    ----------
    data : a path or a pattern ("rows/*.parquet"; Parquet, CSV, Arrow, Feather, .npy), a list of paths, a folder, an
        Arrow data set, an array or memory map, (X, y) or (X, y, weights), a pandas, polars or Arrow table, a torch
        DataLoader, or a function that makes an iterator over batches of those, the same in every pass.
    columns : the inputs, by name or, of arrays, position; None is all that have no other role.
    target, weight : the columns of y and of the rows' weights.
    sequence : the column whose value is the same within a sequence; rows of a sequence stand together in a file.
    batch_rows : rows in a batch, at most; `prefetch` + 2 of them are in memory, or of a longer sequence all rows.
    blocks : sums of a pass that are added up in order, so that 1 to `blocks` processes give the same bits; best a
        multiple of the number of processes.
    prefetch : batches that a thread reads ahead; 0 for none.

    Raises
    ------
    InvalidInputError : what cannot be read, by file and row.
    MissingDependencyError : pyarrow is not there, and the files are none of NumPy's.

    Examples
    --------
    >>> import numpy as np
    >>> rows = stream(np.arange(10.0).reshape(5, 2), target=1, batch_rows=2)
    >>> [chunk.y.tolist() for chunk in rows]
    [[1.0, 3.0], [5.0, 7.0], [9.0]]
    """
    for name, value, least in (("batch_rows", batch_rows, 1), ("blocks", blocks, 1), ("prefetch", prefetch, 0)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise InvalidInputError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    if isinstance(columns, (str, int)):
        raise InvalidInputError(f"columns must be a list of columns; got {columns!r}.")
    roles = Columns(None if columns is None else tuple(columns), target, weight, sequence)
    return Stream(source_of(data), roles, int(batch_rows), int(blocks), int(prefetch))


def _require_rows(parts: Parts, start: int, label: str) -> None:
    for name, own in (("targets", parts.y), ("weights", parts.weights)):
        if own is not None and len(own) != len(parts.X):
            raise InvalidInputError(f"{label}, from row {start} on: {len(parts.X)} rows and {len(own)} {name}.")


def place_of_infinity(chunk: Chunk) -> str:
    """Where the first infinity of a chunk is, in words; "" of none."""
    cells: Any = np.argwhere(np.isinf(chunk.X)) if isinstance(chunk.X, np.ndarray) else []
    return f"row {cells[0][0]} of them, column {cells[0][1]} holds infinity. " if len(cells) else ""


def _in_sequences(tables: Iterable[Parts], label: str) -> Iterator[tuple[Parts, np.ndarray]]:
    """Batches that end where sequences do: the last, which may go on, waits for the next batch.

    Raises InvalidInputError for a sequence that comes again after another: it would count as two.
    """
    waiting: list[Parts] = []
    known: set[Any] = set()
    for parts in tables:
        starts = _starts(parts.sequence)
        before = bool(waiting) and waiting[-1].sequence[-1] == parts.sequence[0]  # type: ignore[index]
        _require_new(known, parts.sequence[starts[int(before) :]], label)  # type: ignore[index]
        if len(starts) == 1 and (before or not waiting):
            waiting.append(parts)
            continue
        last = int(starts[-1])
        done = joined([*waiting, rows_of(parts, slice(0, last))])
        if len(done.X):
            yield done, _lengths(done.sequence)
        waiting = [rows_of(parts, slice(last, None))]
    if waiting:
        done = joined(waiting)
        yield done, _lengths(done.sequence)


def _require_new(known: set[Any], names: np.ndarray, label: str) -> None:
    for name in names.tolist():
        if name in known:
            raise InvalidInputError(
                f"{label}: rows of the sequence {name!r} stand apart, with others between them. Sort the file by the "
                "sequence, keeping the order of its rows."
            )
        known.add(name)


def _starts(sequence: Any) -> np.ndarray:
    """The rows where the value changes, the first among them."""
    return np.flatnonzero(np.concatenate(([True], sequence[1:] != sequence[:-1])))


def _lengths(sequence: Any) -> np.ndarray:
    return np.diff(np.append(_starts(sequence), len(sequence)))


def rows_of(parts: Parts, rows: slice | np.ndarray) -> Parts:
    """Some of the rows."""
    own = (parts.y, parts.weights, parts.sequence)
    X = parts.X.iloc[rows] if hasattr(parts.X, "iloc") else parts.X[rows]
    y, weights, sequence = (None if part is None else part[rows] for part in own)
    return Parts(X, y, weights, sequence, parts.names)


def joined(parts: Sequence[Parts]) -> Parts:
    """Rows end to end."""
    parts = [part for part in parts if len(part.X)]
    if len(parts) == 1:
        return parts[0]
    X, *own = zip(*((p.X, p.y, p.weights, p.sequence) for p in parts), strict=True)
    y, weights, sequence = (None if part[0] is None else np.concatenate(part) for part in own)
    return Parts(np.concatenate(X), y, weights, sequence, parts[0].names)
