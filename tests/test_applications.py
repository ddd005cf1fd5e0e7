"""What fitted models are used for, against sums and integrals over everything that was not seen."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import stats

from emnet import EMClusterer, EMImputer, EMOutlierDetector, GaussianMixture, InvalidInputError, MixtureModel
from emnet.applications import anomaly
from emnet.applications.cluster import profiles
from emnet.applications.impute import impute, impute_many
from emnet.applications.sample import sample
from emnet.applications.select import Candidate, bounded, select
from emnet.factors.tables import Categorical
from tests.cases.columns import FAMILIES, cell_parameters, column_factor


def people(n=240, seed=0):
    """A table of words and numbers that hang together, with holes, and without."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    age = rng.normal(40, 10, n)
    whole = pd.DataFrame(
        {
            "age": age,
            "sex": sex.astype(object),
            "height": np.where(sex == "m", 180.0, 164.0) + rng.normal(0, 5, n) + 0.2 * (age - 40),
            "vip": rng.random(n) < 0.3,
        }
    )
    frame = whole.copy()
    frame.loc[rng.random(n) < 0.2, "sex"] = None
    frame.loc[rng.random(n) < 0.2, "height"] = np.nan
    return frame, whole


AS = {"pandas": lambda frame: frame, "polars": pl.from_pandas, "numpy": pd.DataFrame.to_numpy}


@pytest.fixture(scope="module")
def tables():
    return people()


@pytest.fixture(scope="module")
def mixed(tables):
    emissions = {("age", "height"): "gaussian", "sex": "categorical", "vip": "bernoulli"}
    return MixtureModel(2, emissions=emissions, random_state=0).fit(tables[0])


# -- how sure a filled cell is ---------------------------------------------------------------------------------------


def of_state(family, parameters):
    """scipy's distribution of a cell."""
    return {
        "StudentT": lambda m, v, nu: stats.t(nu, m, v**0.5),
        "Poisson": lambda mean: stats.poisson(mean),
        "LogNormal": lambda m, v: stats.lognorm(v**0.5, scale=np.exp(m)),
    }[family](*parameters)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "Bernoulli"])
def test_uncertainty_is_the_deviation_of_the_mixture_of_what_the_states_emit(family):
    factor = column_factor(family, 0)
    shares = torch.tensor([[0.2, 0.5, 0.3], [0.0, 0.0, 1.0]], dtype=torch.float64)
    seen = torch.tensor([[torch.nan, torch.nan], [torch.nan, 1.0]], dtype=torch.float64)
    found = factor.uncertainty(seen, shares).numpy()
    assert found[1, 1] == 0
    for row, column in ((0, 0), (0, 1), (1, 0)):
        states = [of_state(family, cell_parameters(factor, k, column)) for k in range(3)]
        first = sum(float(r) * s.mean() for r, s in zip(shares[row], states, strict=True))
        second = sum(float(r) * (s.var() + s.mean() ** 2) for r, s in zip(shares[row], states, strict=True))
        np.testing.assert_allclose(found[row, column], np.sqrt(second - first**2), rtol=1e-8)


def test_uncertainty_of_categories_is_the_probability_of_all_others():
    chances = torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], dtype=torch.float64)
    share = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    missing = torch.tensor([[torch.nan]], dtype=torch.float64)
    mixed = share.numpy() @ chances.numpy()
    np.testing.assert_allclose(Categorical(chances).uncertainty(missing, share), [[1 - mixed.max()]])
    factor = column_factor("Bernoulli", 0)
    p = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64) @ factor.means
    found = factor.uncertainty(torch.full((1, 2), torch.nan, dtype=torch.float64), torch.tensor([[0.2, 0.5, 0.3]]))
    np.testing.assert_allclose(found, torch.minimum(p, 1 - p), rtol=1e-6)


def test_a_cell_of_infinite_variance_says_so():
    factor = column_factor("StudentT", 0, d=1)
    with torch.no_grad():
        heavy = type(factor)(factor.means.detach(), factor.variances, torch.tensor([[1.5], [5.0], [5.0]]))
    missing, shares = torch.full((2, 1), torch.nan, dtype=torch.float64), torch.tensor([[0.1, 0.9, 0], [0, 0.5, 0.5]])
    found = heavy.uncertainty(missing, shares)
    assert found[0, 0] == torch.inf
    assert torch.isfinite(found[1, 0])


