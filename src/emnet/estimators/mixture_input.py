"""What mixtures check of the parameters, rows, weights and labels that they are given."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from emnet.algorithms.base import Callback
from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream, place_of_infinity
from emnet.estimators import mixture_start, options
from emnet.estimators.known_components import require_labels, tells_of_components
from emnet.estimators.mixture_use import FittedMixture
from emnet.estimators.streaming import Survey
from emnet.estimators.validation import (
    checked_weights,
    require_callbacks,
    require_columns_seen,
    require_concentration,
    require_flag,
    require_not_negative,
    require_one_of,
    require_positive_integer,
    require_verbosity,
    require_whole_number,
    weights_of_some,
)
from emnet.exceptions import InvalidInputError, TooFewRowsError


class CheckedMixture(FittedMixture):
    """The parameters that all mixtures have, and their data, in words where they cannot be used."""

    n_components: int
    tol: float
    max_iter: int
    n_init: int
    init_params: str
    warm_start: bool
    verbose: int
    verbose_interval: int
    algorithm: Any
    weight_concentration: Any
    fixed: Collection[Any]
    labels: str | bool
    random_state: Any
    callbacks: Iterable[Callback]

    def _check_common_parameters(self) -> None:
        for name in ("n_components", "n_init", "verbose_interval"):
            require_positive_integer(name, getattr(self, name))
        require_not_negative("tol", self.tol)
        require_flag("warm_start", self.warm_start)
        require_verbosity(self.verbose)
        require_whole_number("max_iter", self.max_iter, 0)
        require_concentration(self.weight_concentration, self.n_components)
        require_one_of("init_params", self.init_params, tuple(mixture_start.STARTS))
        require_one_of("labels", self.labels, ("auto", True, False))
        require_one_of("dtype", self.dtype, tuple(options.DTYPES))
        require_callbacks(self.callbacks)
        if isinstance(self.fixed, str) or not isinstance(self.fixed, Collection):
            raise InvalidInputError(f"fixed must be a list or tuple of names; got {self.fixed!r}.")
        options.choose_device(self.device)
        options.choose_mixture_algorithm(self.algorithm, self.tol)

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, first: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Rows that count, their weights and labels."""
        X = self._check_rows(X, reset=first)
        labels = self._check_labels(y, len(X))
        weights = self._check_weights(sample_weight, X)
        if weights is not None and not (weights > 0).all():
            seen = weights > 0
            X, weights, labels = X[seen], weights[seen], None if labels is None else labels[seen]
        if first:
            self._require_rows(len(X), weights)
            require_columns_seen(~np.isnan(X).all(axis=0), self._column_name)
        return X, weights, labels

    def _meet(self, stream: Stream) -> None:
        """Take down the columns of a stream, from its first chunk."""
        first = next((chunk for chunk in stream if len(chunk)), None)
        if first is not None:
            self._check_rows(np.repeat(first.X[:1], 2, axis=0), reset=True)  # of two rows, as a fit needs at least
            if first.names is not None:
                self.feature_names_in_ = np.array(first.names, dtype=object)

    def _checked_chunk(self, chunk: Chunk) -> Units:
        """Rows of a chunk that count, and their weights and labels."""
        try:
            return self._rows_that_count(chunk)
        except ValueError as error:  # scikit-learn's among them
            raise InvalidInputError(f"{chunk.label}: {place_of_infinity(chunk)}{error}") from error

    def _rows_that_count(self, chunk: Chunk) -> Units:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names")  # they are the stream's
            X = self._check_rows(chunk.X, reset=False)
        labels = None
        if chunk.y is not None and self.labels is not False:
            labels = require_labels(chunk.y, len(X), self.n_components)
        if chunk.weights is None:
            return Units(X, labels)
        weights = weights_of_some(chunk.weights, X)
        seen = weights > 0
        return Units(X[seen], None if labels is None else labels[seen], weights[seen])

    def _require_survey(self, found: Survey) -> None:
        self._require_rows(found.n_rows, found.sample.weights)
        require_columns_seen(found.mass > 0, self._column_name)

    def _require_rows(self, n: int, weights: np.ndarray | None) -> None:
        if n < self.n_components:
            raise TooFewRowsError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, n_samples = {n}"
                f"{'' if weights is None else ' with a weight above 0'}"
            )

    def _column_name(self, position: int) -> Any:
        """Of a checked column, as the user knows it."""
        names = getattr(self, "feature_names_in_", None)
        return position if names is None else names[position]

    def _check_weights(self, sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
        if sample_weight is None:
            return None
        return checked_weights(sample_weight, X)

    def _check_labels(self, y: Any, n: int) -> np.ndarray | None:
        k = self.n_components
        if y is None or self.labels is False or (self.labels == "auto" and not tells_of_components(y, n, k)):
            return None
        return require_labels(y, n, k)

    def _log_scale_of(self, X: np.ndarray, weights: np.ndarray | None) -> float:
        """What scaling adds to the log evidence of the data: log scale for each weighted cell."""
        if np.all(self._scale == 1.0):
            return 0.0
        seen = ~np.isnan(X)
        cells = seen.sum(axis=0) if weights is None else weights @ seen
        return float((cells * np.log(self._scale)).sum())
