"""What a report is about: a fitted estimator, the rows it is shown on, and the names that people have for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from emnet.data.cells import is_missing
from emnet.data.field import CATEGORY, NUMBER, Field
from emnet.data.frames import cells_of, column_names, is_frame, kind_of, missing_cells
from emnet.data.kinds import kind_of_column
from emnet.data.reading import Columns
from emnet.estimators.sequences import joined_targets
from emnet.estimators.table_model import TableModel, coded_rows, sequence_order
from emnet.estimators.table_tasks import TASKS, Rows, Task
from emnet.exceptions import InvalidInputError
from emnet.report.film import Film

_DRAWN = 240  # points of a picture


@dataclass(frozen=True, eq=False)
class Subject:
    """Rows in the order in which the estimator takes them.

    Attributes
    ----------
    estimator, task : the model, and what is asked of it.
    rows : as the estimator takes them.
    X, fields : the inputs as numbers, (n, d), categories by code and NaN for what is missing; and what the columns are.
    numbers : (n,), of each row its number in the table, from 1.
    complete : inputs like X as the estimator takes them.
    coded : tables that the estimator gives as numbers like X.
    classes : names of the classes, of classifiers.
    film : the fit, if it was recorded.
    usual : whether the model was fitted to these rows, None where nobody knows.
    fitted_to : the rows that say what is usual, None for these.
    settings : what to write down so that it can be done again, by name.
    sequences : what the sequences are called; without names they are numbered from 1.
    """

    estimator: Any
    task: Task
    rows: Rows
    X: np.ndarray
    fields: tuple[Field, ...]
    numbers: np.ndarray
    complete: Callable[[np.ndarray], Any]
    coded: Callable[[Any], np.ndarray]
    classes: tuple[str, ...] = ()
    target: str = "y"
    film: Film | None = None
    usual: bool | None = None
    fitted_to: Rows | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    show: tuple[str, ...] = ()
    note: str = ""
    sequences: tuple[str, ...] = ()

    def can(self, *names: str) -> bool:
        """Whether the estimator has all of those attributes, and they are not None."""
        return all(getattr(self.estimator, name, None) is not None for name in names)

    @property
    def measured(self) -> list[int]:
        """The columns of numbers that differ from row to row."""
        return [
            j
            for j, own in enumerate(self.fields)
            if not own.is_category and np.unique(self.X[~np.isnan(self.X[:, j]), j]).size > 1
        ]

    @cached_property
    def labels(self) -> np.ndarray:
        """Of classifiers the place of each row's class in `classes`, −1 of those that the model does not know."""
        known = {label: k for k, label in enumerate(np.asarray(self.estimator.classes_).tolist())}
        assert self.rows.y is not None
        return np.array([known.get(label, -1) for label in np.asarray(self.rows.y).tolist()])

    @cached_property
    def evidence(self) -> np.ndarray:
        """log p of each row, or sequence, in nats."""
        return np.asarray(self.task.evidence(self.estimator, self.rows), dtype=float)

    @property
    def reference(self) -> Rows:
        """The rows that say what is usual."""
        return self.rows if self.fitted_to is None else self.fitted_to

    @cached_property
    def judge(self) -> Any:
        """The estimator that rows are to be unlike, as `emnet detect` has it: see `Task.usual`."""
        return self.task.usual(self.estimator, self.reference)

    @cached_property
    def drawn(self) -> np.ndarray:
        """Numbers of the rows that pictures have: some evenly; of sequences the first ones, as they hang together."""
        n = len(self.X)
        if self.rows.lengths is not None:
            return np.arange(min(n, _DRAWN))
        return np.unique(np.linspace(0, n - 1, min(n, _DRAWN)).round().astype(int))

    @cached_property
    def some(self) -> Rows:
        """Those rows, as the estimator takes them."""
        if self.rows.lengths is None:
            y = None if self.rows.y is None else np.asarray(self.rows.y)[self.drawn]
            return Rows(rows_of(self.rows.X, self.drawn), y)
        ends = np.minimum(np.cumsum(self.rows.lengths), len(self.drawn))
        lengths = np.diff(ends, prepend=0)
        y = None if self.rows.y is None else self.rows.y[: len(self.drawn)]
        return Rows(self.rows.X[: len(self.drawn)], y, lengths[lengths > 0])


def rows_of(X: Any, index: np.ndarray) -> Any:
    """Some rows of an array or a data frame."""
    if hasattr(X, "iloc"):
        return X.iloc[index]
    return X[index]


def of_table(model: TableModel, columns: Columns, **more: Any) -> Subject:
    """The command line's models and tables."""
    raw, _ = coded_rows(columns, model.schema, with_target=model.schema.target in columns)
    order = (
        np.arange(len(raw.X)) if model.schema.sequence is None else sequence_order(columns[model.schema.sequence])[0]
    )
    rows = model.complete(raw)
    if model.task.name == "sequences" and rows.lengths is None:
        rows = replace(rows, lengths=np.array([len(rows.X)]))
    target = model.schema.target
    classes: tuple[str, ...] = ()
    if model.task.name == "classes" and target is not None:
        values = model.schema.field(target).values
        classes = tuple(values[int(code)] for code in model.estimator.classes_)

    def complete(X: np.ndarray) -> np.ndarray:
        return np.asarray(model.complete(Rows(X)).X)

    return Subject(
        model.estimator,
        model.task,
        rows,
        raw.X,
        model.schema.inputs,
        order + 1,
        complete,
        lambda table: np.asarray(table, dtype=float),
        classes,
        target or "y",
        left_out=model.schema.left_out,
        note=model.note,
        sequences=_names(model.schema.cleared(columns), model.schema.sequence),
        **more,
    )