# -- impute, sample, surprise: conditionals of one joint -------------------------------------------------------------


def test_draws_have_the_mean_and_deviation_that_imputing_says(tables, mixed):
    frame = tables[0].iloc[:6].copy()
    frame.loc[0, ["age", "height", "sex"]] = [60.0, np.nan, None]
    frame.loc[1, "height"] = np.nan
    one = impute(mixed, frame)
    draws = impute_many(mixed, pd.concat([frame] * 400), 3, np.random.RandomState(0))
    drawn = np.concatenate([d["height"].to_numpy(dtype=float).reshape(400, -1) for d in draws])
    column = list(frame.columns).index("height")
    for row in (0, 1):
        sd = one.uncertainty[row, column]
        assert abs(drawn[:, row].mean() - one.table["height"].iloc[row]) < 5 * sd / np.sqrt(len(drawn))
        assert drawn[:, row].std() == pytest.approx(sd, rel=0.1)
    words = np.concatenate([d["sex"].to_numpy().reshape(400, -1)[:, 0] for d in draws])
    likely = one.table["sex"].iloc[0]
    assert np.mean(words != likely) == pytest.approx(one.uncertainty[0, 1], abs=0.05)
    pd.testing.assert_series_equal(draws[0]["age"].iloc[:6], frame["age"], check_dtype=False)


def test_surprise_is_minus_the_log_of_the_conditional(tables, mixed):
    rows = tables[1].iloc[:4]
    found = anomaly.surprise(mixed, rows)
    heights = np.linspace(100, 240, 2001)
    for row in range(4):
        grid = pd.concat([rows.iloc[[row]]] * len(heights), ignore_index=True)
        grid["height"] = heights
        joint = np.exp(mixed.score_samples(grid))
        here = np.exp(mixed.score_samples(rows.iloc[[row]]))[0]
        assert found[row, 2] == pytest.approx(-np.log(here / np.trapezoid(joint, heights)), rel=1e-4)
        both = pd.concat([rows.iloc[[row]]] * 2, ignore_index=True).assign(sex=["f", "m"])
        chances = np.exp(mixed.score_samples(both))
        own = 0 if rows["sex"].iloc[row] == "f" else 1
        assert found[row, 1] == pytest.approx(-np.log(chances[own] / chances.sum()), rel=1e-8)


def test_excess_knows_no_units():
    X = np.random.default_rng(0).normal(size=(80, 2))
    model, wide = (GaussianMixture(1, prior=None, random_state=0).fit(X * u) for u in ([1, 1], [1000, 1]))
    usual, wider = anomaly.surprise(model, X), anomaly.surprise(wide, X * [1000, 1])
    assert abs(usual - wider).max() > 6
    np.testing.assert_allclose(anomaly.excess(usual, usual), anomaly.excess(wider, wider), atol=1e-4)


@pytest.mark.parametrize("library", ["pandas", "polars", "numpy"])
def test_samples_keep_what_is_given_and_the_kind_of_table(tables, library):
    frame = tables[1]
    table = {"pandas": lambda: frame, "polars": lambda: pl.from_pandas(frame), "numpy": lambda: frame.to_numpy()}[
        library
    ]()
    sex, height = ("sex", "height") if library != "numpy" else (1, 2)
    emissions = {0: "gaussian", 1: "categorical", 2: "gaussian", 3: "bernoulli"}
    model = MixtureModel(2, emissions=emissions, random_state=0).fit(table)
    women, men = (sample(model, table, 100, {sex: value}, 0) for value in "fm")
    assert type(women) is type(table)
    if library == "numpy":
        assert set(women[:, sex]) == {"f"}
        assert np.mean(men[:, height].astype(float)) - np.mean(women[:, height].astype(float)) > 10
    else:
        assert list(women.columns) == list(table.columns)
        assert set(women[sex]) == {"f"}
        assert men[height].mean() - women[height].mean() > 10
    with pytest.raises(InvalidInputError, match="No column 'wage'; the columns are"):
        sample(model, table, 2, {"wage": 3})


def test_profiles_are_weighted_means_and_shares():
    X = np.array([[1.0, "a"], [3.0, "a"], [9.0, "b"], [None, None]], dtype=object)
    first, second = profiles(X, np.array([[1, 0], [0.5, 0.5], [0, 1], [1, 0]]))
    assert first.share == pytest.approx(2.5 / 4)
    number = next(c for c in first.columns if c.column == 0)
    assert number.mean == pytest.approx((1 + 0.5 * 3) / 1.5)
    words = next(c for c in second.columns if c.column == 1)
    assert words.shares == {"b": pytest.approx(1 / 1.5), "a": pytest.approx(0.5 / 1.5)}


