"""Would design have found what was built? Run from the project's root: python -m tests.benchmarks.retrodiction

Twenty published mixtures of the catalogue, one of each architecture, from OLMoE on. Each gives nothing but its budgets:
total and active parameters, vocabulary, training tokens. Printed for each: whether the first design is like something
that was published (on every axis of the catalogue's mixtures), and whether the published sizes lie in the ranges that
are left undecided, by axis. Misses are printed, not explained away.

The split was fixed by name and committed before any answer was seen: in order of release, every other one. Rules and
constants of designs may be chosen by TUNE; JUDGE is only ever read. About a minute of one core.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import moewright
from moewright.architecture import Architecture, counts
from moewright.designs.baseline import sizes_of
from moewright.designs.result import Designs
from moewright.designs.rules import experts_share, published_mixtures
from moewright.hf.published_models import ModelEntry, get_model
from moewright.quantities import parse_count

TUNE = (
    "olmoe-1b-7b",
    "llama-4-scout",
    "qwen3-30b-a3b",
    "hunyuan-a13b",
    "kimi-k2",
    "gpt-oss-20b",
    "lfm2-8b-a1b",
    "nemotron-3-nano-30b-a3b",
    "a.x-k1",
    "minimax-m2.5",
)
JUDGE = (
    "deepseek-v3",
    "qwen3-235b-a22b",
    "ernie-4.5-21b-a3b",
    "glm-4.5-air",
    "gpt-oss-120b",
    "qwen3-next-80b-a3b",
    "mimo-v2-flash",
    "solar-open-100b",
    "glm-4.7-flash",
    "gemma-4-26b-a4b",
)
# Of those whose makers do not say: the middle of what the others of their years say.
ASSUMED_TOKENS = 15e12
AXES = ("num_experts", "top_k", "expert_size", "shared_experts", "num_layers", "hidden_size")


@dataclass(frozen=True)
class Built:
    """What was published, on the axes of a design."""

    name: str
    total: float
    active: float
    tokens: float
    tokens_known: bool
    vocab_size: int
    sizes: dict[str, float]


def built(entry: ModelEntry) -> Built:
    """The budgets and sizes of a published mixture, mean values where its layers differ."""
    a = entry.architecture
    tokens = entry.training_tokens
    return Built(
        name=entry.name,
        total=counts.total_params(a),
        active=counts.active_params(a),
        tokens=parse_count(tokens.value, "tokens") if tokens else ASSUMED_TOKENS,
        tokens_known=tokens is not None,
        vocab_size=a.vocab_size,
        sizes=sizes_of(a),
    )


def shape_of(a: Architecture) -> dict[str, float]:
    """What tells a model that could have been published from one that could not: sizes, and their ratios."""
    sizes = sizes_of(a)
    return {
        **sizes,
        "width/layers": sizes["hidden_size"] / sizes["num_layers"],
        "expert size/width": sizes["expert_size"] / sizes["hidden_size"],
        "top_k/experts": sizes["top_k"] / sizes["num_experts"],
        "experts' share of active": experts_share(a),
    }


def envelope() -> dict[str, tuple[float, float]]:
    """Of the catalogue's mixtures, by axis."""
    shapes = [shape_of(entry.architecture) for entry in published_mixtures()]
    return {axis: (min(s[axis] for s in shapes), max(s[axis] for s in shapes)) for axis in shapes[0]}


def outside(values: dict[str, float], ranges: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """The axes on which values lie outside their ranges."""
    return {axis: values[axis] for axis, (low, high) in ranges.items() if not low <= values[axis] <= high}


def ask(model: Built) -> Designs:
    """The answer for the model's budgets."""
    budgets: dict[str, Any] = {
        "total_params": model.total,
        "active_params": model.active,
        "train_tokens": model.tokens,
        "vocab_size": model.vocab_size,
    }
    return moewright.design(**budgets, top=1)


def report(names: tuple[str, ...], like_published: dict[str, tuple[float, float]]) -> None:
    """Print one half."""
    sane = inside = on_axis = 0
    for name in names:
        model = built(get_model(name))
        answer = ask(model)
        first, ranges = answer.designs[0].architecture, {axis: answer.undecided.ranges[axis] for axis in AXES}
        strange, missed = outside(shape_of(first), like_published), outside(model.sizes, ranges)
        sane, inside, on_axis = sane + (not strange), inside + (not missed), on_axis + len(AXES) - len(missed)
        tokens = f"{model.tokens / 1e12:.3g}T{'' if model.tokens_known else ' assumed'}"
        print(f"{name}: {model.total / 1e9:.4g}B total, {model.active / 1e9:.3g}B active, {tokens}")
        print(f"  built      {_words(model.sizes)}")
        print(f"  first      {_words(sizes_of(first))}")
        count = answer.undecided.count
        share = f"{count:,} ({count / answer.feasible:.1%} of those within the budgets)"
        print(f"  undecided  {share}: " + ", ".join(f"{a} {lo:g}-{hi:g}" for a, (lo, hi) in ranges.items()))
        print("  first design is like none published by " + _words(strange) if strange else "  first design is sane")
        print("  MISSED by " + _words(missed) if missed else "  published sizes are inside")
    print(
        f"== of {len(names)}: first design inside the envelope of the published {sane}, published sizes inside the "
        f"undecided ranges {inside}, axes inside {on_axis} of {len(AXES) * len(names)}\n"
    )


def _words(values: dict[str, float]) -> str:
    return ", ".join(f"{axis} {value:.4g}" for axis, value in values.items())


def main() -> None:
    """Print both halves, or the one that is named."""
    halves = {"tune": TUNE, "judge": JUDGE}
    like_published = envelope()
    print("envelope: " + ", ".join(f"{a} {lo:.3g}-{hi:.4g}" for a, (lo, hi) in like_published.items()) + "\n")
    for half in sys.argv[1:] or halves:
        print(f"-- {half}")
        report(halves[half], like_published)


if __name__ == "__main__":
    main()
