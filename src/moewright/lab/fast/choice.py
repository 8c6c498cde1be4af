"""Which implementation of an operation runs: decided here, and nowhere else.

    operation           the twin runs                   what it is better at
    linear              everywhere                      keeps x as it came; the products of the backend that was chosen
    rms_norm            everywhere                      keeps x and one number of each row
    rotate              everywhere                      writes its result once, keeps nothing of x
    activate            everywhere                      keeps the first product, and computes the rest again
    head_loss           everywhere                      never holds the logits of more than `LOGIT_ROWS` tokens
    causal_attention    on processors                   blocks of scores stay in a core's cache
    expert_ffn          on processors                   an expert at a time stays in it, and less is kept

Twins that run everywhere save memory on any device. On accelerators attention and experts are torch's own kernels.
`implementation` overrides this table, for tests and benchmarks.
"""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import update_wrapper
from typing import Generic, Literal, NamedTuple, ParamSpec

import torch
from torch import Tensor

from moewright.experiment.product_backends import ProductChoice, ProductKind

Implementation = Literal["plain", "fast"]
Arguments = ParamSpec("Arguments")

_forced: ContextVar[Implementation | None] = ContextVar("implementation", default=None)


@contextmanager
def implementation(kind: Implementation | None) -> Iterator[None]:
    """Run every operation as it is defined ("plain"), or by its twin ("fast"), whatever the table says; None: by it."""
    before = _forced.set(kind)
    try:
        yield
    finally:
        _forced.reset(before)


class Operation(Generic[Arguments]):
    """An operation's definition with its twin; a call runs one of them."""

    __name__: str
    """Of the definition."""

    def __init__(
        self, plain: Callable[Arguments, Tensor], fast: Callable[Arguments, Tensor], runs: Callable[[Tensor], bool]
    ):
        self.plain, self.fast, self.runs = plain, fast, runs
        update_wrapper(self, plain)

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
        kind = _forced.get()
        if kind is None:
            first = args[0]
            assert isinstance(first, Tensor), "operations take their input first"
            kind = "fast" if self.runs(first) else "plain"
        return self.fast(*args, **kwargs) if kind == "fast" else self.plain(*args, **kwargs)


def has_twin(
    fast: Callable[Arguments, Tensor], *, runs: Callable[[Tensor], bool]
) -> Callable[[Callable[Arguments, Tensor]], Operation[Arguments]]:
    """Decorates a definition: `fast` computes the same, and runs for inputs of which `runs` is true."""
    return lambda plain: Operation(plain, fast, runs)


def everywhere(x: Tensor) -> bool:
    """For any input."""
    return True


def on_processors(x: Tensor) -> bool:
    """For inputs in a processor's memory."""
    return x.device.type == "cpu"


HAS_ONEDNN = (
    platform.machine().lower() in ("x86_64", "amd64")
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
"""Whether torch can be asked for oneDNN's products in fp32, where its own go to another library."""
SMALL = 2**22
"""Multiplications of a matrix product. oneDNN's operator takes some 30 microseconds more for a call than torch's own,
about as long as a core takes for so many."""


class _Chosen(NamedTuple):
    """What of a choice every product asks for."""

    backends: ProductChoice | None
    """None: torch's own for all."""
    by_groups: bool


_AS_RUNS_BEGIN = _Chosen(None, by_groups=True)
_chosen: ContextVar[_Chosen] = ContextVar("products", default=_AS_RUNS_BEGIN)


@contextmanager
def using_products(choice: ProductChoice | None) -> Iterator[None]:
    """Within the block matrix products go to the backends of a choice, and loops as it says; None, as outside: to
    torch's own, and as runs begin today."""
    if choice is None:
        chosen = _AS_RUNS_BEGIN
    else:
        chosen = _Chosen(None if choice.is_torchs else choice, choice.loops == "grouped")
    before = _chosen.set(chosen)
    try:
        yield
    finally:
        _chosen.reset(before)


def by_onednn(kind: ProductKind, a: Tensor, multiplications: int) -> bool:
    """Whether a product whose first matrix is `a` goes to oneDNN rather than to torch's own."""
    backends = _chosen.get().backends
    if backends is None or a.dtype != torch.float32 or a.device.type != "cpu" or multiplications == 0:
        return False
    return getattr(backends.small if multiplications < SMALL else backends.large, kind) == "onednn"


def goes_by_groups() -> bool:
    """Whether the loops over heads and experts take several at a time."""
    return _chosen.get().by_groups


def rounds_rows_up(x: Tensor) -> bool:
    """Whether experts' numbers of such rows are rounded up: where products go to oneDNN, which builds a kernel for
    every new number, and in runs that began before loops went by groups."""
    chosen = _chosen.get()
    return x.dtype != torch.float32 or chosen.backends is not None or not chosen.by_groups


def by_grouped_mm(rows: Tensor, weights: Tensor) -> bool:
    """Whether torch's grouped product takes these rows (R, k) and weights (E, n, k): it wants strides of 16 bytes."""
    aligned = all(size * rows.element_size() % 16 == 0 for size in weights.shape[1:])
    return aligned and rows.dtype in (torch.float32, torch.bfloat16, torch.float16) and len(rows) > 0
