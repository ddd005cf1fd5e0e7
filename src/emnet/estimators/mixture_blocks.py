"""What explains which columns of a table: families as users name them, and the blocks of columns they stand for."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from emnet.data.frames import (
    cells_of,
    column_names,
    declared_values,
    dtype_of,
    holds_times,
    kind_of,
    library_of,
    values_of,
)
from emnet.estimators.families import FAMILIES, Family, Parameters, Summary, family_of, summary_of
from emnet.estimators.table_coding import WHOLE, ColumnCoding, TableCoding, flag_values
from emnet.exceptions import InvalidInputError
from emnet.factors.emission import Emission

_OF_KIND = {bool: "bernoulli", float: "gaussian", str: "categorical"}


@dataclass(frozen=True)
class Block:
    """An emission and its columns.

    key : a column's name, or a tuple of them, as the user has it.
    family : its name.
    columns : in the coded table.
    given : a factor to start from, in place of the family's own.
    n_categories : of a single column of categories, else 0.
    """

    key: Any
    family: str
    columns: tuple[int, ...]
    given: Emission[Any] | None = None
    n_categories: int = 0

    @property
    def traits(self) -> Family:
        return FAMILIES[self.family]

    @property
    def names(self) -> tuple[str, ...]:
        """Of its parameters, as they are published."""
        return tuple(self.traits.alike(self._any_summary, 1))

    def shape_of(self, name: str, k: int) -> tuple[int, ...]:
        """Of a parameter of k components."""
        return tuple(self.traits.alike(self._any_summary, k)[name].shape)

    @property
    def _any_summary(self) -> Summary:
        ones, categories = torch.ones(len(self.columns)), (1.0,) * self.n_categories
        return Summary(ones, ones, categories)

    @property
    def is_measured(self) -> bool:
        """Whether its columns may be shifted and scaled; those of a factor that is given are as it has them."""
        return self.traits.measured and self.given is None

    def summary(self, X: np.ndarray, weights: np.ndarray | None) -> Summary:
        """What starts and priors need of the coded and scaled table, (n, d)."""
        return summary_of(self.traits.summarized(X[:, list(self.columns)]), weights, self.n_categories)

    def factor(self, summary: Summary, k: int, prior: bool, given: Parameters, fixed: frozenset[str]) -> Emission[Any]:
        """A factor of k states that are all alike but in what is given; or the one that was given itself."""
        if self.given is not None:
            return self._checked_copy(k)
        parameters = {**self.traits.alike(summary, k), **given}
        return self.traits.make(parameters, summary if prior else None, fixed)

    def require_support(self, X: np.ndarray, names: Sequence[Any]) -> None:
        """Raise InvalidInputError for a cell of the coded table, (n, d), that the family cannot explain."""
        for j in self.columns:
            cells = X[:, j]
            outside = ~(np.isnan(cells) | self.traits.support(torch.as_tensor(cells)).numpy())
            if outside.any():
                row = int(np.flatnonzero(outside)[0])
                raise InvalidInputError(
                    f"Column {names[j]!r} is {self.family}, which explains {self.traits.expected}; row {row} has "
                    f"{cells[row]:g}. Give it another family, or NaN for what is not known."
                )

    def _checked_copy(self, k: int) -> Emission[Any]:
        assert self.given is not None
        if self.given.n_states != k:
            raise InvalidInputError(
                f"The factor for {self.key!r} has {self.given.n_states} states; n_components is {k}."
            )
        return copy.deepcopy(self.given)


def named(emissions: Any) -> Any:
    """`emissions` with the classes of factors by their names, as a file may hold them."""
    if isinstance(emissions, Mapping):
        return {key: named(value) for key, value in emissions.items()}
    return (family_of(emissions) or emissions) if isinstance(emissions, type) else emissions


def automatic_families(table: Any) -> dict[Any, str]:
    """{column: the family that "auto" gives it}."""
    return {name: _automatic(table, j, name) for j, name in enumerate(column_names(table))}


def blocks_of(emissions: Any, table: Any) -> tuple[tuple[Block, ...], TableCoding]:
    """The blocks that `emissions` says, of a table's columns, and how the columns they name become numbers.

    A family of single columns makes a block of each column of its tuple.
    """
    names = column_names(table)
    chosen = chosen_columns(emissions, names, table)
    blocks: list[Block] = []
    columns: list[ColumnCoding] = []
    for key, positions, family in chosen:
        name, given = _family(key, family)
        groups = [(p,) for p in positions] if FAMILIES[name].single else [tuple(positions)]
        for group in groups:
            coded = [coding_of(names[p], p, name, table) for p in group]
            own = tuple(range(len(columns), len(columns) + len(group)))
            columns += coded
            label = key if len(groups) == 1 else names[group[0]]
            n_categories = len(coded[0].values or ()) if FAMILIES[name].single else 0
            blocks.append(Block(label, name, own, given, n_categories))
    return tuple(blocks), TableCoding(tuple(columns), library_of(table))


def chosen_columns(
    emissions: Any, names: Sequence[Any], table: Any, parameter: str = "emissions"
) -> list[tuple[Any, list[int], Any]]:
    """(key, positions of its columns, family) of each emission; `parameter` is what errors call them."""
    if isinstance(emissions, str) and emissions == "auto":
        return [(name, [j], _automatic(table, j, name)) for j, name in enumerate(names)]
    if not isinstance(emissions, Mapping):
        key = names[0] if len(names) == 1 else tuple(names)
        return [(key, list(range(len(names))), emissions)]
    if not emissions:
        raise InvalidInputError(
            f"{parameter} is empty: give 'auto', a family, or {{column or tuple of columns: family}}."
        )
    chosen: list[tuple[Any, list[int], Any]] = []
    taken: dict[int, Any] = {}
    for key, family in emissions.items():
        positions = [_position(name, names, parameter) for name in (key if isinstance(key, tuple) else (key,))]
        for position in positions:
            if position in taken:
                raise InvalidInputError(
                    f"{parameter} names column {names[position]!r} twice, in {taken[position]!r} and in {key!r}."
                )
            taken[position] = key
        if isinstance(family, str) and family == "auto":
            chosen += [(names[p], [p], _automatic(table, p, names[p])) for p in positions]
        else:
            chosen.append((key, positions, family))
    return chosen


def _position(name: Any, names: Sequence[Any], parameter: str) -> int:
    if name in names:
        return list(names).index(name)
    if isinstance(name, (int, np.integer)) and not isinstance(name, bool) and -len(names) <= name < len(names):
        return int(name) % len(names)
    raise InvalidInputError(f"{parameter} names {name!r}, which is no column; those are {', '.join(map(repr, names))}.")


def _automatic(table: Any, position: int, name: Any) -> str:
    """Of booleans, and of 0 and 1, bernoulli; of other counts poisson; of numbers gaussian; of the rest categorical."""
    if declared_values(table, position) is not None:
        return "categorical"
    cells = cells_of(table, position)
    if holds_times(cells):
        raise InvalidInputError(
            f"Column {name!r} holds dates or times, which no family explains. Turn them into numbers, or name only the "
            "other columns in emissions."
        )
    kind = int if dtype_of(table, position).lower() in WHOLE else kind_of(cells)  # with holes their cells are floats
    if kind is not int:
        return _OF_KIND[kind]
    values = values_of("", cells) or (0.0,)
    if set(values) <= {0, 1}:
        return "bernoulli"
    return "poisson" if values[0] >= 0 else "gaussian"


def _family(key: Any, value: Any) -> tuple[str, Emission[Any] | None]:
    """The family's name, and the factor if one is given."""
    if isinstance(value, str) and value in FAMILIES:
        return value, None
    name = family_of(value if isinstance(value, type) else type(value))
    if name is None:
        raise InvalidInputError(
            f"The family of {key!r} must be 'auto', one of {', '.join(map(repr, FAMILIES))}, or a factor of those; got "
            f"{value!r}."
        )
    return name, None if isinstance(value, type) else value


def coding_of(name: Any, position: int, family: str, table: Any) -> ColumnCoding:
    """How a column's cells become numbers under a family."""
    cells = cells_of(table, position)
    values = None
    if family == "categorical":
        values = declared_values(table, position) or values_of(name, cells)
    elif family == "bernoulli":
        values = flag_values(name, cells)
    return ColumnCoding(name, position, values, dtype_of(table, position))
