"""What a fitted Gaussian mixture has of its own: draws, expected cells, and the model of what is published."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.distributions import Distribution

from emnet.batch import Batch
from emnet.estimators import gaussian_parameters, options
from emnet.estimators.distributions import gaussian_mixture
from emnet.estimators.mixture_use import FittedMixture
from emnet.estimators.table_input import naming_cells
from emnet.exceptions import InvalidInputError
from emnet.factors.gaussian import Gaussian
from emnet.models.mixture import Mixture
from emnet.posteriors import Discrete


class FittedGaussianMixture(FittedMixture):
    """Everything but the training. All of it reads the published parameters, which users may set."""

    means_: np.ndarray
    covariances_: np.ndarray
    precisions_: np.ndarray
    precisions_cholesky_: np.ndarray
    covariance_type: str
    random_state: Any

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows, (n_samples, d), and their components, (n_samples,); the draws are those of scikit-learn."""
        check_is_fitted(self)
        if n_samples < 1:
            raise InvalidInputError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample."
            )
        return self._draw_rows(n_samples, check_random_state(self.random_state))

    def distribution(self) -> Distribution:
        """p(row), a `torch.distributions.MixtureSameFamily` over (d,)."""
        gaussian = gaussian_parameters.gaussian_of(self._fitted_model())
        lower, scale = gaussian.covariance.lower().double(), torch.as_tensor(np.asarray(self._scale)).double()
        means = torch.as_tensor(np.asarray(self.means_, dtype=np.float64))
        return gaussian_mixture(torch.as_tensor(np.asarray(self.weights_, dtype=np.float64)), means, lower * scale)

    def _draw_rows(self, n: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        counts = rng.multinomial(n, self.weights_)
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
        seed = int(check_random_state(random_state).randint(2**31))
        generator = torch.Generator(options.choose_device(self.device)).manual_seed(seed)

        def draw(batch: Batch, posterior: Discrete) -> torch.Tensor:
            return _on(batch, gaussian).draw_missing(batch.target, posterior.responsibilities, generator)

        drawn = self._each(X, draw)
        X = self._check_rows(X, reset=False)
        return np.where(np.isnan(X), drawn * self._scale + self._center, X)

    def _fitted_model(self) -> Mixture:
        check_is_fitted(self)
        shape = gaussian_parameters.shape_of_precisions(self.covariance_type, *self.means_.shape)
        if np.shape(self.precisions_cholesky_) != shape:
            raise InvalidInputError(
                f"covariance_type is {self.covariance_type!r}, whose precisions_cholesky_ are {shape}; those that were "
                f"fitted are {np.shape(self.precisions_cholesky_)}. Set it back, or fit anew."
            )
        return gaussian_parameters.model_of(
            self.weights_, self.means_, self.precisions_cholesky_, self.covariance_type, self._center, self._scale
        )

    def _check_rows(self, X: Any, reset: bool) -> np.ndarray:
        with naming_cells(X):
            return validate_data(
                self,
                X,
                dtype=[np.float64, np.float32],
                ensure_all_finite="allow-nan",
                ensure_min_samples=2 if reset else 1,
                reset=reset,
            )


def _on(batch: Batch, gaussian: Gaussian) -> Gaussian:
    return gaussian.to(batch.target.device)
