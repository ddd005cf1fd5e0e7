"""The contract of an E-step."""

from __future__ import annotations

from typing import Protocol

from emnet.batch import Batch
from emnet.models.base import LatentModel
from emnet.posteriors import Posterior


class EStep(Protocol):
    """A way to the posterior: exact, sampled or variational."""

    def __call__(self, model: LatentModel, batch: Batch) -> Posterior: ...
