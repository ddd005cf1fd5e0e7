"""What estimators take down of a stream before they fit it, and the stream as batches."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from emnet.batch import Batch, Batches, Derived, joined
from emnet.data.prefetch import prefetched
from emnet.data.sample import Sample, Units
from emnet.data.stream import Chunk, Stream, place_of_infinity
from emnet.distributed import Group
from emnet.exceptions import InvalidInputError
from emnet.kernels import sampling
from emnet.statistics import Moments

SAMPLE_ROWS = 2**15  # of which starts are made, by k-means among others
_CONSTANT = 10 * np.finfo(np.float64).eps  # of a column's reach: the deviation that rounding leaves of a constant
_MOST_VALUES = 1000  # of a column of numbers that are looked at: a category has fewer
NO_ROWS = "The stream has no rows of a weight above 0."

Checked = Callable[[Chunk], Units]
"""A chunk as numbers that have been checked, without units of weight 0."""


@dataclass(frozen=True)
class Survey:
    """What a stream holds, by two passes over it.

    sample : at most `SAMPLE_ROWS` rows of it, and those that are wanted, in order; a stream of fewer is all there.
    n_rows, total_weight : of its rows, and of its units: rows, or sequences.
    own_rows, n_batches : of this process.
    reach, mass, mean, deviation : (d,), of what is there of each column the largest |x|, the weight, the weighted mean
        and standard deviation, 0 of a constant; of a column with nothing in it reach and mass are 0.
    """

    sample: Units
    n_rows: int
    total_weight: float
    own_rows: int
    n_batches: int
    reach: np.ndarray
    mass: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True, eq=False)
class ColumnSums(Moments):
    """Σ w, and with u = (x − c) / reach Σ w u and Σ w u² of what is there of each column; and Σ w of the units."""

    mass: Tensor  # (d,), as the next two
    first: Tensor
    second: Tensor
    weight: Tensor  # (1,)


def survey(
    stream: Stream,
    checked: Checked,
    sample_rows: int | None = None,
    wanted: Callable[[Units], np.ndarray | None] = lambda units: None,
) -> Survey:
    """Two passes: how far the numbers reach and a sample; and then moments about the sample's means.

    Which units are `wanted`, (units,), the sample has even where they are few: see `Sample`.
    """
    require_same_pieces(stream)
    sample, reach, n_rows, n_batches = Sample(sample_rows or SAMPLE_ROWS), None, 0, 0
    for chunk in stream:
        units = checked(chunk)
        if not len(units.X):
            continue
        sample.offer(units, chunk.place, wanted(units))
        own = np.abs(np.nan_to_num(units.X)).max(axis=0)
        reach = own if reach is None else np.maximum(reach, own)
        n_rows, n_batches = n_rows + len(units.X), n_batches + 1
    found = stream.group.gathered((n_rows, reach))
    _require_rows_for_all([rows for rows, _ in found], stream)
    reach = np.max([each for _, each in found], axis=0)
    whole = sample.of_all(stream.group)
    unit, center = np.where(reach > 0, reach, 1.0), _means(whole)
    sums = _column_sums(stream, checked, unit, center)
    if not float(sums.weight) > 0:
        raise InvalidInputError(NO_ROWS)
    mass = sums.mass.numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.nan_to_num(sums.first.numpy() / mass)
        deviation = np.sqrt(np.maximum(np.nan_to_num(sums.second.numpy() / mass) - away**2, 0.0))
    deviation = np.where(deviation <= _CONSTANT, 0.0, deviation) * unit
    total, mean = sum(rows for rows, _ in found), center + away * unit
    return Survey(whole, total, float(sums.weight), n_rows, n_batches, reach, mass, mean, deviation)


def _means(units: Units) -> np.ndarray:
    """About what is there of each column, 0 where nothing is; exact of a constant."""
    seen = ~np.isnan(units.X)
    first = np.array([column[own][0] if own.any() else 0.0 for column, own in zip(units.X.T, seen.T, strict=True)])
    away = np.where(seen, units.X / 2 - first / 2, 0.0)  # halves: differences of what is near the largest numbers
    return first + 2 * (away.sum(axis=0) / np.maximum(seen.sum(axis=0), 1))


def _column_sums(stream: Stream, checked: Checked, unit: np.ndarray, center: np.ndarray) -> ColumnSums:
    blocks: dict[int, ColumnSums] = {}
    for chunk in stream:
        units = checked(chunk)
        if not len(units.X):
            continue
        seen, weights = ~np.isnan(units.X), units.row_weights()
        away = np.where(seen, units.X / unit - center / unit, 0.0)
        parts = (weights @ seen, weights @ away, weights @ away**2, np.array([units.total_weight]))
        own = ColumnSums(*map(torch.from_numpy, parts))
        blocks[chunk.block] = blocks[chunk.block] + own if chunk.block in blocks else own
    return stream.group.combined(blocks, stream.blocks)


@contextmanager
def naming_the_rows(chunk: Chunk) -> Iterator[None]:
    """What the block finds wrong with a chunk's rows is told with the place where they are."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names")  # they are the stream's
            yield
    except ValueError as error:  # scikit-learn's among them
        raise InvalidInputError(f"{chunk.label}: {place_of_infinity(chunk)}{error}") from error


