"""`emnet fit`: a model of a table, chosen and saved."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emnet.cli import options
from emnet.cli.checks import require_writable
from emnet.cli.reporting import recording, report_option, write_report
from emnet.cli.talk import Talk, several
from emnet.estimators.model_table import KINDS
from emnet.exceptions import InvalidInputError

if TYPE_CHECKING:
    from emnet.cli.reporting import Recording
    from emnet.data.reading import Columns
    from emnet.data.schema import Schema
    from emnet.distributed import Group
    from emnet.estimators.table_choice import Request
    from emnet.estimators.table_model import TableModel


_MODELS = "\n".join(f"  {name:8s} {kind.about}" for name, kind in KINDS.items())
_HELP = f"""Fit a model to a table, and save it.

DATA is a CSV, Parquet, Feather, Arrow, .npy or .npz file, - for CSV on standard input, or a bundled set (emnet
datasets). Kinds of columns and missing cells are found out; ids, free text and empty columns are left out.

A folder or a pattern ('rows/*.parquet') is gone through file by file and need not fit into memory. Many processes share
it: torchrun --nproc-per-node 4 -m emnet fit 'rows/*.parquet' --out rows.emnet

\b
Models:
{_MODELS}

\b
Examples:
  emnet fit patients.csv --out patients.emnet
  emnet fit iris --target target --model em-mlp --size 8 --out iris.emnet
  emnet fit steps.csv --sequence walk --model hmm --size 2..5 --out steps.emnet
"""


@click.command(help=_HELP)
@options.data_argument
@click.option(
    "--model",
    type=click.Choice(options.MODELS),
    default="auto",
    show_default=True,
    help="What to fit; auto: the smallest within a standard error of the best on rows held out.",
)
@options.target_option
@options.sequence_option
@options.choice_options
@options.table_options
@click.option("--out", metavar="FILE", type=click.Path(dir_okay=False), help="Where to save it, as in model.emnet.")
@options.stream_options
@report_option
@options.talk_options
def fit(
    data: str,
    model: str,
    out: str | None,
    report: str | None,
    as_json: bool,
    quiet: bool,
    missing: tuple[str, ...],
    **rest: Any,
) -> None:
    """Fit a model to a table, and save it."""
    from emnet.distributed import session
    from emnet.envelope import require_file

    with session(rest["timeout"] + rest["seconds"]) as group:
        if group.is_first:
            require_writable({"--out": out, "--report": report}, inputs=data)
            if out is not None:
                require_file(Path(out))
        talk = Talk(as_json, quiet) if group.is_first else Talk(False, True)
        film = recording(report if group.is_first else None)
        if options.is_stream(data):
            fitted, columns, on = _of_stream(data, model, talk, missing, rest, group, film)
        else:
            fitted, columns, on = _of_table(data, model, talk, missing, rest, film)
        if group.is_first:
            _tell(data, fitted, columns, on, out, report, talk, film)


def _of_table(
    data: str, model: str, talk: Talk, missing: tuple[str, ...], rest: dict[str, Any], film: Recording
) -> tuple[TableModel, Columns, str]:
    """The model, the rows that it can be tried on, and what they are."""
    columns = options.load_columns(data, missing)
    return fit_or_load(model, columns, missing, talk, rest, film), columns, "the rows it was fitted to"


def _of_stream(
    data: str,
    model: str,
    talk: Talk,
    missing: tuple[str, ...],
    rest: dict[str, Any],
    group: Group,
    film: Recording,
) -> tuple[TableModel, Columns, str]:
    """The same by this process's share of files."""
    from emnet.data.stream import stream
    from emnet.estimators.table_stream import Wanted, fit_streamed

    kinds = options.read_kinds(rest["kinds"])
    wanted = Wanted(rest["target"], rest["sequence"], rest["drop"], kinds, missing)
    rows = stream(data, blocks=rest["blocks"]).shared(group)
    with talk.progress(rest["seconds"]):
        fitted, found = fit_streamed(rows, wanted, request_of(model, talk, rest, film, group))
    say_left_out(talk, fitted.schema)
    on = "the rows it was fitted to" if found.is_whole else f"a sample of the {found.n_rows:,} rows it was fitted to"
    return fitted, found.sample, on


def _tell(
    data: str,
    fitted: TableModel,
    columns: Columns,
    on: str,
    out: str | None,
    report: str | None,
    talk: Talk,
    film: Recording,
) -> None:
    figures = figures_of(fitted, columns)
    talk.say(fitted.note)
    talk.say(f"{data}: {training(fitted)}; {said(figures, fitted)} on {on}.")
    if out is not None:
        fitted.save(out)
        talk.say(f"Saved to {out}: emnet info {out} says what is in it.")
    else:
        talk.note("not saved; give --out model.emnet to keep it.")
    write_report(report, fitted, columns, talk, film=film)
    talk.found(summary(fitted) | {"figures": figures, "out": out})


