"""The runs behind Clark et al. 2022 (arXiv 2202.01169), at their last step.

github.com/google-deepmind/scaling_laws_for_routing, data CC-BY 4.0, DeepMind Technologies Limited 2022. Their laws use
the validation loss and the parameters that a token meets in the dense base model, embeddings included.
"""

import pandas as pd

from moewright.runs.validation import renamed, require

CLARK_TRAIN_TOKENS = 130e9
"""Every model saw 130B tokens (the paper's section 4.1)."""

_RENAMED = {
    "hyper_id": "run_id",
    "total_parameter_count": "total_params",
    "dense_parameter_count": "active_params",
    "d_model": "hidden_size",
    "num_blocks": "num_layers",
    "k": "top_k",
}

_ROUTERS = {"S-Base": "S-BASE", "RL-R": "RL-R", "Hash": "HASH", "Dense": "DENSE"}
"""The source's router types by the names that the law uses; a dense model has none."""


def import_clark_routing(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Columns renamed, `loss` from loss_validation; routing_frequency, router_type and every other loss are kept."""
    require(frame, [*_RENAMED, "router_type", "num_experts", "loss_validation"], where)
    table = renamed(frame, _RENAMED, where)
    table["router"] = table["router_type"].map(_ROUTERS).fillna(table["router_type"])
    table["loss"] = table["loss_validation"]
    table["train_tokens"] = CLARK_TRAIN_TOKENS
    table["evaluation"] = "validation"
    table["source"] = "clark_routing"
    return table
