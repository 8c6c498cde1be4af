"""Training speed: the lab against transformers' Qwen3-MoE, step by step in one run, and against a dense model.

    python -m tests.benchmarks.bench_training [--shapes small,medium,wide] [--precisions fp32,bf16] [--rounds 5]

Each contender is a process of its own that waits while another one steps, so that all meet the same machine: rounds of
one step each, in turn. Before them come 20 steps of the lab, in which its matrix library builds its kernels (every new
number of an expert's rows is one), and 2 of the others. A step is forward, loss with the balance loss, backward and
AdamW, on 8 sequences of 512 tokens.
transformers runs with each experts_implementation that this machine's memory holds (batched_mm copies an expert's
weights for every choice: 17 GB and more here) and, in bf16, with bf16 weights as well as with autocast on fp32 weights;
its best one counts. The lab runs as `moewright train` does: fp32 weights, products in the precision. The dense model
has the same active parameters. Printed: median tokens per second, the ratio of medians with the least and largest ratio
of a round, utilization by inspect's FLOPs against the best matrix product that the machine does in that precision,
and memory.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

SEQUENCES, LENGTH, VOCABULARY = 8, 512, 4096
SHAPES: dict[str, dict[str, int]] = {
    "small": {"hidden": 128, "layers": 6, "experts": 16, "top_k": 2, "expert_size": 128},
    "medium": {"hidden": 256, "layers": 6, "experts": 32, "top_k": 4, "expert_size": 128},
    "fine": {"hidden": 256, "layers": 6, "experts": 64, "top_k": 8, "expert_size": 64},
    "wide": {"hidden": 512, "layers": 6, "experts": 8, "top_k": 2, "expert_size": 512},
}
HEAD_DIM = 64
BALANCE = 0.01
PEERS = {"fp32": ("eager", "grouped_mm"), "bf16": ("eager", "grouped_mm", "grouped_mm autocast")}


def architecture(shape: dict[str, int], dense: bool) -> Any:
    """The lab's model of a shape; dense: one feed-forward as wide as the experts that a token uses, and the router."""
    from moewright.architecture import Architecture

    heads = shape["hidden"] // HEAD_DIM
    mixer = {
        "kind": "attention",
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": HEAD_DIM,
        "qk_norm": "per_head",
        "rope": {"theta": 1e4},
    }
    group = {"count": shape["experts"], "expert_size": shape["expert_size"], "top_k": shape["top_k"]}
    moe = {"kind": "moe", "groups": [group], "router": {"normalize": True}}
    plain = {"kind": "dense", "size": shape["top_k"] * shape["expert_size"]}
    layer = {"mixer": mixer, "feed_forward": plain if dense else moe}
    layers = [{"repeat": shape["layers"], "layers": [layer]}]
    return Architecture.from_dict({"vocab_size": VOCABULARY, "hidden_size": shape["hidden"], "layers": layers})


