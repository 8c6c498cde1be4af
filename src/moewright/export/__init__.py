"""Exporters: a design in the terms of the framework that trains it, or a refusal that names what it cannot express."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from moewright.architecture.counts import mtp_params, total_params
from moewright.errors import UserError
from moewright.export.conventions import Written
from moewright.files import new_folder, write_text
from moewright.sources import Source, load_architecture

__all__ = ["FORMATS", "Export", "export"]

FORMATS: Mapping[str, str] = {
    "hf": "hf",
    "megatron": "megatron",
    "olmo-core": "olmo_core",
    "torchtitan": "torchtitan",
}
"""Formats and the modules that write them."""


@dataclass(frozen=True)
class Export:
    """A model in a framework's terms."""

    format: str
    files: Mapping[str, str]
    """Name -> contents."""
    notes: tuple[str, ...]
    """Conventions that were converted, and what the framework is told that the spec does not say."""
    total_params: int
    """Exact; what the framework counts, prediction blocks apart."""
    mtp_params: int
    """Parameters of the prediction blocks."""
    warnings: tuple[str, ...] = ()
    """About the design's file."""

    def write(self, folder: str | Path) -> Path:
        """Write the files. The folder must be new or empty; it appears complete or not at all."""
        folder = Path(folder)
        with new_folder(folder) as partial:
            for name, contents in self.files.items():
                write_text(partial / name, contents)
        return folder

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright export --json`."""
        return {
            "format": self.format,
            "files": sorted(self.files),
            "notes": list(self.notes),
            "total_params": self.total_params,
            "mtp_params": self.mtp_params,
            "warnings": list(self.warnings),
        }


def export(
    design: Source, format: str, out: str | Path | None = None, *, balance_loss: float | str | None = None
) -> Export:
    """A design (moewright file or object, its folder, or a Hugging Face config) for a framework: `FORMATS`.

    `balance_loss` is the coefficient of the auxiliary loss in moewright's convention: per layer 1 when balanced,
    averaged over the layers with experts. None: no such loss. With `out`, the files are written to that new folder.
    Raises UserError naming the fields that the framework cannot express.
    """
    if format not in FORMATS:
        near = difflib.get_close_matches(format, FORMATS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(FORMATS)}"
        raise UserError(f"format: {format!r} is not one that moewright writes{hint}")
    coefficient = None if balance_loss is None else _coefficient(balance_loss)
    loaded = load_architecture(design)
    if coefficient is not None and not loaded.architecture.moe_layers():
        raise UserError("balance-loss: the model has no mixture-of-experts layer to balance")
    writer: Callable[..., Written] = import_module(f"moewright.export.{FORMATS[format]}").export
    written = writer(loaded.architecture, coefficient)
    notes = written.notes
    stored = loaded.architecture.weights_format
    if stored is not None and format != "hf":
        notes += (f"weights_format {stored}: not exported; it says how published weights are stored, not how to train",)
    exported = Export(
        format=format,
        files=written.files,
        notes=notes,
        total_params=total_params(loaded.architecture),
        mtp_params=mtp_params(loaded.architecture),
        warnings=loaded.warnings,
    )
    if out is not None:
        exported.write(out)
    return exported


def _coefficient(balance_loss: float | str) -> float:
    try:
        coefficient = float(balance_loss)
    except ValueError:
        raise UserError(f"balance-loss: expected a positive number such as 0.01, got {balance_loss!r}") from None
    if not 0 < coefficient < math.inf:
        raise UserError(f"balance-loss: expected a positive number such as 0.01, got {balance_loss}")
    return coefficient
