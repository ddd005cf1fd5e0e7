"""How mixtures learn: the starts, the runs, the record of the best, and the checks of what they are given."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from emnet import serialization
from emnet.algorithms.base import Callback, Fit, Reason, run
from emnet.batch import Batch, total_weight
from emnet.estimators import mixture_start, options
from emnet.estimators.history import as_dict
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.mixture_report import Printer, shifted, warn_of_failed_starts
from emnet.estimators.mixture_use import FittedMixture
from emnet.estimators.stopping import MeanGain
from emnet.estimators.validation import (
    require_callbacks,
    require_not_negative,
    require_one_of,
    require_positive_integer,
)
from emnet.exceptions import CollapsedComponentError, DegenerateFitError, FitInterrupted, InvalidInputError
from emnet.inference.exact import Exact
from emnet.models.mixture import Mixture
from emnet.posteriors import Discrete, EvidenceKind
from emnet.statistics import ModelStatistics


class LearningMixture(FittedMixture):
    """The training of any mixture. A subclass says what the model is, where it starts and what it publishes."""

    n_components: int
    tol: float
    max_iter: int
    n_init: int
    init_params: str
    warm_start: bool
    verbose: int
    verbose_interval: int
    algorithm: Any
    labels: str | bool
    random_state: Any
    callbacks: Iterable[Callback]
    lower_bound_: float

    # -- what a subclass says ---------------------------------------------------------------------------------------

    @abstractmethod
    def _check_parameters(self) -> None:
        """Raise InvalidInputError for a parameter that cannot be used."""

    @abstractmethod
    def _fit(self, X: np.ndarray, weights: np.ndarray | None, labels: np.ndarray | None) -> Self:
        """Fit to rows that have been checked."""

    @abstractmethod
    def _publish(self, model: Mixture, fit: Fit | None, rows: float) -> None:
        """Set the attributes from a start's parameters and record."""

    @abstractmethod
    def _is_monotone(self) -> bool:
        """Whether every M-step must raise the objective, so that a fall is a fault."""

    # -- training ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit by EM from `n_init` starts and keep the best.

        Parameters
        ----------
        X : (n, d); NaN is a missing value.
        y : what is known of the rows' components: see `labels`.
        sample_weight : (n,), how many rows each row counts for.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            X, weights, labels = self._check_data(X, y, sample_weight, True)
            with options.few_threads(X.size * self.n_components):
                return self._fit(X, weights, labels)

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit, and give each row's most probable component, (n,): the same as `fit(X).predict(X)`."""
        return self.fit(X, y, sample_weight).predict(X)

    def _fit_starts(
        self, data: list[Batch], before: float, n_init: int, start: Callable[[np.random.RandomState], Mixture]
    ) -> Self:
        """Run `n_init` starts and publish the best; those that collapse do not count while another one does not."""
        rng = check_random_state(self.random_state)
        self.converged_, best = False, -np.inf
        self.fits_: list[Fit] = []
        failures: list[CollapsedComponentError] = []
        for number in range(n_init):
            try:
                best = self._run(start(rng), data, before, best, number)
            except CollapsedComponentError as error:
                if number == n_init - 1 and len(failures) == number:
                    raise
                failures.append(error)
        warn_of_failed_starts(failures, n_init)
        return self

    def _run(self, model: Mixture, data: list[Batch], before: float, best: float, number: int) -> float:
        """One start; its parameters are published if its objective is the best so far, which is returned."""
        rows = total_weight(data)
        printer = Printer(self.verbose, self.verbose_interval, number)
        if self.max_iter == 0:
            self._publish(model, None, rows)
            return best
        rule = MeanGain(self.tol, self.max_iter, rows, before + self._log_scale / rows, printer.iteration)
        try:
            fit = run(
                model,
                data,
                options.choose_mixture_algorithm(self.algorithm, self.tol),
                inference=Exact(),
                max_iter=self.max_iter,
                tol=-1.0,  # the rule below is scikit-learn's
                callbacks=[*self.callbacks, rule],
                monotone=self._is_monotone(),
            )
        except (FitInterrupted, DegenerateFitError) as end:
            if end.fit.history and not self.fits_:
                self._publish(model, end.fit, rows)
            if not isinstance(end, CollapsedComponentError):  # other starts may still end well
                self.converged_, self.reason_ = False, str(end.fit.reason)
            raise
        on_the_way = fit.returned_to is not None or fit.last.unsettled
        if rule.parameters is not None and fit.reason is Reason.STOPPED and not on_the_way:
            model.set_coordinates(rule.parameters)
        if fit.reason is Reason.STOPPED and (rule.converged or len(fit.history) >= self.max_iter):
            fit = replace(fit, reason=Reason.CONVERGED if rule.converged else Reason.MAX_ITER)
        printer.end(fit)
        reached = fit.last.objective
        if reached > best or best == -np.inf:
            self._publish(model, fit, rows)
            best = reached
        self.fits_.append(fit)
        return best

    def _record(self, fit: Fit | None, rows: float) -> None:
        """Set the attributes that tell of a run, None of none."""
        if fit is None:
            self.converged_ = False
            self.n_iter_, self.lower_bound_, self.lower_bounds_, self.history_ = 0, -np.inf, [], []
            self.reason_, self.log_evidence_ = str(Reason.MAX_ITER), float("nan")
            return
        self.converged_, self.reason_, self.n_iter_ = fit.converged, str(fit.reason), len(fit.history)
        self.lower_bounds_ = [(line.log_evidence - self._log_scale) / rows for line in fit.history]
        self.lower_bound_ = self.lower_bounds_[-1]
        self.history_ = [shifted(as_dict(line), -self._log_scale) for line in fit.history]
        self.log_evidence_ = fit.last.log_evidence - self._log_scale

    def _warn_if_not_converged(self) -> None:
        if self.max_iter > 0 and not self.converged_ and self.reason_ == Reason.MAX_ITER:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or increase max_iter, "
                "tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=5,
            )

    # -- input ------------------------------------------------------------------------------------------------------

    def _check_common_parameters(self) -> None:
        for name in ("n_components", "n_init", "verbose_interval"):
            require_positive_integer(name, getattr(self, name))
        require_not_negative("tol", self.tol)
        if not isinstance(self.max_iter, Integral) or isinstance(self.max_iter, bool) or self.max_iter < 0:
            raise InvalidInputError(f"max_iter must be a whole number of at least 0; got {self.max_iter!r}.")
        require_one_of("init_params", self.init_params, tuple(mixture_start.STARTS))
        require_one_of("labels", self.labels, ("auto", True, False))
        require_one_of("dtype", self.dtype, tuple(options.DTYPES))
        require_callbacks(self.callbacks)
        options.choose_device(self.device)
        options.choose_mixture_algorithm(self.algorithm, self.tol)

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, first: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Rows that count, their weights and labels."""
        X = self._check_rows(X, reset=first)
        if first:
            if len(X) < self.n_components:
                raise InvalidInputError(
                    f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                    f"n_samples = {len(X)}"
                )
            self._require_something_in_each_column(X)
        labels = self._check_labels(y, len(X))
        weights = self._check_weights(sample_weight, X)
        if weights is None or (weights > 0).all():
            return X, weights, labels
        seen = weights > 0
        return X[seen], weights[seen], None if labels is None else labels[seen]

    def _require_something_in_each_column(self, X: np.ndarray) -> None:
        empty = np.flatnonzero(np.isnan(X).all(axis=0))
        if len(empty):
            names = getattr(self, "feature_names_in_", None)
            column = f"Column {empty[0]}" if names is None else f"Column {names[empty[0]]!r}"
            raise InvalidInputError(f"{column} has nothing but NaN: there is nothing to learn of it. Leave it out.")

    def _check_weights(self, sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not (weights > 0).any():
            raise InvalidInputError("All sample weights are zero: there is nothing to fit.")
        return weights

    def _check_labels(self, y: Any, n: int) -> np.ndarray | None:
        if y is None or self.labels is False:
            return None
        y = np.asarray(y)
        partial = y.shape == (n, self.n_components) and self.n_components > 1 and y.dtype.kind == "f"
        unknown = y.ndim == 1 and y.dtype.kind in "iu" and bool((y == -1).any())
        if self.labels == "auto" and not (partial or unknown):
            return None
        return mixture_start.require_labels(y, n, self.n_components)

    def _log_scale_of(self, X: np.ndarray, weights: np.ndarray | None) -> float:
        """What scaling adds to the log evidence of the data: log scale for each weighted cell."""
        if np.all(self._scale == 1.0):
            return 0.0
        seen = ~np.isnan(X)
        cells = seen.sum(axis=0) if weights is None else weights @ seen
        return float((cells * np.log(self._scale)).sum())

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks are not kept."""
        check_is_fitted(self)
        serialization.save(self, path)

    def _parameters_to_json(self) -> dict[str, Any]:
        parameters = {k: options.to_json(v) for k, v in self.get_params(deep=False).items() if k != "callbacks"}
        if not isinstance(self.random_state, Integral):
            parameters["random_state"] = None
        return parameters

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def statistics_of(model: Mixture, data: Iterable[Batch], responsibilities: np.ndarray) -> ModelStatistics:
    """Expected statistics of all rows under responsibilities that are given, (n, k)."""
    total, done = None, 0
    for batch in data:
        rows = slice(done, done + len(batch))
        part = torch.as_tensor(responsibilities[rows], dtype=batch.target.dtype, device=batch.target.device)
        done += len(batch)
        one = model.statistics(batch, Discrete(part.new_zeros(len(part)), EvidenceKind.EXACT, part))
        total = one if total is None else total + one
    assert total is not None
    return total
