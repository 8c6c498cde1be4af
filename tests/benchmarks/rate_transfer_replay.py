"""What the transfer rule of learning rates saves, and what it gives away: the tuning stage replayed on finished sweeps.

    python -m tests.benchmarks.rate_transfer_replay [--within 0.005 0.01 0.02]

lr_bsz is scalebench's table of 2,702 dense runs at many rates, sizes, tokens and batches; small is
examples/small_mixtures, whose groups differ in size, experts and tokens. A group's loss at a rate that was not run is
that of the parabola through the three nearest rates that were, or beyond them on the line of the last two. A stage is
judged by the rates that it ends with: how far they lie above the group's least loss on its curve, on average over the
groups, and at worst.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from moewright.laws.variable import Array
from moewright.sweeps.rate_tuning import TunedRate, tune_rate
from moewright.sweeps.sweep_spec import TransferRule, Tuning
from moewright.sweeps.transfer_tuning import RateGroup, tune_by_rule

ROOT = Path(__file__).resolve().parents[2]
MULTIPLIERS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Curve:
    """Losses of one group over the logarithm of the rate."""

    rates: Array
    losses: Array

    def loss(self, rate: float) -> float:
        """By the parabola through the three nearest rates; beyond an end it rises as the last two do."""
        x = np.log(self.rates)
        for end, next_ in ((0, 1), (-1, -2)):
            if (np.log(rate) - x[end]) * (x[end] - x[next_]) > 0:
                slope = (self.losses[end] - self.losses[next_]) / abs(x[end] - x[next_])
                return float(self.losses[end] + max(slope, 0.0) * abs(np.log(rate) - x[end]))
        middle = int(np.clip(np.searchsorted(x, np.log(rate)) - 1, 0, len(x) - 2))
        first = middle - 1 if middle > 0 and np.log(rate) - x[middle] < x[middle + 1] - np.log(rate) else middle
        near = slice(min(first, len(x) - 3), min(first, len(x) - 3) + 3)
        return float(np.polyval(np.polyfit(x[near] - np.log(rate), self.losses[near], 2), 0.0))

    def least(self) -> float:
        """The least loss between its ends."""
        return min(self.loss(rate) for rate in np.geomspace(self.rates[0], self.rates[-1], 200))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each table and stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--within", type=float, nargs="+", default=(0.002, 0.005, 0.01, 0.02))
    chosen = parser.parse_args(arguments)
    for name, (questions, curves) in {"small": small_mixtures(), "lr_bsz": step_law()}.items():
        print(f"{name}: {len(questions)} groups")
        every = Tuning(multipliers=MULTIPLIERS, noise=0.018 if name == "small" else 0.002)
        show("each tested", questions, curves, stage_of(every, questions, curves))
        show("none tested", questions, curves, {each.name: ((), 1.0) for each in questions})
        for within in chosen.within:
            tuning = every.model_copy(update={"transfer": TransferRule(within=within)})
            show(f"rule, within {within:g}", questions, curves, stage_of(tuning, questions, curves))


def stage_of(
    tuning: Tuning, questions: Sequence[RateGroup], curves: Mapping[str, Curve]
) -> dict[str, tuple[tuple[float, ...], float]]:
    """Multipliers tried and the one found, by group, when everything that is asked for is run."""
    rates = {question.name: question.rate for question in questions}

    def losses_at(name: str, multiplier: float) -> list[float]:
        return [curves[name].loss(rates[name] * multiplier)]

    found: dict[str, tuple[tuple[float, ...], TunedRate]]
    if tuning.transfer is not None:
        found = tune_by_rule(tuning, questions, losses_at)
    else:
        found = {each.name: tune_rate(tuning, partial(losses_at, each.name)) for each in questions}
    return {name: (tried, float(rate.multiplier or 1.0)) for name, (tried, rate) in found.items()}


def show(
    label: str,
    questions: Sequence[RateGroup],
    curves: Mapping[str, Curve],
    stage: Mapping[str, tuple[tuple[float, ...], float]],
) -> None:
    """One line."""
    runs = sum(len(tried) for tried, _ in stage.values())
    cost = sum(each.cost * len(stage[each.name][0]) for each in questions)
    above = [curves[each.name].loss(each.rate * stage[each.name][1]) - curves[each.name].least() for each in questions]
    groups = sum(bool(tried) for tried, _ in stage.values())
    print(
        f"  {label:20s} groups tested {groups:3d}  runs {runs:4d}  FLOPs {cost:.2e}  "
        f"above the least: mean {np.mean(above):.4f}  worst {np.max(above):.4f} nats"
    )


def small_mixtures() -> tuple[list[RateGroup], dict[str, Curve]]:
    """The 18 groups of docs/small_mixtures.md, around the recipe's own rate of .016."""
    runs = pd.read_parquet(ROOT / "examples" / "small_mixtures" / "runs.parquet")
    questions, curves = [], {}
    for key, group in runs[runs["stage"].isin(["tune", "tune+main"])].groupby(
        ["num_layers", "axis_total_ratio", "train_tokens"]
    ):
        row, name = group.iloc[0], " ".join(map(str, key))
        sizes = {
            "active_params": row["active_params_non_embedding"],
            "train_tokens": row["train_tokens"],
            "num_experts": row["num_experts"],
            "top_k": row["top_k"],
            "expert_share": row["expert_size"] / row["hidden_size"],
            "batch_tokens": row["batch_tokens"],
        }
        questions.append(RateGroup(name, sizes, 0.016, float(row["train_flops"])))
        ordered = group.groupby("learning_rate")["loss"].mean()
        curves[name] = Curve(ordered.index.to_numpy(), ordered.to_numpy())
    return questions, curves


def step_law() -> tuple[list[RateGroup], dict[str, Curve]]:
    """Groups of one size, length and batch with five rates or more, the best of them inside; around a rate of 2e-3."""
    file = next((ROOT.parent / "shared" / "data" / "scalebench" / "lr_bsz").glob("train-*.parquet"))
    questions, curves = [], {}
    for key, group in pd.read_parquet(file).groupby(["non_embedding_param_size", "data_size", "bsz"]):
        ordered = group.groupby("lr")["lm_loss"].mean()
        best = int(np.argmin(ordered.to_numpy()))
        if len(ordered) < 5 or best in (0, len(ordered) - 1):
            continue
        name, row = " ".join(map(str, key)), group.iloc[0]
        size, tokens = float(row["non_embedding_param_size"]), float(row["data_size"])
        sizes = {"active_params": size, "train_tokens": tokens, "num_experts": 1.0, "top_k": 1.0, "expert_share": 1.0}
        sizes["batch_tokens"] = float(row["bsz"])
        questions.append(RateGroup(name, sizes, 2e-3, 6 * size * tokens))
        curves[name] = Curve(ordered.index.to_numpy(), ordered.to_numpy())
    return questions, curves


if __name__ == "__main__":
    main()
