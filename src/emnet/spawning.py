"""Processes of this machine that work as a group, and what is raised where one of them fails."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import Any

import torch
import torch.distributed as dist

from emnet.distributed import _AGENT, run
from emnet.exceptions import FitInterrupted, FitTerminated, ProcessLostError
from emnet.interruption import handling

_LAST_WORDS = 10.0  # seconds that the others have to end after one has died


def spawned(
    function: Callable[..., Any], arguments: tuple[Any, ...], processes: int, threads: int | None, timeout: float
) -> Any:
    """function(*arguments) in so many new processes; the first one's result."""
    store = dist.TCPStore("localhost", 0, processes, True, wait_for_workers=False)
    context = multiprocessing.get_context("spawn")
    each = threads or max(1, (os.cpu_count() or 1) // processes)
    pipes, workers = [], []
    for rank in range(processes):
        here, there = context.Pipe()
        task = (there, rank, processes, store.port, each, timeout, function, arguments)
        worker = context.Process(target=_work, args=task, daemon=True)
        worker.start()
        there.close()
        pipes.append(here)
        workers.append(worker)
    try:
        with _passing_on(workers):
            return _result(pipes)
    finally:
        for pipe in pipes:
            pipe.close()
        for worker in workers:
            worker.join(_LAST_WORDS)
            worker.kill()


@contextmanager
def _passing_on(workers: list[Any]) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the processes' iteration, all at the same; then they mean what they do without `run`."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        asked.append(number)
        for worker in workers:
            worker.terminate()

    with handling(ask):
        try:
            yield
        except FitTerminated as end:
            if signal.SIGINT in asked:
                raise FitInterrupted(end.fit, end.advice) from None
            raise
        except ProcessLostError:
            if not asked:
                raise
    if asked:
        signal.raise_signal(asked[0])


def _result(pipes: list[Any]) -> Any:
    """What the first process gives, once all have ended well."""
    found: dict[int, Any] = {}
    failed: dict[int, BaseException] = {}
    waiting: dict[Any, int] = {pipe: rank for rank, pipe in enumerate(pipes)}
    while waiting:
        ready: list[Any] = wait(list(waiting), _LAST_WORDS if failed else None)
        if not ready:
            break
        for pipe in ready:
            rank = waiting.pop(pipe)
            try:
                ended_well, value = pipe.recv()
            except EOFError:
                ended_well, value = False, ProcessLostError(f"Lost: process {rank} of {len(pipes)} (killed).")
            if ended_well:
                found[rank] = value
            else:
                failed[rank] = value
    if failed:
        by_rank = [failed[rank] for rank in sorted(failed)]  # the first one's has what the files are called
        raise next((error for error in by_rank if not isinstance(error, ProcessLostError)), by_rank[0])
    return found[0]


def _work(
    pipe: Any,
    rank: int,
    size: int,
    port: int,
    threads: int,
    timeout: float,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), _AGENT: "True"}
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process passes it on
    try:
        found = run(function, *arguments, timeout=timeout)
        pipe.send((True, found if rank == 0 else None))
    except (Exception, FitInterrupted) as error:
        pipe.send((False, error))
    with suppress(EOFError, OSError):
        pipe.recv()  # tensors are passed in shared memory, which lives as long as its maker: until the pipe is closed
