"""The slicing law: its fit, its tests on rows that it has not seen, and what its pinned parts are worth."""

from dataclasses import replace

import numpy as np
import pandas as pd

from examples import pages
from moewright import laws
from moewright.laws.published.slicing2026 import FORM, LAW, Pinned
from moewright.runs import prepare
from moewright.runs.contrasts import repeat_noise
from moewright.runs.importers.slicing import import_slicing

MODEL = ["hidden_size", "expert_groups", "shared_multiplier"]
# Huber's corner, relative: runs repeat within .001 (20M) to .004 (10M) of their loss, some at high rates far worse.
SETTINGS = {"objective": "huber_log", "delta": 0.004, "cluster": MODEL}


def fit(table: pd.DataFrame, bootstrap: int, law: laws.Law = LAW) -> laws.FittedLaw:
    """The law on all rows, models resampled whole."""
    return laws.fit_law(law, table, **SETTINGS, bootstrap=bootstrap, name="slicing2026")


def coefficients(law: laws.FittedLaw) -> str:
    """Every coefficient with its interval, and which of them the rows can tell from zero."""
    rows = [
        (
            name,
            f"{law.coefficients[name]:+.4f}",
            f"{ends.low:+.4f} to {ends.high:+.4f}",
            "yes" if ends.low * ends.high > 0 else "no",
        )
        for name, ends in law.coefficient_intervals().items()
    ]
    return pages.table(("coefficient", "value", "90 % interval", "apart from 0"), rows)


def without_each_model(table: pd.DataFrame) -> np.ndarray:
    """Predictions of every run by a law fitted without any run of its model (size, experts, shared expert)."""
    predicted = np.full(len(table), np.nan)
    for _, rows in table.groupby(MODEL, sort=False).indices.items():
        rest = np.delete(np.arange(len(table)), rows)
        predicted[rows] = _quick(LAW, table.iloc[rest]).predict(table.iloc[rows])
    return predicted


def without_each_size(table: pd.DataFrame, law: laws.Law = LAW) -> np.ndarray:
    """Predictions of every run by a law fitted to the runs of the other size alone."""
    predicted = np.full(len(table), np.nan)
    for size in table["model_size"].unique():
        rows = (table["model_size"] == size).to_numpy()
        predicted[rows] = _quick(law, table[~rows]).predict(table[rows])
    return predicted


def validation(table: pd.DataFrame, law: laws.FittedLaw) -> str:
    """Held-out errors against repeats and against the means of the cells, by size and rate."""
    losses = table["loss"].to_numpy()
    model, size = without_each_model(table), without_each_size(table)
    cells = table.groupby(["model_size", "learning_rate", "schedule"])["loss"].transform("std").to_numpy()
    fitted = law.predict(table)
    rows = []
    groups = [("all", np.ones(len(table), bool))]
    groups += [
        (
            f"{name}, {'4e-4' if low else '4e-3 and 1e-2'}",
            ((table["model_size"] == name) & ((table["learning_rate"] == 4e-4) == low)).to_numpy(),
        )
        for name in ("10M", "20M")
        for low in (True, False)
    ]
    for label, chosen in groups:
        noise, _ = repeat_noise(table[chosen])
        rows.append(
            (
                label,
                int(chosen.sum()),
                "" if np.isnan(noise) else f"{noise:.4f}",
                f"{np.sqrt(np.mean(cells[chosen] ** 2)):.4f}",
                *(f"{_rmse(losses[chosen], values[chosen]):.4f}" for values in (fitted, model, size)),
                f"{np.mean(losses[chosen] - size[chosen]):+.4f}",
            )
        )
    return pages.table(
        ("rows", "runs", "repeats", "spread in a cell", "fitted", "model unseen", "size unseen", "its bias"), rows
    )


def choices(table: pd.DataFrame) -> str:
    """Other pinned parts, judged as the chosen ones were: by the size that the fit has not seen."""
    losses = table["loss"].to_numpy()
    rows = []
    for dense in ("epoch2024", "hoffmann2022"):
        for rate_power in (0.0, 0.5, 1.0):
            form = replace(FORM, basis=Pinned(laws.get(dense).as_loss_law(), rate_power).basis)
            law = replace(LAW, form=form)
            other = without_each_size(table, law)
            large = _quick(law, table).predict(unseen_models())
            rows.append((dense, f"{rate_power:g}", f"{_rmse(losses, other):.4f}", *(f"{value:.3f}" for value in large)))
    return pages.table(
        ("dense law", "power of the rate's cost", "size unseen", "50M, T 4", "50M, T 16", "100M, T 4", "100M, T 16"),
        rows,
    )


def unseen_models() -> pd.DataFrame:
    """Four models of the sweep's next sizes, dropless, at its usual rate."""
    names = [
        f"2025_07_02-00_00_00_lr_sweep_5XD_dropless_lf_olmo2_{size}_e{experts}x0.25c4_nogen"
        for size in ("50M", "100M")
        for experts in (16, 64)
    ]
    frame = pd.DataFrame({"name": names, "lr": 4e-4, "lb_loss_weight": 0.01})
    return prepare(import_slicing(frame, "models"), "models")


def unseen(table: pd.DataFrame, law: laws.FittedLaw) -> str:
    """Predictions with intervals of the coefficients and residuals, and how far outside the table they lie."""
    models = unseen_models()
    ends = law.interval(models)
    rows = [
        (f"{size}, {experts} experts of 1/4, 4 active", f"{value:.3f}", f"{low:.3f} to {high:.3f}", f"{factor:.1f} x")
        for (size, experts), value, low, high, factor in zip(
            [("50M", 16), ("50M", 64), ("100M", 16), ("100M", 64)],
            law.predict(models),
            *ends,
            models["active_params_non_embedding"] / table["active_params_non_embedding"].max(),
            strict=True,
        )
    ]
    return pages.table(("model at 4e-4", "train loss", "90 % interval of the fit", "beyond the largest"), rows)


def _quick(law: laws.Law, table: pd.DataFrame) -> laws.FittedLaw:
    return laws.fit_law(law, table, **SETTINGS, bootstrap=0, starts=4)


def _rmse(losses: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((losses - predicted) ** 2)))
