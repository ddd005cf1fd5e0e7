"""The rows that the model finds least probable, and why."""

from __future__ import annotations

from typing import Any

import numpy as np

from emnet.applications import anomaly
from emnet.data.field import Field
from emnet.report import svg
from emnet.report.page import Section, Table
from emnet.report.subject import Subject, rows_of
from emnet.report.words import number

_SHOWN, _COLUMNS, _REASONS = 10, 6, 2
_SEQUENCES = 5  # at most, and not more than half of them
_MOST_FIELDS = 100  # that are asked one by one


def section(subject: Subject) -> Section | None:
    """Rows, or whole sequences by their mean a row."""
    judge = subject.judge
    evidence = subject.evidence if judge is subject.estimator else subject.task.evidence(judge, subject.rows)
    lengths = subject.rows.lengths
    own = evidence if lengths is None else evidence / lengths
    if not np.isfinite(own).any():
        return None
    order = np.argsort(own, kind="stable")[: min(_SHOWN, len(own))]
    if lengths is not None:
        return _of_sequences(subject, own, order[: min(_SEQUENCES, len(own) // 2)]) if len(own) > 1 else None
    lead = f"{_LEADS[subject.task.name]} The usual row has {number(float(np.nanmedian(own)))} nats."
    return Section("surprising", "The most surprising rows", lead, tables=[_table(subject, own, order)])


_LEADS = {
    "density": "The rows that are least like the others, and the columns that surprise most given the rest of the row, "
    "with how many nats more than usual.",
    "classes": "The rows to whose true class the model gives the least probability: mislabeled, or hard.",
    "numbers": "The rows whose target is furthest from what the model expects, measured by how sure it is.",
}


def _table(subject: Subject, evidence: np.ndarray, order: np.ndarray) -> Table:
    columns = list(range(min(len(subject.fields), _COLUMNS)))
    why = _why(subject, order) if subject.task.name == "density" else []
    extra, header = _targets(subject, order)
    rows = [
        (
            str(subject.numbers[row]),
            number(float(evidence[row])),
            *([why[place]] if why else []),
            *(extra[place] if extra else ()),
            *(_cell(subject.fields[j], subject.X[row, j]) for j in columns),
        )
        for place, row in enumerate(order)
    ]
    names = [svg.text(subject.fields[j].name, 40) for j in columns]
    return Table(("row", "log p, nats", *(["why"] if why else []), *header, *names), rows)


def _targets(subject: Subject, order: np.ndarray) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """What the target is, and what the model says."""
    name = svg.text(subject.target, 40)
    if subject.task.name == "classes":
        chances = np.asarray(subject.estimator.predict_proba(rows_of(subject.rows.X, order)))
        best = chances.argmax(axis=1)
        is_, says = subject.labels[order], [svg.text(subject.classes[k]) for k in best]
        true = [svg.text(subject.classes[k]) if k >= 0 else "new" for k in is_]
        return list(zip(true, says, strict=True)), (f"{name} is", "taken for")
    if subject.task.name == "numbers":
        mean = np.asarray(subject.estimator.predict(rows_of(subject.rows.X, order)), dtype=float).reshape(
            len(order), -1
        )
        y = np.asarray(subject.rows.y, dtype=float).reshape(len(subject.X), -1)[order]
        return [(number(a), number(b)) for a, b in zip(y[:, 0], mean[:, 0], strict=True)], (f"{name} is", "expected")
    return [], ()


def _why(subject: Subject, order: np.ndarray) -> list[str]:
    if len(subject.fields) > _MOST_FIELDS:
        return []
    usual = subject.reference.X
    found = anomaly.excess(
        anomaly.surprise(subject.judge, rows_of(subject.rows.X, order)),
        anomaly.surprise(subject.judge, rows_of(usual, anomaly.some_of(len(usual)))),
    )
    names = [svg.text(field.name) for field in subject.fields]
    return [
        ", ".join(f"{reason.column} +{reason.surprise:.1f}" for reason in own)
        for own in anomaly.reasons(found, names, _REASONS)
    ]


def _cell(field: Field, x: Any) -> str:
    if np.isnan(x):
        return "–"
    cell = field.decode(np.array([x]))[0]
    return number(cell) if isinstance(cell, float) else svg.text(cell, 40)


def _of_sequences(subject: Subject, evidence: np.ndarray, order: np.ndarray) -> Section:
    lengths, names = subject.rows.lengths, subject.sequences or range(1, len(evidence) + 1)
    assert lengths is not None
    rows = [(svg.text(names[i], 40), number(float(evidence[i])), str(int(lengths[i]))) for i in order]
    table = Table(("sequence", "log p a row, nats", "rows"), rows)
    usual = number(float(np.nanmedian(evidence)))
    lead = f"The sequences that the model explains least well, row for row. The usual one has {usual} nats a row."
    return Section("surprising", "The most surprising sequences", lead, tables=[table])
