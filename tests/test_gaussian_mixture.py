"""The Gaussian mixture beside scikit-learn's, beside brute force, and where scikit-learn's cannot go."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture as Peer

import emnet
from emnet import (
    CollapsedComponentError,
    CollapsedComponentWarning,
    FitInterrupted,
    GaussianMixture,
    InvalidInputError,
    MixtureModel,
    NormalInverseWishart,
)
from tests.interruption import InterruptAt
from tests.oracles import enumerate_mixture, expected_moments, log_normal

X = load_iris().data
TYPES = ("full", "tied", "diag", "spherical")
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
types = pytest.mark.parametrize("kind", TYPES)


def clouds(n=300, d=4, seed=0, missing=0.0):
    rng = np.random.RandomState(seed)
    centers = 4 * rng.randn(3, d)
    state = rng.randint(3, size=n)
    rows = centers[state] + rng.randn(n, d) @ rng.randn(d, d) * 0.5
    rows[rng.rand(n, d) < missing] = np.nan
    return rows, state


def matrices(model):
    """The covariances as (k, d, d), whatever their type."""
    k, d = model.means_.shape
    if model.covariance_type == "tied":
        return np.broadcast_to(model.covariances_, (k, d, d))
    if model.covariances_.ndim == 3:
        return model.covariances_
    return np.stack([np.diag(np.broadcast_to(v, d)) for v in model.covariances_])


def given_start(kind, k=3, d=4, seed=0):
    rng = np.random.RandomState(seed)
    root = rng.randn(k, d, 2 * d)
    precisions = {
        "full": root @ root.transpose(0, 2, 1),
        "tied": root[0] @ root[0].T,
        "diag": rng.rand(k, d) + 0.5,
        "spherical": rng.rand(k) + 0.5,
    }[kind]
    return {
        "weights_init": np.array([0.2, 0.3, 0.5]),
        "means_init": X[rng.choice(len(X), k)],
        "precisions_init": precisions,
    }


# -- beside scikit-learn ----------------------------------------------------------------------------------------------


@types
@pytest.mark.parametrize("init", ["kmeans", "random", "k-means++", "random_from_data"])
def test_the_same_random_state_gives_scikit_learns_parameters(kind, init):
    if kind == "tied" and init in ("k-means++", "random_from_data"):
        pytest.skip("there scikit-learn divides the scatter of all rows by the number of those that were chosen")
    data = clouds(600)[0]
    options = {"n_components": 3, "covariance_type": kind, "init_params": init, "random_state": 1}
    options["n_init"] = 1 if init == "random" else 2  # two random starts reach one optimum: rounding would choose
    ours, peer = GaussianMixture(**options).fit(data), Peer(**options).fit(data)
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(ours, name), getattr(peer, name), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.lower_bounds_[1:], peer.lower_bounds_[1:], rtol=1e-9)
    assert (ours.n_iter_, ours.converged_) == (peer.n_iter_, peer.converged_)
    assert ours.lower_bound_ == pytest.approx(peer.lower_bound_, rel=1e-10)


@types
def test_a_given_start_and_all_methods_agree_with_scikit_learn(kind):
    options = {"n_components": 3, "covariance_type": kind, "random_state": 0, "max_iter": 200, **given_start(kind)}
    ours, peer = GaussianMixture(**options).fit(X), Peer(**options).fit(X)
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(ours, name), getattr(peer, name), rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(ours.predict(X), peer.predict(X))
    np.testing.assert_allclose(ours.predict_proba(X), peer.predict_proba(X), atol=1e-8)
    np.testing.assert_allclose(ours.score_samples(X), peer.score_samples(X), rtol=1e-8, atol=1e-8)
    for criterion in ("aic", "bic", "score"):
        assert getattr(ours, criterion)(X) == pytest.approx(getattr(peer, criterion)(X), rel=1e-9)
    for mine, theirs in zip(ours.sample(50), peer.sample(50), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@types
def test_no_iteration_keeps_the_start_as_scikit_learn_does(kind):
    options = {"n_components": 3, "covariance_type": kind, "max_iter": 0, "random_state": 3}
    ours, peer = GaussianMixture(**options).fit(X), Peer(**options).fit(X)
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(ours, name), getattr(peer, name), rtol=1e-8, atol=1e-9)
    assert (ours.n_iter_, ours.lower_bound_, ours.lower_bounds_) == (0, -np.inf, [])


def test_warm_start_goes_on_where_it_was():
    options = {"n_components": 3, "max_iter": 2, "warm_start": True, "random_state": 0, "tol": 1e-9}
    ours, peer = GaussianMixture(**options), Peer(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(4):
            ours.fit(X), peer.fit(X)
            np.testing.assert_allclose(ours.means_, peer.means_, rtol=1e-8)
    assert ours.lower_bound_ == pytest.approx(peer.lower_bound_, rel=1e-9)


def test_not_converged_warns_and_interrupted_keeps_the_best():
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model = GaussianMixture(3, max_iter=1, random_state=0).fit(X)
    assert not model.converged_
    assert model.reason_ == "max_iter"

    def interrupt(_, iteration):
        if iteration.number == 2:
            raise KeyboardInterrupt

    stopped = GaussianMixture(3, tol=0, random_state=0, callbacks=[interrupt])
    with pytest.raises(FitInterrupted):
        stopped.fit(X)
    assert (stopped.converged_, stopped.reason_) == (False, "interrupted")
    assert np.isfinite(stopped.score(X))


def test_a_later_start_that_is_interrupted_is_kept_where_it_is_the_best(tmp_path):
    X = make_blobs(300, 2, centers=6, cluster_std=0.4, random_state=3)[0]
    options = {"n_init": 2, "init_params": "random_from_data", "random_state": 8, "tol": 1e-6, "max_iter": 300}
    first, second = GaussianMixture(6, **options).fit(X).fits_
    assert second.last.objective > first.last.objective + 50
    late = InterruptAt(len(first.history) + len(second.history) - 1)
    model = GaussianMixture(6, callbacks=[late], **options)
    with pytest.raises(FitInterrupted):
        model.fit(X)
    assert (model.converged_, model.reason_) == (False, "interrupted")
    assert model.log_evidence_ == pytest.approx(300 * model.score(X)) == pytest.approx(second.last.objective, rel=1e-5)
    model.set_params(callbacks=()).save(tmp_path / "m.emnet")
    assert emnet.load(tmp_path / "m.emnet").history_ == model.history_


def test_a_second_start_that_is_interrupted_leaves_the_first():
    calls = []

    def interrupt(_, iteration):
        calls.append(iteration.number)
        if calls.count(0) == 2:
            raise KeyboardInterrupt

    model = GaussianMixture(3, n_init=2, random_state=0, callbacks=[interrupt])
    with pytest.raises(FitInterrupted):
        model.fit(X)
    assert (model.converged_, model.reason_) == (False, "interrupted")
    np.testing.assert_allclose(model.means_, GaussianMixture(3, random_state=0).fit(X).means_)


def test_a_start_that_fails_leaves_the_estimator_as_it_was():
    model = GaussianMixture(3, reg_covar=0, init_params="random_from_data", random_state=0)
    with pytest.raises(CollapsedComponentError):
        model.fit(X)
    with pytest.raises(NotFittedError):
        model.predict(X)


# -- holes ------------------------------------------------------------------------------------------------------------


@types
def test_densities_with_holes_equal_brute_force(kind):
    rows, _ = clouds(60, missing=0.4)
    rows[5] = np.nan
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(clouds(300)[0])
    densities = [
        lambda j, m=mean, c=covariance: log_normal(rows[j], m, c)
        for mean, covariance in zip(model.means_, matrices(model), strict=True)
    ]
    log_evidence, responsibilities = enumerate_mixture(np.tile(model.weights_, (60, 1)), densities)
    np.testing.assert_allclose(model.score_samples(rows), log_evidence, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.predict_proba(rows), responsibilities, atol=1e-9)
    np.testing.assert_array_equal(model.predict(rows), responsibilities.argmax(1))
    assert model.score_samples(rows)[5] == 0


@types
def test_an_m_step_with_holes_equals_brute_force(kind):
    rows, _ = clouds(80, missing=0.3)
    rows[7] = np.nan
    start = {**given_start(kind), "means_init": np.nan_to_num(rows[[0, 1, 2]], nan=1.0)}
    options = {"n_components": 3, "covariance_type": kind, "reg_covar": 0, **start}
    before = GaussianMixture(max_iter=0, **options).fit(rows)
    with pytest.warns(ConvergenceWarning):
        after = GaussianMixture(max_iter=1, **options).fit(rows)
    r = before.predict_proba(rows)
    own = matrices(before)
    means, covariances = np.zeros((3, 4)), np.zeros((3, 4, 4))
    seen = ~np.isnan(rows).all(axis=1)
    for k in range(3):
        found = [expected_moments(row, before.means_[k], own[k]) for row in rows[seen]]
        means[k] = sum(w * m for w, (m, _) in zip(r[seen, k], found, strict=True)) / r[seen, k].sum()
        second = sum(w * s for w, (_, s) in zip(r[seen, k], found, strict=True)) / r[seen, k].sum()
        covariances[k] = second - np.outer(means[k], means[k])
    if kind == "tied":
        share = r[seen].sum(axis=0) / seen.sum()
        covariances = np.broadcast_to(np.einsum("k,kij->ij", share, covariances), (3, 4, 4))
    elif kind != "full":
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        if kind == "spherical":
            variances = np.broadcast_to(variances.mean(axis=1, keepdims=True), (3, 4))
        covariances = np.stack([np.diag(v) for v in variances])
    np.testing.assert_allclose(after.means_, means, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(matrices(after), covariances, rtol=1e-8, atol=1e-10)


@types
def test_imputed_cells_are_their_conditional_means(kind):
    rows, _ = clouds(50, missing=0.3)
    rows[4] = np.nan
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(clouds(300)[0])
    r, own = model.predict_proba(rows), matrices(model)
    truth = [
        sum(r[j, k] * expected_moments(row, model.means_[k], own[k])[0] for k in range(3)) for j, row in enumerate(rows)
    ]
    np.testing.assert_allclose(model.impute(rows), truth, rtol=1e-9, atol=1e-9)


@types
@pytest.mark.parametrize("d", [4, 10])
def test_holes_do_not_lower_the_evidence_and_find_the_clusters(kind, d):
    rows, state = clouds(400, d=d, missing=1 / d)
    model = GaussianMixture(3, covariance_type=kind, random_state=0, reg_covar=0, tol=1e-6, max_iter=500).fit(rows)
    assert (np.diff(model.lower_bounds_) > -1e-12).all()
    labels = model.predict(rows)
    best = [np.bincount(state[labels == k], minlength=3).max() for k in range(3)]
    assert sum(best) / len(rows) > 0.9
    assert model.converged_
    assert np.isfinite(model.sample(20)[0]).all()


# -- weights, labels, priors, fixed parameters ------------------------------------------------------------------------


@types
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_sample_weights_are_repeated_rows(kind, missing):
    rows = clouds(150, missing=missing)[0]
    counts = np.random.RandomState(0).randint(0, 4, size=len(rows))
    options = {"n_components": 3, "covariance_type": kind, "max_iter": 20, **given_start(kind)}
    options["means_init"] = np.nan_to_num(rows[[0, 1, 2]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        weighted = GaussianMixture(**options).fit(rows, sample_weight=counts)
        repeated = GaussianMixture(**options).fit(np.repeat(rows, counts, axis=0))
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-8, atol=1e-9)
    assert weighted.lower_bound_ == pytest.approx(repeated.lower_bound_, rel=1e-10)


def test_known_components_are_kept_and_name_the_clusters():
    rows, state = clouds(200, seed=3)
    y = np.where(np.arange(len(rows)) % 10 == 0, state, -1)
    model = GaussianMixture(3, random_state=0).fit(rows, y)
    assert (model.predict(rows) == state).mean() > 0.95
    soft = np.where(y[:, None] >= 0, np.eye(3)[y], 1.0)
    np.testing.assert_allclose(GaussianMixture(3, random_state=0).fit(rows, soft).means_, model.means_, rtol=1e-9)
    everything = GaussianMixture(3, labels=True, reg_covar=0).fit(rows, state)
    for k in range(3):
        np.testing.assert_allclose(everything.means_[k], rows[state == k].mean(axis=0))
        np.testing.assert_allclose(everything.covariances_[k], np.cov(rows[state == k].T, bias=True))


def test_targets_of_a_pipeline_are_ignored_as_in_scikit_learn():
    np.testing.assert_array_equal(
        GaussianMixture(3, random_state=0).fit(X, load_iris().target).means_,
        GaussianMixture(3, random_state=0).fit(X).means_,
    )


def test_labels_that_cannot_be_used_are_named():
    with pytest.raises(InvalidInputError, match="a component from 0 to 2"):
        GaussianMixture(3).fit(X, np.where(np.arange(150) < 5, -1, 7))
    soft = np.ones((150, 3))
    soft[4] = 0
    with pytest.raises(InvalidInputError, match="row 4"):
        GaussianMixture(3).fit(X, soft)


def test_fixed_parameters_keep_their_start():
    start = given_start("full")
    model = GaussianMixture(3, fixed=("means", "weights"), **start, max_iter=300).fit(X)
    np.testing.assert_allclose(model.means_, start["means_init"], rtol=1e-12)
    np.testing.assert_allclose(model.weights_, start["weights_init"], rtol=1e-12)
    kept = GaussianMixture(3, fixed=("covariances",), **start, max_iter=300).fit(X)
    np.testing.assert_allclose(kept.precisions_, start["precisions_init"], rtol=1e-9)
    with pytest.raises(InvalidInputError, match="give the values they are to keep as means_init"):
        GaussianMixture(3, fixed=("means",)).fit(X)


@types
def test_a_prior_raises_its_objective_and_holds_components_open(kind):
    rows = np.repeat(clouds(12)[0], 3, axis=0)
    model = GaussianMixture(5, covariance_type=kind, prior="auto", reg_covar=0, random_state=0, max_iter=500).fit(rows)
    objective = [line["objective"] for line in model.history_]
    assert (np.diff(objective) >= -1e-9 * np.abs(objective[:-1])).all()
    assert min(np.linalg.eigvalsh(c).min() for c in matrices(model)) > 1e-3


def test_a_strong_prior_is_where_it_says():
    prior = NormalInverseWishart(1e6 * np.eye(4), 1e6 - 5, np.full(4, 7.0), 1e6)
    model = GaussianMixture(2, prior=prior, random_state=0).fit(X)
    np.testing.assert_allclose(model.means_, 7.0, rtol=1e-2)
    np.testing.assert_allclose(model.covariances_[0], np.eye(4), atol=0.05)
    even = GaussianMixture(3, weight_concentration=1e6, random_state=0).fit(X)
    np.testing.assert_allclose(even.weights_, 1 / 3, rtol=1e-3)


# -- numbers ----------------------------------------------------------------------------------------------------------


@types
def test_an_offset_of_1e9_changes_nothing(kind):
    rows = np.round(clouds(300)[0] * 64) / 64  # exact beside the offset
    plain = GaussianMixture(3, covariance_type=kind, random_state=0).fit(rows)
    moved = GaussianMixture(3, covariance_type=kind, random_state=0).fit(rows + 2.0**30)
    np.testing.assert_allclose(moved.covariances_, plain.covariances_, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(moved.means_ - 2.0**30, plain.means_, atol=1e-6)
    np.testing.assert_array_equal(moved.predict(rows + 2.0**30), plain.predict(rows))


@types
def test_components_far_narrower_than_the_data_keep_their_digits(kind):
    rng = np.random.RandomState(0)
    rows = np.concatenate([1e-5 * rng.randn(200, 3), 1.0 + 1e-5 * rng.randn(200, 3), 1e3 * rng.randn(20, 3)])
    options = {"covariance_type": kind, "reg_covar": 0, "means_init": [[0.0] * 3, [1.0] * 3]}
    model = GaussianMixture(2, random_state=0, **options).fit(rows[:400])
    for k, part in enumerate((rows[:200], rows[200:400])):
        np.testing.assert_allclose(model.means_[k], part.mean(axis=0), atol=1e-12)
        if kind == "full":
            np.testing.assert_allclose(model.covariances_[k], np.cov(part.T, bias=True), rtol=1e-7, atol=1e-18)
        if kind == "diag":
            np.testing.assert_allclose(model.covariances_[k], part.var(axis=0), rtol=1e-7)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_extreme_scales(scale):
    rows = clouds(300)[0]
    plain = GaussianMixture(3, random_state=0, reg_covar=0).fit(rows)
    model = GaussianMixture(3, random_state=0, reg_covar=0, means_init=plain.means_ * scale).fit(rows * scale)
    np.testing.assert_allclose(model.means_ / scale, plain.means_, rtol=1e-3, atol=1e-3)
    assert model.score(rows * scale) == pytest.approx(plain.score(rows) - 4 * np.log(scale), abs=1e-2)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scales_whose_squares_are_no_numbers_are_refused(scale):
    with pytest.raises(InvalidInputError, match="beyond what float64 can hold"):
        GaussianMixture(2).fit(X * scale)


@types
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_float32_is_float64_but_for_rounding(kind, missing):
    rows = clouds(500, missing=missing)[0] + 1000.0
    double = GaussianMixture(3, covariance_type=kind, random_state=0).fit(rows)
    single = GaussianMixture(3, covariance_type=kind, random_state=0, dtype="float32").fit(rows)
    np.testing.assert_allclose(single.covariances_, double.covariances_, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(single.means_, double.means_, rtol=1e-5)
    assert (single.predict(rows) == double.predict(rows)).mean() > 0.99


def test_float32_covariances_of_data_far_from_zero_are_right():
    """scikit-learn's issue 30382: float32 rows near 1e4 with a standard deviation of 0.3 gave 112.1 for 0.1."""
    rng = np.random.RandomState(0)
    rows = (rng.randn(5000, 2) * 0.3162 + 1e4).astype(np.float32)
    truth = np.cov(rows.astype(float).T, bias=True)
    for dtype in ("float32", "float64"):
        model = GaussianMixture(1, dtype=dtype).fit(rows)
        np.testing.assert_allclose(model.covariances_[0], truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("init", ["k-means++", "random_from_data"])
@types
def test_a_start_of_single_rows_keeps_its_digits(kind, init):
    """A component that starts at one row has the variance reg_covar, which sums of squares near 1e6 do not show."""
    rows = load_wine().data
    first = GaussianMixture(3, covariance_type=kind, init_params=init, random_state=1, max_iter=1)
    for dtype in ("float32", "float64"):
        model = first.set_params(dtype=dtype)
        model.fit(rows)
        assert np.isfinite(model.lower_bound_)
        if kind != "tied":
            peer = Peer(3, covariance_type=kind, init_params=init, random_state=1, max_iter=1).fit(rows)
            np.testing.assert_allclose(model.means_, peer.means_, rtol=1e-4 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("missing", [False, True])
def test_narrow_clusters_that_lie_far_apart_start_with_all_their_digits(dtype, missing):
    rng = np.random.RandomState(0)
    far = 1e4 if dtype == "float32" else 1e7
    rows = np.concatenate([rng.randn(200, 2), rng.randn(100, 2) + far]).astype(dtype)
    if missing:
        rows[::7, 0] = np.nan
    model = GaussianMixture(2, random_state=0, dtype=dtype).fit(rows)
    order = np.argsort(model.means_[:, 0])
    for k, own in zip(order, (rows[:200], rows[200:]), strict=True):
        own = own[~np.isnan(own).any(axis=1)].astype(float)
        tolerance = {"atol": 0.1} if missing else {"rtol": 1e-3, "atol": 1e-4}
        np.testing.assert_allclose(model.covariances_[k], np.cov(own.T, bias=True), **tolerance)


def test_two_rows_at_a_sentinel_value_are_a_component_as_in_scikit_learn():
    rng = np.random.RandomState(0)
    rows = np.concatenate([rng.randn(300, 2), np.full((2, 2), 9999999.0) + rng.randn(2, 2)])
    model, peer = (cls(2, random_state=0).fit(rows) for cls in (GaussianMixture, Peer))
    for name in PARAMETERS[:3]:
        np.testing.assert_allclose(getattr(model, name), getattr(peer, name), rtol=1e-8, atol=1e-8)


# -- what cannot be fitted --------------------------------------------------------------------------------------------


def test_collapse_is_an_error_that_names_the_component():
    rows = np.concatenate([clouds(50)[0], np.full((5, 4), 100.0)])
    with pytest.raises(CollapsedComponentError, match="component") as caught:
        GaussianMixture(4, reg_covar=0, random_state=0).fit(rows)
    assert len(caught.value.components) >= 1
    assert "decrease the number of components, increase reg_covar" in str(caught.value)
    with pytest.warns(CollapsedComponentWarning, match="smallest variance 1e-06"):
        model = GaussianMixture(4, random_state=0).fit(rows)
    assert np.isfinite(model.means_).all()


def test_bad_input_is_refused_in_words():
    for options, message in [
        ({"n_components": 0}, "n_components"),
        ({"covariance_type": "fool"}, "covariance_type must be 'full'"),
        ({"init_params": "none"}, "init_params"),
        ({"tol": -1}, "tol"),
        ({"max_iter": -1}, "max_iter"),
        ({"weights_init": [0.5, 0.1], "n_components": 2}, "normalized"),
        ({"means_init": np.zeros((3, 3)), "n_components": 2}, r"shape of \(2, 4\)"),
        ({"prior": "strong"}, "prior"),
        ({"fixed": ("mean",)}, "fixed"),
        ({"weight_concentration": 0.5}, "Dirichlet"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            GaussianMixture(**options).fit(X)
    rows = X.copy()
    rows[:, 2] = np.nan
    with pytest.raises(InvalidInputError, match="Column 2 has nothing but NaN"):
        GaussianMixture().fit(rows)
    with pytest.raises(ValueError, match="infinity"):
        GaussianMixture().fit(np.where(X > 7, np.inf, X))
    with pytest.raises(InvalidInputError, match="n_samples >= n_components"):
        GaussianMixture(200).fit(X)


# -- files ------------------------------------------------------------------------------------------------------------


@types
def test_a_model_file_holds_it_all(kind, tmp_path):
    model = GaussianMixture(
        3,
        covariance_type=kind,
        random_state=0,
        prior=NormalInverseWishart(np.eye(4), 2.0),
        weight_concentration=[2, 1, 1],
    ).fit(X)
    model.save(tmp_path / "m.emnet")
    other = emnet.load(tmp_path / "m.emnet")
    np.testing.assert_array_equal(other.score_samples(X), model.score_samples(X))
    assert other.history_ == model.history_
    assert (other.bic(X), other.converged_, other.lower_bounds_) == (model.bic(X), True, model.lower_bounds_)
    np.testing.assert_allclose(other.set_params(warm_start=True).fit(X).means_, model.means_, rtol=1e-2)
    other.save(tmp_path / "again.emnet")


# -- figures published elsewhere --------------------------------------------------------------------------------------

OLD_FAITHFUL = np.loadtxt(Path(__file__).parent / "data" / "faithful.csv", delimiter=",", skiprows=1)
"""Eruptions of Old Faithful, minutes, and waiting times to the next: R's `datasets::faithful`."""


def test_mclusts_fit_of_old_faithful():
    """Scrucca et al. 2016, The R Journal 8:289: EEE with three components, log L −1126.326, BIC −2314.316."""
    model = GaussianMixture(3, covariance_type="tied", n_init=20, random_state=0, reg_covar=0, tol=1e-5, max_iter=1000)
    model.fit(OLD_FAITHFUL)
    assert model.log_evidence_ == pytest.approx(-1126.326, abs=1e-3)
    assert -2 * model.log_evidence_ + 11 * np.log(272) == pytest.approx(2314.316, abs=1e-3)
    assert model._n_parameters() == 11


def test_mixtools_fit_of_waiting_times():
    """Benaglia et al. 2009, JSS 32(6): two components with one variance."""
    waiting = OLD_FAITHFUL[:, 1:]
    model = GaussianMixture(2, covariance_type="tied", random_state=0, reg_covar=0, tol=1e-10, max_iter=1000)
    model.fit(waiting)
    assert model.log_evidence_ == pytest.approx(-1034.002, abs=1e-3)
    np.testing.assert_allclose(np.sort(model.means_[:, 0]), [54.614, 80.090], atol=1e-3)
    assert np.sqrt(model.covariances_[0, 0]) == pytest.approx(5.869, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "bic"),
    [
        ("EII", -878.7650),
        ("VII", -853.8144),
        ("EEI", -813.0504),
        ("VEI", -779.1566),
        ("EVI", -797.8342),
        ("VVI", -744.6382),
        ("EEE", -632.9647),
        ("VEE", -605.3982),
        ("VEV", -562.5522),
        ("VVV", -580.8396),
    ],
)
def test_mclusts_bic_of_iris_with_three_components(kind, bic):
    """The table that `mclustBIC(iris[, -5])` prints; mclust's BIC has the other sign, and it stops a little sooner."""
    model = GaussianMixture(3, covariance_type=kind, reg_covar=0, random_state=0, tol=1e-6, max_iter=1000).fit(X)
    assert -model.bic(X) == pytest.approx(bic, abs=0.02)


# -- streams ----------------------------------------------------------------------------------------------------------


def test_partial_fit_learns_from_pieces(tmp_path):
    rows = clouds(6000, missing=0.05)[0]
    model = GaussianMixture(3, random_state=0)
    for piece in np.array_split(rows, 20):
        model.partial_fit(piece)
    whole = GaussianMixture(3, random_state=0).fit(rows)
    assert model.score(rows) == pytest.approx(whole.score(rows), abs=0.02)
    model.save(tmp_path / "m.emnet")
    went_on = emnet.load(tmp_path / "m.emnet").partial_fit(rows[:500])
    assert went_on.score(rows) == pytest.approx(whole.score(rows), abs=0.05)
    assert not model.converged_


def test_the_first_partial_fit_is_a_step_of_em():
    rows = clouds(300)[0]
    model = GaussianMixture(3, random_state=0, reg_covar=0).partial_fit(rows)
    with pytest.warns(ConvergenceWarning):
        once = GaussianMixture(3, random_state=0, reg_covar=0, max_iter=1).fit(rows)
    np.testing.assert_allclose(model.means_, once.means_, rtol=1e-10)
    np.testing.assert_allclose(model.covariances_, once.covariances_, rtol=1e-9)


# -- selection --------------------------------------------------------------------------------------------------------


def test_select_finds_the_number_of_components_and_shows_its_table():
    rows, _ = clouds(500, missing=0.05)
    found = GaussianMixture(random_state=0).select(rows, range(1, 6), ("full", "diag"))
    assert (found.best.n_components, found.best.covariance_type) == (3, "full")
    assert len(found.table) == 10
    assert found.table[0]["bic"] == found.best.bic(rows) == min(line["bic"] for line in found.table)
    assert GaussianMixture(random_state=0).select(rows, [2, 3], ["full"], "icl").best.n_components == 3


@pytest.mark.parametrize("cls", [GaussianMixture, MixtureModel])
def test_criteria_with_weights_are_those_of_the_rows_that_often(cls):
    X = load_iris().data
    weights = np.random.RandomState(0).randint(0, 4, len(X))
    repeated = np.repeat(X, weights, axis=0)
    model = cls(3, random_state=0).fit(X)
    for name in ("score", "bic", "aic", "icl"):
        criterion = getattr(model, name)
        assert criterion(X, sample_weight=weights) == pytest.approx(criterion(repeated), rel=1e-12)
    lines = cls(random_state=0).select(X, range(1, 4), sample_weight=weights).table
    for line in lines:
        own = {name: line[name] for name in ("covariance_type", "n_components") if name in line}
        assert line["bic"] == cls(random_state=0, **own).fit(X, sample_weight=weights).bic(X, weights)
    with pytest.raises(InvalidInputError, match="no y or sample_weight besides"):
        model.bic(emnet.stream([X]), weights)


def test_a_row_of_weight_zero_is_none_to_a_score():
    X = load_iris().data
    model = GaussianMixture(3, random_state=0).fit(X)
    far = np.vstack((X, np.full(4, 1e200)))
    assert model.score(far) == -np.inf
    assert model.score(far, sample_weight=np.append(np.ones(len(X)), 0)) == pytest.approx(model.score(X), rel=1e-12)


def test_select_passes_over_collapsed_fits():
    rows = np.concatenate([clouds(60)[0], np.full((4, 4), 50.0)])
    found = GaussianMixture(random_state=0).select(rows, range(1, 7), ["full"])
    problems = [line for line in found.table if line["problem"]]
    assert problems
    assert "component" in problems[0]["problem"]
    assert found.table[0]["problem"] is None
    with pytest.raises(InvalidInputError, match="criterion"):
        GaussianMixture().select(rows, [1], ["full"], "lowest")


# -- standard errors --------------------------------------------------------------------------------------------------


def test_standard_errors_of_one_component_are_those_of_the_textbook():
    rows = clouds(400)[0]
    model = GaussianMixture(1, reg_covar=0).fit(rows)
    errors = model.standard_errors(rows)
    covariance, variances = model.covariances_[0], np.diag(model.covariances_[0])
    np.testing.assert_allclose(errors["means"][0], np.sqrt(variances / 400), rtol=1e-5)
    expected = np.sqrt((np.outer(variances, variances) + covariance**2) / 400)
    np.testing.assert_allclose(errors["covariances"][0], expected, rtol=1e-4)
    assert errors["weights"][0] == pytest.approx(0.0, abs=1e-9)


@types
def test_standard_errors_are_the_spread_of_the_estimates(kind):
    centers = np.array([[0.0, 0.0], [3.0, 3.0]])
    options = {"covariance_type": kind, "reg_covar": 0, "means_init": centers, "tol": 1e-8, "max_iter": 1000}
    found, errors = [], []
    for seed in range(40):
        rng = np.random.RandomState(seed)
        rows = centers[(rng.rand(400) < 0.4).astype(int)] + rng.randn(400, 2)
        model = GaussianMixture(2, random_state=0, **options).fit(rows)
        found.append(np.concatenate((model.weights_, model.means_.ravel())))
        if seed < 5:
            own = model.standard_errors(rows)
            errors.append(np.concatenate((own["weights"], own["means"].ravel())))
    np.testing.assert_allclose(np.mean(errors, axis=0), np.std(found, axis=0), rtol=0.35)


def test_standard_errors_away_from_a_maximum_are_refused():
    with pytest.warns(ConvergenceWarning):
        model = GaussianMixture(4, max_iter=1, init_params="random", random_state=1).fit(X)
    with pytest.raises(InvalidInputError, match="not at a maximum"):
        model.standard_errors(X)


def test_the_bootstrap_test_sees_two_clusters_and_no_third():
    rng = np.random.RandomState(0)
    rows = np.concatenate([rng.randn(60, 1), 6 + rng.randn(60, 1)])
    rows[5, 0] = np.nan
    options = {"reg_covar": 1e-2, "random_state": 0}
    assert GaussianMixture(1, **options).fit(rows).bootstrap_test(rows, 19).p_value == 0.05
    assert GaussianMixture(2, **options).fit(rows).bootstrap_test(rows, 19).p_value > 0.05


def test_the_bootstrap_test_takes_a_weight_of_two_for_the_row_twice():
    rows, weights = np.random.RandomState(0).randn(40, 2), np.random.RandomState(1).randint(0, 3, 40)
    model = GaussianMixture(1, random_state=0)
    weighted, repeated = model.bootstrap_test(rows, 3, weights), model.bootstrap_test(np.repeat(rows, weights, 0), 3)
    np.testing.assert_array_equal(weighted.simulated, repeated.simulated)
    assert weighted.statistic == repeated.statistic
    with pytest.raises(InvalidInputError, match=r"whole numbers; one is 0\.5"):
        model.bootstrap_test(rows, 3, np.full(40, 0.5))


def test_mclusts_fit_of_reavens_diabetes():
    """mclust prints log L −2303.496 and BIC −4751.316, where it stops at a relative change of 1e-5.

    Its table has 45 in a cell (class Chemical, glucose 75, sspg 392) where others have 455.
    """
    rows = np.loadtxt(Path(__file__).parent / "data" / "reaven_diabetes.csv", delimiter=",", skiprows=1, dtype=str)
    X, diagnosis = rows[:, 1:].astype(float), rows[:, 0]
    groups = [X[diagnosis == name] for name in np.unique(diagnosis)]
    model = GaussianMixture(
        3,
        covariance_type="VVV",
        weights_init=[len(group) / len(X) for group in groups],
        means_init=[group.mean(axis=0) for group in groups],
        precisions_init=[np.linalg.inv(np.cov(group.T)) for group in groups],
        reg_covar=0,
        tol=1e-10,
        max_iter=1000,
    ).fit(X)
    assert -2303.496 <= model.log_evidence_ <= -2303.490
    assert model._n_parameters() == 29
    assert model.bic(X) == pytest.approx(4751.316, abs=0.01)
    assert model.icl(X) == pytest.approx(4770.336, abs=1e-3)  # an E-step nearer than where mclust prints 4770.169


def test_mclusts_printed_parameters_of_reavens_diabetes_lead_to_its_printed_figures():
    """Of its vignette: what it prints of evidence and ICL belongs to the E-step before the parameters that it prints.

    Near the maximum distances shrink geometrically, so two more iterations tell where the one before them was.
    """
    rows = np.loadtxt(Path(__file__).parent / "data" / "reaven_diabetes.csv", delimiter=",", skiprows=1, dtype=str)
    X = rows[:, 1:].astype(float)
    start = {
        "weights_init": [0.5368974, 0.2650129, 0.1980897],
        "means_init": [
            [90.96239, 357.79083, 163.74858],
            [104.5335, 494.8259, 309.5583],
            [229.42136, 1098.2599, 81.60001],
        ],
        "precisions_init": np.linalg.inv(
            [
                [[57.18044, 75.83206, 14.73199], [75.83206, 2101.76553, 322.82294], [14.73199, 322.82294, 2416.99074]],
                [[185.029, 1282.34, -509.7313], [1282.34, 14039.283, -2559.025], [-509.7313, -2559.025, 23835.7278]],
                [[5529.25, 20389.09, -2486.208], [20389.09, 83132.48, -10393.0], [-2486.208, -10393.0, 2217.533]],
            ]
        ),
    }
    models = [
        GaussianMixture(3, covariance_type="VVV", reg_covar=0, tol=0, max_iter=steps, **start) for steps in (0, 1, 500)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        here, next_, end = (model.fit(X) for model in models)
    assert sorted(np.bincount(here.predict(X))) == [28, 36, 81]
    for criterion, printed in (("bic", 4751.316), ("icl", 4770.169)):
        ends = getattr(end, criterion)(X)
        away, nearer = (getattr(model, criterion)(X) - ends for model in (here, next_))
        assert ends + away**2 / nearer == pytest.approx(printed, abs=3e-3)


@pytest.mark.parametrize("saved", [False, True])
def test_partial_fit_knows_how_much_it_has_learned_from(tmp_path, saved):
    """Of a file, too: 50 rows after 5000 have a step of 101^−0.6."""
    rng = np.random.RandomState(0)
    model = GaussianMixture(1, reg_covar=0.0)
    for _ in range(100):
        model.partial_fit(X[rng.permutation(150)[:50]])
    if saved:
        model.save(tmp_path / "m.emnet")
        model = emnet.load(tmp_path / "m.emnet")
    before, more = model.means_[0].copy(), X[:50] + 100
    share = (model.partial_fit(more).means_[0] - before) / (more.mean(0) - before)
    np.testing.assert_allclose(share, 101**-0.6, rtol=1e-6)


def test_a_few_rows_after_a_fit_to_many_change_little():
    rows = np.random.RandomState(0).randn(20_000, 2)
    model = GaussianMixture(1).fit(rows)
    mean = model.partial_fit(np.full((2, 2), 50.0)).means_[0]
    np.testing.assert_allclose(mean, rows.mean(0) + 10_001**-0.6 * (50 - rows.mean(0)), rtol=1e-6)


def test_select_goes_on_where_rows_are_too_few():
    found = GaussianMixture(random_state=0).select(X[:6], range(1, 9), ["diag"], criterion="bic")
    assert found.best.n_components < 7
    problems = [line["problem"] for line in found.table if line["n_components"] > 6]
    assert len(problems) == 2
    assert all("n_samples = 6" in problem for problem in problems)


def test_columns_that_depend_on_each_other_are_named():
    with pytest.raises(CollapsedComponentError, match=r"along a direction .*, by columns 0, 4") as error:
        GaussianMixture(1, reg_covar=0).fit(np.c_[X, X[:, 0]])
    assert "shared" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "precisions_init",
            np.eye(4) * np.array([1.0, -1.0, 1.0])[:, None, None],
            "positive-definite; that of component 1",
        ),
        ("means_init", np.where(np.eye(3, 4) * [0, 0, 1, 0] == 1, np.nan, 0.0), r"entry \[2, 2\] is NaN or infinite"),
    ],
)
def test_what_is_wrong_of_a_start_is_named(name, value, message):
    with pytest.raises(InvalidInputError, match=message):
        GaussianMixture(3, **{name: value}).fit(X)


def test_parameters_of_another_type_are_refused():
    model = GaussianMixture(2, random_state=0).fit(X).set_params(covariance_type="diag")
    with pytest.raises(InvalidInputError, match="Set it back, or fit anew"):
        model.predict(X)
    with pytest.raises(InvalidInputError, match=r"which must be \(2,\) booleans"):
        model.set_params(covariance_type="full").without_components([True, False, True])
