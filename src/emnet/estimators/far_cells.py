"""Cells so far from the rest of their column that numbers cannot hold both, such as a file's fill values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from emnet.exceptions import DegenerateFitError, EmnetWarning, InvalidInputError
from emnet.warning import warn

_FAR = 1e6  # times as far from a column's median as half of its cells are: its square leaves few digits to theirs


@contextmanager
def naming_far_cells(rows: Callable[[], np.ndarray], name: Callable[[int], Any]) -> Iterator[None]:
    """Where a fit fails and one of the rows, (n, d), has such a cell, the error says where it is and what to do.

    `name` is that of a column, by its position.
    """
    try:
        yield
    except (InvalidInputError, DegenerateFitError) as error:
        error.args = (f"{error.args[0]}{_farthest(rows(), name)}", *error.args[1:])
        raise


def warn_of_far_cells(X: np.ndarray, name: Callable[[int], Any]) -> None:
    """For a fit to standardized columns, which fails of nothing: beside such a cell all others are as good as one."""
    if words := _farthest(X, name):
        warn(words.strip(), EmnetWarning)


def _farthest(X: np.ndarray, name: Callable[[int], Any]) -> str:
    """In words, of the cell that is the farthest; "" where none is far."""
    seen = ~np.isnan(X).all(axis=0)
    middle, usual = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    middle[seen] = np.nanmedian(X[:, seen], axis=0)
    usual[seen] = np.nanmedian(np.abs(X[:, seen] - middle[seen]), axis=0)
    with np.errstate(over="ignore"):
        ratio = np.nan_to_num(np.abs(X - middle) / np.where(usual > 0, usual, np.inf), nan=0.0, posinf=np.inf)
    row, column = np.unravel_index(ratio.argmax(), ratio.shape)
    if ratio[row, column] < _FAR:
        return ""
    return (
        f" Row {row} has {X[row, column]:g} in column {name(int(column))!r}, where half of all cells lie within "
        f"{usual[column]:.3g} of {middle[column]:.3g}: if it stands for nothing, take it as missing (NaN)."
    )
