"""Points and Gaussians over one or two columns: what several drawings are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emnet.data.field import DATE, Field
from emnet.report import svg
from emnet.report.scenes.gaussians import Gaussians

_WITHIN = 2.0  # standard deviations that an ellipse reaches: of 2 columns 86 % of a component's rows
_STEPS, _BINS = 160, 30
_TAIL = 0.02  # of the values at either end that may lie outside a picture
_FEW = 10  # values, of which none is left outside


def telling(X: np.ndarray, shares: np.ndarray, columns: Sequence[int]) -> list[int]:
    """The columns, in the order in which groups of (n, k) shares lie apart in them: between over whole variance."""

    def apart(j: int) -> float:
        seen = ~np.isnan(X[:, j]) & ~np.isnan(shares).any(axis=1)
        x, own = X[seen, j], shares[seen]
        mass = np.maximum(own.sum(axis=0), 1e-12)
        means = own.T @ x / mass
        whole = np.var(x)
        return float(mass @ (means - x.mean()) ** 2 / mass.sum() / whole) if whole > 0 else 0.0

    return sorted(columns, key=lambda j: -apart(j))


def label_axes(axes: Any, fields: Sequence[Field], columns: Sequence[int]) -> None:
    """Names of the columns at their axes; dates as dates."""
    for axis, j in zip((axes.xaxis, axes.yaxis), columns, strict=False):
        axis.set_label_text(svg.text(fields[j].name))
        if fields[j].kind == DATE:
            axis.set_major_formatter(lambda x, _, own=fields[j]: str(own.decode(np.array([x]))[0])[:10])
            axis.set_major_locator(_few_ticks())


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def limits(values: np.ndarray) -> tuple[float, float]:
    """Of an axis, with some room: of all values but a few that would squeeze the others.

    What lies further beyond the middle 96 % of the values than these reach is left outside; `Scene.outside` counts it.
    """
    seen = np.sort(values[np.isfinite(values)], axis=None)
    cut = int(np.ceil(_TAIL * seen.size)) if seen.size >= _FEW else 0
    if cut and (reach := seen[-1 - cut] - seen[cut]) > 0:
        seen = seen[(seen >= seen[cut] - reach) & (seen <= seen[-1 - cut] + reach)]
    low, high = (float(seen[0]), float(seen[-1])) if seen.size else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def histogram(axes: Any, values: np.ndarray, ends: tuple[float, float]) -> None:
    """Of what lies between the ends, as a density of all that is known."""
    seen = values[np.isfinite(values)]
    bins = np.linspace(*ends, _BINS + 1)
    share = np.full(seen.size, 1 / max(seen.size, 1) / (bins[1] - bins[0]))
    axes.hist(seen, bins=bins, weights=share, color=svg.FAINT, alpha=0.25)


def points(axes: Any, x: np.ndarray, y: np.ndarray, colors: Any, marker: str = "o") -> list[Any]:
    """Small disks; those without both numbers are left out."""
    seen = np.isfinite(x) & np.isfinite(y)
    colors = colors if isinstance(colors, str) else np.asarray(colors)[seen]
    return [axes.scatter(x[seen], y[seen], s=17, c=colors, marker=marker, linewidths=0, alpha=0.85, zorder=2)]


def ellipse(axes: Any, mean: np.ndarray, covariance: np.ndarray, color: str, name: str, share: float) -> list[Any]:
    """Two standard deviations around a mean, and its name in the middle; the line grows with the share of the rows."""
    from matplotlib.patches import Ellipse

    values, vectors = np.linalg.eigh(covariance)
    width, height = 2 * _WITHIN * np.sqrt(np.maximum(values[::-1], 0))
    angle = np.degrees(np.arctan2(vectors[1, -1], vectors[0, -1]))
    shape = Ellipse(tuple(mean), width, height, angle=angle, fill=False, ec=color, lw=1.0 + 3 * share, zorder=3)
    axes.add_patch(shape)
    disk = axes.scatter(mean[:1], mean[1:2], s=150, c=color, linewidths=0, zorder=4)
    middle = axes.text(
        *mean, name, color="#ffffff", ha="center", va="center", weight="bold", fontsize=9, zorder=5, clip_on=True
    )
    return [shape, disk, middle]


def ellipses(axes: Any, found: Gaussians, columns: Sequence[int]) -> list[Any]:
    """All components over two columns."""
    parts = (found.means[:, columns], found.covariances[:, columns][:, :, columns], found.weights)
    return [
        artist
        for k, (mean, covariance, share) in enumerate(zip(*parts, strict=True))
        for artist in ellipse(axes, mean, covariance, svg.color(k), str(k), float(share))
    ]


def curves(axes: Any, found: Gaussians, column: int) -> list[Any]:
    """Densities of the components over one column, times their weights, and their sum."""
    low, high = axes.get_xlim()
    x = np.linspace(float(low), float(high), _STEPS)
    mean, sd = found.means[:, column, None], np.sqrt(np.maximum(found.covariances[:, column, column], 1e-300))[:, None]
    heights = found.weights[:, None] * np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
    lines = [axes.plot(x, own, color=svg.color(k), lw=1.8)[0] for k, own in enumerate(heights)]
    return [*lines, axes.plot(x, heights.sum(axis=0), color=svg.INK, lw=1, ls=":")[0]]
