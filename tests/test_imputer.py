"""EMImputer and pooled estimates: against conditional Gaussians by hand, scikit-learn's conventions, Rubin's rules."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.datasets import load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import emnet
from benchmarks.imputation import masked
from emnet import (
    EMImputer,
    EmnetWarning,
    FactorAnalysis,
    GaussianMixture,
    InvalidInputError,
    MixtureModel,
    pool_estimates,
    stream,
)
from emnet.applications.impute import refitted

KINDS = ("full", "tied", "diag", "spherical")


def fitted_mixture(kind="full"):
    X = load_iris().data * [1.0, 10.0, 1.0, 0.1] + [100.0, 0.0, -5.0, 0.0]
    return GaussianMixture(3, covariance_type=kind, random_state=0).fit(X), X


def conditional_moments(model, row):
    """Mean and variance of each cell given the observed ones, component by component: the textbook's formula."""
    k, d = model.means_.shape
    seen = ~np.isnan(row)
    covariances = {
        "full": lambda: model.covariances_,
        "tied": lambda: np.tile(model.covariances_, (k, 1, 1)),
        "diag": lambda: np.stack([np.diag(v) for v in model.covariances_]),
        "spherical": lambda: np.stack([v * np.eye(d) for v in model.covariances_]),
    }[model.covariance_type]()
    weights, means, variances = [], [], []
    for weight, mean, covariance in zip(model.weights_, model.means_, covariances, strict=True):
        oo, mo = covariance[np.ix_(seen, seen)], covariance[np.ix_(~seen, seen)]
        slope = np.linalg.solve(oo, mo.T).T if seen.any() else np.zeros((d, 0))
        density = multivariate_normal(mean[seen], oo).pdf(row[seen]) if seen.any() else 1.0
        weights.append(weight * density)
        means.append(mean[~seen] + slope @ (row[seen] - mean[seen]))
        variances.append(np.diag(covariance[np.ix_(~seen, ~seen)] - slope @ mo.T))
    r = np.array(weights) / np.sum(weights)
    mean = r @ np.array(means)
    return mean, r @ (np.array(variances) + np.array(means) ** 2) - mean**2


def with_holes(X, seed=0, share=0.4):
    holes = np.random.RandomState(seed).rand(*X.shape) < share
    holes[0], holes[1] = True, False
    return np.where(holes, np.nan, X)


@pytest.mark.parametrize("kind", KINDS)
def test_conditional_means_and_deviations(kind):
    model, X = fitted_mixture(kind)
    rows = with_holes(X)[:40]
    filled, deviations = model.impute(rows, return_std=True)
    for row, found, deviation in zip(rows, filled, deviations, strict=True):
        holes = np.isnan(row)
        mean, variance = conditional_moments(model, row)
        np.testing.assert_allclose(found[holes], mean, rtol=1e-8)
        np.testing.assert_allclose(deviation[holes], np.sqrt(variance), rtol=1e-6)
        assert (found[~holes] == row[~holes]).all()
        assert (deviation[~holes] == 0).all()


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_draws_are_from_the_conditional_distribution(kind):
    model, _ = fitted_mixture(kind)
    row = np.array([[np.nan, 30.0, np.nan, 0.13], [np.nan] * 4])
    draws = model.sample_missing(np.repeat(row[:1], 4000, axis=0), random_state=0)
    mean, variance = conditional_moments(model, row[0])
    error = (draws[:, [0, 2]].mean(axis=0) - mean) / np.sqrt(variance / len(draws))
    assert np.abs(error).max() < 4
    np.testing.assert_allclose(draws[:, [0, 2]].var(axis=0), variance, rtol=0.12)
    assert (draws[:, [1, 3]] == [30.0, 0.13]).all()
    blank = model.sample_missing(np.repeat(row[1:], 4000, axis=0), random_state=1)
    np.testing.assert_allclose(np.cov(blank.T), np.cov(model.sample(20_000)[0].T), rtol=0.15, atol=0.05)


def test_the_published_masks():
    """The smaller two of `python -m benchmarks imputation`."""
    for name, goal in (("iris", 0.36), ("wine", 0.72)):
        X, seen = masked(name)
        filled = EMImputer(random_state=0).fit_transform(seen)
        assert np.mean((filled - X)[np.isnan(seen)] ** 2) <= goal


