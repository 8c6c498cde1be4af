"""Writes docs/design_like.md: published models against what the laws would have built with their budgets.

Run from the project's root: python examples/design_like.py
"""

from collections.abc import Mapping
from pathlib import Path

import moewright
from moewright.designs.result import Designs, difference

# Training tokens as published; None where the publisher does not say, and ASSUMED is taken.
MODELS: dict[str, tuple[str | None, str]] = {
    "mixtral-8x7b": (None, "arXiv 2401.04088 does not say"),
    "olmoe-1b-7b": ("5.1T", "arXiv 2409.02060"),
    "qwen3-30b-a3b": ("36T", "arXiv 2505.09388"),
    "gpt-oss-20b": (None, "arXiv 2508.10925 does not say"),
    "gpt-oss-120b": (None, "arXiv 2508.10925 does not say"),
    "deepseek-v3": ("14.8T", "arXiv 2412.19437"),
    "qwen3-235b-a22b": ("36T", "arXiv 2505.09388"),
    "kimi-k2": ("15.5T", "arXiv 2507.20534"),
}
ASSUMED = "10T"
PAGE = Path("docs/design_like.md")


SIZES = ("num_experts", "top_k", "shared_experts", "expert_size", "hidden_size", "num_layers")

HEAD = """# Published models against the answer

Made by `python examples/design_like.py`: `moewright design --like MODEL --train-tokens TOKENS` for each, with the
default space and preference. The design gets the model's own budgets (total and active parameters, input embedding
counted, its vocabulary and its training tokens). Sizes are experts/top-k+shared x expert size, width x layers.
Differences are the design's against the model as it was built, middles of the roofline's ranges; decoding is on as
many H100s as the weights fill, with 32,768 tokens of cache. The loss is undecided unless all laws that may judge
agree. Every one of these budgets is far outside the runs behind every law."""


def main() -> None:
    """Run every model and write the page."""
    rows = [["model", "tokens", "as built", "design", "loss", "training", "decode", "undecided", "built is outside by"]]
    rows.append(["---"] * len(rows[0]))
    for name, (tokens, _) in MODELS.items():
        answer = moewright.design(like=f"examples/configs/{name}.json", train_tokens=tokens or ASSUMED, top=1)
        print(f"{name}: {answer.seconds:.1f} s", flush=True)
        rows.append(_row(name, answer))
    sources = "; ".join(f"{name}: {source}" for name, (_, source) in MODELS.items())
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    PAGE.write_text(f"{HEAD}\n\n{table}\n\nTokens: {sources}, and {ASSUMED} are assumed.\n")


def _row(name: str, answer: Designs) -> list[str]:
    built, first = answer.baseline.as_built, answer.designs[0]
    found = difference(first, built)
    ranges = answer.undecided.ranges
    outside = [size for size in SIZES if not ranges[size][0] <= built.sizes[size] <= ranges[size][1]]
    return [
        name,
        MODELS[name][0] or f"{ASSUMED} assumed",
        _sizes(built.sizes),
        _sizes(first.sizes),
        "undecided" if built.loss_difference is None else f"{built.loss_difference:+.3f}",
        f"{found.train_device_hours:+.0%}",
        f"{found.decode_tokens_per_second:+.0%}",
        f"{answer.undecided.count:,} of {answer.feasible:,}",
        ", ".join(f"{size} {built.sizes[size]:g}" for size in outside) or "nothing",
    ]


def _sizes(sizes: Mapping[str, float]) -> str:
    e, k, shared, size, width, layers = (f"{sizes[name]:g}" for name in SIZES)
    return f"{e}/{k}+{shared} x {size}, {width} x {layers}"


if __name__ == "__main__":
    main()
