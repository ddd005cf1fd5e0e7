"""How mixtures learn: the starts, the runs, the record of the best, and the checks of what they are given."""

from __future__ import annotations

import copy
import math
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from emnet import serialization
from emnet.algorithms.base import Fit, Iteration, Reason, e_step, evaluate, run
from emnet.algorithms.online import blended
from emnet.applications.standard_errors import standard_errors
from emnet.batch import Batch, Data, total_weight
from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream
from emnet.distributed import ALONE, Group
from emnet.estimators import options
from emnet.estimators.far_cells import naming_far_cells
from emnet.estimators.history import as_dict
from emnet.estimators.impossible_rows import require_possible
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.known_components import tell_anything
from emnet.estimators.mixture_input import CheckedMixture
from emnet.estimators.mixture_report import Printer, of_few_digits, shifted, warn_of_failed_starts
from emnet.estimators.mixture_selection import LikelihoodRatioTest, bootstrap_test, repeated
from emnet.estimators.mixture_sums import implied
from emnet.estimators.resuming import resumable
from emnet.estimators.stopping import MeanGain
from emnet.estimators.streaming import StreamedBatches, Survey, random_numbers, require_alone, survey
from emnet.estimators.trees import flattened, shaped_as
from emnet.estimators.validation import require_positive_integer
from emnet.exceptions import CollapsedComponentError, DegenerateFitError, InvalidInputError, UnfinishedFit
from emnet.inference.exact import Exact
from emnet.models.mixture import Mixture
from emnet.posteriors import EvidenceKind
from emnet.statistics import ModelStatistics
from emnet.warning import warn


