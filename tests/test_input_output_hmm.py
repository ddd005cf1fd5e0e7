"""Input–output hidden Markov models: against other ways to the same figures, what they are for, and their promises."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression

from benchmarks.tomita import GRAMMARS, errors, learn
from emnet import InputOutputHMM, InvalidInputError, load
from tests.oracles import enumerate_chain, log_output

RNG = np.random.RandomState


def switching(n=40, length=12, seed=0):
    """Two lines, between which the sign of the second input switches."""
    rng = RNG(seed)
    X = [rng.randn(length, 2) for _ in range(n)]
    Y = []
    for x in X:
        side = np.cumsum(x[:, 1] > 1) % 2
        Y.append(np.where(side, 2 * x[:, 0] + 5, -x[:, 0]) + 0.1 * rng.randn(length))
    return X, Y


def echoes(n=60, seed=0):
    """The label of a step is the symbol two steps ago."""
    rng = RNG(seed)
    X = [rng.randint(2, size=(length, 1)) for length in rng.randint(3, 9, size=n)]
    return X, [np.r_[[0, 0], x[:-2, 0]] for x in X]


def small_module(n_inputs, n_outputs):
    return torch.nn.Sequential(torch.nn.Linear(n_inputs, 6), torch.nn.Tanh(), torch.nn.Linear(6, n_outputs))


# -- against other ways to the same figures -------------------------------------------------------------------------


def test_one_state_is_logistic_regression():
    rng = RNG(0)
    X = rng.randn(200, 2)
    y = (X @ [1.0, -2.0] + rng.logistic(size=200) > 0).astype(int)
    model = InputOutputHMM(1, n_init=1, prior=0.5, standardize=False, tol=1e-12, random_state=0).fit(X, y)
    # the two classes' weights are opposite, and each has the penalty: ½·0.5·2·(w/2)² = ½·0.25·w²
    plain = LogisticRegression(C=4.0, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), atol=1e-5)
    assert model.log_density(X, y)[0] == pytest.approx(
        np.log(plain.predict_proba(X))[np.arange(200), y].sum(), abs=1e-3
    )


def test_one_state_is_linear_regression():
    rng = RNG(0)
    X = rng.randn(100, 2)
    Y = X @ rng.randn(2, 3) + 100 + rng.randn(100, 3)
    model = InputOutputHMM(1, n_init=1, prior=0.0, noise_prior=0.0, algorithm="em", tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), LinearRegression().fit(X, Y).predict(X), rtol=1e-8)


def test_the_published_weights_are_the_model():
    X, Y = echoes()
    model = InputOutputHMM(3, n_init=1, max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, Y)
    x = (X[0][:6] - model.input_mean_) / model.input_scale_
    steps = np.array([[log_output(weights, row) for weights in model.transition_weights_] for row in x])
    emission = np.array([[log_output(weights, row) for weights in model.emission_weights_] for row in x])
    start = log_output(model.start_weights_, x[0])
    rows = np.arange(len(x))
    truth = enumerate_chain(start, steps, emission[rows, :, Y[0][:6]])
    assert model.log_density(X[0][:6], Y[0][:6])[0] == pytest.approx(truth[0], rel=1e-10)
    np.testing.assert_allclose(model.smooth(X[0][:6], Y[0][:6]), truth[1], atol=1e-10)
    np.testing.assert_array_equal(model.predict_states(X[0][:6], Y[0][:6]), truth[3])
    ahead = enumerate_chain(start, steps, np.zeros((len(x), 3)))[1]
    expected = (ahead[:, :, None] * np.exp(emission)).sum(1)
    np.testing.assert_allclose(model.predict_proba(X[0][:6]), expected, atol=1e-10)
    np.testing.assert_allclose(model.filter(X[0][:6]), ahead, atol=1e-10)


def test_samples_have_the_predicted_frequencies():
    X, Y = echoes(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InputOutputHMM(2, n_init=1, max_iter=10, random_state=0).fit(X, Y)
    many = [X[0]] * 4000
    labels, states = model.sample(many, random_state=1)
    frequencies = labels.reshape(4000, -1).mean(axis=0)
    np.testing.assert_allclose(frequencies, model.predict_proba(X[0])[:, 1], atol=0.04)
    np.testing.assert_allclose((states.reshape(4000, -1) == 1).mean(axis=0), model.filter(X[0])[:, 1], atol=0.04)


def quick(X, Y, k=2, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return InputOutputHMM(k, **{"n_init": 1, "max_iter": 30, "random_state": 0, **options}).fit(X, Y)


@pytest.mark.parametrize("data", [echoes, switching])
def test_the_online_filter_is_the_filter(data):
    X, Y = data(10)
    model = quick(X, Y)
    x, y, n = X[0], Y[0], len(X[0])
    online = model.online_filter()
    parts = [online.update(x[0], y[0]), online.update(x[1:2]), online.update(x[2:], y[2:])]
    known = np.where(np.arange(n) == 1, -1 if data is echoes else np.nan, y)
    np.testing.assert_allclose(np.concatenate(parts), model.filter(x, known), atol=1e-12)
    assert online.log_evidence == pytest.approx(model.log_density(x, known)[0], rel=1e-10)


@pytest.mark.parametrize("start", ["softmax", "constant"])
def test_a_forecast_is_the_filter_of_inputs_alone(start):
    X, Y = switching(10)
    model = quick(X, Y, start=start)
    x, y = X[0], Y[0]
    ahead = model.forecast(x[:8], y[:8], x[8:], quantiles=[0.1, 0.5], n_samples=4000, random_state=0)
    known = np.r_[y[:8], np.full(4, np.nan)]
    np.testing.assert_allclose(ahead.state_probabilities, model.filter(x, known)[8:], atol=1e-12)
    np.testing.assert_allclose(ahead.samples.mean(0), ahead.mean, atol=0.25)
    np.testing.assert_allclose((ahead.samples[:, :, None] <= ahead.quantiles).mean(0), [[0.1, 0.5]] * 4, atol=0.03)
    assert ahead.mean_error is None
    both = quick(X, [np.column_stack((y, -y)) for y in Y]).forecast(x[:8], None, x[8:], quantiles=[0.5], n_samples=2)
    assert (both.mean.shape, both.quantiles.shape, both.samples.shape) == ((4, 2), (4, 1, 2), (2, 4, 2))
    with pytest.raises(InvalidInputError, match="X holds 10"):
        model.forecast(X, Y, x)


def test_a_forecast_of_labels_has_their_probabilities():
    X, Y = echoes(20)
    model = quick(X, ["ab"[last] for last in (y[-1] for y in Y)], 3)
    x = X[0]
    ahead = model.forecast(x[:2], None, x[2:], n_samples=4000, random_state=0)
    np.testing.assert_allclose(ahead.mean, model.predict_proba(x)[2:], atol=1e-12)
    np.testing.assert_allclose((ahead.samples == "b").mean(0), ahead.mean[:, 1], atol=0.03)
    with pytest.raises(InvalidInputError, match="no order"):
        model.forecast(x[:2], None, x[2:], quantiles=[0.5])


def test_information_criteria_count_what_is_free():
    X, Y = switching(10)
    model = quick(X, Y, 3, start="constant")
    free = 2 + 3 * 2 * 3 + 3 * (3 + 1)
    assert model.aic(X, Y) == pytest.approx(-2 * model.log_density(X, Y).sum() + 2 * free)
    holes = [np.where(np.arange(12) < 6, np.nan, y) for y in Y]
    assert model.bic(X, holes) == pytest.approx(-2 * model.log_density(X, holes).sum() + free * np.log(60))
    squared = [np.column_stack((x, x[:, 1] > 1)) for x in X]
    found = InputOutputHMM(n_init=2, random_state=0).select(squared, Y, n_components=(1, 2))
    assert found.best.n_components == 2
    assert found.table[0]["bic"] < found.table[1]["bic"]


def test_portions_come_near_to_the_whole():
    X, Y = echoes(30)
    whole, model = quick(X, Y), InputOutputHMM(2, n_init=1, random_state=0)
    for number in range(60):
        part = slice(15 * (number % 2), 15 * (number % 2) + 15)
        model.partial_fit(X[part], Y[part], classes=[0, 1, 2])
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.log_density(X, Y).sum() > 1.3 * whole.log_density(X, Y).sum()
    reached = whole.log_density(X, Y).sum()
    whole.partial_fit(X[:15], Y[:15])
    assert whole.log_density(X, Y).sum() > 1.05 * reached
    with pytest.raises(InvalidInputError, match="holds 7"):
        model.partial_fit(X[:1], [np.full(len(X[0]), 7)])


# -- what they are for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [4, 6])
def test_a_grammar_is_learned_from_the_verdict_on_whole_strings(number):
    grammar = GRAMMARS[number]
    assert errors(learn(grammar, 0, n_components=6, n_init=3), grammar, 0) == 0


def test_the_automata_are_the_grammars():
    import re
    from itertools import product

    rules = {
        1: lambda s: re.fullmatch("1*", s),
        2: lambda s: re.fullmatch("(10)*", s),
        3: lambda s: not re.search(r"(?<!1)1(?:11)*(?<!0)0(?:00)*(?!0)", s),
        4: lambda s: "000" not in s,
        5: lambda s: s.count("0") % 2 == 0 and s.count("1") % 2 == 0,
        6: lambda s: (s.count("0") - s.count("1")) % 3 == 0,
        7: lambda s: re.fullmatch("0*1*0*1*", s),
    }
    for length in range(1, 11):
        for string in product((0, 1), repeat=length):
            for number, rule in rules.items():
                assert GRAMMARS[number].accepts(np.array(string)) == bool(rule("".join(map(str, string))))


@pytest.mark.parametrize("holes", [False, True])
def test_regression_finds_the_lines_and_what_switches_them(holes):
    X, Y = switching()
    if holes:
        rng = RNG(1)
        Y = [np.where(rng.rand(len(y)) < 0.3, np.nan, y) for y in Y]
    squared = [np.column_stack((x, x[:, 1] > 1)) for x in X]
    model = InputOutputHMM(2, random_state=0).fit(squared, Y)
    new_X, new_Y = switching(seed=5)
    new_X = [np.column_stack((x, x[:, 1] > 1)) for x in new_X]
    assert model.emission_ == "regression"
    assert model.score(new_X, new_Y) > 0.95
    assert model.predict(new_X).shape == (480,)
    draws = [model.sample(new_X, random_state=seed)[0] for seed in range(20)]  # one may take another path
    assert np.corrcoef(np.mean(draws, axis=0), np.concatenate(new_Y))[0, 1] > 0.95


def test_units_of_the_targets_shift_the_density():
    X, Y = switching(10)
    one, eight = (InputOutputHMM(2, n_init=1, random_state=0) for _ in range(2))
    one.fit(X, Y)
    eight.fit(X, [8 * y for y in Y])
    np.testing.assert_allclose(one.predict(X), eight.predict(X) / 8, rtol=1e-8)
    shift = one.log_density(X, Y) - eight.log_density(X, [8 * y for y in Y])
    np.testing.assert_allclose(shift, 12 * np.log(8), atol=1e-8)


@pytest.mark.parametrize("batch_size", [None, 10])
def test_modules_and_mini_batches(batch_size):
    X, Y = echoes()
    options = {"n_init": 1, "random_state": 0, "max_iter": 60 if batch_size is None else 20, "batch_size": batch_size}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InputOutputHMM(4, transition=small_module(1, 4), emission=small_module(1, 2), **options).fit(X, Y)
        assert model.score(X, Y) > 0.6
        X, Y = switching(10)
        numbers = InputOutputHMM(2, emission=small_module(2, 1), **options).fit(X, Y)
        assert numbers.log_density(X, Y).shape == (10,)
    with pytest.raises(InvalidInputError, match="holds no code"):
        numbers.save("nowhere.emnet")


def test_known_states_name_the_states():
    X, Y = switching()
    X = [np.column_stack((x, x[:, 1] > 1)) for x in X]
    truth = np.concatenate([np.cumsum(x[:, 1] > 1) % 2 for x in X])
    states = np.where(np.arange(len(truth)) % 5 == 0, 1 - truth, -1)
    model = InputOutputHMM(2, random_state=0).fit(X, Y, states=states)
    assert (model.predict_states(X, Y) == 1 - truth).mean() > 0.97
    assert (model.predict_states(X, Y, algorithm="map") == 1 - truth).mean() > 0.97


# -- their promises -------------------------------------------------------------------------------------------------


def test_forms_of_the_same_sequences_give_the_same_fit():
    X, Y = echoes(20)
    lengths = [len(x) for x in X]
    options = {"n_init": 1, "max_iter": 15, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = InputOutputHMM(2, **options).fit(X, Y)
        two = InputOutputHMM(2, **options).fit(np.concatenate(X), np.concatenate(Y), lengths)
        assert (one.transition_weights_ == two.transition_weights_).all()
        last = [y[-1] for y in Y]
        rest = np.full(sum(lengths), -1)
        rest[np.cumsum(lengths) - 1] = last
        one = InputOutputHMM(2, **options).fit(X, last)
        two = InputOutputHMM(2, **options).fit(X, rest)
        assert (one.transition_weights_ == two.transition_weights_).all()
        three = InputOutputHMM(2, **options).fit(X, [None if code < 0 else "ab"[code] for code in rest])
        assert (one.transition_weights_ == three.transition_weights_).all()
        assert three.classes_.tolist() == ["a", "b"]


def test_a_weight_of_two_is_the_sequence_twice():
    X, Y = echoes(12)
    options = {"n_init": 1, "max_iter": 10, "random_state": 0, "algorithm": "em"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weighted = InputOutputHMM(2, **options).fit(X, Y, sample_weight=np.repeat([2.0, 0.0, 1.0], 4))
        repeated = InputOutputHMM(2, **options).fit([*X[:4], *X[:4], *X[8:]], [*Y[:4], *Y[:4], *Y[8:]])
    np.testing.assert_allclose(weighted.transition_weights_, repeated.transition_weights_, atol=1e-7)


@pytest.mark.parametrize("data", [echoes, switching])
def test_float32_is_near_to_float64(data):
    X, Y = data(10)
    double, single = (quick(X, Y, algorithm="em", max_iter=8, dtype=dtype) for dtype in ("float64", "float32"))
    np.testing.assert_allclose(single.log_density(X, Y), double.log_density(X, Y), rtol=1e-3)
    assert single.forecast(X[0], Y[0], X[1], n_samples=2).mean.shape[0] == len(X[1])
    single.partial_fit(X, Y)


@pytest.mark.parametrize("data", [echoes, switching])
@pytest.mark.parametrize("start", ["softmax", "constant"])
def test_models_come_back_from_files(data, start, tmp_path):
    X, Y = data(10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InputOutputHMM(2, start=start, n_init=2, max_iter=10, random_state=0).fit(X, Y)
    model.save(tmp_path / "m.emnet")
    again = load(tmp_path / "m.emnet")
    assert (again.predict(X) == model.predict(X)).all()
    assert (again.log_density(X, Y) == model.log_density(X, Y)).all()
    assert again.history_ == model.history_


def test_a_warm_start_goes_on():
    X, Y = echoes(20)
    model = InputOutputHMM(2, n_init=1, max_iter=5, warm_start=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = model.fit(X, Y).log_evidence_
        assert model.fit(X, Y).log_evidence_ > first
        with pytest.raises(InvalidInputError, match="warm_start"):
            model.set_params(n_components=3).fit(X, Y)
        with pytest.raises(InvalidInputError, match="go on with 2 states"):
            model.partial_fit(X, Y)
        with pytest.raises(InvalidInputError, match="n_init says 4"):
            model.set_params(n_components=2, n_init=4).fit(X, Y)
        with pytest.raises(InvalidInputError, match="go on with start='softmax'; it is now 'constant'"):
            model.set_params(n_init=1, start="constant").fit(X, Y)
        model.set_params(start="softmax", max_iter=100, prior=100.0).fit(X, Y)
    cold = InputOutputHMM(2, n_init=1, max_iter=100, prior=100.0, random_state=0).fit(X, Y)
    assert model.prior_ == cold.prior_
    assert model.history_[-1]["objective"] == pytest.approx(cold.history_[-1]["objective"], rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": [10, 5]}, "add up to 15"),
        ({"lengths": [20, 0]}, "Sequence 1 has 0 rows"),
        ({"y": np.zeros(20, dtype=int)}, "at least two classes"),
        ({"y": np.arange(3)}, "one for each of the 1 sequences"),
        ({"y": np.zeros((20, 2, 2))}, "got shape"),
        ({"X": np.full((20, 1), np.nan)}, "NaN"),
        ({"sample_weight": [-1.0]}, "none below 0"),
        ({"states": np.full(20, 7)}, "7"),
    ],
)
def test_what_cannot_be_used_is_named(change, message):
    data = {"X": np.arange(20.0)[:, None], "y": np.arange(20) % 2, **change}
    with pytest.raises(InvalidInputError, match=message):
        InputOutputHMM(2).fit(**data)


@pytest.mark.parametrize(
    "options", [{"transition": "linear"}, {"emission": "words"}, {"n_components": 0}, {"prior": -1.0}]
)
def test_parameters_that_cannot_be_used_are_named(options):
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        InputOutputHMM(**options).fit(np.arange(20.0)[:, None], np.arange(20) % 2)


def test_labels_that_were_not_in_training_are_named():
    X, Y = echoes(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InputOutputHMM(2, n_init=1, max_iter=2, random_state=0).fit(X, Y)
    with pytest.raises(InvalidInputError, match="holds 2"):
        model.log_density(X[0], np.full(len(X[0]), 2))


# -- steps that never happen, and states that have one expert -------------------------------------------------------


@pytest.mark.parametrize("m_step", ["auto", "newton", "irls", "ecm", "mm", "gradient"])
def test_steps_that_never_happen(m_step, tmp_path):
    X, Y = echoes(20)
    steps = np.where(np.tri(3, k=-1) > 0, 0.0, np.nan)
    model = InputOutputHMM(
        3, known_start=[None, None, 0], known_transitions=steps, m_step=m_step, n_init=1, max_iter=4, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, Y)
    ends = np.cumsum([len(x) for x in X])
    shares = model.smooth(X, Y)
    assert (shares[np.r_[0, ends[:-1]], 2] == 0).all()
    paths = np.split(model.predict_states(X, Y), ends[:-1])
    assert all((np.diff(path) >= 0).all() for path in paths)
    assert np.isneginf(model.transition_weights_[[1, 2, 2], [0, 0, 1], 0]).all()
    assert np.isfinite(model.transition_weights_[0]).all()
    chain = model._n_parameters() - 3 * 2  # of the start one gate to two states, of the steps to three, two and one
    assert chain == 2 * (1 + 2 + 1 + 0)
    model.save(tmp_path / "model.emnet")
    np.testing.assert_array_equal(load(tmp_path / "model.emnet").predict_proba(X), model.predict_proba(X))


def test_networks_lead_where_they_may_alone():
    X, Y = echoes(20)
    steps = [[np.nan, np.nan], [0, 1]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InputOutputHMM(2, transition=small_module(1, 2), known_transitions=steps, n_init=1, max_iter=3)
        model.fit(X, Y)
    gates = model._best.transition.log_weights(torch.tensor([[1.0, 0.3]]).double()).exp()
    assert gates[0, 1].tolist() == [0, 1]
    assert 0 < gates[0, 0, 0] < 1


@pytest.mark.parametrize("numbers", [False, True])
def test_states_that_have_one_expert(numbers):
    X, Y = echoes(20)
    Y = [y + 0.5 * x[:, 0] for x, y in zip(X, Y, strict=True)] if numbers else Y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InputOutputHMM(3, shared_states=[0, 1, 0], n_init=1, max_iter=5, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(model.emission_weights_[0], model.emission_weights_[2])
    truth = model.log_density(X[:1], Y[:1])[0]
    plain = InputOutputHMM(3, n_init=1, max_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.fit(X, Y)
    own, other = model._best, plain._best
    other.start, other.transition = own.start, own.transition
    groups, experts = own.emissions["emission"].groups, other.emissions["emission"]
    for state, group in enumerate((0, 1, 0)):
        if numbers:
            experts.weights.data[state] = groups.weights[group]
            experts.log_variance.data[state] = groups.log_variance[group]
        else:
            experts.parts[state].load_state_dict(groups.parts[group].state_dict())
    assert plain.log_density(X[:1], Y[:1])[0] == pytest.approx(truth, rel=1e-12)
    np.testing.assert_allclose(plain.predict(X), model.predict(X), rtol=1e-12)
    ahead = [each.forecast(X[0], Y[0], X[1]).mean for each in (model, plain)]
    np.testing.assert_allclose(*ahead, rtol=1e-12)
    assert model.sample(X, random_state=0)[0].shape == (sum(map(len, X)),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"known_transitions": [[0.5, np.nan], [np.nan, np.nan]]},
            "can be known to be 0 or 1, and no other number; got 0.5",
        ),
        ({"known_start": [0.5, np.nan]}, "known_start is of probabilities that depend on the inputs"),
        ({"known_transitions": [[0, 0], [np.nan, np.nan]]}, "row 0 adds up to 0, without NaN"),
        ({"shared_states": [1, 2]}, "shared_states must be 2 numbers"),
    ],
)
def test_chains_that_cannot_be(options, message):
    X, Y = echoes(20)
    with pytest.raises(InvalidInputError, match=message):
        InputOutputHMM(2, **options).fit(X, Y)


def test_a_constant_start_may_be_known():
    X, Y = echoes(20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InputOutputHMM(2, start="constant", known_start=[0.3, 0.7], n_init=1, max_iter=3).fit(X, Y)
    np.testing.assert_allclose(model.start_weights_, [0.3, 0.7], atol=1e-15)
