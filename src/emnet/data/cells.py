"""What one cell of a table says: nothing, a number in the writing of its column, a day, a word."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from emnet.data.reading import MISSING

EPOCH = datetime.datetime(1970, 1, 1)
DAY = datetime.timedelta(days=1)
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


def is_missing(cell: Any) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and cell.strip().lower() in MISSING)


def key_of(cell: Any) -> str:
    """A category as text: the same in a CSV file as in one that has types."""
    if isinstance(cell, (bool, np.bool_)):
        return str(bool(cell)).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = str(cell).strip()
    return text.lower() if text.lower() in ("true", "false") else text


def number_in(cell: Any, decimal: str, thousands: str = "") -> float | None:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return float(cell)
    if not isinstance(cell, str):
        return float(cell) if type(cell).__name__ == "Decimal" else None
    text = cell.strip()
    if thousands and thousands in text:
        text = text.replace(thousands, "") if is_grouped(text, decimal, thousands) else ""
    if decimal == ",":
        text = text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text
    try:
        return None if "_" in text or text.lower().lstrip("+-") in ("nan", "inf", "infinity") else float(text)
    except ValueError:
        return None


def plain_numbers(cells: Sequence[Any]) -> np.ndarray | None:
    """Cells that are all finite numbers, with points, as numbers; None where one has to be looked at by itself."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiu":
        numbers = cells.astype(float)
        return None if np.isinf(numbers).any() else numbers
    try:
        numbers = np.array([float(cell) for cell in cells if "_" not in cell])
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == len(cells) and np.isfinite(numbers).all() else None


def places_of(word: str, decimal: str) -> int:
    mantissa, _, exponent = word.strip().lower().partition("e")
    return max(0, len(mantissa.partition(decimal)[2]) - int(exponent or 0))


def days_in(cell: Any, form: str) -> float | None:
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
    return (moment - EPOCH) / DAY


def is_grouped(word: str, decimal: str, thousands: str) -> bool:
    whole = rf"(\d{{1,3}}|[1-9]\d{{0,2}}({re.escape(thousands)}\d{{3}})+)"
    return re.fullmatch(rf"[+-]?{whole}({re.escape(decimal)}\d+)?", word) is not None
