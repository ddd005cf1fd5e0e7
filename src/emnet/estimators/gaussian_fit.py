"""How a Gaussian mixture learns: its starts, its runs, and what of them it publishes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import check_random_state

from emnet.algorithms.base import Fit, Iteration, Reason, e_step, evaluate
from emnet.batch import Batch, total_weight
from emnet.estimators import gaussian_parameters, mixture_start, options
from emnet.estimators.gaussian_parameters import gaussian_of
from emnet.estimators.gaussian_use import FittedGaussianMixture
from emnet.estimators.mixture_fit import LearningMixture, statistics_of
from emnet.estimators.mixture_report import warn_of_collapse
from emnet.estimators.standardize import center_and_scale
from emnet.exceptions import InvalidInputError
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.tables import Counts, MixingWeights
from emnet.inference.exact import Exact
from emnet.models.mixture import Mixture
from emnet.statistics import ModelStatistics

_STEPWISE_POWER = 0.6


class LearningGaussianMixture(LearningMixture, FittedGaussianMixture):
    """All of the training but the checks of parameters."""

    n_factors: int
    reg_covar: float
    weights_init: Any
    means_init: Any
    precisions_init: Any
    prior: Any
    weight_concentration: Any
    fixed: Collection[str]
    _online: ModelStatistics | None

    def _fit(self, X: np.ndarray, weights: np.ndarray | None, labels: np.ndarray | None) -> Self:
        shape = (self.n_components, X.shape[1])
        continues = self.warm_start and hasattr(self, "means_") and self.means_.shape == shape
        if not continues:
            self._center, self._scale = center_and_scale(X, weights)
        data = list(self._batches(X, weights, labels))
        self._rows_seen, self._passes, self._online = total_weight(data), 1, None
        self._log_scale = self._log_scale_of(X, weights)
        if continues:
            self._fit_starts(data, self.lower_bound_, 1, lambda rng: self._learnable(data))
        else:
            self._fit_starts(data, -np.inf, self.n_init, lambda rng: self._start(X, data, rng, weights, labels))
        self._warn(data)
        return self

    def _is_monotone(self) -> bool:
        return self.reg_covar == 0 and self.dtype == "float64"

    def _start(
        self,
        X: np.ndarray,
        data: list[Batch],
        rng: np.random.RandomState,
        weights: np.ndarray | None,
        labels: np.ndarray | None,
    ) -> Mixture:
        """The model after an M-step on the starting responsibilities, with what `…_init` gives in its place."""
        d = X.shape[1]
        if self._all_given():
            covariances = self._given_covariances(d)
            return self._mixture(self._given_weights(), self._given_means(d), covariances, data)
        found = mixture_start.start(self.init_params, X, self.n_components, rng, weights, labels)
        k, variances = self.n_components, _variances(data)
        first = self._mixture(
            np.full(k, 1 / k), np.zeros((k, d)), variances.diag_embed().expand(k, d, d), data, fixed=()
        )
        statistics = statistics_of(first, data, found)
        if self.precisions_init is not None:
            first.weights.maximize(statistics["weights"])
            moments: Any = statistics["emission"]
            gaussian_of(first).means.data.copy_(moments.origin + moments.first / moments.counts[:, None])
        else:
            first.m_step(statistics)
        emission = gaussian_of(first)
        return self._mixture(
            first.weights.log_probabilities.exp().cpu().numpy() if self.weights_init is None else self._given_weights(),
            emission.means.cpu() if self.means_init is None else self._given_means(d),
            emission.covariance.covariances() if self.precisions_init is None else self._given_covariances(d),
            data,
        )

    def _learnable(self, data: list[Batch]) -> Mixture:
        """The fitted parameters as a model that can go on learning."""
        fitted = gaussian_of(self._fitted_model())
        return self._mixture(self.weights_, fitted.means, fitted.covariance.covariances(), data)

    def _mixture(
        self,
        weights: Any,
        means: Any,
        covariances: torch.Tensor,
        data: list[Batch],
        fixed: Collection[str] | None = None,
    ) -> Mixture:
        fixed = self.fixed if fixed is None else fixed
        structure = options.choose_covariance(self.covariance_type, covariances.cpu(), self.n_factors)
        emission = Gaussian(
            torch.as_tensor(means),
            structure,
            prior=self._prior(data),
            reg_covar=self.reg_covar / self._scale**2,
            fixed=set(fixed) - {"weights"},
        )
        concentration = torch.as_tensor(self.weight_concentration, dtype=torch.float64)
        mixing = MixingWeights(torch.as_tensor(weights), concentration=concentration, fixed="weights" in fixed)
        return Mixture(mixing, emission).to(data[0].target.device)

    def _prior(self, data: list[Batch]) -> NormalInverseWishart | None:
        if self.prior is None:
            return None
        if isinstance(self.prior, NormalInverseWishart):
            return self._in_units_of_the_model(self.prior, data[0].target.device)
        variances = _variances(data)
        return gaussian_parameters.default_prior(variances, self.n_components, torch.zeros_like(variances))

    def _in_units_of_the_model(self, prior: NormalInverseWishart, device: torch.device) -> NormalInverseWishart:
        d = len(self._center)
        if len(prior.scale) != d:
            raise InvalidInputError(f"The prior is for {len(prior.scale)} columns; X has {d}.")
        mean = None if prior.mean is None else (prior.mean - torch.as_tensor(self._center)) / self._scale
        scale = (prior.scale / self._scale**2).to(device)
        return replace(prior, scale=scale, mean=None if mean is None else mean.to(device))

    def _fit_pass(self, X: np.ndarray, weights: np.ndarray | None, labels: np.ndarray | None) -> Self:
        """A step of stepwise EM (Cappé & Moulines 2009): s ← (1 − γ)·s + γ·ŝ a row, γ = (t + 1)^−0.6, then M."""
        first = not hasattr(self, "weights_")
        if first:
            self._center, self._scale = center_and_scale(X, weights)
            self._rows_seen, self._passes, self._online = 0.0, 0, None
        data = list(self._batches(X, weights, labels))
        rng = check_random_state(self.random_state)
        model = self._start(X, data, rng, weights, labels) if first else self._learnable(data)
        self._log_scale, rows = self._log_scale_of(X, weights), total_weight(data)
        with torch.no_grad():
            before, found = e_step(model, data, Exact())
            share = (self._passes + 1) ** -_STEPWISE_POWER
            kept = self._online or _implied(model)
            self._online = found * (share / rows) + kept * (1 - share) if self._passes else found * (1 / rows)
            self._rows_seen, self._passes = self._rows_seen + rows, self._passes + 1
            model.m_step(self._online * self._rows_seen)
            after = evaluate(model, data, Exact())
        lines = tuple(Iteration(number, progress, 0.0) for number, progress in enumerate((before, after)))
        fit = Fit(lines, Reason.MAX_ITER, rows, 0.0)
        self.fits_ = [fit]
        self._publish(model, fit, rows)
        return self

    # -- what was fitted --------------------------------------------------------------------------------------------

    def _publish(self, model: Mixture, fit: Fit | None, rows: float) -> None:
        """Set the attributes from a start's parameters and record."""
        parameters = gaussian_parameters.published(model, self.covariance_type, self._center, self._scale)
        for name, value in parameters.items():
            setattr(self, name, value)
        self._n_free = _n_free(model)
        self._record(fit, rows)

    def _warn(self, data: list[Batch]) -> None:
        if self.max_iter == 0:
            return
        if self.prior is None and self.covariance_type not in gaussian_parameters.TIED:
            counts = self.weights_ * total_weight(data)
            warn_of_collapse(counts, self.covariances_, self.reg_covar)
        self._warn_if_not_converged()

    # -- input ------------------------------------------------------------------------------------------------------

    def _all_given(self) -> bool:
        return all(value is not None for value in (self.weights_init, self.means_init, self.precisions_init))

    def _given_weights(self) -> np.ndarray:
        return gaussian_parameters.require_weights(self.weights_init, self.n_components)

    def _given_means(self, d: int) -> np.ndarray:
        means = gaussian_parameters.require_means(self.means_init, self.n_components, d)
        return (means - self._center) / self._scale

    def _given_covariances(self, d: int) -> torch.Tensor:
        return gaussian_parameters.covariances_of_precisions(
            self.precisions_init, self.covariance_type, self.n_components, d, self._scale
        )


def _implied(model: Mixture) -> ModelStatistics:
    """Statistics of a row on average, as the parameters have it: their M-step gives the parameters back."""
    factor, weights = gaussian_of(model), model.weights.log_probabilities.exp()
    return ModelStatistics({"weights": Counts(weights), "emission": factor.implied(weights)})


def _n_free(model: Mixture) -> int:
    """Free parameters, as information criteria count them."""
    return gaussian_of(model).n_parameters + (0 if model.weights.fixed else model.weights.n_states - 1)


def _variances(data: list[Batch]) -> torch.Tensor:
    """Mean square of what is there of each column, of centred data, (d,); 1 of a column of zeros."""
    total, mass = torch.zeros(()), torch.zeros(())
    for batch in data:
        seen = (~batch.target.isnan()).double()
        share = seen if batch.weights is None else seen * batch.weights[:, None]
        total = total + (share * batch.target.nan_to_num(0.0).double().square()).sum(0)
        mass = mass + share.sum(0)
    variances = total / mass
    return torch.where(variances > 0, variances, 1.0)
