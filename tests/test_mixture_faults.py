"""Mixtures answer what they cannot do in words: never with another library's traceback, never with NaN."""

import datetime
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture as Peer

from emnet import (
    CollapsedComponentError,
    EMClusterer,
    EMImputer,
    EMOutlierDetector,
    FactorAnalysis,
    GaussianMixture,
    InvalidInputError,
    MixtureModel,
)
from emnet.estimators.options import COVARIANCE_TYPES
from emnet.factors.counting import Poisson

CLOUDS = np.r_[np.random.RandomState(0).randn(60, 3), np.random.RandomState(1).randn(60, 3) + 5]
FREE = np.array([[[2.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.5]], [[1.0, -0.5, 0], [-0.5, 3.0, 0.3], [0, 0.3, 1]]])


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_precisions_are_taken_in_the_shape_that_they_are_published_in(kind):
    fitted = GaussianMixture(2, covariance_type=kind, random_state=0).fit(CLOUDS)
    start = {f"{name}_init": getattr(fitted, f"{name}_") for name in ("weights", "means", "precisions")}
    again = GaussianMixture(2, covariance_type=kind, max_iter=0, **start).fit(CLOUDS)
    np.testing.assert_allclose(again.covariances_, fitted.covariances_, rtol=1e-6, atol=1e-6)
    kept = GaussianMixture(2, covariance_type=kind, fixed=("covariances",), **start).fit(CLOUDS)
    np.testing.assert_allclose(kept.covariances_, fitted.covariances_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("q", [1, 2])
def test_factors_go_on_from_where_they_were(q):
    X = load_iris().data
    options = {"covariance_type": "factor", "n_factors": q, "tol": 1e-9, "max_iter": 3000, "random_state": 0}
    model = GaussianMixture(2, **options).fit(X)
    before, bound = model.score(X), model.lower_bound_
    assert np.isfinite(model.standard_errors(X)["means"]).all()
    model.set_params(warm_start=True, max_iter=3).fit(X)
    assert model.lower_bounds_[0] == pytest.approx(bound, abs=1e-8)  # the search ends at rounding; principal axes: 0.06
    assert model.score(X) >= before - 1e-10
    assert model.partial_fit(X).score(X) == pytest.approx(before, abs=1e-4)  # reg_covar is added; principal axes: 0.03


def test_covariances_of_nothing_but_noise_start_with_some_loadings():
    """Which EM does not leave where they are 0."""
    X = load_iris().data
    start = {"means_init": X[[0, 75]], "precisions_init": np.stack([np.eye(4)] * 2), "weights_init": [0.5, 0.5]}
    model = GaussianMixture(2, covariance_type="factor", n_factors=1, max_iter=500, **start).fit(X)
    assert model.score(X) > -1.75


@pytest.mark.parametrize("kind", ["VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "factor"])
def test_fixed_covariances_that_the_family_does_not_have_are_refused(kind):
    model = GaussianMixture(2, covariance_type=kind, fixed=("covariances",), precisions_init=np.linalg.inv(FREE))
    with pytest.raises(InvalidInputError, match=f"covariance_type '{kind}' cannot hold those of precisions_init: that"):
        model.fit(CLOUDS)


# -- rows far away ----------------------------------------------------------------------------------------------------

types = pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "VEV"])
FAR = [[1e200, 0, 0], [0, -1e155, 1e155], [1e300, 1e300, np.nan], [1e305, np.nan, np.nan]]


@types
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_whose_density_is_no_number_are_impossible_and_leave_the_others_alone(kind, dtype):
    model = GaussianMixture(2, covariance_type=kind, dtype=dtype, weights_init=[0.3, 0.7], random_state=0).fit(CLOUDS)
    rows = np.r_[CLOUDS[:5], FAR]
    with np.errstate(all="raise"):
        scores, shares = model.score_samples(rows), model.predict_proba(rows)
    np.testing.assert_array_equal(scores[5:], -np.inf)  # as of scikit-learn's
    np.testing.assert_allclose(shares[5:], np.tile(model.weights_, (4, 1)), rtol=1e-6)
    assert (model.predict(rows[5:]) == model.weights_.argmax()).all()
    np.testing.assert_allclose(scores[:5], model.score_samples(CLOUDS[:5]), rtol=1e-5 if dtype == "float32" else 1e-12)
    filled, deviations = model.impute(rows, return_std=True)
    assert np.isfinite(filled).all()
    assert np.isfinite(model.sample_missing(rows, 0)).all()
    assert not np.isnan(deviations).any()


@types
def test_float32_scores_what_only_float64_can_hold(kind):
    """9.97e36 is what netCDF writes where a value is missing; its square is beyond float32."""
    fitted = {
        dtype: GaussianMixture(2, covariance_type=kind, dtype=dtype, random_state=0) for dtype in ("float32", "float64")
    }
    single, double = (model.fit(CLOUDS) for model in fitted.values())
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        setattr(single, name, getattr(double, name))
    rows = np.r_[CLOUDS[:9], [[9.97e36, 0, 0], [0, -9.97e36, np.nan], [1, 1e100, 1]]]
    np.testing.assert_allclose(single.score_samples(rows)[9:], double.score_samples(rows)[9:], rtol=1e-12)
    np.testing.assert_array_equal(single.predict(rows), double.predict(rows))
    assert single.predict_proba(rows).dtype == np.float32


@pytest.mark.parametrize("far", [1e3, 1e9, 1e15, 1e150])
def test_what_is_filled_in_beside_a_far_cell_is_as_unsure_as_beside_any(far):
    model = GaussianMixture(1).fit(CLOUDS)
    (a, b), (_, c) = model.covariances_[0][:2, :2]
    _, deviations = model.impute([[far, np.nan, np.nan]], return_std=True)
    assert deviations[0, 1] == pytest.approx(np.sqrt(c - b**2 / a), rel=1e-9)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_deviations_of_components_far_apart_are_their_own(kind):
    precisions = np.ones((2, 3)) if kind == "diag" else np.tile(np.eye(3), (2, 1, 1))
    start = {"weights_init": [0.5, 0.5], "means_init": [[0] * 3, [1e9] * 3], "precisions_init": precisions}
    model = GaussianMixture(2, covariance_type=kind, max_iter=0, **start).fit(CLOUDS)
    _, deviations = model.impute([[0, 0, np.nan], [1e9, 1e9, np.nan], [np.nan, np.nan, np.nan]], return_std=True)
    np.testing.assert_allclose(deviations[:, 2], [1, 1, 5e8])


def test_a_row_too_far_for_numbers_is_an_outlier_and_its_column_the_reason():
    detector = EMOutlierDetector(n_components=2, random_state=0).fit(CLOUDS)
    rows = np.r_[CLOUDS[:1], [[1e200, 0, 0], [1e200, 1e200, 0]]]
    assert detector.predict(rows).tolist() == [1, -1, -1]
    assert [[reason.column for reason in row] for row in detector.explain(rows)][1] == [0]
    assert not np.isnan(detector.surprise(rows)).any()


def with_a_far_cell(value):
    frame = pd.DataFrame(CLOUDS, columns=["a", "b", "c"])
    frame.iloc[70, 1] = value
    return frame


@pytest.mark.parametrize(
    ("model", "value"), [*product([GaussianMixture(2)], [9.97e36, -1e100, 1e155, 1.7e308]), (MixtureModel(2), 1e200)]
)
def test_a_fit_that_a_far_cell_makes_impossible_says_where_it_is(model, value):
    """A row without a weight stands before it, and is counted."""
    message = rf"Row 70 has {value:g} in column 'b', where half of all cells lie .*: if it stands for nothing, take it"
    with pytest.raises((CollapsedComponentError, InvalidInputError), match=message.replace("+", r"\+")):
        model.fit(with_a_far_cell(value), sample_weight=np.r_[0.0, np.ones(len(CLOUDS) - 1)])


@pytest.mark.parametrize("value", [9.97e36, -1e100])
def test_a_prior_holds_a_fit_together_beside_a_far_cell(value):
    frame = with_a_far_cell(value)
    fitted = MixtureModel(2, random_state=0).fit(frame)
    assert fitted.converged_
    assert np.isfinite(fitted.score_samples(frame)).all()


def test_other_errors_name_no_cell():
    with pytest.raises(InvalidInputError) as caught:
        GaussianMixture(2, weights_init=[1, 1]).fit(CLOUDS)
    assert "half of all cells" not in str(caught.value)


def test_a_value_that_no_component_allows_is_impossible():
    words = pd.DataFrame({"a": ["x", "y"] * 10, "b": np.arange(20.0)})
    start = {"a": {"probabilities": [[1.0, 0.0], [1.0, 0.0]]}}
    model = MixtureModel(2, prior=None, parameters_init=start, fixed=["a"], random_state=0).fit(
        words[words.a == "x"].assign(a=pd.Categorical(["x"] * 10, ["x", "y"]))
    )
    odd = pd.DataFrame({"a": ["y"], "b": [3.0]})
    assert model.score_samples(odd).tolist() == [-np.inf]
    np.testing.assert_array_equal(model.predict_proba(odd), model.weights_[None])


# -- fits that go on, and parameters set by hand ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (GaussianMixture(2, weight_concentration=[2.0, 2.0]), "weight_concentration"),
        (MixtureModel(2, weight_concentration=[2.0, 2.0]), "weight_concentration"),
        (GaussianMixture(2, weights_init=[0.5, 0.5], means_init=np.eye(3)[:2]), "weights_init, means_init"),
        (GaussianMixture(2, precisions_init=FREE), "precisions_init"),
        (MixtureModel(2, parameters_init={0: {"means": [[0.0], [1.0]]}}), "parameters_init"),
        (MixtureModel(2, emissions={0: Poisson(torch.ones(2, 1))}), "the factors of emissions"),
    ],
)
def test_a_test_of_one_component_more_takes_nothing_for_each_component(model, named):
    with pytest.raises(
        InvalidInputError, match=f"fits n_components=2 and 3; what is given for each component has to go: {named}"
    ):
        model.bootstrap_test(CLOUDS, 2)


