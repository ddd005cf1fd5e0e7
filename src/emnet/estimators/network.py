"""What the EM-MLP's classifier and regressor share: starts, runs, published attributes, files."""

from __future__ import annotations

import os
import time
import warnings
from abc import abstractmethod
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from emnet import serialization
from emnet.algorithms.adam import Adam
from emnet.algorithms.base import Callback, Fit, Iteration, Progress, Reason, evaluate, run
from emnet.batch import Batch, Data, MiniBatches, with_constant
from emnet.estimators import options
from emnet.estimators.callbacks import CallbackSupportMixin, SklearnCallbacks
from emnet.estimators.early_stopping import EarlyStopping
from emnet.estimators.history import as_dict, fit_from_json, fit_to_json, printer
from emnet.estimators.modules import fresh_module, require_shape
from emnet.estimators.standardize import weighted_location_scale
from emnet.estimators.validation import (
    merge_repeated_rows,
    require_callbacks,
    require_finite,
    require_not_negative,
    require_one_of,
    require_positive_integer,
)
from emnet.exceptions import DegenerateFitError, FitInterrupted, InvalidInputError
from emnet.factors.module import ModuleUnits
from emnet.factors.regression import BernoulliUnits
from emnet.inference.base import EStep
from emnet.inference.exact import Exact
from emnet.inference.importance import Importance
from emnet.models.bernoulli_network import BernoulliNetwork, Units

NAN_REMEDY = "Drop or impute those rows, for example with sklearn.impute.SimpleImputer."
_DETERMINISTIC_ITERATIONS, _SAMPLED_PASSES = 500, 150
_DETERMINISTIC_STARTS = 3
_MOST_UNITS = 2**20


