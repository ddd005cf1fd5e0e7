"""Hidden Markov estimators whose states have explicit durations."""

import warnings

import numpy as np
import pytest

from emnet import GMMHMM, CategoricalHMM, GaussianHMM, InvalidInputError, MultinomialHMM, PoissonHMM, load

DURATIONS = np.zeros((3, 12))
DURATIONS[0, 2:4], DURATIONS[1, 7:9], DURATIONS[2, [0, 11]] = [0.3, 0.7], [0.5, 0.5], [0.4, 0.6]
STEPS = np.array([[0.0, 0.8, 0.2], [0.5, 0.0, 0.5], [0.9, 0.1, 0.0]])


def known(spread=1.0, **options):
    model = GaussianHMM(3, max_duration=12, **options)
    model.startprob_, model.transmat_, model.durations_ = np.array([0.2, 0.5, 0.3]), STEPS, DURATIONS
    model.means_, model.covars_ = np.array([[0.0], [3.0], [6.0]]), np.full((3, 1), spread)
    return model


def runs(path):
    """State and length of each run."""
    ends = np.flatnonzero(np.diff(path)) + 1
    parts = np.split(path, ends)
    return [(part[0], len(part)) for part in parts]


def durations_of(path):
    """Shares of the runs that have ended, (3, 12)."""
    found = np.zeros((3, 12))
    for state, length in runs(path)[:-1]:
        found[state, length - 1] += 1
    return found / found.sum(1, keepdims=True)


def test_sampled_runs_have_the_durations():
    _, path = known().sample(40_000, random_state=0)
    np.testing.assert_allclose(durations_of(path), DURATIONS, atol=0.03)
    share = np.bincount(path) / len(path)
    np.testing.assert_allclose(known().get_stationary_distribution(), share, atol=0.02)
    np.testing.assert_allclose(known().expected_durations_, DURATIONS @ np.arange(1, 13))


def test_durations_are_recovered_and_explain_more_than_a_chain():
    X, path = known().sample(6000, random_state=1)
    start = {"means_": np.array([[-0.5], [2.5], [6.5]]), "covars_": np.full((3, 1), 2.0)}
    options = {"n_iter": 200, "tol": 1e-3, "init_params": "st", "random_state": 0}
    models = [GaussianHMM(3, max_duration=15, **options), GaussianHMM(3, **options)]
    for model in models:
        for name, value in start.items():
            setattr(model, name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X)
    segments, chain = models
    assert segments.converged_
    np.testing.assert_allclose(segments.durations_[:, :12], durations_of(path), atol=0.03)
    np.testing.assert_allclose(segments.transmat_, STEPS, atol=0.06)
    np.testing.assert_allclose(segments.means_, known().means_, atol=0.1)
    assert segments.score(X) > chain.score(X) + 300
    assert (segments.predict(X) == path).mean() > (chain.predict(X) == path).mean() + 0.01
    assert segments.bic(X) < chain.bic(X)


def test_the_path_of_viterbi_has_allowed_durations_alone():
    X, _ = known(4.0).sample(500, random_state=2)
    found = runs(known(4.0).predict(X))
    assert all(DURATIONS[state, length - 1] > 0 for state, length in found[:-1])
    state, length = found[-1]
    assert DURATIONS[state, length - 1 :].sum() > 0
    ends = known(4.0, censored=False)
    assert all(DURATIONS[state, length - 1] > 0 for state, length in runs(ends.predict(X)))
    assert ends.score(X) < known(4.0).score(X)


