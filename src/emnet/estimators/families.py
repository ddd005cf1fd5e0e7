"""The families of emissions by name: how each starts, which prior is weak, and what it publishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet.estimators.gaussian_parameters import default_prior
from emnet.estimators.standardize import require_variance, seen_location_scale
from emnet.factors.counting import Bernoulli, Poisson
from emnet.factors.covariances import Diagonal, Full
from emnet.factors.emission import Emission
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.log_normal import LogNormal
from emnet.factors.student_t import StudentT
from emnet.factors.tables import Categorical

_MANY_DEGREES = 10.0  # of freedom, at the start: some outliers are expected


SUMMARIZED = ("means", "variances")


@dataclass(frozen=True)
class Summary:
    """What a start and a weak prior need of the columns: (d,) each, of what is there of them."""

    means: Tensor
    variances: Tensor
    shares: tuple[float, ...] = ()  # of the categories

    def to(self, device: torch.device) -> Summary:
        return replace(self, means=self.means.to(device), variances=self.variances.to(device))


Parameters = Mapping[str, Tensor]
"""A factor's parameters by the names under which they are published: (k, ...) each."""


@dataclass(frozen=True)
class Family:
    """A distribution by name.

    alike : (summary, k) → the parameters of k states that are all like the whole table.
    make : (parameters, the summary if there is to be a prior, the names of those that stay as they are) → a factor.
    parameters : of a factor.
    coordinates : what of the columns a start from k-means should see.
    summarized : the cells whose summary `alike` and `make` are given.
    measured : whether a shift and a scale of the columns are those of the parameters, and so may be taken out.
    single : whether a factor explains one column alone.
    support, expected : which numbers it explains, and what those are called.
    """

    factor: type[Emission]
    alike: Callable[[Summary, int], Parameters]
    make: Callable[[Parameters, Summary | None, frozenset[str]], Emission]
    parameters: Callable[[Any], Parameters]
    coordinates: Callable[[np.ndarray], np.ndarray] = lambda x: x
    summarized: Callable[[np.ndarray], np.ndarray] = lambda x: x
    measured: bool = False
    single: bool = False
    support: Callable[[Tensor], Tensor] = torch.isfinite
    expected: str = "finite numbers"


