"""The exact E-step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from emnet.batch import Batch
from emnet.inference.base import EStep
from emnet.models.base import LatentModel
from emnet.posteriors import Evidence, Posterior
from emnet.statistics import ModelStatistics


@dataclass(frozen=True)
class Exact(EStep):
    """The model's own posterior, summed or integrated exactly."""

    pure: ClassVar[bool] = True

    def __call__(self, model: LatentModel, batch: Batch) -> Posterior:
        return model.posterior(batch)

    def expectations(self, model: LatentModel, batch: Batch) -> tuple[Evidence, ModelStatistics]:
        return model.expectations(batch)
