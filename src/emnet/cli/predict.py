"""`emnet predict`: what a model says of each row."""

from __future__ import annotations

import click

from emnet.cli import options
from emnet.cli.checks import require_writable
from emnet.cli.fit import say_unseen
from emnet.cli.reporting import answers_section, recording, report_option, write_report
from emnet.cli.talk import Talk, several


@click.command()
@options.model_argument
@options.data_argument
@click.option("--out", metavar="FILE", default="-", show_default="standard output", help="The table with its answers.")
@options.missing_option
@report_option
@options.talk_options
def predict(
    model: str, data: str, out: str, missing: tuple[str, ...], report: str | None, as_json: bool, quiet: bool
) -> None:
    """Put the answers of a saved model beside the rows of a table.

    Of a model with a target its class and the probabilities of all, or its mean and standard deviation; of a mixture
    the component; of sequences the state. The columns are found by name; others are carried along.

    \b
    Examples:
      emnet predict iris.emnet new.csv --out answers.csv
      cat new.csv | emnet predict iris.emnet - > answers.csv
    """
    from emnet.data.writing import write_columns

    require_writable({"--out": None if out == "-" else out, "--report": report}, inputs=data)
    recording(report)
    talk = Talk(as_json, quiet, table_on_stdout=out == "-")
    fitted, columns = options.load_model(model), options.load_columns(data, missing)
    answers, unseen = fitted.answers(columns)
    say_unseen(talk, unseen)
    if out != "-" or not as_json:
        write_columns(out, {**columns, **answers}, fitted.schema)
    talk.say(f"{data}: {several(len(next(iter(columns.values()))), 'row')}; added {', '.join(answers)}.")
    if report is not None:
        write_report(report, fitted, columns, talk, extra=[answers_section(answers)])
    talk.found({"model": fitted.kind, "answers": answers, "out": out})
