"""scikit-learn's own checks of estimators, with the E-step in both types of numbers."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from emnet import EMMLPClassifier, EMMLPRegressor


@parametrize_with_checks(
    [
        EMMLPClassifier(hidden_units=3, n_init=1, max_iter=50, dtype="float64"),
        EMMLPClassifier(hidden_units=3, n_init=2, max_iter=50, dtype="float32"),
        EMMLPRegressor(hidden_units=3, n_init=1, max_iter=50, prior=1.0),
        EMMLPRegressor(hidden_units=3, n_init=1, max_iter=50, prior=1.0, dtype="float32"),
    ],
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
