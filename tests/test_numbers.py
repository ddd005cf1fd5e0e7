"""Data of every bad kind into every estimator: a clear error or a finite answer, never NaN with converged_."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris

import emnet
from emnet import EmnetError

IRIS, Y = load_iris(return_X_y=True)
BASE, LABELS = IRIS[::3], Y[::3]
N = len(BASE)


def _with(X, column, values):
    X = X.copy()
    X[:, column] = values
    return X


BAD = {
    "constant column": _with(BASE, 1, 3.0),
    "all columns constant": np.ones_like(BASE),
    "duplicate columns": BASE[:, [0, 0, 1, 1]],
    "every row twice": np.repeat(BASE[: N // 2], 2, axis=0),
    "scale 1e150": BASE * 1e150,
    "scale 1e-150": BASE * 1e-150,
    "scales 1e150 and 1e-150": BASE * np.array([1e150, 1e-150, 1.0, 1.0]),
    "scale 1e300": BASE * 1e300,
    "denormal": BASE * 1e-320,
    "offset 1e9": BASE + 1e9,
    "one row far away": _with(BASE, 0, np.r_[BASE[:-1, 0], 1e12]),
    "one row": BASE[:1],
    "two rows": BASE[[0, -1]],
    "one column": BASE[:, :1],
    "infinite": _with(BASE, 2, np.inf),
    "one infinity": _with(BASE, 2, np.r_[BASE[:-1, 2], -np.inf]),
    "NaN everywhere": np.full_like(BASE, np.nan),
    "a column of NaN": _with(BASE, 2, np.nan),
    "a row of NaN": np.vstack((BASE[:-1], np.full(BASE.shape[1], np.nan))),
    "no rows": BASE[:0],
    "counts": np.floor(BASE * 3),
}


def _labels(X):
    return LABELS[np.linspace(0, N - 1, len(X)).astype(int)] if len(X) else LABELS[:0]


def _alone(make):
    return lambda X: make().fit(X)


def _labelled(make):
    return lambda X: make().fit(X, _labels(X))


def _classifier(**options):
    return _labelled(lambda: emnet.EMMLPClassifier(3, n_init=1, max_iter=5, random_state=0, **options))


def _targets(make):
    return lambda X: make().fit(BASE[: len(X), :2], X)


def _features(make):
    return lambda X: make().fit(X, BASE[: len(X), 0])


def _sequences(X):
    return np.array_split(X, 2) if len(X) > 1 else [X]


_EXPERTS = {"n_init": 1, "max_iter": 5, "random_state": 0}
FITS = {
    "GaussianMixture": _alone(lambda: emnet.GaussianMixture(3, random_state=0)),
    "GaussianMixture diag": _alone(lambda: emnet.GaussianMixture(3, covariance_type="diag", random_state=0)),
    "GaussianMixture VEV": _alone(lambda: emnet.GaussianMixture(2, covariance_type="VEV", random_state=0)),
    "GaussianMixture factor": _alone(lambda: emnet.GaussianMixture(2, covariance_type="factor", random_state=0)),
    "GaussianMixture prior": _alone(lambda: emnet.GaussianMixture(3, prior="auto", random_state=0)),
    "GaussianMixture float32": _alone(lambda: emnet.GaussianMixture(3, dtype="float32", random_state=0)),
    "GaussianMixture annealing": _alone(lambda: emnet.GaussianMixture(2, algorithm="annealing", random_state=0)),
    "MixtureModel": _alone(lambda: emnet.MixtureModel(3, emissions="gaussian", random_state=0)),
    "MixtureModel student_t": _alone(lambda: emnet.MixtureModel(2, emissions="student_t", random_state=0, max_iter=20)),
    "MixtureModel log_normal": _alone(lambda: emnet.MixtureModel(2, emissions="log_normal", random_state=0)),
    "MixtureModel poisson": _alone(lambda: emnet.MixtureModel(2, emissions="poisson", random_state=0)),
    "EMImputer": _alone(
        lambda: emnet.EMImputer(n_components=(1, 2), covariance_types=("full", "diag"), random_state=0)
    ),
    "EMMLPClassifier": _classifier(),
    "FactorAnalysis": _alone(lambda: emnet.FactorAnalysis(1)),
    "ProbabilisticPCA": _alone(lambda: emnet.ProbabilisticPCA(1)),
    "EMMLPClassifier float32": _classifier(dtype="float32", algorithm="em"),
    "EMMLPClassifier raw": _classifier(standardize=False),
    "EMMLPRegressor x": _features(lambda: emnet.EMMLPRegressor(3, n_init=1, max_iter=5, random_state=0)),
    "EMMLPRegressor y": _targets(lambda: emnet.EMMLPRegressor(3, n_init=1, max_iter=5, random_state=0)),
    "MixtureOfExpertsClassifier": _labelled(
        lambda: emnet.MixtureOfExpertsClassifier(2, n_init=1, max_iter=5, random_state=0)
    ),
    "MixtureOfExpertsRegressor x": _features(lambda: emnet.MixtureOfExpertsRegressor(2, **_EXPERTS)),
    "MixtureOfExpertsRegressor y": _targets(lambda: emnet.MixtureOfExpertsRegressor(2, **_EXPERTS)),
    "MixtureOfExpertsRegressor gaussian gate": _features(
        lambda: emnet.MixtureOfExpertsRegressor(2, gate="gaussian", n_init=1, random_state=0)
    ),
    "GaussianHMM": _alone(lambda: emnet.GaussianHMM(3, random_state=0)),
    "GMMHMM": _alone(lambda: emnet.GMMHMM(2, 2, random_state=0)),
    "PoissonHMM": _alone(lambda: emnet.PoissonHMM(2, random_state=0)),
    "CategoricalHMM": _alone(lambda: emnet.CategoricalHMM(2, random_state=0)),
    "MultinomialHMM": _alone(lambda: emnet.MultinomialHMM(2, random_state=0)),
    "NeuralHMM": lambda X: emnet.NeuralHMM(2, "autoregressive", n_init=1, max_iter=5, random_state=0).fit(
        _sequences(X)
    ),
    "InputOutputHMM x": lambda X: emnet.InputOutputHMM(2, n_init=1, max_iter=9, random_state=0).fit(
        _sequences(X), _sequences(_labels(X))
    ),
    "InputOutputHMM y": lambda X: emnet.InputOutputHMM(2, n_init=1, max_iter=9, random_state=0).fit(
        _sequences(BASE[: len(X)]), _sequences(X)
    ),
    "GaussianHMM durations": _alone(lambda: emnet.GaussianHMM(2, max_duration=5, n_iter=4, random_state=0)),
    "SequenceClassifier": lambda X: emnet.SequenceClassifier(emnet.GaussianHMM(2, n_iter=4, random_state=0)).fit(
        _sequences(X), np.arange(len(_sequences(X)))
    ),
    "VariationalAutoencoder": _alone(lambda: emnet.VariationalAutoencoder(1, encoder=3, max_iter=2, random_state=0)),
    "NeuralMixture": _alone(
        lambda: emnet.NeuralMixture(2, 1, encoder=3, pretraining=1, mixture_starts=1, max_iter=2, random_state=0)
    ),
    "EMClusterer": _alone(lambda: emnet.EMClusterer(2, random_state=0)),
    "EMOutlierDetector": _alone(lambda: emnet.EMOutlierDetector(n_components=2, random_state=0)),
}


def test_no_estimator_is_left_out():
    own = {name for name in emnet.__all__ if hasattr(getattr(emnet, name), "fit")}
    assert own == {name.split()[0] for name in FITS}


def _numbers(value):
    """All numbers of what a fit has published."""
    if isinstance(value, dict):
        value = [own for name, own in value.items() if name not in ("seconds",)]
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, (float, np.ndarray, np.floating)) and np.asarray(value).dtype.kind == "f":
        yield np.asarray(value)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", FITS)
def test_an_error_or_a_finite_answer(name, bad):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        found, said = _attempt(FITS[name], BAD[bad])
    assert found or len(said) > 20, said
    for key, own in found.items():
        for numbers in _numbers(own):
            assert np.isfinite(numbers).all(), f"{key} holds {numbers[~np.isfinite(numbers)].ravel()[:3]}"


def _attempt(fit, X):
    """What the fit has published, or what its error says."""
    try:
        model = fit(X)
    except (EmnetError, ValueError) as error:
        return {}, str(error)
    return {key: own for key, own in vars(model).items() if key.endswith("_") and not key.startswith("_")}, ""
