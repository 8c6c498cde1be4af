"""Do a dozen small runs of one's own decide rightly what the published laws leave open? Replayed on public tables.

    python -m tests.benchmarks.own_runs_replay [--runs 12] [--seeds 10] [--tables slicing_low]

Of each table that many runs of the smallest size are one's own, drawn anew for each seed; all larger runs are judged.
Pairs are those of `laws --evidence`: trained alike, and further apart than noise. The law that was fitted to a table is
left out there. Printed: of all pairs, and of those at equal total and active size, the share decided and the share of
these that is right; by the laws alone, by own runs alone, and by `laws.judge` with both.
"""

import argparse
from typing import Any

import numpy as np
import pandas as pd

from moewright import laws
from moewright.errors import UserError
from moewright.laws.judging.compared_designs import ComparedDesigns
from moewright.laws.judging.own_runs import ask_own_runs, combined
from moewright.laws.judging.verdicts import judge_columns
from tests.laws.evidence_tables import TABLES, PublicTable

ALIKE = 0.02


def replay(table: PublicTable, number: int, seed: int) -> dict[str, np.ndarray] | str:
    """Direction (-1, 0, 1) of every pair by each judge, and the truth; or why the runs are not heard."""
    runs = table.read()
    frame = pd.DataFrame(dict(runs.columns))
    small = frame["hidden_size"] == frame["hidden_size"].min()
    smallest, larger = frame[small], frame[~small].reset_index(drop=True)
    own = smallest.iloc[np.random.default_rng(seed).permutation(len(smallest))[:number]]
    chosen = [law for law in laws.judges() if law.name != runs.own]
    found = ask_own_runs(own, [ComparedDesigns.from_columns(_plain(larger))], chosen)
    if found.belief is None:
        return f"not heard: {found.reason}"
    one, other = np.triu_indices(len(larger), 1)
    gap = larger["loss"].to_numpy()[one] - larger["loss"].to_numpy()[other]
    kept = (larger["cell"].to_numpy()[one] == larger["cell"].to_numpy()[other]) & (np.abs(gap) > runs.noise)
    one, other, gap = one[kept], other[kept], gap[kept]
    first, second = (ComparedDesigns.from_columns(_plain(larger.iloc[rows])) for rows in (one, other))
    by_laws = judge_columns(first, second, chosen).direction
    probability = found.probabilities(one, other)
    equal = np.ones(len(gap), dtype=bool)
    for size in ("total_params_non_embedding", "active_params_non_embedding"):
        ratio = larger[size].to_numpy()[one] / larger[size].to_numpy()[other]
        equal &= np.abs(np.log(ratio)) < ALIKE
    return {
        "laws": by_laws,
        "own": combined(np.zeros_like(by_laws), probability),
        "both": combined(by_laws, probability),
        "truth": np.sign(gap),
        "equal": equal,
    }


def _plain(frame: pd.DataFrame) -> dict[str, Any]:
    return {str(name): frame[name].to_numpy() for name in frame}


def main() -> None:
    """One line per table, kind of pair and judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tables", nargs="+", default=[each.name for each in TABLES])
    given = parser.parse_args()
    for table in (each for each in TABLES if each.name in given.tables):
        answers = []
        for seed in range(given.seeds):
            try:
                answer = replay(table, given.runs, seed)
            except UserError as error:
                answer = str(error)
            if isinstance(answer, str):
                print(f"{table.name:14} seed {seed}: {answer}")
            else:
                answers.append(answer)
        if not answers:
            continue
        for title, of in (("all", slice(None)), ("equal sizes", "equal")):
            parts = [(each, each["equal"] if of == "equal" else of) for each in answers]
            pairs = sum(len(each["truth"][rows]) for each, rows in parts)
            for judge in ("laws", "own", "both"):
                decided = sum(int((each[judge][rows] != 0).sum()) for each, rows in parts)
                right = sum(
                    int(((each[judge] == each["truth"]) & (each[judge] != 0))[rows].sum()) for each, rows in parts
                )
                told = f"decided {decided / max(pairs, 1):.2f}, right {right / max(decided, 1):.3f}"
                print(f"{table.name:14} {title:12} {pairs // len(answers):5d} pairs, {judge:5} {told}", flush=True)


if __name__ == "__main__":
    main()
