"""A column of a table: its kind, and how its cells become numbers and back."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emnet.data.cells import DAY, EPOCH, days_in, is_missing, key_of, number_in, plain_numbers
from emnet.exceptions import InvalidInputError

NUMBER, WHOLE, DATE, CATEGORY = "number", "whole", "date", "category"
ID, STEP, TEXT, EMPTY = "id", "step", "text", "empty"
MODELED = (NUMBER, WHOLE, DATE, CATEGORY)
LEFT_OUT = {
    ID: "different in every row",
    STEP: "the same step from row to row in every sequence",
    TEXT: "too many different words",
    EMPTY: "nothing in it",
}


@dataclass(frozen=True)
class Field:
    """A column, and how its cells become numbers and back.

    kind : one of this module's names.
    values : of categories, as text, in order; a code is the index.
    type : of a category's cells, "text", "bool", "whole" or "number".
    decimals : of numbers written as text, after the point; None of those that were not.
    decimal : the mark before them, with which new numbers are written too.
    thousands : what stands between thousands of numbers written as text, if anything.
    floor : of numbers of which none is below 0, that 0; none that is decoded is.
    format : of dates, strptime's, or "iso" of those with a time of day.
    """

    name: str
    kind: str
    values: tuple[str, ...] = ()
    type: str = "text"
    decimals: int | None = None
    decimal: str = "."
    format: str = ""
    thousands: str = ""
    floor: float | None = None

    @property
    def is_modeled(self) -> bool:
        return self.kind in MODELED

    @property
    def is_category(self) -> bool:
        return self.kind == CATEGORY

    @property
    def of_numbers(self) -> Field:
        """The same column where cells are numbers, not text."""
        return replace(self, thousands="", decimal=".")

    @property
    def remark(self) -> str:
        """What may have been meant otherwise, or nothing."""
        if self.is_category and len(self.values) == 1:
            return (
                f"{self.name!r} is {self.values[0]!r} wherever there is something: it says nothing of a row, and where "
                "it is missing it is taken to be that."
            )
        if self.thousands:
            return (
                f"{self.name!r} is read with {self.thousands!r} between thousands: 1{self.thousands}234 is 1234. "
                "If it stands before decimals, write those with a point."
            )
        alike: dict[str, list[str]] = {}
        for value in self.values:
            alike.setdefault(value.casefold(), []).append(value)
        doubled = next((own for own in alike.values() if len(own) > 1), None)
        if doubled is None:
            return ""
        return f"{self.name!r} has {' and '.join(map(repr, doubled))}, which are taken as different words."

    def encode(self, cells: Sequence[Any]) -> tuple[np.ndarray, list[int]]:
        """(n,) numbers, NaN for what is missing, and the rows of values that the model has never seen (NaN too)."""
        if self.kind in (NUMBER, WHOLE) and (quick := plain_numbers(cells)) is not None:
            return quick, []
        if self.is_category:
            codes = {value: code for code, value in enumerate(self.values)}
            found = [math.nan if is_missing(cell) else codes.get(key_of(cell), -1) for cell in cells]
            unseen = [row for row, code in enumerate(found) if code == -1]
            return np.array([math.nan if code == -1 else code for code in found], dtype=float), unseen
        read = self._read_date if self.kind == DATE else self._read_number
        return np.array([math.nan if is_missing(cell) else read(row, cell) for row, cell in enumerate(cells)]), []

    def decode(self, numbers: np.ndarray) -> list[Any]:
        """The cells that numbers stand for; None for NaN."""
        return [None if math.isnan(x) else self._cell(float(x)) for x in numbers]

    def typed(self, cells: Sequence[Any]) -> list[Any]:
        """The cells as values of their kind, for files that have types; None for what is missing."""
        if self.kind == DATE:
            days = self.encode(cells)[0]
            return replace(self, format="datetime" if self.format in ("iso", "datetime") else "date").decode(days)
        if self.is_modeled and not self.is_category:
            return replace(self.of_numbers, floor=None).decode(self.encode(cells)[0])
        if self.is_category:
            return [None if is_missing(cell) else self._category(key_of(cell)) for cell in cells]
        return [None if is_missing(cell) else cell for cell in cells]

    def _cell(self, x: float) -> Any:
        if self.is_category:
            return self._category(self.values[int(x)])
        if self.kind == DATE:
            return self._date(x)
        if self.floor is not None:
            x = max(x, self.floor)
        if self.thousands:
            return f"{x:,.{self.decimals or 0}f}".translate({ord(","): self.thousands, ord("."): self.decimal})
        if self.kind == WHOLE:
            return round(x)
        number = x if self.decimals is None else round(x, self.decimals)
        return number if self.decimal == "." else str(number).removesuffix(".0").replace(".", self.decimal)

    def _category(self, value: str) -> Any:
        """A value as the type that the column has."""
        if self.type == "bool":
            return value == "true"
        if self.type == "text":
            return value
        number = float(value)
        return int(number) if self.type == WHOLE else number

    def _date(self, days: float) -> Any:
        try:
            moment = EPOCH + days * DAY
        except OverflowError:
            return None
        if self.format == "date":
            return (moment + DAY / 2).date()
        if self.format in ("datetime", "iso"):
            moment = (moment + datetime.timedelta(microseconds=500_000)).replace(microsecond=0)
            return moment if self.format == "datetime" else moment.isoformat(sep=" ")
        return (moment + DAY / 2).strftime(self.format)

    def _read_number(self, row: int, cell: Any) -> float:
        number = number_in(cell, self.decimal, self.thousands)
        if number is None:
            raise InvalidInputError(
                f"Column {self.name!r}, row {row + 1} holds {cell!r:.60}, where a number was expected. Correct it, or "
                f"take it as missing (--missing {cell!r:.60})."
            )
        if math.isinf(number):
            raise InvalidInputError(
                f"Column {self.name!r}, row {row + 1} holds {cell!r:.60}, beyond the range of numbers. Correct it, or "
                f"take it as missing (--missing {cell!r:.60})."
            )
        return number

    def _read_date(self, row: int, cell: Any) -> float:
        days = days_in(cell, self.format)
        if days is None:
            raise InvalidInputError(
                f"Column {self.name!r}, row {row + 1} holds {cell!r:.60}, where a date like those before was expected "
                f"({self.format}). Correct it, or take it as missing (--missing {cell!r:.60})."
            )
        return days
