"""Rows made whole by a fitted autoencoder: expectations, modes or draws of what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from emnet.batch import Batch
from emnet.data.frames import is_frame
from emnet.estimators.autoencoder_pieces import LookingAutoencoder
from emnet.estimators.validation import require_one_of, require_positive_integer
from emnet.models.autoencoder import Autoencoder

_CANDIDATES = 32  # of a hidden cell's value
_DRAWS = 50  # of a hidden cell, from which its uncertainty is taken
STRATEGIES = ("mean", "mode", "sample")


class ImputingAutoencoder(LookingAutoencoder):
    """What is missing of a table, filled in."""

    def impute(self, X: Any, strategy: str = "mean", return_std: bool = False) -> Any:
        """X, the same kind of table, with what is missing filled by self-normalized importance sampling.

        Parameters
        ----------
        strategy : "mean", expectations of numbers and the most probable categories; "mode", the most probable value of
            every cell, of numbers among the modes that the draws have; or "sample", a draw.
        return_std : also (n, d), 0 for what was there: of numbers the standard deviation, of categories the probability
            of another one, both from 50 draws.
        """
        require_one_of("strategy", strategy, STRATEGIES)
        rng = check_random_state(self.random_state)
        filled = self._imputed(X, strategy, rng)
        return (filled, self._uncertainty(X, filled, rng)) if return_std else filled

    def _uncertainty(self, X: Any, filled: Any, rng: np.random.RandomState) -> np.ndarray:
        """How far draws of a hidden cell are from what it was filled with, (n, d)."""
        own = self._check_rows(filled, reset=False)
        away = [self._check_rows(self._imputed(X, "sample", rng), reset=False) - own for _ in range(_DRAWS)]
        words = np.array([family == "categorical" for family in self._rows.families])
        found = np.zeros(np.shape(X))
        places = [column.position for column in self._rows.coding.columns]
        found[:, places] = np.where(words, np.mean([each != 0 for each in away], axis=0), np.std(away, axis=0))
        return found

    def sample_missing(self, X: Any, random_state: Any = None) -> Any:
        """X, the same kind of table, with a draw in what is missing."""
        return self._imputed(X, "sample", check_random_state(random_state))

    def impute_many(self, X: Any, n_imputations: int = 5) -> list[Any]:
        """Tables whose holes are drawn independently, all of the parameters that were fitted.

        Standard errors that `emnet.pool_estimates` finds from them are too small: for these take `EMImputer(model)`.
        """
        require_positive_integer("n_imputations", n_imputations)
        rng = check_random_state(self.random_state)
        return [self._imputed(X, "sample", rng) for _ in range(n_imputations)]

    def _imputed(self, X: Any, strategy: str, rng: np.random.RandomState) -> Any:
        check_is_fitted(self, "members_")
        generator = self._generator(rng.randint(2**31))

        def cells(model: Autoencoder, batch: Batch) -> Tensor:
            posterior = self._proposal(model, batch, self.prediction_samples)
            assert posterior.log_weights is not None
            draws = posterior.draws
            weights, outputs = posterior.log_weights.softmax(0), model.decoder.outputs(draws)
            if strategy == "mean":
                return self._expected(model, outputs, weights)
            found = _mode(model, outputs, weights) if strategy == "mode" else _draw(model, outputs, weights, generator)
            return torch.from_numpy(self._rows.to_table(found.cpu().numpy()))

        return self._rows.filled(X if is_frame(X) else np.asarray(X), self._each(X, cells, self.prediction_samples))


def _mode(model: Autoencoder, outputs: Tensor, weights: Tensor) -> Tensor:
    """Of each cell the candidate, the mode under one of the draws, whose weighted density is the highest: (n, d)."""
    log_weights, hidden = weights.log()[..., None], model.missingness
    candidates = model.decoder.mode(outputs)
    best = torch.full_like(candidates[0], -torch.inf)
    found = candidates[0]
    for candidate in candidates:
        reached = (log_weights + model.decoder.cell_log_prob(candidate, outputs)).logsumexp(0)
        reached = reached if hidden is None else reached + hidden.log_hidden(candidate)
        found = torch.where(reached > best, candidate, found)
        best = torch.maximum(best, reached)
    return found


def _draw(model: Autoencoder, outputs: Tensor, weights: Tensor, generator: torch.Generator) -> Tensor:
    """A row of each mixture over the draws, (n, d); a cell with a rule is chosen among some for being hidden."""
    chosen = torch.multinomial(weights.T, 1, generator=generator)[:, 0]
    own = outputs[chosen, torch.arange(len(chosen), device=chosen.device)]
    if model.missingness is None:
        return model.decoder.draw(own, generator)
    cells = torch.stack([model.decoder.draw(own, generator) for _ in range(_CANDIDATES)], dim=-1)
    log_hidden = model.missingness.log_hidden(cells.movedim(-1, 0)).movedim(0, -1)
    best = torch.multinomial(log_hidden.softmax(-1).flatten(0, -2), 1, generator=generator)
    return cells.gather(-1, best.view(*cells.shape[:-1], 1))[..., 0]
