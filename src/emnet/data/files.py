"""Tables for classification from files, read strictly: what cannot be understood is an error with its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from emnet.data.cells import is_missing
from emnet.data.reading import Columns, read_columns, without_words
from emnet.data.schema import listed, schema_of
from emnet.data.table import Table
from emnet.exceptions import InvalidInputError


def read_table(
    path: Path,
    target: str | None,
    drop: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    missing: Sequence[str] = (),
    note: Callable[[str], None] = lambda text: None,
) -> Table:
    """Read `path` by its ending (see `read_columns`); column `target` gives the labels, `note` is told of rows without.

    Raises InvalidInputError (naming the line and column) or MissingDependencyError.
    """
    columns = without_words(read_columns(str(path)), missing)
    if target is None:
        raise InvalidInputError(f"{path}: say which column holds the classes, --target COLUMN; {listed(columns)}")
    try:
        schema = schema_of(columns, target=target, drop=drop, kinds=kinds)
        columns = _known_targets(columns, target, note)
        X, _ = schema.encode(columns)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    labels = np.array([str(cell) for cell in columns[target]])
    return Table(path.name, X, labels, tuple(schema.names), target, schema)


def _known_targets(columns: Columns, target: str, note: Callable[[str], None]) -> Columns:
    """The rows that have a target."""
    known = [row for row, cell in enumerate(columns[target]) if not is_missing(cell)]
    without = len(columns[target]) - len(known)
    if not without:
        return columns
    note(f"Left out the {without} rows in which the target {target!r} is missing.")
    return {name: [cells[row] for row in known] for name, cells in columns.items()}