def require_same_pieces(stream: Stream) -> None:
    """Raise InvalidInputError where processes do not see the same files: a shard is missing, or another version."""
    found = stream.group.gathered(stream.labels()) if stream.group.size > 1 else []
    for rank, labels in enumerate(found):
        odd = sorted(set(labels) ^ set(found[0]))
        if odd:
            lacking = rank if odd[0] in found[0] else 0
            raise InvalidInputError(
                f"{odd[0]}: process {lacking} of {len(found)} does not find it, though others do. All must see the "
                "same files under the same names: put them into a folder that all machines share, or copy them to each."
            )


def _require_rows_for_all(rows: list[int], stream: Stream) -> None:
    if not sum(rows):
        raise InvalidInputError(NO_ROWS)
    if not all(rows):
        raise InvalidInputError(
            f"Process {rows.index(0)} of {len(rows)} has no rows of the stream: its batches are too few. Take "
            f"batch_rows below {stream.batch_rows}, or fewer processes."
        )


def witnesses(stream: Stream) -> Any:
    """A table of a few rows with every word of each column, and the least and the largest of its integers.

    Of streams of arrays rows with the values of each column, up to `_MOST_VALUES` of them. None if there are no rows.
    """
    import narwhals as nw

    kept: list[Any] = []
    seen: dict[Any, set[Any]] = {}
    for chunk in stream:
        if isinstance(chunk.X, np.ndarray):
            kept += [chunk.X[_new_rows(chunk.X, seen)]]
            continue
        frame = nw.from_native(chunk.X, eager_only=True)
        rows = {0, 1} if not kept else set()
        for name in frame.columns:
            rows |= _news(frame[name], seen.setdefault(name, set()))
        kept += [nw.to_native(frame[sorted(row for row in rows if row < len(frame))])] if rows else []
    every = [table for own in stream.group.gathered(kept) for table in own]
    if every and isinstance(every[0], np.ndarray):
        return np.concatenate(every)
    tables = [nw.from_native(table) for table in every]
    return nw.to_native(nw.concat(tables)) if tables else None


def _new_rows(X: np.ndarray, seen: dict[Any, set[Any]]) -> list[int]:
    """The first two rows, and the first with each value that its column has not had; adds those to `seen`."""
    rows = {0, min(1, len(X) - 1)} if not seen else set()
    for j, column in enumerate(X.T):
        own = seen.setdefault(j, set())
        if len(own) < _MOST_VALUES:
            values, first = np.unique(column, return_index=True)
            fresh = [
                (v, row) for v, row in zip(values.tolist(), first.tolist(), strict=True) if v == v and v not in own
            ]
            own.update(value for value, _ in fresh[:_MOST_VALUES])
            rows.update(row for _, row in fresh[:_MOST_VALUES])
    return sorted(rows)


def _news(column: Any, seen: set[Any]) -> set[int]:
    """The first rows of the column that have a word not seen, or a number beyond those seen; adds them to `seen`."""
    if column.dtype.is_float():
        return set()
    cells = column.to_numpy()
    there = np.flatnonzero(~column.is_null().to_numpy())
    if column.dtype.is_integer() and len(there):
        there = there[[cells[there].argmin(), cells[there].argmax()]]
        beyond = [r for r in there if not seen or not min(seen) <= cells[r] <= max(seen)]
        seen.update(cells[beyond].tolist())
        return set(map(int, beyond))
    rows: dict[Any, int] = {}
    for row in there:
        if cells[row] not in seen:
            rows.setdefault(cells[row], int(row))
    seen.update(rows)
    return set(rows.values())


