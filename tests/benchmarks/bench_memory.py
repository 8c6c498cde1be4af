"""Memory: what a training process held at most, against inspect's estimate and the framework's base.

    python -m tests.benchmarks.bench_memory [--steps 8]

Each line is a process of its own that trains some steps as `moewright train` does. The base is such a process with a
model of 17 thousand parameters on 64 tokens: Python, torch, its libraries and the first of their kernels. Held is what
the process had at most; in use is what glibc's allocator had given out at the end of a forward pass, its holes apart.
"""

import argparse
import ctypes
import multiprocessing
import resource
from typing import Any

from tests.benchmarks.bench_training import LENGTH, SEQUENCES, SHAPES, architecture

TINY = {"hidden": 64, "layers": 1, "experts": 2, "top_k": 1, "expert_size": 8}


def recipe(shape: dict[str, int], precision: str, sequences: int, length: int, recompute: bool) -> Any:
    """The recipe of a process."""
    from moewright.experiment.recipe import Recipe

    model = architecture(shape, dense=False)
    if shape is TINY:
        model = model.model_copy(update={"vocab_size": 64})
    return Recipe.from_dict(
        {
            "architecture": model.to_dict(),
            "data": "none",
            "train_tokens": sequences * length,
            "sequence_length": length,
            "batch_tokens": sequences * length,
            "micro_batch_sequences": sequences,
            "learning_rate": 1e-3,
            "precision": precision,
            "recompute": recompute,
            "balancing": {"losses": [{"weight": 0.01}]},
        }
    )


class _MallocInfo(ctypes.Structure):
    """glibc's struct mallinfo2 (malloc.h)."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names)


def bytes_in_use() -> float:
    """Bytes that the allocator has given out."""
    info = ctypes.CDLL(None).mallinfo2
    info.restype = _MallocInfo
    return float(info().uordblks)


def held(arguments: tuple[dict[str, int], str, int, int, bool, int]) -> tuple[float, float, float]:
    """Bytes held at most, in use at most, and expected, of one process."""
    import torch

    from moewright.experiment.planning import expected_memory
    from moewright.lab.machine import keep_freed_memory
    from moewright.lab.model import Transformer
    from moewright.lab.model.balancing import balance_loss
    from moewright.lab.optimization import build_optimizers, initialize

    *settings, steps = arguments
    keep_freed_memory()
    made = recipe(*settings)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = Transformer(made.architecture, torch.bfloat16 if made.precision == "bf16" else None)
    model.recompute = made.recompute
    initialize(model, made.initialization, 0)
    optimizers = build_optimizers(model, made)
    odds = 1 / torch.arange(1, made.architecture.vocab_size + 1, dtype=torch.float64)
    used = 0.0
    for _ in range(steps):
        tokens = torch.multinomial(odds, made.batch_tokens, True).view(made.micro_batch_sequences, -1)
        loss, routings = model(tokens, targets=tokens, loss_scale=1 / made.batch_tokens)
        used = max(used, bytes_in_use())
        (loss + balance_loss(made.balancing.losses[0], routings, model.moe_layers())).backward()
        optimizers.step(1e-3)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return most, used, float(expected_memory(made).total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    steps = parser.parse_args().steps
    context = multiprocessing.get_context("spawn")

    def run(*arguments: Any) -> tuple[float, float, float]:
        with context.Pool(1) as pool:
            return pool.apply(held, ((*arguments, steps),))

    for precision in ("fp32", "bf16"):
        base, base_used, _ = run(TINY, precision, 1, 64, False)
        print(f"{precision}: base {base / 1e6:.0f} MB")
        for name, shape in SHAPES.items():
            for recompute in (False, True):
                peak, used, expected = run(shape, precision, SEQUENCES, LENGTH, recompute)
                ratios = peak / (base + expected), (used - base_used + base) / (base + expected)
                label = f"{name}{', recomputed' if recompute else ''}"
                print(
                    f"  {label:20s} held {peak / 1e6:5.0f} MB, expected and base {(expected + base) / 1e6:5.0f}: "
                    f"{ratios[0]:.2f} x; in use {ratios[1]:.2f} x",
                    flush=True,
                )


if __name__ == "__main__":
    main()
