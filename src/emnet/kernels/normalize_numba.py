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
TILE_ROWS = 128  # of a tile


@njit
def empty_tile(joint):  # type: ignore[no-untyped-def]
    """Memory for a tile, for each row's largest, and for their sum."""
    kind = joint.dtype
    return np.zeros((len(joint), TILE_ROWS), kind), np.empty(TILE_ROWS, kind), np.empty(TILE_ROWS, kind)


@njit(fastmath={"contract"}, error_model="numpy")
def share_tile(joint, bias, least, bound, tile, top, total):  # type: ignore[no-untyped-def]
    """Of joint, (k, at most TILE_ROWS), plus bias: shares of each row's largest, and their sum; below the bound 0."""
    k, here = joint.shape
    for j in range(k):
        for r in range(here):
            tile[j, r] = joint[j, r] + bias[j]
    _share(tile, top, total, least, bound)


@njit(fastmath={"contract"}, error_model="numpy")
def _share(tile, top, total, least, bound):  # type: ignore[no-untyped-def]
    zero = tile.dtype.type(0)
    for r in range(TILE_ROWS):
        top[r], total[r] = tile[0, r], zero
    for j in range(1, len(tile)):
        for r in range(TILE_ROWS):
            top[r] = tile[j, r] if tile[j, r] > top[r] else top[r]
    for j in range(len(tile)):
        for r in range(TILE_ROWS):
            away = tile[j, r] - top[r]
            share = exp_of_type(least if away < least else away)  # NaN stays, and is in the total
            share = zero if share < bound else share
            tile[j, r] = share
            total[r] += share


@njit(fastmath={"contract"}, error_model="numpy")
def scale_tile(tile, scale, out):  # type: ignore[no-untyped-def]
    """The tile, times a number for each row, into out, (k, at most TILE_ROWS)."""
    k, here = out.shape
    for j in range(k):
        for r in range(here):
            out[j, r] = tile[j, r] * scale[r]


def _signature(real):  # type: ignore[no-untyped-def]
    return types.void(real[:, ::1], real[::1], real, real, VECTOR, VECTOR, types.int64, types.int64)


@compiled([_signature(types.float32), _signature(types.float64)])
def _normalize(joint, bias, least, bound, tops, totals, start, stop):  # type: ignore[no-untyped-def]
    one = joint.dtype.type(1)
    tile, top, total = empty_tile(joint)
    for first in range(start, stop, TILE_ROWS):
        here = min(TILE_ROWS, stop - first)
        rows = joint[:, first : first + here]
        share_tile(rows, bias, least, bound, tile, top, total)
        for r in range(here):
            tops[first + r] = top[r]
            totals[first + r] = total[r]
            total[r] = one / total[r]
        scale_tile(tile, total, rows)


def limits(dtype: np.dtype, least: float) -> tuple[np.floating, np.floating]:
    """The least that a logarithm beside the largest is taken for, and below which share the share is 0."""
    return dtype.type(least), dtype.type(np.exp(least + 1))


def normalize(joint: Tensor, bias: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Normalize joint, (n, k), plus bias, (k,), in place; in memory the states come one after another.

    Returns each row's largest, t, and Σ_k e^{joint + bias − t}: (n,) each, in float64. What is e^least or less beside
    the largest is 0.
    """
    (n, k), values = joint.shape, joint.T.numpy()
    top, total = joint.new_empty(2, n, dtype=torch.float64)
    given = values, bias.numpy(), *limits(values.dtype, least), *arrays(top, total)
    over_blocks(lambda rows: _normalize(*given, rows.start, rows.stop), n, max(1, _BLOCK_ELEMENTS // k))
    return top, total
