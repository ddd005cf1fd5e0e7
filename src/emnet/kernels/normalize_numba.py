"""The pass of `normalize`, compiled for the CPU: each tile of rows is read and written once.

Within a tile rows run along the last axis, so that inner loops become vector instructions; exp is written out for the
same reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from emnet.kernels.tools_numba import VECTOR, arrays, compiled, exp, exp_single, over_blocks

_BLOCK_ELEMENTS = 2**17
_ROWS = 128  # of a tile


def _of_type(real: Any, exponential: Any, least: float) -> Any:
    """The pass in one type of numbers: what is e^least or less beside a row's largest is 0."""
    one, zero, least, bound = real(1), real(0), real(least), real(np.exp(least + 1))

    @njit(fastmath={"contract"}, error_model="numpy")
    def normalize_tile(tile, top, total):  # type: ignore[no-untyped-def]
        top[:] = tile[0]
        total[:] = zero
        for j in range(1, len(tile)):
            for r in range(_ROWS):
                top[r] = tile[j, r] if tile[j, r] > top[r] else top[r]
        for j in range(len(tile)):
            for r in range(_ROWS):
                away = tile[j, r] - top[r]
                share = exponential(least if away < least else away)  # NaN stays, and is in the total
                share = zero if share < bound else share
                tile[j, r] = share
                total[r] += share

    def normalize(joint, bias, tops, totals, start, stop):  # type: ignore[no-untyped-def]
        k = len(joint)
        tile, top, total = np.zeros((k, _ROWS), real), np.empty(_ROWS, real), np.empty(_ROWS, real)
        for first in range(start, stop, _ROWS):
            here = min(_ROWS, stop - first)
            rows = joint[:, first : first + here]
            for j in range(k):
                for r in range(here):
                    tile[j, r] = rows[j, r] + bias[j]
            normalize_tile(tile, top, total)
            for r in range(here):
                tops[first + r] = top[r]
                totals[first + r] = total[r]
                total[r] = one / total[r]
            for j in range(k):
                for r in range(here):
                    rows[j, r] = tile[j, r] * total[r]

    array: Any = types.Array
    kind = types.float64 if real is np.float64 else types.float32
    rest = kind[::1], VECTOR, VECTOR, types.int64, types.int64
    return compiled([types.void(array(kind, 2, layout), *rest) for layout in "CF"])(normalize)


_SINGLE, _DOUBLE = _of_type(np.float32, exp_single, -70.0), _of_type(np.float64, exp, -670.0)


def normalize(joint: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Normalize joint, (n, k), plus bias, (k,), in place.

    Returns each row's largest, t, and Σ_k e^{joint + bias − t}: (n,) each, in float64.
    """
    run, (n, k) = _SINGLE if joint.itemsize == 4 else _DOUBLE, joint.shape
    top, total = joint.new_empty(2, n, dtype=torch.float64)
    values = arrays(joint.T, bias, top, total)
    over_blocks(lambda rows: run(*values, rows.start, rows.stop), n, max(1, _BLOCK_ELEMENTS // k))
    return top, total
