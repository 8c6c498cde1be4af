"""The runs behind Ludziejewski et al. 2025 (arXiv 2502.05172).

Published with the authors' code, github.com/llm-random/llm-random-cemetery, Apache-2.0; here expected as one CSV with
the columns below. Parameters come with and without the embedding and the head: the law's N_act includes both.
"""

import pandas as pd

from moewright.runs.validation import renamed, require

_RENAMED = {
    "n_active_with_embed": "active_params",
    "n_total_with_embed": "total_params",
    "n_active_nonembed": "active_params_non_embedding",
    "n_total_nonembed": "total_params_non_embedding",
    "d_model": "hidden_size",
    "n_blocks": "num_layers",
    "n_experts": "num_experts",
    "tokens": "train_tokens",
    "final_eval_loss": "loss",
}


def import_joint_moe(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Columns renamed; top-1 routing of full-size experts, so `top_k` is 1 and `split` says the authors' holdout."""
    require(frame, _RENAMED, where)
    table = renamed(frame, _RENAMED, where)
    table["top_k"] = 1.0
    table["source"] = "joint_moe"
    return table
