"""The families of emissions by name: how each starts, which prior is weak, and what it publishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet.estimators.gaussian_parameters import default_prior
from emnet.estimators.standardize import seen_location_scale
from emnet.factors.counting import Bernoulli, Poisson
from emnet.factors.covariances import Diagonal, Full
from emnet.factors.emission import Emission
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.log_normal import LogNormal
from emnet.factors.student_t import StudentT
from emnet.factors.tables import Categorical

_MANY_DEGREES = 10.0  # of freedom, at the start: some outliers are expected


@dataclass(frozen=True)
class Summary:
    """What a start and a weak prior need of the columns: (d,) each, of what is there of them."""

    means: Tensor
    variances: Tensor
    shares: tuple[float, ...] = ()  # of the categories


Published = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Family:
    """A distribution by name.

    start : (summary, k, whether with a prior) → a factor whose states are all alike.
    published : (factor, center, scale of the columns) → its parameters in the units of the data.
    coordinates : what of the columns a start from k-means should see.
    summarized : the cells whose summary `start` is given.
    measured : whether a shift and a scale of the columns are those of the parameters, and so may be taken out.
    single : whether a factor explains one column alone.
    """

    factor: type[Emission]
    start: Callable[[Summary, int, bool], Emission]
    published: Callable[[Any, np.ndarray, np.ndarray], Published]
    coordinates: Callable[[np.ndarray], np.ndarray] = lambda x: x
    summarized: Callable[[np.ndarray], np.ndarray] = lambda x: x
    measured: bool = False
    single: bool = False


def summary_of(
    X: np.ndarray, weights: np.ndarray | None, n_categories: int = 0, device: torch.device | None = None
) -> Summary:
    """Of (n, d) cells, NaN for what is missing; of one column of categories their shares."""
    means, deviations = seen_location_scale(X, weights)
    shares: tuple[float, ...] = ()
    if n_categories:
        seen = ~np.isnan(X[:, 0])
        mass = None if weights is None else weights[seen]
        counts = np.bincount(X[seen, 0].astype(int), mass, minlength=n_categories)
        shares = tuple((counts / counts.sum()).tolist())
    return Summary(torch.as_tensor(means, device=device), torch.as_tensor(deviations**2, device=device), shares)


def _prior_of_columns(summary: Summary, k: int) -> NormalInverseWishart:
    """The default prior of each column by itself, in one object: it counts ν + d + 1 rows, as for d = 1 it would."""
    d = len(summary.means)
    return NormalInverseWishart(summary.variances.diag_embed() / k**2, 4 - d, summary.means, 0.01)


def _gaussian(summary: Summary, k: int, prior: bool) -> Emission:
    d = len(summary.means)
    structure = Full if d > 1 else Diagonal
    covariances = summary.variances.diag_embed().expand(k, d, d)
    own = default_prior(summary.variances, k, summary.means) if prior else None
    return Gaussian(summary.means.expand(k, d), structure(covariances), prior=own)


def _student_t(summary: Summary, k: int, prior: bool) -> Emission:
    shape = (k, len(summary.means))
    own = _prior_of_columns(summary, k) if prior else None
    return StudentT(summary.means.expand(shape), summary.variances.expand(shape), _MANY_DEGREES, prior=own)


def _log_normal(summary: Summary, k: int, prior: bool) -> Emission:
    shape = (k, len(summary.means))
    own = _prior_of_columns(summary, k) if prior else None
    return LogNormal(summary.means.expand(shape), summary.variances.expand(shape), prior=own)


def _bernoulli(summary: Summary, k: int, prior: bool) -> Emission:
    means, start = summary.means, summary.means.expand(k, -1)
    return Bernoulli(start, a=1 + means, b=2 - means) if prior else Bernoulli(start)


def _poisson(summary: Summary, k: int, prior: bool) -> Emission:
    means, start = summary.means, summary.means.expand(k, -1)
    return Poisson(start, shape=1 + means, rate=torch.ones_like(means)) if prior else Poisson(start)


def _categorical(summary: Summary, k: int, prior: bool) -> Emission:
    shares = torch.tensor(summary.shares, dtype=torch.float64, device=summary.means.device)
    return Categorical(shares.expand(k, -1), concentration=1 + shares if prior else 1.0)


def _of_gaussian(factor: Gaussian, center: np.ndarray, scale: np.ndarray) -> Published:
    covariances = factor.covariance.covariances().cpu().numpy()
    return {"means": factor.means.cpu().numpy() * scale + center, "covariances": covariances * np.outer(scale, scale)}


def _of_student_t(factor: StudentT, center: np.ndarray, scale: np.ndarray) -> Published:
    return {
        "means": factor.means.cpu().numpy() * scale + center,
        "scales": factor.variances.sqrt().cpu().numpy() * scale,
        "degrees_of_freedom": factor.degrees_of_freedom.cpu().numpy(),
    }


def _of_log_normal(factor: LogNormal, center: np.ndarray, scale: np.ndarray) -> Published:
    covariances = factor.of_logarithms.covariance.covariances().diagonal(dim1=1, dim2=2)
    return {"log_means": factor.of_logarithms.means.cpu().numpy(), "log_variances": covariances.cpu().numpy()}


def _logarithms(X: np.ndarray) -> np.ndarray:
    return np.log(np.where(X > 0, X, np.nan))


FAMILIES: Mapping[str, Family] = {
    "gaussian": Family(Gaussian, _gaussian, _of_gaussian, measured=True),
    "student_t": Family(StudentT, _student_t, _of_student_t, measured=True),
    "log_normal": Family(LogNormal, _log_normal, _of_log_normal, _logarithms, _logarithms),
    "poisson": Family(Poisson, _poisson, lambda factor, *_: {"rates": factor.means.cpu().numpy()}, np.sqrt),
    "bernoulli": Family(Bernoulli, _bernoulli, lambda factor, *_: {"probabilities": factor.means.cpu().numpy()}),
    "categorical": Family(
        Categorical,
        _categorical,
        lambda factor, *_: {"probabilities": factor.log_probabilities.exp().cpu().numpy()},
        lambda X: (np.arange(np.nanmax(X) + 1) == X) / np.sqrt(2),
        single=True,
    ),
}


def family_of(factor: type) -> str | None:
    """The name of a factor class, None if it has none."""
    return next((name for name, family in FAMILIES.items() if family.factor is factor), None)
