"""What a column of cells is: numbers, dates, categories, or nothing that a model could explain."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from emnet.data.reading import MISSING
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
_MOST_CATEGORIES = 100
_MOSTLY = 0.8  # share of numbers among the cells from which on a word is a mistake, not a category
_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_GROUPINGS = ((",", "."), (".", ","), ("'", "."), ("’", "."), (" ", ","), ("\u00a0", ","), ("\u202f", ","), (" ", "."))
_EPOCH = datetime.datetime(1970, 1, 1)
_DAY = datetime.timedelta(days=1)
_LISTED = 8


@dataclass(frozen=True)
class Field:
    """A column, and how its cells become numbers and back.

    kind : one of this module's names.
    values : of categories, as text, in order; a code is the index.
    type : of a category's cells, "text", "bool", "whole" or "number".
    decimals : of numbers written as text, after the point; None of those that were not.
    decimal : the mark before them.
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
        if self.kind in (NUMBER, WHOLE) and (quick := _quickly(cells)) is not None:
            return quick, []
        if self.is_category:
            codes = {value: code for code, value in enumerate(self.values)}
            found = [math.nan if is_missing(cell) else codes.get(_key(cell), -1) for cell in cells]
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
            return replace(self, thousands="", floor=None).decode(self.encode(cells)[0])
        if self.is_category:
            return [None if is_missing(cell) else self._category(_key(cell)) for cell in cells]
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
        return x if self.decimals is None else round(x, self.decimals)

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
            moment = _EPOCH + days * _DAY
        except OverflowError:
            return None
        if self.format == "date":
            return (moment + _DAY / 2).date()
        if self.format in ("datetime", "iso"):
            moment = (moment + datetime.timedelta(microseconds=500_000)).replace(microsecond=0)
            return moment if self.format == "datetime" else moment.isoformat(sep=" ")
        return (moment + _DAY / 2).strftime(self.format)

    def _read_number(self, row: int, cell: Any) -> float:
        number = _number(cell, self.decimal, self.thousands)
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
        days = _days(cell, self.format)
        if days is None:
            raise InvalidInputError(
                f"Column {self.name!r}, row {row + 1} holds {cell!r:.60}, where a date like those before was expected "
                f"({self.format}). Correct it, or take it as missing (--missing {cell!r:.60})."
            )
        return days


def kind_of_column(name: str, cells: Sequence[Any], wanted: str | None = None) -> Field:
    """What a column is, or that it is what is wanted of it.

    Raises InvalidInputError where the cells are not what is wanted, or are numbers with a few words among them.
    """
    seen = [cell for cell in cells if not is_missing(cell)]
    if not seen:
        return Field(name, EMPTY)
    if wanted is not None:
        return _with_floor(_wanted(name, seen, cells, wanted), seen)
    if all(isinstance(cell, bool) for cell in seen):
        return _categories(name, seen)
    for guess in (_dates, _numbers):
        field = guess(name, seen)
        if field is not None:
            return _with_floor(field, seen)
    _require_not_mostly_numbers(name, seen, cells)
    return _words(name, seen)


def _with_floor(field: Field, seen: list[Any]) -> Field:
    """The field, with 0 as its least where no number is below it: a draw of a price or a count is none either."""
    if field.kind not in (NUMBER, WHOLE) or (field.encode(seen)[0] < 0).any():
        return field
    return replace(field, floor=0.0)


def is_missing(cell: Any) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and cell.strip().lower() in MISSING)


def _wanted(name: str, seen: list[Any], cells: Sequence[Any], wanted: str) -> Field:
    if wanted == CATEGORY:
        return _categories(name, seen)
    guesses: dict[str, Callable[[], Field | None]] = {
        NUMBER: lambda: _amounts(name, seen),
        DATE: lambda: _dates(name, seen),
    }
    field = guesses[wanted]()
    if field is None:
        read = Field(name, NUMBER)._read_number if wanted == NUMBER else Field(name, DATE, format="iso")._read_date
        for row, cell in enumerate(cells):
            if not is_missing(cell):
                read(row, cell)
        raise InvalidInputError(f"Column {name!r} holds dates that are not all written alike.")
    return field


def _numbers(name: str, seen: list[Any]) -> Field | None:
    field = _plain_numbers(name, seen)
    if field is None:
        return None
    numbers = [float(_number(cell, field.decimal, field.thousands) or 0) for cell in seen]
    values = set(numbers)
    if len(values) <= 2 and (field.kind == WHOLE or len(values) == 1):
        return _categories(name, seen)
    if field.kind == WHOLE and len(seen) > 2 and _is_id(name, numbers):
        return Field(name, ID)
    return field


def _plain_numbers(name: str, seen: list[Any]) -> Field | None:
    """Numbers with points, or all with commas, for decimals."""
    if any(isinstance(cell, bool) for cell in seen):
        return None
    decimal = "." if all(_number(cell, ".") is not None for cell in seen) else ","
    numbers = [_number(cell, decimal) for cell in seen]
    if any(number is None for number in numbers) or (decimal == "," and not _are_decimals(seen)):
        return _grouped_numbers(name, seen)
    words = [cell for cell in seen if isinstance(cell, str)]
    whole = all(number == math.floor(number) for number in numbers if number is not None and math.isfinite(number))
    if whole and not any(decimal in word for word in words):
        return Field(name, WHOLE, type=WHOLE, decimal=decimal)
    places = max((_places(word, decimal) for word in words), default=0) if words else None
    return Field(name, NUMBER, type=NUMBER, decimals=places, decimal=decimal)


def _grouped_numbers(name: str, seen: list[Any]) -> Field | None:
    """Numbers with a mark between thousands, the same in all: 33,483 or 1 234,5."""
    words = [cell.strip() for cell in seen if isinstance(cell, str)]
    if len(words) < len(seen):
        return None
    for thousands, decimal in _GROUPINGS:
        if any(thousands in word for word in words) and all(_grouped(word, decimal, thousands) for word in words):
            places = max(_places(word, decimal) for word in words)
            kind = NUMBER if places else WHOLE
            return Field(name, kind, type=kind, decimals=places or None, decimal=decimal, thousands=thousands)
    return None


def _grouped(word: str, decimal: str, thousands: str) -> bool:
    whole = rf"(\d{{1,3}}|[1-9]\d{{0,2}}({re.escape(thousands)}\d{{3}})+)"
    return re.fullmatch(rf"[+-]?{whole}({re.escape(decimal)}\d+)?", word) is not None


def _amounts(name: str, seen: list[Any]) -> Field | None:
    """Numbers that are no labels, whole ones too."""
    field = _plain_numbers(name, seen)
    return replace(field, kind=NUMBER, type=NUMBER, decimals=0) if field is not None and field.kind == WHOLE else field


def _are_decimals(seen: list[Any]) -> bool:
    """Whether commas stand before decimals and not before thousands."""
    parts = [cell.strip().partition(",")[2] for cell in seen if isinstance(cell, str) and "," in cell]
    return bool(parts) and any(len(part) != 3 for part in parts)


def _is_id(name: str, values: list[float]) -> bool:
    """Whether whole numbers count the rows, or are all different in a column that is called an id."""
    steps = {b - a for a, b in pairwise(values)}
    called = re.search(r"(^|[^a-z])(id|uuid|key|index|nr|no)$", name.lower()) is not None
    return steps == {1.0} or (called and len(set(values)) == len(values))


def _dates(name: str, seen: list[Any]) -> Field | None:
    if all(isinstance(cell, datetime.date) for cell in seen):
        timed = any(isinstance(cell, datetime.datetime) for cell in seen)
        return Field(name, DATE, format="datetime" if timed else "date")
    for form in (*_FORMATS, "iso"):
        if all(_days(cell, form) is not None for cell in seen):
            return Field(name, DATE, format=form)
    return None


