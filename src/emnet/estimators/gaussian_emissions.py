"""Covariances in the four shapes of hmmlearn, and what the estimators with Gaussian emissions share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans

from emnet.estimators.validation import require_levels, require_one_of
from emnet.exceptions import CollapsedComponentWarning, InvalidInputError
from emnet.factors.covariances import Covariance, Diagonal, Full, Spherical, Tied
from emnet.factors.gaussian import Gaussian
from emnet.kernels.quantiles import mixture_quantiles
from emnet.warning import warn

STRUCTURES: Mapping[str, Callable[[torch.Tensor], Covariance]] = {
    "spherical": Spherical,
    "diag": Diagonal,
    "full": Full,
    "tied": Tied,
}


def require_kind(kind: Any) -> None:
    require_one_of("covariance_type", kind, tuple(STRUCTURES))


def require_covariances(covars: Any, kind: str, k: int) -> np.ndarray:
    """Covariances in the shape of their kind: (k,), (k, d), (k, d, d) or (d, d)."""
    require_kind(kind)
    covars = np.array(covars, dtype=float)
    if kind == "spherical":
        covars = covars.reshape(len(covars), -1).mean(axis=1) if covars.ndim else covars
    dimensions = {"spherical": 1, "diag": 2, "full": 3, "tied": 2}[kind]
    if covars.ndim != dimensions or (kind != "tied" and len(covars) != k):
        shape = {"spherical": "(k,)", "diag": "(k, d)", "full": "(k, d, d)", "tied": "(d, d)"}[kind]
        raise InvalidInputError(f"{kind!r} covars_ have shape {shape}, k = {k}; these have {covars.shape}.")
    good = (covars > 0).all() if kind in ("spherical", "diag") else _are_definite(covars)
    if not good:
        raise InvalidInputError(f"{kind!r} covars_ must be symmetric and positive definite.")
    return covars


def _are_definite(matrices: np.ndarray) -> bool:
    swapped = np.swapaxes(matrices, -1, -2)
    if matrices.shape[-1] != matrices.shape[-2] or not np.allclose(matrices, swapped):
        return False
    return bool((np.linalg.eigvalsh(matrices) > 0).all())


def matrices(covars: np.ndarray, kind: str, k: int, d: int) -> np.ndarray:
    """Σ of every state, (k, d, d)."""
    if kind == "full":
        return covars
    if kind == "tied":
        return np.tile(covars, (k, 1, 1))
    return np.eye(d) * (covars[:, None, None] if kind == "spherical" else covars[:, None])


def compact(covariances: np.ndarray, kind: str) -> np.ndarray:
    """(…, d, d) in the shape of their kind."""
    if kind == "full":
        return covariances
    if kind == "tied":
        return covariances[0]
    diagonal = np.diagonal(covariances, axis1=-2, axis2=-1).copy()
    return diagonal.mean(axis=-1) if kind == "spherical" else diagonal


def of_kind(covariance: np.ndarray, kind: str, k: int) -> np.ndarray:
    """One covariance, (d, d), for each of k states; spherical is the mean of all its entries, as hmmlearn has it."""
    require_kind(kind)
    if kind == "spherical":
        return np.full(k, covariance.mean())
    if kind == "diag":
        return np.tile(np.diag(covariance), (k, 1))
    return covariance if kind == "tied" else np.tile(covariance, (k, 1, 1))


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
