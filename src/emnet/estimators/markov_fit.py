"""How hidden Markov models learn: starts, runs, restarts, stepwise EM, and what of them is published."""

from __future__ import annotations

import logging
import os
import warnings
from abc import abstractmethod
from collections.abc import Collection, Iterable
from numbers import Integral
from typing import Any, Self, cast

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from emnet import serialization
from emnet.algorithms.base import Callback, Fit, Reason, e_step, run
from emnet.algorithms.em import EM
from emnet.batch import Batch
from emnet.estimators import markov_durations, options
from emnet.estimators.history import as_dict
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.markov_use import FittedMarkov
from emnet.estimators.mixture_report import warn_of_failed_starts
from emnet.estimators.mixture_selection import Selection, select
from emnet.estimators.mixture_start import require_labels
from emnet.estimators.monitor import ConvergenceMonitor, Monitoring
from emnet.estimators.resuming import resumable
from emnet.estimators.sequences import joined, pieces, require_lengths, require_sequence_weights
from emnet.estimators.validation import require_callbacks, require_positive_integer, require_something_in_each_column
from emnet.exceptions import (
    CollapsedComponentError,
    CollapsedComponentWarning,
    InvalidInputError,
    UnfinishedFit,
)
from emnet.factors.shared_states import SharedStates
from emnet.factors.tables import MixingWeights, Transitions
from emnet.inference.exact import Exact
from emnet.models.semi_markov import HiddenSemiMarkov, MarkovModel
from emnet.posteriors import Chain, Segments
from emnet.statistics import ModelStatistics

_log = logging.getLogger("emnet")
_STEPWISE_POWER = 0.6
_BATCH_ROWS = 2**20
_NO_ROWS = 1e-6  # expected rows of a state that nothing is learned of


class _Occupied:
    """The exact E-step, which takes down how many rows of each batch every state is expected to have."""

    kept = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[Batch, Tensor] = {}

    def __call__(self, model: Any, batch: Batch) -> Chain | Segments:
        posterior: Chain | Segments = model.posterior(batch)
        self.counts[batch] = posterior.responsibilities.sum(0)
        return posterior


