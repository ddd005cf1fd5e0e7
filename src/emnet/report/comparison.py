"""What `emnet compare` found, as a table, as JSON and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table as TerminalTable

from emnet.extras import needed

if TYPE_CHECKING:
    from emnet.cli.competitors import Outcome
    from emnet.report.page import Page

Results = Mapping[str, Sequence["Outcome"]]
"""Outcomes by method, one a split."""

_CE = "training cross-entropy, nats a row"
_COLUMNS = (
    ("final train\nCE ↓", "train_ce", "{:.4f}"),
    ("final test\nCE ↓", "test_ce", "{:.4f}"),
    ("test\naccuracy ↑", "accuracy", "{:.1%}"),
    ("iterations", "iterations", "{:.0f}"),
    ("seconds", "seconds", "{:.2f}"),
)


def summary_table(results: Results) -> TerminalTable:
    """Method, final train CE, final test CE, test accuracy, iterations, seconds; mean ± sd over the splits."""
    table = TerminalTable(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for title, _, _ in _COLUMNS:
        table.add_column(title, justify="right")
    for method, outcomes in results.items():
        cells = [_mean_and_deviation([getattr(o, name) for o in outcomes], form) for _, name, form in _COLUMNS]
        table.add_row(method, *cells)
    return table


def wins(results: Results, em: str, rival: str) -> dict[str, int]:
    """On how many splits `em` was better than, and as good as, `rival`."""
    pairs = list(zip(results[em], results[rival], strict=True))
    return {
        "splits": len(pairs),
        "lower_ce": sum(a.test_ce < b.test_ce for a, b in pairs),
        "higher_accuracy": sum(a.accuracy > b.accuracy for a, b in pairs),
        "equal_accuracy": sum(a.accuracy == b.accuracy for a, b in pairs),
    }


def as_json(results: Results) -> dict[str, Any]:
    """Every split of every method, and their means and standard deviations."""
    return {
        method: {
            "mean": {name: float(np.mean([getattr(o, name) for o in outcomes])) for _, name, _ in _COLUMNS},
            "sd": {name: _deviation([getattr(o, name) for o in outcomes]) for _, name, _ in _COLUMNS},
            "splits": [
                {
                    **{name: getattr(o, name) for _, name, _ in _COLUMNS},
                    "predicted": o.predicted.tolist(),
                    "curve": o.curve,
                    "note": o.note,
                }
                for o in outcomes
            ],
        }
        for method, outcomes in results.items()
    }


def plot_learning_curves(results: Results, title: str, path: str) -> None:
    """Training cross-entropy of the first split against iterations and against seconds, saved by `path`'s ending."""
    from emnet.report.svg import write_out_powers

    figure = needed("matplotlib.figure", "plot", "Figures need").Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, name in zip(axes, ("iteration", "seconds"), strict=True):
        _plot(ax, results, name)
    axes[0].set_ylabel(_CE)
    axes[1].legend(frameon=False, fontsize="small")
    figure.suptitle(title)
    write_out_powers(figure)
    figure.savefig(path, dpi=150)


def _plot(axes: Any, results: Results, name: str, colors: Sequence[str] = ()) -> None:
    """Training cross-entropy against iterations or seconds."""
    for index, (method, outcomes) in enumerate(results.items()):
        curve = outcomes[0].curve
        along = [point[name] for point in curve]  # runs timed one by one: no longer run took less than a shorter one
        axes.plot(
            np.maximum.accumulate(along),
            [point["train_ce"] for point in curve],
            label=method,
            color=colors[index] if colors else f"C{index}",
            marker="o" if len(curve) < 20 else None,
            markersize=3,
        )
    axes.set_xscale("symlog" if name == "iteration" else "log")
    axes.set_yscale("log")
    axes.set_xlabel(name)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def page(results: Results, shown: Results, title: str, lead: str, notes: Sequence[str], command: str) -> Page:
    """The table, the learning curves of the first split, and how to do it again; without seconds, which differ."""
    from emnet.report import svg
    from emnet.report.page import Figure, Page, Section, Table
    from emnet.report.sections.settings import versions

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        _plot(axes, shown, "iteration", svg.SERIES)
        axes.set_ylabel(_CE)
        axes.legend()

    columns = _COLUMNS[:-1]
    rows = [
        (method, *(_mean_and_deviation([getattr(o, name) for o in outcomes], form) for _, name, form in columns))
        for method, outcomes in results.items()
    ]
    header = ("method", *(heading.replace("\n", " ") for heading, _, _ in columns))
    said = "Cross-entropies (CE) are means of −log p(true class), in nats a row: the lower the better."
    alt = "Training cross-entropy against iteration, a line for each method."
    return Page(
        title,
        lead,
        [
            Section("methods", "What each method reached", said, tables=[Table(header, rows)], notes=notes),
            Section("curves", "How they learned", alt, [Figure(svg.draw("curves", (6.2, 3.6), paint), alt)]),
            Section(
                "settings",
                "To run it again",
                "The command:",
                tables=[Table(("package", "version"), versions())],
                code=command,
            ),
        ],
    )


def _mean_and_deviation(values: Sequence[float], form: str) -> str:
    mean = form.format(np.mean(values))
    return mean if len(values) == 1 else f"{mean} ± {form.format(_deviation(values))}"


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
