"""What model files and checkpoints are wrapped in: safetensors, checked before anything in it is used; never pickle.

A file is a safetensors container with one metadata key, `emnet`: canonical JSON with the format version, the class of
what it holds, its state, and the SHA-256 of that and of the tensors' names, types, shapes and bytes. Files are written
whole or not at all: to a temporary file beside the target, synced, then renamed over it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emnet.exceptions import ModelFileError

FORMAT_VERSION = 1
_KEY = "emnet"
_MAX_HEADER_BYTES = 64 * 2**20
_MAX_TENSORS = 100_000
MODEL_TYPES = ("F64", "F32", "I64")
RUN_TYPES = (*MODEL_TYPES, "F16", "I32", "I16", "I8", "U8", "BOOL")  # of what runs keep, and modules of the user's own
_KEYS = {"format", "class", "sha256", "state"}

State = tuple[dict[str, Any], dict[str, np.ndarray]]


def write(path: Path, name: str, state: dict[str, Any], tensors: Mapping[str, np.ndarray], keep: bool = False) -> None:
    """Write the state of a `name` to `path`, whole or not at all; with `keep` what stood there stays as `previous`.

    Raises
    ------
    TypeError, ValueError : the state is not JSON.
    OSError : the file cannot be written; what was at `path` before is still there.
    """
    from safetensors.numpy import save as to_bytes

    tensors = {key: np.asarray(value, order="C") for key, value in tensors.items()}
    envelope = {"format": FORMAT_VERSION, "class": name, "state": state}
    envelope["sha256"] = _digest(envelope, tensors)
    _write_whole(path, to_bytes(tensors, metadata={_KEY: _canonical(envelope)}), keep)


def require_file(path: Path) -> None:
    """Raise OSError where a folder or a device is, such as /dev/null, which no file may take the place of."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file.")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is a device or a pipe; give the name of a file.")


def read(path: Path, names: Collection[str], types: Collection[str] = MODEL_TYPES) -> tuple[str, State]:
    """The name and the state that `write` was given. Runs no code from the file.

    Raises
    ------
    ModelFileError : the file is truncated, altered, not emnet's, of another class, or written by a newer version.
    OSError : the file cannot be read.
    """
    content = path.read_bytes()
    header = _header(path, content)
    envelope = _envelope(path, header, names)
    entries = {key: value for key, value in header.items() if key != "__metadata__"}
    if len(entries) > _MAX_TENSORS:
        raise ModelFileError(f"{path}: {len(entries)} tensors, more than any emnet model has.")
    for key, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("dtype") not in types:
            raise ModelFileError(f"{path}: tensor {key!r} has a type that emnet does not write.")
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        tensors = from_bytes(content)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path}: the file is truncated or altered ({error}).") from error
    text = header["__metadata__"][_KEY]
    if text != _canonical(envelope) or _digest(envelope, tensors) != envelope["sha256"]:
        raise ModelFileError(f"{path}: the checksum does not match; the file was altered or damaged.")
    return envelope["class"], (envelope["state"], tensors)


def previous(path: Path) -> Path:
    """Where the file before the last one is kept."""
    return path.with_name(f"{path.name}.previous")


def _header(path: Path, content: bytes) -> dict[str, Any]:
    if len(content) < 8:
        raise ModelFileError(f"{path}: {len(content)} bytes are too few for a model file; it is truncated.")
    (length,) = struct.unpack("<Q", content[:8])
    if length > _MAX_HEADER_BYTES or content[8:9] != b"{":
        raise ModelFileError(f"{path}: this is not an emnet model file.")
    if length > len(content) - 8:
        raise ModelFileError(f"{path}: the file is truncated.")
    try:
        header = _parsed(content[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: the header cannot be read ({error}).") from error
    if not isinstance(header, dict):
        raise ModelFileError(f"{path}: this is not an emnet model file.")
    return header


def _envelope(path: Path, header: Mapping[str, Any], names: Collection[str]) -> Mapping[str, Any]:
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or set(metadata) != {_KEY} or not isinstance(metadata[_KEY], str):
        raise ModelFileError(f"{path}: a safetensors file, but not an emnet model.")
    try:
        envelope = _parsed(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: the manifest cannot be read ({error}).") from error
    if not isinstance(envelope, dict) or type(envelope.get("format")) is not int:
        raise ModelFileError(f"{path}: the manifest is not emnet's.")
    if envelope["format"] > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: written in format {envelope['format']}, this emnet reads up to {FORMAT_VERSION}. Upgrade emnet."
        )
    if set(envelope) != _KEYS or not isinstance(envelope["state"], dict):
        raise ModelFileError(f"{path}: the manifest is not emnet's.")
    if not isinstance(envelope["class"], str) or envelope["class"] not in names:
        known = "which is not an emnet model" if len(names) > 1 else f"where a {next(iter(names))} was expected"
        raise ModelFileError(f"{path}: it names the class {envelope['class']!r}, {known}.")
    return envelope


def _parsed(text: str | bytes) -> Any:
    """JSON, with no key twice and no number that is infinite or none: raises ValueError."""
    return json.loads(text, object_pairs_hook=_without_duplicates, parse_float=_finite, parse_constant=_finite)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no finite number")
    return number


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(envelope: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(_canonical({k: v for k, v in envelope.items() if k != "sha256"}).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}\0{value.dtype.str}\0{value.shape}\0".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _write_whole(path: Path, content: bytes, keep: bool) -> None:
    path = path.resolve()  # of a link, the file that it points to
    require_file(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder to write to.")
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        if keep and path.exists():
            _keep(path)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _keep(path: Path) -> None:
    """Let the file have a second name, so that there is no moment without it."""
    second = previous(path)
    second.unlink(missing_ok=True)
    try:
        os.link(path, second)
    except OSError:  # a file system without links
        os.replace(path, second)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened, and the rename is durable enough
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
