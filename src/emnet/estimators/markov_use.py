"""What any fitted hidden Markov model is used for: paths, posteriors, scores, samples, forecasts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from emnet.batch import Batch
from emnet.estimators import markov_durations, options
from emnet.estimators.forecasts import ForecastingChain, OnlineFilter
from emnet.estimators.markov_paths import DECODERS
from emnet.estimators.markov_rows import RowsOfSequences
from emnet.estimators.sequences import joined, pieces, require_lengths
from emnet.estimators.table_input import naming_cells
from emnet.estimators.validation import require_one_of
from emnet.exceptions import InvalidInputError
from emnet.factors.tables import Durations, MixingWeights, Transitions
from emnet.models.markov import HiddenMarkov
from emnet.models.semi_markov import HiddenSemiMarkov, MarkovModel

_PIECE_ROWS = 2**20  # of sequences whose responsibilities are in memory at a time


class FittedMarkov(RowsOfSequences, ForecastingChain, BaseEstimator):
    """Everything but the training. All of it reads the published parameters, which users may set."""

    n_components: int
    algorithm: str
    random_state: Any
    implementation: str
    startprob_: np.ndarray
    transmat_: np.ndarray
    shared_states: Any
    max_duration: int | None = None
    duration_prior: Any = 1.0
    censored: bool = True
    durations_: np.ndarray
    dtype: str = "float64"
    device: str
    _center: Any = 0.0  # of the columns, subtracted before anything is computed
    _scale: float = 1.0  # by which they are then divided

    # -- what a family says -----------------------------------------------------------------------------------------

    @abstractmethod
    def _emission(self, learning: bool) -> Any:
        """The factor of centered and scaled rows that the published parameters stand for."""

    @abstractmethod
    def _check_emission(self) -> None:
        """Raise InvalidInputError for published parameters that cannot be used."""

    @abstractmethod
    def _n_columns(self) -> int:
        """Of X."""

    @abstractmethod
    def _n_emission_scalars(self) -> dict[str, int]:
        """Free parameters of the emission by their letter in `params`, as information criteria count them."""

    @abstractmethod
    def _draw(self, state: int, rng: np.random.RandomState) -> np.ndarray:
        """A row from a state; the draws are those of hmmlearn."""

    @abstractmethod
    def _means(self) -> np.ndarray:
        """E[row | state], (k, d), in the units of the data."""

    def _quantiles_ahead(self, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
        raise InvalidInputError(f"{type(self).__name__} has no order of its symbols, and so no quantiles.")

    def _read(self, X: np.ndarray) -> np.ndarray:
        """The values of rows as the family takes them."""
        return X

    # -- paths ------------------------------------------------------------------------------------------------------

    def _decoder(self) -> str:
        return self.algorithm

    def online_filter(self) -> OnlineFilter:
        """A filter of a sequence that comes row after row: `update(rows)` gives p(state | all rows so far)."""
        check_is_fitted(self, "startprob_")
        self._check()
        return OnlineFilter(self._model(), self._next_rows, self._log_scale_of)

    def _next_rows(self, memory: None, rows: Any) -> tuple[Batch, None]:
        """Rows of a sequence that goes on, (t, d) or (d,); nothing has to be remembered of them."""
        X = self._rows(np.atleast_2d(rows))
        return self._batch(X, np.array([len(X)])), None

    def _n_fit_scalars(self) -> dict[str, int]:
        """Those of the whole chain."""
        k = self.n_components
        return {"s": k - 1, "t": k * (k - 1), **self._n_emission_scalars()}

    def _n_parameters(self) -> int:
        more = markov_durations.n_more_parameters(self.n_components, self.max_duration)
        return sum(self._n_fit_scalars().values()) + more

    # -- what was not seen ------------------------------------------------------------------------------------------

    def _filled(self, model: MarkovModel, batch: Batch) -> np.ndarray:
        emission = model.emissions["emission"]
        found = emission.fill(emission.prepare(batch.target), model.posterior(batch).responsibilities)
        return found.cpu().numpy() * self._scale + self._center

    def _unseen(self, model: MarkovModel, past: Batch, steps: int) -> Batch:
        return Batch(past.target.new_full((steps, past.target.shape[1]), torch.nan), lengths=torch.tensor([steps]))

    def _mean_ahead(self, weights: np.ndarray, at: Tensor, past: Batch) -> np.ndarray:
        return weights @ self._means()

    def _draw_ahead(self, states: Tensor, seed: int, past: Batch) -> np.ndarray:
        rng = np.random.RandomState(seed)
        return np.stack([[self._draw(state, rng) for state in path] for path in states.tolist()])

    def sample(
        self, n_samples: int = 1, random_state: Any = None, currstate: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw one sequence, (n_samples, d), and its states, (n_samples,); the draws are those of hmmlearn.

        `currstate` is the state of the first row, in place of a draw from the start.
        """
        check_is_fitted(self, "startprob_")
        self._check()
        rng = check_random_state(self.random_state if random_state is None else random_state)
        if self.max_duration is not None:
            start = self.startprob_ if currstate is None else np.eye(self.n_components)[currstate]
            path = markov_durations.draw_path(n_samples, start, self.transmat_, self.durations_, rng)
            return np.stack([self._draw(state, rng) for state in path]), path
        steps = np.cumsum(self.transmat_, axis=1)
        state = int((np.cumsum(self.startprob_) > rng.rand()).argmax()) if currstate is None else int(currstate)
        states, rows = [state], [self._draw(state, rng)]
        for _ in range(n_samples - 1):
            state = int((steps[state] > rng.rand()).argmax())
            states.append(state)
            rows.append(self._draw(state, rng))
        return np.atleast_2d(rows), np.array(states, dtype=int)

    def get_stationary_distribution(self) -> np.ndarray:
        """p(state) in the long run, (k,): π with πA = π, with `max_duration` times the states' expected durations."""
        check_is_fitted(self, "transmat_")
        values, vectors = np.linalg.eig(np.asarray(self.transmat_).T)
        found = np.real(vectors[:, np.argmax(np.real(values))])
        if self.max_duration is not None:
            found = found * self.expected_durations_
        return found / found.sum()

    @property
    def expected_durations_(self) -> np.ndarray:
        """E[rows that a state lasts], (k,)."""
        check_is_fitted(self, "transmat_")
        if self.max_duration is not None:
            return markov_durations.expected(self.durations_)
        with np.errstate(divide="ignore"):
            return 1 / (1 - np.diagonal(self.transmat_))

    # -- the model and its rows -------------------------------------------------------------------------------------

    def _model(self) -> MarkovModel:
        """The model of centered and scaled rows that the published attributes stand for."""
        start = MixingWeights(torch.as_tensor(self.startprob_), fixed=True)
        steps = Transitions(torch.as_tensor(self.transmat_), fixed=True)
        return self._chain(start, steps, learning=False)

    def _chain(self, start: MixingWeights, steps: Transitions, learning: bool) -> MarkovModel:
        emission, device = self._emission(learning), options.choose_device(self.device)
        if self.max_duration is None:
            return HiddenMarkov(start, steps, emission).to(device)
        table = torch.as_tensor(self.durations_)
        held = table == 0 if learning else torch.ones_like(table, dtype=torch.bool)
        durations = Durations(table, concentration=torch.as_tensor(self.duration_prior).double(), fixed=held)
        return HiddenSemiMarkov(start, steps, durations, emission, censored=self.censored).to(device)

    @torch.no_grad()
    def _each(self, X: Any, lengths: Any) -> Iterator[tuple[MarkovModel, Batch]]:
        """The model and batch after batch of whole sequences."""
        check_is_fitted(self, "startprob_")
        self._check()
        X, lengths = joined(X, lengths)
        X = self._rows(X)
        model, lengths = self._model(), require_lengths(lengths, len(X))
        for sequences, rows in pieces(lengths, _PIECE_ROWS):
            with options.few_threads(X[rows].size * self.n_components):
                yield model, self._batch(X[rows], lengths[sequences])

    def _batch(self, X: np.ndarray, lengths: np.ndarray, **more: Any) -> Batch:
        device = options.choose_device(self.device)
        scaled = (X - self._center) / self._scale
        target = torch.as_tensor(scaled, dtype=options.DTYPES[self.dtype], device=device)
        return Batch(target, lengths=torch.as_tensor(lengths), **more)

    def _rows(self, X: Any, reset: bool = False) -> np.ndarray:
        """X as numbers, (n, d), NaN for what is missing."""
        with naming_cells(X):
            X = validate_data(
                self, X, dtype="numeric", ensure_all_finite="allow-nan", ensure_min_samples=1, reset=reset
            )
        X = np.asarray(self._read(X))
        if not reset and X.shape[1] != self._n_columns():
            raise InvalidInputError(f"X has {X.shape[1]} columns; the model is of {self._n_columns()}.")
        return X

    def _log_scale_of(self, batch: Batch) -> np.ndarray:
        """What scaling adds to the log evidence of each sequence."""
        if self._scale == 1.0:
            return np.zeros(batch.n_units)
        cells = (~batch.target.isnan()).sum(1).cpu().numpy() * np.log(self._scale)
        ends = np.cumsum(np.asarray(batch.lengths))
        return np.add.reduceat(cells, np.r_[0, ends[:-1]])

    def _check(self) -> None:
        """Raise InvalidInputError for published parameters that cannot be used."""
        k = self.n_components
        self.startprob_ = np.asarray(self.startprob_, dtype=float)
        self.transmat_ = np.asarray(self.transmat_, dtype=float)
        require_shape("startprob_", self.startprob_, (k,))
        require_shape("transmat_", self.transmat_, (k, k))
        require_distributions("startprob_", self.startprob_)
        require_distributions("transmat_", self.transmat_)
        if self.max_duration is not None:
            self.durations_ = np.asarray(self.durations_, dtype=float)
            require_shape("durations_", self.durations_, (k, self.max_duration))
            require_distributions("durations_", self.durations_)
            markov_durations.require_no_way_to_itself(self.transmat_)
        require_one_of("algorithm", self.algorithm, DECODERS)
        require_one_of("implementation", self.implementation, ("log", "scaling"))
        self._check_emission()

    def _representatives(self) -> np.ndarray:
        """Of each group of states that emit alike the first; without groups all states."""
        if self.shared_states is None:
            return np.arange(self.n_components)
        return np.unique(np.asarray(self.shared_states), return_index=True)[1]


def require_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise InvalidInputError(f"{name} must have shape {shape}; it has {values.shape}.")


def require_distributions(name: str, table: np.ndarray) -> None:
    """Raise unless the rows of a table are probabilities that add up to 1."""
    rows = np.atleast_2d(table)
    bad = ~(np.isclose(rows.sum(axis=-1), 1) & (rows >= 0).all(axis=-1))
    if bad.any():
        which = tuple(int(index[0]) for index in np.nonzero(bad))
        where = f"row {', '.join(map(str, which))}" if table.ndim > 1 else "it"
        raise InvalidInputError(
            f"{name} must sum to 1 with no entry below 0; {where} sums to {rows[which].sum():.6g}. Divide each row by "
            "its sum."
        )
