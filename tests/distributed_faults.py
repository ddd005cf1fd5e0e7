"""What goes wrong in the processes of tests/test_distributed.py; it imports nothing heavy, as each of them has to."""

from __future__ import annotations

import os
import signal
import time
from typing import Any


class Share:
    """Stands for the group among the arguments of `run`, and gives a stream's share."""

    def __init__(self, group: Any = None):
        self.group = group

    def shared(self, group: Any) -> Share:
        return Share(group)

    def of(self, stream: Any) -> Any:
        return stream.shared(self.group)


def dies(share: Share) -> None:
    """The last process is killed while the others wait for it in an exchange."""
    share.group.gathered("here")
    if share.group.rank == share.group.size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    share.group.gathered("still here")


def fails(share: Share) -> None:
    """The first process meets an error of its own."""
    if share.group.is_first:
        raise ValueError("row 7 is odd")
    share.group.gathered("waiting")


def sleeps(share: Share) -> None:
    """The first process is late by more than the timeout."""
    if share.group.is_first:
        time.sleep(30)  # long enough to be late on a busy machine; who waits for it ends it
    share.group.gathered("waiting")
