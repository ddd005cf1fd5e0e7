"""Both kernels of segments against all segmentations, at the limits of floating point, and against each other."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from emnet.exceptions import InvalidInputError
from emnet.kernels import chain, segments
from tests.oracles import enumerate_segments

INF = float("inf")
GIVEN = ["any", "no-self-transitions", "own-starts", "zeros", "known-states"]
LENGTHS = (5, 1, 4, 3)


@pytest.fixture(params=["numba", "steps"])
def backend(request, monkeypatch):
    """Each way to the same results."""
    if request.param == "numba":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(segments, "_numba", lambda: None)
    return request.param


def problem(seed, given="any", lengths=LENGTHS, k=3, longest=3):
    """log start, log transition, log duration, log likelihood, offsets."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(lengths)

    def draw(*shape):
        return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    start, transition, x = draw(k).log_softmax(0), draw(k, k).log_softmax(1), 3 * draw(n, k) - 50
    duration = draw(k, longest).log_softmax(1)
    if given == "no-self-transitions":
        transition = transition.masked_fill(torch.eye(k) > 0, -INF).log_softmax(1)
    if given == "own-starts":
        start = draw(len(lengths), k).log_softmax(1)
    if given == "zeros":
        start, transition = torch.tensor([0.0, -INF, -INF]).double(), torch.full((k, k), -INF).double()
        transition[0, 1] = transition[1, 2] = transition[2, 0] = 0.0
        duration[:, 1] = -INF
        duration[0, 2] = -INF
        duration = duration.log_softmax(1)
    if given == "known-states":
        x[0, 1:], x[3, 0] = -INF, -INF
    return start, transition, duration, x, chain.offsets_of(torch.tensor(lengths), n)


def truth(start, transition, duration, x, offsets, censored=True):
    """enumerate_segments of each sequence, by what is found."""
    starts = start if start.dim() == 2 else start.expand(len(offsets) - 1, -1)
    rows = [slice(a, b) for a, b in pairwise(offsets.tolist())]
    found = [
        enumerate_segments(own.numpy(), transition.numpy(), duration.numpy(), x[r].numpy(), censored)
        for own, r in zip(starts, rows, strict=True)
    ]
    return [list(each) for each in zip(*found, strict=True)]


@pytest.mark.parametrize("censored", [True, False])
@pytest.mark.parametrize("given", GIVEN)
def test_smoothing_equals_the_sum_over_all_segmentations(backend, given, censored):
    arrays = problem(0, given)
    weights = [1.0, 0.5, 0.0, 2.0]
    evidence, gamma, xi, counts, *_ = truth(*arrays, censored)
    found = segments.forward_backward(*arrays, torch.tensor(weights), censored=censored)
    np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-13)
    np.testing.assert_allclose(found.responsibilities, np.concatenate(gamma), rtol=1e-12, atol=1e-15)
    for name, parts in (("transitions", xi), ("durations", counts)):
        expected = sum(w * part for w, part in zip(weights, parts, strict=True))
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("given", GIVEN)
def test_filtering_knows_of_each_step_what_the_sequence_up_to_it_says(backend, given):
    start, transition, duration, x, offsets = problem(1, given, lengths=(5, 1))
    found = segments.forward(start, transition, duration, x, offsets)
    np.testing.assert_allclose(found.log_evidence, truth(start, transition, duration, x, offsets)[0], rtol=1e-13)
    first = start[:1] if start.dim() == 2 else start
    for stop in range(1, 6):
        gamma = truth(first, transition, duration, x[:stop], torch.tensor([0, stop]))[1][0]
        np.testing.assert_allclose(found.probabilities[stop - 1], gamma[-1], rtol=1e-12, atol=1e-15)
    ends = segments.forward(start, transition, duration, x, offsets, censored=False)
    expected = truth(start, transition, duration, x, offsets, False)[0]
    np.testing.assert_allclose(ends.log_evidence, expected, rtol=1e-13)