def test_what_auto_chose_is_said_and_units_do_not_matter():
    X = with_holes(load_wine().data)
    options = {"n_components": (1, 2), "covariance_types": ("diag", "tied"), "random_state": 0}
    plain, scaled = EMImputer(**options), EMImputer(**options)
    filled = plain.fit_transform(X)
    assert len(plain.selection_.table) == 4
    assert plain.model_.n_components == plain.selection_.table[0]["n_components"]
    again = scaled.fit_transform(X * 1e6 + 1e7)
    np.testing.assert_allclose((again - 1e7) / 1e6, filled, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scaled.conditional_std(X * 1e6 + 1e7) / 1e6, plain.conditional_std(X), rtol=1e-4)


@pytest.mark.parametrize("value", [1e-6, 2020.0])
def test_a_constant_column_is_filled_with_its_value_whatever_its_units(value):
    X = with_holes(load_iris().data[:60])
    constant = np.where(np.isnan(X[:, 0]), np.nan, value)
    options = {"n_components": (1, 2), "random_state": 0}
    imputer, without = EMImputer(**options).fit(np.c_[constant, X]), EMImputer(**options).fit(X)
    table = np.c_[constant, X]
    assert (imputer.impute_many(table)[:, :, 0] == value).all()
    assert (imputer.transform(table)[:, 0] == value).all()
    assert (imputer.conditional_std(table)[:, 0] == 0).all()
    np.testing.assert_array_equal(imputer.transform(table)[:, 1:], without.transform(X))
    alone = EMImputer(**options).fit(constant[:, None])
    assert (alone.impute_many(constant[:, None]) == value).all()
    streamed = EMImputer(**options).fit(stream(table))
    assert (streamed.transform(table)[:, 0] == value).all()


def test_several_starts_fill_holes_together():
    """Mean and deviation are those of the mixture, with equal weights, of what the members say of each cell."""
    X, seen = masked("wine")
    imputer = EMImputer(n_components=(3,), covariance_types=("diag",), random_state=0).fit(seen)
    holes, rows = np.isnan(seen), (seen - imputer.location_) / imputer.scale_
    assert len(imputer.members_) == 5
    assert imputer.members_[0] is imputer.model_
    each = [member.impute(rows, return_std=True) for member in imputer.members_]
    means, deviations = (np.array(part) for part in zip(*each, strict=True))
    filled = imputer.transform(seen)
    np.testing.assert_allclose(filled[holes], (means.mean(axis=0) * imputer.scale_ + imputer.location_)[holes])
    second = (deviations**2 + means**2).mean(axis=0) - means.mean(axis=0) ** 2
    np.testing.assert_allclose(
        imputer.conditional_std(seen), np.sqrt(np.maximum(second, 0)) * imputer.scale_, atol=1e-6
    )
    errors = [np.mean((mean * imputer.scale_ + imputer.location_ - X)[holes] ** 2) for mean in means]
    assert np.ptp(errors) > 0.005  # starts differ
    assert np.mean((filled - X)[holes] ** 2) < np.mean(errors)


def test_intervals_hold_what_they_say():
    """Of the cells that were removed nine in ten lie within 1.645 conditional standard deviations."""
    rng = np.random.RandomState(0)
    X = rng.randn(3000, 5) @ rng.randn(5, 5)
    seen = with_holes(X, share=0.3)
    imputer = EMImputer(n_components=(1,), covariance_types=("full",)).fit(seen)
    holes = np.isnan(seen)
    z = (imputer.transform(seen) - X)[holes] / imputer.conditional_std(seen)[holes]
    assert np.mean(np.abs(z) < norm.ppf(0.95)) == pytest.approx(0.9, abs=0.015)


def half_missing(n=200):
    """Two independent columns, of the first of which half is missing completely at random."""
    rng = np.random.RandomState(3)
    X = rng.randn(n, 2)
    X[rng.rand(n) < 0.5, 0] = np.nan
    return X


