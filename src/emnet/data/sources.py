"""Where rows come from, in pieces: arrays, tables, and functions that make iterators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from emnet.data.columns import Reading
from emnet.exceptions import InvalidInputError


@dataclass(frozen=True)
class Piece:
    """Rows that can be read without those before them: `tables()` gives them in batches, `label` says what they are.

    path : of the file that they are in, or "".
    """

    label: str
    tables: Callable[[], Iterator[Any]]
    path: str = ""


@dataclass(frozen=True)
class Request:
    """What a source is asked for.

    whole : whether a piece must hold all that belongs together: a whole file, or table.
    """

    columns: Reading
    batch_rows: int
    whole: bool = False


Source = Callable[[Request], Sequence[Piece]]
"""How a source answers. It can be copied to another process where what it was made of can."""


@dataclass(frozen=True, eq=False)
class Table:
    """An array, a memory map among them, a tuple of arrays (X, y, weights), or a data frame."""

    table: Any

    def __call__(self, request: Request) -> list[Piece]:
        n, size = n_rows(self.table), request.batch_rows
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


def n_rows(table: Any) -> int:
    """Of an array, a frame, a tuple of arrays, or columns by name."""
    if isinstance(table, dict):
        return len(next(iter(table.values())))
    if not isinstance(table, tuple):
        return len(table)
    lengths = {len(part) for part in table if part is not None}
    if len(lengths) > 1:
        raise InvalidInputError(f"The parts of (X, y, weights) must have as many rows; they have {sorted(lengths)}.")
    return lengths.pop()
