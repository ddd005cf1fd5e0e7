"""What a fitted neural hidden Markov model is used for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import one_hot

from emnet.batch import Batch, with_constant
from emnet.estimators.distributions import diagonal_mixture
from emnet.estimators.forecasts import Ahead, ForecastingChain, OnlineFilter
from emnet.estimators.lags import linear_means_ahead, past_of
from emnet.estimators.sequence_estimator import SequenceEstimator, grouped_emission
from emnet.estimators.sequences import pieces
from emnet.estimators.validation import require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.models.semi_markov import MarkovModel

_PIECE_ROWS = 2**20


class FittedNeural(ForecastingChain, SequenceEstimator):
    """Everything but the training."""

    emission: Any
    max_duration: int | None
    weights_: np.ndarray | None

    @abstractmethod
    def _n_lags(self) -> int:
        """Rows before that a row is explained from."""

    @abstractmethod
    def _require_whole_rows(self, X: np.ndarray) -> None:
        """Raise InvalidInputError for holes that the emission cannot take."""

    @abstractmethod
    def _sequences(
        self, X: np.ndarray, lengths: np.ndarray, weights: np.ndarray | None = None, states: np.ndarray | None = None
    ) -> Batch:
        """The batch of checked rows, with their past."""

    @torch.no_grad()
    def _each(self, X: Any, lengths: Any) -> Iterator[tuple[MarkovModel, Batch]]:
        X, lengths = self._check_rows(X, lengths)
        self._require_whole_rows(X)
        for sequences, rows in pieces(lengths, _PIECE_ROWS):
            yield self._best, self._sequences(X[rows], lengths[sequences])

    def _log_scale_of(self, batch: Batch) -> np.ndarray:
        if self.emission == "discriminative":  # a ratio of densities, which has no unit
            return np.zeros(batch.n_units)
        cells = (~batch.target.isnan()).double().cpu().numpy() @ np.log(self.input_scale_)
        ends = np.cumsum(np.asarray(batch.lengths))
        return np.add.reduceat(cells, np.r_[0, ends[:-1]])

    def _n_parameters(self) -> int:
        model = self._best
        tables = [model.start, model.transition, *([] if self.max_duration is None else [model.duration])]
        return sum(table.n_parameters for table in tables) + len(model.emissions["emission"].coordinates())

    def _filled(self, model: Any, batch: Batch) -> np.ndarray:
        emission = model.emissions["emission"]
        if not hasattr(grouped_emission(model), "fill"):
            raise InvalidInputError("A discriminative emission tells states apart and cannot say what rows are.")
        found = emission.fill(emission.prepare(batch.target), model.posterior(batch).responsibilities, batch.given)
        return self._in_units(found)

    def _in_units(self, rows: Tensor) -> np.ndarray:
        return rows.double().cpu().numpy() * self.input_scale_ + self.input_mean_

    def online_filter(self) -> OnlineFilter:
        """A filter of a sequence that comes row after row: `update(rows)` gives p(state | all rows so far)."""
        check_is_fitted(self, "members_")
        return OnlineFilter(self._best, self._next_rows, self._log_scale_of)

    def _next_rows(self, before: np.ndarray | None, rows: Any) -> tuple[Batch, np.ndarray]:
        """Rows of a sequence that goes on, (t, d) or (d,), and the last of them, which the next are explained from."""
        X, _ = self._check_rows(np.atleast_2d(rows), None)
        self._require_whole_rows(X)
        window = X if before is None else np.concatenate((before, X))
        batch = self._sequences(window, np.array([len(window)]))
        given = None if batch.given is None else batch.given[-len(X) :]
        lags = self._n_lags()
        return Batch(batch.target[-len(X) :], given, lengths=torch.tensor([len(X)])), window[
            max(0, len(window) - lags) :
        ]

    @torch.no_grad()
    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw one sequence, (n_samples, d), and its states, (n_samples,). Not of discriminative emissions."""
        check_is_fitted(self, "members_")
        require_positive_integer("n_samples", n_samples)
        generator = self._generator(random_state)
        dtype, device = self._computes_in()
        blank = torch.full((n_samples, self.n_features_in_), torch.nan, dtype=dtype, device=device)
        states = self._best.draw_path(Batch(blank), generator)
        return self._in_units(self._draw_rows(states[None], blank[:0], generator)[0]), states.cpu().numpy()

    def _unseen(self, model: MarkovModel, past: Batch, steps: int) -> Batch:
        blank = past.target.new_full((steps, past.target.shape[1]), torch.nan)
        given = None if past.given is None else past.given.new_zeros(steps, past.given.shape[1])
        return Batch(blank, given, lengths=torch.tensor([steps]))

    def _mean_ahead(self, weights: np.ndarray, at: Tensor, past: Batch) -> np.ndarray | None:
        """Of linear emissions of a chain; networks, and states that last, have no closed form here."""
        if not self._has_closed_m_steps() or self.max_duration is not None:
            return None
        weights_ = torch.as_tensor(self.weights_, device=at.device)
        states, steps = torch.as_tensor(weights, device=at.device), self._best.transition.log_weights().exp()
        before = past.target[-self._n_lags() :].double()
        return self._in_units(linear_means_ahead(weights_, at.exp(), steps, before, states))

    def _draw_ahead(self, states: Tensor, seed: int, past: Batch) -> np.ndarray:
        generator = torch.Generator(device=states.device).manual_seed(seed)
        return self._in_units(self._draw_rows(states, past.target[-self._n_lags() :], generator))

    @torch.no_grad()
    def _distribution_ahead(self, weights: Tensor, ahead: Ahead, n_paths: int) -> Distribution:
        """(1/n) Σ_i Σ_k p(state k | the state before on path i) p(row | k, the rows before on path i)."""
        emission: Any = grouped_emission(self._best)
        weights, steps = weights[:, None], len(weights)
        if not self._n_lags():
            log_weights, means, variances = (part[None] for part in emission.gaussians(None))
        else:
            states, seed = ahead.paths(n_paths)
            given = self._given_of_paths(states, seed, ahead.past)
            found = emission.gaussians(given.flatten(0, 1))
            log_weights, means, variances = (part.unflatten(0, given.shape[:2]) for part in found)
            later = self._weights_after(states).cpu()
            weights = torch.cat((weights[:1].expand(1, n_paths, -1), later)) / n_paths
        if self.shared_states is not None:
            weights = self._best.emissions["emission"].summed(weights.flatten(0, 1)).view(*weights.shape[:2], -1)
        shares = (weights[..., None] * log_weights.exp().cpu()).flatten(1)
        center, scale = torch.as_tensor(self.input_mean_), torch.as_tensor(self.input_scale_)
        means, variances = (part.expand(steps, *part.shape[1:]).flatten(1, 3).cpu() for part in (means, variances))
        return diagonal_mixture(shares, means * scale + center, variances * scale.square())

    def _weights_after(self, states: Tensor) -> Tensor:
        """p(state of a row | the path before), (h − 1, n, k); where states last, the path's own state."""
        if self.max_duration is not None:
            return one_hot(states[:, 1:].T, self.n_components).double()
        return self._best.transition.log_weights().exp()[states[:, :-1].T]  # type: ignore[no-any-return]

    def _given_of_paths(self, states: Tensor, seed: int, past: Batch) -> Tensor:
        """What the rows of paths, (n, h), are explained from, (h, n, 1 + p)."""
        lags, generator = self._n_lags(), torch.Generator(device=states.device).manual_seed(seed)
        before = past.target[-lags:]
        rows = self._draw_rows(states, before, generator)
        whole = torch.cat((before.expand(len(rows), *before.shape), rows), dim=1)
        lengths = torch.full((len(whole),), whole.shape[1])
        given = with_constant(past_of(whole.flatten(0, 1), lengths, lags)).view(*whole.shape[:2], -1)
        return given[:, len(before) :].transpose(0, 1)

    def _draw_rows(self, states: Tensor, before: Tensor, generator: torch.Generator) -> Tensor:
        """Rows of states (samples, h), (samples, h, d): one after another where each is drawn from those `before`."""
        emission, lags = self._best.emissions["emission"], self._n_lags()
        if not hasattr(grouped_emission(self._best), "draw"):
            raise InvalidInputError("A discriminative emission tells states apart and cannot make rows.")
        n, steps = states.shape
        if not lags:
            return emission.draw(states.flatten(), None, generator).view(n, steps, -1)  # type: ignore[operator, no-any-return]
        rows = torch.cat((before, before.new_zeros(steps, before.shape[1]))).repeat(n, 1, 1)
        for now in range(len(before), len(before) + steps):
            window = rows[:, max(0, now - lags) : now + 1]
            lengths = torch.full((n,), window.shape[1])
            given = with_constant(past_of(window.flatten(0, 1), lengths, lags)).view(*window.shape[:2], -1)[:, -1]
            rows[:, now] = emission.draw(states[:, now - len(before)], given, generator)  # type: ignore[operator]
        return rows[:, len(before) :]
