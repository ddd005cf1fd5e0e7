"""PyTorch's own matrix product, for what Numba compiles: the routine of its BLAS, by its address.

A product of NumPy's in compiled code is SciPy's, with threads that know nothing of PyTorch's.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_ROUTINES = {np.dtype(np.float64): "dgemm_", np.dtype(np.float32): "sgemm_"}
_AS_IT_IS, _TRANSPOSED = ord("N"), ord("T")


@lru_cache
def address_of_product(dtype: np.dtype) -> int | None:
    """Of the routine for matrices of that type; None where the library does not show it."""
    for library in sorted((Path(torch.__file__).parent / "lib").glob("*torch_cpu.*")):
        try:
            return ctypes.cast(getattr(ctypes.CDLL(str(library)), _ROUTINES[dtype]), ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None


@intrinsic
def _product(context, address, how_a, how_b, m, n, k, a, lda, b, ldb, c, ldc):  # type: ignore[no-untyped-def]
    """c = op(a) op(b) of matrices by columns, (m, k) and (k, n), with the strides of their columns."""
    size, real = types.int64, ir.DoubleType() if a.dtype == types.float64 else ir.FloatType()

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        def at(value: Any) -> Any:
            place = cgutils.alloca_once(builder, value.type)
            builder.store(value, place)
            return place

        def data(number: int) -> Any:
            return context.make_array(signature.args[number])(context, builder, arguments[number]).data

        one, zero = at(ir.Constant(real, 1.0)), at(ir.Constant(real, 0.0))
        address, how_a, how_b, m, n, k, _, lda, _, ldb, _, ldc = arguments
        # Integers of 64 bits, of which a routine with integers of 32 reads the lower half, which comes first.
        places = [at(how_a), at(how_b), at(m), at(n), at(k), one, data(6), at(lda), data(8), at(ldb), zero, data(10)]
        places.append(at(ldc))
        routine = ir.FunctionType(ir.VoidType(), [place.type for place in places])
        builder.call(builder.inttoptr(address, routine.as_pointer()), places)
        return context.get_dummy_value()

    return types.void(size, size, size, size, size, size, a, size, b, size, c, size), generate


@njit
def times(address, left, right, out, n):  # type: ignore[no-untyped-def]
    """The first n columns of out, (k, size), = left, (k, w), times those of right, (w, size); all by rows."""
    (k, w), size = left.shape, right.shape[1]
    _product(address, _AS_IT_IS, _AS_IT_IS, n, k, w, right, size, left, w, out, size)


@njit
def times_transposed(address, left, right, out, n):  # type: ignore[no-untyped-def]
    """Out, (k, w), = the first n columns of left, (k, size), times those of right, (w, size), transposed; by rows."""
    k, w, size = len(left), len(right), right.shape[1]
    _product(address, _TRANSPOSED, _AS_IT_IS, w, k, n, right, size, left, size, out, w)
