"""Packed features of many columns in one pass, compiled for the CPU: see `gaussian`."""

from __future__ import annotations

from numba import types
from torch import Tensor

from emnet.kernels.tools_numba import arrays, compiled


@compiled([types.void(real[:, :], real[:, ::1]) for real in (types.float32, types.float64)])
def _pack_features(x, out):  # type: ignore[no-untyped-def]
    n, d = x.shape
    first = d * (d + 1) // 2
    for i in range(d):
        for row in range(n):
            out[first + i, row] = x[row, i]
    position = 0
    for i in range(d):
        for j in range(i, d):
            for row in range(n):
                out[position, row] = out[first + i, row] * out[first + j, row]
            position += 1


def pack_features(x: Tensor, out: Tensor) -> None:
    """x_i x_j for i ≤ j, then x, of rows (n, d) in either order in memory, in the first rows of `out`, (width, n)."""
    _pack_features(*arrays(x, out))
