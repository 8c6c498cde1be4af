"""Does the stacked prediction of several forms do better on larger runs than the best of them? On the public tables.

    python -m tests.benchmarks.bench_stacking RESULTS.jsonl [--resamples 10] [--tables farseer joint_moe]

Splits are those of `bench_intervals`: 85 % of a table's rows, of which the largest 5 to 25 % in one direction are kept.
`fit --law all` is run on the rest, and asked about the kept rows: by the form with the least error in its rolling
holdouts, by each form that it does not tell apart from that one, and by their stacked prediction. Tables on which fewer
than two forms are left are counted and left out. Printed by table: root mean square error of the log loss, coverage of
90 % intervals where there is one, their median width, and the shares of rows without one.
"""

import argparse
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moewright import laws
from moewright.errors import UserError
from moewright.laws.fitting.comparison import all_forms
from tests.benchmarks.bench_intervals import LEVEL, TABLES, complete, drawn_split

CHOSEN = [name for name in TABLES if name not in ("joint_moe, tuned", "marin")]
"""The tuned joint_moe has the rows of the other; of marin no row has an interval."""


def resample(name: str, direction: str, number: int, bootstrap: int) -> dict[str, Any]:
    """One line of the results."""
    table, kept = drawn_split(name, direction, number)
    line: dict[str, Any] = {"table": name, "direction": direction, "resample": number}
    loss = table.loc[kept, "loss"].to_numpy(float)
    try:
        compared = laws.compare(all_forms(), table[~kept], bootstrap=bootstrap, starts=8)
        forms = [fit.law.record.law for fit in compared.fits]
        line |= {"forms": forms, "weights": compared.weights}
        if len(forms) < 2:
            return line
        stacked, ends = compared.stacked(table[kept], LEVEL)
        single = [(fit.law.predict(table[kept]), fit.law.interval(table[kept], LEVEL)) for fit in compared.fits]
    except UserError as error:
        return {**line, "refused": str(error)}
    answers = {"best": single[0], "stacked": (stacked, ends)}
    scored = {who: _score(loss, *said) for who, said in answers.items()}
    scored["others"] = {"rmse": float(np.mean([_score(loss, *said)["rmse"] for said in single[1:]]))}
    return {**line, "rows": int(kept.sum()), **scored}


def _score(loss: np.ndarray, predicted: np.ndarray, ends: Any) -> dict[str, float | None]:
    low, high = ends
    given = np.isfinite(low)
    return {
        "rmse": float(np.sqrt(np.mean(np.log(predicted / loss) ** 2))),
        "inside": float(np.mean(((low <= loss) & (loss <= high))[given])) if given.any() else None,
        "width": float(np.median(np.log(high[given] / low[given]))) if given.any() else None,
        "withheld": float(np.mean(~given)),
    }


def summary(lines: list[dict[str, Any]]) -> None:
    """One line per table, then all tables alike."""
    scored = [line for line in lines if "stacked" in line]
    means = []
    for name in dict.fromkeys(line["table"] for line in lines):
        part = [line for line in scored if line["table"] == name]
        asked = [line for line in lines if line["table"] == name]
        if not part:
            print(f"{name:18} {len(asked)} splits: never two forms that are not told apart")
            continue
        frame = pd.json_normalize(part).astype({"best.rmse": float, "stacked.rmse": float})
        wins = float((frame["stacked.rmse"] < frame["best.rmse"]).mean())
        row = frame[[name for name in map(str, frame) if "." in name]].astype(float).mean()
        means.append(row)
        print(
            f"{name:18} {len(part):3} of {len(asked):3} splits: error {row['best.rmse']:.4f} best, "
            f"{row['others.rmse']:.4f} others, {row['stacked.rmse']:.4f} stacked (lower in {wins:.2f}); coverage "
            f"{row['best.inside']:.2f}, {row['stacked.inside']:.2f}; width {row['best.width']:.3f}, "
            f"{row['stacked.width']:.3f}; withheld {row['best.withheld']:.2f}, {row['stacked.withheld']:.2f}"
        )
    if means:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            row = pd.DataFrame(means).mean()
        ratio = float(np.exp(np.mean([np.log(each["stacked.rmse"] / each["best.rmse"]) for each in means])))
        print(
            f"mean over {len(means)} tables: error of stacked over best {ratio:.3f}; coverage {row['best.inside']:.2f} "
            f"best, {row['stacked.inside']:.2f} stacked; width {row['best.width']:.3f}, {row['stacked.width']:.3f}; "
            f"withheld {row['best.withheld']:.2f}, {row['stacked.withheld']:.2f}"
        )


def main() -> None:
    """Compute what is missing, then print everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--resamples", type=int, default=10)
    parser.add_argument("--bootstrap", type=int, default=60)
    parser.add_argument("--tables", nargs="+", default=CHOSEN, choices=list(TABLES))
    given = parser.parse_args()
    measure = partial(resample, bootstrap=given.bootstrap)
    summary(complete(given.results, given.tables, given.resamples, measure, left_out=("random",)))


if __name__ == "__main__":
    main()
