"""Predictive distributions as torch has them, against the estimators' own densities."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from emnet import EMMLPClassifier, EMMLPRegressor, GaussianMixture, MixtureOfExpertsRegressor


@pytest.fixture(scope="module")
def rows():
    X = load_iris().data
    return X[:, :2], X[:, 2], X[:, 2:]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("gate", ["softmax", "gaussian"])
def test_experts(rows, several, gate):
    X, y = rows[0], rows[2] if several else rows[1]
    model = MixtureOfExpertsRegressor(2, gate=gate, n_init=1, max_iter=10, random_state=0).fit(X, y)
    found = model.distribution(X)
    assert found.batch_shape == (len(X),)
    np.testing.assert_allclose(found.log_prob(torch.as_tensor(y)), model.log_density(X, y), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.mean, model.predict(X))


def test_a_network_of_bits(rows):
    model = EMMLPRegressor(3, n_init=2, max_iter=20, prediction_samples=50, random_state=0).fit(rows[0], rows[1])
    found = model.distribution(rows[0])
    for level, at in zip((0.1, 0.9), model.predict_quantiles(rows[0], (0.1, 0.9)).T, strict=True):
        np.testing.assert_allclose(found.cdf(torch.as_tensor(at)), level, atol=1e-6)


def test_classes(rows):
    labels = load_iris(as_frame=True).target.map({0: "a", 1: "b", 2: "c"}).to_numpy()
    model = EMMLPClassifier(2, n_init=1, max_iter=10, random_state=0).fit(rows[0], labels)
    np.testing.assert_allclose(model.distribution(rows[0]).probs, model.predict_proba(rows[0]), rtol=1e-6)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "tied", "spherical"])
def test_a_mixture_at_any_scale(rows, covariance_type):
    X = np.column_stack(rows[:2]) * 1e120
    model = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, max_iter=5, random_state=0).fit(X)
    found = model.distribution()
    np.testing.assert_allclose(found.log_prob(torch.as_tensor(X)), model.score_samples(X), rtol=1e-7)
    assert found.sample((4,)).shape == (4, 3)
