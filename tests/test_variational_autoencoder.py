"""The estimator as a user has it: tables of any kind, holes, files, densities, images."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import emnet
from emnet import EmnetWarning, InvalidInputError, VariationalAutoencoder
from tests.oracles import probabilistic_pca_evidence

FAMILIES = {
    "height": "gaussian",
    "income": "log_normal",
    "visits": "poisson",
    "smokes": "bernoulli",
    "city": "categorical",
    "reading": "student_t",
}


def small(n_latent=2, **parameters):
    given = {"encoder": (16,), "max_iter": 5, "learning_rate": 0.01, "random_state": 0, "prediction_samples": 20}
    return VariationalAutoencoder(n_latent, **{**given, **parameters})


def table(n=300, seed=0):
    """Columns of all kinds that one hidden number drives, and the same with holes."""
    rng = np.random.RandomState(seed)
    z = rng.randn(n)
    full = pd.DataFrame(
        {
            "height": 170 + 10 * z + rng.randn(n),
            "income": np.exp(10 + z + 0.3 * rng.randn(n)),
            "visits": rng.poisson(np.exp(0.5 * z)).astype(float),
            "smokes": np.array(rng.rand(n) < 1 / (1 + np.exp(-3 * z)), dtype=object),
            "city": np.where(z > 0.5, "Rome", np.where(z < -0.5, "Oslo", "Paris")).astype(object),
            "reading": z + 0.1 * rng.standard_t(3, n),
        }
    )
    holes = full.mask(rng.rand(*full.shape) < 0.2)
    return full, holes


@pytest.fixture(scope="module")
def fitted():
    full, holes = table()
    return full, holes, small(likelihood=FAMILIES, max_iter=50, batch_size=64).fit(holes)


def test_a_table_comes_back_whole(fitted):
    full, holes, model = fitted
    gone = holes.isna().to_numpy()
    filled = model.impute(holes)
    assert list(filled.columns) == list(full.columns)
    assert not filled.isna().to_numpy().any()
    assert all((filled[name][~gone[:, j]] == full[name][~gone[:, j]]).all() for j, name in enumerate(full))
    error = (filled["height"] - full["height"])[gone[:, 0]]
    assert error.std() < 0.5 * full["height"].std()
    assert (filled["city"] == full["city"])[gone[:, 4]].mean() > 0.7
    assert (filled["smokes"] == full["smokes"])[gone[:, 3]].mean() > 0.7
    modes, draws = model.impute(holes, "mode"), model.impute_many(holes, 2)
    assert (modes["visits"] == modes["visits"].round()).all()
    assert (draws[0]["visits"] == draws[0]["visits"].round()).all()
    assert (draws[0]["income"] > 0).all()
    assert not draws[0].equals(draws[1])
    assert model.likelihood_ == FAMILIES


def test_draws_reconstructions_and_paths_are_tables(fitted):
    full, holes, model = fitted
    path = model.interpolate(holes[:1], holes[1:2], 4)
    for made, n in ((model.sample(7), 7), (model.reconstruct(holes), 300), (path, 4)):
        assert list(made.columns) == list(full.columns)
        assert len(made) == n
        assert set(made["city"]) <= {"Rome", "Oslo", "Paris"}
    ends = model.inverse_transform(model.transform(holes[:1]))
    pd.testing.assert_frame_equal(path[:1], ends)
    assert model.transform(holes).shape == model.latent_std(holes).shape == (300, 2)


def test_uncertainty_is_that_of_the_holes_in_their_own_columns():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(2, size=200), 5 + 2 * rng.normal(size=200), rng.normal(size=200)])
    holes = rng.random(X.shape) < 0.2
    X[holes] = np.nan
    likelihood = {1: "gaussian", 2: "gaussian", 0: "categorical"}
    model = VariationalAutoencoder(1, encoder=4, likelihood=likelihood, max_iter=40, learning_rate=0.02, random_state=0)
    filled, unsure = model.fit(X).impute(X, return_std=True)
    np.testing.assert_array_equal(filled[~holes], X[~holes])
    np.testing.assert_array_equal(unsure[~holes], 0.0)
    means = [unsure[holes[:, j], j].mean() for j in range(3)]
    np.testing.assert_allclose(means, [0.5, 2.0, 1.0], rtol=0.25)


def test_evidence_has_a_standard_error_and_its_units(fitted):
    _, holes, model = fitted
    evidence, error = model.evidence(holes, 200)
    once = model.score_samples(holes)
    assert (evidence == model.evidence(holes, 200).log_evidence).all()
    assert np.mean(abs(evidence - once) < 4 * np.hypot(error, model.evidence(holes).standard_error) + 0.05) > 0.9
    metres = holes.assign(height=holes["height"] / 100)
    other = small(likelihood=FAMILIES, max_iter=50, batch_size=64).fit(metres)
    seen = holes["height"].notna().to_numpy()
    shift = other.score_samples(metres) - once
    np.testing.assert_allclose(shift[seen], np.log(100), atol=0.1)
    np.testing.assert_allclose(shift[~seen], 0, atol=0.1)
    empty = holes[:1].map(lambda _: np.nan)
    assert model.score_samples(empty, return_std=True)[0] == 0


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_a_file_gives_the_same_to_the_last_bit(prior, tmp_path):
    _, holes = table(60)
    model = small(likelihood=FAMILIES, prior=prior, n_components=3, missing="at_random").fit(holes)
    model.save(tmp_path / "m.emnet")
    other = emnet.load(tmp_path / "m.emnet")
    assert (other.score_samples(holes) == model.score_samples(holes)).all()
    pd.testing.assert_frame_equal(other.impute(holes, "sample"), model.impute(holes, "sample"))
    pd.testing.assert_frame_equal(other.sample(5), model.sample(5))
    assert other.history_ == model.history_
    assert other.log_evidence_ == model.log_evidence_
    assert other.get_params() == model.get_params()


def test_a_linear_decoder_reaches_probabilistic_pca():
    rng = np.random.RandomState(0)
    X = rng.randn(400, 2) @ rng.randn(2, 6) + 0.5 * rng.randn(400, 6) + 3
    truth = probabilistic_pca_evidence(X, 2)
    model = VariationalAutoencoder(
        2,
        encoder=(),
        noise="shared",
        standardize=False,
        max_iter=150,
        learning_rate=0.01,
        batch_size=100,
        dtype="float64",
        random_state=0,
    ).fit(X)
    assert truth * 1.005 < model.score_samples(X).sum() < truth + 1  # both are negative
    assert model.log_evidence_ == pytest.approx(truth, rel=0.005)  # an estimate: it may lie above


@pytest.mark.parametrize(
    "way",
    [
        {"e_step": "semi_amortized", "refinements": 2},
        {"e_step": "importance", "n_draws": 5},
        {"algorithm": "alternating"},
        {"beta": 0.5, "warm_up": 0.5, "free_bits": 0.1},
        {"noise": "row", "activation": "tanh", "precision": 1.0},
        {"early_stopping": True, "n_iter_no_change": 20},
        {"prior": "vamp", "n_components": 4},
        {"missing": "mnar"},
    ],
    ids=str,
)
def test_every_option_trains_and_repeats_itself(way):
    rng = np.random.RandomState(0)
    X = rng.randn(100, 1) @ rng.randn(1, 4) + 0.2 * rng.randn(100, 4)
    X[rng.rand(*X.shape) < 0.1] = np.nan
    models = [small(max_iter=25, batch_size=25, **way).fit(X) for _ in range(2)]
    assert (models[0].transform(X) == models[1].transform(X)).all()
    assert models[0].log_evidence_ > models[0].history_[0]["log_evidence"] + 50
    assert np.isfinite(models[0].impute(X, "mode")).all()


def test_holes_that_depend_on_what_is_in_them():
    """Large values go missing: their mean comes back where the rule is learned."""
    rng = np.random.RandomState(0)
    X = rng.randn(400, 1) @ np.array([[1.0, 0.8, -1.0]]) + 0.4 * rng.randn(400, 3)
    holes = X.copy()
    holes[rng.rand(400) < 1 / (1 + np.exp(-6 * (X[:, 0] - 0.5))), 0] = np.nan
    gone = np.isnan(holes)
    bias = {}
    for missing in ("at_random", "mnar"):
        model = small(1, missing=missing, max_iter=40, batch_size=50, learning_rate=0.02, likelihood="gaussian")
        model.fit(holes)
        bias[missing] = [abs((model.impute(holes, how) - X)[gone].mean()) for how in ("mean", "sample")]
    assert max(bias["mnar"]) < 0.3 * min(bias["at_random"])
    assert model.members_[0].missingness.slope[0] < -1
    with pytest.raises(InvalidInputError, match="0 is poisson"):
        small(missing="mnar", likelihood="poisson").fit(np.where(gone, np.nan, 2.0))


def test_early_stopping_keeps_the_best_pass():
    rng = np.random.RandomState(0)
    X = rng.randn(60, 8)
    model = small(6, encoder=(64,), max_iter=200, early_stopping=True, n_iter_no_change=5).fit(X)
    assert model.reason_ == "stopped"
    assert model.n_iter_ < 150


def test_images_and_arrays_stay_where_they_are(tmp_path):
    rng = np.random.RandomState(0)
    pixels = np.memmap(tmp_path / "pixels", dtype=np.uint8, mode="w+", shape=(100, 64))
    pixels[:] = rng.randint(256, size=(100, 64))
    seen = []

    def look(model, iteration):
        seen.append(iteration.number)

    model = small(
        encoder="convolutional",
        image_shape=(8, 8),
        likelihood="discretized_logistic",
        max_iter=2,
        callbacks=[look],
    ).fit(pixels)
    assert seen == [0, 1, 2]
    drawn = model.sample(3)
    assert drawn.shape == (3, 64)
    assert (drawn == drawn.round()).all()
    assert model._rows.source(pixels) is pixels or np.shares_memory(model._rows.source(pixels), pixels)
    binary = small(encoder="convolutional", image_shape=(1, 8, 8), likelihood="bernoulli", max_iter=2).fit(pixels > 99)
    assert ((binary.reconstruct(pixels > 99) >= 0) & (binary.reconstruct(pixels > 99) <= 1)).all()
    model.save(tmp_path / "m.emnet")
    assert (emnet.load(tmp_path / "m.emnet").transform(pixels) == model.transform(pixels)).all()


def test_offsets_and_scales_are_ordinary_data():
    rng = np.random.RandomState(0)
    X = rng.randn(80, 3)
    plain = small().fit(X).score_samples(X)
    np.testing.assert_allclose(small().fit(X + 1e9).score_samples(X + 1e9), plain, atol=1e-2)
    np.testing.assert_allclose(small().fit(X * 1e150).score_samples(X * 1e150) + 3 * np.log(1e150), plain, atol=1e-2)


def test_a_module_of_ones_own():
    X = np.random.RandomState(0).randn(40, 3)
    model = small(encoder=nn.Linear(3, 4), decoder=nn.Sequential(nn.Linear(2, 3))).fit(X)
    assert model.transform(X).shape == (40, 2)
    with pytest.raises(InvalidInputError, match="encoder= cannot be saved"):
        model.save("nowhere")


X = np.random.RandomState(0).randn(30, 3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_latent": 0}, "n_latent must be a whole number"),
        ({"encoder": "large"}, "'convolutional'"),
        ({"encoder": "convolutional"}, "needs image_shape"),
        ({"encoder": nn.Linear(3, 5)}, r"encoder must give 4 numbers a row"),
        ({"likelihood": "normal"}, "must be 'auto' or one of 'gaussian'"),
        ({"likelihood": {9: "gaussian"}}, "likelihood names 9, which is no column"),
        ({"likelihood": {0: "poisson"}}, "Column 0 is poisson, which explains counts"),
        ({"e_step": "exact"}, "e_step must be"),
        ({"prior": "flat"}, "prior must be"),
        ({"missing": "mcar"}, "missing must be"),
        ({"beta": -1}, "beta must be"),
        ({"beta": 0.5, "e_step": "importance"}, "weigh a divergence"),
    ],
    ids=str,
)
def test_wrong_parameters_are_named(parameters, message):
    with pytest.raises(InvalidInputError, match=message):
        small(**parameters).fit(X)


def test_columns_that_cannot_be_used_are_named(fitted):
    _, holes, model = fitted
    with pytest.raises(InvalidInputError, match="Column 1 has nothing but NaN"):
        small().fit(np.column_stack((X[:, 0], np.full(30, np.nan))))
    with pytest.warns(EmnetWarning, match="one value alone: 1"):
        small().fit(np.column_stack((X[:, 0], np.ones(30))))
    with pytest.raises(InvalidInputError, match="'Atlantis' in row 1, which is none of the values"):
        model.impute(holes.assign(city=["Rome", "Atlantis"] * 150))
    with pytest.raises(InvalidInputError, match="row 0 has -1"):
        model.impute(holes.assign(visits=-1.0))
    with pytest.raises(InvalidInputError, match=r"Latent vectors are \(n, 2\)"):
        model.inverse_transform([[1.0, 2.0, 3.0]])
    with pytest.raises(InvalidInputError, match="strategy must be"):
        model.impute(holes, "median")
    with pytest.raises(emnet.DegenerateFitError, match="not finite"):
        small(learning_rate=1e30).fit(X)


def test_weights_of_zero_are_no_rows_of_the_bound():
    weights = np.r_[np.ones(20), np.zeros(10)]
    model = small(max_iter=3, batch_size=30).fit(X, sample_weight=weights)
    assert model.fits_[0].rows == 20
    assert torch.isfinite(model.members_[0].coordinates()).all()
