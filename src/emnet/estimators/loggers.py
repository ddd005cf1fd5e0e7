"""Callbacks that keep the history of a fit where others are looked at: TensorBoard and MLflow."""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from itertools import count
from pathlib import Path
from typing import Any

from emnet.algorithms.base import Iteration
from emnet.estimators.history import as_dict
from emnet.estimators.validation import require_positive_integer
from emnet.extras import needed

_NO_METRICS = ("iteration", "kind")


class HistoryLogger(ABC):
    """Called after every line of the history; a run's first, of number 0 unless it goes on, begins another record.

    A copy, as a grid search makes one for every fit, has what it was made with, and no record yet.
    """

    def __init__(self, every: int):
        require_positive_integer("every", every)
        self.every, self.starts = every, 0

    def __call__(self, model: Any, iteration: Iteration) -> None:
        if iteration.number == 0 or not self.starts:
            self.starts += 1
            self._begin()
        if iteration.number % self.every == 0:
            metrics = {name: float(own) for name, own in as_dict(iteration).items() if name not in _NO_METRICS}
            self._write(metrics, iteration.number)

    @abstractmethod
    def _begin(self) -> None:
        """Another start."""

    @abstractmethod
    def _write(self, metrics: dict[str, float], number: int) -> None:
        """A line of the history."""

    @abstractmethod
    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made anew."""


class TensorBoardLogger(HistoryLogger):
    """A callback that writes a fit's history for TensorBoard; needs ``pip install 'emnet[tensorboard]'``.

    Every start, of every fit, is a run of its own: ``folder/run_1``, ``folder/run_2``, …, with log_evidence, log_prior,
    objective, seconds and what else the E-step says, by iteration.

    Parameters
    ----------
    folder : as in ``tensorboard --logdir folder``.
    every : iterations from one that is written to the next.
    """

    def __init__(self, folder: str | os.PathLike, every: int = 1):
        super().__init__(every)
        needed("tensorboard", "tensorboard", "TensorBoardLogger needs")
        self.folder = Path(folder)
        self._writer: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return TensorBoardLogger, (self.folder, self.every)

    def close(self) -> None:
        """Write what is still to be written, as the next start and the end of the program do."""
        if self._writer is not None:
            self._finish()

    def _begin(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        self._writer = SummaryWriter(str(self._free_folder()))
        self._finish = weakref.finalize(self, self._writer.close)

    def _free_folder(self) -> Path:
        """The first run that is not there yet, made."""
        for number in count(1):
            folder = self.folder / f"run_{number}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            break
        return folder

    def _write(self, metrics: dict[str, float], number: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, number)


class MLflowLogger(HistoryLogger):
    """A callback that logs a fit's history to MLflow's active run; needs ``pip install 'emnet[mlflow]'``.

    Metrics are ``start_1/log_evidence``, ``start_2/log_evidence`` and so on, as of `TensorBoardLogger`, their step the
    iteration. Where no run is active MLflow begins one. Of a grid search give every fit a run of its own, as all
    of them begin with start 1.

    Parameters
    ----------
    every : iterations from one that is logged to the next.
    """

    def __init__(self, every: int = 1):
        super().__init__(every)
        self._mlflow: Any = needed("mlflow", "mlflow", "MLflowLogger needs")

    def __reduce__(self) -> tuple[Any, ...]:
        return MLflowLogger, (self.every,)

    def _begin(self) -> None:
        pass

    def _write(self, metrics: dict[str, float], number: int) -> None:
        named = {f"start_{self.starts}/{name}": value for name, value in metrics.items()}
        self._mlflow.log_metrics(named, step=number)
