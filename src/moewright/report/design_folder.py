"""The folder of `moewright design --out`: designs as specs and configs, the reasons for each, and plots."""

import json
from pathlib import Path

from moewright.designs.result import Designs
from moewright.files import new_folder, write_mapping, write_text
from moewright.hf.sources import SPEC
from moewright.report.design_figures import write_figures
from moewright.report.design_rationale import rationale

HF_CONFIG = "config.json"
RATIONALE = "README.md"


def write_designs(designs: Designs, folder: Path) -> Path:
    """Write design-NN/ (spec, Hugging Face config, rationale), designs.json, and the plots as PNG and HTML.

    The folder must be new or empty; it appears complete or not at all.
    """
    with new_folder(folder) as partial:
        for number, design in enumerate(designs.designs, start=1):
            place = partial / f"design-{number:02d}"
            design.architecture.save(place / SPEC)
            write_mapping(place / HF_CONFIG, design.architecture.to_hf(design.family))
            write_text(place / RATIONALE, rationale(designs, number))
        write_mapping(partial / "designs.json", json.loads(json.dumps(designs.to_dict())))
        write_figures(designs, partial)
    return folder
