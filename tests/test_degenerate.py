"""Components of Gaussian mixtures as thin as the floor where the data are not, and floors that are too high."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets
from sklearn.base import clone

import emnet
from emnet import (
    CollapsedComponentError,
    CollapsedComponentWarning,
    EMClusterer,
    EMImputer,
    EMOutlierDetector,
    GaussianHMM,
    GaussianMixture,
    InvalidInputError,
    MixtureModel,
    RegularizationWarning,
)
from emnet.estimators.options import COVARIANCE_TYPES
from emnet.factors.gaussian_priors import NormalInverseWishart

rng = np.random.RandomState(0)
CLOUD = rng.randn(200, 2)
TWO_CLOUDS = np.r_[rng.randn(100, 3), rng.randn(100, 3) + 4]


def said(fit):
    """The texts of emnet's own warnings of a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit()
    return [str(one.message) for one in caught if issubclass(one.category, emnet.exceptions.EmnetWarning)]


def on_a_line(degrees):
    """200 rows of a cloud, and 10 on a line far from it."""
    angle = np.deg2rad(degrees)
    along = np.random.RandomState(1).randn(10, 1) * [[np.cos(angle), np.sin(angle)]]
    return np.r_[CLOUD, along + 20]


THREE_POINTS = np.repeat(np.array([[0.0, 0], [1, 2], [3, 1]]), 20, axis=0)


# -- flat components --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 10, 45, 90])
@pytest.mark.parametrize("unit", [[1, 1], [1e5, 1e-2]])
def test_rows_on_a_line_are_named_at_any_angle_and_in_any_unit(degrees, unit):
    rows = on_a_line(degrees) * unit
    with pytest.warns(CollapsedComponentWarning, match=r"component \d \(10 rows"):
        GaussianMixture(2, random_state=0).fit(rows)
    selection = GaussianMixture(random_state=0).select(rows, [1, 2], ["full"])
    assert selection.best.n_components == 1


def test_as_many_rows_as_columns_are_named():
    X = datasets.load_iris().data
    model = GaussianMixture(12, random_state=0)
    with pytest.warns(CollapsedComponentWarning) as caught:
        model.fit(X)
    singular = [
        i
        for i in range(12)
        if np.linalg.matrix_rank(model.covariances_[i] - model.reg_covar * np.eye(4), tol=1e-9, hermitian=True) < 4
    ]
    assert len(singular) >= 1
    assert [f"component {i} (" in str(caught[0].message) for i in range(12)] == [i in singular for i in range(12)]


@pytest.mark.parametrize("kind", list(COVARIANCE_TYPES))
def test_where_all_components_are_points_all_are_named(kind):
    model = GaussianMixture(3, covariance_type=kind, random_state=0)
    with pytest.warns(CollapsedComponentWarning, match=r"component 0.*component 1.*component 2"):
        model.fit(THREE_POINTS)
    assert GaussianMixture(random_state=0).select(THREE_POINTS, [1, 3], [kind]).best.n_components == 1


def test_the_columns_of_a_flat_component_are_named():
    table = pd.DataFrame(np.c_[on_a_line(0), np.random.RandomState(2).randn(210)], columns=["wide", "flat", "other"])
    with pytest.warns(CollapsedComponentWarning, match=r"10 rows, smallest variance 1e-06, along column 'flat'\)"):
        GaussianMixture(2, random_state=0).fit(table)


def test_streams_several_starts_and_tables_with_holes_say_the_same():
    rows, half = on_a_line(10), on_a_line(0)
    holes = np.concatenate((half, half + np.array([0, np.nan])))
    for fit in (
        lambda: GaussianMixture(2, random_state=0).fit(emnet.stream(rows, batch_rows=50)),
        lambda: GaussianMixture(2, random_state=0, n_init=3).fit(rows),
        lambda: GaussianMixture(2, random_state=0, tol=1e-9).fit(holes),
        lambda: GaussianMixture(2, random_state=0, tol=1e-9).fit(emnet.stream(holes, batch_rows=50)),
    ):
        assert any("rows, smallest variance" in text for text in said(fit))


TABLES = {
    "iris": (datasets.load_iris().data, (1, 2, 3)),
    "wine": (datasets.load_wine().data, (1, 2, 3)),
    "breast_cancer": (datasets.load_breast_cancer().data, (1, 2)),
    "diabetes": (datasets.load_diabetes().data, (1, 2, 3)),
    "a constant column": (np.c_[TWO_CLOUDS, np.full(200, 7.0)], (1, 2)),
    "a column of zeros": (np.c_[TWO_CLOUDS, np.zeros(200)], (1, 2)),
    "a column given twice": (np.c_[TWO_CLOUDS, TWO_CLOUDS[:, 0]], (1, 2)),
    "a column that is nearly another": (np.c_[TWO_CLOUDS, TWO_CLOUDS[:, 0] + 1e-4 * rng.randn(200)], (1, 2)),
    "a column that is the sum of the others": (np.c_[TWO_CLOUDS, TWO_CLOUDS.sum(1)], (1, 2)),
    "one-hot columns": (np.eye(3)[rng.randint(3, size=200)], (1,)),
    "one-hot columns beside others": (np.c_[TWO_CLOUDS, np.eye(3)[rng.randint(3, size=200)]], (1, 2)),
    "integers": (rng.poisson(3, size=(200, 3)).astype(float), (1, 2, 3)),
    "units far apart": (TWO_CLOUDS * [1e6, 1, 1e-2], (1, 2)),
    "a constant that rounding moves": (np.c_[TWO_CLOUDS, np.where(rng.rand(200) < 0.5, 0.1 + 0.2, 0.3)], (1, 2)),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "factor", "VVE", "VEE"])
