"""What is asked of a model of a table: a density of rows, a column from the others, or sequences of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emnet.applications import anomaly
from emnet.applications.impute import FittedTo, Imputed, impute, impute_many, refitted
from emnet.data.reading import Columns
from emnet.data.schema import Field, Schema


@dataclass(frozen=True, eq=False)
class Rows:
    """A table as numbers: inputs (n, d), the target (n,) where there is one, and the lengths of sequences."""

    X: np.ndarray
    y: np.ndarray | None = None
    lengths: np.ndarray | None = None

    @property
    def n_units(self) -> int:
        """Rows, or sequences."""
        return len(self.X) if self.lengths is None else len(self.lengths)

    def units(self, index: np.ndarray) -> Rows:
        """Some of the rows, or of the sequences."""
        if self.lengths is None:
            return Rows(self.X[index], None if self.y is None else self.y[index])
        starts = np.cumsum(self.lengths) - self.lengths
        rows = np.concatenate([np.arange(starts[i], starts[i] + self.lengths[i]) for i in index])
        return Rows(self.X[rows], None, self.lengths[index])


class Task(ABC):
    """How an estimator is fitted to rows, what it says of them, and how likely it finds them."""

    name: str
    unit = "row"

    @abstractmethod
    def fit(self, estimator: Any, rows: Rows) -> Any:
        """The estimator, fitted."""

    @abstractmethod
    def evidence(self, estimator: Any, rows: Rows) -> np.ndarray:
        """log p of each row (of its target given the rest, where there is one), in nats, (n,)."""

    @abstractmethod
    def answers(self, estimator: Any, rows: Rows, schema: Schema) -> Columns:
        """Columns to put beside the rows."""

    def usual(self, estimator: Any, rows: Rows) -> Any:
        """The estimator that rows are to be unlike: without what one of the rows it was fitted to has made alone."""
        return estimator

    def figures(self, estimator: Any, rows: Rows) -> dict[str, float]:
        """What is said of how good it is besides the evidence."""
        return {}


class RowTask(Task):
    """A task in which all columns of a row are explained: holes can be filled, and odd rows found."""

    @abstractmethod
    def impute(self, estimator: Any, rows: Rows) -> Imputed:
        """The rows, (n, d), with what is expected in their holes."""

    @abstractmethod
    def impute_many(
        self, estimator: Any, rows: Rows, m: int, rng: np.random.RandomState, own: bool
    ) -> list[np.ndarray]:
        """m tables with draws in their holes, (n, d) each; of its `own` rows, those of the fit, from refits."""

    @abstractmethod
    def row_evidence(self, estimator: Any, rows: Rows) -> np.ndarray:
        """log p of each row, (n,)."""

    @abstractmethod
    def surprise(self, estimator: Any, rows: Rows, index: np.ndarray) -> np.ndarray:
        """−log p of each cell of m of the rows given all the rest, (m, d)."""


class Density(RowTask):
    """p(row)."""

    name = "density"

    def impute(self, estimator: Any, rows: Rows) -> Imputed:
        return impute(estimator, rows.X)

    def impute_many(
        self, estimator: Any, rows: Rows, m: int, rng: np.random.RandomState, own: bool
    ) -> list[np.ndarray]:
        to = FittedTo((rows.X,), np.ones(rows.n_units)) if own else None
        return [np.asarray(table) for table in impute_many(estimator, rows.X, m, rng, to)]

    def row_evidence(self, estimator: Any, rows: Rows) -> np.ndarray:
        return self.evidence(estimator, rows)

    def usual(self, estimator: Any, rows: Rows) -> Any:
        return anomaly.without_lone_parts(estimator, rows.X)

    def surprise(self, estimator: Any, rows: Rows, index: np.ndarray) -> np.ndarray:
        return anomaly.surprise(estimator, rows.X[index])

    def fit(self, estimator: Any, rows: Rows) -> Any:
        return estimator.fit(rows.X)

    def evidence(self, estimator: Any, rows: Rows) -> np.ndarray:
        return np.asarray(estimator.score_samples(rows.X))

    def answers(self, estimator: Any, rows: Rows, schema: Schema) -> Columns:
        return _of_states("component", estimator.predict_proba(rows.X))


class Classes(Task):
    """p(class | the other columns)."""

    name = "classes"

    def fit(self, estimator: Any, rows: Rows) -> Any:
        return estimator.fit(rows.X, rows.y)

    def evidence(self, estimator: Any, rows: Rows) -> np.ndarray:
        chances = estimator.predict_log_proba(rows.X)
        column = {label: j for j, label in enumerate(estimator.classes_.tolist())}
        assert rows.y is not None
        found = [chances[i, column[y]] if y in column else np.nan for i, y in enumerate(rows.y.tolist())]
        return np.asarray(found)

    def answers(self, estimator: Any, rows: Rows, schema: Schema) -> Columns:
        field = _target(schema)
        chances = estimator.predict_proba(rows.X)
        best = estimator.classes_[chances.argmax(axis=1)]
        named = {f"p({field.values[int(c)]})": _short(chances[:, j]) for j, c in enumerate(estimator.classes_)}
        return {f"predicted {field.name}": field.decode(best.astype(float)), **named}

    def figures(self, estimator: Any, rows: Rows) -> dict[str, float]:
        return {"accuracy": float(np.mean(estimator.predict(rows.X) == rows.y))}


class Numbers(Task):
    """p(number | the other columns)."""

    name = "numbers"

    def fit(self, estimator: Any, rows: Rows) -> Any:
        return estimator.fit(rows.X, rows.y)

    def evidence(self, estimator: Any, rows: Rows) -> np.ndarray:
        return np.asarray(estimator.log_density(rows.X, rows.y))

    def answers(self, estimator: Any, rows: Rows, schema: Schema) -> Columns:
        mean, sd = estimator.predict(rows.X, return_std=True)
        name = _target(schema).name
        return {f"predicted {name}": _short(mean), f"sd of {name}": _short(sd)}

    def figures(self, estimator: Any, rows: Rows) -> dict[str, float]:
        assert rows.y is not None
        unit = float(np.abs(rows.y).max()) or 1.0  # squares are of numbers near 1, whatever the target's units
        away, spread = (estimator.predict(rows.X) - rows.y) / unit, float(np.var(rows.y / unit)) or 1.0
        return {"rmse": unit * float(np.sqrt(np.mean(away**2))), "r2": float(1 - np.mean(away**2) / spread)}


class Sequences(RowTask):
    """p(sequence); of a row, p(row | the other rows of its sequence)."""

    name = "sequences"
    unit = "sequence"

    def fit(self, estimator: Any, rows: Rows) -> Any:
        return estimator.fit(rows.X, rows.lengths)

    def evidence(self, estimator: Any, rows: Rows) -> np.ndarray:
        return np.asarray(estimator.score_sequences(rows.X, rows.lengths))

    def answers(self, estimator: Any, rows: Rows, schema: Schema) -> Columns:
        found = _of_states("state", estimator.predict_proba(rows.X, rows.lengths))
        return {**found, "state": np.asarray(estimator.predict(rows.X, rows.lengths)).tolist()}

    def impute(self, estimator: Any, rows: Rows) -> Imputed:
        return Imputed(*estimator.impute(rows.X, rows.lengths, return_std=True))

    def impute_many(
        self, estimator: Any, rows: Rows, m: int, rng: np.random.RandomState, own: bool
    ) -> list[np.ndarray]:
        to = FittedTo((rows.X, rows.lengths), np.ones(rows.n_units))
        models = [refitted(estimator, to, rng, init_params="") if own else estimator for _ in range(m)]
        return [model.sample_missing(rows.X, rows.lengths, rng) for model in models]

    def row_evidence(self, estimator: Any, rows: Rows) -> np.ndarray:
        return np.asarray(estimator.score_rows(rows.X, rows.lengths))

    def surprise(self, estimator: Any, rows: Rows, index: np.ndarray) -> np.ndarray:
        return np.asarray(estimator.surprise_rows(rows.X, rows.lengths)[index])


class Paths(Task):
    """p(targets of a sequence | its inputs)."""

    name = "paths"
    unit = "sequence"

    def fit(self, estimator: Any, rows: Rows) -> Any:
        return estimator.fit(rows.X, rows.y, rows.lengths)

    def evidence(self, estimator: Any, rows: Rows) -> np.ndarray:
        return np.asarray(estimator.log_density(rows.X, rows.y, rows.lengths))

    def answers(self, estimator: Any, rows: Rows, schema: Schema) -> Columns:
        return _of_states("state", estimator.smooth(rows.X, rows.y, rows.lengths))


TASKS: Mapping[str, Task] = {task.name: task for task in (Density(), Classes(), Numbers(), Sequences(), Paths())}


def design(X: np.ndarray, schema: Schema) -> np.ndarray:
    """Inputs as regressions take them: numbers, and for each category but the first whether it is that: (n, p)."""
    parts = []
    for j, field in enumerate(schema.inputs):
        column = X[:, j : j + 1]
        parts.append(column if not field.is_category else _indicators(column, len(field.values)))
    return np.hstack(parts)


def _indicators(column: np.ndarray, n_values: int) -> np.ndarray:
    hot = (column == np.arange(min(1, n_values - 1), n_values)).astype(float)
    return np.where(np.isnan(column), np.nan, hot)


def with_inputs(rows: Rows, X: np.ndarray) -> Rows:
    return replace(rows, X=X)


def _target(schema: Schema) -> Field:
    assert schema.target is not None
    return schema.field(schema.target)


def _of_states(name: str, chances: np.ndarray) -> Columns:
    columns = {f"p({name} {k})": _short(chances[:, k]) for k in range(chances.shape[1])}
    return {name: chances.argmax(axis=1).tolist(), **columns}


def _short(values: Any) -> list[float]:
    """Six digits: more say nothing."""
    return [float(f"{value:.6g}") for value in np.asarray(values)]
