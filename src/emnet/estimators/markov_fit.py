"""How hidden Markov models learn: starts, runs, restarts, stepwise EM, and what of them is published."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Self, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from emnet.algorithms.base import Fit, Reason, run
from emnet.algorithms.em import EM
from emnet.algorithms.stepwise import Stepwise
from emnet.batch import Batch, Data
from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream, place_of_infinity
from emnet.distributed import ALONE, Group
from emnet.estimators import options
from emnet.estimators.history import as_dict
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.markov_file import MarkovInFile
from emnet.estimators.markov_start import StartingMarkov
from emnet.estimators.mixture_report import of_few_digits, warn_of_failed_starts, warn_of_idle_states
from emnet.estimators.monitor import ConvergenceMonitor, Monitoring
from emnet.estimators.partial_fits import units_of
from emnet.estimators.resuming import resumable
from emnet.estimators.sequences import pieces
from emnet.estimators.streaming import StreamedBatches, random_numbers, require_alone, sequence_weights, survey
from emnet.exceptions import (
    CollapsedComponentError,
    InvalidInputError,
    UnfinishedFit,
)
from emnet.factors.shared_states import SharedStates
from emnet.factors.tables import MixingWeights, Transitions
from emnet.inference.base import EStep
from emnet.inference.exact import Exact
from emnet.models.emitting import implied
from emnet.models.semi_markov import HiddenSemiMarkov, MarkovModel
from emnet.posteriors import Chain, Segments

_BATCH_ROWS = 2**20


class _Occupied(EStep):
    """The exact E-step, which takes down how many rows of each batch every state is expected to have."""

    pure = True
    kept = ("counts",)

    def __init__(self) -> None:
        self.counts: WeakKeyDictionary[Batch, Tensor] = WeakKeyDictionary()  # batches of streams do not stay

    def __call__(self, model: Any, batch: Batch) -> Chain | Segments:
        posterior: Chain | Segments = model.posterior(batch)
        self.counts[batch] = posterior.responsibilities.sum(0)
        return posterior

    def expected_rows(self, model: Any, data: Data) -> Tensor:
        """Of every state, (k,); of a stream by one more pass."""
        if not isinstance(data, StreamedBatches):
            return torch.stack(list(self.counts.values())).sum(0)
        own = torch.stack([model.posterior(batch).responsibilities.sum(0).cpu() for batch in data]).sum(0)
        return torch.stack(data.stream.group.gathered(own)).sum(0)


class LearningMarkov(StartingMarkov, MarkovInFile):
    """The training of any hidden Markov model. A family says where it starts and what it publishes."""

    startprob_prior: Any
    transmat_prior: Any
    tol: float
    verbose: bool

    # -- what a family says -----------------------------------------------------------------------------------------

    @abstractmethod
    def _publish_emission(self, emission: Any) -> None:
        """Set the attributes from a factor of the representatives of the states."""

    def _measure(self, X: np.ndarray) -> None:
        """Set the center and scale of the columns, of families that have them."""

    def _ended_with(self, model: MarkovModel) -> Self:
        """The estimator as if its fit had ended with that model."""
        twin = copy.copy(self)
        twin._publish(model, None, 0.0)
        return twin

    # -- training ---------------------------------------------------------------------------------------------------

    @resumable
    def fit(self, X: Any, lengths: Any = None, *, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit by EM; parameters that `init_params` does not name and that are set start from what they are.

        Parameters
        ----------
        X : (n, d), sequences end to end, or a list of sequences, (t, d) each; NaN is a missing value. Or an
            `emnet.stream` with a column `sequence`, whose target is y and whose weight the sequences' weights.
        lengths : of the sequences.
        y : (n,), the state of each row where it is known, −1 where not.
        sample_weight : (s,), how many sequences each one counts for.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            if isinstance(X, Stream):
                require_alone(y, sample_weight if lengths is None else lengths)
                return self._fit_stream(X)
            X, lengths, weights, y = self._check_data(X, lengths, y, sample_weight)

            def data(start: Self) -> tuple[Data, float]:
                batches = list(start._batches(X, lengths, weights, y))
                return batches, sum(start._log_scale_of(batch) @ _weights(batch) for batch in batches)

            return self._fit_starts(X, lengths, y, data, self._seeds())

    def _fit_stream(self, stream: Stream) -> Self:
        """Fit to a stream: starts from a sample of its sequences, statistics from all of them."""
        names: list[tuple[str, ...] | None] = []

        def checked(chunk: Chunk) -> Units:
            names[:] = [chunk.names]
            return self._checked_chunk(chunk)

        found = survey(stream, checked)

        def data(start: Self) -> tuple[Data, float]:
            def batches_of(chunk: Chunk) -> Iterable[Batch]:
                units = self._checked_chunk(chunk)
                return (
                    () if units.lengths is None else start._batches(units.X, units.lengths, units.weights, units.target)
                )

            return StreamedBatches(stream, batches_of, found), float(found.mass.sum() * np.log(start._scale))

        own = found.sample
        assert own.lengths is not None
        self._fit_starts(own.X, own.lengths, own.target, data, self._seeds(stream.group))
        if names[0] is not None:
            self.feature_names_in_ = np.array(names[0], dtype=object)
        return self

    def _checked_chunk(self, chunk: Chunk) -> Units:
        """Sequences of a chunk that count, with their known states and weights."""
        weights = sequence_weights(chunk)
        if weights is not None and not weights.any():
            return Units(np.empty((0, 1)))
        try:
            X, lengths, weights, y = self._check_data(_whole(chunk.X), chunk.lengths, chunk.y, weights)
        except ValueError as error:  # scikit-learn's among them
            raise InvalidInputError(f"{chunk.label}: {place_of_infinity(chunk)}{error}") from error
        return Units(X, y, weights, lengths)

    def _fit_starts(
        self,
        X: np.ndarray,
        lengths: np.ndarray,
        labels: np.ndarray | None,
        data: Callable[[Self], tuple[Data, float]],
        seeds: list[Any],
    ) -> Self:
        """Run from every start, made of those sequences; `data` gives a start's batches, and what scaling adds."""
        self.__dict__.pop("_stepper", None)
        self.fits_: list[Fit] = []
        failures: list[CollapsedComponentError] = []
        for seed in seeds:
            try:
                self._fit_start(self._started(X, lengths, labels, seed), X, data)
            except CollapsedComponentError as error:
                error.remedy += of_few_digits(self.dtype)
                failures.append(error)
                if len(failures) == self.n_init:
                    raise
        warn_of_failed_starts(failures, self.n_init)
        return self

    def _seeds(self, group: Group = ALONE) -> list[Any]:
        """What the starts draw from: of one start `random_state`, as hmmlearn does."""
        numbers = random_numbers(self.random_state, group)
        if self.n_init == 1:
            return [numbers]
        rng = check_random_state(numbers)
        return [np.random.RandomState(rng.randint(2**31)) for _ in range(self.n_init)]

    def _started(self, X: np.ndarray, lengths: np.ndarray, labels: np.ndarray | None, seed: Any) -> Self:
        """The estimator at a start, on its own: what was fitted before stays until something better is."""
        start = copy.copy(self)
        start._init(X, lengths, seed, labels)
        start._check_start(X)
        start._renew_monitor()
        return start

    def _fit_start(self, start: Self, X: np.ndarray, make: Callable[[Self], tuple[Data, float]]) -> None:
        """Run from a start, and be what it became if that is better than what is there."""
        if self.n_iter == 0:
            self._become(start)
            return
        model, (data, log_scale) = start._learnable(), make(start)
        counted, rule = _Occupied(), Monitoring(start.monitor_, self.n_iter, log_scale)
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
            if end.fit.is_kept_beside(self._highest() if self.fits_ else None):
                start._publish(model, end.fit, log_scale)
                self._become(start)
            raise
        with torch.no_grad():
            if rule.parameters is not None and fit.reason is Reason.STOPPED:
                model.set_coordinates(rule.parameters)
        best = self._highest()
        self.fits_.append(fit)
        if fit.last.objective > best:
            start._publish(model, fit, log_scale)
            self._become(start)
            warn_of_idle_states(counted.expected_rows(model, data))
            self._warn_of_lifted(model)

    def _highest(self) -> float:
        """The objective of the best start so far."""
        return max((each.last.objective for each in self.fits_), default=-np.inf)

    def _become(self, start: Self) -> None:
        """Take over what a start has fitted."""
        self.__dict__.update(vars(start))

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
            history = self.monitor_.history
            rests = len(history) >= 2 and history[-1] - history[-2] < self.monitor_.tol
            self.converged_ = rests or fit.converged
            self.n_iter_, self.reason_ = len(fit.history), str(self._reason(fit))

    def _reason(self, fit: Fit) -> Reason:
        """Why it ended: what the monitor stopped has converged, or come to the end of its iterations."""
        if fit.reason is not Reason.STOPPED or not (self.converged_ or len(fit.history) >= self.n_iter):
            return fit.reason
        return Reason.CONVERGED if self.converged_ else Reason.MAX_ITER

    def _warn_of_lifted(self, model: MarkovModel) -> None:
        """Say which covariances `min_covar` kept from being singular; of families that have none, nothing."""

    def partial_fit(self, X: Any, lengths: Any = None, *, y: Any = None, sample_weight: Any = None) -> Self:
        """A step of stepwise EM on these sequences, from the present parameters; the first ones make the start.

        s ← (1 − γ)·s + γ·ŝ of a sequence on average, γ = t^−0.6, and then M (Cappé & Moulines 2009): t is how many such
        portions all sequences so far would make.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            learned = hasattr(self, "_stepper") or hasattr(self, "fits_")
            X, lengths, weights, y = self._check_data(X, lengths, y, sample_weight, reset=not learned)
            if not hasattr(self, "_stepper"):
                if not learned:
                    self._init(X, lengths, self.random_state, y)
                before = units_of(self.fits_) if learned else None
                self._stepper = Stepwise(Exact(), implied if learned else None, before)
            self._check_start(X)
            model, data = self._learnable(), list(self._batches(X, lengths, weights, y))
            with torch.no_grad():
                self._stepper.step(model, data)
            self._publish(model, None, 0.0)
        return self

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _weights(batch: Batch) -> np.ndarray:
    """Of the sequences, (s,)."""
    return np.ones(batch.n_units) if batch.weights is None else batch.weights.cpu().numpy()


def _whole(X: np.ndarray) -> np.ndarray:
    """A stream's floats as integers where they are, as symbols and counts have to be."""
    return X.astype(np.int64) if np.isfinite(X).all() and (np.floor(X) == X).all() else X


def _concentration(prior: Any) -> Tensor:
    return torch.as_tensor(np.asarray(prior, dtype=float))
