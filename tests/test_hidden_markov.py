"""Hidden Markov estimators: beside hmmlearn from the same start, and what they have beyond it."""

import copy
import warnings

import numpy as np
import pytest
from sklearn.base import clone

import emnet
from emnet import GMMHMM, CategoricalHMM, GaussianHMM, InvalidInputError, MultinomialHMM, PoissonHMM
from emnet.exceptions import CollapsedComponentError, CollapsedComponentWarning

hmm = pytest.importorskip("hmmlearn.hmm")
LENGTHS = [60, 1, 39, 100]
KINDS = ("spherical", "diag", "full", "tied")


def rows(seed=0, d=3, n=200):
    rng = np.random.RandomState(seed)
    state = np.cumsum(rng.rand(n) < 0.2) % 3
    return rng.randn(n, d) * (1 + state[:, None] / 2) + 2.5 * np.eye(3, d)[state]


def symbols(seed=0):
    return np.digitize(rows(seed, d=1), [-1, 0, 1.5])


def counts(seed=0):
    return np.floor(np.abs(2 * rows(seed))).astype(int)


def trials(seed=0):
    return np.random.RandomState(seed).multinomial(7, [0.2, 0.5, 0.3], size=200)


CASES = {
    **{f"gaussian-{kind}": (("GaussianHMM", {"covariance_type": kind}), rows) for kind in KINDS},
    "gaussian-priors": (
        (
            "GaussianHMM",
            {
                "means_prior": 0.3,
                "means_weight": 2.0,
                "covars_prior": 0.5,
                "covars_weight": 5.0,
                "startprob_prior": 2.0,
                "transmat_prior": 3.0,
            },
        ),
        rows,
    ),
    "gaussian-full-priors": (
        (
            "GaussianHMM",
            {"covariance_type": "full", "means_weight": 1.5, "covars_prior": np.eye(3), "covars_weight": 8.0},
        ),
        rows,
    ),
    "gaussian-params": (("GaussianHMM", {"params": "tm", "init_params": "stmc"}), rows),
    **{f"gmm-{kind}": (("GMMHMM", {"covariance_type": kind, "n_mix": 2}), rows) for kind in KINDS},
    "gmm-priors": (
        (
            "GMMHMM",
            {
                "n_mix": 2,
                "covariance_type": "full",
                "weights_prior": 2.0,
                "means_prior": 0.5,
                "means_weight": 1.0,
                "covars_prior": np.eye(3),
                "covars_weight": 4.0,
            },
        ),
        rows,
    ),
    "gmm-diag-priors": (("GMMHMM", {"n_mix": 3, "covars_prior": 2.0, "covars_weight": 1.5, "means_weight": 0.5}), rows),
    "categorical": (("CategoricalHMM", {}), symbols),
    "categorical-prior": (("CategoricalHMM", {"emissionprob_prior": 2.0}), symbols),
    "multinomial": (("MultinomialHMM", {"n_trials": 7}), trials),
    "poisson": (("PoissonHMM", {}), counts),
}
PARAMETERS = ("startprob_", "transmat_", "means_", "covars_", "weights_", "emissionprob_", "lambdas_")


