"""What each backend reaches in matrix products on this machine: measured once, noted in the user's cache.

The note is one file for each processor, torch, number of threads and whatever else the libraries heed, in
`$XDG_CACHE_HOME/moewright` or `~/.cache/moewright`. Processes that begin at once agree: one measures, the others wait
for its note. A note that is damaged is made anew; where none can be written, every process measures for itself.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moewright.errors import UserError
from moewright.experiment.locks import holding
from moewright.experiment.product_backends import (
    BACKENDS,
    PRODUCT_KINDS,
    Backend,
    MeasuredProducts,
    ProductChoice,
    ProductKind,
    ProductRates,
    RateByKind,
    before_choices,
    choose_products,
)
from moewright.experiment.provenance import processor_name
from moewright.experiment.run_folder import RUN, read_run
from moewright.lab.fast.choice import HAS_ONEDNN, using_products
from moewright.lab.fast.products import times, times_transposed, transposed_times
from moewright.sealed_records import digest

HEEDED = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "MKL_DEBUG_CPU_TYPE")
"""Variables that say which instructions the libraries use."""
# Rows, inputs, outputs of a layer: some rows of an expert of a tiny model; those of small ones, and projections.
_SMALL = ((32, 64, 64), (64, 32, 64))
_LARGE = ((512, 256, 256), (1024, 128, 512))
_BF16 = _LARGE[:1]
_TURNS = 9
_BF16_TURNS = 1  # without instructions for it a product takes 30 ms
_WAIT_SECONDS = 20.0
"""For another process that measures; far more than it takes."""
_PAUSE = 0.05


def products_for(folder: Path | None, device: torch.device) -> ProductChoice | None:
    """What computes the products of a folder's run, be it that it begins now or goes on; None on an accelerator.

    Without a folder: of a run that would begin now.

    UserError for a variable MOEWRIGHT_PRODUCTS that names nothing which is here.
    """
    if device.type != "cpu":
        return None
    begun = None
    if folder is not None and (folder / RUN).exists():
        begun = read_run(folder).provenance.machine.products or before_choices(HAS_ONEDNN)
    return choose_products(HAS_ONEDNN, product_rates, begun)


def product_rates(cache: Path | None = None) -> ProductRates:
    """Of this machine with torch's present number of threads: from the note in a folder, or measured and noted.

    `cache`: the folder; None: the user's.
    """
    folder = _users_cache() if cache is None else cache
    about: dict[str, Any] = {
        "processor": processor_name(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "settings": {name: os.environ[name] for name in HEEDED if name in os.environ},
    }
    note = folder / f"products-{digest(about)[:16]}.json"
    noted = _noted(note, about)
    if noted is not None:
        return noted
    end = time.monotonic() + _WAIT_SECONDS
    with suppress(OSError):  # of a folder where nothing can be written
        folder.mkdir(parents=True, exist_ok=True)
        while time.monotonic() < end:
            with holding(note.with_suffix(".lock")) as alone:
                noted = _noted(note, about)  # another may have noted it since
                if noted is not None:
                    return noted
                if alone:
                    return _measure_and_note(note, about)
            time.sleep(_PAUSE)
    return _measure_and_note(note, about)


def _users_cache() -> Path:
    stated = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(stated) if os.path.isabs(stated) else Path.home() / ".cache") / "moewright"
    except RuntimeError:  # nobody knows a home
        return Path("/nonexistent")


def _noted(note: Path, about: dict[str, Any]) -> ProductRates | None:
    try:
        known = MeasuredProducts.read(note)
    except UserError:  # there is none, or it is damaged
        return None
    return known.rates if all(getattr(known, name) == value for name, value in about.items()) else None


def _measure_and_note(note: Path, about: dict[str, Any]) -> ProductRates:
    rates = _measure()
    with suppress(OSError):  # the disk's: others measure for themselves
        MeasuredProducts(**about, rates=rates).write(note)
    return rates


# Measuring

_PRODUCTS: dict[ProductKind, Callable[[Tensor, Tensor], Tensor]] = {
    "forward": times_transposed,
    "input_gradient": times,
    "weight_gradient": transposed_times,
}


def _measure() -> ProductRates:
    backends = BACKENDS if HAS_ONEDNN else BACKENDS[:1]
    return ProductRates(
        small=_rates(_SMALL, torch.float32, backends, _TURNS),
        large=_rates(_LARGE, torch.float32, backends, _TURNS),
        large_bf16=_rates(_BF16, torch.bfloat16, ("torch",), _BF16_TURNS)["torch"],
    )


def _rates(
    shapes: tuple[tuple[int, int, int], ...], dtype: torch.dtype, backends: tuple[Backend, ...], turns: int
) -> dict[Backend, RateByKind]:
    """By backend, over all shapes: each by the least time of several turns, which backends take alternately so that all
    meet the same machine."""
    seconds = {backend: dict.fromkeys(PRODUCT_KINDS, 0.0) for backend in backends}
    for rows, inputs, outputs in shapes:
        x, weight, grad = (torch.randn(*size) for size in ((rows, inputs), (outputs, inputs), (rows, outputs)))
        operands = {"forward": (x, weight), "input_gradient": (grad, weight), "weight_gradient": (grad, x)}
        for kind in PRODUCT_KINDS:
            a, b = (operand.to(dtype) for operand in operands[kind])
            best = dict.fromkeys(backends, float("inf"))
            for turn in range(turns + 1):
                for backend in backends:
                    with using_products(ProductChoice.all(backend, "stated")):
                        start = time.perf_counter()
                        _PRODUCTS[kind](a, b)
                        stop = time.perf_counter()
                    if turn:  # the first builds kernels
                        best[backend] = min(best[backend], stop - start)
            for backend in backends:
                seconds[backend][kind] += max(best[backend], 1e-9)
    flops = sum(2 * rows * inputs * outputs for rows, inputs, outputs in shapes)
    return {
        backend: RateByKind(**{kind: flops / seconds[backend][kind] for kind in PRODUCT_KINDS}) for backend in backends
    }
