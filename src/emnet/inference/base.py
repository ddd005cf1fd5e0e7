"""The contract of an E-step."""

from __future__ import annotations

from typing import Any, Protocol

from emnet.batch import Batch
from emnet.posteriors import Posterior


class EStep(Protocol):
    """A way to the posterior: exact, sampled or variational; of any latent model, or of one kind."""

    def __call__(self, model: Any, batch: Batch) -> Posterior: ...
