"""Before `fit`, every method of every public estimator that needs one says so: scikit-learn's checks ask only a few."""

import inspect
from itertools import product

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

import emnet
from emnet import GaussianHMM, SequenceClassifier

X = np.random.RandomState(0).randn(30, 2)
MAY_BE_FIRST = {"fit", "fit_predict", "fit_transform", "partial_fit", "select", "bootstrap_test", "as_pyod"}
NUMBERS = ("n_samples", "steps", "n_steps")


def estimators():
    public = [getattr(emnet, name) for name in emnet.__all__]
    return [kind for kind in public if inspect.isclass(kind) and issubclass(kind, BaseEstimator)]


def uses(kind):
    """The names of a class's own methods that use a fitted model."""
    theirs = {name for name in dir(BaseEstimator) if hasattr(BaseEstimator, name)}
    names = [name for name, value in inspect.getmembers(kind, callable) if not name.startswith(("_", "set_"))]
    return [name for name in names if name not in theirs | MAY_BE_FIRST]


CASES = [(kind, name) for kind in estimators() for name in uses(kind)]


def test_the_table_has_the_methods():
    assert len(estimators()) >= 20
    assert set(product([emnet.GaussianMixture], ["predict", "impute", "sample", "bic", "save"])) <= set(CASES)


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_method_says_that_there_is_no_fit(kind, name, tmp_path):
    method = getattr(kind(GaussianHMM()) if kind is SequenceClassifier else kind(), name)
    needed = [p for p in inspect.signature(method).parameters.values() if p.default is p.empty and p.kind in (0, 1)]
    given = {"path": tmp_path / "model", **dict.fromkeys(NUMBERS, 3)}
    with pytest.raises(NotFittedError):
        method(*(given.get(parameter.name, X) for parameter in needed))
