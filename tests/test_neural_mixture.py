"""Clusters in latent space."""

import numpy as np
import pytest

import emnet
from emnet import FitInterrupted, GaussianMixture, InvalidInputError, NeuralMixture
from emnet.algorithms.base import Fit, Reason
from emnet.algorithms.variational import VariationalEM
from emnet.estimators import neural_mixture

RNG = np.random.RandomState(0)
TRUTH = np.repeat([0, 1, 2], 50)
CENTERS = np.array([[0, 0, 0, 0, 0], [5, 5, 0, 0, 5], [0, 5, 5, -5, 0]])
X = CENTERS[TRUTH] + RNG.randn(150, 5)
X[::7, 1] = np.nan
NOTHING = Fit((), Reason.MAX_ITER, 150.0, 0.0)


def small(**parameters):
    given = {"encoder": (16,), "pretraining": 30, "max_iter": 10, "learning_rate": 0.01, "batch_size": 50}
    return NeuralMixture(3, 2, random_state=0, prediction_samples=20, **{**given, **parameters})


@pytest.fixture(scope="module")
def model():
    return small().fit(X)


def test_clusters_are_found(model):
    pairs = set(zip(TRUTH.tolist(), model.labels_.tolist(), strict=True))
    assert len({truth for truth, _ in pairs}) == len({found for _, found in pairs}) == 3
    sizes = [np.bincount(model.labels_[k == TRUTH], minlength=3).max() for k in range(3)]
    assert sum(sizes) >= 147
    shares = model.predict_proba(X)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert (shares.argmax(1) == model.labels_).all()
    assert model.weights_.sum() == pytest.approx(1)
    assert model.covariances_.shape == (3, 2, 2)


def test_a_component_draws_its_own_rows(model):
    for k in range(3):
        drawn = model.sample(40, component=k)
        assert np.mean(model.predict(drawn) == k) > 0.9
    assert model.sample(5).shape == (5, 5)
    with pytest.raises(InvalidInputError, match="component must be one of 0 to 2"):
        model.sample(5, component=3)


def test_a_file_gives_the_same(model, tmp_path):
    model.save(tmp_path / "m.emnet")
    other = emnet.load(tmp_path / "m.emnet")
    assert (other.predict_proba(X) == model.predict_proba(X)).all()
    assert (other.covariances_ == model.covariances_).all()


def test_variational_em_goes_on_from_where_the_mixture_starts():
    start = small(max_iter=1, covariance_type="diag").fit(X)
    end = small(max_iter=15, covariance_type="diag").fit(X)
    assert end.history_[0]["log_evidence"] == start.history_[0]["log_evidence"]
    assert end.log_evidence_ > start.history_[0]["log_evidence"]


def test_clusters_are_of_one_size_where_the_prior_says_so():
    rows = X[:110]  # 50, 50 and 10
    even, free = (small(weight_concentration=alpha, max_iter=2).fit(rows) for alpha in (1e6, 1.1))
    np.testing.assert_allclose(even.weights_, 1 / 3, rtol=1e-3)
    assert free.weights_.min() < 0.2


@pytest.mark.parametrize(("batch_size", "passes"), [(75, 250), (10, 50)])
def test_few_rows_are_gone_through_more_often(monkeypatch, batch_size, passes):
    """What is learned alone takes steps, and not passes."""
    asked = []
    monkeypatch.setattr(neural_mixture, "run", lambda *_, max_iter, **__: asked.append(max_iter) or NOTHING)
    small(pretraining=None, batch_size=batch_size, max_iter=0).fit(X)
    assert asked == [passes]


def test_what_cannot_be_fitted_is_named():
    with pytest.raises(InvalidInputError, match="weight_concentration must be a number or one for each of 3"):
        small(weight_concentration=[1, 2]).fit(X)
    with pytest.raises(InvalidInputError, match="concentrations of at least 1"):
        small(weight_concentration=0.5).fit(X)
    with pytest.raises(InvalidInputError, match="covariance_type must be"):
        small(covariance_type="tied").fit(X)
    with pytest.raises(InvalidInputError, match="2 rows are too few for n_components=3"):
        small().fit(X[8:10])


def interrupt(monkeypatch, method, calls, error=KeyboardInterrupt):
    """Ctrl-C at those calls of a method."""
    whole, done = getattr(*method), []

    def counted(*args, **options):
        done.append(1)
        if len(done) in calls:
            raise error
        return whole(*args, **options)

    monkeypatch.setattr(*method, counted)


@pytest.mark.parametrize(
    ("method", "call", "passes"),
    [((VariationalEM, "step"), 5, 3), ((GaussianMixture, "fit"), 3, 6), ((VariationalEM, "step"), 9, 1)],
    ids=["pretraining", "mixture", "EM"],
)
def test_an_interruption_keeps_what_there_is(monkeypatch, method, call, passes):
    parameters = {"pretraining": 6, "max_iter": 3, "mixture_starts": 3}
    model = small(**parameters).fit(X)
    interrupt(monkeypatch, method, [call])
    with pytest.raises(FitInterrupted, match="the best parameters so far are kept") as caught:
        model.fit(X)
    assert model.reason_ == "interrupted"
    assert model.n_iter_ == caught.value.fit.n_iter == passes
    assert not hasattr(model, "labels_")
    assert model.predict_proba(X).shape == (150, 3)
    assert np.isfinite(model.means_).all()
    model.set_params(warm_start=True).fit(X)
    assert model.reason_ == "max_iter"


def test_an_interruption_before_there_is_anything_leaves_what_was(monkeypatch):
    parameters = {"pretraining": 6, "max_iter": 3, "mixture_starts": 3}
    model = small(**parameters).fit(X)
    before = model.predict(X)
    interrupt(monkeypatch, (VariationalEM, "step"), [3])
    interrupt(monkeypatch, (GaussianMixture, "fit"), [1], FitInterrupted(None))  # once more, while the first is obeyed
    with pytest.raises(FitInterrupted, match="there were none to keep yet"):
        model.fit(X)
    assert (model.predict(X) == before).all()


def test_an_interruption_in_the_second_start_keeps_the_first(monkeypatch):
    interrupt(monkeypatch, (VariationalEM, "step"), [12])
    model = small(pretraining=6, max_iter=3, mixture_starts=2, n_init=2)
    with pytest.raises(FitInterrupted):
        model.fit(X)
    assert [len(model.members_), model.n_iter_, model.reason_] == [1, 3, "interrupted"]


def test_the_start_with_the_highest_bound_is_taken():
    """And not that whose mixture has the densest prior: every start has a latent space, and units, of its own."""
    model = small(n_init=3, pretraining=4, max_iter=2, mixture_starts=1).set_params(random_state=2).fit(X)
    best = int(np.argmax([fit.last.log_evidence for fit in model.fits_]))
    np.testing.assert_array_equal(model.means_, model.members_[best].prior.components.means)
    assert model.history_[-1]["log_evidence"] == model.log_evidence_
