"""FactorAnalysis and ProbabilisticPCA: closed forms, scikit-learn, holes by conditioning, files, bad data."""

import warnings

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn import decomposition
from sklearn.datasets import load_iris, load_wine

import emnet
from emnet import EMImputer, FactorAnalysis, InvalidInputError, ProbabilisticPCA
from emnet.estimators.rotation import simplified
from emnet.exceptions import DegenerateFitError, HeywoodCaseWarning
from emnet.factors.least_squares import ConjugatePrior
from tests.oracles import linear_gaussian

both = pytest.mark.parametrize("make", [FactorAnalysis, ProbabilisticPCA])


def rows(n=200, d=6, q=2, missing=0.0, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.randn(n, q) @ rng.randn(q, d) + 0.7 * rng.randn(n, d) + 5 * rng.randn(d)
    holes = rng.rand(n, d) < missing
    holes[:1] = missing > 0
    return np.where(holes, np.nan, X)


def closed_form_ppca(X, q):
    """Log evidence, axes and noise of Tipping & Bishop 1999, equations 7 and 8."""
    n, d = X.shape
    covariance = np.cov(X.T, bias=True)
    values, axes = np.linalg.eigh(covariance)
    noise = values[:-q].mean()
    model = (axes[:, -q:] * (values[-q:] - noise)) @ axes[:, -q:].T + noise * np.eye(d)
    trace = np.trace(np.linalg.solve(model, covariance))
    return -n / 2 * (d * np.log(2 * np.pi) + np.linalg.slogdet(model)[1] + trace), axes[:, : -q - 1 : -1].T, noise


@pytest.mark.parametrize("q", [1, 2, 3])
def test_ppca_without_holes_is_the_closed_form(q):
    X = load_iris().data
    model, pca = ProbabilisticPCA(q).fit(X), decomposition.PCA(q).fit(X)
    log_evidence, axes, noise = closed_form_ppca(X, q)
    assert model.log_evidence_ == pytest.approx(log_evidence, rel=1e-12)
    assert model.noise_variance_ == pytest.approx(noise, rel=1e-10)
    assert (model.n_iter_, model.converged_) == (1, True)
    np.testing.assert_allclose(np.abs((model.components_ * axes).sum(axis=1)), 1.0, rtol=1e-10)
    np.testing.assert_allclose(model.explained_variance_, pca.explained_variance_ * (1 - 1 / len(X)), rtol=1e-10)
    np.testing.assert_allclose(model.explained_variance_ratio_, pca.explained_variance_ratio_, rtol=1e-10)
    assert model.score(X) == pytest.approx(pca.score(X), abs=1e-3)  # whose variances are divided by n − 1
    assert model.score(X) >= pca.score(X)


@pytest.mark.parametrize("algorithm", ["em", "squarem", "lbfgs"])
def test_em_climbs_to_the_closed_form_from_elsewhere(algorithm):
    X = rows()
    model = ProbabilisticPCA(2, noise_variance_init=30.0, algorithm=algorithm, tol=1e-12).fit(X)
    assert model.log_evidence_ == pytest.approx(closed_form_ppca(X, 2)[0], abs=1e-6)
    assert (np.diff(model.loglike_) >= -1e-9 * abs(model.log_evidence_)).all()


@pytest.mark.parametrize(("q", "rotation"), [(1, None), (2, None), (2, "varimax")])
def test_factor_analysis_reaches_scikit_learns_evidence(q, rotation):
    X = rows(q=q)
    theirs = decomposition.FactorAnalysis(q, tol=1e-10, max_iter=10_000, svd_method="lapack", rotation=rotation).fit(X)
    ours = FactorAnalysis(q, tol=1e-13, rotation=rotation).fit(X)
    assert ours.log_evidence_ == pytest.approx(theirs.score(X) * len(X), rel=1e-9)
    np.testing.assert_allclose(ours.noise_variance_, theirs.noise_variance_, rtol=1e-3)
    np.testing.assert_allclose(ours.get_covariance(), theirs.get_covariance(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), atol=1e-3)
    np.testing.assert_allclose(np.abs(ours.transform(X)), np.abs(theirs.transform(X)), atol=1e-2)


@pytest.mark.parametrize("kind", ["varimax", "quartimax"])
def test_rotations_are_those_of_scikit_learn(kind):
    loadings = np.random.RandomState(0).randn(8, 3) * [3, 2, 1]
    turned = simplified(loadings, kind)
    np.testing.assert_allclose(turned @ turned.T, loadings @ loadings.T, atol=1e-10)

    def criterion(values):
        of_columns = (values**4).sum()
        return of_columns - (((values**2).sum(axis=0) ** 2).sum() / len(values) if kind == "varimax" else 0.0)

    rng = np.random.RandomState(1)
    others = [loadings @ np.linalg.qr(rng.randn(3, 3))[0] for _ in range(2000)]
    assert criterion(turned) >= max(map(criterion, others))


@both
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_everything_that_is_read_off_a_fit_equals_conditioning(make, missing):
    X = rows(n=60, missing=missing)
    model = make(2).fit(X)
    noise = np.broadcast_to(model.noise_variance_, 6)
    truth = [linear_gaussian(row, model.mean_, model.loadings_, noise) for row in X]
    np.testing.assert_allclose(model.score_samples(X), [each[0] for each in truth], rtol=1e-10)
    np.testing.assert_allclose(model.transform(X), [each[1] for each in truth], atol=1e-10)
    np.testing.assert_allclose(model.posterior_covariance(X), [each[2] for each in truth], atol=1e-10)
    assert model.log_evidence_ == pytest.approx(model.score_samples(X).sum(), rel=1e-10)
    covariance = model.get_covariance()
    np.testing.assert_allclose(model.get_precision(), np.linalg.inv(covariance), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.inverse_transform(np.eye(2)), model.loadings_.T + model.mean_)
    filled, deviation = model.impute(X, return_std=True)
    for row, mean, std in zip(X, filled, deviation, strict=True):
        seen = ~np.isnan(row)
        slope = covariance[:, seen] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
        expected = model.mean_ + slope @ (row - model.mean_)[seen]
        spread = (covariance - slope @ covariance[seen]).diagonal()
        np.testing.assert_allclose(mean[~seen], expected[~seen], rtol=1e-8)
        np.testing.assert_allclose(std[~seen], np.sqrt(spread[~seen]), rtol=1e-8)
        assert (mean[seen] == row[seen]).all()
        assert (std[seen] == 0).all()


@both
def test_draws_have_the_moments_of_the_model(make):
    X = rows(missing=0.2)
    model = make(2, random_state=0).fit(X)
    drawn = model.sample(20_000)
    np.testing.assert_allclose(np.cov(drawn.T), model.get_covariance(), atol=0.15)
    np.testing.assert_allclose(drawn.mean(axis=0), model.mean_, atol=0.08)
    row = np.where(np.arange(6) < 3, X[1], np.nan)[None]
    filled, deviation = model.impute(row, return_std=True)
    holes = np.isnan(row[0])
    tables = model.sample_missing(np.repeat(row, 5000, axis=0), random_state=1)[:, holes]
    assert np.abs((tables.mean(axis=0) - filled[0, holes]) / deviation[0, holes]).max() < 4 / np.sqrt(5000)
    np.testing.assert_allclose(tables.std(axis=0), deviation[0, holes], rtol=0.05)


@both
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_weights_are_repeated_rows_and_units_do_not_matter(make, missing):
    X, counts = rows(n=60, missing=missing), np.arange(60) % 3
    options = {"prior": ConjugatePrior(residual=2.0), "tol": 1e-11}  # without, a noise goes to 0, and slowly
    weighted = make(2, **options).fit(X, sample_weight=counts)
    repeated = make(2, **options).fit(np.repeat(X, counts, axis=0))
    np.testing.assert_allclose(weighted.get_covariance(), repeated.get_covariance(), rtol=1e-6, atol=1e-6)
    assert weighted.log_evidence_ == pytest.approx(repeated.log_evidence_, rel=1e-10)
    shift = 1e9 if make is FactorAnalysis else 1e6
    far = make(2, **options).fit(np.repeat(X, counts, axis=0) + shift)
    np.testing.assert_allclose(far.get_covariance(), repeated.get_covariance(), rtol=1e-3, atol=1e-4)
    for scale in (1e-140, 1e140):
        scaled = make(2, **options).fit(np.repeat(X, counts, axis=0) * scale)
        np.testing.assert_allclose(scaled.loadings_ / scale, repeated.loadings_, rtol=1e-3, atol=1e-4)


def test_factors_find_the_covariance_that_holes_hide():
    whole, seen = rows(n=2000, seed=3), rows(n=2000, missing=0.4, seed=3)
    own, filled = (
        FactorAnalysis(2).fit(seen),
        FactorAnalysis(2).fit(np.where(np.isnan(seen), np.nanmean(seen, 0), seen)),
    )
    truth = np.cov(whole.T)
    assert np.abs(own.get_covariance() - truth).max() < 0.35 * np.abs(filled.get_covariance() - truth).max()


def test_known_noise_stays_and_a_prior_holds_it_above_zero():
    X = rows()
    given = np.full(6, 0.49)
    model = FactorAnalysis(2, noise_variance_init=given, fixed=("noise_variance",)).fit(X)
    assert (model.noise_variance_ == given).all()
    shared = ProbabilisticPCA(2, noise_variance_init=0.49, fixed=("noise_variance",)).fit(X)
    assert shared.noise_variance_ == 0.49
    assert shared.log_evidence_ < ProbabilisticPCA(2).fit(X).log_evidence_
    constant = np.column_stack((X, np.full(200, 7.0)))
    held = FactorAnalysis(2, prior="auto").fit(constant)
    assert 0 < held.noise_variance_[6] < 1e-3
    assert held.mean_[6] == pytest.approx(7.0)
    strong = FactorAnalysis(2, prior=ConjugatePrior(precision=1e6)).fit(X)
    assert np.abs(strong.loadings_).max() < 0.1


def test_a_heywood_case_is_named():
    with pytest.warns(HeywoodCaseWarning, match="column 'petal length"):
        FactorAnalysis(1, algorithm="lbfgs").fit(load_iris(as_frame=True).data)


def test_select_finds_the_number_of_factors_and_the_imputer_takes_the_model():
    X = rows(n=200, missing=0.1, seed=1)
    found = FactorAnalysis(prior="auto").select(X, range(1, 4))
    assert found.best.n_components == 2
    best = ProbabilisticPCA().select(X, range(1, 4), "aic")
    assert best.table[0]["aic"] == pytest.approx(best.best.aic(X))
    filled = EMImputer(ProbabilisticPCA(2)).fit_transform(X)
    np.testing.assert_allclose(filled, ProbabilisticPCA(2).fit(X).impute(X))


@both
def test_a_model_file_holds_it_all(make, tmp_path):
    frame = load_wine(as_frame=True).data
    model = make(3, prior=ConjugatePrior(residual=0.2), random_state=3).fit(frame)
    model.save(tmp_path / "m.emnet")
    other = emnet.load(tmp_path / "m.emnet")
    for method in ("transform", "score_samples", "impute"):
        np.testing.assert_array_equal(getattr(other, method)(frame), getattr(model, method)(frame))
    np.testing.assert_array_equal(other.sample(3), model.sample(3))
    assert other.get_params() == model.get_params()
    assert (other.history_, other.bic(frame)) == (model.history_, model.bic(frame))
    assert other.get_feature_names_out().tolist() == [f"{make.__name__.lower()}{j}" for j in range(3)]
    other.save(tmp_path / "again.emnet")
    assert (tmp_path / "again.emnet").read_bytes() == (tmp_path / "m.emnet").read_bytes()


@pytest.mark.parametrize(
    ("change", "data", "message"),
    [
        ({"n_components": 0}, None, "n_components must be a whole number"),
        ({"n_components": 7}, None, "at most 6 with n_features=6"),
        ({"prior": "weak"}, None, "prior must be None or 'auto' or a ConjugatePrior; got 'weak'"),
        ({"fixed": ("means",)}, None, "fixed may be"),
        ({"fixed": ("noise_variance",)}, None, "give it as noise_variance_init"),
        ({"noise_variance_init": [1.0, 2.0]}, None, r"of shape \(6,\)"),
        ({"noise_variance_init": [0.0] * 6}, None, "above 0"),
        ({"rotation": "promax"}, None, "rotation must be"),
        ({"algorithm": "adam"}, None, "'em', 'squarem', 'lbfgs'"),
        ({}, lambda X: np.c_[X, np.ones(len(X))], "Column 6 is constant"),
        ({}, lambda X: np.c_[X, np.full(len(X), np.nan)], "Column 6 has nothing but NaN"),
        ({}, lambda X: np.where(X[3, 2] == X, np.inf, X), "infinity"),
        ({"n_components": 4}, lambda X: X[:5], "vary in 4 directions only"),
    ],
)
def test_bad_input_is_refused_in_words(change, data, message):
    X = rows()
    model = FactorAnalysis(**{"n_components": 2, **change})
    with pytest.raises(InvalidInputError if message != "infinity" else ValueError, match=message):
        model.fit(X if data is None else data(X))
    assert not hasattr(model, "mean_")


def test_axes_that_leave_no_noise_are_refused():
    X = rows()
    with pytest.raises(InvalidInputError, match="at most 5 with n_features=6"):
        ProbabilisticPCA(6).fit(X)
    with pytest.raises(InvalidInputError, match="vary in 3 directions only"):
        ProbabilisticPCA(3).fit(X[:4])
    with pytest.raises(InvalidInputError, match="vary in 1 directions"):
        ProbabilisticPCA().fit(X[:, [0, 0]])
    assert ProbabilisticPCA().fit(X[:4]).loadings_.shape == (6, 2)
    with pytest.raises(InvalidInputError, match="this model has 2 factors"):
        ProbabilisticPCA(2).fit(X).inverse_transform(np.zeros((1, 3)))


def test_holes_that_leave_no_noise_do_not_pass_in_silence():
    X = np.array([[1.0, 2.0, np.nan], [2.0, 4.0, 1.0], [3.0, 6.0, 2.0], [np.nan, 8.0, 3.0]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            ProbabilisticPCA(1).fit(X)
        except DegenerateFitError as error:
            assert "noise" in str(error)  # noqa: PT017
            return
    assert caught


def test_evidence_in_the_units_of_the_data():
    X = rows(n=50)
    model = FactorAnalysis(2).fit(X)
    density = multivariate_normal(model.mean_, model.get_covariance())
    assert model.score(X) == pytest.approx(density.logpdf(X).mean(), rel=1e-10)
    assert model.score_samples([[np.nan] * 6])[0] == 0
