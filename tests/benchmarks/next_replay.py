"""Which runs to make next, replayed on finished public tables: at equal budget, how well is the largest tenth foretold?

    python -m tests.benchmarks.next_replay [TABLE ...] [--seeds 5]

The tenth of the rows with most compute is what is asked about; the others are the candidates, their losses unknown
until chosen. Every rule starts from the same first batch (`fill_space`, a quarter of the budget) and buys batches of
five until the budget, a share of what all candidates cost, is spent. All are judged with the same belief, so they
differ in the rows alone. Printed: root mean square error of the foretold losses in nats, their R2 (at least -1, as in
arXiv 2604.22753), and the share inside 90 % intervals. `mspe` is that acquisition, the mean squared error at the
targets that a run takes away per cost to the .4, under the same belief instead of the basins of a fit. The method was
made while looking at joint, takano and clark; farseer and moe (of scalebench, whose own targets and costs are used, and
whose runs clark2022 was fitted to) were looked at once, when it was done, and so were scalebench's others later.
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
from moewright.laws.law import Law
from moewright.laws.selection.belief import Belief, believe
from moewright.laws.selection.criterion import Criterion
from moewright.laws.selection.greedy import Chooser, choose, fill_space
from moewright.laws.variable import Array
from tests.benchmarks.scalebench_forms import FORMS

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BUDGETS = (0.02, 0.05, 0.1, 0.2)
BATCH = 5
Rule = Callable[[Belief, Array, float, np.random.Generator, int], tuple[int, ...]]


@dataclass(frozen=True)
class Table:
    """One finished table: laws, candidates and targets as each law's columns, log losses and costs."""

    names: tuple[str, ...]
    """Of the catalogue or of scalebench_forms.py."""
    candidates: pd.DataFrame
    targets: pd.DataFrame
    costs: Array
    batch: int = BATCH

    @property
    def laws(self) -> list[Law]:
        """By their names."""
        return [FORMS[name] if name in FORMS else laws.get(name) for name in self.names]


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
                error, inside, number, fit = np.mean(scores, axis=0)
                print(
                    f"  {budget:4.0%} {rule:9s} rmse {error:.4f}  R2 {fit:5.2f}  inside {inside:.2f}  "
                    f"runs {number:.0f}",
                    flush=True,
                )


def replay(table: Table, rule: Rule, budget: float, random: np.random.Generator) -> tuple[float, float, float, float]:
    """RMSE in nats and coverage of 90 % at the targets, how many runs were made, and R2."""
    spend = budget * float(table.costs.sum())
    law = table.laws
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
        more = rule(belief, cost, spend - spent, random, table.batch)[: table.batch]
        if not more:
            break
        made += more
        spent += float(table.costs[list(more)].sum())
    number = len(table.candidates)
    truth = np.log(table.targets["loss"].to_numpy())
    mean = belief.mean[number:]
    deviation = np.sqrt(np.diag(belief.covariance)[number:] + belief.noise**2)
    inside = np.abs(mean - truth) <= 1.645 * deviation
    square = (np.exp(mean) - np.exp(truth)) ** 2
    fit = 1 - float(square.mean() / np.exp(truth).var())
    return float(np.sqrt(square.mean())), float(inside.mean()), float(len(made)), max(fit, -1.0)


def _places(table: Table) -> Array:
    columns = [name for name in table.candidates if name != "loss"]
    logs = np.log(np.maximum(table.candidates[columns].to_numpy(dtype=float), 1e-9))
    return np.asarray((logs - logs.min(axis=0)) / np.maximum(np.ptp(logs, axis=0), 1e-12))


def by_doubt(belief: Belief, costs: Array, spend: float, random: np.random.Generator, number: int) -> tuple[int, ...]:
    """What `moewright next` does."""
    return choose(belief, costs, Criterion("forecast", 0.0, 0.95), spend, number).rows


def at_random(belief: Belief, costs: Array, spend: float, random: np.random.Generator, number: int) -> tuple[int, ...]:
    """Any that is affordable."""
    return _in_order(random.permutation(len(costs)), costs, spend, number)


def cheapest(belief: Belief, costs: Array, spend: float, random: np.random.Generator, number: int) -> tuple[int, ...]:
    """The cheapest first."""
    return _in_order(np.argsort(costs, kind="stable"), costs, spend, number)


def d_optimal(belief: Belief, costs: Array, spend: float, random: np.random.Generator, number: int) -> tuple[int, ...]:
    """The row that is least known, per cost: greedy D-optimality."""
    return _greedy(
        belief, costs, spend, number, lambda chooser: np.log1p(_variances(chooser) / belief.noise**2) / costs
    )


def published(belief: Belief, costs: Array, spend: float, random: np.random.Generator, number: int) -> tuple[int, ...]:
    """arXiv 2604.22753: mean squared error at the targets that a run takes away, per cost to the .4."""

    def gain(chooser: Chooser) -> Array:
        told = (chooser._between**2).sum(axis=0) / (_variances(chooser) + belief.noise**2)
        return np.asarray(told / costs**0.4)

    return _greedy(belief, costs, spend, number, gain)


