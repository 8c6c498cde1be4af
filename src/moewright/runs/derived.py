"""Variables that follow from others: from a column of architectures, or from the columns already there.

A column that the table gives is never overwritten.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from moewright.architecture import Architecture, counts, variables
from moewright.architecture.feed_forwards import Dense, MoE
from moewright.architecture.mixers import Attention
from moewright.errors import UserError
from moewright.plain_values import UnfitTextError, parse_json
from moewright.runs.schema import FINISHED, GROUP_SEPARATOR
from moewright.runs.validation import row_at

# Columns that name or judge a run instead of setting it; `config_id` is equal for runs equal in all the others.
_NOT_SETTINGS = frozenset({"run_id", "config_id", "source", "status", "seed", "split", "name", "schedule_fraction"})

Ratio = Callable[[pd.DataFrame], "pd.Series[float]"]

# Name: (columns it needs, formula). The definitions are those of `architecture.variables`, applied to columns.
RATIOS: dict[str, tuple[tuple[str, ...], Ratio]] = {
    "expansion": (("num_experts", "top_k"), lambda t: t["num_experts"] / t["top_k"]),
    "sparsity_liew": (("num_experts", "top_k"), lambda t: t["num_experts"] / t["top_k"]),
    "sparsity_abnar": (("num_experts", "top_k"), lambda t: 1 - t["top_k"] / t["num_experts"]),
    "granularity_liew": (("hidden_size", "expert_size"), lambda t: t["hidden_size"] / t["expert_size"]),
    "granularity_krajewski": (("hidden_size", "expert_size"), lambda t: 4 * t["hidden_size"] / t["expert_size"]),
    "expert_multiplier_slicing": (("hidden_size", "expert_size"), lambda t: t["expert_size"] / (4 * t["hidden_size"])),
    "active_experts": (
        ("top_k", "expert_size", "shared_size"),
        lambda t: t["top_k"] + t["shared_size"] / t["expert_size"],
    ),
    "shared_ratio": (
        ("top_k", "expert_size", "shared_size"),
        lambda t: t["shared_size"] / (t["shared_size"] + t["top_k"] * t["expert_size"]),
    ),
    "activation_ratio": (("active_params", "total_params"), lambda t: t["active_params"] / t["total_params"]),
}


def derive(table: pd.DataFrame, where: str = "run table") -> pd.DataFrame:
    """The table with every variable that can be had from it; see `RATIOS` and `from_architecture`."""
    full = table.copy(deep=False)
    if "architecture" in full.columns:
        for name, values in _architecture_columns(full, where).items():
            if name not in full.columns:
                full[name] = values
    for name, (needs, formula) in RATIOS.items():
        if name not in full.columns and all(need in full.columns for need in needs):
            full[name] = formula(full)
    if "status" not in full.columns:
        full["status"] = FINISHED
    if "run_id" not in full.columns:
        full["run_id"] = "run-" + pd.Series(np.arange(1, len(full) + 1), index=full.index).astype(str)
    if "config_id" not in full.columns:
        full["config_id"] = config_ids(full)
    return full


def config_ids(table: pd.DataFrame) -> pd.Series:
    """A digest of each run's settings: every column but identity, seed, outcome and losses."""
    settings = [
        name for name in table.columns if name not in _NOT_SETTINGS and name != "loss" and not name.startswith("loss_")
    ]
    if not settings:
        return pd.Series(table["run_id"], index=table.index)
    digests = pd.util.hash_pandas_object(table[settings].astype(object).where(table[settings].notna(), ""), index=False)
    return pd.Series([f"{digest:016x}" for digest in digests.to_numpy()], index=table.index)


def from_architecture(architecture: Architecture) -> dict[str, float | str]:
    """The schema's variables of one architecture, each by the function that owns it.

    A model without MoE layers counts as one expert of the size of its feed-forward, the convention of the laws that
    include dense models (E = 1). Heads, groups and router are given where all layers that have them agree.
    """
    values: dict[str, float | str] = {
        "num_layers": architecture.num_layers,
        "hidden_size": architecture.hidden_size,
        "vocab_size": architecture.vocab_size,
        "total_params": counts.total_params(architecture),
        "active_params": counts.active_params(architecture),
        "total_params_non_embedding": counts.total_params_non_embedding(architecture),
        "active_params_non_embedding": counts.active_params_non_embedding(architecture),
    }
    heads = {layer.mixer.num_heads for layer in architecture.iter_layers() if isinstance(layer.mixer, Attention)}
    if len(heads) == 1:
        values["num_heads"] = heads.pop()
    mixtures = [moe for _, moe in architecture.moe_layers()]
    if mixtures:
        values |= _alike(mixtures)
        size = variables.expert_size(architecture)
        return values | {
            "num_experts": variables.num_experts(architecture),
            "top_k": variables.top_k(architecture),
            "expert_size": size,
            "shared_size": variables.shared_experts(architecture) * size,
        }
    widths = [layer.feed_forward.size for layer in architecture.iter_layers() if isinstance(layer.feed_forward, Dense)]
    return values | {"num_experts": 1, "top_k": 1, "expert_size": sum(widths) / len(widths), "shared_size": 0}


def _alike(mixtures: Sequence[MoE]) -> dict[str, float | str]:
    """The columns that are text, of layers that are alike in them."""
    groups = {
        GROUP_SEPARATOR.join(f"{group.count}x{group.expert_size}k{group.top_k}" for group in moe.groups)
        for moe in mixtures
    }
    routers = {str(moe.router.score if moe.router.kind == "learned" else moe.router.kind) for moe in mixtures}
    texts = {"expert_groups": groups, "router": routers}
    return {name: values.pop() for name, values in texts.items() if len(values) == 1}


def _architecture_columns(table: pd.DataFrame, where: str) -> pd.DataFrame:
    rows = []
    for position, text in enumerate(table["architecture"]):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}: {row_at(table, position)}, column architecture: is missing")
        try:
            rows.append(read_architecture(text))
        except UserError as error:
            raise UserError(f"{where}: {row_at(table, position)}, column architecture: {error}") from None
    return pd.DataFrame(rows, index=table.index)


@lru_cache(maxsize=4096)
def read_architecture(text: str) -> dict[str, float | str]:
    """`from_architecture` of one cell of the column. UserError if it holds none."""
    return from_architecture(model_of(text))


@lru_cache(maxsize=4096)
def model_of(text: str) -> Architecture:
    """The model of one cell of the column: JSON, or the path of a file. UserError if it is neither."""
    if text.lstrip().startswith("{"):
        try:
            return Architecture.from_dict(parse_json(text))
        except UnfitTextError as error:
            raise UserError(str(error)) from None
    return Architecture.load(Path(text))
