"""What a fitted autoencoder is used for: its latent vectors, and rows drawn from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from emnet.batch import Batch
from emnet.data.frames import is_frame
from emnet.estimators.autoencoder_densities import DensityAutoencoder
from emnet.estimators.autoencoder_imputation import ImputingAutoencoder
from emnet.estimators.autoencoder_programs import PortableAutoencoder
from emnet.estimators.validation import require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.models.autoencoder import Autoencoder


class FittedAutoencoder(PortableAutoencoder, DensityAutoencoder, ImputingAutoencoder):
    """The use of any fitted autoencoder."""

    def transform(self, X: Any) -> np.ndarray:
        """Mean of the latent vector's posterior, (n, l); with e_step="semi_amortized" refined for each row."""

        def means(model: Autoencoder, batch: Batch) -> Tensor:
            return self._posterior(model, batch)[0]

        return self._each(X, means, 1)

    def latent_std(self, X: Any) -> np.ndarray:
        """Standard deviations of the latent vector's posterior, (n, l)."""
        return self._each(X, lambda model, batch: (0.5 * self._posterior(model, batch)[1]).exp(), 1)

    def inverse_transform(self, X: Any) -> Any:
        """The table that latent vectors, (n, l), stand for: expectations, and the most probable categories."""
        check_is_fitted(self, "members_")
        latent = np.asarray(X)
        if latent.ndim != 2 or latent.shape[1] != self.n_latent or latent.dtype.kind not in "biuf":
            raise InvalidInputError(
                f"Latent vectors are (n, {self.n_latent}) finite numbers; got {latent.shape} of {latent.dtype}."
            )
        for row, column in np.argwhere(~np.isfinite(latent))[:1]:
            raise InvalidInputError(
                f"Latent vectors are finite numbers; row {row}, column {column} has {latent[row, column]}."
            )
        model, (dtype, device) = self._best, self._computes_in()
        with torch.no_grad():
            outputs = model.decoder.outputs(torch.as_tensor(latent, dtype=dtype, device=device))
            weights = outputs.new_ones(1, len(outputs))
            return self._rows.decode(self._expected(model, outputs[None], weights).numpy())

    def reconstruct(self, X: Any) -> Any:
        """Every cell, seen or not, as the mean latent vector of its row has it: a table like that fitted."""
        table = self.inverse_transform(self.transform(X))
        if is_frame(X) and hasattr(table, "index"):
            table.index = X.index
        return table

    def interpolate(self, start: Any, end: Any, n_steps: int = 10) -> Any:
        """A table of n_steps rows, evenly between the latent vectors of two rows, (1, d) each, both included."""
        require_positive_integer("n_steps", n_steps)
        ends = np.concatenate((self.transform(start), self.transform(end)))
        if len(ends) != 2:
            raise InvalidInputError(f"interpolate goes from one row to one row; got {len(ends)} rows in all.")
        share = np.linspace(0.0, 1.0, n_steps)[:, None]
        return self.inverse_transform((1 - share) * ends[0] + share * ends[1])

    def sample(self, n_samples: int = 1) -> Any:
        """A table of rows drawn from the model."""
        require_positive_integer("n_samples", n_samples)
        check_is_fitted(self, "members_")
        generator = self._generator(check_random_state(self.random_state).randint(2**31))
        model = self._best
        with torch.no_grad():
            return self._drawn(model, model.prior.draw(n_samples, model.encoder, generator), generator)

    def _drawn(self, model: Autoencoder, latent: Tensor, generator: torch.Generator) -> Any:
        dtype, device = self._computes_in()
        outputs = model.decoder.outputs(latent.to(dtype=dtype, device=device))
        return self._rows.decode(self._rows.to_table(model.decoder.draw(outputs, generator).cpu().numpy()))
