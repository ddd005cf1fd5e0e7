"""What hidden Markov models say of rows to come, and of rows that come one after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet.batch import Batch
from emnet.kernels import chain
from emnet.models.markov import HiddenMarkov


@dataclass(frozen=True)
class Forecast:
    """The rows after a sequence, h steps ahead.

    state_probabilities : (h, k).
    mean : E[row], (h, d); of symbols their probabilities.
    quantiles : (h, levels, d), or None.
    samples : paths, (samples, h, d), or None.
    """

    state_probabilities: np.ndarray
    mean: np.ndarray
    quantiles: np.ndarray | None
    samples: np.ndarray | None


class OnlineFilter:
    """p(state | all rows so far) of one sequence whose rows come in any portions; the state is kept in between.

    Attributes
    ----------
    log_evidence : log p of all rows so far, in the units of the model that it came from.
    probabilities : p(state of the last row | all rows so far), (k,); None before the first.
    """

    def __init__(self, model: HiddenMarkov, batch_of: Callable[[Any], Batch]):
        self._model, self._batch_of = model, batch_of
        self.log_evidence = 0.0
        self.probabilities: np.ndarray | None = None

    @torch.no_grad()
    def update(self, rows: Any) -> np.ndarray:
        """Take in rows, (t, d); p(state | rows up to it) of each, (t, k)."""
        batch = self._batch_of(np.atleast_2d(rows))
        steps = self._model.transition.log_weights()
        found = chain.forward(
            self._ahead(steps), steps, self._model.log_likelihood(batch), torch.tensor([0, len(batch)])
        )
        assert found.probabilities is not None
        self.log_evidence += float(found.log_evidence)
        filtered = found.probabilities.cpu().numpy()
        self.probabilities = filtered[-1]
        return filtered

    def _ahead(self, steps: Tensor) -> Tensor:
        """log p(state of the next row | all rows so far), (k,)."""
        if self.probabilities is None:
            return self._model.start.log_weights()  # type: ignore[no-any-return]
        return (torch.as_tensor(self.probabilities).to(steps) @ steps.exp()).log()
