"""The table: its columns, and where it has holes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emnet.data.field import DATE, Field
from emnet.report import svg
from emnet.report.page import Figure, Section, Table
from emnet.report.subject import Subject
from emnet.report.words import listed, number, percent, several

_MOST_COLUMNS, _MOST_VALUES = 40, 4
_BANDS = 120


def section(subject: Subject) -> Section:
    holes = np.isnan(subject.X)
    shown = subject.fields[:_MOST_COLUMNS]
    rows = [(svg.text(f.name, 60), f.kind, *_said(f, subject.X[:, j])) for j, f in enumerate(shown)]
    notes = [f"Left out of the model: {listed(f'{name} ({why})' for name, why in subject.left_out.items())}."]
    if len(subject.fields) > len(shown):
        notes.append(f"The table has {len(subject.fields) - len(shown)} more columns.")
    return Section(
        "data",
        "The data",
        _lead(subject, holes),
        [_map(subject.fields, holes)] if holes.any() else [],
        [Table(("column", "kind", "missing", "what is in it"), rows)],
        notes=notes if subject.left_out else notes[1:],
    )


def _lead(subject: Subject, holes: np.ndarray) -> str:
    lengths = subject.rows.lengths
    parts = "" if lengths is None or len(lengths) < 2 else f" in {several(len(lengths), 'sequence')}"
    said = f"{several(len(holes), 'row')}{parts} of {several(holes.shape[1], 'column')} that the model knows"
    if subject.rows.y is not None:
        said += f", to explain {svg.text(subject.target)}"
    if not holes.any():
        return f"{said}. No cell is missing."
    cells, rows = percent(holes.mean()), several(int(holes.any(axis=1).sum()), "row")
    return f"{said}. {cells} of the cells are missing, in {rows}: the map shows where, row by row from above."


def _said(field: Field, column: np.ndarray) -> tuple[str, str]:
    seen = column[~np.isnan(column)]
    missing = percent(1 - len(seen) / len(column))
    if not seen.size:
        return missing, "nothing"
    if field.is_category:
        codes, counts = np.unique(seen, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_MOST_VALUES]
        values = [f"{svg.text(field.values[int(codes[i])])} {percent(counts[i] / len(seen))}" for i in order]
        return missing, ", ".join([*values, *(["…"] if len(codes) > len(order) else [])])
    if field.kind == DATE:
        first, last = field.decode(np.array([seen.min(), seen.max()]))
        return missing, f"{first} to {last}"
    return missing, f"{number(seen.mean())} ± {number(seen.std())}, from {number(seen.min())} to {number(seen.max())}"


def _map(fields: Sequence[Field], holes: np.ndarray) -> Figure:
    """Bands of rows by columns, the darker the more is missing."""
    bands = np.array([part.mean(axis=0) for part in np.array_split(holes, min(_BANDS, len(holes)))])

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        colors = np.empty((*bands.shape, 4))
        colors[..., :3], colors[..., 3] = svg.rgb(1), bands
        ends = (-0.5, bands.shape[1] - 0.5, len(holes), 0)
        axes.imshow(colors, aspect="auto", interpolation="nearest", extent=ends)
        axes.set_ylabel("row")
        few = bands.shape[1] <= _MOST_COLUMNS
        axes.set_xticks(range(bands.shape[1]) if few else [])
        if few:
            axes.set_xticklabels([svg.text(f.name, 16) for f in fields], rotation=45, ha="right")
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)

    most = fields[int(holes.mean(axis=0).argmax())].name
    size = (min(7.0, 2.2 + 0.5 * len(fields)), 3.4)
    alt = f"Map of missing cells; the most are missing in {svg.text(most)}, {percent(holes.mean(axis=0).max())}."
    return Figure(svg.draw("missing", size, paint), alt, "Colored: missing.")