def test_one_impossible_cell_does_not_decide_between_models():
    usual = np.random.default_rng(0).normal(-10, 2, 300)
    np.testing.assert_array_equal(bounded(usual), usual)
    slips = [np.where(np.arange(300) == 7, slip, usual + gain) for gain, slip in [(0, -1e4), (3, -1e6)]]
    choice = select([Candidate(name, name, lambda own=own: own) for name, own in zip("ab", slips, strict=True)], 60)
    assert choice.best.name == "b"
    assert choice.table[0].evidence == pytest.approx(usual.mean() + 3, abs=0.3)
    assert "1 row far below all others counts as -" in choice.sentence


def test_select_takes_the_highest_within_the_time_and_says_why():
    asked = []

    def candidate(size, evidence, family="f"):
        def run():
            asked.append(size)
            return np.full(10, evidence) + np.arange(10)

        return Candidate(f"a model of {size}", family, run)

    choice = select([candidate(k, e) for k, e in enumerate([-3, -1, -2, -2.5, 5])], seconds=60)
    assert asked == [0, 1, 2, 3]  # two in a row were worse, so the last is not tried
    assert choice.best.name == "a model of 1"
    assert "1 ± 0 more than the next best, a model of 2" in choice.sentence
    noise = np.tile([-1.0, 1.0], 50)
    grown = [("f", 0.0 * noise), ("f", 1 + noise), ("f", 1.03 + 1.5 * noise), ("g", 1.02 + noise)]
    close = [Candidate(f"{family} of {k}", family, lambda own=own: own) for k, (family, own) in enumerate(grown)]
    choice = select(close, seconds=60)
    assert (choice.best.name, choice.table[0].candidate.name) == ("f of 1", "f of 2")
    assert "less than the best, f of 2, but within one standard error of it" in choice.sentence
    late = select([candidate(0, 0), candidate(1, 1)], seconds=0)
    assert (late.best.name, late.left_out) == ("a model of 0", 1)

    def fails():
        raise InvalidInputError("too few rows.")

    with pytest.raises(InvalidInputError, match=r"No model could be fitted\. too few rows"):
        select([Candidate("x", "f", fails)], seconds=1)


# -- estimators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars", "numpy"])
def test_imputer_of_words_gives_the_table_back_with_words_in_it(tables, library):
    frame, whole = tables
    table = {"pandas": lambda: frame, "polars": lambda: pl.from_pandas(frame), "numpy": lambda: frame.to_numpy()}[
        library
    ]()
    imputer = EMImputer(n_components=2, random_state=0).fit(table)
    filled = imputer.transform(table)
    assert type(filled) is type(table)
    words = np.asarray(filled[:, 1] if library == "numpy" else filled["sex"])
    missing = frame["sex"].isna().to_numpy()
    assert set(words) == {"f", "m"}
    assert np.mean(words[missing] == whole["sex"].to_numpy()[missing]) > 0.75
    sd = imputer.conditional_std(table)
    assert (sd[:, 1] > 0).tolist() == missing.tolist()
    assert len(imputer.impute_many(table)) == 5
    assert list(imputer.get_feature_names_out())[:1] == (["x0"] if library == "numpy" else ["age"])


def test_imputer_says_what_it_does_not_do_with_words(tables):
    with pytest.raises(InvalidInputError, match="add_indicator is for tables of numbers"):
        EMImputer(add_indicator=True).fit(tables[0])


def test_detector_names_the_column_that_is_wrong(tables):
    frame = tables[0]
    detector = EMOutlierDetector(n_components=(1, 2), random_state=0).fit(frame)
    assert np.mean(detector.predict(frame) == -1) == pytest.approx(0.05, abs=0.01)
    odd = tables[1].iloc[:3].copy()
    odd.loc[0, "height"] = 260.0
    assert detector.predict(odd)[0] == -1
    assert detector.explain(odd)[0][0].column == "height"
    assert detector.explain(odd)[0][0].surprise > 20
    np.testing.assert_allclose(detector.decision_function(odd), detector.score_samples(odd) - detector.offset_)


