"""Predictive distributions as torch has them, against the estimators' own densities."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from emnet import (
    GMMHMM,
    CategoricalHMM,
    EMMLPClassifier,
    EMMLPRegressor,
    FactorAnalysis,
    GaussianHMM,
    GaussianMixture,
    MixtureModel,
    MixtureOfExpertsRegressor,
    PoissonHMM,
    ProbabilisticPCA,
    SequenceClassifier,
    VariationalAutoencoder,
)


@pytest.fixture(scope="module")
def rows():
    X = load_iris().data
    return X[:, :2], X[:, 2], X[:, 2:]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("gate", ["softmax", "gaussian"])
def test_experts(rows, several, gate):
    X, y = rows[0], rows[2] if several else rows[1]
    model = MixtureOfExpertsRegressor(2, gate=gate, n_init=1, max_iter=10, random_state=0).fit(X, y)
    found = model.distribution(X)
    assert found.batch_shape == (len(X),)
    np.testing.assert_allclose(found.log_prob(torch.as_tensor(y)), model.log_density(X, y), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.mean, model.predict(X))


def test_a_network_of_bits(rows):
    model = EMMLPRegressor(3, n_init=2, max_iter=20, prediction_samples=50, random_state=0).fit(rows[0], rows[1])
    found = model.distribution(rows[0])
    for level, at in zip((0.1, 0.9), model.predict_quantiles(rows[0], (0.1, 0.9)).T, strict=True):
        np.testing.assert_allclose(found.cdf(torch.as_tensor(at)), level, atol=1e-6)


def test_classes(rows):
    labels = load_iris(as_frame=True).target.map({0: "a", 1: "b", 2: "c"}).to_numpy()
    model = EMMLPClassifier(2, n_init=1, max_iter=10, random_state=0).fit(rows[0], labels)
    np.testing.assert_allclose(model.distribution(rows[0]).probs, model.predict_proba(rows[0]), rtol=1e-6)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "tied", "spherical"])
def test_a_mixture_at_any_scale(rows, covariance_type):
    X = np.column_stack(rows[:2]) * 1e120
    model = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, max_iter=5, random_state=0).fit(X)
    found = model.distribution()
    np.testing.assert_allclose(found.log_prob(torch.as_tensor(X)), model.score_samples(X), rtol=1e-7)
    assert found.sample((4,)).shape == (4, 3)


def test_a_mixture_of_tables(rows):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rows[0] * [1.0, 100.0] + [0.0, 1e4], columns=["a", "b"])
    frame["t"], frame["c"], frame["visits"] = rows[1], rng.lognormal(size=150), rng.poisson(3, 150)
    frame["city"], frame["member"] = rng.choice(["Łódź", "Graz"], 150), rng.random(150) < 0.5
    families = {
        ("a", "b"): "gaussian",
        "visits": "poisson",
        "t": "student_t",
        "city": "categorical",
        "c": "log_normal",
        "member": "bernoulli",
    }
    model = MixtureModel(2, emissions=families, max_iter=5, random_state=0).fit(frame)
    coded = frame.assign(**{name: [own.index(cell) for cell in frame[name]] for name, own in model.categories_.items()})
    order = [name for key in model.emissions_ for name in (key if isinstance(key, tuple) else (key,))]
    coded = torch.as_tensor(coded[order].to_numpy(dtype=float))
    found = model.distribution()
    np.testing.assert_allclose(found.log_prob(coded), model.score_samples(frame), rtol=1e-7, atol=1e-7)
    drawn = found.sample((500,))
    assert drawn.shape == (500, 7)
    np.testing.assert_allclose(drawn[:, order.index("b")].mean(), frame["b"].mean(), rtol=0.05)


@pytest.mark.parametrize("model", [FactorAnalysis(1), ProbabilisticPCA(1)])
def test_linear_gaussians(rows, model):
    X = np.column_stack(rows[:2]) * [1.0, 10.0, 1.0] + 100
    found = model.fit(X).distribution()
    np.testing.assert_allclose(found.log_prob(torch.as_tensor(X)), model.score_samples(X), rtol=1e-7)


CHAINS = {
    "gaussian": lambda: GaussianHMM(2, "full", n_iter=3, random_state=0),
    "mixtures": lambda: GMMHMM(2, 2, n_iter=3, random_state=0),
    "counts": lambda: PoissonHMM(2, n_iter=3, random_state=0),
}


@pytest.mark.parametrize("name", CHAINS)
def test_forecasts(name):
    """log p(next row | sequence) is the evidence with it less that without."""
    X = np.random.RandomState(0).poisson(np.repeat([[2, 9], [9, 2]], 10, axis=0)).astype(float)
    X = X if name == "counts" else X + np.random.RandomState(1).rand(20, 2)
    model = CHAINS[name]().fit(X)
    found = model.forecast(X, 2)
    assert found.distribution.batch_shape == (2,)
    np.testing.assert_allclose(found.distribution.mean, found.mean)
    following = np.array([4.0, 5.0])
    more = model.score(np.vstack((X, following))) - model.score(X)
    assert float(found.distribution.log_prob(torch.as_tensor(following))[0]) == pytest.approx(more, abs=1e-6)


def test_forecasts_of_symbols_and_classes_of_sequences():
    X = np.random.RandomState(0).randint(3, size=(30, 1))
    model = CategoricalHMM(2, n_iter=3, random_state=0).fit(X)
    found = model.forecast(X, 2)
    np.testing.assert_allclose(found.distribution.probs, found.mean)
    classifier = SequenceClassifier(CategoricalHMM(1, n_iter=2, n_features=3, random_state=0)).fit(
        [X[:15], X[15:]], [0, 1]
    )
    np.testing.assert_allclose(classifier.distribution([X]).probs, classifier.predict_proba([X]))


def test_autoencoders(rows):
    """Of what was not seen mean and sd are near those of imputation, of what was seen the density is high."""
    rng = np.random.default_rng(0)
    X = np.column_stack((rows[0], np.exp(rows[1] / 3), rng.integers(3, size=150), rng.poisson(4, 150)))
    families = {0: "gaussian", 1: "student_t", 2: "log_normal", 3: "categorical", 4: "poisson"}
    model = VariationalAutoencoder(2, likelihood=families, max_iter=5, random_state=0).fit(X)
    holes = X[:6].copy()
    holes[:3, 0] = holes[3:, 4] = np.nan
    found = model.distribution(holes)
    filled = model.impute(holes)
    np.testing.assert_allclose(found.mean[:3, 0], filled[:3, 0], rtol=1e-4)
    np.testing.assert_allclose(found.mean[3:, 4], filled[3:, 4], rtol=1e-4)
    np.testing.assert_allclose(found.mean[:, 2], model.distribution(holes).sample((3000,)).mean(0)[:, 2], rtol=0.2)
    assert found.log_prob(torch.as_tensor(X[:6])).isfinite().all()
