"""What any fitted chain is asked of sequences: paths, posteriors, scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from emnet.batch import Batch
from emnet.estimators.mixture_selection import Selection, select
from emnet.estimators.sequences import joined
from emnet.estimators.validation import require_one_of
from emnet.models.semi_markov import MarkovModel

DECODERS = ("viterbi", "map")


class FittedChain:
    """A subclass says what the model is and how X becomes batches."""

    @abstractmethod
    def _each(self, X: Any, lengths: Any) -> Iterator[tuple[MarkovModel, Batch]]:
        """The model and batch after batch of whole sequences."""

    @abstractmethod
    def _log_scale_of(self, batch: Batch) -> np.ndarray:
        """What scaling adds to the log evidence of each sequence, (s,)."""

    @abstractmethod
    def _n_parameters(self) -> int:
        """Free parameters, as information criteria count them."""

    @abstractmethod
    def _filled(self, model: MarkovModel, batch: Batch) -> np.ndarray:
        """The rows of a batch, (n, d), in the units of the data, with what was not seen filled in."""

    def _decoder(self) -> str:
        """How `decode` finds the states where it is not told."""
        return "viterbi"

    def score(self, X: Any, lengths: Any = None) -> float:
        """log p of all sequences, in nats."""
        return float(self.score_sequences(X, lengths).sum())

    def score_sequences(self, X: Any, lengths: Any = None) -> np.ndarray:
        """log p of each sequence, in nats, (s,): of the forward pass alone."""
        found = [
            model.filter(batch, keep=False).log_evidence.cpu().numpy() - self._log_scale_of(batch)
            for model, batch in self._each(X, lengths)
        ]
        return np.concatenate(found)

    def score_samples(self, X: Any, lengths: Any = None) -> tuple[float, np.ndarray]:
        """log p of all sequences, in nats, and p(state of the row | its sequence), (n, k)."""
        total, posteriors = 0.0, []
        for model, batch in self._each(X, lengths):
            posterior = model.posterior(batch)
            total += float(posterior.log_evidence.sum()) - self._log_scale_of(batch).sum()
            posteriors.append(posterior.responsibilities.cpu().numpy())
        return total, np.concatenate(posteriors)

    def predict_proba(self, X: Any, lengths: Any = None) -> np.ndarray:
        """p(state of the row | its sequence), (n, k)."""
        return self.score_samples(X, lengths)[1]

    def smooth(self, X: Any, lengths: Any = None) -> np.ndarray:
        """The same as `predict_proba`, by the name it has beside `filter`."""
        return self.predict_proba(X, lengths)

    def filter(self, X: Any, lengths: Any = None) -> np.ndarray:
        """p(state of the row | its sequence up to it), (n, k)."""
        found = [model.filter(batch).probabilities for model, batch in self._each(X, lengths)]
        return np.concatenate([part.cpu().numpy() for part in found if part is not None])

    def decode(self, X: Any, lengths: Any = None, algorithm: str | None = None) -> tuple[float, np.ndarray]:
        """The states of the rows, (n,): the most probable path ("viterbi"), or each row's most probable ("map").

        And log p of the path and the rows, or of "map" the sum of the probabilities, as hmmlearn has it.
        """
        algorithm = algorithm or self._decoder()
        require_one_of("algorithm", algorithm, DECODERS)
        if algorithm == "map":
            posteriors = self.predict_proba(X, lengths)
            return float(posteriors.max(axis=1).sum()), posteriors.argmax(axis=1)
        total, paths = 0.0, []
        for model, batch in self._each(X, lengths):
            log_joint, path = model.best_path(batch)
            total += float(log_joint.sum()) - self._log_scale_of(batch).sum()
            paths.append(path.cpu().numpy())
        return total, np.concatenate(paths)

    def impute(self, X: Any, lengths: Any = None) -> np.ndarray:
        """X with what is missing filled given all of its sequence: expectations, of categories the most probable."""
        return np.concatenate([self._filled(model, batch) for model, batch in self._each(X, lengths)])

    def predict(self, X: Any, lengths: Any = None) -> np.ndarray:
        """The states of the rows by the estimator's way of decoding, (n,)."""
        return self.decode(X, lengths)[1]

    def select(
        self, X: Any, lengths: Any = None, *, n_components: Iterable[int] = range(1, 10), criterion: str = "bic"
    ) -> Selection:
        """Fit each number of states, the other parameters as here; see `Selection` for the table and the best model.

        criterion : "bic" or "aic"; the lowest is the best.
        """
        return select(self, joined(X, lengths), {"n_components": n_components}, criterion, ("bic", "aic"))

    def aic(self, X: Any, lengths: Any = None) -> float:
        """Akaike's information criterion, the lower the better: −2 log L + 2 · parameters."""
        return -2 * self.score(X, lengths) + 2 * self._n_parameters()

    def bic(self, X: Any, lengths: Any = None) -> float:
        """Bayesian information criterion, the lower the better: −2 log L + parameters · log rows."""
        rows = len(joined(X, lengths)[0])
        return float(-2 * self.score(X, lengths) + self._n_parameters() * np.log(rows))

    def _log_likelihood(self, X: Any, lengths: Any = None) -> float:
        return self.score(X, lengths)
