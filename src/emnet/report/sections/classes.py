"""How good a classifier's answers and their probabilities are: confusion and calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from emnet.report import svg
from emnet.report.page import Figure, Section, Table
from emnet.report.subject import Subject
from emnet.report.words import percent, several

_BINS, _MOST_CLASSES = 10, 20
_OF_THE_FIT = "The model was fitted to these rows: on new ones it will be right less often."
_PERHAPS_OF_THE_FIT = "If these are rows that the model was fitted to, it will be right less often on new ones."


def section(subject: Subject) -> Section | None:
    if subject.task.name != "classes":
        return None
    known = subject.labels >= 0
    chances = np.asarray(subject.estimator.predict_proba(subject.rows.X))[known]
    labels = subject.labels[known]
    if not labels.size:
        return None
    right = chances.argmax(axis=1) == labels
    sure, found, counts = calibration(chances.max(axis=1), right)
    gap = float(counts @ np.abs(sure - found) / counts.sum())
    lead = (
        f"{percent(right.mean())} of {several(len(labels), 'row')} get the right class. Where the model says that it "
        f"is p % sure, it should be right in p % of the cases: on average it is {gap * 100:.1f} points off."
    )
    tables = [_confusion(subject.classes, labels, chances)] if len(subject.classes) <= _MOST_CLASSES else []
    note = _OF_THE_FIT if subject.usual else _PERHAPS_OF_THE_FIT
    return Section("classes", "How good its answers are", lead, [_figure(sure, found, counts)], tables, notes=[note])


def calibration(chances: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of bins of equal width of the chance that was said: its mean, the share that came true, and the rows."""
    bins = np.minimum((chances * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    seen = counts > 0
    said, came = (
        np.bincount(bins, own, minlength=_BINS)[seen] / counts[seen] for own in (chances, right.astype(float))
    )
    return said, came, counts[seen]


def _figure(sure: np.ndarray, found: np.ndarray, counts: np.ndarray) -> Figure:
    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=svg.FAINT, lw=1, ls="--")
        spread = 2 * np.sqrt(np.maximum(sure * (1 - sure), 0) / counts)
        axes.errorbar(sure, sure, yerr=spread, fmt="none", ecolor=svg.FAINT, alpha=0.5, lw=3)
        axes.plot(sure, found, color=svg.color(0), lw=1.5)
        axes.scatter(sure, found, s=20 + 160 * counts / counts.max(), color=svg.color(0), zorder=3)
        axes.set_xlim(min(0.5, sure.min()) - 0.04, 1.04)
        axes.set_ylim(-0.04, 1.04)
        axes.set_xlabel("how sure the model says it is")
        axes.set_ylabel("how often it is right")

    return Figure(
        svg.draw("calibration", (4.4, 3.6), paint),
        "Calibration: the share of right answers against the probability that the model gave them.",
        "Disks: rows by how sure the model is, larger where there are more. Gray: where they would be by chance alone.",
    )


def _confusion(classes: tuple[str, ...], labels: np.ndarray, chances: np.ndarray) -> Table:
    g = len(classes)
    counts = np.zeros((g, g), dtype=int)
    np.add.at(counts, (labels, chances.argmax(axis=1)), 1)
    names = [svg.text(name, 30) for name in classes]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [(f"is {name}", *(str(count) for count in own)) for name, own in zip(names, counts, strict=True)]
    shades = [[0.0, *own.tolist()] for own in shares]
    return Table(("", *(f"taken for {name}" for name in names)), rows, "Confusion: rows by class and answer.", shades)
