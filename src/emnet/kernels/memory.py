"""How much memory there is, asked before a large allocation instead of found out during it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from emnet.exceptions import InsufficientMemoryError

_ALWAYS_THERE = 2**26
_CGROUP_FILES = (  # (limit, usage) of the container this process runs in, if any
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_bytes(device: torch.device | str = "cpu") -> int:
    """Bytes that can still be allocated on `device`."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min([_system_bytes(), *_container_bytes()])


def require_bytes(needed: int, device: torch.device | str, *, purpose: str, remedy: str) -> None:
    """Raise InsufficientMemoryError unless `needed` bytes are available on `device`."""
    if needed < _ALWAYS_THERE:
        return  # asking costs more than a small E-step
    available = available_bytes(device)
    if needed > available:
        raise InsufficientMemoryError(
            f"{purpose} needs {needed:,} bytes ({needed / 2**30:.1f} GiB), "
            f"but {available:,} bytes ({available / 2**30:.1f} GiB) are available on {device}. {remedy}"
        )


def _system_bytes() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container_bytes() -> list[int]:
    rooms = []
    for limit_file, usage_file in _CGROUP_FILES:
        try:
            limit, usage = Path(limit_file).read_text().strip(), Path(usage_file).read_text().strip()
        except OSError:
            continue
        if limit != "max":
            rooms.append(max(0, int(limit) - int(usage)))
    return rooms