def test_a_forecast_knows_how_long_the_state_has_lasted():
    model = known(0.01)
    X = np.r_[np.full(3, 0.0), np.full(7, 3.0)][:, None]  # state 1 lasts 8 or 9 rows, and 7 have been
    weights = model.forecast(X, steps=3).state_probabilities
    np.testing.assert_allclose(weights[0], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(weights[1], [0.25, 0.5, 0.25], atol=1e-6)
    np.testing.assert_allclose(weights[2, 1], 0.025, atol=0.03)
    np.testing.assert_allclose(model.filter(X)[-1], [0, 1, 0], atol=1e-6)


def test_paths_that_are_drawn_are_segments_that_go_on():
    model = known(0.01)
    X = np.r_[np.full(3, 0.0), np.full(7, 3.0)][:, None]
    ahead = model.forecast(X, steps=14, quantiles=[0.5], n_samples=1000, random_state=0)
    states = np.round(ahead.samples[:, :, 0] / 3).astype(int)
    shares = np.stack([(states == state).mean(0) for state in range(3)], axis=1)
    np.testing.assert_allclose(shares, ahead.state_probabilities, atol=0.06)
    np.testing.assert_allclose(ahead.samples.mean(0), ahead.mean, atol=0.25)
    whole = [runs(np.r_[np.full(7, 1), path]) for path in states]
    assert all(DURATIONS[state, length - 1] > 0 for path in whole for state, length in path[:-1])
    forced = known(0.01, censored=False).forecast(X, steps=14)
    np.testing.assert_allclose(forced.state_probabilities, ahead.state_probabilities)


@pytest.mark.parametrize("spread", [0.5, 9.0])
def test_the_online_filter_keeps_how_long_the_state_has_lasted(spread):
    model = known(spread)
    X, _ = model.sample(60, random_state=5)
    X[20:23] = np.nan
    online = model.online_filter()
    parts = [online.update(part) for part in (X[:1], X[1:2], X[2:30], X[30:])]
    np.testing.assert_allclose(np.concatenate(parts), model.filter(X), rtol=1e-9, atol=1e-12)
    assert online.log_evidence == pytest.approx(model.score(X), rel=1e-12)
    more = model.predict_proba(np.r_[X, np.full((20, 1), np.nan)])[-20:]
    np.testing.assert_allclose(model.forecast(X, 20).state_probabilities, more, atol=1e-12)
    known(spread, censored=False).online_filter().update(X)


@pytest.mark.parametrize("model", [
    GaussianHMM(2, covariance_type="full"), GMMHMM(2, n_mix=2), PoissonHMM(2), CategoricalHMM(2), MultinomialHMM(2),
], ids=lambda model: type(model).__name__)  # fmt: skip
def test_every_family_has_durations(model, tmp_path):
    rng = np.random.RandomState(0)
    state = np.repeat(np.arange(40) % 2, rng.randint(2, 5, 40))
    counts = rng.poisson(np.where(state[:, None], [1, 5, 3], [6, 2, 1]))
    X = state[:, None] if isinstance(model, CategoricalHMM) else counts
    model = model.set_params(max_duration=6, duration_prior=1.5, n_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, lengths=[len(X) - 30, 30])
    np.testing.assert_allclose(model.durations_.sum(1), 1)
    assert (np.diagonal(model.transmat_) == 0).all()
    assert model.history_[1]["log_evidence"] > model.history_[0]["log_evidence"]
    model.save(tmp_path / "model.emnet")
    again = load(tmp_path / "model.emnet")
    np.testing.assert_array_equal(again.durations_, model.durations_)
    assert again.score(X) == model.score(X)
    model.partial_fit(X)


def test_known_states_and_weights():
    X, path = known(4.0).sample(300, random_state=3)
    y = np.where(np.arange(300) % 3 == 0, path, -1)
    model = known(4.0, init_params="", n_iter=3).fit(X, [100, 200], y=y, sample_weight=[1, 2])
    thrice = known(4.0, init_params="", n_iter=3).fit(np.r_[X, X[100:]], [100, 200, 200], y=np.r_[y, y[100:]])
    np.testing.assert_allclose(model.durations_, thrice.durations_, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 1, "max_duration": 3}, "n_components of at least 2"),
        ({"n_components": 2, "max_duration": 0}, "max_duration"),
        ({"n_components": 2, "max_duration": 3, "censored": "no"}, "censored"),
        ({"n_components": 2, "max_duration": 3, "duration_prior": 0.5}, "concentrations of at least 1"),
    ],
)
def test_parameters_that_cannot_be(options, message):
    with pytest.raises(InvalidInputError, match=message):
        GaussianHMM(**options).fit(np.random.RandomState(0).randn(30, 1))


def test_tables_that_cannot_be():
    X = np.zeros((5, 1))
    model = known()
    model.transmat_ = np.full((3, 3), 1 / 3)
    with pytest.raises(InvalidInputError, match=r"state 0 has 0\.33"):
        model.score(X)
    model = known()
    model.durations_ = DURATIONS[:, :11]
    with pytest.raises(InvalidInputError, match=r"durations_ must have shape \(3, 12\)"):
        model.score(X)
