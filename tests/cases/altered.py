"""Model files that were altered: by accident, which a checksum finds, and on purpose, with a checksum that fits."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from emnet import envelope
from emnet.serialization import _CLASSES

_PIECE = 1024


def accidents(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Files cut at every kilobyte, with flipped bytes, and with headers that lie about their length."""
    for length in (*range(0, len(content), _PIECE), 1, 7, 8, 9, len(content) - 1):
        yield f"cut at {length}", content[:length]
    for position in range(0, len(content), max(1, len(content) // 200)):
        yield f"byte {position} flipped", flipped(content, position, 0xFF)
    for length in (0, 1, 2**31, 2**62, 2**64 - 1, len(content), len(content) - 8):
        yield f"header of {length}", struct.pack("<Q", length) + content[8:]
    yield "twice", content + content
    yield "longer", content + b"\0"


def flipped(content: bytes, position: int, mask: int) -> bytes:
    altered = bytearray(content)
    altered[position] ^= mask
    return bytes(altered)


Opened = tuple[str, dict[str, Any], dict[str, np.ndarray]]


def opened(path: Path) -> Opened:
    name, (state, tensors) = envelope.read(path, _CLASSES)
    return name, state, tensors


def purposes(model: Opened) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Files whose checksum is right and whose contents no fit would give."""
    name, state, tensors = model
    for key, own in tensors.items():
        put = lambda other, key=key: partial(_write, name, state, {**tensors, key: other})  # noqa: E731
        yield f"{key} of NaN", put(np.full_like(own, np.nan) if own.dtype.kind == "f" else own.astype(float) * np.nan)
        yield f"{key} of infinity", put(np.full(own.shape, np.inf))
        yield f"{key} with a row more", put(np.concatenate((np.atleast_1d(own), np.atleast_1d(own)[:1])))
        yield f"{key} empty", put(own.reshape(-1)[:0])
        yield f"{key} flat", put(np.stack((own, own)))
        yield f"{key} left out", partial(_write, name, state, {k: v for k, v in tensors.items() if k != key})
        yield f"{key} elsewhere", partial(_write, name, state, {f"../../{k}": v for k, v in tensors.items()})
    for key in state:
        without = {k: v for k, v in state.items() if k != key}
        yield f"state without {key}", partial(_write, name, without, tensors)
        for odd in (None, [], {}, -1, "x", 1e308, [[[]]], {"pairs": 3}, True):
            yield f"state with {key} = {odd!r}", partial(_write, name, {**state, key: odd}, tensors)


def foreign_classes(model: Opened) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """The same contents under another class's name."""
    name, state, tensors = model
    for other in ("os.system", "Checkpoint", *_CLASSES):
        if other != name:
            yield f"as {other}", partial(_write, other, state, tensors)


def _write(name: str, state: dict[str, Any], tensors: dict[str, np.ndarray], path: Path) -> None:
    envelope.write(path, name, state, tensors)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a nest of JSON."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, own in items:
        yield from places(own, (*path, key))


def replaced(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy of the state with another value at a place."""
    copy = json.loads(json.dumps(state))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy
