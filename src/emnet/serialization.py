"""Model files: see `emnet.envelope` for what protects them; never pickle.

A file names its class, from an allow-list, and has its parameters as JSON and what it learned as tensors.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from emnet import envelope
from emnet.envelope import State
from emnet.exceptions import EmnetError, InvalidInputError, ModelFileError

__all__ = ["State", "load", "save"]
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
    "TableModel": "emnet.estimators.table_model",
}
_MALFORMED = (
    ArithmeticError,
    AttributeError,
    EmnetError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def _is_number(own: Any) -> bool:
    return type(own) in (int, float) and math.isfinite(own)


def _are(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda own: isinstance(own, list) and all(map(kind, own))


_OUTLINE: dict[str, Callable[[Any], bool]] = {  # what stands under these names in the state of any class
    "features": _are(lambda own: isinstance(own, str)),
    "fits": _are(lambda own: isinstance(own, dict)),
    "flat": lambda own: isinstance(own, bool),
    "library": lambda own: own is None or isinstance(own, str),
    "log_scale": _is_number,
    "n_columns": lambda own: type(own) is int and own > 0,
    "n_features": lambda own: type(own) is int and own > 0,
    "n_free": lambda own: type(own) is int and own >= 0,
    "parameters": lambda own: isinstance(own, dict) and len(own) > 0,
    "prior": _are(_is_number),
    "rows_seen": lambda own: _is_number(own) and own >= 0,
    "scale": lambda own: _is_number(own) and own > 0,
    "shares": _are(_are(_is_number)),
}


def _require_outline(state: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError for what no model of any class has."""
    for name, fits in _OUTLINE.items():
        if name in state and not fits(state[name]):
            raise ValueError(f"{name} is {state[name]!r:.60}")
    for name, own in tensors.items():
        if not np.isfinite(own).all():
            raise ValueError(f"tensor {name!r} should be finite")


def save(estimator: Any, path: str | os.PathLike) -> None:
    """Write a fitted estimator to `path`, whole or not at all.

    Raises
    ------
    InvalidInputError : a parameter (a callback, a custom object) cannot be put into a file without running code.
    OSError : the file cannot be written; what was at `path` before is still there.
    """
    name = type(estimator).__name__
    if name not in _CLASSES:
        raise InvalidInputError(f"{name} cannot be saved; the classes that can are: {', '.join(_CLASSES)}.")
    manifest, tensors = estimator._to_state()
    try:
        envelope.write(Path(path), name, manifest, tensors)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"This {name} has a parameter that no model file can hold: {error}.") from error


def load(path: str | os.PathLike) -> Any:
    """Read a fitted estimator from a file that `save` wrote. Runs no code from the file.

    Raises
    ------
    ModelFileError : the file is truncated, altered, not emnet's, or written by a newer version.
    OSError : the file cannot be read.
    """
    path = Path(path)
    name, (manifest, tensors) = envelope.read(path, _CLASSES)
    try:
        _require_outline(manifest, tensors)
        return getattr(import_module(_CLASSES[name]), name)._from_state(manifest, tensors)
    except _MALFORMED as error:
        raise ModelFileError(f"{path}: the contents do not make a {name} ({error}).") from error


def part_of(prefix: str, estimator: Any) -> State:
    """A fitted estimator as a part of another one's state; its tensors have the prefix before their names."""
    manifest, tensors = estimator._to_state()
    record = {"class": type(estimator).__name__, "state": manifest}
    return record, {f"{prefix}.{name}": value for name, value in tensors.items()}


def from_part(prefix: str, record: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Any:
    """The estimator of such a part; like a file it may name the classes of the table alone."""
    name = record["class"]
    if name not in _CLASSES:
        raise ValueError(f"it names the class {name!r}")
    own = {key.removeprefix(f"{prefix}."): value for key, value in tensors.items() if key.startswith(f"{prefix}.")}
    return getattr(import_module(_CLASSES[name]), name)._from_state(record["state"], own)
