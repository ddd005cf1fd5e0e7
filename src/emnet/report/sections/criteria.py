"""How well the model explains the rows, and how much it pays for its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from emnet.report.page import Section, Table
from emnet.report.subject import Subject
from emnet.report.words import number

_ABOUT = {
    "bic": "Bayesian information criterion: lower is better",
    "icl": "integrated completed likelihood, for clusters that do not overlap: lower is better",
    "aic": "Akaike's information criterion: lower is better",
}


def section(subject: Subject) -> Section | None:
    evidence = subject.evidence
    rows = [
        ("mean log evidence", number(float(np.nanmean(evidence))), f"nats a {subject.task.unit}: higher is better"),
        ("log evidence", number(float(np.nansum(evidence))), "nats in all"),
    ]
    words = {"accuracy": "share of right answers", "rmse": "root mean squared error", "r2": "share of the variance"}
    rows += [
        (name, number(x), words[name]) for name, x in subject.task.figures(subject.estimator, subject.rows).items()
    ]
    rows += [(name.upper(), number(x), _ABOUT[name]) for name in _ABOUT if (x := _criterion(subject, name)) is not None]
    lead = "Figures to compare models by, on the same rows, of the model as it was fitted."
    tables = [Table(("figure", "value", "what it is"), rows)]
    notes = [
        "Higher evidence on the rows of the fit is no proof: compare on rows that no model has seen (emnet score)."
    ]
    return Section("criteria", "Criteria", lead, tables=tables, notes=notes)


def _criterion(subject: Subject, name: str) -> float | None:
    ask = getattr(subject.estimator, name, None)
    if ask is None:
        return None
    rows = subject.rows
    arguments: tuple[Any, ...] = (rows.X,)
    if subject.task.name in ("classes", "numbers"):
        arguments = (rows.X, rows.y)
    elif rows.lengths is not None:
        arguments = (rows.X, *([] if rows.y is None else [rows.y]), rows.lengths)
    return float(ask(*arguments))
