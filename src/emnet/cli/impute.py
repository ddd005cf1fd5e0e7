"""`emnet impute`: what is missing, filled in."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from emnet.cli import options
from emnet.cli.checks import require_writable
from emnet.cli.fit import fit_or_load, say_raised, say_unseen
from emnet.cli.reporting import recording, report_option, table_section, write_report
from emnet.cli.talk import Talk, several, short
from emnet.exceptions import InvalidInputError

if TYPE_CHECKING:
    import numpy as np

    from emnet.data.reading import Columns
    from emnet.data.schema import Schema
    from emnet.estimators.table_model import TableModel

_FILLED = "Cells that were missing, and now have what the model expects in them given the rest of their row."


@click.command()
@options.data_argument
@click.option("--out", metavar="FILE", default="-", show_default="standard output", help="The table without holes.")
@click.option(
    "--sd", metavar="FILE", help="How unsure each filled cell is.  [default: beside --out, as in filled.sd.csv]"
)
@click.option(
    "--model",
    type=options.ModelType(options.OF_ROWS),
    default="auto",
    show_default=True,
    help="What to fill by; or a file that emnet fit wrote.",
)
@click.option(
    "--multiple",
    metavar="M",
    type=click.IntRange(1),
    help="Write M tables with draws for Rubin's rules, as in filled.1.csv.",
)
@options.sequence_option
@options.choice_options
@options.table_options
@report_option
@options.talk_options
def impute(
    data: str,
    out: str,
    sd: str | None,
    model: str,
    multiple: int | None,
    report: str | None,
    as_json: bool,
    quiet: bool,
    missing: tuple[str, ...],
    **rest: Any,
) -> None:
    """Fill in what is missing, given what is there of each row.

    Numbers get their expectation, dates too, words the most probable one. A second file says of every filled cell how
    unsure it is: the standard deviation of numbers (of dates in days), of words the probability that it is another one.
    Cells that were there stay as they are, to the letter.

    \b
    Examples:
      emnet impute patients.csv --out filled.csv
      emnet impute steps.csv --sequence walk --out filled.csv    # rows depend on those before and after
      emnet impute patients.csv --multiple 5 --out filled.csv    # for an analysis of each, and Rubin's rules
      emnet impute new.csv --model patients.emnet --out filled.csv
    """
    sd = sd or (None if out == "-" else options.beside(out, "sd"))
    require_writable({"--out": None if out == "-" else out, "--sd": sd, "--report": report}, inputs=data)
    if multiple is not None and out == "-":
        raise InvalidInputError("--multiple writes several files: give --out FILE.")
    talk, film = Talk(as_json, quiet, table_on_stdout=out == "-"), recording(report)
    columns = options.load_columns(data, missing)
    fitted = fit_or_load(model, columns, missing, talk, rest, film)
    talk.say(fitted.note)
    own = not model.endswith(".emnet")
    if multiple is not None and (why := _why_improper(fitted, columns, own)):
        talk.note(f"{why}: all tables have the same parameters, and errors pooled from them are too small.")
    counts, never, below = _fill(fitted, columns, out, sd, multiple, own, rest["seed"], as_json)
    say_unseen(talk, never)
    say_raised(talk, below)
    total = sum(counts.values())
    talk.say(f"{data}: filled {several(total, 'cell')}{_by_column(counts)}.")
    if remaining := fitted.schema.holes_elsewhere(columns):
        talk.note(f"still missing{_by_column(remaining)}: the model is not told of such columns.")
    written = [options.beside(out, str(i + 1)) for i in range(multiple)] if multiple else [out]
    if out != "-":
        talk.say(f"Written: {', '.join([*written, *([sd] if sd else [])])}.")
    if report is not None:
        rows = [(name, str(count), f"{count / len(columns[name]):.1%}") for name, count in counts.items()]
        filled = table_section("filled", "What was filled", _FILLED, ("column", "cells", "share of the rows"), rows)
        write_report(report, fitted, columns, talk, film=film, extra=[filled])
    talk.found({"model": fitted.kind, "why": fitted.note, "filled": counts, "out": written, "sd": sd})


def _why_improper(model: TableModel, columns: Columns, own: bool) -> str | None:
    """Why Rubin's rules do not hold for draws of that model, None where they do."""
    if not own:
        return "the rows that the model was fitted to are not in its file"
    one = model.rows(columns)[0].n_units == 1
    return f"a single {model.task.unit} does not say how unsure the parameters are" if one else None


def _fill(
    model: TableModel,
    columns: Columns,
    out: str,
    sd: str | None,
    multiple: int | None,
    own: bool,
    seed: int,
    as_json: bool,
) -> tuple[dict[str, int], dict[str, list[int]], dict[str, int]]:
    """Write the tables; how many cells of each column were filled, values never seen, and how many came out too low."""
    import numpy as np
    from numpy.random import RandomState

    from emnet.data.writing import write_columns

    task, schema = model.of_rows("fill"), model.schema
    rows, unseen = model.rows(columns)
    below: Counter[str] = Counter()

    def written(path: str, table: np.ndarray) -> None:
        below.update(schema.below(np.where(np.isnan(rows.X), np.asarray(table), np.nan)))
        write_columns(path, schema.filled(columns, model.in_table_order(columns, np.asarray(table))), schema)

    if multiple is not None:
        tables = task.impute_many(model.estimator, rows, multiple, RandomState(seed), own)
        for number, table in enumerate(tables, start=1):
            written(options.beside(out, str(number)), table)
    found = task.impute(model.estimator, rows)
    if multiple is None and (out != "-" or not as_json):
        written(out, found.table)
    if sd is not None:
        unsure = np.where(np.isnan(rows.X), found.uncertainty, np.nan)
        write_columns(sd, _by_name(schema, model.in_table_order(columns, unsure)), decimal=schema.decimal)
    return {name: int(np.isnan(rows.X[:, j]).sum()) for j, name in enumerate(schema.names)}, unseen, below


def _by_name(schema: Schema, table: np.ndarray) -> Columns:
    return {name: short(table[:, j]) for j, name in enumerate(schema.names)}


def _by_column(counts: dict[str, int]) -> str:
    named = ", ".join(f"{name!r} {count}" for name, count in counts.items() if count)
    return f" ({named})" if named else ""