def _variances(chooser: Chooser) -> Array:
    return np.maximum(np.diag(chooser._among), 0.0)


def _greedy(
    belief: Belief, costs: Array, spend: float, number: int, worth: Callable[[Chooser], Array]
) -> tuple[int, ...]:
    chooser = Chooser(belief, len(costs), Criterion("forecast", 0.0, 0.95))
    rows: list[int] = []
    while len(rows) < number:
        found = worth(chooser)
        found[(costs > spend) | np.isin(np.arange(len(costs)), rows)] = -1.0
        row = int(np.argmax(found))
        if found[row] <= 0:
            break
        chooser.make(row)
        rows.append(row)
        spend -= costs[row]
    return tuple(rows)


def _in_order(order: npt.NDArray[Any], costs: Array, spend: float, number: int) -> tuple[int, ...]:
    rows: list[int] = []
    for row in order:
        if len(rows) < number and costs[row] <= spend:
            rows.append(int(row))
            spend -= costs[row]
    return tuple(rows)


RULES: dict[str, Rule] = {
    "next": by_doubt,
    "random": at_random,
    "cheapest": cheapest,
    "d-optimal": d_optimal,
    "mspe": published,
}


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


def _scalebench(
    task: str,
    columns: dict[str, str],
    cost: Callable[[pd.DataFrame], Any],
    *names: str,
    group: str | None = None,
    above: float = 0.0,
    batch: int = BATCH,
) -> Callable[[], Table]:
    """The task's own targets and costs. `above` is added to losses of either sign."""

    def make() -> Table:
        folder = DATA / "scalebench" / task
        parts = [
            pd.read_parquet(next(folder.glob(f"{part}-*.parquet"))).rename(columns=columns)
            for part in ("train", "test")
        ]
        if group is not None:
            parts = [part[part["group"] == group].reset_index(drop=True) for part in parts]
        kept = [*columns.values()]
        tables = [part[kept].assign(loss=part["loss"] + above) for part in parts]
        return Table(names, tables[0], tables[1], np.asarray(cost(parts[0]), dtype=float), batch)

    return make


def _compute(rows: pd.DataFrame) -> Any:
    return 6 * rows["total_params"] * rows["train_tokens"]


TABLES: dict[str, Callable[[], Table]] = {
    "joint": _public("joint_moe", "joint_moe", "runs.csv", "wang2024", "yun2024"),
    "takano": _public("takano_dense", "takano_dense", "runs.csv", "hoffmann2022"),
    "farseer": _scalebench(
        "farseer", {"N": "total_params", "D": "train_tokens", "loss": "loss"}, _compute, "hoffmann2022"
    ),
    **{
        name: _scalebench(
            "moe",
            {"dense_parameter_count": "active_params", "num_experts": "num_experts", "loss_validation": "loss"},
            lambda rows: rows["active_params"] * rows["num_experts"],
            law,
        )
        for name, law in (("moe", "clark2022"), ("moe with an asymptote", "experts over an asymptote"))
    },
    "data_constrained": _scalebench(
        "data_constrained",
        {"params": "total_params", "tokens": "train_tokens", "unique_tokens": "unique_tokens", "loss": "loss"},
        _compute,
        "repeated tokens",
    ),
    **{
        f"parallel {group}": _scalebench(
            "parallel",
            {"num_params": "total_params", "parallel_size": "streams", "loss": "loss"},
            lambda rows: rows["total_params"],
            "parallel streams",
            group=group,
            batch=1,  # a tenth of the cost buys three or four runs
        )
        for group in ("pile", "stack")
    },
    **{
        f"sparsity {second}": _scalebench(
            "sparsity",
            {"N_active": "active_params", "P": "expansion", "D2": "train_tokens", "loss": "loss"},
            lambda rows: 6 * (rows["N_dense"] * rows["D1"] + rows["active_params"] * rows["train_tokens"]),
            "upcycled mixtures",
            group=f"D1=2.31_D2={second}",
        )
        for second in ("1.15", "2.31", "4.61")
    },
    "vocab": _scalebench(
        "vocab",
        {
            "non_vocab_parameters": "total_params",
            "vocab_size": "vocabulary",
            "num_characters": "characters",
            "unigram_normalized_loss": "loss",
        },
        lambda rows: 6 * rows["total_params"] * rows["characters"],
        "vocabulary",
        above=10.0,
        batch=20,
    ),
    "lr_bsz": _scalebench(
        "lr_bsz",
        {
            "lr": "learning_rate",
            "bsz": "batch",
            "data_size": "train_tokens",
            "non_embedding_param_size": "total_params",
            "lm_loss": "loss",
        },
        _compute,
        "learning rate and batch",
        batch=40,
    ),
    "clark": _public("clark_routing", "clark_routing", "final_step.csv", "wang2024"),
}

if __name__ == "__main__":
    main()
