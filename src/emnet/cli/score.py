"""`emnet score`: how well a model explains a table."""

from __future__ import annotations

import click

from emnet.cli import options
from emnet.cli.checks import require_writable
from emnet.cli.fit import figures_of, said, say_unseen
from emnet.cli.reporting import recording, report_option, write_report
from emnet.cli.talk import Talk


@click.command()
@options.model_argument
@options.data_argument
@options.missing_option
@report_option
@options.talk_options
def score(model: str, data: str, missing: tuple[str, ...], report: str | None, as_json: bool, quiet: bool) -> None:
    """Say how well a saved model explains a table.

    The mean log evidence of a row, in nats (of a target given the rest of its row, where there is one), and accuracy or
    errors. Compare models on rows that none of them was fitted to.

    \b
    Example:
      emnet score iris.emnet held_out.csv
    """
    require_writable({"--report": report}, inputs=data)
    recording(report)
    talk = Talk(as_json, quiet)
    fitted, columns = options.load_model(model), options.load_columns(data, missing)
    say_unseen(talk, fitted.rows(columns)[1])
    figures = figures_of(fitted, columns)
    talk.say(f"{data}: {said(figures, fitted)}.")
    write_report(report, fitted, columns, talk)
    talk.found({"model": fitted.kind, "rows": len(next(iter(columns.values()))), **figures})
