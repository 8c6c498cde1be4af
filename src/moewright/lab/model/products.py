"""Matrix products by the faster of the libraries that torch brings.

In fp32 on x86 processors torch's own products go to MKL, which keeps to AVX2 on processors that are not Intel's;
oneDNN, in the same torch, uses what the processor has (`python -m tests.benchmarks.bench_parts` prints both).
oneDNN's operator is the one that torch's compiler calls. Everywhere else these functions are torch's products.

All tensors are matrices; m, n, k are their sizes, and the result has the inputs' dtype.
"""

import platform

import torch
from torch import Tensor

ONEDNN_IS_FASTER = (
    platform.machine().lower() in ("x86_64", "amd64")
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)


def _by_onednn(a: Tensor) -> bool:
    return ONEDNN_IS_FASTER and a.dtype == torch.float32 and a.device.type == "cpu" and a.numel() > 0


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(a, b, None, "none", [], "")
    return product


def times_transposed(a: Tensor, b: Tensor) -> Tensor:
    """a (m, k) x b (n, k) transposed: (m, n). A layer's forward product."""
    return _onednn(a, b) if _by_onednn(a) else torch.mm(a, b.t())


def times(a: Tensor, b: Tensor) -> Tensor:
    """a (m, k) x b (k, n): (m, n). The gradient of a layer's input."""
    return _onednn(a, b.t()) if _by_onednn(a) else torch.mm(a, b)


def transposed_times(a: Tensor, b: Tensor) -> Tensor:
    """a (k, m) transposed x b (k, n): (m, n), perhaps a transposed view. The gradient of a layer's weight."""
    if not _by_onednn(a):
        return torch.mm(a.t(), b)
    # oneDNN's operator copies a transposed first matrix, and torch transposes on one thread: so the smaller goes first.
    return _onednn(a.t(), b.t()) if a.shape[1] <= b.shape[1] else _onednn(b.t(), a.t()).t()
