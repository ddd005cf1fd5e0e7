"""Densities of rows under a fitted autoencoder, estimated by importance sampling."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.distributions import Distribution

from emnet.batch import Batch
from emnet.estimators.autoencoder_pieces import LookingAutoencoder
from emnet.estimators.distributions import SideBySide, mixture
from emnet.estimators.row_coding import as_tensor
from emnet.estimators.validation import require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.inference.amortized import standard_error
from emnet.models.autoencoder import Autoencoder


class Evidence(NamedTuple):
    """Estimated log evidence of each row and its standard error, in nats: (n,) each."""

    log_evidence: np.ndarray
    standard_error: np.ndarray


class DensityAutoencoder(LookingAutoencoder):
    """How probable rows are."""

    def evidence(self, X: Any, n_samples: int | None = None) -> Evidence:
        """log (1/s) Σ_s p(x, z_s) / q(z_s | x) of each row, over what was seen of it, with its standard error.

        On average it lies below log p(x), and comes nearer with every draw (Burda et al. 2016). Rows share their draws,
        so a row's figure depends on no other; a row of which nothing was seen has 0.

        Parameters
        ----------
        n_samples : s, None for `prediction_samples`.
        """
        check_is_fitted(self, "members_")
        s = self.prediction_samples if n_samples is None else n_samples
        require_positive_integer("n_samples", s)

        def found(model: Autoencoder, batch: Batch) -> Tensor:
            posterior = self._proposal(model, batch, s)
            assert posterior.log_weights is not None
            error = standard_error(posterior.log_weights)
            return torch.stack((posterior.log_evidence, torch.where(posterior.log_evidence == 0, 0, error)), dim=1)

        volume = self._rows.log_volume
        both = self._each(X, found, s, lambda source, own: own - np.column_stack((volume(source), 0 * own[:, 0])))
        return Evidence(both[:, 0], both[:, 1])

    def score_samples(self, X: Any, return_std: bool = False) -> Any:
        """Estimated log evidence of each row, (n,), in nats; with `return_std` its standard error too."""
        found = self.evidence(X)
        return tuple(found) if return_std else found.log_evidence

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`."""
        return float(self.score_samples(X).mean())

    @torch.no_grad()
    def distribution(self, X: Any, n_samples: int | None = None) -> Distribution:
        """p(row | what was seen of it) of each row, over (d,), categories by their index: a mixture over draws of z.

        Its components are the decoder's at `n_samples` draws (None for `prediction_samples`), weighted by importance;
        of a row with nothing it is that of any row.
        """
        check_is_fitted(self, "members_")
        model, s = self._best, self.prediction_samples if n_samples is None else n_samples
        require_positive_integer("n_samples", s)
        if model.missingness is not None:
            raise InvalidInputError("With missing='mnar' a cell's distribution depends on whether it was seen.")
        posterior = self._proposal(model, self._prepared(Batch(as_tensor(self._check_rows(X, reset=False)))), s)
        assert posterior.log_weights is not None
        draws = posterior.draws
        outputs = model.decoder.outputs(draws).transpose(0, 1)
        units = [None if own is None else own.to(outputs.device) for own in self._rows.units]
        parts = model.decoder.distributions(outputs, *units)  # type: ignore[arg-type]
        return mixture(posterior.log_weights.softmax(0).T.double(), SideBySide(parts, model.decoder.columns))
