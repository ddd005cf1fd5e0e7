"""What is beyond fitting mixtures of experts: standard errors, portions, parts that stay, holes of the gate alone."""

import warnings

import numpy as np
import pytest
import torch

from emnet import InvalidInputError, MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, load
from emnet.algorithms.annealing import Annealing
from emnet.algorithms.em import EM
from emnet.inference.exact import Exact

RNG = np.random.RandomState
SHARP = {"tol": 1e-11, "random_state": 0}


def kink(n=240, seed=0):
    """Two lines that meet."""
    rng = RNG(seed)
    X = rng.uniform(-1, 1, size=(n, 1))
    return X, np.abs(X[:, 0]) + 0.1 * rng.randn(n)


def quadrants(n=240, seed=0):
    X = RNG(seed).randn(n, 2)
    return X, np.where(X[:, 0] * X[:, 1] > 0, "b", "a")


# -- standard errors ------------------------------------------------------------------------------------------------


def test_one_linear_expert_has_the_errors_of_least_squares():
    rng = RNG(0)
    X = rng.randn(200, 2)
    y = X @ [1.0, 2.0] + 3 + 0.5 * rng.randn(200)
    model = MixtureOfExpertsRegressor(1, prior=0.0, noise_prior=0.0, standardize=False, **SHARP).fit(X, y)
    found, variance = model.standard_errors(X, y), (y - model.predict(X)).var()
    design = np.column_stack((np.ones(200), X))
    expected = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * variance)
    np.testing.assert_allclose(found["expert_weights"][0, 0] * model.target_scale_, expected, rtol=1e-5)
    assert found["noise"][0, 0] == pytest.approx(np.sqrt(variance / 400), rel=1e-5)
    twice = model.standard_errors(X, y, sample_weight=np.full(200, 2.0))
    np.testing.assert_allclose(twice["expert_weights"], found["expert_weights"] / 2**0.5, rtol=1e-5)


def test_one_softmax_expert_has_the_errors_of_logistic_regression():
    rng = RNG(0)
    X = rng.randn(200, 2)
    y = X @ [1.0, -2.0] + rng.logistic(size=200) > 0
    model = MixtureOfExpertsClassifier(1, prior=0.0, standardize=False, **SHARP).fit(X, y)
    p = model.predict_proba(X)[:, 1]
    design = np.column_stack((np.ones(200), X))
    expected = np.sqrt(np.diag(np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)))
    # the two classes' weights, less their mean, are half of the difference
    np.testing.assert_allclose(2 * model.standard_errors(X, y)["expert_weights"][0], [expected] * 2, rtol=1e-5)


@pytest.mark.parametrize("options", [{"gate": "softmax"}, {"gate": "gaussian"}, {"levels": (2, 1)}])
def test_errors_are_the_spread_of_refits(options):
    X, y = kink(400)
    model = MixtureOfExpertsRegressor(2, n_init=1, prior=(0.1, 1e-3), warm_start=True, **options, **SHARP).fit(X, y)
    found = model.standard_errors(X, y)
    assert {name: np.shape(own) for name, own in found.items() if name != "gate_weights"} == {
        "expert_weights": model.expert_weights_.shape,
        "noise": model.noise_.shape,
    }
    refits = []
    for seed in range(15):
        rows = RNG(seed).randint(len(X), size=len(X))
        refits.append(model.set_params(tol=1e-7).fit(X[rows], y[rows]).expert_weights_)
    np.testing.assert_allclose(np.std(refits, axis=0), found["expert_weights"], rtol=0.6)


def test_modules_have_no_errors_and_the_others_have():
    X, y = kink(80)
    model = MixtureOfExpertsRegressor(2, gate=torch.nn.Linear(1, 2), random_state=0).fit(X, y)
    assert sorted(model.standard_errors(X, y)) == ["expert_weights", "noise"]


# -- portions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["softmax", "gaussian"])
def test_a_regressor_learns_from_portions(gate):
    X, y = kink()
    whole = MixtureOfExpertsRegressor(2, gate=gate, random_state=0).fit(X, y)
    model = MixtureOfExpertsRegressor(2, gate=gate, n_init=1, random_state=0)
    for number in range(45):
        model.partial_fit(X[number % 3 :: 3], y[number % 3 :: 3])
    assert model.score(X, y) > whole.score(X, y) - 0.02
    before = whole.score(X, y)
    whole.partial_fit(X[::3], y[::3])
    assert whole.score(X, y) > before - 0.02


def test_a_classifier_learns_from_portions():
    X, y = quadrants()
    model = MixtureOfExpertsClassifier(2, n_init=1, random_state=0)
    for number in range(45):
        model.partial_fit(X[number % 3 :: 3], y[number % 3 :: 3], classes=["a", "b", "c"])
    assert model.score(X, y) > 0.9
    assert model.classes_.tolist() == ["a", "b", "c"]
    with pytest.raises(InvalidInputError, match="holds 'd'"):
        model.partial_fit(X[:2], ["a", "d"])


