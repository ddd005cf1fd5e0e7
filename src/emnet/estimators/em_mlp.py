"""The EM-MLP as a scikit-learn classifier."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from emnet import serialization
from emnet.algorithms.base import Algorithm, Callback, Fit, Iteration, Reason, run
from emnet.batch import Batch, with_constant
from emnet.estimators import options
from emnet.estimators.callbacks import CallbackSupportMixin, SklearnCallbacks, with_callbacks
from emnet.estimators.standardize import weighted_location_scale
from emnet.estimators.validation import require_finite, require_not_negative, require_positive_integer
from emnet.exceptions import DegenerateFitError, FitInterrupted, InvalidInputError
from emnet.factors.regression import BernoulliUnits, MStep, SoftmaxOutput
from emnet.inference.exact import Exact
from emnet.models.bernoulli_network import BernoulliNetwork

_NAN_REMEDY = "Drop or impute those rows, for example with sklearn.impute.SimpleImputer."


class EMMLPClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """A classifier with a hidden layer of m Bernoulli units, fitted by EM.

    p(y | x) = Σ_z p(y | z) Π_h σ(w_h·x)^{z_h} (1 − σ(w_h·x))^{1−z_h},  p(y | z) = softmax(v·z), exactly summed over
    all 2^m configurations z, in training and in prediction.

    Parameters
    ----------
    hidden_units : number of units, m.
    m_step : "auto", "newton", "mm" (the fixed bound of Böhning & Lindsay 1988), "gradient", or an object of
        `emnet.factors.regression` such as ``GradientStep(learning_rate=0.01)``. "auto" is Newton unless the output
        has more than 2000 weights.
    algorithm : "lbfgs" (quasi-Newton on the evidence, whose gradient is that of EM's Q), "em", or "squarem"
        (accelerated EM).
    prior : precision of the Gaussian prior on all weights but the biases: a number for both layers, a pair (hidden,
        output), or "auto": see `auto_prior`. The scale is that of scikit-learn's MLPClassifier's `alpha`.
    n_init : number of starts.
    combine : "average" predicts with the mean of all starts' probabilities, "best" with the start of highest
        penalised evidence.
    max_iter : most iterations of one start.
    tol : converged when the penalised log evidence per row rises by at most tol · (1 + |itself|) in an iteration.
    standardize : whether inputs are centred and scaled inside, by the training data.
    dtype : "float64" or "float32", of the E-step. M-steps are always in float64.
    device : "auto" (a GPU when there is one), "cpu", "cuda", …
    class_weight : None, "balanced" or {label: weight}, multiplied into `sample_weight`.
    random_state : seed or RandomState of the starts.
    verbose : whether to print a line an iteration.
    callbacks : called as ``callback(model, iteration)``; one that returns True ends that start. scikit-learn's own
        callbacks are given by `set_callbacks`, where the installed version has it.

    Attributes
    ----------
    hidden_weights_ : (m, 1 + p), biases first, for standardized inputs; of the best start, as the next four.
    output_weights_ : (g, 1 + m), biases first.
    history_ : list of dicts, one a line: iteration, log_evidence, log_prior, objective, seconds. The first is the
        start, the last the E-step that ended the run.
    log_evidence_ : Σ_j weight_j log p(y_j | x_j) on the training data, in nats, exact.
    n_iter_, converged_, reason_ : iterations, whether they converged, and why they ended.
    prior_ : the two precisions used.
    classes_, n_features_in_, feature_names_in_ : as in scikit-learn.
    input_mean_, input_scale_ : (p,), what standardization subtracts and divides by.
    members_, fits_ : the model and the record of every start.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> EMMLPClassifier(hidden_units=3, n_init=1, random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    def __init__(
        self,
        hidden_units: int = 8,
        *,
        m_step: str | MStep = "auto",
        algorithm: str | Algorithm = "lbfgs",
        prior: str | float | tuple[float, float] = "auto",
        n_init: int = 3,
        combine: str = "average",
        max_iter: int = 500,
        tol: float = 1e-6,
        standardize: bool = True,
        dtype: str = "float64",
        device: str = "auto",
        class_weight: str | dict | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        callbacks: Iterable[Callback] = (),
    ):
        self.hidden_units = hidden_units
        self.m_step = m_step
        self.algorithm = algorithm
        self.prior = prior
        self.n_init = n_init
        self.combine = combine
        self.max_iter = max_iter
        self.tol = tol
        self.standardize = standardize
        self.dtype = dtype
        self.device = device
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    # -- training ---------------------------------------------------------------------------------------------------

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to (n, p) inputs and (n,) labels of any type; `sample_weight` 2 is the row twice, 0 no row.

        An interrupted fit keeps the best parameters so far and raises FitInterrupted, a KeyboardInterrupt.

        Raises
        ------
        InvalidInputError : what was expected, what came (column, count), and what to do.
        InsufficientMemoryError : the sum over 2^m configurations does not fit.
        DegenerateFitError : the evidence became NaN; the estimator is fitted with the last finite parameters.
        """
        self._check_parameters()
        X, y, weights = self._check_data(X, y, sample_weight)
        if self.standardize:
            self.input_mean_, self.input_scale_ = weighted_location_scale(X, weights)
        else:
            self.input_mean_, self.input_scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])
        self.prior_ = self._resolve_prior(X.shape[1])
        batch = self._batch(X, y, weights)
        seeds = check_random_state(self.random_state).randint(2**31, size=self.n_init)
        sklearn_callbacks = SklearnCallbacks(self, self.n_init, X, self.classes_[y], self._reconstruct)
        self.members_: list[BernoulliNetwork] = []
        self.fits_: list[Fit] = []
        for seed in seeds:
            model = self._start(int(seed))
            try:
                fit = self._run(model, batch, sklearn_callbacks.restart())
            except (FitInterrupted, DegenerateFitError) as end:
                self._publish(model, end.fit)
                raise
            self._publish(model, fit)
            sklearn_callbacks.end_restart(model)
        sklearn_callbacks.end(self._best)
        if not self.converged_:
            self._warn_not_converged()
        return self

    def _check_parameters(self) -> None:
        require_positive_integer("hidden_units", self.hidden_units)
        require_positive_integer("n_init", self.n_init)
        require_positive_integer("max_iter", self.max_iter)
        require_not_negative("tol", self.tol)
        if self.combine not in ("average", "best"):
            raise InvalidInputError(f"combine must be 'average' or 'best'; got {self.combine!r}.")
        if self.dtype not in options.DTYPES:
            raise InvalidInputError(f"dtype must be one of {', '.join(options.DTYPES)}; got {self.dtype!r}.")

    def _check_data(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finite float64 inputs, class indices and weights of the rows whose weight is not zero."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False)
        require_finite(X, getattr(self, "feature_names_in_", None), _NAN_REMEDY)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InvalidInputError(
                f"A classifier needs at least two classes; y has one class only, {self.classes_.tolist()[0]!r}."
            )
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if self.class_weight is not None:
            weights = weights * compute_sample_weight(self.class_weight, y)
        seen = weights > 0
        if not seen.any():
            raise InvalidInputError("All sample weights are zero: there is nothing to fit.")
        return X[seen], codes[seen], weights[seen]

    def _resolve_prior(self, n_features: int) -> tuple[float, float]:
        if isinstance(self.prior, str):
            if self.prior != "auto":
                raise InvalidInputError(f"prior must be 'auto', a number or a pair of numbers; got {self.prior!r}.")
            return auto_prior(n_features)
        pair = self.prior if isinstance(self.prior, (tuple, list)) else (self.prior, self.prior)
        if len(pair) != 2:
            raise InvalidInputError(f"prior must be a number or a pair (hidden, output); got {self.prior!r}.")
        for precision in pair:
            require_not_negative("prior", precision)
        return float(pair[0]), float(pair[1])

    def _batch(self, X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Batch:
        inputs = self._inputs(X)
        as_tensor = lambda a, dtype: torch.as_tensor(a, dtype=dtype, device=inputs.device)  # noqa: E731
        unit = bool((weights == 1).all())
        return Batch(as_tensor(y, torch.int64), inputs, weights=None if unit else as_tensor(weights, inputs.dtype))

    def _inputs(self, X: np.ndarray) -> Tensor:
        scaled = (X - self.input_mean_) / self.input_scale_
        return with_constant(
            torch.as_tensor(scaled, dtype=options.DTYPES[self.dtype], device=options.choose_device(self.device))
        )

    def _start(self, seed: int) -> BernoulliNetwork:
        """Random weights: logits of a unit and of a class have a standard deviation of about 1."""
        generator = torch.Generator().manual_seed(seed)
        m, p, g = self.hidden_units, self.n_features_in_, len(self.classes_)
        hidden = torch.randn(m, 1 + p, generator=generator, dtype=torch.float64) / (1 + p) ** 0.5
        output = torch.randn(g, 1 + m, generator=generator, dtype=torch.float64)
        return self._network(hidden, output)

    def _network(self, hidden: Tensor, output: Tensor) -> BernoulliNetwork:
        m_step = options.choose_m_step(self.m_step, len(output), len(hidden))
        dtype, device = options.DTYPES[self.dtype], options.choose_device(self.device)
        return BernoulliNetwork(
            [BernoulliUnits(hidden.to(dtype), precision=self.prior_[0], m_step=m_step)],
            SoftmaxOutput(output.to(dtype), precision=self.prior_[1], m_step=m_step),
        ).to(device)

    def _run(self, model: BernoulliNetwork, batch: Batch, extra: list[Callback]) -> Fit:
        printing = [_print_iteration(batch.total_weight)] if self.verbose else []
        return run(
            model,
            batch,
            options.choose("algorithm", self.algorithm, options.ALGORITHMS, Algorithm),
            inference=Exact(),
            max_iter=self.max_iter,
            tol=self.tol,
            callbacks=[*self.callbacks, *extra, *printing],
        )

    def _publish(self, model: BernoulliNetwork, fit: Fit) -> None:
        """Add a start, and set the attributes of the best."""
        self.members_.append(model)
        self.fits_.append(fit)
        best = self.fits_[self._best_index()]
        for name, value in self._weights_of(self._best).items():
            setattr(self, name, value)
        self.history_ = [_as_dict(line) for line in best.history]
        self.n_iter_, self.converged_, self.reason_ = best.n_iter, best.converged, str(best.reason)
        self.log_evidence_ = best.last.log_evidence if best.history else float("nan")

    def _best_index(self) -> int:
        return max(range(len(self.fits_)), key=lambda k: _objective(self.fits_[k]))

    @property
    def _best(self) -> BernoulliNetwork:
        return self.members_[self._best_index()]

    def _reconstruct(self, model: BernoulliNetwork) -> dict[str, Any]:
        """Fitted attributes as if the fit had stopped with `model`: what scikit-learn's callbacks may predict with."""
        names = ("classes_", "n_features_in_", "input_mean_", "input_scale_", "prior_")
        return {**{name: getattr(self, name) for name in names}, **self._weights_of(model), "members_": [model]}

    @staticmethod
    def _weights_of(model: BernoulliNetwork) -> dict[str, np.ndarray]:
        return {
            "hidden_weights_": model.layers[0].weights64().cpu().numpy(),
            "output_weights_": model.output.weights64().cpu().numpy(),
        }

    def _warn_not_converged(self) -> None:
        if self.reason_ == Reason.MAX_ITER:
            warnings.warn(
                f"EM stopped at max_iter={self.max_iter} before tol={self.tol} was met. Raise max_iter or tol, or "
                "give a stronger prior.",
                ConvergenceWarning,
                stacklevel=3,
            )

    # -- use --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p(y | x), z summed out: (n, g) of type `dtype`, columns as `classes_`."""
        inputs = self._inputs(self._check_inputs(X))
        members = self.members_ if self.combine == "average" else [self._best]
        logs = torch.stack([member.log_predictive(inputs) for member in members])
        return (logs.logsumexp(0) - np.log(len(members))).to(options.DTYPES[self.dtype]).cpu().numpy()

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(y | x) = Σ_z p(z | x) p(y | z), not p(y | E[z | x]): (n, g), as `classes_`."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, (n,)."""
        most_probable = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    @torch.no_grad()
    def hidden_posterior(self, X: Any, y: Any = None) -> np.ndarray:
        """E[z | x], or with labels E[z | x, y], of the best start: (n, m)."""
        inputs = self._inputs(self._check_inputs(X))
        if y is None:
            return self._best.layers[0].logits(inputs).sigmoid().cpu().numpy()
        batch = Batch(torch.as_tensor(self._codes(y), device=inputs.device), inputs)
        return self._best.posterior(batch).mean.cpu().numpy()

    @torch.no_grad()
    def sample(self, X: Any, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw a label for each row through the hidden units, (n,); each row through a start drawn for it."""
        inputs = self._inputs(self._check_inputs(X))
        rng = check_random_state(random_state)
        generator = torch.Generator(device=inputs.device).manual_seed(int(rng.randint(2**31)))
        members = self.members_ if self.combine == "average" else [self._best]
        drawn = torch.stack([member.sample(inputs, generator)[1] for member in members]).cpu().numpy()
        return self.classes_[drawn[rng.randint(len(members), size=len(inputs)), np.arange(len(inputs))]]

    def _check_inputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=False)
        require_finite(X, getattr(self, "feature_names_in_", None), _NAN_REMEDY)
        return X

    def _codes(self, y: Any) -> np.ndarray:
        y = np.asarray(y)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise InvalidInputError(f"y holds {unknown.tolist()[0]!r}, which was not a class in training.")
        return np.searchsorted(self.classes_, y)

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks are not kept."""
        check_is_fitted(self)
        serialization.save(self, path)

    def _to_state(self) -> serialization.State:
        parameters = {k: options.to_json(v) for k, v in self.get_params(deep=False).items() if k != "callbacks"}
        if not isinstance(self.random_state, int):
            parameters["random_state"] = None
        manifest = {
            "parameters": parameters,
            "classes": {"dtype": self.classes_.dtype.str, "values": self.classes_.tolist()},
            "features": list(getattr(self, "feature_names_in_", [])),
            "prior": list(self.prior_),
            "fits": [_fit_to_json(fit) for fit in self.fits_],
        }
        tensors = {
            "input_mean": self.input_mean_,
            "input_scale": self.input_scale_,
            "hidden_weights": np.stack([self._weights_of(member)["hidden_weights_"] for member in self.members_]),
            "output_weights": np.stack([self._weights_of(member)["output_weights_"] for member in self.members_]),
        }
        return manifest, tensors

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self = cls(**{k: options.from_json(v) for k, v in manifest["parameters"].items()})
        self._check_parameters()
        self.classes_ = np.array(manifest["classes"]["values"], dtype=np.dtype(manifest["classes"]["dtype"]))
        self.input_mean_, self.input_scale_ = tensors["input_mean"], tensors["input_scale"]
        hidden, output = tensors["hidden_weights"], tensors["output_weights"]
        p, m, g, k = len(self.input_mean_), self.hidden_units, len(self.classes_), len(manifest["fits"])
        expected = {"input_mean": (p,), "input_scale": (p,), "hidden_weights": (k, m, 1 + p)}
        expected["output_weights"] = (k, g, 1 + m)
        for name, shape in expected.items():
            if tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
                raise ValueError(f"tensor {name!r} should be finite and of shape {shape}")
        if set(tensors) != set(expected) or k < 1:
            raise ValueError("there are other tensors than this class has")
        self.n_features_in_ = p
        if manifest["features"]:
            self.feature_names_in_ = np.array(manifest["features"], dtype=object)
        self.prior_ = tuple(manifest["prior"])
        self.members_, self.fits_ = [], []
        for hidden_weights, output_weights, record in zip(hidden, output, manifest["fits"], strict=True):
            model = self._network(torch.from_numpy(hidden_weights), torch.from_numpy(output_weights))
            self._publish(model, _fit_from_json(record))
        return self


def auto_prior(n_features: int) -> tuple[float, float]:
    """Default precisions (hidden, output) for standardized inputs.

    The hidden one grows with the number of inputs p, so that the prior's standard deviation of a unit's logit is
    the same, 11, for any p. Its constant is the best of those that `python -m benchmarks prior` tried.
    """
    return 0.008 * n_features, 0.01


def _objective(fit: Fit) -> float:
    return fit.last.objective if fit.history else -np.inf


def _print_iteration(rows: float) -> Callback:
    def callback(model: Any, iteration: Iteration) -> None:
        print(format_iteration(iteration, rows), flush=True)

    return callback


def format_iteration(iteration: Iteration, rows: float) -> str:
    """A line of `verbose`: iteration, mean negative cross-entropy (nats a row), log evidence (nats), seconds."""
    return (
        f"iteration {iteration.number:4d}   mean log p(y|x) {iteration.log_evidence / rows:9.5f}   "
        f"log evidence {iteration.log_evidence:12.4f}   {iteration.seconds:7.2f} s"
    )


def _as_dict(line: Iteration) -> dict[str, Any]:
    progress = line.progress
    return {
        "iteration": line.number,
        "log_evidence": progress.log_evidence,
        "log_prior": progress.log_prior,
        "objective": progress.objective,
        "kind": str(progress.kind),
        "seconds": line.seconds,
    }


def _fit_to_json(fit: Fit) -> dict[str, Any]:
    return {
        "history": [_as_dict(line) for line in fit.history],
        "reason": str(fit.reason),
        "rows": fit.rows,
        "seconds": fit.seconds,
    }


def _fit_from_json(record: dict[str, Any]) -> Fit:
    from emnet.algorithms.base import Progress
    from emnet.posteriors import EvidenceKind

    history = tuple(
        Iteration(
            line["iteration"],
            Progress(line["log_evidence"], line["log_prior"], EvidenceKind(line["kind"])),
            line["seconds"],
        )
        for line in record["history"]
    )
    return Fit(history, Reason(record["reason"]), record["rows"], record["seconds"])
