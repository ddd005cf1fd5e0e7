"""The columns of a user's table, and what a model is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from emnet.data.cells import is_missing
from emnet.data.field import CATEGORY, DATE, LEFT_OUT, STEP, WHOLE, Field
from emnet.data.kinds import kind_of_column
from emnet.data.reading import Columns, without_words
from emnet.exceptions import InvalidInputError

_LISTED = 20


@dataclass(frozen=True)
class Schema:
    """Columns in order.

    fields : of all columns of the table.
    dropped : columns that the user left out.
    target : the column that is explained from the others, or None.
    sequence : the column that says to which sequence a row belongs, or None.
    missing : words that stand for nothing in this table.
    """

    fields: tuple[Field, ...]
    dropped: tuple[str, ...] = ()
    target: str | None = None
    sequence: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[Field, ...]:
        """What the model is told of, without the target."""
        apart = {self.target, self.sequence, *self.dropped}
        return tuple(field for field in self.fields if field.is_modeled and field.name not in apart)

    @property
    def names(self) -> list[str]:
        return [field.name for field in self.inputs]

    @property
    def left_out(self) -> dict[str, str]:
        """{column that the model is not told of: why}."""
        apart = {self.target, self.sequence, *self.dropped}
        return {f.name: LEFT_OUT[f.kind] for f in self.fields if not f.is_modeled and f.name not in apart}

    @property
    def remarks(self) -> list[str]:
        """What of the columns may have been meant otherwise, in sentences."""
        return [remark for field in self.inputs if (remark := field.remark)]

    @property
    def decimal(self) -> str:
        """The mark before decimals in this table: a comma where numbers have it, and none has a point."""
        written = [field for field in self.fields if field.decimals]
        return "," if written and all(field.decimal == "," for field in written) else "."

    def field(self, name: str) -> Field:
        """Raises InvalidInputError where there is no column of that name."""
        for field in self.fields:
            if field.name == name:
                return field
        raise InvalidInputError(f"No column {name!r}; {listed(field.name for field in self.fields)}")

    def without(self, names: Iterable[str]) -> Schema:
        """The schema of a model that is not told of those."""
        return replace(self, dropped=(*self.dropped, *names))

    def cleared(self, columns: Columns) -> Columns:
        """The table with None for words that stand for nothing."""
        return without_words(columns, self.missing)

    def encode(self, columns: Columns) -> tuple[np.ndarray, dict[str, list[int]]]:
        """The inputs as numbers, (n, d), and {column: rows whose value is none of those it was fitted with}.

        Raises InvalidInputError for a column that is missing, or a cell that is no number.
        """
        self.require(columns, self.names)
        encoded = {field.name: field.encode(columns[field.name]) for field in self.inputs}
        unseen = {name: rows for name, (_, rows) in encoded.items() if rows}
        return np.column_stack([numbers for numbers, _ in encoded.values()]), unseen

    def decode(self, X: np.ndarray) -> Columns:
        """Cells of the inputs, of (n, d) numbers."""
        return {field.name: field.decode(X[:, j]) for j, field in enumerate(self.inputs)}

    def below(self, X: np.ndarray) -> dict[str, int]:
        """{column: how many of (n, d) numbers are below the least that it may be}, as which they are decoded."""
        floored = [(j, field) for j, field in enumerate(self.inputs) if field.floor is not None]
        counts = {field.name: int((X[:, j] < field.floor).sum()) for j, field in floored}
        return {name: count for name, count in counts.items() if count}

    def filled(self, columns: Columns, X: np.ndarray) -> Columns:
        """The table with cells of (n, d) numbers where it has nothing; every other cell as it came."""
        out, known = dict(columns), self.cleared(columns)
        for j, field in enumerate(self.inputs):
            missing = np.isnan(field.encode(known[field.name])[0])
            cells = list(columns[field.name])
            alike = field if any(isinstance(cell, str) for cell in known[field.name]) else field.of_numbers
            for row in np.flatnonzero(missing):
                cells[row] = alike.decode(X[row : row + 1, j])[0]
            out[field.name] = cells
        return out

    def holes_elsewhere(self, columns: Columns) -> dict[str, int]:
        """{column that is no input: how many of its cells are missing}, of those that have some."""
        known = self.cleared(columns)
        counts = {name: sum(map(is_missing, known[name])) for name in columns if name not in self.names}
        return {name: count for name, count in counts.items() if count}

    def typed(self, columns: Columns) -> Columns:
        """The table with its cells as values of their kinds, for files that have types."""
        known = {field.name: field for field in self.fields}
        return {name: known[name].typed(cells) if name in known else cells for name, cells in columns.items()}

    def require(self, columns: Columns, names: Iterable[str]) -> None:
        """Raise InvalidInputError where the table lacks one of the columns."""
        for name in names:
            if name not in columns:
                raise InvalidInputError(
                    f"The table lacks the column {name!r}, which the model needs; {listed(columns)}"
                )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Schema:
        fields = tuple(Field(**{**field, "values": tuple(field["values"])}) for field in record["fields"])
        return cls(
            fields, tuple(record["dropped"]), record["target"], record["sequence"], tuple(record.get("missing", ()))
        )


def schema_of(
    columns: Columns,
    *,
    target: str | None = None,
    sequence: str | None = None,
    drop: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    missing: Sequence[str] = (),
) -> Schema:
    """What the columns are, and what they are for; `kinds` says what some are to be taken as.

    `missing` are words that stand for nothing, in other tables too: here they are None already.

    Raises InvalidInputError where a column that is named is not there, or nothing is left to learn from.
    """
    if all(len(cells) < 2 for cells in columns.values()):
        raise InvalidInputError("The table has one row, which is too few to learn from; two at least were expected.")
    kinds = kinds or {}
    for name in (*drop, *kinds, *([target] if target else []), *([sequence] if sequence else [])):
        if name not in columns:
            raise InvalidInputError(f"No column {name!r}; {listed(columns)}")
    if target is not None and target in (*drop, sequence):
        raise InvalidInputError(f"Column {target!r} is the target, so it cannot be left out or name the sequences.")
    fields = tuple(
        Field(name, "id") if name in (*drop, sequence) else kind_of_column(name, cells, kinds.get(name))
        for name, cells in columns.items()
    )
    if sequence is not None:
        own = _rows_of(columns[sequence])
        fields = tuple(f if f.name in kinds or not _is_clock(f, columns[f.name], own) else _clock(f) for f in fields)
    schema = Schema(fields, tuple(drop), target, sequence, tuple(missing))
    if not schema.inputs:
        why = "; ".join(f"{name!r} has {reason}" for name, reason in schema.left_out.items())
        raise InvalidInputError(f"No columns are left to learn from{f': {why}' if why else ''}. {_AS}")
    return schema


_AS = "Say what a column is with --as COLUMN=number, category or date."


def _rows_of(names: Sequence[Any]) -> list[list[int]]:
    """The rows of each sequence."""
    rows: dict[Any, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return list(rows.values())


def _is_clock(field: Field, cells: Sequence[Any], sequences: list[list[int]]) -> bool:
    """Whether a column only says how far its sequence has come: states would be parts of the time, and nothing else."""
    if field.kind not in (WHOLE, DATE):
        return False
    numbers = field.encode(cells)[0]
    steps = np.concatenate([np.diff(numbers[rows]) for rows in sequences])
    return len(steps) > 1 and steps[0] != 0 and bool(np.all(steps == steps[0]))


def _clock(field: Field) -> Field:
    return Field(field.name, STEP)


def with_classes(field: Field, cells: Sequence[Any]) -> Field:
    """The field as categories, where its cells are labels."""
    return field if field.kind == CATEGORY else kind_of_column(field.name, cells, CATEGORY)


def listed(names: Iterable[str]) -> str:
    names = list(names)
    return f"the columns are {', '.join(map(str, names[:_LISTED]))}{', …' if len(names) > _LISTED else ''}."