class LearningMixture(CheckedMixture):
    """The training of any mixture. A subclass says what the model is, where it starts and what it publishes."""

    weights_init: Any
    lower_bound_: float
    fits_: list[Fit]
    _log_scale: float
    _rows_seen: float
    _online: ModelStatistics | None
    _kept: Mapping[Any, np.ndarray]

    # -- what a subclass says ---------------------------------------------------------------------------------------

    @abstractmethod
    def _check_parameters(self) -> None:
        """Raise InvalidInputError for a parameter that cannot be used."""

    @abstractmethod
    def _measure(self, X: np.ndarray, weights: np.ndarray | None) -> None:
        """Take down the center and scale of the columns, and what else of them starts and priors need."""

    @abstractmethod
    def _measure_stream(self, found: Survey, continues: bool) -> None:
        """The same of a stream, but in a fit that goes on; and what it needs of the data in any case."""

    def _take_down(self, data: list[Batch]) -> None:
        """What else a model needs of the batches."""

    @abstractmethod
    def _has_such_parameters(self, X: np.ndarray) -> bool:
        """Whether what was fitted is a mixture of such rows, so that a warm start can go on from it."""

    @abstractmethod
    def _start(
        self,
        X: np.ndarray,
        data: list[Batch],
        rng: np.random.RandomState,
        weights: np.ndarray | None,
        labels: np.ndarray | None,
    ) -> Mixture:
        """The model at the start of a run."""

    def _require_same_model(self) -> None:
        """Raise InvalidInputError where a fit cannot go on: what was fitted is another model than is asked for."""
        if len(self.weights_) != self.n_components:
            raise InvalidInputError(
                f"partial_fit goes on with {len(self.weights_)} components, and n_components is now "
                f"{self.n_components}: set it back, or fit anew."
            )

    @abstractmethod
    def _learnable(self) -> Mixture:
        """The fitted parameters as a model that can go on learning."""

    def _given_by_component(self) -> list[str]:
        """The parameters that have something for each component."""
        shares = [] if np.ndim(self.weight_concentration) == 0 else ["weight_concentration"]
        return shares if self.weights_init is None else [*shares, "weights_init"]

    @abstractmethod
    def _values_to_keep(self, continues: bool) -> Mapping[Any, np.ndarray]:
        """What `fixed` names, as it was given or, in a fit that goes on, as it was fitted."""

    @abstractmethod
    def _estimates(self, model: Mixture) -> dict[str, Any]:
        """What is published of a model's parameters, by name, of centered columns: no digits go to where they lie."""

    @abstractmethod
    def _publish(self, model: Mixture, fit: Fit | None, rows: float) -> None:
        """Set the attributes from a start's parameters and record."""

    @abstractmethod
    def _remedy(self, error: CollapsedComponentError) -> str:
        """What to do about a component that collapsed."""

    def _warn(self, data: Data) -> None:
        """Say what is wrong with the fit."""
        self._warn_if_not_converged()

    @abstractmethod
    def _is_monotone(self) -> bool:
        """Whether every M-step must raise the objective, so that a fall is a fault."""

    def _ended_with(self, model: Mixture) -> Self:
        """The estimator as if its fit had ended with that model."""
        twin = copy.copy(self)
        twin._publish(model, None, 1.0)
        return twin

    # -- training ---------------------------------------------------------------------------------------------------

    @resumable
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit by EM from `n_init` starts and keep the best.

        Parameters
        ----------
        X : (n, d); NaN is a missing value. Or an `emnet.stream`, whose target is y and whose weight the rows' weights.
        y : what is known of the rows' components: see `labels`.
        sample_weight : (n,), how many rows each row counts for.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            if isinstance(X, Stream):
                require_alone(y, sample_weight)
                return self._fit_stream(X)
            rows, weights, labels = self._check_data(X, y, sample_weight, True)
            with (
                naming_far_cells(lambda: self._check_rows(X, reset=False), self._column_name),
                options.few_threads(rows.size * self.n_components),
            ):
                return self._fit(rows, weights, labels)

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit, and give each row's most probable component, (n,): the same as `fit(X).predict(X)`."""
        return self.fit(X, y, sample_weight).predict(X)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """A step of stepwise EM on these rows, from the present parameters; the first rows make the start.

        s ← (1 − γ)·s + γ·ŝ a row with γ = t^−0.6, then M (Cappé & Moulines 2009): t is how many such portions all rows
        so far would make, those of a fit or of a file included.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            first = not hasattr(self, "weights_")
            if not first:
                self._require_same_model()
            X, weights, labels = self._check_data(X, y, sample_weight, first)
            with options.few_threads(X.size * self.n_components):
                return self._fit_pass(X, weights, labels, first)

    def standard_errors(self, X: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Standard errors of the parameters, by the observed information of X: see "Returns".

        X are the rows of the fit, which must have ended at a maximum: tol of about 1e-8. Labels are left out, and what
        is fixed has 0.

        Returns
        -------
        dict of arrays, named and shaped as the attributes that end in _: "weights" and, of Gaussians, "means" and
        "covariances", of tables "parameters", {column or tuple: {name: array}}.
        """
        check_is_fitted(self)
        X, weights, _ = self._check_data(X, None, sample_weight, False)
        data = list(self._batches(X, weights, dtype=torch.float64))
        self._take_down(data)
        with torch.no_grad():
            model = self._learnable()
            flat = standard_errors(model, data, Exact(), lambda model: flattened(self._estimates(model)))
            return shaped_as(self._estimates(model), flat)

    def bootstrap_test(self, X: Any, n_bootstrap: int = 99, sample_weight: Any = None) -> LikelihoodRatioTest:
        """Whether n_components + 1 are called for, by the bootstrap likelihood-ratio test: see `bootstrap_test`.

        It fits 2 (n_bootstrap + 1) mixtures with the parameters of this one; take n_init above 1 and a small tol.
        Weights are whole numbers, of how many rows each row stands for, as so many are drawn. Raises InvalidInputError
        for parameters that give something for each component, as the test has one component more.
        """
        self._check_parameters()
        if given := self._given_by_component():
            raise InvalidInputError(
                f"bootstrap_test fits n_components={self.n_components} and {self.n_components + 1}; what is given for "
                f"each component has to go: {', '.join(given)}. Raise n_init for better starts."
            )
        require_positive_integer("n_bootstrap", n_bootstrap)
        model = copy.copy(self)  # this one stays as it is
        rows, weights, _ = model._check_data(X, None, sample_weight, True)
        return bootstrap_test(model, repeated(rows, weights), n_bootstrap, self.random_state)

    def _fit(self, X: np.ndarray, weights: np.ndarray | None, labels: np.ndarray | None) -> Self:
        """Fit to rows that have been checked."""
        continues = self.warm_start and self._has_such_parameters(X)
        if not continues:
            self._measure(X, weights)
        self._kept = self._values_to_keep(continues)
        data = list(self._batches(X, weights, labels))
        self._take_down(data)
        self._rows_seen, self._online = total_weight(data), None
        self._log_scale = self._log_scale_of(X, weights)
        if continues:
            self._fit_starts(data, self.lower_bound_, 1, lambda rng: self._learnable())
        else:
            self._fit_starts(data, -np.inf, self.n_init, lambda rng: self._start(X, data, rng, weights, labels))
        self._warn(data)
        return self

    def _fit_stream(self, stream: Stream) -> Self:
        """Fit to a stream: starts from a sample of it, statistics from all of it."""
        stream = self._read(stream)
        self._meet(stream)
        found = survey(stream, self._checked_chunk, wanted=_known)
        self._require_survey(found)
        continues = self.warm_start and self._has_such_parameters(found.sample.X)
        self._measure_stream(found, continues)
        self._kept = self._values_to_keep(continues)
        own = found.sample
        few = list(self._batches(own.X, own.weights, own.target))
        data = StreamedBatches(stream, self._batches_of, found)
        self._rows_seen, self._online = found.total_weight, None
        with options.few_threads(stream.batch_rows * own.X.shape[1] * self.n_components):
            if continues:
                self._fit_starts(data, self.lower_bound_, 1, lambda rng: self._learnable(), stream.group)
            else:

                def start(rng: np.random.RandomState) -> Mixture:
                    return self._start(own.X, few, rng, own.weights, own.target)

                self._fit_starts(data, -np.inf, self.n_init, start, stream.group)
        self._warn(data)
        return self

    def _batches_of(self, chunk: Chunk) -> Iterator[Batch]:
        units = self._checked_chunk(chunk)
        return self._batches(units.X, units.weights, units.target)

    def _fit_pass(self, X: np.ndarray, weights: np.ndarray | None, labels: np.ndarray | None, first: bool) -> Self:
        """A pass of `partial_fit`."""
        if first:
            self._measure(X, weights)
            self._rows_seen, self._online = 0.0, None
        self._kept = self._values_to_keep(not first)
        data = list(self._batches(X, weights, labels))
        self._take_down(data)
        rng = check_random_state(self.random_state)
        model = self._start(X, data, rng, weights, labels) if first else self._learnable()
        self._log_scale, rows = self._log_scale_of(X, weights), total_weight(data)
        with torch.no_grad():
            before, found = e_step(model, data, Exact())
            if not math.isfinite(before.log_evidence):
                require_possible(model, data, self._column_name)
            kept = (self._online or implied(model)) if self._rows_seen else None
            self._online = blended(kept, found * (1 / rows), self._rows_seen / rows + 1)
            self._rows_seen += rows
            model.m_step(self._online * self._rows_seen)
            after = evaluate(model, data, Exact())
        lines = tuple(Iteration(number, progress, 0.0) for number, progress in enumerate((before, after)))
        fit = Fit(lines, Reason.MAX_ITER, rows, 0.0)
        self.fits_ = [fit]
        self._publish(model, fit, rows)
        return self

    def _fit_starts(
        self,
        data: Data,
        before: float,
        n_init: int,
        start: Callable[[np.random.RandomState], Mixture],
        group: Group = ALONE,
    ) -> Self:
        """Run `n_init` starts and publish the best; those that collapse do not count while another one does not."""
        rng = check_random_state(random_numbers(self.random_state, group))
        self.converged_, best = False, -np.inf
        self.fits_ = []
        failures: list[CollapsedComponentError] = []
        for number in range(n_init):
            try:
                best = self._run(start(rng), data, before, best, number)
            except CollapsedComponentError as error:
                error.remedy = f"{self._remedy(error)}{of_few_digits(self.dtype)}"
                if number == n_init - 1 and len(failures) == number:
                    raise
                failures.append(error)
        warn_of_failed_starts(failures, n_init)
        return self

    def _run(self, model: Mixture, data: Data, before: float, best: float, number: int) -> float:
        """One start; its parameters are published if its objective is the best so far, which is returned."""
        rows = total_weight(data)
        printer = Printer(self.verbose, self.verbose_interval, number)
        if self.max_iter == 0:
            self._publish(model, None, rows)
            return best
        if isinstance(data, StreamedBatches):
            data.prepare = model.prepare
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
        except UnfinishedFit as end:
            if isinstance(end, DegenerateFitError) and not end.fit.history:
                require_possible(model, data, self._column_name)
            if end.fit.is_kept_beside(best if self.fits_ else None):
                self._publish(model, end.fit, rows)
                self.fits_ += [end.fit] if end.fit.reason is Reason.INTERRUPTED else []
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
        self.converged_, self.reason_ = fit.converged, str(fit.reason)
        # where steps report estimates, no line but the last says where it ended
        self.n_iter_ = fit.n_iter if fit.estimated else len(fit.history) - (fit.returned_to is not None)
        self.lower_bounds_ = [(line.log_evidence - self._log_scale) / rows for line in fit.history]
        self.lower_bound_ = self.lower_bounds_[-1]
        self.history_ = [shifted(as_dict(line), -self._log_scale) for line in fit.history]
        self.log_evidence_ = fit.last.log_evidence - self._log_scale

    def _warn_if_not_converged(self) -> None:
        estimated = bool(self.history_) and self.history_[0]["kind"] == EvidenceKind.ESTIMATE  # which ends no run
        if self.max_iter > 0 and not self.converged_ and self.reason_ == Reason.MAX_ITER and not estimated:
            warn(
                "Best performing initialization did not converge. Try different init parameters, or increase max_iter, "
                "tol, or check for degenerate data.",
                ConvergenceWarning,
            )

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks are not kept."""
        check_is_fitted(self)
        serialization.save(self, path)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _known(units: Units) -> np.ndarray | None:
    """The rows of whose component something is known, (n,); None where there are no labels."""
    return None if units.target is None else tell_anything(units.target)
