"""What mixtures of tables share with Gaussian ones: streams, standard errors, the bootstrap test, fixed parameters."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

import emnet
from emnet import GaussianMixture, InvalidInputError, MixtureModel
from emnet.factors.counting import Poisson
from tests.oracles import finite_difference_hessian
from tests.test_columns import DEATHS
from tests.test_mixture_model import EMISSIONS, people

COUNTS = np.arange(10.0)[:, None]
QUICK = {name: family for name, family in EMISSIONS.items() if family != "student_t"}
CLOSE = {"tol": 1e-13, "max_iter": 20000, "random_state": 0}


def free(model):
    """Names and values of all published parameters, one after the other."""
    return {"weights": model.weights_} | {
        (key, name): value for key, own in model.parameters_.items() for name, value in own.items()
    }


# -- standard errors --------------------------------------------------------------------------------------------------


def test_standard_errors_of_a_poisson_mixture_are_those_of_the_numerical_hessian():
    """The information in (w, λ₁, λ₂), by differences of SciPy's likelihood, beside EM's in logits and logarithms."""
    model = MixtureModel(2, emissions="poisson", prior=None, algorithm="squarem", **CLOSE)
    model.fit(COUNTS, sample_weight=DEATHS.numpy())
    errors = model.standard_errors(COUNTS, sample_weight=DEATHS.numpy())

    def log_likelihood(vector):
        w, one, other = vector
        density = w * stats.poisson.pmf(COUNTS[:, 0], one) + (1 - w) * stats.poisson.pmf(COUNTS[:, 0], other)
        return float(DEATHS.numpy() @ np.log(density))

    at = np.array([model.weights_[0], *model.parameters_[0]["rates"][:, 0]])
    truth = np.sqrt(np.diag(np.linalg.inv(-finite_difference_hessian(log_likelihood, at))))
    found = [errors["weights"][0], *errors["parameters"][0]["rates"][:, 0]]
    np.testing.assert_allclose(found, truth, rtol=1e-3)
    assert errors["weights"][1] == pytest.approx(errors["weights"][0], rel=1e-6)


def test_standard_errors_of_latent_classes_are_those_of_the_numerical_hessian():
    rng = np.random.RandomState(0)
    kind = rng.rand(800) < 0.4
    rows = (rng.rand(800, 4) < np.where(kind, 0.85, 0.25)[:, None]).astype(float)
    rows[rng.rand(800, 4) < 0.1] = np.nan
    words = pd.DataFrame(np.where(rows == 1, "yes", np.where(rows == 0, "no", None)), columns=list("abcd"))
    model = MixtureModel(2, emissions="categorical", prior=None, algorithm="squarem", **CLOSE).fit(words)
    errors = model.standard_errors(words)

    def log_likelihood(vector):
        w, p = np.array([vector[0], 1 - vector[0]]), vector[1:].reshape(2, 4)
        total = 0.0
        for row in rows:
            cells = np.where(np.isnan(row), 1.0, np.where(row == 1, p, 1 - p))
            total += np.log(w @ cells.prod(axis=1))
        return total

    yes = np.stack([model.parameters_[name]["probabilities"][:, 1] for name in "abcd"], axis=1)
    at = np.concatenate(([model.weights_[0]], yes.ravel()))
    truth = np.sqrt(np.diag(np.linalg.inv(-finite_difference_hessian(log_likelihood, at))))
    own = np.stack([errors["parameters"][name]["probabilities"][:, 1] for name in "abcd"], axis=1)
    np.testing.assert_allclose([errors["weights"][0], *own.ravel()], truth, rtol=2e-3)


def test_standard_errors_of_one_component_are_those_of_the_textbook():
    frame, _ = people(500, missing=0.0)
    options = {"emissions": QUICK, "prior": None, **CLOSE}
    model = MixtureModel(1, **options).fit(frame)
    errors, p = model.standard_errors(frame)["parameters"], model.parameters_
    sd = np.sqrt(p["height"]["covariances"][0, 0, 0])
    assert errors["height"]["means"][0, 0] == pytest.approx(sd / np.sqrt(500), rel=1e-4)
    assert errors["height"]["covariances"][0, 0, 0] == pytest.approx(sd**2 * np.sqrt(2 / 500), rel=1e-4)
    assert errors["visits"]["rates"][0, 0] == pytest.approx(np.sqrt(p["visits"]["rates"][0, 0] / 500), rel=1e-4)
    shares = p["city"]["probabilities"][0]
    np.testing.assert_allclose(errors["city"]["probabilities"][0], np.sqrt(shares * (1 - shares) / 500), rtol=1e-4)
    spread = p["income"]["log_variances"][0, 0]
    assert errors["income"]["log_means"][0, 0] == pytest.approx(np.sqrt(spread / 500), rel=1e-4)
    moved = frame.assign(height=frame["height"] + 2.0**40)
    far = MixtureModel(1, **options).fit(moved).standard_errors(moved)["parameters"]
    assert far["height"]["means"][0, 0] == pytest.approx(errors["height"]["means"][0, 0], rel=1e-4)


def test_what_is_fixed_has_no_standard_error():
    options = {"emissions": {"visits": "poisson", "noisy": "student_t"}, "weights_init": [0.6, 0.4], **CLOSE}
    init = {"noisy": {"degrees_of_freedom": [[3.0], [3.0]]}, "visits": {"rates": [[2.0], [7.0]]}}
    frame, _ = people(400)
    fixed = ("weights", ("noisy", "degrees_of_freedom"))
    errors = MixtureModel(2, parameters_init=init, fixed=fixed, **options).fit(frame).standard_errors(frame)
    assert (errors["weights"] == 0).all()
    assert (errors["parameters"]["noisy"]["degrees_of_freedom"] == 0).all()
    assert (errors["parameters"]["visits"]["rates"] > 0).all()
    whole = MixtureModel(2, emissions={"visits": "poisson"}, weights_init=[0.6, 0.4], random_state=0)
    whole.set_params(parameters_init={"visits": init["visits"]}, fixed=("weights", "visits"))
    assert not np.any(whole.fit(frame).standard_errors(frame)["parameters"]["visits"]["rates"])


def test_standard_errors_in_float32_are_those_of_float64():
    frame, _ = people(400)
    names = {"height": "gaussian", "visits": "poisson"}
    model = MixtureModel(2, emissions=names, tol=1e-10, max_iter=5000, random_state=0).fit(frame)
    truth = model.standard_errors(frame)["parameters"]["height"]["means"]
    found = model.set_params(dtype="float32").standard_errors(frame)["parameters"]["height"]["means"]
    np.testing.assert_allclose(found, truth, rtol=1e-6)


def test_standard_errors_away_from_a_maximum_are_refused():
    with pytest.warns(ConvergenceWarning):
        model = MixtureModel(3, max_iter=1, init_params="random", random_state=1).fit(people(200)[0])
    with pytest.raises(InvalidInputError, match="not at a maximum"):
        model.standard_errors(people(200)[0])


# -- streams ----------------------------------------------------------------------------------------------------------


def test_a_pass_mixes_the_statistics_of_old_and_new_rows():
    """Two passes over Poisson counts and a category: s₁ = ŝ₁, s₂ = (1 − γ) s₁ + γ ŝ₂ with γ = (300 / 100)^−0.6."""
    rng = np.random.RandomState(0)
    kind = rng.rand(300) < 0.5
    frame = pd.DataFrame({"n": rng.poisson(np.where(kind, 8.0, 2.0)).astype(float), "c": np.where(kind, "a", "b")})
    frame.loc[rng.rand(300) < 0.2, "c"] = "b"
    frame.loc[rng.rand(300) < 0.1, "n"] = np.nan
    model = MixtureModel(2, emissions={"n": "poisson", "c": "categorical"}, prior=None, random_state=0)
    start = MixtureModel(2, emissions=model.emissions, prior=None, random_state=0, max_iter=0).fit(frame[:200])

    def averages(fitted, rows):
        w, p = fitted.weights_, fitted.parameters_
        n, c = rows["n"].to_numpy()[:, None], (rows["c"] == "b").to_numpy().astype(int)
        counts = np.where(np.isnan(n), 1.0, stats.poisson.pmf(np.nan_to_num(n), p["n"]["rates"][:, 0]))
        joint = w * counts * p["c"]["probabilities"][:, c].T
        r = joint / joint.sum(axis=1, keepdims=True)
        seen = ~np.isnan(n)
        table = np.stack([r[c == code].sum(axis=0) for code in (0, 1)], axis=1)
        return [part / len(rows) for part in (r.sum(axis=0), (r * seen).sum(0), (r * np.nan_to_num(n)).sum(0), table)]

    def require_m_step(weights, counts, sums, table):
        np.testing.assert_allclose(model.weights_, weights / weights.sum(), rtol=1e-9)
        np.testing.assert_allclose(model.parameters_["n"]["rates"][:, 0], sums / counts, rtol=1e-9)
        expected = table / table.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(model.parameters_["c"]["probabilities"], expected, rtol=1e-9)

    model.partial_fit(frame[:200])
    first = averages(start, frame[:200])
    require_m_step(*first)
    second = averages(model, frame[200:])
    model.partial_fit(frame[200:])
    share = 3**-0.6
    require_m_step(*((1 - share) * old + share * new for old, new in zip(first, second, strict=True)))


def test_pieces_end_near_the_whole_and_a_file_goes_on(tmp_path):
    frame, _ = people(6000, missing=0.05)
    model = MixtureModel(2, emissions=EMISSIONS, random_state=0)
    for piece in np.array_split(np.arange(6000), 20):
        model.partial_fit(frame.iloc[piece])
    whole = MixtureModel(2, emissions=EMISSIONS, random_state=0).fit(frame)
    assert model.score(frame) == pytest.approx(whole.score(frame), abs=0.03)
    model.save(tmp_path / "m.emnet")
    loaded = emnet.load(tmp_path / "m.emnet")
    assert loaded.score(frame) == model.score(frame)
    assert loaded.partial_fit(frame[:300]).score(frame) == pytest.approx(whole.score(frame), abs=0.06)
    went_on = whole.partial_fit(frame[:300])  # from the statistics that the parameters imply
    assert went_on.score(frame) == pytest.approx(model.score(frame), abs=0.06)
    assert not model.converged_


def test_streams_say_what_does_not_fit():
    frame, _ = people(200)
    model = MixtureModel(2, emissions={"city": "categorical"}, random_state=0).partial_fit(frame)
    before = model.parameters_["city"]["probabilities"].copy()
    with pytest.raises(InvalidInputError, match="'Oslo' in row 0"):
        model.partial_fit(frame.assign(city="Oslo"))
    with pytest.raises(InvalidInputError, match="goes on with 2 components"):
        model.set_params(n_components=3).partial_fit(frame)
    np.testing.assert_array_equal(model.parameters_["city"]["probabilities"], before)


# -- fixed parameters and starts that are given -----------------------------------------------------------------------

KEPT = {
    "height": {"means": [[171.1], [183.7]], "covariances": [[[30.1]], [[40.3]]]},
    "income": {"log_means": [[8.1], [9.1]], "log_variances": [[0.2], [0.3]]},
    "visits": {"rates": [[2.1], [7.3]]},
    "smokes": {"probabilities": [[0.21], [0.83]]},
    "city": {"probabilities": [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]},
    "noisy": {"means": [[0.1], [2.9]], "scales": [[1.1], [0.9]], "degrees_of_freedom": [[3.3], [4.4]]},
}
PAIRS = [(key, name) for key, own in KEPT.items() for name in own]


@pytest.mark.parametrize("entry", ["weights", *KEPT, *PAIRS], ids=str)
def test_what_is_fixed_keeps_its_bits_and_the_evidence_rises(entry, tmp_path):
    frame, _ = people(300)
    whole = KEPT if entry in KEPT or entry == "weights" else {entry[0]: {entry[1]: KEPT[entry[0]][entry[1]]}}
    model = MixtureModel(
        2, emissions=EMISSIONS, weights_init=[0.63, 0.37], parameters_init=whole, fixed=(entry,), random_state=0
    ).fit(frame)
    free_before = MixtureModel(2, emissions=EMISSIONS, random_state=0).fit(frame)
    names = [entry] if entry in PAIRS else [(key, name) for key, name in PAIRS if key == entry]
    for key, name in names:
        np.testing.assert_array_equal(model.parameters_[key][name], KEPT[key][name])
    if entry == "weights":
        np.testing.assert_array_equal(model.weights_, [0.63, 0.37])
    others = [pair for pair in PAIRS if pair not in names]
    assert all((model.parameters_[key][name] != np.array(KEPT[key][name])).any() for key, name in others)
    objective = np.array([line["objective"] for line in model.history_])
    assert len(objective) > 2
    assert (np.diff(objective) >= -1e-9 * np.abs(objective[:-1])).all()
    n_fixed = 1 if entry == "weights" else sum(np.size(KEPT[key][name]) for key, name in names)
    n_fixed -= 2 if ("city", "probabilities") in names else 0
    assert model._n_parameters() == free_before._n_parameters() - n_fixed
    model.save(tmp_path / "m.emnet")
    other = emnet.load(tmp_path / "m.emnet")
    for pair, value in free(model).items():
        np.testing.assert_array_equal(free(other)[pair], value)
    went_on = other.partial_fit(frame)
    for key, name in names:
        np.testing.assert_array_equal(went_on.parameters_[key][name], KEPT[key][name])


def test_a_start_that_is_given_is_where_the_fit_starts():
    """Components in the order of the start, whatever k-means says; with nothing left to learn, that very point."""
    frame, kind = people(400)
    for turn in (1, -1):
        init = {"visits": {"rates": KEPT["visits"]["rates"][::turn]}}
        model = MixtureModel(2, emissions=EMISSIONS, parameters_init=init, random_state=0).fit(frame)
        assert (np.diff(model.parameters_["visits"]["rates"][:, 0]) * turn > 0).all()
        assert (model.predict(frame) == (kind if turn == 1 else 1 - kind)).mean() > 0.95
    options = {"weights_init": [0.63, 0.37], "parameters_init": KEPT, "max_iter": 0}
    model = MixtureModel(2, emissions=EMISSIONS, **options).fit(frame)
    for key, name in PAIRS:
        np.testing.assert_allclose(model.parameters_[key][name], KEPT[key][name], rtol=1e-12)
    alike = {"noisy": {"degrees_of_freedom": [[3.0], [3.0]]}}  # which tells no component from another
    model = MixtureModel(2, emissions=EMISSIONS, parameters_init=alike, random_state=0).fit(frame)
    assert max((model.predict(frame) == kind).mean(), (model.predict(frame) != kind).mean()) > 0.95


def test_a_factor_is_a_start_and_says_itself_what_stays():
    frame, kind = people(400)
    rates = torch.tensor(KEPT["visits"]["rates"], dtype=torch.float64)
    model = MixtureModel(2, emissions=EMISSIONS | {"visits": Poisson(rates.flip(0))}, random_state=0).fit(frame)
    assert (model.predict(frame) == 1 - kind).mean() > 0.95
    kept = MixtureModel(2, emissions=EMISSIONS | {"visits": Poisson(rates, fixed=True)}, random_state=0).fit(frame)
    np.testing.assert_allclose(kept.parameters_["visits"]["rates"], rates, rtol=1e-14)
    for options, message in [
        ({"fixed": ("visits",)}, "says itself what stays"),
        ({"parameters_init": {"visits": KEPT["visits"]}}, "has a factor, which is its start"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            MixtureModel(2, emissions={"visits": Poisson(rates)}, **options).fit(frame)


def test_a_warm_start_may_keep_what_was_fitted():
    frame, _ = people(300)
    model = MixtureModel(2, emissions=EMISSIONS, random_state=0, warm_start=True).fit(frame)
    before = {name: value.copy() for name, value in free(model).items()}
    model.set_params(fixed=("weights", "visits")).fit(people(300, seed=1)[0])
    np.testing.assert_array_equal(model.weights_, before["weights"])
    np.testing.assert_array_equal(model.parameters_["visits"]["rates"], before["visits", "rates"])
    assert (model.parameters_["height"]["means"] != before["height", "means"]).all()


def test_fixed_gaussian_parameters_keep_their_bits():
    rows = np.random.RandomState(0).randn(200, 2) + 1e3 / 3
    rows[:80] += 5.1
    means, weights = [[333.4, 333.3], [338.7, 338.1]], [0.61, 0.39]
    given = {"means_init": means, "weights_init": weights, "fixed": ("means", "weights"), "random_state": 0}
    model = GaussianMixture(2, **given).fit(rows)
    for fitted in (model, model.partial_fit(rows[:50])):
        np.testing.assert_array_equal(fitted.means_, means)
        np.testing.assert_array_equal(fitted.weights_, weights)


def test_bad_starts_are_refused_in_words():
    frame, _ = people(60)
    for options, message in [
        ({"fixed": "weights"}, "fixed must be a list or tuple"),
        ({"fixed": ("hight",)}, r"fixed names 'hight', which is neither 'weights' nor a column"),
        ({"fixed": (("height", "mean"),)}, r"such as \('height', 'means'\)"),
        ({"fixed": ("visits",)}, r"as parameters_init\['visits'\]\['rates'\]"),
        ({"fixed": ("weights",)}, "as weights_init"),
        ({"parameters_init": [1]}, "parameters_init must be"),
        ({"parameters_init": {"hight": {}}}, "parameters_init names 'hight', which is none of 'height'"),
        ({"parameters_init": {"visits": {"means": [[1.0], [2.0]]}}}, "a poisson has rates"),
        ({"parameters_init": {"visits": {"rates": [1.0, 2.0]}}}, r"shape of \(2, 1\), but got \(2,\)"),
        ({"parameters_init": {"visits": {"rates": [["a"], ["b"]]}}}, "should be an array of shape"),
        ({"parameters_init": {"visits": {"rates": [[-1.0], [2.0]]}}}, "at least 0"),
        ({"parameters_init": {"city": {"probabilities": [[0.5, 0.5, 0.5]] * 2}}}, "add up to 1"),
        ({"parameters_init": {"height": {"covariances": [[[-1.0]], [[1.0]]]}}}, "positive definite"),
        ({"parameters_init": {"noisy": {"scales": [[0.0], [1.0]]}}}, "positive"),
        ({"weights_init": [0.5, 0.2]}, "normalized"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            MixtureModel(2, emissions=EMISSIONS, **options).fit(frame)


# -- how many ---------------------------------------------------------------------------------------------------------


def test_the_bootstrap_test_sees_two_kinds_of_rows_and_no_third():
    frame, _ = people(150)
    options = {"emissions": QUICK, "random_state": 0, "tol": 1e-4}
    one = MixtureModel(1, **options)
    assert one.bootstrap_test(frame, 19).p_value == 0.05
    assert not hasattr(one, "weights_")
    assert MixtureModel(2, **options).bootstrap_test(frame, 19).p_value > 0.05


def test_the_bootstrap_keeps_the_columns_as_they_are():
    """A draw may lack a category, and may have counts of 0 and 1 alone, of which "auto" would make flags."""
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"few": rng.poisson(0.08, 80), "rare": np.where(np.arange(80) < 2, "x", "y")})
    frame.loc[0, "few"] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = MixtureModel(1, random_state=0, tol=1e-4).bootstrap_test(frame, 9)
    assert len(found.simulated) == 9
    assert (found.simulated >= 0).all()
    start = Poisson(torch.ones(1, 1))
    with pytest.raises(InvalidInputError, match=r"n_components=1 and 2; .* has to go: the factors of emissions"):
        MixtureModel(1, emissions={"few": start}, random_state=0).bootstrap_test(frame, 9)
