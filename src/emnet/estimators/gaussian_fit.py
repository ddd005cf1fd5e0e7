"""How a Gaussian mixture learns: its starts, its runs, and what of them it publishes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from emnet.algorithms.base import Fit
from emnet.batch import Batch, Data, total_weight
from emnet.estimators import gaussian_parameters, gaussian_start, mixture_start, options
from emnet.estimators.degenerate import Flat, flat_components
from emnet.estimators.gaussian_parameters import gaussian_of
from emnet.estimators.gaussian_use import FittedGaussianMixture
from emnet.estimators.mixture_fit import LearningMixture
from emnet.estimators.mixture_report import warn_of_collapse, warn_of_large_floor
from emnet.estimators.mixture_sums import n_free
from emnet.estimators.standardize import center_and_scale, common_scale
from emnet.estimators.streaming import StreamedBatches, Survey
from emnet.exceptions import CollapsedComponentError, InvalidInputError
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.tables import MixingWeights
from emnet.models.mixture import Mixture

_ROUNDING = 10 * np.finfo(np.float64).eps  # of where a column lies: the deviation that rounding may leave of a constant


class LearningGaussianMixture(LearningMixture, FittedGaussianMixture):
    """All of the training but the checks of parameters."""

    n_factors: int
    reg_covar: float
    means_init: Any
    precisions_init: Any
    prior: Any
    _fitted_type: str  # the covariance_type of what was fitted
    _spread: torch.Tensor  # mean square of what is there of each centered column, (d,); 0 of a constant
    _seen: np.ndarray  # share of each column that is there, (d,)

    def _has_such_parameters(self, X: np.ndarray) -> bool:
        """Raises InvalidInputError for covariances of another covariance_type."""
        found = hasattr(self, "means_") and self.means_.shape == (self.n_components, X.shape[1])
        if found:
            self._require_same_covariances()
        return found

    def _require_same_model(self) -> None:
        super()._require_same_model()
        self._require_same_covariances()

    def _require_same_covariances(self) -> None:
        fitted = getattr(self, "_fitted_type", self.covariance_type)  # none where users have set the parameters
        shape = gaussian_parameters.shape_of_precisions(self.covariance_type, *self.means_.shape)
        if fitted != self.covariance_type or self.precisions_cholesky_.shape != shape:
            raise InvalidInputError(
                f"The fit would go on from covariances of another type ({fitted!r}) than covariance_type is now "
                f"({self.covariance_type!r}): set it back, or fit anew with warm_start=False."
            )

    def _measure(self, X: np.ndarray, weights: np.ndarray | None) -> None:
        self._center, self._scale = center_and_scale(X, weights)

    def _measure_stream(self, found: Survey, continues: bool) -> None:
        if not continues:
            self._center = found.mean
            self._scale = common_scale(found.mean / np.where(found.reach > 0, found.reach, 1.0), found.reach)
        self._log_scale = float(found.mass.sum() * np.log(self._scale))
        away = (found.mean - self._center) / self._scale
        spread = torch.as_tensor((found.deviation / self._scale) ** 2 + away**2)
        self._spread, self._seen = spread.to(options.choose_device(self.device)), found.mass / found.total_weight

    def _take_down(self, data: list[Batch]) -> None:
        self._spread, seen = gaussian_start.spread_and_seen(data)
        self._seen = seen.cpu().numpy()

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
            return self._mixture(self._given_weights(), self._given_means(d), self._given_covariances(d))
        found = mixture_start.start(self.init_params, X, self.n_components, rng, weights, labels)
        k = self.n_components
        alike = (gaussian_start.or_one(self._spread) + self.reg_covar / self._scale**2).diag_embed().expand(k, d, d)
        first = self._mixture(np.full(k, 1 / k), np.zeros((k, d)), alike, fixed=())
        statistics, learned = gaussian_start.exact_statistics(first, data, found)
        if self._none_given():
            if not learned:
                first.m_step(statistics)
            return first
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
        )

    def _learnable(self) -> Mixture:
        fitted = gaussian_of(self._fitted_model())
        return self._mixture(self.weights_, fitted.means, fitted.covariance.covariances())

    def _mixture(
        self,
        weights: Any,
        means: Any,
        covariances: torch.Tensor,
        fixed: Collection[str] | None = None,
    ) -> Mixture:
        fixed = self.fixed if fixed is None else fixed
        structure = options.choose_covariance(self.covariance_type, covariances.cpu(), self.n_factors)
        if "covariances" in fixed:
            gaussian_parameters.require_held(structure, covariances.cpu(), self.covariance_type)
        emission = Gaussian(
            torch.as_tensor(means),
            structure,
            prior=self._prior(),
            reg_covar=self.reg_covar / self._scale**2,
            fixed=set(fixed) - {"weights"},
        )
        concentration = torch.as_tensor(self.weight_concentration, dtype=torch.float64)
        mixing = MixingWeights(torch.as_tensor(weights), concentration=concentration, fixed="weights" in fixed)
        return Mixture(mixing, emission).to(options.choose_device(self.device))

    def _prior(self) -> NormalInverseWishart | None:
        if self.prior is None:
            return None
        if isinstance(self.prior, NormalInverseWishart):
            return self._in_units_of_the_model(self.prior, options.choose_device(self.device))
        spread = gaussian_start.or_one(self._spread)
        return gaussian_parameters.default_prior(spread, self.n_components, torch.zeros_like(spread))

    def _in_units_of_the_model(self, prior: NormalInverseWishart, device: torch.device) -> NormalInverseWishart:
        d = len(self._center)
        if len(prior.scale) != d:
            raise InvalidInputError(f"The prior is for {len(prior.scale)} columns; X has {d}.")
        mean = None if prior.mean is None else (prior.mean - torch.as_tensor(self._center)) / self._scale
        scale = (prior.scale / self._scale**2).to(device)
        return replace(prior, scale=scale, mean=None if mean is None else mean.to(device))

    # -- what was fitted --------------------------------------------------------------------------------------------

    def _publish(self, model: Mixture, fit: Fit | None, rows: float) -> None:
        parameters = gaussian_parameters.published(model, self.covariance_type, self._center, self._scale)
        for name, value in {**parameters, **self._kept}.items():
            setattr(self, name, value)
        self._n_free, self._fitted_type = n_free(model), self.covariance_type
        self._record(fit, rows)

    def _estimates(self, model: Mixture) -> dict[str, Any]:
        nowhere = np.zeros_like(self._center)
        found = gaussian_parameters.published(model, self.covariance_type, nowhere, self._scale)
        return {name: found[f"{name}_"] for name in ("weights", "means", "covariances")}

    def _given_by_component(self) -> list[str]:
        precisions = None if self.covariance_type in gaussian_parameters.TIED else self.precisions_init
        own = {"means_init": self.means_init, "precisions_init": precisions}
        return super()._given_by_component() + [name for name, value in own.items() if value is not None]

    def _values_to_keep(self, continues: bool) -> dict[str, np.ndarray]:
        """Weights and means, to the last bit; covariances are as their structure has them."""
        given = {"weights": "weights_init", "means": "means_init", "covariances": "precisions_init"}
        for name in self.fixed:
            if not continues and getattr(self, given[name]) is None:
                raise InvalidInputError(f"fixed names {name!r}: give the values they are to keep as {given[name]}.")
        return {
            f"{name}_": np.array(getattr(self, f"{name}_" if continues else given[name]), dtype=np.float64)
            for name in ("weights", "means")
            if name in self.fixed
        }

    def _remedy(self, error: CollapsedComponentError) -> str:
        return (
            "Try to decrease the number of components, increase reg_covar, or scale the input data. "
            "prior='auto' keeps components from collapsing; columns that depend on each other have to go."
        )

    def _warn(self, data: Data) -> None:
        if self.max_iter == 0:
            return
        names = [self._column_name(j) for j in range(len(self._center))]
        warn_of_large_floor(self._variances_of_data(), names, self.reg_covar)
        if self.prior is None:
            alone = self.covariance_type not in gaussian_parameters.TIED  # for whom a row is too few
            warn_of_collapse(self._expected_rows(data) if alone else None, self._flat(), names, self.reg_covar)
        self._warn_if_not_converged()

    def _variances_of_data(self) -> np.ndarray:
        """Of each column, (d,), in the units of the data; 0 of a constant, whatever rounding makes of it."""
        deviations = self._spread.sqrt().cpu().numpy() * self._scale
        return np.where(deviations > _ROUNDING * np.abs(self._center), deviations, 0.0) ** 2

    def _expected_rows(self, data: Data) -> np.ndarray:
        """Of each component, (k,). Weights of 1 on average or more count rows, smaller ones are a share each."""
        rows = data.found.n_rows if isinstance(data, StreamedBatches) else sum(len(batch) for batch in data)
        return self.weights_ * max(total_weight(data), float(rows))

    def _flat(self) -> dict[int, Flat]:
        k, d = self.means_.shape
        covariances = self.covariances_ / self._scale**2
        if self.covariance_type in gaussian_parameters.SPHERICAL:
            covariances = np.broadcast_to(covariances[:, None], (k, d))
        elif self.covariance_type in gaussian_parameters.TIED:
            covariances = np.broadcast_to(covariances, (k, d, d))
        means = (self.means_ - self._center) / self._scale
        floor = self.reg_covar / self._scale**2 / self._seen  # holes have the floor of the M-step before on top
        return flat_components(self.weights_, means, covariances, floor)

    def _n_parameters(self) -> int:
        if hasattr(self, "_n_free"):
            return self._n_free
        k, d = self.means_.shape  # which the user has set
        identity = torch.eye(d, dtype=torch.float64).expand(k, d, d)
        structure = options.choose_covariance(self.covariance_type, identity, self.n_factors)
        emission = Gaussian(torch.as_tensor(self.means_), structure, fixed=set(self.fixed) - {"weights"})
        return n_free(Mixture(MixingWeights(torch.as_tensor(self.weights_), fixed="weights" in self.fixed), emission))

    # -- input ------------------------------------------------------------------------------------------------------

    def _all_given(self) -> bool:
        return all(value is not None for value in (self.weights_init, self.means_init, self.precisions_init))

    def _none_given(self) -> bool:
        return all(value is None for value in (self.weights_init, self.means_init, self.precisions_init))

    def _given_weights(self) -> np.ndarray:
        return gaussian_parameters.require_weights(self.weights_init, self.n_components)

    def _given_means(self, d: int) -> np.ndarray:
        means = gaussian_parameters.require_means(self.means_init, self.n_components, d)
        return (means - self._center) / self._scale

    def _given_covariances(self, d: int) -> torch.Tensor:
        return gaussian_parameters.covariances_of_precisions(
            self.precisions_init, self.covariance_type, self.n_components, d, self._scale
        )
