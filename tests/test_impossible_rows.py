"""Rows that no component of a mixture allows, by what is fixed or by their labels: the error names them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import emnet
from emnet import GaussianMixture, ImpossibleRowError, MixtureModel
from emnet.factors.tables import Categorical

ALGORITHMS = ("em", "squarem", "annealing", "split_merge", "online", "incremental")
TYPES = ("float64", "float32")


def clusters() -> np.ndarray:
    rng = np.random.RandomState(0)
    return np.concatenate([rng.randn(100, 2), rng.randn(100, 2) + 6])


def answers() -> pd.DataFrame:
    """Of 200 rows 0 to 6 and 8 to 19 have no "z" in column "a"."""
    rng = np.random.RandomState(0)
    a = np.array(["x", "y", "z"])[rng.randint(3, size=200)]
    a[:20], a[7] = np.array(["x", "y"])[np.arange(20) % 2], "z"
    return pd.DataFrame({"a": a, "b": np.array(["x", "y"])[rng.randint(2, size=200)]})


def latent_classes(probabilities, **options) -> MixtureModel:
    given = {"a": {"probabilities": probabilities}}
    return MixtureModel(2, parameters_init=given, fixed=("a",), random_state=0, **options)


@pytest.mark.parametrize("prior", ["auto", None])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_cell_of_probability_0_names_its_row_and_column(algorithm, dtype, prior):
    model = latent_classes([[0.5, 0.5, 0.0], [0.1, 0.9, 0.0]], algorithm=algorithm, dtype=dtype, prior=prior)
    with pytest.raises(ImpossibleRowError, match=r"row 7 \(from 0\) column 'a' has probability 0 under every"):
        model.fit(answers())


def test_a_label_of_a_component_that_excludes_the_row_is_named():
    y = np.full(200, -1)
    y[7] = 0
    soft = np.ones((200, 2))
    soft[7] = [2.0, 0.0]
    for labels in (y, soft):
        model = latent_classes([[0.5, 0.5, 0.0], [0.1, 0.0, 0.9]])
        with pytest.raises(ImpossibleRowError, match=r"row 7 .* column 'a' .* that its label allows \(0\)"):
            model.fit(answers(), labels)
        with pytest.raises(ImpossibleRowError, match=r"row 7 .* column 'a' .* that its label allows \(0\)"):
            model.partial_fit(answers(), labels)


def test_columns_that_exclude_each_other_are_not_blamed_alone():
    probabilities = {"a": {"probabilities": [[1.0, 0.0], [0.0, 1.0]]}, "b": {"probabilities": [[0.0, 1.0], [1.0, 0.0]]}}
    frame = pd.DataFrame({"a": ["x", "y"] * 20, "b": ["y", "x"] * 20})
    frame.loc[6, "b"] = "x"
    model = MixtureModel(2, parameters_init=probabilities, fixed=("a", "b"), random_state=0)
    with pytest.raises(ImpossibleRowError, match=r"All of row 6 \(from 0\) has probability 0 under every component"):
        model.fit(frame)


def test_a_hole_where_a_category_is_impossible_says_nothing():
    probabilities = {"a": {"probabilities": [[1.0, 0.0], [0.0, 1.0]]}, "b": {"probabilities": [[0.0, 1.0], [0.5, 0.5]]}}
    frame = pd.DataFrame({"a": ["x", "y", "y", "x", None, None] * 5, "b": ["y", "x", "y", None, "y", None] * 5})
    given = {"parameters_init": probabilities, "weights_init": [0.3, 0.7], "fixed": ("a", "b", "weights")}
    model = MixtureModel(2, random_state=0, **given).fit(frame)
    evidence = [0.3 * 1 * 1, 0.7 * 1 * 0.5, 0.7 * 1 * 0.5, 0.3, 0.3 * 1 + 0.7 * 0.5, 1.0]
    np.testing.assert_allclose(np.exp(model.score_samples(frame)), evidence * 5, rtol=1e-12)
    first = [1.0, 0.0, 0.0, 1.0, 0.3 / (0.3 + 0.35), 0.3]
    np.testing.assert_allclose(model.predict_proba(frame)[:, 0], first * 5, atol=1e-12)
    table = Categorical(torch.tensor([[0.0, 1.0], [0.5, 0.5]]), fixed=True)
    column = torch.tensor([[0.0], [1.0], [torch.nan]])
    torch.testing.assert_close(table.portable()(column).exp(), torch.tensor([[0, 0.5], [1, 0.5], [1, 1]]).double())


def test_a_start_of_probability_0_that_is_not_fixed_learns():
    model = latent_classes([[0.5, 0.5, 0.0], [0.1, 0.9, 0.0]]).set_params(fixed=()).fit(answers())
    assert np.isfinite(model.log_evidence_)
    share = model.weights_ @ model.parameters_["a"]["probabilities"]
    np.testing.assert_allclose(share, answers()["a"].value_counts(normalize=True)[["x", "y", "z"]], atol=0.02)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("estimator", [GaussianMixture, MixtureModel])
def test_a_labeled_component_of_weight_0_is_named(estimator, algorithm, dtype):
    y = np.full(200, -1)
    y[3], y[150] = 0, 1
    soft = np.ones((200, 2))
    soft[3] = [0.1, 0.0]
    model = estimator(
        2, weights_init=[0.0, 1.0], fixed=("weights",), random_state=0, dtype=dtype, algorithm=algorithm, n_init=2
    )
    for labels in (y, soft):
        with pytest.raises(ImpossibleRowError, match=r"row 3 \(from 0\) allows component 0 alone, of weight 0"):
            model.fit(clusters(), labels)


def test_rows_are_counted_over_batches_and_among_those_that_have_a_weight():
    rows, y = np.tile(clusters(), (50, 1)), np.full(10_000, -1)
    y[7000] = 0
    weights = np.ones(10_000)
    weights[:5] = 0
    model = GaussianMixture(2, weights_init=[0.0, 1.0], fixed=("weights",), random_state=0)
    with pytest.raises(ImpossibleRowError, match=r"row 7000 \(from 0\)"):
        model.fit(rows, y)
    with pytest.raises(ImpossibleRowError, match=r"row 6995 \(from 0, of those with a weight above 0\)"):
        model.fit(rows, y, sample_weight=weights)
    with pytest.raises(ImpossibleRowError, match=r"row 7000 \(from 0\)"):
        model.fit(emnet.stream((rows, y), batch_rows=1000))
    with pytest.raises(ImpossibleRowError, match=r"row 7000 \(from 0\)"):
        model.partial_fit(rows, y)
