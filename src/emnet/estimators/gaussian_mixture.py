"""Gaussian mixtures as a scikit-learn estimator."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from emnet import serialization
from emnet.algorithms.base import Callback, Fit, Reason, run
from emnet.batch import Batch, total_weight
from emnet.estimators import gaussian_parameters, mixture_start, options
from emnet.estimators.gaussian_parameters import gaussian_of
from emnet.estimators.gaussian_use import FittedGaussianMixture
from emnet.estimators.history import as_dict, fit_from_json, fit_to_json
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.mixture_report import Printer, shifted, warn_of_collapse, warn_of_failed_starts
from emnet.estimators.standardize import center_and_scale
from emnet.estimators.stopping import MeanGain
from emnet.estimators.validation import (
    require_callbacks,
    require_not_negative,
    require_one_of,
    require_positive_integer,
)
from emnet.exceptions import CollapsedComponentError, DegenerateFitError, FitInterrupted, InvalidInputError
from emnet.factors.gaussian import Gaussian, NormalInverseWishart
from emnet.factors.tables import MixingWeights
from emnet.inference.exact import Exact
from emnet.models.mixture import Mixture
from emnet.posteriors import Discrete, EvidenceKind

_FIXABLE = ("weights", "means", "covariances")


class GaussianMixture(FittedGaussianMixture):
    """p(x) = Σ_k w_k Normal(x; m_k, Σ_k), with scikit-learn's interface, for tables with holes, weights and labels.

    What scikit-learn's class of this name has, this one has with the same meaning, and from the same start the same
    parameters. Beyond it: NaN is a missing value, integrated out exactly (Ghahramani & Jordan 1994); rows may have
    weights and known or partly known components; parameters may be held fixed or have priors.

    Parameters
    ----------
    n_components : k.
    covariance_type : "full", "tied", "diag" or "spherical"; "factor", mixtures of factor analysers with `n_factors`
        factors; or one of the parsimonious families of Celeux & Govaert 1995 as mclust names them, volume, shape and
        orientation each Equal, Varying or the Identity: EII, VII, EEI, VEI, EVI, VVI, EEE, VEE, EVE, VVE, EEV, VEV,
        EVV, VVV.
    n_factors : of "factor".
    tol : EM ends when the mean log-likelihood of a row changes by less.
    reg_covar : added to the diagonal of covariances in every M-step.
    max_iter : M-steps at most; with 0 the parameters stay at the start.
    n_init : starts, of which the best is kept.
    init_params : "kmeans", "k-means++", "random" or "random_from_data".
    weights_init, means_init, precisions_init : starts that are given, in the shapes of `weights_`, `means_`,
        `precisions_`.
    random_state : seed or generator; draws are those of scikit-learn.
    warm_start : go on from the last fit's parameters.
    verbose, verbose_interval : 1 prints the iterations, 2 also changes and times; every so many.
    algorithm : "em", or "squarem", which is accelerated and ends at the same kind of maximum on another way.
    prior : None; "auto", a weak data-dependent Normal-inverse-Wishart (Fraley & Raftery 2007), which keeps components
        from collapsing; or a `NormalInverseWishart` in the units of the data.
    weight_concentration : α ≥ 1 of a Dirichlet prior on the weights, a number or one for each component.
    fixed : which of "weights", "means", "covariances" keep their start, given by `…_init`.
    labels : when `fit` uses `y`. "auto": where it says what is known of components, that is where it is (n, k), or
        has −1 for unknown. True: always. False: never. Scikit-learn's mixtures ignore y.
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

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit by EM from `n_init` starts and keep the best.

        Parameters
        ----------
        X : (n, d); NaN is a missing value.
        y : what is known of the rows' components: see `labels`.
        sample_weight : (n,), how many rows each row counts for.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            X = self._check_rows(X, reset=True)
            if len(X) < self.n_components:
                raise InvalidInputError(
                    f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                    f"n_samples = {len(X)}"
                )
            self._require_something_in_each_column(X)
            labels = self._check_labels(y, len(X))
            weights = self._check_weights(sample_weight, X)
            if weights is not None and (weights == 0).any():
                seen = weights > 0
                X, weights, labels = X[seen], weights[seen], None if labels is None else labels[seen]
            with options.few_threads(X.size * self.n_components):
                return self._fit(X, weights, labels)

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit, and give each row's most probable component, (n,): the same as `fit(X).predict(X)`."""
        return self.fit(X, y, sample_weight).predict(X)

    def _fit(self, X: np.ndarray, weights: np.ndarray | None, labels: np.ndarray | None) -> Self:
        continues = self.warm_start and hasattr(self, "converged_") and self.means_.shape[1] == X.shape[1]
        if not continues:
            self._center, self._scale = center_and_scale(X, weights)
        data = list(self._batches(X, weights, labels))
        rng = check_random_state(self.random_state)
        before = self.lower_bound_ if continues else -np.inf
        self.converged_, best = False, -np.inf
        self.fits_: list[Fit] = []
        failures: list[CollapsedComponentError] = []
        self._log_scale = self._log_scale_of(X, weights)
        n_init = 1 if continues else self.n_init
        for number in range(n_init):
            try:
                model = self._learnable(data) if continues else self._start(X, data, rng, weights, labels)
                best = self._run(model, data, before, best, number)
            except CollapsedComponentError as error:
                if number == n_init - 1 and len(failures) == number:
                    raise
                failures.append(error)
        warn_of_failed_starts(failures, n_init)
        self._warn(data)
        return self

    def _run(self, model: Mixture, data: list[Batch], before: float, best: float, number: int) -> float:
        """One start; its parameters are published if its objective is the best so far, which is returned."""
        rows = total_weight(data)
        printer = Printer(self.verbose, self.verbose_interval, number)
        if self.max_iter == 0:
            self._publish(model, None, rows)
            return best
        rule = MeanGain(self.tol, self.max_iter, rows, before + self._log_scale / rows, printer.iteration)
        try:
            fit = run(
                model,
                data,
                options.choose_mixture_algorithm(self.algorithm),
                inference=Exact(),
                max_iter=self.max_iter,
                tol=-1.0,  # the rule below is scikit-learn's
                callbacks=[*self.callbacks, rule],
                monotone=self.reg_covar == 0 and self.dtype == "float64",
            )
        except (FitInterrupted, DegenerateFitError) as end:
            if end.fit is not None and end.fit.history and not self.fits_:
                self._publish(model, end.fit, rows)
                self.converged_ = False
            raise
        if rule.parameters is not None and fit.reason is Reason.STOPPED:
            model.set_coordinates(rule.parameters)
        if fit.reason is Reason.STOPPED and (rule.converged or len(fit.history) >= self.max_iter):
            fit = replace(fit, reason=Reason.CONVERGED if rule.converged else Reason.MAX_ITER)
        printer.end(fit)
        reached = fit.last.objective
        if reached > best or best == -np.inf:
            self._publish(model, fit, rows)
            best = reached
        self.fits_.append(fit)
        return best

    def _start(
        self,
        X: np.ndarray,
        data: list[Batch],
        rng: np.random.RandomState,
        weights: np.ndarray | None,
        labels: np.ndarray | None,
    ) -> Mixture:
        """The model after an M-step on the starting responsibilities, with what `…_init` gives in its place."""
        d = X.shape[1]
        if self._all_given():
            covariances = self._given_covariances(d)
            return self._mixture(self._given_weights(), self._given_means(d), covariances, data)
        found = mixture_start.start(self.init_params, X, self.n_components, rng, weights, labels)
        k, variances = self.n_components, _variances(data)
        first = self._mixture(
            np.full(k, 1 / k), np.zeros((k, d)), variances.diag_embed().expand(k, d, d), data, fixed=()
        )
        statistics, done = None, 0
        for batch in data:
            part = torch.as_tensor(
                found[done : done + len(batch)], dtype=batch.target.dtype, device=batch.target.device
            )
            done += len(batch)
            one = first.statistics(batch, Discrete(part.new_zeros(len(part)), EvidenceKind.EXACT, part))
            statistics = one if statistics is None else statistics + one
        assert statistics is not None
        if self.precisions_init is not None:
            first.weights.maximize(statistics["weights"])
            moments: Any = statistics["emission"]
            gaussian_of(first).means.data.copy_(moments.origin + moments.first / moments.counts[:, None])
        else:
            first.m_step(statistics)
        emission = gaussian_of(first)
        return self._mixture(
            first.weights.log_probabilities.exp().cpu().numpy() if self.weights_init is None else self._given_weights(),
            emission.means.cpu() if self.means_init is None else self._given_means(d),
            emission.covariance.covariances() if self.precisions_init is None else self._given_covariances(d),
            data,
        )

    def _learnable(self, data: list[Batch]) -> Mixture:
        """The fitted parameters as a model that can go on learning."""
        fitted = gaussian_of(self._fitted_model())
        return self._mixture(self.weights_, fitted.means, fitted.covariance.covariances(), data)

    def _mixture(
        self,
        weights: Any,
        means: Any,
        covariances: torch.Tensor,
        data: list[Batch],
        fixed: Collection[str] | None = None,
    ) -> Mixture:
        fixed = self.fixed if fixed is None else fixed
        structure = options.choose_covariance(self.covariance_type, covariances.cpu(), self.n_factors)
        emission = Gaussian(
            torch.as_tensor(means),
            structure,
            prior=self._prior(data),
            reg_covar=self.reg_covar / self._scale**2,
            fixed=set(fixed) - {"weights"},
        )
        concentration = torch.as_tensor(self.weight_concentration, dtype=torch.float64)
        mixing = MixingWeights(torch.as_tensor(weights), concentration=concentration, fixed="weights" in fixed)
        return Mixture(mixing, emission).to(data[0].target.device)

    def _prior(self, data: list[Batch]) -> NormalInverseWishart | None:
        if self.prior is None or isinstance(self.prior, NormalInverseWishart):
            prior = self.prior
            if prior is None:
                return None
            mean = None if prior.mean is None else (prior.mean - torch.as_tensor(self._center)) / self._scale
            return replace(prior, scale=prior.scale / self._scale**2, mean=mean)
        variances = _variances(data)
        d = len(variances)
        scale = variances.diag_embed() / self.n_components ** (2 / d)
        return NormalInverseWishart(scale, d + 2, torch.zeros_like(variances), 0.01)

    # -- what was fitted --------------------------------------------------------------------------------------------

    def _publish(self, model: Mixture, fit: Fit | None, rows: float) -> None:
        """Set the attributes from a start's parameters and record."""
        parameters = gaussian_parameters.published(model, self.covariance_type, self._center, self._scale)
        for name, value in parameters.items():
            setattr(self, name, value)
        self._n_free = _n_free(model)
        self._record(fit, rows)

    def _record(self, fit: Fit | None, rows: float) -> None:
        """Set the attributes that tell of a run, None of none."""
        if fit is None:
            self.converged_ = False
            self.n_iter_, self.lower_bound_, self.lower_bounds_, self.history_ = 0, -np.inf, [], []
            self.reason_, self.log_evidence_ = str(Reason.MAX_ITER), float("nan")
            return
        self.converged_, self.reason_, self.n_iter_ = fit.converged, str(fit.reason), len(fit.history)
        self.lower_bounds_ = [(line.log_evidence - self._log_scale) / rows for line in fit.history]
        self.lower_bound_ = self.lower_bounds_[-1]
        self.history_ = [shifted(as_dict(line), -self._log_scale) for line in fit.history]
        self.log_evidence_ = fit.last.log_evidence - self._log_scale

    def _warn(self, data: list[Batch]) -> None:
        if self.max_iter == 0:
            return
        if self.prior is None and self.covariance_type not in gaussian_parameters.TIED:
            counts = self.weights_ * total_weight(data)
            warn_of_collapse(counts, self.covariances_, self.reg_covar)
        if not self.converged_ and self.reason_ == Reason.MAX_ITER:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or increase max_iter, "
                "tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=4,
            )

    # -- input ------------------------------------------------------------------------------------------------------

    def _require_something_in_each_column(self, X: np.ndarray) -> None:
        empty = np.flatnonzero(np.isnan(X).all(axis=0))
        if len(empty):
            names = getattr(self, "feature_names_in_", None)
            column = f"Column {empty[0]}" if names is None else f"Column {names[empty[0]]!r}"
            raise InvalidInputError(f"{column} has nothing but NaN: there is nothing to learn of it. Leave it out.")

    def _check_weights(self, sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not (weights > 0).any():
            raise InvalidInputError("All sample weights are zero: there is nothing to fit.")
        return weights

    def _check_labels(self, y: Any, n: int) -> np.ndarray | None:
        if y is None or self.labels is False:
            return None
        y = np.asarray(y)
        partial = y.shape == (n, self.n_components) and self.n_components > 1 and y.dtype.kind == "f"
        unknown = y.ndim == 1 and y.dtype.kind in "iu" and bool((y == -1).any())
        if self.labels == "auto" and not (partial or unknown):
            return None
        return mixture_start.require_labels(y, n, self.n_components)

    def _log_scale_of(self, X: np.ndarray, weights: np.ndarray | None) -> float:
        """What scaling adds to the log evidence of the data: log scale for each weighted cell."""
        if self._scale == 1.0:
            return 0.0
        cells = (~np.isnan(X)).sum(axis=1)
        return float(np.log(self._scale) * (cells.sum() if weights is None else cells @ weights))

    def _all_given(self) -> bool:
        return all(value is not None for value in (self.weights_init, self.means_init, self.precisions_init))

    def _given_weights(self) -> np.ndarray:
        return gaussian_parameters.require_weights(self.weights_init, self.n_components)

    def _given_means(self, d: int) -> np.ndarray:
        means = gaussian_parameters.require_means(self.means_init, self.n_components, d)
        return (means - self._center) / self._scale

    def _given_covariances(self, d: int) -> torch.Tensor:
        return gaussian_parameters.covariances_of_precisions(
            self.precisions_init, self.covariance_type, self.n_components, d, self._scale
        )

    def _check_parameters(self) -> None:
        for name in ("n_components", "n_init", "verbose_interval"):
            require_positive_integer(name, getattr(self, name))
        for name in ("tol", "reg_covar"):
            require_not_negative(name, getattr(self, name))
        if not isinstance(self.max_iter, Integral) or isinstance(self.max_iter, bool) or self.max_iter < 0:
            raise InvalidInputError(f"max_iter must be a whole number of at least 0; got {self.max_iter!r}.")
        require_one_of("covariance_type", self.covariance_type, options.COVARIANCE_TYPES)
        require_positive_integer("n_factors", self.n_factors)
        require_one_of("init_params", self.init_params, tuple(mixture_start.STARTS))
        require_one_of("labels", self.labels, ("auto", True, False))
        require_one_of("dtype", self.dtype, tuple(options.DTYPES))
        if not isinstance(self.prior, NormalInverseWishart):
            require_one_of("prior", self.prior, (None, "auto"), "a NormalInverseWishart")
        for name in self.fixed:
            require_one_of("fixed", name, _FIXABLE)
            given = "precisions_init" if name == "covariances" else f"{name}_init"
            if getattr(self, given) is None and not (self.warm_start and hasattr(self, "converged_")):
                raise InvalidInputError(f"fixed names {name!r}: give the values they are to keep as {given}.")
        require_callbacks(self.callbacks)
        options.choose_device(self.device)
        options.choose_mixture_algorithm(self.algorithm)

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks are not kept."""
        check_is_fitted(self)
        serialization.save(self, path)

    def _to_state(self) -> serialization.State:
        parameters = {k: options.to_json(v) for k, v in self.get_params(deep=False).items() if k != "callbacks"}
        if not isinstance(self.random_state, Integral):
            parameters["random_state"] = None
        manifest = {
            "parameters": parameters,
            "features": list(getattr(self, "feature_names_in_", [])),
            "fits": [fit_to_json(fit) for fit in self.fits_],
            "scale": self._scale,
            "log_scale": self._log_scale,
            "n_free": self._n_free,
        }
        names = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
        return manifest, {"center": self._center, **{name: np.asarray(getattr(self, name)) for name in names}}

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self = cls(**{k: options.from_json(v) for k, v in manifest["parameters"].items()})
        self.device = options.device_at_hand(self.device)
        self._check_parameters()
        k, d = tensors["means_"].shape
        shapes = {"tied": (d, d), "EEE": (d, d), "spherical": (k,)}
        matrix = (k, d) if self.covariance_type in gaussian_parameters.DIAGONAL else (k, d, d)
        shape = shapes.get(self.covariance_type, matrix)
        expected = {"center": (d,), "weights_": (k,), "means_": (k, d)}
        expected |= dict.fromkeys(("covariances_", "precisions_", "precisions_cholesky_"), shape)
        for name, wanted in expected.items():
            if tensors[name].shape != wanted or not np.isfinite(tensors[name]).all():
                raise ValueError(f"tensor {name!r} should be finite and of shape {wanted}")
            setattr(self, "_center" if name == "center" else name, tensors[name])
        if k != self.n_components or (manifest["features"] and len(manifest["features"]) != d):
            raise ValueError(f"{k} components and {d} features are not those of the parameters")
        self._scale, self._log_scale = float(manifest["scale"]), float(manifest["log_scale"])
        self._n_free, self.n_features_in_ = int(manifest["n_free"]), d
        if manifest["features"]:
            self.feature_names_in_ = np.array(manifest["features"], dtype=object)
        self.fits_ = [fit_from_json(record) for record in manifest["fits"]]
        best = max(self.fits_, key=lambda fit: fit.last.objective, default=None)
        self._record(best, best.rows if best else 1.0)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _n_free(model: Mixture) -> int:
    """Free parameters, as information criteria count them."""
    return gaussian_of(model).n_parameters + (0 if model.weights.fixed else model.weights.n_states - 1)


def _variances(data: list[Batch]) -> torch.Tensor:
    """Mean square of what is there of each column, of centred data, (d,); 1 of a column of zeros."""
    total, mass = torch.zeros(()), torch.zeros(())
    for batch in data:
        seen = (~batch.target.isnan()).double()
        share = seen if batch.weights is None else seen * batch.weights[:, None]
        total = total + (share * batch.target.nan_to_num(0.0).double().square()).sum(0)
        mass = mass + share.sum(0)
    variances = total / mass
    return torch.where(variances > 0, variances, 1.0)
