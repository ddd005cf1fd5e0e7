"""What a column of cells is: numbers, dates, categories, or nothing that a model could explain."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from emnet.data.cells import days_in, is_grouped, is_missing, key_of, number_in, places_of
from emnet.data.field import CATEGORY, DATE, EMPTY, ID, NUMBER, TEXT, WHOLE, Field
from emnet.exceptions import InvalidInputError

_MOST_CATEGORIES = 100
_MOSTLY = 0.8  # share of numbers among the cells from which on a word is a mistake, not a category
_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y")
_GROUPINGS = ((",", "."), (".", ","), ("'", "."), ("’", "."), (" ", ","), ("\u00a0", ","), ("\u202f", ","), (" ", "."))
_LISTED = 8


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


def _wanted(name: str, seen: list[Any], cells: Sequence[Any], wanted: str) -> Field:
    if wanted == CATEGORY:
        return _categories(name, seen)
    guesses: dict[str, Callable[[], Field | None]] = {
        NUMBER: lambda: _amounts(name, seen),
        DATE: lambda: _dates(name, seen),
    }
    field = guesses[wanted]()
    if field is None:
        Field(name, wanted, format="iso").encode(cells)  # names the first cell that is none
        raise InvalidInputError(f"Column {name!r} holds dates that are not all written alike.")
    return field


def _numbers(name: str, seen: list[Any]) -> Field | None:
    field = _plain_numbers(name, seen)
    if field is None:
        return None
    numbers = [float(number_in(cell, field.decimal, field.thousands) or 0) for cell in seen]
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
    decimal = "." if all(number_in(cell, ".") is not None for cell in seen) else ","
    numbers = [number_in(cell, decimal) for cell in seen]
    if any(number is None for number in numbers) or (decimal == "," and not _are_decimals(seen)):
        return _grouped_numbers(name, seen)
    words = [cell for cell in seen if isinstance(cell, str)]
    whole = all(number == math.floor(number) for number in numbers if number is not None and math.isfinite(number))
    if whole and not any(decimal in word for word in words):
        return Field(name, WHOLE, type=WHOLE, decimal=decimal)
    places = max((places_of(word, decimal) for word in words), default=0) if words else None
    return Field(name, NUMBER, type=NUMBER, decimals=places, decimal=decimal)


def _grouped_numbers(name: str, seen: list[Any]) -> Field | None:
    """Numbers with a mark between thousands, the same in all: 33,483 or 1 234,5."""
    words = [cell.strip() for cell in seen if isinstance(cell, str)]
    if len(words) < len(seen):
        return None
    for thousands, decimal in _GROUPINGS:
        if any(thousands in word for word in words) and all(is_grouped(word, decimal, thousands) for word in words):
            places = max(places_of(word, decimal) for word in words)
            kind = NUMBER if places else WHOLE
            return Field(name, kind, type=kind, decimals=places or None, decimal=decimal, thousands=thousands)
    return None


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
        if all(days_in(cell, form) is not None for cell in seen):
            return Field(name, DATE, format=form)
    return None


def _words(name: str, seen: list[Any]) -> Field:
    different = len({key_of(cell) for cell in seen})
    if different <= min(_MOST_CATEGORIES, max(2, len(seen) // 2)):
        return _categories(name, seen)
    return Field(name, ID if different == len(seen) else TEXT)


def _categories(name: str, seen: list[Any]) -> Field:
    if all(isinstance(cell, bool) for cell in seen):
        return Field(name, CATEGORY, ("false", "true"), "bool")
    numbers = _plain_numbers(name, seen)
    if numbers is None:
        return Field(name, CATEGORY, tuple(sorted({key_of(cell) for cell in seen})))
    return Field(name, CATEGORY, tuple(sorted({key_of(cell) for cell in seen}, key=_sortable)), _type_of(seen, numbers))


def _type_of(seen: list[Any], numbers: Field) -> str:
    """Codes that are written as numbers stay text where their form would be lost: 007."""
    lost = any(isinstance(cell, str) and str(number_in(cell, ".")).removesuffix(".0") != cell for cell in seen)
    return "text" if lost else numbers.type


def _sortable(value: str) -> float:
    number = number_in(value, ".")
    return math.inf if number is None else number


def _require_not_mostly_numbers(name: str, seen: list[Any], cells: Sequence[Any]) -> None:
    """A word among numbers is a mistake that should not turn all of them into words."""
    words = [(row, cell) for row, cell in enumerate(cells) if not is_missing(cell) and number_in(cell, ".") is None]
    different = len({key_of(cell) for cell in seen})
    if len(words) < (1 - _MOSTLY) * len(seen) and different > _LISTED:
        row, cell = words[0]
        raise InvalidInputError(
            f"Column {name!r} holds numbers, but row {row + 1} has {cell!r:.60} ({len(words)} such cells of "
            f"{len(seen)}). Correct them, take them as missing (--missing {cell!r:.60}), or take the column as words "
            f"(--as {name!r}=category)."
        )
