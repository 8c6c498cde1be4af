"""Writes docs/design_like.md: published models against what the laws would have built with their budgets.

Run from the project's root: python examples/design_like.py
"""

from pathlib import Path

import moewright
from moewright.designs.result import Designs
from moewright.quantities import format_count

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


def main() -> None:
    """Run every model and write the page."""
    answers = {}
    for name, (tokens, _) in MODELS.items():
        config = f"examples/configs/{name}.json"
        answers[name] = moewright.design(like=config, train_tokens=tokens or ASSUMED, top=3)
        print(f"{name}: {answers[name].seconds:.1f} s", flush=True)
    parts = [_HEAD, _overview(answers), *(_model(name, answer) for name, answer in answers.items())]
    text = "\n\n".join([*parts[:2], (Path("examples") / "design_like_reading.md").read_text().strip(), *parts[2:]])
    PAGE.write_text(text + "\n")


_HEAD = """# Published models against the laws

Made by `python examples/design_like.py`. The laws get each model's own budgets (total and active parameters, input
embedding counted, its vocabulary and its training tokens) and the default space of designs. A regret is a law's loss of
a model above the same law's best design within these budgets, in nats; losses never compare between laws. A negative
regret means that the published model lies outside the space (other widths, latent attention, 384 experts) and is better
by that law than anything in it. Every one of these budgets is far outside the runs behind every law."""


def _overview(answers: dict[str, Designs]) -> str:
    laws = next(iter(answers.values())).laws
    rows = [["model", "tokens", "as built, E/K+shared x size", *laws, "worst"], ["---"] * (len(laws) + 4)]
    for name, answer in answers.items():
        published = answer.published
        assert published is not None
        tokens, _ = MODELS[name]
        regrets = [f"{published.regret[law]:.4f}" if law in published.regret else "silent" for law in laws]
        worst = max(published.regret, key=lambda law: published.regret[law])  # type: ignore[index]
        rows.append([name, tokens or f"{ASSUMED} assumed", _sizes(published.sizes), *regrets, worst])
    return "## Regret of what was built\n\n" + _table(rows)


def _model(name: str, answer: Designs) -> str:
    published, first = answer.published, answer.designs[0]
    assert published is not None
    b, source = answer.budgets, MODELS[name][1]
    rows = [["chosen by", "width x depth", "E/K+shared x size", "active", "worst regret", "by"], ["---"] * 6]
    for law, favourite in answer.favourites.items():
        judge = max(favourite.regret, key=lambda other: favourite.regret[other])
        active = format_count(favourite.active_params, 3)
        rows.append(
            [law, _shape(favourite.sizes), _sizes(favourite.sizes), active, f"{favourite.regret[judge]:.4f}", judge]
        )
    judge = max(first.regret, key=lambda other: first.regret[other])
    active = format_count(first.active_params, 3)
    rows.append(
        [
            "all, least worst regret",
            _shape(first.sizes),
            _sizes(first.sizes),
            active,
            f"{first.worst_regret:.4f}",
            judge,
        ]
    )
    judge = max(published.regret, key=lambda other: published.regret[other])
    active = format_count(published.active_params, 3)
    built = [
        "**as built**",
        _shape(published.sizes),
        _sizes(published.sizes),
        active,
        f"{published.regret[judge]:.4f}",
        judge,
    ]
    rows.append(built)
    return (
        f"## {name}\n\n{format_count(b.total_params or 0)} total, {format_count(b.active_params or 0)} active, "
        f"{format_count(b.train_tokens or 0, 3)} tokens ({source}{'; assumed' if MODELS[name][0] is None else ''}).\n\n"
        + _table(rows)
    )


def _sizes(sizes: dict[str, int] | dict[str, float]) -> str:
    e, k, shared, size = (sizes[name] for name in ("num_experts", "top_k", "shared_experts", "expert_size"))
    return f"{e:g}/{k:g}+{shared:g} x {size:g}"


def _shape(sizes: dict[str, int] | dict[str, float]) -> str:
    return f"{sizes['hidden_size']:g} x {sizes['num_layers']:g}"


def _table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
