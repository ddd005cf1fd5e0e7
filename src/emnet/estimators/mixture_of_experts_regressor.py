"""Mixtures of Gaussian experts as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from torch import Tensor, nn

from emnet import serialization
from emnet.algorithms.base import Algorithm, Callback
from emnet.estimators import options
from emnet.estimators.description import as_described
from emnet.estimators.mixture_of_experts import MixtureOfExperts
from emnet.estimators.modules import fresh_module, require_shape
from emnet.estimators.real_targets import RealTargets
from emnet.estimators.validation import require_levels, require_not_negative
from emnet.factors.experts import GaussianExperts, ModuleExperts
from emnet.factors.least_squares import ConjugatePrior
from emnet.factors.module import ModuleGaussian
from emnet.factors.regression import MStep
from emnet.models import experts
from emnet.models.mixture import Mixture
from emnet.models.portable import NumbersOfExperts, NumbersOfGaussians


@dataclass(frozen=True, eq=False)
class PredictiveDistribution:
    """p(y | x) of each row, in the units of y. For several targets there is a last axis d more.

    mean, sd : (n,), of the mixture.
    levels : (l,), and `quantiles`, (n, l), at them.
    weights : (n, k), of the experts, and `expert_means`, (n, k), and `expert_sds`, (n, k), theirs.
    """

    mean: np.ndarray
    sd: np.ndarray
    levels: np.ndarray
    quantiles: np.ndarray
    weights: np.ndarray
    expert_means: np.ndarray
    expert_sds: np.ndarray


class MixtureOfExpertsRegressor(RegressorMixin, RealTargets, MixtureOfExperts):
    """Regressions, each for the part of the inputs that a gate gives it, fitted together by EM.

    p(y | x) = Σ_k p(k | x) Π_i Normal(y_i; v_ki·x, σ_ki²), with noise of its own for each expert and target. Where one
    x has several y, the predictive distribution has several modes, and `sample` draws from each.

    Parameters
    ----------
    n_experts : k.
    levels : branches of the gate's tree, level after level, in place of `n_experts`: (2, 2) is a hierarchy of 4 experts
        under a gate of 2 gates.
    gate : p(k | x). "softmax", linear; "gaussian", p(k) Normal(x; m_k, Σ_k) up to a factor, which is closed form and
        explains x too (Xu, Jordan & Hinton 1995); "constant", the same for all x; or a torch module, p → k logits.
    expert : "linear", or a torch module, p → d means, of which each expert has a copy with parameters drawn anew.
        Under a Gaussian gate a linear expert and its x are one Gaussian: several targets have correlated noise, and NaN
        in X is a missing value, integrated out exactly, in fit, predict and sample.
    m_step : of softmax gates and experts, for the algorithms "em" and "squarem": "newton" ("auto"), "irls" (damped;
        Jordan & Jacobs 1994), "ecm" (a class at a time; Ng & McLachlan 2004), "mm" (Böhning's bound), "gradient", or an
        object such as ``emnet.factors.regression.Newton(max_steps=5)``. Modules take gradient steps, halved until Q
        rises, but with "gradient", whose rate is fixed.
    algorithm : "auto", "em", "squarem", "lbfgs" (quasi-Newton on the evidence, whose gradient is that of EM's Q) or
        "adam". "auto" is "adam" with a `batch_size`, "squarem" where an `m_step` is asked for or nothing is a module,
        else "lbfgs".
    prior : precisions (gate, expert), or one number for both; "auto" is 0.1. A linear expert's is conjugate,
        v | σ² ~ Normal(0, σ²/precision). Of a Gaussian gate the first is the diagonal of Ψ of an inverse-Wishart prior.
    noise_prior : s. Each expert's σ² is as after one more row whose residual is s standard deviations of the target,
        which keeps experts from shrinking onto a few rows; with 0 such an expert ends the fit with an error.
    init_params : what k-means parts the rows by at the start: "inputs", "joint" (inputs and targets), or "auto", which
        is "joint"; or "random", responsibilities drawn at random.
    n_init : starts, of which the best is kept; None is 3.
    max_iter : iterations of a start, or passes over the data, at most; None is 500, and 200 passes with a `batch_size`.
    fixed : of "gate" and "experts" what stays as it was fitted, in a fit that goes on (`warm_start`).
    tol, batch_size, early_stopping, validation_fraction, n_iter_no_change, warm_start, standardize, dtype, device,
    random_state, verbose, callbacks : as in `EMMLPClassifier`.

    Attributes
    ----------
    gate_weights_ : (k, 1 + p), biases first, for standardized inputs; with `levels` a list, one for each node from the
        root down; of other linear gates p(k), (k,); None of a module.
    expert_weights_ : (k, d, 1 + p), biases first, for standardized inputs and targets; None of modules.
    noise_ : (k, d), σ in the units of y.
    log_evidence_ : Σ_j weight_j log p(y_j | x_j) for the standardized targets, in nats; with a Gaussian gate
        log p(y_j, x_j).
    n_parameters_ : free parameters.
    target_mean_, target_scale_ : (d,), what standardization of the targets subtracts and divides by.
    history_, n_iter_, converged_, reason_, prior_, n_features_in_, feature_names_in_, input_mean_, input_scale_,
    members_, fits_ : as in `EMMLPClassifier`.

    Raises
    ------
    CollapsedComponentError : an expert has no noise left; names it.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = MixtureOfExpertsRegressor(2, random_state=0).fit(X, np.abs(X[:, 0]))
    >>> model.score(X, np.abs(X[:, 0])) > 0.95
    True
    """

    def __init__(
        self,
        n_experts: int = 3,
        *,
        levels: Sequence[int] | None = None,
        gate: str | nn.Module = "softmax",
        expert: str | nn.Module = "linear",
        m_step: str | MStep = "auto",
        algorithm: str | Algorithm = "auto",
        prior: str | float | tuple[float, float] = "auto",
        noise_prior: float = 0.1,
        init_params: str = "auto",
        n_init: int | None = None,
        max_iter: int | None = None,
        tol: float = 1e-6,
        batch_size: int | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        fixed: Collection[str] = (),
        standardize: bool = True,
        dtype: str = "float64",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        callbacks: Iterable[Callback] = (),
    ):
        self.n_experts = n_experts
        self.levels = levels
        self.gate = gate
        self.expert = expert
        self.m_step = m_step
        self.algorithm = algorithm
        self.prior = prior
        self.noise_prior = noise_prior
        self.init_params = init_params
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.fixed = fixed
        self.standardize = standardize
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    _priors_above_0 = "prior and noise_prior"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        require_not_negative("noise_prior", self.noise_prior)

    # -- the model --------------------------------------------------------------------------------------------------

    def _n_outputs(self) -> int:
        return len(self.target_mean_)

    def _is_joint(self) -> bool:
        return self._is_gaussian() and not isinstance(self.expert, nn.Module)

    def _has_closed_experts(self) -> bool:
        return not self._modules()

    def _has_closed_m_steps(self) -> bool:
        return self._has_closed_experts() and not self._is_softmax()

    def _starts_jointly(self) -> bool:
        return True

    def _allows_nan(self) -> bool:
        return self._is_joint()

    def _noise_residual(self) -> float:
        return self.noise_prior

    def _n_expert_parameters(self) -> int:
        k, p, d = self._n_states(), self.n_features_in_, self._n_outputs()
        if isinstance(self.expert, nn.Module):
            return len(self._best.emissions[experts.EXPERT].coordinates())
        return k * d * (2 + p)

    def _experts(self, seed: int) -> GaussianExperts | ModuleExperts:
        k, p, d, dtype = self._n_states(), self.n_features_in_, self._n_outputs(), options.DTYPES[self.dtype]
        residual, precision, noise = self.noise_prior, self.prior_[1], torch.ones(k, d, dtype=torch.float64)
        if not isinstance(self.expert, nn.Module):
            return GaussianExperts(
                torch.zeros(k, d, 1 + p, dtype=dtype), noise, prior=ConjugatePrior(precision, residual)
            )
        copies = [fresh_module("expert", self.expert, dtype, seed + 1 + state) for state in range(k)]
        require_shape("expert", copies[0], p, d, dtype)
        own: dict[str, Any] = {"residual": residual, "precision": precision, "m_step": self._network_m_step()}
        return ModuleExperts([ModuleGaussian(f, s, **own) for f, s in zip(copies, noise, strict=True)])

    def _as_features(self, target: Tensor) -> np.ndarray:
        return target.double().cpu().numpy()

    def _unknown(self, n: int, like: Tensor) -> Tensor:
        return like.new_full((n, self._n_outputs()), torch.nan)

    def _weights_of(self, model: Mixture) -> dict[str, Any]:
        weights: Any = None
        if self._is_joint():
            weights, variance = experts.regressions(model.emissions[experts.JOINT], self.n_features_in_)
        else:
            expert = model.emissions[experts.EXPERT]
            variance = expert.variance
            weights = expert.weights64() if isinstance(expert, GaussianExperts) else None
        noise = variance.sqrt().cpu().numpy() * self.target_scale_
        own = {"expert_weights_": None if weights is None else weights.cpu().numpy(), "noise_": noise}
        return {**super()._weights_of(model), **own}

    def _checked(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        X, target, weights = self._check_data(X, y, sample_weight, reset=False)
        return X, self._scaled(target), weights

    # -- use --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, X: Any, return_std: bool = False) -> Any:
        """E[y | x], (n,) or (n, d); with `return_std` also the standard deviation of y."""
        found = self._components(X)
        prediction = self._in_units(found.mean())
        if not return_std:
            return prediction
        return prediction, self._shaped(found.variance().sqrt().cpu().numpy() * self.target_scale_)

    @torch.no_grad()
    def predict_distribution(
        self, X: Any, quantiles: float | Sequence[float] = (0.05, 0.5, 0.95)
    ) -> PredictiveDistribution:
        """Mean, standard deviation and quantiles of y given x, and the mixture that they are of."""
        levels = require_levels(quantiles)
        found = self._components(X)
        at = found.quantiles(torch.as_tensor(levels, dtype=torch.float64, device=found.means.device))
        scales = found.scales.expand_as(found.means)
        return PredictiveDistribution(
            mean=self._in_units(found.mean()),
            sd=self._shaped(found.variance().sqrt().cpu().numpy() * self.target_scale_),
            levels=levels,
            quantiles=self._shaped(at.cpu().numpy() * self.target_scale_ + self.target_mean_),
            weights=found.weights.cpu().numpy(),
            expert_means=self._shaped(found.means.cpu().numpy() * self.target_scale_ + self.target_mean_),
            expert_sds=self._shaped(scales.cpu().numpy() * self.target_scale_),
        )

    @torch.no_grad()
    def sample(self, X: Any, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw y for each row, (n,) or (n, d): an expert by the gate, then y from it."""
        found = self._components(X)
        return self._in_units(found.draw(self._generator(random_state, found.means.device)))

    @torch.no_grad()
    def log_density(self, X: Any, y: Any) -> np.ndarray:
        """log p(y | x) of each row in the units of y, (n,), in nats."""
        return self._log_density(X, y).cpu().numpy() - np.log(self.target_scale_).sum()

    def _gaussians(self, X: Any) -> tuple[Tensor, Tensor, Tensor]:
        found = self._components(X)
        return found.weights, found.means, found.lower[found.which]

    def _components(self, X: Any) -> experts.Components:
        batch = self._unanswered(self._check_inputs(X))
        return experts.components(self._best, batch, self.n_features_in_)

    def _portable(self) -> NumbersOfExperts | NumbersOfGaussians:
        if self._is_joint():
            return NumbersOfGaussians(self._best, self.n_features_in_, *self._target_units())
        return NumbersOfExperts(self._best, *self._target_units())

    # -- files ------------------------------------------------------------------------------------------------------

    def _to_state(self) -> serialization.State:
        return self._with_targets(*super()._to_state())

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self: Self = as_described(cls, manifest)
        self._restore_targets(manifest, tensors)
        self._restore(manifest, tensors)
        return self
