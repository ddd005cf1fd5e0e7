"""`emnet detect`: the rows that are unlike the others, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from emnet.cli import options
from emnet.cli.checks import require_writable
from emnet.cli.fit import fit_or_load, say_unseen
from emnet.cli.reporting import recording, report_option, scores_section, write_report
from emnet.cli.talk import Talk, number, short

if TYPE_CHECKING:
    from emnet.applications.anomaly import Reason
    from emnet.data.reading import Columns
    from emnet.estimators.table_model import TableModel

_SHOWN, _REASONS = 10, 3
_WORTH_SAYING = 0.5  # nats


@click.command()
@options.data_argument
@click.option("--out", metavar="FILE", default="-", show_default="standard output", help="The table with scores.")
@click.option(
    "--contamination",
    type=click.FloatRange(0, 0.5, min_open=True),
    default=0.05,
    show_default=True,
    help="Share of the rows that the model was fitted to that count as outliers.",
)
@click.option("--fit-on", metavar="CLEAN", type=options.DataType(), help="Learn what is usual from this table.")
@click.option(
    "--model",
    type=options.ModelType(options.OF_ROWS),
    default="auto",
    show_default=True,
    help="What to compare rows with; or a file that emnet fit wrote.",
)
@options.sequence_option
@options.choice_options
@options.table_options
@report_option
@options.talk_options
def detect(
    data: str,
    out: str,
    contamination: float,
    fit_on: str | None,
    model: str,
    report: str | None,
    as_json: bool,
    quiet: bool,
    missing: tuple[str, ...],
    **rest: Any,
) -> None:
    """Find rows that are unlike the others, and the columns that make them so.

    Adds three columns: score, −log p(row) in nats, the higher the stranger; outlier, true or false; and why, the
    columns that surprise more than usual given the rest of the row, each with how much more, in nats (3 nats are a
    twentieth of the usual density, 10 a twenty-thousandth).

    \b
    Examples:
      emnet detect payments.csv --out scores.csv --contamination 0.01
      emnet detect steps.csv --sequence walk --out scores.csv    # odd among the rows before and after it
      emnet detect today.csv --fit-on last_year.csv --out scores.csv
    """
    require_writable({"--out": None if out == "-" else out, "--report": report}, inputs=data)
    talk, film = Talk(as_json, quiet, table_on_stdout=out == "-"), recording(report)
    columns = options.load_columns(data, missing)
    usual = columns if fit_on is None else options.load_columns(fit_on, missing)
    fitted = fit_or_load(model, usual, missing, talk, rest, film)
    talk.say(fitted.note)
    threshold, scores, flags, why = _judge(fitted, usual, columns, contamination, talk)

    from emnet.data.writing import write_columns

    if out != "-" or not as_json:
        added: Columns = {"score": short(scores), "outlier": flags, "why": ["; ".join(reasons) for reasons in why]}
        write_columns(out, {**columns, **added}, fitted.schema)
    strange = sorted((row for row, flag in enumerate(flags) if flag), key=lambda row: -scores[row])
    talk.say(f"{data}: {len(strange)} of {len(flags)} rows score above {threshold:.4g}; the strangest:")
    shown = [(str(row + 1), number(scores[row]), "; ".join(why[row])) for row in strange[:_SHOWN]]
    talk.table(("row", "score", "why"), shown, left=3)
    if report is not None:
        section = scores_section(scores, threshold, shown)
        write_report(report, fitted, columns, talk, film=film, extra=[section], fitted_to=usual)
    found = [{"row": row + 1, "score": scores[row], "why": why[row]} for row in strange]
    talk.found({"model": fitted.kind, "why": fitted.note, "threshold": threshold, "outliers": found, "out": out})


def _judge(
    model: TableModel, usual: Columns, columns: Columns, contamination: float, talk: Talk
) -> tuple[float, list[float], list[bool], list[list[str]]]:
    """The threshold; and of each row of the table its score, whether it is above, and what made it so."""
    import numpy as np

    from emnet.applications import anomaly

    task = model.of_rows("detect")
    reference, (rows, unseen) = model.rows(usual)[0], model.rows(columns)
    estimator = task.usual(model.estimator, reference)
    say_unseen(talk, unseen)
    threshold = anomaly.outlier_threshold(task.row_evidence(estimator, reference), contamination)
    scores = task.row_evidence(estimator, rows)
    place = model.in_table_order(columns, np.arange(len(scores)))  # of each row of the table
    flagged = scores[place] < threshold
    flagged[sorted({row for found in unseen.values() for row in found})] = True
    why: list[list[str]] = [[] for _ in scores]
    if flagged.any():
        some, odd = anomaly.some_of(len(reference.X)), np.flatnonzero(flagged)
        excess = anomaly.excess(task.surprise(estimator, rows, place[odd]), task.surprise(estimator, reference, some))
        for row, found in zip(odd, anomaly.reasons(excess, model.schema.names, _REASONS), strict=True):
            new = [f"{name} (never seen)" for name, own in unseen.items() if row in own]
            why[row] = [*new, *_in_words(found)]
    return -threshold, (0.0 - scores[place]).tolist(), flagged.tolist(), why


def _in_words(found: list[Reason]) -> list[str]:
    """The first reason, and those that count besides it."""
    return [f"{r.column} ({r.surprise:.1f})" for k, r in enumerate(found) if not k or r.surprise >= _WORTH_SAYING]
