"""What chains say of rows to come, and of rows that come one after another."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor
from torch.distributions import Distribution

from emnet.batch import Batch
from emnet.estimators.markov_paths import FittedChain
from emnet.estimators.validation import require_levels, require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.models.semi_markov import MarkovModel

_FEWEST_PATHS = 1000  # that stand for what has no closed form


@dataclass(frozen=True)
class Forecast:
    """The rows after a sequence, h steps ahead.

    state_probabilities : (h, k).
    mean : E[row], (h, d); of symbols their probabilities.
    quantiles : (h, levels, d), or None.
    samples : paths, (samples, h, d), or None.
    mean_error : the standard error of `mean` where it is that of the paths, (h, d); None where it is exact.
    """

    state_probabilities: np.ndarray
    mean: np.ndarray
    quantiles: np.ndarray | None
    samples: np.ndarray | None
    mean_error: np.ndarray | None = None
    _distribution: Callable[[], Distribution] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def distribution(self) -> Distribution:
        """p(row h ahead), of batch shape (h,), made when it is asked for.

        Where rows are explained from rows before it is the mean of p(row | rows before) over 1000 paths at least, which
        is exact of the first row.

        Raises InvalidInputError where a row to come has no density that is known; says why.
        """
        if self._distribution is None:
            raise InvalidInputError("What this forecast says of its rows has no density: take its samples.")
        return self._distribution()


@dataclass(frozen=True, eq=False)
class Ahead:
    """The rows to come of one sequence.

    past, future : batches of what is known of it, and of rows of which nothing is.
    at : log p(state of the last known row), as `MarkovModel.advance` has it.
    """

    model: MarkovModel
    past: Batch
    future: Batch
    at: Tensor
    random_state: Any

    def paths(self, n: int) -> tuple[Tensor, int]:
        """States, (n, h), and a seed of what they emit; the same every time where `random_state` is a number."""
        rng = check_random_state(self.random_state)
        generator = torch.Generator(device=self.future.target.device).manual_seed(int(rng.randint(2**31)))
        return draw_states(self.model, self.future, self.at, n, generator), int(rng.randint(2**31))


class OnlineFilter:
    """p(state | all rows so far) of one sequence whose rows come in any portions; the state is kept in between.

    Attributes
    ----------
    log_evidence : log p of all rows so far, in nats.
    probabilities : p(state of the last row | all rows so far), (k,); None before the first.
    """

    def __init__(
        self,
        model: MarkovModel,
        batch_of: Callable[..., tuple[Batch, Any]],
        log_scale_of: Callable[[Batch], np.ndarray],
    ):
        """`batch_of(memory, *rows)` gives the batch, and what has to be remembered of the rows to read the next."""
        self._model, self._batch_of, self._log_scale_of = model, batch_of, log_scale_of
        self._at: Tensor | None = None
        self._memory: Any = None
        self.log_evidence = 0.0
        self.probabilities: np.ndarray | None = None

    @torch.no_grad()
    def update(self, *rows: Any) -> np.ndarray:
        """Take in rows, (t, d), or what stands for them; p(state | rows up to it) of each, (t, k)."""
        batch, memory = self._batch_of(self._memory, *rows)
        found = self._model.advance(batch, self._at)
        self._at, self._memory = found.at, memory
        self.log_evidence += found.log_evidence - float(self._log_scale_of(batch).sum())
        filtered = found.probabilities.cpu().numpy()
        self.probabilities = filtered[-1]
        return filtered


class ForecastingChain(FittedChain):
    """Chains of rows that go on by themselves. A subclass says what is known of rows whose states are known."""

    random_state: Any

    @abstractmethod
    def _unseen(self, model: MarkovModel, past: Batch, steps: int) -> Batch:
        """So many rows after a batch of one sequence, of which nothing is known."""

    @abstractmethod
    def _draw_ahead(self, states: Tensor, seed: int, past: Batch) -> np.ndarray:
        """Rows of states (samples, h) after a batch of one sequence, in the units of the data: (samples, h, d)."""

    def _mean_ahead(self, weights: np.ndarray, at: Tensor, past: Batch) -> np.ndarray | None:
        """E[row] under weights of the states, (h, k), after `at`: (h, d); None where it has no closed form."""
        return None

    def _quantiles_ahead(self, weights: np.ndarray, levels: np.ndarray) -> np.ndarray | None:
        """Of mixtures of the states with weights (h, k): (h, l, d); None where they have no closed form."""
        return None

    @abstractmethod
    def _distribution_ahead(self, weights: Tensor, ahead: Ahead, n_paths: int) -> Distribution:
        """Of mixtures of the states with weights (h, k), or where that depends on rows to come over so many paths.

        Raises InvalidInputError where there is none.
        """

    @torch.no_grad()
    def forecast(
        self,
        X: Any,
        steps: int = 1,
        *,
        quantiles: Sequence[float] = (),
        n_samples: int = 0,
        random_state: Any = None,
    ) -> Forecast:
        """What comes after the sequence X: see `Forecast`.

        Where mean and quantiles have no closed form they are those of the paths, of which there are then 1000 at least.

        Parameters
        ----------
        steps : how far to look ahead.
        quantiles : levels between 0 and 1.
        n_samples : paths to draw.
        """
        require_positive_integer("steps", steps)
        levels = require_levels(quantiles)
        model, past = self._single(X)
        at, future = model.advance(past).at, self._unseen(model, past, steps)
        weights = model.advance(future, at).probabilities.cpu().numpy()
        mean = self._mean_ahead(weights, at, past)
        found = self._quantiles_ahead(weights, levels) if len(levels) else None
        paths = None
        ahead = Ahead(model, past, future, at, self.random_state if random_state is None else random_state)
        if (n := self._n_paths(n_samples, mean is None or (found is None and len(levels) > 0))) > 0:
            paths = self._draw_ahead(*ahead.paths(n), past)
            found = _quantiles_of(paths, levels) if found is None and len(levels) else found
        error = None
        if mean is None:
            assert paths is not None
            mean, error = paths.mean(0), paths.std(0, ddof=1) / len(paths) ** 0.5
        n_paths = self._n_paths(n_samples, True)
        whole = partial(self._distribution_ahead, torch.as_tensor(weights), ahead, n_paths)
        return Forecast(weights, mean, found, paths, error, whole)

    def _n_paths(self, asked: int, needed: bool) -> int:
        if asked:
            require_positive_integer("n_samples", asked)
        return max(asked, _FEWEST_PATHS) if needed else asked

    def _single(self, X: Any) -> tuple[MarkovModel, Batch]:
        """The model, and the batch of what has to be one sequence."""
        found = list(self._each(X, None))
        if len(found) > 1 or found[0][1].n_units > 1:
            raise InvalidInputError(
                f"A forecast goes on from one sequence; X holds {sum(batch.n_units for _, batch in found)}. Ask for "
                "them one by one."
            )
        return found[0]


def draw_states(model: MarkovModel, future: Batch, at: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """States of n paths over the rows of a batch of one sequence, after what `at` says: (n, h)."""
    copies = future.units(torch.zeros(n, dtype=torch.int64))
    return model.draw_path(copies, generator, at).view(n, -1)


def _quantiles_of(paths: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """(samples, h, d) → (h, l, d)."""
    return np.moveaxis(np.quantile(paths, levels, axis=0), 0, 1)
