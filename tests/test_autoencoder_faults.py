"""Cells, columns and modules that autoencoders cannot use: each named, in training and in every use."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch import nn

from emnet import EmnetWarning, InvalidInputError, NeuralMixture, VariationalAutoencoder
from tests.test_variational_autoencoder import FAMILIES as MOST_FAMILIES

FAMILIES = {**MOST_FAMILIES, "pixel": "discretized_logistic"}
N, ROW = 40, 7
QUICK = {"encoder": 4, "max_iter": 1, "prediction_samples": 2, "random_state": 0}
MEANS = {"likelihood": FAMILIES, **QUICK}


def rows():
    rng = np.random.RandomState(0)
    table = {
        "height": rng.randn(N),
        "income": np.exp(rng.randn(N)),
        "visits": rng.poisson(2, N).astype(float),
        "smokes": np.arange(N) % 2.0,
        "city": rng.choice(["Oslo", "Paris", "Rome"], N),
        "pixel": rng.randint(256, size=N).astype(float),
        "reading": rng.standard_t(3, N),
    }
    return pd.DataFrame(table).astype({"city": object})


def with_cell(name, value):
    table = rows()
    table[name] = table[name].astype(object)
    table.loc[ROW, name] = value
    return table if isinstance(value, str) else table.astype({name: float})


def all_missing(name):
    return rows().assign(**{name: None if name == "city" else np.nan})


ESTIMATORS = {
    VariationalAutoencoder: lambda: VariationalAutoencoder(2, **MEANS),
    NeuralMixture: lambda: NeuralMixture(2, 2, pretraining=1, mixture_starts=1, **MEANS),
}
USES = {
    VariationalAutoencoder: (
        "transform",
        "latent_std",
        "reconstruct",
        "score_samples",
        "score",
        "evidence",
        "distribution",
        "impute",
        "impute_many",
        "sample_missing",
        "partial_fit",
    ),
    NeuralMixture: ("predict", "predict_proba", "transform", "impute", "score_samples", "partial_fit"),
}
BAD_CELLS = [
    ("visits", -2.0, f"'visits' is poisson, which explains counts.*row {ROW} has -2"),
    ("visits", 1.5, f"'visits' is poisson, which explains counts.*row {ROW} has 1.5"),
    ("visits", np.inf, f"'visits' has infinity in row {ROW}"),
    ("income", 0.0, f"'income' is log_normal, which explains positive numbers; row {ROW} has 0"),
    ("smokes", 2.0, f"'smokes' is bernoulli, which explains 0 or 1; row {ROW} has 2"),
    ("pixel", 256.0, f"'pixel' is discretized_logistic, which explains whole numbers.*row {ROW} has 256"),
    ("height", -np.inf, f"'height' has infinity in row {ROW}"),
    ("reading", "tall", f"'reading' should hold numbers; row {ROW} has 'tall'"),
]
UNSEEN = ("city", "Atlantis", f"'city' has 'Atlantis' in row {ROW}, which is none of the values")


@pytest.fixture(scope="module")
def fitted():
    return {cls: make().fit(rows()) for cls, make in ESTIMATORS.items()}


@pytest.mark.parametrize(("name", "value", "message"), BAD_CELLS)
def test_a_cell_that_cannot_be_fitted_is_named(name, value, message):
    for make in ESTIMATORS.values():
        with pytest.raises(InvalidInputError, match=message):
            make().fit(with_cell(name, value))


@pytest.mark.parametrize(("name", "value", "message"), [*BAD_CELLS, UNSEEN])
def test_a_cell_that_cannot_be_used_is_named(fitted, name, value, message):
    for cls, uses in USES.items():
        for use in uses:
            with pytest.raises(InvalidInputError, match=message):
                getattr(fitted[cls], use)(with_cell(name, value))
    with pytest.raises(InvalidInputError, match=message.replace(f"row {ROW}", "row 0")):
        fitted[VariationalAutoencoder].interpolate(with_cell(name, value)[ROW:][:1], rows()[:1])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_column_without_a_value_is_named_in_training_and_filled_in_use(fitted, name):
    for cls, make in ESTIMATORS.items():
        with pytest.raises(InvalidInputError, match=f"Column '{name}' has nothing but NaN"):
            make().fit(all_missing(name))
        assert np.isfinite(fitted[cls].score_samples(all_missing(name))).all()
        assert not fitted[cls].impute(all_missing(name)).isna().to_numpy().any()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_constant_column_is_said_aloud_and_comes_back(name):
    constant = rows().assign(**{name: rows()[name][0]})
    with pytest.warns(EmnetWarning, match=f"one value alone: '{name}'"):
        model = VariationalAutoencoder(2, **MEANS).fit(constant)
    assert np.isfinite(model.transform(constant)).all()
    assert not model.sample(3).isna().to_numpy().any()


def test_cells_of_arrays_and_latent_vectors_are_named():
    X = np.random.RandomState(0).randn(N, 3)
    model = VariationalAutoencoder(2, **QUICK).fit(X)
    X[ROW, 1] = np.inf
    for use in (model.fit, model.transform, model.impute):
        with pytest.raises(InvalidInputError, match=f"Column 1 has infinity in row {ROW}"):
            use(X)
    with pytest.raises(InvalidInputError, match="row 1, column 0 has nan"):
        model.inverse_transform([[0.0, 0.0], [np.nan, 0.0]])


class Pair(nn.Module):
    def forward(self, rows):
        return rows, rows


X = np.random.RandomState(0).randn(N, 6)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (nn.Linear, "encoder must be widths, 'convolutional' or a torch module"),
        (lambda rows: rows, "encoder must be widths, 'convolutional' or a torch module"),
        (Pair(), "encoder must give a tensor, 4 numbers a row; it gave a tuple"),
        (nn.LSTM(6, 4), "encoder must give a tensor, 4 numbers a row; it gave a tuple"),
        (nn.Linear(6, 5), r"encoder must give 4 numbers a row, one a unit; of 2 rows it gave \(2, 5\)"),
        (nn.Linear(5, 4), "encoder does not take 6 inputs a row"),
        (nn.Conv1d(1, 4, 3), "encoder does not take 6 inputs a row"),
    ],
    ids=["class", "lambda", "pair", "lstm", "five outputs", "five inputs", "convolution"],
)
def test_a_module_that_does_not_fit_is_named(encoder, message):
    with pytest.raises(InvalidInputError, match=message):
        VariationalAutoencoder(2, **{**QUICK, "encoder": encoder}).fit(X)


class Waves(nn.Module):
    """Convolutions along the row, in float32 as torch makes them."""

    def __init__(self):
        super().__init__()
        self.along, self.last = nn.Conv1d(1, 2, 3, padding=1), nn.Linear(12, 4)

    def forward(self, rows):
        return self.last(torch.relu(self.along(rows[:, None])).flatten(1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_module_of_another_kind_learns_with_holes(dtype):
    holes = np.where(np.random.RandomState(1).rand(*X.shape) < 0.2, np.nan, X)
    model = VariationalAutoencoder(
        2, **{**QUICK, "encoder": Waves(), "max_iter": 20, "learning_rate": 0.01, "dtype": dtype}
    ).fit(holes)
    assert model.members_[0].encoder.network.along.weight.dtype == getattr(torch, dtype)
    assert model.log_evidence_ > model.history_[0]["log_evidence"]
    assert np.isfinite(model.impute(holes)).all()


def test_layers_of_training_are_said_and_frozen_parameters_stay():
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
    network[0].requires_grad_(False)
    with pytest.warns(EmnetWarning, match=r"act as in evaluation while it learns \(BatchNorm1d, Dropout\)"):
        model = VariationalAutoencoder(2, **{**QUICK, "encoder": network}).fit(X)
    assert (model.transform(X) == model.transform(X)).all()
    own = model.members_[0].encoder.network
    assert (own[0].weight == network[0].weight).all()
    assert (own[3].weight != network[3].weight).any()


def test_data_frames_come_back_as_what_they_were():
    rng = np.random.RandomState(0)
    words, counts, flags = rng.choice(["x", "y"], N), rng.randint(5, size=N), rng.rand(N) < 0.5
    frame = pd.DataFrame(
        {
            "count": pd.array(counts, dtype="Int64"),
            "flag": pd.array(flags, dtype="boolean"),
            "word": pd.array(words, dtype="string"),
            "size": pd.Categorical(words, categories=["y", "x", "z"], ordered=True),
        },
        index=np.arange(N) + 100,
    )
    holes = frame.mask(rng.rand(*frame.shape) < 0.2)
    model = VariationalAutoencoder(2, **QUICK).fit(holes)
    assert list(model.likelihood_.values()) == ["poisson", "bernoulli", "categorical", "categorical"]
    drawn = model.impute(holes, "sample")
    assert drawn.dtypes.tolist() == model.sample(2).dtypes.tolist() == frame.dtypes.tolist()
    assert drawn.index.equals(frame.index)
    assert model.reconstruct(holes).index.equals(frame.index)
    kinds = {"count": pl.Int32, "flag": pl.Boolean, "word": pl.String, "size": pl.Enum(["y", "x", "z"])}
    own = pl.DataFrame({name: [None, *frame[name].tolist()] for name in frame}, schema=kinds)
    model = VariationalAutoencoder(2, **QUICK).fit(own)
    assert list(model.likelihood_.values()) == ["poisson", "bernoulli", "categorical", "categorical"]
    assert model.impute(own, "sample").schema == model.sample(2).schema == own.schema
