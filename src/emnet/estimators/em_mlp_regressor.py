"""The EM-MLP for real targets as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils import check_random_state
from torch import Tensor, nn

from emnet import serialization
from emnet.algorithms.base import Algorithm, Callback
from emnet.estimators import options
from emnet.estimators.description import as_described
from emnet.estimators.modules import fresh_module, require_shape
from emnet.estimators.network import NetworkEstimator
from emnet.estimators.real_targets import RealTargets
from emnet.estimators.validation import require_levels
from emnet.exceptions import InvalidInputError
from emnet.factors.gaussian_output import GaussianOutput
from emnet.factors.module import ModuleGaussian
from emnet.factors.regression import MStep
from emnet.inference.base import EStep
from emnet.inference.predict import top_states
from emnet.kernels.quantiles import mixture_quantiles
from emnet.models.bernoulli_network import BernoulliNetwork, Output
from emnet.models.portable import NumbersOfBits

_CHEAP_UNITS = 10  # with little noise most rows are summed in log space, at a cost of n·2^m


class EMMLPRegressor(RegressorMixin, RealTargets, NetworkEstimator):
    """Real targets under layers of Bernoulli units, fitted by EM: a mixture of 2^m Gaussians whose weights depend on x.

    p(y | x) = Σ_z Π_h σ(w_h·x)^{z_h} (1 − σ(w_h·x))^{1−z_h} Normal(y; v·(1, z), σ²), with σ² for each of d targets.
    The predictive distribution has as many modes as the data ask for: where one x has several y, back-propagation
    of squares predicts their mean, and `sample` here draws from each.

    Parameters
    ----------
    output_network : a torch module that takes the m bits of the top layer to the means of the d standardized targets,
        m → d; every start has a copy with parameters drawn anew. Its E-step is sampled.
    hidden_units, hidden_network, e_step, m_step, algorithm, prior, n_init, combine, max_iter, tol, batch_size,
    early_stopping, validation_fraction, n_iter_no_change, warm_start, prediction_samples, standardize, dtype, device,
    random_state, verbose, callbacks : as in `EMMLPClassifier`. Targets are always standardized inside. The exact E-step
        is for one layer; with several, or with more than 10 units, "auto" is "importance". The output's prior is
        v | σ² ~ Normal(0, σ²/precision).

    Attributes
    ----------
    hidden_weights_, output_weights_ : (m, 1 + p) and (d, 1 + m), biases first, for standardized inputs and targets.
    noise_ : (d,), σ in the units of y, of the best start.
    log_evidence_ : Σ_j weight_j log p(y_j | x_j) for the standardized targets, in nats.
    target_mean_, target_scale_ : (d,), what standardization of the targets subtracts and divides by.
    The others are as in `EMMLPClassifier`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = EMMLPRegressor(hidden_units=4, n_init=1, random_state=0).fit(X, np.sign(X[:, 0]))
    >>> model.score(X, np.sign(X[:, 0])) > 0.9
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
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    # -- training ---------------------------------------------------------------------------------------------------

    def _resolve_e_step(self) -> Any:
        if not (isinstance(self.e_step, str) and self.e_step == "auto"):
            return self.e_step
        return "exact" if self._is_linear_in_bits() and self._widths()[0] <= _CHEAP_UNITS else "importance"

    def _is_linear_in_bits(self) -> bool:
        """Whether means are linear in bits that are independent given x, so that sums over them are closed."""
        return len(self._widths()) == 1 and self.output_network is None

    def _start_output(self, fan_in: int, generator: torch.Generator) -> Tensor:
        d = len(self.target_mean_)
        weights = torch.randn(d, 1 + fan_in, generator=generator, dtype=torch.float64) / fan_in**0.5
        return torch.cat((weights, torch.full((d, 1), -0.5, dtype=torch.float64)), dim=1)

    def _network(self, hidden: list[Tensor], output: Tensor, seed: int) -> BernoulliNetwork:
        """`output` are the weights, and last the log variance."""
        e_step = self._e_step(seed)
        m_step = options.choose_m_step(self._m_step_for_data(), 1, 1, e_step, self.algorithm)
        weights = output[:, :-1].to(options.DTYPES[self.dtype])
        variance = output[:, -1].exp()
        top: Output = GaussianOutput(weights, variance, precision=self.prior_[1])
        if self.output_network is not None:
            module = fresh_module("output_network", self.output_network, weights.dtype, seed + 1)
            require_shape("output_network", module, self._widths()[-1], len(variance), weights.dtype)
            own: dict[str, Any] = {"precision": self.prior_[1], "m_step": self._network_m_step()}
            top = ModuleGaussian(module, variance, **own)
        return BernoulliNetwork(self._units(hidden, m_step, seed), top).to(options.choose_device(self.device))

    def _weights_of(self, model: BernoulliNetwork) -> dict[str, Any]:
        noise = _noise(model).cpu().numpy() * self.target_scale_
        return {**super()._weights_of(model), "noise_": noise}

    # -- use --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, X: Any, return_std: bool = False) -> Any:
        """E[y | x], (n,) or (n, d), with one layer exactly; with `return_std` also the standard deviation of y."""
        inputs = self._inputs(self._check_inputs(X))
        moments = [self._moments(member, inputs) for member in self._used]
        mean = torch.stack([m for m, _ in moments])
        overall = mean.mean(0)
        second = torch.stack([v for _, v in moments]).mean(0) + (mean - overall).square().mean(0)
        prediction = self._in_units(overall)
        if not return_std:
            return prediction
        return prediction, self._shaped(second.sqrt().cpu().numpy() * self.target_scale_)

    @torch.no_grad()
    def predict_quantiles(self, X: Any, quantiles: float | Sequence[float] = (0.05, 0.5, 0.95)) -> np.ndarray:
        """Quantiles of each target given x, by bisection of the mixture over `prediction_samples` draws of z.

        (n, number of quantiles), or (n, number of quantiles, d) for several targets.
        """
        levels = require_levels(quantiles)
        means, noise = self._mixture(self._inputs(self._check_inputs(X)))
        wanted = torch.as_tensor(levels, dtype=torch.float64, device=means.device)
        shares = means.new_full(means.shape[:2], 1 / means.shape[1])
        found = mixture_quantiles(shares, means, noise[None], wanted)
        values = found.cpu().numpy() * self.target_scale_ + self.target_mean_
        return values[:, :, 0] if self._flat else values

    @torch.no_grad()
    def sample(self, X: Any, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw y for each row through the hidden units, (n,) or (n, d); each row through a start drawn for it."""
        inputs = self._inputs(self._check_inputs(X))
        rng = check_random_state(random_state)
        generator = torch.Generator(device=inputs.device).manual_seed(int(rng.randint(2**31)))
        drawn = torch.stack([member.sample(inputs, generator)[1] for member in self._used])
        chosen = torch.as_tensor(rng.randint(len(drawn), size=len(inputs)), device=inputs.device)
        return self._in_units(drawn[chosen, torch.arange(len(inputs), device=inputs.device)])

    @torch.no_grad()
    def log_density(self, X: Any, y: Any) -> np.ndarray:
        """log p(y | x) of each row in the units of y, (n,), in nats: exact, a bound or an estimate as the E-step is."""
        batch = self._answered(X, y)
        logs = torch.stack([self._posterior_e_step()(member, batch).log_evidence for member in self._used])
        mixed = logs.logsumexp(0) - np.log(len(logs))
        return mixed.cpu().numpy() - np.log(self.target_scale_).sum()

    def _gaussians(self, X: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Of `prediction_samples` draws of z from each start."""
        means, noise = self._mixture(self._inputs(self._check_inputs(X)))
        return means.new_full(means.shape[:2], 1 / means.shape[1]), means, noise.diag_embed()

    def _moments(self, model: BernoulliNetwork, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of standardized targets, (n, d): the top units are independent given those below."""
        if self._is_linear_in_bits():
            output: Any = model.output
            found: tuple[Tensor, Tensor] = output.moments_of_bits(model.layers[0].predictor(inputs).sigmoid().double())
            return found
        means = self._drawn_means(model, inputs)
        return means.mean(0), _noise(model).square() + means.var(0)

    def _mixture(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Means of equally probable Gaussians, (n, s, d), and their standard deviations, (s, d), over all starts."""
        means, noise = [], []
        for member in self._used:
            drawn = self._drawn_means(member, inputs)
            means.append(drawn.transpose(0, 1))
            noise.append(_noise(member).expand(len(drawn), -1))
        return torch.cat(means, dim=1), torch.cat(noise)

    def _drawn_means(self, model: BernoulliNetwork, inputs: Tensor) -> Tensor:
        """Means of the targets given draws of z, (s, n, d), float64."""
        output: Any = model.output
        draws = top_states(model, inputs, self.prediction_samples, 0)
        return torch.cat([output.means(states) for states in draws], dim=1).double()

    def _portable(self) -> NumbersOfBits:
        if not self._is_linear_in_bits():
            raise InvalidInputError(
                "With several layers, or an output_network, prediction draws the hidden units, which a graph cannot. "
                "Fit one layer with linear means."
            )
        return NumbersOfBits(self._used, *self._target_units())

    # -- files ------------------------------------------------------------------------------------------------------

    def _to_state(self) -> serialization.State:
        manifest, tensors = super()._to_state()
        noise = np.stack([2 * _noise(member).log().cpu().numpy() for member in self.members_])
        tensors["output_weights"] = np.concatenate((tensors["output_weights"], noise[:, :, None]), axis=2)
        return self._with_targets(manifest, tensors)

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self: Self = as_described(cls, manifest)
        self._restore_targets(manifest, tensors)
        self._restore(manifest, tensors, len(self.target_mean_))
        self._restore_members(manifest, tensors)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # the checks' data are a plane with little noise, which steps fit badly
        return tags


def _noise(model: BernoulliNetwork) -> Tensor:
    """σ of the standardized targets, (d,)."""
    output: Any = model.output
    return output.variance.sqrt()