def in_units_of_data(name: str, value: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """A parameter of centered and scaled columns, whose center and scale are (d,), as one of the columns themselves."""
    if name == "covariances":
        return value * np.outer(scale, scale)
    return value * scale + center if name == "means" else value * scale if name == "scales" else value


def in_units_of_model(name: str, value: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The inverse."""
    if name == "covariances":
        return value / np.outer(scale, scale)
    return (value - center) / scale if name == "means" else value / scale if name == "scales" else value


def summary_of(X: np.ndarray, weights: np.ndarray | None, n_categories: int = 0) -> Summary:
    """Of (n, d) cells, NaN for what is missing; of one column of categories their shares."""
    means, deviations = seen_location_scale(X, weights)
    require_variance(max(1.0, float(deviations.max())))
    shares: tuple[float, ...] = ()
    if n_categories:
        seen = ~np.isnan(X[:, 0])
        mass = None if weights is None else weights[seen]
        counts = np.bincount(X[seen, 0].astype(int), mass, minlength=n_categories)
        shares = tuple((counts / counts.sum()).tolist())
    return Summary(torch.as_tensor(means), torch.as_tensor(deviations**2), shares)


def _prior_of_columns(summary: Summary, k: int) -> NormalInverseWishart:
    """The default prior of each column by itself, in one object: it counts ν + d + 1 rows, as for d = 1 it would."""
    d = len(summary.means)
    return NormalInverseWishart(summary.variances.diag_embed() / k**2, 4 - d, summary.means, 0.01)


def _alike(summary: Summary, k: int) -> tuple[Tensor, Tensor]:
    return summary.means.expand(k, -1), summary.variances.expand(k, -1)


def _gaussians_alike(summary: Summary, k: int) -> Parameters:
    means, variances = _alike(summary, k)
    return {"means": means, "covariances": variances.diag_embed()}


def _gaussian(parameters: Parameters, summary: Summary | None, fixed: frozenset[str]) -> Emission:
    k, d = parameters["means"].shape
    structure = Full if d > 1 else Diagonal
    prior = default_prior(summary.variances, k, summary.means) if summary else None
    return Gaussian(parameters["means"], structure(parameters["covariances"]), prior=prior, fixed=fixed)


def _of_gaussian(factor: Gaussian) -> Parameters:
    return {"means": factor.means.detach(), "covariances": factor.covariance.covariances()}


def _ts_alike(summary: Summary, k: int) -> Parameters:
    means, variances = _alike(summary, k)
    return {"means": means, "scales": variances.sqrt(), "degrees_of_freedom": torch.full_like(means, _MANY_DEGREES)}


def _student_t(parameters: Parameters, summary: Summary | None, fixed: frozenset[str]) -> Emission:
    means, scales, degrees = (parameters[name] for name in ("means", "scales", "degrees_of_freedom"))
    prior = _prior_of_columns(summary, len(means)) if summary else None
    return StudentT(means, scales.square(), degrees, prior=prior, fixed=fixed)


def _of_student_t(factor: StudentT) -> Parameters:
    scales = factor.variances.sqrt()
    return {"means": factor.means.detach(), "scales": scales, "degrees_of_freedom": factor.degrees_of_freedom}


def _log_normals_alike(summary: Summary, k: int) -> Parameters:
    return dict(zip(("log_means", "log_variances"), _alike(summary, k), strict=True))


def _log_normal(parameters: Parameters, summary: Summary | None, fixed: frozenset[str]) -> Emission:
    prior = _prior_of_columns(summary, len(parameters["log_means"])) if summary else None
    own = {"log_means": "means", "log_variances": "covariances"}
    return LogNormal(
        parameters["log_means"], parameters["log_variances"], prior=prior, fixed={own[name] for name in fixed}
    )


def _of_log_normal(factor: LogNormal) -> Parameters:
    variances = factor.of_logarithms.covariance.covariances().diagonal(dim1=1, dim2=2)
    return {"log_means": factor.of_logarithms.means.detach(), "log_variances": variances}


def _bernoulli(parameters: Parameters, summary: Summary | None, fixed: frozenset[str]) -> Emission:
    prior = {"a": 1 + summary.means, "b": 2 - summary.means} if summary else {}
    return Bernoulli(parameters["probabilities"], fixed=bool(fixed), **prior)


def _poisson(parameters: Parameters, summary: Summary | None, fixed: frozenset[str]) -> Emission:
    prior = {"shape": 1 + summary.means, "rate": torch.ones_like(summary.means)} if summary else {}
    return Poisson(parameters["rates"], fixed=bool(fixed), **prior)


def _categories_alike(summary: Summary, k: int) -> Parameters:
    return {"probabilities": torch.tensor(summary.shares, dtype=torch.float64).expand(k, -1)}


def _categorical(parameters: Parameters, summary: Summary | None, fixed: frozenset[str]) -> Emission:
    prior = {"concentration": 1 + torch.tensor(summary.shares, dtype=torch.float64)} if summary else {}
    return Categorical(parameters["probabilities"], fixed=bool(fixed), **prior)


def _logarithms(X: np.ndarray) -> np.ndarray:
    return np.log(np.where(X > 0, X, np.nan))


FAMILIES: Mapping[str, Family] = {
    "gaussian": Family(Gaussian, _gaussians_alike, _gaussian, _of_gaussian, measured=True),
    "student_t": Family(StudentT, _ts_alike, _student_t, _of_student_t, measured=True),
    "log_normal": Family(
        LogNormal,
        _log_normals_alike,
        _log_normal,
        _of_log_normal,
        _logarithms,
        _logarithms,
        support=LogNormal.support,
        expected=LogNormal.expected,
    ),
    "poisson": Family(
        Poisson,
        lambda summary, k: {"rates": summary.means.expand(k, -1)},
        _poisson,
        lambda factor: {"rates": factor.means},
        np.sqrt,
        support=Poisson.support,
        expected=Poisson.expected,
    ),
    "bernoulli": Family(
        Bernoulli,
        lambda summary, k: {"probabilities": summary.means.expand(k, -1)},
        _bernoulli,
        lambda factor: {"probabilities": factor.means},
        support=Bernoulli.support,
        expected=Bernoulli.expected,
    ),
    "categorical": Family(
        Categorical,
        _categories_alike,
        _categorical,
        lambda factor: {"probabilities": factor.log_probabilities.exp()},
        lambda X: (np.arange(np.nanmax(X) + 1) == X) / np.sqrt(2),
        single=True,
    ),
}


def family_of(factor: type) -> str | None:
    """The name of a factor class, None if it has none."""
    return next((name for name, family in FAMILIES.items() if family.factor is factor), None)
