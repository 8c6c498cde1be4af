"""What the machine can do in matrix products, and what share of it training reaches."""

import time

import torch

from moewright.lab.fast.products import times_transposed

_SIZE = 2048
_SECONDS = 0.4


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of square products of size 2048: the best of several, by torch's product or the one that training uses."""
    a, b = (torch.randn(_SIZE, _SIZE, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for product in (times_transposed, lambda x, y: torch.mm(x, y.t())):
        product(a, b)  # builds kernels
        end = time.perf_counter() + _SECONDS
        while True:
            _synchronize(device)
            start = time.perf_counter()
            product(a, b)
            _synchronize(device)
            stop = time.perf_counter()
            best = min(best, stop - start)
            if stop > end:
                break
    return 2 * _SIZE**3 / best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
