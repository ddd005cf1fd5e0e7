"""Plain EM."""

from __future__ import annotations

from dataclasses import dataclass

from emnet.algorithms.base import Progress, e_step
from emnet.batch import Data
from emnet.inference.base import EStep
from emnet.models.base import LatentModel


@dataclass(frozen=True)
class EM:
    """One E-step over all the data, one M-step (Dempster, Laird & Rubin 1977)."""

    inference: EStep

    def step(self, model: LatentModel, data: Data) -> Progress:
        progress, statistics = e_step(model, data, self.inference)
        model.m_step(statistics)
        return progress

    def reset(self) -> None:
        """Plain EM keeps nothing between steps."""
