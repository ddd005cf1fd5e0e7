"""What is asked of all rows of a stream, chunk by chunk, and a few of its rows in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from emnet.data.columns import Parts
from emnet.data.stream import Stream, rows_of
from emnet.distributed import ALONE
from emnet.estimators.streaming import NO_ROWS, SAMPLE_ROWS, naming_the_rows, random_numbers, witnesses
from emnet.exceptions import InvalidInputError


def end_to_end(X: Any, wanted: Callable[[Any], np.ndarray]) -> np.ndarray:
    """wanted(X); of a stream that of chunk after chunk, in its order: of many processes each has that of all rows.

    Raises InvalidInputError for a stream without rows, and for rows that cannot be used, by their place.
    """
    if not isinstance(X, Stream):
        return wanted(X)
    own = []
    for chunk in X:
        if len(chunk):
            with naming_the_rows(chunk):
                own.append((chunk.place, wanted(chunk.X)))
    return np.concatenate(_in_order(X, own))


def number_of_rows(X: Any) -> int:
    """Of a table, or by a pass of a stream."""
    return int(end_to_end(X, lambda rows: np.array([len(rows)])).sum())


def example_of(stream: Stream) -> Any:
    """`witnesses` of a stream's tables. Raises InvalidInputError for one without rows."""
    table = witnesses(stream.as_frames())
    if table is None:
        raise InvalidInputError(NO_ROWS)
    return table


def some_rows(stream: Stream, n: int) -> Any:
    """Every how-manieth of its n rows, so that about `SAMPLE_ROWS` at most are in memory: all where there are fewer."""
    import narwhals as nw

    step = -(-n // SAMPLE_ROWS)
    tables = _in_order(stream, [(chunk.place, chunk.X[::step]) for chunk in stream if len(chunk)])
    if isinstance(tables[0], np.ndarray):
        return np.concatenate(tables)
    return nw.to_native(nw.concat([nw.from_native(table, eager_only=True) for table in tables]))


def seed_for(random_state: Any, X: Any) -> int:
    """A seed for the fits to X, of a stream the same in all processes."""
    of_all = random_numbers(random_state, X.group if isinstance(X, Stream) else ALONE)
    return int(check_random_state(of_all).randint(2**31))


def is_weighted(stream: Stream) -> bool:
    """Whether its rows have weights."""
    first = next((chunk for chunk in stream.as_frames() if len(chunk)), None)
    return any(stream.group.gathered(first is not None and first.weights is not None))


def weights_of(stream: Stream) -> np.ndarray | None:
    """Of all its rows, (n,), in its order; None of a stream without."""
    if not is_weighted(stream):
        return None
    return np.concatenate(_in_order(stream, [(chunk.place, chunk.weights) for chunk in stream if len(chunk)]))


def require_unweighted(X: Any, who: str) -> None:
    """Raise InvalidInputError for a stream with weights, where every row counts once."""
    if isinstance(X, Stream) and is_weighted(X):
        raise InvalidInputError(f"{who} counts every row of the stream once: leave weight= out.")


def without_targets(parts: Parts) -> Parts:
    return replace(parts, y=None)


def without_weights(parts: Parts) -> Parts:
    return replace(parts, weights=None)


def that_count(parts: Parts) -> Parts:
    """The rows of a weight other than 0."""
    return parts if parts.weights is None else rows_of(parts, np.asarray(parts.weights, dtype=float) != 0)


def _in_order(stream: Stream, own: list[tuple[tuple[int, int], Any]]) -> list[Any]:
    """What all processes have found of their chunks, as these stand in the stream."""
    every = sorted((part for parts in stream.group.gathered(own) for part in parts), key=lambda part: part[0])
    if not every:
        raise InvalidInputError(NO_ROWS)
    return [found for _, found in every]
