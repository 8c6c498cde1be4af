"""Effects in the slicing runs without a law: differences between runs that agree in everything else."""

from collections.abc import Iterator

import pandas as pd

from examples import pages
from moewright.runs.contrasts import Contrast, contrast, matched_differences, repeat_noise

SIZES = ("10M", "20M")
OUTCOMES = ("loss", "loss_c4")  # training and validation
MODEL = ["expert_groups", "shared_multiplier"]  # resampled together
SETTINGS = ["learning_rate", "schedule", "drops_tokens", "balance_weight", "bias_step"]
LOW_RATE = 4e-4


def noise(table: pd.DataFrame) -> str:
    """One run's standard deviation around its configuration, by size and rate."""
    rows = []
    for size in SIZES:
        for rate, chosen in table[table["model_size"] == size].groupby("learning_rate"):
            by_outcome = [repeat_noise(chosen, outcome) for outcome in OUTCOMES]
            if by_outcome[0][1]:
                rows.append((size, f"{rate:g}", by_outcome[0][1], *(f"{value:.4f}" for value, _ in by_outcome)))
    return pages.table(("size", "peak rate", "repeated settings", "train", "c4"), rows)


def doubling(table: pd.DataFrame) -> str:
    """Twice the experts of the same size, all else equal: by number of experts, two or more at work, then one."""
    rows = []
    single = table[table["num_groups"] == 1]
    for kind, chosen in (("2 or more active", single[single["top_k"] > 1]), ("1 active", single[single["top_k"] == 1])):
        for shared, some in (
            ("none", chosen[chosen["shared_multiplier"] == 0]),
            ("yes", chosen[chosen["shared_multiplier"] > 0]),
        ):
            for low in (8, 16, 32, 64):
                cells = [
                    _difference(
                        some[(some["learning_rate"] == LOW_RATE) & (some["model_size"] == size)],
                        "num_experts",
                        float(low),
                        float(2 * low),
                        ["model_size", "expert_multiplier", "top_k", "shared_multiplier", *SETTINGS],
                        outcome,
                        ["expert_multiplier", "shared_multiplier"],
                    )
                    for size in SIZES
                    for outcome in OUTCOMES
                ]
                if any(cell.matches for cell in cells):
                    rows.append((kind, shared, f"{low} to {2 * low}", *map(_cell, cells)))
    return pages.table(("experts", "shared", "count", *_heads()), rows)


def expert_size(table: pd.DataFrame) -> str:
    """Experts of half the size, twice as many and twice as many active: total and active width stay."""
    same = ["model_size", "expert_ratio", "active_width", "shared_multiplier", *SETTINGS]
    single = table[(table["num_groups"] == 1) & (table["learning_rate"] == LOW_RATE) & (table["num_experts"] > 1)]
    several = single[single["top_k"] > 1]
    steps = [("1 (1 active) to 1/2 (2 active)", single[single["shared_multiplier"] == 0], 1.0, 0.5)]
    steps += [(f"1/{1 / m:g} to 1/{2 / m:g}", several, m, m / 2) for m in (0.5, 0.25, 0.125)]
    rows = []
    for label, chosen, high, low in steps:
        for ratios in ((2, 4), (8, 16), (32, 64)):
            some = chosen[chosen["expert_ratio"].isin(ratios)]
            cells = [
                _difference(some[some["model_size"] == size], "expert_multiplier", high, low, same, outcome)
                for size in SIZES
                for outcome in OUTCOMES
            ]
            if any(cell.matches for cell in cells):
                rows.append((label, "{}, {}".format(*ratios), *map(_cell, cells)))
    return pages.table(("multiplier", "total width T", *_heads()), rows)


def settings(table: pd.DataFrame) -> str:
    """Shared experts, unlike experts, dropping and balancing, each against its absence."""
    return pages.table(("change", "peak rate", *_heads()), _settings(table))