@pytest.mark.parametrize("censored", [True, False])
@pytest.mark.parametrize("given", GIVEN)
def test_viterbi_is_the_best_of_all_segmentations(backend, given, censored):
    for seed in range(5):
        arrays = problem(seed, given)
        *_, path, joint = truth(*arrays, censored)
        found = segments.viterbi(*arrays, censored=censored)
        np.testing.assert_allclose(found[0], joint, rtol=1e-13)
        assert found[1].tolist() == np.concatenate(path).tolist()


@pytest.mark.parametrize("scale", [100.0, 1e4])
@pytest.mark.parametrize("given", GIVEN)
def test_steps_that_underflow_lose_nothing(backend, given, scale):
    for seed in range(3):
        start, transition, duration, x, offsets = problem(seed, given)
        arrays = start, transition, duration, scale * x, offsets
        evidence, gamma, xi, counts, *_ = truth(*arrays)
        found = segments.forward_backward(*arrays)
        np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-13)
        np.testing.assert_allclose(found.responsibilities, np.concatenate(gamma), rtol=1e-8, atol=1e-15)
        np.testing.assert_allclose(found.transitions, sum(xi), rtol=1e-8, atol=1e-15)
        np.testing.assert_allclose(found.durations, sum(counts), rtol=1e-8, atol=1e-15)


def test_a_path_that_was_given_up_comes_back(backend):
    """Two segments of 200 rows: the first state is ahead by 1000 nats after half of them, and behind at the end."""
    steps = 200
    start, transition = torch.tensor([0.5, 0.5]).double().log(), torch.tensor([[0, 1], [1, 0]]).double().log()
    duration = torch.full((2, steps), -INF).double()
    duration[:, -1] = 0.0
    x = torch.zeros(steps, 2, dtype=torch.float64)
    x[:100, 1], x[100:, 0] = -10.0, -10.001
    found = segments.forward_backward(start, transition, duration, x, torch.tensor([0, steps]))
    share = 1 / (1 + np.exp(0.1))
    assert found.log_evidence.item() == pytest.approx(np.log(0.5) + np.logaddexp(-1000.0, -1000.1), rel=1e-12)
    np.testing.assert_allclose(found.responsibilities[:, 0], np.full(steps, share), rtol=1e-9)


def test_geometric_durations_are_those_of_a_chain(backend):
    """A chain is the semi-Markov chain whose durations are geometric: the same posterior, with D = all rows."""
    k, n = 3, 60
    start, transition, _, x, offsets = problem(3, lengths=(n,))
    stay = transition.diagonal()
    longest = torch.arange(4000)
    duration = longest * stay[:, None] + torch.log1p(-stay.exp())[:, None]
    leaving = (transition - torch.log1p(-stay.exp())[:, None]).masked_fill(torch.eye(k) > 0, -INF)
    one = chain.forward_backward(start, transition, x, offsets)
    two = segments.forward_backward(start, leaving, duration, x, offsets)
    torch.testing.assert_close(two.log_evidence, one.log_evidence, rtol=1e-12, atol=0)
    torch.testing.assert_close(two.responsibilities, one.responsibilities, rtol=1e-9, atol=1e-13)
    off = ~torch.eye(k, dtype=torch.bool)
    torch.testing.assert_close(two.transitions[off], one.transitions[off], rtol=1e-9, atol=1e-13)
    assert chain.viterbi(start, transition, x, offsets)[1].equal(
        segments.viterbi(start, leaving, duration, x, offsets)[1]
    )


@pytest.mark.parametrize("what", ["row", "transition", "nan"])
def test_what_is_impossible_is_named(backend, what):
    start, transition, duration, x, offsets = problem(5)
    if what == "row":
        x[offsets[2] + 1] = -INF
    if what == "transition":  # the state of step 1 leads nowhere, and no segment lasts for longer than two steps
        transition[0], duration[:, 2:] = -INF, -INF
        x[offsets[2] : offsets[2] + 2, 1:] = -INF
    if what == "nan":
        x[offsets[2] + 1, 0] = float("nan")
    message = "log likelihood is NaN" if what == "nan" else "no path through the states"
    step = 2 if what == "transition" else 1
    for function in (segments.forward_backward, segments.viterbi):
        with pytest.raises(InvalidInputError, match=rf"Sequence 2, step {step}.*{message}"):
            function(start, transition, duration, x, offsets)