def test_a_shared_start_is_no_hindrance_to_the_test():
    model = GaussianMixture(1, covariance_type="tied", precisions_init=np.eye(3), random_state=0)
    assert model.bootstrap_test(CLOUDS, 2).statistic > 0


@pytest.mark.parametrize(
    ("before", "now"), [("full", "diag"), ("full", "tied"), ("diag", "spherical"), ("tied", "diag")]
)
def test_a_fit_does_not_go_on_with_covariances_of_another_type(before, now):
    """With as many columns as components, so that shapes do not tell "tied" from "diag"."""
    model = GaussianMixture(3, covariance_type=before, warm_start=True, random_state=0).fit(CLOUDS)
    fitted = model.covariances_
    for go_on in (model.fit, model.partial_fit):
        model.set_params(covariance_type=now)
        with pytest.raises(InvalidInputError, match=f"another type .'{before}'. than covariance_type is now .'{now}'."):
            go_on(CLOUDS)
        assert model.covariances_ is fitted
        model.set_params(covariance_type=before)
        assert go_on(CLOUDS) is model
        fitted = model.covariances_
    model.set_params(covariance_type=now, warm_start=False).fit(CLOUDS)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_criteria_of_parameters_set_by_hand_are_scikit_learns(kind):
    fitted = Peer(2, covariance_type=kind, random_state=0).fit(CLOUDS)
    ours = GaussianMixture(2, covariance_type=kind)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        setattr(ours, name, getattr(fitted, name))
    assert ours.bic(CLOUDS) == pytest.approx(fitted.bic(CLOUDS), rel=1e-12)
    assert ours.aic(CLOUDS) == pytest.approx(fitted.aic(CLOUDS), rel=1e-12)
    assert ours.icl(CLOUDS) >= ours.bic(CLOUDS)


