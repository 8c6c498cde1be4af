"""Hugging Face transformers: config.json as `hf` writes it."""

import json

from moewright.architecture.spec import Architecture
from moewright.exporters.target_conventions import Written
from moewright.hf.training_config import write_training_config


def export(architecture: Architecture, balance_loss: float | None, family: str | None = None) -> Written:
    """config.json of `family`, or the first that expresses the model exactly. UserError names what it, or none, can."""
    config, notes = write_training_config(architecture, balance_loss, family)
    return Written({"config.json": json.dumps(config, indent=2) + "\n"}, notes)
