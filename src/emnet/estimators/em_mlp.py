"""The EM-MLP as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from torch import Tensor, nn

from emnet.algorithms.base import Algorithm, Callback
from emnet.estimators import options
from emnet.estimators.class_targets import ClassTargets
from emnet.estimators.description import as_described
from emnet.estimators.modules import fresh_module, require_shape
from emnet.estimators.network import NetworkEstimator
from emnet.exceptions import InvalidInputError
from emnet.factors.module import ModuleOutput
from emnet.factors.regression import MStep, SoftmaxOutput
from emnet.inference.base import EStep
from emnet.inference.predict import class_probabilities
from emnet.models.bernoulli_network import BernoulliNetwork, Output
from emnet.models.portable import ClassesOfBits


class EMMLPClassifier(ClassifierMixin, ClassTargets, NetworkEstimator):
    """A classifier with layers of Bernoulli units, fitted by EM.

    p(y | x) = Σ_z p(y | z) Π_h σ(w_h·x)^{z_h} (1 − σ(w_h·x))^{1−z_h},  p(y | z) = softmax(v·z), summed exactly over
    all 2^m configurations z, in training and in prediction, or, where there are too many, sampled or bounded.

    Parameters
    ----------
    hidden_units : number of units, m; or one for each layer, from the inputs up.
    hidden_network : a torch module that ends in the m logits of the lowest layer's units, p → m, in place of their
        linear predictor; every start has a copy with parameters drawn anew. Learned by the gradient of EM's Q.
    output_network : a torch module that takes the m bits of the top layer to the logits of the g classes, m → g.
    e_step : "auto" (exact where no layer has more than 12 units and no two adjacent layers more than 20, else
        "importance"), "exact", "importance" (10 samples a row), "gibbs", "mean_field", or an object of
        `emnet.inference` with its options, such as ``Importance(samples=100)``.
    m_step : "auto", "newton", "mm" (the fixed bound of Böhning & Lindsay 1988), "gradient", or an object of
        `emnet.factors.regression` such as ``GradientStep(learning_rate=0.01)``. "auto" is Newton unless the output
        has more than 2000 weights or the E-step samples. Algorithms "lbfgs" and "adam" take no M-steps.
    algorithm : "auto" ("lbfgs", but "adam" with a sampled E-step or a `batch_size`), "lbfgs" (quasi-Newton on the
        evidence, whose gradient is that of EM's Q), "em", "squarem" (accelerated EM) or "adam".
    prior : precision of the Gaussian prior on all weights but the biases: a number for all layers, a pair (hidden,
        output), or "auto": see `emnet.estimators.network.auto_prior`. The scale is that of scikit-learn's
        MLPClassifier's `alpha`.
    n_init : number of starts; None is 3, and 1 where the E-step samples.
    combine : "average" predicts with the mean of all starts' probabilities, "best" with the start of highest
        penalized evidence.
    max_iter : most iterations of one start, or passes over the data; None is 500, and 150 passes where the E-step
        samples or there is a `batch_size`.
    tol : converged when the penalized log evidence per row rises by at most tol · (1 + |itself|) in an iteration.
        An estimated evidence, as "adam" and sampled E-steps report it, never ends a run.
    batch_size : rows of a mini-batch. None: all rows where the evidence is no estimate, else n/25 between 16 and 200.
    early_stopping : whether to hold out `validation_fraction` of the rows, stop when their evidence has not risen
        for `n_iter_no_change` iterations, and keep the parameters at which it was highest.
    warm_start : whether `fit` goes on from the last fit's weights, under the prior and by the M-step of now. Columns,
        targets and what the model is made of must be the same.
    prediction_samples : draws of the hidden units a row where prediction is not exact.
    standardize : whether inputs are centered and scaled inside, by the training data.
    dtype : "float64" or "float32", of the E-step. M-steps are always in float64.
    device : "auto" (a GPU when there is one), "cpu", "cuda", …
    class_weight : None, "balanced" or {label: weight}, multiplied into `sample_weight`.
    random_state : seed or RandomState of the starts.
    verbose : whether to print a line an iteration.
    callbacks : called as ``callback(model, iteration)``; one that returns True ends that start. scikit-learn's own
        callbacks are given by `set_callbacks`, where the installed version has it.

    Attributes
    ----------
    hidden_weights_ : (m, 1 + p), biases first, for standardized inputs; of the best start, as the next five. A list,
        one for each layer, where `hidden_units` is a sequence.
    output_weights_ : (g, 1 + m), biases first.
    history_ : list of dicts, one a line: iteration, log_evidence, log_prior, objective, kind (exact, bound or
        estimate), seconds, and effective_samples where there are. The first is the start, the last the E-step that
        ended the run.
    log_evidence_ : Σ_j weight_j log p(y_j | x_j) on the training data, in nats, of the best start alone.
    n_iter_, converged_, reason_ : iterations, whether they converged, and why they ended: "max_iter" of a run that
        takes all its passes as planned, on estimates.
    e_step_ : which E-step was taken.
    prior_ : the two precisions used.
    classes_, n_features_in_, feature_names_in_ : as in scikit-learn.
    input_mean_, input_scale_ : (p,), what standardization subtracts and divides by.
    members_, fits_ : the model and the record of every start.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.
    InsufficientMemoryError : 2^m configurations do not fit; gives the bytes and the alternatives.
    DegenerateFitError : the evidence became NaN; the last finite parameters are kept.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> EMMLPClassifier(hidden_units=3, n_init=1, random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    def __init__(
        self,
        hidden_units: int | Sequence[int] = 8,
        *,
        hidden_network: nn.Module | None = None,
        output_network: nn.Module | None = None,
        e_step: str | EStep = "auto",
        m_step: str | MStep = "auto",
        algorithm: str | Algorithm = "auto",
        prior: str | float | tuple[float, float] = "auto",
        n_init: int | None = None,
        combine: str = "average",
        max_iter: int | None = None,
        tol: float = 1e-6,
        batch_size: int | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        prediction_samples: int = 300,
        standardize: bool = True,
        dtype: str = "float64",
        device: str = "auto",
        class_weight: str | dict | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        callbacks: Iterable[Callback] = (),
    ):
        self.hidden_units = hidden_units
        self.hidden_network = hidden_network
        self.output_network = output_network
        self.e_step = e_step
        self.m_step = m_step
        self.algorithm = algorithm
        self.prior = prior
        self.n_init = n_init
        self.combine = combine
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.prediction_samples = prediction_samples
        self.standardize = standardize
        self.dtype = dtype
        self.device = device
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    # -- training ---------------------------------------------------------------------------------------------------

    def _start_output(self, fan_in: int, generator: torch.Generator) -> Tensor:
        return torch.randn(len(self.classes_), 1 + fan_in, generator=generator, dtype=torch.float64) * min(
            1.0, (8 / fan_in) ** 0.5
        )

    def _network(self, hidden: list[Tensor], output: Tensor, seed: int) -> BernoulliNetwork:
        m_step = options.choose_m_step(
            self._m_step_for_data(), len(output), output.shape[1] - 1, self._e_step(seed), self.algorithm
        )
        dtype = options.DTYPES[self.dtype]
        top: Output = SoftmaxOutput(output.to(dtype), precision=self.prior_[1], m_step=m_step)
        if self.output_network is not None:
            module = fresh_module("output_network", self.output_network, dtype, seed + 1)
            require_shape("output_network", module, self._widths()[-1], len(self.classes_), dtype)
            own: dict[str, Any] = {"precision": self.prior_[1], "m_step": self._network_m_step()}
            top = ModuleOutput(module, self._widths()[-1], len(self.classes_), **own)
        return BernoulliNetwork(self._units(hidden, m_step, seed), top).to(options.choose_device(self.device))

    # -- use --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p(y | x), z summed out: (n, g) of type `dtype`, columns as `classes_`."""
        inputs = self._inputs(self._check_inputs(X))
        if self._predicts_exactly():
            logs = torch.stack([member.log_predictive(inputs) for member in self._used])
        else:
            logs = torch.stack([mean.log() for mean, _ in self._sampled_probabilities(inputs)])
        mean = logs.logsumexp(0) - np.log(len(logs))
        return mean.to(inputs.dtype).cpu().numpy()

    @torch.no_grad()
    def predict_proba_error(self, X: Any) -> np.ndarray:
        """Monte Carlo standard error of `predict_proba`, (n, g): 0 where the sum over z is exact."""
        inputs = self._inputs(self._check_inputs(X))
        if self._predicts_exactly():
            return np.zeros((len(inputs), len(self.classes_)))
        errors = torch.stack([error for _, error in self._sampled_probabilities(inputs)])
        return (errors.square().sum(0).sqrt() / len(errors)).cpu().numpy()

    def _sampled_probabilities(self, inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [
            class_probabilities(member, inputs, self.prediction_samples, seed) for seed, member in enumerate(self._used)
        ]

    @torch.no_grad()
    def sample(self, X: Any, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw a label for each row through the hidden units, (n,); each row through a start drawn for it."""
        inputs = self._inputs(self._check_inputs(X))
        rng = check_random_state(random_state)
        generator = torch.Generator(device=inputs.device).manual_seed(int(rng.randint(2**31)))
        drawn = torch.stack([member.sample(inputs, generator)[1] for member in self._used]).cpu().numpy()
        return self.classes_[drawn[rng.randint(len(drawn), size=len(inputs)), np.arange(len(inputs))]]

    def _portable(self) -> ClassesOfBits:
        if not self._predicts_exactly():
            raise InvalidInputError(
                f"{' + '.join(map(str, self._widths()))} hidden units have too many configurations to sum, and a graph "
                "cannot draw them. Fit fewer units (at most 12 a layer, 20 in two adjacent ones)."
            )
        return ClassesOfBits(self._used)

    # -- files ------------------------------------------------------------------------------------------------------

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self: Self = as_described(cls, manifest)
        self._restore_classes(manifest)
        self._restore(manifest, tensors, len(self.classes_))
        self._restore_members(manifest, tensors)
        return self