# -- parts that stay ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["softmax", "gaussian"])
def test_what_is_fixed_stays_and_the_rest_learns(gate, tmp_path):
    X, y = quadrants()
    model = MixtureOfExpertsClassifier(2, gate=gate, warm_start=True, random_state=0).fit(X, y)
    gate_weights, expert_weights = model.gate_weights_, model.expert_weights_
    new_X, new_y = quadrants(seed=1)
    flipped = np.where(new_y == "a", "b", "a")
    model.set_params(fixed=("gate",)).fit(new_X, flipped)
    assert (model.gate_weights_ == gate_weights).all()
    assert model.score(new_X, flipped) > 0.9
    model.save(tmp_path / "m.emnet")
    again = load(tmp_path / "m.emnet")
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    learned = model.expert_weights_
    model.set_params(fixed=("experts",)).fit(X, y)
    assert (model.expert_weights_ == learned).all()
    assert (learned != expert_weights).any()
    model.set_params(fixed=("gate",)).partial_fit(X, y)
    assert (model.expert_weights_ != learned).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": ("gate",)}, "fit once without it"),
        ({"fixed": ("means",)}, "fixed must be a tuple of 'gate', 'experts'"),
        ({"fixed": "gate"}, "fixed must be a tuple"),
        ({"fixed": ("gate", "experts")}, "nothing left to learn"),
        ({"fixed": ("gate",), "gate": "gaussian"}, "one Gaussian"),
    ],
)
def test_what_cannot_be_fixed_is_said(options, message):
    with pytest.raises(InvalidInputError, match=message):
        MixtureOfExpertsRegressor(2, **options).fit(*kink(30))


def test_a_label_that_is_not_there_is_named():
    X, y = quadrants(20)
    for missing in (np.where(np.arange(20) == 3, np.nan, 1.0), [*y[:3], None, *y[4:]]):
        with pytest.raises(InvalidInputError, match=r"row 3|one is None"):
            MixtureOfExpertsClassifier(2).fit(X, missing)


# -- holes, and the record ------------------------------------------------------------------------------------------


def test_the_gaussian_gate_answers_for_holes_whatever_its_experts_are():
    X, y = quadrants()
    model = MixtureOfExpertsClassifier(2, gate="gaussian", n_init=1, random_state=0).fit(X, y)
    holes = X[:4].copy()
    holes[0, 0], holes[1] = np.nan, np.nan
    found = model.gate_proba(holes)
    np.testing.assert_allclose(found[2:], model.gate_proba(X[2:4]))
    np.testing.assert_allclose(found[1], model.gate_weights_)
    grid = np.column_stack((np.linspace(-8, 8, 4001), np.full(4001, X[0, 1])))
    inputs = model._best.emissions["inputs"]
    scaled = torch.from_numpy((grid - model.input_mean_) / model.input_scale_)
    joint = inputs.log_prob(inputs.prepare(scaled)).exp().numpy() * model.gate_weights_
    np.testing.assert_allclose(found[0], joint.sum(0) / joint.sum(), atol=1e-6)
    for ask in (model.predict, model.predict_proba):
        with pytest.raises(InvalidInputError, match="has no such integral"):
            ask(holes)
    with pytest.raises(InvalidInputError, match="infinity"):
        model.gate_proba(np.array([[np.inf, 0.0]]))
    with pytest.raises(InvalidInputError, match="NaN"):
        MixtureOfExpertsClassifier(2, random_state=0).fit(X, y).gate_proba(holes)


@pytest.mark.parametrize("max_iter", [5, 50, 1000])
def test_annealing_counts_its_steps(max_iter):
    X, y = kink()
    annealing = Annealing(EM(Exact()), Exact())
    model = MixtureOfExpertsRegressor(3, algorithm=annealing, max_iter=max_iter, n_init=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    put_back = model.fits_[0].returned_to is not None
    assert model.n_iter_ == len(model.history_) - 1 - put_back
    assert model.n_iter_ <= max_iter
    assert model.converged_ == (max_iter == 1000)
    assert model.reason_ == ("converged" if model.converged_ else "max_iter")
    assert model.log_evidence_ == max(line["log_evidence"] for line in model.history_) or model.converged_


@pytest.mark.parametrize("gate", ["softmax", "gaussian", "constant"])
def test_targets_too_far_out_for_a_density_are_impossible_and_leave_the_others_alone(gate):
    X = np.random.RandomState(0).randn(100, 3)
    model = MixtureOfExpertsRegressor(2, gate=gate, random_state=0, n_init=1).fit(X, abs(X[:, 0]))
    near, far = np.array([1.0, 1.0]), np.array([1e200, 1.0])
    scores = model.log_density(X[:2], far)
    assert scores[0] == -np.inf
    assert scores[1] == pytest.approx(model.log_density(X[:2], near)[1], rel=1e-12)
    np.testing.assert_allclose(model.responsibilities(X[:2], far)[0], model.gate_proba(X[:2])[0], rtol=1e-12)
    assert model.bic(X[:2], far) == np.inf
    with pytest.raises(InvalidInputError, match="Input y contains infinity"):
        model.log_density(X[:2], [np.inf, 1.0])
