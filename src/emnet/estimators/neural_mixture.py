"""Clusters in the latent space of an autoencoder, as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClusterMixin
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from emnet.algorithms.base import Callback, Fit, Reason, run
from emnet.algorithms.recording import unrecorded
from emnet.algorithms.variational import VariationalEM
from emnet.batch import Batch, total_weight
from emnet.data.stream import Stream
from emnet.estimators.autoencoder_file import SavedAutoencoder
from emnet.estimators.gaussian_mixture import GaussianMixture
from emnet.estimators.validation import (
    require_concentration,
    require_not_negative,
    require_one_of,
    require_positive_integer,
)
from emnet.estimators.variational_autoencoder import mixture_prior
from emnet.exceptions import CollapsedComponentWarning, InvalidInputError, RegularizationWarning, UnfinishedFit
from emnet.factors.covariances import Covariance, Diagonal, Full
from emnet.factors.latent_priors import LatentPrior, StandardNormal
from emnet.inference.amortized import Amortized, DivergencePenalty
from emnet.interruption import interrupted
from emnet.models.autoencoder import Autoencoder
from emnet.posteriors import EncodedVector

_COVARIANCES: Mapping[str, Callable[[Tensor], Covariance]] = {"full": Full, "diag": Diagonal}
_PASSES, _LEAST_STEPS = 50, 500  # of the networks alone: a few hundred rows are few steps in a pass
_RIDGE = 0.1  # of the latent variance, added to the covariances of the mixture that the joint training starts from
_LEAST_RIDGE = 1e-6
_FIRST_STEPS, _LAST_STEPS, _FINALISTS = 15, 200, 3


class NeuralMixture(ClusterMixin, SavedAutoencoder):
    """p(x) = Σ_k w_k ∫ Normal(z; m_k, Σ_k) p(x | network(z)) dz: clusters of an autoencoder's latent vectors.

    An autoencoder is trained first, a Gaussian mixture is fitted to its latent space, and from there variational EM
    goes on with all of them: networks by gradients, the mixture by closed M-steps from the encoder's draws (VaDE; Jiang
    et al. 2017).

    Parameters
    ----------
    n_components : k.
    n_latent : l, the length of z.
    covariance_type : of the mixture, "full" or "diag".
    weight_concentration : α ≥ 1 of a Dirichlet prior on the mixture's weights, a number or one for each component; far
        more than there are rows says that clusters are of one size.
    pretraining : passes over the data in which the autoencoder is trained alone; None for 50, or of few rows for as
        many as make 500 steps.
    pretraining_beta : how much the divergence from Normal(0, I) counts in them; little leaves clusters apart.
    mixture_starts : of the mixture that is then fitted to what latent vectors are decoded to; the likeliest is taken.
    encoder, decoder, activation, image_shape, likelihood, noise, standardize, e_step, n_draws, refinements, algorithm,
        beta, warm_up, free_bits, precision, learning_rate, batch_size, max_iter, n_init, early_stopping,
        validation_fraction, n_iter_no_change, prediction_samples, missing, warm_start, dtype, device, random_state,
        verbose, callbacks : as in `VariationalAutoencoder`. Without passes, `max_iter=0`, the mixture stays as it was
        fitted to the latent vectors.

    Interrupted before variational EM begins, it is published with the networks so far and a mixture of one start;
    `history_` is then that of the networks trained alone.

    Attributes
    ----------
    labels_ : (n,), the component of each row that was fitted; not of a stream.
    weights_, means_, covariances_ : of the mixture, (k,), (k, l), (k, l, l).
    likelihood_, log_evidence_, history_, n_iter_, reason_, members_, fits_, n_features_in_, feature_names_in_ : as in
        `VariationalAutoencoder`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> rng = np.random.RandomState(0)
    >>> X = np.concatenate((rng.randn(60, 4), rng.randn(60, 4) + 6))
    >>> model = NeuralMixture(2, 2, encoder=(8,), pretraining=20, max_iter=5, learning_rate=0.01, random_state=0)
    >>> found = model.fit(X).predict(X)
    >>> len(set(found[:60])), len(set(found[60:])), len(set(found))
    (1, 1, 2)
    """

    prior = "mixture"
    _made_of = (*SavedAutoencoder._made_of, "covariance_type", "weight_concentration")
    _fewest_passes = 0  # the start is a fit already
    _start_rows = 2**15

    def __init__(
        self,
        n_components: int = 2,
        n_latent: int = 8,
        *,
        covariance_type: str = "full",
        weight_concentration: Any = 1.1,
        pretraining: int | None = None,
        pretraining_beta: float = 0.1,
        mixture_starts: int = 20,
        encoder: Any = (128, 128),
        decoder: Any = None,
        activation: str = "relu",
        image_shape: Any = None,
        likelihood: str | Mapping[Any, str] = "auto",
        noise: str = "shared",
        standardize: bool = True,
        e_step: str | Amortized = "amortized",
        n_draws: int | None = None,
        refinements: int = 5,
        algorithm: str | VariationalEM = "joint",
        beta: float = 1.0,
        warm_up: float = 0.0,
        free_bits: float = 0.0,
        precision: float = 0.0,
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        max_iter: int = 10,
        n_init: int = 1,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        prediction_samples: int = 100,
        missing: str = "at_random",
        warm_start: bool = False,
        dtype: str = "float32",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        callbacks: Iterable[Callback] = (),
    ):
        self.n_components = n_components
        self.n_latent = n_latent
        self.covariance_type = covariance_type
        self.weight_concentration = weight_concentration
        self.pretraining = pretraining
        self.pretraining_beta = pretraining_beta
        self.mixture_starts = mixture_starts
        self.encoder = encoder
        self.decoder = decoder
        self.activation = activation
        self.image_shape = image_shape
        self.likelihood = likelihood
        self.noise = noise
        self.standardize = standardize
        self.e_step = e_step
        self.n_draws = n_draws
        self.refinements = refinements
        self.algorithm = algorithm
        self.beta = beta
        self.warm_up = warm_up
        self.free_bits = free_bits
        self.precision = precision
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.n_init = n_init
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.prediction_samples = prediction_samples
        self.missing = missing
        self.warm_start = warm_start
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    # -- training ---------------------------------------------------------------------------------------------------

    def _look_at(self, X: Any) -> None:
        self.labels_ = self.predict(X)

    def _fit_stream(self, stream: Stream) -> Self:
        self.__dict__.pop("labels_", None)  # of a stream there are none
        return super()._fit_stream(stream)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        require_positive_integer("n_components", self.n_components)
        require_one_of("covariance_type", self.covariance_type, tuple(_COVARIANCES))
        require_concentration(self.weight_concentration, self.n_components)
        require_not_negative("pretraining_beta", self.pretraining_beta)
        if self.pretraining is not None:
            require_not_negative("pretraining", self.pretraining)
        require_positive_integer("mixture_starts", self.mixture_starts)

    def _start(self, seed: int, batch: Batch) -> Autoencoder:
        """A trained autoencoder, under the mixture that its latent vectors have."""
        if len(batch) < self.n_components:
            raise InvalidInputError(f"{len(batch)} rows are too few for n_components={self.n_components}.")
        model = self._untrained(seed, batch)
        mixture, model.prior = model.prior, self._normal(model)
        trained: Fit | None = None
        try:
            trained = self._train_alone(model, batch, seed)
            self._fit_mixture(mixture, model, batch, seed, self.mixture_starts)
        except (UnfinishedFit, KeyboardInterrupt) as end:
            fit = getattr(end, "fit", None) if trained is None else replace(trained, reason=Reason.INTERRUPTED)
            if fit is None:
                raise
            self._keep_networks(mixture, model, batch, seed, fit)
            if not isinstance(end, UnfinishedFit):
                raise interrupted(fit, end) from end
            end.fit = fit
            raise
        model.prior = mixture
        return model

    def _keep_networks(self, mixture: LatentPrior, model: Autoencoder, batch: Batch, seed: int, fit: Fit) -> None:
        """Publish networks whose start did not come to its end, under a mixture that does not take long."""
        try:
            with unrecorded():
                self._fit_mixture(mixture, model, batch, seed, 1)
        except UnfinishedFit as again:
            again.fit = None
            raise
        model.prior = mixture
        if not getattr(self, "members_", None):
            self.members_, self.fits_ = [], []
        self._publish_unfinished(model, fit)

    def _publish_unfinished(self, model: Autoencoder, fit: Fit) -> None:
        self.__dict__.pop("labels_", None)  # they are those of another fit
        super()._publish_unfinished(model, fit)

    def _normal(self, model: Autoencoder) -> StandardNormal:
        like = next(model.decoder.parameters())
        return StandardNormal(self.n_latent).to(dtype=like.dtype, device=like.device)

    def _train_alone(self, model: Autoencoder, batch: Batch, seed: int) -> Fit:
        e_step = Amortized(penalty=DivergencePenalty(self.pretraining_beta), seed=seed)
        algorithm, passes, data = (
            VariationalEM(e_step, self.learning_rate),
            self._passes_alone(),
            self._data(batch, seed),
        )
        if not passes:
            return Fit((), Reason.MAX_ITER, total_weight(data), 0.0)
        return run(model, data, algorithm, inference=e_step, max_iter=passes, tol=0.0)

    def _passes_alone(self) -> int:
        if self.pretraining is not None:
            return int(self.pretraining)
        return max(_PASSES, -(-_LEAST_STEPS // self._updates_a_pass))

    @torch.no_grad()
    def _fit_mixture(self, mixture: LatentPrior, model: Autoencoder, batch: Batch, seed: int, n_starts: int) -> None:
        """M-step from the encoder's Gaussians, by the responsibilities of a mixture of decoded means."""
        found = [model.encode(piece) for piece in self._pieces(batch, None, 4096, self._some(batch, seed))]
        decoded = torch.cat([model.decoder.mean(model.decoder.outputs(mean)) for mean, _ in found])
        mean, log_variance = (torch.cat(part).double() for part in zip(*found, strict=True))
        shares = torch.as_tensor(_likely_shares(self, decoded.double().cpu().numpy(), seed, n_starts)).to(mean)
        own: Any = mixture
        own.maximize(own.statistics_of(shares, mean, log_variance.exp()))

    def _some(self, batch: Batch, seed: int) -> Tensor | None:
        """The rows that the mixture is first fitted to, None for all."""
        n = len(batch) if self._kept_rows is None else len(self._kept_rows)
        if n <= self._start_rows:
            return self._kept_rows
        chosen = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: self._start_rows].sort().values
        return chosen if self._kept_rows is None else self._kept_rows[chosen]

    def _start_prior(self, features: Tensor, seed: int) -> LatentPrior:
        """Filled by `_start`, or from a file."""
        k, d = self.n_components, self.n_latent
        means = torch.randn(k, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        covariances = torch.eye(d, dtype=torch.float64).expand(k, d, d)
        covariance = _COVARIANCES[self.covariance_type](covariances)
        alpha = torch.as_tensor(self.weight_concentration, dtype=torch.float64)
        return mixture_prior(torch.ones(k), means, covariance, alpha)

    def _weights_of(self, model: Autoencoder) -> dict[str, Any]:
        prior: Any = model.prior
        return {
            "weights_": prior.mixing.log_probabilities.exp().cpu().numpy(),
            "means_": prior.components.means.detach().cpu().numpy(),
            "covariances_": prior.components.covariance.covariances().cpu().numpy(),
        }

    # -- use --------------------------------------------------------------------------------------------------------

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(component | row), (n, k): the mean of p(k | z) over draws of z, weighted by importance."""

        def shares(model: Autoencoder, batch: Batch) -> Tensor:
            posterior = self._proposal(model, batch, self.prediction_samples)
            return _expected_shares(model, posterior)

        return self._each(X, shares, self.prediction_samples * max(1, self.n_components // 8))

    def predict(self, X: Any) -> np.ndarray:
        """Each row's most probable component, (n,)."""
        return self.predict_proba(X).argmax(axis=1)

    def fit_predict(self, X: Any, y: Any = None, **parameters: Any) -> np.ndarray:
        """Fit, and give each row's component, (n,)."""
        labels: np.ndarray = self.fit(X, y, **parameters).labels_
        return labels

    def sample(self, n_samples: int = 1, component: int | None = None) -> Any:  # type: ignore[override]
        """A table of rows drawn from the model, or from one of its components."""
        if component is None:
            return super().sample(n_samples)
        check_is_fitted(self, "members_")
        require_positive_integer("n_samples", n_samples)
        if component not in range(self.n_components):
            raise InvalidInputError(f"component must be one of 0 to {self.n_components - 1}; got {component!r}.")
        generator = self._generator(check_random_state(self.random_state).randint(2**31))
        prior: Any = self._best.prior
        with torch.no_grad():
            states = torch.full((n_samples,), component, device=generator.device)
            return self._drawn(self._best, prior.draw_of(states, generator), generator)


def _expected_shares(model: Autoencoder, posterior: EncodedVector) -> Tensor:
    assert posterior.log_weights is not None
    draws = posterior.draws
    weights = posterior.log_weights.softmax(0)[..., None]
    prior: Any = model.prior
    found: Tensor = (weights * prior.responsibilities(draws)).sum(0)
    return found


def _likely_shares(estimator: NeuralMixture, decoded: np.ndarray, seed: int, n_starts: int) -> np.ndarray:
    """Responsibilities, (n, k), of the likeliest of `n_starts` mixtures of decoded rows, (n, d).

    They are fitted to the first l principal components of what latent vectors are decoded to: there distances between
    rows mean something, where an encoder may have stretched any direction. All take some steps, the best few go on.
    """
    components = min(estimator.n_latent, *decoded.shape)
    with np.errstate(invalid="ignore"):  # shares of no variance at all, where all rows are alike
        rows = PCA(components, random_state=seed).fit_transform(decoded)
    rng = check_random_state(seed)
    settings: dict[str, Any] = {
        "n_components": estimator.n_components,
        "covariance_type": estimator.covariance_type,
        "reg_covar": _RIDGE * float(rows.var(axis=0).mean()) + _LEAST_RIDGE,
        "max_iter": _FIRST_STEPS,
        "weight_concentration": estimator.weight_concentration,
        "random_state": rng,
    }
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, CollapsedComponentWarning, RegularizationWarning):
            warnings.simplefilter("ignore", category)  # they are a start, on a ridge that is meant to be wide
        begun = [GaussianMixture(**settings).fit(rows) for _ in range(n_starts)]
        best = sorted(begun, key=lambda model: -model.lower_bound_)[:_FINALISTS]
        ended = [model.set_params(warm_start=True, max_iter=_LAST_STEPS).fit(rows) for model in best]
    shares: np.ndarray = max(ended, key=lambda model: model.lower_bound_).predict_proba(rows)
    return shares
