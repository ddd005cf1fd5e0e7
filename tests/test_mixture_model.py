"""Mixtures of tables of mixed type: beside brute force, through data frames, files and faults."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

import emnet
from emnet import CollapsedComponentError, GaussianMixture, InvalidInputError, MixtureModel
from emnet.factors.counting import Poisson
from tests.oracles import enumerate_mixture, log_normal
from tests.test_columns import DEATHS


def people(n=600, seed=0, missing=0.1):
    """Two kinds of rows in a table of all types, and the kinds."""
    rng = np.random.RandomState(seed)
    kind = (rng.rand(n) < 0.4).astype(int)
    frame = pd.DataFrame(
        {
            "height": 170 + 15 * kind + 6 * rng.randn(n),
            "income": np.exp(8 + 1.0 * kind + 0.4 * rng.randn(n)),
            "visits": rng.poisson(np.where(kind, 7.0, 2.0)).astype(float),
            "smokes": np.where(rng.rand(n) < np.where(kind, 0.8, 0.2), "yes", "no").astype(object),
            "city": np.array(["Bonn", "Kyiv", "Lima"])[
                (rng.rand(n)[:, None] > np.array([[0.6, 0.9], [0.1, 0.3]])[kind]).sum(axis=1)
            ].astype(object),
            "noisy": 3.0 * kind + stats.t.rvs(3, size=n, random_state=rng),
        }
    )
    holes = rng.rand(*frame.shape) < missing
    return frame.mask(holes), kind


EMISSIONS = {
    "height": "gaussian",
    "income": "log_normal",
    "visits": "poisson",
    "smokes": "bernoulli",
    "city": "categorical",
    "noisy": "student_t",
}


@pytest.fixture(scope="module")
def fitted():
    frame, kind = people()
    return MixtureModel(2, emissions=EMISSIONS, random_state=0).fit(frame), frame, kind


def agreement(labels, kind):
    share = (labels == kind).mean()
    return max(share, 1 - share)


def test_components_of_a_mixed_table_are_found(fitted):
    model, frame, kind = fitted
    assert agreement(model.predict(frame), kind) > 0.95
    assert model.converged_
    assert model.emissions_ == EMISSIONS
    assert model.categories_ == {"smokes": ("no", "yes"), "city": ("Bonn", "Kyiv", "Lima")}
    first = model.parameters_["visits"]["rates"][:, 0].argmax()
    # what drew the table, give or take two to four standard errors of 240 rows
    assert model.weights_[first] == pytest.approx(0.4, abs=0.06)
    assert model.parameters_["height"]["means"][first, 0] == pytest.approx(185, abs=1)
    assert model.parameters_["income"]["log_means"][first, 0] == pytest.approx(9, abs=0.1)
    assert model.parameters_["city"]["probabilities"][first] == pytest.approx([0.1, 0.2, 0.7], abs=0.07)
    objective = [line["objective"] for line in model.history_]
    assert (np.diff(objective) >= -1e-9 * np.abs(objective[:-1])).all()


def test_densities_equal_brute_force(fitted):
    model, frame, _ = fitted
    rows, p = frame.iloc[:60], model.parameters_

    def density(k):
        def of_row(j):
            row, total = rows.iloc[j], 0.0
            cells = {
                "height": lambda x: log_normal(np.array([x]), p["height"]["means"][k], p["height"]["covariances"][k]),
                "income": lambda x: stats.lognorm.logpdf(
                    x, np.sqrt(p["income"]["log_variances"][k, 0]), scale=np.exp(p["income"]["log_means"][k, 0])
                ),
                "visits": lambda x: stats.poisson.logpmf(int(x), p["visits"]["rates"][k, 0]),
                "smokes": lambda x: stats.bernoulli.logpmf(int(x == "yes"), p["smokes"]["probabilities"][k, 0]),
                "city": lambda x: np.log(p["city"]["probabilities"][k][("Bonn", "Kyiv", "Lima").index(x)]),
                "noisy": lambda x: stats.t.logpdf(
                    x,
                    p["noisy"]["degrees_of_freedom"][k, 0],
                    p["noisy"]["means"][k, 0],
                    p["noisy"]["scales"][k, 0],
                ),
            }
            return total + sum(float(log(row[name])) for name, log in cells.items() if not pd.isna(row[name]))

        return of_row

    log_evidence, responsibilities = enumerate_mixture(np.tile(model.weights_, (60, 1)), [density(0), density(1)])
    np.testing.assert_allclose(model.score_samples(rows), log_evidence, rtol=1e-9)
    np.testing.assert_allclose(model.predict_proba(rows), responsibilities, atol=1e-9)
    assert model.log_evidence_ == pytest.approx(model.score_samples(frame).sum(), rel=1e-6)


def test_criteria_count_the_parameters(fitted):
    model, frame, _ = fitted
    free = 1 + 2 * (2 + 2 + 1 + 1 + 2 + 3)
    total = model.score_samples(frame).sum()
    assert model.aic(frame) == pytest.approx(-2 * total + 2 * free)
    assert model.bic(frame) == pytest.approx(-2 * total + free * np.log(600))
    assert model.icl(frame) > model.bic(frame)
    assert MixtureModel(emissions=EMISSIONS, random_state=0).select(frame, [1, 2, 3]).best.n_components == 2


def test_tables_come_back_as_they_came(fitted):
    model, frame, _ = fitted
    whole = model.impute(frame)
    assert isinstance(whole, pd.DataFrame)
    assert list(whole.columns) == list(frame.columns)
    assert not whole.isna().any().any()
    for name in frame:
        seen = frame[name].notna()
        assert (whole.loc[seen, name] == frame.loc[seen, name]).all()
    assert set(whole["city"]) == {"Bonn", "Kyiv", "Lima"}
    drawn, states = model.sample(4000)
    assert list(drawn.columns) == list(frame.columns)
    assert set(drawn["smokes"]) == {"yes", "no"}
    assert drawn["height"].mean() == pytest.approx(frame["height"].mean(), abs=1)
    assert agreement(model.predict(drawn), states) > 0.95
    assert model.sample(5)[0].equals(model.sample(5)[0])


def test_imputed_values_are_what_the_components_expect(fitted):
    model, frame, _ = fitted
    r, whole = model.predict_proba(frame), model.impute(frame)
    j = int(np.flatnonzero(frame["visits"].isna())[0])
    assert whole["visits"].iloc[j] == pytest.approx(r[j] @ model.parameters_["visits"]["rates"][:, 0])
    j = int(np.flatnonzero(frame["city"].isna())[0])
    best = (r[j] @ model.parameters_["city"]["probabilities"]).argmax()
    assert whole["city"].iloc[j] == model.categories_["city"][best]
    j = int(np.flatnonzero(frame["height"].isna())[0])
    assert whole["height"].iloc[j] == pytest.approx(r[j] @ model.parameters_["height"]["means"][:, 0])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_auto_reads_the_types_of_a_frame(library):
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(
        {
            "x": rng.randn(100),
            "count": rng.poisson(3, 100),
            "below": rng.poisson(3, 100) - 5,
            "flag": rng.rand(100) < 0.5,
            "zero_one": rng.randint(2, size=100),
            "word": rng.choice(["a", "b"], 100),
        }
    )
    if library == "pandas":
        frame["level"] = pd.Categorical(frame["word"], categories=["b", "a", "c"])
    expected = dict(
        zip(
            frame.columns,
            ["gaussian", "poisson", "gaussian", "bernoulli", "bernoulli", "categorical", "categorical"],
            strict=False,
        )
    )
    table = frame if library == "pandas" else pl.DataFrame(frame.to_dict("list"))
    model = MixtureModel(2, random_state=0).fit(table)
    assert model.emissions_ == expected
    drawn = model.sample(10)[0]
    assert type(drawn) is type(table)
    kept = [name for name in frame.columns if name != "below"]  # whole numbers that are drawn from a Gaussian
    assert [str(drawn[name].dtype) for name in kept] == [str(table[name].dtype) for name in kept]
    whole = model.impute(table)
    assert whole.equals(table)
    assert isinstance(model.predict(table), np.ndarray)


def test_latent_classes_are_found_and_labels_are_kept():
    rng = np.random.RandomState(1)
    kind = rng.randint(2, size=500)
    rows = (rng.rand(500, 6) < np.where(kind, 0.85, 0.2)[:, None]).astype(float)
    model = MixtureModel(2, emissions="categorical", random_state=0).fit(rows)
    assert agreement(model.predict(rows), kind) > 0.95
    assert model._n_parameters() == 1 + 2 * 6
    known = np.where(np.arange(500) % 5 == 0, kind, -1)
    named = MixtureModel(2, emissions="bernoulli", random_state=0).fit(rows, known)
    assert (named.predict(rows) == kind).mean() > 0.95


def test_a_gaussian_over_all_columns_is_gaussian_mixtures():
    rng = np.random.RandomState(0)
    rows = np.concatenate([rng.randn(100, 2) @ [[1, 0.5], [0, 1]], rng.randn(80, 2) + np.array([6.0, 3.0])])
    rows[5, 0] = rows[9, 1] = np.nan
    ours = MixtureModel(2, emissions="gaussian", prior=None, tol=1e-10, random_state=0).fit(rows)
    peer = GaussianMixture(2, reg_covar=0, tol=1e-10, max_iter=500, random_state=0).fit(rows)
    assert ours.log_evidence_ == pytest.approx(peer.log_evidence_, rel=1e-8)
    order = np.argsort(ours.parameters_[0, 1]["means"][:, 0]), np.argsort(peer.means_[:, 0])
    np.testing.assert_allclose(ours.parameters_[0, 1]["covariances"][order[0]], peer.covariances_[order[1]], rtol=1e-3)
    assert ours.bic(rows) == pytest.approx(peer.bic(rows), rel=1e-8)
    np.testing.assert_allclose(ours.impute(rows), peer.impute(rows), rtol=1e-4)


@pytest.mark.parametrize("algorithm", ["em", "squarem"])
def test_the_deaths_data_by_maximum_likelihood(algorithm):
    """Varadhan & Roland 2008, of Hasselblad's data: −log L 1989.946 at (0.6401, 2.6634, 1.2561)."""
    options = {"emissions": "poisson", "prior": None, "tol": 1e-13, "max_iter": 20000}
    model = MixtureModel(2, algorithm=algorithm, random_state=0, **options)
    model.fit(np.arange(10.0)[:, None], sample_weight=DEATHS.numpy())
    rates = model.parameters_[0]["rates"][:, 0]
    assert model.log_evidence_ == pytest.approx(-1989.946, abs=5e-4)
    np.testing.assert_allclose(np.sort(rates), [1.2561, 2.6634], atol=1e-3)
    assert model.weights_[rates.argmax()] == pytest.approx(0.6401, abs=1e-3)


