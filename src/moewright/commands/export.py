"""`moewright export`: a design in a framework's own terms, or a refusal that names what it cannot express."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.commands.checking import command, writes
from moewright.outputs import NEW_FOLDER, Destination, deliver

if TYPE_CHECKING:
    from moewright.architecture import Architecture
    from moewright.exporters.exported import Export


@command
@writes(out=NEW_FOLDER)
def export(
    design: str | Path | dict[str, Any] | Architecture,
    format: str,
    out: str | Path | None = None,
    *,
    balance_loss: str | float | None = None,
) -> Export:
    """Now build it: the model in a framework's own terms, or which of its fields that framework cannot express.

    The folder of a trainer's run, or of one of its checkpoints, is exported with its weights in the format hf.

    Args:
        design: A design's or a run's folder, a moewright file, or a HF config.
        format: hf, megatron, olmo-core or torchtitan.
        out: New folder for the files; it appears complete or not at all.
        balance_loss: Balance loss: 1 per layer when balanced, averaged over layers. [default: none]

    Raises:
        UserError: Naming the fields that the framework cannot express, or a place that is taken.
        RunStopped: When the place of `out` was lost meanwhile; says where the result is instead.
    """
    from moewright.exporters.exported import export_to

    exported = export_to(format, design, balance_loss)
    if out is None:
        return exported
    deliver((Destination("out", out, NEW_FOLDER), exported.write))
    return replace(exported, folder=Path(out))
