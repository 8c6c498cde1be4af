"""The laws of two papers fitted again to the runs behind them."""

import numpy as np
import pandas as pd

from examples import pages
from moewright import laws


def refits(clark: pd.DataFrame, joint: pd.DataFrame) -> str:
    """Both refits beside the published coefficients, with 90 % intervals."""
    square = clark[
        clark["router"].isin(["S-BASE", "DENSE"]) & (clark["routing_frequency"] == 0.5) & (clark["top_k"] == 1)
    ]
    by_clark = laws.fit_law("clark2022", square, objective="squares_log")
    by_joint = laws.fit_law("ludziejewski2025", joint, holdout="split=test")
    published_clark = _rmse_log10(
        square, laws.get("clark2022").loss(**_columns(square, "active_params", "num_experts"))
    )
    test, train = joint[joint["split"] == "test"], joint[joint["split"] == "train"]
    names = ("active_params", "train_tokens", "num_experts")
    published = laws.get("ludziejewski2025")
    rows = [
        (
            "clark2022, S-BASE and dense, 61 runs",
            "RMSE(log10)",
            f"{published_clark:.4f}",
            f"{_rmse_log10(square, by_clark.predict(square)):.4f}",
            "",
        ),
        (
            "ludziejewski2025, 260 train runs",
            "RMSE",
            f"{_rmse(train, published.loss(**_columns(train, *names))):.4f}",
            f"{_rmse(train, by_joint.predict(train)):.4f}",
            "",
        ),
        (
            "ludziejewski2025, 10 best runs, unseen",
            "RMSE",
            f"{_rmse(test, published.loss(**_columns(test, *names))):.4f} (seen by its authors)",
            f"{_rmse(test, by_joint.predict(test)):.4f}",
            f"{_covered(test, by_joint)} of 10 inside 90 %",
        ),
    ]
    coefficients = [
        (
            law.record.law,
            name,
            f"{published_coefficient(law.record.law, name):.4g}",
            f"{law.coefficients[name]:.4g}",
            f"{ends.low:.4g} to {ends.high:.4g}",
        )
        for law in (by_clark, by_joint)
        for name, ends in law.coefficient_intervals().items()
    ]
    return (
        pages.table(("rows", "error", "published", "refitted", "interval"), rows)
        + "\n\n"
        + pages.table(("law", "coefficient", "published", "refitted", "90 % interval"), coefficients)
    )


def published_coefficient(law: str, name: str) -> float:
    """Of the law's first option, where it has several."""
    return laws.get(law).as_loss_law().coefficients_with({})[name]


def _columns(table: pd.DataFrame, *names: str) -> dict[str, np.ndarray]:
    return {name: table[name].to_numpy() for name in names}


def _rmse(table: pd.DataFrame, predicted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((predicted - table["loss"]) ** 2)))


def _rmse_log10(table: pd.DataFrame, predicted: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.log10(predicted / table["loss"]) ** 2)))


def _covered(table: pd.DataFrame, law: laws.FittedLaw) -> int:
    ends = law.interval(table)
    return int(((ends.low <= table["loss"]) & (table["loss"] <= ends.high)).sum())
