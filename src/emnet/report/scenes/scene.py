"""What every drawing of a model can do: show what the E-step found, and what the M-step found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from emnet.report import svg
from emnet.report.subject import Subject

Artists = list[Any]


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
    columns: Sequence[int] = ()
    sees: str
    alt: str
    e_says: ClassVar[str]
    m_says: ClassVar[str]

    def __init__(self, subject: Subject):
        self.subject = subject

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
