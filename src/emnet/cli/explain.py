"""`emnet explain`: a model of a table, and a page that shows what it found and how EM found it."""

from __future__ import annotations

from typing import Any

import click

from emnet.cli import options
from emnet.cli.checks import require_writable
from emnet.cli.fit import figures_of, fit_or_load, said, summary, training
from emnet.cli.reporting import recording, write_report
from emnet.cli.talk import Talk


@click.command()
@options.data_argument
@click.option(
    "--model",
    type=options.ModelType(options.MODELS),
    default="auto",
    show_default=True,
    help="What to fit; or a file that emnet fit wrote, of which there are no iterations to step through.",
)
@options.target_option
@options.sequence_option
@click.option(
    "--show",
    metavar="COLUMN",
    multiple=True,
    type=options.ColumnType(),
    help="Draw over this column (again for a second).  [default: those that tell most]",
)
@click.option(
    "--report", metavar="FILE.html", type=click.Path(dir_okay=False), default="report.html", show_default=True
)
@options.choice_options
@options.table_options
@options.talk_options
def explain(
    data: str,
    model: str,
    report: str,
    show: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    missing: tuple[str, ...],
    **rest: Any,
) -> None:
    """Fit a model to a table, and write a page that shows what it found, and how.

    One HTML file that needs nothing else: what is in the table, how the evidence rose, EM step by step with a slider,
    the model in pictures, how good its answers are, the rows that surprise it most, and how to run it again.

    \b
    Examples:
      emnet explain iris --target target --model em-mlp --size 4
      emnet explain patients.csv --model gmm --size 3 --show age --show height --report patients.html
    """
    require_writable({"--report": report}, inputs=data)
    talk, film = Talk(as_json, quiet), recording(report)
    columns = options.load_columns(data, missing)
    fitted = fit_or_load(model, columns, missing, talk, rest | {"shows_steps": True}, film)
    figures = figures_of(fitted, columns)
    talk.say(fitted.note)
    talk.say(f"{data}: {training(fitted)}; {said(figures, fitted)} on the rows of the table.")
    write_report(report, fitted, columns, talk, film=film, show=show)
    talk.found(summary(fitted) | {"figures": figures, "report": report})
