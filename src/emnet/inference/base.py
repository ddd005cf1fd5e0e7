"""The contract of an E-step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from emnet.batch import Batch
from emnet.posteriors import Evidence, Posterior
from emnet.statistics import ModelStatistics


class EStep(ABC):
    """A way to the posterior: exact, sampled or variational; of any latent model, or of one kind.

    pure : whether it asks autograd for nothing, and writes into no tensor that it keeps from step to step.
    """

    pure: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, model: Any, batch: Batch) -> Posterior:
        """The posterior and evidence of every unit."""

    def expectations(self, model: Any, batch: Batch) -> tuple[Evidence, ModelStatistics]:
        """The evidence, and the statistics that the model expects under this posterior."""
        posterior = self(model, batch)
        return posterior, model.statistics(batch, posterior)
