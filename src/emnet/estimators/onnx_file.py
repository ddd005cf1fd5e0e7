"""Estimators as ONNX files, which programs without Python or PyTorch can run."""

from __future__ import annotations

import json
import logging
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from emnet import __version__
from emnet.estimators.options import DTYPES
from emnet.exceptions import InvalidInputError
from emnet.extras import needed
from emnet.models.portable import Portable, Standardized

_INPUT = "X"
_TRACED_ROWS = 3  # any number but 0 and 1, which tracing would take for constants


@dataclass(frozen=True)
class Program:
    """What a file is made of.

    module : takes (n, d) float64 to what its `outputs` name.
    columns : the names of the d columns.
    notes : what else a user of the file has to know; JSON values by name.
    """

    module: Portable
    columns: list[Any]
    notes: dict[str, Any] = field(default_factory=dict)


def column_names(estimator: Any) -> list[Any]:
    """Those of a data frame, or x0, x1, … as scikit-learn has it."""
    named = getattr(estimator, "feature_names_in_", None)
    return [f"x{j}" for j in range(estimator.n_features_in_)] if named is None else list(named)


def standardized(then: Portable, center: Any, scale: Any, n_columns: int, dtype: torch.dtype) -> Standardized:
    """What takes columns as they come to what takes them centered and scaled; numbers, or one for each column."""
    at, by = (torch.as_tensor(np.array(np.broadcast_to(own, n_columns), dtype=np.float64)) for own in (center, scale))
    return Standardized(at, by, dtype, then)


class OnnxFile:
    """An estimator that can be written as a graph. What it computes is a torch module that it gives itself."""

    @abstractmethod
    def _programs(self) -> Mapping[str, Callable[[], Program]]:
        """What can be written, by name; most estimators have one program."""

    def to_onnx(self, path: str | os.PathLike, part: str | None = None) -> None:
        """Write what the estimator predicts as an ONNX graph; needs ``pip install 'emnet[onnx]'``.

        The graph takes X, (rows, columns) of float64, as the estimator does, NaN where that takes it, categories by
        their indices, and gives "probabilities" of classes or components, "mean" and "standard_deviation" of numbers
        and latent vectors, or "cells". Its metadata have, in JSON, `columns`, `classes` and `categories`.

        Parameters
        ----------
        part : of an autoencoder "encoder" or "decoder".

        Raises
        ------
        InvalidInputError : no fixed graph predicts what the estimator does, which draws or sums too much.
        MissingDependencyError : a package is missing; gives the command that installs it.
        """
        check_is_fitted(self)
        programs = self._programs()
        name = next(iter(programs)) if part is None and len(programs) == 1 else part
        if name is None or name not in programs:
            raise InvalidInputError(f"part must be one of {', '.join(map(repr, programs))}; got {part!r}.")
        program = programs[name]()
        notes = {"estimator": type(self).__name__, "part": name, "columns": program.columns, **program.notes}
        write_graph(program.module, len(program.columns), path, notes)


class PredictionFile(OnnxFile):
    """An `IterativeEstimator` with one program: what it predicts of standardized inputs."""

    input_mean_: np.ndarray
    input_scale_: np.ndarray
    dtype: str

    @abstractmethod
    def _portable(self) -> Portable:
        """What is predicted of standardized inputs."""

    def _onnx_notes(self) -> dict[str, Any]:
        """What a user of the file has to know of the targets."""
        return {}

    def _programs(self) -> Mapping[str, Callable[[], Program]]:
        return {"prediction": self._program}

    def _program(self) -> Program:
        columns = column_names(self)
        module = standardized(self._portable(), self.input_mean_, self.input_scale_, len(columns), DTYPES[self.dtype])
        return Program(module, columns, self._onnx_notes())


def write_graph(module: Portable, n_columns: int, path: str | os.PathLike, notes: Mapping[str, Any]) -> None:
    """Write a module that takes (n, d) rows of float64; notes become metadata, all but words as JSON."""
    for name in ("onnx", "onnxscript"):
        needed(name, "onnx", "ONNX files need")
    rows = torch.zeros(_TRACED_ROWS, n_columns, dtype=torch.float64)
    with torch.no_grad(), _quiet():
        traced = torch.export.export(module.eval(), (rows,), dynamic_shapes=({0: torch.export.Dim("rows", min=1)},))
        graph = torch.onnx.export(
            traced, input_names=[_INPUT], output_names=list(module.outputs), dynamo=True, verbose=False
        )
    assert graph is not None
    for node in graph.model.graph:
        node.metadata_props.clear()  # traces of our code, and of the folders that it lies in
    graph.model.metadata_props.update({"emnet_version": __version__, **{k: _plain(v) for k, v in notes.items()}})
    graph.save(os.fspath(path), external_data=False)


def _plain(note: Any) -> str:
    return note if isinstance(note, str) else json.dumps(note, ensure_ascii=False, default=str)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages and settings that a user of ours knows nothing of."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
