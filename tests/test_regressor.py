"""EMMLPRegressor: its predictive distribution against enumeration and against data with two branches."""

import pickle

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import load_diabetes
from sklearn.neural_network import MLPRegressor
from torch import nn

import emnet
from emnet import EMMLPRegressor, InvalidInputError
from tests.oracles import all_configurations


def regressor(**options):
    return EMMLPRegressor(**{"hidden_units": 4, "n_init": 1, "random_state": 0, **options})


def two_branches(n, seed=0):
    """x = y + 0.3 sin 2πy + noise (Bishop 1994), to be inverted: for x near ½ there are several y."""
    rng = np.random.RandomState(seed)
    y = rng.rand(n)
    return (y + 0.3 * np.sin(2 * np.pi * y) + rng.uniform(-0.05, 0.05, n))[:, None], y


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return X, np.c_[y, X[:, 2] * 100 + y / 10]


@pytest.fixture(scope="module")
def fitted(diabetes):
    return regressor(n_init=2, tol=1e-4).fit(*diabetes)


def mixture(model, X):
    """Every member's mixture at each row, by enumeration: probabilities (n, K), means (K, d), deviations (K, d)."""
    probabilities, means, deviations = [], [], []
    standard = np.c_[np.ones(len(X)), (X - model.input_mean_) / model.input_scale_]
    for member in model.members_:
        hidden, output = member.layers[0].weights.numpy(), member.output.weights.numpy()
        states = all_configurations(len(hidden))
        unit = 1 / (1 + np.exp(-standard @ hidden.T))
        probabilities.append(np.prod(np.where(states[None] == 1, unit[:, None], 1 - unit[:, None]), axis=2))
        means.append((output[:, 0] + states @ output[:, 1:].T) * model.target_scale_ + model.target_mean_)
        noise = np.exp(0.5 * member.output.log_variance.numpy()) * model.target_scale_
        deviations.append(np.tile(noise, (len(states), 1)))
    share = np.concatenate(probabilities, axis=1) / len(model.members_)
    return share, np.concatenate(means), np.concatenate(deviations)


def test_the_predictive_distribution_is_the_mixture(fitted, diabetes):
    X, y = diabetes[0][:20], diabetes[1][:20]
    share, means, deviations = mixture(fitted, X)
    expected = share @ means
    spread = np.sqrt(share @ (means**2 + deviations**2) - expected**2)
    mean, deviation = fitted.predict(X, return_std=True)
    np.testing.assert_allclose(mean, expected, rtol=1e-10)
    np.testing.assert_allclose(deviation, spread, rtol=1e-8)
    density = np.prod(norm.pdf(y[:, None], means, deviations), axis=2)
    np.testing.assert_allclose(fitted.log_density(X, y), np.log((share * density).sum(1)), rtol=1e-9)
    quantiles = fitted.set_params(prediction_samples=3000).predict_quantiles(X, [0.1, 0.5, 0.9])
    for level, column in ((0.1, 0), (0.5, 1), (0.9, 2)):
        for target in range(2):
            below = norm.cdf(quantiles[:, column, target, None], means[:, target], deviations[:, target])
            np.testing.assert_allclose((share * below).sum(1), level, atol=0.02)


def test_samples_have_the_predicted_moments(fitted, diabetes):
    X = np.repeat(diabetes[0][:3], 4000, axis=0)
    drawn = fitted.sample(X, random_state=0).reshape(3, 4000, 2)
    mean, deviation = fitted.predict(diabetes[0][:3], return_std=True)
    np.testing.assert_allclose(drawn.mean(1), mean, atol=5 * (deviation / 4000**0.5).max())
    np.testing.assert_allclose(drawn.std(1), deviation, rtol=0.06)


def test_log_evidence_is_that_of_the_training_data(diabetes):
    model = regressor().fit(*diabetes)
    shift = np.log(model.target_scale_).sum() * len(diabetes[0])
    assert model.log_density(*diabetes).sum() + shift == pytest.approx(model.log_evidence_, rel=1e-10)
    posterior = model.hidden_posterior(*diabetes)
    assert posterior.shape == (442, 4)
    assert not np.allclose(posterior, model.hidden_posterior(diabetes[0]))


