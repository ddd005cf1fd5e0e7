"""Plain EM."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch

from emnet.algorithms.base import Progress, e_step
from emnet.batch import Data
from emnet.inference.base import EStep
from emnet.models.base import LatentModel


@dataclass(frozen=True)
class EM:
    """One E-step over all the data, one M-step (Dempster, Laird & Rubin 1977).

    Where the E-step is pure and no parameter asks for gradients, both are in PyTorch's inference mode. It takes a tenth
    off a step of a small table: most of that is not arithmetic, but views and what else a graph would want.
    """

    inference: EStep

    def step(self, model: LatentModel, data: Data) -> Progress:
        closed = self.inference.pure and not any(parameter.requires_grad for parameter in model.parameters())
        with torch.inference_mode() if closed else nullcontext():
            progress, statistics = e_step(model, data, self.inference)
            model.m_step(statistics)
        return progress

    def reset(self) -> None:
        """Plain EM keeps nothing between steps."""
