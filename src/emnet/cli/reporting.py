"""`--report`: what a command did, as a page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from emnet.exceptions import InvalidInputError

if TYPE_CHECKING:
    from emnet.cli.talk import Talk
    from emnet.data.reading import Columns
    from emnet.estimators.table_model import TableModel
    from emnet.report.page import Page, Section

Recording = AbstractContextManager[Any]
"""What a fit is done within, so that a page can step through it."""

_ENDINGS = (".html", ".htm")
_OF_MODEL = ("data", "evidence", "model", "weights", "loadings", "transitions", "settings")
_WITHOUT_ROWS = ("evidence", "weights", "loadings", "transitions", "settings")
_OF_ANSWERS = ("data", "evidence", "weights", "settings")


def report_option(command: Callable) -> Callable:
    """Where to write the page."""
    return click.option(
        "--report",
        metavar="FILE.html",
        type=click.Path(dir_okay=False),
        help="Write a page with figures of what was done.",
    )(command)


def recording(path: str | None) -> Recording:
    """For the page that goes to `path`, nothing for none. A page that could not be written is told before the fit.

    Raises MissingDependencyError where the page's libraries are missing.
    """
    if path is None:
        return nullcontext()
    if Path(path).suffix.lower() not in _ENDINGS:
        raise InvalidInputError(f"--report {path}: the page is HTML; give a name that ends in .html.")
    from emnet.report.film import Film
    from emnet.report.page import require_report

    require_report()
    return Film()


def write_report(
    path: str | None,
    model: TableModel,
    columns: Columns,
    talk: Talk,
    *,
    film: Any = None,
    extra: Sequence[Section] = (),
    show: Sequence[str] = (),
    of_model_alone: bool = False,
    fitted_to: Columns | None = None,
) -> None:
    """The page of a model on a table. `of_model_alone` leaves out what compares it with those rows.

    `fitted_to` is the table that says what is usual, if it is another one.

    Of rows whose target is not known there is less to say.
    """
    if path is None:
        return
    from emnet.cli.fit import rows_with_target
    from emnet.report.film import Film
    from emnet.report.subject import of_table
    from emnet.report.writing import write_subject

    filmed = film if isinstance(film, Film) and film.of(model.estimator) is not None else None
    data = str(click.get_current_context().params.get("data", ""))
    target = model.schema.target
    is_known = target is None or target in columns
    subject = of_table(
        model,
        rows_with_target(model, columns) if is_known else columns,
        film=filmed,
        usual=True if filmed else None,
        show=tuple(show),
        fitted_to=None if fitted_to is None else model.rows(fitted_to)[0],
        settings={"data": data, "model": model.kind, "command": command()},
    )
    verb = click.get_current_context().info_name
    compared = [_compared(talk)] if len(talk.compared) > 1 else []
    title = f"emnet {verb} {Path(data).name or Path(str(click.get_current_context().params.get('model'))).name}"
    only = None if is_known and not of_model_alone else _OF_MODEL if is_known else _OF_ANSWERS
    write_subject(subject, path, title, extra=[*extra, *compared], only=only)
    talk.say(f"Report: {path}.")


def write_report_of_model(path: str | None, model: TableModel, talk: Talk, extra: Sequence[Section]) -> None:
    """The page of a model without a row: `extra` sections, and those that ask for none."""
    if path is None:
        return
    from emnet.report.subject import of_model
    from emnet.report.writing import write_subject

    name = Path(str(click.get_current_context().params["model"])).name
    subject = of_model(model, settings={"model": model.kind, "command": command()})
    write_subject(subject, path, f"emnet info {name}", extra=extra, only=_WITHOUT_ROWS)
    talk.say(f"Report: {path}.")


def write_own(path: str, page: Page) -> None:
    """A page that a command made itself."""
    from emnet.report.writing import write_page

    write_page(page, path)


def command() -> str:
    """The command as it was given, without where to write the page."""
    context = click.get_current_context()
    words = ["emnet", str(context.info_name)]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        given = context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
        if value is None or not given or parameter.name == "report":
            continue
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words.append(parameter.opts[0])
        else:
            for part in value if parameter.multiple else [value]:
                words += [parameter.opts[0], _as_given(part)]
    return shlex.join(words)


def _as_given(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def table_section(name: str, heading: str, lead: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Section:
    """A part of the page with a table."""
    from emnet.report.page import Section, Table

    return Section(name, heading, lead, tables=[Table(header, rows)])


def answers_section(answers: Mapping[str, list[Any]]) -> Section:
    """How often each answer was given; of numbers their mean and spread."""
    import numpy as np

    name, cells = next(iter(answers.items()))
    if isinstance(cells[0], float):
        found = (("mean", np.mean(cells)), ("smallest", min(cells)), ("largest", max(cells)))
        figures = [(word, f"{x:.4g}") for word, x in found]
        return table_section("answers", "What it says", "The answers, one for each row.", (name, "value"), figures)
    values, counts = np.unique([str(cell) for cell in cells], return_counts=True)
    rows = [(value, f"{count}", f"{count / len(cells):.1%}") for value, count in zip(values, counts, strict=True)]
    return table_section("answers", "What it says", "How many rows get each answer.", (name, "rows", "share"), rows)


def scores_section(scores: Sequence[float], threshold: float, rows: Sequence[Sequence[str]]) -> Section:
    """The scores of `emnet detect`, and the strangest rows."""
    from emnet.report import svg
    from emnet.report.page import Figure, Section, Table

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.hist(list(scores), bins=60, color=svg.color(0), alpha=0.8)
        axes.axvline(threshold, color=svg.color(1), lw=2)
        axes.set_yscale("symlog")
        axes.set_xlabel("score, −log p(row) in nats")
        axes.set_ylabel("rows")

    alt = f"Histogram of {len(scores)} scores with the threshold at {threshold:.4g}."
    figure = Figure(svg.draw("scores", (6.2, 2.6), paint), alt, "The line is the threshold.")
    above = sum(score > threshold for score in scores)
    lead = f"The higher the score, the stranger the row; {above} of {len(scores)} lie above {threshold:.4g}."
    return Section("scores", "The scores", lead, [figure], [Table(("row", "score", "why"), rows)])


def _compared(talk: Talk) -> Section:
    """The models that `auto`, or several sizes, had to choose from."""
    from emnet.cli.talk import number

    tried = sorted(talk.compared, key=lambda own: (own.problem is not None, -own.evidence))
    rows = [(own.candidate.name, number(own.evidence), own.problem or "") for own in tried]
    lead = "What was compared: the mean log evidence of the rows, or sequences, that the model had not seen, in nats."
    shown = 3 if any(own.problem for own in tried) else 2
    header = ("model", "log evidence", "problem")[:shown]
    return table_section("compared", "Why this model", lead, header, [row[:shown] for row in rows])
