"""What the estimators of chains with Gaussian emissions share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans

from emnet.estimators.validation import require_levels
from emnet.exceptions import CollapsedComponentWarning, InvalidInputError
from emnet.factors.gaussian import Gaussian
from emnet.kernels.quantiles import mixture_quantiles
from emnet.warning import warn


def spread(X: np.ndarray, min_covar: float) -> np.ndarray:
    """The covariance of all rows, (d, d), with min_covar on its diagonal."""
    if len(X) == 1:
        raise InvalidInputError(
            "X is one row (n_samples=1), and covariances cannot start from its spread. Give more rows, or set the "
            "covariances yourself and leave 'c' out of init_params."
        )
    return np.atleast_2d(np.cov(filled(X).T)) + min_covar * np.eye(X.shape[1])


def filled(X: np.ndarray) -> np.ndarray:
    """X with column means for what is missing: good enough for a start."""
    return np.where(np.isnan(X), np.nanmean(X, axis=0), X) if np.isnan(X).any() else X


def clusters(X: np.ndarray, k: int, seed: Any) -> KMeans:
    """k-means of rows without holes, as hmmlearn starts from it."""
    if len(X) < k:
        raise InvalidInputError(
            f"{k} means cannot start from X, which has {len(X)} rows. Decrease n_components, or set the means yourself "
            "and leave 'm' out of init_params."
        )
    return KMeans(n_clusters=k, random_state=seed, n_init=10).fit(X)


def by_state(prior: Any) -> np.ndarray:
    """A prior mean that is a number, (k,) or (k, d), so that it broadcasts to (k, d)."""
    prior = np.asarray(prior, dtype=float)
    return prior[:, None] if prior.ndim == 1 else prior


def quantiles(weights: np.ndarray, means: np.ndarray, deviations: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Of mixtures with weights (h, k) of Gaussians with means and deviations (k, d): (h, l, d)."""
    levels = require_levels(levels)
    own = torch.as_tensor(means).expand(len(weights), -1, -1)
    scales = torch.as_tensor(deviations)[None]
    return mixture_quantiles(torch.as_tensor(weights), own, scales, torch.as_tensor(levels)).numpy()


def warn_of_lifted(model: torch.nn.Module, min_covar: float) -> None:
    """Say which covariances of a model's Gaussian `min_covar` kept from being singular."""
    for factor in model.modules():
        if isinstance(factor, Gaussian) and factor.lifted:
            warn(
                f"The covariance of component {', '.join(map(str, factor.lifted))} would be singular; "
                f"min_covar={min_covar:g} was added to its diagonal, and the likelihood means little. Decrease "
                "n_components, take covariance_type='diag', or give a covars_prior that is a multiple of the identity.",
                CollapsedComponentWarning,
            )