# -- arguments and cells of another kind ------------------------------------------------------------------------------

TABLE = pd.DataFrame({"word": ["a", "b", "c"] * 20, "size": np.arange(60.0)})


@pytest.mark.parametrize("model", [GaussianMixture(2), MixtureModel(2)])
@pytest.mark.parametrize(
    ("name", "value"), [("warm_start", "yes"), ("warm_start", 2), ("verbose", -1), ("verbose", "1")]
)
def test_switches_are_checked(model, name, value):
    with pytest.raises(InvalidInputError, match=f"{name} must be .*; got {value!r}"):
        clone(model).set_params(**{name: value}).fit(CLOUDS)


def test_one_number_or_word_is_the_only_one_to_try():
    assert GaussianMixture(random_state=0).select(CLOUDS, 2, "diag").best.covariance_type == "diag"
    assert len(MixtureModel(random_state=0).select(CLOUDS, np.int64(2)).table) == 1
    with pytest.raises(InvalidInputError, match="n_components must be what to try, one or several of them; got"):
        GaussianMixture().select(CLOUDS, 2.5)


def test_cells_that_are_no_values_are_named_with_their_row():
    lists = TABLE.assign(word=[*TABLE.word[:-1], [1, 2]])
    with pytest.raises(InvalidInputError, match=r"Column 'word' has \[1, 2\] in row 59, which is no category"):
        MixtureModel(2).fit(lists)
    with pytest.raises(InvalidInputError, match=r"Column 'word' has \[1, 2\] in row 59, which is none of the values"):
        MixtureModel(2, random_state=0).fit(TABLE).predict(lists)


