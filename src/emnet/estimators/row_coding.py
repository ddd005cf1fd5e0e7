"""Rows of a table as a decoder sees them, and back: families, centers and scales, and a source that is not copied."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet.data.frames import column_names, is_frame, library_of, listed
from emnet.estimators.cell_families import CELL_FAMILIES, CellFamily
from emnet.estimators.mixture_blocks import chosen_columns, coding_of
from emnet.estimators.table_coding import ColumnCoding, TableCoding, infinite
from emnet.exceptions import EmnetWarning, InvalidInputError
from emnet.factors.cells import CellLikelihood
from emnet.warning import warn

_PIECE = 2**20  # cells looked at together
_CONSTANT = 10 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class RowCoding:
    """What each column is: its coding, its family, and the center and scale of what the decoder sees of it.

    likelihood : what was taken, {column: family}.
    families : of the coded columns.
    """

    coding: TableCoding
    families: tuple[str, ...]
    center: np.ndarray
    scale: np.ndarray

    @property
    def likelihood(self) -> dict[Any, str]:
        names = (column.name for column in self.coding.columns)
        return dict(zip(names, self.families, strict=True))

    @property
    def traits(self) -> list[CellFamily]:
        return [CELL_FAMILIES[family] for family in self.families]

    @cached_property
    def groups(self) -> list[tuple[str, list[int]]]:
        """A family, and the columns that one likelihood explains: those that are alike together."""
        found: list[tuple[str, list[int]]] = []
        for j, family in enumerate(self.families):
            alike = [own for name, own in found if name == family and not CELL_FAMILIES[name].single]
            if alike:
                alike[0].append(j)
            else:
                found.append((family, [j]))
        return found

    def likelihoods(self, noise: str) -> list[CellLikelihood]:
        """One for each group, in its order."""
        return [CELL_FAMILIES[family].make(self._size(family, own), noise) for family, own in self.groups]

    def _size(self, family: str, own: list[int]) -> int:
        values = self.coding.columns[own[0]].values
        return len(values or ()) if CELL_FAMILIES[family].single else len(own)

    # -- what the decoder sees --------------------------------------------------------------------------------------

    def source(self, table: Any) -> np.ndarray:
        """The cells as numbers, (n, d): an array of numbers is taken as it is, where it is."""
        plain = not is_frame(table) and np.asarray(table).dtype.kind in "iuf"
        if plain and all(c.values is None and c.position == j for j, c in enumerate(self.coding.columns)):
            array = np.asarray(table)
            return array if array.shape[1] == len(self.families) else array[:, : len(self.families)]
        return self.coding.encode(table)

    def seen(self, cells: np.ndarray) -> np.ndarray:
        """Cells of the source, (n, d), as they are before they are centered: of some columns their logarithms."""
        if not self.logarithmic.any():
            return np.asarray(cells, dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.logarithmic, np.log(cells), cells)

    def unseen(self, values: np.ndarray) -> np.ndarray:
        """The way back."""
        return np.where(self.logarithmic, np.exp(values), values) if self.logarithmic.any() else values

    def to_model(self, cells: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Cells of the source as the decoder sees them; digits are lost after the centers have been taken off."""
        if self.is_as_it_is:
            return cells.to(device=device, dtype=dtype)
        center, scale, logarithmic = self.units
        values = cells.double()
        if logarithmic is not None:
            values = torch.where(logarithmic, values.log(), values)
        return ((values - center) / scale).to(device=device, dtype=dtype)

    @cached_property
    def units(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Center, scale, and which columns are taken by their logarithm, None for none: (d,) each."""
        logarithmic = torch.from_numpy(self.logarithmic) if self.logarithmic.any() else None
        return torch.from_numpy(self.center), torch.from_numpy(self.scale), logarithmic

    def to_table(self, values: np.ndarray) -> np.ndarray:
        """What the decoder says as cells, (…, d)."""
        return self.unseen(values.astype(np.float64) * self.scale + self.center)

    def expected(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """E of the cells given mean and variance of what the decoder says: of logarithms e^{m + s²/2}."""
        cells = mean.astype(np.float64) * self.scale + self.center
        if not self.logarithmic.any():
            return cells
        return np.where(self.logarithmic, np.exp(cells + 0.5 * variance * self.scale**2), cells)

    def log_volume(self, cells: np.ndarray) -> np.ndarray:
        """What the change of units takes off a row's log density, (n,): Σ log |∂ x / ∂ seen by the decoder|."""
        if self.is_as_it_is:
            return np.zeros(len(cells))
        seen = ~np.isnan(cells)
        terms = np.where(seen, np.log(self.scale), 0.0)
        if self.logarithmic.any():
            terms = terms + np.where(seen & self.logarithmic, np.log(np.where(seen & self.logarithmic, cells, 1.0)), 0)
        total: np.ndarray = terms.sum(axis=1)
        return total

    def log_volume_of(self, mass: np.ndarray, mean: np.ndarray) -> float:
        """The same of all rows, from the weight of what is there of each column and the mean of it as `seen`."""
        return float(mass @ (np.log(self.scale) + np.where(self.logarithmic, mean, 0.0)))

    def decode(self, cells: np.ndarray) -> Any:
        """A table of the kind that was fitted."""
        return self.coding.decode(self._whole_codes(cells))

    def filled(self, table: Any, cells: np.ndarray) -> Any:
        """`table` with those cells where it has nothing."""
        if not is_frame(table):
            array = np.asarray(table)
            if array.dtype.kind in "iuf" and all(column.values is None for column in self.coding.columns):
                whole = array.astype(np.result_type(array.dtype, np.float32))
                own = [column.position for column in self.coding.columns]
                whole[:, own] = np.where(np.isnan(whole[:, own]), cells, whole[:, own])
                return whole
        return self.coding.filled(table if is_frame(table) else np.asarray(table), self._whole_codes(cells))

    def _whole_codes(self, cells: np.ndarray) -> np.ndarray:
        coded = np.array([column.values is not None for column in self.coding.columns])
        return np.where(coded, np.round(cells), cells)

    @cached_property
    def logarithmic(self) -> np.ndarray:
        """Of which columns the decoder sees the logarithm, (d,)."""
        return np.array([family.logarithmic for family in self.traits])

    @cached_property
    def is_as_it_is(self) -> bool:
        """Whether the decoder sees the cells themselves."""
        return not self.logarithmic.any() and bool((self.center == 0).all() and (self.scale == 1).all())

    # -- what it cannot see -----------------------------------------------------------------------------------------

    def require_support(self, source: np.ndarray, first_row: int = 0) -> None:
        """Raise InvalidInputError for a cell that its family cannot explain."""
        for start, piece in _pieces(source):
            for family, own in self.groups:
                cells = torch.as_tensor(piece[:, own])
                missing = cells.isnan() if cells.is_floating_point() else torch.zeros_like(cells, dtype=torch.bool)
                outside = ~(missing | CELL_FAMILIES[family].support(cells))
                if bool(outside.any()):
                    row, column = torch.nonzero(outside)[0].tolist()
                    name = self.coding.columns[own[column]].name
                    if bool(cells[row, column].isinf()):
                        raise InvalidInputError(infinite(name, first_row + start + row))
                    raise InvalidInputError(
                        f"Column {name!r} is {family}, which explains {CELL_FAMILIES[family].expected}; row "
                        f"{first_row + start + row} has {cells[row, column].item():g}. Give it another family in "
                        "likelihood, or NaN for what is not known."
                    )


def coding_of_table(likelihood: Any, table: Any) -> RowCoding:
    """Which columns have which family, not yet measured."""
    names = column_names(table)
    families: list[str] = []
    columns: list[ColumnCoding] = []
    for key, positions, family in chosen_columns(likelihood, names, table, "likelihood"):
        if not isinstance(family, str) or family not in CELL_FAMILIES:
            raise InvalidInputError(
                f"The likelihood of {key!r} must be 'auto' or one of {', '.join(map(repr, CELL_FAMILIES))}; got "
                f"{family!r}."
            )
        for position in positions:
            columns.append(_column(names[position], position, family, table))
            families.append(family)
    return RowCoding(
        TableCoding(tuple(columns), library_of(table)),
        tuple(families),
        np.zeros(len(columns)),
        np.ones(len(columns)),
    )


def measured(coding: RowCoding, source: np.ndarray, weights: np.ndarray | None, each: bool = True) -> RowCoding:
    """With centers of the columns that have them, and scales: `each` its own, or one for all but logarithms.

    A constant column is said aloud; numbers have scale 1 then.

    Raises
    ------
    InvalidInputError : a column has nothing but NaN.
    """
    d = len(coding.families)
    own = np.array([family.measured for family in coding.traits])
    counts, reach = np.zeros(d), np.zeros(d)
    low, high = np.full(d, np.inf), np.full(d, -np.inf)
    for _, piece in _pieces(source):
        counts += (~np.isnan(piece)).sum(axis=0)
        low, high = np.fmin(low, np.fmin.reduce(piece)), np.fmax(high, np.fmax.reduce(piece))
        if own.any():
            reach = np.fmax(reach, np.nan_to_num(np.abs(coding.seen(piece))).max(axis=0))
    if (counts == 0).any():
        name = coding.coding.columns[int(np.flatnonzero(counts == 0)[0])].name
        raise InvalidInputError(f"Column {name!r} has nothing but NaN: there is nothing to learn of it. Leave it out.")
    if not own.any():
        return with_units(coding, np.zeros(d), high - low, each)
    reach[reach == 0] = 1.0
    mean = _weighted_mean(coding, source, weights, lambda x: x / reach)
    deviation = np.sqrt(_weighted_mean(coding, source, weights, lambda x: (x / reach - mean) ** 2))
    deviation = np.where(deviation <= _CONSTANT, 0.0, deviation) * reach
    return with_units(coding, mean * reach, np.where(own, deviation, high - low), each)


def with_units(coding: RowCoding, mean: np.ndarray, deviation: np.ndarray, each: bool) -> RowCoding:
    """With those, (d,), of the columns that have a center and a scale; a deviation of 0 is a constant's, of any."""
    own = np.array([family.measured for family in coding.traits])
    constant = deviation == 0
    if each and constant.any():
        names = [coding.coding.columns[j].name for j in np.flatnonzero(constant)]
        warn(
            f"Columns with one value alone: {listed(names)}. They are kept, numbers with scale 1, and say nothing of "
            "the latent vector; leave them out to spare the decoder, or where columns are alike, as pixels are, take "
            "standardize=False.",
            EmnetWarning,
        )
    if not own.any():
        return coding
    center = np.where(own, mean, 0.0)
    together = own & ~constant & ~coding.logarithmic
    if not each and together.any():
        size = deviation[together]
        common = size.max() * np.sqrt(np.mean((size / size.max()) ** 2))
        return replace(coding, center=center, scale=np.where(own & ~coding.logarithmic, common, 1.0))
    return replace(coding, center=center, scale=np.where(own & ~constant, deviation, 1.0))


def as_tensor(source: np.ndarray) -> Tensor:
    """The array's own memory; a copy only of what torch cannot share."""
    if source.dtype.kind not in "iuf" or source.dtype.byteorder == ">" or any(s < 0 for s in source.strides):
        source = np.ascontiguousarray(source, dtype=source.dtype.newbyteorder("="))
    if source.dtype in (np.uint16, np.uint32, np.uint64):
        source = source.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is read-only, and nobody writes it
        return torch.from_numpy(source)


def is_mapped(array: Any) -> bool:
    """Whether its cells are those of a file that is mapped into memory."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def _column(name: Any, position: int, family: str, table: Any) -> ColumnCoding:
    """An array of numbers is not gone through cell by cell."""
    if family != "categorical" and not is_frame(table) and np.asarray(table).dtype.kind in "iuf":
        return ColumnCoding(name, position, None, "float64")
    return coding_of(name, position, family, table)


def _weighted_mean(coding: RowCoding, source: np.ndarray, weights: np.ndarray | None, function: Any) -> np.ndarray:
    total, mass = np.zeros(source.shape[1]), np.zeros(source.shape[1])
    for start, piece in _pieces(source):
        values = coding.seen(piece)
        share = np.ones(len(piece)) if weights is None else weights[start : start + len(piece)]
        seen = ~np.isnan(values)
        total += share @ np.where(seen, function(values), 0.0)
        mass += share @ seen
    return total / np.where(mass > 0, mass, 1.0)


def _pieces(source: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    rows = max(1, _PIECE // source.shape[1])
    for start in range(0, len(source), rows):
        yield start, source[start : start + rows]
