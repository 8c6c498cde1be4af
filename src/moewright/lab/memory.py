"""Memory: what there is for a run, and what it took; and keeping what was freed."""

import ctypes
import os
import resource
import sys

import torch

from moewright.experiment.planning import free_host_memory

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD = 64 * 2**20


def keep_freed_memory() -> bool:
    """Let this process's allocator keep what is freed, instead of asking the system for fresh pages at every step.

    Large tensors are otherwise mapped and unmapped, and every page is cleared again when it is first touched. glibc
    only; elsewhere nothing happens. Returns whether it took effect.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _TOP_PAD))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)


def free_memory(device: torch.device) -> float | None:
    """Free bytes of the device for this process; None where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    there = free_host_memory()
    # The processes of a machine share it.
    return None if there is None else there / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process held at once, the framework's included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform.startswith("linux") else 1)