def test_ordinary_tables_raise_no_alarm(name, kind):
    X, sizes = TABLES[name]
    for k in sizes:
        assert not said(lambda k=k: GaussianMixture(k, covariance_type=kind, random_state=0, tol=0.1).fit(X))


# -- rows and their weights -------------------------------------------------------------------------------------------


def test_weights_of_another_unit_are_no_alarm_and_a_lone_row_is():
    for weight in (1 / 200, 1.0, 50.0):
        weights = np.full(200, weight)
        assert not said(lambda w=weights: GaussianMixture(2, random_state=0).fit(TWO_CLOUDS, sample_weight=w))
        lone = np.r_[TWO_CLOUDS, [[100.0] * 3]]
        with pytest.warns(CollapsedComponentWarning, match=r"component \d \("):
            GaussianMixture(2, random_state=0).fit(lone, sample_weight=np.r_[weights, weight])


def test_a_weight_of_thousands_says_what_as_many_rows_say():
    heavy = np.zeros((1, 3))
    few = np.random.RandomState(3).randn(10, 3) + 20
    once, weights = np.r_[TWO_CLOUDS - 5, heavy, few], np.r_[np.ones(200), 3000, np.ones(10)]
    often = np.repeat(once, weights.astype(int), axis=0)
    model = GaussianMixture(4, random_state=0, means_init=[[-5.0] * 3, [-1.0] * 3, [0.0] * 3, [20.0] * 3])
    assert said(lambda: model.fit(once, sample_weight=weights)) == said(lambda: model.fit(often))


# -- floors that are too high -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "factor"])
@pytest.mark.parametrize("prior", [None, "auto"])
def test_a_floor_above_the_variance_of_a_column_is_named(kind, prior):
    rows = np.c_[TWO_CLOUDS[:, :2], TWO_CLOUDS[:, 2] * 1e-4]
    table = pd.DataFrame(rows, columns=["a", "b", "small"])
    model = GaussianMixture(2, covariance_type=kind, prior=prior, random_state=0)
    with pytest.warns(RegularizationWarning, match=r"reg_covar=1e-06 .*'small' \(variance [\d.]+e-08\).*[Ss]cale"):
        model.fit(table)
    assert not said(lambda: model.set_params(reg_covar=1e-14).fit(table))
    assert any("column 2" in text for text in said(lambda: model.set_params(reg_covar=1e-6).fit(emnet.stream(rows))))


def test_what_fits_many_mixtures_says_once_that_the_floor_is_too_high():
    rows, model = TWO_CLOUDS * 1e-4, GaussianMixture(random_state=0)
    assert len(said(lambda: model.select(rows, [1, 2, 3], ["full", "diag"]))) == 1
    assert len(set(said(lambda: model.bootstrap_test(rows, 5)))) == 1


@pytest.mark.parametrize("unit", [1e-60, 1e-4, 1.0, 1e4, 1e60])
def test_clusters_and_outliers_are_the_same_in_any_unit(unit):
    rows = np.r_[TWO_CLOUDS, [[30.0, -30.0, 30.0]]]
    constant = np.full((len(rows), 1), 3.0)
    table = np.hstack((rows * unit, rows[:, :1] * unit, constant))
    clusters, outliers = EMClusterer(random_state=0), EMOutlierDetector(random_state=0, contamination=0.005)
    assert not said(lambda: (clusters.fit(table), outliers.fit(table)))
    assert [len(np.unique(part)) for part in (clusters.labels_[:100], clusters.labels_[100:200])] == [1, 1]
    assert clusters.labels_[0] != clusters.labels_[100]
    assert outliers.predict(table).tolist() == [*[1] * 200, -1]


def test_an_imputer_takes_no_collapsed_fit_even_where_all_of_those_it_may_take_collapse():
    table = np.c_[TWO_CLOUDS[:, :2], np.repeat([0.0, 1.0], 100)]  # the last column says which cloud
    holes = np.where(np.random.RandomState(0).rand(200, 3) < 0.1, np.nan, table)
    for sizes, prior in (([2, 3], "auto"), ([1, 2, 3], None)):
        imputer = EMImputer(n_components=sizes, covariance_types=("full", "tied"), random_state=0)
        assert not said(lambda imputer=imputer: imputer.fit(holes))
        best = imputer.selection_.best
        assert best.prior == prior
        assert np.linalg.eigvalsh(best.covariances_).min() > 1.2 * best.reg_covar
        assert np.mean(np.abs(imputer.transform(holes) - table)[:, 2] > 0.5) < 0.01


