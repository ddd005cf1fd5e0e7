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
    InputOutputHMM,
    InvalidInputError,
    MixtureModel,
    MixtureOfExpertsRegressor,
    MultinomialHMM,
    NeuralHMM,
    PoissonHMM,
    ProbabilisticPCA,
    SequenceClassifier,
    VariationalAutoencoder,
)
from emnet.factors.discretized_logistic import DiscretizedLogistic


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
    "trials": lambda: MultinomialHMM(2, n_trials=9, n_iter=3, random_state=0),
    "autoregressive": lambda: NeuralHMM(2, lags=2, n_init=1, max_iter=3, random_state=0),
    "networks": lambda: NeuralHMM(2, network=torch.nn.Linear(3, 2), n_init=1, max_iter=3, random_state=0),
    "densities of the past": lambda: NeuralHMM(2, "mixture_density", lags=1, n_init=1, max_iter=3, random_state=0),
    "densities": lambda: NeuralHMM(2, "mixture_density", n_init=1, max_iter=3, random_state=0),
}
OF_PATHS = ("autoregressive", "networks", "densities of the past")


@pytest.mark.parametrize("name", CHAINS)
def test_forecasts(name):
    """log p(next row | sequence) is the evidence with it less that without."""
    X = np.random.RandomState(0).poisson(np.repeat([[2, 9], [9, 2]], 10, axis=0)).astype(float)
    if name == "trials":
        X = np.column_stack((X[:, 0].clip(max=9), 9 - X[:, 0].clip(max=9)))
    X = X if name in ("counts", "trials") else X + np.random.RandomState(1).rand(20, 2)
    model = CHAINS[name]().fit(X)
    found = model.forecast(X, 2, random_state=0)
    assert found.distribution.batch_shape == (2,)
    assert found.distribution.sample((3,)).shape == (3, 2, 2)
    away = np.abs(found.distribution.mean.numpy() - found.mean * (9 if name == "trials" else 1))
    paths = found.distribution.stddev.numpy() / 1000**0.5 * (name in OF_PATHS or name == "densities")
    assert (away <= 1e-9 + 5 * paths).all()
    following = np.array([4.0, 5.0])
    more = model.score(np.vstack((X, following))) - model.score(X)
    assert float(found.distribution.log_prob(torch.as_tensor(following))[0]) == pytest.approx(more, abs=1e-6)


def test_what_is_said_of_the_second_row_is_the_mean_over_the_first():
    """p(y₂) = ∫ p(y₁) p(y₂ | y₁) dy₁ on a grid, of a chain whose rows are explained from the rows before."""
    X = np.cumsum(np.random.RandomState(0).randn(30, 1), axis=0)
    model = NeuralHMM(2, n_init=1, max_iter=5, random_state=0).fit(X)
    found, grid = model.forecast(X, 2, random_state=0).distribution, torch.linspace(-15, 15, 61)[:, None]
    first = found.log_prob(grid[:, None, :].double())[:, 0].exp()
    later = [model.forecast(np.vstack((X, y)), 1).distribution.log_prob(grid.double()).exp() for y in grid.numpy()]
    exact = (first[:, None] * torch.stack(later)).sum(0) * 0.5
    said = found.log_prob(grid[:, None, :].double())[:, 1].exp()
    np.testing.assert_allclose(said, exact, atol=0.02 * float(exact.max()))


def test_a_row_to_come_without_a_distribution_says_why():
    X = np.array([[5, 0], [4, 2], [0, 5], [1, 4]])
    ahead = MultinomialHMM(2, n_iter=2, random_state=0).fit(X).forecast(X)
    with pytest.raises(InvalidInputError, match="a single n_trials must be given"):
        ahead.distribution.sample()


@pytest.mark.parametrize("targets", ["labels", "a number", "numbers"])
def test_forecasts_of_targets(targets):
    rng = np.random.RandomState(0)
    X, number = rng.randn(30, 2), rng.randn(30)
    y = {"labels": np.array(["a", "b"])[(X[:, 0] > 0).astype(int)], "a number": number}.get(
        targets, np.column_stack((number, X[:, 0] * 10 + 100))
    )
    model = InputOutputHMM(2, n_init=1, max_iter=3, random_state=0).fit(X, y)
    ahead = model.forecast(X[:20], y[:20], X[20:])
    if targets == "labels":
        np.testing.assert_allclose(ahead.distribution.probs, ahead.mean)
        following = torch.tensor([0])
    else:
        np.testing.assert_allclose(ahead.distribution.mean, ahead.mean)
        following = torch.as_tensor(y[20:21])
    more = model.log_density(X[:21], np.concatenate((y[:20], [y[20] if targets != "labels" else "a"])))
    more = more - model.log_density(X[:20], y[:20])
    assert float(ahead.distribution.log_prob(following)[0]) == pytest.approx(more[0], abs=1e-6)


def test_forecasts_of_symbols_and_classes_of_sequences():
    X = np.random.RandomState(0).randint(3, size=(30, 1))
    model = CategoricalHMM(2, n_iter=3, random_state=0).fit(X)
    found = model.forecast(X, 2)
    np.testing.assert_allclose(found.distribution.probs, found.mean)
    classifier = SequenceClassifier(CategoricalHMM(1, n_iter=2, n_features=3, random_state=0)).fit(
        [X[:15], X[15:]], [0, 1]
    )
    np.testing.assert_allclose(classifier.distribution([X]).probs, classifier.predict_proba([X]))


def test_rounded_logistics():
    """Against the sum over all levels, in the middle and at both ends."""
    found = DiscretizedLogistic(torch.tensor([-1.2, 0.1, 0.99]).double(), torch.tensor([0.05, 0.01, 0.3]).double(), 16)
    level = torch.arange(16.0).double()
    mass = found.log_prob(level[:, None]).exp()
    np.testing.assert_allclose(mass.sum(0), 1)
    mean = (mass * level[:, None]).sum(0)
    np.testing.assert_allclose(found.mean, mean)
    np.testing.assert_allclose(found.variance, (mass * level[:, None] ** 2).sum(0) - mean**2, rtol=1e-6)
    counts = torch.stack([(found.sample((4000,)) == own).double().mean(0) for own in level])
    np.testing.assert_allclose(counts, mass, atol=0.04)
    assert found.log_prob(torch.tensor(3.5)).isinf().all()


def test_autoencoders_of_levels():
    X = np.random.default_rng(0).integers(256, size=(40, 2)).astype(float)
    model = VariationalAutoencoder(
        1, likelihood="discretized_logistic", max_iter=2, prediction_samples=3, random_state=0
    ).fit(X)
    found, level = model.distribution(X[:2]), torch.arange(256.0)
    pairs = torch.cartesian_prod(level, level)[:, None]
    np.testing.assert_allclose(found.log_prob(pairs).exp().sum(0), 1, rtol=1e-5)
    assert found.mean.shape == (2, 2)


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
