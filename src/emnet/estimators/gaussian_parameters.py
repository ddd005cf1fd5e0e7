"""The parameters of a Gaussian mixture as scikit-learn publishes them, and the model that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError
from emnet.factors.covariances import Covariance, Given
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.tables import MixingWeights
from emnet.models.mixture import Mixture

TIED, SPHERICAL = ("tied", "EEE"), ("spherical",)
DIAGONAL = ("diag", "VVI", "EII", "VII", "EEI", "VEI", "EVI")
_KEPT = 1e-8  # how far a covariance may be from that which was given, beside the deviations: rounding


def published(model: Mixture, kind: str, center: np.ndarray, scale: float) -> dict[str, np.ndarray]:
    """weights_, means_, covariances_, precisions_ and precisions_cholesky_ in the units of the data."""
    factor = gaussian_of(model)
    inverse = factor.covariance.inverse_factor().cpu().numpy() / scale
    if kind in SPHERICAL:
        inverse = inverse[:, 0]
    if kind in (*SPHERICAL, *DIAGONAL):
        cholesky, precisions, covariances = inverse, inverse**2, inverse**-2.0
    else:
        cholesky = np.ascontiguousarray(np.swapaxes(inverse, 1, 2))
        lower = factor.covariance.lower()[: len(cholesky)].cpu().numpy() * scale
        precisions, covariances = cholesky @ inverse, lower @ np.swapaxes(lower, 1, 2)
    if kind in TIED:
        cholesky, precisions, covariances = cholesky[0], precisions[0], covariances[0]
    return {
        "weights_": model.weights.log_probabilities.exp().cpu().numpy(),
        "means_": factor.means.cpu().numpy() * scale + center,
        "covariances_": covariances,
        "precisions_": precisions,
        "precisions_cholesky_": cholesky,
    }


def model_of(
    weights: np.ndarray, means: np.ndarray, cholesky: np.ndarray, kind: str, center: np.ndarray, scale: float
) -> Mixture:
    """The mixture of centered and scaled data with those parameters."""
    k, d = means.shape
    if kind in (*SPHERICAL, *DIAGONAL):
        lower = 1 / np.broadcast_to(cholesky.reshape(k, -1), (k, d)) / scale
        factor = torch.as_tensor(lower, dtype=torch.float64)
    else:
        inverse = torch.as_tensor(np.swapaxes(cholesky.reshape(-1, d, d), 1, 2) * scale, dtype=torch.float64)
        identity = torch.eye(d, dtype=torch.float64).expand_as(inverse)
        factor = torch.linalg.solve_triangular(inverse, identity, upper=False)
    centered = torch.as_tensor((means - center) / scale, dtype=torch.float64)
    return Mixture(MixingWeights(torch.as_tensor(weights)), Gaussian(centered, Given(factor, k)))


def gaussian_of(model: Mixture) -> Gaussian:
    factor: Gaussian = model.emissions["emission"]
    return factor


def default_prior(variances: Tensor, k: int, mean: Tensor) -> NormalInverseWishart:
    """The weak prior of Fraley & Raftery 2007 for k components of columns with those variances and means, (d,)."""
    d = len(variances)
    return NormalInverseWishart(variances.diag_embed() / k ** (2 / d), d + 2, mean, 0.01)


def require_weights(weights: Any, k: int) -> np.ndarray:
    """weights_init as an array that adds up to 1."""
    weights = require_array("weights", weights, (k,))
    if (weights < 0).any() or (weights > 1).any():
        raise InvalidInputError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.max():.5f}, min value {weights.min():.5f}"
        )
    if abs(weights.sum() - 1) > 1e-6:
        raise InvalidInputError(
            f"The parameter 'weights' should be normalized, but got sum(weights) = {weights.sum():.5f}"
        )
    return weights


def require_means(means: Any, k: int, d: int) -> np.ndarray:
    return require_array("means", means, (k, d))


def covariances_of_precisions(precisions: Any, kind: str, k: int, d: int, scale: float) -> Tensor:
    """precisions_init, in the shape of the covariance type, as covariances of the scaled data: (k, d, d)."""
    precisions = require_array(f"{kind} precision", precisions, shape_of_precisions(kind, k, d))
    if kind in (*SPHERICAL, *DIAGONAL):
        if (precisions <= 0).any():
            component = int(np.argwhere(precisions <= 0)[0][0])
            raise InvalidInputError(f"'{kind} precision' should be positive; that of component {component} is not")
        return torch.as_tensor(np.broadcast_to(1 / precisions.reshape(k, -1), (k, d)) / scale**2).diag_embed()
    matrices = np.broadcast_to(precisions, (k, d, d))
    symmetric = np.isclose(matrices, np.swapaxes(matrices, 1, 2)).all((1, 2))
    if not (good := symmetric & (np.linalg.eigvalsh(matrices) > 0).all(1)).all():
        which = "" if kind in TIED else f"; that of component {int(good.argmin())} is not"
        raise InvalidInputError(f"'{kind} precision' should be symmetric, positive-definite{which}")
    return torch.linalg.inv(torch.as_tensor(matrices * scale**2, dtype=torch.float64))


def shape_of_precisions(kind: str, k: int, d: int) -> tuple[int, ...]:
    """Of precisions_, and of covariances_ and precisions_cholesky_."""
    if kind in SPHERICAL:
        return (k,)
    if kind in TIED:
        return (d, d)
    return (k, d) if kind in DIAGONAL else (k, d, d)


def require_held(structure: Covariance, covariances: Tensor, kind: str) -> None:
    """Raise InvalidInputError unless the structure has those covariances, (k, d, d), which it is to keep."""
    away = (structure.covariances() - covariances).abs()
    sizes = covariances.diagonal(dim1=1, dim2=2).sqrt()
    changed = (away > _KEPT * sizes[:, :, None] * sizes[:, None]).flatten(1).any(1)
    if changed.any():
        raise InvalidInputError(
            f"fixed names 'covariances', and covariance_type {kind!r} cannot hold those of precisions_init: that of "
            f"component {int(changed.nonzero()[0])} would be another. Take covariance_type 'full', or do not fix them."
        )


def require_array(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter as finite numbers of that shape."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"The parameter '{name}' should be an array of shape {shape}: {error}.") from error
    if array.shape != shape:
        raise InvalidInputError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    if not np.isfinite(array).all():
        entry = ", ".join(map(str, np.argwhere(~np.isfinite(array))[0]))
        raise InvalidInputError(f"The parameter '{name}' must be finite; entry [{entry}] is NaN or infinite.")
    return array
