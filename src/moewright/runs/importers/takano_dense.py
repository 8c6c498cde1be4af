"""The dense sweep that the `chinchilla` package ships as its example.

github.com/kyo-takano/chinchilla, Apache-2.0: compute C, parameters N, tokens D and the loss of 234 runs.
"""

import pandas as pd

from moewright.runs.validation import renamed, require

_RENAMED = {"C": "train_flops", "N": "total_params", "D": "train_tokens"}


def import_takano_dense(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Columns renamed; a dense model uses all its parameters, so `active_params` equals `total_params`."""
    require(frame, [*_RENAMED, "loss"], where)
    table = renamed(frame, _RENAMED, where)
    table["active_params"] = table["total_params"]
    table["num_experts"] = 1.0
    table["top_k"] = 1.0
    table["source"] = "takano_dense"
    return table
