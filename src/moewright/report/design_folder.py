"""The folder of `moewright design --out`: designs as specs and configs, the reasons for each, and plots."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from moewright.design.result import Designs
from moewright.errors import UserError
from moewright.files import write_mapping, write_text
from moewright.report.design_figures import write_figures
from moewright.report.design_rationale import rationale

HF_CONFIG = "config.json"
SPEC = "architecture.yaml"
RATIONALE = "README.md"


def write_designs(designs: Designs, folder: Path) -> Path:
    """Write design-NN/ (spec, Hugging Face config, rationale), designs.json, and the plots as PNG and HTML.

    The folder must be new or empty; it appears complete or not at all.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"out: {folder} exists and is not an empty folder; name a new one")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise UserError(f"out: {folder} cannot be made: {error.strerror or error}") from None
    try:
        for number, design in enumerate(designs.designs, start=1):
            place = partial / f"design-{number:02d}"
            design.architecture.save(place / SPEC)
            write_mapping(place / HF_CONFIG, design.architecture.to_hf(design.family))
            write_text(place / RATIONALE, rationale(designs, number))
        write_mapping(partial / "designs.json", json.loads(json.dumps(designs.to_dict())))
        write_figures(designs, partial)
        partial.chmod(0o755)  # mkdtemp makes it private
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder
