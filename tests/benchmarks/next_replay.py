"""Which runs to make next, replayed on finished public tables: at equal budget, how well is the largest tenth foretold?

    python -m tests.benchmarks.next_replay [TABLE ...] [--seeds 5]

The tenth of the rows with most compute is what is asked about; the others are the candidates, their losses unknown
until chosen. Every rule starts from the same first batch (`fill_space`, a quarter of the budget) and buys batches of
five until the budget, a share of what all candidates cost, is spent. All are judged with the same belief, so they
differ in the rows alone. Printed: root mean square error of the foretold losses in nats, and the share inside 90 %
intervals. The method was made while looking at joint, takano and clark; farseer and moe (of scalebench, whose own
targets and costs are used, and whose runs clark2022 was fitted to) were looked at once, when it was done.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moewright import laws, runs
from moewright.laws.fitting.observations import read_observations, scale
from moewright.laws.selection.belief import Belief, believe
from moewright.laws.selection.greedy import Chooser, choose, fill_space
from moewright.laws.selection.question import Question
from moewright.laws.variable import Array

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BUDGETS = (0.02, 0.05, 0.1, 0.2)
BATCH = 5
Rule = Callable[[Belief, Array, float, np.random.Generator], tuple[int, ...]]


@dataclass(frozen=True)
class Table:
    """One finished table: laws, candidates and targets as each law's columns, log losses and costs."""

    names: tuple[str, ...]
    candidates: pd.DataFrame
    targets: pd.DataFrame
    costs: Array


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each table, budget and rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=[*TABLES])
    parser.add_argument("--seeds", type=int, default=5, help="of the random rule")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--rules", nargs="+", choices=[*RULES], default=[*RULES])
    chosen = parser.parse_args(arguments)
    for name in chosen.tables:
        table = TABLES[name]()
        print(f"{name}: {len(table.candidates)} candidates, {len(table.targets)} targets, {', '.join(table.names)}")
        for budget in chosen.budgets:
            for rule in chosen.rules:
                seeds = chosen.seeds if rule == "random" else 1
                scores = [replay(table, RULES[rule], budget, np.random.default_rng(seed)) for seed in range(seeds)]
                error, inside, number = np.mean(scores, axis=0)
                print(f"  {budget:4.0%} {rule:9s} rmse {error:.4f}  inside {inside:.2f}  runs {number:.0f}", flush=True)


def replay(table: Table, rule: Rule, budget: float, random: np.random.Generator) -> tuple[float, float, float]:
    """RMSE in nats and coverage of 90 % at the targets, and how many runs were made."""
    spend = budget * float(table.costs.sum())
    law = [laws.get(name) for name in table.names]
    coefficients = max(len(each.as_form().form.coefficients) for each in law)
    made = list(fill_space(_places(table), table.costs, spend / 4, coefficients + 1))
    spent = float(table.costs[made].sum())
    points = pd.concat([table.candidates, table.targets], ignore_index=True)
    while True:
        belief = believe(
            law, [table.candidates.iloc[made]] * len(law), [points] * len(law), candidates=len(table.candidates)
        )
        cost = table.costs.copy()
        cost[made] = np.inf
        more = rule(belief, cost, spend - spent, random)[:BATCH]
        if not more:
            break
        made += more
        spent += float(table.costs[list(more)].sum())
    number = len(table.candidates)
    truth = np.log(table.targets["loss"].to_numpy())
    mean = belief.mean[number:]
    deviation = np.sqrt(np.diag(belief.covariance)[number:] + belief.noise**2)
    inside = np.abs(mean - truth) <= 1.645 * deviation
    return float(np.sqrt(np.mean((np.exp(mean) - np.exp(truth)) ** 2))), float(inside.mean()), float(len(made))


def _places(table: Table) -> Array:
    columns = [name for name in table.candidates if name != "loss"]
    logs = np.log(np.maximum(table.candidates[columns].to_numpy(dtype=float), 1e-9))
    return np.asarray((logs - logs.min(axis=0)) / np.maximum(np.ptp(logs, axis=0), 1e-12))


