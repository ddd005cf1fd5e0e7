"""Sequences as users give them: one table and the lengths of its pieces, or a list of tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from emnet.exceptions import InvalidInputError


def joined(X: Any, lengths: Any) -> tuple[Any, np.ndarray | None]:
    """X as one table and the lengths of its sequences; a list of tables is put end to end."""
    if isinstance(X, (list, tuple)) and not len(X):
        raise InvalidInputError("X is an empty list: give at least one sequence, (t, d).")
    if not isinstance(X, (list, tuple)) or not len(X) or np.ndim(X[0]) != 2:
        return X, None if lengths is None else np.asarray(lengths)
    if lengths is not None:
        raise InvalidInputError("X is a list of sequences, which have lengths of their own: leave `lengths` out.")
    own = np.array([len(sequence) for sequence in X])
    if (own == 0).any():
        raise InvalidInputError(f"Sequence {int(own.argmin())} is empty. Leave empty sequences out.")
    widths = [np.shape(sequence)[1] for sequence in X]
    if len(set(widths)) > 1:
        odd = next(i for i, width in enumerate(widths) if width != widths[0])
        raise InvalidInputError(f"Sequence {odd} has {widths[odd]} columns; sequence 0 has {widths[0]}.")
    if hasattr(X[0], "iloc"):  # pandas, which keeps the names of columns
        import pandas as pd

        return pd.concat(list(X)), own
    return np.concatenate([np.asarray(sequence) for sequence in X]), own


def require_lengths(lengths: np.ndarray | None, n: int) -> np.ndarray:
    """Lengths of sequences that are made of n rows: (s,) of integers; None is one sequence."""
    if lengths is None:
        return np.array([n])
    lengths = np.atleast_1d(lengths)
    if lengths.dtype.kind not in "iuf" or lengths.ndim != 1 or not len(lengths) or (lengths != np.floor(lengths)).any():
        raise InvalidInputError(f"lengths must be whole numbers, one for each sequence; got {lengths!r}.")
    if (lengths < 1).any():
        which = int(np.flatnonzero(lengths < 1)[0])
        raise InvalidInputError(f"Sequence {which} has {lengths[which]} rows. Leave empty sequences out.")
    if lengths.sum() != n:
        raise InvalidInputError(f"lengths add up to {lengths.sum()}, and don't sum to the {n} samples of X.")
    return lengths.astype(np.int64)


def require_sequence_weights(sample_weight: Any, lengths: np.ndarray) -> np.ndarray | None:
    """Weights of the sequences, (s,), or None."""
    if sample_weight is None:
        return None
    weights = np.array(sample_weight, dtype=float)  # a copy, as kernels want it in one piece
    if weights.shape != lengths.shape or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise InvalidInputError(
            f"sample_weight must be {len(lengths)} finite numbers, one for each sequence, none below 0 and not all "
            f"zero; got shape {weights.shape}."
        )
    return weights


def joined_targets(Y: Any, lengths: np.ndarray) -> np.ndarray:
    """Targets as one array with a row for each row of the sequences; a list of arrays is put end to end.

    One target for each sequence is that of its last row; the others are NaN, or None of labels, or −1 of whole numbers.
    """
    if isinstance(Y, (list, tuple)) and len(Y) and np.ndim(Y[0]) > 0:
        Y = np.concatenate([np.asarray(part) for part in Y])
    Y, n = np.asarray(Y), int(lengths.sum())
    if len(Y) == n:
        return Y
    if len(Y) != len(lengths):
        raise InvalidInputError(
            f"y must have a target for each of the {n} rows of X, or one for each of the {len(lengths)} sequences; it "
            f"has {len(Y)}."
        )
    whole: np.ndarray = np.full((n, *Y.shape[1:]), None, dtype=object)
    if Y.dtype.kind in "iu":
        whole = np.full((n, *Y.shape[1:]), -1)
    elif Y.dtype.kind == "f":
        whole = np.full((n, *Y.shape[1:]), np.nan)
    whole[np.cumsum(lengths) - 1] = Y
    return whole


def pieces(lengths: np.ndarray, rows: int) -> Iterator[tuple[slice, slice]]:
    """Sequences, as slices of sequences and of rows, in pieces of about so many rows."""
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        start = ends[first] - lengths[first]
        last = max(first + 1, int(np.searchsorted(ends, start + rows, side="right")))
        yield slice(first, last), slice(int(start), int(ends[last - 1]))
        first = last
