"""Estimators among scikit-learn's tools, with data frames: a table of them, and what each has to do."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_outlier_detector, is_regressor
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from emnet import (
    GMMHMM,
    CategoricalHMM,
    EMClusterer,
    EMImputer,
    EMMLPClassifier,
    EMMLPRegressor,
    EMOutlierDetector,
    FactorAnalysis,
    GaussianHMM,
    GaussianMixture,
    InputOutputHMM,
    InvalidInputError,
    MixtureModel,
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    MultinomialHMM,
    NeuralHMM,
    NeuralMixture,
    PoissonHMM,
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


CHAINS = {  # and how they take the columns
    "numbers": [GaussianHMM(2, n_iter=3, random_state=0), GMMHMM(2, 2, n_iter=3, random_state=0)],
    "neural": [NeuralHMM(2, n_init=1, **QUICK), InputOutputHMM(2, n_init=1, **QUICK)],
    "counts": [PoissonHMM(2, n_iter=3, random_state=0), MultinomialHMM(2, n_iter=3, random_state=0)],
    "symbols": [CategoricalHMM(2, n_features=9, n_iter=3, random_state=0)],
}


@pytest.mark.parametrize(
    ("chain", "kind"), [pytest.param(own, kind, id=type(own).__name__) for kind, many in CHAINS.items() for own in many]
)
def test_chains_in_a_pipeline_a_search_and_a_pickle(chain, kind, frame):
    """All rows are one sequence, as scikit-learn's tools know no other."""
    X = frame.drop(columns="garden")
    if kind in ("counts", "symbols"):
        X = X.round().astype(int)
    X = X.iloc[:, :1] if kind == "symbols" else X
    y = (X.iloc[:, 0] > 5.8).astype(int).to_numpy() if isinstance(chain, InputOutputHMM) else None
    scaler = StandardScaler().set_output(transform="pandas") if kind in ("numbers", "neural") else "passthrough"
    pipe = make_pipeline(scaler, clone(chain)).fit(X, y)
    assert list(pipe[-1].feature_names_in_) == list(X.columns)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pipe)).predict(X), pipe.predict(X))
    assert clone(pipe[-1]).get_params()["n_components"] == 2
    with pytest.raises(ValueError, match=r"[Ff]eature names"):
        pipe[-1].predict(X.rename(columns={X.columns[0]: "another"}))
    search = GridSearchCV(chain, {"n_components": [1, 2]}, cv=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.best_score_)


@pytest.mark.parametrize(
    "model",
    [
        GAUSSIAN,
        MixtureModel(2, **QUICK),
        FactorAnalysis(2, max_iter=3),
        EMImputer(GAUSSIAN),
        EMMLPClassifier(2, n_init=1, **QUICK),
        MixtureOfExpertsClassifier(2, n_init=1, **QUICK),
        GaussianHMM(2, n_iter=3, random_state=0),
        InputOutputHMM(2, **QUICK),
    ],
    ids=lambda model: type(model).__name__,
)
def test_columns_that_are_called_the_same_are_named(model):
    frame = pandas.DataFrame(np.random.RandomState(0).randn(20, 3), columns=["a", "b", "c"])
    twice = frame.set_axis(["a", "b", "a"], axis=1)
    targets = () if isinstance(model, GaussianHMM) else (np.arange(20) % 2,)
    model = clone(model).fit(frame, *targets)
    use = model.predict if hasattr(model, "predict") else model.transform
    for asked in (lambda: clone(model).fit(twice, *targets), lambda: use(twice)):
        with pytest.raises(InvalidInputError, match="several columns that are called 'a'"):
            asked()