@pytest.mark.parametrize(
    "model", [GaussianMixture(1), MixtureModel(1), FactorAnalysis(1)], ids=lambda m: type(m).__name__
)
def test_multiple_imputation_and_rubins_rules(model):
    """What is known of a mean is what the rows that are there say: its pooled variance is theirs, s² / n_seen.

    Draws from one set of parameters would have s² / n + s² n_missing / n², which is 22 % less of it.
    """
    X = half_missing()
    seen = X[~np.isnan(X[:, 0]), 0]
    tables = EMImputer(model, n_imputations=80, random_state=0).fit(X).impute_many(X)
    pooled = pool_estimates(tables[:, :, 0].mean(axis=1), tables[:, :, 0].var(axis=1, ddof=1) / len(X))
    between = tables[:, :, 0].mean(axis=1).var(ddof=1)
    missing = 1 - len(seen) / len(X)
    proper = seen.var() * (missing / len(X) + missing**2 / len(seen))
    assert between == pytest.approx(proper, rel=0.4)  # 2.5 standard deviations of a variance of 80 draws
    assert between > 1.25 * seen.var() * missing / len(X)
    assert pooled.standard_error**2 == pytest.approx(seen.var() / len(seen), rel=0.2)


def test_words_are_drawn_with_parameters_drawn_anew():
    """The same of a share, p (1 − p) / n_seen; the table is given back as it came."""
    pandas = pytest.importorskip("pandas")
    rng = np.random.RandomState(0)
    words = np.where(rng.rand(200) < 0.4, "a", "b").astype(object)
    words[rng.rand(200) < 0.5] = None
    table = pandas.DataFrame({"word": words, "number": rng.randn(200)})
    imputer = EMImputer(n_components=1, n_imputations=80, random_state=0).fit(table)
    shares = np.array([(each["word"] == "a").mean() for each in imputer.impute_many(table)])
    seen = table["word"].dropna()
    p, missing = (seen == "a").mean(), 1 - len(seen) / 200
    held = p * (1 - p) * missing / 200
    proper = held + p * (1 - p) * missing**2 / len(seen)
    assert proper > 2 * held
    assert 1.4 * held < shares.var(ddof=1) < 1.6 * proper


def test_weights_are_rows_in_multiple_imputation_and_a_seed_repeats_it():
    X = half_missing(120)
    weights = np.random.RandomState(0).randint(1, 4, size=120)
    spread = {}
    for name, rows, of_rows in (("weighted", X, weights), ("repeated", X.repeat(weights, axis=0), None)):
        imputer = EMImputer(GaussianMixture(1), n_imputations=3, random_state=0).fit(rows, sample_weight=of_rows)
        tables = imputer.impute_many(rows[:1] * np.nan)
        assert (tables == imputer.impute_many(rows[:1] * np.nan)).all()
        to, rng = imputer._fitted_to, np.random.RandomState(1)
        spread[name] = np.std([refitted(imputer.model_, to, rng).means_[0, 0] for _ in range(150)])
    # deviations of 150 draws are known to 6 %, their ratio to 8 %
    assert spread["weighted"] == pytest.approx(spread["repeated"], rel=0.2)
    seen = ~np.isnan(X[:, 0])
    assert spread["weighted"] == pytest.approx(np.nanstd(X[:, 0]) / np.sqrt(weights[seen].sum()), rel=0.2)


def test_a_stream_says_that_its_draws_share_parameters():
    X = half_missing()
    imputer = EMImputer(GaussianMixture(1), n_imputations=2).fit(stream(X))
    with pytest.warns(EmnetWarning, match="whose rows are not kept"):
        assert imputer.impute_many(X).shape == (2, 200, 2)


def test_rubins_formulas():
    pooled = pool_estimates([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]], [[0.5, 1.0]] * 3)
    between = (1 + 1 / 3) * 1.0
    np.testing.assert_allclose(pooled.standard_error, [np.sqrt(0.5 + between), 1.0])
    np.testing.assert_allclose(pooled.missing_information, [between / (0.5 + between), 0.0])
    np.testing.assert_allclose(pooled.degrees_of_freedom, [2 * ((0.5 + between) / between) ** 2, np.inf])
    for estimates, variances in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0], [1.0, -1.0])):
        with pytest.raises(InvalidInputError, match="estimates"):
            pool_estimates(estimates, variances)


