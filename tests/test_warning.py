"""Warnings point at the line of the one who called, whatever lies between."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import emnet
from emnet.algorithms.base import Reason
from emnet.report.endings import phrase, sentence

X = np.random.default_rng(0).normal(size=(40, 3))


@pytest.mark.parametrize(
    "fit",
    [
        lambda: emnet.GaussianMixture(2, max_iter=1, random_state=0).fit(X),
        lambda: emnet.MixtureModel(2, max_iter=1, random_state=0).fit_predict(X),
        lambda: emnet.EMMLPClassifier(2, n_init=1, max_iter=1, random_state=0).fit(X, X[:, 0] > 0),
        lambda: emnet.FactorAnalysis(1, max_iter=1).fit(X),
        lambda: emnet.VariationalAutoencoder(1, max_iter=1, random_state=0).fit(np.c_[X, np.ones(len(X))]),
    ],
)
def test_a_warning_points_at_the_line_of_the_user(fit):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit()
    assert caught
    assert {warning.filename for warning in caught} == {__file__}


def test_a_fit_says_the_same_once():
    """Newton finds the classes separable in each M-step of each start."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = emnet.MixtureOfExpertsClassifier(2, prior=0.0, n_init=2, max_iter=8, m_step="newton", random_state=0)
        model.fit(X, X[:, 0] > 0)
    assert [warning.category for warning in caught].count(emnet.SeparationWarning) == 1


@pytest.mark.parametrize("reason", Reason)
def test_every_end_has_words(reason):
    plain, early = SimpleNamespace(), SimpleNamespace(early_stopping=True, n_iter_no_change=7)
    assert sentence(plain, reason).endswith(".")
    assert sentence(plain, None) == ""
    assert "early" not in phrase(plain, str(reason)) + sentence(plain, str(reason)).lower()
    assert ("early stopping" in phrase(early, reason)) == (reason is Reason.STOPPED)
    assert ("not risen for 7 iterations" in sentence(early, reason)) == (reason is Reason.STOPPED)
