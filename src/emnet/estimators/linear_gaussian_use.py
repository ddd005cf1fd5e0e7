"""What a fitted linear Gaussian model is used for: its vectors, densities, draws and holes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor
from torch.distributions import Distribution, LowRankMultivariateNormal

from emnet.batch import Batch
from emnet.data.frames import require_frame
from emnet.estimators import options
from emnet.estimators.validation import require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.factors.linear_decoder import LinearDecoder
from emnet.models.linear_gaussian import LinearGaussian

_BATCH_ELEMENTS = 2**22  # of the rows' covariances, which are in memory at a time


class FittedLinearGaussian(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Everything but the training. All of it reads the published parameters."""

    mean_: np.ndarray
    loadings_: np.ndarray
    noise_variance_: Any
    random_state: Any
    device: str
    _center: np.ndarray  # of the columns, subtracted before anything is computed
    _scale: np.ndarray  # by which they are then divided
    _n_free: int

    @abstractmethod
    def _noise(self) -> np.ndarray:
        """Noise variances, (d,) or (1,)."""

    def transform(self, X: Any) -> np.ndarray:
        """E[z | what is there of the row], (n, q); 0 of a row with nothing."""
        return self._each(X, lambda model, batch: model.posterior(batch).mean)

    def posterior_covariance(self, X: Any) -> np.ndarray:
        """Cov[z | what is there of the row], (n, q, q): the fewer columns, the larger."""
        return self._each(X, lambda model, batch: model.posterior(batch).covariance)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """E[x | z] = m + Λz: (n, q) → (n, d)."""
        check_is_fitted(self)
        Z = check_array(Z, dtype=np.float64)
        if Z.shape[1] != self._n_features_out:
            raise InvalidInputError(f"Z has {Z.shape[1]} columns; this model has {self._n_features_out} factors.")
        return Z @ self.loadings_.T + self.mean_

    def distribution(self) -> Distribution:
        """p(row), a `torch.distributions.LowRankMultivariateNormal` over (d,)."""
        check_is_fitted(self)
        mean, loadings = torch.as_tensor(self.mean_), torch.as_tensor(self.loadings_)
        noise = torch.as_tensor(np.broadcast_to(self._noise(), len(self.mean_)).copy())
        return LowRankMultivariateNormal(mean, loadings, noise)

    def score_samples(self, X: Any) -> np.ndarray:
        """log p of what is there of each row, in nats, (n,); 0 of a row with nothing."""
        densities = self._each(X, lambda model, batch: model.posterior(batch).log_evidence)
        return densities - ~np.isnan(self._check_rows(X)) @ np.log(self._scale)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood of a row, in nats."""
        return float(np.mean(self.score_samples(X)))

    def bic(self, X: Any) -> float:
        """Bayesian information criterion, the lower the better: −2 log L + parameters · log n."""
        scores = self.score_samples(X)
        return float(-2 * scores.sum() + self._n_free * np.log(len(scores)))

    def aic(self, X: Any) -> float:
        """Akaike's information criterion, the lower the better: −2 log L + 2 · parameters."""
        return float(-2 * self.score_samples(X).sum() + 2 * self._n_free)

    def get_covariance(self) -> np.ndarray:
        """ΛΛᵀ + Ψ, (d, d)."""
        check_is_fitted(self)
        return self.loadings_ @ self.loadings_.T + np.diag(np.broadcast_to(self._noise(), len(self.mean_)))

    def get_precision(self) -> np.ndarray:
        """(ΛΛᵀ + Ψ)⁻¹ = Ψ⁻¹ − Ψ⁻¹Λ(I + ΛᵀΨ⁻¹Λ)⁻¹ΛᵀΨ⁻¹, (d, d)."""
        check_is_fitted(self)
        noise = np.broadcast_to(self._noise(), len(self.mean_))
        scaled = self.loadings_ / noise[:, None]
        inner = np.eye(scaled.shape[1]) + self.loadings_.T @ scaled
        return np.diag(1 / noise) - scaled @ np.linalg.solve(inner, scaled.T)

    def sample(self, n_samples: int = 1) -> np.ndarray:
        """Draw rows, (n_samples, d)."""
        check_is_fitted(self)
        require_positive_integer("n_samples", n_samples)
        q = self._n_features_out
        mean = torch.zeros(n_samples, q, dtype=torch.float64)
        drawn = self._model().draw(mean, torch.eye(q).double().expand(n_samples, q, q), self._generator("cpu"))
        return drawn.numpy() * self._scale + self._center

    def impute(self, X: Any, return_std: bool = False) -> Any:
        """X with E[x | what is there of the row] for what is missing, (n, d), in float64.

        With `return_std` also the conditional standard deviation of each filled cell, (n, d): 0 where X has a value.
        """
        found = self._each(X, lambda model, batch: torch.stack(model.conditional(batch), 1))
        filled = self._with_values_of(X, found[:, 0])
        return (filled, np.sqrt(found[:, 1]) * self._scale) if return_std else filled

    def sample_missing(self, X: Any, random_state: Any = None) -> np.ndarray:
        """X with a draw from p(x | what is there of the row) for what is missing, (n, d), in float64.

        Draws are independent of one another: several of them are a multiple imputation.
        """
        generator = self._generator(options.choose_device(self.device), random_state)

        def draw(model: LinearGaussian, batch: Batch) -> Tensor:
            posterior = model.posterior(batch)
            return model.draw(posterior.mean, posterior.covariance, generator)

        return self._with_values_of(X, self._each(X, draw))

    # -- the model --------------------------------------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return self.loadings_.shape[1]

    def _model(self) -> LinearGaussian:
        """The model of centered and scaled rows that the published attributes stand for."""
        weights = np.column_stack(((self.mean_ - self._center), self.loadings_)) / self._scale[:, None]
        noise = np.broadcast_to(self._noise() / self._scale**2, len(self.mean_))
        return LinearGaussian(LinearDecoder(torch.from_numpy(weights), torch.from_numpy(noise.copy())))

    def _generator(self, device: Any, random_state: Any = None) -> torch.Generator:
        rng = check_random_state(self.random_state if random_state is None else random_state)
        return torch.Generator(device).manual_seed(int(rng.randint(2**31)))

    def _with_values_of(self, X: Any, scaled: np.ndarray) -> np.ndarray:
        """X with what is found in its holes."""
        X = self._check_rows(X)
        return np.where(np.isnan(X), scaled * self._scale + self._center, X)

    @torch.no_grad()
    def _each(self, X: Any, wanted: Callable[[LinearGaussian, Batch], Tensor]) -> np.ndarray:
        """What is wanted of batch after batch, end to end."""
        check_is_fitted(self)
        rows = (self._check_rows(X) - self._center) / self._scale
        model = self._model().to(options.choose_device(self.device))
        with options.few_threads(rows.size * self._n_features_out):
            found = [wanted(model, batch).cpu().numpy() for batch in self._batches(rows, None, self._n_features_out)]
        return np.concatenate(found)

    def _batches(self, rows: np.ndarray, weights: np.ndarray | None, q: int) -> Iterator[Batch]:
        """Scaled rows in batches on the device."""
        device = options.choose_device(self.device)
        size = max(1, _BATCH_ELEMENTS // (rows.shape[1] + q**2))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            share = None if weights is None else torch.as_tensor(weights[part], device=device)
            yield Batch(torch.as_tensor(rows[part], device=device), weights=share)

    def _check_rows(self, X: Any, reset: bool = False, least: int = 1) -> np.ndarray:
        require_frame(X)
        return validate_data(
            self, X, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=least, reset=reset
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
