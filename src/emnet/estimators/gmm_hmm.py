"""Hidden Markov models whose states emit mixtures of Gaussians."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from emnet.algorithms.base import Callback
from emnet.estimators import gaussian_emissions as emissions
from emnet.estimators.column_count import ColumnCount
from emnet.estimators.covariance_kinds import CovarianceKind, covariance_kind
from emnet.estimators.distributions import mixture
from emnet.estimators.forecasts import Ahead
from emnet.estimators.markov_fit import LearningMarkov
from emnet.estimators.markov_use import require_distributions, require_shape
from emnet.estimators.standardize import center_and_scale
from emnet.exceptions import InvalidInputError
from emnet.factors.covariances import TiedInGroups
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_priors import StatePriors
from emnet.factors.state_mixtures import ComponentWeights, StateMixtures
from emnet.models.semi_markov import MarkovModel


class GMMHMM(ColumnCount, LearningMarkov):
    """A hidden path of states, each of which emits a mixture of Gaussians of its own; hmmlearn's interface.

    As in hmmlearn an M-step finds covariances about the means before it, and then the means: ECM, not EM.

    Parameters
    ----------
    n_mix : components of each state.
    weights_prior : concentrations of a Dirichlet prior on the weights, at least 1: a number, (n_mix,) or (k, n_mix).
    means_prior, means_weight, covars_prior, covars_weight : of the components, as hmmlearn has them.
    covariance_type : "spherical", "diag", "full", or "tied": the components of a state share one.
    params, init_params : letters of s(tart), t(ransitions), m(eans), c(ovariances), w(eights).
    fixed : of "startprob", "transmat", "means", "covars", "weights".
    n_components, min_covar, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol, verbose,
        implementation, fixed_transitions, shared_states, max_duration, duration_prior,
        censored, n_init, callbacks, dtype, device : as of `GaussianHMM`.

    Attributes
    ----------
    weights_, means_, covars_ : (k, n_mix), (k, n_mix, d), and (k, n_mix), (k, n_mix, d), (k, n_mix, d, d) or, tied,
        (k, d, d). The others are those of `GaussianHMM`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> X = np.random.RandomState(0).randn(60, 2)
    >>> model = GMMHMM(2, 2, random_state=0).fit(X, lengths=[30, 30])
    >>> model.means_.shape
    (2, 2, 2)
    """

    _letters = {"s": "startprob", "t": "transmat", "m": "means", "c": "covars", "w": "weights"}  # noqa: RUF012
    _apart = "means_"

    weights_: np.ndarray
    means_: np.ndarray
    covars_: np.ndarray

    def __init__(
        self,
        n_components: int = 1,
        n_mix: int = 1,
        min_covar: float = 1e-3,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        weights_prior: Any = 1.0,
        means_prior: Any = 0.0,
        means_weight: Any = 0.0,
        covars_prior: Any = None,
        covars_weight: Any = None,
        algorithm: str = "viterbi",
        covariance_type: str = "diag",
        random_state: int | np.random.RandomState | None = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "stmcw",
        init_params: str = "stmcw",
        implementation: str = "log",
        *,
        fixed: Collection[str] = (),
        fixed_transitions: Any = None,
        shared_states: Any = None,
        max_duration: int | None = None,
        duration_prior: Any = 1.0,
        censored: bool = True,
        n_init: int = 1,
        callbacks: Iterable[Callback] = (),
        dtype: str = "float64",
        device: str = "auto",
    ):
        self.n_components = n_components
        self.n_mix = n_mix
        self.min_covar = min_covar
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.weights_prior = weights_prior
        self.means_prior = means_prior
        self.means_weight = means_weight
        self.covars_prior = covars_prior
        self.covars_weight = covars_weight
        self.algorithm = algorithm
        self.covariance_type = covariance_type
        self.random_state = random_state
        self.n_iter = n_iter
        self.tol = tol
        self.verbose = verbose
        self.params = params
        self.init_params = init_params
        self.implementation = implementation
        self.fixed = fixed
        self.fixed_transitions = fixed_transitions
        self.shared_states = shared_states
        self.max_duration = max_duration
        self.duration_prior = duration_prior
        self.censored = censored
        self.n_init = n_init
        self.callbacks = callbacks
        self.dtype = dtype
        self.device = device

    # -- the start --------------------------------------------------------------------------------------------------

    def _start_emission(self, X: np.ndarray) -> None:
        kind, k, c = self._kind, self.n_components, self.n_mix
        means = self._clusters(emissions.filled(X))
        if self._needs_init("w", "weights_"):
            self.weights_ = np.full((k, c), 1 / c)
        if self._needs_init("m", "means_"):
            self.means_ = means
        if self._needs_init("c", "covars_"):
            one = kind.writing.start(emissions.spread(X, self.min_covar))
            self.covars_ = np.broadcast_to(one, kind.shape((k, c), X.shape[1])).copy()

    @property
    def _kind(self) -> CovarianceKind:
        return covariance_kind(self.covariance_type)

    def _clusters(self, X: np.ndarray) -> np.ndarray:
        """k-means over all rows, and over the rows of each cluster: (k, c, d)."""
        labels, means = emissions.clusters(X, self.n_components, self._seed).labels_, []
        for label in range(self.n_components):
            own = X[labels == label]
            if len(own) >= self.n_mix:
                means.append(emissions.clusters(own, self.n_mix, self._seed).cluster_centers_)
            else:  # hmmlearn draws them around the center of all; rows of the cluster stay within the data
                own = own if len(own) else X  # where fewer rows are different than there are states
                means.append(own[check_random_state(self._seed).randint(len(own), size=self.n_mix)])
        return np.stack(means)

    def _measure(self, X: np.ndarray) -> None:
        self._center, self._scale = center_and_scale(X, None)

    # -- the emission -----------------------------------------------------------------------------------------------

    def _is_monotone(self) -> bool:
        """Means that have a prior pull at the covariances from where they go, not from where they were."""
        lifts = self.min_covar > 0 and not (self._kind.writing.diagonal or self._kind.shared)
        return not lifts and not np.any(self.means_weight)

    def _warn_of_lifted(self, model: MarkovModel) -> None:
        emissions.warn_of_lifted(model, self.min_covar)

    def _emission(self, learning: bool) -> Any:
        own = self._representatives()
        components = len(own) * self.n_mix
        means = ((self.means_[own] - self._center) / self._scale).reshape(components, -1)
        covariances = torch.as_tensor(self._matrices(own) / self._scale**2)
        shared = self._kind.shared
        structure = partial(TiedInGroups, size=self.n_mix) if shared else self._kind.structure
        gaussian = Gaussian(
            torch.as_tensor(means),
            structure(covariances),
            prior=self._prior(own) if learning else None,
            floor=0.0 if shared else self.min_covar / self._scale**2,
            covariances_first=True,  # as hmmlearn has it
            fixed={name for letter, name in (("m", "means"), ("c", "covariances")) if not self._learns(letter)},
        )
        alpha = np.broadcast_to(np.asarray(self.weights_prior, dtype=float), self.weights_.shape)[own]
        weights = ComponentWeights(
            torch.as_tensor(self.weights_[own]),
            concentration=torch.tensor(alpha) if learning else 1.0,
            fixed=not (learning and self._learns("w")),
        )
        return self._grouped(StateMixtures(weights, gaussian))

    def _matrices(self, own: np.ndarray) -> np.ndarray:
        """Σ of every component of some states, those of a state side by side: (components, d, d)."""
        d, c = self.means_.shape[2], self.n_mix
        found = self._kind.writing.matrices(np.asarray(self.covars_)[own], d)
        return np.repeat(found, c, axis=0) if self._kind.shared else found.reshape(-1, d, d)

    def _prior(self, own: np.ndarray) -> StatePriors:
        """hmmlearn's formulas as rows and scatter of a prior; by default none, but for spherical covariances."""
        d, c, shape = self.means_.shape[2], self.n_mix, self.weights_.shape
        scale, count = self._gamma() if self._kind.writing.diagonal else self._wishart()
        mean = np.broadcast_to(np.asarray(self.means_prior, dtype=float), (*shape, d))[own].reshape(-1, d)
        weight = np.broadcast_to(np.asarray(self.means_weight, dtype=float), shape)[own].reshape(-1)
        return StatePriors(
            torch.tensor(scale[own].reshape(len(own) * c, *scale.shape[2:]) / self._scale**2),
            torch.tensor(count[own].reshape(-1)),
            torch.tensor((mean - self._center) / self._scale),
            torch.tensor(weight),
        )

    def _wishart(self) -> tuple[np.ndarray, np.ndarray]:
        """Ψ and rows ν + d + 2 of each component; of a tied covariance ν + d + 1 + c of the state, in equal parts."""
        (k, c), d = self.weights_.shape, self.means_.shape[2]
        tied = self._kind.shared
        own = (c if tied else 1) + d + 1.0
        weight = -own if self.covars_weight is None else np.asarray(self.covars_weight, dtype=float)
        scale = np.asarray(0.0 if self.covars_prior is None else self.covars_prior, dtype=float)
        count = np.broadcast_to(weight + own, (k,) if tied else (k, c))
        if tied:
            scale = np.broadcast_to(scale, (k, d, d))
            return np.repeat(scale[:, None] / c, c, axis=1), np.repeat(count[:, None] / c, c, axis=1)
        return np.swapaxes(np.broadcast_to(scale, (k, c, d, d)), 2, 3).copy(), count.copy()

    def _gamma(self) -> tuple[np.ndarray, np.ndarray]:
        """2β and rows 2α + 3; of a spherical covariance the α and β of all its columns together."""
        (k, c), d = self.weights_.shape, self.means_.shape[2]
        spherical = self._kind.writing.n_axes == 0
        default = -(c + 2.0) / 2.0 if spherical else -1.5
        alpha = np.asarray(default if self.covars_prior is None else self.covars_prior, dtype=float)
        beta = np.asarray(0.0 if self.covars_weight is None else self.covars_weight, dtype=float)
        if spherical:
            alpha, beta = np.broadcast_to(alpha, (k, c)), np.broadcast_to(beta, (k, c))
            return np.repeat(2 * beta[:, :, None] / d, d, axis=2), 1 + 2 * (alpha + 1) / d
        if alpha.ndim == 3 and (alpha != alpha[..., :1]).any():
            raise InvalidInputError("covars_prior of diagonal covariances must be the same for all columns.")
        of_components = alpha[..., 0] if alpha.ndim == 3 else alpha
        return np.broadcast_to(2 * beta, (k, c, d)).copy(), np.broadcast_to(1 + 2 * (of_components + 1), (k, c)).copy()

    def _publish_emission(self, emission: StateMixtures) -> None:
        shape = (-1, self.n_mix)
        gaussian = emission.components
        self.weights_ = self._spread(emission.weights.log_probabilities.exp().numpy())
        means = gaussian.means.numpy() * self._scale + self._center
        self.means_ = self._spread(means.reshape(*shape, means.shape[1]))
        found = gaussian.covariance.covariances().numpy() * self._scale**2
        found = self._spread(found.reshape(*shape, *found.shape[1:]))
        self.covars_ = self._kind.writing.written(found[:, 0] if self._kind.shared else found)

    def _emission_attributes(self) -> tuple[str, ...]:
        return ("weights_", "means_", "covars_")

    def _check_emission(self) -> None:
        kind = self._kind
        self.weights_, self.means_ = np.asarray(self.weights_, dtype=float), np.asarray(self.means_, dtype=float)
        self.covars_ = np.asarray(self.covars_, dtype=float)
        k, c, d = self.n_components, self.n_mix, self.means_.shape[-1]
        self.n_features = d
        require_shape("weights_", self.weights_, (k, c))
        require_distributions("weights_", self.weights_)
        require_shape("means_", self.means_, (k, c, d))
        require_shape("covars_", self.covars_, kind.shape((k, c), d))
        kind.require_definite(self.covars_)

    def _n_columns(self) -> int:
        return self.means_.shape[2]

    def _n_emission_scalars(self) -> dict[str, int]:
        groups, c, d = len(self._representatives()), self.n_mix, self._n_columns()
        of_covariances = groups * (1 if self._kind.shared else c) * self._kind.writing.n_free(d)
        return {"m": groups * c * d, "c": of_covariances, "w": groups * (c - 1)}

    def _draw(self, state: int, rng: np.random.RandomState) -> np.ndarray:
        component = rng.choice(self.n_mix, p=self.weights_[state])
        return rng.multivariate_normal(
            self.means_[state, component], self._matrices(np.arange(self.n_components))[state * self.n_mix + component]
        )

    def _means(self) -> np.ndarray:
        return np.einsum("kc,kcd->kd", self.weights_, self.means_)

    def _quantiles_ahead(self, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
        d = self.means_.shape[2]
        of_components = (weights[:, :, None] * self.weights_).reshape(len(weights), -1)
        variances = np.diagonal(self._matrices(np.arange(self.n_components)), axis1=1, axis2=2)
        return emissions.quantiles(of_components, self.means_.reshape(-1, d), np.sqrt(variances), levels)

    def _distribution_ahead(self, weights: Tensor, ahead: Ahead, n_paths: int) -> Distribution:
        shares = (weights[:, :, None] * torch.as_tensor(self.weights_)).flatten(1)
        covariances = torch.as_tensor(self._matrices(np.arange(self.n_components)))
        return mixture(shares, MultivariateNormal(torch.as_tensor(self.means_).flatten(0, 1), covariances))
