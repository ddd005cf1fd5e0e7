"""What the EM-MLP's classifier and regressor share: starts, runs, published attributes, files."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet import serialization
from emnet.algorithms.base import Algorithm
from emnet.batch import Batch
from emnet.estimators import options
from emnet.estimators.history import fit_from_json
from emnet.estimators.modules import fresh_module, require_shape
from emnet.estimators.onnx_file import PredictionFile
from emnet.estimators.partial_fits import usual_batch
from emnet.estimators.rebuilding import RebuiltFits
from emnet.estimators.validation import (
    require_not_negative,
    require_one_of,
    require_positive_integer,
    require_tensors,
)
from emnet.exceptions import InvalidInputError
from emnet.factors.module import ModuleUnits
from emnet.factors.regression import BernoulliUnits
from emnet.inference.base import EStep
from emnet.inference.exact import Exact
from emnet.inference.importance import Importance
from emnet.models.bernoulli_network import BernoulliNetwork, Units

_DETERMINISTIC_ITERATIONS, _SAMPLED_PASSES = 500, 150
_DETERMINISTIC_STARTS = 3
_MOST_UNITS = 2**20


class NetworkEstimator(PredictionFile, RebuiltFits[BernoulliNetwork]):
    """Parameters as in the subclasses. A subclass says what the targets are and what the output layer is."""

    _made_of = ("hidden_units", "hidden_network", "output_network", "dtype")

    # -- what a subclass says ---------------------------------------------------------------------------------------

    @abstractmethod
    def _start_output(self, fan_in: int, generator: torch.Generator) -> Tensor:
        """Random weights of the output layer, biases first."""

    @abstractmethod
    def _network(self, hidden: list[Tensor], output: Tensor, seed: int) -> BernoulliNetwork:
        """The model with those weights."""

    # -- parameters -------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        widths = self.hidden_units if isinstance(self.hidden_units, (tuple, list)) else (self.hidden_units,)
        if not widths:
            raise InvalidInputError("hidden_units must be a number of units, or one for each layer; got none.")
        for width in widths:
            require_positive_integer("hidden_units", width)
            if width > _MOST_UNITS:
                raise InvalidInputError(f"hidden_units must be at most {_MOST_UNITS:,} a layer; got {width!r}.")
        self._check_common_parameters()
        require_positive_integer("prediction_samples", self.prediction_samples)
        require_one_of("combine", self.combine, ("average", "best"))

    def _widths(self) -> tuple[int, ...]:
        units = self.hidden_units
        return (int(units),) if isinstance(units, Integral) else tuple(int(m) for m in units)

    def _resolve_e_step(self) -> Any:
        """`e_step`, or what "auto" must be for this output."""
        return self.e_step

    def _e_step(self, seed: int) -> Any:
        return options.choose_e_step(self._resolve_e_step(), self._widths(), seed)

    def _algorithm(self, seed: int) -> Algorithm:
        whole = self.batch_size is None
        return options.choose_algorithm(self.algorithm, self._e_step(seed), self._passes(), whole)

    def _rows_a_batch(self, n: int) -> int | None:
        return self.batch_size or (usual_batch(n) if self._is_sampled() else None)

    def _elements(self, n: int) -> int:
        return n * 2 ** min(16, -(-max(self._widths()) // 2))

    def _computes_in(self) -> tuple[torch.dtype, torch.device]:
        members = getattr(self, "members_", None)
        if not members:
            return super()._computes_in()
        like = next(members[0].layers[0].parameters())
        return like.dtype, like.device

    def _modules(self) -> list[str]:
        return [name for name in ("hidden_network", "output_network") if getattr(self, name, None) is not None]

    def _is_sampled(self) -> bool:
        return not options.is_deterministic(self._e_step(0))

    def _passes(self) -> int:
        default = _SAMPLED_PASSES if self._is_sampled() or self.batch_size else _DETERMINISTIC_ITERATIONS
        return default if self.max_iter is None else self.max_iter

    def _n_starts(self) -> int:
        return (1 if self._is_sampled() else _DETERMINISTIC_STARTS) if self.n_init is None else self.n_init

    def _resolve_prior(self, n_features: int) -> tuple[float, float]:
        if isinstance(self.prior, str):
            require_one_of("prior", self.prior, ("auto",), "a number or a pair of numbers")
            return auto_prior(n_features, self._widths()[0])
        pair = (self.prior, self.prior) if np.ndim(self.prior) == 0 else tuple(self.prior)
        if len(pair) != 2:
            raise InvalidInputError(f"prior must be a number or a pair (hidden, output); got {self.prior!r}.")
        for precision in pair:
            require_not_negative("prior", precision)
        return float(pair[0]), float(pair[1])

    def _start(self, seed: int, batch: Batch) -> BernoulliNetwork:
        return self._model(seed)

    def _model(self, seed: int) -> BernoulliNetwork:
        """Random weights: logits of a unit and of the output have a standard deviation of about 1."""
        generator = torch.Generator().manual_seed(seed)
        hidden, fan_in = [], self.n_features_in_
        for m in self._widths():
            hidden.append(torch.randn(m, 1 + fan_in, generator=generator, dtype=torch.float64) / (1 + fan_in) ** 0.5)
            fan_in = m
        return self._network(hidden, self._start_output(fan_in, generator), seed)

    def _units(self, hidden: list[Tensor], m_step: Any, seed: int) -> list[Units]:
        dtype = options.DTYPES[self.dtype]
        units: list[Units] = [
            BernoulliUnits(weights.to(dtype), precision=self.prior_[0], m_step=m_step) for weights in hidden
        ]
        if self.hidden_network is not None:
            network = fresh_module("hidden_network", self.hidden_network, dtype, seed)
            require_shape("hidden_network", network, self.n_features_in_, self._widths()[0], dtype)
            own: dict[str, Any] = {"precision": self.prior_[0], "m_step": self._network_m_step()}
            units[0] = ModuleUnits(network, self._widths()[0], **own)
        return units

    @property
    def how_(self) -> str:
        """What was done, and why, in words."""
        e_step, starts = self._e_step(0), len(self.fits_)
        widths = " + ".join(map(str, self._widths()))
        why = ""
        if isinstance(self.e_step, str) and self.e_step == "auto":
            cheap = options.exact_is_cheap(self._widths())
            why = f", as the configurations of {widths} units are {'few' if cheap else 'too many to sum'}"
        algorithm = type(options.choose_algorithm(self.algorithm, e_step, 1, self.batch_size is None)).__name__
        many = f"{starts} starts, {'averaged' if self.combine == 'average' else 'the best kept'}"
        return f"E-step {type(e_step).__name__}{why}; {algorithm}; {'one start' if starts == 1 else many}"

    @property
    def _used(self) -> list[BernoulliNetwork]:
        """The starts that predict."""
        return self.members_ if self.combine == "average" else [self._best]

    def _weights_of(self, model: BernoulliNetwork) -> dict[str, Any]:
        """Weights of linear layers; None where a module stands in for one, whose parameters `members_` holds."""
        layers: list[Any] = [*model.layers, model.output]
        *hidden, output = [x.weights64().cpu().numpy() if hasattr(x, "weights64") else None for x in layers]
        return {
            "hidden_weights_": hidden[0] if isinstance(self.hidden_units, Integral) else hidden,
            "output_weights_": output,
            "e_step_": type(self._e_step(0)).__name__,
        }

    # -- use --------------------------------------------------------------------------------------------------------

    def _predicts_exactly(self) -> bool:
        return isinstance(self._e_step(0), Exact) or options.exact_is_cheap(self._widths())

    def _posterior_e_step(self) -> EStep:
        """The E-step of training, with as many draws as prediction takes where it draws."""
        e_step: EStep = self._e_step(0)
        return Importance(self.prediction_samples) if isinstance(e_step, Importance) else e_step

    @torch.no_grad()
    def hidden_posterior(self, X: Any, y: Any = None) -> np.ndarray:
        """E[z | x], or with y E[z | x, y], of the best start and the layer next to the inputs: (n, m).

        With y it is what the E-step gives: exact, an estimate from `prediction_samples` draws, or mean field.
        """
        if y is None:
            inputs = self._inputs(self._check_inputs(X))
            return self._best.layers[0].predictor(inputs).sigmoid().cpu().numpy()
        batch = self._answered(X, y)
        posterior: Any = self._posterior_e_step()(self._best, batch)
        return posterior.mean.to(batch.inputs.dtype).cpu().numpy()

    # -- files ------------------------------------------------------------------------------------------------------

    def _to_state(self) -> serialization.State:
        manifest, tensors = super()._to_state()
        for number in range(len(self._widths())):
            layers: list[Any] = [member.layers[number] for member in self.members_]
            tensors[f"hidden_weights_{number + 1}"] = np.stack([x.weights64().cpu().numpy() for x in layers])
        outputs: list[Any] = [member.output for member in self.members_]
        tensors["output_weights"] = np.stack([x.weights64().cpu().numpy() for x in outputs])
        return manifest, tensors

    def _restore(self, manifest: dict[str, Any], tensors: dict[str, np.ndarray], n_outputs: int) -> None:
        """Set what `_to_state` took down, after checking that it hangs together."""
        self._check_parameters()
        self._restore_inputs(manifest, tensors)
        p, k, widths = self.n_features_in_, len(manifest["fits"]), self._widths()
        extra = tensors["output_weights"].shape[2] - (1 + widths[-1])  # a Gaussian output's variance
        expected: dict[str, tuple[int, ...]] = {"output_weights": (k, n_outputs, 1 + widths[-1] + extra)}
        for number, (fan_in, m) in enumerate(zip((p, *widths), widths, strict=False), start=1):
            expected[f"hidden_weights_{number}"] = (k, m, 1 + fan_in)
        require_tensors(tensors, expected)

    def _restore_members(self, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        for number, record in enumerate(manifest["fits"]):
            names = [f"hidden_weights_{layer}" for layer in range(1, len(self._widths()) + 1)]
            hidden = [torch.from_numpy(tensors[name][number]) for name in names]
            model = self._network(hidden, torch.from_numpy(tensors["output_weights"][number]), 0)
            self._publish(model, fit_from_json(record))


def auto_prior(n_features: int, n_units: int = 8) -> tuple[float, float]:
    """Default precisions (hidden, output) for standardized inputs.

    The hidden one grows with the number of inputs p and falls with that of the units. Its constant is chosen for
    8 units, where a unit's logit has a prior standard deviation of 11 for any p: `python -m benchmarks prior`.
    """
    return 0.064 * n_features / n_units, 0.08 / n_units
