"""`moewright next` on the finished grid, run by run, against other orders that stop by the same rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from examples.pages import table
from examples.shared_or_none.effects import HERE, RATIOS, Effect, main_runs
from moewright import laws, runs
from moewright.laws.selection.run_choice import NextRunsRecord, next_runs_of

EARLIER = HERE.parent / "small_mixtures" / "runs.parquet"
WITHIN, SHUFFLES = 0.002, 5
Rule = Callable[[list[int], NextRunsRecord], int]


@dataclass(frozen=True)
class Stop:
    """Where a way of choosing runs stopped."""

    runs: int
    asked: int
    """Of these runs those of the two models in question."""
    settled: bool
    difference: float
    """Shared less none at the primary total as `next` then believes it, nats."""


def replays(chosen: pd.DataFrame, whole: Effect) -> str:
    """Every order from five shuffles of the seeds, beside the whole grid."""
    random = np.random.default_rng(0)
    stops: dict[str, list[Stop]] = {"next": [], "seed by seed": [], "random": []}
    for _ in range(SHUFFLES):
        seeds = {seed: place for place, seed in enumerate(random.permutation(chosen["seed"].unique()))}
        shuffled = chosen.assign(place=chosen["seed"].map(seeds)).sort_values(["place", "ratio", "share"])
        candidates = shuffled.drop(columns="place").reset_index(drop=True)
        stops["next"].append(replay(candidates, as_next_says))
        stops["seed by seed"].append(replay(candidates, in_order))
        stops["random"].append(replay(candidates, in_the_order(random.permutation(len(candidates)).tolist())))
    rows = [row(name, found, whole, len(chosen)) for name, found in stops.items()]
    head = ("order of the runs", "runs until settled, by shuffle", "mean", "of the two in question",
            "same sign as the whole grid", "off from the whole grid, nats")  # fmt: skip
    rows.append(("all", len(chosen), "100%", "50%", "", ""))
    return table(head, rows)


def row(name: str, found: Sequence[Stop], whole: Effect, grid: int) -> tuple[object, ...]:
    """Of the table."""
    agreeing = sum(stop.settled and stop.difference * whole.mean > 0 for stop in found)
    made = sum(stop.runs for stop in found)
    asked = sum(stop.asked for stop in found)
    return (
        name,
        ", ".join(f"{stop.runs}" + ("" if stop.settled else " (not settled)") for stop in found),
        f"{made / len(found) / grid:.0%}",
        f"{asked / made:.0%}",
        f"{agreeing} of {len(found)}",
        ", ".join(f"{abs(stop.difference - whole.mean):.3f}" for stop in found),
    )


def replay(candidates: pd.DataFrame, rule: Rule) -> Stop:
    """One run at a time from none, on top of the runs of ../small_mixtures, until `next` says that it is settled."""
    earlier = earlier_runs()
    bare = candidates.drop(columns=["loss", "status", "state", "train_loss"])
    models = candidates[candidates["ratio"] == RATIOS[0]].drop_duplicates("share").sort_values("share")
    targets = models[["architecture", "train_tokens"]].assign(name=["none", "shared"]).reset_index(drop=True)
    made: list[int] = []
    while True:
        left = [row for row in range(len(candidates)) if row not in made]
        told = pd.concat([earlier, candidates.iloc[made]], ignore_index=True)
        offered = bare.iloc[left or [0]].reset_index(drop=True)
        found = next_runs_of(
            told, offered, targets, [laws.get("zhao2025")], purpose="compare", within=WITHIN, most=1
        ).record
        none, shared = (target.loss for target in found.targets)
        settled = found.settled is not None and not found.chosen
        if settled or not left:
            asked = int((candidates["ratio"].iloc[made] == RATIOS[0]).sum())
            return Stop(len(made), asked, settled, shared - none)
        made.append(rule(left, found))


def earlier_runs() -> pd.DataFrame:
    """The long runs of ../small_mixtures at their tuned rates: what was known before."""
    found: pd.DataFrame = main_runs(runs.load(EARLIER))
    return found.query("train_tokens == train_tokens.max()")


def as_next_says(left: list[int], found: NextRunsRecord) -> int:
    """The run that `next` names, or the first where it names none."""
    return left[found.chosen[0].candidate - 1] if found.chosen else left[0]


def in_order(left: list[int], _: NextRunsRecord) -> int:
    """The four cells of a seed, then those of the next."""
    return left[0]


def in_the_order(order: Sequence[int]) -> Rule:
    """Of a list."""
    return lambda left, _: next(row for row in order if row in left)
