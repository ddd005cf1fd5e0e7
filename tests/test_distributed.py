"""Many processes: the same bits for any number of them, and words for what goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import emnet.distributed
from emnet.distributed import Group
from emnet.exceptions import InvalidInputError, ProcessLostError
from tests.cases import CASES
from tests.distributed_faults import Share, dies, fails, sleeps
from tests.distributed_jobs import digests

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def alone():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield digests(Share(Group()))
    torch.set_num_threads(threads)


def test_four_processes_give_the_bits_of_one(alone):
    """Mixtures, experts, EM-MLPs and chains, with their starts, by EM, SQUAREM and L-BFGS."""
    assert emnet.distributed.run(digests, Share(), processes=4, threads=1, timeout=120) == alone


def test_two_that_torchrun_starts_again_give_the_bits_of_one(tmp_path, alone):
    """In the first attempt a process dies; the second meets none of its remains in the store."""
    script = tmp_path / "fit.py"
    script.write_text(
        "import json, os\n"
        "import emnet.distributed\n"
        "from tests.distributed_faults import Share\n"
        "with emnet.distributed.session(timeout=60) as group:\n"
        "    if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' and group.rank == 1:\n"
        "        os._exit(3)\n"
        "    group.gathered('here')\n"
        "    from tests.distributed_jobs import digests\n"
        "    print('found', json.dumps([group.size, digests(Share(group))]))\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "--max-restarts", "1", script], capture_output=True, text=True, timeout=300, env=_environment()
    )
    found = [line.removeprefix("found ") for line in done.stdout.splitlines() if line.startswith("found")]
    assert [json.loads(line) for line in found] == [[2, alone]] * 2, done.stderr


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        (dies, ProcessLostError, r"Lost: process 1 of 2 \(killed"),
        (fails, ValueError, "row 7 is odd"),
        (sleeps, ProcessLostError, "process 0 of 2"),
    ],
)
def test_a_process_that_is_lost_is_named(job, error, message, monkeypatch):
    monkeypatch.setattr("emnet.spawning._LAST_WORDS", 2.0)
    with pytest.raises(error, match=message):
        emnet.distributed.run(job, Share(), processes=2, threads=1, timeout=2 if job is sleeps else 60)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sums_travel_as_vectors(case):
    """What comes out of the vectors is the sum: for every model whose statistics are constant in size."""
    model, batch = case.make(0, torch.float64), case.data(0, torch.float64)
    parts = dict(enumerate(model.statistics(part, model.posterior(part)) for part in batch.split(7)))
    if any(part.growing() is not None for part in parts.values()):
        with pytest.raises(InvalidInputError, match="asks for the rows themselves"):
            Group().combined(parts, len(parts))
        return
    whole = model.statistics(batch, model.posterior(batch))
    torch.testing.assert_close(
        model.gradient(Group().combined(parts, len(parts))), model.gradient(whole), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_exchange_adds_blocks_in_their_order(size):
    """With the collectives played by hand, for vectors whose sum depends on the order."""
    vectors = {block: torch.tensor([1e16, 1.0, -1e16, 3.0, 0.1]).double() * (block + 1) ** 3 for block in range(5)}
    in_order = torch.zeros(5).double()
    for block in range(5):
        in_order += vectors[block]
    turns, width = -(-5 // size), -(-5 // size)
    sent = []
    for rank in range(size):
        own = torch.zeros(turns, size * width).double()
        for block in range(rank, 5, size):
            own[block // size, :5] = vectors[block]
        sent.append(own.view(turns, size, width).transpose(0, 1))
    shares = []
    for rank in range(size):
        rows = torch.stack([part[rank] for part in sent]).transpose(0, 1).reshape(-1, width)
        share = torch.zeros(width).double()
        for row in rows:
            share += row
        shares.append(share)
    assert torch.cat(shares)[:5].equal(in_order)


def test_a_machine_of_one_process_needs_nothing():
    with emnet.distributed.session() as group:
        assert (group.rank, group.size, group.is_first) == (0, 1, True)
    assert emnet.distributed.run(len, [1, 2]) == 2
    with pytest.raises(InvalidInputError, match="at least 1"):
        emnet.distributed.run(len, [], processes=0)


def test_two_hosts(tmp_path):
    """Two network namespaces joined by a cable, a torchrun in each."""
    one, other, cable = (f"emnet{os.getpid()}{end}" for end in "abc")
    try:
        for command in (
            f"netns add {one}",
            f"netns add {other}",
            f"link add {cable[-12:]} netns {one} type veth peer name {cable[-12:]} netns {other}",
            *(f"-n {host} addr add 10.97.0.{i}/24 dev {cable[-12:]}" for i, host in ((1, one), (2, other))),
            *(f"-n {host} link set {name} up" for host in (one, other) for name in (cable[-12:], "lo")),
        ):
            subprocess.run(["ip", *command.split()], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        _remove(one, other)
        pytest.skip(f"NO NETWORK NAMESPACES HERE, SO TWO HOSTS ARE NOT TESTED: {error}")
    script = tmp_path / "fit.py"
    script.write_text(_EXCHANGE)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "10.97.0.1:29533", "--rdzv-id", "1", "--local-addr"]
    hosts: list[subprocess.Popen] = []
    try:
        hosts += [
            subprocess.Popen(
                ["ip", "netns", "exec", host, *launcher, f"10.97.0.{i}", "--rdzv-conf", f"is_host={2 - i}", script],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**_environment(), "GLOO_SOCKET_IFNAME": cable[-12:]},
            )
            for i, host in ((1, one), (2, other))
        ]
        ended = [host.communicate(timeout=120) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
        _remove(one, other)
    assert [out.split() for out, _ in ended] == [["5.0"], ["5.0"]], ended


_EXCHANGE = """
import torch
import emnet.distributed
from emnet.factors.tables import Counts
with emnet.distributed.session(timeout=60) as group:
    own = {block: Counts(torch.tensor([block + 1.0]).double()) for block in range(2) if group.owns(block)}
    print(group.combined(own, 2).counts.item() + group.size)
"""


def _remove(*hosts):
    for host in hosts:
        subprocess.run(["ip", "netns", "del", host], capture_output=True)


def _environment():
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
