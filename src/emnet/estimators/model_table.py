"""The models that the command line knows, one a row: its help, `auto` and the fits all read this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the help of the command line lists these rows, and should not wait for PyTorch
    from emnet.algorithms.base import Callback
    from emnet.data.schema import Schema

_ITERATIONS, _ITERATIONS_COMPARED = 300, 100


@dataclass(frozen=True)
class Options:
    """What an estimator is made with besides its size and variant."""

    seed: int
    callbacks: Sequence[Callback] = ()
    thorough: bool = True  # whether it is the fit that counts, and not one of those that are compared

    @property
    def starts(self) -> int:
        return 3 if self.thorough else 1

    @property
    def iterations(self) -> int:
        return _ITERATIONS if self.thorough else _ITERATIONS_COMPARED


@dataclass(frozen=True)
class Kind:
    """A model.

    about : in a line, for people.
    named : in a sentence, before "of 3 components".
    part : what there are several of.
    sizes : how many to try, in growing order.
    variants : {how it is told from its siblings, in words: what the builder is given}.
    task : "density", "target" or "sequences".
    takes_categories : whether columns of words are part of it; else they are left out.
    clusters : whether its parts are clusters of rows.
    has_criteria : whether information criteria can choose their number; of others held-out evidence does.
    build : an estimator from a schema, a size, a variant and options.
    to_show : parameters by which a fit is E-steps and M-steps that can be looked at, where it is not by default.
    """

    about: str
    named: str
    part: str
    sizes: tuple[int, ...]
    variants: Mapping[str, Any]
    task: str
    takes_categories: bool
    build: Callable[[Schema, int, Any, Options], Any]
    clusters: bool = False
    has_criteria: bool = True
    to_show: Mapping[str, Any] = field(default_factory=dict)

    def described(self, size: int, variant: str) -> str:
        with_variant = f", {variant}" if variant else ""
        return f"{self.named} of {size} {self.part}{'s' * (size != 1)}{with_variant}"


def _gmm(schema: Schema, size: int, variant: Any, options: Options) -> Any:
    from emnet.estimators.gaussian_mixture import GaussianMixture

    return GaussianMixture(
        size,
        covariance_type=variant,
        prior="auto",
        reg_covar=0.0,  # the prior is floor enough, and is so in any unit
        max_iter=options.iterations,
        tol=1e-4,
        n_init=options.starts,
        random_state=options.seed,
        callbacks=options.callbacks,
    )


def _mixture(schema: Schema, size: int, variant: Any, options: Options) -> Any:
    from emnet.estimators.mixture_model import MixtureModel

    return MixtureModel(
        size,
        emissions=table_emissions(schema, together=variant),
        max_iter=options.iterations,
        n_init=options.starts,
        random_state=options.seed,
        callbacks=options.callbacks,
    )


def table_emissions(schema: Schema, together: bool) -> dict[Any, str]:
    """The family of each input by its number: categories as they are, numbers and dates Gaussian."""
    numbers = [j for j, field in enumerate(schema.inputs) if not field.is_category]
    words = {j: "categorical" for j, field in enumerate(schema.inputs) if field.is_category}
    if not together or len(numbers) < 2:
        return {**dict.fromkeys(numbers, "gaussian"), **words}
    return {tuple(numbers): "gaussian", **words}


def _em_mlp(schema: Schema, size: int, variant: Any, options: Options) -> Any:
    from emnet.estimators.em_mlp import EMMLPClassifier
    from emnet.estimators.em_mlp_regressor import EMMLPRegressor

    estimator = EMMLPClassifier if _has_classes(schema) else EMMLPRegressor
    return estimator(
        size,
        n_init=None if options.thorough else 1,
        random_state=options.seed,
        callbacks=options.callbacks,
    )


def _moe(schema: Schema, size: int, variant: Any, options: Options) -> Any:
    from emnet.estimators.mixture_of_experts_classifier import MixtureOfExpertsClassifier
    from emnet.estimators.mixture_of_experts_regressor import MixtureOfExpertsRegressor

    estimator = MixtureOfExpertsClassifier if _has_classes(schema) else MixtureOfExpertsRegressor
    starts: dict[str, Any] = {} if options.thorough else {"n_init": 1}
    return estimator(size, random_state=options.seed, callbacks=options.callbacks, **starts)


def _hmm(schema: Schema, size: int, variant: Any, options: Options) -> Any:
    from emnet.estimators.gaussian_hmm import GaussianHMM

    return GaussianHMM(
        size,
        variant,
        n_iter=options.iterations,
        n_init=options.starts,
        random_state=options.seed,
        callbacks=options.callbacks,
    )


def _ppca(schema: Schema, size: int, variant: Any, options: Options) -> Any:
    from emnet.estimators.probabilistic_pca import ProbabilisticPCA

    return ProbabilisticPCA(
        min(size, max(1, len(schema.inputs) - 1)),
        prior="auto",
        max_iter=options.iterations,
        random_state=options.seed,
        callbacks=options.callbacks,
    )


def _vae(schema: Schema, size: int, variant: Any, options: Options) -> Any:
    from emnet.estimators.variational_autoencoder import VariationalAutoencoder

    return VariationalAutoencoder(
        size,
        likelihood=table_emissions(schema, together=False),
        max_iter=options.iterations,
        n_init=1,
        early_stopping=True,
        random_state=options.seed,
        callbacks=options.callbacks,
    )


def _neural_mixture(schema: Schema, size: int, variant: Any, options: Options) -> Any:
    from emnet.estimators.neural_mixture import NeuralMixture

    return NeuralMixture(
        size,
        min(8, len(schema.inputs)),
        encoder=(),
        decoder=(),
        likelihood=table_emissions(schema, together=False),
        random_state=options.seed,
        callbacks=options.callbacks,
    )


def _has_classes(schema: Schema) -> bool:
    assert schema.target is not None
    return schema.field(schema.target).is_category


_COVARIANCES = {"full covariances": "full", "diagonal covariances": "diag"}

KINDS: Mapping[str, Kind] = {
    "gmm": Kind(
        "clusters of numbers; cells may be missing",
        "a Gaussian mixture",
        "component",
        (1, 2, 3, 4, 5, 6, 8, 10, 12),
        _COVARIANCES,
        "density",
        False,
        _gmm,
        clusters=True,
    ),
    "mixture": Kind(
        "the same for numbers, dates and words together",
        "a mixed-type mixture",
        "component",
        (1, 2, 3, 4, 5, 6, 8, 10, 12),
        {"numbers correlated": True, "columns independent": False},
        "density",
        True,
        _mixture,
        clusters=True,
    ),
    "ppca": Kind(
        "numbers that move together along a few directions",
        "a probabilistic PCA",
        "direction",
        (1, 2, 3, 5, 8),
        {"": None},
        "density",
        False,
        _ppca,
    ),
    "vae": Kind(
        "numbers, dates and words that hang together in curved ways; needs thousands of rows",
        "a variational autoencoder",
        "hidden dimension",
        (2, 4, 8),
        {"": None},
        "density",
        True,
        _vae,
    ),
    "neural-mixture": Kind(
        "clusters in the hidden vectors of an autoencoder",
        "a neural mixture",
        "component",
        (2, 4, 8),
        {"": None},
        "density",
        True,
        _neural_mixture,
        clusters=True,
        has_criteria=False,
    ),
    "em-mlp": Kind(
        "a target from the other columns, by a network of hidden bits",
        "an EM-MLP",
        "hidden unit",
        (2, 4, 8, 12),
        {"": None},
        "target",
        True,
        _em_mlp,
        to_show={"algorithm": "em"},
    ),
    "moe": Kind(
        "a target from the other columns, by simple rules, each for a part of them",
        "a mixture",
        "expert",
        (1, 2, 3, 4),
        {"": None},
        "target",
        True,
        _moe,
        to_show={"algorithm": "em"},
    ),
    "hmm": Kind(
        "sequences of numbers that go through hidden states",
        "a hidden Markov model",
        "state",
        (1, 2, 3, 4, 5, 6, 8),
        _COVARIANCES,
        "sequences",
        False,
        _hmm,
    ),
}


def variants_for(kind: str, schema: Schema) -> list[str]:
    """The variants that differ: of how numbers hang together where there are two."""
    variants = list(KINDS[kind].variants)
    return variants if sum(not field.is_category for field in schema.inputs) > 1 else variants[:1]


def kinds_for(schema: Schema) -> list[str]:
    """The models that "auto" chooses from, by what there is to explain."""
    if schema.target is not None:
        return ["em-mlp", "moe"]
    if schema.sequence is not None:
        return ["hmm"]
    return ["mixture"] if any(field.is_category for field in schema.inputs) else ["gmm"]