@pytest.fixture(params=CASES, ids=str)
def pair(request):
    """Both classes fitted from the same seed for seven iterations, and the rows."""
    (name, parameters), data = CASES[request.param]
    X = data()
    made = []
    for cls in (getattr(hmm, name), getattr(emnet, name)):
        model = cls(3, random_state=5, n_iter=7, tol=-np.inf, **parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.append(model.fit(X, LENGTHS))
    return *made, X


def test_the_same_start_gives_the_same_parameters(pair):
    theirs, ours, _ = pair
    for name in PARAMETERS:
        if hasattr(theirs, name) and not (name == "covars_" and getattr(ours, "covariance_type", "") == "spherical"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(list(ours.monitor_.history), list(theirs.monitor_.history), rtol=1e-8)


def test_the_same_use_gives_the_same_results(pair):
    theirs, ours, X = pair
    if getattr(ours, "covariance_type", "") == "spherical":
        theirs.covars_ = ours._covars_ if hasattr(ours, "_covars_") else ours.covars_
    assert ours.score(X, LENGTHS) == pytest.approx(theirs.score(X, LENGTHS), rel=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X, LENGTHS), theirs.predict_proba(X, LENGTHS), atol=1e-5)
    for algorithm in ("viterbi", "map"):
        log_prob, path = ours.decode(X, LENGTHS, algorithm)
        expected, states = theirs.decode(X, LENGTHS, algorithm)
        assert log_prob == pytest.approx(expected, rel=1e-6)
        assert (path == states).mean() > 0.99
    np.testing.assert_allclose(ours.get_stationary_distribution(), theirs.get_stationary_distribution(), atol=1e-5)
    if type(ours) is not GMMHMM:  # whose weights hmmlearn counts once for all states
        assert ours.bic(X, LENGTHS) == pytest.approx(theirs.bic(X, LENGTHS), rel=1e-6)
        assert ours.aic(X, LENGTHS) == pytest.approx(theirs.aic(X, LENGTHS), rel=1e-6)
    drawn, states = ours.sample(50, random_state=1)
    if type(ours) in (CategoricalHMM, PoissonHMM):
        np.testing.assert_array_equal(drawn, theirs.sample(50, random_state=1)[0])
    np.testing.assert_array_equal(states, theirs.sample(50, random_state=1)[1])


FAMILIES = {
    "gaussian": (lambda **more: GaussianHMM(2, random_state=0, **more), rows),
    "full": (lambda **more: GaussianHMM(2, "full", random_state=0, **more), rows),
    "tied": (lambda **more: GaussianHMM(2, "tied", random_state=0, **more), rows),
    "spherical": (lambda **more: GaussianHMM(2, "spherical", random_state=0, **more), rows),
    "gmm": (lambda **more: GMMHMM(2, 2, random_state=0, **more), rows),
    "categorical": (lambda **more: CategoricalHMM(2, random_state=0, **more), symbols),
    "multinomial": (lambda **more: MultinomialHMM(2, random_state=0, **more), trials),
    "poisson": (lambda **more: PoissonHMM(2, random_state=0, **more), counts),
}
families = pytest.mark.parametrize("family", FAMILIES)


def parameters_of(model):
    return [getattr(model, name) for name in PARAMETERS if hasattr(model, name)]


@families
def test_a_list_of_sequences_is_the_table_with_lengths(family):
    make, data = FAMILIES[family]
    X = data()
    one, two = make().fit(X, LENGTHS), make().fit(np.split(X, np.cumsum(LENGTHS)[:-1]))
    for a, b in zip(parameters_of(one), parameters_of(two), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.score(X, LENGTHS) == two.score(np.split(X, np.cumsum(LENGTHS)[:-1]))


@families
def test_weight_two_is_the_sequence_twice(family):
    make, data = FAMILIES[family]
    X = data()
    start = make(n_iter=0).fit(X, LENGTHS)
    pieces = np.split(X, np.cumsum(LENGTHS)[:-1])
    weighted, repeated = copy.deepcopy(start), copy.deepcopy(start)
    for model in (weighted, repeated):
        model.set_params(n_iter=5, init_params="", tol=-np.inf)
    weighted.fit(X, LENGTHS, sample_weight=[2, 0, 1, 1])
    repeated.fit([pieces[0], pieces[0], *pieces[2:]])
    for a, b in zip(parameters_of(weighted), parameters_of(repeated), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@families
def test_holes_are_integrated_out(family):
    make, data = FAMILIES[family]
    X = data().astype(float)
    X[::7] = np.nan
    if family not in ("categorical", "multinomial"):
        X[3::5, 0] = np.nan
    model = make().fit(X, LENGTHS)
    assert np.isfinite(model.score(X, LENGTHS))
    filled = model.impute(X, LENGTHS)
    assert not np.isnan(filled).any()
    np.testing.assert_allclose(filled[~np.isnan(X)], X[~np.isnan(X)])
    empty = np.full_like(X[:4], np.nan)
    assert model.score(empty) == 0
    expected = [model.startprob_ @ np.linalg.matrix_power(model.transmat_, t) for t in range(4)]
    np.testing.assert_allclose(model.predict_proba(empty), expected, atol=1e-12)


@families
def test_known_states_are_kept(family):
    make, data = FAMILIES[family]
    X = data()
    y = np.full(len(X), -1)
    y[:40] = np.arange(40) % 2
    model = make(n_iter=20).fit(X, LENGTHS, y=y)
    assert model.transmat_[0, 1] > 0.3
    with pytest.raises(InvalidInputError, match="from 0 to 1"):
        make().fit(X, LENGTHS, y=y + 2)


@families
def test_the_model_file_makes_the_round_trip(family, tmp_path):
    make, data = FAMILIES[family]
    X = data()
    model = make().fit(X, LENGTHS)
    model.save(tmp_path / "model.emnet")
    again = emnet.load(tmp_path / "model.emnet")
    assert again.score(X, LENGTHS) == model.score(X, LENGTHS)
    assert again.get_params().keys() == model.get_params().keys()
    np.testing.assert_array_equal(again.predict(X, LENGTHS), model.predict(X, LENGTHS))


@families
def test_clones_and_copies(family):
    make, data = FAMILIES[family]
    X = data()
    model = make(n_iter=3).fit(X, LENGTHS)
    assert copy.deepcopy(model).score(X, LENGTHS) == model.score(X, LENGTHS)
    again = clone(model).fit(X, LENGTHS)
    for a, b in zip(parameters_of(model), parameters_of(again), strict=True):
        np.testing.assert_array_equal(a, b)


@families
def test_filters_smooth_and_forecast(family):
    make, data = FAMILIES[family]
    X = data()
    model = make().fit(X, LENGTHS)
    filtered = model.filter(X)
    online = model.online_filter()
    parts = [online.update(part) for part in (X[:1], X[1:50], X[50:])]
    np.testing.assert_allclose(np.concatenate(parts), filtered, rtol=1e-8, atol=1e-12)
    assert online.log_evidence == pytest.approx(model.score(X), rel=1e-10)
    np.testing.assert_allclose(model.smooth(X)[-1], filtered[-1], atol=1e-10)
    if family == "multinomial":
        model.set_params(n_trials=7)
    ahead = model.forecast(X, 3, n_samples=400, random_state=0)
    for step in range(3):
        expected = filtered[-1] @ np.linalg.matrix_power(model.transmat_, step + 1)
        np.testing.assert_allclose(ahead.state_probabilities[step], expected, atol=1e-12)
    assert ahead.samples.shape == (400, 3, X.shape[1])
    if family not in ("categorical", "multinomial"):
        np.testing.assert_allclose(ahead.samples.mean(0), ahead.mean, atol=0.6)


@pytest.mark.parametrize("family", ["gaussian", "full", "gmm", "poisson"])
def test_quantiles_of_forecasts_are_those_of_draws(family):
    make, data = FAMILIES[family]
    X = data()
    model = make().fit(X, LENGTHS)
    ahead = model.forecast(X, 2, quantiles=(0.1, 0.5, 0.9), n_samples=4000, random_state=0)
    below = (ahead.samples[:, :, None] <= ahead.quantiles[None] + 1e-9).mean(0)
    levels = np.array([0.1, 0.5, 0.9])[None, :, None]
    assert (below >= levels - 0.04).all()
    if family != "poisson":
        assert (below <= levels + 0.04).all()
    with pytest.raises(InvalidInputError, match="no order"):
        CategoricalHMM(2, random_state=0).fit(symbols()).forecast(symbols(), quantiles=[0.5])


def test_imputation_of_a_full_gaussian_is_its_conditional_mean():
    X = rows()
    model = GaussianHMM(1, "full", random_state=0, covars_prior=np.eye(3)).fit(X)
    holes = X[:5].copy()
    holes[:, 1] = np.nan
    mean, covariance = model.means_[0], model.covars_[0]
    slope = covariance[1, [0, 2]] @ np.linalg.inv(covariance[np.ix_([0, 2], [0, 2])])
    expected = mean[1] + (X[:5, [0, 2]] - mean[[0, 2]]) @ slope
    np.testing.assert_allclose(model.impute(holes)[:, 1], expected)


def test_left_to_right_and_fixed_transitions():
    X = rows()
    model = GaussianHMM(3, init_params="mc", random_state=0, n_iter=30)
    model.startprob_ = [1.0, 0.0, 0.0]
    model.transmat_ = [[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1.0]]
    model.fixed_transitions = [[True, True, False], [False] * 3, [False] * 3]
    model.fit(X, LENGTHS)
    np.testing.assert_array_equal(model.transmat_[[1, 2, 2, 0], [0, 0, 1, 2]], 0)
    np.testing.assert_allclose(model.transmat_[0], [0.5, 0.5, 0])
    assert model.transmat_[1, 1] != 0.5
    path = model.predict(X, LENGTHS)
    assert path[0] == 0
    assert (np.diff(path[:60]) >= 0).all()


def test_named_parameters_stay():
    X = rows()
    start = GaussianHMM(3, n_iter=0, random_state=0).fit(X)
    model = copy.deepcopy(start).set_params(n_iter=5, init_params="", fixed=("means", "transmat")).fit(X)
    np.testing.assert_allclose(model.means_, start.means_, rtol=1e-12)
    np.testing.assert_allclose(model.transmat_, start.transmat_, rtol=1e-12)
    assert not np.allclose(model.covars_, start.covars_)
    with pytest.raises(InvalidInputError, match="fixed may name"):
        GaussianHMM(fixed=("weights",)).fit(X)


@families
def test_shared_states_emit_alike(family):
    make, data = FAMILIES[family]
    X = data()
    model = make().set_params(n_components=3, shared_states=[0, 1, 0]).fit(X, LENGTHS)
    for name in ("means_", "covars_", "emissionprob_", "lambdas_", "weights_"):
        if hasattr(model, name):
            if name == "covars_" and getattr(model, "covariance_type", "") == "tied":
                continue
            np.testing.assert_allclose(getattr(model, name)[0], getattr(model, name)[2])
    assert model._n_parameters() < clone(model).set_params(shared_states=None).fit(X, LENGTHS)._n_parameters()


@families
def test_more_starts_are_no_worse(family):
    make, data = FAMILIES[family]
    X = data()
    model = make(n_init=4, n_iter=20).fit(X, LENGTHS)
    assert len(model.fits_) == 4
    reached = [fit.last.objective for fit in model.fits_]
    assert model.history_[-1]["objective"] == pytest.approx(max(reached))


@families
def test_stepwise_em_comes_near_to_em(family):
    make, data = FAMILIES[family]
    parts = [data(seed) for seed in range(8)]
    model = make()
    for _ in range(10):
        for part in parts:
            model.partial_fit(part)
    whole = copy.deepcopy(model).set_params(init_params="", n_iter=50).fit(parts)
    assert model.score(parts) > whole.score(parts) - 0.02 * abs(whole.score(parts))


@families
@pytest.mark.parametrize("max_duration", [None, 5])
def test_a_portion_after_a_fit_or_a_file_goes_on(family, max_duration, tmp_path):
    make, data = FAMILIES[family]
    X = data()
    model = make(max_duration=max_duration, n_iter=20).fit(X, LENGTHS)
    batch = model._batch(X.astype(float), np.array(LENGTHS))
    learnable = model._learnable()
    before = learnable.coordinates()
    learnable.m_step(learnable.implied(batch))  # what is expected of the rows gives the parameters back
    if type(model) is not GaussianHMM:  # whose covariances have a prior
        np.testing.assert_allclose(learnable.coordinates(), before, atol=1e-6)
    model.save(tmp_path / "model.emnet")
    again, reached = emnet.load(tmp_path / "model.emnet"), model.score(X, LENGTHS)
    for each in (model, again):
        each.partial_fit(X, LENGTHS)
        assert each.score(X, LENGTHS) > reached - 0.02 * abs(reached)
    np.testing.assert_allclose(model.transmat_, again.transmat_)


@families
def test_float32_is_near_to_float64(family):
    make, data = FAMILIES[family]
    X = data()
    far = 1e5 if family in ("gaussian", "full", "tied", "spherical", "gmm") else 0
    double, single = make().fit(X + far, LENGTHS), make(dtype="float32").fit(X + far, LENGTHS)
    for a, b in zip(parameters_of(double), parameters_of(single), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert single.score(X + far, LENGTHS) == pytest.approx(double.score(X + far, LENGTHS), rel=1e-6)
    with pytest.raises(InvalidInputError, match="dtype must be"):
        make(dtype="float16").fit(X)


def test_the_reason_says_how_it_ended():
    assert GaussianHMM(2, random_state=0, n_iter=2).fit(rows()).reason_ == "max_iter"
    model = GaussianHMM(2, random_state=0, n_iter=200).fit(rows())
    assert (model.reason_, model.converged_) == ("converged", True)


def test_selection_by_bic_finds_the_states():
    rng = np.random.RandomState(0)
    truth = GaussianHMM(3)
    truth.startprob_, truth.transmat_ = np.ones(3) / 3, 0.85 * np.eye(3) + 0.05
    truth.means_, truth.covars_ = np.array([[0.0], [5.0], [10.0]]), np.ones((3, 1))
    X = truth.sample(600, random_state=rng)[0]
    found = GaussianHMM(n_iter=100, n_init=3, random_state=0).select(X, n_components=range(1, 5))
    assert found.best.n_components == 3
    np.testing.assert_allclose(np.sort(found.best.means_[:, 0]), [0, 5, 10], atol=0.5)
    np.testing.assert_allclose(np.sort(np.diag(found.best.transmat_)), 0.9, atol=0.06)


def test_frames_keep_their_names():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(rows(), columns=["a", "b", "c"])
    model = GaussianHMM(2, random_state=0).fit([frame[:100], frame[100:]])
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.score(frame, [100, 100]) == model.score([frame[:100], frame[100:]])
    with pytest.raises(ValueError, match="feature names"):
        model.score(frame[["b", "a", "c"]])


def test_far_and_large_data_are_ordinary():
    X = rows()
    plain = GaussianHMM(3, "full", random_state=0, covars_prior=np.eye(3)).fit(X, LENGTHS)
    far = GaussianHMM(3, "full", random_state=0, covars_prior=np.eye(3)).fit(X + 1e7, LENGTHS)
    np.testing.assert_allclose(far.means_ - 1e7, plain.means_, atol=1e-5)
    assert far.score(X + 1e7, LENGTHS) == pytest.approx(plain.score(X, LENGTHS), rel=1e-6)


def test_likelihoods_that_underflow_change_nothing():
    """hmmlearn's scaling fails here, and its logarithms agree."""
    X = np.concatenate([np.zeros(50), np.full(50, 5.0)])[:, None] + np.random.RandomState(0).randn(100, 1)
    X[40] = 1e4
    made = []
    for cls, implementation in ((hmm.GaussianHMM, "log"), (GaussianHMM, "scaling")):
        model = cls(2, init_params="", n_iter=5, tol=-np.inf, implementation=implementation)
        model.startprob_, model.transmat_ = np.array([0.0, 1.0]), np.array([[0.4, 0.6], [0.6, 0.4]])
        model.means_, model.covars_ = np.array([[0.0], [5.0]]), np.ones((2, 1))
        made.append(model.fit(X))
    np.testing.assert_allclose(made[1].means_, made[0].means_, rtol=1e-6)
    assert made[1].score(X) == pytest.approx(made[0].score(X), rel=1e-8)


class TestErrors:
    @pytest.mark.parametrize(
        ("lengths", "message"),
        [
            ([100, 99], "add up to 199"),
            ([100, 0, 100], "Sequence 1 has 0 rows"),
            ([[100, 100]], "lengths"),
            ([99.5, 100.5], "whole"),
            (["a", "b"], "whole"),
        ],
    )
    def test_lengths(self, lengths, message):
        with pytest.raises(InvalidInputError, match=message):
            GaussianHMM(2).fit(rows(), lengths)

    def test_lists(self):
        with pytest.raises(InvalidInputError, match="Sequence 1 is empty"):
            GaussianHMM(2).fit([rows(), rows()[:0]])
        with pytest.raises(InvalidInputError, match="Sequence 1 has 2 columns"):
            GaussianHMM(2).fit([rows(), rows(d=2)])
        with pytest.raises(InvalidInputError, match="lengths of their own"):
            GaussianHMM(2).fit([rows()], lengths=[200])

        with pytest.raises(InvalidInputError, match="empty list"):
            GaussianHMM(2).fit([])

    @pytest.mark.parametrize("family", [family for family in FAMILIES if family != "multinomial"])
    def test_nothing_to_start_from(self, family):
        make, data = FAMILIES[family]
        X = data().astype(float)
        X[:, -1] = np.nan
        with pytest.raises(InvalidInputError, match=f"Column {X.shape[1] - 1} has nothing but NaN"):
            make().fit(X)

    @pytest.mark.parametrize("family", ["gaussian", "gmm"])
    def test_few_rows(self, family):
        make, data = FAMILIES[family]
        with pytest.raises(InvalidInputError, match="which has 1 rows"):
            make().fit(data()[:1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.isfinite(make(min_covar=0.1).fit(np.ones((20, 2))).score(np.ones((20, 2))))

    def test_symbols(self):
        model = CategoricalHMM(2, random_state=0).fit(symbols())
        with pytest.raises(InvalidInputError, match=r"Largest symbol is 9 .* row 1"):
            model.score([[0], [9]])
        with pytest.raises(InvalidInputError, match="nonnegative"):
            CategoricalHMM(2).fit([[0], [-2], [1]])
        with pytest.raises(InvalidInputError, match="integers"):
            CategoricalHMM(2).fit([[0.5], [2.0], [1.0]])
        with pytest.raises(InvalidInputError, match="one column"):
            CategoricalHMM(2).fit([[0, 1], [1, 2]])

    def test_counts(self):
        with pytest.raises(InvalidInputError, match="row 1, column 0 has -1"):
            PoissonHMM(2).fit([[1], [-1], [3]])
        with pytest.raises(InvalidInputError, match="row 1 adds up to 6"):
            MultinomialHMM(2, n_trials=5).fit([[2, 3], [3, 3]])
        with pytest.raises(InvalidInputError, match="known in part"):
            MultinomialHMM(2).fit([[2.0, 3.0], [np.nan, 3.0]])
        with pytest.raises(InvalidInputError, match="single n_trials"):
            MultinomialHMM(2, random_state=0).fit(trials()).sample()

    def test_an_impossible_symbol_is_named(self):
        model = CategoricalHMM(2)
        model.startprob_, model.transmat_ = [1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]]
        model.emissionprob_ = [[1.0, 0.0], [0.0, 1.0]]
        assert model.score([[0], [1], [0]]) == 0
        for function in (model.score, model.predict, model.predict_proba):
            with pytest.raises(InvalidInputError, match="Sequence 1, step 2"):
                function([[0], [1], [0], [1], [1]], [2, 3])

    def test_parameters(self):
        model = GaussianHMM(2, random_state=0).fit(rows())
        model.transmat_ = np.array([[0.5, 0.6], [0.5, 0.5]])
        with pytest.raises(InvalidInputError, match=r"transmat_ must sum to 1.* row 0 sums to 1\.1"):
            model.score(rows())
        with pytest.raises(InvalidInputError, match="shape"):
            model.covars_ = np.ones((5, 3))
        with pytest.raises(InvalidInputError, match="covariance_type"):
            GaussianHMM(2, "round").fit(rows())
        with pytest.raises(InvalidInputError, match="sample_weight must be 4"):
            GaussianHMM(2).fit(rows(), LENGTHS, sample_weight=[1, 1])
        with pytest.raises(InvalidInputError, match="concentrations of at least 1"):
            GaussianHMM(2, transmat_prior=0.5).fit(rows())

    def test_a_state_without_mass_is_named(self):
        model = GaussianHMM(2, init_params="", covars_prior=0.0)
        model.startprob_, model.transmat_ = np.array([0.5, 0.5]), np.full((2, 2), 0.5)
        model.means_, model.covars_ = np.array([[0.0], [1e6]]), np.ones((2, 1))
        with pytest.warns(CollapsedComponentWarning, match="State 1 has no expected rows"):
            model.fit(rows(d=1))
        assert model.means_[1, 0] == pytest.approx(1e6)

    def test_a_singular_covariance_is_named(self):
        X = np.c_[rows(d=2), np.zeros(200)]
        model = GaussianHMM(2, "full", min_covar=0.0, covars_prior=0.0, init_params="stm", random_state=0)
        model.covars_ = np.tile(np.eye(3), (2, 1, 1))
        with pytest.raises(CollapsedComponentError, match="component"):
            model.fit(X)

    def test_starts_that_collapse_do_not_count(self):
        X = np.c_[rows(d=2), np.zeros(200)]
        model = GaussianHMM(2, "full", min_covar=0.0, covars_prior=0.0, init_params="stm", n_init=3, random_state=0)
        model.covars_ = np.tile(np.eye(3), (2, 1, 1))
        with pytest.raises(CollapsedComponentError):
            model.fit(X)

    def test_an_interrupted_fit_keeps_its_best_parameters(self):
        def stop(model, iteration):
            if iteration.number == 2:
                raise KeyboardInterrupt

        model = GaussianHMM(2, random_state=0, callbacks=[stop])
        with pytest.raises(KeyboardInterrupt):
            model.fit(rows())
        assert np.isfinite(model.score(rows()))
        assert model.reason_ == "interrupted"

    def test_infinity(self):
        X = rows()
        X[3, 1] = np.inf
        with pytest.raises(ValueError, match="infinity"):
            GaussianHMM(2).fit(X)


def test_a_row_and_a_cell_given_all_the_rest_by_the_evidence_with_and_without_them():
    rng = np.random.RandomState(0)
    X = np.repeat(rng.randn(12, 1), 2, axis=0) * [1.0, 50.0] + rng.randn(24, 2) * [1.0, 50.0]
    X[3], X[5, 0], lengths = np.nan, np.nan, [10, 14]
    model = GaussianHMM(2, "full", n_iter=5, random_state=0).fit(X, lengths)
    whole = model.score(X, lengths)
    rows, cells = model.score_rows(X, lengths), model.surprise_rows(X, lengths)
    assert rows[3] == pytest.approx(0, abs=1e-12)
    for i in range(len(X)):
        without = X.copy()
        without[i] = np.nan
        assert rows[i] == pytest.approx(whole - model.score(without, lengths), abs=1e-9)
        for j in range(2):
            without = X.copy()
            without[i, j] = np.nan
            assert cells[i, j] == pytest.approx(model.score(without, lengths) - whole, abs=1e-9)


def test_draws_of_missing_rows_go_with_those_beside_them():
    model = GaussianHMM(2, random_state=0)
    model.startprob_, model.transmat_ = np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.1, 0.9]])
    model.means_, model.covars_, model.n_features_in_ = np.array([[-5.0], [5.0]]), np.ones((2, 1)), 1
    X = np.array([[5.0], [np.nan], [np.nan], [np.nan]])
    rng = np.random.RandomState(0)
    draws = np.stack([model.sample_missing(X, random_state=rng) for _ in range(400)])[:, :, 0]
    assert (draws[:, 0] == 5).all()
    assert np.mean(np.sign(draws[:, 2]) == np.sign(draws[:, 3])) == pytest.approx(0.9, abs=0.05)
    filled, sd = model.impute(X, return_std=True)
    np.testing.assert_allclose(draws.mean(0), filled[:, 0], atol=0.6)
    np.testing.assert_allclose(draws.std(0), sd[:, 0], atol=0.4)


def test_a_state_whose_covariance_is_singular_but_for_rounding_gets_the_floor():
    """Of rows with holes it passed for definite, and its densities were NaN."""
    rng = np.random.RandomState(0)
    states = np.concatenate([np.full(rng.poisson((25, 40, 12)[k % 3]), k % 3) for k in range(18)])
    X = np.array([[1.0, 0.2], [4.0, 2.5], [2.4, 3.6]])[states] + 0.6 * rng.randn(len(states), 2)
    X[rng.rand(*X.shape) < 0.1] = np.nan
    X[200:215] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GaussianHMM(4, "full", n_iter=30, n_init=3, random_state=0).fit(X)
    assert np.isfinite(model.score(X))
