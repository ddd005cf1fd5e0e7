"""Components of Gaussian mixtures as thin as the floor where the data are not, and floors that are too high."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

import emnet
from emnet import CollapsedComponentWarning, GaussianMixture, RegularizationWarning
from emnet.estimators.options import COVARIANCE_TYPES

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


def test_a_selection_says_once_that_the_floor_is_too_high():
    with pytest.warns(RegularizationWarning) as caught:
        GaussianMixture(random_state=0).select(TWO_CLOUDS * 1e-4, [1, 2, 3], ["full", "diag"])
    assert len([one for one in caught if one.category is RegularizationWarning]) == 1
