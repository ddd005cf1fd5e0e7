"""`emnet sample`: new rows like those that a model was fitted to."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import click

from emnet.cli import options
from emnet.cli.checks import require_writable
from emnet.cli.fit import say_raised
from emnet.cli.reporting import recording, report_option, write_report
from emnet.cli.talk import Talk, several
from emnet.exceptions import InvalidInputError

if TYPE_CHECKING:
    import numpy as np

    from emnet.data.reading import Columns
    from emnet.data.schema import Schema
    from emnet.estimators.table_model import TableModel


@click.command()
@options.model_argument
@click.option("-n", "n", type=click.IntRange(1), default=1000, show_default=True, help="How many rows.")
@click.option("--given", metavar="NAME=VALUE,…", help="What the rows have for sure; the rest is drawn given that.")
@click.option("--out", metavar="FILE", default="-", show_default="standard output", help="Where to write them.")
@options.seed_option
@report_option
@options.talk_options
def sample(
    model: str, n: int, given: str | None, out: str, seed: int, report: str | None, as_json: bool, quiet: bool
) -> None:
    """Draw new rows with the columns and types that a saved model knows.

    \b
    Examples:
      emnet sample patients.emnet -n 1000 --out new.csv
      emnet sample patients.emnet -n 50 --given "sex=f,age=30" --out women_of_30.csv
    """
    from emnet.data.writing import write_columns

    require_writable({"--out": None if out == "-" else out, "--report": report}, inputs=model)
    recording(report)
    talk = Talk(as_json, quiet, table_on_stdout=out == "-")
    fitted = options.load_model(model)
    drawn = _draw(fitted, n, given, seed)
    say_raised(talk, fitted.schema.below(drawn))
    columns = fitted.schema.decode(drawn)
    if out != "-" or not as_json:
        write_columns(out, columns, fitted.schema)
    talk.say(f"Drew {several(n, 'row')} of {', '.join(columns)}.")
    if report is not None:
        write_report(report, fitted, _in_one_sequence(columns, fitted.schema, n), talk, of_model_alone=True)
    talk.found({"model": fitted.kind, "rows": n, "out": out, **({"columns": columns} if out == "-" else {})})


def _in_one_sequence(columns: Columns, schema: Schema, n: int) -> Columns:
    """Rows of a model of sequences, which are drawn as one."""
    return columns if schema.sequence is None else {**columns, schema.sequence: ["drawn"] * n}


def _draw(model: TableModel, n: int, given: str | None, seed: int) -> np.ndarray:
    """Coded rows, (n, d)."""
    import numpy as np
    from numpy.random import RandomState

    from emnet.applications.sample import sample as draw

    if model.task.name == "density":
        known = _given(model.schema, given)
        return np.asarray(draw(model.estimator, np.empty((0, len(model.schema.inputs))), n, known, RandomState(seed)))
    if model.task.name != "sequences":
        raise InvalidInputError(
            f"A model of the target {model.schema.target!r} does not say how the other columns are spread: there is "
            "nothing to draw them from. Fit gmm or mixture."
        )
    if given is not None:
        raise InvalidInputError("--given is for gmm and mixture; a sequence is drawn from its first row on.")
    return np.asarray(model.estimator.sample(n, random_state=seed)[0])


def _given(schema: Schema, text: str | None) -> dict[int, float]:
    """{number of the column: its code} of NAME=VALUE with commas between; quotes around what has commas in it."""
    known = {}
    for part in next(csv.reader([text], skipinitialspace=True)) if text else []:
        name, mark, value = (piece.strip() for piece in part.partition("="))
        if not mark:
            raise InvalidInputError(f"--given: NAME=VALUE was expected; got {part!r}.")
        if name not in schema.names:
            raise InvalidInputError(f"--given: the model has no column {name!r}; it has {', '.join(schema.names)}.")
        field = schema.field(name)
        codes, unseen = field.encode([value])
        if unseen:
            raise InvalidInputError(f"--given: {name!r} is never {value!r}; it is {', '.join(field.values)}.")
        if codes[0] == codes[0]:
            known[schema.names.index(name)] = float(codes[0])
    return known