class NetworkEstimator(CallbackSupportMixin, BaseEstimator):
    """Parameters as in the subclasses. A subclass says what the targets are and what the output layer is."""

    # -- what a subclass says ---------------------------------------------------------------------------------------

    @abstractmethod
    def _start_output(self, fan_in: int, generator: torch.Generator) -> Tensor:
        """Random weights of the output layer, biases first."""

    @abstractmethod
    def _network(self, hidden: list[Tensor], output: Tensor, seed: int) -> BernoulliNetwork:
        """The model with those weights."""

    # -- training ---------------------------------------------------------------------------------------------------

    def _fit(self, X: np.ndarray, target: np.ndarray, weights: np.ndarray, callback_target: Any) -> Self:
        given, (X, target, weights) = X, merge_repeated_rows(X, target, weights)
        if not self._continues():
            self._standardize(X, weights)
        self.prior_ = self._resolve_prior(X.shape[1])
        seeds = check_random_state(self.random_state).randint(2**31, size=self._n_starts())
        starts = self._starts([int(seed) for seed in seeds])
        batch = self._batch(X, target, weights)
        train, held_out = self._split(batch, target, int(seeds[0]))
        sklearn_callbacks = SklearnCallbacks(self, len(starts), given, callback_target, self._reconstruct)
        self.members_: list[BernoulliNetwork] = []
        self.fits_: list[Fit] = []
        with options.few_threads(len(X) * 2 ** min(16, -(-max(self._widths()) // 2))):
            for seed, model in zip(seeds, starts, strict=True):
                try:
                    fit = self._run(model, train, held_out, int(seed), sklearn_callbacks.restart())
                except (FitInterrupted, DegenerateFitError) as end:
                    self._publish_unfinished(model, end.fit)
                    raise
                self._publish(model, fit)
                sklearn_callbacks.end_restart(model)
        sklearn_callbacks.end(self._best)
        if not self.converged_:
            self._warn_not_converged()
        return self

    def _fit_pass(self, X: np.ndarray, target: np.ndarray, weights: np.ndarray) -> Self:
        """One pass of Adam over these rows, in mini-batches, on every start."""
        first = not getattr(self, "members_", None)
        if first:
            self._standardize(X, weights)
            self.prior_ = self._resolve_prior(X.shape[1])
            seeds = check_random_state(self.random_state).randint(2**31, size=self._n_starts())
            starts = [self._start(int(seed)) for seed in seeds]
            self._passes_so_far = [Adam(self._e_step(int(seed))) for seed in seeds]
        else:
            starts = self.members_
            if not hasattr(self, "_passes_so_far"):
                self._passes_so_far = [Adam(self._e_step(seed)) for seed in range(len(starts))]
        batch = self._batch(X, target, weights)
        data = MiniBatches(batch, self.batch_size or _usual_batch(len(batch)), 0)
        records = []
        with torch.no_grad():
            for model, adam in zip(starts, self._passes_so_far, strict=True):
                lines = []
                began = time.perf_counter()
                for number, progress in enumerate((adam.step(model, data), evaluate(model, data, adam.inference))):
                    lines.append(Iteration(number, progress, time.perf_counter() - began))
                records.append(Fit(tuple(lines), Reason.MAX_ITER, batch.total_weight, lines[-1].seconds))
        self.members_, self.fits_ = [], []
        for model, fit in zip(starts, records, strict=True):
            self._publish(model, fit)
        return self

    def _check_parameters(self) -> None:
        widths = self.hidden_units if isinstance(self.hidden_units, (tuple, list)) else (self.hidden_units,)
        if not widths:
            raise InvalidInputError("hidden_units must be a number of units, or one for each layer; got none.")
        for width in widths:
            require_positive_integer("hidden_units", width)
            if width > _MOST_UNITS:
                raise InvalidInputError(f"hidden_units must be at most {_MOST_UNITS:,} a layer; got {width!r}.")
        for name in ("n_init", "max_iter", "batch_size"):
            if getattr(self, name) is not None:
                require_positive_integer(name, getattr(self, name))
        require_positive_integer("prediction_samples", self.prediction_samples)
        require_not_negative("tol", self.tol)
        require_one_of("combine", self.combine, ("average", "best"))
        require_one_of("dtype", self.dtype, tuple(options.DTYPES))
        require_one_of("standardize", self.standardize, (True, False))
        require_callbacks(self.callbacks)
        options.choose_device(self.device)

    def _widths(self) -> tuple[int, ...]:
        units = self.hidden_units
        return (int(units),) if isinstance(units, Integral) else tuple(int(m) for m in units)

    def _resolve_e_step(self) -> Any:
        """`e_step`, or what "auto" must be for this output."""
        return self.e_step

    def _e_step(self, seed: int) -> Any:
        return options.choose_e_step(self._resolve_e_step(), self._widths(), seed)

    def _is_sampled(self) -> bool:
        return not options.is_deterministic(self._e_step(0))

    def _passes(self) -> int:
        default = _SAMPLED_PASSES if self._is_sampled() or self.batch_size else _DETERMINISTIC_ITERATIONS
        return default if self.max_iter is None else self.max_iter

    def _n_starts(self) -> int:
        return (1 if self._is_sampled() else _DETERMINISTIC_STARTS) if self.n_init is None else self.n_init

    def _continues(self) -> bool:
        return self.warm_start and bool(getattr(self, "members_", None))

    def _standardize(self, X: np.ndarray, weights: np.ndarray) -> None:
        if self.standardize:
            self.input_mean_, self.input_scale_ = weighted_location_scale(X, weights)
        else:
            self.input_mean_, self.input_scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])

    def _check_features(self, X: Any, y: Any, **options_of_y: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False, **options_of_y)
        require_finite(X, getattr(self, "feature_names_in_", None), NAN_REMEDY)
        return X, y

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

    def _batch(self, X: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None) -> Batch:
        inputs = self._inputs(X)
        given = None
        if weights is not None and not (weights == 1).all():
            given = torch.as_tensor(weights, dtype=inputs.dtype, device=inputs.device)
        dtype = torch.int64 if target.dtype.kind in "iu" else inputs.dtype
        return Batch(torch.as_tensor(target, dtype=dtype, device=inputs.device), inputs, weights=given)

    def _inputs(self, X: np.ndarray) -> Tensor:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (X - self.input_mean_) / self.input_scale_
        members = getattr(self, "members_", None)
        like = next(members[0].layers[0].parameters()) if members else None
        dtype = options.DTYPES[self.dtype] if like is None else like.dtype
        device = options.choose_device(self.device) if like is None else like.device
        if not (np.abs(scaled) < torch.finfo(dtype).max / 2**20).all():
            row, column = np.argwhere(~(np.abs(scaled) < torch.finfo(dtype).max / 2**20))[0]
            raise InvalidInputError(
                f"Row {row}, column {column} holds {X[row, column]:g}, too far from the training data to be computed "
                f"with in {str(dtype).removeprefix('torch.')}."
            )
        return with_constant(torch.as_tensor(scaled, dtype=dtype, device=device))

    def _starts(self, seeds: list[int]) -> list[BernoulliNetwork]:
        if self._continues():
            return list(self.members_)
        return [self._start(seed) for seed in seeds]

    def _start(self, seed: int) -> BernoulliNetwork:
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
            units[0] = ModuleUnits(network, self._widths()[0], precision=self.prior_[0])
        return units

    def _split(self, batch: Batch, target: np.ndarray, seed: int) -> tuple[Batch, Batch | None]:
        if not self.early_stopping:
            return batch, None
        from sklearn.model_selection import train_test_split

        classes = target if target.dtype.kind in "iu" else None
        try:
            kept, held = train_test_split(
                np.arange(len(batch)), test_size=self.validation_fraction, random_state=seed, stratify=classes
            )
        except ValueError as error:
            raise InvalidInputError(f"early_stopping cannot hold rows out: {error}") from error
        index = [torch.as_tensor(np.sort(part), device=batch.target.device) for part in (kept, held)]
        return batch.rows(index[0]), batch.rows(index[1])

    def _run(self, model: BernoulliNetwork, batch: Batch, held_out: Batch | None, seed: int, extra: list) -> Fit:
        e_step, passes = self._e_step(seed), self._passes()
        whole = self.batch_size is None
        algorithm = options.choose_algorithm(self.algorithm, e_step, passes, whole)
        size = self.batch_size or (_usual_batch(len(batch)) if self._is_sampled() else None)
        data: Data = [batch] if size is None or size >= len(batch) else MiniBatches(batch, size, seed)
        stopping = EarlyStopping(model, held_out, e_step, self.n_iter_no_change) if held_out is not None else None
        printing: list[Callback] = [printer(batch.total_weight, len(self.fits_) + 1, self._n_starts())]
        fit = run(
            model,
            data,
            algorithm,
            inference=e_step,
            max_iter=passes,
            tol=self.tol,
            callbacks=[
                *self.callbacks,
                *extra,
                *(printing if self.verbose else []),
                *([stopping] if stopping is not None else []),
            ],
        )
        if stopping is not None:
            stopping.restore()
        return fit

    def _publish(self, model: BernoulliNetwork, fit: Fit) -> None:
        """Add a start, and set the attributes of the best."""
        self.members_.append(model)
        self.fits_.append(fit)
        best = self.fits_[self._best_index()]
        for name, value in self._weights_of(self._best).items():
            setattr(self, name, value)
        self.history_ = [as_dict(line) for line in best.history]
        self.n_iter_, self.converged_, self.reason_ = best.n_iter, best.converged, str(best.reason)
        self.log_evidence_ = best.last.log_evidence if best.history else float("nan")
        self.e_step_ = type(self._e_step(0)).__name__

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

    def _publish_unfinished(self, model: BernoulliNetwork, fit: Fit) -> None:
        """A start that did not end well counts only where no other has ended."""
        if not self.members_:
            self._publish(model, fit)
        self.converged_, self.reason_ = False, str(fit.reason)

    def _best_index(self) -> int:
        return max(range(len(self.fits_)), key=lambda k: _objective(self.fits_[k]))

    @property
    def _best(self) -> BernoulliNetwork:
        return self.members_[self._best_index()]

    @property
    def _used(self) -> list[BernoulliNetwork]:
        """The starts that predict."""
        return self.members_ if self.combine == "average" else [self._best]

    def _reconstruct(self, model: BernoulliNetwork) -> dict[str, Any]:
        """Fitted attributes as if the fit had stopped with `model`: what scikit-learn's callbacks may predict with."""
        names = ("classes_", "n_features_in_", "input_mean_", "input_scale_", "prior_")
        kept = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {**kept, **self._weights_of(model), "members_": [model], "fits_": [_NO_FIT]}

    def _weights_of(self, model: BernoulliNetwork) -> dict[str, Any]:
        """Weights of linear layers; None where a module stands in for one, whose parameters `members_` holds."""
        layers: list[Any] = [*model.layers, model.output]
        *hidden, output = [x.weights64().cpu().numpy() if hasattr(x, "weights64") else None for x in layers]
        return {
            "hidden_weights_": hidden[0] if isinstance(self.hidden_units, Integral) else hidden,
            "output_weights_": output,
        }

    def _warn_not_converged(self) -> None:
        if self.reason_ == Reason.MAX_ITER and not self._is_sampled() and not self.batch_size:
            warnings.warn(
                f"EM stopped at max_iter={self._passes()} before tol={self.tol} was met. Raise max_iter or tol, or "
                "give a stronger prior.",
                ConvergenceWarning,
                stacklevel=4,
            )

    # -- use --------------------------------------------------------------------------------------------------------

    def _check_inputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "members_")
        X = validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=False)
        require_finite(X, getattr(self, "feature_names_in_", None), NAN_REMEDY)
        return X

    def _predicts_exactly(self) -> bool:
        return isinstance(self._e_step(0), Exact) or options.exact_is_cheap(self._widths())

    def _posterior_e_step(self) -> EStep:
        """The E-step of training, with as many draws as prediction takes where it draws."""
        e_step: EStep = self._e_step(0)
        return Importance(self.prediction_samples) if isinstance(e_step, Importance) else e_step

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks are not kept."""
        check_is_fitted(self, "members_")
        for name in ("hidden_network", "output_network"):
            if getattr(self, name, None) is not None:
                raise InvalidInputError(
                    f"A model file holds no code, so a model with {name}= cannot be saved to one; keep its "
                    "members_' state_dict() with torch.save."
                )
        serialization.save(self, path)

    def _to_state(self) -> serialization.State:
        parameters = {k: options.to_json(v) for k, v in self.get_params(deep=False).items() if k != "callbacks"}
        if not isinstance(self.random_state, Integral):
            parameters["random_state"] = None
        manifest = {
            "parameters": parameters,
            "features": list(getattr(self, "feature_names_in_", [])),
            "prior": list(self.prior_),
            "fits": [fit_to_json(fit) for fit in self.fits_],
        }
        tensors = {"input_mean": self.input_mean_, "input_scale": self.input_scale_}
        for number in range(len(self._widths())):
            layers: list[Any] = [member.layers[number] for member in self.members_]
            tensors[f"hidden_weights_{number + 1}"] = np.stack([x.weights64().cpu().numpy() for x in layers])
        outputs: list[Any] = [member.output for member in self.members_]
        tensors["output_weights"] = np.stack([x.weights64().cpu().numpy() for x in outputs])
        return manifest, tensors

    def _restore(self, manifest: dict[str, Any], tensors: dict[str, np.ndarray], n_outputs: int) -> None:
        """Set what `_to_state` took down, after checking that it hangs together."""
        self.device: Any = options.device_at_hand(self.device)
        self._check_parameters()
        self.input_mean_, self.input_scale_ = tensors["input_mean"], tensors["input_scale"]
        p, k = len(self.input_mean_), len(manifest["fits"])
        widths = self._widths()
        extra = tensors["output_weights"].shape[2] - (1 + widths[-1])  # a Gaussian output's variance
        expected = {"input_mean": (p,), "input_scale": (p,), "output_weights": (k, n_outputs, 1 + widths[-1] + extra)}
        for number, (fan_in, m) in enumerate(zip((p, *widths), widths, strict=False), start=1):
            expected[f"hidden_weights_{number}"] = (k, m, 1 + fan_in)
        for name, shape in expected.items():
            if tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
                raise ValueError(f"tensor {name!r} should be finite and of shape {shape}")
        if not set(expected) <= set(tensors) or k < 1 or not (self.input_scale_ > 0).all():
            raise ValueError("the tensors are not those of this class")
        self.n_features_in_ = p
        if manifest["features"]:
            if len(manifest["features"]) != p:
                raise ValueError(f"{len(manifest['features'])} names for {p} features")
            self.feature_names_in_ = np.array(manifest["features"], dtype=object)
        self.prior_ = tuple(manifest["prior"])
        self.members_, self.fits_ = [], []

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


_NO_FIT = Fit((), Reason.STOPPED, 0.0, 0.0)


def _objective(fit: Fit) -> float:
    last: Progress | None = fit.last if fit.history else None
    return -np.inf if last is None else last.objective


def _usual_batch(n: int) -> int:
    return min(200, max(16, n // 25))
