"""EMMLPClassifier as its users meet it."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import emnet
from emnet import (
    EMMLPClassifier,
    EvidenceDecreasedWarning,
    FitInterrupted,
    InsufficientMemoryError,
    InvalidInputError,
)
from emnet.factors.regression import GradientStep
from emnet.inference.importance import Importance, Recognition

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])


def classifier(**options):
    return EMMLPClassifier(**{"hidden_units": 3, "n_init": 1, "random_state": 0, **options})


@pytest.fixture(scope="module")
def fitted():
    return classifier(n_init=2).fit(X, NAMES[Y])


def test_attributes(fitted):
    assert fitted.hidden_weights_.shape == (3, 5)
    assert fitted.output_weights_.shape == (3, 4)
    assert list(fitted.classes_) == list(NAMES)
    assert fitted.converged_
    assert fitted.reason_ == "converged"
    assert fitted.n_iter_ == len(fitted.history_) - 1
    assert fitted.history_[-1]["log_evidence"] == fitted.log_evidence_
    assert fitted.score(X, NAMES[Y]) > 0.95


def test_the_best_start_has_the_highest_objective(fitted):
    assert fitted.history_[-1]["objective"] == max(fit.last.objective for fit in fitted.fits_)


def test_log_evidence_is_the_log_likelihood_of_the_training_data():
    model = classifier(combine="best").fit(X, Y)
    assert model.predict_log_proba(X)[np.arange(len(Y)), Y].sum() == pytest.approx(model.log_evidence_, rel=1e-10)


def test_average_is_the_mean_of_the_members(fitted):
    each = []
    for member, fit in zip(fitted.members_, fitted.fits_, strict=True):
        one = clone(fitted).set_params(combine="best").fit(X, NAMES[Y])
        one.members_, one.fits_ = [member], [fit]
        each.append(one.predict_proba(X))
    np.testing.assert_allclose(fitted.predict_proba(X), np.mean(each, axis=0), rtol=1e-12)


@pytest.mark.parametrize("m_step", ["auto", "newton", "mm"])
@pytest.mark.parametrize("algorithm", ["em", "squarem", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_option_fits(m_step, algorithm, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = classifier(m_step=m_step, algorithm=algorithm, dtype=dtype, max_iter=200).fit(X, Y)
    assert model.score(X, Y) > 0.95


@pytest.mark.parametrize("labels", [Y, NAMES[Y], Y == 0, Y.astype(float), Y - 5, NAMES[Y].astype(object)])
def test_labels_of_any_type(labels):
    model = classifier().fit(X, labels)
    assert (model.predict(X) == labels).mean() > 0.95
    assert set(model.sample(X, random_state=0)) <= set(labels)


def test_sample_draws_from_the_predictive_distribution(fitted):
    rows = np.repeat(X[[60, 70, 130]], 4000, axis=0)
    drawn = fitted.sample(rows, random_state=1).reshape(3, 4000)
    share = (drawn[:, :, None] == fitted.classes_).mean(axis=1)
    expected = fitted.predict_proba(X[[60, 70, 130]])
    np.testing.assert_allclose(share, expected, atol=5 * np.sqrt(0.25 / 4000))
    assert (fitted.sample(X, random_state=3) == fitted.sample(X, random_state=3)).all()


def test_hidden_posterior(fitted):
    prior, posterior = fitted.hidden_posterior(X), fitted.hidden_posterior(X, NAMES[Y])
    assert prior.shape == posterior.shape == (150, 3)
    inputs = (X - fitted.input_mean_) / fitted.input_scale_
    logits = fitted.hidden_weights_[:, 0] + inputs @ fitted.hidden_weights_[:, 1:].T
    np.testing.assert_allclose(prior, 1 / (1 + np.exp(-logits)), rtol=1e-10)
    assert not np.allclose(prior, posterior)
    with pytest.raises(InvalidInputError, match="'rose', which was not a class"):
        fitted.hidden_posterior(X[:1], ["rose"])


def test_weight_two_is_the_row_twice():
    weights = np.arange(150) % 3
    weighted = classifier().fit(X, Y, sample_weight=weights)
    repeated = classifier().fit(np.repeat(X, weights, axis=0), np.repeat(Y, weights))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-6)
    assert weighted.log_evidence_ == pytest.approx(repeated.log_evidence_)


def test_class_weight_is_a_sample_weight():
    by_class = classifier(class_weight={0: 1, 1: 2, 2: 3}).fit(X, Y)
    by_row = classifier().fit(X, Y, sample_weight=Y + 1.0)
    np.testing.assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))


def test_in_pipelines_searches_and_pickles(fitted):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), classifier(max_iter=50)), {"emmlpclassifier__hidden_units": [1, 3]}, cv=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert search.fit(X, Y).best_score_ > 0.9
        assert cross_validate(classifier(max_iter=50), X, Y, cv=3)["test_score"].mean() > 0.9
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), fitted.predict_proba(X))
    assert clone(fitted).get_params() == fitted.get_params()


@pytest.mark.parametrize("frame", [pd.DataFrame, polars.DataFrame])
def test_frames_keep_their_names(frame):
    columns = ["länge", "b", "c", "d"]
    table = frame(dict(zip(columns, X.T, strict=True)))
    model = classifier().fit(table, Y)
    assert list(model.feature_names_in_) == columns
    np.testing.assert_array_equal(model.predict(table), model.predict(table))


def test_two_fits_with_one_seed_are_identical():
    a, b = classifier().fit(X, Y), classifier().fit(X, Y)
    np.testing.assert_array_equal(a.hidden_weights_, b.hidden_weights_)


@pytest.mark.parametrize(("shift", "scale"), [(1e9, 1.0), (0.0, 1e150), (0.0, 1e-150), (-1e9, 1e3)])
def test_offsets_and_scales_are_ordinary_data(shift, scale):
    model = classifier().fit(X * scale + shift, Y)
    assert model.score(X * scale + shift, Y) > 0.95
    assert np.isfinite(model.predict_log_proba(X * scale + shift)).all()


def test_constant_and_duplicate_columns():
    wide = np.column_stack([X, X[:, 0], np.full(150, 7.0), np.zeros(150)])
    assert classifier().fit(wide, Y).score(wide, Y) > 0.95


def test_separable_data_without_a_prior_stay_finite():
    model = classifier(prior=0.0, algorithm="em", max_iter=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X[:100], Y[:100])
    assert np.isfinite(model.predict_log_proba(X)).all()


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({"hidden_units": 0}, (X, Y), "hidden_units must be a whole number of at least 1; got 0"),
        (
            {"m_step": "newtn"},
            (X, Y),
            "m_step must be one of 'auto', 'newton', 'mm', 'gradient' or an object of kind MStep; got 'newtn'",
        ),
        ({"algorithm": "sgd"}, (X, Y), "algorithm must be one of 'auto', 'em', 'squarem', 'lbfgs'"),
        ({"prior": "best"}, (X, Y), "prior must be 'auto' or a number or a pair"),
        ({"prior": -1.0}, (X, Y), "prior must be a finite number of at least 0; got -1.0"),
        ({"combine": "all"}, (X, Y), "combine must be 'average' or 'best'"),
        ({"dtype": "float16"}, (X, Y), "dtype must be 'float64' or 'float32'"),
        ({"max_iter": 0}, (X, Y), "max_iter must be a whole number"),
        ({"tol": -1}, (X, Y), "tol must be a finite number"),
        ({}, (X, np.zeros(150)), "one class only"),
        ({}, (X[:1], Y[:1]), "one class only|at least two classes"),
    ],
)
def test_bad_parameters_and_labels_are_named(options, data, message):
    with pytest.raises(InvalidInputError, match=message):
        classifier(**options).fit(*data)


def test_missing_and_infinite_cells_are_named_and_counted():
    broken = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    broken.loc[[3, 7], "b"] = np.nan
    broken.loc[9, "d"] = np.inf
    with pytest.raises(InvalidInputError, match=r"NaN .*column 'b': 2, column 'd': 1; the first in row 3.*impute"):
        classifier().fit(broken, Y)


@pytest.mark.parametrize("weights", [np.full(150, -1.0), np.full(150, np.nan), np.zeros(150), np.ones(7)])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match=r"[Nn]egative|NaN|zero|shape|samples"):
        classifier().fit(X, Y, sample_weight=weights)


def test_too_many_units_say_what_to_do():
    with pytest.raises(InsufficientMemoryError, match="fewer hidden units"):
        classifier(hidden_units=45, e_step="exact").fit(X, Y)


def test_an_interrupted_fit_keeps_its_parameters():
    def interrupt(model, iteration):
        if iteration.number == 5:
            raise KeyboardInterrupt

    model = classifier(callbacks=[interrupt])
    with pytest.raises(FitInterrupted) as interrupted:
        model.fit(X, Y)
    assert interrupted.value.fit.n_iter == 5
    assert model.reason_ == "interrupted"
    assert not model.converged_
    log_likelihood = model.predict_log_proba(X)[np.arange(150), Y].sum()
    assert log_likelihood == pytest.approx(model.history_[-1]["log_evidence"], rel=1e-10)


def test_callbacks_see_every_line_and_can_stop():
    seen = []
    model = classifier(callbacks=[lambda m, line: seen.append(line.number) or line.number == 4]).fit(X, Y)
    assert seen == [0, 1, 2, 3, 4]
    assert model.reason_ == "stopped"


def test_scikit_learns_callbacks():
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = classifier(max_iter=30, n_init=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.set_callbacks(monitor).fit(X, Y)
    log = monitor.get_logs()
    assert log
    assert model.score(X, Y) > 0.9


def test_verbose_prints_a_line_an_iteration(capsys):
    model = classifier(verbose=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(model.history_)
    assert "log evidence" in lines[0]


def test_max_iter_warns_with_the_remedy():
    with pytest.warns(ConvergenceWarning, match="Raise max_iter"):
        assert not classifier(max_iter=2).fit(X, Y).converged_


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_rate_too_large_keeps_the_best_parameters_and_says_so(dtype):
    with pytest.warns(EvidenceDecreasedWarning, match="smaller learning rate"):
        model = classifier(algorithm="em", m_step=GradientStep(5.0), dtype=dtype).fit(X, Y)
    assert model.reason_ == "decreased"
    assert not model.converged_
    objective = [line["objective"] for line in model.history_]
    assert objective[-1] == max(objective)


def test_nan_parameters_roll_back_and_raise():
    def poison(model, iteration):
        if iteration.number == 3:
            model.layers[0].weights.data[0, 0] = float("nan")

    model = classifier(algorithm="em", callbacks=[poison])
    with pytest.raises(emnet.DegenerateFitError, match="parameters of iteration 3 are kept"):
        model.fit(X, Y)
    assert model.reason_ == "degenerate"
    assert not model.converged_
    assert np.isfinite(model.predict_proba(X)).all()


# -- what users ran into -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [150, 5000])
@pytest.mark.parametrize("constant", [0.3, 7.0, 1e9])
def test_a_constant_column_changes_nothing(n, constant):
    repeats = -(-n // 150)
    inputs, labels = np.tile(X, (repeats, 1))[:n], np.tile(Y, repeats)[:n]
    with_constant = np.c_[inputs, np.full(n, constant)]
    weights = np.random.RandomState(0).rand(n) + 0.5
    model = classifier(max_iter=20, tol=0.1).fit(with_constant, labels, weights)
    assert model.input_scale_[-1] == 1.0
    assert model.input_mean_[-1] == constant
    moved = np.c_[inputs, np.full(n, np.float32(constant))]
    np.testing.assert_allclose(
        model.predict_proba(moved), model.predict_proba(with_constant), atol=1e-3 + 1e-8 * constant
    )


def interrupt_at(start, number):
    count = 0

    def callback(model, iteration):
        nonlocal count
        count += iteration.number == 0
        if count == start and iteration.number == number:
            raise KeyboardInterrupt

    return callback


def test_an_interrupt_keeps_the_starts_that_had_ended():
    alone = classifier().fit(X, Y)
    model = classifier(n_init=3, callbacks=[interrupt_at(2, 0)])
    with pytest.raises(FitInterrupted):
        model.fit(X, Y)
    assert len(model.members_) == 1
    assert not model.converged_
    assert model.reason_ == "interrupted"
    np.testing.assert_allclose(model.predict_proba(X), alone.predict_proba(X), rtol=1e-12)


def test_a_fit_that_fails_leaves_the_last_one():
    model = classifier().fit(X, Y)
    before = model.predict_proba(X)
    for change, labels in (({"hidden_units": 40, "e_step": "exact"}, Y), ({}, np.zeros(150))):
        with pytest.raises((InsufficientMemoryError, InvalidInputError)):
            model.set_params(**change).fit(X, labels)
        model.set_params(hidden_units=3, e_step="auto")
        np.testing.assert_array_equal(model.predict_proba(X), before)
    fresh = classifier()
    with pytest.raises(InvalidInputError):
        fresh.fit(X, np.zeros(150))
    with pytest.raises(NotFittedError):
        fresh.predict(X)


@pytest.mark.parametrize("weight", [-5.0, float("nan"), float("inf")])
def test_class_weights_that_are_no_weights_are_refused(weight):
    with pytest.raises(InvalidInputError, match=r"class_weight\[0\]"):
        classifier(class_weight={0: weight}).fit(X, Y)


def test_balanced_counts_weights_as_rows():
    weights = np.where(np.arange(150) < 20, 0, np.arange(150) % 2 + 1)
    weighted = classifier(class_weight="balanced").fit(X, Y, weights)
    repeated = classifier(class_weight="balanced").fit(X.repeat(weights, 0), Y.repeat(weights))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-6)


def test_labels_of_the_posterior_are_checked(fitted):
    for inputs, labels in ((X, NAMES[:1]), (X[:1], NAMES), (X, [None] * 150), (X, np.array(["x"] * 150))):
        with pytest.raises(InvalidInputError):
            fitted.hidden_posterior(inputs, labels)


def test_inputs_beyond_the_numbers_are_refused():
    model = classifier(dtype="float32", max_iter=5).fit(X, Y)
    with pytest.raises(InvalidInputError, match="Row 0, column 0 holds"):
        model.predict_proba(X[:1] * 1e38)
    with pytest.raises(InvalidInputError, match="too far"):
        classifier(max_iter=5).fit(X, Y).hidden_posterior(np.full((1, 4), 1e308))


def test_labels_of_pandas_types_come_back_as_they_went_in():
    for labels in (
        pd.Series(Y, dtype="Int64"),
        pd.Series(Y == 0, dtype="boolean"),
        pd.Series(NAMES[Y], dtype="string"),
    ):
        predicted = classifier(max_iter=20).fit(X, labels).predict(X)
        assert predicted.dtype.kind == {"Int64": "i", "boolean": "b", "string": "O"}.get(str(labels.dtype), "O")
    with pytest.raises(InvalidInputError, match="of one kind"):
        classifier().fit(X, np.array([1, "a"] * 75, dtype=object))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"callbacks": print}, "callbacks must be a list"),
        ({"callbacks": (c for c in ())}, "callbacks must be a list"),
        ({"device": "tpu"}, "device must be"),
        ({"algorithm": emnet}, "algorithm must be"),
        ({"m_step": GradientStep}, "m_step must be"),
        ({"standardize": "yes"}, "standardize must be"),
        ({"class_weight": "foo"}, "class_weight must be"),
        ({"hidden_units": 10**7}, "at most"),
        ({"hidden_units": ()}, "one for each layer"),
        ({"e_step": "laplace"}, "e_step must be one of"),
        ({"prior": (1.0, 2.0, 3.0)}, "a pair"),
    ],
)
def test_parameters_of_the_wrong_kind_are_named(options, message):
    with pytest.raises(InvalidInputError, match=message):
        classifier(**options).fit(X, Y)


# -- beyond 2^m --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exact():
    return classifier(prior=1.0).fit(X, Y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("e_step", "passes"), [("importance", 60), ("gibbs", 40), ("mean_field", None), (Importance(5, Recognition()), 60)]
)
def test_other_e_steps_come_near_the_exact_one(e_step, passes, exact):
    other = classifier(prior=1.0, e_step=e_step, max_iter=passes).fit(X, Y)
    assert other.history_[-1]["kind"] == ("bound" if e_step == "mean_field" else "estimate")
    assert other.score(X, Y) > 0.93
    truth = np.log(exact.predict_proba(X)[np.arange(150), Y]).sum()
    reached = np.log(other.predict_proba(X)[np.arange(150), Y]).sum()
    assert reached > truth - 25


def test_deep_networks_are_exact_while_small_and_sampled_when_large(tmp_path):
    small = classifier(hidden_units=(4, 3)).fit(X, Y)
    assert small.e_step_ == "Exact"
    assert [w.shape for w in small.hidden_weights_] == [(4, 5), (3, 5)]
    assert small.score(X, Y) > 0.93
    large = classifier(hidden_units=(20, 10), max_iter=30).fit(X, Y)
    assert large.e_step_ == "Importance"
    assert large.history_[-1]["effective_samples"] > 1
    assert large.score(X, Y) > 0.9
    assert 0 < large.predict_proba_error(X).max() < 0.05
    for model in (small, large):
        model.save(tmp_path / "m.emnet")
        np.testing.assert_array_equal(emnet.load(tmp_path / "m.emnet").predict_proba(X), model.predict_proba(X))


def test_sampled_prediction_agrees_with_the_exact_one_within_its_error():
    exact = classifier(hidden_units=8, max_iter=50).fit(X, Y)
    sampled = pickle.loads(pickle.dumps(exact)).set_params(e_step="importance", prediction_samples=2000)
    sampled._predicts_exactly = lambda: False
    error, truth = sampled.predict_proba_error(X), exact.predict_proba(X)
    typical = (truth > 0.01) & (truth < 0.99)
    off = (sampled.predict_proba(X) - truth)[typical] / error[typical]
    assert typical.sum() > 50
    assert 0.7 < np.sqrt(np.mean(off**2)) < 1.5
    assert abs(sampled.predict_proba(X) - truth).max() < 0.01


def test_mini_batches_partial_fit_and_warm_start():
    batches = classifier(batch_size=30, max_iter=60).fit(X, Y)
    assert batches.score(X, Y) > 0.93
    model = classifier()
    rng = np.random.RandomState(0)
    for _ in range(60):
        index = rng.permutation(150)[:75]
        model.partial_fit(X[index], Y[index], classes=[0, 1, 2])
    assert model.score(X, Y) > 0.9
    warm = classifier(max_iter=10, warm_start=True)
    reached = [warm.fit(X, Y).history_[-1]["objective"] for _ in range(4)]
    assert reached == sorted(reached)
    with pytest.raises(InvalidInputError, match="warm_start"):
        warm.fit(X, Y == 0)


def test_a_warm_start_takes_the_prior_of_now_and_refuses_another_network():
    warm = classifier(warm_start=True).fit(X, Y)
    before = warm.log_evidence_
    warm.set_params(prior=1000.0).fit(X, Y)
    cold = classifier(prior=1000.0).fit(X, Y)
    assert warm.prior_ == cold.prior_ == (1000.0, 1000.0)
    assert warm.log_evidence_ < before - 50
    assert warm.history_[-1]["objective"] == pytest.approx(cold.history_[-1]["objective"], rel=1e-3)
    with pytest.raises(InvalidInputError, match="go on with hidden_units="):
        warm.set_params(hidden_units=5).fit(X, Y)


def test_early_stopping_keeps_the_best_on_held_out_rows():
    model = classifier(hidden_units=8, prior=0.0, early_stopping=True, n_iter_no_change=3).fit(X, Y)
    assert model.reason_ in ("stopped", "converged")
    assert model.n_iter_ < 100
    assert model.score(X, Y) > 0.9
    with pytest.raises(InvalidInputError, match="early_stopping"):
        classifier(early_stopping=True, validation_fraction=0.001).fit(X, Y)


def test_one_seed_gives_one_sampled_fit():
    first, second = (classifier(hidden_units=20, max_iter=5).fit(X, Y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


# -- torch modules in it -----------------------------------------------------------------------------------------------


def modules(m=4):
    hidden = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, m))
    output = nn.Sequential(nn.Linear(m, 6), nn.Tanh(), nn.Linear(6, 3))
    return {"hidden_network": hidden, "output_network": output, "hidden_units": m}


@pytest.mark.parametrize("options", [{}, {"e_step": "importance", "max_iter": 30}, {"e_step": "gibbs", "max_iter": 15}])
def test_any_torch_module_may_be_the_hidden_or_the_output_block(options):
    model = classifier(**modules(), **options).fit(X, Y)
    assert model.score(X, Y) > 0.93
    assert model.hidden_weights_ is None
    if not options:
        assert model.converged_
        log_likelihood = model.predict_log_proba(X)[np.arange(150), Y].sum()
        assert log_likelihood == pytest.approx(model.log_evidence_, rel=1e-10)
    again = clone(model).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert model.hidden_network is not model.members_[0].layers[0].network


def test_a_hidden_network_solves_what_one_layer_of_units_cannot():
    rng = np.random.RandomState(0)
    inputs = rng.uniform(-1, 1, (400, 2))
    rings = (np.sin(6 * np.hypot(*inputs.T)) > 0).astype(int)
    network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
    joined = classifier(hidden_units=2, hidden_network=network, prior=1e-3).fit(inputs, rings)
    plain = classifier(hidden_units=2, prior=1e-3).fit(inputs, rings)
    assert joined.score(inputs, rings) > plain.score(inputs, rings) + 0.1


def test_modules_of_the_wrong_shape_are_named(tmp_path):
    with pytest.raises(InvalidInputError, match="hidden_network does not take 4 inputs"):
        classifier(hidden_network=nn.Linear(5, 3)).fit(X, Y)
    with pytest.raises(InvalidInputError, match="hidden_network must give 3 numbers"):
        classifier(hidden_network=nn.Linear(4, 2)).fit(X, Y)
    with pytest.raises(InvalidInputError, match=r"must be a torch\.nn\.Module"):
        classifier(output_network="linear").fit(X, Y)
    with pytest.raises(InvalidInputError, match="holds no code"):
        classifier(hidden_network=nn.Linear(4, 3), max_iter=3).fit(X, Y).save(tmp_path / "m.emnet")