def test_a_last_segment_that_cannot_end_is_told(backend):
    start, transition, duration, x, offsets = problem(5)
    duration[:, [0, 2]] = -INF
    with pytest.raises(InvalidInputError, match=r"no segment that these 5 rows.*censored=True"):
        segments.forward_backward(start, transition, duration, x, offsets, censored=False)


def test_the_kernels_agree_on_large_problems(monkeypatch):
    pytest.importorskip("numba")
    for k, longest, lengths in ((6, 40, (900,)), (4, 15, (70, 3, 1) * 30), (30, 5, (200, 100))):
        arrays = problem(7, "no-self-transitions", lengths, k, longest)
        one, best = segments.forward_backward(*arrays), segments.viterbi(*arrays)
        with monkeypatch.context() as patch:
            patch.setattr(segments, "_numba", lambda: None)
            two, other = segments.forward_backward(*arrays), segments.viterbi(*arrays)
        for name in ("log_evidence", "responsibilities", "transitions", "durations"):
            torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=1e-9, atol=1e-12)
        assert best[1].equal(other[1])


def test_a_long_sequence_keeps_its_digits(backend):
    """The states of every row add up to 1, and pairs and durations to the segments that there are."""
    n = 20_000 if backend == "numba" else 500
    arrays = problem(6, "no-self-transitions", (n,), 4, 30)
    found = segments.forward_backward(*arrays)
    np.testing.assert_allclose(found.responsibilities.sum(1), 1.0, rtol=1e-9)
    assert found.durations.sum().item() == pytest.approx(found.transitions.sum().item() + 1, rel=1e-9)


def test_any_number_of_threads_gives_the_same_bits():
    arrays = problem(8, "no-self-transitions", (50,) * 400, 4, 60)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(segments.forward_backward(*arrays))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for name in ("log_evidence", "responsibilities", "transitions", "durations"):
            assert getattr(other, name).equal(getattr(found[0], name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("given", GIVEN)
def test_cpu_and_gpu_agree(given):
    arrays = problem(9, given)
    on_gpu = [array.cuda() for array in arrays[:-1]]
    one, two = segments.forward_backward(*arrays), segments.forward_backward(*on_gpu, arrays[-1])
    for name in ("log_evidence", "responsibilities", "transitions", "durations"):
        torch.testing.assert_close(getattr(two, name).cpu(), getattr(one, name), rtol=1e-10, atol=1e-14)
    assert segments.viterbi(*on_gpu, arrays[-1])[1].cpu().equal(segments.viterbi(*arrays)[1])


@pytest.mark.parametrize("given", ["any", "no-self-transitions", "zeros", "known-states"])
def test_a_sequence_may_come_in_portions(backend, given):
    start, transition, duration, x, _ = problem(2, given, lengths=(9,))
    whole = segments.forward(start, transition, duration, x, torch.tensor([0, 9]))
    opened, total, states = None, 0.0, []
    for portion in x.split([4, 1, 1, 3]):
        gained, found, opened = segments.advance(start, transition, duration, portion, opened)
        total, states = total + gained, [*states, found]
        assert float(opened.exp().sum()) == pytest.approx(1)
    assert float(total) == pytest.approx(float(whole.log_evidence), rel=1e-13)
    np.testing.assert_allclose(torch.cat(states), whole.probabilities, rtol=1e-12, atol=1e-15)
    with pytest.raises(InvalidInputError, match="step 0"):
        segments.advance(start, transition, duration, torch.full((1, 3), -INF).double(), opened)
