"""A model fitted to a user's table: of the kind and size that explain best what they have not seen."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from emnet.algorithms.base import Callback
from emnet.applications.select import Candidate, Tried, select
from emnet.data.cells import is_missing
from emnet.data.field import TEXT
from emnet.data.reading import Columns
from emnet.data.schema import Schema, listed, with_classes
from emnet.distributed import ALONE, Group
from emnet.estimators.checkpoints import checkpointing, chosen_in
from emnet.estimators.mixture_model import MixtureModel
from emnet.estimators.model_table import KINDS, Kind, Options, kinds_for, table_emissions, variants_for
from emnet.estimators.table_model import TableModel, coded_rows, filled_inputs
from emnet.estimators.table_tasks import TASKS, Rows, Task, design, with_inputs
from emnet.exceptions import InvalidInputError

_MOST_ROWS = 10_000  # for choosing: more make no difference to the choice, and take their time
_FOLDS, _FEW_ROWS = 3, 2000  # below which every row is held out once; else a quarter of them is
_MOST_CLASSES = 20  # different whole numbers in a target that are taken as classes
_FILLER_COMPONENTS = 3
_TO_SHOW = "Fitted by E- and M-steps, to be looked at; emnet fit --model {} takes a faster way up the same evidence."
_NO_TARGET = {"date": "dates in it", "text": "too many different words in it", "empty": "nothing in it"}
_IF_CLASSES = " If they are classes: --as {!r}=category."


@dataclass(frozen=True)
class Request:
    """What is asked for.

    kind : a name of `KINDS`, or "auto".
    sizes : what to choose from, or None for those of the kind.
    seconds : the budget of the choice.
    within : what the last fit is done within, such as a recording of it.
    note, tried, callback : told of what is left out, of every model compared, and of every iteration of the last fit.
    checkpoint, checkpoint_every : the file that the last fit is kept in and goes on from, and seconds between two.
    group : the processes that fit together.
    shows_steps : whether the iterations of the last fit are to be looked at.
    """

    kind: str = "auto"
    sizes: Sequence[int] | None = None
    seconds: float = 30.0
    seed: int = 0
    note: Callable[[str], None] = field(default=lambda text: None)
    tried: Callable[[Tried, int], None] = field(default=lambda tried, total: None)
    callback: Callback | None = None
    within: AbstractContextManager[Any] = field(default_factory=nullcontext)
    checkpoint: str | None = None
    checkpoint_every: float | None = None
    group: Group = ALONE
    shows_steps: bool = False

    @contextmanager
    def keeping(self, plan: Plan) -> Iterator[None]:
        """Records the fits in the block, and keeps them in a file where there is one, with what was chosen."""
        with self.within:
            if self.checkpoint is None:
                yield
                return
            of_whom: dict[str, Any] = {"estimator": plan.estimator, "group": self.group, "choice": plan.choice}
            with checkpointing(self.checkpoint, self.checkpoint_every, resume=True, **of_whom):
                yield

    def agreed(self, choose: Callable[[], Any]) -> Any:
        """What the first process chooses, for all: clocks decide too."""
        return self.group.gathered(choose() if self.group.is_first else None)[0]


@dataclass(frozen=True)
class _Option:
    """A row of the table of models, with a size and a variant."""

    kind: str
    size: int
    variant: str

    @property
    def row(self) -> Kind:
        return KINDS[self.kind]

    def build(self, schema: Schema, options: Options) -> Any:
        return self.row.build(schema, self.size, self.row.variants[self.variant], options)


@dataclass(frozen=True)
class Plan:
    """A model that is about to be fitted.

    rows : that it was chosen by.
    """

    option: _Option
    schema: Schema
    task: Task
    filler: Any
    note: str
    rows: Rows
    request: Request

    @property
    def choice(self) -> str:
        """What a fit that goes on from a file is not to choose again."""
        return json.dumps([self.option.kind, self.option.size, self.option.variant, self.note])

    @property
    def estimator(self) -> Any:
        callbacks = () if self.request.callback is None else (self.request.callback,)
        found = self.option.build(self.schema, Options(self.request.seed, callbacks))
        return found.set_params(**self.option.row.to_show) if self.request.shows_steps else found

    def fitted(self, estimator: Any) -> TableModel:
        estimator.set_params(callbacks=())
        return TableModel(estimator, self.schema, self.option.kind, self.task, self.filler, self.note)


def fit_table(columns: Columns, schema: Schema, request: Request) -> TableModel:
    """Choose and fit a model of the table.

    Raises InvalidInputError where the model and what there is to explain do not go together.
    """
    plan = plan_table(columns, schema, request)
    with request.keeping(plan):
        return plan.fitted(plan.task.fit(plan.estimator, plan.rows))


def plan_table(columns: Columns, schema: Schema, request: Request, seen: Columns | None = None) -> Plan:
    """Choose a model of the table; `seen` are columns with values that the rows lack, and that are known all the same.

    Raises InvalidInputError where the model and what there is to explain do not go together.
    """
    schema = _with_target(seen or columns, schema, request)
    names = kinds_for(schema) if request.kind == "auto" else [request.kind]
    schema = fitting_schema(schema, names, request)
    columns = _known_targets(columns, schema, request)
    rows, _ = coded_rows(columns, schema, with_target=True)
    filler = _filler(rows, schema, request)
    task = TASKS[_task_of(schema, names[0])]
    if task.name == "sequences" and rows.lengths is None:
        rows = replace(rows, lengths=np.array([len(rows.X)]))
    if schema.target is not None:
        rows = with_inputs(rows, design(filled_inputs(rows.X, filler, schema), schema))
    option, note = request.agreed(lambda: _chosen(names, rows, schema, task, request))
    if request.shows_steps and option.row.to_show:
        note = f"{note} {_TO_SHOW.format(option.kind)}"
    return Plan(option, schema, task, filler, note, rows, request)


def _with_target(columns: Columns, schema: Schema, request: Request) -> Schema:
    """The schema, with a target of few whole numbers as classes."""
    if schema.target is None:
        return schema
    own = schema.field(schema.target)
    if own.kind in _NO_TARGET:
        raise InvalidInputError(
            f"The target {own.name!r} has {_NO_TARGET[own.kind]}; a number or a category was expected."
            f"{_IF_CLASSES.format(own.name) if own.kind == TEXT else ''}"
        )
    different = {cell for cell in columns[own.name] if not is_missing(cell)}
    labels = own.kind == "whole" and len(different) <= min(_MOST_CLASSES, max(2, len(columns[own.name]) // 10))
    if labels:
        request.note(
            f"The target {own.name!r} has {len(different)} different values, which are taken as classes (if they are "
            f"amounts: --as {own.name!r}=number)."
        )
    if labels or own.kind == "id":
        own = with_classes(own, columns[own.name])
    if own.is_category and len(own.values) < 2:
        raise InvalidInputError(
            f"The target {own.name!r} is {own.values[0]!r} in every row: there is nothing to learn."
        )
    return replace(schema, fields=tuple(own if f.name == own.name else f for f in schema.fields))


def fitting_schema(schema: Schema, names: Sequence[str], request: Request) -> Schema:
    """The schema without the columns that those models do not take."""
    task = KINDS[names[0]].task
    if task == "target" and schema.target is None:
        raise InvalidInputError(
            f"--model {names[0]} explains a column from the others: say which, --target COLUMN; "
            f"{listed(f.name for f in schema.fields)}"
        )
    if task != "target" and schema.target is not None:
        raise InvalidInputError(f"--model {names[0]} has no target; leave --target out, or take em-mlp or moe.")
    if task == "target" and schema.sequence is not None:
        raise InvalidInputError(
            "--target and --sequence together are for Python (emnet.InputOutputHMM); leave --sequence out to explain "
            "the target row by row, or --target to have states of the sequences."
        )
    if task == "density" and schema.sequence is not None:
        raise InvalidInputError(f"--model {names[0]} is not of sequences; leave --sequence out, or take hmm.")
    words = [field.name for field in schema.inputs if field.is_category]
    if words and not KINDS[names[0]].takes_categories:
        request.note(f"{names[0]} is for numbers, so it leaves out {', '.join(words)}.")
        schema = schema.without(words)
    if not schema.inputs:
        raise InvalidInputError(f"No columns are left for --model {names[0]}; take --model mixture, or auto.")
    return schema


def _known_targets(columns: Columns, schema: Schema, request: Request) -> Columns:
    """The rows that have a target."""
    if schema.target is None:
        return columns
    numbers, _ = schema.field(schema.target).encode(columns[schema.target])
    known = np.flatnonzero(~np.isnan(numbers))
    missing = len(numbers) - len(known)
    if not missing:
        return columns
    if len(known) < 2:
        raise InvalidInputError(f"Rows that have a target {schema.target!r}: {len(known)}; two at least were expected.")
    request.note(f"Left out the {missing} rows in which the target {schema.target!r} is missing.")
    return {name: [cells[row] for row in known] for name, cells in columns.items()}


def _task_of(schema: Schema, kind: str) -> str:
    if schema.target is not None:
        return "classes" if schema.field(schema.target).is_category else "numbers"
    return KINDS[kind].task


def _filler(rows: Rows, schema: Schema, request: Request) -> Any:
    """Of models that take no holes, what fills them."""
    holes = int(np.isnan(rows.X).sum())
    if schema.target is None or not holes:
        return None
    request.note(
        f"Missing cells of the inputs: {holes}. They are filled by a mixture of the columns, which the model keeps."
    )
    return filler_of(rows.X, schema, request.seed)


def filler_of(X: np.ndarray, schema: Schema, seed: int) -> MixtureModel:
    """A mixture of the inputs, (n, d), that fills their holes."""
    size = min(_FILLER_COMPONENTS, len(X))
    filler = MixtureModel(size, emissions=table_emissions(schema, together=True), random_state=seed)
    with _quiet():
        return filler.fit(X)


def _chosen(names: Sequence[str], rows: Rows, schema: Schema, task: Task, request: Request) -> tuple[_Option, str]:
    """The option, and a sentence that says why."""
    options = list(_options(names, rows, schema, request))
    before = _chosen_before(options, request)
    if before is not None:
        return before
    if len(options) == 1:
        return options[0], f"Fitted {options[0].row.described(options[0].size, options[0].variant)}, as asked for."
    folds = list(_folds(rows, task, request.seed))
    candidates = [
        Candidate(
            option.row.described(option.size, option.variant),
            f"{option.kind} {option.variant}",
            partial(_held_out, option, folds, schema, task, request.seed),
            option,
        )
        for option in options
    ]
    choice = select(candidates, request.seconds, lambda tried: request.tried(tried, len(candidates)), task.unit)
    return choice.best.what, choice.sentence


def _chosen_before(options: Sequence[_Option], request: Request) -> tuple[_Option, str] | None:
    """What the fit that goes on was begun with: a clock might choose another model now."""
    choice = None if request.checkpoint is None else chosen_in(request.checkpoint)
    try:
        *own, note = json.loads(choice or "[null]")
    except (TypeError, ValueError):  # nothing of ours
        return None
    return next(((each, str(note)) for each in options if [each.kind, each.size, each.variant] == own), None)


def _options(names: Sequence[str], rows: Rows, schema: Schema, request: Request) -> Iterator[_Option]:
    """Small ones of every family first, so that a short budget leaves none out."""
    sizes = sorted(set(request.sizes or [size for name in names for size in KINDS[name].sizes]))
    few = [size for size in sizes if size <= max(1, len(rows.X) // 5)] or sizes[:1]
    for size in sizes if request.sizes else few:
        for name in names:
            if request.sizes or size in KINDS[name].sizes:
                yield from (_Option(name, size, variant) for variant in variants_for(name, schema))


def _folds(rows: Rows, task: Task, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """What is fitted to, and what is held out: rows, or sequences."""
    if rows.lengths is not None and len(rows.lengths) == 1:
        rows = replace(rows, lengths=_cut(len(rows.X)))
    order = np.random.default_rng(seed).permutation(rows.n_units)
    if task.name == "classes" and rows.y is not None:
        order = order[np.argsort(rows.y[order], kind="stable")]  # so that every part has its share of each class
    if len(order) > _MOST_ROWS:
        order = order[:: -(-len(order) // _MOST_ROWS)]
    fewest = 3 if rows.lengths is None else 2  # one is held out, and a single row that is left has no spread
    if len(order) < fewest:
        raise InvalidInputError(
            f"To choose a model by how well it explains {task.unit}s that are held out, {fewest} of them at least were "
            f"expected; got {len(order)}."
        )
    parts = min(_FOLDS, len(order)) if len(order) < _FEW_ROWS else 4
    for number in range(parts if len(order) < _FEW_ROWS else 1):
        held = np.arange(len(order)) % parts == number
        yield rows.units(np.sort(order[~held])), rows.units(np.sort(order[held]))


def _cut(n: int) -> np.ndarray:
    """Lengths of the pieces of a single sequence, of which each may be held out."""
    return np.array([len(piece) for piece in np.array_split(np.arange(n), min(n, 2 * _FOLDS))])


def _held_out(option: _Option, folds: Sequence[tuple[Rows, Rows]], schema: Schema, task: Task, seed: int) -> np.ndarray:
    """log p of each unit that was held out."""
    found = []
    for kept, held in folds:
        with _quiet():
            fitted = task.fit(option.build(schema, Options(seed, thorough=False)), kept)
            evidence = task.evidence(fitted, _seen_before(kept, held, schema))
        found.append(np.where(np.isnan(evidence), -np.log(1 + len(kept.X)), evidence))
    return np.concatenate(found)


def _seen_before(kept: Rows, held: Rows, schema: Schema) -> Rows:
    """Rows whose categories are those that were fitted to: one that is new is missing, for all candidates alike."""
    if schema.target is not None:
        return held
    return with_inputs(held, without_new(held.X, kept.X, schema))


def without_new(X: np.ndarray, known: np.ndarray, schema: Schema) -> np.ndarray:
    """The inputs, (n, d), with NaN for categories that none of the known rows has."""
    X = X.copy()
    for j, column in enumerate(schema.inputs):
        if column.is_category:
            X[~np.isin(X[:, j], known[:, j]), j] = np.nan
    return X


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of fits that only stand to be compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