def test_pyod_has_the_other_sign_and_its_own_names():
    X = np.r_[np.random.default_rng(0).normal(size=(200, 2)), [[9.0, 9.0]]]
    ours = EMOutlierDetector(contamination=0.1, n_components=1, random_state=0)
    theirs = ours.as_pyod().fit(X)
    np.testing.assert_array_equal(theirs.decision_scores_, -ours.score_samples(X))
    np.testing.assert_array_equal(theirs.labels_, (ours.predict(X) == -1).astype(int))
    assert theirs.contamination == 0.1
    assert theirs.threshold_ == -ours.offset_
    labels, confidence = theirs.predict(X, return_confidence=True)
    assert labels.sum() == 20
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert confidence[-1] > 0.99
    np.testing.assert_allclose(theirs.predict_proba(X).sum(axis=1), 1)
    np.testing.assert_array_equal(ours.as_pyod().labels_, theirs.labels_)


def test_what_a_mixture_is_without_some_components(tables, mixed):
    numbers = tables[0][["age", "height"]].dropna()
    for model, X in [(mixed, tables[0]), (GaussianMixture(2, random_state=0).fit(numbers), numbers)]:
        kept = model.without_components(np.array([True, False]))
        joint = model.score_samples(X) + np.log(model.predict_proba(X)[:, 1])  # log π_1 p(row | 1)
        np.testing.assert_allclose(kept.score_samples(X), joint - np.log(model.weights_[1]), atol=1e-6)
        assert (model.weights_ > 0).all()
        with pytest.raises(InvalidInputError, match="which must leave a component"):
            model.without_components(np.array([True, True]))


@pytest.mark.parametrize("columns", [["age", "height"], ["age", "sex", "height", "vip"]])
def test_a_row_that_makes_a_component_of_its_own_is_the_strangest(tables, columns):
    frame = tables[1][columns].copy()
    frame.loc[17, "height"] = 17600.0
    detector = EMOutlierDetector(n_components=3, random_state=0).fit(frame)
    assert detector.model_.predict_proba(frame)[17].max() > 0.99
    assert detector.score_samples(frame).argmin() == 17
    assert detector.predict(frame)[17] == -1
    assert detector.explain(frame.iloc[[17]])[0][0].column == "height"


def test_detector_and_clusterer_refuse_what_they_cannot_use():
    X = np.zeros((5, 1))
    for wrong, message in (
        (EMOutlierDetector(contamination=0.7), "contamination must be a share above 0 and at most 0.5; got 0.7"),
        (EMOutlierDetector(GaussianMixture), "model must be 'auto' or an estimator with score_samples"),
        (EMOutlierDetector("pca"), "model must be 'auto' or an estimator with score_samples; got 'pca'"),
        (EMOutlierDetector(n_components=()), "at least one number of components"),
        (EMClusterer("many"), "n_clusters must be 'auto' or a whole number, or several; got 'many'"),
        (EMClusterer(criterion="gap"), "criterion must be 'bic' or 'icl' or 'aic'; got 'gap'"),
        (EMClusterer([2, 0]), "n_clusters must be a whole number of at least 1; got 0"),
    ):
        with pytest.raises(InvalidInputError, match=message.replace("(", r"\(")):
            wrong.fit(X)


def test_a_model_of_ones_own_detects(mixed, tables):
    detector = EMOutlierDetector(mixed, contamination=0.1).fit(tables[1])
    assert detector.selection_ is None
    assert type(detector.model_) is MixtureModel


def test_clusters_of_words_and_numbers_have_profiles(tables):
    clusterer = EMClusterer((1, 2), random_state=0).fit(tables[0])
    assert clusterer.n_clusters_ == 2
    assert len(clusterer.table_) == 2
    profile = clusterer.profiles(tables[0])[0]
    assert {profile.columns[0].column, profile.columns[1].column} == {"sex", "height"}
    np.testing.assert_array_equal(clusterer.labels_, clusterer.predict_proba(tables[0]).argmax(axis=1))


@pytest.mark.parametrize(
    ("estimator", "name"), [(EMClusterer(40), "n_clusters"), (EMOutlierDetector(n_components=40), "n_components")]
)
def test_more_components_than_rows_are_refused_by_their_name(estimator, name):
    with pytest.raises(InvalidInputError, match=f"{name} must be at most the number of rows, 30; got 40"):
        estimator.fit(np.random.RandomState(0).randn(30, 2))
