"""What the kernels that Numba compiles share: how they are compiled, exp, and groups of sequences over threads."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit, types
from numba.extending import overload
from torch import Tensor

from emnet.kernels.lanes_numba import two_to_the
from emnet.kernels.threads import in_threads

_GROUP_ELEMENTS, _MOST_GROUPS = 2**17, 64
SUMS: Any = {"reassoc", "contract", "nsz"}  # sums may be reordered; NaN and ∞ keep their meaning

VECTOR, MATRIX, CUBE = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
INTEGERS, FLAGS = types.int64[::1], types.uint8[::1]
_dispatchers: list[Any] = []


def compiled(signature: Any, flags: Any = None) -> Callable[[Any], Any]:
    """Compile at import, from the cache if it can be written somewhere."""

    def decorate(function: Any) -> Any:
        options: Any = {"nogil": True, "error_model": "numpy", "fastmath": flags or False, "no_cfunc_wrapper": True}
        try:
            made = njit(signature, cache=True, **options)(function)
        except RuntimeError:  # no folder can be written
            made = njit(signature, **options)(function)
        _dispatchers.append(made)
        return made

    return decorate


def part(function: Any) -> Any:
    """A piece of what is compiled, that is not called from Python: without what that would need."""
    options: Any = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return njit(**options)(function)


def was_compiled(module: str) -> bool:
    """Whether anything of a module did not come from the cache."""
    own = [made for made in _dispatchers if made.py_func.__module__ == module]
    return any(sum(made.stats.cache_misses.values()) or not made.stats.cache_path for made in own)


# -- exp ------------------------------------------------------------------------------------------------------------


@njit(fastmath={"contract"})
def exp(x):  # type: ignore[no-untyped-def]
    """e^x for −700 < x < 700 to an ulp or two: 2^n e^r with |r| ≤ ½ log 2, e^r by Taylor's series to r¹³.

    Of a number, or of lanes.
    """
    shifted = x * 1.4426950408889634 + 6755399441055744.0  # 1.5·2⁵²: the last bits are now n = round(x / log 2)
    n = shifted - 6755399441055744.0
    r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * two_to_the(shifted)


_SINGLE = [np.float32(c) for c in (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0)]
_C7, _C6, _C5, _C4, _C3, _C2, _C1, _C0 = _SINGLE
_LOG2_E, _MAGIC, _LOG_2_HIGH, _LOG_2_LOW = (
    np.float32(c) for c in (1.4426950408889634, 12582912.0, 0.693145751953125, 1.42860682030941723212e-6)
)


@njit(fastmath={"contract"})
def exp_single(x):  # type: ignore[no-untyped-def]
    """e^x of float32 for −87 < x < 87, likewise, to r⁷."""
    shifted = x * _LOG2_E + _MAGIC
    n = shifted - _MAGIC
    r = (x - n * _LOG_2_HIGH) - n * _LOG_2_LOW
    p = (((((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r + _C1) * r) + _C0
    return p * two_to_the(shifted)


def exp_of_type(x):  # type: ignore[no-untyped-def]
    """`exp` or `exp_single`, as x is."""
    raise NotImplementedError("in compiled code only")


@overload(exp_of_type, jit_options={"fastmath": {"contract"}})
def _exp_of_type(x):  # type: ignore[no-untyped-def] # as Numba calls it: of a type, and the function for it
    return (exp_single if x == types.float32 else exp).py_func


# -- blocks of rows -------------------------------------------------------------------------------------------------


def over_blocks(run: Callable[[slice], None], n: int, size: int) -> None:
    """Run every block of so many rows, side by side where there are threads for it."""
    in_threads(run, [slice(start, min(start + size, n)) for start in range(0, n, size)])


# -- groups of sequences --------------------------------------------------------------------------------------------


def groups(offsets: Tensor, k: int) -> list[slice]:
    """Sequences in a row with enough steps for a thread to be worth its while; by their lengths alone."""
    steps = max(_GROUP_ELEMENTS // k, int(offsets[-1]) // _MOST_GROUPS)
    which = torch.div(offsets[:-1], steps, rounding_mode="floor")
    cuts = [0, *(torch.nonzero(which.diff()).flatten() + 1).tolist(), len(offsets) - 1]
    return [slice(first, last) for first, last in pairwise(cuts)]


def each(run: Callable[[slice], None], offsets: Tensor, k: int) -> None:
    """Run every group, side by side where there are threads for it."""
    in_threads(run, groups(offsets, k))


def with_leading(values: Tensor, dimensions: int) -> Tensor:
    """The same with a leading axis of one, unless it has it."""
    return values if values.dim() == dimensions else values[None]


def own(starts: Tensor, group: slice) -> Tensor:
    """Of starts that differ between sequences, the group's."""
    return starts[group] if len(starts) > 1 else starts


def within(offsets: Tensor, group: slice) -> Tensor:
    """Where the group's sequences begin, and its end."""
    return offsets[group.start : group.stop + 1]


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in tensors]
