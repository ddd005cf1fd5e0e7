"""The ten laws, for every row of the tables."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from emnet.algorithms.base import e_step, evaluate, run
from emnet.batch import Batch
from emnet.factors.composite import Composite
from emnet.factors.neural import NeuralFactor
from emnet.factors.regression import GradientStep, Newton
from emnet.inference.exact import Exact
from emnet.kernels import gaussian
from tests.cases import ALGORITHMS, CASES
from tests.oracles import finite_difference

F64 = torch.float64
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
algorithms = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)


def gradient_of(model, batch) -> torch.Tensor:
    """∇Q: two statistics are the same if Q is the same function, and here if its gradients agree everywhere tried."""
    return model.gradient(model.statistics(batch, model.posterior(batch)))


def heights_of_networks(factors, statistics) -> list[float]:
    """Q + log prior of each network among factors by name."""
    found = []
    for name, factor in factors.items():
        if isinstance(factor, Composite):
            parts = {str(number): part for number, part in enumerate(factor.parts)}
            found += heights_of_networks(parts, statistics[name])
        elif isinstance(factor, NeuralFactor):
            found.append(factor.objective(factor.coordinates(), factor.rows_of(statistics[name]))[0])
    return found


@cases
@algorithms
def test_1_the_penalised_evidence_never_falls(case, algorithm):
    first = 8 * list(ALGORITHMS).index(algorithm)  # each has tables of its own: together they see twenty-four
    for seed in range(first, first + 8):
        fit = run(case.make(seed, F64), case.data(seed, F64), ALGORITHMS[algorithm](), inference=Exact(), max_iter=15)
        objective = np.array([line.progress.objective for line in fit.history])
        assert (np.diff(objective) >= -1e-9 * (fit.rows + abs(objective[:-1]))).all()
        assert fit.reason in ("converged", "max_iter")


@cases
@pytest.mark.parametrize("share", [0.0, 0.43, 1.0])
def test_2_statistics_are_additive(case, share):
    model, batch = case.make(0, F64), case.data(0, F64)
    whole = model.statistics(batch, model.posterior(batch))
    cut = 1 + round(share * (batch.n_units - 2))
    parts = [batch.units(slice(0, cut)), batch.units(slice(cut, None))]
    first, second = (model.statistics(part, model.posterior(part)) for part in parts)
    for other in (first + second, whole + (first - first), 0.5 * (2.0 * first) + second):
        torch.testing.assert_close(model.gradient(other), model.gradient(whole), rtol=1e-10, atol=1e-10)
    one, two = copy.deepcopy(model), copy.deepcopy(model)
    one.m_step(whole)
    two.m_step(first + second)
    torch.testing.assert_close(one.coordinates(), two.coordinates(), rtol=1e-9, atol=1e-9)


@cases
def test_3_weight_two_is_the_row_twice_and_weight_zero_no_row(case):
    batch = case.data(0, F64)
    counts = torch.arange(batch.n_units) % 3
    weighted = replace(batch, weights=counts.double())
    repeated = replace(batch.units(torch.arange(batch.n_units).repeat_interleave(counts)), weights=None)
    models = case.make(0, F64), case.make(0, F64)
    for model, data in zip(models, (weighted, repeated), strict=True):
        run(model, data, ALGORITHMS["em"](), inference=Exact(), max_iter=5)
    torch.testing.assert_close(models[0].coordinates(), models[1].coordinates(), rtol=1e-9, atol=1e-9)
    evidence = [evaluate(m, [d], Exact()).log_evidence for m, d in zip(models, (weighted, repeated), strict=True)]
    assert evidence[0] == pytest.approx(evidence[1], rel=1e-12)


@cases
def test_4_maximize_does_not_lower_q_and_ends_where_its_gradient_vanishes(case):
    model, batch = case.make(1, F64), case.data(1, F64)
    statistics = model.statistics(batch, model.posterior(batch))
    before, heights = model.gradient(statistics).norm(), heights_of_networks(model.factors, statistics)
    ways = [getattr(factor, "m_step", GradientStep()) for factor in model.factors.values()]
    if heights:
        model.m_step(statistics)
        pairs = zip(heights, heights_of_networks(model.factors, statistics), strict=True)
        assert all(after > height for height, after in pairs)
    elif all(way.needs_rows for way in ways):
        for _ in range(30 if all(isinstance(way, Newton) for way in ways) else 600):  # what is not Newton is linear
            model.m_step(statistics)
        assert model.gradient(statistics).norm() < 1e-7 * before
    elif case.closed:
        model.m_step(statistics)
        assert model.gradient(statistics).norm() < 1e-10 * before
    for factor in model.factors.values():
        assert all(torch.isfinite(factor.coordinates()))


@cases
def test_5_gradient_of_the_evidence_is_the_gradient_of_q(case):
    model, batch = case.make(2, F64), case.data(2, F64)
    start = model.coordinates()

    def objective(vector):
        model.set_coordinates(torch.from_numpy(vector))
        return evaluate(model, [batch], Exact()).objective

    numeric = finite_difference(objective, start.numpy())
    model.set_coordinates(start)
    np.testing.assert_allclose(gradient_of(model, batch).numpy(), numeric, rtol=1e-6, atol=1e-7)


@cases
def test_6_posterior_and_evidence_equal_brute_force(case):
    model, batch = case.make(3, F64), case.data(3, F64)
    posterior = model.posterior(batch)
    log_evidence, summary = case.oracle(model, batch)
    np.testing.assert_allclose(posterior.log_evidence.numpy(), log_evidence, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(case.summary(posterior).numpy(), summary, rtol=1e-12, atol=1e-13)


@cases
@pytest.mark.parametrize("many", [False, True], ids=("few", "many"))
def test_6_evidence_and_statistics_at_once_are_those_one_after_another(monkeypatch, case, many):
    if many:  # as the rows of a chunk are not
        monkeypatch.setattr(gaussian, "is_many", lambda x, diagonal: True)
    model, batch = case.make(0, F64), case.data(0, F64)
    posterior = model.posterior(batch)
    evidence, statistics = model.expectations(batch)
    torch.testing.assert_close(evidence.log_evidence, posterior.log_evidence, rtol=1e-10, atol=1e-10)
    assert evidence.kind is posterior.kind
    apart = model.gradient(model.statistics(batch, posterior))
    torch.testing.assert_close(model.gradient(statistics), apart, rtol=1e-8, atol=1e-8)


@cases
def test_7_coordinates_make_the_round_trip(case):
    model = case.make(4, F64)
    vector = model.coordinates()
    model.set_coordinates(torch.zeros_like(vector))
    assert model.coordinates().abs().sum() == 0
    model.set_coordinates(vector)
    assert model.coordinates().equal(vector)


@cases
def test_8_copies_state_dicts_and_types_agree(case):
    model, batch = case.make(5, F64), case.data(5, F64)
    truth = evaluate(model, [batch], Exact()).log_evidence
    assert evaluate(copy.deepcopy(model), [batch], Exact()).log_evidence == truth
    other = case.make(6, F64)
    other.load_state_dict(model.state_dict())
    assert evaluate(other, [batch], Exact()).log_evidence == truth
    single = evaluate(case.make(5, torch.float32), [case.data(5, torch.float32)], Exact()).log_evidence
    assert single == pytest.approx(truth, rel=1e-5)


@cases
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_8_cpu_and_gpu_agree(case):
    model, batch = case.make(5, F64), case.data(5, F64)
    truth = evaluate(model, [batch], Exact()).log_evidence
    on_gpu = Batch(**{name: value.cuda() for name, value in batch._tensors()})
    assert evaluate(model.cuda(), [on_gpu], Exact()).log_evidence == pytest.approx(truth, rel=1e-10)


@cases
def test_9_a_row_with_nothing_observed_has_evidence_one_and_the_prior(case):
    model, batch = case.make(7, F64), case.data(7, F64)
    observed = torch.arange(batch.n_units) % 2 == 0
    rows = observed if batch.lengths is None else observed.repeat_interleave(batch.lengths)
    half = replace(batch, observed=rows, weights=None, labels=None)
    posterior = model.posterior(half)
    assert (posterior.log_evidence[~observed] == 0).all()
    _, summary = case.oracle(model, half)
    np.testing.assert_allclose(case.summary(posterior).numpy(), summary, rtol=1e-12, atol=1e-13)
    seen = half.units(observed.nonzero()[:, 0])
    torch.testing.assert_close(gradient_of(model, half), gradient_of(model, seen), rtol=1e-10, atol=1e-10)


@cases
@algorithms
def test_10_two_runs_with_one_seed_agree_bit_for_bit(case, algorithm):
    results = []
    for _ in range(2):
        model = case.make(8, F64)
        run(model, case.data(8, F64), ALGORITHMS[algorithm](), inference=Exact(), max_iter=10)
        results.append(model.coordinates())
    assert results[0].equal(results[1])


@cases
def test_batches_add_up_to_the_whole(case):
    model, batch = case.make(9, F64), case.data(9, F64)
    whole, _ = e_step(model, [batch], Exact())
    parts, _ = e_step(model, list(batch.split(7)), Exact())
    assert parts.log_evidence == pytest.approx(whole.log_evidence, rel=1e-12)


@cases
def test_what_em_leaves_behind_can_meet_a_graph(case):
    model, batch = case.make(0, F64), case.data(0, F64)
    step = ALGORITHMS["em"]()
    for _ in range(2):
        step.step(model, [batch])
    assert not any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers()))
    kept = gradient_of(model, batch)
    fresh = gradient_of(copy.deepcopy(model), replace(batch))
    torch.testing.assert_close(kept, fresh, rtol=1e-12, atol=1e-12)
    run(model, batch, ALGORITHMS["lbfgs"](), inference=Exact(), max_iter=2)


@cases
@pytest.mark.parametrize("algorithm", ["squarem", "lbfgs"])
def test_accelerated_runs_end_at_a_maximum(case, algorithm):
    model, batch = case.make(10, F64), case.data(10, F64)

    def flat(model, line):  # long before SQUAREM's own rule ends it
        return line.number % 20 == 0 and float(gradient_of(model, batch).norm()) < 1e-3

    rules = [flat] if algorithm == "squarem" else []
    fit = run(model, batch, ALGORITHMS[algorithm](), inference=Exact(), max_iter=3000, tol=1e-13, callbacks=rules)
    assert gradient_of(model, batch).norm() < 1e-2
    many = any(isinstance(part, NeuralFactor) for part in model.modules())  # maxima, of which any may be found
    if not fit.converged and not many:
        em = run(case.make(10, F64), batch, ALGORITHMS["em"](), inference=Exact(), max_iter=fit.n_iter, tol=0.0)
        assert fit.last.objective >= em.last.objective - 0.5


@cases
def test_a_step_of_squarem_is_never_below_the_em_steps_it_would_replace(case):
    """It keeps the second EM iterate unless the extrapolation is better."""
    for seed in range(3):
        model, batch = case.make(seed, F64), case.data(seed, F64)
        squarem, em = ALGORITHMS["squarem"](), ALGORITHMS["em"]()
        for _ in range(10):
            twice = copy.deepcopy(model)
            squarem.step(model, [batch])
            for _ in range(2):
                em.step(twice, [batch])
            reached, floor = (evaluate(each, [batch], Exact()).objective for each in (model, twice))
            assert reached >= floor - 1e-9 * abs(floor)
