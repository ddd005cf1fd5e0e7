"""Components that are known of some rows, or in part: what y may be, and that it names the components."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.utils import check_random_state

from emnet import GMMHMM, GaussianHMM, GaussianMixture, InvalidInputError, MixtureModel, stream
from emnet.estimators import mixture_start

STARTS = tuple(mixture_start.STARTS)
ESTIMATORS = (GaussianMixture, MixtureModel)


def three_clusters() -> np.ndarray:
    """Rows 0 to 99, 100 to 199, 200 to 299."""
    rng = np.random.RandomState(0)
    return rng.randn(300, 2) + np.repeat([[0, 0], [6, 6], [0, 12]], 100, axis=0)


def one_row_each() -> np.ndarray:
    """The first cluster is component 2 and the second component 0, by one row of each."""
    y = np.full(300, -1)
    y[0], y[150] = 2, 0
    return y


def probably() -> np.ndarray:
    """The same, with 0.9 for each row of the two clusters."""
    soft = np.ones((300, 3))
    soft[:100], soft[100:200] = [0.05, 0.05, 0.9], [0.9, 0.05, 0.05]
    return soft


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [one_row_each, probably])
@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_is_known_names_the_clusters_whatever_the_seed(estimator, init, known):
    rows, names = three_clusters(), np.repeat([2, 0, 1], 100)
    for seed in range(20):
        model = estimator(3, random_state=seed, init_params=init).fit(rows, known())
        np.testing.assert_array_equal(model.predict(rows), names, err_msg=f"seed {seed}")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", STARTS)
def test_a_start_takes_the_order_that_agrees_best_with_soft_labels(name, weighted):
    for seed in range(20):
        rng = np.random.RandomState(seed)
        rows, soft = rng.randn(60, 2), rng.rand(60, 4) ** 3
        weights = rng.randint(1, 9, size=60).astype(float) if weighted else None
        blind = mixture_start.k_means(rows, 4, check_random_state(seed), weights)
        prior = soft / soft.max(axis=1, keepdims=True)
        mass = np.ones(60) if weights is None else weights
        best = max(permutations(range(4)), key=lambda order: (mass[:, None] * blind[:, list(order)] * prior).sum())
        expected = blind[:, list(best)] * prior
        expected = np.where(expected.sum(axis=1, keepdims=True) > 0, expected, prior)
        found = mixture_start.start(name, rows, 4, check_random_state(seed), weights, soft)
        np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=1e-14)


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("nothing", [np.full(60, -1), np.full((60, 4), 0.3)])
def test_labels_that_say_nothing_leave_the_start_as_it_is(name, nothing):
    rows = np.random.RandomState(0).randn(60, 2)
    blind = mixture_start.STARTS[name](rows, 4, check_random_state(3), None)
    found = mixture_start.start(name, rows, 4, check_random_state(3), None, nothing)
    np.testing.assert_array_equal(found, blind)


@pytest.mark.parametrize("init", STARTS)
def test_two_soft_labels_name_the_clusters_and_leave_the_fit_as_good(init):
    rows, soft = three_clusters(), np.ones((300, 3))
    soft[0], soft[150] = [0.05, 0.05, 0.9], [0.9, 0.05, 0.05]
    best = GaussianMixture(3, random_state=0, n_init=5).fit(rows).score(rows)
    for seed in range(20):
        model = GaussianMixture(3, random_state=seed, init_params=init).fit(rows, soft)
        assert model.predict(rows[[0, 150]]).tolist() == [2, 0]
        assert model.score(rows) == pytest.approx(best, abs=1e-3)  # tol: what one iteration more may add to a row


def test_a_start_around_labels_heeds_weights():
    rng = np.random.RandomState(0)
    rows, counts = rng.rand(200, 2), rng.randint(1, 30, size=200)
    y = np.full(200, -1)
    y[:30] = rng.randint(3, size=30)  # rows of every component, so that both have one start
    weighted = mixture_start.start("kmeans", rows, 3, check_random_state(0), counts.astype(float), y)
    repeated = mixture_start.start(
        "kmeans", rows.repeat(counts, axis=0), 3, check_random_state(0), None, y.repeat(counts)
    )
    np.testing.assert_array_equal(weighted.repeat(counts, axis=0), repeated)


def test_known_rows_of_a_long_stream_name_its_clusters(monkeypatch):
    monkeypatch.setattr("emnet.estimators.streaming.SAMPLE_ROWS", 64)
    for seed in range(10):
        rows, names = np.tile(three_clusters(), (5, 1)), np.tile(np.repeat([2, 0, 1], 100), 5)
        which = np.random.RandomState(seed).permutation(1500)
        rows, names, y = rows[which], names[which], np.full(1500, -1)
        for state in (0, 2):
            y[np.flatnonzero(names == state)[3]] = state
        for known in (y, np.where(y[:, None] >= 0, 0.1 + np.eye(3)[y], 1.0)):
            model = GaussianMixture(3, random_state=seed).fit(stream((rows, known), batch_rows=100))
            np.testing.assert_array_equal(model.predict(rows), names, err_msg=f"seed {seed}")


# -- what y may be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("labels", ["auto", True])
def test_labels_are_known_by_their_values(estimator, labels):
    rows = three_clusters()
    hard, soft = one_row_each(), np.eye(3)[np.repeat([2, 0, 1], 100)]
    alike = {
        "labels": [hard.astype(kind) for kind in (np.int8, float, np.float32, object)]
        + [hard[:, None], hard.astype(float)[:, None], hard.tolist(), pd.Series(hard), pd.Series(hard, dtype="Int64")],
        "soft": [soft.astype(kind) for kind in (int, bool, np.float32, np.uint8, object)] + [pd.DataFrame(soft)],
    }
    for first, others in ((hard, alike["labels"]), (soft, alike["soft"])):
        expected = estimator(3, random_state=1, labels=labels).fit(rows, first).predict_proba(rows)
        assert expected[0].argmax() == 2
        for y in others:
            found = estimator(3, random_state=1, labels=labels).fit(rows, y).predict_proba(rows)
            np.testing.assert_array_equal(found, expected, err_msg=repr(y)[:80])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_targets_that_say_nothing_of_components_are_ignored(estimator):
    rows, rng = three_clusters(), np.random.RandomState(0)
    plain = estimator(3, random_state=1).fit(rows).predict_proba(rows)
    whole = rng.randint(3, size=300)
    for y in (
        whole,
        whole.astype(float),
        whole[:, None],
        whole > 1,
        np.array(["-1", "0", "1"])[whole],
        np.array(["-1", "0", "1"], dtype=object)[whole],
        np.array([-1, None, "a"], dtype=object)[whole],
        np.array([-1, 0.5, 2])[whole],
        np.array([-1, np.nan, 2])[whole],
        rng.randn(300),
        rng.randint(-1, 2, size=(300, 2)),
    ):
        found = estimator(3, random_state=1).fit(rows, y).predict_proba(rows)
        np.testing.assert_array_equal(found, plain, err_msg=repr(y)[:80])


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.where(np.arange(300) < 5, -1, 7), "row 5 has 7"),
        (np.where(np.arange(300) < 5, -1.0, -3.0), r"row 5 has -3\.0"),
        (np.where(np.arange(300) < 5, -1.0, 0.5), r"row 5 has 0\.5"),
        (np.where(np.arange(300) < 5, -1.0, np.nan), "row 5 has nan"),
        (np.arange(300) > 5, "row 0 has False"),
        (np.array([0, "a"], dtype=object)[np.arange(300) % 2], "row 1 has 'a'"),
        (np.array(["b", "a"])[np.arange(300) % 2], "row 0 has 'b'"),
        (np.zeros((300, 2), dtype=int), r"soft labels, \(300, 3\); it is \(300, 2\)"),
        (np.where(np.arange(900).reshape(300, 3) == 9, -1, 1), "Soft labels .* row 3 is not"),
        (np.arange(900).reshape(300, 3) < 6, "Soft labels .* row 2 is not"),
    ],
)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_labels_that_cannot_be_used_name_their_row(estimator, y, words):
    with pytest.raises(InvalidInputError, match=words):
        estimator(3, labels=True).fit(three_clusters(), y)


def test_states_of_a_chain_are_known_by_their_values_too():
    rows, y = three_clusters(), one_row_each()
    expected = GaussianHMM(3, random_state=0).fit(rows, y=y).means_
    for same in (y.astype(float), y.astype(object), y[:, None]):
        np.testing.assert_array_equal(GaussianHMM(3, random_state=0).fit(rows, y=same).means_, expected)


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1e-60, 1e-300, 1e60])
def test_what_a_row_of_soft_labels_is_multiplied_by_changes_its_evidence_alone(dtype, scale):
    rows, soft = three_clusters(), probably()
    plain = GaussianMixture(3, random_state=0, dtype=dtype).fit(rows, soft)
    soft[7] *= scale
    scaled = GaussianMixture(3, random_state=0, dtype=dtype).fit(rows, soft)
    digits = {"float64": 1e-10, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(scaled.means_, plain.means_, rtol=digits, atol=digits)
    np.testing.assert_allclose(scaled.covariances_, plain.covariances_, rtol=digits, atol=digits)
    assert scaled.log_evidence_ - plain.log_evidence_ == pytest.approx(np.log(scale), rel=1e-4)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("model", [GaussianHMM(3), GMMHMM(3, n_mix=2), GaussianHMM(3, max_duration=15)])
def test_known_states_name_the_states_of_a_chain(model, soft):
    """Where the fit finds the three states, which it does from most starts, they bear the names of the known rows."""
    rng = np.random.RandomState(0)
    state = np.repeat(rng.randint(3, size=60), 10)
    rows = rng.poisson(np.array([[2, 2], [20, 2], [2, 20]])[state])
    known = np.full(600, -1)
    known[[np.flatnonzero(state == k)[3] for k in range(3)]] = [1, 2, 0]
    if soft:
        known = np.where(known[:, None] < 0, 1 / 3, np.where(known[:, None] == np.arange(3), 0.9, 0.05))
    found = [
        clone(model).set_params(random_state=seed, n_iter=50).fit(rows, y=known).predict(rows) for seed in range(8)
    ]
    right = [any((np.array(order)[path] == state).mean() > 0.9 for order in permutations(range(3))) for path in found]
    assert sum(right) >= 4
    for path, well in zip(found, right, strict=True):
        assert not well or (path == (state + 1) % 3).mean() > 0.9


@pytest.mark.parametrize("y", [[0, 1, 2, -1], np.full((149, 3), 1 / 3), np.full((150, 2), 0.5)], ids=np.shape)
def test_labels_of_another_shape_are_not_ignored(y):
    with pytest.raises(InvalidInputError, match=r"y must be labels, \(150,\), or soft labels, \(150, 3\)"):
        GaussianMixture(3).fit(load_iris().data, y)


def test_two_classes_of_minus_one_and_one_are_a_target_as_others():
    X, y = load_iris(return_X_y=True)
    plain, classes = (GaussianMixture(3, random_state=0).fit(X, target) for target in (None, np.where(y == 0, -1, 1)))
    np.testing.assert_array_equal(classes.means_, plain.means_)
    GaussianMixture(1).fit(X, np.where(y == 0, -1, 1))