@pytest.mark.parametrize(
    "times",
    [
        pd.period_range("2020", periods=60, freq="D"),
        [datetime.date(2020, 1, 1)] * 60,
        [None, datetime.time(12)] * 30,
        pd.to_timedelta(np.arange(60), "h"),
        pd.date_range("2020", periods=60, tz="UTC"),
    ],
    ids=["periods", "dates", "times", "durations", "zones"],
)
def test_times_of_every_kind_are_refused(times):
    with pytest.raises(InvalidInputError, match="Column 'when' holds dates or times"):
        MixtureModel(2).fit(TABLE.assign(when=times))


NUMBERS = [GaussianMixture(2), FactorAnalysis(1), EMImputer(), EMOutlierDetector(), MixtureModel(2), EMClusterer(2)]


@pytest.mark.parametrize("model", NUMBERS, ids=lambda model: type(model).__name__)
def test_an_infinite_cell_is_named(model):
    frame = pd.DataFrame(CLOUDS, columns=["a", "b", "c"])
    frame.iloc[7, 1] = -np.inf
    for table, name in ((frame, "'b'"), (frame.to_numpy(), "1"), (frame.to_numpy().tolist(), "1")):
        with pytest.raises(InvalidInputError, match=f"Column {name} has infinity in row 7. Take it as missing"):
            clone(model).fit(table)
    fitted = clone(model).set_params(random_state=0).fit(pd.DataFrame(CLOUDS, columns=["a", "b", "c"]))
    use = next(name for name in ("score_samples", "predict", "transform") if hasattr(fitted, name))
    with pytest.raises(InvalidInputError, match="Column 'b' has infinity in row 7"):
        getattr(fitted, use)(frame)


@pytest.mark.parametrize("model", NUMBERS[:2], ids=lambda model: type(model).__name__)
def test_a_word_among_numbers_is_named(model):
    frame = pd.DataFrame(CLOUDS.astype(object), columns=["a", "b", "c"])
    frame.iloc[9, 2] = "x"
    for table, name in ((frame, "'c'"), (frame.to_numpy(), "2"), (frame.to_numpy().tolist(), "2")):
        with pytest.raises(InvalidInputError, match=f"Column {name} should hold numbers; row 9 has 'x'"):
            clone(model).fit(table)


@pytest.mark.parametrize("model", [GaussianMixture(2), MixtureModel(2)])
def test_rows_without_a_weight_do_not_count_as_rows(model):
    weights = np.r_[1.0, np.zeros(len(CLOUDS) - 1)]
    with pytest.raises(InvalidInputError, match=r"n_components = 2, n_samples = 1 with a weight above 0"):
        model.fit(CLOUDS, sample_weight=weights)
