"""What comes next is made on a thread while what came is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_WAIT = 0.1  # seconds after which a thread that cannot go on sees whether anybody still wants it to
_END = object()


def prefetched(items: Iterable[T], depth: int) -> Iterator[T]:
    """The items in order, of which up to `depth` wait to be taken; an error comes where its item would have."""
    if depth < 1:
        yield from items
        return
    ready: queue.Queue[Any] = queue.Queue(depth)
    unwanted = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, ready, unwanted), daemon=True, name="emnet-prefetch")
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        unwanted.set()
        thread.join()


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


def _fill(items: Iterable[Any], ready: queue.Queue[Any], unwanted: threading.Event) -> None:
    try:
        for item in items:
            if not _put(item, ready, unwanted):
                return
        _put(_END, ready, unwanted)
    except BaseException as error:
        _put(_Failure(error), ready, unwanted)


def _put(item: Any, ready: queue.Queue[Any], unwanted: threading.Event) -> bool:
    """Whether it was taken before nobody wanted more."""
    while not unwanted.is_set():
        try:
            ready.put(item, timeout=_WAIT)
            return True
        except queue.Full:
            continue
    return False
