"""Laws fitted to the runs: first without the largest size, which then judges them; then to all, for `design`."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import moewright
from examples.pages import table
from examples.small_mixtures import effects
from moewright import laws
from moewright.errors import UserError
from moewright.laws import Fit
from moewright.laws.counted_variables import in_conventions

# The three that the study was planned for, named before any was fitted; then every other form that these runs can feed.
PLANNED = ("liew2026", "zhao2025", "slicing2026")
OTHERS = ("ludziejewski2025", "wang2024", "yun2024", "abnar2025", "krajewski2024", "clark2022")
# No run has shared experts, and k's whole effect is below 2e-4 nats (LAWS: zhao2025): nothing here can tell them.
FIXED: dict[str, dict[str, float]] = {"zhao2025": {"m": 5.1395, "n": -3.2363, "k": 0.0013}}
ONE_LENGTH = ("liew2026", "clark2022")
"""Forms without tokens: fitted to the long runs."""


def rows_for(law: str, main: pd.DataFrame) -> pd.DataFrame:
    """The main runs with their variables as the law means them."""
    rows = effects.long_runs(main) if law in ONE_LENGTH else main
    if law == "slicing2026":
        width = 4 * rows["hidden_size"]
        own: dict[str, Any] = {
            "total_width": rows["num_experts"] * rows["expert_size"] / width,
            "active_width": rows["top_k"] * rows["expert_size"] / width,
            "shared_multiplier": 0.0,
            "drops_tokens": 0.0,
            "learning_rate_mean": rows["learning_rate"] * MEAN_OF_SCHEDULE,
        }
        rows = rows.assign(**own)
    return in_conventions(laws.get(law), rows)[0]


# Of the peak: a linear warm-up of 13 of 256 steps, then a cosine to a tenth (mean .55).
MEAN_OF_SCHEDULE = (13 * 0.5 + 243 * 0.55) / 256


def fit(law: str, main: pd.DataFrame, holdout: str | None, bootstrap: int) -> Fit:
    """One law on the rows that it takes."""
    return moewright.fit(
        rows_for(law, main), law, holdout=holdout, bootstrap=bootstrap, fix=FIXED.get(law, {}), tuning="none"
    )


def held_out(main: pd.DataFrame, bootstrap: int) -> tuple[str, dict[str, Fit]]:
    """Every form without the largest size, judged by it, and the table of their errors."""
    largest = main["num_layers"].max()
    fitted: dict[str, Fit] = {}
    rows = []
    for law in (*PLANNED, *OTHERS):
        try:
            found = fitted[law] = fit(law, main, f"num_layers={largest:g}", bootstrap)
        except UserError as error:
            rows.append((law, "", "", str(error), "", "", "", ""))
            continue
        record = found.law.record
        assert record.holdout is not None
        covered = record.holdout.get("coverage_90")
        rows.append(
            (
                law,
                record.num_rows,
                record.num_free,
                record.status,
                f"{record.rmse:.3f}",
                f"{record.holdout.rmse:.3f}",
                f"{record.holdout.bias:+.3f}",
                "" if covered is None else f"{covered:.0%}",
            )
        )
    for name, error, bias in naive(effects.long_runs(main)):
        rows.append((name, "", "", "", "", f"{error:.3f}", f"{bias:+.3f}", ""))
    head = ("form", "rows", "free", "status", "RMSE fitted", "RMSE held out", "bias", "inside 90 %")
    return table(head, rows), fitted


def naive(main: pd.DataFrame) -> list[tuple[str, float, float]]:
    """What needs no law: each cell's loss as that of the size below, and that continued by the last step in size."""
    sizes = sorted(main["num_layers"].unique())
    means = main.groupby(["total_ratio", "expert_share", "num_layers"])["loss"].mean().unstack()
    truth = means[sizes[-1]]
    active = main.groupby("num_layers")["active_params_non_embedding"].min()
    reach = np.log(active[sizes[-1]] / active[sizes[-2]]) / np.log(active[sizes[-2]] / active[sizes[-3]])
    guesses = {
        "the size below": means[sizes[-2]],
        "log-linear in the active size": means[sizes[-2]] + reach * (means[sizes[-2]] - means[sizes[-3]]),
    }
    return [
        (name, float(np.sqrt(np.mean((guess - truth) ** 2))), float(np.mean(guess - truth)))
        for name, guess in guesses.items()
    ]


def coefficients(found: Fit) -> str:
    """A law's coefficients with their intervals and whether the runs pin them."""
    intervals = found.law.coefficient_intervals(effects.LEVEL)
    known = {item.name: item for item in found.law.record.identified}
    rows = [
        (
            name,
            f"{value:.4g}",
            f"{intervals[name].low:.3g} to {intervals[name].high:.3g}" if name in intervals else "fixed",
            ("yes" if known[name].pinned else "no") if name in known else "",
        )
        for name, value in found.law.coefficients.items()
    ]
    return table(("coefficient", "value", "90 %", "pinned"), rows)


def save_all(main: pd.DataFrame, folder: Path, bootstrap: int) -> dict[str, Fit]:
    """The planned forms on all runs, as files for `predict` and `design`."""
    fitted = {law: fit(law, main, None, bootstrap) for law in PLANNED}
    for law, found in fitted.items():
        found.law.save(folder / f"{law}.json")
    return fitted
