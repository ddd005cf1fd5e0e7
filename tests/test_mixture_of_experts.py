"""The estimators of mixtures of experts: against other ways to the same figures, and their own promises."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression

from emnet import (
    CollapsedComponentError,
    EvidenceDecreasedWarning,
    FitInterrupted,
    InvalidInputError,
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    load,
)
from emnet.algorithms.base import run
from emnet.algorithms.em import EM
from emnet.algorithms.gradient import LBFGS
from emnet.batch import Batch, with_constant
from emnet.factors.module_density import ModuleDensity
from emnet.factors.tables import MixingWeights
from emnet.inference.exact import Exact
from emnet.kernels.quantiles import mixture_quantiles
from emnet.models.mixture import Mixture
from tests.interruption import InterruptAt
from tests.oracles import leaf_probabilities, log_output

DATA = Path(__file__).parent / "data"
RNG = np.random.RandomState
GATES = ("softmax", "gaussian", "constant")


def two_branches(n=300, seed=0):
    """Each x has two y, one above and one below."""
    rng = RNG(seed)
    X = rng.uniform(0.5, 2, size=(n, 1))
    return X, np.where(rng.rand(n) < 0.5, 1.0, -1.0) * X[:, 0] + 0.05 * rng.randn(n)


def two_lines(n=200, seed=0, holes=0.0):
    """Two planes on either side of a border, two targets, some cells of X missing."""
    rng = RNG(seed)
    X = rng.randn(n, 2) * [3.0, 0.1] + [100.0, -5.0]
    side = X[:, :1] > 100
    y = np.where(side, X @ [[1.0, -2.0], [0.0, 5.0]], X @ [[-1.0, 1.0], [8.0, 0.0]] + [[200.0, -300.0]])
    y += 0.3 * rng.randn(n, 2)
    return np.where(rng.rand(n, 2) < holes, np.nan, X), y


def small_module(n_inputs, n_outputs):
    return torch.nn.Sequential(torch.nn.Linear(n_inputs, 4), torch.nn.Tanh(), torch.nn.Linear(4, n_outputs))


# -- against other ways to the same figures -------------------------------------------------------------------------


def test_one_expert_is_linear_regression():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(1, prior=0.0, noise_prior=0.0).fit(X, y)
    plain = LinearRegression().fit(X, y)
    np.testing.assert_allclose(model.predict(X), plain.predict(X), rtol=1e-8)
    np.testing.assert_allclose(model.noise_[0], (y - plain.predict(X)).std(axis=0), rtol=1e-7)


def test_a_mixture_of_two_regressions_is_the_maximum_that_a_general_optimizer_finds():
    rng = RNG(0)
    x = rng.uniform(0, 10, 150)
    y = np.where(rng.rand(150) < 0.5, 5 * x, 40 + 10 * x - x**2) + 3 * rng.randn(150)
    X = np.stack([x, x**2], axis=1)
    model = MixtureOfExpertsRegressor(2, gate="constant", prior=0.0, noise_prior=0.0, random_state=0, tol=1e-12)
    model.fit(X, y)
    design = np.stack([np.ones(150), x, x**2], axis=1)

    def minus_log_likelihood(theta):
        share = 1 / (1 + np.exp(-theta[0]))
        densities = [norm.pdf(y, design @ theta[1 + 4 * k : 4 + 4 * k], np.exp(theta[4 + 4 * k])) for k in range(2)]
        return -np.log(share * densities[0] + (1 - share) * densities[1]).sum()

    start = np.array([0.0, 0, 5, 0, 1, 40, 10, -1, 1])
    best = minimize(minus_log_likelihood, start, method="BFGS").fun
    assert model.log_density(X, y).sum() == pytest.approx(-best, abs=1e-5)
    assert model.n_parameters_ == 9
    assert model.bic(X, y) == pytest.approx(2 * best + 9 * np.log(150), abs=1e-4)
    weights = rng.randint(0, 3, 150)
    often = model.bic(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert model.bic(X, y, sample_weight=weights) == pytest.approx(often, rel=1e-12)


@pytest.mark.parametrize("gate", GATES)
def test_the_published_parameters_are_the_model(gate):
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(3, gate=gate, random_state=0).fit(X, y)
    given = np.column_stack([np.ones(len(X)), (X - model.input_mean_) / model.input_scale_])
    shares, sds = model.gate_proba(X), model.noise_ / model.target_scale_
    if gate == "softmax":
        expected = np.exp([log_output(model.gate_weights_, row[1:]) for row in given])
        np.testing.assert_allclose(shares, expected, atol=1e-10)
    if gate == "constant":
        np.testing.assert_allclose(shares, np.tile(model.gate_weights_, (len(X), 1)), atol=1e-12)
    means = np.einsum("kdp,np->nkd", model.expert_weights_, given)
    expected = (shares[:, :, None] * means).sum(1)
    np.testing.assert_allclose(model.predict(X), expected * model.target_scale_ + model.target_mean_, rtol=1e-8)
    found = model.predict_distribution(X)
    np.testing.assert_allclose(found.expert_sds[0], sds * model.target_scale_, rtol=1e-8)
    np.testing.assert_allclose((found.weights[:, :, None] * found.expert_means).sum(1), found.mean, rtol=1e-9)
    if gate != "gaussian":  # whose noise is correlated
        away = (((y - model.target_mean_) / model.target_scale_)[:, None] - means) / sds
        densities = norm.pdf(away).prod(2) / sds.prod(1) / model.target_scale_.prod()
        np.testing.assert_allclose(model.log_density(X, y), np.log((shares * densities).sum(1)), atol=1e-9)


def test_a_hierarchy_multiplies_gates_down_its_tree():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(levels=(2, 3), random_state=0).fit(X, y)
    given = np.column_stack([np.ones(len(X)), (X - model.input_mean_) / model.input_scale_])
    expected = [leaf_probabilities(row, model.gate_weights_, (2, 3)) for row in given]
    np.testing.assert_allclose(model.gate_proba(X), expected, atol=1e-10)
    assert model.expert_weights_.shape == (6, 2, 3)


def test_deeper_trees_enumerate():
    from emnet.factors.gates import SoftmaxGate
    from emnet.factors.regression import Newton, SoftmaxOutput

    levels, rng = (2, 1, 3), RNG(0)
    nodes = [rng.randn(b, 3) for b, count in zip(levels, (1, 2, 2), strict=True) for _ in range(count)]
    gate = SoftmaxGate([SoftmaxOutput(torch.from_numpy(w), m_step=Newton()) for w in nodes], levels)
    given = np.column_stack([np.ones(5), rng.randn(5, 2)])
    expected = [leaf_probabilities(row, nodes, levels) for row in given]
    np.testing.assert_allclose(gate.log_weights(torch.from_numpy(given)).exp(), expected, atol=1e-12)
    with pytest.raises(InvalidInputError, match="nodes of"):
        SoftmaxGate([SoftmaxOutput(torch.from_numpy(nodes[0]), m_step=Newton())], levels)


def test_the_gaussian_gate_conditions_on_what_is_there():
    """By integration: p(y | x_1) is p(y | x_1, x_2) averaged over p(x_2 | x_1)."""
    X, y = two_lines(holes=0.2)
    model = MixtureOfExpertsRegressor(2, gate="gaussian", random_state=0).fit(X, y)
    joint = model._best.emissions["joint"]
    weights, means = model.gate_weights_, joint.means.numpy()
    covariances = joint.covariance.covariances().numpy()
    row = np.array([[101.0, np.nan]])
    at = (101.0 - model.input_mean_[0]) / model.input_scale_[0]
    shares = weights * [norm.pdf(at, m[0], c[0, 0] ** 0.5) for m, c in zip(means, covariances, strict=True)]
    shares = shares / shares.sum()
    np.testing.assert_allclose(model.gate_proba(row)[0], shares, rtol=1e-10)
    slopes = [m[2:] + c[0, 2:] / c[0, 0] * (at - m[0]) for m, c in zip(means, covariances, strict=True)]
    expected = (shares @ np.array(slopes)) * model.target_scale_ + model.target_mean_
    np.testing.assert_allclose(model.predict(row)[0], expected, rtol=1e-9)
    scaled = (y[:1] - model.target_mean_) / model.target_scale_
    own = [c[np.ix_([0, 2, 3], [0, 2, 3])] for c in covariances]
    both = [multivariate_normal.pdf([at, *scaled[0]], m[[0, 2, 3]], c) for m, c in zip(means, own, strict=True)]
    alone = [norm.pdf(at, m[0], c[0, 0] ** 0.5) for m, c in zip(means, covariances, strict=True)]
    truth = np.log(weights @ both) - np.log(weights @ alone) - np.log(model.target_scale_).sum()
    assert model.log_density(row, y[:1])[0] == pytest.approx(truth, rel=1e-9)
    nothing = model.predict(np.full((1, 2), np.nan))
    centre = (weights @ means[:, 2:]) * model.target_scale_ + model.target_mean_
    np.testing.assert_allclose(nothing[0], centre, rtol=1e-9)


def test_predictive_quantiles_and_moments_are_those_of_the_draws():
    X, y = two_branches()
    model = MixtureOfExpertsRegressor(2, random_state=0).fit(X, y)
    found = model.predict_distribution(X[:1], quantiles=(0.1, 0.25, 0.9))
    draws = model.sample(np.repeat(X[:1], 40_000, axis=0), random_state=1)
    np.testing.assert_allclose(found.quantiles[0], np.quantile(draws, found.levels), atol=0.02)
    assert found.mean[0] == pytest.approx(draws.mean(), abs=0.03)
    assert found.sd[0] == pytest.approx(draws.std(), rel=0.02)
    mean, sd = model.predict(X[:1], return_std=True)
    assert (mean[0], sd[0]) == (found.mean[0], found.sd[0])


def test_quantiles_of_mixtures_invert_their_distribution_functions():
    rng = RNG(0)
    weights, means, scales = rng.dirichlet(np.ones(3), 5), rng.randn(5, 3, 2), rng.rand(5, 3, 2) + 0.1
    levels = torch.tensor([0.01, 0.5, 0.9]).double()
    found = mixture_quantiles(*map(torch.from_numpy, (weights, means, scales)), levels).numpy()
    below = norm.cdf(found[:, None], means[:, :, None], scales[:, :, None])
    expected = np.broadcast_to(levels.numpy()[None, :, None], found.shape)
    np.testing.assert_allclose((weights[:, :, None, None] * below).sum(1), expected, atol=1e-12)


# -- what they are for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
def test_samples_of_an_inverse_problem_lie_on_both_branches(gate):
    X, y = two_branches()
    model = MixtureOfExpertsRegressor(2, gate=gate, random_state=0).fit(X, y)
    draws = model.sample(np.repeat(X, 20, axis=0), random_state=0)
    x = np.repeat(X[:, 0], 20)
    above, below = np.abs(draws - x) < 0.3, np.abs(draws + x) < 0.3
    assert (above | below).mean() > 0.98
    assert 0.35 < above.mean() < 0.65
    assert np.abs(model.predict(X)).mean() < 0.3  # the mean lies where no y is
    assert model.log_density(X, y).mean() > 0.5


@pytest.mark.parametrize("m_step", ["newton", "irls", "ecm", "mm"])
def test_every_m_step_rises_to_the_same_maximum(m_step):
    X, y = two_lines()
    options = {"n_init": 1, "random_state": 0, "prior": (10.0, 1.0), "algorithm": "em", "tol": 1e-12, "max_iter": 2000}
    model = MixtureOfExpertsRegressor(2, m_step=m_step, **options).fit(X, y)
    course = np.array([line["objective"] for line in model.history_])
    assert (np.diff(course) >= -1e-9 * np.abs(course[:-1])).all()
    truth = MixtureOfExpertsRegressor(2, **{**options, "algorithm": "lbfgs"}).fit(X, y)
    assert course[-1] == pytest.approx(truth.history_[-1]["objective"], abs=1e-3)


def test_modules_as_gate_and_experts():
    X, y = two_branches()
    options = {"n_init": 1, "random_state": 0, "max_iter": 60}
    model = MixtureOfExpertsRegressor(2, gate=small_module(1, 2), expert=small_module(1, 1), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
        assert model.log_density(X, y).mean() > 0
        batches = MixtureOfExpertsRegressor(2, expert=small_module(1, 1), batch_size=50, **options).fit(X, y)
        assert batches.log_density(X, y).mean() > 0
        X, y = load_iris(return_X_y=True)
        classes = MixtureOfExpertsClassifier(2, gate=small_module(4, 2), expert=small_module(4, 3), **options)
        assert classes.fit(X, y).score(X, y) > 0.95
    with pytest.raises(InvalidInputError, match="holds no code"):
        model.save("nowhere.emnet")
    with pytest.raises(InvalidInputError, match="gate must give 3 numbers"):
        MixtureOfExpertsClassifier(3, gate=small_module(4, 2)).fit(X, y)


@pytest.mark.parametrize("options", [{"gate": gate} for gate in GATES] + [{"levels": (2, 2)}, {"m_step": "ecm"}])
def test_classifiers_of_every_kind_learn_and_come_back_from_files(options, tmp_path):
    X, y = load_iris(return_X_y=True)
    names = np.array(["a", "b", "c"])[y]
    model = MixtureOfExpertsClassifier(2, n_init=1, max_iter=50, random_state=0, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, names)
    assert model.score(X, names) > 0.95
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1, rtol=1e-12)
    truth = np.log(model.predict_proba(X)[np.arange(150), y])
    np.testing.assert_allclose(model.log_density(X, names), truth, atol=1e-8)
    assert (model.sample(X, random_state=0) == names).mean() > 0.8
    shares = model.gate_proba(X)[:, :, None] * np.exp(
        model._best.emissions["expert"].log_probabilities(model._unanswered(X).given).numpy()
    )
    own = shares[np.arange(150), :, y]
    np.testing.assert_allclose(model.responsibilities(X, names), own / own.sum(1, keepdims=True), atol=1e-8)
    model.save(tmp_path / "m.emnet")
    again = load(tmp_path / "m.emnet")
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    assert again.log_evidence_ == model.log_evidence_


@pytest.mark.parametrize("options", [{"gate": gate} for gate in GATES] + [{"levels": (2, 2)}, {"dtype": "float32"}])
def test_regressors_come_back_from_files(options, tmp_path):
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(2, n_init=2, random_state=0, **options).fit(X, y)
    model.save(tmp_path / "m.emnet")
    again = load(tmp_path / "m.emnet")
    assert (again.predict(X) == model.predict(X)).all()
    assert (again.noise_ == model.noise_).all()
    assert again.history_ == model.history_


def test_holes_cost_little_where_the_gaussian_gate_integrates_them_out():
    X, y = two_lines(400)
    holes, _ = two_lines(400, holes=0.15)
    whole = MixtureOfExpertsRegressor(2, gate="gaussian", random_state=0).fit(X, y)
    partial = MixtureOfExpertsRegressor(2, gate="gaussian", random_state=0).fit(holes, y)
    assert partial.score(X, y) > whole.score(X, y) - 0.02
    assert np.isfinite(partial.predict(holes)).all()
    assert np.isfinite(partial.sample(holes, random_state=0)).all()


@pytest.mark.parametrize("model", [MixtureOfExpertsRegressor(2), MixtureOfExpertsClassifier(2, gate="gaussian")])
def test_holes_are_refused_where_they_cannot_be_integrated_out(model):
    X, _ = two_lines(holes=0.2)
    with pytest.raises(InvalidInputError, match="NaN"):
        model.fit(X, np.arange(len(X)) % 2)


# -- their promises -------------------------------------------------------------------------------------------------


def test_an_expert_without_noise_is_named():
    X, _ = two_branches(40)
    with pytest.raises(CollapsedComponentError, match=r"expert \d") as caught:
        MixtureOfExpertsRegressor(2, prior=0.0, noise_prior=0.0, random_state=0).fit(X, np.abs(X[:, 0]))
    assert caught.value.components
    assert MixtureOfExpertsRegressor(2, random_state=0).fit(X, np.abs(X[:, 0])).score(X, np.abs(X[:, 0])) > 0.99


@pytest.mark.parametrize("experts", ["regressor", "classifier"])
def test_a_gate_that_collapses_says_whose_and_what_to_do_here(experts):
    X = RNG(0).randn(200, 2)
    if experts == "regressor":
        model, y, said = MixtureOfExpertsRegressor(2, gate="gaussian", prior=0, noise_prior=0), X[:, 0], "targets"
    else:
        model, y, said = MixtureOfExpertsClassifier(2, gate="gaussian", prior=0), X[:, 0] > 0, "of its inputs is"
        X[:, 1] = X[:, 0]
    with pytest.raises(CollapsedComponentError, match=rf"expert 0.*{said}.*prior") as caught:
        model.set_params(random_state=0).fit(X, y)
    assert caught.value.components
    assert "reg_covar" not in str(caught.value)
    assert ("noise_prior" in str(caught.value)) == (experts == "regressor")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("gate", GATES)
def test_far_inputs_are_answered_or_named(gate, dtype):
    """Never NaN: squares of what is let in are numbers."""
    X, y = two_lines(100)
    options = {"gate": gate, "dtype": dtype, "random_state": 0, "n_init": 1, "prior": 1e-4}
    model = MixtureOfExpertsRegressor(2, **options).fit(X, y)
    classes = MixtureOfExpertsClassifier(2, **options).fit(X, y[:, 0] > y[:, 0].mean())
    sizes = 10.0 ** np.arange(3, 305, 5)
    for number, size in enumerate(sizes):
        far = np.array([[size, 0.0], [size, -size], [-size, 1.0]])
        try:
            found = [*model.predict(far, return_std=True), model.gate_proba(far), classes.predict_proba(far)]
        except InvalidInputError:
            assert number >= 2
            with pytest.raises(InvalidInputError, match="too far from the training data"):
                model.sample(far)
        else:
            assert size < 1e150
            found += [model.predict_distribution(far).quantiles, model.sample(far, random_state=0)]
            assert all(np.isfinite(own).all() for own in found)


def test_a_far_input_is_named_by_its_column():
    pandas = pytest.importorskip("pandas")
    X, y = two_lines(50)
    model = MixtureOfExpertsRegressor(2, random_state=0, n_init=1).fit(pandas.DataFrame(X, columns=["a", "b"]), y)
    with pytest.raises(InvalidInputError, match="Row 1, column 'b' holds 1e\\+200, too far"):
        model.predict(pandas.DataFrame([[0.0, 0.0], [0.0, 1e200]], columns=["a", "b"]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("algorithm", ["auto", "em", "adam"])
def test_a_gate_of_a_module_without_parameters(algorithm, dtype):
    X, y = two_lines(100)
    options = {"random_state": 0, "n_init": 1, "max_iter": 30, "algorithm": algorithm, "dtype": dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MixtureOfExpertsRegressor(2, gate=torch.nn.Flatten(), **options).fit(X, y)
    scaled = np.exp((X - model.input_mean_) / model.input_scale_)
    np.testing.assert_allclose(model.gate_proba(X), scaled / scaled.sum(axis=1, keepdims=True), rtol=1e-5)


def test_quantiles_are_a_number_or_some():
    X, y = two_branches(50)
    model = MixtureOfExpertsRegressor(2, random_state=0, n_init=1).fit(X, y)
    one, some = (model.predict_distribution(X, levels).quantiles for levels in (0.5, [0.5]))
    assert one.shape == (50, 1)
    assert (one == some).all()
    assert model.predict_distribution(X, []).quantiles.shape == (50, 0)
    for wrong in ("a", [0.0], 1.0, [[0.5]], None):
        with pytest.raises(InvalidInputError, match="quantiles must be a number between 0 and 1, or a list"):
            model.predict_distribution(X, wrong)


def test_infinity_under_a_gate_that_takes_holes():
    X, y = two_branches(50)
    model = MixtureOfExpertsRegressor(2, gate="gaussian", random_state=0, n_init=1).fit(X, y)
    with pytest.raises(InvalidInputError, match=r"contains infinity.*make the cells NaN\.$"):
        model.predict(np.where(X > 1, np.inf, X))


def test_offsets_and_scales_change_nothing():
    X, y = two_lines()
    plain = MixtureOfExpertsRegressor(2, random_state=0).fit(X, y)
    moved = MixtureOfExpertsRegressor(2, random_state=0).fit(X * 1e100, y * 1e-100)
    np.testing.assert_allclose(moved.predict(X * 1e100) * 1e100, plain.predict(X), rtol=1e-6)


def test_weights_are_rows_and_seeds_are_kept():
    X, y = two_lines(60)
    weights = RNG(1).randint(0, 3, 60)
    weighted = MixtureOfExpertsRegressor(2, random_state=0).fit(X, y, sample_weight=weights)
    repeated = MixtureOfExpertsRegressor(2, random_state=0).fit(np.repeat(X, weights, 0), np.repeat(y, weights, 0))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7)
    again = MixtureOfExpertsRegressor(2, random_state=0).fit(X, y, sample_weight=weights)
    assert (again.predict(X) == weighted.predict(X)).all()


def test_the_best_start_is_kept_and_a_warm_start_goes_on():
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(4, n_init=4, random_state=0, warm_start=True).fit(X, y)
    reached = [fit.last.objective for fit in model.fits_]
    assert model.history_[-1]["objective"] == max(reached)
    before = model.history_[-1]["objective"]
    assert model.fit(X, y).history_[0]["objective"] >= before - 1e-9 * abs(before)
    assert len(model.members_) == 4
    with pytest.raises(InvalidInputError, match="go on with 4 experts"):
        model.set_params(n_experts=2).fit(X, y)


def test_an_interrupted_fit_keeps_the_best():
    X, y = two_lines()

    def stop(model, iteration):
        if iteration.number == 2:
            raise KeyboardInterrupt

    model = MixtureOfExpertsRegressor(3, random_state=0, callbacks=[stop])
    with pytest.raises(FitInterrupted):
        model.fit(X, y)
    assert model.reason_ == "interrupted"
    assert np.isfinite(model.predict(X)).all()


def test_a_later_start_that_is_interrupted_is_kept_where_it_is_the_best():
    rng = np.random.RandomState(0)
    X = rng.uniform(-3, 3, (120, 1))
    y = np.sin(3 * X[:, 0]) + 0.1 * rng.randn(120)
    first, second = MixtureOfExpertsRegressor(4, n_init=2, random_state=3).fit(X, y).fits_
    assert second.last.objective > first.last.objective + 5
    late = InterruptAt(len(first.history) + len(second.history) - 1)
    model = MixtureOfExpertsRegressor(4, n_init=2, random_state=3, callbacks=[late])
    with pytest.raises(FitInterrupted):
        model.fit(X, y)
    assert model.history_[-1]["objective"] == pytest.approx(second.last.objective, rel=1e-3)


def test_early_stopping_and_printing(capsys):
    X, y = two_lines()
    model = MixtureOfExpertsRegressor(3, n_init=1, early_stopping=True, verbose=True, random_state=0).fit(X, y)
    assert np.isfinite(model.log_evidence_)
    assert "mean log p(y|x)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_experts": 0}, "n_experts must be"),
        ({"levels": (2, 0)}, "levels must be"),
        ({"levels": 4}, "levels must be the branches"),
        ({"gate": "tree"}, "gate must be 'softmax'"),
        ({"expert": 3}, "expert must be"),
        ({"gate": "gaussian", "levels": (2, 2)}, "does not go with"),
        ({"m_step": "best"}, "m_step must be one of"),
        ({"algorithm": "sgd"}, "algorithm must be one of"),
        ({"prior": (1, 2, 3)}, "prior must be"),
        ({"prior": -1.0}, "prior must be"),
        ({"noise_prior": -1.0}, "noise_prior must be"),
        ({"init_params": "best"}, "init_params must be"),
    ],
)
def test_bad_parameters_are_named(options, message):
    X, y = two_lines(30)
    with pytest.raises(InvalidInputError, match=message):
        MixtureOfExpertsRegressor(**options).fit(X, y)


def test_bad_questions_are_named():
    X, y = two_lines(30)
    model = MixtureOfExpertsRegressor(2, n_init=1, random_state=0).fit(X, y)
    with pytest.raises(InvalidInputError, match="y must be"):
        model.responsibilities(X, y[:, 0])
    with pytest.raises(InvalidInputError, match="quantiles must be"):
        model.predict_distribution(X, quantiles=(0.5, 2.0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("gate", GATES)
def test_a_gpu_gives_the_same(gate):
    X, y = two_lines()
    fits = [MixtureOfExpertsRegressor(2, gate=gate, random_state=0, device=d).fit(X, y) for d in ("cpu", "cuda")]
    np.testing.assert_allclose(fits[0].predict(X), fits[1].predict(X), rtol=1e-6)


def regressions(X, y, **options):
    """Regressions without a gate and without priors, by maximum likelihood."""
    model = MixtureOfExpertsRegressor(
        2, gate="constant", prior=0.0, noise_prior=0.0, n_init=5, tol=1e-12, max_iter=2000, random_state=0, **options
    )
    return model.fit(X, y)


def test_flexmixs_regressions_of_npreg():
    """Leisch 2004, JSS 11(8): log L −642.5451, BIC 1332.775 with 9 parameters: variances by n − 3 in place of n."""
    table = np.loadtxt(DATA / "npreg.csv", delimiter=",", skiprows=1)
    x, y, n = table[:, 0], table[:, 1], len(table)
    X = np.column_stack((x, x**2))
    model = regressions(X, y)
    reached = model.log_density(X, y).sum()
    assert model.converged_
    assert reached == pytest.approx(-642.5320, abs=1e-4)
    assert reached > -642.5451
    member, batch = model._best, model._answered(X, y)
    with torch.no_grad():
        for _ in range(100):
            member.m_step(member.statistics(batch, member.posterior(batch)))
            member.emissions["expert"].log_variance += np.log(n / (n - 3))
        unbiased = member.posterior(batch).log_evidence.sum().item() - n * np.log(model.target_scale_[0])
    assert unbiased == pytest.approx(-642.5451, abs=2e-4)
    assert -2 * unbiased + 9 * np.log(n) == pytest.approx(1332.775, abs=5e-4)


class PoissonRegressions(torch.nn.Module):
    """log Poisson(y; exp(b_k + w_k x)) of each state, an expert that the library does not have."""

    def __init__(self, n_states):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(0.1 * torch.randn(n_states, 2, generator=generator, dtype=torch.float64))

    def forward(self, rows, given):
        log_mean = with_constant(given) @ self.weight.T
        return rows * log_mean - log_mean.exp() - torch.lgamma(rows + 1)


def test_flexmixs_poisson_regressions_of_npreg():
    """Leisch 2004: log L −440.6424, where flexmix stops; the maximum is 0.002 above, and there every score is 0."""
    table = torch.as_tensor(np.loadtxt(DATA / "npreg.csv", delimiter=",", skiprows=1))
    batch = Batch(table[:, 2:3], given=with_constant(table[:, :1]))
    model = Mixture(MixingWeights(torch.tensor([0.5, 0.5])), ModuleDensity(PoissonRegressions(2)))
    fit = run(model, batch, LBFGS(EM(Exact())), inference=Exact(), tol=1e-12)
    assert fit.converged
    assert fit.last.log_evidence == pytest.approx(-440.640294, abs=1e-6)
    X, y = with_constant(table[:, :1]).numpy(), table[:, 2].numpy()
    shares = model.posterior(batch).responsibilities.numpy()
    np.testing.assert_allclose(model.weights.log_probabilities.exp(), shares.mean(axis=0), rtol=1e-4)
    for share, weight in zip(shares.T, model.emissions["emission"].network.weight.detach().numpy(), strict=True):
        assert np.abs(X.T @ (share * (y - np.exp(X @ weight)))).max() < 1e-2  # the score of each weighted regression


def test_mixtools_regressions_of_co2():
    """Benaglia et al. 2009, JSS 32(6): CO2 by gross national product of 28 countries, log L −66.93977."""
    table = np.loadtxt(DATA / "co2data.csv", delimiter=",", skiprows=1, usecols=(0, 1))
    model = regressions(table[:, :1], table[:, 1], init_params="random")
    assert model.log_density(table[:, :1], table[:, 1]).sum() == pytest.approx(-66.93977, abs=1e-4)


def test_networks_start_where_a_gradient_step_of_a_fixed_rate_would_diverge():
    rng = np.random.RandomState(0)
    x = np.sort(rng.rand(400) * 4 - 2)
    y = np.where(rng.rand(400) < 0.35, -1, 1) * (1 + np.sin(2 * x)) + 0.1 * rng.randn(400)
    expert = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    model = MixtureOfExpertsRegressor(2, expert=expert, n_init=1, max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x[:, None], y)
    assert (model.noise_ < y.std()).all()


# -- how a run ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("batch_size", [None, 50])
def test_a_schedule_that_ends_below_the_maximum_has_not_converged(gate, batch_size):
    """Its rate falls to 0, so the last pass stands still wherever it is."""
    X, y = two_branches()
    options = {"gate": gate, "random_state": 0, "n_init": 1}
    best = MixtureOfExpertsRegressor(2, algorithm="lbfgs", tol=1e-9, max_iter=2000, **options).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it ended as planned
        model = MixtureOfExpertsRegressor(2, algorithm="adam", max_iter=10, batch_size=batch_size, **options).fit(X, y)
    assert model.log_evidence_ < best.log_evidence_ - 1
    assert (model.converged_, model.reason_, model.n_iter_) == (False, "max_iter", 10)


@pytest.mark.parametrize("algorithm", ["online", "incremental"])
def test_passes_on_estimates_are_all_taken(algorithm):
    """Even from a maximum, where every pass stands still."""
    X, y = two_branches()
    options = {"gate": "constant", "random_state": 0, "n_init": 1, "warm_start": True}
    model = MixtureOfExpertsRegressor(2, algorithm="em", tol=1e-12, max_iter=2000, **options).fit(X, y)
    assert model.converged_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(algorithm=algorithm, max_iter=7).fit(X, y)
    assert (model.converged_, model.reason_, model.n_iter_) == (False, "max_iter", 7)


def test_a_mini_batch_that_reports_exact_sums_is_warned_of():
    X, y = two_branches()
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        MixtureOfExpertsRegressor(2, algorithm="em", max_iter=2, n_init=1, batch_size=50, random_state=0).fit(X, y)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("gate", GATES)
def test_a_fall_that_is_float32s_rounding_is_a_rest(gate, standardize):
    """The noise is a thousandth of the target's range, and expanded quadratics of such narrow Gaussians lose digits."""
    rng = RNG(0)
    X = rng.randn(120, 2) * [1, 50] + [3, -1000 if standardize else 0]
    y = np.where(X[:, 0] > 3, 2 * X[:, 0], -X[:, 0]) + 0.1 * rng.randn(120)
    options = {"gate": gate, "standardize": standardize, "n_init": 1, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error", EvidenceDecreasedWarning)
        narrow, wide = (MixtureOfExpertsRegressor(3, dtype=t, **options).fit(X, y) for t in ("float32", "float64"))
    assert (narrow.converged_, narrow.reason_) == (True, "converged")
    assert narrow.log_density(X, y).mean() == pytest.approx(wide.log_density(X, y).mean(), abs=2e-2)
    assert narrow.log_evidence_ == narrow.history_[-1]["log_evidence"]


# -- fits that go on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"prior": 1000.0}, {"noise_prior": 100.0}, {"gate": "gaussian", "prior": 5.0}])
def test_a_fit_goes_on_under_the_priors_of_now(options):
    """It reaches the maximum that a fit from nothing reaches, not the one it came from."""
    X, y = two_branches()
    always = {"gate": options.get("gate", "softmax"), "random_state": 0, "n_init": 1, "tol": 1e-10, "max_iter": 3000}
    cold = MixtureOfExpertsRegressor(2, **always, **{k: v for k, v in options.items() if k != "gate"}).fit(X, y)
    warm = MixtureOfExpertsRegressor(2, warm_start=True, **always).fit(X, y)
    before = warm.log_evidence_
    warm.set_params(**options).fit(X, y)
    assert warm.prior_ == cold.prior_
    assert abs(warm.log_evidence_ - before) > 0.1
    assert warm.history_[-1]["objective"] == pytest.approx(cold.history_[-1]["objective"], rel=1e-4)


def test_a_fit_goes_on_by_the_m_step_of_now_from_the_same_bits():
    X, y = two_branches()
    model = MixtureOfExpertsClassifier(2, random_state=0, n_init=1, warm_start=True).fit(X, y > 0)
    kept = [own.clone() for own in model.members_[0].parameters()]
    model.set_params(m_step="mm", callbacks=[lambda model, line: True]).fit(X, y > 0)  # which ends where it began
    assert {type(part.m_step).__name__ for part in model.members_[0].weights.parts} == {"FixedBound"}
    assert all(torch.equal(a, b) for a, b in zip(kept, model.members_[0].parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gate": "gaussian"}, "go on with gate='softmax'; it is now 'gaussian'"),
        ({"expert": small_module(1, 1)}, "go on with expert='linear'; it is now Sequential"),
        ({"dtype": "float32"}, "go on with dtype='float64'; it is now 'float32'"),
        ({"n_experts": 3}, "go on with 2 experts"),
        ({"levels": (2, 1)}, "go on with levels=None"),
    ],
)
def test_a_fit_does_not_go_on_with_another_model(change, said):
    X, y = two_branches(50)
    model = MixtureOfExpertsRegressor(2, random_state=0, n_init=1, warm_start=True).fit(X, y)
    model.set_params(**change)
    for go_on in (model.fit, model.partial_fit):
        with pytest.raises(InvalidInputError, match=said):
            go_on(X, y)


def test_a_fit_does_not_go_on_with_other_columns_or_targets():
    X, y = two_branches(50)
    model = MixtureOfExpertsRegressor(2, random_state=0, n_init=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="X has 2 features"):
        model.fit(np.hstack((X, X)), y)
    with pytest.raises(InvalidInputError, match="1 target; y has 2"):
        model.fit(X, np.column_stack((y, y)))
    assert model.n_features_in_ == 1
    assert model.predict(X).shape == (50,)


def test_modules_go_on_with_their_parameters_under_another_prior():
    X, y = two_branches(60)
    module = small_module(1, 1)
    model = MixtureOfExpertsRegressor(2, expert=module, random_state=0, n_init=1, warm_start=True, max_iter=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        first = model.fit(X, y).log_evidence_
        model.set_params(prior=(0.1, 1e3)).fit(X, y)
    assert model.log_evidence_ < first - 10
    with pytest.raises(InvalidInputError, match="go on with expert=Sequential; it is now another Sequential"):
        model.set_params(expert=small_module(1, 1)).fit(X, y)
