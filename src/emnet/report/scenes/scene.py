"""What every drawing of a model can do: show what the E-step found, and what the M-step found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from emnet.report import svg
from emnet.report.scenes import plane
from emnet.report.subject import Subject

Artists = list[Any]
Over = tuple[np.ndarray, tuple[float, float]]  # what rows are drawn over, (n,), and the ends of that axis


class Scene(ABC):
    """A drawing over axes that stay, in which the posterior and the parameters change.

    Attributes
    ----------
    size : width and height in inches.
    sees : what one sees, in a sentence; `alt`, the same for those who do not see it.
    columns : the inputs over which rows are drawn, none where that is not over inputs.
    e_says, m_says : what happens in an E-step and in an M-step, in terms of the picture.
    """

    size: tuple[float, float] = (6.2, 4.4)
    sees: str
    alt: str
    e_says: ClassVar[str]
    m_says: ClassVar[str]

    def __init__(self, subject: Subject, columns: Sequence[int] = ()):
        self.subject, self.columns = subject, columns

    @property
    def notes(self) -> list[str]:
        """Sentences on rows that the picture does not show."""
        return [note for note in (self.not_drawn, self.outside) if note]

    @property
    def outside(self) -> str:
        """A sentence on rows that lie outside the axes; empty where there is none."""
        beyond = np.zeros(len(self.subject.drawn), dtype=bool)
        for values, (low, high) in self.drawn_over():
            beyond |= (values < low) | (values > high)
        n = int(beyond.sum())
        if not n:
            return ""
        return f"Of {len(beyond)} rows {n} lie{'s' * (n == 1)} outside the picture, which would squeeze the others."

    def drawn_over(self) -> list[Over]:
        """All that the rows are drawn over."""
        X = self.subject.X
        return [(X[self.subject.drawn, j], self.ends(j)) for j in self.columns]

    def ends(self, j: int) -> tuple[float, float]:
        """The ends of an axis of an input."""
        return plane.limits(self.subject.X[:, j])

    @property
    def not_drawn(self) -> str:
        """A sentence on rows with a hole in one of those columns; empty where there is none."""
        drawn = self.subject.X[self.subject.drawn][:, list(self.columns)]
        holes = int(np.isnan(drawn).any(axis=1).sum())
        if not holes:
            return ""
        names = " or ".join(svg.text(self.subject.fields[j].name) for j in self.columns)
        return f"Of {len(drawn)} rows {holes} have nothing in {names} and are not drawn over it; the model knows them."

    @abstractmethod
    def base(self, figure: Any) -> None:
        """Axes, and what stays."""

    @abstractmethod
    def posterior(self, estimator: Any) -> Artists:
        """What the E-step finds at that estimator's parameters, None before the first."""

    @abstractmethod
    def parameters(self, estimator: Any) -> Artists:
        """Those parameters."""
