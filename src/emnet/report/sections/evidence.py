"""The log evidence, iteration by iteration, and why the fit ended."""

from __future__ import annotations

from typing import Any

from emnet.report import svg
from emnet.report.endings import sentence
from emnet.report.film import fits_of
from emnet.report.page import Figure, Section
from emnet.report.subject import Subject
from emnet.report.words import number, several

_FLATTENED = 8.0  # times the range of the rest
_KINDS = {
    "exact": "The evidence is exact. An M-step never lowers it; where there is a prior, the sum of both.",
    "bound": "What is drawn is a lower bound of the evidence.",
    "estimate": "What is drawn is a random estimate, which may fall though the model gets better.",
}


def section(subject: Subject) -> Section | None:
    """Of all starts, the best drawn bold."""
    history = subject.estimator.history_
    if not history:
        return None
    shift = _shift(subject)
    others = [[line.log_evidence + shift for line in fit.history] for fit in fits_of(subject.estimator)]
    best = [line["log_evidence"] for line in history]
    ended = sentence(subject.estimator, getattr(subject.estimator, "reason_", None))
    starts = f" It is the best of {several(len(others), 'start')}." if len(others) > 1 else ""
    lead = (
        f"How well the model explains the rows: log evidence {number(best[0])} nats at the start, {number(best[-1])} "
        f"after {several(len(best) - 1, 'iteration')}. {ended}{starts}"
    )
    return Section("evidence", "How the fit went", lead, [_figure(best, others)], notes=[_KINDS[history[-1]["kind"]]])


def _shift(subject: Subject) -> float:
    """What the published evidence has more than the runs', which are of scaled rows."""
    fits = fits_of(subject.estimator)
    best = max(fits, key=lambda fit: fit.last.objective, default=None)
    return float(subject.estimator.history_[0]["log_evidence"] - best.history[0].log_evidence) if best else 0.0


def _figure(best: list[float], others: list[list[float]]) -> Figure:
    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for own in others:
            axes.plot(own, color=svg.FAINT, lw=1, alpha=0.5)
        axes.plot(best, color=svg.color(0), lw=2, marker="o" if len(best) < 40 else None, ms=3)
        axes.set_xlabel("iteration")
        axes.set_ylabel("log evidence, nats")
        axes.set_ylim(*seen(best))
        axes.grid(alpha=0.2)

    alt = f"Log evidence against iteration, from {number(best[0])} to {number(best[-1])}."
    below = f"The start, {number(best[0])}, lies below the picture." if best[0] < seen(best)[0] else ""
    caption = f"{'Gray: the other starts. ' if len(others) > 1 else ''}{below}"
    return Figure(svg.draw("evidence", (6.2, 3.0), paint), alt, caption)


def seen(curve: list[float]) -> tuple[float, float]:
    """Limits of an axis for a curve that rises; a start that would flatten all the rest is left below."""
    top, low = max(curve), min(curve)
    second = min(curve[1:], default=low)
    if len(curve) > 3 and top - low > _FLATTENED * (top - second):
        low = second - 0.3 * (top - second)
    room = max(top - low, 1e-9 * (1 + abs(top)))
    return low - 0.06 * room, top + 0.08 * room
