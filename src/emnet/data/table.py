"""A table for classification, as every reader gives it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from emnet.data.schema import Schema
from emnet.exceptions import InvalidInputError

_LISTED = 8


@dataclass(frozen=True, eq=False)
class Table:
    """Inputs and labels.

    X : (n, p) float64: numbers, of words their places among the values of the schema, NaN where a cell is missing.
    y : (n,) labels as the file has them.
    schema : what the columns of a file are; None where all are numbers.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    columns: tuple[str, ...]
    target: str
    schema: Schema | None = None

    @property
    def class_names(self) -> list[str]:
        return [str(label) for label in np.unique(self.y)]

    @property
    def n_holes(self) -> int:
        """Cells of the inputs that are missing."""
        return int(np.isnan(self.X).sum())

    def require_splittable(self, test_size: float) -> None:
        """Raise InvalidInputError unless a stratified split leaves every class in both parts."""
        sizes = Counter(self.y.tolist())
        if not sizes:
            raise InvalidInputError(f"{self.name}: the table has no rows.")
        if len(sizes) < 2:
            raise InvalidInputError(
                f"{self.name}: the target {self.target!r} has one class only ({next(iter(sizes), None)!r}); "
                "a classifier needs at least two."
            )
        single = [str(label) for label, size in sizes.items() if size == 1]
        if single:
            raise InvalidInputError(
                f"{self.name}: classes of the target {self.target!r} with one row only: "
                f"{_list([repr(label) for label in single[:_LISTED]], len(single))}; a stratified split needs two, so "
                "merge or drop them (if the target is a measured number, this is not classification)."
            )
        n = len(self.y)
        smaller = min(round(n * test_size), n - round(n * test_size))
        if smaller < len(sizes):
            raise InvalidInputError(
                f"{self.name}: with {n} rows and a test size of {test_size} one part would have {smaller} rows for "
                f"{len(sizes)} classes; choose another --test-size."
            )


def _list(named: list[str], total: int) -> str:
    return ", ".join(named) + (f" and {total - len(named)} more" if total > len(named) else "")