class LearningMarkov(FittedMarkov):
    """The training of any hidden Markov model. A family says where it starts and what it publishes."""

    startprob_prior: Any
    transmat_prior: Any
    n_iter: int
    tol: float
    verbose: bool
    params: str
    init_params: str
    fixed: Collection[str]
    fixed_transitions: Any
    n_init: int
    callbacks: Iterable[Callback]

    _letters: dict[str, str]  # of the parameters, as in `params`: what they are called

    # -- what a family says -----------------------------------------------------------------------------------------

    @abstractmethod
    def _start_emission(self, X: np.ndarray) -> None:
        """Set the parameters of the emission that have to start from the rows."""

    @abstractmethod
    def _publish_emission(self, emission: Any) -> None:
        """Set the attributes from a factor of the representatives of the states."""

    def _measure(self, X: np.ndarray) -> None:
        """Set the center and scale of the columns, of families that have them."""

    # -- training ---------------------------------------------------------------------------------------------------

    @resumable
    def fit(self, X: Any, lengths: Any = None, *, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit by EM; parameters that `init_params` does not name and that are set start from what they are.

        Parameters
        ----------
        X : (n, d), sequences end to end, or a list of sequences, (t, d) each; NaN is a missing value.
        lengths : of the sequences.
        y : (n,), the state of each row where it is known, −1 where not.
        sample_weight : (s,), how many sequences each one counts for.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            X, lengths, weights, y = self._check_data(X, lengths, y, sample_weight)
            self.fits_: list[Fit] = []
            failures: list[CollapsedComponentError] = []
            for seed in self._seeds():
                try:
                    self._fit_start(X, lengths, weights, y, seed)
                except CollapsedComponentError as error:
                    failures.append(error)
                    if len(failures) == self.n_init:
                        raise
            warn_of_failed_starts(failures, self.n_init)
        return self

    def _seeds(self) -> list[Any]:
        """What the starts draw from: of one start `random_state`, as hmmlearn does."""
        if self.n_init == 1:
            return [self.random_state]
        rng = check_random_state(self.random_state)
        return [np.random.RandomState(rng.randint(2**31)) for _ in range(self.n_init)]

    def _fit_start(
        self, X: np.ndarray, lengths: np.ndarray, weights: np.ndarray | None, y: np.ndarray | None, seed: Any
    ) -> None:
        """One start, published in place of the last if it is better."""
        before = dict(vars(self))
        self._init(X, lengths, seed)
        self._check_start(X)
        self._renew_monitor()
        if self.n_iter == 0:
            return
        model, data = self._learnable(), list(self._batches(X, lengths, weights, y))
        log_scale = sum(self._log_scale_of(batch) @ _weights(batch) for batch in data)
        counted, rule = _Occupied(), Monitoring(self.monitor_, self.n_iter, log_scale)
        try:
            with options.few_threads(X.size * self.n_components):
                fit = run(
                    model,
                    data,
                    EM(counted),
                    inference=Exact(),
                    max_iter=self.n_iter,
                    tol=-1.0,  # the monitor's rule decides
                    callbacks=[*self.callbacks, rule],
                    monotone=self._is_monotone(),
                )
        except UnfinishedFit as end:
            if end.fit.history and not self.fits_:
                self._publish(model, end.fit, log_scale)
            raise
        with torch.no_grad():
            if rule.parameters is not None and fit.reason is Reason.STOPPED:
                model.set_coordinates(rule.parameters)
        best = max((each.last.objective for each in self.fits_), default=-np.inf)
        self.fits_.append(fit)
        if fit.last.objective > best:
            self._publish(model, fit, log_scale)
            self._warn_of_idle(sum(counted.counts.values()))
            self._warn_of_lifted(model)
        else:
            self.__dict__.clear()
            self.__dict__.update(before)

    @property
    def monitor_(self) -> ConvergenceMonitor:
        """The record of the last run and its rule; one that is set is used by the next."""
        if not hasattr(self, "_monitor"):
            self._monitor = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        return self._monitor

    @monitor_.setter
    def monitor_(self, monitor: ConvergenceMonitor) -> None:
        self._monitor, self._monitor_is_given = monitor, True

    def _renew_monitor(self) -> None:
        if not getattr(self, "_monitor_is_given", False):
            self._monitor = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        self._monitor._reset()

    def _is_monotone(self) -> bool:
        return True

    def _publish(self, model: MarkovModel, fit: Fit | None, log_scale: float) -> None:
        model = model.cpu()
        self.startprob_ = model.start.log_probabilities.exp().numpy()
        self.transmat_ = model.transition.log_probabilities.exp().numpy()
        if self.max_duration is not None:
            self.durations_ = cast(HiddenSemiMarkov, model).duration.log_probabilities.exp().numpy()
        emission = model.emissions["emission"]
        self._publish_emission(emission.groups if self.shared_states is not None else emission)
        if fit is not None:
            self.log_evidence_ = fit.last.log_evidence - log_scale
            self.history_ = [as_dict(line) for line in fit.history]
            self.n_iter_, self.reason_ = len(fit.history), str(fit.reason)
            history = self.monitor_.history
            self.converged_ = len(history) >= 2 and history[-1] - history[-2] < self.monitor_.tol

    def _warn_of_idle(self, counts: Any) -> None:
        idle = np.flatnonzero(counts.cpu().numpy() < _NO_ROWS)
        if len(idle):
            warnings.warn(
                f"State {', '.join(map(str, idle))} has no expected rows, so nothing was learned of it and it is where "
                "it started. Decrease n_components, start its parameters nearer to the data, raise n_init, or give "
                "priors.",
                CollapsedComponentWarning,
                stacklevel=5,
            )

    def _warn_of_lifted(self, model: MarkovModel) -> None:
        """Say which covariances `min_covar` kept from being singular; of families that have none, nothing."""

    def partial_fit(self, X: Any, lengths: Any = None, *, y: Any = None, sample_weight: Any = None) -> Self:
        """A step of stepwise EM on these sequences (Cappé & Moulines 2009); the first ones make the start.

        s ← (1 − γ)·s + γ·ŝ, statistics of a sequence on average, γ = (t + 1)^−0.6, and then an M-step.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            first = not hasattr(self, "_online")
            X, lengths, weights, y = self._check_data(X, lengths, y, sample_weight)
            if first:
                self._init(X, lengths, self.random_state)
                self._online: ModelStatistics | None = None
                self._passes, self._seen = 0, 0.0
            self._check_start(X)
            model, data = self._learnable(), list(self._batches(X, lengths, weights, y))
            units = sum(batch.total_weight for batch in data)
            with torch.no_grad():
                _, found = e_step(model, data, Exact())
                share = (self._passes + 1) ** -_STEPWISE_POWER
                found = found * (1 / units)
                self._online = found if self._online is None else found * share + self._online * (1 - share)
                self._passes, self._seen = self._passes + 1, self._seen + units
                model.m_step(self._online * self._seen)
            self._publish(model, None, 0.0)
        return self

    def select(
        self, X: Any, lengths: Any = None, *, n_components: Iterable[int] = range(1, 10), criterion: str = "bic"
    ) -> Selection:
        """Fit each number of states, the other parameters as here; see `Selection` for the table and the best model.

        criterion : "bic" or "aic"; the lowest is the best.
        """
        X, lengths = joined(X, lengths)
        return select(self, (X, lengths), {"n_components": n_components}, criterion, ("bic", "aic"))

    # -- the start --------------------------------------------------------------------------------------------------

    def _init(self, X: np.ndarray, lengths: Any = None, seed: Any = None) -> None:
        """Set the parameters that have to start from chance or from the rows; the draws are those of hmmlearn."""
        self._seed = self.random_state if seed is None else seed
        rng, k = check_random_state(self._seed), self.n_components
        require_something_in_each_column(X)
        self._set_n_features(X)
        self._measure(X)
        if self._needs_init("s", "startprob_"):
            self.startprob_ = rng.dirichlet(np.full(k, 1 / k))
        if self._needs_init("t", "transmat_"):
            self.transmat_ = rng.dirichlet(np.full(k, 1 / k), size=k)
            if self.max_duration is not None:
                self.transmat_ = markov_durations.without_a_way_to_itself(self.transmat_)
                self.durations_ = np.full((k, self.max_duration), 1 / self.max_duration)
        self._start_emission(X)
        learned = sum(count for letter, count in self._n_fit_scalars().items() if self._learns(letter))
        if X.size < learned:
            _log.warning(
                "Fitting a model with %d free scalar parameters with only %d data points will result in a degenerate "
                "solution.",
                learned,
                X.size,
            )

    def _set_n_features(self, X: np.ndarray) -> None:
        self.n_features = X.shape[1]

    def _check_start(self, X: np.ndarray) -> None:
        """Raise InvalidInputError for parameters that EM cannot start from with these rows."""
        self._check()
        if X.shape[1] != self._n_columns():
            raise InvalidInputError(
                f"Unexpected number of dimensions: X has {X.shape[1]} columns, and the parameters that EM starts from "
                f"are of {self._n_columns()}. Let init_params start them anew."
            )

    def _needs_init(self, letter: str, name: str) -> bool:
        if letter not in self.init_params or self._letters.get(letter) in self.fixed:
            return not hasattr(self, name)
        if hasattr(self, name) and not getattr(self, "fits_", ()):
            _log.warning(
                "Even though the %r attribute is set, it will be overwritten during initialization because "
                "'init_params' contains %r",
                name,
                letter,
            )
        return True

    def _learns(self, letter: str) -> bool:
        return letter in self.params and self._letters[letter] not in self.fixed

    # -- the model --------------------------------------------------------------------------------------------------

    def _learnable(self) -> MarkovModel:
        """The published parameters as a model that can learn; what is 0 stays 0."""
        start, steps = torch.as_tensor(self.startprob_), torch.as_tensor(self.transmat_)
        held = steps == 0
        if self.fixed_transitions is not None:
            held = held | torch.as_tensor(np.asarray(self.fixed_transitions, dtype=bool))
        own_start = start == 0 if self._learns("s") else torch.ones_like(start, dtype=torch.bool)
        own_steps = held if self._learns("t") else torch.ones_like(held)
        return self._chain(
            MixingWeights(start, concentration=_concentration(self.startprob_prior), fixed=own_start),
            Transitions(steps, concentration=_concentration(self.transmat_prior), fixed=own_steps),
            learning=True,
        )

    def _grouped(self, emission: Any) -> Any:
        """An emission of the representatives as one of all states."""
        return (
            emission
            if self.shared_states is None
            else SharedStates(emission, torch.as_tensor(np.asarray(self.shared_states)))
        )

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """Parameters of the representatives as those of all states."""
        return values if self.shared_states is None else values[np.asarray(self.shared_states)]

    def _batches(
        self, X: np.ndarray, lengths: np.ndarray, weights: np.ndarray | None, y: np.ndarray | None
    ) -> Iterable[Batch]:
        device = options.choose_device(self.device)
        for sequences, rows in pieces(lengths, _BATCH_ROWS):
            yield self._batch(
                X[rows],
                lengths[sequences],
                weights=None if weights is None else torch.as_tensor(weights[sequences], device=device),
                labels=None if y is None else torch.as_tensor(y[rows], device=device),
            )

    # -- input ------------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        require_positive_integer("n_components", self.n_components)
        require_positive_integer("n_init", self.n_init)
        markov_durations.require_parameters(self.max_duration, self.censored, self.n_components)
        if not isinstance(self.n_iter, Integral) or isinstance(self.n_iter, bool) or self.n_iter < 0:
            raise InvalidInputError(f"n_iter must be a whole number of at least 0; got {self.n_iter!r}.")
        names = tuple(self._letters.values())
        for name in self.fixed:
            if name not in names:
                raise InvalidInputError(f"fixed may name {', '.join(map(repr, names))}; got {name!r}.")
        for name in ("fixed_transitions", "shared_states"):
            wanted = (self.n_components,) * (2 if name == "fixed_transitions" else 1)
            value = getattr(self, name)
            if value is not None and np.shape(value) != wanted:
                raise InvalidInputError(f"{name} must have shape {wanted}; it has {np.shape(value)}.")
        require_callbacks(self.callbacks)
        options.choose_device(self.device)

    def _check_data(
        self, X: Any, lengths: Any, y: Any, sample_weight: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Sequences that count, their lengths and weights, and the known states."""
        X, lengths = joined(X, lengths)
        X = self._rows(X, reset=True)
        lengths = require_lengths(lengths, len(X))
        labels = None if y is None else require_labels(np.asarray(y), len(X), self.n_components)
        weights = require_sequence_weights(sample_weight, lengths)
        if weights is None:
            return X, lengths, None, labels
        seen = np.repeat(weights > 0, lengths)
        labels = None if labels is None else labels[seen]
        return X[seen], lengths[weights > 0], weights[weights > 0], labels

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks and the monitor are not kept."""
        check_is_fitted(self, "startprob_")
        serialization.save(self, path)

    def _to_state(self) -> serialization.State:
        parameters = {k: options.to_json(v) for k, v in self.get_params(deep=False).items() if k != "callbacks"}
        if not isinstance(self.random_state, Integral):
            parameters["random_state"] = None
        names = self._tables()
        manifest = {
            "parameters": parameters,
            "features": list(getattr(self, "feature_names_in_", [])),
            "n_columns": self._n_columns(),
            "scale": self._scale,
        }
        center = np.broadcast_to(self._center, (self._n_columns(),))
        tensors = {name: np.asarray(getattr(self, name), dtype=np.float64) for name in names}
        return manifest, {"center": np.asarray(center, dtype=np.float64), **tensors}

    def _tables(self) -> tuple[str, ...]:
        """The names of all published parameters."""
        own = () if self.max_duration is None else ("durations_",)
        return ("startprob_", "transmat_", *own, *self._emission_attributes())

    @abstractmethod
    def _emission_attributes(self) -> tuple[str, ...]:
        """The names of the published parameters of the emission."""

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self = cls(**{k: options.from_json(v) for k, v in manifest["parameters"].items()})
        self.device = options.device_at_hand(self.device)
        for name in (*self._tables(), "center"):
            if not np.isfinite(tensors[name]).all():
                raise ValueError(f"tensor {name!r} should be finite")
            setattr(self, "_center" if name == "center" else name, tensors[name])
        self._scale = float(manifest["scale"])
        self._check()
        if self._n_columns() != manifest["n_columns"] or self._center.shape != (self._n_columns(),):
            raise ValueError("the parameters are not those of so many columns")
        self.n_features_in_ = int(manifest["n_columns"])
        if manifest["features"]:
            self.feature_names_in_ = np.array(manifest["features"], dtype=object)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _weights(batch: Batch) -> np.ndarray:
    """Of the sequences, (s,)."""
    return np.ones(batch.n_units) if batch.weights is None else batch.weights.cpu().numpy()


def _concentration(prior: Any) -> Tensor:
    return torch.as_tensor(np.asarray(prior, dtype=float))
