"""Both kernels of chains against all k^T paths, at the limits of floating point, and against each other."""

import subprocess
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from emnet.exceptions import InvalidInputError
from emnet.kernels import chain, chain_log, chain_scan
from emnet.kernels.compilation import compiled
from tests.oracles import enumerate_chain

INF = float("inf")
LANES = {
    "numba": {"states": 0},
    "lanes": {"states_cut": 0, "least_steps": 1, "idle": INF},
    "lanes-of-blocks": {"least_block": 2, "blocks": 10**9, "least_steps": 1, "idle": INF},
}
GIVEN = ["constant", "by-step", "own-starts", "zeros", "known-states"]


@pytest.fixture(params=["numba", "lanes", "lanes-of-blocks", "scan", "scan-of-blocks"])
def backend(request, monkeypatch):
    """Each way to the same results."""
    if request.param in LANES:
        pytest.importorskip("numba")
        lanes = import_module("emnet.kernels.chain_lanes_numba")
        monkeypatch.setattr(lanes, "LIMITS", lanes.Limits(**LANES[request.param]))
    else:
        monkeypatch.setattr(chain, "_numba", lambda: None)
    if request.param == "scan-of-blocks":
        monkeypatch.setattr(chain_scan, "_ENOUGH_BLOCKS", 10**9)
        monkeypatch.setattr(chain_scan, "_LEAST_BLOCK", 2)
    return request.param


