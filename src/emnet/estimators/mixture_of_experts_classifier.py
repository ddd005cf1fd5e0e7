"""Mixtures of softmax experts as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from torch import Tensor, nn
from torch.nn.functional import one_hot

from emnet.algorithms.base import Algorithm, Callback
from emnet.batch import Batch
from emnet.estimators import options
from emnet.estimators.class_targets import ClassTargets
from emnet.estimators.description import as_described
from emnet.estimators.mixture_of_experts import MixtureOfExperts
from emnet.estimators.modules import fresh_module, require_shape
from emnet.factors.experts import ClassExperts
from emnet.factors.module import ModuleOutput
from emnet.factors.regression import MStep, SoftmaxOutput
from emnet.models import experts
from emnet.models.mixture import Mixture
from emnet.models.portable import ClassesOfExperts


class MixtureOfExpertsClassifier(ClassifierMixin, ClassTargets, MixtureOfExperts):
    """Classifiers, each for the part of the inputs that a gate gives it, fitted together by EM.

    p(y | x) = Σ_k p(k | x) softmax(v_k·x)_y (Jordan & Jacobs 1994).

    Parameters
    ----------
    n_experts : k.
    levels : branches of the gate's tree, level after level, in place of `n_experts`: (2, 2) is a hierarchy of 4 experts
        under a gate of 2 gates.
    gate : p(k | x). "softmax", linear; "gaussian", p(k) Normal(x; m_k, Σ_k) up to a factor, which is closed form and
        explains x too (Xu, Jordan & Hinton 1995); "constant", the same for all x; or a torch module, p → k logits.
    expert : "linear", softmax regressions, or a torch module, p → g logits, of which each expert has a copy with
        parameters drawn anew.
    m_step : of softmax gates and experts, for the algorithms "em" and "squarem": "newton" ("auto"), "irls" (damped;
        Jordan & Jacobs 1994), "ecm" (a class at a time; Ng & McLachlan 2004), "mm" (Böhning's bound), "gradient", or an
        object such as ``emnet.factors.regression.Newton(max_steps=5)``. Modules take gradient steps, halved until Q
        rises, but with "gradient", whose rate is fixed.
    algorithm : "auto", "em", "squarem", "lbfgs" (quasi-Newton on the evidence, whose gradient is that of EM's Q) or
        "adam". "auto" is "adam" with a `batch_size`, "squarem" where an `m_step` is asked for, else
        "lbfgs".
    prior : precision of the Gaussian prior on all weights but the biases: a number, a pair (gate, expert), or "auto",
        0.1. Of a Gaussian gate the first is the diagonal of Ψ of an inverse-Wishart prior on its covariances.
    init_params : what k-means parts the rows by at the start: "inputs", "joint" (inputs and targets), or "auto", which
        is "inputs"; or "random", responsibilities drawn at random.
    n_init : starts, of which the best is kept; None is 3.
    max_iter : iterations of a start, or passes over the data, at most; None is 500, and 200 passes with a `batch_size`.
    class_weight : None, "balanced" or {label: weight}, multiplied into `sample_weight`.
    fixed : of "gate" and "experts" what stays as it was fitted, in a fit that goes on (`warm_start`).
    tol, batch_size, early_stopping, validation_fraction, n_iter_no_change, warm_start, standardize, dtype, device,
    random_state, verbose, callbacks : as in `EMMLPClassifier`.

    Attributes
    ----------
    gate_weights_ : (k, 1 + p), biases first, for standardized inputs; with `levels` a list, one for each node from the
        root down; of other linear gates p(k), (k,); None of a module.
    expert_weights_ : (k, g, 1 + p), biases first; None of modules.
    log_evidence_ : Σ_j weight_j log p(y_j | x_j), in nats; with a Gaussian gate log p(y_j, x_j), x standardized.
    n_parameters_ : free parameters.
    history_, n_iter_, converged_, reason_, prior_, classes_, n_features_in_, feature_names_in_, input_mean_,
    input_scale_, members_, fits_ : as in `EMMLPClassifier`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> X = np.random.RandomState(0).randn(200, 2)
    >>> y = X[:, 0] * X[:, 1] > 0  # no line parts these
    >>> MixtureOfExpertsClassifier(2, random_state=0).fit(X, y).score(X, y) > 0.95
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
        class_weight: str | dict | None = None,
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
        self.class_weight = class_weight
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

    # -- the model --------------------------------------------------------------------------------------------------

    def _n_outputs(self) -> int:
        return len(self.classes_)

    def _target_columns(self) -> int:
        return 1

    def _n_expert_parameters(self) -> int:
        k, p, g = self._n_states(), self.n_features_in_, self._n_outputs()
        if isinstance(self.expert, nn.Module):
            return len(self._best.emissions[experts.EXPERT].coordinates())
        return k * (g - 1) * (1 + p)

    def _experts(self, seed: int) -> ClassExperts:
        k, p, g, dtype = self._n_states(), self.n_features_in_, self._n_outputs(), options.DTYPES[self.dtype]
        if isinstance(self.expert, nn.Module):
            copies = [fresh_module("expert", self.expert, dtype, seed + 1 + state) for state in range(k)]
            require_shape("expert", copies[0], p, g, dtype)
            own: dict[str, Any] = {"precision": self.prior_[1], "m_step": self._network_m_step()}
            return ClassExperts([ModuleOutput(copy, p, g, **own) for copy in copies])
        m_step, blank = options.choose_expert_m_step(self._m_step_for_data()), torch.zeros(g, 1 + p, dtype=dtype)
        return ClassExperts([SoftmaxOutput(blank, precision=self.prior_[1], m_step=m_step) for _ in range(k)])

    def _as_features(self, target: Tensor) -> np.ndarray:
        return one_hot(target.long().flatten(), self._n_outputs()).double().cpu().numpy()

    def _unknown(self, n: int, like: Tensor) -> Tensor:
        return torch.full((n,), -1, device=like.device)

    def _bundle(self, target: Tensor, inputs: Tensor, weights: Tensor | None = None) -> Batch:
        if self._is_gaussian():  # one float target for x and y: what is not known is NaN
            target = torch.where(target < 0, torch.nan, target.to(inputs.dtype))
        return super()._bundle(target, inputs, weights)

    def _weights_of(self, model: Mixture) -> dict[str, Any]:
        parts: list[Any] = list(model.emissions[experts.EXPERT].parts)
        linear = not isinstance(self.expert, nn.Module)
        weights = np.stack([part.weights64().cpu().numpy() for part in parts]) if linear else None
        return {**super()._weights_of(model), "expert_weights_": weights}

    def _checked(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._check_data(X, y, sample_weight, self.classes_, reset=False)

    def _identified(self, model: Mixture) -> dict[str, Any]:
        found = super()._identified(model)
        own = found["expert_weights"]
        return {**found, "expert_weights": None if own is None else own - own.mean(axis=1, keepdims=True)}

    # -- use --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p(y | x), (n, g), columns as `classes_`."""
        batch = self._unanswered(self._check_inputs(X))
        logs = experts.class_log_probabilities(self._best, batch)
        return logs.to(options.DTYPES[self.dtype]).cpu().numpy()

    @torch.no_grad()
    def sample(self, X: Any, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw a label for each row, (n,)."""
        batch = self._unanswered(self._check_inputs(X))
        logs = experts.class_log_probabilities(self._best, batch)
        generator = self._generator(random_state, logs.device)
        return self.classes_[torch.multinomial(logs.exp(), 1, generator=generator)[:, 0].cpu().numpy()]

    @torch.no_grad()
    def log_density(self, X: Any, y: Any) -> np.ndarray:
        """log p(y | x) of each row, (n,), in nats."""
        return self._log_density(X, y).cpu().numpy()

    def _portable(self) -> ClassesOfExperts:
        return ClassesOfExperts(self._best)

    # -- files ------------------------------------------------------------------------------------------------------

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self: Self = as_described(cls, manifest)
        self._restore_classes(manifest)
        self._restore(manifest, tensors)
        return self