class StreamedBatches(Batches):
    """A stream's chunks as batches, made by a thread a little ahead of the pass."""

    def __init__(self, stream: Stream, made: Callable[[Chunk], Iterable[Batch]], found: Survey):
        self.stream, self.made, self.found = stream, made, found
        self.prepare: Callable[[Batch], None] = lambda batch: None  # what else the thread does of the pass's work

    def __iter__(self) -> Iterator[Batch]:
        return prefetched(self._batches(), self.stream.prefetch)

    def _batches(self) -> Iterator[Batch]:
        for chunk in replace(self.stream, prefetch=0):
            for made in self.made(chunk):
                batch = replace(made, block=chunk.block)
                self.prepare(batch)
                yield batch

    def __len__(self) -> int:
        return self.found.n_batches

    @property
    def total_weight(self) -> float:
        return self.found.total_weight

    def checksum(self) -> int:
        """Of what the survey found: other data are told by it."""
        own = self.found
        parts = (np.array([own.n_rows, own.total_weight]), own.reach, own.mass, own.mean, own.deviation)
        return zlib.crc32(b"".join(np.ascontiguousarray(part).tobytes() for part in parts))

    @property
    def is_shared(self) -> bool:
        return self.stream.group.size > 1

    def combined(self, sums: Mapping[int, Derived]) -> Derived:
        return self.stream.group.combined(sums, self.stream.blocks)  # type: ignore[type-var]

    def summed(self, own: Derived) -> Derived:
        return self.stream.group.added(own) if self.is_shared else own  # type: ignore[type-var]


def sequence_weights(chunk: Chunk) -> np.ndarray | None:
    """How many sequences each one of a chunk counts for, (s,), as its first row says; None if the stream does not.

    Raises InvalidInputError where the stream has no sequences.
    """
    if chunk.lengths is None:
        raise InvalidInputError(
            "A stream of rows does not say where sequences end: name the column that tells them apart, "
            "emnet.stream(…, sequence=…)."
        )
    starts = np.cumsum(chunk.lengths) - chunk.lengths
    return None if chunk.weights is None else np.array(chunk.weights, dtype=float)[starts]


class StreamedMiniBatches(StreamedBatches):
    """A stream in mini-batches of `size` rows: those of a chunk in an order that is drawn anew in every pass.

    What is left over of a chunk is shuffled with the next, so only the last mini-batch of a pass may be smaller.
    Each of many processes has a part of every mini-batch, in proportion to its rows, and when these are done a row
    without weight: so a pass has equally many in all.
    """

    def __init__(self, stream: Stream, made: Callable[[Chunk], Iterable[Batch]], found: Survey, size: int, seed: int):
        super().__init__(stream, made, found)
        self._number = -(-found.n_rows // size)
        self.size = -(-found.own_rows // self._number) if self.is_shared else size
        self._source = sampling.source(seed, stream.group.rank_of_many)

    def __iter__(self) -> Iterator[Batch]:
        done = 0
        for batch in self._mini_batches():
            yield batch
            done += 1
        yield from (_without_weight(batch) for _ in range(done, self._number))

    def _mini_batches(self) -> Iterator[Batch]:
        generator, rest = self._source.on(torch.device("cpu")), None
        for batch in super().__iter__():
            batch = batch if rest is None else joined(rest, batch)
            *whole, last = torch.randperm(len(batch), generator=generator).split(self.size)
            yield from (batch.rows(index) for index in whole)
            rest = batch.rows(last)
            if len(last) == self.size:
                yield rest
                rest = None
        if rest is not None:
            yield rest

    def __len__(self) -> int:
        return self._number


def _without_weight(batch: Batch) -> Batch:
    """One of its rows, which counts for nothing."""
    return replace(batch.rows(slice(0, 1)), weights=torch.zeros(1, device=batch.target.device))


def random_numbers(random_state: Any, group: Group) -> Any:
    """What starts draw from: of many processes that of the first, where chance would part them."""
    if group.size == 1 or random_state is not None:
        return random_state
    return group.gathered(int(check_random_state(None).randint(2**31)))[0]


def require_alone(y: Any, sample_weight: Any) -> None:
    """A stream brings its own targets and weights."""
    if y is not None or sample_weight is not None:
        raise InvalidInputError(
            "A stream has targets and weights among its columns, or with its batches: emnet.stream(…, target=…, "
            "weight=…), and no y or sample_weight besides."
        )