def test_sample_weights_are_repeated_rows():
    frame = people(200)[0]
    counts = np.random.RandomState(0).randint(0, 3, size=200)
    states = np.random.RandomState(1).randint(0, 2, size=200)  # known, so that both have one start
    options = {"emissions": EMISSIONS, "random_state": 0, "labels": True}
    weighted = MixtureModel(2, **options).fit(frame, states, sample_weight=counts)
    repeated = MixtureModel(2, **options).fit(frame.loc[frame.index.repeat(counts)], np.repeat(states, counts))
    for key, published in weighted.parameters_.items():
        for name, value in published.items():
            np.testing.assert_allclose(value, repeated.parameters_[key][name], rtol=1e-5)
    assert weighted.log_evidence_ == pytest.approx(repeated.log_evidence_, rel=1e-9)


def test_offsets_and_scales_change_nothing():
    frame, _ = people(300)
    plain = MixtureModel(2, emissions={"height": "gaussian", "noisy": "student_t"}, random_state=0).fit(frame)
    moved = frame.assign(height=frame["height"] * 2.0**40, noisy=frame["noisy"] * 2.0**-60)
    other = MixtureModel(2, emissions={"height": "gaussian", "noisy": "student_t"}, random_state=0).fit(moved)
    np.testing.assert_allclose(other.predict_proba(moved), plain.predict_proba(frame), atol=1e-9)
    shift = np.log(2.0) * (60 * frame["noisy"].notna() - 40 * frame["height"].notna())
    np.testing.assert_allclose(other.score_samples(moved), plain.score_samples(frame) + shift, rtol=1e-9, atol=1e-9)