def lab_step(shape: dict[str, int], precision: str, dense: bool) -> Callable[[Any], None]:
    """A training step of the lab's model."""
    import torch

    from moewright.experiment.balance_losses.switch import SwitchLoss
    from moewright.experiment.recipe import Initialization
    from moewright.lab.machine import keep_freed_memory
    from moewright.lab.model import Transformer
    from moewright.lab.model.balancing import balance_loss
    from moewright.lab.optimization import initialize

    keep_freed_memory()
    model = Transformer(architecture(shape, dense), torch.bfloat16 if precision == "bf16" else None)
    initialize(model, Initialization(), 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    settings, layers = SwitchLoss(weight=BALANCE), model.moe_layers()

    def step(tokens: Any) -> None:
        loss, routings = model(tokens[:, :-1], targets=tokens[:, 1:], loss_scale=1 / tokens[:, 1:].numel())
        if routings:
            loss = loss + balance_loss(settings, routings, layers)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def peer_step(shape: dict[str, int], precision: str, implementation: str) -> Callable[[Any], None]:
    """A training step of transformers' Qwen3-MoE, or of Qwen3 for a dense model."""
    import torch
    from transformers import AutoConfig, Qwen3MoeForCausalLM

    name, _, autocast = implementation.partition(" ")
    heads = shape["hidden"] // HEAD_DIM
    config = AutoConfig.for_model(
        "qwen3_moe",
        vocab_size=VOCABULARY,
        hidden_size=shape["hidden"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=HEAD_DIM,
        num_experts=shape["experts"],
        num_experts_per_tok=shape["top_k"],
        moe_intermediate_size=shape["expert_size"],
        norm_topk_prob=True,
        output_router_logits=True,
        router_aux_loss_coef=BALANCE,
        max_position_embeddings=LENGTH,
    )
    dtype = torch.bfloat16 if precision == "bf16" and not autocast else torch.float32
    model = Qwen3MoeForCausalLM._from_config(
        config, dtype=dtype, experts_implementation=name, attn_implementation="sdpa"
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(tokens: Any) -> None:
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(autocast)):
            loss = model(input_ids=inputs, labels=targets, shift_labels=targets).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def work(connection: Connection, build: Callable[..., Callable[[Any], None]], arguments: tuple[Any, ...]) -> None:
    """A contender: one step for every message, answered by its seconds; at the end the most memory that it held."""
    import torch

    torch.manual_seed(0)
    step = build(*arguments)
    generator = torch.Generator().manual_seed(0)
    # Text is uneven, and so is routing: tokens follow Zipf's law.
    odds = 1 / torch.arange(1, VOCABULARY + 1, dtype=torch.float64)
    while connection.recv():
        tokens = torch.multinomial(odds, SEQUENCES * (LENGTH + 1), True, generator=generator).view(SEQUENCES, -1)
        start = time.perf_counter()
        step(tokens)
        connection.send(time.perf_counter() - start)
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def measure(contenders: dict[str, tuple[Any, ...]], rounds: int) -> dict[str, tuple[list[float], float]]:
    """Seconds of each contender's steps, in turns, and its memory."""
    warmup = {lab_step: 20, peer_step: 2}
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name, (build, *arguments) in contenders.items():
        pipes[name], child = context.Pipe()
        processes.append(context.Process(target=work, args=(child, build, tuple(arguments)), daemon=True))
        processes[-1].start()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for name, pipe in pipes.items():
        for _ in range(warmup[contenders[name][0]]):
            pipe.send(True)
            pipe.recv()
    for _ in range(rounds):
        for name, pipe in pipes.items():
            pipe.send(True)
            seconds[name].append(pipe.recv())
    results = {}
    for name, pipe in pipes.items():
        pipe.send(False)
        results[name] = (seconds[name], pipe.recv())
    for process in processes:
        process.join()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    import torch

    from moewright.architecture.counts import active_params, total_params, training_flops_per_token
    from moewright.lab.machine import matmul_peak

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    tokens = SEQUENCES * LENGTH
    for precision in options.precisions.split(","):
        peak = matmul_peak(torch.device("cpu"), torch.bfloat16 if precision == "bf16" else torch.float32)
        print(f"\n{precision}: best matrix product {peak / 1e9:.0f} GFLOP/s")
        for name in options.shapes.split(","):
            shape = SHAPES[name]
            contenders: dict[str, tuple[Any, ...]] = {
                "lab": (lab_step, shape, precision, False),
                "lab dense": (lab_step, shape, precision, True),
                **{f"transformers {kind}": (peer_step, shape, precision, kind) for kind in PEERS[precision]},
            }
            results = measure(contenders, options.rounds)
            medians = {key: statistics.median(seconds) for key, (seconds, _) in results.items()}
            peer = min((key for key in medians if key.startswith("transformers")), key=medians.__getitem__)
            model = architecture(shape, dense=False)
            print(f"{name} {shape}: {total_params(model):,} parameters, {active_params(model):,} active")
            for key, (_, memory) in results.items():
                print(f"  {key:32s} {tokens / medians[key]:8.0f} tokens/s   {memory / 1e9:5.2f} GB", end="")
                if key == "lab":
                    flops = training_flops_per_token(model, LENGTH)
                    print(f"   utilization {flops * tokens / medians[key] / peak:.1%}", end="")
                print()
            for label, other in (("against transformers' best", peer), ("overhead against dense", "lab dense")):
                pairs = [b / a for a, b in zip(results["lab"][0], results[other][0], strict=True)]
                if other == "lab dense":
                    pairs = [1 / pair for pair in pairs]
                median = medians[other] / medians["lab"] if other == peer else medians["lab"] / medians[other]
                print(f"  {label}: {median:.2f} x ({min(pairs):.2f} to {max(pairs):.2f} in {len(pairs)} rounds)")


if __name__ == "__main__":
    main()
