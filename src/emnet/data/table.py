"""A table for classification, as every reader gives it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from emnet.exceptions import InvalidInputError

_LISTED = 8


@dataclass(frozen=True, eq=False)
class Table:
    """Numeric inputs and labels.

    X : (n, p) float64, NaN where a cell is missing.
    y : (n,) labels as the file has them.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    columns: tuple[str, ...]
    target: str

    @property
    def class_names(self) -> list[str]:
        return [str(label) for label in np.unique(self.y)]

    def require_complete(self) -> None:
        """Raise InvalidInputError that names the columns with missing or infinite cells and counts them."""
        counts = (~np.isfinite(self.X)).sum(axis=0)
        columns = np.flatnonzero(counts)
        if not len(columns):
            return
        named = [f"{self.columns[j]!r} ({counts[j]})" for j in columns[:_LISTED]]
        raise InvalidInputError(
            f"{self.name}: missing or infinite cells: {counts.sum()}, in {_list(named, len(columns))}; fill them or "
            "drop those rows or columns first (--drop COLUMN leaves a column out)."
        )

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
