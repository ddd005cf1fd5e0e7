"""Estimators among scikit-learn's tools, with data frames: a table of them, and what each has to do."""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_outlier_detector, is_regressor
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from emnet import (
    EMClusterer,
    EMImputer,
    EMMLPClassifier,
    EMMLPRegressor,
    EMOutlierDetector,
    FactorAnalysis,
    GaussianMixture,
    MixtureModel,
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    NeuralMixture,
    ProbabilisticPCA,
    VariationalAutoencoder,
)

pandas = pytest.importorskip("pandas")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
QUICK = {"max_iter": 3, "random_state": 0}
GAUSSIAN = GaussianMixture(2, **QUICK)
ESTIMATORS = {
    "n_experts": [MixtureOfExpertsClassifier(2, n_init=1, **QUICK), MixtureOfExpertsRegressor(2, n_init=1, **QUICK)],
    "hidden_units": [EMMLPClassifier(2, n_init=1, **QUICK), EMMLPRegressor(2, n_init=1, **QUICK)],
    "n_components": [
        GAUSSIAN,
        MixtureModel(2, **QUICK),
        FactorAnalysis(2, max_iter=3),
        ProbabilisticPCA(2, max_iter=3),
        NeuralMixture(2, 2, pretraining=1, mixture_starts=1, **QUICK),
    ],
    "n_latent": [VariationalAutoencoder(2, **QUICK)],
    "model": [EMImputer(GAUSSIAN), EMOutlierDetector(model=GAUSSIAN)],
    "n_clusters": [EMClusterer(2, covariance_types=["diag"], random_state=0)],
}
CASES = [pytest.param(own, name, id=type(own).__name__) for name, many in ESTIMATORS.items() for own in many]


@pytest.fixture(scope="module")
def frame():
    X = load_iris(as_frame=True).data.iloc[::3].rename(columns=lambda name: name.removesuffix(" (cm)"))
    return X.assign(garden=np.where(X["sepal width"] > 3, "Łódź", "Graz"))


@pytest.mark.parametrize(("estimator", "parameter"), CASES)
def test_in_a_pipeline_behind_columns(estimator, parameter, frame):
    """A ColumnTransformer's data frame goes in; names are kept, and a permutation of them is refused."""
    y = load_iris().target[::3] if not is_regressor(estimator) else frame["petal width"].to_numpy()
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), make_column_selector(dtype_include="number")),
            ("words", OneHotEncoder(sparse_output=False, drop="first"), ["garden"]),
        ],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipe = make_pipeline(columns, clone(estimator)).fit(frame, y)
    names = ["sepal length", "sepal width", "petal length", "petal width", "garden_Łódź"]
    assert list(pipe[-1].feature_names_in_) == names
    asked = next(name for name in ("predict", "transform", "score_samples") if hasattr(pipe, name))
    assert len(getattr(pipe, asked)(frame)) == len(frame)
    with pytest.raises(ValueError, match=r"[Ff]eature names"):
        getattr(pipe[-1], asked)(pipe[:-1].transform(frame)[names[::-1]])
    if hasattr(pipe, "transform"):
        out = pipe.set_output(transform="pandas").transform(frame)
        assert list(out.columns) == list(pipe[-1].get_feature_names_out())
        assert list(out.index) == list(frame.index)
        polars = pytest.importorskip("polars")
        assert isinstance(pipe.set_output(transform="polars").transform(frame), polars.DataFrame)


@pytest.mark.parametrize(("estimator", "parameter"), CASES)
def test_in_a_grid_search(estimator, parameter, frame):
    """Over the parameter that says what it is of; where there is no score, one of ours."""
    X = frame.drop(columns="garden")
    y = load_iris().target[::3] if is_classifier(estimator) else frame["petal width"].to_numpy()
    values = [estimator.get_params()[parameter]] * 2
    scoring = None
    if is_outlier_detector(estimator):
        scoring = lambda model, X, y=None: float(model.score_samples(X).mean())  # noqa: E731
    elif not hasattr(estimator, "score"):
        scoring = lambda model, X, y=None: float(np.mean(model.transform(X)))  # noqa: E731
    search = GridSearchCV(estimator, {parameter: values}, cv=2, scoring=scoring, error_score="raise").fit(X, y)
    assert np.isfinite(search.best_score_)
