"""`emnet cluster`: groups of rows, and what each has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from emnet.cli import options
from emnet.cli.checks import require_writable
from emnet.cli.fit import say_left_out
from emnet.cli.reporting import recording, report_option, table_section, write_report
from emnet.cli.talk import Talk, number, percent

if TYPE_CHECKING:
    import numpy as np

    from emnet.applications.cluster import ColumnProfile, Profile
    from emnet.data.schema import Schema
    from emnet.estimators.table_model import TableModel

_AUTO = tuple(range(1, 11))
_APART, _SHOWN, _SECONDS = 5, 10, 30.0
_FIGURES = ("bic", "icl", "aic", "held_out")
_APART_SAYS = (
    "Of each cluster the columns in which its rows differ most from the others, first the one that tells most."
)


@click.command()
@options.data_argument
@click.option(
    "--clusters", type=options.SizesType(), metavar="INT|A..B|auto", default="auto", show_default=True, help="How many."
)
@click.option(
    "--criterion",
    type=click.Choice(["icl", "bic", "aic"]),
    default="icl",
    show_default=True,
    help="Which number is best; icl wants clusters that do not overlap. Of neural-mixture held-out evidence says it.",
)
@click.option("--model", type=click.Choice(options.CLUSTERINGS), default="auto", show_default=True)
@click.option("--out", metavar="FILE", help="The table with each row's cluster and probabilities.")
@click.option("--save", metavar="FILE", help="Keep the model, as in clusters.emnet, for emnet predict.")
@options.seed_option
@options.table_options
@report_option
@options.talk_options
def cluster(
    data: str,
    clusters: tuple[int, ...] | None,
    criterion: str,
    model: str,
    out: str | None,
    save: str | None,
    seed: int,
    report: str | None,
    as_json: bool,
    quiet: bool,
    missing: tuple[str, ...],
    **rest: Any,
) -> None:
    """Find groups of rows that are alike, and say what each has in common.

    Numbers, dates and words together; missing cells are integrated out. Prints the criteria of every number of clusters
    and a profile of each cluster: first the columns that set it apart.

    \b
    Examples:
      emnet cluster customers.csv --out clusters.csv
      emnet cluster customers.csv --clusters 2..6 --criterion bic --save customers.emnet
    """
    from emnet.applications.cluster import profiles
    from emnet.data.writing import write_columns
    from emnet.estimators.table_tasks import TASKS

    require_writable({"--out": None if out == "-" else out, "--save": save, "--report": report}, inputs=data)
    talk, film = Talk(as_json, quiet, table_on_stdout=out == "-"), recording(report)
    columns = options.load_columns(data, missing)
    schema = options.read_schema(columns, rest["drop"], rest["kinds"], missing=missing)
    say_left_out(talk, schema)
    with film:
        fitted, table = _choose(columns, schema, model, clusters, criterion, seed, talk)
    rows, _ = fitted.rows(columns)
    chances = fitted.estimator.predict_proba(rows.X)
    found = profiles(_readable(fitted.schema, rows.X), chances)
    talk.say(fitted.note)
    figures = [name for name in _FIGURES if name in (table or [{}])[0]]
    criteria = ("model", "clusters", *(name.replace("_", " ") for name in figures), "")
    lines = [
        (line["variant"], str(line["n_components"]), *(f"{line[c]:.1f}" for c in figures), line["problem"] or "")
        for line in table[:_SHOWN]
    ]
    talk.table(criteria, lines)
    for profile in found:
        talk.say(f"Cluster {profile.cluster}: {percent(profile.share)} of the rows")
        for column in profile.columns[:_APART]:
            talk.say(f"  {_in_words(fitted.schema, column)}")
    if out is not None:
        answers = TASKS["density"].answers(fitted.estimator, rows, fitted.schema)
        write_columns(out, {**columns, **_as_clusters(answers)}, fitted.schema)
    if save is not None:
        fitted.save(save)
    if report is not None:
        extra = [
            table_section("compared", "How many clusters", fitted.note, criteria, lines),
            table_section("clusters", "What sets each apart", _APART_SAYS, ("cluster", "share", "what sets it apart"), [
                (str(p.cluster), percent(p.share), "; ".join(_in_words(fitted.schema, c) for c in p.columns[:_APART]))
                for p in found
            ]),
        ]  # fmt: skip
        write_report(report, fitted, columns, talk, film=film, extra=extra)
    talk.found(
        {
            "model": fitted.kind,
            "why": fitted.note,
            "clusters": len(found),
            "labels": chances.argmax(axis=1),
            "criteria": table,
            "profiles": [_as_json(fitted.schema, profile) for profile in found],
            "out": out,
        }
    )


def _choose(
    columns: Any, schema: Schema, model: str, sizes: tuple[int, ...] | None, criterion: str, seed: int, talk: Talk
) -> tuple[TableModel, list[dict[str, Any]]]:
    """The mixture that is chosen, and a line for each that was tried, the best first."""
    from emnet.estimators.model_table import KINDS, kinds_for

    kind = kinds_for(schema)[0] if model == "auto" else model
    by = _by_criterion if KINDS[kind].has_criteria else _by_held_out
    return by(columns, schema, kind, sizes, criterion, seed, talk)


def _by_held_out(
    columns: Any, schema: Schema, kind: str, sizes: tuple[int, ...] | None, criterion: str, seed: int, talk: Talk
) -> tuple[TableModel, list[dict[str, Any]]]:
    """By the evidence of rows held out, where parameters cannot be counted."""
    from emnet.estimators.table_choice import Request, fit_table

    lines: list[dict[str, Any]] = []

    def tried(found: Any, total: int) -> None:
        talk.tried(found, total)
        own = found.candidate.what
        line = {"variant": own.variant, "n_components": own.size, "held_out": found.evidence}
        lines.append({**line, "problem": found.problem})

    with talk.progress(_SECONDS):
        fitted = fit_table(columns, schema, Request(kind, sizes, _SECONDS, seed, talk.note, tried, talk.iteration))
    lines.sort(key=lambda line: -line["held_out"])
    return fitted, lines


def _by_criterion(
    columns: Any, schema: Schema, kind: str, sizes: tuple[int, ...] | None, criterion: str, seed: int, talk: Talk
) -> tuple[TableModel, list[dict[str, Any]]]:
    """By the lowest criterion of all rows."""
    from emnet.estimators.mixture_selection import select
    from emnet.estimators.model_table import KINDS, Options, variants_for
    from emnet.estimators.table_choice import Request, fitting_schema
    from emnet.estimators.table_model import TableModel, coded_rows
    from emnet.estimators.table_tasks import TASKS

    schema = fitting_schema(schema, [kind], Request(kind, note=talk.note))
    X = coded_rows(columns, schema, with_target=False)[0].X
    few = [size for size in sizes or _AUTO if size <= len(X)] or [1]
    lines: list[dict[str, Any]] = []
    best, variants = {}, variants_for(kind, schema)
    with talk.progress(0.0):
        for variant in variants:

            def tried(line: dict[str, Any], variant: str = variant) -> None:
                lines.append({"variant": variant, **line})
                what = KINDS[kind].described(line["n_components"], variant)
                figure = f"{criterion.upper()} {line[criterion]:.1f}" if line["problem"] is None else "does not count"
                talk.compared_one(f"{what}: {figure}", len(lines), len(few) * len(variants))

            start = KINDS[kind].build(schema, few[0], KINDS[kind].variants[variant], Options(seed))
            best[variant] = select(start, (X,), {"n_components": few}, criterion, tried=tried).best
    lines.sort(key=lambda line: (line["problem"] is not None, line[criterion]))
    first = lines[0]
    described = KINDS[kind].described(first["n_components"], first["variant"])
    note = f"Chose {described}: it has the lowest {criterion.upper()} of {len(lines)}."
    return TableModel(best[first["variant"]], schema, kind, TASKS["density"], None, note), lines


def _readable(schema: Schema, X: np.ndarray) -> np.ndarray:
    """Numbers as they are and categories as words, (n, d)."""
    import numpy as np

    table = np.empty(X.shape, dtype=object)
    for j, field in enumerate(schema.inputs):
        table[:, j] = field.decode(X[:, j]) if field.is_category else X[:, j]
        if field.is_category:
            table[:, j] = [None if cell is None else str(cell) for cell in table[:, j]]
    return table


def _in_words(schema: Schema, column: ColumnProfile) -> str:
    field = schema.inputs[column.column]
    if column.mean is None:
        shares = ", ".join(f"{value} {percent(share)}" for value, share in column.shares.items())
        return f"{field.name}: {shares}"
    import numpy as np

    mean = field.decode(np.array([column.mean]))[0] if field.kind == "date" else number(column.mean)
    where = (
        "like all rows"
        if abs(column.apart) < 0.1
        else f"{abs(column.apart):.1f} sd {'above' if column.apart > 0 else 'below'} all rows"
    )
    return f"{field.name}: {mean} ± {number(column.sd)}{' days' if field.kind == 'date' else ''}, {where}"


def _as_json(schema: Schema, profile: Profile) -> dict[str, Any]:
    columns = {
        schema.names[c.column]: {"apart": c.apart}
        | ({"shares": c.shares} if c.mean is None else {"mean": c.mean, "sd": c.sd})
        for c in profile.columns
    }
    return {"cluster": profile.cluster, "share": profile.share, "columns": columns}


def _as_clusters(answers: Any) -> dict[str, list]:
    return {name.replace("component", "cluster"): cells for name, cells in answers.items()}
