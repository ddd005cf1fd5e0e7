"""`emnet info`: what is in a model file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from emnet.cli import options
from emnet.cli.compare import require_writable
from emnet.cli.fit import summary, training
from emnet.cli.reporting import recording, report_option, table_section, write_report_of_model
from emnet.cli.talk import Talk, number

if TYPE_CHECKING:
    import numpy as np

    from emnet.data.kinds import Field
    from emnet.estimators.table_model import TableModel

_MOST_COLUMNS, _MOST_VALUES = 30, 3
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
        columns = list(parts[0]["columns"])[:_MOST_COLUMNS]
        header = ["", *(f"{part['name']} ({part['share']:.0%})" for part in parts)]
        cells = [[name, *(part["columns"][name] for part in parts)] for name in columns]
        talk.table(header, cells)
        if report is not None:
            sections.append(table_section("parts", "What its parts look like", _PARTS, header, cells))
    if report is not None:
        sections.append(table_section("kept", "What is known of the fit", _KEPT, ("figure", "value"), _kept(fitted)))
        write_report_of_model(report, fitted, talk, sections)
    talk.found(summary(fitted) | {"parts": parts, "kinds": fitted.schema.to_json()["fields"]})


def _kept(model: TableModel) -> list[tuple[str, str]]:
    """How the fit ended, as far as the file says."""
    estimator = model.estimator
    found: dict[str, Any] = {"iterations": model.training["iterations"], "end": model.training["reason"]}
    found["log evidence of the rows it was fitted to, nats"] = getattr(estimator, "log_evidence_", None)
    starts = len(getattr(estimator, "fits_", ()))
    found["starts"] = starts or None
    said = {name: number(x) if isinstance(x, float) else str(x) for name, x in found.items() if x is not None}
    return list(said.items())


def _values(field: Field) -> str:
    more = ", …" if len(field.values) > 8 else ""
    return ", ".join(field.values[:8]) + more


def parts_of(model: TableModel) -> list[dict[str, Any]]:
    """Of each component or state its share and, by column, mean ± sd or the most frequent values; of others nothing."""
    estimator = model.estimator
    if hasattr(estimator, "parameters_"):
        tables, shares, name = _of_table(model), estimator.weights_, "component"
    elif model.kind == "gmm":
        tables, shares, name = _of_gaussians(model, estimator.covariances_), estimator.weights_, "component"
    elif model.kind == "hmm":
        tables = _of_gaussians(model, estimator.covars_)
        shares, name = estimator.get_stationary_distribution(), "state"
    else:
        return []
    return [
        {
            "name": f"{name} {k}",
            "share": float(share),
            "columns": {column: cells[k] for column, cells in tables.items()},
        }
        for k, share in enumerate(shares)
    ]


def _of_gaussians(model: TableModel, covariances: np.ndarray) -> dict[str, list[str]]:
    import numpy as np

    means = np.asarray(model.estimator.means_)
    variances = np.diagonal(covariances, axis1=1, axis2=2) if covariances.ndim == 3 else covariances
    deviations = np.sqrt(np.broadcast_to(variances, means.shape))
    return {field.name: _measured(field, means[:, j], deviations[:, j]) for j, field in enumerate(model.schema.inputs)}


def _of_table(model: TableModel) -> dict[str, list[str]]:
    import numpy as np

    found = {}
    for key, parameters in model.estimator.parameters_.items():
        for place, j in enumerate(key if isinstance(key, tuple) else (key,)):
            field = model.schema.inputs[j]
            if field.is_category:
                found[j] = [_shares(field, row) for row in parameters["probabilities"]]
            else:
                variances = np.diagonal(parameters["covariances"], axis1=1, axis2=2)
                found[j] = _measured(field, parameters["means"][:, place], np.sqrt(variances[:, place]))
    return {model.schema.inputs[j].name: found[j] for j in sorted(found)}


def _measured(field: Field, means: np.ndarray, deviations: np.ndarray) -> list[str]:
    if field.kind == "date":
        return [f"{day} ± {number(sd)} days" for day, sd in zip(field.decode(means), deviations, strict=True)]
    return [f"{number(mean)} ± {number(sd)}" for mean, sd in zip(means, deviations, strict=True)]


def _shares(field: Field, chances: np.ndarray) -> str:
    order = (-chances).argsort()[:_MOST_VALUES]
    return ", ".join(f"{field.values[i]} {chances[i]:.0%}" for i in order)
