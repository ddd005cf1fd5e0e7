"""The variational autoencoder as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet.algorithms.base import Callback
from emnet.algorithms.variational import VariationalEM
from emnet.estimators.autoencoder_file import SavedAutoencoder
from emnet.estimators.validation import require_one_of, require_positive_integer
from emnet.factors.covariances import Covariance, Diagonal
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.latent_priors import LatentPrior, MixturePrior, StandardNormal, VampPrior
from emnet.factors.tables import MixingWeights
from emnet.inference.amortized import Amortized
from emnet.models.autoencoder import Autoencoder

PRIORS = ("normal", "mixture", "vamp")


class VariationalAutoencoder(SavedAutoencoder):
    """p(x) = ∫ p(z) Π_j p(x_j | network(z)) dz, fitted by variational EM, for tables of any kind and for images.

    The E-step is an encoder's q(z | x), the M-step the decoder's. NaN and None are cells that were not seen, in
    training and in use: the bound is that of what was seen (Kingma & Welling 2014; Mattei & Frellsen 2019).

    Parameters
    ----------
    n_latent : l, the length of z.
    encoder : widths of its layers; "convolutional", which needs `image_shape`; or a torch module from the p features of
        a row to 2 l numbers, mean and log variance of z. Features are the cells as the decoder sees them, 0 for what is
        missing, an indicator for each category; where the training rows have holes, encoders by widths are also shown
        which cells were seen.
    decoder : the same, from l numbers to the likelihood's parameters; None is the encoder the other way round.
    activation : between layers of given widths: "relu", "tanh", "elu" or "silu".
    image_shape : (h, w) or (c, h, w), of rows that are flat images.
    likelihood : {column name or index, or a tuple of them: family}, one family for all columns, or "auto", as in
        `MixtureModel`; `likelihood_` says what was taken. Families: "gaussian", "student_t", "log_normal",
        "bernoulli", "categorical", "poisson", "discretized_logistic" (whole numbers from 0 to 255).
    noise : where scales come from: "column", a parameter of each; "shared", one of a family; "row", the decoder.
    standardize : whether the decoder sees numbers with one scale for each column, or with one for all, which is better
        where columns are alike, as pixels are.
    prior : p(z): "normal"; "mixture", of `n_components` Gaussians with closed M-steps; or "vamp", of the encoder's
        posteriors of `n_components` learned pseudo-rows (Tomczak & Welling 2018).
    n_components : of those.
    missing : "at_random", holes say nothing; or "mnar", whether a cell is seen depends on what is in it, by a logistic
        function for each column that has holes, which must be gaussian or bernoulli (Ipsen et al. 2021).
    e_step : "amortized", the encoder's word; "semi_amortized", with `refinements` natural-gradient steps for each row;
        "importance", the importance-weighted bound (Burda et al. 2016); or an `Amortized`.
    n_draws : of z for each row in training; None is 1, of "importance" 20.
    refinements : of "semi_amortized".
    algorithm : "joint", each batch moves encoder and decoder together; "alternating", an E-step of the encoder, then an
        M-step of the rest; or a `VariationalEM`.
    beta, warm_up, free_bits : the divergence counts β times, from 0 on over that share of the passes, less the free
        nats of each entry of z. They change what is trained, not the evidence that is reported. Not of "importance".
    precision : of a Gaussian prior on the networks' parameters.
    learning_rate, batch_size, max_iter : of Adam; rows of a batch; passes over the data.
    n_init : starts, of which the one with the highest bound is taken.
    early_stopping, validation_fraction, n_iter_no_change : stop when the bound of held-out rows has not risen for so
        many passes, and keep the best.
    prediction_samples : draws for each row in `score_samples` and `impute`.
    warm_start : go on from the last fit's parameters, with the `precision` of now; what the model is made of may not
        change.
    dtype : "float32" or "float64". Digits are lost only after centers have been taken off.
    device : a PyTorch device, or "auto" for a GPU when there is one.
    random_state, verbose, callbacks : as in `EMMLPClassifier`.

    Arrays of numbers stay where they are: a memory-mapped one is read batch by batch and never copied. `fit` takes an
    `emnet.stream` too.

    Attributes
    ----------
    likelihood_ : {column: family}, as taken.
    log_evidence_ : the bound of the rows that were learned from, at the last pass, in nats: an estimate.
    history_ : its course, a dict a pass, with the divergence of q from the prior in nats a row.
    n_iter_, converged_, reason_, members_, fits_, n_features_in_, feature_names_in_ : as in `EMMLPClassifier`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> rng = np.random.RandomState(0)
    >>> X = rng.randn(200, 1) @ rng.randn(1, 5) + 0.1 * rng.randn(200, 5)
    >>> X[::3, 2] = np.nan
    >>> model = VariationalAutoencoder(1, encoder=(16,), max_iter=60, learning_rate=0.01, random_state=0).fit(X)
    >>> model.impute(X).shape, bool(np.isnan(model.impute(X)).any())
    ((200, 5), False)
    """

    def __init__(
        self,
        n_latent: int = 8,
        *,
        encoder: Any = (128, 128),
        decoder: Any = None,
        activation: str = "relu",
        image_shape: Any = None,
        likelihood: str | Mapping[Any, str] = "auto",
        noise: str = "column",
        standardize: bool = True,
        prior: str = "normal",
        n_components: int = 10,
        missing: str = "at_random",
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
        max_iter: int = 100,
        n_init: int = 1,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        prediction_samples: int = 100,
        warm_start: bool = False,
        dtype: str = "float32",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        callbacks: Iterable[Callback] = (),
    ):
        self.n_latent = n_latent
        self.encoder = encoder
        self.decoder = decoder
        self.activation = activation
        self.image_shape = image_shape
        self.likelihood = likelihood
        self.noise = noise
        self.standardize = standardize
        self.prior = prior
        self.n_components = n_components
        self.missing = missing
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
        self.warm_start = warm_start
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def _check_parameters(self) -> None:
        super()._check_parameters()
        require_one_of("prior", self.prior, PRIORS)
        require_positive_integer("n_components", self.n_components)

    def _start_prior(self, features: Tensor, seed: int) -> LatentPrior:
        if self.prior == "normal":
            return StandardNormal(self.n_latent).to(features.dtype)
        generator = torch.Generator().manual_seed(seed)
        if self.prior == "mixture":
            means = torch.randn(self.n_components, self.n_latent, generator=generator, dtype=torch.float64)
            return mixture_prior(torch.ones(self.n_components), means, Diagonal(torch.ones_like(means)))
        chosen = torch.randint(len(features), (self.n_components,), generator=generator)
        return VampPrior(features[chosen], self.n_latent)

    def _weights_of(self, model: Autoencoder) -> dict[str, Any]:
        return {}


def mixture_prior(
    weights: Tensor, means: Tensor, covariance: Covariance, concentration: float | Tensor = 1.1
) -> MixturePrior:
    """With a weak prior, so that no component shrinks onto a row or loses its weight for good."""
    k, d = means.shape
    identity = torch.eye(d, dtype=torch.float64)
    diagonal = covariance.diagonal
    weak = NormalInverseWishart(identity / k**2, 4.0 - d if diagonal else d + 2.0, torch.zeros(d), 0.01)
    return MixturePrior(MixingWeights(weights, concentration=concentration), Gaussian(means, covariance, prior=weak))