def test_both_branches_are_sampled_where_back_propagation_gives_their_mean():
    X, y = two_branches(1000)
    model = regressor(hidden_units=8).fit(X, y)
    drawn = model.sample(np.full((1000, 1), 0.5), random_state=0)
    assert (drawn < 0.35).mean() > 0.2
    assert (drawn > 0.65).mean() > 0.2
    network = MLPRegressor(
        hidden_layer_sizes=(8,), activation="logistic", solver="lbfgs", max_iter=2000, random_state=0
    ).fit(X, y)
    mean = network.predict([[0.5]])[0]
    assert 0.4 < mean < 0.6
    gaussian = norm.logpdf(y, network.predict(X), np.std(y - network.predict(X)))
    assert model.log_density(X, y).mean() > gaussian.mean() + 0.3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_sampled_e_steps_fit_too():
    X, y = two_branches(400)
    truth = regressor(hidden_units=6, prior=0.1).fit(X, y).log_density(X, y).mean()
    for e_step in ("importance", "gibbs"):
        sampled = regressor(hidden_units=6, prior=0.1, e_step=e_step, max_iter=40).fit(X, y)
        assert sampled.set_params(e_step="exact").log_density(X, y).mean() > truth - 0.4


def test_deep_networks_predict_by_draws():
    X, y = two_branches(400)
    model = regressor(hidden_units=(6, 4), max_iter=50).fit(X, y)
    assert model.e_step_ == "Importance"
    mean, deviation = model.predict(X[:5], return_std=True)
    assert mean.shape == deviation.shape == (5,)
    assert (deviation > 0).all()


def test_units_of_the_target_do_not_matter(diabetes):
    X, y = diabetes[0], diabetes[1][:, 0]
    unit = 2.0**40  # exact in floating point, so that both fits take the same steps
    one, other = regressor().fit(X, y), regressor().fit(X, unit * y)
    np.testing.assert_allclose(unit * one.predict(X), other.predict(X), rtol=1e-12)
    np.testing.assert_allclose(unit * one.noise_, other.noise_, rtol=1e-12)


def test_files_and_pickles_predict_the_same(fitted, diabetes, tmp_path):
    X, y = diabetes
    flat = regressor(max_iter=20).fit(X, y[:, 0])
    for model in (fitted, flat):
        model.save(tmp_path / "m.emnet")
        for other in (emnet.load(tmp_path / "m.emnet"), pickle.loads(pickle.dumps(model))):
            np.testing.assert_allclose(other.predict(X), model.predict(X), rtol=1e-14)
            np.testing.assert_allclose(other.sample(X, 0), model.sample(X, 0), rtol=1e-12)
            assert other.predict(X).shape == model.predict(X).shape


def test_partial_fit_learns():
    X, y = two_branches(600)
    model = regressor(hidden_units=6)
    first = model.partial_fit(X, y).log_density(X, y).mean()
    for _ in range(60):
        model.partial_fit(X, y)
    assert model.log_density(X, y).mean() > first + 0.3


def test_bad_input_is_named(diabetes):
    X, y = diabetes
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        regressor(max_iter=5).fit(X, y).predict_quantiles(X, [1.5])
    with pytest.raises(InvalidInputError, match="for classes"):
        regressor(e_step="mean_field").fit(X, y)
    with pytest.raises(InvalidInputError, match="one hidden layer"):
        regressor(hidden_units=(3, 2), e_step="exact").fit(X, y)
    broken = y.copy()
    broken[3, 1] = np.nan
    for call in (regressor().fit, regressor().partial_fit, regressor(max_iter=5).fit(X, y).log_density):
        with pytest.raises(
            InvalidInputError, match=r"Input y contains NaN, first in row 3, column 1 \(1 in all\).* leave"
        ):
            call(X, broken)


def test_an_output_module():
    X, y = two_branches(600)
    module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    model = regressor(hidden_units=6, output_network=module, prior=1e-3, max_iter=100).fit(X, y)
    assert model.e_step_ == "Importance"
    at_the_fold = model.sample(np.full((500, 1), 0.5), random_state=0)
    assert (at_the_fold < 0.35).any()
    assert (at_the_fold > 0.65).any()
    low, high = model.predict_quantiles([[0.5]], (0.1, 0.9))[0]
    assert low < 0.35
    assert high > 0.65
    np.testing.assert_allclose(model.predict([[0.1], [0.9]]), [0.04, 0.96], atol=0.12)
    with pytest.raises(InvalidInputError, match="importance or the Gibbs"):
        regressor(output_network=nn.Linear(4, 1), e_step="exact").fit(X, y)
    with pytest.raises(InvalidInputError, match="output_network must give 1 numbers"):
        regressor(output_network=nn.Linear(4, 3)).fit(X, y)
