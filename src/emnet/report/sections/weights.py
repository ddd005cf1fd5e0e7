"""The weights of the EM-MLP's units."""

from __future__ import annotations

from typing import Any

import numpy as np

from emnet.report import svg
from emnet.report.page import Figure, Section
from emnet.report.subject import Subject

_MOST = 30


def section(subject: Subject) -> Section | None:
    """Of the layer next to the inputs, and of the output."""
    hidden = subject.estimator.hidden_weights_
    layers = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
    output = subject.estimator.output_weights_
    if any(own is None for own in (*layers, output)):
        return None
    names = _inputs(subject, layers[0].shape[1] - 1)
    outputs = [svg.text(name, 16) for name in subject.classes] or [svg.text(subject.target, 16)]
    units = [f"unit {h}" for h in range(len(layers[0]))]
    top = [f"unit {h}" for h in range(output.shape[1] - 1)][: len(layers[-1])]
    figures = [
        _heat("hidden-weights", layers[0], units, ["bias", *names], "What turns each unit on"),
        _heat(
            "output-weights", output[:, : 1 + len(top)], outputs, ["bias", *top], "What each unit says of the target"
        ),
    ]
    lead = (
        "Orange weights speak for, blue ones against: on the left, what each hidden unit listens to (of standardized "
        "inputs); on the right, what it says of the target when it is on."
    )
    more = [f"Of {len(layers)} layers the lowest and the output are drawn."] if len(layers) > 1 else []
    return Section("weights", "The units' weights", lead, figures, notes=more)


def _inputs(subject: Subject, p: int) -> list[str]:
    """Names of the inputs of a design with indicators for all values of a category but the first."""
    names: list[str] = []
    for field in subject.fields:
        values = field.values[min(1, len(field.values) - 1) :]
        names += [f"{field.name}={value}" for value in values] if field.is_category else [field.name]
    return [svg.text(name, 20) for name in names] if len(names) == p else [f"input {j}" for j in range(p)]


def _heat(name: str, weights: np.ndarray, rows: list[str], columns: list[str], caption: str) -> Figure:
    weights = np.asarray(weights, dtype=float)[:_MOST, :_MOST]
    reach = max(float(np.quantile(np.abs(weights), 0.95)), 1e-12)
    strength = np.clip(weights / reach, -1, 1)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        colors = np.where(strength[..., None] > 0, svg.rgb(1), svg.rgb(0))
        axes.imshow(
            np.concatenate((colors, np.abs(strength)[..., None]), axis=2), aspect="auto", interpolation="nearest"
        )
        axes.set_xticks(range(weights.shape[1]), columns[:_MOST], rotation=45, ha="right", fontsize=9)
        axes.set_yticks(range(weights.shape[0]), rows[:_MOST], fontsize=9)
        if weights.size <= 120:
            for i, j in np.ndindex(*weights.shape):
                axes.text(j, i, f"{weights[i, j]:.1f}", ha="center", va="center", fontsize=8)

    size = (min(7.0, 1.8 + 0.42 * weights.shape[1]), min(6.0, 1.5 + 0.3 * weights.shape[0]))
    alt = f"{caption}: heat map of weights, {weights.shape[0]} by {weights.shape[1]}."
    return Figure(svg.draw(name, size, paint), alt, f"{caption}.")
