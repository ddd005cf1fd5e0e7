"""Many processes: the same bits for any number of them, and words for what goes wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import emnet.distributed
from emnet.cli import cli
from emnet.distributed import Group
from emnet.estimators.streaming import require_same_pieces
from emnet.exceptions import InvalidInputError, ProcessLostError
from tests.cases import CASES
from tests.cases.fits import digest
from tests.distributed_faults import Share, dies, fails, sleeps
from tests.distributed_jobs import asked_for_the_end, autoencoders, digests

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


def test_two_processes_train_autoencoders_as_one(tmp_path):
    """Without draws and with all rows in a mini-batch the same parameters.

    Else held-out evidence within 0.25 nats a row: training raises it by 1.5, and seeds spread it by 0.06.
    """
    two = emnet.distributed.run(autoencoders, Share(), f"{tmp_path}/2.ckpt", processes=2, threads=1, timeout=120)
    one = autoencoders(Share(Group()), f"{tmp_path}/1.ckpt")
    assert two.pop("taken up")["same"] == [True, True]
    assert one.pop("taken up")["same"] == [True]
    for name, found in two.items():
        bits, evidence, n_iter = found["bits"][0]
        assert found["bits"] == [(bits, evidence, n_iter)] * 2, name
        if name.startswith("whole"):
            np.testing.assert_allclose(found["parameters"], one[name]["parameters"], rtol=1e-9, atol=1e-9)
            assert found["log_evidence"] == pytest.approx(one[name]["log_evidence"], rel=1e-9)
        assert found["held_out"] == pytest.approx(one[name]["held_out"], abs=0.25), name


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
        "    found = json.dumps([group.size, digests(Share(group))])\n"
        "    open(f'{os.path.dirname(__file__)}/found{group.rank}', 'w').write(found)\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "--max-restarts", "1", script], capture_output=True, text=True, timeout=300, env=_environment()
    )
    found = [path.read_text() for path in tmp_path.glob("found*")]
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


def test_a_signal_to_one_process_ends_all_after_the_same_iteration(tmp_path):
    found = emnet.distributed.run(
        asked_for_the_end, Share(), f"{tmp_path}/fit.ckpt", processes=2, threads=1, timeout=60
    )
    assert found == [(143, 3, True)] * 2


def test_a_signal_to_the_process_that_started_the_others_ends_them(tmp_path):
    """After an iteration, with a checkpoint, which a line tells of; the fit is not told as lost."""
    script = tmp_path / "fit.py"
    script.write_text(
        "import sys\n"
        "import emnet.distributed\n"
        "from tests.distributed_faults import Share\n"
        "from tests.distributed_jobs import takes_long\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        emnet.distributed.run(takes_long, Share(), sys.argv[1], processes=2, threads=1, timeout=60)\n"
        "    except emnet.FitInterrupted as end:\n"
        "        print(end)\n"
        "        sys.exit(end.code)\n"
    )
    path = tmp_path / "fit.ckpt"
    fit = subprocess.Popen(
        [sys.executable, script, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
    )
    begun = time.monotonic()
    while not (tmp_path / "fit.ckpt.begun").exists() and fit.poll() is None and time.monotonic() < begun + 60:
        time.sleep(0.05)
    fit.send_signal(signal.SIGINT)
    said, complaints = fit.communicate(timeout=60)
    assert (fit.returncode, path.exists()) == (130, True), complaints
    assert said.endswith("fit with resume=True, goes on.\n")


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


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Four CSV files, a category in the last one alone, and the model of them that one process fits."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    for number in range(4):
        states = rng.integers(3, size=60)
        rows = [
            f"{'' if number == 2 and i == 7 else round(170 + 9 * z + rng.normal(), 4)}"
            f",{60 + 20 * (z == 1) + rng.normal():.5f},{['red', 'green', 'violet' if number == 3 else 'blue'][z]}"
            for i, z in enumerate(states)
        ]
        (folder / f"{number}.csv").write_text("height,weight,color\n" + "\n".join(rows) + "\n")
    done = CliRunner().invoke(cli, ["fit", f"{folder}/*.csv", *FITTED, "--out", str(folder / "one.emnet")])
    assert done.exit_code == 0, done.output
    return folder


FITTED = ["--model", "gmm", "--size", "3"]
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]


def same(one, other):
    models = [emnet.load(path) for path in (one, other)]
    return models[0].schema == models[1].schema and digest(models[0].estimator) == digest(models[1].estimator)


def test_the_command_fits_with_two_processes_and_goes_on_where_one_died(shards, tmp_path):
    """In the first attempt the second process is killed after some iterations; torchrun starts both again."""
    script = tmp_path / "emnet_that_dies.py"
    script.write_text(
        "import os, signal\n"
        "from emnet.algorithms.base import _Loop\n"
        "from emnet.cli import main\n"
        "record, steps = _Loop._record, []\n"
        "def counted(loop, progress):\n"
        "    record(loop, progress)\n"
        "    steps.append(loop.history[-1].number)\n"
        "    if (os.environ['TORCHELASTIC_RESTART_COUNT'], os.environ['RANK'], len(steps)) == ('0', '1', 5):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "_Loop._record = counted\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(f\"process {os.environ['RANK']} began at {steps[0]}\")\n"
    )
    kept = ["--checkpoint", tmp_path / "fit.ckpt", "--checkpoint-every", "0", "--timeout", "60"]
    command = ["fit", f"{shards}/*.csv", *FITTED, "--out", tmp_path / "two.emnet", *kept]
    done = subprocess.run(
        [*LAUNCHER, "2", "--standalone", "--max-restarts", "1", script, *command],
        capture_output=True,
        text=True,
        timeout=300,
        env=_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert same(shards / "one.emnet", tmp_path / "two.emnet")
    assert done.stdout.count("Saved to") == 1
    began = re.findall(r"process 1 began at (\d+)", done.stdout)  # the one that chooses no model before
    assert [number > "0" for number in began] == [True], done.stdout


def test_an_error_of_one_process_ends_all_with_its_name(shards, tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.csv").write_bytes((shards / f"{number}.csv").read_bytes())
    with (tmp_path / "3.csv").open("a") as file:
        file.write("1,2\n")
    done = subprocess.run(
        [*LAUNCHER, "2", "--standalone", "-m", "emnet", "fit", f"{tmp_path}/*.csv", *FITTED, "--timeout", "60"],
        capture_output=True,
        text=True,
        timeout=300,
        env=_environment(),
    )
    assert done.returncode != 0
    assert re.search(r"process 1 of 2: .*3\.csv: the number of cells in line 62 is 2, in the header 3", done.stderr)


def test_a_shard_that_one_process_does_not_see_is_named():
    with pytest.raises(InvalidInputError, match=r"b\.csv: process 1 of 2 does not find it"):
        require_same_pieces(Seen(["a.csv", "b.csv"], ["a.csv"]))
    with pytest.raises(InvalidInputError, match=r"c\.csv: process 0 of 2 does not find it"):
        require_same_pieces(Seen(["a.csv"], ["a.csv", "c.csv"]))
    require_same_pieces(Seen(["a.csv"], ["a.csv"]))


class Seen:
    """Stands for a stream of two processes, by what each of them finds."""

    def __init__(self, *labels):
        self.own, self.group, self.size = labels, self, len(labels)

    def labels(self):
        return self.own[0]

    def gathered(self, value):
        return list(self.own)


def test_files_are_their_process_s_own(shards):
    """Of four files and two processes each opens two."""
    for rank in range(2):
        rows = emnet.stream(f"{shards}/*.csv", columns=["weight"]).shared(Group(rank, 2))
        assert {chunk.label.split(",")[0][-5] for chunk in rows} == {str(rank), str(rank + 2)}


def test_two_hosts(shards):
    """Two network namespaces joined by a cable, a torchrun in each, and the command."""
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
    launcher = [*LAUNCHER, "1", "--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "10.97.0.1:29533"]
    launcher += ["--rdzv-id", "1", "--local-addr"]
    fit = ["-m", "emnet", "fit", f"{shards}/*.csv", *FITTED, "--out", f"{shards}/hosts.emnet", "--timeout", "60"]
    hosts: list[subprocess.Popen] = []
    try:
        hosts += [
            subprocess.Popen(
                ["ip", "netns", "exec", host, *launcher, f"10.97.0.{i}", "--rdzv-conf", f"is_host={2 - i}", *fit],
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
    assert [host.returncode for host in hosts] == [0, 0], ended
    assert sum(out.count("Saved to") for out, _ in ended) == 1
    assert same(shards / "one.emnet", shards / "hosts.emnet")


def _remove(*hosts):
    for host in hosts:
        subprocess.run(["ip", "netns", "del", host], capture_output=True)


def _environment():
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
