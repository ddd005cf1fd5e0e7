"""Input–output hidden Markov models: a sequence is explained from another one, step by step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from emnet import serialization
from emnet.algorithms.base import Algorithm, Callback
from emnet.batch import Batch
from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream
from emnet.estimators import experts_start, known_tables, options
from emnet.estimators.callbacks import with_callbacks
from emnet.estimators.chain_gates import Gates, LinearGates, NetworkGates
from emnet.estimators.description import as_described
from emnet.estimators.input_output_use import FittedInputOutput
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.resuming import resumable
from emnet.estimators.sequence_estimator import grouped_emission
from emnet.estimators.sequence_targets import (
    KINDS,
    Blueprint,
    SequenceTargets,
    numbers,
    require_known,
    streamed_targets,
    targets_of,
)
from emnet.estimators.sequences import joined_targets, require_sequence_weights
from emnet.estimators.streaming import Survey, require_alone
from emnet.estimators.validation import require_not_negative, require_one_of
from emnet.exceptions import InvalidInputError
from emnet.factors.input_transitions import InputTransitions
from emnet.factors.regression import MStep
from emnet.factors.shared_states import SharedStates
from emnet.factors.tables import MixingWeights
from emnet.models.markov import HiddenMarkov


class InputOutputHMM(FittedInputOutput):
    """A sequence of targets explained from a sequence of inputs through a hidden path of states, fitted by EM.

    p(y, z | x) = p(z₁ | x₁) Π_t p(z_t | z_{t−1}, x_t) Π_t p(y_t | z_t, x_t) (Bengio & Frasconi 1995). Targets may be
    known at some steps only: of many tasks only the last one's is.

    Parameters
    ----------
    n_components : k, states.
    transition : p(z_t | z_{t−1}, x_t). "softmax", linear in x for each state before, or a torch module, p → k logits,
        of which each state before has a copy with parameters drawn anew.
    emission : p(y_t | z_t, x_t). "classification" and "regression" are softmax and linear Gaussian experts, one for
        each state; "auto" looks at y, where numbers that are not all whole are for regression; or a torch module,
        p → classes or targets, of which each state has a copy.
    start : p(z₁ | x₁). "softmax", or "constant" for a start that does not depend on x₁.
    known_start, known_transitions : (k,), (k, k): 0 where a state never begins or a step never happens, NaN elsewhere.
        Of a constant start also probabilities that stay. Durations would have no meaning where every step asks the
        input: there is no `max_duration`.
    shared_states : for each state the number of its group, from 0: states of a group have one expert.
    m_step : of softmax gates and experts, for the algorithms "em" and "squarem": "newton" ("auto"), "irls", "ecm",
        "mm", "gradient", or an object. Modules take gradient steps, halved until Q rises, but with "gradient",
        whose rate is fixed.
    algorithm : "auto", "em", "squarem", "lbfgs" (quasi-Newton on the evidence, whose gradient is that of EM's Q) or
        "adam". "auto" is "adam" with a `batch_size`, "squarem" where an `m_step` is asked for, else "lbfgs".
    prior : precision of the Gaussian prior on all weights but the biases: a number, a pair (chain, emission), or
        "auto", 0.01.
    noise_prior : of regression, one more row for each state with such a residual, in standard deviations of y.
    n_init : random starts, of which the best is kept; None is 5. Many maxima are bad: more starts are the remedy.
    max_iter : iterations of a start, or passes over the data, at most; None is 500, and 200 passes with a `batch_size`.
    batch_size : sequences of a mini-batch.
    tol, warm_start, standardize, dtype, device, random_state, verbose, callbacks : as in `EMMLPClassifier`.

    Attributes
    ----------
    emission_ : "classification" or "regression".
    classes_ : labels, of classification.
    log_evidence_ : Σ weight log p(y | x) of the sequences, in nats; of regression for standardized y.
    start_weights_, transition_weights_, emission_weights_ : (k, 1 + p), (k, k, 1 + p), and (k, classes or targets,
        1 + p), biases first, for standardized inputs (and targets); None of modules. A bias is −∞ where a state is
        never reached. A constant start is p(z₁), (k,).
    history_, n_iter_, converged_, reason_, prior_, n_features_in_, feature_names_in_, input_mean_, input_scale_,
    members_, fits_ : as in `EMMLPClassifier`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    The parity of the ones so far, of which only the last is known:

    >>> rng = np.random.RandomState(0)
    >>> X = [rng.randint(2, size=(length, 1)) for length in rng.randint(1, 9, size=60)]
    >>> Y = [int(x.sum()) % 2 for x in X]
    >>> model = InputOutputHMM(2, random_state=0).fit(X, Y)
    >>> model.predict(rng.randint(2, size=(100, 1)))[-1] in (0, 1)
    True
    >>> model.score(X, Y)
    1.0
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        transition: str | nn.Module = "softmax",
        emission: str | nn.Module = "auto",
        start: str = "softmax",
        known_start: Any = None,
        known_transitions: Any = None,
        shared_states: Any = None,
        m_step: str | MStep = "auto",
        algorithm: str | Algorithm = "auto",
        prior: str | float | tuple[float, float] = "auto",
        noise_prior: float = 0.1,
        n_init: int | None = None,
        max_iter: int | None = None,
        tol: float = 1e-6,
        batch_size: int | None = None,
        warm_start: bool = False,
        standardize: bool = True,
        dtype: str = "float64",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        callbacks: Iterable[Callback] = (),
    ):
        self.n_components = n_components
        self.transition = transition
        self.emission = emission
        self.start = start
        self.known_start = known_start
        self.known_transitions = known_transitions
        self.shared_states = shared_states
        self.m_step = m_step
        self.algorithm = algorithm
        self.prior = prior
        self.noise_prior = noise_prior
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.warm_start = warm_start
        self.standardize = standardize
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    @resumable
    @with_callbacks
    def fit(self, X: Any, y: Any = None, lengths: Any = None, *, sample_weight: Any = None, states: Any = None) -> Self:
        """Fit to sequences of inputs and targets.

        Parameters
        ----------
        X : (n, p), sequences end to end, or a list of sequences, (t, p) each. Or an `emnet.stream` with the columns
            `target` and `sequence`, whose weight is that of the sequences.
        y : a target for each row, (n,) or (n, d), or a list of such; what is NaN, None, or of labels −1, is not known.
            Or one for each sequence: that of its last row, the others not known.
        lengths : of the sequences, where X is not a list.
        sample_weight : how many sequences each one counts for.
        states : (n,), the state of each row where it is known, −1 where not.

        Raises
        ------
        InvalidInputError : what was expected, what came (column, row, count), and what to do.
        DegenerateFitError : the evidence became NaN; the estimator is fitted with the last finite parameters.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            if isinstance(X, Stream):
                given = [each for each in (y, lengths, sample_weight, states) if each is not None]
                require_alone(given or None, None)
                return self._fit_stream(X)
            if y is None:
                raise InvalidInputError("requires y to be passed, but the target y is None: give targets.")
            X, batch = self._prepared(X, y, lengths, sample_weight, states, self._continues())
            return self._fit_sequences(X, batch, y)  # type: ignore[no-any-return]

    def partial_fit(
        self,
        X: Any,
        y: Any,
        lengths: Any = None,
        *,
        classes: Any = None,
        sample_weight: Any = None,
        states: Any = None,
    ) -> Self:
        """A pass of Adam along ∇Q over these sequences, from the present parameters.

        The first ones make the starts and the units of inputs and targets; `classes` says which labels may still come.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            first = not hasattr(self, "members_")
            batch = self._prepared(X, y, lengths, sample_weight, states, not first, classes)[1]
            return self._take_steps(batch, first)

    def _prepared(
        self, X: Any, y: Any, lengths: Any, sample_weight: Any, states: Any, goes_on: bool, classes: Any = None
    ) -> tuple[np.ndarray, Batch]:
        """Inputs that are checked, and the batch of them; where nothing goes on, they say what units are."""
        X, lengths = self._check_rows(X, lengths, reset=not goes_on)
        y = joined_targets(y, lengths)
        weights = require_sequence_weights(sample_weight, lengths)
        if not goes_on:
            of_rows = np.ones(len(X)) if weights is None else np.repeat(weights, lengths)
            self._standardize(X, of_rows)
            kind = self.emission if self.emission in KINDS else "auto"
            self.targets_: SequenceTargets = targets_of(kind, y, of_rows, classes)
        self.prior_ = self._resolve_prior(X.shape[1])
        known = self._known_states(states, len(X))
        return X, self._sequences(X, self.targets_.coded(y), lengths, weights, known)

    # -- streams ----------------------------------------------------------------------------------------------------

    def _meet(self, stream: Stream) -> None:
        super()._meet(stream)
        if not self._continues():
            self.targets_ = streamed_targets(self.emission if self.emission in KINDS else "auto", stream)

    def _rows_that_count(self, chunk: Chunk) -> Units:
        """Inputs, with numbers to explain beside them, so that both are measured."""
        X, target = self._rows_of_chunk(chunk), np.asarray(chunk.y)
        if self.targets_.kind == "classification":
            return Units(X, self.targets_.coded(target))
        return Units(np.column_stack((X, numbers(target))))

    def _as_fitted(self, units: Units) -> Units:
        p = self.n_features_in_
        if units.X.shape[1] == p:
            return units
        return replace(units, X=units.X[:, :p], target=self.targets_.coded(units.X[:, p:]))

    def _standardize_stream(self, found: Survey) -> None:
        super()._standardize_stream(found)
        p = self.n_features_in_
        if len(found.mean) > p:
            require_known(found.mass[p:] > 0)
            scale = np.where(found.deviation == 0, 1.0, found.deviation)[p:]
            self.targets_ = replace(self.targets_, center=found.mean[p:], scale=scale)  # type: ignore[type-var]

    def _batch_of(self, units: Any) -> Batch:
        return self._sequences(units.X, units.target, units.lengths, units.weights)

    # -- the model --------------------------------------------------------------------------------------------------

    _made_of = ("start", "transition", "emission", "shared_states", "known_start", "known_transitions", "dtype")

    def _check_parameters(self) -> None:
        self._check_sequence_parameters()
        require_not_negative("noise_prior", self.noise_prior)
        require_one_of("start", self.start, ("softmax", "constant"))
        for name, known in (("transition", ("softmax",)), ("emission", ("auto", *KINDS))):
            if self._network(name) is None:
                require_one_of(name, getattr(self, name), known, "a torch.nn.Module")
        options.choose_expert_m_step(self.m_step)
        self._start_reached(), self._reached()

    def _takes_m_steps(self) -> bool:
        return not (isinstance(self.m_step, str) and self.m_step == "auto")

    def _modules(self) -> list[str]:
        return [name for name in ("transition", "emission") if self._network(name) is not None]

    def _model(self, seed: int) -> HiddenMarkov:
        """A start from chance alone; linear Gaussian experts are at 0."""
        k, generator = self.n_components, torch.Generator().manual_seed(seed)
        start: Any = (
            MixingWeights(**known_tables.start_of(self._known_start()))
            if self.start == "constant"
            else self._linear_gates(generator).after(0, self._start_reached())
        )
        gates = self._gates(generator, seed + 1 + k)
        steps = InputTransitions([gates.after(state, reached) for state, reached in enumerate(self._reached())])
        experts: Any = self.targets_.experts(self._blueprint(seed + 1))
        if self.shared_states is not None:
            experts = SharedStates(experts, torch.as_tensor(np.asarray(self.shared_states)))
        return HiddenMarkov(start, steps, experts).to(options.choose_device(self.device))

    def _blueprint(self, seed: int) -> Blueprint:
        return Blueprint(
            self._n_groups(),
            self.n_features_in_,
            self._network("emission"),
            options.choose_expert_m_step(self._m_step_for_data()),
            self._network_m_step(),
            self.prior_[1],
            self.noise_prior,
            options.DTYPES[self.dtype],
            seed,
        )

    def _known_start(self) -> np.ndarray:
        return known_tables.require_known("known_start", self.known_start, (self.n_components,))

    def _start_reached(self) -> Tensor:
        """Where a sequence may begin, (k,)."""
        if self.start == "constant":
            return torch.as_tensor(self._known_start() != 0)
        return known_tables.allowed("known_start", self._known_start())

    def _reached(self) -> Tensor:
        """Which steps may happen, (k, k)."""
        shape = (self.n_components, self.n_components)
        table = known_tables.require_known("known_transitions", self.known_transitions, shape)
        return known_tables.allowed("known_transitions", table)

    def _gates(self, generator: torch.Generator, seed: int) -> Gates:
        network = self._network("transition")
        if network is None:
            return self._linear_gates(generator)
        m_step, dtype = self._network_m_step(), options.DTYPES[self.dtype]
        return NetworkGates(network, self.n_features_in_, self.prior_[0], m_step, dtype, seed)

    def _linear_gates(self, generator: torch.Generator) -> LinearGates:
        m_step = options.choose_expert_m_step(self._m_step_for_data())
        return LinearGates(self.n_features_in_, self.prior_[0], m_step, options.DTYPES[self.dtype], generator)

    def _start(self, seed: int, batch: Batch) -> HiddenMarkov:
        model = self._model(seed)
        features = self.targets_.features(batch.target.cpu().numpy())
        if features is not None:
            inputs = batch.inputs[:, 1:].double().cpu().numpy()
            together = np.concatenate((inputs, features), axis=1)
            weights = experts_start.row_weights(batch)
            shares = experts_start.responsibilities(together, weights, (self._n_groups(),), seed)
            emission: Any = grouped_emission(model)
            first = torch.as_tensor(shares, dtype=batch.inputs.dtype, device=batch.inputs.device)
            emission.maximize(emission.statistics(batch.target, first, batch.inputs))
        return model

    def _sequences(
        self,
        X: np.ndarray,
        target: np.ndarray,
        lengths: np.ndarray,
        weights: np.ndarray | None = None,
        states: np.ndarray | None = None,
    ) -> Batch:
        inputs = self._inputs(X)
        dtype = torch.int64 if target.dtype.kind == "i" else inputs.dtype
        return Batch(
            torch.as_tensor(target, dtype=dtype, device=inputs.device),
            inputs,
            weights=None if weights is None else torch.as_tensor(weights, device=inputs.device),
            lengths=torch.as_tensor(lengths),
            labels=None if states is None else torch.as_tensor(states, device=inputs.device),
        )

    def _weights_of(self, model: Any) -> dict[str, Any]:
        start = model.start.log_probabilities.exp() if self.start == "constant" else model.start.softmax_weights()
        own = slice(None) if self.shared_states is None else np.asarray(self.shared_states)
        of_groups = self.targets_.weights(grouped_emission(model)) if self._network("emission") is None else None
        return {
            "start_weights_": start.cpu().numpy(),
            "transition_weights_": self._gates(torch.Generator(), 0).weights(list(model.transition.parts)),
            "emission_weights_": None if of_groups is None else of_groups[own],
        }

    # -- files ------------------------------------------------------------------------------------------------------

    def _to_state(self) -> serialization.State:
        manifest, tensors = super()._to_state()
        return {**manifest, "targets": self.targets_.to_json()}, tensors

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self: Self = as_described(cls, manifest)
        self.targets_ = KINDS[manifest["targets"]["kind"]].from_json(manifest["targets"])
        self._restore(manifest, tensors)
        return self
