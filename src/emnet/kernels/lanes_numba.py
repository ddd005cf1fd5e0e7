"""Numbers side by side for what Numba compiles: one operation is done on all of them, whatever the loops around it.

A value of the type `LANES` holds WIDTH of float64. +, −, * and / take such values and numbers, and `where_more` chooses
between their parts. So a recursion that is written as for one sequence runs over WIDTH of them at once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

WIDTH = 8
_FLAGS = ("contract", "nsz")
_NUMBERS, _INTEGERS = ir.VectorType(ir.DoubleType(), WIDTH), ir.VectorType(ir.IntType(64), WIDTH)


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"Lanes{WIDTH}")


LANES = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: types.Type):
        super().__init__(manager, kind, _NUMBERS)


def _as_lanes(builder: Any, kind: types.Type, value: Any) -> Any:
    """The value, a number once for each part."""
    if kind is LANES:
        return value
    index = ir.IntType(32)
    one = builder.insert_element(ir.Constant(_NUMBERS, ir.Undefined), value, ir.Constant(index, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(index, WIDTH), [0] * WIDTH))


def _operation(emit: Callable[..., Any]) -> Callable[..., Any]:
    """Code that gets the values as vectors, and gives one."""

    def signed(kinds: tuple[types.Type, ...]) -> tuple[Any, Any]:
        taken = [LANES if isinstance(kind, _Lanes) else types.float64 for kind in kinds]

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vectors = [_as_lanes(builder, *each) for each in zip(signature.args, arguments, strict=True)]
            return emit(builder, *vectors)

        return LANES(*taken), generate

    return signed


def _arithmetic(function: Any, name: str) -> None:
    """Let an operator take lanes, and numbers beside them."""

    @type_callable(function)
    def infer(context):  # type: ignore[no-untyped-def]
        return lambda a, b: LANES if LANES in (a, b) else None

    def lower(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = zip(signature.args, arguments, strict=True)
        a, b = (_as_lanes(builder, kind, _real(context, builder, kind, value)) for kind, value in kinds)
        return getattr(builder, name)(a, b, flags=_FLAGS)

    for kinds in ((LANES, LANES), (LANES, types.Number), (types.Number, LANES)):
        lower_builtin(function, *kinds)(lower)


def _real(context: Any, builder: Any, kind: types.Type, value: Any) -> Any:
    return value if kind is LANES else context.cast(builder, value, kind, types.float64)


for _function, _name in zip(
    (operator.add, operator.sub, operator.mul, operator.truediv), ("fadd", "fsub", "fmul", "fdiv"), strict=True
):
    _arithmetic(_function, _name)


@intrinsic
def where_more(context, a, b, x, y):  # type: ignore[no-untyped-def]
    """x where a > b, else y: where either is NaN it is y."""

    def emit(builder, a, b, x, y):  # type: ignore[no-untyped-def]
        return builder.select(builder.fcmp_ordered(">", a, b), x, y)

    return _operation(emit)((a, b, x, y))


@intrinsic
def lanes(context, number):  # type: ignore[no-untyped-def]
    """A number, once for each part."""
    return _operation(lambda builder, value: value)((number,))


@intrinsic
def two_to_the(context, shifted):  # type: ignore[no-untyped-def]
    """2^n of n + 1.5·2⁵², of one number or several, or of a float32 n + 1.5·2²³: their last bits are n."""
    kind = shifted if shifted in (LANES, types.float32) else types.float64
    integers = {LANES: _INTEGERS, types.float32: ir.IntType(32)}.get(kind, ir.IntType(64))
    bias, place = (127, 23) if kind is types.float32 else (1023, 52)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        bits = builder.bitcast(arguments[0], integers)
        power = builder.shl(builder.add(bits, _whole(integers, bias)), _whole(integers, place))
        return builder.bitcast(power, arguments[0].type)

    return kind(kind), generate


@intrinsic
def exponent(context, x):  # type: ignore[no-untyped-def]
    """e of x = m 2^e with 1 ≤ m < 2."""

    def emit(builder, x):  # type: ignore[no-untyped-def]
        high = builder.lshr(builder.bitcast(x, _INTEGERS), _whole(_INTEGERS, 52))
        number = builder.bitcast(builder.or_(high, _whole(_INTEGERS, 0x433 << 52)), _NUMBERS)  # 2⁵² + it
        return builder.fsub(number, ir.Constant(_NUMBERS, [float(2**52 + 1023)] * WIDTH))

    return _operation(emit)((x,))


@intrinsic
def mantissa(context, x):  # type: ignore[no-untyped-def]
    """m of x = m 2^e with 1 ≤ m < 2."""

    def emit(builder, x):  # type: ignore[no-untyped-def]
        low = builder.and_(builder.bitcast(x, _INTEGERS), _whole(_INTEGERS, (1 << 52) - 1))
        return builder.bitcast(builder.or_(low, _whole(_INTEGERS, 1023 << 52)), _NUMBERS)

    return _operation(emit)((x,))


def _whole(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * WIDTH if kind is _INTEGERS else value)


@intrinsic
def load(context, array, row):  # type: ignore[no-untyped-def]
    """Row of a (…, WIDTH) matrix."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load(_place(context, builder, signature, arguments), align=8)

    return LANES(array, types.intp), generate


@intrinsic
def store(context, array, row, value):  # type: ignore[no-untyped-def]
    """Write a row of a (…, WIDTH) matrix."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store(arguments[2], _place(context, builder, signature, arguments), align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, LANES), generate


def _place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    first = builder.mul(arguments[1], ir.Constant(arguments[1].type, WIDTH))
    return builder.bitcast(cgutils.gep_inbounds(builder, data, first), _NUMBERS.as_pointer())
