"""How mixtures of experts for classes and for real targets learn: their gates, starts, runs, and files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emnet.algorithms.base import Algorithm, Fit
from emnet.batch import Batch
from emnet.estimators import experts_start, options
from emnet.estimators.coordinates_file import CoordinatesInFile
from emnet.estimators.experts_use import FittedMixtureOfExperts
from emnet.estimators.modules import fresh_module, require_shape
from emnet.estimators.validation import (
    require_names,
    require_not_negative,
    require_one_of,
    require_positive_integer,
)
from emnet.exceptions import CollapsedComponentError, InvalidInputError
from emnet.factors.base import Factor
from emnet.factors.covariances import Full
from emnet.factors.gates import ModuleGate, SoftmaxGate
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.regression import SoftmaxOutput
from emnet.factors.tables import MixingWeights
from emnet.inference.exact import Exact
from emnet.models import experts
from emnet.models.base import holding
from emnet.models.mixture import Mixture

PARTS = ("gate", "experts")
GATES, EXPERTS, STARTS = ("softmax", "gaussian", "constant"), ("linear",), ("auto", "inputs", "joint", "random")
_ITERATIONS, _PASSES, _STARTS = 500, 200, 3


class MixtureOfExperts(CoordinatesInFile, FittedMixtureOfExperts):
    """Parameters as in the subclasses. A subclass says what the targets are and what the experts are."""

    m_step: Any
    algorithm: Any
    prior: Any
    init_params: str
    n_init: int | None
    max_iter: int | None
    batch_size: int | None
    device: Any
    dtype: str
    fixed: Any

    _priors_above_0 = "prior"  # what keeps a Gaussian from collapsing
    _made_of = ("levels", "gate", "expert", "dtype")

    @property
    def _nan_remedy(self) -> str:  # type: ignore[override]
        if self._allows_nan():
            return "NaN is integrated out; infinity is no number to learn from: drop those rows, or make the cells NaN."
        linear = "With gate='gaussian' and linear experts a MixtureOfExpertsRegressor integrates them out"
        if self._is_gaussian():
            linear = (
                "A Gaussian gate integrates them out (gate_proba, and linear experts of a MixtureOfExpertsRegressor), "
                "but what a softmax regression or a network makes of x has no such integral"
            )
        return f"{linear}; else drop or impute those rows, for example with emnet.EMImputer."

    # -- what a subclass says ---------------------------------------------------------------------------------------

    @abstractmethod
    def _experts(self, seed: int) -> Factor[Any]:
        """Experts at a neutral start: linear ones at 0, modules drawn anew."""

    @abstractmethod
    def _as_features(self, target: Tensor) -> np.ndarray:
        """Targets as columns that k-means may part rows by."""

    # -- parameters -------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        self._check_common_parameters()
        require_positive_integer("n_experts", self.n_experts)
        if self.levels is not None and (not isinstance(self.levels, (tuple, list)) or not self.levels):
            raise InvalidInputError(f"levels must be the branches of each level, such as (2, 2); got {self.levels!r}.")
        for branches in self._levels():
            require_positive_integer("levels", branches)
        for name, known in (("gate", GATES), ("expert", EXPERTS)):
            if not isinstance(getattr(self, name), nn.Module):
                require_one_of(name, getattr(self, name), known, "a torch.nn.Module")
        require_one_of("init_params", self.init_params, STARTS)
        if self.levels is not None and not self._is_softmax():
            raise InvalidInputError(f"levels= makes a tree of softmax gates; it does not go with gate={self.gate!r}.")
        options.choose_expert_m_step(self.m_step)
        self._check_fixed()

    def _check_fixed(self) -> None:
        require_names("fixed", self.fixed, PARTS)
        if self.fixed and self._is_joint():
            raise InvalidInputError(
                "Under a Gaussian gate a linear expert and its inputs are one Gaussian: neither can be fixed alone."
            )
        if len(set(self.fixed)) == len(PARTS):
            raise InvalidInputError("With gate and experts fixed there is nothing left to learn.")

    def _held(self) -> list[str]:
        """The factors that `fixed` names."""
        gate = ["weights", experts.INPUTS]
        return [*(gate if "gate" in self.fixed else []), *([experts.EXPERT] if "experts" in self.fixed else [])]

    def _going_on(self) -> list[Mixture]:
        states = self.members_[0].weights.n_states
        if states != self._n_states():
            raise InvalidInputError(
                f"partial_fit, and fit with warm_start, go on with {states} experts; n_experts or levels now say "
                f"{self._n_states()}. Set them back, or fit anew without warm_start."
            )
        starts = super()._going_on()
        return [starts[self._best_index()]] if self.fixed else starts

    def _run(self, model: Mixture, *arguments: Any) -> Fit:
        with self._naming_the_experts(), holding(model, self._held()):
            return super()._run(model, *arguments)

    def _step(self, model: Mixture, *arguments: Any) -> Fit:
        with self._naming_the_experts(), holding(model, self._held()):
            return super()._step(model, *arguments)

    @contextmanager
    def _naming_the_experts(self) -> Iterator[None]:
        """A Gaussian that collapses is a gate's: say whose, and what to do in the words of these parameters."""
        try:
            yield
        except CollapsedComponentError as error:
            if not self._is_gaussian():  # the experts' own, who say it themselves
                raise
            experts_ = ", ".join(f"expert {number}" for number in error.components)
            of = "its inputs and targets, which are one Gaussian," if self._is_joint() else "its inputs"
            raise CollapsedComponentError(
                f"Under the Gaussian gate the covariance of {experts_}, of {of} is not positive definite: its rows are "
                f"few, or their columns depend on each other. Give {self._priors_above_0} above 0, fewer experts, or "
                "leave such columns out.",
                error.fit,
                error.components,
            ) from error

    def _resolve_prior(self, n_features: int) -> tuple[float, float]:
        if isinstance(self.prior, str):
            require_one_of("prior", self.prior, ("auto",), "a number or a pair of numbers")
            return self._auto_prior(n_features)
        pair = (self.prior, self.prior) if np.ndim(self.prior) == 0 else tuple(self.prior)
        if len(pair) != 2:
            raise InvalidInputError(f"prior must be a number or a pair (gate, expert); got {self.prior!r}.")
        for precision in pair:
            require_not_negative("prior", precision)
        return float(pair[0]), float(pair[1])

    def _auto_prior(self, n_features: int) -> tuple[float, float]:
        """Precisions (gate, expert) for standardized inputs; of a Gaussian gate Ψ, as Fraley & Raftery 2007 have it."""
        gate = self._n_states() ** (-2 / n_features) if self._is_gaussian() else 0.1
        return gate, 0.1

    def _e_step(self, seed: int) -> Exact:
        return Exact()

    def _algorithm(self, seed: int) -> Algorithm:
        whole = self.batch_size is None
        value = self.algorithm
        if isinstance(value, str) and value == "auto" and whole and self._takes_m_steps():
            value = "squarem"
        return options.choose_algorithm(value, Exact(), self._passes(), whole)

    def _takes_m_steps(self) -> bool:
        """Whether "auto" is SQUAREM: where an M-step was asked for, or where they are the shortest way."""
        asked = not (isinstance(self.m_step, str) and self.m_step == "auto")
        return asked or self._has_closed_experts()

    def _has_closed_experts(self) -> bool:
        return False

    def _starts_jointly(self) -> bool:
        """Whether the "auto" start parts rows by their targets too."""
        return False

    def _passes(self) -> int:
        default = _PASSES if self.batch_size else _ITERATIONS
        return default if self.max_iter is None else self.max_iter

    def _n_starts(self) -> int:
        if self.fixed:  # what is published is kept, which is that of one start
            return 1
        return _STARTS if self.n_init is None else self.n_init

    def _elements(self, n: int) -> int:
        return n * self._n_states() * (1 + self.n_features_in_)

    # -- the model --------------------------------------------------------------------------------------------------

    def _model(self, seed: int) -> Mixture:
        """The model at a neutral start."""
        device, k, p = options.choose_device(self.device), self._n_states(), self.n_features_in_
        if self._is_joint():
            d = self._n_outputs()
            return Mixture(_even(k), {experts.JOINT: self._gaussian(k, p + d, d)}).to(device)
        experts_ = self._experts(seed)
        if not self._is_gaussian():
            return Mixture(self._gate(seed), {experts.EXPERT: experts_}).to(device)
        last = range(p, p + self._target_columns())
        emissions = {experts.INPUTS: self._gaussian(k, p, 0), experts.EXPERT: experts_}
        return Mixture(_even(k), emissions, {experts.INPUTS: range(p), experts.EXPERT: last}).to(device)

    def _gate(self, seed: int) -> Factor[Any]:
        k, p, dtype = self._n_states(), self.n_features_in_, options.DTYPES[self.dtype]
        if isinstance(self.gate, nn.Module):
            network = fresh_module("gate", self.gate, dtype, seed)
            require_shape("gate", network, p, k, dtype)
            return ModuleGate(network, k, precision=self.prior_[0], m_step=self._network_m_step())
        if not self._is_softmax():
            return _even(k)
        m_step = options.choose_expert_m_step(self._m_step_for_data())
        nodes, count = [], 1
        for branches in self._levels():
            blank = torch.zeros(branches, 1 + p, dtype=dtype)
            nodes += [SoftmaxOutput(blank, precision=self.prior_[0], m_step=m_step) for _ in range(count)]
            count *= branches
        return SoftmaxGate(nodes, self._levels())

    def _gaussian(self, k: int, d: int, n_targets: int) -> Gaussian:
        scale, prior = self.prior_[0], None
        if scale > 0:
            diagonal = torch.full((d,), scale, dtype=torch.float64, device=options.choose_device(self.device))
            diagonal[d - n_targets :] = self._noise_residual() ** 2
            prior = NormalInverseWishart(diagonal.diag(), d + 2)
        return Gaussian(torch.zeros(k, d).double(), Full(torch.eye(d).double().expand(k, d, d)), prior=prior)

    def _noise_residual(self) -> float:
        return 0.0

    def _target_columns(self) -> int:
        """Columns of y beside those of x in the target of a Gaussian gate."""
        return self._n_outputs()

    def _start(self, seed: int, batch: Batch) -> Mixture:
        if self.fixed:
            raise InvalidInputError(
                f"fixed={self.fixed!r} keeps what was fitted: fit once without it, then with it and warm_start=True."
            )
        model = self._model(seed)
        with self._naming_the_experts():
            experts_start.prime(model, batch, self._first_responsibilities(seed, batch))
        return model

    def _first_responsibilities(self, seed: int, batch: Batch) -> np.ndarray:
        if self.init_params == "random":
            return experts_start.random_responsibilities(len(batch), self._levels(), seed)
        target, p = batch.target, self.n_features_in_
        inputs = target[:, :p] if self._is_gaussian() else batch.inputs[:, 1:]
        features = inputs.double().nan_to_num(0.0).cpu().numpy()
        if self.init_params == "joint" or (self.init_params == "auto" and self._starts_jointly()):
            own = target[:, p:] if self._is_gaussian() else target
            features = np.concatenate((features, self._as_features(own)), axis=1)
        weights = np.ones(len(batch)) if batch.weights is None else batch.weights.double().cpu().numpy()
        return experts_start.responsibilities(features, weights, self._levels(), seed)

    # -- what was fitted --------------------------------------------------------------------------------------------

    def _weights_of(self, model: Mixture) -> dict[str, Any]:
        gate = model.weights
        weights: Any = None
        if isinstance(gate, SoftmaxGate):
            nodes: list[Any] = list(gate.parts)
            found = [node.weights64().cpu().numpy() for node in nodes]
            weights = found[0] if self.levels is None else found
        elif isinstance(gate, MixingWeights):
            weights = gate.log_probabilities.exp().cpu().numpy()
        return {"gate_weights_": weights}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._allows_nan()
        return tags


def _even(k: int) -> MixingWeights:
    return MixingWeights(torch.full((k,), 1 / k, dtype=torch.float64))
