"""Whether a density is spread as the rows are: histograms of F(x), which should be flat."""

from __future__ import annotations

from typing import Any

import numpy as np

from emnet.applications.sample import sample
from emnet.report import svg
from emnet.report.page import Figure, Section
from emnet.report.subject import Subject, rows_of
from emnet.report.words import percent

_BINS, _DRAWS, _MOST_COLUMNS = 10, 2000, 6
_HOW = "A hump in the middle: the model is too broad. Heaps at the ends: too narrow. A slope: too high or too low."


def of_targets(subject: Subject) -> Section | None:
    """F(y | x) of a regression of one target, exactly."""
    y = np.asarray(subject.rows.y, dtype=float)
    if subject.task.name != "numbers" or y.ndim > 1 or not y.size:
        return None
    import torch

    with torch.no_grad():
        found = subject.estimator.distribution(subject.rows.X).cdf(torch.as_tensor(y)).double().cpu().numpy()
    name = svg.text(subject.target)
    inside = float(((found > 0.05) & (found < 0.95)).mean())
    lead = (
        f"For each row, the probability that the model gives to a {name} below the true one. Were its distributions "
        f"right, all would be equally frequent, the gray band being chance. {percent(inside)} of the rows lie in the "
        "middle 90 % of theirs."
    )
    return Section("pit", "Are its distributions right?", lead, [_figure(name, found, "pit")], notes=[_HOW])


def of_columns(subject: Subject) -> Section | None:
    """Of each column of numbers the share of the model's own draws that lie below the cell."""
    columns = subject.measured[:_MOST_COLUMNS] if subject.task.name == "density" else []
    if not columns:
        return None
    like = rows_of(subject.rows.X, np.arange(1))
    drawn = sample(subject.estimator, like, _DRAWS, None, np.random.RandomState(0))
    drawn = subject.coded(drawn)
    figures = []
    for number, j in enumerate(columns):
        cells, own = subject.X[~np.isnan(subject.X[:, j]), j], drawn[:, j]
        order = np.sort(own[~np.isnan(own)])
        below = (np.searchsorted(order, cells, "left") + np.searchsorted(order, cells, "right")) / (2 * len(order))
        figures.append(_figure(svg.text(subject.fields[j].name), below, f"pit-{number}"))
    lead = (
        f"Of each cell, the share of {_DRAWS:,} values drawn from the model that lie below it. Were the model right, "
        "all shares would be equally frequent, the gray band being chance."
    )
    return Section("pit", "Is it spread as the rows are?", lead, figures, notes=[_HOW])


def _figure(name: str, found: np.ndarray, label: str) -> Figure:
    counts = np.histogram(np.clip(found, 0, 1), _BINS, (0, 1))[0]
    usual = len(found) / _BINS
    spread = 2 * np.sqrt(usual * (1 - 1 / _BINS))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.axhspan(max(usual - spread, 0), usual + spread, color=svg.FAINT, alpha=0.25, lw=0)
        axes.bar((np.arange(_BINS) + 0.5) / _BINS, counts, 0.92 / _BINS, color=svg.color(0), alpha=0.8)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"share of the model below {name}")
        axes.set_ylabel("rows")

    out = int((np.abs(counts - usual) > spread).sum())
    alt = f"Histogram of {name} in the model's own distribution; {out} of {_BINS} bars lie outside what chance allows."
    return Figure(svg.draw(label, (4.2, 2.4), paint), alt)
