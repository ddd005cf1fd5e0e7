"""Hidden Markov models: the path's posterior in time, and what the states emit."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from emnet.report import svg
from emnet.report.scenes import plane, shares
from emnet.report.scenes.gaussians import gaussians_of
from emnet.report.scenes.scene import Artists, Scene
from emnet.report.subject import Subject

_MOST_NAMED = 8  # states whose transitions are written out


def scene(subject: Subject) -> Scene | None:
    """Of sequences alone: a model of labels given inputs has no path that could be drawn without them."""
    if subject.task.name != "sequences":
        return None
    found = gaussians_of(subject.estimator, len(subject.fields)) if subject.can("means_", "covars_") else None
    columns = [] if found is None else [j for j in subject.measured if j in found.columns]
    rows = subject.some
    best = plane.telling(subject.X[subject.drawn], subject.estimator.predict_proba(rows.X, rows.lengths), columns)
    asked = [j for j in best if subject.fields[j].name in subject.show]
    chosen = sorted([*asked, *(j for j in best if j not in asked)][:2])
    return (Chains if chosen else Steps)(subject, chosen)


class Chains(Scene):
    """A strip of p(state | sequence) over time, above the rows and their states' Gaussians."""

    size = (6.2, 5.2)
    e_says: ClassVar[str] = (
        "Forward and backward through each sequence: what was before and what comes after say in which state the chain "
        "was at each step. The strip and the disks take the states' colors."
    )
    m_says: ClassVar[str] = (
        "Each state takes the mean and spread of the rows, every one counted as much as the chain was in that state; "
        "transitions are counted likewise."
    )

    def __init__(self, subject: Subject, columns: list[int]):
        super().__init__(subject, columns)
        k = subject.estimator.n_components
        below = ("", "the rows with their states' densities", "the rows with their states as ellipses")[len(columns)]
        self.sees = (
            "The strip is time: how probable each state is at each step, given its whole sequence; white lines part "
            f"the sequences.{f' Below, {below}.' if below else ''}"
        )
        self.alt = f"Posterior of {k} states over {len(subject.drawn)} steps{f', and {below}' if below else ''}."

    def base(self, figure: Any) -> None:
        if self.columns:
            self.strip, self.axes = figure.subplots(2, 1, height_ratios=(1, 2.6))
        else:
            self.strip, self.axes = figure.subplots(), None
        rows = self.subject.some
        assert rows.lengths is not None
        self.strip.set_xlim(0, len(self.subject.drawn))
        self.strip.set_ylim(0, 1)
        self.strip.set_yticks([0, 1])
        self.strip.set_xlabel("step")
        self.strip.set_ylabel("p(state)")
        for end in np.cumsum(rows.lengths)[:-1]:
            self.strip.axvline(end, color="#ffffff", lw=1.4, zorder=5)
        if self.axes is not None:
            self.xy = self.subject.X[self.subject.drawn][:, self.columns]
            self.axes.set_xlim(*self.ends(self.columns[0]))
            plane.label_axes(self.axes, self.subject.fields, self.columns)
            if len(self.columns) == 2:
                self.axes.set_ylim(*self.ends(self.columns[1]))
            else:
                own = self.xy[:, 0]
                plane.histogram(self.axes, own, self.ends(self.columns[0]))
                self.axes.set_ylabel("density")
                self.xy = np.column_stack((own, np.zeros(len(own))))

    def chances(self, estimator: Any) -> np.ndarray:
        """p(state | its whole sequence) of the rows that are drawn, (n, k)."""
        rows = self.subject.some
        return np.asarray(estimator.predict_proba(rows.X, rows.lengths))

    def posterior(self, estimator: Any) -> Artists:
        if estimator is None:
            return [] if self.axes is None else plane.points(self.axes, self.xy[:, 0], self.xy[:, 1], svg.FAINT)
        chances = self.chances(estimator)
        found = shares.strip(self.strip, chances)
        if self.axes is None:
            return found
        return [*found, *plane.points(self.axes, self.xy[:, 0], self.xy[:, 1], svg.blended(chances))]

    def parameters(self, estimator: Any) -> Artists:
        found = gaussians_of(estimator, len(self.subject.fields)) if self.columns else None
        if found is None:
            return []
        if len(self.columns) == 1:
            return plane.curves(self.axes, found, self.columns[0])
        return plane.ellipses(self.axes, found, self.columns)


class Steps(Chains):
    """The strip above the transitions: of states whose emissions are not Gaussians over a plane."""

    e_says: ClassVar[str] = Chains.e_says.replace("The strip and the disks take", "The strip takes")
    m_says: ClassVar[str] = (
        "Each state learns to emit the rows, every one counted as much as the chain was in that state; transitions are "
        "counted likewise, which is the table."
    )

    def __init__(self, subject: Subject, columns: list[int]):
        super().__init__(subject, columns)
        below = "Below, how probable each state is after each, the fuller the color the more."
        self.sees, self.alt = f"{self.sees} {below}", f"{self.alt} {below}"

    def base(self, figure: Any) -> None:
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.4))
        super().base(above)
        k = self.subject.estimator.n_components
        self.table = below.subplots()
        self.table.set_xticks(range(k))
        self.table.set_yticks(range(k))
        self.table.set_xlabel("to state")
        self.table.set_ylabel("from state")

    def parameters(self, estimator: Any) -> Artists:
        steps = np.asarray(estimator.transmat_, dtype=float)
        k = len(steps)
        colors = np.empty((k, k, 4))
        colors[..., :3], colors[..., 3] = np.stack([svg.rgb(to) for to in range(k)]), steps
        image = self.table.imshow(colors, aspect="auto", interpolation="nearest", zorder=0)
        if k > _MOST_NAMED:
            return [image]
        figures = [
            self.table.text(to, own, f"{steps[own, to]:.3f}", ha="center", va="center", fontsize=9, color=svg.INK)
            for own in range(k)
            for to in range(k)
        ]
        return [image, *figures]


def of_targets(subject: Subject) -> Scene:
    """Of paths that the inputs lead, and that explain the targets."""
    return Paths(subject, [])


class Paths(Chains):
    """Two strips: the path given inputs and targets, and by the inputs alone, which is what the parameters say."""

    size = (6.2, 4.2)
    e_says: ClassVar[str] = (
        "Forward and backward through each sequence: to which states do its inputs lead, and for which do its targets "
        "speak? The upper strip takes the states' colors."
    )
    m_says: ClassVar[str] = (
        "Each state learns the targets of the rows, every one counted as much as the path was in that state; the gates "
        "learn which inputs lead from state to state, which is the lower strip."
    )

    def __init__(self, subject: Subject, columns: list[int]):
        super().__init__(subject, columns)
        self.sees = f"{self.sees} Below, the same by the inputs alone."
        self.alt = f"{self.alt} Below, the same by the inputs alone."

    def base(self, figure: Any) -> None:
        above, below = figure.subfigures(2, 1)
        super().base(below)
        self.prior = self.strip
        super().base(above)
        self.prior.set_ylabel("p(state), inputs")

    def chances(self, estimator: Any) -> np.ndarray:
        rows = self.subject.some
        return np.asarray(estimator.smooth(rows.X, rows.y, rows.lengths))

    def parameters(self, estimator: Any) -> Artists:
        rows = self.subject.some
        return shares.strip(self.prior, np.asarray(estimator.smooth(rows.X, None, rows.lengths)))
