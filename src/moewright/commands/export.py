"""`moewright export`: a design in a framework's own terms, or a refusal that names what it cannot express."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.commands.checking import command

if TYPE_CHECKING:
    from moewright.architecture import Architecture
    from moewright.exporters.exported import Export


@command
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
        UserError: Naming the fields that the framework cannot express.
    """
    from moewright.exporters.exported import export_to

    exported = export_to(format, design, balance_loss)
    return exported if out is None else replace(exported, folder=exported.write(out))
