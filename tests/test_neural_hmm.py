"""Hidden Markov models with networks: against other ways to the same figures, what they find, and their promises."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from emnet import InvalidInputError, NeuralHMM, load
from emnet.estimators.lags import past_of
from tests.oracles import enumerate_chain

RNG = np.random.RandomState
EMISSIONS = ("autoregressive", "mixture_density", "discriminative")


def swings(n=400, seed=0, period=100):
    """One column that goes on as it was, or jumps to the other side, by turns."""
    rng, states, X = RNG(seed), np.arange(n) // period % 2, np.zeros((n, 1))
    for t in range(1, n):
        X[t] = (0.9 if states[t] else -0.9) * X[t - 1] + 0.5 * rng.randn()
    return X, states


def rings(n=400, seed=0, period=20):
    """Two columns: points of a small circle or of a large one around it, by turns."""
    rng, states = RNG(seed), np.arange(n) // period % 2
    angle, radius = rng.uniform(0, 2 * np.pi, n), np.where(states, 3.0, 1.0) + 0.1 * rng.randn(n)
    return np.column_stack((radius * np.cos(angle), radius * np.sin(angle))), states


def agreement(found, states):
    return max((found == states).mean(), (found != states).mean())


def fitted(X, *arguments, y=None, lengths=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NeuralHMM(*arguments, **{"n_init": 1, "max_iter": 60, "random_state": 0, **options}).fit(X, lengths, y=y)


class Circle(torch.nn.Module):
    """Of each state a density of the distance from the middle: log-normal, uniform in the angle."""

    def __init__(self):
        super().__init__()
        self.logs = torch.nn.Parameter(torch.tensor([[-0.5, 0.5], [-1.0, -1.0]]))

    def reset_parameters(self):
        torch.nn.init.normal_(self.logs[0], std=0.5)

    def forward(self, rows):
        log_radius = rows.square().sum(1, keepdim=True).log() / 2
        away = (log_radius - self.logs[0]) / self.logs[1].exp()
        return -0.5 * away.square() - self.logs[1] - 1.5 * np.log(2 * np.pi) - 2 * log_radius


# -- against other ways to the same figures -------------------------------------------------------------------------


def test_one_state_is_least_squares_on_the_past():
    X, _ = swings(period=1000)
    model = fitted(X, 1, prior=0.0, noise_prior=0.0, tol=1e-12)
    later, before = X[1:], X[:-1]
    plain = LinearRegression().fit(before, later)
    assert model.weights_[0, 0, 1] == pytest.approx(plain.coef_[0, 0], abs=1e-3)
    assert model.noise_[0, 0] * model.input_scale_[0] == pytest.approx((later - plain.predict(before)).std(), rel=1e-2)


def test_the_score_is_the_sum_over_paths():
    X, _ = swings(40, period=10)
    model = fitted(X, 2)
    rows = (X[:6, 0] - model.input_mean_) / model.input_scale_
    x = np.zeros((6, 2))
    for t, row in enumerate(rows):
        past = np.array([1.0, rows[t - 1] if t else 0.0, float(t == 0)])
        for state in range(2):
            away = (row - model.weights_[state, 0] @ past) / model.noise_[state, 0]
            x[t, state] = -0.5 * away**2 - np.log(model.noise_[state, 0] * np.sqrt(2 * np.pi))
    steps = np.broadcast_to(np.log(model.transmat_), (6, 2, 2))
    truth = enumerate_chain(np.log(model.startprob_), steps, x)
    assert model.score(X[:6]) == pytest.approx(truth[0] - 6 * np.log(model.input_scale_[0]), rel=1e-9)
    np.testing.assert_allclose(model.predict_proba(X[:6]), truth[1], atol=1e-9)
    np.testing.assert_array_equal(model.predict(X[:6]), truth[3])


def test_the_past_is_of_the_own_sequence_and_says_what_is_not_there():
    rows = torch.tensor([[1.0], [2.0], [float("nan")], [4.0], [5.0]])
    found = past_of(rows, torch.tensor([3, 2]), 2)
    expected = [[0, 0, 1, 1], [1, 0, 0, 1], [2, 1, 0, 0], [0, 0, 1, 1], [4, 0, 0, 1]]
    assert found.tolist() == expected
    assert past_of(rows[:4], torch.tensor([4]), 1)[3].tolist() == [0, 1]


def test_a_mixture_density_integrates_to_one():
    X, _ = swings()
    model = fitted(X, 2, "mixture_density", lags=1, max_iter=10)
    grid = np.linspace(-30, 30, 6001)
    emission = model._best.emissions["emission"]
    given = torch.tensor([[1.0, 0.7, 0.0]]).double().expand(len(grid), -1)
    densities = emission.log_prob(torch.from_numpy(grid)[:, None], given).exp().numpy()
    np.testing.assert_allclose(np.trapezoid(densities, grid, axis=0), 1, atol=1e-6)


def test_a_scaled_likelihood_averages_to_one_over_the_reference_rows():
    X, _ = rings(200)
    emission = fitted(X, 2, "discriminative", max_iter=10)._best.emissions["emission"]
    np.testing.assert_allclose(emission.log_prob(emission.reference).exp().mean(0), 1, atol=1e-10)


# -- what they find -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("emission", "options"),
    [
        ("autoregressive", {}),
        (
            "autoregressive",
            {"network": torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))},
        ),
        ("mixture_density", {"lags": 1, "n_mixtures": 1}),
    ],
)
def test_what_only_the_past_can_tell_is_found(emission, options):
    X, states = swings()
    assert agreement(fitted(X, 2, emission, **options).predict(X), states) > 0.95


def test_a_discriminative_network_tells_apart_what_a_few_labels_name():
    X, states = rings()
    y = np.where(np.arange(len(X)) % 5 == 0, states, -1)
    model = fitted(X, 2, "discriminative", y=y)
    assert (model.predict(X) == states).mean() > 0.95
    new_X, new_states = rings(seed=1)
    assert (model.predict(new_X) == new_states).mean() > 0.95


def test_a_module_of_the_users_own():
    X, states = rings()
    model = fitted(X, 2, Circle(), n_init=2)
    assert agreement(model.predict(X), states) > 0.98
    with pytest.raises(InvalidInputError, match="holds no code"):
        model.save("nowhere.emnet")


def test_samples_are_like_the_rows():
    X, _ = swings()
    for emission, options in (("autoregressive", {}), ("mixture_density", {"lags": 1})):
        model = fitted(X, 2, emission, **options)
        drawn, states = model.sample(2000, random_state=0)
        assert drawn.shape == (2000, 1)
        assert drawn.std() == pytest.approx(X.std(), rel=0.35)
        inside = [np.corrcoef(drawn[1:][states[1:] == k, 0], drawn[:-1][states[1:] == k, 0])[0, 1] for k in range(2)]
        assert sorted(np.sign(inside)) == [-1, 1]
    with pytest.raises(InvalidInputError, match="cannot make rows"):
        fitted(rings(100)[0], 2, "discriminative", max_iter=2).sample()


def test_forecasts_are_what_the_states_expect_of_the_past():
    X, _ = swings(120, period=40)
    model = fitted(X, 2, lags=2)
    ahead = model.forecast(X, 3, quantiles=[0.1, 0.9], n_samples=4000, random_state=0)
    now = model.filter(X)[-1]
    for step, weights in enumerate(ahead.state_probabilities):
        np.testing.assert_allclose(weights, now @ np.linalg.matrix_power(model.transmat_, step + 1), atol=1e-12)
    past = np.r_[1.0, (X[[-1, -2], 0] - model.input_mean_) / model.input_scale_, 0.0, 0.0]
    expected = ahead.state_probabilities[0] @ model.weights_[:, 0] @ past * model.input_scale_ + model.input_mean_
    np.testing.assert_allclose(ahead.mean[0], expected)
    assert ahead.mean_error is None
    spread = ahead.samples.std(0) / len(ahead.samples) ** 0.5
    assert (np.abs(ahead.samples.mean(0) - ahead.mean) < 4 * spread).all()
    gone = X.copy()
    gone[-1] = np.nan  # a lag that is not there for two steps
    broken = model.forecast(gone, 4, n_samples=4000, random_state=0)
    assert (np.abs(broken.samples.mean(0) - broken.mean) < 4 * broken.samples.std(0) / 4000**0.5).all()
    below = (ahead.samples[:, :, None] <= ahead.quantiles).mean(0)[:, :, 0]
    np.testing.assert_allclose(below, [[0.1, 0.9]] * 3, atol=1e-3)
    assert (model.forecast(X, 3, random_state=0).mean == model.forecast(X, 3, random_state=0).mean).all()
    with pytest.raises(InvalidInputError, match="from one sequence; X holds 2"):
        model.forecast([X, X])


def test_what_a_network_expects_is_the_mean_of_paths():
    X, _ = swings(120, period=40)
    model = fitted(X, 2, "mixture_density", lags=1, max_iter=5)
    ahead = model.forecast(X, 2, random_state=0)
    assert ahead.samples.shape == (1000, 2, 1)
    np.testing.assert_allclose(ahead.mean_error, ahead.samples.std(0, ddof=1) / 1000**0.5)
    many = model.forecast(X, 2, n_samples=4000, random_state=1)
    assert (np.abs(ahead.mean - many.mean) < 5 * ahead.mean_error).all()


def test_a_forecast_of_one_state_is_the_recursion():
    X, _ = swings(200, period=1000)
    model = fitted(X, 1)
    ahead = model.forecast(X, 4, n_samples=4000, random_state=0)
    bias, slope, _ = model.weights_[0, 0]
    row, variance = (X[-1] - model.input_mean_) / model.input_scale_, 0.0
    for step in range(4):
        row, variance = bias + slope * row, slope**2 * variance + model.noise_[0, 0] ** 2
        assert ahead.mean[step, 0] == pytest.approx(row[0] * model.input_scale_[0] + model.input_mean_[0])
        assert ahead.samples[:, step].std() == pytest.approx(variance**0.5 * model.input_scale_[0], rel=0.05)


@pytest.mark.parametrize("emission", ["autoregressive", "mixture_density"])
def test_holes_are_filled_with_what_is_expected(emission):
    X, _ = rings(150)
    model = fitted(X, 2, emission, max_iter=15)
    broken = X.copy()
    broken[[20, 40, 41], 0], broken[60] = np.nan, np.nan
    filled = model.impute(broken, [100, 50])
    seen = ~np.isnan(broken)
    np.testing.assert_allclose(filled[seen], X[seen])
    states = RNG(0).choice(2, size=4000, p=model.predict_proba(broken, [100, 50])[60])
    given = model._sequences(broken, np.array([100, 50])).given
    past = None if given is None else given[60].repeat(4000, 1)
    drawn = model._best.emissions["emission"].draw(torch.from_numpy(states), past, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(filled[60], model._in_units(drawn).mean(0), atol=0.2)
    with pytest.raises(InvalidInputError, match="cannot say what rows are"):
        fitted(X, 2, "discriminative", max_iter=2).impute(X)


def test_what_a_module_lacks_is_named():
    model = fitted(rings(100)[0], 2, Circle(), max_iter=2)
    hole = np.vstack((rings(20)[0], [[np.nan, np.nan]]))
    with pytest.raises(InvalidInputError, match="Circle has no method `means`"):
        model.impute(hole)
    with pytest.raises(InvalidInputError, match="Circle has no method `draw`"):
        model.forecast(hole)


@pytest.mark.parametrize("emission", EMISSIONS)
def test_the_online_filter_is_the_filter(emission):
    X, _ = rings(60)
    X[30] = np.nan
    model = fitted(X, 2, emission, max_iter=5, **({"lags": 2} if emission != "discriminative" else {}))
    online = model.online_filter()
    parts = [online.update(part) for part in (X[:1], X[1], X[2:3], X[3:31], X[31:])]
    np.testing.assert_allclose(np.concatenate(parts), model.filter(X), atol=1e-10)
    assert online.log_evidence == pytest.approx(model.score(X), rel=1e-9)


@pytest.mark.parametrize(("emission", "passes", "least"), [("autoregressive", 100, 0.01), ("mixture_density", 50, 0.2)])
def test_portions_come_near_to_the_whole(emission, passes, least):
    X, _ = swings()
    options = {"lags": 1, "n_mixtures": 1} if emission == "mixture_density" else {}
    whole = fitted(X, 2, emission, lengths=[200, 200], **options)
    model = NeuralHMM(2, emission, n_init=2, random_state=0, **options)
    for number in range(passes):
        model.partial_fit(X[(number % 2) * 200 :][:200])
    assert model.score(X, [200, 200]) > whole.score(X, [200, 200]) - least * abs(whole.score(X))
    before = whole.score(X)
    whole.partial_fit(X[:200])  # which goes on
    assert whole.score(X) > before - 0.1 * abs(before)


def test_what_is_expected_of_the_rows_gives_the_parameters_back():
    X, _ = swings(80, period=20)
    model = fitted(X, 2, lags=2, prior=0.0, noise_prior=0.0, transmat_prior=1.0, max_iter=5)
    batch, chain = model._sequences(X, np.array([50, 30])), model._best
    before = chain.coordinates()
    with torch.no_grad():
        chain.m_step(chain.implied(batch))
    np.testing.assert_allclose(chain.coordinates(), before, atol=1e-8)


def test_selection_by_bic_finds_the_states():
    X, _ = swings()
    found = fitted(X, 1, max_iter=30).select(X, n_components=(1, 2, 3))
    assert found.best.n_components == 2
    assert found.table[0]["bic"] == pytest.approx(found.best.bic(X))


# -- their promises -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("emission", EMISSIONS)
def test_models_come_back_from_files(emission, tmp_path):
    X, _ = rings(120)
    model = fitted(X, 2, emission, max_iter=5, n_init=2)
    model.save(tmp_path / "m.emnet")
    again = load(tmp_path / "m.emnet")
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    assert again.score(X) == model.score(X)


@pytest.mark.parametrize("emission", EMISSIONS)
def test_rows_that_are_missing_are_passed_over(emission):
    X, states = rings(200)
    X[5:8] = np.nan
    model = fitted(X, 2, emission, y=np.where(np.arange(200) % 3 == 0, states, -1), max_iter=10)
    shares = model.predict_proba(X)
    assert np.isfinite(shares).all()
    assert np.isfinite(model.score(X))
    ahead = model.filter(np.vstack((X[:5], np.full((1, 2), np.nan))))
    np.testing.assert_allclose(ahead[5], ahead[4] @ model.transmat_, atol=1e-10)
    X[20, 0] = np.nan
    if emission == "discriminative":
        with pytest.raises(InvalidInputError, match="Row 20 misses column 0"):
            model.predict(X)
    else:
        assert np.isfinite(model.predict_proba(X)).all()


def test_sequences_weights_and_units():
    X, _ = swings(120, period=30)
    parts = [X[:40], X[40:80], X[80:]]
    one, two = fitted(parts, 2, algorithm="em"), fitted(X, 2, lengths=[40, 40, 40], algorithm="em")
    assert (one.transmat_ == two.transmat_).all()
    assert fitted([8 * part for part in parts], 2, algorithm="em").score([8 * part for part in parts]) == pytest.approx(
        one.score(parts) - 120 * np.log(8), abs=1e-6
    )
    assert one.bic(parts) > -2 * one.score(parts)
    assert one.decode(parts, algorithm="map")[1].shape == (120,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"emission": "words"}, "emission"),
        ({"emission": "discriminative", "lags": 1}, "leave lags out"),
        ({"emission": "mixture_density", "network": torch.nn.Linear(1, 1)}, "network="),
        ({"emission": torch.nn.Linear(1, 3)}, "each of 2 states"),
        ({"emission": torch.nn.Linear(3, 2)}, "does not take rows"),
        ({"lags": 0}, "Without any it is GaussianHMM"),
        ({"lags": 1.5}, "lags must be a whole number"),
        ({"network": torch.nn.Linear(3, 1)}, "network does not take 2 inputs"),
    ],
)
def test_what_cannot_be_used_is_named(options, message):
    with pytest.raises(InvalidInputError, match=message):
        NeuralHMM(2, **options).fit(swings(50)[0])


# -- what is known of the chain, states that emit alike, durations --------------------------------------------------

NAN = np.nan


@pytest.mark.parametrize("algorithm", ["squarem", "lbfgs"])
def test_what_is_known_of_the_tables_stays(algorithm, tmp_path):
    X, _ = swings(120, period=40)
    steps = [[NAN, NAN, 0.0], [None, 0.9, NAN], [0, 0, 1]]
    model = fitted(X, 3, known_start=[1, 0, 0], known_transitions=steps, algorithm=algorithm, max_iter=5)
    assert model.startprob_.tolist() == [1, 0, 0]
    np.testing.assert_allclose(model.transmat_[[0, 1, 2, 2, 2], [2, 1, 0, 1, 2]], [0, 0.9, 0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(model.transmat_.sum(1), 1)
    assert 0 < model.transmat_[1, 0] < 0.1
    assert model._n_parameters() == 2 + len(model._best.emissions["emission"].coordinates())
    model.save(tmp_path / "model.emnet")
    again = load(tmp_path / "model.emnet")
    assert again.score(X) == model.score(X)
    np.testing.assert_array_equal(again.fit(X).transmat_, model.transmat_)  # what is not known is None in a file


def test_left_to_right_chains_start_with_clusters_in_order_of_time():
    rng = RNG(0)
    X = [np.repeat([9.0, 0.0, 5.0], 12)[:, None] + rng.randn(36, 1) for _ in range(4)]
    steps = np.where(np.tri(3, k=-1) > 0, 0.0, NAN)
    model = fitted(X, 3, "mixture_density", known_start=[1, 0, 0], known_transitions=steps, max_iter=5)
    assert (model.predict(X).reshape(4, 36) == np.repeat([0, 1, 2], 12)).mean() > 0.95


@pytest.mark.parametrize("emission", EMISSIONS)
def test_states_that_emit_alike(emission):
    X, _ = swings(120, period=30)
    model = fitted(X, 3, emission, shared_states=[0, 1, 0], max_iter=5)
    density = model._best.emissions["emission"].log_prob(
        *(model._sequences(X, np.array([120])).__dict__[name] for name in ("target", "given"))
    )
    np.testing.assert_array_equal(density[:, 0], density[:, 2])
    assert (density[:, 0] != density[:, 1]).any()
    if emission == "autoregressive":
        np.testing.assert_array_equal(model.weights_[[0, 2]], model.weights_[[0, 0]])
    if emission == "discriminative":
        with pytest.raises(InvalidInputError, match="cannot make rows"):
            model.sample(3)
        return
    ahead = model.forecast(X, 3, n_samples=3000, random_state=0)
    np.testing.assert_allclose(ahead.distribution.mean.numpy(), ahead.mean, atol=0.15)
    np.testing.assert_allclose(ahead.samples.mean(0), ahead.mean, atol=0.15)


@pytest.mark.parametrize("emission", EMISSIONS)
def test_states_that_last(emission, tmp_path):
    X, states = swings(240, period=20) if emission == "autoregressive" else rings(240)
    model = fitted(X, 2, emission, max_duration=30, max_iter=20, n_init=2)
    assert model.durations_.shape == (2, 30)
    np.testing.assert_allclose(model.transmat_, [[0, 1], [1, 0]])
    np.testing.assert_allclose(model.durations_.sum(1), 1)
    assert agreement(model.predict(X), states) > 0.7
    flow = model.online_filter()
    found = np.concatenate([flow.update(X[:7]), flow.update(X[7:20])])
    np.testing.assert_allclose(found, model.filter(X)[:20], atol=1e-9)
    model.save(tmp_path / "model.emnet")
    assert load(tmp_path / "model.emnet").score(X) == model.score(X)
    model.partial_fit(X)
    if emission != "discriminative":
        ahead = model.forecast(X, 3, n_samples=2000, random_state=0)
        assert ahead.mean_error is not None
        np.testing.assert_allclose(ahead.distribution.mean.numpy(), ahead.mean, atol=0.2)
        assert model.sample(50, random_state=0)[1].max() == 1


def test_durations_of_one_row_with_one_state_each_are_the_chain_without_them():
    """Where every segment is one row, its transitions are those of a chain that never stays."""
    X, _ = swings(60, period=5)
    lasting = fitted(X, 3, max_duration=1, max_iter=3)
    steps = np.where(np.eye(3, dtype=bool), 0.0, NAN)
    plain = fitted(X, 3, known_transitions=steps, max_iter=3)
    assert lasting.durations_.tolist() == [[1]] * 3
    lasting._best.start, lasting._best.transition = plain._best.start, plain._best.transition
    lasting._best.emissions = plain._best.emissions
    assert lasting.score(X) == pytest.approx(plain.score(X), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"known_start": [0.5, 0.4, NAN]}, r"known_start must have shape \(2,\); it has \(3,\)"),
        ({"known_start": [0.5, "half"]}, "known_start holds numbers, NaN where one is to be learned"),
        ({"known_start": [0.5, 0.4]}, "it adds up to 0.9, without NaN"),
        ({"known_start": [1.0, NAN]}, "it adds up to 1 with NaN"),
        ({"known_transitions": [[NAN, NAN], [-0.1, NAN]]}, "row 1 adds up to -0.1"),
        ({"known_transitions": [[0.5, NAN], [NAN, NAN]], "max_duration": 3}, "state 0 has 0.5"),
        ({"known_transitions": [[NAN, 0], [NAN, NAN]], "max_duration": 3}, "known_transitions leaves state 0 none"),
        ({"max_duration": 0}, "max_duration"),
        ({"shared_states": [0, 2]}, "shared_states must be 2 numbers of groups"),
        ({"shared_states": [0, 0, 1]}, "shared_states must be 2 numbers of groups"),
    ],
)
def test_chains_that_cannot_be(options, message):
    with pytest.raises(InvalidInputError, match=message):
        NeuralHMM(2, **options).fit(swings(30)[0])
