"""Rows in chunks that stay in a core's cache, and parts of several chunks over the threads of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from emnet.kernels.threads import in_threads

Result = TypeVar("Result")
Chunks = Sequence[slice]

_CHUNK_BYTES = 2**20
_FEWEST_ROWS, _MOST_ROWS = 256, 8192
_MOST_PARTS, _PART_BYTES = 16, 2**28  # of parts, and of what all of them sum up
_LEAST_WORK = 2**22  # multiply-adds of all rows: of fewer, threads take as long to begin and to wait for each other


def chunks(n: int, width: int, dtype: torch.dtype) -> Iterator[slice]:
    """n rows in pieces whose `width` elements a row, of that type, stay in cache."""
    return _cut(n, min(_MOST_ROWS, max(_FEWEST_ROWS, _CHUNK_BYTES // (width * dtype.itemsize))))


def _cut(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def over_parts(
    run: Callable[[Chunks], Result], x: Tensor, width: int, work: int, rows: int | None = None
) -> list[Result]:
    """What `run` gives of each part of the rows of x, a few chunks of them, side by side where there are threads.

    What a core makes of a chunk it uses itself: to fetch it from another core's cache takes up to five times as long
    as to make it. Parts are the same for any number of threads, and so are sums of their results to the last bit.

    Parameters
    ----------
    width : elements a row that `run` has in memory at a time.
    work : multiply-adds a row, and no fewer than the numbers, in float64, that a part sums up.
    rows : of a chunk; None for as many as stay in cache.
    """
    pieces = list(_cut(len(x), rows) if rows else chunks(len(x), width, x.dtype))
    if x.device.type != "cpu" or len(pieces) < 2 or len(x) * work < _LEAST_WORK:
        return [run(pieces)]
    parts = max(1, min(len(pieces), _MOST_PARTS, _PART_BYTES // (8 * work)))
    ends = [len(pieces) * part // parts for part in range(parts + 1)]
    return in_threads(run, [pieces[first:end] for first, end in pairwise(ends)], compiled=False)


def added(results: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The sums of what parts found, in their order."""
    return tuple(reduce(torch.add, values) for values in zip(*results, strict=True))
