"""What is asked of a file before it is believed: that it is no archive, stays as it is, and has a header."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

from emnet.exceptions import InvalidInputError

_DELIMITERS = ",;\t|"
_SNIFFED_CHARACTERS, _SNIFFED_LINES = 2**16, 10
_PACKED = {b"PK\x03\x04": "zip", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def require_plain(path: Path) -> None:
    """Raise InvalidInputError for an archive: what a small one unpacks to may fill the memory."""
    with path.open("rb") as file:
        start = file.read(max(map(len, _PACKED)))
    for mark, kind in _PACKED.items():
        if start.startswith(mark):
            raise InvalidInputError(f"{path}: a {kind} archive, whatever its name says; unpack it first.")


Version = tuple[int, int]
"""Of a file: its size, and when it was last written to, in nanoseconds."""


def version_of(path: Path) -> Version:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def require_version(path: Path, before: Version) -> None:
    """Raise InvalidInputError if somebody has written to the file since."""
    if (now := version_of(path)) != before:
        raise InvalidInputError(
            f"{path}: the file changed while it was read (from {before[0]} to {now[0]} bytes); read it again when it "
            "is finished."
        )


@contextmanager
def unchanging(path: Path) -> Iterator[None]:
    """Raise InvalidInputError if somebody writes to the file within the block."""
    before = version_of(path)
    yield
    require_version(path, before)


def delimiter_of(text: str) -> str:
    """The delimiter that every one of the first lines holds, and most of; the header's most frequent if none does."""
    lines = [line for line in text[:_SNIFFED_CHARACTERS].split("\n")[:_SNIFFED_LINES] if line.strip()]
    return max(_DELIMITERS, key=lambda mark: (min(map(str.count, lines, repeat(mark)), default=0), text.count(mark)))


def require_unique(path: Path, header: Iterable[str]) -> None:
    """Raise InvalidInputError for a name that stands twice."""
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise InvalidInputError(f"{path}: the column name {twice[0]!r} stands more than once in the header.")
