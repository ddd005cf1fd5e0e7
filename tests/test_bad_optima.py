"""Where the start from k-means leads EM to a bad optimum, and annealing and split-and-merge moves do not end there."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from emnet import CollapsedComponentError, FitInterrupted, GaussianMixture, InvalidInputError, MixtureModel
from emnet.algorithms.annealing import Annealing, Tempered
from emnet.algorithms.base import evaluate, run
from emnet.algorithms.em import EM
from emnet.algorithms.split_merge import SplitMerge
from emnet.estimators.stopping import MeanGain
from emnet.inference.exact import Exact
from tests.cases import CASES

MIXTURES = [case for case in CASES if case.name.startswith(("gaussians", "latent", "mixed", "all-families", "student"))]
F64 = torch.float64
remedies = pytest.mark.parametrize("algorithm", ["annealing", "split_merge"])


def lines(seed, n=200):
    """Three long parallel lines, which k-means cuts across."""
    rng = np.random.RandomState(seed)
    return np.concatenate([np.column_stack([20 * rng.rand(n), 2 * i + 0.2 * rng.randn(n)]) for i in range(3)])


def truth(n=200):
    return np.repeat(np.arange(3), n)


def purity(labels, state):
    return sum(np.bincount(state[labels == k], minlength=3).max() for k in range(3)) / len(state)


@remedies
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gaussian_mixtures_leave_the_bad_optimum(algorithm, seed):
    rows = lines(seed)
    options = {"random_state": 0, "reg_covar": 0, "prior": "auto", "tol": 1e-6, "max_iter": 1000}
    plain = GaussianMixture(3, **options).fit(rows)
    other = GaussianMixture(3, algorithm=algorithm, **options).fit(rows)
    assert plain.converged_
    assert other.converged_
    assert purity(plain.predict(rows), truth()) < 0.8
    assert purity(other.predict(rows), truth()) > 0.99
    assert other.log_evidence_ > plain.log_evidence_ + 400


@remedies
def test_mixture_models_leave_it_too(algorithm):
    rng = np.random.RandomState(7)
    slanted = lines(2) @ np.array([[1.0, 0.2], [0.0, 1.0]])  # or scaled columns would tell the lines apart
    table = np.column_stack([slanted, rng.poisson(3.0, 600)]).astype(float)
    table[rng.rand(*table.shape) < 0.02] = np.nan
    options = {"emissions": {(0, 1): "gaussian", 2: "poisson"}, "random_state": 0}
    plain = MixtureModel(3, **options).fit(table)
    other = MixtureModel(3, algorithm=algorithm, **options).fit(table)
    assert purity(plain.predict(table), truth()) < 0.8
    assert purity(other.predict(table), truth()) > 0.9
    assert other.log_evidence_ > plain.log_evidence_ + 300


def test_moves_find_small_clusters_beside_a_large_one():
    rng = np.random.RandomState(0)
    small = [np.array(c) + 0.3 * rng.randn(40, 2) for c in ([8, 0], [8, 2], [8, -2], [10, 0])]
    rows = np.concatenate([3 * rng.randn(1000, 2), *small])
    options = {"random_state": 0, "reg_covar": 0, "prior": "auto", "tol": 1e-5, "max_iter": 1000}
    plain = GaussianMixture(5, **options).fit(rows)
    other = GaussianMixture(5, algorithm="split_merge", **options).fit(rows)
    assert other.log_evidence_ > plain.log_evidence_ + 100
    np.testing.assert_allclose(np.sort(other.weights_), [40 / 1160] * 4 + [1000 / 1160], atol=0.01)


def at_rest(case, seed, algorithm, tol=1e-4):
    """The model after a run by the rule of the estimators, and its record."""
    model, data = case.make(seed, F64), case.data(seed, F64)
    rule = MeanGain(tol, 500, data.total_weight, -np.inf, lambda *_: None)
    fit = run(model, data, algorithm, inference=Exact(), max_iter=500, tol=-1.0, callbacks=[rule])
    assert rule.converged
    return model, fit


@pytest.mark.parametrize("case", MIXTURES, ids=lambda case: case.name)
def test_moves_never_end_below_plain_em(case):
    reached = []
    for algorithm in (EM(Exact()), SplitMerge(EM(Exact()), Exact(), tol=1e-4, candidates=2, max_iter=40)):
        model, fit = at_rest(case, 0, algorithm)
        objective = np.array([line.progress.objective for line in fit.history])
        assert (np.diff(objective) >= -1e-9 * (fit.rows + abs(objective[:-1]))).all()
        reached.append(evaluate(model, [case.data(0, F64)], Exact()).objective)
    assert reached[1] >= reached[0] - 1e-9 * abs(reached[0])


@pytest.mark.parametrize("case", MIXTURES, ids=lambda case: case.name)
def test_annealing_never_ends_below_plain_em_and_twice_the_same(case):
    for seed in range(2):
        data = case.data(seed, F64)
        _, em = at_rest(case, seed, EM(Exact()))
        model, fit = at_rest(case, seed, Annealing(EM(Exact()), Exact(), tol=1e-4))
        if seed == 0:
            again, _ = at_rest(case, seed, Annealing(EM(Exact()), Exact(), tol=1e-4))
            assert again.coordinates().equal(model.coordinates())
        assert evaluate(model, [data], Exact()).objective == fit.last.objective
        assert fit.last.objective >= em.last.objective - 1e-12 * abs(em.last.objective)
        taken = [
            line.progress.diagnostics["annealed"] for line in fit.history if "annealed" in line.progress.diagnostics
        ]
        assert len(taken) == 1
        pairs = [(one.progress, two.progress) for one, two in pairwise(fit.history) if not one.progress.unsettled]
        assert all(two.objective - one.objective >= -1e-9 * (fit.rows + abs(one.objective)) for one, two in pairs)


def overlapping(seed):
    """Three clusters, in which five components have many optima."""
    rng = np.random.RandomState(seed)
    return np.concatenate(
        [rng.randn(80, 2) * [1, 3], rng.randn(80, 2) + np.array([3, 0]), 0.5 * rng.randn(40, 2) + np.array([1, 4])]
    )


@pytest.mark.parametrize("max_iter", [3, 30, 50, 70, 90, 500])
def test_annealing_that_ends_lower_or_too_early_gives_back_what_em_had(max_iter):
    rows = lines(0)
    options = {"random_state": 0, "reg_covar": 0, "prior": "auto", "tol": 1e-3, "max_iter": max_iter}
    kept = set()
    for X, k in [(rows, 3), *((overlapping(seed), 5) for seed in range(4))]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            plain = GaussianMixture(k, **options).fit(X)
            other = GaussianMixture(k, algorithm="annealing", **options).fit(X)
        assert other.history_[-1]["objective"] >= plain.history_[-1]["objective"]
        assert other.score_samples(X).sum() >= other.log_evidence_ - 1e-3 * len(X)  # a prior may lower it
        kept |= {line["annealed"] for line in other.history_ if "annealed" in line}
        assert not ({"returned_to"} & set(other.history_[-1])) or max_iter < 500
    assert kept == {0.0, 1.0} or max_iter < 500


def test_annealing_that_breaks_a_component_gives_back_what_em_had():
    class Breaking(EM):
        """EM that fails once it is away from the start of a run of its own."""

        def step(self, model, data):
            self.__dict__["steps"] = self.__dict__.get("steps", 0) + 1
            if self.steps == fails_at:
                super().step(model, data)
                model.set_coordinates(torch.full_like(model.coordinates(), torch.nan))
                raise CollapsedComponentError("broken")
            return super().step(model, data)

    case = next(case for case in MIXTURES if case.name == "gaussians-full")
    _, em = at_rest(case, 0, EM(Exact()))
    fails_at = len(em.history) + 3
    model, fit = at_rest(case, 0, Annealing(Breaking(Exact()), Exact(), tol=1e-4))
    broken = [line for line in fit.history if line.progress.diagnostics.get("annealed") == 0.0]
    assert len(broken) == 1
    assert evaluate(model, [case.data(0, F64)], Exact()).objective == fit.last.objective >= em.last.objective


def test_a_run_that_ends_elsewhere_goes_back_and_says_so():
    """Stopped, interrupted or at max_iter while it anneals: the parameters are those of the highest line."""

    def stop(_, line):
        return line.progress.diagnostics.get("sharpness", 0.0) > 0.5

    def interrupt(_, line):
        if stop(_, line):
            raise KeyboardInterrupt

    case = next(case for case in MIXTURES if case.name == "gaussians-full")
    for ending in (stop, interrupt):
        model, data = case.make(0, F64), case.data(0, F64)
        algorithm = Annealing(EM(Exact()), Exact())
        try:
            fit = run(model, data, algorithm, inference=Exact(), max_iter=500, tol=1e-9, callbacks=[ending])
        except FitInterrupted as interrupted:
            fit = interrupted.fit
        objective = [line.progress.objective for line in fit.history]
        assert fit.returned_to == int(np.argmax(objective[:-1]))
        assert evaluate(model, [data], Exact()).objective == fit.last.objective == max(objective)
        assert fit.reason == ("stopped" if ending is stop else "interrupted")


def test_tempered_responsibilities_are_powers():
    case = next(case for case in MIXTURES if case.name == "gaussians-full")
    model, batch = case.make(0, F64), case.data(0, F64)
    plain, flat = model.posterior(batch), Tempered(Exact(), 0.5)(model, batch)
    powers = plain.responsibilities.sqrt()
    torch.testing.assert_close(flat.responsibilities, powers / powers.sum(1, keepdim=True))
    assert flat.log_evidence.equal(plain.log_evidence)


def test_known_components_stay_known():
    rows, known = lines(0), np.where(np.arange(600) % 10 == 0, truth(), -1)
    for algorithm in ("annealing", "split_merge"):
        model = GaussianMixture(3, algorithm=algorithm, random_state=0, max_iter=500, tol=1e-5).fit(rows, known)
        assert (model.predict(rows) == truth()).mean() > 0.99


def test_objects_are_taken_and_other_posteriors_refused():
    rows = lines(0)
    options = {"random_state": 0, "max_iter": 500, "tol": 1e-5}
    by_name = GaussianMixture(3, algorithm="annealing", **options).fit(rows)
    by_object = GaussianMixture(3, algorithm=Annealing(EM(Exact()), Exact(), tol=1e-5), **options).fit(rows)
    np.testing.assert_array_equal(by_name.means_, by_object.means_)
    network = CASES[0]
    for algorithm in (Annealing(EM(Exact()), Exact(), tol=1e9), SplitMerge(EM(Exact()), Exact(), tol=1e9)):
        with pytest.raises(InvalidInputError, match="over one of k states"):
            run(network.make(0, F64), network.data(0, F64), algorithm, inference=Exact(), max_iter=5)
    with pytest.raises(ValueError, match="first"):
        Annealing(EM(Exact()), Exact(), first=0.0)


def test_a_run_that_ends_while_it_anneals_says_that_it_has_not_converged():
    with pytest.warns(ConvergenceWarning):
        model = GaussianMixture(3, algorithm="annealing", max_iter=10, random_state=0).fit(lines(0))
    assert (model.converged_, model.reason_) == (False, "max_iter")

    def interrupt(_, line):
        if line.number == 5:
            raise KeyboardInterrupt

    with pytest.raises(FitInterrupted), warnings.catch_warnings():
        GaussianMixture(3, algorithm="annealing", random_state=0, callbacks=[interrupt]).fit(lines(0))
