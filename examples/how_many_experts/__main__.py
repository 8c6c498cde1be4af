"""What `moewright next` would have saved, by replay of a finished grid; docs/how_many_experts.md.

    python -m examples.how_many_experts [--docs docs]

The grid is that of ../small_mixtures, whose losses are known: 27 cells may be run (sweep.yaml), three are in question
(targets.yaml). Every rule begins with the same six runs and makes three at a time until `next`'s own belief calls the
question settled, or nothing is left. Twice: with the losses of the grid's first seed, and of its second. The table goes
between the markers of the page, the figure beside it; the runs that were made for the page are in live.csv.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import moewright
from examples.pages import table, write
from moewright.laws.selection.run_choice import NextRunsRecord, next_runs_of

HERE = Path(__file__).parent
GRID = HERE.parent / "small_mixtures" / "runs.parquet"
FIRST_SPEND, FIRST_RUNS, BATCH, WITHIN = 1.5e12, 6, 3, 0.01
Rule = Callable[[list[int], NextRunsRecord, pd.DataFrame], list[int]]


@dataclass(frozen=True)
class Step:
    """What is believed after so many runs."""

    runs: int
    share: float
    """Of the FLOPs of all candidates."""
    best: str
    doubt: float
    settled: bool


def main() -> None:
    """Replay, print, and write the page's table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    candidates, targets = split(pd.read_parquet(GRID))
    found = {
        (name, seed): replay(candidates[candidates["seed"] == seed].reset_index(drop=True), targets, rule(seed))
        for name, rule in RULES.items()
        for seed in (0, 1)
    }
    rows = []
    for (name, seed), steps in found.items():
        last = steps[-1]
        told = f"{last.best} experts" + ("" if last.settled else ", not settled")
        rows.append((name, seed, last.runs, f"{last.share:.0%}", f"{last.doubt:.4f}", told))
    head = ("order of the runs", "seed of the losses", "runs", "FLOPs of the grid", "doubt left, nats", "verdict")
    write(arguments.docs / "how_many_experts.md", {"truth": truth(pd.read_parquet(GRID)), "replay": table(head, rows)})
    draw(found, arguments.docs / "figures" / "how_many_experts.png")


def live() -> str:
    """What the runs that were made for the page say, in a line."""
    candidates, targets = split(pd.read_parquet(GRID))
    bare = candidates[candidates["seed"] == 0].drop(columns=["loss", "status", "state", "train_loss"])
    runs = moewright.runs.load(HERE / "live.csv")
    found = next_runs_of(runs, bare.reset_index(drop=True), targets, purpose="design", within=WITHIN).record
    best = min(found.targets, key=lambda target: target.loss)
    return f"{len(runs)} runs: {best.name} experts; {found.settled if not found.chosen else 'not settled'}"


def split(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The finished runs that are candidates, and the targets without their losses."""
    made = runs[runs["stage"].isin(["main", "tune+main"]) & (runs["state"] == "done")]
    large = (made["num_layers"] == 4) & (made["train_tokens"] > 3e5)
    asked = made[large & (made["axis_expert_share"] == "1/4")].drop_duplicates("config_id").sort_values("num_experts")
    names = asked["num_experts"].map("{:.0f}".format)
    return made[~large], asked[["architecture", "train_tokens"]].assign(name=names).reset_index(drop=True)


def replay(candidates: pd.DataFrame, targets: pd.DataFrame, rule: Rule) -> list[Step]:
    """The belief after the first batch and after every further one."""
    bare = candidates.drop(columns=["loss", "status", "state", "train_loss"])
    first = next_runs_of(None, bare, targets, purpose="design", within=WITHIN, spend=FIRST_SPEND, most=FIRST_RUNS)
    made, steps = list(first.rows), list[Step]()
    whole = float(candidates["train_flops"].sum())
    while True:
        left = [row for row in range(len(candidates)) if row not in made]
        if not left:
            return steps
        told, offered = candidates.iloc[made], bare.iloc[left].reset_index(drop=True)
        found = next_runs_of(told, offered, targets, purpose="design", within=WITHIN, most=BATCH).record
        best = min(found.targets, key=lambda target: target.loss).name
        settled = found.settled is not None and not found.chosen
        share = float(candidates["train_flops"].iloc[made].sum()) / whole
        steps.append(Step(len(made), share, best, found.before, settled))
        print(steps[-1], flush=True)
        if settled:
            return steps
        made += rule(left, found, bare) or left[:BATCH]


def as_next_says(seed: int) -> Rule:
    """The runs that `next` names."""
    return lambda left, found, _: [left[run.candidate - 1] for run in found.chosen]


def at_random(seed: int) -> Rule:
    """Any."""
    random = np.random.default_rng(seed)
    return lambda left, *_: [int(row) for row in random.permutation(left)[:BATCH]]


def cheapest(seed: int) -> Rule:
    """Those of the fewest FLOPs."""
    return lambda left, _, bare: sorted(left, key=lambda row: float(bare["train_flops"].iloc[row]))[:BATCH]


RULES = {"next": as_next_says, "random": at_random, "cheapest first": cheapest}


def truth(runs: pd.DataFrame) -> str:
    """The targets' own losses, which no rule saw."""
    made = runs[runs["stage"].isin(["main", "tune+main"]) & (runs["num_layers"] == 4) & (runs["train_tokens"] > 3e5)]
    asked = made[made["axis_expert_share"] == "1/4"].sort_values("num_experts")
    rows = [
        (f"{experts:.0f}", f"{some['loss'].mean():.4f}", ", ".join(f"{loss:.4f}" for loss in some["loss"]))
        for experts, some in asked.groupby("num_experts")
    ]
    return table(("experts", "loss, mean of two seeds", "each"), rows)


def draw(found: dict[tuple[str, int], list[Step]], file: Path) -> None:
    """Doubt over the share of the grid's FLOPs."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    colours = dict(zip(RULES, ("#1f6feb", "#888888", "#d29922"), strict=True))
    for (name, seed), steps in found.items():
        shares, doubts = [step.share for step in steps], [max(step.doubt, 1e-5) for step in steps]
        style = "-" if seed == 0 else "--"
        axis.plot(shares, doubts, style, marker="o", color=colours[name], label=f"{name}, seed {seed}")
    axis.axhline(WITHIN, color="black", linewidth=0.8)
    axis.set(xlabel="share of the grid's FLOPs", ylabel="expected regret, nats", yscale="log")
    axis.legend(fontsize=8)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