def test_factors_and_classes_may_be_given(tmp_path):
    frame, kind = people(300)
    start = Poisson(torch.tensor([[1.0], [9.0]]), shape=2.0, rate=0.1)
    model = MixtureModel(2, emissions={"visits": start, "city": emnet.factors.tables.Categorical}, random_state=0)
    assert agreement(model.fit(frame).predict(frame), kind) > 0.8
    assert model.emissions_ == {"visits": "poisson", "city": "categorical"}
    assert start.means[0, 0] == pytest.approx(1.0)
    with pytest.raises(InvalidInputError, match="no model file can hold"):
        model.save(tmp_path / "m.emnet")
    by_class = MixtureModel(2, emissions={"visits": Poisson}, random_state=0).fit(frame)
    by_class.save(tmp_path / "m.emnet")
    assert emnet.load(tmp_path / "m.emnet").emissions == {"visits": "poisson"}
    with pytest.raises(InvalidInputError, match="has 2 states; n_components is 3"):
        MixtureModel(3, emissions={"visits": start}).fit(frame)


def test_a_model_file_holds_it_all(fitted, tmp_path):
    model, frame, _ = fitted
    model.save(tmp_path / "m.emnet")
    other = emnet.load(tmp_path / "m.emnet")
    np.testing.assert_array_equal(other.score_samples(frame), model.score_samples(frame))
    pd.testing.assert_frame_equal(other.sample(20)[0], model.sample(20)[0])
    assert other.history_ == model.history_
    assert (other.emissions_, other.categories_) == (model.emissions_, model.categories_)
    other.save(tmp_path / "again.emnet")
    assert (tmp_path / "again.emnet").read_bytes() == (tmp_path / "m.emnet").read_bytes()
    pd.testing.assert_frame_equal(other.impute(frame), model.impute(frame))