# -- what cannot be fitted --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "tied", "VEE", "EEV", "VEV", "EVV"])
@pytest.mark.parametrize("name", ["twice", "sum"])
@pytest.mark.parametrize("unit", [1.0, 1e6])
def test_columns_that_depend_on_each_other_are_told_as_that(kind, name, unit):
    """Without a floor the scatter is singular but for rounding, which is no variance."""
    for seed in range(5):  # whether rounding leaves something that looks like a variance is chance
        rows = np.random.RandomState(seed).randn(200, 2) + np.repeat([[0], [4]], 100, axis=0)
        rows = np.c_[rows, {"twice": rows[:, 0], "sum": rows.sum(1)}[name]] * unit
        with pytest.raises(CollapsedComponentError, match="columns that depend on each other have to go"):
            GaussianMixture(2, covariance_type=kind, reg_covar=0, random_state=0).fit(rows)


@pytest.mark.parametrize("kind", ["full", "tied", "VEV", "EEV"])
def test_columns_of_sizes_far_apart_are_no_dependent_columns(kind):
    unit = np.array([1e7, 1.0, 1e-6])
    start = GaussianMixture(2, covariance_type=kind, reg_covar=0, random_state=0)
    fitted = [clone(start).fit(TWO_CLOUDS * each) for each in (1, unit)]
    assert all(np.isfinite(model.lower_bound_) for model in fitted)
    if kind in ("full", "tied"):
        np.testing.assert_allclose(fitted[1].means_ / unit, fitted[0].means_, rtol=1e-6)


def test_a_table_without_a_prior_says_which_column_and_what_it_has_for_it():
    table = pd.DataFrame({"wide": CLOUD[:, 0], "flat": np.r_[np.full(50, 9.0), CLOUD[50:, 1]]})
    with pytest.raises(CollapsedComponentError, match=r"that of 'flat', which is gaussian.*prior='auto'") as caught:
        MixtureModel(3, prior=None, random_state=0).fit(table)
    assert "reg_covar" not in str(caught.value)
    assert "'wide'" not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.components) == (str(caught.value), caught.value.components)


def test_factor_analysers_of_data_far_below_the_floor_are_those_of_the_floor():
    """Where the floor is all that a covariance has, the maximum is the floor times the identity."""
    for unit in 10.0 ** -np.arange(8, 49, 4):
        model = GaussianMixture(2, covariance_type="factor", random_state=0)
        with pytest.warns(RegularizationWarning):
            model.fit(TWO_CLOUDS * unit)
        np.testing.assert_allclose(model.covariances_, np.broadcast_to(1e-6 * np.eye(3), (2, 3, 3)), rtol=0, atol=1e-9)


SCALES = {
    "negative": (-np.eye(2), r"entry \(0, 0\), of column 0, is -1"),
    "asymmetric": ([[1.0, 0.5], [0.0, 1.0]], r"\(0, 1\) is 0.5, and \(1, 0\) is 0"),
    "indefinite": ([[1.0, 2.0], [2.0, 1.0]], "smallest eigenvalue is -1"),
    "no width beside a covariance": ([[0.0, 1.0], [1.0, 1.0]], "smallest eigenvalue"),
    "NaN": ([[1.0, np.nan], [np.nan, 1.0]], "NaN or infinite"),
    "infinite": ([[np.inf, 0.0], [0.0, 1.0]], "NaN or infinite"),
    "a number": (1.0, "shape"),
    "a vector": ([1.0, 1.0], "shape"),
}


@pytest.mark.parametrize("name", SCALES)
def test_a_prior_whose_scale_no_rows_have_is_refused(name):
    scale, message = SCALES[name]
    with pytest.raises(InvalidInputError, match=message):
        NormalInverseWishart(scale, 6)


def test_a_prior_takes_finite_numbers_and_semidefinite_scales():
    for change in ({"degrees_of_freedom": np.nan}, {"shrinkage": np.nan}, {"shrinkage": np.inf}, {"mean": [0, np.nan]}):
        with pytest.raises(InvalidInputError, match="NormalInverseWishart"):
            replace(NormalInverseWishart(np.eye(2), 6, np.zeros(2), 1.0), **change)
    for scale in (np.zeros((2, 2)), np.ones((2, 2)), np.diag([1e300, 1e-300]), [[1e20, 1.0], [1.0, 1e-20]]):
        NormalInverseWishart(scale, -3)


def test_a_chain_that_loses_its_digits_in_float32_says_that_float64_keeps_them():
    rng = np.random.RandomState(0)
    rows = np.concatenate([rng.randn(200, 2), rng.randn(100, 2) + 1e4])
    with pytest.raises(CollapsedComponentError, match="dtype='float64'"):
        GaussianHMM(2, covariance_type="full", dtype="float32", random_state=0).fit(rows)
    covariances = GaussianHMM(2, covariance_type="full", random_state=0).fit(rows).covars_
    np.testing.assert_allclose(np.diagonal(covariances, axis1=1, axis2=2), 1, atol=0.2)
