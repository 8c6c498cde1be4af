"""The public tables behind the scoreboard of laws, as columns; they lie in a folder that is not part of moewright."""

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moewright import Architecture
from moewright.laws.judging.back_test import TrainedRuns
from moewright.laws.judging.compared_designs import COUNTED, DESIGN_SIZES
from moewright.laws.judging.evidence import EvidenceTable
from moewright.runs.derived import from_architecture
from moewright.runs.importers import import_source
from tests.laws.tables import SHARED_DATA

DATA = SHARED_DATA
"""Beside the project's root, where the runs of other people lie on the machines that have them."""


@dataclass(frozen=True)
class PublicTable:
    """One table: its file, what makes columns of it, and what the record says of it."""

    name: str
    file: str
    columns: Callable[[pd.DataFrame], pd.DataFrame]
    source: str
    noise: float
    noise_source: str
    own: str | None
    note: str

    def read(self, data: Path = DATA) -> TrainedRuns:
        frame = self.columns(pd.read_csv(data / self.file)).reset_index(drop=True)
        names = (*DESIGN_SIZES, *COUNTED, "train_tokens", "loss", "cell")
        columns = {name: frame[name].to_numpy() for name in names}
        return TrainedRuns(name=self.name, columns=columns, noise=self.noise, own=self.own)

    def describe(self, data: Path = DATA) -> EvidenceTable:
        return EvidenceTable(
            name=self.name,
            source=self.source,
            sha256=hashlib.sha256((data / self.file).read_bytes()).hexdigest(),
            runs=len(self.read(data).columns["loss"]),
            noise=self.noise,
            noise_source=self.noise_source,
            own=self.own,
            note=self.note,
        )


def _joint(frame: pd.DataFrame) -> pd.DataFrame:
    table = import_source(frame, "joint_moe", "joint_moe")
    tokens = (table["train_tokens"] / 1e9).round(2).astype(str)
    return table.assign(expert_size=4.0 * table["hidden_size"], shared_size=0.0, cell=tokens)


def _clark(frame: pd.DataFrame) -> pd.DataFrame:
    table = import_source(frame, "clark_routing", "clark_routing")
    table = table[np.isclose(table["routing_frequency"], 0.5)]
    # The source counts with embeddings only. Without: attention of 4 d^2 (d x heads x size), a feed-forward of 8 d^2.
    d, layers = table["hidden_size"], table["num_layers"]
    active = layers * (4 * d * table["num_heads"] * table["kqv_size"] + 8 * d**2)
    return table.assign(
        active_params_non_embedding=active,
        total_params_non_embedding=active + table["total_params"] - table["active_params"],
        expert_size=4.0 * d,
        shared_size=0.0,
        cell=table["router_type"].where(table["num_experts"] > 1, "Dense"),
    )


def _slicing(chosen: Callable[[float], bool]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def columns(frame: pd.DataFrame) -> pd.DataFrame:
        table = import_source(frame, "slicing", "slicing")
        table = table[(table["num_experts"] > 1) & table["learning_rate"].map(chosen)]
        kept = {name: "first" for name in table.columns if name not in ("config_id", "loss")}
        table = table.groupby("config_id", as_index=False).agg({**kept, "loss": "mean"})
        setting = ["hidden_size", "schedule", "learning_rate", "drops_tokens", "balance_weight", "bias_step"]
        return table.assign(cell=table[setting].astype(str).agg("/".join, axis=1))

    return columns


MARIN_TOKENS = {512: 1.44e9, 768: 4.4e9, 1024: 8.4e9, 1280: 14.6e9}
"""Baseline tokens of each width's budget, which all its variants share; 1280's by the budget over 6 N_a."""


def _marin(frame: pd.DataFrame) -> pd.DataFrame:
    table = frame[frame["expert_size"].notna()].reset_index(drop=True)
    counted = pd.DataFrame([from_architecture(_marin_model(row)) for row in table.to_dict("records")])
    return table.assign(
        **{name: counted[name] for name in COUNTED},
        train_tokens=table["hidden_size"].map(MARIN_TOKENS),
        cell=table["hidden_size"].astype(str),
    )


def _marin_model(row: Mapping[Hashable, Any]) -> Architecture:
    size = {name: int(row[name]) for name in ("hidden_size", "num_layers", *DESIGN_SIZES[2:])}
    heads = size["hidden_size"] // 128
    feed_forward = {
        "kind": "moe",
        "groups": [{"count": size["num_experts"], "expert_size": size["expert_size"], "top_k": size["top_k"]}],
        "shared": {"expert_size": size["shared_size"]},
    }
    mixer = {"kind": "attention", "num_heads": heads, "num_kv_heads": heads, "head_dim": 128}
    return Architecture.from_dict(
        {
            "vocab_size": 128_256,
            "hidden_size": size["hidden_size"],
            "layers": [{"repeat": size["num_layers"], "layers": [{"mixer": mixer, "feed_forward": feed_forward}]}],
        }
    )


SLICING = "Li et al. 2026, arXiv 2605.11689: github.com/sneha-rk/OLMo-core, ml/scripts/results/results_processed.csv"

TABLES = (
    PublicTable(
        "joint_moe",
        "joint_moe/runs.csv",
        _joint,
        "Ludziejewski et al. 2025, arXiv 2502.05172: github.com/llm-random/llm-random-cemetery",
        0.01,
        "assumed: the table repeats no run",
        "ludziejewski2025",
        "cells: equal tokens; E = 1 counts as one expert",
    ),
    PublicTable(
        "clark_routing",
        "clark_routing/final_step.csv",
        _clark,
        "Clark et al. 2022, arXiv 2202.01169: github.com/google-deepmind/scaling_laws_for_routing",
        0.01,
        "assumed: as for joint_moe",
        "clark2022",
        "cells: one router, every second layer routed, 130B tokens",
    ),
    PublicTable(
        "marin",
        "marin_ablations/runs.csv",
        _marin,
        "Marin project 2026: github.com/marin-community/marin, issues 5387 and 5424",
        0.007,
        "the project's own +-.007",
        None,
        "cells: one width and its budget; runs whose expert size is not given are left out; attention 4 d^2 assumed",
    ),
    PublicTable(
        "slicing_low",
        "slicing/runs.csv",
        _slicing(lambda rate: rate < 1e-3),
        SLICING,
        0.030,
        "twice the deviation of a difference: repeats of 11 configurations vary by .0105",
        None,
        "rate 4e-4; cells: one size, schedule, rate, capacity and balancing; shared experts run beside attention",
    ),
    PublicTable(
        "slicing_high",
        "slicing/runs.csv",
        _slicing(lambda rate: rate > 1e-3),
        SLICING,
        0.075,
        "twice the deviation of a difference: repeats of 4 configurations vary by .027",
        None,
        "rates 4e-3 and up; cells as in slicing_low",
    ),
)