def problem(seed, given="constant", lengths=(5, 1, 4, 3), k=3):
    """log start, log transition, log likelihood, offsets."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(lengths)

    def draw(*shape):
        return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    start, transition, x = draw(k).log_softmax(0), draw(k, k).log_softmax(1), 3 * draw(n, k) - 50
    if given == "by-step":
        transition = draw(n, k, k).log_softmax(2)
    if given == "own-starts":
        start = draw(len(lengths), k).log_softmax(1)
    if given == "zeros":
        start, transition = torch.tensor([0.0, -INF, -INF]), torch.full((k, k), 0.5).log().double()
        transition[1, 0] = transition[2, 0] = transition[2, 1] = transition[0, 2] = -INF
        transition[2, 2] = 0.0
    if given == "known-states":
        x[0, 1:], x[3, 0] = -INF, -INF
    return start.double(), transition, x, chain.offsets_of(torch.tensor(lengths), n)


def truth(start, transition, x, offsets):
    """enumerate_chain of each sequence."""
    steps = transition if transition.dim() == 3 else transition.expand(len(x), -1, -1)
    starts = start if start.dim() == 2 else start.expand(len(offsets) - 1, -1)
    rows = [slice(a, b) for a, b in pairwise(offsets.tolist())]
    return [enumerate_chain(own.numpy(), steps[r].numpy(), x[r].numpy()) for own, r in zip(starts, rows, strict=True)]


@pytest.mark.parametrize("given", GIVEN)
def test_smoothing_equals_the_sum_over_all_paths(backend, given):
    start, transition, x, offsets = problem(0, given)
    weights = torch.tensor([1.0, 0.5, 0.0, 2.0], dtype=torch.float64)
    evidence, gamma, xi, *_ = zip(*truth(start, transition, x, offsets), strict=True)
    weighted = np.concatenate([w * own for w, own in zip(weights.tolist(), xi, strict=True)])
    summed = chain.forward_backward(start, transition, x.clone(), offsets, weights)
    by_step = chain.forward_backward(start, transition, x.clone(), offsets, weights, by_step=True)
    for found in (summed, by_step):
        np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-13)
        np.testing.assert_allclose(found.responsibilities, np.concatenate(gamma), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(summed.transitions, weighted.sum(0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(by_step.transitions, weighted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("given", GIVEN)
def test_filtering_knows_of_each_step_what_the_sequence_up_to_it_says(backend, given):
    start, transition, x, offsets = problem(1, given, lengths=(5, 1))
    found = chain.forward(start, transition, x, offsets)
    np.testing.assert_allclose(found.log_evidence, [t[0] for t in truth(start, transition, x, offsets)], rtol=1e-13)
    for stop in range(1, 6):
        steps = transition[:stop] if transition.dim() == 3 else transition
        starts = start[:1] if start.dim() == 2 else start
        gamma = truth(starts, steps, x[:stop], torch.tensor([0, stop]))[0][1]
        np.testing.assert_allclose(found.probabilities[stop - 1], gamma[-1], rtol=1e-12, atol=1e-15)
    alone = chain.forward(start, transition, x, offsets, keep=False)
    assert alone.probabilities is None
    assert alone.log_evidence.equal(found.log_evidence)


@pytest.mark.parametrize("given", GIVEN)
def test_viterbi_is_the_best_of_all_paths(backend, given):
    start, transition, x, offsets = problem(2, given)
    log_joint, path = chain.viterbi(start, transition, x, offsets)
    *_, best, joint = zip(*truth(start, transition, x, offsets), strict=True)
    np.testing.assert_allclose(log_joint, joint, rtol=1e-13)
    assert path.tolist() == np.concatenate(best).tolist()


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("given", GIVEN)
def test_steps_that_underflow_lose_nothing(backend, given, scale):
    """Likelihoods that differ by thousands of nats, where every product in probabilities is 0."""
    for seed in range(5):
        start, transition, x, offsets = problem(seed, given)
        x *= scale
        evidence, gamma, xi, *_ = zip(*truth(start, transition, x, offsets), strict=True)
        found = chain.forward_backward(start, transition, x, offsets)
        np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-13)
        np.testing.assert_allclose(found.responsibilities, np.concatenate(gamma), rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(found.transitions, np.concatenate(xi).sum(0), rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(chain.forward(start, transition, x, offsets).log_evidence, evidence, rtol=1e-13)


def test_a_path_that_was_given_up_comes_back(backend):
    """Two chains that never meet: the first is ahead by 1000 nats after half of the steps, and behind at the end."""
    steps = 200
    transition = torch.eye(2, dtype=torch.float64).log()
    start = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    x = torch.zeros(steps, 2, dtype=torch.float64)
    x[:100, 1], x[100:, 0] = -10.0, -10.001
    offsets = torch.tensor([0, steps])
    evidence = np.log(0.5) + np.logaddexp(-1000.0, -1000.1)
    found = chain.forward_backward(start, transition, x, offsets)
    share = 1 / (1 + np.exp(0.1))
    assert found.log_evidence.item() == pytest.approx(evidence, rel=1e-12)
    np.testing.assert_allclose(found.responsibilities[:, 0], np.full(steps, share), rtol=1e-9)
    np.testing.assert_allclose(found.transitions.diagonal(), 199 * np.array([share, 1 - share]), rtol=1e-9)
    filtered = chain.forward(start, transition, x, offsets)
    assert filtered.log_evidence.item() == pytest.approx(evidence, rel=1e-12)
    assert filtered.probabilities[-1, 0].item() == pytest.approx(share, rel=1e-9)


def test_a_sequence_in_logarithms_adds_to_those_that_are_not(backend):
    start, transition, x, offsets = problem(3, "zeros")
    x[offsets[2] : offsets[3]] *= 1e4
    evidence, gamma, xi, *_ = zip(*truth(start, transition, x, offsets), strict=True)
    found = chain.forward_backward(start, transition, x, offsets)
    np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-12)
    np.testing.assert_allclose(found.responsibilities, np.concatenate(gamma), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(found.transitions, np.concatenate(xi).sum(0), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("probability", [1e-90, 1e-150, 1e-300])
def test_transitions_that_are_nearly_impossible(backend, probability):
    start, _, x, offsets = problem(4)
    transition = torch.tensor([[1.0, probability, 0.0], [0.0, 1.0, probability], [0.0, 0.0, 1.0]]).double().log()
    transition[0, 1] = transition[1, 2] = np.log(probability)
    for scale in (1.0, 100.0):
        evidence, gamma, *_ = zip(*truth(start, transition, scale * x, offsets), strict=True)
        found = chain.forward_backward(start, transition, scale * x, offsets)
        np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-13)
        np.testing.assert_allclose(found.responsibilities, np.concatenate(gamma), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("what", ["row", "transition", "start", "nan"])
def test_what_is_impossible_is_named(backend, what):
    start, transition, x, offsets = problem(5)
    step = {"row": 2, "transition": 2, "start": 0, "nan": 2}[what]
    row = int(offsets[2]) + step
    if what == "row":
        x[row] = -INF
    elif what == "nan":
        x[row, 1] = float("nan")
    elif what == "transition":
        transition[0, 1], x[row - 1, 1:], x[row, 0], x[row, 2] = -INF, -INF, -INF, -INF
    else:
        start[0], x[row, 1:] = -INF, -INF
    for function in (chain.forward_backward, chain.forward, chain.viterbi):
        with pytest.raises(InvalidInputError, match=f"Sequence 2, step {step} "):
            function(start, transition, x, offsets)


def test_long_sequences_agree_with_themselves_in_pieces(backend):
    """The filter of a long sequence, gone on with where its first half ended; and sums that stay probabilities."""
    start, transition, x, _ = problem(6, lengths=(20_000,), k=5)
    whole = chain.forward(start, transition, x, torch.tensor([0, 20_000]))
    half = whole.probabilities[9_999]
    later = chain.forward((half @ transition.exp()).log(), transition, x[10_000:], torch.tensor([0, 10_000]))
    np.testing.assert_allclose(later.probabilities, whole.probabilities[10_000:], rtol=1e-9, atol=1e-15)
    found = chain.forward_backward(start, transition, x, torch.tensor([0, 20_000]))
    np.testing.assert_allclose(found.responsibilities.sum(1), 1.0, rtol=1e-12)
    assert found.transitions.sum().item() == pytest.approx(19_999, rel=1e-11)
    np.testing.assert_allclose(found.transitions.sum(0), found.responsibilities[1:].sum(0), rtol=1e-10)


def test_the_kernels_agree_on_large_problems(monkeypatch):
    pytest.importorskip("numba")
    for k, lengths in ((32, (3_000,)), (8, (70,) * 300), (100, (900, 100)), (4, (9_000, 1, 700, 30))):
        start, transition, x, offsets = problem(7, lengths=lengths, k=k)
        one = chain.forward_backward(start, transition, x, offsets)
        with monkeypatch.context() as patch:
            patch.setattr(chain, "_numba", lambda: None)
            two = chain.forward_backward(start, transition, x, offsets)
        for name in ("log_evidence", "responsibilities", "transitions"):
            torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_ten_thousand_steps_of_a_hundred_states_are_stable(spread):
    """Against sums in logarithms, where nothing can underflow."""
    start, transition, x, offsets = problem(10, lengths=(10_000,), k=100)
    x = spread * x
    found = chain.forward_backward(start, transition, x, offsets)
    evidence, filtered = torch.zeros(1).double(), torch.empty_like(x)
    chain_log.forward(x, start, transition, offsets, torch.ones(1) > 0, evidence, filtered)
    assert found.log_evidence.item() == pytest.approx(evidence.item(), rel=1e-13)
    np.testing.assert_allclose(found.responsibilities[-1], filtered[-1], rtol=1e-6, atol=1e-15)  # of log α ~ 1e7
    np.testing.assert_allclose(found.responsibilities.sum(1), 1.0, rtol=1e-12)
    assert found.transitions.sum().item() == pytest.approx(9_999, rel=1e-11)


@pytest.mark.parametrize("lengths", [(500,) * 400, (30_000,)])
def test_any_number_of_threads_gives_the_same_bits(lengths):
    start, transition, x, offsets = problem(8, lengths=lengths, k=4)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(chain.forward_backward(start, transition, x, offsets))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert other.transitions.equal(found[0].transitions)
        assert other.log_evidence.equal(found[0].log_evidence)


def test_logarithms_keep_their_digits_on_long_sequences():
    generator = torch.Generator().manual_seed(0)
    start, transition = (torch.randn(*shape, generator=generator).double().log_softmax(-1) for shape in ((3,), (3, 3)))
    x = torch.randn(2000, 3, generator=generator).double() - 1e5
    offsets, evidence, filtered = torch.tensor([0, len(x)]), torch.zeros(1).double(), torch.zeros_like(x)
    chain_log.forward(x, start, transition, offsets, torch.tensor([True]), evidence, filtered)
    expected = torch.zeros_like(x)
    state = start
    for t, row in enumerate(x + 1e5):
        state = (state if t == 0 else (state[:, None] + transition).logsumexp(0)) + row
        state = state - state.logsumexp(0)
        expected[t] = state.exp()
    assert torch.allclose(filtered, expected, rtol=0, atol=1e-9)


def test_memory_grows_with_one_array_of_the_size_of_the_likelihoods():
    pytest.importorskip("numba")
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process of its own is read from /proc")
    code = """
