"""CSV files in batches of cells, read strictly and without any library: the line of what cannot be read is known."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from emnet.data.guards import delimiter_of, require_plain, require_unique
from emnet.data.reading import MISSING
from emnet.data.sources import Request
from emnet.exceptions import InvalidInputError

_LONGEST_LINE = 2**24  # characters; a table's are shorter
_MOST_CELLS = 2**22  # of a batch
_FIRST = 1000  # rows, which say what a column is
_BOOLEANS = {"false": 0.0, "true": 1.0}

Numbered = tuple[list[int], list[list[str]]]
"""Rows of cells, and the lines they end in."""


class CsvFile:
    """A CSV file whose header has been read.

    Raises InvalidInputError with the file and line: an archive, bytes that are not UTF-8, NUL, a line without an end,
    rows of other lengths, names that stand twice.
    """

    def __init__(self, path: str):
        self.path = Path(path)
        require_plain(self.path)
        with self.path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
            self.delimiter = delimiter_of(file.read(2**16))
        header = next(self._lines(), None)
        if header is None:
            raise InvalidInputError(f"{self.path}: the file is empty; a header and rows were expected.")
        self.names = [name.strip() for name in header[1]]
        require_unique(self.path, self.names)

    def batches(self, rows: int) -> Iterator[Numbered]:
        """At most so many rows at a time, and fewer where they are long."""
        lines = self._lines()
        next(lines, None)
        most = max(1, min(rows, _MOST_CELLS // len(self.names)))
        while batch := list(islice(lines, most)):
            yield [number for number, _ in batch], [row for _, row in batch]

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Rows that have cells, all of them as many as the header."""
        width = None
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(self._checked(file.readline), delimiter=self.delimiter, strict=True)
            try:
                for row in reader:
                    if not row or (len(row) == 1 and not row[0].strip() and width != 1):
                        continue
                    width = width or len(row)
                    if len(row) != width:
                        raise InvalidInputError(
                            f"{self.path}: the number of cells in line {reader.line_num} is {len(row)}, in the header "
                            f"{width}."
                        )
                    yield reader.line_num, row
            except UnicodeDecodeError as error:
                raise InvalidInputError(
                    f"{self.path}: not UTF-8 text (after line {reader.line_num}: {error.reason}); save it as UTF-8, "
                    "for example with `iconv` from the encoding that it has (latin1, utf-16, …)."
                ) from error
            except csv.Error as error:
                raise InvalidInputError(
                    f"{self.path}: line {reader.line_num} is not of a CSV file ({error})."
                ) from error

    def _checked(self, readline: Callable[[int], str]) -> Iterator[str]:
        number = 0
        while line := readline(_LONGEST_LINE):
            number += 1
            if len(line) == _LONGEST_LINE and line[-1] != "\n":
                raise InvalidInputError(f"{self.path}: line {number} has more than {_LONGEST_LINE} characters.")
            if "\0" in line:
                raise InvalidInputError(f"{self.path}: line {number} holds a NUL byte.")
            yield line


def cells_by_name(file: CsvFile, batch: Numbered) -> dict[str, np.ndarray]:
    """The text of a batch by column."""
    return {name: _objects(cells) for name, cells in _by_name(file, batch)}


def _by_name(file: CsvFile, batch: Numbered) -> Iterator[tuple[str, tuple[str, ...]]]:
    return zip(file.names, zip(*batch[1], strict=True), strict=True)


class TypedCsv:
    """CSV files whose columns are numbers or words, as the first rows of the first of them say."""

    def __init__(self, first: CsvFile, request: Request):
        batch = next(first.batches(_FIRST), None)
        seen = () if batch is None else _by_name(first, batch)
        self.words = {name for name, cells in seen if _numbers(cells)[1] is not None}
        self.roles = request.columns.roles

    def columns(self, file: CsvFile, batch: Numbered) -> dict[str, np.ndarray]:
        """float64, NaN for what is missing, or words.

        Raises InvalidInputError for a word among numbers, with its line.
        """
        return {name: self._of(file, batch[0], name, cells) for name, cells in _by_name(file, batch)}

    def _of(self, file: CsvFile, lines: list[int], name: str, cells: tuple[str, ...]) -> np.ndarray:
        if name in self.words:
            return _objects(cells)
        numbers, odd = _numbers(cells)
        if odd is not None:
            raise InvalidInputError(
                f"{file.path}: column {name!r} holds numbers, but line {lines[odd]} has {cells[odd]!r:.60}."
            )
        whole = name in self.roles and bool(np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all())
        return numbers.astype(np.int64) if whole else numbers  # labels 0 and 1 are no 0.0 and 1.0


def _numbers(cells: tuple[str, ...]) -> tuple[np.ndarray, int | None]:
    """The cells as numbers, NaN for what is missing, and the first that is none."""
    try:
        found = np.array(list(map(float, cells)))
        if np.isfinite(found).all() and "_" not in "".join(cells):
            return found, None
    except ValueError:
        pass
    found = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        word = cell.strip().lower()
        if word in MISSING:
            continue
        try:
            found[row] = _BOOLEANS[word] if word in _BOOLEANS else float("" if "_" in word else word)
        except ValueError:
            return found, row
    return found, None


def _objects(cells: tuple[str, ...]) -> np.ndarray:
    out = np.empty(len(cells), dtype=object)
    out[:] = [cell.strip() for cell in cells]
    return out