def by_doubt(belief: Belief, costs: Array, spend: float, random: np.random.Generator) -> tuple[int, ...]:
    """What `moewright next` does."""
    return choose(belief, costs, Question("forecast", 0.0, 0.95), spend, BATCH).rows


def at_random(belief: Belief, costs: Array, spend: float, random: np.random.Generator) -> tuple[int, ...]:
    """Any that is affordable."""
    return _in_order(random.permutation(len(costs)), costs, spend)


def cheapest(belief: Belief, costs: Array, spend: float, random: np.random.Generator) -> tuple[int, ...]:
    """The cheapest first."""
    return _in_order(np.argsort(costs, kind="stable"), costs, spend)


def d_optimal(belief: Belief, costs: Array, spend: float, random: np.random.Generator) -> tuple[int, ...]:
    """The row that is least known, per cost: greedy D-optimality."""
    number = len(costs)
    chooser = Chooser(belief, number, Question("forecast", 0.0, 0.95))
    rows: list[int] = []
    left = spend
    while len(rows) < BATCH:
        known = np.log1p(np.maximum(np.diag(chooser._among), 0) / belief.noise**2) / costs
        known[(costs > left) | np.isin(np.arange(number), rows)] = -1.0
        row = int(np.argmax(known))
        if known[row] <= 0:
            break
        chooser.make(row)
        rows.append(row)
        left -= costs[row]
    return tuple(rows)


def _in_order(order: npt.NDArray[Any], costs: Array, spend: float) -> tuple[int, ...]:
    rows: list[int] = []
    for row in order:
        if len(rows) < BATCH and costs[row] <= spend:
            rows.append(int(row))
            spend -= costs[row]
    return tuple(rows)


RULES: dict[str, Rule] = {"next": by_doubt, "random": at_random, "cheapest": cheapest, "d-optimal": d_optimal}


def _split(frame: pd.DataFrame, names: Sequence[str]) -> Table:
    columns = {variable.name for name in names for variable in laws.get(name).inputs}
    frame = frame[[*sorted(columns), "loss"]].dropna().reset_index(drop=True)
    cost = scale(read_observations(frame, laws.get(names[0]).inputs))
    order = np.argsort(cost, kind="stable")
    cut = int(0.9 * len(frame))
    few, large = np.sort(order[:cut]), order[cut:]
    return Table(tuple(names), frame.iloc[few].reset_index(drop=True), frame.iloc[large], cost[few])


def _public(source: str, folder: str, file: str, *names: str) -> Callable[[], Table]:
    def make() -> Table:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _split(runs.load(DATA / folder / file, source), names)

    return make


def _scalebench(task: str, columns: dict[str, str], size: str, tokens: str | None, *names: str) -> Callable[[], Table]:
    """The task's own targets and costs: 6 N D, or N x E where all runs have the same tokens."""

    def make() -> Table:
        folder = DATA / "scalebench" / task
        parts = [
            pd.read_parquet(next(folder.glob(f"{part}-*.parquet"))).rename(columns=columns)
            for part in ("train", "test")
        ]
        kept = [*columns.values()]
        costs = parts[0][size] * (6 * parts[0][tokens] if tokens else parts[0]["num_experts"])
        return Table(names, parts[0][kept], parts[1][kept], costs.to_numpy(dtype=float))

    return make


TABLES: dict[str, Callable[[], Table]] = {
    "joint": _public("joint_moe", "joint_moe", "runs.csv", "wang2024", "yun2024"),
    "takano": _public("takano_dense", "takano_dense", "runs.csv", "hoffmann2022"),
    "farseer": _scalebench(
        "farseer",
        {"N": "total_params", "D": "train_tokens", "loss": "loss"},
        "total_params",
        "train_tokens",
        "hoffmann2022",
    ),
    "moe": _scalebench(
        "moe",
        {"dense_parameter_count": "active_params", "num_experts": "num_experts", "loss_validation": "loss"},
        "active_params",
        None,
        "clark2022",
    ),
    "clark": _public("clark_routing", "clark_routing", "final_step.csv", "wang2024"),
}

if __name__ == "__main__":
    main()
