"""Hidden Markov models whose states emit Gaussian rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from emnet.algorithms.base import Callback
from emnet.estimators import gaussian_emissions as emissions
from emnet.estimators.column_count import ColumnCount
from emnet.estimators.covariance_kinds import CovarianceKind, covariance_kind
from emnet.estimators.distributions import mixture
from emnet.estimators.forecasts import Ahead
from emnet.estimators.markov_fit import LearningMarkov
from emnet.estimators.markov_use import require_shape
from emnet.estimators.standardize import center_and_scale
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_priors import StatePriors
from emnet.models.semi_markov import MarkovModel


class GaussianHMM(ColumnCount, LearningMarkov):
    """A hidden path of states, each of which emits Normal(x; m_k, Σ_k); hmmlearn's interface, for rows with holes.

    What hmmlearn's class of this name has, this one has with the same meaning, and from the same start the same
    parameters. Beyond it: NaN is a missing value, integrated out exactly; sequences may have weights and rows known
    states; transitions may be held fixed; states may share what they emit; likelihoods that underflow change nothing.

    Parameters
    ----------
    n_components : k.
    covariance_type : "spherical", "diag", "full" or "tied".
    min_covar : added to the diagonal of the starting covariances, and of those that an M-step leaves singular.
    startprob_prior, transmat_prior : concentrations of Dirichlet priors, at least 1: numbers, (k,) and (k, k).
    means_prior, means_weight : mean and weight, in rows, of a Normal prior on the means.
    covars_prior, covars_weight : of an inverse gamma or inverse Wishart prior on the covariances, as hmmlearn has it.
    algorithm : of `decode` and `predict`, "viterbi" or "map".
    random_state : seed or generator; draws are those of hmmlearn.
    n_iter, tol : EM ends after so many iterations, or when the log-likelihood rises by less.
    verbose : print the iterations to standard error.
    params, init_params : the letters of what EM changes, and of what is started anew: s(tart), t(ransitions), m(eans),
        c(ovariances).
    implementation : "log" or "scaling", as hmmlearn has them. Here both name the same exact kernel.
    fixed : names of what EM leaves as it is: "startprob", "transmat", "means", "covars".
    fixed_transitions : (k, k) of booleans, which entries of `transmat_` stay. Those that are 0 always do.
    shared_states : for each state the number of its group, from 0: states of a group emit alike.
    max_duration : None: how long a state lasts is geometric. D: explicit durations, a hidden semi-Markov model. A state
        lasts 1 … D rows by its row of `durations_`, and then another one follows: `transmat_` has 0 on its diagonal.
    duration_prior : concentration of the Dirichlet priors on `durations_`, at least 1: a number, (D,) or (k, D).
    censored : whether the end of a sequence may cut its last duration off; if not, a state ends with every sequence.
    n_init : starts, of which the best is kept.
    callbacks : called as callback(model, iteration) after every E-step; True ends the run.
    dtype : "float64", or "float32" for rows and likelihoods; paths, statistics and M-steps are in float64 all the same.
    device : a PyTorch device, or "auto" for a GPU when there is one.

    Attributes
    ----------
    startprob_, transmat_, means_, covars_, monitor_, n_features : as in hmmlearn.
    durations_ : (k, D), p(duration | state), with `max_duration`.
    expected_durations_ : (k,), rows that a state lasts.
    log_evidence_ : log p of the weighted sequences at the last E-step, in nats.
    history_, n_iter_, converged_, reason_, fits_ : of the best start, and of all.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.
    CollapsedComponentError : a covariance is not positive definite; names the state.

    Examples
    --------
    >>> X = np.array([[0.1], [-0.2], [0.1], [5.2], [np.nan], [4.9], [0.0]])
    >>> model = GaussianHMM(2, random_state=0).fit(X, lengths=[5, 2])
    >>> path = model.predict(X, [5, 2])
    >>> (path[[0, 1, 2, 3, 5, 6]] == path[0]).tolist()  # without the hole, of which the transitions decide
    [True, True, True, False, False, True]
    """

    _letters = {"s": "startprob", "t": "transmat", "m": "means", "c": "covars"}  # noqa: RUF012
    _apart = "means_"

    means_: np.ndarray

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: str = "diag",
        min_covar: float = 1e-3,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        means_prior: Any = 0,
        means_weight: Any = 0,
        covars_prior: Any = 1e-2,
        covars_weight: float = 1,
        algorithm: str = "viterbi",
        random_state: int | np.random.RandomState | None = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "stmc",
        init_params: str = "stmc",
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
        self.covariance_type = covariance_type
        self.min_covar = min_covar
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.means_prior = means_prior
        self.means_weight = means_weight
        self.covars_prior = covars_prior
        self.covars_weight = covars_weight
        self.algorithm = algorithm
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

    @property
    def covars_(self) -> np.ndarray:
        """Σ of every state, (k, d, d); set in the shape of the covariance type."""
        d = self.means_.shape[1] if hasattr(self, "means_") else self.n_features
        return np.broadcast_to(self._kind.writing.matrices(self._covars_, d), (self.n_components, d, d)).copy()

    @covars_.setter
    def covars_(self, covars: Any) -> None:
        self._covars_ = self._kind.require(covars, self.n_components)

    @property
    def _kind(self) -> CovarianceKind:
        return covariance_kind(self.covariance_type)

    # -- the emission -----------------------------------------------------------------------------------------------

    def _start_emission(self, X: np.ndarray) -> None:
        if self._needs_init("m", "means_"):
            self.means_ = emissions.clusters(emissions.filled(X), self.n_components, self._seed).cluster_centers_
        if self._needs_init("c", "_covars_"):
            one = self._kind.writing.start(emissions.spread(X, self.min_covar))
            self.covars_ = np.broadcast_to(one, self._kind.shape((self.n_components,), X.shape[1]))

    def _measure(self, X: np.ndarray) -> None:
        self._center, self._scale = center_and_scale(X, None)

    def _is_monotone(self) -> bool:
        return self._kind.writing.diagonal or self.min_covar == 0

    def _warn_of_lifted(self, model: MarkovModel) -> None:
        emissions.warn_of_lifted(model, self.min_covar)

    def _emission(self, learning: bool) -> Any:
        own = self._representatives()
        means = torch.as_tensor((self.means_[own] - self._center) / self._scale)
        covariances = torch.as_tensor(self.covars_[own] / self._scale**2)
        return self._grouped(
            Gaussian(
                means,
                self._kind.structure(covariances),
                prior=self._prior(own) if learning else None,
                floor=self.min_covar / self._scale**2,
                fixed={name for letter, name in (("m", "means"), ("c", "covariances")) if not self._learns(letter)},
            )
        )

    def _prior(self, own: np.ndarray) -> StatePriors:
        """hmmlearn's: Σ = (Ψ + κ (m − mean)(m − mean)ᵀ + scatter) / (max(covars_weight − 1 or d, 0) + rows)."""
        k, d = self.means_.shape
        diagonal, shared = self._kind.writing.diagonal, self._kind.shared
        wanted = (k, d) if diagonal else (1, d, d) if shared else (k, d, d)
        given = np.asarray(self.covars_prior, dtype=float)
        if self._kind.writing.n_axes == 0 and given.ndim == 1:
            given = given[:, None]
        scale = np.broadcast_to(given, wanted) / self._scale**2
        count = max(float(self.covars_weight) - (1 if diagonal else d), 0.0)
        weight = np.broadcast_to(np.asarray(self.means_weight, dtype=float).reshape(-1), (k,))
        mean = np.broadcast_to(emissions.by_state(self.means_prior), (k, d))
        return StatePriors(
            _tensor(scale if shared else scale[own]),
            torch.full((1 if shared else len(own),), count, dtype=torch.float64),
            _tensor((mean[own] - self._center) / self._scale),
            _tensor(weight[own]),
        )

    def _publish_emission(self, emission: Gaussian) -> None:
        self.means_ = self._spread(emission.means.numpy() * self._scale + self._center)
        found = self._spread(emission.covariance.covariances().numpy() * self._scale**2)
        self._covars_ = self._kind.writing.written(found[0] if self._kind.shared else found)

    def _emission_attributes(self) -> tuple[str, ...]:
        return ("means_", "_covars_")

    def _check_emission(self) -> None:
        kind = self._kind
        self.means_ = np.asarray(self.means_, dtype=float)
        self.n_features = self.means_.shape[-1]
        k, d = self.n_components, self.n_features
        require_shape("means_", self.means_, (k, d))
        require_shape("covars_", self._covars_, kind.shape((k,), d))

    def _n_columns(self) -> int:
        return self.means_.shape[1]

    def _n_emission_scalars(self) -> dict[str, int]:
        groups, d = len(self._representatives()), self._n_columns()
        return {"m": groups * d, "c": (1 if self._kind.shared else groups) * self._kind.writing.n_free(d)}

    def _draw(self, state: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.multivariate_normal(self.means_[state], self.covars_[state])

    def _means(self) -> np.ndarray:
        return self.means_

    def _quantiles_ahead(self, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
        deviations = np.sqrt(np.diagonal(self.covars_, axis1=1, axis2=2))
        return emissions.quantiles(weights, self.means_, deviations, levels)

    def _distribution_ahead(self, weights: Tensor, ahead: Ahead, n_paths: int) -> Distribution:
        return mixture(weights, MultivariateNormal(_tensor(self.means_), _tensor(self.covars_)))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(np.ascontiguousarray(values), dtype=torch.float64)
