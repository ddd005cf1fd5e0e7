"""Columns that are independent given the state, whose cells may be missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError

NO_ROWS = 1e-10  # expected rows of a state that has none: it stays where it is


@dataclass(frozen=True, eq=False)
class Cells:
    """A target as every pass needs it: (n, d) `values` in float64, with 0 for what is missing, and what was `seen`."""

    values: Tensor
    seen: Tensor  # (n, d), 1 and 0
    dtype: torch.dtype  # in which densities are wanted

    def fill(self, expected: Tensor, responsibilities: Tensor) -> Tensor:
        """The values, and for what is missing its expectation, of (k, d) expectations of the states."""
        return torch.where(self.seen > 0, self.values, responsibilities.double() @ expected)


def cells_of(target: Tensor, support: Callable[[Tensor], Tensor], expected: str) -> Cells:
    """The cells of (n,) or (n, d) floats with NaN for missing, or of integers with −1.

    Raises
    ------
    InvalidInputError : a cell is outside the support; gives its row and column.
    """
    target = target.reshape(len(target), -1)
    missing = target.isnan() if target.is_floating_point() else target < 0
    dtype = target.dtype if target.is_floating_point() else torch.float64
    outside = ~(missing | support(target))
    if bool(outside.any()):
        row, column = torch.nonzero(outside)[0].tolist()
        raise InvalidInputError(
            f"Expected {expected}; row {row}, column {column} of the target has {target[row, column].item():g}. "
            "Give another family, or NaN for what is not known."
        )
    return Cells(target.double().masked_fill(missing, 0.0), (~missing).double(), dtype)


def weights_of(weights: Tensor | None, cells: Cells, k: int) -> Tensor:
    """Responsibilities times the rows' weights, (n, k), in float64; 1 if there are none."""
    return cells.values.new_ones(len(cells.values), k) if weights is None else weights.double()
