"""A fitted estimator together with the user's columns: what the command line fits, saves and asks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from emnet import serialization
from emnet.data.reading import Columns
from emnet.data.schema import Schema
from emnet.estimators.table_tasks import TASKS, Rows, RowTask, Task, design, with_inputs
from emnet.exceptions import InvalidInputError


class TableModel:
    """An estimator that speaks of columns by their names, kinds and categories. `emnet.load` gives one.

    Attributes
    ----------
    estimator : the fitted scikit-learn estimator, of numbers: categories are indices, dates days since 1970.
    schema : the columns, and what they are for.
    kind : the name of the model, as in ``--model``.
    task : what is asked of it.
    filler : the mixture that fills holes of inputs where the estimator takes none, or None.
    note : why this model.
    training : how many iterations the fit took, and why it ended.
    """

    def __init__(
        self,
        estimator: Any,
        schema: Schema,
        kind: str,
        task: Task,
        filler: Any = None,
        note: str = "",
        training: dict[str, Any] | None = None,
    ) -> None:
        self.estimator = estimator
        self.schema = schema
        self.kind = kind
        self.task = task
        self.filler = filler
        self.note = note
        self.training = training or training_of(estimator)

    def rows(self, columns: Columns, with_target: bool = False) -> tuple[Rows, dict[str, list[int]]]:
        """A table as the estimator takes it, and {column: rows of values that it has never seen}, which are missing.

        Raises InvalidInputError for a column that is missing, and a cell that cannot be read.
        """
        rows, unseen = coded_rows(columns, self.schema, with_target)
        return self.complete(rows, unseen), unseen

    def complete(self, rows: Rows, unseen: Mapping[str, list[int]] | None = None) -> Rows:
        """Of models that explain a target: inputs without holes, categories as indicators."""
        if self.schema.target is None:
            return rows
        return with_inputs(rows, design(filled_inputs(rows.X, self.filler, self.schema, unseen), self.schema))

    def of_rows(self, doing: str) -> RowTask:
        """The task, if all columns are explained; `doing` says what that is needed for."""
        if not isinstance(self.task, RowTask):
            raise InvalidInputError(
                f"A {self.kind} model does not explain all columns; {doing} with gmm, mixture or, of sequences, hmm."
            )
        return self.task

    def in_table_order(self, columns: Columns, values: np.ndarray) -> np.ndarray:
        """What was found of sequences end to end, (n, …), in the order of the table's rows."""
        if self.schema.sequence is None:
            return values
        return values[np.argsort(sequence_order(columns[self.schema.sequence])[0])]

    def answers(self, columns: Columns) -> tuple[Columns, dict[str, list[int]]]:
        """Columns to put beside the rows, and values never seen."""
        rows, unseen = self.rows(columns)
        answers = self.task.answers(self.estimator, rows, self.schema)
        return in_order_of(columns, answers, self.schema), unseen

    def save(self, path: str | os.PathLike) -> None:
        """Write everything to a file that `emnet.load` reads."""
        serialization.save(self, path)

    def _to_state(self) -> serialization.State:
        estimator, tensors = serialization.part_of("estimator", self.estimator)
        manifest = {
            "kind": self.kind,
            "task": self.task.name,
            "schema": self.schema.to_json(),
            "note": self.note,
            "training": self.training,
            "estimator": estimator,
            "filler": None,
        }
        if self.filler is not None:
            manifest["filler"], more = serialization.part_of("filler", self.filler)
            tensors |= more
        return manifest, tensors

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        filler = manifest["filler"]
        return cls(
            serialization.from_part("estimator", manifest["estimator"], tensors),
            Schema.from_json(manifest["schema"]),
            str(manifest["kind"]),
            TASKS[manifest["task"]],
            None if filler is None else serialization.from_part("filler", filler, tensors),
            str(manifest["note"]),
            {name: manifest["training"][name] for name in ("iterations", "reason")},
        )


def training_of(estimator: Any) -> dict[str, Any]:
    """Of the start that was kept."""
    fits = [fit for fit in getattr(estimator, "fits_", ()) if fit.history]
    if not fits:
        return {"iterations": None, "reason": None}
    best = max(fits, key=lambda fit: fit.last.objective)
    reason = "converged" if getattr(estimator, "converged_", False) else str(best.reason)
    return {"iterations": best.n_iter, "reason": reason}


def coded_rows(columns: Columns, schema: Schema, with_target: bool) -> tuple[Rows, dict[str, list[int]]]:
    """A table as numbers, sequences end to end in the order in which they come first, and values never seen."""
    columns = schema.cleared(columns)
    X, unseen = schema.encode(columns)
    if schema.sequence is not None:
        schema.require(columns, [schema.sequence])
        order, lengths = sequence_order(columns[schema.sequence])
        return Rows(X[order], None, lengths), unseen
    if not with_target or schema.target is None:
        return Rows(X), unseen
    schema.require(columns, [schema.target])
    target, never = schema.field(schema.target).encode(columns[schema.target])
    if np.isnan(target).any():
        row = int(np.flatnonzero(np.isnan(target))[0])
        what = "a value that the model has never seen" if row in never else "nothing"
        raise InvalidInputError(
            f"Row {row + 1} has {what} in the target {schema.target!r} ({int(np.isnan(target).sum())} such rows). "
            "Leave those rows out."
        )
    return Rows(X, target), unseen


def sequence_order(names: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The rows sequence after sequence, each in the order of the table, and the sequences' lengths."""
    by_name: dict[Any, list[int]] = {}
    for row, name in enumerate(names):
        by_name.setdefault(name, []).append(row)
    return np.concatenate([np.array(rows) for rows in by_name.values()]), np.array([len(r) for r in by_name.values()])


def in_order_of(columns: Columns, answers: Columns, schema: Schema) -> Columns:
    """Answers to sequences end to end, in the order of the table's rows."""
    if schema.sequence is None:
        return answers
    order, _ = sequence_order(columns[schema.sequence])
    back = np.argsort(order)
    return {name: [cells[i] for i in back] for name, cells in answers.items()}


def filled_inputs(
    X: np.ndarray, filler: Any, schema: Schema, unseen: Mapping[str, list[int]] | None = None
) -> np.ndarray:
    """Raises InvalidInputError for a hole where nothing was fitted to fill it; `unseen` says which are new values."""
    if not np.isnan(X).any():
        return X
    if filler is None:
        row, column = np.argwhere(np.isnan(X))[0]
        name = schema.names[column]
        what, remedy = "nothing", "Fill it first (emnet impute)"
        if row in (unseen or {}).get(name, ()):
            what, remedy = "a value that the model has never seen", "Put one there that it knows"
        raise InvalidInputError(
            f"Row {row + 1} has {what} in {name!r}, and the model was fitted to rows without holes. {remedy}, or fit "
            "with rows that have holes."
        )
    return np.asarray(filler.impute(X))