import pathlib, re, torch
from emnet.kernels import chain
def peak():  # ru_maxrss would count the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
start, transition = torch.zeros(8).double().log_softmax(0), torch.eye(8).double().log_softmax(1)
x = torch.randn(3_000_000, 8, dtype=torch.float64)
small = chain.forward_backward(start, transition, x[:1000], torch.tensor([0, 1000]))
before = peak()
chain.forward_backward(start, transition, x, torch.tensor([0, len(x)]))
print((peak() - before) * 1024 / (x.numel() * 8))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert float(done.stdout) < 1.2, done.stderr


def test_compilation_is_told(tmp_path, monkeypatch, caplog):
    """The first time; then it comes from the cache, and nothing is said."""
    tools = pytest.importorskip("emnet.kernels.tools_numba")
    (tmp_path / "doubling.py").write_text(
        "from numba import types\n"
        "from emnet.kernels.tools_numba import compiled\n"
        "@compiled(types.float64(types.float64))\n"
        "def double(x):\n"
        "    return 2.0 * x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    caplog.set_level("INFO", "emnet")
    for what, told in (("a kernel", 1), ("a kernel again", 0)):
        monkeypatch.setattr(tools, "_dispatchers", [])
        monkeypatch.delitem(sys.modules, "doubling", raising=False)
        caplog.clear()
        assert compiled("doubling", what).double(3.0) == 6.0
        assert len(caplog.messages) == told
        assert all(f"Compiled {what}" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [([3, 4], "add up to 7; there are 8 rows"), ([3, 0, 5], "sequence 1 has 0"), ([], "there are none")],
)
def test_lengths_that_cannot_be(lengths, message):
    with pytest.raises(InvalidInputError, match=message):
        chain.offsets_of(torch.tensor(lengths), 8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("given", GIVEN)
def test_cpu_and_gpu_agree(given):
    start, transition, x, offsets = problem(9, given)
    one = chain.forward_backward(start, transition, x, offsets)
    two = chain.forward_backward(start.cuda(), transition.cuda(), x.cuda(), offsets)
    for name in ("log_evidence", "responsibilities", "transitions"):
        torch.testing.assert_close(getattr(two, name).cpu(), getattr(one, name), rtol=1e-10, atol=1e-14)
    assert (
        chain.viterbi(start.cuda(), transition.cuda(), x.cuda(), offsets)[1]
        .cpu()
        .equal(chain.viterbi(start, transition, x, offsets)[1])
    )
