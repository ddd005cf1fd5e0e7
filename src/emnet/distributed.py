"""Many processes: how they meet, how the sums of their blocks become one sum, and what is said where one is lost.

PyTorch's own distributed package does the work (gloo on CPUs, NCCL between GPUs); torchrun, or `run` on one machine,
starts the processes. Each takes the blocks of a stream whose number is its rank, modulo the number of processes, and
block sums are added in the order of the blocks: the result has the same bits for any number of processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from emnet.exceptions import InvalidInputError, ProcessLostError
from emnet.statistics import Statistics, require_constant_size

S = TypeVar("S", bound=Statistics)
_ROLL_CALL = 3.0  # seconds in which a process that lives says so
_PAUSE = 0.05
_AGENT = "TORCHELASTIC_USE_AGENT_STORE"  # set where the store lives outside the workers, as torchrun's does
_RESTART = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")


@dataclass(frozen=True)
class Group:
    """The processes of a fit, and which of them this one is; `Group()` is one process by itself."""

    rank: int = 0
    size: int = 1
    store: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and lines."""
        return self.rank == 0

    @property
    def rank_of_many(self) -> int | None:
        """The rank; None of a process by itself."""
        return self.rank if self.size > 1 else None

    def owns(self, block: int) -> bool:
        return block % self.size == self.rank

    def combined(self, sums: Mapping[int, S], blocks: int) -> S:
        """The sum of the blocks of all processes, in the blocks' order, the same bits in each.

        Of vectors of length L every process is sent all blocks' rows of L/P columns, adds them up and gives the result
        to all: B/P + 1 vectors of traffic a process, two where each has one block, as the best all-reduce.
        """
        require_constant_size(next(iter(sums.values())))
        sums = self._in_one_frame(sums)
        like = next(iter(sums.values()))
        vector = self._summed({block: _flat(part.numbers()) for block, part in sums.items()}, blocks)
        return like.with_numbers(iter(vector.split([tensor.numel() for tensor in like.numbers()])))

    def added(self, own: S) -> S:
        """The sum of what every process has one of, by one all-reduce, in the widest of its types.

        The same bits in each process, but not for any number of them: in which order it is added the backend decides.
        """
        require_constant_size(own)
        own = self._in_one_frame({self.rank: own})[self.rank]
        numbers = own.numbers()
        vector = _flat(numbers, reduce(torch.promote_types, (tensor.dtype for tensor in numbers)))
        if self.size > 1:
            with self._guarded():
                dist.all_reduce(vector)
        return own.with_numbers(iter(vector.split([tensor.numel() for tensor in numbers])))

    def largest(self, own: int) -> int:
        """Of what the processes have."""
        found = torch.tensor(own)
        if self.size > 1:
            with self._guarded():
                dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def _in_one_frame(self, sums: Mapping[int, S]) -> dict[int, S]:
        """The sums about the same origins: where blocks differ one of them has 0, and the other's is taken."""
        frames = {block: part.frames() for block, part in sums.items()}
        first = next(iter(frames.values()))
        if not first:
            return dict(sums)
        own = torch.stack([_flat(frame) for frame in frames.values()])
        extremes = torch.cat((own.amax(0), -own.amin(0)))
        if self.size > 1:
            with self._guarded():
                dist.all_reduce(extremes, dist.ReduceOp.MAX)
        top, bottom = extremes.view(2, -1)
        agreed = torch.where(top != 0, top, -bottom).split([tensor.numel() for tensor in first])
        return {
            block: part.in_frame(iter([new.view_as(old) for new, old in zip(agreed, frames[block], strict=True)]))
            for block, part in sums.items()
        }

    def _summed(self, parts: Mapping[int, Tensor], blocks: int) -> Tensor:
        like = next(iter(parts.values()))
        turns, width = -(-blocks // self.size), -(-len(like) // self.size)
        own = like.new_zeros(turns, self.size * width)
        for block, vector in parts.items():
            own[block // self.size, : len(vector)] = vector
        rows = own if self.size == 1 else self._exchanged(own.view(turns, self.size, width))
        share = own.new_zeros(width)
        for row in rows:
            share += row
        return (share if self.size == 1 else self._joined(share))[: len(like)]

    def _exchanged(self, own: Tensor) -> Tensor:
        """Own rows by owner of the columns, (turns, P, width) → all rows of own columns, (turns P, width)."""
        sent = own.transpose(0, 1).contiguous()
        received = torch.empty_like(sent)
        with self._guarded():
            dist.all_to_all_single(received, sent)
        return received.transpose(0, 1).reshape(-1, own.shape[2])

    def _joined(self, share: Tensor) -> Tensor:
        whole = share.new_empty(self.size * len(share))
        renamed = getattr(dist, "all_gather_single", None)  # by a torch that warns of the old name at every call
        with self._guarded():
            (renamed or dist.all_gather_into_tensor)(whole, share)
        return whole

    def from_first(self, own: Tensor) -> Tensor:
        """What the first process has, in all."""
        found = own.clone()
        if self.size > 1:
            with self._guarded():
                dist.broadcast(found, 0)
        return found

    def gathered(self, value: Any) -> list[Any]:
        """What every process has, by rank: for what is small and asked once."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with self._guarded():
            dist.all_gather_object(found, value)
        return found

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """An exchange that fails says which process is gone, and of what it died where it could say so."""
        try:
            yield
        except RuntimeError as error:  # gloo's and NCCL's, timeouts included
            raise ProcessLostError(f"{self._lost()} The exchange ended with: {error}") from error

    def _lost(self) -> str:
        try:
            missing = self._missing()
            words = [f"process {rank} of {self.size}{self._last_words(rank)}" for rank in missing]
        except (RuntimeError, ConnectionError):
            return f"The process that keeps the store is lost, as process {self.rank} of {self.size} found."
        return f"Lost: {', '.join(words)}." if words else "An exchange did not end, though all processes answer."

    def _missing(self) -> list[int]:
        """Who does not answer the roll call."""
        self.store.set(f"alive/{self.rank}", "1")
        deadline, missing = time.monotonic() + _ROLL_CALL, list(range(self.size))
        while missing and time.monotonic() < deadline:
            missing = [rank for rank in missing if not self.store.check([f"alive/{rank}"])]
            time.sleep(_PAUSE if missing else 0.0)
        return missing

    def _last_words(self, rank: int) -> str:
        key = f"failed/{rank}"
        return f" ({self.store.get(key).decode()})" if self.store.check([key]) else " (killed, or cut off)"


ALONE = Group()


@contextmanager
def session(timeout: float = 600.0) -> Iterator[Group]:
    """The group that torchrun started this process in, by its environment; without one, this process by itself.

    Parameters
    ----------
    timeout : seconds after which an exchange that others do not join is an error.
    """
    if "RANK" not in os.environ:
        yield ALONE
        return
    if dist.is_initialized():  # by the caller, who also ends it
        yield Group(dist.get_rank(), dist.get_world_size(), dist.distributed_c10d._get_default_store())
        return
    group = _joined(timeout)
    try:
        yield group
        with group._guarded():
            dist.barrier()
    except BaseException as error:
        if not isinstance(error, ProcessLostError):
            group.store.set(f"failed/{group.rank}", f"{type(error).__name__}: {error}")
        raise
    finally:
        dist.destroy_process_group()


def _joined(timeout: float) -> Group:
    rank, size, limit = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), timedelta(seconds=timeout)
    is_host = rank == 0 and os.environ.get(_AGENT) != "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, size, is_host, timeout=limit)
    # A restart gets the same store: without a prefix of its own it would meet the dead of the last attempt.
    prefixed = dist.PrefixStore("/".join(["emnet", *(os.environ.get(name, "") for name in _RESTART)]), store)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, store=prefixed, rank=rank, world_size=size, timeout=limit)
    return Group(rank, size, prefixed)


def run(
    function: Callable[..., Any],
    *arguments: Any,
    processes: int | None = None,
    threads: int | None = None,
    timeout: float = 600.0,
) -> Any:
    """function(*arguments) in every process, each with its share of the streams among the arguments.

    ``run(model.fit, emnet.stream("rows/*.parquet"), processes=4)`` starts four on this machine and gives the first
    one's result, the fitted model; in a script it stands under ``if __name__ == "__main__":``. In a process that
    torchrun started it joins the others, and every one of them gets the result.

    Parameters
    ----------
    processes : to start here; None for those that torchrun started, or this one by itself.
    threads : of each; None shares the cores out. Bits are the same for any number of processes of as many threads.
    timeout : seconds after which an exchange that others do not join is an error.

    Raises
    ------
    ProcessLostError : a process died or did not answer; names it. An error within a process is raised as it is.
    """
    if processes is not None and "RANK" not in os.environ:
        if processes < 1:
            raise InvalidInputError(f"processes must be at least 1; got {processes}.")
        from emnet.spawning import spawned

        return spawned(function, arguments, processes, threads, timeout)
    if threads is not None:
        torch.set_num_threads(threads)
    with session(timeout) as group:
        return function(*(shared(argument, group) for argument in arguments))


def shared(argument: Any, group: Group) -> Any:
    """A process's share of a stream; anything else as it is."""
    share = getattr(argument, "shared", None)
    return share(group) if callable(share) else argument


def _flat(tensors: list[Tensor], dtype: torch.dtype = torch.float64) -> Tensor:
    place = tensors[-1].device  # of the statistics, where the rows are
    return torch.cat([tensor.detach().to(place, dtype).flatten() for tensor in tensors])