def fit_or_load(
    model: str,
    columns: Columns,
    missing: tuple[str, ...],
    talk: Talk,
    choice: dict[str, Any],
    within: Recording | None = None,
) -> TableModel:
    """A model of that name fitted to the table, `within` what may record it, or the one that is in a file."""
    if model.endswith(".emnet"):
        return options.load_model(model)
    from emnet.estimators.table_choice import fit_table

    roles = choice.get("target"), choice.get("sequence")
    schema = options.read_schema(columns, choice["drop"], choice["kinds"], *roles, missing)
    say_left_out(talk, schema)
    with talk.progress(choice["seconds"]):
        return fit_table(columns, schema, request_of(model, talk, choice, within))


def request_of(
    model: str, talk: Talk, choice: dict[str, Any], within: Recording | None = None, group: Group | None = None
) -> Request:
    """What is asked for, by the words of the command line."""
    from emnet.distributed import ALONE
    from emnet.estimators.table_choice import Request

    return Request(
        model,
        choice["size"],
        choice["seconds"],
        choice["seed"],
        talk.note,
        talk.tried,
        talk.iteration,
        within or nullcontext(),
        choice.get("checkpoint"),
        choice.get("checkpoint_every"),
        group or ALONE,
        choice.get("shows_steps", False),
    )


def say_left_out(talk: Talk, schema: Schema) -> None:
    """What the model is not told of, and what it may have been told wrongly."""
    if schema.left_out:
        named = "; ".join(f"{name!r} ({why})" for name, why in schema.left_out.items())
        talk.note(f"left out of the model: {named}. --as COLUMN=category takes one in.")
    for remark in schema.remarks:
        talk.note(remark)


def say_raised(talk: Talk, below: dict[str, int]) -> None:
    """Numbers below 0 in a column that has none are 0, aloud."""
    if below:
        named = ", ".join(f"{name!r} {count}" for name, count in below.items())
        talk.note(f"written as 0, as no row has less, though the model gave less (column and cells): {named}.")


def say_unseen(talk: Talk, unseen: dict[str, list[int]]) -> None:
    """Values that a model has never seen are taken as missing, aloud."""
    for name, rows in unseen.items():
        talk.note(
            f"column {name!r} has values that the model has never seen in {several(len(rows), 'row')} (the first is "
            f"row {rows[0] + 1}); they are taken as missing."
        )


def figures_of(model: TableModel, columns: Columns) -> dict[str, float]:
    """How good it is on a table: mean log evidence, and accuracy or errors; of the rows whose target is known."""
    import numpy as np

    known = rows_with_target(model, columns)
    rows, _ = model.rows(known, with_target=True)
    evidence = model.task.evidence(model.estimator, rows)
    return {"log_evidence": float(np.nanmean(evidence)), **model.task.figures(model.estimator, rows)}


def rows_with_target(model: TableModel, columns: Columns) -> Columns:
    """The rows whose target is one that the model knows."""
    if model.schema.target is None:
        return columns
    model.schema.require(columns, [model.schema.target])
    numbers, _ = model.schema.field(model.schema.target).encode(model.schema.cleared(columns)[model.schema.target])
    known = [row for row, x in enumerate(numbers) if not math.isnan(x)]
    if not known:
        raise InvalidInputError(f"No row has a target {model.schema.target!r} that the model knows.")
    return {name: [cells[row] for row in known] for name, cells in columns.items()}


def said(figures: dict[str, float], model: TableModel) -> str:
    words = {"log_evidence": f"log evidence {{:.4g}} nats a {model.task.unit}", "accuracy": "accuracy {:.1%}"}
    words |= {"rmse": "root mean squared error {:.4g}", "r2": "R² {:.3f}"}
    return ", ".join(words[name].format(value) for name, value in figures.items())


def training(model: TableModel) -> str:
    """How the fit went."""
    from emnet.report.endings import phrase

    reason, iterations = model.training["reason"], model.training["iterations"]
    if iterations is None:
        return "fitted in one step"  # there is a closed form
    return f"{phrase(model.estimator, reason)} after {several(iterations, 'iteration')}"


def summary(model: TableModel) -> dict[str, Any]:
    """What a model is, for machines."""
    estimator = model.estimator
    return {
        "model": model.kind,
        "task": model.task.name,
        "why": model.note,
        "estimator": type(estimator).__name__,
        "target": model.schema.target,
        "sequence": model.schema.sequence,
        "columns": {field.name: field.kind for field in model.schema.inputs},
        "left_out": model.schema.left_out,
        **model.training,
    }
