"""Hidden Markov models whose states emit by networks, or by the past of their sequence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from emnet import serialization
from emnet.algorithms.base import Algorithm, Callback
from emnet.batch import Batch, with_constant
from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream
from emnet.estimators import experts_start, known_tables, markov_durations, options
from emnet.estimators.callbacks import with_callbacks
from emnet.estimators.description import as_described
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.lags import past_of
from emnet.estimators.mixture_report import warn_of_idle_states
from emnet.estimators.neural_emissions import EMISSIONS, TAKES_HOLES, Plan, of_module, reference_rows
from emnet.estimators.neural_use import FittedNeural
from emnet.estimators.resuming import resumable
from emnet.estimators.sequence_estimator import grouped_emission
from emnet.estimators.sequences import require_sequence_weights
from emnet.estimators.streaming import require_alone
from emnet.estimators.validation import require_not_negative, require_one_of, require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.factors.shared_states import SharedStates
from emnet.factors.tables import Durations, MixingWeights, Transitions
from emnet.models.markov import HiddenMarkov
from emnet.models.semi_markov import HiddenSemiMarkov, MarkovModel


class NeuralHMM(FittedNeural):
    """A hidden path of states, what they emit being said by networks or by the rows before, fitted by EM.

    p(y, z) = p(z₁) Π_t p(z_t | z_{t−1}) Π_t p(y_t | z_t, y_{t−1}, …, y_{t−lags}).

    Parameters
    ----------
    n_components : k, states.
    emission : "autoregressive", Gaussian about a linear function of the past (closed form), or about `network` of it,
        of which each state has a copy; "mixture_density", mixtures of Gaussians whose parameters one network makes of
        the past; "discriminative", a network that tells the states of a row apart, in the hybrid way: p(y | z) ∝
        p(z | y) / p(z) (Bourlard & Morgan 1994); or a torch module, (n, d) rows and, with `lags`, (n, lags·d + lags)
        of the past → (n, k) log densities.
    network : a torch module: of "autoregressive", past → d; of "discriminative", d → k logits.
    lags : rows before that a row is explained from; None is 1 of "autoregressive", else 0. What is not there, as before
        a sequence begins, is 0, and a column for each lag says so.
    n_mixtures, hidden_units : of "mixture_density"; `hidden_units` of "discriminative" without a `network`, too.
    transmat_prior : concentration of a Dirichlet prior on start and transitions, at least 1; 1 is none.
    known_start, known_transitions : (k,), (k, k) of probabilities that stay, NaN of those to learn. 0 is what never
        happens: of left-to-right chains `known_start` is (1, 0, …), and `known_transitions` 0 below the diagonal.
    shared_states : for each state the number of its group, from 0: states of a group emit alike.
    max_duration : None: how long a state lasts is geometric. D: explicit durations of 1 … D rows, as of `GaussianHMM`.
    duration_prior : concentration of the Dirichlet priors on `durations_`, at least 1: a number, (D,) or (k, D).
    censored : whether the end of a sequence may cut its last duration off; if not, a state ends with every sequence.
    prior : precision of the Gaussian prior on the emission's weights: a number, or "auto", 0.01.
    noise_prior : of "autoregressive", one more row for each state with such a residual, in standard deviations.
    algorithm : "auto", "em", "squarem", "lbfgs" (quasi-Newton on the evidence, whose gradient is that of EM's Q) or
        "adam". "auto" is "adam" with a `batch_size`, "squarem" where M-steps are closed, else "lbfgs".
    n_init : starts from k-means, of which the best is kept; None is 5.
    max_iter, tol, batch_size, warm_start, standardize, dtype, device, random_state, verbose, callbacks : as of
        `InputOutputHMM`.

    X is (n, d), standardized inside; NaN is missing. A row that is missing says nothing of its state.

    Attributes
    ----------
    startprob_, transmat_ : (k,), (k, k).
    durations_ : (k, D), p(duration | state), with `max_duration`.
    weights_, noise_ : of a linear "autoregressive" emission, (k, d, 1 + lags·d + lags), biases first, and standard
        deviations, (k, d), for standardized rows; None of others.
    log_evidence_ : Σ weight log p of the sequences, in nats, of standardized rows; of "discriminative" beside the rows'
        own distribution.
    history_, n_iter_, converged_, reason_, prior_, n_features_in_, feature_names_in_, input_mean_, input_scale_,
    members_, fits_ : as in `EMMLPClassifier`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    Two ways to swing:

    >>> rng = np.random.RandomState(0)
    >>> states, X = np.arange(600) // 100 % 2, np.zeros((600, 1))
    >>> for t in range(1, 600):
    ...     X[t] = (0.9 if states[t] else -0.9) * X[t - 1] + rng.randn()
    >>> found = NeuralHMM(2, random_state=0).fit(X).predict(X)
    >>> bool(abs((found == states).mean() - 0.5) > 0.4)
    True
    """

    def __init__(
        self,
        n_components: int = 2,
        emission: str | nn.Module = "autoregressive",
        *,
        network: nn.Module | None = None,
        lags: int | None = None,
        n_mixtures: int = 3,
        hidden_units: int = 16,
        transmat_prior: float = 1.1,
        known_start: Any = None,
        known_transitions: Any = None,
        shared_states: Any = None,
        max_duration: int | None = None,
        duration_prior: Any = 1.0,
        censored: bool = True,
        prior: str | float = "auto",
        noise_prior: float = 0.1,
        algorithm: str | Algorithm = "auto",
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
        self.emission = emission
        self.network = network
        self.lags = lags
        self.n_mixtures = n_mixtures
        self.hidden_units = hidden_units
        self.transmat_prior = transmat_prior
        self.known_start = known_start
        self.known_transitions = known_transitions
        self.shared_states = shared_states
        self.max_duration = max_duration
        self.duration_prior = duration_prior
        self.censored = censored
        self.prior = prior
        self.noise_prior = noise_prior
        self.algorithm = algorithm
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
    def fit(self, X: Any, lengths: Any = None, *, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit to (n, d) rows of sequences end to end, or to a list of sequences, (t, d) each.

        Parameters
        ----------
        X : sequences; or an `emnet.stream` with a column `sequence`, whose target is y and whose weight the sequences'.
        lengths : of the sequences, where X is not a list.
        y : (n,), the state of each row where it is known, −1 where not.
        sample_weight : how many sequences each one counts for.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            if isinstance(X, Stream):
                require_alone(y, sample_weight if lengths is None else lengths)
                return self._fit_stream(X)
            X, batch = self._prepared(X, lengths, y, sample_weight, self._continues())
            self._fit_sequences(X, batch, y)
            warn_of_idle_states(self._best.posterior(batch).responsibilities.sum(0))
            return self

    def partial_fit(self, X: Any, lengths: Any = None, *, y: Any = None, sample_weight: Any = None) -> Self:
        """A step on these sequences from the present parameters; the first ones make the starts and the units.

        Of stepwise EM (Cappé & Moulines 2009) for linear "autoregressive" emissions, else a pass of Adam along ∇Q.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            first = not hasattr(self, "members_")
            return self._take_steps(self._prepared(X, lengths, y, sample_weight, not first)[1], first)

    def _prepared(self, X: Any, lengths: Any, y: Any, sample_weight: Any, goes_on: bool) -> tuple[np.ndarray, Batch]:
        """Rows that are checked, and the batch of them; where nothing goes on, they say what units are."""
        X, lengths = self._check_rows(X, lengths, reset=not goes_on)
        self._require_whole_rows(X)
        weights = require_sequence_weights(sample_weight, lengths)
        if not goes_on:
            self._standardize(X, np.ones(len(X)) if weights is None else np.repeat(weights, lengths))
        self.prior_ = self._resolve_prior(X.shape[1])
        batch = self._sequences(X, lengths, weights, self._known_states(y, len(X)))
        if not goes_on:
            self._reference = reference_rows(batch.target)
        return X, batch

    # -- streams ----------------------------------------------------------------------------------------------------

    _needs_targets = False  # the states of rows, which need not be known

    def _rows_that_count(self, chunk: Chunk) -> Units:
        X = self._rows_of_chunk(chunk)
        self._require_whole_rows(X)
        return Units(X, self._known_states(chunk.y, len(X)))

    def _batch_of(self, units: Any) -> Batch:
        return self._sequences(units.X, units.lengths, units.weights, units.target)

    def _batch_of_sample(self, units: Units) -> Batch:
        batch = self._batch_of(units)
        if not self._continues():
            self._reference = reference_rows(batch.target)
        return batch

    # -- the model --------------------------------------------------------------------------------------------------

    _made_of = (
        *("emission", "network", "n_mixtures", "hidden_units", "lags"),
        *("shared_states", "known_start", "known_transitions", "max_duration", "dtype"),
    )

    def _check_parameters(self) -> None:
        self._check_sequence_parameters()
        for name in ("n_mixtures", "hidden_units"):
            require_positive_integer(name, getattr(self, name))
        markov_durations.require_parameters(self.max_duration, self.censored, self.n_components)
        self._known_tables()
        require_not_negative("noise_prior", self.noise_prior)
        if not isinstance(self.emission, nn.Module):
            require_one_of("emission", self.emission, tuple(EMISSIONS), "a torch.nn.Module")
        if self.lags is not None and self.lags != 0:
            require_positive_integer("lags", self.lags)
        if self.emission == "autoregressive" and self.lags == 0:
            raise InvalidInputError(
                "An autoregressive emission is explained from rows before: take lags of at least 1. Without any it is "
                "GaussianHMM."
            )
        if self.emission == "discriminative" and self.lags:
            raise InvalidInputError("A discriminative emission tells states by the row itself: leave lags out.")
        if self.network is not None and self.emission not in ("autoregressive", "discriminative"):
            raise InvalidInputError('network= goes with emission="autoregressive" or "discriminative".')

    def _allows_nan(self) -> bool:
        return True

    def _require_whole_rows(self, X: np.ndarray) -> None:
        holes = np.isnan(X)
        partly = np.flatnonzero(holes.any(axis=1) & ~holes.all(axis=1))
        if len(partly) and self.emission not in TAKES_HOLES:
            raise InvalidInputError(
                f"Row {partly[0]} misses column {int(holes[partly[0]].argmax())} but not all: this emission knows "
                "whole rows only. Make the whole row NaN, fill the cell in, or take 'autoregressive' or "
                "'mixture_density'."
            )

    def _modules(self) -> list[str]:
        return [name for name in ("emission", "network") if isinstance(getattr(self, name), nn.Module)]

    def _n_lags(self) -> int:
        return (1 if self.emission == "autoregressive" else 0) if self.lags is None else self.lags

    def _has_closed_m_steps(self) -> bool:
        return self._takes_m_steps()

    def _takes_m_steps(self) -> bool:
        return self.emission == "autoregressive" and self.network is None

    def _known_tables(self) -> tuple[np.ndarray, np.ndarray]:
        """What is known of the start, (k,), and of the transitions, (k, k); NaN is to be learned."""
        k = self.n_components
        start = known_tables.require_known("known_start", self.known_start, (k,))
        steps = known_tables.require_known("known_transitions", self.known_transitions, (k, k))
        return start, steps if self.max_duration is None else known_tables.without_a_way_to_itself(steps)

    def _model(self, seed: int) -> MarkovModel:
        """A start from chance alone; linear emissions are at 0."""
        alpha, (known_start, known_steps) = self.transmat_prior, self._known_tables()
        start = MixingWeights(**known_tables.start_of(known_start), concentration=alpha)
        steps = Transitions(**known_tables.start_of(known_steps), concentration=alpha)
        make = of_module(self.emission) if isinstance(self.emission, nn.Module) else EMISSIONS[self.emission]
        emission: Any = make(self._plan(seed))
        if self.shared_states is not None:
            emission = SharedStates(emission, torch.as_tensor(np.asarray(self.shared_states)))
        return self._chain(start, steps, emission).to(options.choose_device(self.device))

    def _chain(self, start: MixingWeights, steps: Transitions, emission: Any) -> MarkovModel:
        if self.max_duration is None:
            return HiddenMarkov(start, steps, emission)
        even = torch.full((self.n_components, self.max_duration), 1 / self.max_duration, dtype=torch.float64)
        durations = Durations(even, concentration=torch.as_tensor(self.duration_prior).double())
        return HiddenSemiMarkov(start, steps, durations, emission, censored=self.censored)

    def _plan(self, seed: int) -> Plan:
        d, lags = self.n_features_in_, self._n_lags()
        return Plan(
            self._n_groups(),
            d,
            lags * (d + 1),
            self.network,
            self.n_mixtures,
            self.hidden_units,
            self.prior_[1],
            self.noise_prior,
            options.DTYPES[self.dtype],
            seed,
            self._reference,
            self._network_m_step(),
        )

    def _start(self, seed: int, batch: Batch) -> MarkovModel:
        model = self._model(seed)
        features = batch.target if batch.given is None else torch.cat((batch.target, batch.given[:, 1:]), dim=1)
        known = features.double().nan_to_num(0.0).cpu().numpy()
        shares = experts_start.responsibilities(known, experts_start.row_weights(batch), (self._n_groups(),), seed)
        if self.shared_states is not None:
            shares = experts_start.among_states(shares, self.shared_states, seed)
        elif self.known_start is not None or self.known_transitions is not None:
            shares = experts_start.in_order_of_time(shares, batch)
        experts_start.prime_chain(model, batch, shares)
        return model

    def _sequences(
        self, X: np.ndarray, lengths: np.ndarray, weights: np.ndarray | None = None, states: np.ndarray | None = None
    ) -> Batch:
        rows = self._inputs(X)[:, 1:]
        lags, of_rows = self._n_lags(), torch.as_tensor(lengths)
        return Batch(
            rows,
            with_constant(past_of(rows, of_rows, lags)) if lags else None,
            weights=None if weights is None else torch.as_tensor(weights, device=rows.device),
            lengths=of_rows,
            labels=None if states is None else torch.as_tensor(states, device=rows.device),
        )

    def _weights_of(self, model: MarkovModel) -> dict[str, Any]:
        emission, linear = grouped_emission(model), self._takes_m_steps()
        group_of = slice(None) if self.shared_states is None else np.asarray(self.shared_states)
        tables = {"startprob_": model.start, "transmat_": model.transition}
        if self.max_duration is not None:
            tables["durations_"] = model.duration
        return {
            **{name: table.log_probabilities.exp().cpu().numpy() for name, table in tables.items()},
            "weights_": emission.weights64().cpu().numpy()[group_of] if linear else None,
            "noise_": emission.variance.sqrt().cpu().numpy()[group_of] if linear else None,
        }

    # -- files ------------------------------------------------------------------------------------------------------

    def _to_state(self) -> serialization.State:
        manifest, tensors = super()._to_state()
        return manifest, {**tensors, "reference": self._reference.double().cpu().numpy()}

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self: Self = as_described(cls, manifest)
        self._reference = torch.from_numpy(tensors["reference"]).to(options.DTYPES[self.dtype])
        self._restore(manifest, tensors)
        if self._reference.dim() != 2 or self._reference.shape[1] != self.n_features_in_ or not len(self._reference):
            raise ValueError("the reference rows are not those of so many columns")
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
