"""What a fitted Gaussian mixture is used for: components, densities, criteria, draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from emnet.batch import Batch
from emnet.estimators import gaussian_parameters, options
from emnet.exceptions import InvalidInputError
from emnet.factors.gaussian import Gaussian
from emnet.models.mixture import Mixture
from emnet.posteriors import Discrete

_BATCH_ROWS = 2**16  # whose responsibilities are in memory at a time


class FittedGaussianMixture(DensityMixin, BaseEstimator):
    """Everything but the training. All of it reads the published parameters, which users may set."""

    weights_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray
    precisions_: np.ndarray
    precisions_cholesky_: np.ndarray
    covariance_type: str
    dtype: str
    device: str
    random_state: Any
    _center: Any = 0.0  # of the data, subtracted before anything is computed
    _scale: float = 1.0
    _n_free: int
    lower_bound_: float

    def _n_parameters(self) -> int:
        """Free parameters of the model."""
        return self._n_free

    def predict(self, X: Any) -> np.ndarray:
        """The most probable component of each row given what is there of it, (n,)."""
        return self._each(X, lambda batch, posterior: posterior.responsibilities.argmax(1))

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(component | what is there of the row), (n, k)."""
        return self._each(X, lambda batch, posterior: posterior.responsibilities)

    def score_samples(self, X: Any) -> np.ndarray:
        """log p of what is there of each row, in nats, (n,); 0 of a row with nothing."""
        unit = float(np.log(self._scale))
        return self._each(X, lambda b, posterior: posterior.log_evidence - unit * (~b.target.isnan()).sum(1))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood of a row, in nats."""
        return float(np.mean(self.score_samples(X)))

    def bic(self, X: Any) -> float:
        """Bayesian information criterion, the lower the better: −2 log L + parameters · log n."""
        scores = self.score_samples(X)
        return float(-2 * scores.sum() + self._n_parameters() * np.log(len(scores)))

    def aic(self, X: Any) -> float:
        """Akaike's information criterion, the lower the better: −2 log L + 2 · parameters."""
        return float(-2 * self.score_samples(X).sum() + 2 * self._n_parameters())

    def icl(self, X: Any) -> float:
        """Integrated completed likelihood (Biernacki, Celeux & Govaert 2000), the lower the better.

        BIC − 2 Σ_j log max_k p(k | x_j): clusters that overlap are paid for.
        """
        return float(self.bic(X) - 2 * np.log(self.predict_proba(X).max(axis=1)).sum())

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows, (n_samples, d), and their components, (n_samples,); the draws are those of scikit-learn."""
        check_is_fitted(self)
        if n_samples < 1:
            raise InvalidInputError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample."
            )
        rng = check_random_state(self.random_state)
        counts = rng.multinomial(n_samples, self.weights_)
        drawn = [self._draw(state, int(count), rng) for state, count in enumerate(counts)]
        return np.vstack(drawn), np.repeat(np.arange(len(counts)), counts)

    def _draw(self, state: int, count: int, rng: np.random.RandomState) -> np.ndarray:
        mean = self.means_[state]
        covariance = self.covariances_ if self.covariance_type in gaussian_parameters.TIED else self.covariances_[state]
        if np.ndim(covariance) == 2:
            return rng.multivariate_normal(mean, covariance, count)
        return mean + rng.standard_normal(size=(count, len(mean))) * np.sqrt(covariance)

    def impute(self, X: Any, return_std: bool = False) -> Any:
        """X with E[x | what is there of the row] for what is missing, (n, d), in float64.

        With `return_std` also the conditional standard deviation of each filled cell, (n, d): 0 where X has a value.
        """
        gaussian = gaussian_parameters.gaussian_of(self._fitted_model())
        found = self._each(
            X, lambda batch, p: torch.stack(_on(batch, gaussian).conditional(batch.target, p.responsibilities), 1)
        )
        X = self._check_rows(X, reset=False)
        filled = np.where(np.isnan(X), found[:, 0] * self._scale + self._center, X)
        return (filled, np.sqrt(found[:, 1]) * self._scale) if return_std else filled

    def sample_missing(self, X: Any, random_state: Any = None) -> np.ndarray:
        """X with a draw from p(x | what is there of the row) for what is missing, (n, d), in float64.

        Draws are independent of one another: several of them are a multiple imputation.
        """
        gaussian = gaussian_parameters.gaussian_of(self._fitted_model())
        rng = check_random_state(random_state)
        generator = torch.Generator().manual_seed(int(rng.randint(2**31)))

        def draw(batch: Batch, posterior: Discrete) -> torch.Tensor:
            return _on(batch, gaussian).draw_missing(batch.target, posterior.responsibilities, generator)

        drawn = self._each(X, draw)
        X = self._check_rows(X, reset=False)
        return np.where(np.isnan(X), drawn * self._scale + self._center, X)

    @torch.no_grad()
    def _each(self, X: Any, wanted: Callable[[Batch, Discrete], torch.Tensor]) -> np.ndarray:
        """What is wanted of the posterior of batch after batch, end to end."""
        check_is_fitted(self)
        X = self._check_rows(X, reset=False)
        model = self._fitted_model().to(options.choose_device(self.device))
        with options.few_threads(X.size * len(self.weights_)):
            found = [wanted(batch, model.posterior(batch)).cpu().numpy() for batch in self._batches(X)]
        return np.concatenate(found)

    def _fitted_model(self) -> Mixture:
        return gaussian_parameters.model_of(
            self.weights_, self.means_, self.precisions_cholesky_, self.covariance_type, self._center, self._scale
        )

    def _check_rows(self, X: Any, reset: bool) -> np.ndarray:
        return validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
            reset=reset,
        )

    def _batches(
        self, X: np.ndarray, weights: np.ndarray | None = None, labels: np.ndarray | None = None
    ) -> Iterator[Batch]:
        """Centred rows in batches on the device; the difference is taken in float64."""
        dtype, device = options.DTYPES[self.dtype], options.choose_device(self.device)
        for start in range(0, len(X), _BATCH_ROWS):
            rows = slice(start, start + _BATCH_ROWS)
            target = torch.as_tensor((X[rows] - self._center) / self._scale, dtype=dtype, device=device)
            yield Batch(
                target,
                weights=None if weights is None else torch.as_tensor(weights[rows], dtype=dtype, device=device),
                labels=None if labels is None else torch.as_tensor(labels[rows], device=device),
            )


def _on(batch: Batch, gaussian: Gaussian) -> Gaussian:
    return gaussian.to(batch.target.device)
