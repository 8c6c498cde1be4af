"""Where a training step's time goes: each part of the lab's model alone, beside what else could do it, and the profile.

    python -m tests.benchmarks.bench_parts [--precision fp32] [--shape medium]

Parts are run forward and backward, the fastest of several turns, contenders taking turns so that both meet the same
machine. The profile is torch's, of one step of `bench_training`'s shape: operators by their own time.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import rms_norm as torch_rms_norm
from torch.nn.functional import scaled_dot_product_attention

from moewright.lab.memory import keep_freed_memory
from moewright.lab.model import products
from moewright.lab.model.causal import causal_attention
from moewright.lab.model.experts import run_experts, sort_rows
from moewright.lab.model.linear import linear
from moewright.lab.model.loss import head_loss
from moewright.lab.model.norm import rms_norm
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


def compare_products(dtype: torch.dtype) -> None:
    """GFLOP/s of the three products of a layer by torch and by what the lab uses."""
    print("products, GFLOP/s: the lab's / torch's")
    for rows, outputs, inputs in PRODUCTS:
        x, w, g = (torch.randn(*s).to(dtype) for s in ((rows, inputs), (outputs, inputs), (rows, outputs)))
        contenders: dict[str, Callable[[], object]] = {
            "forward": lambda x=x, w=w: products.times_transposed(x, w),
            "forward torch": lambda x=x, w=w: torch.mm(x, w.t()),
            "input gradient": lambda g=g, w=w: products.times(g, w),
            "input gradient torch": lambda g=g, w=w: torch.mm(g, w),
            "weight gradient": lambda g=g, x=x: products.transposed_times(g, x),
            "weight gradient torch": lambda g=g, x=x: torch.mm(g.t(), x),
        }
        rates = {name: 2e-6 * rows * outputs * inputs / ms for name, ms in fastest(contenders).items()}
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
    gates = leaf(tokens, shape["top_k"], kind=torch.float32)
    rows = sort_rows(chosen, None, shape["experts"])
    scale = HEAD_DIM**-0.5
    parts: dict[str, tuple[Callable[[], Tensor], list[Tensor]]] = {
        "attention": (lambda: causal_attention(q, k, v, scale), [q, k, v]),
        "attention, torch's": (lambda: scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale), [q, k, v]),
        "experts, loop": (lambda: run_experts(x, rows, gates, up, down, "silu", True, "loop"), [x, gates, up, down]),
        "experts, grouped_mm": (
            lambda: run_experts(x, rows, gates, up, down, "silu", True, "grouped"),
            [x, gates, up, down],
        ),
        "projection to 3 d": (lambda: linear(x, matrix), [x, matrix]),
        "norm": (lambda: rms_norm(x, norm_weight, 1e-6), [x, norm_weight]),
        "norm, torch's": (lambda: torch_rms_norm(x, (d,), norm_weight.to(dtype), 1e-6), [x, norm_weight]),
        "head and loss": (lambda: head_loss(x, head, targets, 1 / tokens), [x, head]),
    }
    print("parts, ms forward and backward")
    for name, milliseconds in fastest({name: both_ways(*part) for name, part in parts.items()}).items():
        print(f"  {name:22s} {milliseconds:7.2f}")


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
