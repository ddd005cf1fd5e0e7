"""The exact E-step."""

from __future__ import annotations

from dataclasses import dataclass

from emnet.batch import Batch
from emnet.models.base import LatentModel
from emnet.posteriors import Posterior


@dataclass(frozen=True)
class Exact:
    """The model's own posterior, summed or integrated exactly."""

    def __call__(self, model: LatentModel, batch: Batch) -> Posterior:
        return model.posterior(batch)
