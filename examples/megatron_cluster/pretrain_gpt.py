"""A stand-in for Megatron-LM's pretrain_gpt.py where there is no GPU: it takes its arguments and prints its log.

It trains nothing. The losses are made up: a power law of active parameters, tokens and experts, with noise of .3 % by
model and seed. So every command around a cluster's runs can be tried on a laptop; see docs/how-to/from_64_h100s.md.
"""

import argparse
import math
import os
import random


def main() -> None:
    """Rank 0 prints the arguments, a line for every tenth of the run, and an evaluation at its end."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("num-layers", "hidden-size", "num-experts", "moe-router-topk", "moe-ffn-hidden-size", "seq-length"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("global-batch-size", "train-iters", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    known, _ = parser.parse_known_args()
    if os.environ.get("RANK", "0") != "0":
        return
    print("------------------------ arguments ------------------------")
    for name, value in sorted(vars(known).items()):
        print(f"  {name} {'.' * (48 - len(name))} {value}")
    print("-------------------- end of arguments ---------------------")
    per_layer = 4 * known.hidden_size**2 + 3 * known.moe_router_topk * known.hidden_size * known.moe_ffn_hidden_size
    active = known.num_layers * per_layer
    noise = random.Random(f"{active} {known.num_experts} {known.train_iters} {known.seed}").gauss(0, 0.003)
    steps = [max(1, round(known.train_iters * share / 10)) for share in range(1, 11)]
    for step in steps:
        samples = step * known.global_batch_size
        loss = loss_after(active, known.num_experts, samples * known.seq_length) * math.exp(noise)
        print(
            f" [2026-01-01 00:00:00] iteration {step:8d}/{known.train_iters:8d} | consumed samples: {samples:12d} | "
            f"lm loss: {loss:.6E} | loss scale: 1.0 | grad norm: 1.000 |"
        )
    print("[after training is done] datetime: 2026-01-01 00:00:00")
    print(
        f" validation loss at iteration {known.train_iters} on validation set | lm loss value: {loss:.6E} | "
        f"lm loss PPL: {math.exp(loss):.6E} |"
    )


def loss_after(active: float, experts: int, tokens: float) -> float:
    """Nats: made up."""
    return 1.7 + 30 * active**-0.2 * experts**-0.05 + 1e3 * tokens**-0.31


if __name__ == "__main__":
    main()
