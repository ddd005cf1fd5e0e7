"""Gaussian mixtures as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Self

import numpy as np

from emnet import serialization
from emnet.algorithms.base import Callback
from emnet.estimators import gaussian_parameters, options
from emnet.estimators.description import as_described, described, name_features
from emnet.estimators.gaussian_fit import LearningGaussianMixture
from emnet.estimators.history import fit_from_json, fit_to_json
from emnet.estimators.mixture_selection import Selection, select
from emnet.estimators.validation import (
    require_not_negative,
    require_one_of,
    require_positive_integer,
)
from emnet.factors.gaussian_priors import NormalInverseWishart

_FIXABLE = ("weights", "means", "covariances")


class GaussianMixture(LearningGaussianMixture):
    """p(x) = Σ_k w_k Normal(x; m_k, Σ_k), with scikit-learn's interface, for tables with holes, weights and labels.

    What scikit-learn's class of this name has, this one has with the same meaning, and from the same start the same
    parameters. Beyond it: NaN is a missing value, integrated out exactly (Ghahramani & Jordan 1994); rows may have
    weights and known or partly known components; parameters may be held fixed or have priors.

    Parameters
    ----------
    n_components : k.
    covariance_type : "full", "tied", "diag" or "spherical"; "factor", mixtures of factor analyzers with `n_factors`
        factors; or one of the parsimonious families of Celeux & Govaert 1995 as mclust names them, volume, shape and
        orientation each Equal, Varying or the Identity: EII, VII, EEI, VEI, EVI, VVI, EEE, VEE, EVE, VVE, EEV, VEV,
        EVV, VVV.
    n_factors : of "factor".
    tol : EM ends when the mean log-likelihood of a row changes by less.
    reg_covar : added to the diagonal of covariances in every M-step. A warning names the components that have no other
        variance along some direction, and the columns beside whose variance it is not small.
    max_iter : M-steps at most; with 0 the parameters stay at the start.
    n_init : starts, of which the best is kept.
    init_params : "kmeans", "k-means++", "random" or "random_from_data"; where labels tell of components, k-means.
        After "k-means++" and "random_from_data", which take one row for each component, scikit-learn's weights add up
        to k/n before its first step, and its tied covariance is that of all rows about 0; here they add up to 1, and it
        is about the means. So the first of `lower_bounds_` is about log(n/k) higher, and "tied" takes another way.
    weights_init, means_init, precisions_init : starts that are given, in the shapes of `weights_`, `means_`,
        `precisions_`.
    random_state : seed or generator; draws are those of scikit-learn.
    warm_start : go on from the last fit's parameters.
    verbose, verbose_interval : 1 prints the iterations, 2 also changes and times; every so many.
    algorithm : "em"; "squarem", which is accelerated and ends at the same kind of maximum on another way; or, against
        bad optima, "annealing" or "split_merge", which never end below "em"; batch by batch, for streams, "online"
        (stepwise) or "incremental", which take `max_iter` passes; or an object of those.
    prior : None; "auto", a weak data-dependent Normal-inverse-Wishart (Fraley & Raftery 2007), which keeps components
        from collapsing; or a `NormalInverseWishart` in the units of the data.
    weight_concentration : α ≥ 1 of a Dirichlet prior on the weights, a number or one for each component.
    fixed : which of "weights", "means", "covariances" keep their start, given by `…_init`.
    labels : when `fit` uses `y`. "auto": where it says what is known of components, that is where it is (n, k) numbers:
        what multiplies the components' probabilities; or whole numbers, (n,), with −1 for unknown, unless they are −1
        and 1 alone, two classes. True: always, as is the target of a stream with "auto" too. False: never. What is
        known names the components. Scikit-learn's mixtures ignore y.
    dtype : of densities and responsibilities, "float64" or "float32"; moments and parameters are float64.
    device : a PyTorch device, or "auto" for a GPU when there is one.
    callbacks : called as callback(model, iteration) after every E-step; True ends the run.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_, converged_, n_iter_, lower_bound_,
    lower_bounds_, n_features_in_, feature_names_in_ : as in scikit-learn.
    log_evidence_ : Σ_j weight_j log p(x_j) at the last E-step, in nats.
    history_ : its course: a dict an iteration, with the seconds since the start.
    reason_ : why the best start ended: "converged", "max_iter", "stopped", "interrupted", "degenerate", "decreased".
    fits_ : the records of all starts.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.
    CollapsedComponentError : a covariance is not positive definite; names the component.

    Examples
    --------
    >>> X = np.array([[1, 2], [1, 4], [1, np.nan], [10, 2], [10, 4], [10, 0]])
    >>> model = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> model.predict([[0, 0], [12, np.nan]]).tolist() == model.predict([[1, 2], [10, 2]]).tolist()
    True
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        n_factors: int = 1,
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        algorithm: str = "em",
        prior: str | NormalInverseWishart | None = None,
        weight_concentration: Any = 1.0,
        fixed: Collection[str] = (),
        labels: str | bool = "auto",
        dtype: str = "float64",
        device: str = "auto",
        callbacks: Iterable[Callback] = (),
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.n_factors = n_factors
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.algorithm = algorithm
        self.prior = prior
        self.weight_concentration = weight_concentration
        self.fixed = fixed
        self.labels = labels
        self.dtype = dtype
        self.device = device
        self.callbacks = callbacks

    # -- training ---------------------------------------------------------------------------------------------------

    def select(
        self,
        X: Any,
        n_components: int | Iterable[int] = range(1, 10),
        covariance_types: str | Iterable[str] = ("full", "tied", "diag", "spherical"),
        criterion: str = "bic",
        sample_weight: Any = None,
    ) -> Selection:
        """Fit all pairs of those parameters, the others as here; see `Selection` for the table and the best model.

        Parameters
        ----------
        X : (n, d), or an `emnet.stream`.
        n_components, covariance_types : what to try.
        criterion : "bic", "icl" or "aic"; the lowest is the best.
        sample_weight : (n,), how many rows each row counts for.
        """
        grid = {"covariance_type": covariance_types, "n_components": n_components}
        return select(self, (X,), grid, criterion, sample_weight=sample_weight)

    def _check_parameters(self) -> None:
        self._check_common_parameters()
        require_not_negative("reg_covar", self.reg_covar)
        require_one_of("covariance_type", self.covariance_type, options.COVARIANCE_TYPES)
        require_positive_integer("n_factors", self.n_factors)
        if not isinstance(self.prior, NormalInverseWishart):
            require_one_of("prior", self.prior, (None, "auto"), "a NormalInverseWishart")
        for name in self.fixed:
            require_one_of("fixed", name, _FIXABLE)

    # -- files ------------------------------------------------------------------------------------------------------

    def _to_state(self) -> serialization.State:
        manifest = {
            **described(self),
            "fits": [fit_to_json(fit) for fit in self.fits_],
            "scale": self._scale,
            "log_scale": self._log_scale,
            "n_free": self._n_free,
            "rows_seen": self._rows_seen,
        }
        names = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
        return manifest, {"center": self._center, **{name: np.asarray(getattr(self, name)) for name in names}}

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self: Self = as_described(cls, manifest)
        self._check_parameters()
        k, d = tensors["means_"].shape
        shape = gaussian_parameters.shape_of_precisions(self.covariance_type, k, d)
        expected = {"center": (d,), "weights_": (k,), "means_": (k, d)}
        expected |= dict.fromkeys(("covariances_", "precisions_", "precisions_cholesky_"), shape)
        for name, wanted in expected.items():
            if tensors[name].shape != wanted or not np.isfinite(tensors[name]).all():
                raise ValueError(f"tensor {name!r} should be finite and of shape {wanted}")
            setattr(self, "_center" if name == "center" else name, tensors[name])
        if k != self.n_components:
            raise ValueError(f"{k} components are not those of the parameters")
        name_features(self, manifest, d)
        self._scale, self._log_scale = float(manifest["scale"]), float(manifest["log_scale"])
        self._n_free, self._fitted_type = int(manifest["n_free"]), self.covariance_type
        self._rows_seen, self._online = float(manifest["rows_seen"]), None
        self.fits_ = [fit_from_json(record) for record in manifest["fits"]]
        best = max(self.fits_, key=lambda fit: fit.last.objective, default=None)
        self._record(best, best.rows if best else 1.0)
        return self
