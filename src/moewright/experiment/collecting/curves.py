"""Learning curves of runs as one long table. No torch."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from moewright.experiment.collecting.folders import RunSource
from moewright.experiment.collecting.rows import number
from moewright.experiment.run_folder import METRICS, read_metrics

COLUMNS = ("run_id", "kind", "step", "tokens", "loss", "learning_rate")
KINDS = ("train", "evaluation")


def read_curves(runs: Iterable[RunSource]) -> pd.DataFrame:
    """One row per run, kind and logged step, in this order: kind is train or evaluation, loss in nats per token.

    Steps that were trained again after an interruption count once, with what was written last. Runs without metrics
    have no rows. Raises OSError.
    """
    rows: list[tuple[Any, ...]] = []
    for run in runs:
        if not (run.folder / METRICS).is_file():
            continue
        latest: dict[tuple[str, int], tuple[Any, ...]] = {}
        for record in read_metrics(run.folder):
            kind, step = record.get("kind"), record.get("step")
            if kind in KINDS and isinstance(step, int):
                values = (number(record, name) for name in ("tokens", "loss", "learning_rate"))
                latest[str(kind), step] = (run.run_id, kind, step, *values)
        rows += [latest[key] for key in sorted(latest, key=lambda key: (KINDS.index(key[0]), key[1]))]
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    return frame.astype({"step": "int64", "tokens": float, "loss": float, "learning_rate": float})
