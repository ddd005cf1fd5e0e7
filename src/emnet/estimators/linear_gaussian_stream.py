"""The rows of a stream as linear Gaussian models take them: checked, measured, scaled, and in sums."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream
from emnet.estimators import linear_gaussian_rows as closed_form
from emnet.estimators.linear_gaussian_use import FittedLinearGaussian
from emnet.estimators.streaming import Survey, naming_the_rows
from emnet.estimators.validation import weights_of_some
from emnet.exceptions import InvalidInputError

LEAST_ROWS = 2


class StreamedLinearGaussian(FittedLinearGaussian):
    """To be learned from; a subclass says how columns are scaled, and which it must refuse."""

    @abstractmethod
    def _measure(self, center: np.ndarray, deviations: np.ndarray) -> None:
        """Take down the center and scale of the columns, whose standard deviations are those, 0 of constant ones."""

    @abstractmethod
    def _require_seen(self, seen: np.ndarray) -> None:
        """Raise InvalidInputError for a column with nothing but NaN; (d,) says which have more."""

    def _meet(self, stream: Stream) -> None:
        """Take down the columns of a stream, from its first chunk."""
        first = next((chunk for chunk in stream if len(chunk)), None)
        if first is None:
            return
        with naming_the_rows(first):
            self._check_rows(first.X, reset=True)
        if first.names is not None:
            self.feature_names_in_ = np.array(first.names, dtype=object)

    def _checked_chunk(self, chunk: Chunk) -> Units:
        with naming_the_rows(chunk):
            X = self._check_rows(chunk.X)
            weights = weights_of_some(chunk.weights, X)
            return Units(X[weights > 0], None, weights[weights > 0])

    def _measure_stream(self, found: Survey) -> None:
        if found.n_rows < LEAST_ROWS:
            raise InvalidInputError(f"The stream has n_samples = {found.n_rows}, and needs at least {LEAST_ROWS}.")
        self._require_seen(found.mass > 0)
        self._measure(found.mean, found.deviation)

    def _pair_sums(self, stream: Stream) -> closed_form.PairSums:
        """A pass."""
        blocks: dict[int, closed_form.PairSums] = {}
        for chunk in stream:
            own = closed_form.pair_sums(*self._scaled_chunk(chunk))
            blocks[chunk.block] = blocks[chunk.block] + own if chunk.block in blocks else own
        return stream.group.combined(blocks, stream.blocks)

    def _scaled_chunk(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        units = self._checked_chunk(chunk)
        return (units.X - self._center) / self._scale, units.row_weights()

    def _condensed_chunk(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        return closed_form.condensed(*self._scaled_chunk(chunk))
