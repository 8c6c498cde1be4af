"""Do 90 % intervals hold for runs larger than those that a law was fitted to? On every public table.

    python -m tests.benchmarks.bench_intervals RESULTS.jsonl [--resamples 100] [--tables farseer marin]

Each resample takes 85 % of a table's rows, keeps the largest 5 to 25 % of them in one direction (a variable of the law,
training compute; or at random, for comparison), fits the rest, and asks for the 90 % interval of each kept row. One
line is written per resample; what is in the file is not computed again. Then one line is printed per table and
direction: coverage of the rows that have an interval, their median width over that of random holdouts, and the share of
rows that have none.

The method was chosen on DEVELOPED; JUDGED were first fitted when it was done.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moewright import laws
from moewright.errors import UserError
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.fit_settings import FitSettings
from moewright.laws.fitting.fitted_law import FittedLaw
from tests.laws.tables import SHARED_DATA, joint_moe, public_table, takano

LEVEL = 0.9
SETTINGS = {"bootstrap": 100, "starts": 8}


def clark(router: str) -> pd.DataFrame:
    """Runs of arXiv 2202.01169 with one router and dense ones."""
    table = public_table("clark_routing/final_step.csv")
    chosen = table["router_type"].isin([router, "Dense"]) & (table["routing_frequency"] == 0.5) & (table["k"] == 1)
    return table[chosen].rename(columns={"dense_parameter_count": "active_params", "loss_validation": "loss"})


def scalebench(task: str, names: dict[str, str]) -> pd.DataFrame:
    """Train and test rows of a task of arXiv 2604.22753, columns renamed."""
    parts = [
        pd.read_parquet(SHARED_DATA / f"scalebench/{task}/{part}-00000-of-00001.parquet") for part in ("train", "test")
    ]
    return pd.concat(parts, ignore_index=True).rename(columns=names)


def data_constrained() -> pd.DataFrame:
    """At most four passes over the data, as if all were new."""
    table = scalebench("data_constrained", {"params": "total_params", "tokens": "train_tokens"})
    return table[table["train_tokens"] <= 4 * table["unique_tokens"]]


def tuned_rates() -> pd.DataFrame:
    """The best rate and batch of each size and number of tokens."""
    names = {"data_size": "train_tokens", "non_embedding_param_size": "total_params", "lm_loss": "loss"}
    table = scalebench("lr_bsz", names)
    return table.loc[table.groupby(["total_params", "train_tokens"])["loss"].idxmin()]


def parallel(corpus: str) -> pd.DataFrame:
    """Parallel streams, taken as experts."""
    table = scalebench("parallel", {"num_params": "active_params", "parallel_size": "num_experts"})
    return table[table["group"] == corpus]


def marin() -> pd.DataFrame:
    """Experts and sizes at one compute budget a width, baseline variants and numbers of experts."""
    table = public_table("marin_ablations/runs.csv").rename(columns={"hidden_size": "active_params"})
    # Its active parameters are not published: layers and width stand in for them.
    return table.assign(active_params=12.0 * table["num_layers"] * table["active_params"].astype(float) ** 2)


def slicing() -> pd.DataFrame:
    """Dropless mixtures and dense runs at one rate."""
    from moewright.runs import load

    table = load(SHARED_DATA / "slicing/runs.csv", "slicing")
    names = {"sparsity_liew": "sparsity", "total_params": "all", "total_params_non_embedding": "total_params"}
    table = table.rename(columns=names)
    chosen = (table["learning_rate"] == 4e-4) & ~table["drops_tokens"].astype(bool)
    return table[chosen].dropna(subset=["loss", "sparsity", "num_experts"])


def sparsity() -> pd.DataFrame:
    """Sparse upcycling: total over active parameters taken as experts, second tokens as tokens."""
    table = scalebench("sparsity", {"N_active": "active_params", "P": "num_experts", "D2": "train_tokens"})
    return table.assign(active_params=table["active_params"] * 1e9, train_tokens=table["train_tokens"] * 1e9)


Loader = Callable[[], pd.DataFrame]
DEVELOPED: dict[str, tuple[Loader, str, dict[str, Any]]] = {
    "takano_dense": (takano, "hoffmann2022", {}),
    "joint_moe": (lambda: pd.concat([joint_moe("train"), joint_moe("test")]), "ludziejewski2025", {"tuning": "none"}),
    "joint_moe, tuned": (lambda: pd.concat([joint_moe("train"), joint_moe("test")]), "ludziejewski2025", {}),
    "data_constrained": (data_constrained, "hoffmann2022", {}),
}
JUDGED: dict[str, tuple[Loader, str, dict[str, Any]]] = {
    "clark S-Base": (lambda: clark("S-Base"), "clark2022", {}),
    "clark RL-R": (lambda: clark("RL-R"), "clark2022", {}),
    "clark Hash": (lambda: clark("Hash"), "clark2022", {}),
    "scalebench moe": (
        lambda: scalebench("moe", {"dense_parameter_count": "active_params", "loss_validation": "loss"}),
        "clark2022",
        {},
    ),
    "farseer": (lambda: scalebench("farseer", {"N": "total_params", "D": "train_tokens"}), "hoffmann2022", {}),
    "lr_bsz": (tuned_rates, "hoffmann2022", {}),
    "parallel pile": (lambda: parallel("pile"), "clark2022", {}),
    "parallel stack": (lambda: parallel("stack"), "clark2022", {}),
    "sparsity": (sparsity, "wang2024", {}),
    "marin": (marin, "clark2022", {}),
    "slicing": (slicing, "liew2026", {}),
}
TABLES = DEVELOPED | JUDGED


@cache
def read(name: str) -> pd.DataFrame:
    """A table with the columns of its law."""
    return TABLES[name][0]().reset_index(drop=True)


def directions(law: str, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Columns (R,) by which the largest rows can be kept, and none for a random choice."""
    found = {v.name: table[v.name].to_numpy(float) for v in laws.get(law).inputs if table[v.name].nunique() > 2}
    size = found.get("active_params", found.get("total_params"))
    if size is not None and "train_tokens" in found:
        found["compute"] = size * found["train_tokens"]
    return {**found, "random": np.zeros(len(table))}


