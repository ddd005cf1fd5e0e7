"""The pass of `normalize`, compiled for the CPU: each tile of rows is read and written once.

Within a tile rows run along the last axis, so that inner loops become vector instructions; exp is written out for the
same reason.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from emnet.kernels.tools_numba import VECTOR, arrays, compiled, exp_of_type, over_blocks

_BLOCK_ELEMENTS = 2**17
_ROWS = 128  # of a tile


@njit(fastmath={"contract"}, error_model="numpy")
def _normalize_tile(tile, top, total, least, bound):  # type: ignore[no-untyped-def]
    """Shares of each row's largest, and their sum; what is below the bound is 0."""
    zero = tile.dtype.type(0)
    for r in range(_ROWS):
        top[r], total[r] = tile[0, r], zero
    for j in range(1, len(tile)):
        for r in range(_ROWS):
            top[r] = tile[j, r] if tile[j, r] > top[r] else top[r]
    for j in range(len(tile)):
        for r in range(_ROWS):
            away = tile[j, r] - top[r]
            share = exp_of_type(least if away < least else away)  # NaN stays, and is in the total
            share = zero if share < bound else share
            tile[j, r] = share
            total[r] += share


def _signature(real):  # type: ignore[no-untyped-def]
    return types.void(real[:, ::1], real[::1], real, real, VECTOR, VECTOR, types.int64, types.int64)


@compiled([_signature(types.float32), _signature(types.float64)])
def _normalize(joint, bias, least, bound, tops, totals, start, stop):  # type: ignore[no-untyped-def]
    k, one = len(joint), joint.dtype.type(1)
    tile, top, total = np.zeros((k, _ROWS), joint.dtype), np.empty(_ROWS, joint.dtype), np.empty(_ROWS, joint.dtype)
    for first in range(start, stop, _ROWS):
        here = min(_ROWS, stop - first)
        rows = joint[:, first : first + here]
        for j in range(k):
            for r in range(here):
                tile[j, r] = rows[j, r] + bias[j]
        _normalize_tile(tile, top, total, least, bound)
        for r in range(here):
            tops[first + r] = top[r]
            totals[first + r] = total[r]
            total[r] = one / total[r]
        for j in range(k):
            for r in range(here):
                rows[j, r] = tile[j, r] * total[r]


def normalize(joint: Tensor, bias: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Normalize joint, (n, k), plus bias, (k,), in place; in memory the states come one after another.

    Returns each row's largest, t, and Σ_k e^{joint + bias − t}: (n,) each, in float64. What is e^least or less beside
    the largest is 0.
    """
    (n, k), values = joint.shape, joint.T.numpy()
    top, total = joint.new_empty(2, n, dtype=torch.float64)
    least, bound = values.dtype.type(least), values.dtype.type(np.exp(least + 1))
    given = values, bias.numpy(), least, bound, *arrays(top, total)
    over_blocks(lambda rows: _normalize(*given, rows.start, rows.stop), n, max(1, _BLOCK_ELEMENTS // k))
    return top, total
