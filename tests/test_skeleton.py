"""The E-step and the algorithm of the skeleton keep what theirs is of the laws; its factor and model are a case."""

import numpy as np
import pytest
import torch

from docs.method.skeleton import Exponential, Hard, Overrelaxed
from emnet.algorithms.base import evaluate, run
from emnet.algorithms.em import EM
from emnet.exceptions import InvalidInputError
from emnet.inference.exact import Exact
from tests.cases import CASES

F64 = torch.float64
BY_NAME = {case.name: case for case in CASES}
few = pytest.mark.parametrize("case", [BY_NAME["skeleton"], BY_NAME["latent-class"]], ids=lambda case: case.name)


@few
@pytest.mark.parametrize("algorithm", [lambda: EM(Hard()), lambda: Overrelaxed(EM(Exact()))], ids=["hard", "relaxed"])
def test_neither_lowers_what_it_climbs_and_two_runs_agree(case, algorithm):
    inference = getattr(algorithm(), "em", algorithm()).inference
    for seed in range(3):
        ends = []
        for _ in range(2):
            model = case.make(seed, F64)
            fit = run(model, case.data(seed, F64), algorithm(), inference=inference, max_iter=20)
            ends.append(model.coordinates())
        objective = np.array([line.progress.objective for line in fit.history])
        assert (np.diff(objective) >= -1e-9 * (fit.rows + abs(objective[:-1]))).all()
        assert ends[0].equal(ends[1])


@few
def test_the_hard_bound_is_the_joint_of_the_likeliest_state(case):
    model, batch = case.make(0, F64), case.data(0, F64)
    exact, hard = model.posterior(batch), Hard()(model, batch)
    joint = exact.log_evidence[:, None] + exact.responsibilities.log()
    torch.testing.assert_close(hard.log_evidence, joint.amax(1))
    assert (hard.responsibilities.sum(1) == 1).all()


@few
def test_longer_steps_end_no_lower_than_em_in_as_many(case):
    ends = []
    for algorithm in (EM(Exact()), Overrelaxed(EM(Exact()))):
        model, batch = case.make(0, F64), case.data(0, F64)
        run(model, batch, algorithm, inference=Exact(), max_iter=30, tol=0.0)
        ends.append(evaluate(model, [batch], Exact()).objective)
    assert ends[1] >= ends[0]


def test_impossible_rates_are_refused():
    with pytest.raises(InvalidInputError, match="rates must be above 0"):
        Exponential(torch.tensor([1.0, 0.0]))
