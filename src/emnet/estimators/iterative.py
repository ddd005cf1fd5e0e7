"""What estimators that run from several starts share: what a subclass says, and the runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import check_random_state

from emnet.algorithms.base import Algorithm, Callback, Fit, run
from emnet.batch import Batch, Data, MiniBatches, total_weight
from emnet.distributed import ALONE, Group
from emnet.estimators import options
from emnet.estimators.callbacks import CallbackSupportMixin, SklearnCallbacks
from emnet.estimators.early_stopping import EarlyStopping
from emnet.estimators.history import printer
from emnet.estimators.iterative_file import ModelFile
from emnet.estimators.iterative_results import M, PublishedFits
from emnet.estimators.iterative_rows import StandardizedRows
from emnet.estimators.streaming import random_numbers
from emnet.estimators.validation import (
    merge_repeated_rows,
    require_callbacks,
    require_not_negative,
    require_one_of,
    require_positive_integer,
    require_whole_number,
)
from emnet.exceptions import InvalidInputError, UnfinishedFit
from emnet.warning import saying_once


class IterativeEstimator(CallbackSupportMixin, ModelFile, PublishedFits[M], StandardizedRows):
    """Parameters as in the subclasses. A subclass says what the model is and where it starts."""

    # -- what a subclass says ---------------------------------------------------------------------------------------

    @abstractmethod
    def _start(self, seed: int, batch: Batch) -> M:
        """The model at the start of a run on those rows."""

    @abstractmethod
    def _e_step(self, seed: int) -> Any: ...

    @abstractmethod
    def _algorithm(self, seed: int) -> Algorithm: ...

    @abstractmethod
    def _n_starts(self) -> int: ...

    @abstractmethod
    def _elements(self, n: int) -> int:
        """How large the arrays of n rows are, where it is to be seen whether a second thread pays."""

    @abstractmethod
    def _resolve_prior(self, n_features: int) -> tuple[float, float]: ...

    @abstractmethod
    def _answered(self, X: Any, y: Any) -> Batch:
        """The batch of checked inputs and targets."""

    def _rows_a_batch(self, n: int) -> int | None:
        """Units of a mini-batch of n, None for all."""
        return self.batch_size

    _fewest_passes = 1

    # -- parameters -------------------------------------------------------------------------------------------------

    def _check_common_parameters(self) -> None:
        for name in ("n_init", "batch_size"):
            if getattr(self, name) is not None:
                require_positive_integer(name, getattr(self, name))
        if self.max_iter is not None:
            require_whole_number("max_iter", self.max_iter, self._fewest_passes)
        require_not_negative("tol", self.tol)
        require_one_of("dtype", self.dtype, tuple(options.DTYPES))
        require_one_of("standardize", self.standardize, (True, False))
        require_callbacks(self.callbacks)
        options.choose_device(self.device)

    # -- training ---------------------------------------------------------------------------------------------------

    def _fit(self, X: np.ndarray, target: np.ndarray, weights: np.ndarray, callback_target: Any) -> Self:
        given, (X, target, weights) = X, merge_repeated_rows(X, target, weights)
        if not self._continues():
            self._standardize(X, weights)
        self.prior_ = self._resolve_prior(X.shape[1])
        seeds = self._seeds()
        train, held_out = self._split(self._batch(X, target, weights), target, seeds[0])
        return self._fit_starts(train, held_out, seeds, given, callback_target)

    def _seeds(self, group: Group = ALONE) -> list[int]:
        """One for each start."""
        rng = check_random_state(random_numbers(self.random_state, group))
        return [int(seed) for seed in rng.randint(2**31, size=self._n_starts())]

    def _fit_starts(
        self,
        train: Batch,
        held_out: Batch | None,
        seeds: list[int],
        given: Any,
        target: Any,
        data: Data | None = None,
    ) -> Self:
        """Run from every start; `given` and `target` are what callbacks are shown.

        The runs are on `data`, or on `train`, which the starts are made of.
        """
        starts = self._starts(seeds, train)
        sklearn_callbacks = SklearnCallbacks(self, len(seeds), given, target, self._reconstruct)
        self.members_: list[M] = []
        self.fits_: list[Fit] = []
        with options.few_threads(self._elements(len(train))), saying_once():
            for seed, model in zip(seeds, starts, strict=True):
                try:
                    fit = self._run(model, train, held_out, seed, sklearn_callbacks.restart(), data)
                except UnfinishedFit as end:
                    self._publish_unfinished(model, end.fit)
                    raise
                self._publish(model, fit)
                sklearn_callbacks.end_restart(model)
        sklearn_callbacks.end(self._best)
        if not self.converged_:
            self._warn_not_converged()
        return self

    def _continues(self) -> bool:
        return self.warm_start and bool(getattr(self, "members_", None))

    def _starts(self, seeds: list[int], batch: Batch) -> Iterable[M]:
        """Each start is made when the run before it has ended, so that an interruption finds that published."""
        if self._continues():
            return list(self.members_)
        return (self._start(seed, batch) for seed in seeds)

    def _split(self, batch: Batch, target: np.ndarray, seed: int) -> tuple[Batch, Batch | None]:
        if not self.early_stopping:
            return batch, None
        from sklearn.model_selection import train_test_split

        classes = target if target.dtype.kind in "iu" else None
        try:
            kept, held = train_test_split(
                np.arange(len(batch)), test_size=self.validation_fraction, random_state=seed, stratify=classes
            )
        except ValueError as error:
            raise InvalidInputError(f"early_stopping cannot hold rows out: {error}") from error
        index = [torch.as_tensor(np.sort(part), device=batch.target.device) for part in (kept, held)]
        return batch.rows(index[0]), batch.rows(index[1])

    def _run(
        self, model: M, batch: Batch, held_out: Batch | None, seed: int, extra: list, data: Data | None = None
    ) -> Fit:
        e_step, passes = self._e_step(seed), self._passes()
        algorithm, data = self._algorithm(seed), self._data(batch, seed) if data is None else data
        stopping = None if held_out is None else self._stopping(model, held_out, e_step)
        printing: list[Callback] = [printer(total_weight(data), len(self.fits_) + 1, self._n_starts())]
        fit = run(
            model,
            data,
            algorithm,
            inference=e_step,
            max_iter=passes,
            tol=self.tol,
            callbacks=[
                *self.callbacks,
                *extra,
                *(printing if self.verbose else []),
                *([stopping] if stopping is not None else []),
            ],
        )
        if stopping is not None:
            stopping.restore()
        return fit

    def _data(self, batch: Batch, seed: int) -> Data:
        """What a pass goes through."""
        size = self._rows_a_batch(batch.n_units)
        return [batch] if size is None or size >= batch.n_units else MiniBatches(batch, size, seed)

    def _stopping(self, model: M, held_out: Batch, e_step: Any) -> EarlyStopping:
        return EarlyStopping(model, [held_out], e_step, self.n_iter_no_change)
