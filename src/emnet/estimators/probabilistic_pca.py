"""Probabilistic principal component analysis as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from emnet.estimators.linear_gaussian_fit import LearningLinearGaussian
from emnet.exceptions import InvalidInputError
from emnet.factors.least_squares import ConjugatePrior


class ProbabilisticPCA(LearningLinearGaussian):
    """x = m + Λz + ε, z ~ Normal(0, I), ε ~ Normal(0, σ²I) (Tipping & Bishop 1999), for tables with holes.

    Without holes and priors the start is the maximum, in closed form: the principal axes, and for σ² the mean of the
    variances that they leave. With holes EM goes on from there, exactly, on what is there of each row.

    Parameters
    ----------
    n_components : q < d axes; None for one less than the directions in which the rows vary.
    tol : EM ends when the objective rises by at most tol · (1 + |its value|), a unit of weight.
    max_iter : M-steps at most.
    noise_variance_init : the start of σ².
    fixed : ("noise_variance",) keeps it there.
    prior : None, maximum likelihood; "auto", which keeps σ² above 0 as one more row would whose residual is a tenth of
        the columns' standard deviation, root mean square; or a `ConjugatePrior` of columns divided by that.
    algorithm : "squarem", which is EM in longer steps, "em" or "lbfgs", or an object.
    device : a PyTorch device, or "auto" for a GPU when there is one.
    random_state : of draws; the fit has no chance in it.
    verbose : 1 prints the iterations.
    callbacks : called as callback(model, iteration) after every E-step; True ends the run.

    Attributes
    ----------
    components_ : (q, d), the principal axes, of length 1, as scikit-learn's PCA has them.
    explained_variance_ : (q,), the model's variance along each of them; divided by n, not n − 1.
    explained_variance_ratio_ : (q,), their shares of the model's whole variance.
    noise_variance_ : σ².
    loadings_ : (d, q), Λ: the axes times √(explained variance − σ²). mean_ : (d,).
    loglike_ : log evidence at each E-step, in nats. log_evidence_ : the last.
    history_, n_iter_, converged_, reason_ : of the run; "converged", "max_iter", "stopped", "interrupted",
        "degenerate" or "decreased".
    n_features_in_, feature_names_in_ : as in scikit-learn.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.
    DegenerateFitError : the noise has become 0.

    Examples
    --------
    >>> X = np.array([[1.0, 2.1, 0.2], [2.0, 3.9, 0.1], [3.0, np.nan, 0.3], [4.1, 8.0, 0.2], [5.0, 9.8, 0.4]])
    >>> model = ProbabilisticPCA(1).fit(X)
    >>> model.impute(X)[2].round(1).tolist()
    [3.0, 5.9, 0.3]
    """

    _shared_noise = True

    def __init__(
        self,
        n_components: int | None = None,
        *,
        tol: float = 1e-8,
        max_iter: int = 1000,
        noise_variance_init: float | None = None,
        fixed: Collection[str] = (),
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
        self.prior = prior
        self.algorithm = algorithm
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def _usual_components(self, rank: int, d: int) -> int:
        if rank < 2:
            raise InvalidInputError(
                f"The rows vary in {rank} directions, and one axis would leave no noise: with n_features = {d} give "
                "two columns or more that are not multiples of one another, or prior='auto' and n_components=1."
            )
        return rank - 1

    def _scales(self, deviations: np.ndarray) -> np.ndarray:
        largest = deviations.max()
        size = largest * np.sqrt(np.mean((deviations / largest) ** 2)) if largest > 0 else 1.0
        return np.full(len(deviations), size)

    def _publish_parameters(self, mean: np.ndarray, loadings: np.ndarray, noise: np.ndarray) -> None:
        self.mean_, self.loadings_, self.noise_variance_ = mean, loadings, float(noise[0])
        lengths = np.linalg.norm(loadings, axis=0)
        self.components_ = np.ascontiguousarray((loadings / np.where(lengths > 0, lengths, 1.0)).T)
        self.explained_variance_ = lengths**2 + self.noise_variance_
        whole = (lengths**2).sum() + self.noise_variance_ * len(mean)
        self.explained_variance_ratio_ = self.explained_variance_ / whole

    def _noise(self) -> np.ndarray:
        return np.array([self.noise_variance_])
