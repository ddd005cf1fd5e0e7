"""scikit-learn's own checks of every public estimator, with the E-step in both types of numbers."""

from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

import emnet
from emnet import (
    EMClusterer,
    EMImputer,
    EMMLPClassifier,
    EMMLPRegressor,
    EMOutlierDetector,
    FactorAnalysis,
    GaussianHMM,
    GaussianMixture,
    InputOutputHMM,
    MixtureModel,
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    NeuralMixture,
    ProbabilisticPCA,
    VariationalAutoencoder,
)
from tests import scikit_learn_sequences as sequences

_RANDOM_START = "a random start draws numbers row by row, and repeated rows are not the same rows"
_NO_BOUND = "as many factors as columns, and fewer rows than columns: the likelihood has no bound, and no one end"
_RANDOM_BATCHES = "batches are drawn row by row, and repeated rows are not the same rows"
_OF_SEQUENCES = "sample_weight has one weight for each sequence, not for each row"
_WEIGHT_CHECKS = (
    "check_sample_weights_pandas_series",
    "check_sample_weights_not_an_array",
    "check_sample_weights_list",
    "check_sample_weights_shape",
    "check_sample_weights_not_overwritten",
    "check_all_zero_sample_weights_error",
    "check_sample_weight_equivalence_on_dense_data",
)


def expected_failures(estimator):
    if isinstance(estimator, InputOutputHMM):
        return dict.fromkeys(_WEIGHT_CHECKS, _OF_SEQUENCES)
    if isinstance(estimator, FactorAnalysis) and estimator.n_components is None:
        return {"check_sample_weight_equivalence_on_dense_data": _NO_BOUND}
    if getattr(estimator, "init_params", None) == "random":
        return {"check_sample_weight_equivalence_on_dense_data": _RANDOM_START}
    if isinstance(estimator, (NeuralMixture, VariationalAutoencoder)):
        return {"check_sample_weight_equivalence_on_dense_data": _RANDOM_BATCHES}
    return {}


ESTIMATORS = [
    EMMLPClassifier(hidden_units=3, n_init=1, max_iter=20, dtype="float64"),
    EMMLPClassifier(hidden_units=3, n_init=1, max_iter=20, dtype="float32"),
    EMMLPRegressor(hidden_units=3, n_init=1, max_iter=20, prior=1.0),
    EMMLPRegressor(hidden_units=3, n_init=1, max_iter=20, prior=1.0, dtype="float32"),
    EMImputer(n_components=(1, 2)),
    FactorAnalysis(),
    FactorAnalysis(1, prior="auto"),
    EMClusterer(2, covariance_types=("diag",)),
    EMOutlierDetector(n_components=(1, 2), contamination=0.1),
    GaussianMixture(),
    GaussianMixture(2, covariance_type="diag", init_params="random"),
    MixtureOfExpertsClassifier(2, n_init=1, max_iter=20),
    MixtureOfExpertsClassifier(2, gate="gaussian", n_init=1, max_iter=20),
    MixtureOfExpertsRegressor(2, n_init=1, max_iter=20),
    MixtureOfExpertsRegressor(levels=(2, 2), n_init=1, max_iter=20, algorithm="em"),
    MixtureOfExpertsRegressor(2, gate="gaussian", n_init=1, max_iter=20),
    InputOutputHMM(2, n_init=1, max_iter=5),
    MixtureModel(emissions="gaussian"),
    MixtureModel(emissions="student_t"),
    MixtureModel(2, emissions="gaussian", init_params="random"),
    ProbabilisticPCA(),
    NeuralMixture(3, 2, encoder=(), learning_rate=0.02, batch_size=16, pretraining=40, max_iter=1, dtype="float64"),
    VariationalAutoencoder(2, encoder=4, max_iter=2, likelihood="gaussian", dtype="float64", prediction_samples=5),
    sequences.RowsOfGaussianHMM(),
    sequences.RowsOfGMMHMM(),
    sequences.RowsOfPoissonHMM(),
    sequences.RowsOfMultinomialHMM(),
    sequences.RowsOfCategoricalHMM(),
    sequences.RowsOfNeuralHMM(n_init=1),
    sequences.RowsOfSequenceClassifier(GaussianHMM()),
]


def test_no_estimator_is_left_out():
    public = [value for name in emnet.__all__ if isinstance(value := getattr(emnet, name), type)]
    checked = {parent for estimator in ESTIMATORS for parent in type(estimator).__mro__}
    assert [kind for kind in public if issubclass(kind, BaseEstimator) and kind not in checked] == []


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
