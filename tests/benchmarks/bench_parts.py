"""Where a training step's time goes: each part of the lab's model alone, beside what else could do it, and the profile.

    python -m tests.benchmarks.bench_parts [--precision fp32] [--shape medium]

Parts are run forward and backward, each as plain torch defines it and by its twin: the fastest of several turns, in
which contenders alternate so that both meet the same machine. The profile is torch's, of one step of
`bench_training`'s shape: operators by their own time.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from moewright.lab.fast import products
from moewright.lab.fast.choice import Operation
from moewright.lab.machine import keep_freed_memory
from moewright.lab.model.moe import sort_rows
from moewright.lab.model.operations import causal_attention, expert_ffn, head_loss, linear, rms_norm
from tests.benchmarks.bench_training import HEAD_DIM, LENGTH, SEQUENCES, SHAPES, VOCABULARY, lab_step

TURNS = 12
# Rows, outputs, inputs: projections, an expert's rows, a head's scores and values.
PRODUCTS = ((4096, 768, 256), (4096, 256, 256), (512, 256, 256), (512, 256, 128), (512, 512, 64), (512, 64, 512))


def fastest(contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Milliseconds of each, the least of several turns after a few to warm up."""
    best = dict.fromkeys(contenders, float("inf"))
    for turn in range(TURNS):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if turn > 2:
                best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def both_ways(forward: Callable[[], Tensor], inputs: list[Tensor]) -> Callable[[], None]:
    """Forward and backward, gradients dropped."""
    grad = torch.randn_like(forward())

    def run() -> None:
        forward().backward(grad)
        for tensor in inputs:
            tensor.grad = None

    return run


def both_products(x: Tensor, w: Tensor, g: Tensor) -> dict[str, Callable[[], object]]:
    """The three products of a layer, from its inputs, weights and output's gradient: the lab's and torch's."""
    return {
        "forward": lambda: products.times_transposed(x, w),
        "forward torch": lambda: torch.mm(x, w.t()),
        "input gradient": lambda: products.times(g, w),
        "input gradient torch": lambda: torch.mm(g, w),
        "weight gradient": lambda: products.transposed_times(g, x),
        "weight gradient torch": lambda: torch.mm(g.t(), x),
    }


def compare_products(dtype: torch.dtype) -> None:
    """GFLOP/s of the three products of a layer by torch and by what the lab uses."""
    print("products, GFLOP/s: the lab's / torch's")
    for rows, outputs, inputs in PRODUCTS:
        x, w, g = (torch.randn(*s).to(dtype) for s in ((rows, inputs), (outputs, inputs), (rows, outputs)))
        rates = {name: 2e-6 * rows * outputs * inputs / ms for name, ms in fastest(both_products(x, w, g)).items()}
        cells = [
            f"{name} {rates[name]:.0f} / {rates[f'{name} torch']:.0f}"
            for name in ("forward", "input gradient", "weight gradient")
        ]
        print(f"  {rows} x {outputs} x {inputs}: " + ", ".join(cells))


def compare_parts(dtype: torch.dtype, shape: dict[str, int]) -> None:
    """Milliseconds of the parts of one layer, and of the head."""
    d, heads = shape["hidden"], shape["hidden"] // HEAD_DIM
    tokens = SEQUENCES * LENGTH

    def leaf(*sizes: int, scale: float = 1.0, kind: torch.dtype = dtype) -> Tensor:
        return (scale * torch.randn(*sizes)).to(kind).requires_grad_()

    q, k, v = (leaf(SEQUENCES, heads, LENGTH, HEAD_DIM) for _ in range(3))
    x, norm_weight = leaf(tokens, d), leaf(d, kind=torch.float32)
    matrix = leaf(3 * d, d, scale=0.05, kind=torch.float32)
    head = leaf(VOCABULARY, d, scale=0.02, kind=torch.float32)
    targets = torch.randint(0, VOCABULARY, (tokens,))
    up = leaf(shape["experts"], 2 * shape["expert_size"], d, scale=0.05, kind=torch.float32)
    down = leaf(shape["experts"], d, shape["expert_size"], scale=0.05, kind=torch.float32)
    chosen = torch.rand(tokens, shape["experts"]).topk(shape["top_k"]).indices
    rows = sort_rows(chosen, None, shape["experts"])
    gates = leaf(tokens * shape["top_k"])
    scale = HEAD_DIM**-0.5
    parts: dict[str, tuple[Operation[...], tuple[object, ...], list[Tensor]]] = {
        "attention": (causal_attention, (q, k, v, scale), [q, k, v]),
        "experts": (
            expert_ffn,
            (x, rows.token, gates, rows.counts, up, down, "silu", True),
            [x, gates, up, down],
        ),
        "projection to 3 d": (linear, (x, matrix), [x, matrix]),
        "norm": (rms_norm, (x, norm_weight, 1e-6), [x, norm_weight]),
        "head and loss": (head_loss, (x, head, targets, 1 / tokens), [x, head]),
    }
    contenders: dict[str, Callable[[], object]] = {}
    for name, (operation, arguments, inputs) in parts.items():
        contenders[f"{name}, twin"] = both_ways(partial(operation.fast, *arguments), inputs)
        contenders[f"{name}, plain"] = both_ways(partial(operation.plain, *arguments), inputs)
    print("parts, ms forward and backward")
    for name, milliseconds in fastest(contenders).items():
        print(f"  {name:26s} {milliseconds:7.2f}")


def profile_step(shape: dict[str, int], precision: str) -> None:
    """The operators of one step."""
    step = lab_step(shape, precision, False)
    batches = [torch.randint(0, VOCABULARY, (SEQUENCES, LENGTH + 1)) for _ in range(6)]
    for tokens in batches:
        step(tokens)
    with torch.profiler.profile() as profile:
        step(batches[0])
    rows = sorted(profile.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    print(f"one step, {total / 1e3:.0f} ms under the profiler")
    for row in rows[:16]:
        print(f"  {row.key[:34]:34s} {row.self_cpu_time_total / total:6.1%} in {row.count:5d} calls")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--shape", default="medium", choices=tuple(SHAPES))
    options = parser.parse_args()
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    keep_freed_memory()
    print(f"{options.precision}, {options.shape}, {torch.get_num_threads()} threads")
    compare_products(dtype)
    compare_parts(dtype, SHAPES[options.shape])
    profile_step(SHAPES[options.shape], options.precision)


if __name__ == "__main__":
    main()
