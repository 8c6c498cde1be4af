"""`moewright export`: a design in a framework's own terms, or a refusal that names what it cannot express."""

from pathlib import Path

from moewright.exporters.exported import Export, export_to
from moewright.hf.sources import Source


def export(
    design: Source, format: str, out: str | Path | None = None, *, balance_loss: float | str | None = None
) -> Export:
    """A design in the terms of a framework (`moewright.exporters.FORMATS`); see `exporters.exported.export_to`.

    With `out`, the files are written to that new folder.
    """
    exported = export_to(format, design, balance_loss)
    if out is not None:
        exported.write(out)
    return exported
