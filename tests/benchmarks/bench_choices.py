"""Is a fitted law as sure of which of two larger runs ends lower as it is right? On every public table.

    python -m tests.benchmarks.bench_choices [--resamples 4] [--tables farseer marin]

The largest rows are kept and the rest fitted as in `bench_intervals`. Of two kept rows at a time, whose losses differ
by more than seeds do, the law says with which probability one lies below the other: by `FittedLaw.drawn_losses`, and by
the draws of its coefficients alone, as if the form were right. Printed for each bin of that probability: pairs, the
mean of what was said, and the share that was right. Both should be equal.

Chosen on LOOKED_AT with resample 0; the other tables were first asked when it was done.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from moewright.errors import UserError
from moewright.laws.fitting.observations import as_frame, read_columns
from tests.benchmarks.bench_intervals import DEVELOPED, TABLES, directions, drawn_split, fitted_to, read

BEYOND_SEEDS = 0.002
"""Difference of log losses; repeats of public runs differ by .001 to .005."""
MOST_PAIRS = 400
EDGES = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
LOOKED_AT = {*DEVELOPED, "scalebench moe", "sparsity", "slicing"}
Bins = np.ndarray
"""(bins, 3): pairs, sum of what was said, how many were right."""


def asked(name: str, direction: str, number: int) -> dict[str, Bins]:
    """The bins of one split, by what the draws hold; empty where nothing can be asked."""
    table, kept = drawn_split(name, direction, number)
    try:
        law = fitted_to(name, table[~kept])
        columns = read_columns(as_frame(table[kept]), law.inputs, {})
        everything = law.drawn_losses(columns)
    except UserError:
        return {}
    draws = {c.name: law.record.draws[:, i, None] for i, c in enumerate(law.form.coefficients)}
    alone = np.asarray(law.bare_loss({key: value[None] for key, value in columns.items()}, draws))
    loss = np.log(table.loc[kept, "loss"].to_numpy(float))
    one, other = np.triu_indices(len(loss), 1)
    chosen = np.random.default_rng(number).permutation(len(one))[:MOST_PAIRS]
    one, other = one[chosen], other[chosen]
    apart = np.abs(loss[one] - loss[other]) > BEYOND_SEEDS
    one, other = one[apart], other[apart]
    return {
        words: _binned((losses[:, one] < losses[:, other]).mean(axis=0), loss[one] < loss[other])
        for words, losses in (("all errors", everything), ("coefficients alone", alone))
    }


def _binned(said: np.ndarray, below: np.ndarray) -> Bins:
    right = np.where(said >= 0.5, below, ~below)
    sure = np.maximum(said, 1 - said)
    place = np.clip(np.digitize(sure, EDGES) - 1, 0, len(EDGES) - 2)
    sums = [np.bincount(place, weights=each, minlength=len(EDGES) - 1) for each in (np.ones(len(sure)), sure, right)]
    return np.stack(sums, axis=1)


def lines(title: str, found: dict[str, Bins]) -> Iterator[str]:
    """One line for each kind of draws."""
    for words, bins in found.items():
        each = (f"{int(n):5d} said {s / n:.2f} right {r / n:.2f}" for n, s, r in bins if n)
        yield f"{title:18} {words:18} " + " | ".join(each)


def add(total: dict[str, Bins], found: dict[str, Bins]) -> None:
    """Sum up."""
    for words, bins in found.items():
        total[words] = total.get(words, 0) + bins


def main() -> None:
    """Every table, then those that were looked at and those that were not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--resamples", type=int, default=4)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    given = parser.parse_args()
    sums: dict[str, dict[str, Bins]] = {"looked at": {}, "not looked at": {}}
    for name in given.tables:
        table: dict[str, Bins] = {}
        for number in range(given.resamples):
            for direction in directions(TABLES[name][1], read(name)):
                if direction != "random":
                    add(table, asked(name, direction, number))
        add(sums["looked at" if name in LOOKED_AT else "not looked at"], table)
        print(*lines(name, table), sep="\n", flush=True)
    for title, found in sums.items():
        print(*lines(title, found), sep="\n")


if __name__ == "__main__":
    main()
