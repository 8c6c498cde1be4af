"""Tables that several tests fit: other people's runs where they are at hand, and synthetic ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moewright import laws

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def public_table(name: str) -> pd.DataFrame:
    """A public run table, or a skip where the tables are not beside the project."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"the public run table {name} is not in {SHARED_DATA}")
    return pd.read_csv(path)


def joint_moe(split: str) -> pd.DataFrame:
    """The 260 training or 10 test rows behind arXiv 2502.05172."""
    table = public_table("joint_moe/runs.csv")
    table = table.rename(
        columns={
            "n_active_with_embed": "active_params",
            "tokens": "train_tokens",
            "n_experts": "num_experts",
            "final_eval_loss": "loss",
        }
    )
    return table[table["split"] == split]


def clark_s_base() -> pd.DataFrame:
    """The 61 S-Base and dense runs of arXiv 2202.01169 with every second layer routed to one expert."""
    table = public_table("clark_routing/final_step.csv")
    chosen = table["router_type"].isin(["S-Base", "Dense"]) & (table["routing_frequency"] == 0.5) & (table["k"] == 1)
    return table[chosen].rename(columns={"dense_parameter_count": "active_params", "loss_validation": "loss"})


def takano() -> pd.DataFrame:
    """The dense sweep that the `chinchilla` package ships."""
    return public_table("takano_dense/runs.csv").rename(columns={"N": "total_params", "D": "train_tokens"})


def synthetic_zhao(seed: int, rows: int = 446, noise: float = 0.003) -> dict[str, np.ndarray]:
    """Runs in the joint law's own ranges, losses by its own coefficients with relative noise."""
    random = np.random.default_rng(seed)
    total = np.exp(random.uniform(np.log(133e6), np.log(3.4e9), rows))
    active = np.minimum(np.exp(random.uniform(np.log(30e6), np.log(2.2e9), rows)), 0.95 * total)
    table = {
        "total_params": total,
        "active_params": active,
        "train_tokens": random.uniform(10e9, 50e9, rows),
        "active_experts": random.integers(1, 21, rows).astype(float),
        "shared_ratio": random.uniform(0, 0.7, rows),
    }
    loss = laws.get("zhao2025").loss(**table)
    return {**table, "loss": loss * np.exp(noise * random.standard_normal(rows))}


def synthetic_dense(seed: int, rows: int = 240, noise: float = 0.003) -> dict[str, np.ndarray]:
    """Dense runs, losses by epoch2024 with relative noise."""
    random = np.random.default_rng(seed)
    table = {
        "total_params": np.exp(random.uniform(np.log(57e6), np.log(16e9), rows)),
        "train_tokens": np.exp(random.uniform(np.log(1e9), np.log(5e11), rows)),
    }
    loss = laws.get("epoch2024").loss(**table)
    return {**table, "loss": loss * np.exp(noise * random.standard_normal(rows))}
