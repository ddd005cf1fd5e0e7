"""How estimators that run from several starts take a stream: starts from a sample of it, statistics from all of it."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from emnet.algorithms.adam import Adam
from emnet.algorithms.gradient import LBFGS
from emnet.batch import Batch
from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream
from emnet.estimators import options
from emnet.estimators.iterative import IterativeEstimator
from emnet.estimators.iterative_results import M
from emnet.estimators.streaming import StreamedBatches, Survey, naming_the_rows, survey
from emnet.estimators.validation import merge_repeated_rows
from emnet.exceptions import InvalidInputError
from emnet.factors.neural import NetworkMStep

NO_TARGETS = "The stream has no targets: name their column, emnet.stream(…, target=…), or give batches (X, y)."


class StreamedFits(IterativeEstimator[M]):
    """The fit to a stream. A subclass says what the units of a chunk are."""

    n_features_in_: int
    m_step: Any = "auto"
    _needs_targets = True
    _streams = False  # whether statistics must be constant in size

    def _fit_stream(self, stream: Stream) -> Self:
        """Fit to a stream: starts from a sample of it, statistics from all of it."""
        self._require_streamable()
        self._meet(stream)
        found = survey(stream, self._checked_chunk)
        if not self._continues():
            self._standardize_stream(found)
        self.prior_ = self._resolve_prior(self.n_features_in_)
        train = self._batch_of_sample(self._as_fitted(found.sample))
        data = StreamedBatches(stream, self._batches_of, found)
        self._streams = True
        try:
            return self._fit_starts(train, None, self._seeds(stream.group), None, None, data)
        finally:
            self._streams = False

    def _m_step_for_data(self) -> Any:
        """`m_step`; of a stream "auto" is the fixed bound, which needs no rows."""
        auto = isinstance(self.m_step, str) and self.m_step == "auto"
        return "mm" if auto and self._streams else self.m_step

    def _network_m_step(self) -> NetworkMStep:
        """That of networks; an algorithm by gradients keeps no rows of a stream."""
        by_gradients = isinstance(self._algorithm(0), (LBFGS, Adam))
        return options.choose_network_m_step(self.m_step, has_rows=not (self._streams and by_gradients))

    def _require_streamable(self) -> None:
        for name in ("early_stopping", "batch_size"):
            if getattr(self, name):
                raise InvalidInputError(
                    f"{name} is for arrays: a stream has batches of its own (batch_rows=), and none is held out."
                )

    def _meet(self, stream: Stream) -> None:
        """Take down the columns of a stream, from its first chunk, and what its targets are."""
        first = next((chunk for chunk in stream if len(chunk)), None)
        if first is None:
            return
        if first.y is None and self._needs_targets:
            raise InvalidInputError(NO_TARGETS)
        self._check_features(first.X, np.zeros(len(first)), reset=not self._continues())
        if first.names is not None:
            self.feature_names_in_ = np.array(first.names, dtype=object)

    def _checked_chunk(self, chunk: Chunk) -> Units:
        """Rows of a chunk that count, with their targets and weights."""
        with naming_the_rows(chunk):
            return self._rows_that_count(chunk)

    def _rows_that_count(self, chunk: Chunk) -> Units:
        """The same, by the kind of the targets: for subclasses."""
        raise NotImplementedError(f"{type(self).__name__} does not say which rows of a stream count.")

    def _as_fitted(self, units: Units) -> Units:
        """Units with their targets as the model has them."""
        return units

    def _standardize_stream(self, found: Survey) -> None:
        p = self.n_features_in_
        constant = (found.deviation == 0) | (not self.standardize)
        self.input_mean_ = found.mean[:p] if self.standardize else np.zeros(p)
        self.input_scale_ = np.where(constant, 1.0, found.deviation)[:p]

    def _batches_of(self, chunk: Chunk) -> list[Batch]:
        units = self._checked_chunk(chunk)
        return [self._batch_of(self._as_fitted(units))] if len(units.X) else []

    def _batch_of(self, units: Any) -> Batch:
        return self._batch(units.X, units.target, units.weights)

    def _batch_of_sample(self, units: Any) -> Batch:
        """What starts are made of."""
        return self._batch(*merge_repeated_rows(units.X, units.target, units.weights))
