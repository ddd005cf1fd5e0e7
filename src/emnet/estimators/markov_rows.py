"""What a hidden Markov model says of each row given the other rows of its sequence, and of its missing cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.utils import check_random_state
from torch import Tensor
from torch.nn.functional import one_hot

from emnet.batch import Batch
from emnet.estimators.markov_paths import FittedChain
from emnet.exceptions import InvalidInputError
from emnet.models.semi_markov import MarkovModel


class RowsOfSequences(FittedChain):
    """Rows one by one, of chains whose states have no durations."""

    startprob_: np.ndarray
    transmat_: np.ndarray
    max_duration: int | None
    device: str
    _center: Any
    _scale: Any

    def impute(self, X: Any, lengths: Any = None, return_std: bool = False) -> Any:
        """X with what is missing filled given all of its sequence: expectations, of categories the most probable.

        With `return_std` also the standard deviation of each filled cell, (n, d): 0 where X has a value.
        """
        filled = super().impute(X, lengths)
        if not return_std:
            return filled

        def unsure(model: MarkovModel, batch: Batch) -> np.ndarray:
            shares = model.posterior(batch).responsibilities
            found: Tensor = model.emissions["emission"].uncertainty(batch.target, shares)
            return found.cpu().numpy() * self._scale

        return filled, self._of_batches(X, lengths, unsure)

    def sample_missing(self, X: Any, lengths: Any = None, random_state: Any = None) -> np.ndarray:
        """X with a draw from p(what is missing | what is there of the sequence), (n, d).

        First a path of states is drawn, then the cells given it. Draws are independent of one another.
        """
        self._require_plain()
        rng = check_random_state(random_state)

        def drawn(model: MarkovModel, batch: Batch) -> np.ndarray:
            emission = model.emissions["emission"]
            path = draw_paths(_likelihoods(model, batch), _lengths(batch), self.startprob_, self.transmat_, rng)
            shares = one_hot(torch.as_tensor(path), self.transmat_.shape[0]).double().to(batch.target.device)
            generator = torch.Generator(batch.target.device).manual_seed(int(rng.randint(2**31)))
            cells: Tensor = emission.draw_missing(batch.target, shares, generator)
            return cells.cpu().numpy() * self._scale + self._center

        return self._of_batches(X, lengths, drawn)

    def score_rows(self, X: Any, lengths: Any = None) -> np.ndarray:
        """log p(row | the other rows of its sequence), (n,), in nats; 0 of a row with nothing."""
        self._require_plain()

        def scored(model: MarkovModel, batch: Batch) -> np.ndarray:
            found = self._given_others(model, batch, batch)
            cells = (~batch.target.isnan()).double().sum(1).cpu().numpy()
            return found - cells * np.log(self._scale)

        return self._of_batches(X, lengths, scored)

    def surprise_rows(self, X: Any, lengths: Any = None) -> np.ndarray:
        """−log p(cell | all other cells of its sequence), in nats, (n, d); 0 of what is missing."""
        self._require_plain()

        def surprising(model: MarkovModel, batch: Batch) -> np.ndarray:
            whole = self._given_others(model, batch, batch)
            without = [self._given_others(model, batch, _without(batch, j)) for j in range(batch.target.shape[1])]
            scale = (~batch.target.isnan()).double().cpu().numpy() * np.log(self._scale)
            return np.stack(without, axis=1) - whole[:, None] + scale

        return self._of_batches(X, lengths, surprising)

    def _given_others(self, model: MarkovModel, batch: Batch, own: Batch) -> np.ndarray:
        """log p of the rows of `own`, each given the other rows of the batch, (n,)."""
        others = without_own_row(_likelihoods(model, batch), _lengths(batch), self.startprob_, self.transmat_)
        with np.errstate(divide="ignore"):
            found: np.ndarray = logsumexp(np.log(others) + _likelihoods(model, own), axis=1)
        return found

    def _of_batches(self, X: Any, lengths: Any, wanted: Callable[[MarkovModel, Batch], np.ndarray]) -> np.ndarray:
        return np.concatenate([wanted(model, batch) for model, batch in self._each(X, lengths)])

    def _require_plain(self) -> None:
        if self.max_duration is not None:
            raise InvalidInputError("Rows one by one are for states without durations; leave max_duration out.")


def without_own_row(
    log_likelihood: np.ndarray, lengths: np.ndarray, start: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """p(state of the row | the other rows of its sequence), (n, k).

    The product of what comes from before and what comes from behind, without the row's own likelihood, so that
    nothing of a row that is next to impossible has to be divided out.
    """
    likelihood = _scaled(log_likelihood)
    before, behind = np.empty_like(likelihood), np.empty_like(likelihood)
    for rows in _sequences(lengths):
        message = start
        for t in rows:
            before[t] = message
            message = _normalized(message * likelihood[t]) @ steps
        message = np.ones_like(start)
        for t in reversed(rows):
            behind[t] = message
            message = _normalized(steps @ (message * likelihood[t]))
    product = before * behind
    found: np.ndarray = product / product.sum(axis=1, keepdims=True)
    return found


def draw_paths(
    log_likelihood: np.ndarray,
    lengths: np.ndarray,
    start: np.ndarray,
    steps: np.ndarray,
    rng: np.random.RandomState,
) -> np.ndarray:
    """States of all rows drawn from p(path | rows): filtered forwards, drawn backwards (Chib 1996). (n,)."""
    likelihood = _scaled(log_likelihood)
    path = np.empty(len(likelihood), dtype=np.int64)
    uniform = rng.random_sample(len(likelihood))
    for rows in _sequences(lengths):
        message, filtered = start, {}
        for t in rows:
            filtered[t] = _normalized(message * likelihood[t])
            message = filtered[t] @ steps
        chance = filtered[rows[-1]]
        for t in reversed(rows):
            path[t] = min(int(np.searchsorted(chance.cumsum(), uniform[t], side="right")), len(start) - 1)
            if t > rows[0]:
                chance = _normalized(filtered[t - 1] * steps[:, path[t]])
    return path


def _sequences(lengths: np.ndarray) -> list[range]:
    ends = np.cumsum(lengths)
    return [range(end - length, end) for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]


def _scaled(log_likelihood: np.ndarray) -> np.ndarray:
    """Likelihoods of each row over its largest."""
    found: np.ndarray = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    return found


def _normalized(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()  # type: ignore[no-any-return]


def _likelihoods(model: MarkovModel, batch: Batch) -> np.ndarray:
    found: np.ndarray = model.log_likelihood(batch).double().cpu().numpy()
    return found


def _lengths(batch: Batch) -> np.ndarray:
    return np.asarray(batch.lengths)


def _without(batch: Batch, column: int) -> Batch:
    target = batch.target.clone()
    target[:, column] = torch.nan
    return Batch(target, lengths=batch.lengths)
