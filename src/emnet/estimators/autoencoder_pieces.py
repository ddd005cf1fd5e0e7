"""How a fitted autoencoder looks at rows: some at a time, by their posteriors and the decoder's expectations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from emnet.batch import Batch
from emnet.estimators import options
from emnet.estimators.autoencoder_fit import LearningAutoencoder
from emnet.estimators.row_coding import as_tensor
from emnet.exceptions import InvalidInputError
from emnet.inference.amortized import Refinement, proposal
from emnet.models.autoencoder import Autoencoder
from emnet.posteriors import EncodedVector

_ELEMENTS = 2**23  # of the outputs of all draws of the rows that are looked at together
_MARGIN = 2.0**-20


class LookingAutoencoder(LearningAutoencoder):
    """What densities, imputations and latent vectors are made of."""

    def _each(
        self,
        X: Any,
        function: Callable[[Autoencoder, Batch], Tensor],
        samples: int,
        adjust: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """What a function of model and batch says of all rows, some at a time; `adjust` sees the rows' source too."""
        check_is_fitted(self, "members_")
        source, model = self._check_rows(X, reset=False), self._best
        size = max(1, _ELEMENTS // (samples * max(model.decoder.n_outputs, 64)))
        found = []
        with torch.no_grad(), options.few_threads(min(len(source), size) * samples * model.decoder.n_outputs):
            for start in range(0, len(source), size):
                piece = source[start : start + size]
                batch = self._prepared(Batch(as_tensor(piece)))
                self._require_near(batch, piece, start)
                own = function(model, batch).cpu().numpy()
                found.append(own if adjust is None else adjust(piece, own))
        return np.concatenate(found)

    def _require_near(self, batch: Batch, source: np.ndarray, first_row: int) -> None:
        """Raise InvalidInputError for a cell whose square the model's numbers cannot hold."""
        far = batch.target.abs() > torch.finfo(batch.target.dtype).max ** 0.5 * _MARGIN
        if bool(far.any()):
            row, column = torch.nonzero(far)[0].tolist()
            raise InvalidInputError(
                f"Row {first_row + row}, column {self._rows.coding.columns[column].name!r} holds "
                f"{source[row, column]:g}, too far from the training data to be computed with in {self.dtype}."
            )

    def _posterior(self, model: Autoencoder, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q, (n, l) each."""
        mean, log_variance = model.encode(batch)
        refinement = self._refinement()
        if refinement is None:
            return mean, log_variance
        found = refinement(model, batch, mean, log_variance, self._generator(self._seed_of_use))
        return found.mean, found.log_variance

    def _proposal(self, model: Autoencoder, batch: Batch, samples: int) -> EncodedVector:
        return proposal(model, batch, samples, self._generator(self._seed_of_use), self._refinement())

    def _refinement(self) -> Refinement | None:
        return self._e_step(0).refinement

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self._computes_in()[1]).manual_seed(int(seed))

    def _expected(self, model: Autoencoder, outputs: Tensor, weights: Tensor) -> Tensor:
        """E of the cells under weighted draws, (s, n, ·) and (s, n) → (n, d), in the units of the table."""
        hidden = model.missingness
        if hidden is None:
            cells = model.decoder.fill(outputs, weights)
        else:
            means = model.decoder.hidden_mean(outputs, hidden.intercept, hidden.slope)
            ruled = hidden.columns > 0
            cells = torch.where(ruled, (weights[..., None] * means).sum(0), model.decoder.fill(outputs, weights))
        found = self._rows.to_table(cells.cpu().numpy())
        if self._rows.logarithmic.any():
            mean, variance = (
                part.cpu().numpy() for part in (model.decoder.mean(outputs), model.decoder.variance(outputs))
            )
            expected = (weights.cpu().numpy()[..., None] * self._rows.expected(mean, variance)).sum(0)
            found = np.where(self._rows.logarithmic, expected, found)
        return torch.from_numpy(found)
