"""Model files: safetensors in an envelope that is checked before anything in it is used; never pickle.

A file is a safetensors container with one metadata key, `emnet`: canonical JSON with the format version, the class
(from an allow-list), its parameters, and the SHA-256 of that and of the tensors' names, types, shapes and bytes. Files
are written whole or not at all: to a temporary file beside the target, synced, then renamed over it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from emnet.exceptions import InvalidInputError, ModelFileError

FORMAT_VERSION = 1
_KEY = "emnet"
_MAX_HEADER_BYTES = 64 * 2**20
_MAX_TENSORS = 10_000
_CLASSES = {  # what a file may name; nothing else is ever imported
    "EMMLPClassifier": "emnet.estimators.em_mlp",
    "EMMLPRegressor": "emnet.estimators.em_mlp_regressor",
    "CategoricalHMM": "emnet.estimators.categorical_hmm",
    "FactorAnalysis": "emnet.estimators.factor_analysis",
    "GMMHMM": "emnet.estimators.gmm_hmm",
    "GaussianHMM": "emnet.estimators.gaussian_hmm",
    "GaussianMixture": "emnet.estimators.gaussian_mixture",
    "InputOutputHMM": "emnet.estimators.input_output_hmm",
    "MixtureOfExpertsClassifier": "emnet.estimators.mixture_of_experts_classifier",
    "MixtureOfExpertsRegressor": "emnet.estimators.mixture_of_experts_regressor",
    "MixtureModel": "emnet.estimators.mixture_model",
    "MultinomialHMM": "emnet.estimators.multinomial_hmm",
    "NeuralHMM": "emnet.estimators.neural_hmm",
    "NeuralMixture": "emnet.estimators.neural_mixture",
    "PoissonHMM": "emnet.estimators.poisson_hmm",
    "ProbabilisticPCA": "emnet.estimators.probabilistic_pca",
    "VariationalAutoencoder": "emnet.estimators.variational_autoencoder",
}
_NUMPY_TYPES = {"F64": np.float64, "F32": np.float32, "I64": np.int64}

State = tuple[dict[str, Any], dict[str, np.ndarray]]


def save(estimator: Any, path: str | os.PathLike) -> None:
    """Write a fitted estimator to `path`, whole or not at all.

    Raises
    ------
    InvalidInputError : a parameter (a callback, a custom object) cannot be put into a file without running code.
    OSError : the file cannot be written; what was at `path` before is still there.
    """
    from safetensors.numpy import save as to_bytes

    name = type(estimator).__name__
    if name not in _CLASSES:
        raise InvalidInputError(f"{name} cannot be saved; the classes that can are: {', '.join(_CLASSES)}.")
    manifest, tensors = estimator._to_state()
    tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    envelope = {"format": FORMAT_VERSION, "class": name, "state": manifest}
    try:
        envelope["sha256"] = _digest(envelope, tensors)
        text = _canonical(envelope)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"This {name} has a parameter that no model file can hold: {error}.") from error
    _write_whole(Path(path), to_bytes(tensors, metadata={_KEY: text}))


def load(path: str | os.PathLike) -> Any:
    """Read a fitted estimator from a file that `save` wrote. Runs no code from the file.

    Raises
    ------
    ModelFileError : the file is truncated, altered, not emnet's, or written by a newer version.
    OSError : the file cannot be read.
    """
    path = Path(path)
    content = path.read_bytes()
    envelope, tensors = _open(path, content)
    module = import_module(_CLASSES[envelope["class"]])
    try:
        return getattr(module, envelope["class"])._from_state(envelope["state"], tensors)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{path}: the contents do not make a {envelope['class']} ({error}).") from error


def _open(path: Path, content: bytes) -> tuple[Mapping[str, Any], dict[str, np.ndarray]]:
    header = _header(path, content)
    envelope = _envelope(path, header)
    entries = {key: value for key, value in header.items() if key != "__metadata__"}
    if len(entries) > _MAX_TENSORS:
        raise ModelFileError(f"{path}: {len(entries)} tensors, more than any emnet model has.")
    for name, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("dtype") not in _NUMPY_TYPES:
            raise ModelFileError(f"{path}: tensor {name!r} has a type that emnet does not write.")
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        tensors = from_bytes(content)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path}: the file is truncated or altered ({error}).") from error
    text = header["__metadata__"][_KEY]
    if text != _canonical(envelope) or _digest(envelope, tensors) != envelope["sha256"]:
        raise ModelFileError(f"{path}: the checksum does not match; the file was altered or damaged.")
    return envelope, tensors


def _header(path: Path, content: bytes) -> dict[str, Any]:
    if len(content) < 8:
        raise ModelFileError(f"{path}: {len(content)} bytes are too few for a model file; it is truncated.")
    (length,) = struct.unpack("<Q", content[:8])
    if length > _MAX_HEADER_BYTES or content[8:9] != b"{":
        raise ModelFileError(f"{path}: this is not an emnet model file.")
    if length > len(content) - 8:
        raise ModelFileError(f"{path}: the file is truncated.")
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: the header cannot be read ({error}).") from error
    if not isinstance(header, dict):
        raise ModelFileError(f"{path}: this is not an emnet model file.")
    return header


def _envelope(path: Path, header: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or set(metadata) != {_KEY} or not isinstance(metadata[_KEY], str):
        raise ModelFileError(f"{path}: a safetensors file, but not an emnet model.")
    try:
        envelope = json.loads(metadata[_KEY], object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: the manifest cannot be read ({error}).") from error
    if not isinstance(envelope, dict) or type(envelope.get("format")) is not int:
        raise ModelFileError(f"{path}: the manifest is not emnet's.")
    if envelope["format"] > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: written in format {envelope['format']}, this emnet reads up to {FORMAT_VERSION}. Upgrade emnet."
        )
    if set(envelope) != {"format", "class", "sha256", "state"} or not isinstance(envelope["state"], dict):
        raise ModelFileError(f"{path}: the manifest is not emnet's.")
    if envelope["class"] not in _CLASSES:
        raise ModelFileError(f"{path}: it names the class {envelope['class']!r}, which is not an emnet model.")
    return envelope


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


def _write_whole(path: Path, content: bytes) -> None:
    path = path.resolve()  # of a link, the file that it points to
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder to write to.")
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


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
