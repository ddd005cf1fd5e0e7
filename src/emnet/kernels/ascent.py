"""Gradient ascent that never falls, for objectives with no closed maximum."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

_ARMIJO, _MAX_HALVINGS = 1e-4, 30


def ascend(objective: Callable[[Tensor], tuple[float, Tensor]], start: Tensor, *, steps: int) -> Tensor:
    """Steps along the gradient, of the lengths of Barzilai & Borwein 1988, halved until the objective rises.

    Parameters
    ----------
    objective : its value and gradient at a vector; the last vector it is asked for may be another than the one found.
    """
    point, (value, slope) = start, objective(start)
    length = 1 / (1 + abs(value))  # a sum over rows and its curvature grow alike, however the rows are written
    for _ in range(steps):
        for _ in range(_MAX_HALVINGS):
            there = point + length * slope
            reached, turned = objective(there)
            if reached >= value + _ARMIJO * length * float(slope.dot(slope)):  # never of NaN
                break
            length /= 2
        else:
            return point
        moved, bent = there - point, slope - turned
        curvature = float(moved.dot(bent))
        length = float(moved.dot(moved)) / curvature if curvature > 0 else 2 * length
        point, value, slope = there, reached, turned
    return point
