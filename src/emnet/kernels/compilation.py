"""Kernels that Numba compiles: imported when first used, where it is installed."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from importlib import import_module
from typing import Any

_log = logging.getLogger("emnet")


@lru_cache
def compiled(module: str, what: str) -> Any:
    """The module of compiled passes, None without Numba; a log line says what took so long the first time."""
    began = time.perf_counter()
    try:
        passes, tools = import_module(module), import_module("emnet.kernels.tools_numba")
    except ImportError:
        return None
    if tools.was_compiled(module):
        seconds = time.perf_counter() - began
        _log.info("Compiled %s for this machine in %.1f s; the next time it comes from a cache.", what, seconds)
    return passes