def drawn_split(name: str, direction: str, number: int) -> tuple[pd.DataFrame, np.ndarray]:
    """85 % of a table's rows, and which of them (R,) are the largest 5 to 25 % in a direction."""
    table = read(name)
    random = np.random.default_rng([number, 7])
    table = table.iloc[random.permutation(len(table))[: round(0.85 * len(table))]].reset_index(drop=True)
    share = random.uniform(0.05, 0.25)
    score = directions(TABLES[name][1], table)[direction] if direction != "random" else random.random(len(table))
    return table, score >= np.sort(score)[-max(1, round(share * len(table)))]


def fitted_to(name: str, rows: pd.DataFrame) -> FittedLaw:
    """The table's law, fitted to some of its rows."""
    _, law, settings = TABLES[name]
    return LawFitter(laws.get(law), FitSettings.from_dict({**SETTINGS, **settings})).fit(rows).law_


def resample(name: str, direction: str, number: int) -> dict[str, Any]:
    """One line of the results."""
    table, kept = drawn_split(name, direction, number)
    line: dict[str, Any] = {"table": name, "direction": direction, "resample": number, "kept": int(kept.sum())}
    start = time.perf_counter()
    try:
        fitted = fitted_to(name, table[~kept])
        low, high = fitted.interval(table[kept], LEVEL)
    except UserError as error:
        return {**line, "refused": str(error)}
    loss = table.loc[kept, "loss"].to_numpy(float)
    given = np.isfinite(low)
    missed = np.log(fitted.predict(table[kept])) - np.log(loss)
    return {
        **line,
        "status": fitted.status,
        "given": int(given.sum()),
        "inside": int(((low <= loss) & (loss <= high))[given].sum()),
        "width": float(np.median(np.log(high[given] / low[given]))) if given.any() else None,
        "rmse": float(np.sqrt(np.mean(missed**2))),
        "seconds": time.perf_counter() - start,
    }


def summary(lines: list[dict[str, Any]]) -> Iterator[str]:
    """One line per table and direction, then the means."""
    frame = pd.DataFrame(lines)
    whole = []
    for name, rows in frame.groupby("table", sort=False):
        usual = rows.loc[rows["direction"] == "random", "width"].median()
        pooled = []
        for direction, part in rows.groupby("direction", sort=False):
            answered = part[part["given"] > 0]
            coverage = float((answered["inside"] / answered["given"]).mean())
            withheld = 1 - float((part["given"].fillna(0) / part["kept"]).mean())
            width = float(answered["width"].median()) / usual
            if direction != "random":
                pooled.append((coverage, width, withheld))
            yield (
                f"{name:18} {direction:14} {len(part):3} resamples: coverage {coverage:.2f}, width {width:.1f} x random"
                f", withheld {withheld:.2f}, error {part['rmse'].median():.4f}"
            )
        mean = np.nanmean(np.array(pooled), axis=0)
        whole.append(mean)
        yield f"{name:18} largest: coverage {mean[0]:.2f}, width {mean[1]:.1f} x, withheld {mean[2]:.2f}"
    mean = np.nanmean(np.array(whole), axis=0)
    yield f"mean over {len(whole)} tables: coverage {mean[0]:.2f}, width {mean[1]:.1f} x, withheld {mean[2]:.2f}"


def complete(
    results: Path,
    tables: Sequence[str],
    resamples: int,
    measure: Callable[[str, str, int], dict[str, Any]],
    left_out: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The lines of a file of results, to which `measure` (table, direction, number) adds those that are missing.

    `left_out`: directions that are not wanted.
    """
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(line["table"], line["direction"], line["resample"]) for line in lines}
    with results.open("a") as file:
        for number in range(resamples):
            for name in tables:
                for direction in directions(TABLES[name][1], read(name)):
                    if direction not in left_out and (name, direction, number) not in done:
                        lines.append(measure(name, direction, number))
                        file.write(json.dumps(lines[-1]) + "\n")
                        file.flush()
    return lines


def main() -> None:
    """Compute what is missing, then print everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--resamples", type=int, default=100)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    given = parser.parse_args()
    lines = complete(given.results, given.tables, given.resamples, resample)
    for title, tables in (("developed on", DEVELOPED), ("judged on", JUDGED)):
        part = [line for line in lines if line["table"] in tables]
        if part:
            print(title)
            print(*summary(part), sep="\n")


if __name__ == "__main__":
    main()