def _names(columns: Columns, sequence: str | None) -> tuple[str, ...]:
    """What the sequences are called, in the order in which they come first."""
    if sequence is None:
        return ()
    return tuple("–" if is_missing(name) else str(name) for name in dict.fromkeys(columns[sequence]))


def of_model(model: TableModel, **more: Any) -> Subject:
    """The command line's models without a row: of what the model alone can show."""
    schema = model.schema
    none = np.empty((0, len(schema.inputs)))
    classes = schema.field(schema.target).values if schema.target is not None and model.task.name == "classes" else ()
    return Subject(
        model.estimator,
        model.task,
        Rows(none),
        none,
        schema.inputs,
        np.empty(0, dtype=int),
        lambda X: X,
        lambda table: np.asarray(table, dtype=float),
        tuple(classes[int(code)] for code in model.estimator.classes_) if classes else (),
        schema.target or "y",
        left_out=schema.left_out,
        note=model.note,
        **more,
    )


def of_arrays(
    estimator: Any, X: Any, y: Any, lengths: Any, columns: Sequence[Any] | None = None, **more: Any
) -> Subject:
    """What Python hands over: arrays, data frames, or a list of sequences; `columns` have names that X does not."""
    if isinstance(X, (list, tuple)) and len(X) and np.ndim(X[0]) == 2:
        lengths, X = np.array([len(part) for part in X]), np.concatenate([np.asarray(part) for part in X])
    if not is_frame(X):
        X = np.asarray(X)
    if len(np.shape(X)) != 2 or not len(X):
        raise InvalidInputError(f"X must be a table with rows and columns; its shape is {np.shape(X)}.")
    task = task_of(estimator, y, lengths)
    if task.name in ("sequences", "paths") and lengths is None:
        lengths = np.array([len(X)])
    if task.name == "paths":
        y = joined_targets(y, np.asarray(lengths))
    fields = tuple(_fields(X, getattr(estimator, "feature_names_in_", None) if columns is None else columns))
    names = column_names(X)

    def coded(table: Any) -> np.ndarray:
        return np.column_stack([own.encode(_cells(table, j))[0] for j, own in enumerate(fields)])

    def complete(table: np.ndarray) -> Any:
        if not is_frame(X):
            return (
                table
                if X.dtype.kind in "fiub"
                else np.column_stack([f.decode(table[:, j]) for j, f in enumerate(fields)])
            )
        return type(X)({name: own.decode(table[:, j]) for j, (name, own) in enumerate(zip(names, fields, strict=True))})

    rows = Rows(X, None if y is None or task.name in ("density", "sequences") else np.asarray(y), lengths)
    classes = tuple(str(name) for name in getattr(estimator, "classes_", ())) if task.name == "classes" else ()
    target = str(getattr(y, "name", None) or "y")
    numbers = np.arange(len(X)) + 1
    return Subject(estimator, task, rows, coded(X), fields, numbers, complete, coded, classes, target, **more)


def task_of(estimator: Any, y: Any, lengths: Any) -> Task:
    """What an estimator is asked, by what it can do.

    Raises InvalidInputError where it needs targets, or labels whole sequences.
    """
    if hasattr(estimator, "predict_states"):
        if y is None:
            raise InvalidInputError(f"A report of a {type(estimator).__name__} needs what its paths explain: give y.")
        return TASKS["paths"]
    sort = getattr(estimator, "_estimator_type", None) or getattr(
        getattr(estimator, "__sklearn_tags__", lambda: None)(), "estimator_type", None
    )
    name = {"classifier": "classes", "regressor": "numbers"}.get(str(sort))
    if name is None:
        return TASKS["sequences" if hasattr(estimator, "score_sequences") else "density"]
    if lengths is not None:
        raise InvalidInputError(
            f"There is no report of a {type(estimator).__name__} on sequences: give one of the models it is made of."
        )
    if y is None:
        raise InvalidInputError(f"A report of a {type(estimator).__name__} needs the targets of its rows: give y.")
    return TASKS[name]


def _cells(X: Any, j: int) -> list[Any]:
    cells = cells_of(X, j)
    holes = missing_cells(cells)
    return [None if hole else cell for cell, hole in zip(cells.tolist(), holes, strict=True)]


def _fields(X: Any, names: Sequence[Any] | None) -> list[Field]:
    own = column_names(X) if is_frame(X) else [f"x{j}" for j in range(X.shape[1])]
    found = []
    for j, name in enumerate(own if names is None else names):
        cells = cells_of(X, j)
        words = kind_of(cells) in (str, bool) and cells.dtype.kind not in "mM"
        found.append(
            kind_of_column(str(name), _cells(X, j), CATEGORY)
            if words
            else kind_of_column(str(name), _cells(X, j), "date")
            if cells.dtype.kind in "mM"
            else Field(str(name), NUMBER)
        )
    return found