def test_empty_columns_indicators_and_names():
    pandas = pytest.importorskip("pandas")
    X = with_holes(load_iris().data[:60])
    X[:, 2] = np.nan
    table = pandas.DataFrame(X, columns=["a", "b", "empty", "d"])
    options = {"n_components": (1,), "random_state": 0}
    dropped = EMImputer(**options).fit(table)
    assert dropped.get_feature_names_out().tolist() == ["a", "b", "d"]
    assert dropped.transform(table).shape == (60, 3)
    kept = EMImputer(keep_empty_features=True, **options).fit(table)
    assert (kept.transform(table)[:, 2] == 0).all()
    marked = EMImputer(add_indicator=True, **options).set_output(transform="pandas").fit(table)
    names = ["a", "b", "d", "missingindicator_a", "missingindicator_b", "missingindicator_empty", "missingindicator_d"]
    assert marked.transform(table).columns.tolist() == names
    zeros = np.where(np.isnan(X), -1.0, X)
    np.testing.assert_allclose(EMImputer(missing_values=-1, **options).fit_transform(zeros), dropped.transform(table))


def test_a_model_of_ones_own_and_a_pipeline():
    X, y = load_iris(return_X_y=True)
    seen = with_holes(X, share=0.2)
    own = EMImputer(GaussianMixture(2, random_state=0), strategy="sample", random_state=0).fit(seen)
    assert own.selection_ is None
    first, second = own.transform(seen), own.transform(seen)
    assert (first == second).all()
    assert (first[~np.isnan(seen)] == seen[~np.isnan(seen)]).all()
    many = own.impute_many(seen)
    assert many.shape == (5, *X.shape)
    assert (many[0] != many[1])[np.isnan(seen)].all()
    assert make_pipeline(EMImputer(), LogisticRegression()).fit(seen, y).score(seen, y) > 0.85


def test_what_cannot_be_used_is_refused_in_words():
    X = with_holes(load_iris().data)
    for options, message in (
        ({"strategy": "median"}, "strategy must be"),
        ({"model": "knn"}, "model must be 'auto'"),
        ({"model": 3}, "a mixture that imputes"),
        ({"n_imputations": 0}, "n_imputations"),
        ({"n_components": ()}, "n_components"),
        ({"n_components": 200}, "n_components must be at most the number of rows, 150; got 200"),
        ({"covariance_types": ["foo"]}, "covariance_types must be .*got 'foo'"),
        ({"covariance_types": []}, "covariance_types must hold"),
        ({"missing_values": "?"}, "missing_values must be a number, NaN or None; got '\\?'"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            EMImputer(**options).fit(X)
    fitted = EMImputer(n_components=1, covariance_types="full").fit(X)
    with pytest.raises(InvalidInputError, match="strategy must be"):
        fitted.set_params(strategy="median").transform(X)
    with pytest.raises(InvalidInputError, match="n_imputations"):
        fitted.set_params(strategy="mean", n_imputations=0).impute_many(X)
    with pytest.raises(InvalidInputError, match="No column of X holds a value"):
        EMImputer().fit(np.full((5, 2), np.nan))


def test_what_stands_for_a_hole():
    pandas = pytest.importorskip("pandas")
    X = with_holes(load_iris().data[:60])
    filled = EMImputer(n_components=1).fit_transform(X)
    for nothing in (None, pandas.NA, np.float32("nan")):
        np.testing.assert_array_equal(EMImputer(n_components=1, missing_values=nothing).fit_transform(X), filled)
    words = pandas.DataFrame({"word": ["a", "b"] * 10, "number": np.arange(20.0)})
    for options, message in (
        ({"missing_values": -1}, "missing_values=-1 is for tables of numbers"),
        ({"covariance_types": ["foo"]}, "covariance_types must be"),
        ({"n_components": 30}, "n_components must be at most the number of rows, 20; got 30"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            EMImputer(**options).fit(words)
    twice = pandas.DataFrame(X, columns=["a", "b", "a", "c"])
    with pytest.raises(InvalidInputError, match="several columns that are called 'a'"):
        EMImputer().fit(twice)
    with pytest.raises(InvalidInputError, match="several columns that are called 'a'"):
        EMImputer(n_components=1).fit(twice.set_axis(list("abcd"), axis=1)).transform(twice)


def test_a_fill_value_beside_which_all_others_are_one_is_named():
    X = np.random.RandomState(0).randn(60, 3)
    X[5, 1], X[::7, 2] = 1e37, np.nan
    with pytest.warns(emnet.EmnetWarning, match=r"Row 5 has 1e\+37 in column 1, where half of all cells lie within"):
        EMImputer(n_components=1, random_state=0).fit(X)


def test_a_single_row_is_too_few_for_the_imputer():
    with pytest.raises(ValueError, match="a minimum of 2 is required by EMImputer"):
        EMImputer().fit([[1.0, 2.0]])
