"""`emnet info`: what is in a model file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from emnet.cli import options
from emnet.cli.checks import require_writable
from emnet.cli.fit import summary, training
from emnet.cli.parts import one_a_line, parts_of, side_by_side, width
from emnet.cli.reporting import recording, report_option, table_section, write_report_of_model
from emnet.cli.talk import WIDTH, Talk, number

if TYPE_CHECKING:
    from emnet.data.field import Field
    from emnet.estimators.table_model import TableModel

_COLUMNS = "What the model knows of a table. No rows are kept in a model file, so this page shows none."
_PARTS = "Mean ± standard deviation of numbers, and the most frequent words."
_KEPT = "BIC and its like are asked of rows: emnet cluster and emnet explain give them."


@click.command()
@options.model_argument
@report_option
@options.talk_options
def info(model: str, report: str | None, as_json: bool, quiet: bool) -> None:
    """Say what is in a model file: the model, its columns, and what its parts look like.

    \b
    Example:
      emnet info patients.emnet
    """
    require_writable({"--report": report}, inputs=model)
    recording(report)
    talk = Talk(as_json, quiet)
    fitted = options.load_model(model)
    talk.say(f"{model}: {type(fitted.estimator).__name__}; {training(fitted)}.")
    talk.say(fitted.note)
    inputs = fitted.schema.inputs
    target = fitted.schema.target
    rows = [
        (field.name, field.kind, _values(field))
        for field in (*inputs, *([fitted.schema.field(target)] if target else []))
    ]
    if target is not None:
        rows[-1] = (rows[-1][0], f"{rows[-1][1]}, the target", rows[-1][2])
    header: Sequence[str] = ("column", "kind", "values")
    talk.table(header, rows, left=3)
    sections = [] if report is None else [table_section("columns", "The columns", _COLUMNS, header, rows)]
    if fitted.schema.missing:
        talk.say(f"{', '.join(fitted.schema.missing)}: nothing, in every table that the model is asked of.")
    parts = parts_of(fitted)
    if parts:
        whole = side_by_side(parts)
        if width(*whole) <= WIDTH:
            talk.table(*whole)
        else:
            talk.table(*one_a_line(parts), left=3)
        if report is not None:
            sections.append(table_section("parts", "What its parts look like", _PARTS, *whole))
    if report is not None:
        sections.append(table_section("kept", "What is known of the fit", _KEPT, ("figure", "value"), _kept(fitted)))
        write_report_of_model(report, fitted, talk, sections)
    in_full = [part.to_json() for part in parts]
    talk.found(summary(fitted) | {"parts": in_full, "kinds": fitted.schema.to_json()["fields"]})


def _kept(model: TableModel) -> list[tuple[str, str]]:
    """How the fit ended, as far as the file says."""
    from emnet.report.endings import sentence

    estimator, end = model.estimator, model.training["reason"]
    found: dict[str, Any] = {"iterations": model.training["iterations"], "end": sentence(estimator, end) or None}
    found["log evidence of the rows it was fitted to, nats"] = getattr(estimator, "log_evidence_", None)
    starts = len(getattr(estimator, "fits_", ()))
    found["starts"] = starts or None
    said = {name: number(x) if isinstance(x, float) else str(x) for name, x in found.items() if x is not None}
    return list(said.items())


def _values(field: Field) -> str:
    more = ", …" if len(field.values) > 8 else ""
    return ", ".join(field.values[:8]) + more
