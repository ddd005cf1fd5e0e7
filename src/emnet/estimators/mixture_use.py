"""What any fitted mixture is used for: components, densities, criteria."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_is_fitted

from emnet.batch import Batch
from emnet.data.stream import Stream
from emnet.estimators import options
from emnet.estimators.onnx_file import OnnxFile, Program, column_names, standardized
from emnet.estimators.stream_passes import end_to_end, weights_of
from emnet.estimators.streaming import require_alone
from emnet.estimators.validation import weighted_sum
from emnet.exceptions import InvalidInputError
from emnet.models.mixture import Mixture
from emnet.models.portable import PosteriorOfStates
from emnet.posteriors import Discrete

_FEWEST_ROWS, _MOST_ROWS = 2**12, 2**17  # of a batch, whose responsibilities are in memory at a time
_BATCH_BYTES = 2**25  # of them: of smaller batches threads wait for each other more often than they find in cache


class FittedMixture(OnnxFile, DensityMixin, BaseEstimator):
    """What reads a mixture and its rows, and no more of either than all mixtures have."""

    weights_: np.ndarray
    n_components: int
    dtype: str
    device: str
    _center: Any = 0.0  # of the columns, subtracted before anything is computed
    _scale: Any = 1.0  # by which they are then divided
    _n_free: int

    @abstractmethod
    def _fitted_model(self) -> Mixture:
        """The mixture of centered and scaled rows that the published attributes stand for."""

    @abstractmethod
    def _check_rows(self, X: Any, reset: bool) -> np.ndarray:
        """X as numbers, (n, d), NaN for what is missing; `reset` says whether they are to be fitted."""

    @abstractmethod
    def _draw_rows(self, n: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Rows as `_check_rows` gives them, (n, d), and their components, (n,)."""

    def _read(self, stream: Stream) -> Stream:
        """The stream as its chunks are to come."""
        return stream

    def _summed(self, X: Any, wanted: Callable[[Any], np.ndarray], sample_weight: Any) -> tuple[float, float]:
        """`weighted_sum` of wanted(X), of a stream chunk by chunk, which brings its own weights."""
        if isinstance(X, Stream):
            require_alone(None, sample_weight)
            X = self._read(X)
            sample_weight = weights_of(X)
        return weighted_sum(end_to_end(X, wanted), sample_weight)

    def _n_parameters(self) -> int:
        """Free parameters of the model."""
        return self._n_free

    def predict(self, X: Any) -> np.ndarray:
        """The most probable component of each row given what is there of it, (n,); see `predict_proba`."""
        return self._each(X, lambda batch, posterior: posterior.responsibilities.argmax(1))

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(component | what is there of the row), (n, k); the weights of a row whose `score_samples` is −∞."""
        return self._each(X, lambda batch, posterior: posterior.responsibilities)

    def without_components(self, which: np.ndarray) -> Self:
        """A copy in which those components, (k,) of booleans, have weight 0, and the others theirs in proportion.

        Raises InvalidInputError unless one with a weight remains.
        """
        check_is_fitted(self)
        if np.shape(which) != self.weights_.shape:
            raise InvalidInputError(f"which must be {self.weights_.shape} booleans; it is {np.shape(which)}.")
        weights = np.where(which, 0.0, self.weights_)
        if not weights.sum() > 0:
            raise InvalidInputError("which must leave a component that has a weight; it names all of them.")
        kept = copy(self)
        kept.weights_ = (weights / weights.sum()).astype(self.weights_.dtype)
        return kept

    def score_samples(self, X: Any) -> np.ndarray:
        """log p of what is there of each row, in nats, (n,); 0 of a row with nothing.

        It is −∞ of a row that no component allows, or that is so far from all that float64 cannot hold its distance.
        """
        check_is_fitted(self)
        return self._log_densities(self._check_rows(X, reset=False))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Mean log-likelihood of a row, in nats; with weights, (n,), of all that the rows count for."""
        total, rows = weighted_sum(self.score_samples(X), sample_weight)
        return total / rows

    def _log_likelihood(self, X: Any, sample_weight: Any = None) -> float:
        return self._summed(X, self.score_samples, sample_weight)[0]

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """Bayesian information criterion of rows or a stream, the lower the better: −2 log L + parameters · log n.

        With weights, (n,), a row counts as so many, in n too: let shares add up to the number of rows.
        """
        total, rows = self._summed(X, self.score_samples, sample_weight)
        return float(-2 * total + self._n_parameters() * np.log(rows))

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike's information criterion, the lower the better: −2 log L + 2 · parameters; weights as in `bic`."""
        return -2 * self._log_likelihood(X, sample_weight) + 2 * self._n_parameters()

    def icl(self, X: Any, sample_weight: Any = None) -> float:
        """Integrated completed likelihood (Biernacki, Celeux & Govaert 2000), the lower the better.

        BIC − 2 Σ_j log max_k p(k | x_j): clusters that overlap are paid for. Weights as in `bic`.
        """
        largest, _ = self._summed(X, lambda rows: np.log(self.predict_proba(rows).max(axis=1)), sample_weight)
        return self.bic(X, sample_weight) - 2 * largest

    def _programs(self) -> Mapping[str, Callable[[], Program]]:
        return {"responsibilities": self._program}

    def _program(self) -> Program:
        columns, notes = self._columns_and_notes()
        then = PosteriorOfStates(self._fitted_model())
        module = standardized(then, self._center, self._scale, len(columns), options.DTYPES[self.dtype])
        return Program(module, columns, notes)

    def _columns_and_notes(self) -> tuple[list[Any], dict[str, Any]]:
        """The names of the columns as the model takes them, and what else a user of an ONNX file has to know."""
        return column_names(self), {}

    def _log_densities(self, X: np.ndarray) -> np.ndarray:
        """log p of what is there of rows that have been checked, (n,)."""
        units = torch.as_tensor(np.log(self._scale))

        def density(batch: Batch, posterior: Discrete) -> torch.Tensor:
            return posterior.log_evidence - (~batch.target.isnan() * units.to(batch.target.device)).sum(1)

        return self._of_rows(X, density)

    def _each(self, X: Any, wanted: Callable[[Batch, Discrete], torch.Tensor]) -> np.ndarray:
        """What is wanted of the posterior of batch after batch, end to end."""
        check_is_fitted(self)
        return self._of_rows(self._check_rows(X, reset=False), wanted)

    @torch.no_grad()
    def _of_rows(self, X: np.ndarray, wanted: Callable[[Batch, Discrete], torch.Tensor]) -> np.ndarray:
        """What is wanted of batch after batch; rows whose densities float32 cannot hold are done again in float64."""
        model = self._fitted_model().to(options.choose_device(self.device))
        found: list[np.ndarray] = []
        done = 0
        with options.few_threads(X.size * len(self.weights_)):
            for batch in self._batches(X):
                posterior, lost = self._answered(model.posterior(batch))
                part = wanted(batch, posterior)
                if len(lost) and batch.target.dtype != torch.float64:
                    again = next(self._batches(X[done + lost.cpu().numpy()], dtype=torch.float64))
                    part[lost] = wanted(again, self._answered(model.posterior(again))[0]).to(part)
                found.append(part.cpu().numpy())
                done += len(batch)
        return np.concatenate(found)

    def _answered(self, posterior: Discrete) -> tuple[Discrete, torch.Tensor]:
        """The posterior, and which rows have no density in numbers: log p is −∞ there, and p(component) the weights."""
        lost = torch.nonzero(posterior.log_evidence.isnan())[:, 0]
        if len(lost):
            posterior.log_evidence[lost] = -torch.inf
            posterior.responsibilities[lost] = torch.as_tensor(self.weights_).to(posterior.responsibilities)
        return posterior, lost

    def _batches(
        self,
        X: np.ndarray,
        weights: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        dtype: torch.dtype | None = None,
    ) -> Iterator[Batch]:
        """Centered rows in batches on the device, in the estimator's type or another; centered in float64."""
        dtype, device = dtype or options.DTYPES[self.dtype], options.choose_device(self.device)
        most = min(_MOST_ROWS, max(_FEWEST_ROWS, _BATCH_BYTES // (self.n_components * dtype.itemsize)))
        size = math.ceil(len(X) / math.ceil(len(X) / most)) if len(X) else most  # alike, without a small rest
        for start in range(0, len(X), size):
            rows = slice(start, start + size)
            centered = X[rows] - self._center
            if np.any(self._scale != 1.0):
                centered /= self._scale
            target = torch.as_tensor(centered, dtype=dtype, device=device)
            yield Batch(
                target,
                weights=None if weights is None else torch.as_tensor(weights[rows], dtype=dtype, device=device),
                labels=None if labels is None else torch.as_tensor(labels[rows], device=device),
            )
