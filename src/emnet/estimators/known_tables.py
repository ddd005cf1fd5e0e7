"""What is known of a chain before it learns: starts and steps that never happen, and probabilities that stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet.estimators import markov_durations
from emnet.exceptions import InvalidInputError


def require_known(name: str, given: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Probabilities that are known, NaN or None where they are to be learned; None given is all of them."""
    try:
        table = np.full(shape, np.nan) if given is None else np.array(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} holds numbers, NaN where one is to be learned: {error}.") from error
    if table.shape != shape:
        raise InvalidInputError(f"{name} must have shape {shape}; it has {table.shape}.")
    for row, own in enumerate(np.atleast_2d(table)):
        free, total = np.isnan(own).any(), np.nansum(own)
        if (own < 0).any() or total > 1 + 1e-9 or free == (total > 1 - 1e-9):
            where = f"row {row}" if table.ndim > 1 else "it"
            raise InvalidInputError(
                f"{name} holds probabilities, NaN where one is to be learned. Those of a row add up to 1, or to less "
                f"where some are to be learned; {where} adds up to {total:.6g}{' with' if free else ', without'} NaN."
            )
    return table


def allowed(name: str, table: np.ndarray) -> Tensor:
    """Which entries may happen, of a table that depends on inputs: what is known of it is 0, or 1."""
    between = (table > 0) & (table < 1)
    if between.any():
        raise InvalidInputError(
            f"{name} is of probabilities that depend on the inputs: an entry can be known to be 0 or 1, and no other "
            f"number; got {table[between][0]:g}."
        )
    return torch.as_tensor(np.isnan(table) | (table == 1))


def without_a_way_to_itself(table: np.ndarray) -> np.ndarray:
    """Transitions between segments: what is not known of the diagonal is 0."""
    own = np.diagonal(table)
    markov_durations.require_no_way_to_itself(np.diag(np.nan_to_num(own)))
    off = table.copy()
    np.fill_diagonal(off, 0.0)
    alone = np.flatnonzero(np.isnan(table).any(axis=1) & ~np.isnan(off).any(axis=1) & (np.nansum(off, axis=1) < 1))
    if len(alone):
        raise InvalidInputError(
            f"With max_duration another state follows every one, and known_transitions leaves state {alone[0]} none."
        )
    return off


def start_of(table: np.ndarray) -> dict[str, Any]:
    """What a `Table` starts from: probabilities, what is to be learned in even parts, and which of them stay."""
    free = np.isnan(table)
    left = 1 - np.nansum(table, axis=-1, keepdims=True)
    even = left / np.maximum(free.sum(axis=-1, keepdims=True), 1)
    fixed = False if free.all() else torch.as_tensor(~free)
    return {"probabilities": torch.as_tensor(np.where(free, even, table)), "fixed": fixed}
