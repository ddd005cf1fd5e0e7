"""Factor analysis as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from emnet.estimators.linear_gaussian_fit import LearningLinearGaussian
from emnet.estimators.rotation import canonical, simplified
from emnet.estimators.validation import require_one_of
from emnet.exceptions import HeywoodCaseWarning, InvalidInputError
from emnet.factors.least_squares import ConjugatePrior
from emnet.warning import warn

_HEYWOOD = 1e-5  # of a column's variance: less noise than that is as good as none


class FactorAnalysis(LearningLinearGaussian):
    """x = m + Λz + ε, z ~ Normal(0, I), ε ~ Normal(0, Ψ) with a variance for each column, for tables with holes.

    What scikit-learn's class of this name has, this one has with the same meaning, but for what says how scikit-learn
    computes (`svd_method`, `iterated_power`, `copy`). Beyond it: NaN is a missing value, integrated out exactly; rows
    may have weights; the noise may be held fixed or have a prior; holes are filled.

    Parameters
    ----------
    n_components : q factors; None for as many as columns.
    tol : EM ends when the objective rises by at most tol · (1 + |its value|), a unit of weight.
    max_iter : M-steps at most.
    noise_variance_init : (d,), the start of the noise variances.
    fixed : ("noise_variance",) keeps them there.
    rotation : None; "varimax" or "quartimax" for loadings that are easy to name. It changes no density.
    prior : None, maximum likelihood; "auto", which keeps each column's noise above 0 as one more row would whose
        residual is a tenth of the column's standard deviation; or a `ConjugatePrior` of the standardized columns.
    algorithm : "squarem", which is EM in longer steps, "em" or "lbfgs", or an object.
    device : a PyTorch device, or "auto" for a GPU when there is one.
    random_state : of draws; the fit has no chance in it.
    verbose : 1 prints the iterations.
    callbacks : called as callback(model, iteration) after every E-step; True ends the run.

    Attributes
    ----------
    components_ : (q, d), the loadings Λᵀ; unrotated, ΛᵀΨ⁻¹Λ is diagonal and falls.
    loadings_ : (d, q), Λ.
    mean_, noise_variance_ : (d,).
    loglike_ : log evidence at each E-step, in nats. log_evidence_ : the last.
    history_, n_iter_, converged_, reason_ : of the run; "converged", "max_iter", "stopped", "interrupted",
        "degenerate" or "decreased".
    n_features_in_, feature_names_in_ : as in scikit-learn.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.
    DegenerateFitError : a column's noise has become 0.

    Examples
    --------
    >>> X = np.array([[1.0, 2.1, 0.2], [2.0, 3.9, 0.1], [3.0, np.nan, 0.3], [4.1, 8.0, 0.2], [5.0, 9.8, 0.4]])
    >>> model = FactorAnalysis(1, prior="auto").fit(X)
    >>> model.impute(X)[2].round(1).tolist()
    [3.0, 5.9, 0.3]
    """

    _shared_noise = False

    def __init__(
        self,
        n_components: int | None = None,
        *,
        tol: float = 1e-8,
        max_iter: int = 1000,
        noise_variance_init: Any = None,
        fixed: Collection[str] = (),
        rotation: str | None = None,
        prior: str | ConjugatePrior | None = None,
        algorithm: Any = "squarem",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        callbacks: Iterable[Callable] = (),
    ):
        self.n_components = n_components
        self.tol = tol
        self.max_iter = max_iter
        self.noise_variance_init = noise_variance_init
        self.fixed = fixed
        self.rotation = rotation
        self.prior = prior
        self.algorithm = algorithm
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def _check_parameters(self) -> None:
        super()._check_parameters()
        require_one_of("rotation", self.rotation, (None, "varimax", "quartimax"))

    def _warn(self) -> None:
        super()._warn()
        share = self.noise_variance_ / self.get_covariance().diagonal()
        if self.prior is None and not self.fixed and share.min() < _HEYWOOD:
            names = [repr(self._column_name(j)) for j in np.flatnonzero(share < _HEYWOOD)]
            warn(
                f"A Heywood case: the factors explain column {', '.join(names)} to the last, and its noise goes to 0. "
                "Take fewer factors, or give prior='auto'.",
                HeywoodCaseWarning,
            )

    def _usual_components(self, rank: int, d: int) -> int:
        return d if rank == d else max(rank - 1, 1)

    def _scales(self, deviations: np.ndarray) -> np.ndarray:
        constant = np.flatnonzero(deviations == 0)
        if len(constant) and self.prior is None and not self.fixed:
            raise InvalidInputError(
                f"Column {self._column_name(constant[0])!r} is constant: its noise would be 0 and its density without "
                "bound. Leave it out, or give prior='auto'."
            )
        return np.where(deviations > 0, deviations, 1.0)

    def _turned(self, loadings: np.ndarray, noise: np.ndarray) -> np.ndarray:
        turned = canonical(loadings, noise)
        return turned if self.rotation is None else simplified(turned, self.rotation)

    def _publish_parameters(self, mean: np.ndarray, loadings: np.ndarray, noise: np.ndarray) -> None:
        self.mean_, self.loadings_, self.noise_variance_ = mean, loadings, noise
        self.components_ = np.ascontiguousarray(loadings.T)

    def _noise(self) -> np.ndarray:
        noise: np.ndarray = self.noise_variance_
        return noise
