"""Packed features of Gaussians, and densities and moments of their mixture in one pass, compiled for the CPU."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from emnet.kernels.blas_numba import address_of_product, times, times_transposed
from emnet.kernels.chunks import Chunks, added, over_parts
from emnet.kernels.normalize_numba import TILE_ROWS, empty_tile, limits, scale_tile, share_tile
from emnet.kernels.tools_numba import MATRIX, VECTOR, arrays, compiled

_CHUNK_ROWS = 6 * TILE_ROWS, 3 * TILE_ROWS  # of a chunk: more where they are small, as a product has a price of its own
_CHUNK_BYTES = 2**19  # of features and densities, in the second-level cache


@njit(error_model="numpy")
def _pack(x, start, n, n_products, out):  # type: ignore[no-untyped-def]
    """None of the products, the squares, or all; then x."""
    d = x.shape[1]
    for i in range(d):
        for row in range(n):
            out[n_products + i, row] = x[start + row, i]
    position = 0
    for i in range(min(d, n_products)):
        for j in range(i, i + 1 if n_products == d else d):
            for row in range(n):
                out[position, row] = out[n_products + i, row] * out[n_products + j, row]
            position += 1


@compiled([types.void(real[:, :], real[:, ::1]) for real in (types.float32, types.float64)])
def _pack_features(x, out):  # type: ignore[no-untyped-def]
    d = x.shape[1]
    _pack(x, 0, len(x), d * (d + 1) // 2, out)


def pack_features(x: Tensor, out: Tensor) -> None:
    """x_i x_j for i ≤ j, then x, of rows (n, d) in either order in memory, in the first rows of `out`, (width, n)."""
    _pack_features(*arrays(x, out))


@njit
def _add(own, sums):  # type: ignore[no-untyped-def]
    for i in range(own.shape[0]):
        for j in range(own.shape[1]):
            sums[i, j] += own[i, j]


@njit(error_model="numpy")
def _share_in_common(address, features, common, weights, chunk, n, tops, scatter):  # type: ignore[no-untyped-def]
    """−½ ‖U x‖² in the evidence of rows whose features are x and 1, and Σ w x xᵀ."""
    d = len(common)
    whitened, own = np.empty((d, features.shape[1]), features.dtype), np.empty((d, d), features.dtype)
    times(address, common, features[:d], whitened, n)
    for i in range(d):
        for row in range(n):
            tops[chunk + row] -= 0.5 * whitened[i, row] * whitened[i, row]
    scaled = features[:d]
    if len(weights):
        scaled = whitened
        for i in range(d):
            for row in range(n):
                scaled[i, row] = features[i, row] * weights[chunk + row]
    times_transposed(address, scaled, features[:d], own, n)
    _add(own, scatter)


def _signature(real):  # type: ignore[no-untyped-def]
    given = real[:, :], real[:, ::1], real[:, ::1], real[::1], real[::1], real, real
    return types.void(types.int64, *given, VECTOR, VECTOR, MATRIX, MATRIX, types.int64, types.int64, types.int64)


@compiled([_signature(types.float32), _signature(types.float64)])
def _expectations(
    address, x, coefficients, common, bias, weights, least, bound, tops, totals, sums, scatter, size, start, stop
):  # type: ignore[no-untyped-def]
    """Of the rows from `start` to `stop`, `size` at a time; `common` and `weights` may be none at all."""
    (k, width), d, one = coefficients.shape, x.shape[1], x.dtype.type(1)
    features, joint = np.empty((width, size), x.dtype), np.empty((k, size), x.dtype)
    own = np.empty((width, k) if k > width else (k, width), x.dtype)
    features[-1] = one
    tile, top, share = empty_tile(joint)
    for chunk in range(start, stop, size):
        n = min(size, stop - chunk)
        _pack(x, chunk, n, width - d - 1, features)
        times(address, coefficients, features, joint, n)
        for first in range(0, n, TILE_ROWS):
            here, row = min(TILE_ROWS, n - first), chunk + first
            share_tile(joint[:, first : first + here], bias, least, bound, tile, top, share)
            for r in range(here):
                tops[row + r] = top[r]
                totals[row + r] = share[r]
                share[r] = one / share[r]
            if len(weights):
                for r in range(here):
                    share[r] *= weights[row + r]
            scale_tile(tile, share, joint[:, first : first + here])
        if k > width:  # the library is faster with the longer side here
            times_transposed(address, features, joint, own, n)
            _add(own.T, sums)
        else:
            times_transposed(address, joint, features, own, n)
            _add(own, sums)
        if len(common):
            _share_in_common(address, features, common, weights, chunk, n, tops, scatter)


def expectations(
    x: Tensor, coefficients: Tensor, common: Tensor | None, bias: Tensor, weights: Tensor | None, least: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Log evidence, (n,), Σ_j w_j r_j f(x_j)ᵀ, (k, width), of features f, and Σ_j w_j x_j x_jᵀ, (d, d), in float64.

    A row's joint is coefficients f(x) + bias, its responsibilities r are the shares of e^joint; what is e^least or less
    beside the largest is 0. None where PyTorch does not show its matrix product.

    Parameters
    ----------
    x : (n, d), with rows; what follows is in its type.
    coefficients : (k, width), of packed features; or, where all states have a matrix in `common`, of x and 1.
    common : U, (d, d), whose −½ ‖U x‖² is in the joint of all states; None for none, and then no Σ w x xᵀ.
    bias, weights : (k,); and the rows' weights w, (n,), None for 1 each.
    """
    values = x.numpy()
    if (address := address_of_product(values.dtype)) is None:
        return None
    top, total = x.new_empty(2, len(x), dtype=torch.float64)  # each row's largest joint, t, and Σ_k e^{joint − t}
    matrix = x.new_empty(0, 0) if common is None else common.contiguous()
    multipliers = x.new_empty(0) if weights is None else weights.contiguous()
    own = arrays(coefficients, matrix, bias.contiguous(), multipliers)
    given = address, values, *own, *limits(values.dtype, least), *arrays(top, total)

    most, fewest = _CHUNK_ROWS
    size = most if most * sum(coefficients.shape) * x.element_size() <= _CHUNK_BYTES else fewest

    def summed(part: Chunks) -> tuple[Tensor, Tensor]:
        sums, scatter = np.zeros(coefficients.shape), np.zeros(matrix.shape)
        _expectations(*given, sums, scatter, size, part[0].start, part[-1].stop)
        return torch.from_numpy(sums), torch.from_numpy(scatter)

    work = 2 * (coefficients.numel() + matrix.numel())
    sums, scatter = added(over_parts(summed, x, coefficients.shape[1], work, 2 * size))
    return top.add_(total.log_()), sums, scatter