def _words(name: str, seen: list[Any]) -> Field:
    different = len({_key(cell) for cell in seen})
    if different <= min(_MOST_CATEGORIES, max(2, len(seen) // 2)):
        return _categories(name, seen)
    return Field(name, ID if different == len(seen) else TEXT)


def _categories(name: str, seen: list[Any]) -> Field:
    if all(isinstance(cell, bool) for cell in seen):
        return Field(name, CATEGORY, ("false", "true"), "bool")
    numbers = _plain_numbers(name, seen)
    if numbers is None:
        return Field(name, CATEGORY, tuple(sorted({_key(cell) for cell in seen})))
    return Field(name, CATEGORY, tuple(sorted({_key(cell) for cell in seen}, key=_sortable)), _type_of(seen, numbers))


def _type_of(seen: list[Any], numbers: Field) -> str:
    """Codes that are written as numbers stay text where their form would be lost: 007."""
    lost = any(isinstance(cell, str) and str(_number(cell, ".")).removesuffix(".0") != cell for cell in seen)
    return "text" if lost else numbers.type


def _sortable(value: str) -> float:
    number = _number(value, ".")
    return math.inf if number is None else number


def _require_not_mostly_numbers(name: str, seen: list[Any], cells: Sequence[Any]) -> None:
    """A word among numbers is a mistake that should not turn all of them into words."""
    words = [(row, cell) for row, cell in enumerate(cells) if not is_missing(cell) and _number(cell, ".") is None]
    different = len({_key(cell) for cell in seen})
    if len(words) < (1 - _MOSTLY) * len(seen) and different > _LISTED:
        row, cell = words[0]
        raise InvalidInputError(
            f"Column {name!r} holds numbers, but row {row + 1} has {cell!r:.60} ({len(words)} such cells of "
            f"{len(seen)}). Correct them, take them as missing (--missing {cell!r:.60}), or take the column as words "
            f"(--as {name!r}=category)."
        )


def _key(cell: Any) -> str:
    """A category as text: the same in a CSV file as in one that has types."""
    if isinstance(cell, (bool, np.bool_)):
        return str(bool(cell)).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = str(cell).strip()
    return text.lower() if text.lower() in ("true", "false") else text


def _number(cell: Any, decimal: str, thousands: str = "") -> float | None:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return float(cell)
    if not isinstance(cell, str):
        return float(cell) if type(cell).__name__ == "Decimal" else None
    text = cell.strip()
    if thousands and thousands in text:
        text = text.replace(thousands, "") if _grouped(text, decimal, thousands) else ""
    if decimal == ",":
        text = text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text
    try:
        return None if "_" in text or text.lower().lstrip("+-") in ("nan", "inf", "infinity") else float(text)
    except ValueError:
        return None


def _quickly(cells: Sequence[Any]) -> np.ndarray | None:
    """Cells that are all finite numbers, with points, as numbers; None where one has to be looked at by itself."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiu":
        numbers = cells.astype(float)
        return None if np.isinf(numbers).any() else numbers
    try:
        numbers = np.array([float(cell) for cell in cells if "_" not in cell])
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == len(cells) and np.isfinite(numbers).all() else None


def _places(word: str, decimal: str) -> int:
    mantissa, _, exponent = word.strip().lower().partition("e")
    return max(0, len(mantissa.partition(decimal)[2]) - int(exponent or 0))


def _days(cell: Any, form: str) -> float | None:
    """Days since 1970-01-01 of a date, None of what is none of that form."""
    try:
        if isinstance(cell, datetime.datetime):
            moment = cell
        elif isinstance(cell, datetime.date):
            moment = datetime.datetime(cell.year, cell.month, cell.day)
        elif not isinstance(cell, str) or not cell[:1].isdigit():
            return None
        elif form in ("iso", "date", "datetime"):
            text = cell.strip()
            if _ISO.fullmatch(text) is None and len(text) != 10:
                return None
            moment = datetime.datetime.fromisoformat(text)
        else:
            moment = datetime.datetime.strptime(cell.strip(), form)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    return (moment - _EPOCH) / _DAY
