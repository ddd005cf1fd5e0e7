"""Parts of a kernel over threads: each runs once, on PyTorch's own team or a pool, and what fails is heard of."""

import threading
import time

import pytest
import torch

from emnet.kernels import threads

PARTS = [slice(first, first + 3) for first in range(0, 60, 3)]


@pytest.fixture(params=["team", "pool"])
def two_threads(request, monkeypatch):
    if request.param == "pool":
        monkeypatch.setattr(threads, "_team", lambda: None)
    elif threads._team() is None:
        pytest.skip("PyTorch has no GNU OpenMP here")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_every_part_runs_once_and_two_threads_share_them(two_threads):
    done, who = [], set()

    def run(part):
        done.append(part.start)
        who.add(threading.get_ident())
        time.sleep(0.001)

    threads.in_threads(run, PARTS)
    assert sorted(done) == [part.start for part in PARTS]
    assert len(who) == 2


@pytest.mark.parametrize("error", [ValueError("part 9"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_what_a_part_raises_comes_out(two_threads, error):
    def run(part):
        if part.start == 9:
            raise error

    with pytest.raises(type(error)):
        threads.in_threads(run, PARTS)
