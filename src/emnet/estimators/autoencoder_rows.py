"""The data of autoencoders: arrays, tables and streams, checked, coded and measured, and as batches for the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor

from emnet.batch import Batch, Data, MiniBatches
from emnet.data.frames import has_words, is_frame, require_frame
from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream
from emnet.distributed import Group
from emnet.estimators import options
from emnet.estimators.cell_families import CELL_FAMILIES
from emnet.estimators.rebuilding import RebuiltFits
from emnet.estimators.row_coding import RowCoding, as_tensor, coding_of_table, is_mapped, measured, with_units
from emnet.estimators.streaming import StreamedMiniBatches, Survey, survey, witnesses
from emnet.estimators.validation import checked_weights, require_columns_seen, weights_of_some
from emnet.exceptions import InvalidInputError
from emnet.models.autoencoder import Autoencoder

_LEAST_ROWS = 2
_PIECE_ROWS = 2**12
_BYTES_AT_HAND = {"cpu": 2**26, "cuda": 2**31}  # of rows that are made as the model sees them once for all passes


class AutoencoderRows(RebuiltFits[Autoencoder]):
    """What is taken down of the data, and the data as batches."""

    _start_rows = 2**12  # of a stream, of which a start is made
    _rows: RowCoding
    _sees_holes: bool
    _hole_columns: Tensor
    _log_volume: float
    _updates_a_pass: int
    _stays: bool
    _kept_rows: Tensor | None
    _held_rows: Tensor | None

    # -- arrays and tables ------------------------------------------------------------------------------------------

    def _check_rows(self, X: Any, reset: bool) -> np.ndarray:
        """The modeled columns as numbers, (n, d), of the type that they came in where they are numbers."""
        X = self._check_table(X, _LEAST_ROWS if reset else 1, reset)
        if reset:
            self._rows = coding_of_table(self.likelihood, X)
        source = self._rows.source(X)
        self._rows.require_support(source)
        return source

    def _check_table(self, X: Any, least: int, reset: bool) -> Any:
        """A data frame, or an array: of numbers, or where there are words of objects."""
        require_frame(X)
        if not is_frame(X) and not has_words(X):
            X = validate_data(self, X, dtype="numeric", ensure_all_finite=False, ensure_min_samples=least, reset=reset)
            return X.view(np.uint8) if X.dtype == bool else X
        validate_data(self, X, skip_check_array=True, reset=reset)
        if len(X) < least:
            raise InvalidInputError(f"X has {len(X)} rows, and needs at least {least}.")
        return X if is_frame(X) else np.asarray(X, dtype=object)

    def _check_data(self, X: Any, sample_weight: Any, reset: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The same with the rows' weights, None where all are 1; `reset` says that the columns are met first."""
        source = self._check_rows(X, reset)
        if sample_weight is None:
            return source, None
        return source, checked_weights(sample_weight, source)

    def _measure(self, source: np.ndarray, weights: np.ndarray | None) -> None:
        """Take down the centers and scales of the columns, and which have holes."""
        self._rows = measured(self._rows, source, weights, self.standardize)
        self.likelihood_ = self._rows.likelihood
        self._meet_holes(_holes(source))

    def _meet_holes(self, columns: np.ndarray) -> None:
        """Take down which columns have holes; where these are not at random, their families must have expectations."""
        self._hole_columns, self._sees_holes = torch.from_numpy(columns), bool(columns.any())
        if self.missing != "mnar":
            return
        for column, family, has in zip(self._rows.coding.columns, self._rows.families, columns, strict=True):
            traits = CELL_FAMILIES[family]
            if has and (traits.logarithmic or not traits.make(2, "column").has_nodes):
                raise InvalidInputError(
                    f"missing='mnar' is for holes in gaussian or bernoulli columns; {column.name!r} is {family}. "
                    "Give it one of those, of logarithms where need be, or take missing='at_random'."
                )

    def _batch_of_rows(self, source: np.ndarray, weights: np.ndarray | None) -> Batch:
        """The rows where they are."""
        self._updates_a_pass, self._stays = -(-len(source) // int(self.batch_size)), is_mapped(source)
        self._kept_rows = self._held_rows = None
        return Batch(as_tensor(source), weights=None if weights is None else torch.from_numpy(weights))

    def _split(self, batch: Batch, target: np.ndarray, seed: int) -> tuple[Batch, Batch | None]:
        """Which rows are held out; the data are not copied for it."""
        if not self.early_stopping:
            return batch, None
        from sklearn.model_selection import train_test_split

        try:
            kept, held = train_test_split(np.arange(len(batch)), test_size=self.validation_fraction, random_state=seed)
        except ValueError as error:
            raise InvalidInputError(f"early_stopping cannot hold rows out: {error}") from error
        self._kept_rows, self._held_rows = torch.from_numpy(np.sort(kept)), torch.from_numpy(np.sort(held))
        return batch, batch

    def _take_down_volume(self, batch: Batch) -> None:
        """What the change of units takes off the log density of the rows that are learned from."""
        self._log_volume = 0.0
        if not self._rows.is_as_it_is:
            for piece in MiniBatches(batch, _PIECE_ROWS, None, None, self._kept_rows):
                own = self._rows.log_volume(piece.target.numpy())
                self._log_volume += float(own.sum() if piece.weights is None else own @ piece.weights.numpy())

    # -- streams ----------------------------------------------------------------------------------------------------

    def _survey(self, stream: Stream) -> tuple[Batch, Survey]:
        """Take down what a stream holds; the rows that starts are made of."""
        if self.early_stopping:
            raise InvalidInputError("early_stopping is for arrays: of a stream no rows are held out.")
        if not self._continues():
            self._meet(stream)
        self._holes_met = np.zeros(len(self._rows.families), dtype=bool)
        found = survey(stream, self._seen_units, self._start_rows)
        if not self._continues():
            self._measure_stream(found, stream.group)
        self._updates_a_pass = -(-found.n_rows // int(self.batch_size))
        self._kept_rows = self._held_rows = None
        self._log_volume = self._rows.log_volume_of(found.mass, found.mean)
        own, self._stays = found.sample, False
        weights = None if own.weights is None else torch.from_numpy(own.weights)
        return Batch(as_tensor(self._rows.unseen(own.X)), weights=weights), found

    def _meet(self, stream: Stream) -> None:
        """Families and categories by rows that between them have all there are."""
        table = witnesses(stream)
        if table is not None:
            self._rows = coding_of_table(self.likelihood, self._check_table(table, 1, reset=True))

    def _measure_stream(self, found: Survey, group: Group) -> None:
        if found.n_rows < _LEAST_ROWS:
            raise InvalidInputError(f"The stream has n_samples = {found.n_rows}, and needs at least {_LEAST_ROWS}.")
        require_columns_seen(found.mass > 0, lambda j: self._rows.coding.columns[j].name)
        self._rows = with_units(self._rows, found.mean, found.deviation, self.standardize)
        self.likelihood_ = self._rows.likelihood
        self._meet_holes(np.any(group.gathered(self._holes_met), axis=0))

    def _seen_units(self, chunk: Chunk) -> Units:
        """A chunk's rows before they are centered; takes down which columns have holes."""
        units = self._checked_chunk(chunk)
        self._holes_met |= np.isnan(units.X).any(axis=0)
        return Units(self._rows.seen(units.X), None, units.weights)

    def _rows_that_count(self, chunk: Chunk) -> Units:
        source = self._check_rows(chunk.X, reset=False)
        if chunk.weights is None:
            return Units(source)
        weights = weights_of_some(chunk.weights, source)
        return Units(source[weights > 0], None, weights[weights > 0])

    def _batches_of(self, chunk: Chunk) -> list[Batch]:
        units = self._checked_chunk(chunk)
        weights = None if units.weights is None else torch.from_numpy(units.weights)
        return [self._prepared(Batch(as_tensor(units.X), weights=weights))] if len(units.X) else []

    # -- what a pass goes through -----------------------------------------------------------------------------------

    def _data(self, batch: Batch, seed: int) -> Data:
        return self._pieces(batch, seed, int(self.batch_size), self._kept_rows)

    def _pieces(self, batch: Batch, seed: int | None, size: int, among: Tensor | None) -> MiniBatches:
        """Rows in an order that is drawn from the seed, or with None as they are; `among` them, None for all."""
        made = batch.derived(self._at_hand)
        if made is None:
            return MiniBatches(batch, size, seed, self._prepared, among)
        return MiniBatches(made, size, seed, None, among)

    def _streamed(self, stream: Stream, found: Survey, seed: int) -> Data:
        return StreamedMiniBatches(stream, self._batches_of, found, int(self.batch_size), seed)

    def _at_hand(self, batch: Batch) -> Batch | None:
        """The rows as the model sees them, where that takes little memory; a file that is mapped into it is left be."""
        dtype, device = self._computes_in()
        as_they_are = self._rows.is_as_it_is and batch.target.dtype == dtype and batch.target.device == device
        size = batch.target.numel() * dtype.itemsize
        if (self._stays or size > _BYTES_AT_HAND.get(device.type, 0)) and not as_they_are:
            return None
        made = self._prepared(batch)
        return replace(made, complete=not bool(made.target.sum().isnan()))

    def _prepared(self, batch: Batch) -> Batch:
        """Rows of the source as the model sees them."""
        dtype, device = self._computes_in()
        weights = None if batch.weights is None else batch.weights.to(device=device, dtype=dtype)
        return Batch(self._rows.to_model(batch.target, dtype, device), weights=weights)

    def _computes_in(self) -> tuple[torch.dtype, torch.device]:
        members = getattr(self, "members_", None)
        device = next(members[0].decoder.parameters()).device if members else options.choose_device(self.device)
        return options.DTYPES[self.dtype], device


def _holes(source: np.ndarray) -> np.ndarray:
    """Which columns have holes, (d,)."""
    found = np.zeros(source.shape[1], dtype=bool)
    if source.dtype.kind == "f":
        for start in range(0, len(source), _PIECE_ROWS):
            found |= np.isnan(source[start : start + _PIECE_ROWS]).any(axis=0)
    return found
