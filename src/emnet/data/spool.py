"""What is slow to read is read once: rows of a stream's pieces as arrays in a folder of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emnet.data.columns import Parts

_NAMES = ("X", "y", "weights", "sequence")


class Spool:
    """Arrays in a temporary folder, which is removed when the spool goes; without room there pieces are read again."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="emnet-")
        self._tables: dict[int, int] = {}  # how many each piece has that has been read to its end

    def through(self, piece: int, tables: Iterator[Parts]) -> Iterator[Parts]:
        """The tables of a piece: from the folder, or as they come and into it."""
        if piece in self._tables:
            yield from (self._read(piece, number) for number in range(self._tables[piece]))
            return
        number, has_room = 0, True
        for parts in tables:
            has_room = has_room and self._write(piece, number, parts)
            yield parts
            number += 1
        if has_room:
            self._tables[piece] = number

    def _write(self, piece: int, number: int, parts: Parts) -> bool:
        """Whether there was room."""
        try:
            for name in _NAMES:
                own = getattr(parts, name)
                if own is not None:
                    np.save(self._path(piece, number, name), own.astype(str) if own.dtype == object else own)
        except OSError:
            for name in _NAMES:
                self._path(piece, number, name).unlink(missing_ok=True)
            return False
        return True

    def _read(self, piece: int, number: int) -> Parts:
        paths = {name: self._path(piece, number, name) for name in _NAMES}
        return Parts(**{name: np.load(path, mmap_mode="r") for name, path in paths.items() if path.exists()})

    def _path(self, piece: int, number: int, name: str) -> Path:
        return Path(self._folder.name) / f"{piece}.{number}.{name}.npy"
