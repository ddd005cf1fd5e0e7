"""What estimators that run from several starts share: standardized inputs, the runs, published attributes, files."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from emnet import serialization
from emnet.algorithms.base import Algorithm, Callback, Fit, Progress, Reason, run
from emnet.batch import Batch, Data, MiniBatches, total_weight, with_constant
from emnet.distributed import ALONE, Group
from emnet.estimators import options
from emnet.estimators.callbacks import CallbackSupportMixin, SklearnCallbacks
from emnet.estimators.description import described, name_features
from emnet.estimators.early_stopping import EarlyStopping
from emnet.estimators.history import as_dict, fit_to_json, printer
from emnet.estimators.standardize import weighted_location_scale
from emnet.estimators.streaming import random_numbers
from emnet.estimators.validation import (
    merge_repeated_rows,
    require_callbacks,
    require_finite,
    require_not_negative,
    require_one_of,
    require_positive_integer,
    require_tensors,
    require_whole_number,
)
from emnet.exceptions import InvalidInputError, UnfinishedFit
from emnet.models.base import LatentModel
from emnet.warning import saying_once, warn

M = TypeVar("M", bound=LatentModel)


class IterativeEstimator(CallbackSupportMixin, BaseEstimator, Generic[M]):
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
    def _passes(self) -> int:
        """Iterations, or passes over the data, at most."""

    @abstractmethod
    def _n_starts(self) -> int: ...

    @abstractmethod
    def _elements(self, n: int) -> int:
        """How large the arrays of n rows are, where it is to be seen whether a second thread pays."""

    @abstractmethod
    def _resolve_prior(self, n_features: int) -> tuple[float, float]: ...

    @abstractmethod
    def _weights_of(self, model: M) -> dict[str, Any]:
        """The model's parameters by the names of the attributes that publish them."""

    @abstractmethod
    def _answered(self, X: Any, y: Any) -> Batch:
        """The batch of checked inputs and targets."""

    def _rows_a_batch(self, n: int) -> int | None:
        """Units of a mini-batch of n, None for all."""
        return self.batch_size

    def _is_sampled(self) -> bool:
        return False

    def _allows_nan(self) -> bool:
        """Whether NaN in X is a missing value."""
        return False

    _fewest_passes = 1
    _nan_remedy = "Drop or impute those rows, for example with emnet.EMImputer."

    def _modules(self) -> list[str]:
        """Parameters that hold a module, which no model file can."""
        return []

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

    def _standardize(self, X: np.ndarray, weights: np.ndarray) -> None:
        if self.standardize:
            self.input_mean_, self.input_scale_ = weighted_location_scale(X, weights)
        else:
            self.input_mean_, self.input_scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])

    def _check_features(self, X: Any, y: Any, **options_of_y: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False, **options_of_y)
        self._require_usable(X)
        return X, y

    def _require_usable(self, X: np.ndarray) -> None:
        known = np.where(np.isnan(X), 0.0, X) if self._allows_nan() else X
        require_finite(known, getattr(self, "feature_names_in_", None), self._nan_remedy)

    def _batch(self, X: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None) -> Batch:
        inputs = self._inputs(X)
        given = None
        if weights is not None and not (weights == 1).all():
            given = torch.as_tensor(weights, dtype=inputs.dtype, device=inputs.device)
        dtype = torch.int64 if target.dtype.kind in "iu" else inputs.dtype
        return self._bundle(torch.as_tensor(target, dtype=dtype, device=inputs.device), inputs, given)

    def _bundle(self, target: Tensor, inputs: Tensor, weights: Tensor | None = None) -> Batch:
        """The batch of targets and inputs, (n, 1 + p), as the model has it."""
        return Batch(target, inputs, weights=weights)

    def _inputs(self, X: np.ndarray) -> Tensor:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (X - self.input_mean_) / self.input_scale_
        dtype, device = self._computes_in()
        far = np.abs(scaled) >= torch.finfo(dtype).max / 2**20
        if far.any():
            row, column = np.argwhere(far)[0]
            raise InvalidInputError(
                f"Row {row}, column {column} holds {X[row, column]:g}, too far from the training data to be computed "
                f"with in {str(dtype).removeprefix('torch.')}."
            )
        return with_constant(torch.as_tensor(scaled, dtype=dtype, device=device))

    def _computes_in(self) -> tuple[torch.dtype, torch.device]:
        """Type and place of the rows: those of the model where there is one."""
        members = getattr(self, "members_", None)
        device = next(members[0].parameters()).device if members else options.choose_device(self.device)
        return options.DTYPES[self.dtype], device

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

    def _publish(self, model: M, fit: Fit) -> None:
        """Add a start, and set the attributes of the best."""
        self.members_.append(model)
        self.fits_.append(fit)
        best = self.fits_[self._best_index()]
        for name, value in self._weights_of(self._best).items():
            setattr(self, name, copy.deepcopy(value))  # a fit that goes on writes into the model's own tensors
        self.history_ = [as_dict(line) for line in best.history]
        self.n_iter_, self.converged_, self.reason_ = best.n_iter, best.converged, str(best.reason)
        self.log_evidence_ = best.last.log_evidence if best.history else float("nan")

    def _publish_unfinished(self, model: M, fit: Fit) -> None:
        """A start that did not end well counts only where no other has ended."""
        if not self.members_:
            self._publish(model, fit)
        self.converged_, self.reason_ = False, str(fit.reason)

    def _best_index(self) -> int:
        return max(range(len(self.fits_)), key=lambda k: _objective(self.fits_[k]))

    @property
    def _best(self) -> M:
        return self.members_[self._best_index()]

    def _reconstruct(self, model: M) -> dict[str, Any]:
        """Fitted attributes as if the fit had stopped with `model`: what scikit-learn's callbacks may predict with."""
        names = ("classes_", "n_features_in_", "input_mean_", "input_scale_", "prior_")
        kept = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {**kept, **self._weights_of(model), "members_": [model], "fits_": [_NO_FIT]}

    def _ended_with(self, model: M) -> Self:
        """The estimator as if its fit had ended with that model."""
        twin = copy.copy(self)
        vars(twin).update(self._reconstruct(model))
        return twin

    def _warn_not_converged(self) -> None:
        if self.reason_ == Reason.MAX_ITER and not self._is_sampled() and not self.batch_size:
            warn(
                f"EM stopped at max_iter={self._passes()} before tol={self.tol} was met. Raise max_iter or tol, or "
                "give a stronger prior.",
                ConvergenceWarning,
            )

    def _check_inputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "members_")
        X = validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=False)
        self._require_usable(X)
        return X

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks are not kept."""
        check_is_fitted(self, "members_")
        for name in self._modules():
            raise InvalidInputError(
                f"A model file holds no code, so a model with {name}= cannot be saved to one; keep its "
                "members_' state_dict() with torch.save."
            )
        serialization.save(self, path)

    def _to_state(self) -> serialization.State:
        manifest = {
            **described(self),
            "prior": list(self.prior_),
            "fits": [fit_to_json(fit) for fit in self.fits_],
        }
        return manifest, {"input_mean": self.input_mean_, "input_scale": self.input_scale_}

    def _restore_inputs(self, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        """Set what `_to_state` took down of the inputs, after checking that it hangs together."""
        self.input_mean_, self.input_scale_ = tensors["input_mean"], tensors["input_scale"]
        p = len(self.input_mean_)
        require_tensors(tensors, {"input_mean": (p,), "input_scale": (p,)})
        if len(manifest["fits"]) < 1 or not (self.input_scale_ > 0).all():
            raise ValueError("the tensors are not those of this class")
        name_features(self, manifest, p)
        self.prior_ = tuple(manifest["prior"])
        self.members_, self.fits_ = [], []


_NO_FIT = Fit((), Reason.STOPPED, 0.0, 0.0)


def _objective(fit: Fit) -> float:
    last: Progress | None = fit.last if fit.history else None
    return -np.inf if last is None else last.objective