def test_warm_start_goes_on():
    frame, _ = people(300)
    model = MixtureModel(2, emissions=EMISSIONS, random_state=0, max_iter=2, warm_start=True, tol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        reached = [model.fit(frame).log_evidence_ for _ in range(4)]
    assert (np.diff(reached) > 0).all()


def test_without_a_prior_a_constant_column_names_its_component():
    rows = np.random.RandomState(0).randn(50, 2)
    rows[:20, 1] = 4.0
    with pytest.raises(CollapsedComponentError, match="component"):
        MixtureModel(3, emissions={0: "gaussian", 1: "gaussian"}, prior=None, random_state=0).fit(rows)
    assert np.isfinite(MixtureModel(3, random_state=0).fit(rows).log_evidence_)


def test_bad_input_is_refused_in_words():
    frame, _ = people(50)
    for emissions, message in [
        ({"hight": "gaussian"}, "'hight', which is no column"),
        ({"height": "normal"}, "family of 'height' must be"),
        ({("height", "noisy"): "gaussian", "noisy": "student_t"}, "column 'noisy' twice"),
        ({}, "emissions is empty"),
        ({"city": "bernoulli"}, "3 different values"),
        ({"city": "gaussian"}, "Column 'city' should hold numbers"),
        ({"height": "poisson"}, "counts, whole numbers"),
        ({"noisy": "log_normal"}, "Column 'noisy' is log_normal, which explains positive numbers; row"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            MixtureModel(2, emissions=emissions).fit(frame)
    model = MixtureModel(2, emissions={"city": "categorical", "height": "gaussian"}, random_state=0).fit(frame)
    strange = frame.assign(city="Oslo")
    with pytest.raises(InvalidInputError, match="'Oslo' in row 0"):
        model.predict(strange)
    with pytest.raises(InvalidInputError, match="infinity in row 3"):
        model.predict(frame.assign(height=np.where(np.arange(50) == 3, np.inf, 1.0)))
    with pytest.raises(InvalidInputError, match="nothing but NaN"):
        MixtureModel(2).fit(np.column_stack([np.full(10, np.nan), np.arange(10.0)]))
    with pytest.raises(InvalidInputError, match="prior"):
        MixtureModel(prior="strong").fit(frame[["height"]])


def test_frames_that_cannot_be_used_are_refused_in_words():
    frame, _ = people(50)
    twice = pd.concat([frame, frame[["height"]]], axis=1)
    whole = frame[["height", "visits"]].fillna(3.0)
    flags = MixtureModel(2, emissions={"visits": "bernoulli"}, random_state=0).fit(whole.assign(visits=whole.index % 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model, table, message in [
            (MixtureModel(2), twice, "several columns that are called 'height'"),
            (MixtureModel(2), pl.DataFrame(whole.to_dict("list")).lazy(), r"give X.collect\(\)"),
            (MixtureModel(2), whole.assign(day=pd.date_range("2020", periods=50)), "'day' holds dates"),
            (
                MixtureModel(2, emissions={"height": "poisson"}),
                -whole,
                "Column 'height' is poisson, which explains counts",
            ),
            (MixtureModel(2, weight_concentration=[1, 2, 3]), whole, "one for each of 2 components"),
            (MixtureModel(2, weight_concentration="a"), whole, "weight_concentration must be a number"),
        ]:
            with pytest.raises(InvalidInputError, match=message):
                model.fit(table)
        with pytest.raises(InvalidInputError, match="Column 'visits' is bernoulli, which explains 0 or 1; row 0 has 2"):
            flags.predict(whole.assign(visits=2))
        with pytest.raises(InvalidInputError, match=r"row 0 has 'a'\. Encode the labels"):
            MixtureModel(2, labels=True).fit(whole, ["a"] * 50)
        with pytest.raises(InvalidInputError, match="at least one of n_components"):
            MixtureModel().select(whole, [])
        with pytest.raises(InvalidInputError, match="Column 'visits' has nothing but NaN"):
            MixtureModel(emissions={"height": "gaussian", "visits": "poisson"}).fit(frame.assign(visits=np.nan))


def test_categories_are_taken_as_declared_and_keep_their_order():
    frame = pd.DataFrame({"x": np.arange(60.0), "grade": pd.Categorical([3, 1, None] * 20, [1, 2, 3], ordered=True)})
    model = MixtureModel(2, random_state=0).fit(frame)
    assert model.emissions_["grade"] == "categorical"
    assert model.categories_["grade"] == (1, 2, 3)
    for table in (model.impute(frame), model.sample(5)[0]):
        assert table["grade"].dtype == frame["grade"].dtype
    dated = frame.assign(day=pd.to_datetime(["2020-01-01", "2021-01-01", None] * 20))
    by_day = MixtureModel(2, emissions={"day": "categorical", "x": "gaussian"}, random_state=0).fit(dated)
    assert len(by_day.categories_["day"]) == 2


def test_an_interrupted_fit_can_be_used_and_gone_on_with():
    def interrupt(_, line):
        if line.number == 3:
            raise KeyboardInterrupt

    frame, _ = people(200)
    model = MixtureModel(2, emissions=EMISSIONS, tol=1e-12, random_state=0, callbacks=[interrupt])
    with pytest.raises(emnet.FitInterrupted, match="best parameters so far are kept"):
        model.fit(frame)
    assert (model.converged_, model.reason_) == (False, "interrupted")
    before = model.score(frame)
    assert model.partial_fit(frame).score(frame) != before


def test_a_row_with_nothing_has_evidence_one(fitted):
    model, frame, _ = fitted
    empty = frame.iloc[:2].copy()
    empty.iloc[1] = np.nan
    assert model.score_samples(empty)[1] == 0
    np.testing.assert_allclose(model.predict_proba(empty)[1], model.weights_)
