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

        return part.stop

    assert threads.in_threads(run, PARTS) == [part.stop for part in PARTS]
    assert sorted(done) == [part.start for part in PARTS]
    assert len(who) == 2


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("learns", [True, False])
def test_threads_have_the_modes_of_who_asks(two_threads, inference, learns):
    def modes(part):
        time.sleep(0.001)
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with torch.inference_mode(inference), torch.set_grad_enabled(learns):
        assert set(threads.in_threads(modes, PARTS)) == {(inference, learns)}


def test_operations_of_pytorch_go_to_its_own_team_only(two_threads):
    def who(part):
        time.sleep(0.001)
        return threading.get_ident()

    team = threads._team() is not None
    assert len(set(threads.in_threads(who, PARTS, compiled=False))) == (2 if team else 1)


@pytest.mark.parametrize("error", [ValueError("part 9"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_what_a_part_raises_comes_out(two_threads, error):
    def run(part):
        if part.start == 9:
            raise error

    with pytest.raises(type(error)):
        threads.in_threads(run, PARTS)
