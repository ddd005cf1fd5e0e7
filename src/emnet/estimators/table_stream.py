"""A model of a table in many files: what its columns are is agreed on by all processes, and its rows become numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from emnet.data.cells import is_missing
from emnet.data.columns import Columns as Roles
from emnet.data.columns import Parts, cells_of
from emnet.data.field import CATEGORY, EMPTY
from emnet.data.reading import Columns
from emnet.data.sample import Sample, Units
from emnet.data.schema import Schema, schema_of
from emnet.data.spool import Spool
from emnet.data.stream import Stream
from emnet.estimators.streaming import SAMPLE_ROWS, require_same_pieces
from emnet.estimators.table_choice import Request, plan_table
from emnet.estimators.table_model import TableModel, filled_inputs
from emnet.estimators.table_tasks import design
from emnet.exceptions import InvalidInputError

_MOST_VALUES = 1000  # of a column, that are kept: with more it is no category


@dataclass(frozen=True)
class Wanted:
    """What a user says of the columns, as `emnet.data.schema.schema_of` takes it; `missing` are words for nothing."""

    target: str | None = None
    sequence: str | None = None
    drop: tuple[str, ...] = ()
    kinds: Mapping[str, str] | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """What is known of the files' columns, the same in every process.

    sample : rows of them all, at most `SAMPLE_ROWS`; of a small table every row.
    values : of each column the different cells of all rows, as many as `_MOST_VALUES`.
    """

    sample: Columns
    values: Columns
    n_rows: int

    @property
    def is_whole(self) -> bool:
        return len(next(iter(self.sample.values()))) == self.n_rows

    def seen(self, schema: Schema, target: str | None) -> Columns:
        """The sample, and of categories, columns with nothing in the sample, and the target what else there is."""
        out = dict(self.sample)
        for field in schema.fields:
            if field.kind in (CATEGORY, EMPTY) or field.name == target:
                known = set(self.sample[field.name])
                out[field.name] = [*out[field.name], *(c for c in self.values[field.name] if c not in known)]
        return out


def fit_streamed(stream: Stream, wanted: Wanted, request: Request) -> tuple[TableModel, Profile]:
    """Choose a model by a sample of the rows, and fit it to all of them.

    Kinds of columns, their categories, and what fills holes follow from the sample and the values of all rows, which
    every process has alike; the choice is the first one's, as it depends on the clock.
    """
    found = profile(stream, wanted)
    schema = _schema(found, wanted)
    plan = plan_table(found.sample, schema, request, found.seen(schema, wanted.target))
    coded = replace(stream, columns=Coded(plan.schema, plan.filler), spool=Spool())
    with request.keeping(plan):
        return plan.fitted(plan.estimator.fit(coded)), found


def profile(stream: Stream, wanted: Wanted) -> Profile:
    """A pass over the cells of this process's share, and what the others found."""
    stream = replace(stream, columns=Roles(sequence=wanted.sequence, as_cells=True))
    require_same_pieces(stream)
    sample, values, names, n_rows = Sample(SAMPLE_ROWS), {}, None, 0  # type: ignore[var-annotated]
    for chunk in stream:
        X = _without(chunk.X, wanted.missing) if wanted.missing else chunk.X
        sample.offer(Units(X, lengths=chunk.lengths), chunk.place)
        names, n_rows = chunk.names, n_rows + len(X)
        for name, cells in zip(chunk.names or (), X.T, strict=True):
            _add(values.setdefault(name, {}), cells)
    found = stream.group.gathered((names, values, n_rows))
    names, total = next((own for own, _, _ in found if own), None), sum(n for _, _, n in found)
    if names is None:
        raise InvalidInputError("The files have no rows.")
    whole, every = sample.of_all(stream.group), {}
    for name in names:
        merged: dict[Any, None] = {}
        for _, own, _ in found:
            merged |= own.get(name, {})
        every[name] = sorted(merged, key=repr)
    columns = {name: cells.tolist() for name, cells in zip(names, whole.X.T, strict=True)}
    if wanted.sequence is not None and whole.lengths is not None:  # names that stand in several files are several
        columns[wanted.sequence] = np.repeat(np.arange(len(whole.lengths)), whole.lengths).tolist()
    return Profile(columns, every, total)


@dataclass(frozen=True)
class Coded:
    """The columns of a stream as numbers, by a schema: (n, d), the target (n,), the names of sequences."""

    schema: Schema
    filler: Any = None
    as_frames: bool = False  # there are no words left
    as_cells: ClassVar[bool] = True

    @property
    def sequence(self) -> str | None:
        return self.schema.sequence

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(name for name in (self.schema.target, self.schema.sequence) if name is not None)

    def read(self) -> list[str]:
        return [*self.schema.names, *self.roles]

    def parts(self, table: Any) -> Parts:
        cells = self.schema.cleared(cells_of(table))
        X, _ = self.schema.encode(cells)
        if self.sequence is not None:
            return Parts(X, sequence=np.array(list(map(str, cells[self.sequence])), dtype=object))
        if self.schema.target is None:
            return Parts(X)
        y, _ = self.schema.field(self.schema.target).encode(cells[self.schema.target])
        known = ~np.isnan(y)
        return Parts(design(filled_inputs(X[known], self.filler, self.schema), self.schema), y[known])


def _schema(found: Profile, wanted: Wanted) -> Schema:
    """By the sample, and then with the categories of all rows."""
    own: dict[str, Any] = {"target": wanted.target, "sequence": wanted.sequence}
    own |= {"drop": wanted.drop, "kinds": wanted.kinds, "missing": wanted.missing}
    return schema_of(found.seen(schema_of(found.sample, **own), wanted.target), **own)


def _add(values: dict[Any, None], cells: np.ndarray) -> None:
    for cell in cells:
        if len(values) > _MOST_VALUES:
            return
        if not is_missing(cell):
            values.setdefault(cell)


def _without(X: np.ndarray, missing: tuple[str, ...]) -> np.ndarray:
    """Cells with None for the words that stand for nothing."""
    out = X.copy()
    out[np.vectorize(lambda cell: str(cell) in missing, otypes=[bool])(X)] = None
    return out