def setting_contrasts(table: pd.DataFrame, rate: float, high: bool = False) -> Iterator[tuple[str, list[Contrast]]]:
    """Each change of `settings` at one rate (or, `high`, at all rates above it): by size, then outcome."""
    at_rate = table[table["learning_rate"] > rate] if high else table[table["learning_rate"] == rate]
    several = at_rate[at_rate["top_k"] > 1].assign(
        unlike=lambda t: t["num_groups"] > 1, has_shared=lambda t: t["shared_multiplier"] > 0
    )
    mixtures = at_rate[at_rate["num_experts"] > 1]
    like = several[~several["unlike"]]
    same_width = ["model_size", "expert_ratio", *SETTINGS]
    same_experts = [*same_width, "expert_multiplier"]
    model = ["model_size", *MODEL]
    plain = [name for name in SETTINGS if name not in ("drops_tokens", "balance_weight", "bias_step")]
    changes = [
        ("shared expert, T 2-4", like[like["expert_ratio"] <= 4], "has_shared", False, True, same_experts),
        ("shared expert, T 8", like[like["expert_ratio"] == 8], "has_shared", False, True, same_experts),
        ("shared expert, T 16-32", like[like["expert_ratio"] >= 16], "has_shared", False, True, same_experts),
        ("unlike experts", several, "unlike", False, True, [*same_width, "shared_multiplier", "active_width"]),
        (
            "dropping (capacity 1.2)",
            mixtures,
            "drops_tokens",
            0.0,
            1.0,
            [*model, *plain, "balance_weight", "bias_step"],
        ),
        (
            "balance loss .01 to 1e-4",
            mixtures,
            "balance_weight",
            0.01,
            1e-4,
            [*model, *plain, "drops_tokens", "bias_step"],
        ),
        (
            "balance loss .01 to none",
            mixtures,
            "balance_weight",
            0.01,
            0.0,
            [*model, *plain, "drops_tokens", "bias_step"],
        ),
        ("loss-free bias", mixtures, "bias_step", 0.0, 0.001, [*model, *plain, "drops_tokens", "balance_weight"]),
    ]
    for label, chosen, factor, low, high_value, same in changes:
        cluster = MODEL if "expert_groups" in same else ["expert_ratio", "expert_multiplier", "shared_multiplier"]
        yield (
            label,
            [
                _difference(chosen[chosen["model_size"] == size], factor, low, high_value, same, outcome, cluster)
                for size in SIZES
                for outcome in OUTCOMES
            ],
        )


def rates(table: pd.DataFrame) -> str:
    """Learning rates and schedules on equal models."""
    same = ["model_size", *MODEL, "drops_tokens", "balance_weight", "bias_step"]
    rows = []
    for label, factor, low, high, extra in (
        ("4e-4 to 4e-3, cosine", "learning_rate", 4e-4, 4e-3, ["schedule"]),
        ("4e-3 to 1e-2, cosine", "learning_rate", 4e-3, 1e-2, ["schedule"]),
        ("cosine to WSD, 4e-3 and 1e-2", "schedule", "CosWithWarmup", "WSD", ["learning_rate"]),
    ):
        cells = [
            _difference(table[(table["model_size"] == size)], factor, low, high, [*same, *extra], outcome)
            for size in SIZES
            for outcome in OUTCOMES
        ]
        rows.append((label, *map(_cell, cells)))
    return pages.table(("change", *_heads()), rows)


def _settings(table: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    for label, cells in setting_contrasts(table, LOW_RATE):
        yield (label, "4e-4", *map(_cell, cells))
    for label, cells in setting_contrasts(table, LOW_RATE, high=True):
        if any(cell.matches for cell in cells):
            yield (label, "4e-3, 1e-2", *map(_cell, cells))


def _difference(
    table: pd.DataFrame,
    factor: str,
    low: object,
    high: object,
    same: list[str],
    outcome: str,
    cluster: list[str] | None = None,
) -> Contrast:
    matches = matched_differences(table, factor, low, high, same=same, outcome=outcome)
    return contrast(matches, cluster=[name for name in cluster or MODEL if name in same])


def _cell(found: Contrast) -> str:
    if not found.matches:
        return ""
    if found.clusters < 2:
        return f"{found.mean:+.3f} ({found.matches})"
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}] ({found.matches})"


def _heads() -> list[str]:
    names = {"loss": "train", "loss_c4": "c4"}
    return [f"{size} {names[outcome]}" for size in SIZES for outcome in OUTCOMES]
