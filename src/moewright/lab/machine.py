"""The machine under a run: its threads, its memory, and what it can do in matrix products."""

import ctypes
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from moewright.experiment.planning import free_host_memory
from moewright.experiment.product_backends import BACKENDS, ProductChoice
from moewright.experiment.threads import ThreadChoice, choose_threads, processes_here
from moewright.lab.fast.choice import HAS_ONEDNN, using_products
from moewright.lab.fast.products import times_transposed

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD = 64 * 2**20
# Of the square products that are timed; and for how long each is, which larger ones that take longer are not.
_SIZES = (512, 1024, 2048, 4096)
_SECONDS = 0.04


def use_threads(count: int) -> None:
    """Of this process, for torch's operators."""
    torch.set_num_threads(count)


@contextmanager
def using_threads(begun: int | None) -> Iterator[ThreadChoice]:
    """Within the block torch computes on as many threads as `choose_threads` says.

    `begun`: those that a run began with which now goes on. Outside the block the number is what it was.
    """
    before = torch.get_num_threads()
    choice = choose_threads(before, begun)
    torch.set_num_threads(choice.threads)
    try:
        yield choice
    finally:
        torch.set_num_threads(before)


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
    return None if there is None else there / processes_here()


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process held at once, the framework's included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform.startswith("linux") else 1)


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of square products, the best of several, of all sizes that take no longer than the measuring, and of every
    backend that there is.

    Utilization is measured against it: what training reaches of what this machine does, not of a data sheet.
    """
    has_choice = HAS_ONEDNN and device.type == "cpu" and dtype == torch.float32
    best = 0.0
    for size in _SIZES:
        if best and 2 * size**3 / best > _SECONDS:
            break
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        for backend in BACKENDS if has_choice else BACKENDS[:1]:
            with using_products(ProductChoice.all(backend, "stated")):
                best = max(best, 2 * size**3 / _least_seconds(a, b))
    return best


def _least_seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of one product, over as many as there is time for."""
    times_transposed(a, b)  # builds kernels
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while True:
        _synchronize(a.device)
        start = time.perf_counter()
        times_transposed(a, b)
        _synchronize(a.device)
        stop = time.perf_counter()
        best = min(best, stop - start)
        if stop > end:
            return best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
