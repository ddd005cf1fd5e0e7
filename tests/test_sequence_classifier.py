"""One hidden Markov model for each class of sequences."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from emnet import GaussianHMM, InvalidInputError, PoissonHMM, SequenceClassifier


def sequences(seed, n=40):
    """Two classes that have the same rows in different orders."""
    rng = np.random.RandomState(seed)
    X, y = [], []
    for number in range(n):
        length = rng.randint(8, 20)
        slow = np.repeat(rng.permutation([0.0, 4.0]), length // 2 + 1)[:length]
        fast = np.tile([0.0, 4.0], length)[:length]
        X.append(((slow, fast)[number % 2] + rng.randn(length))[:, None])
        y.append(("slow", "fast")[number % 2])
    return X, np.array(y)


def test_classes_that_differ_in_order_alone_are_told_apart():
    X, y = sequences(0)
    model = SequenceClassifier(GaussianHMM(2, random_state=0, n_iter=20)).fit(X, y)
    more, truth = sequences(1)
    assert model.score(more, truth) > 0.95
    assert model.classes_.tolist() == ["fast", "slow"]
    joint = np.stack([own.score_sequences(more) for own in model.models_], axis=1) + np.log(model.class_prior_)
    np.testing.assert_allclose(model.predict_joint_log_proba(more), joint)
    np.testing.assert_allclose(model.decision_function(more), joint[:, 1] - joint[:, 0])
    proba = model.predict_proba(more)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_allclose(proba[:, 0], 1 / (1 + np.exp(joint[:, 1] - joint[:, 0])), rtol=1e-9)


def test_sequences_end_to_end_are_the_same_as_a_list():
    X, y = sequences(2)
    lengths = [len(each) for each in X]
    models = [SequenceClassifier(GaussianHMM(2, random_state=0)) for _ in range(2)]
    one, two = models[0].fit(X, y), models[1].fit(np.concatenate(X), y, lengths)
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(np.concatenate(X), lengths))


def test_priors_shift_the_evidence():
    X, y = sequences(3)
    shares = SequenceClassifier(GaussianHMM(2, random_state=0)).fit(X[:-1], y[:-1])
    np.testing.assert_allclose(shares.class_prior_, [19 / 39, 20 / 39])
    sure = clone(shares).set_params(class_prior=[1.0, 0.0]).fit(X, y)
    assert (sure.predict(X) == "fast").all()


def test_what_the_classes_have_in_common_is_their_start_and_prior():
    """Of weight ∞ every class has the common means; with 0 it is the start alone."""
    X, y = sequences(6)
    model = SequenceClassifier(GaussianHMM(2, random_state=0, n_iter=5))
    far, near = (clone(model).set_params(common_rows=rows).fit(X, y) for rows in (1e9, 0.0))
    np.testing.assert_allclose(far.models_[0].means_, far.common_model_.means_, atol=1e-5)
    own = clone(near.common_model_).set_params(init_params="")
    for name in ("startprob_", "transmat_", "means_", "_covars_"):
        setattr(own, name, getattr(near.common_model_, name))
    own.fit(X[1::2])  # of the class "fast"
    np.testing.assert_allclose(near.models_[0].means_, own.means_, rtol=1e-12)
    assert near.score(*sequences(7)) > 0.9
    with pytest.raises(InvalidInputError, match="GaussianHMM and GMMHMM, whose means may have a prior; PoissonHMM"):
        SequenceClassifier(PoissonHMM(2), common_rows=1).fit(X, y)


def test_grid_search_takes_lists_of_sequences():
    X, y = sequences(4)
    search = GridSearchCV(
        SequenceClassifier(GaussianHMM(random_state=0)), {"model__n_components": [1, 2]}, cv=2, error_score="raise"
    ).fit(X, y)
    assert search.best_params_ == {"model__n_components": 2}


def test_what_cannot_be_is_told():
    X, y = sequences(5)
    model = SequenceClassifier(GaussianHMM(2))
    with pytest.raises(InvalidInputError, match="class for each of the 40 sequences; it has 39"):
        model.fit(X, y[:-1])
    with pytest.raises(InvalidInputError, match="list of sequences"):
        model.fit(np.concatenate(X), y)
    with pytest.raises(InvalidInputError, match="class_prior must be 2 probabilities"):
        clone(model).set_params(class_prior=[0.5, 0.6]).fit(X, y)
