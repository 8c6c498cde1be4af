"""Every model folder of the installed transformers whose module has experts is read, or stands here with a reason."""

import re
from pathlib import Path

import pytest
import transformers

from moewright.hf.families import MODULES, OTHER_NAMES, WRAPPERS

EXPERTS = re.compile(r"\b(num_(local_)?experts|n_routed_experts|moe_num_experts|num_routed_experts)\b")
NO_DECODER = "no decoder language model"

UNREAD: dict[str, str] = {
    "diffusion_gemma": "denoises blocks of text, no causal decoder",
    "nemotron3_5_transcribe": "speech recognition; its decoder is nemotron_h",
    "nllb_moe": "translates: encoder and decoder",
    "openai_privacy_filter": "labels tokens",
    "switch_transformers": "encoder and decoder",
    "vitpose_backbone": NO_DECODER,
}
"""Folders of transformers' models with experts that moewright does not read, and why."""

MODELS = Path(transformers.__file__).parent / "models"


def with_experts() -> dict[str, set[str]]:
    """The folders whose configuration or module speaks of experts, with the model_types that they define."""
    found = {}
    for folder in sorted(path for path in MODELS.iterdir() if path.is_dir()):
        configurations = [path.read_text(encoding="utf-8") for path in folder.glob("configuration_*.py")]
        modules = [path.read_text(encoding="utf-8") for path in folder.glob("modeling_*.py")]
        if any(EXPERTS.search(text) for text in configurations + modules):
            types = re.findall(r'^    model_type = "([^"]+)"', "\n".join(configurations), flags=re.MULTILINE)
            found[folder.name] = set(types)
    return found


def test_every_folder_with_experts_is_read_or_has_a_reason() -> None:
    known = {*MODULES, *WRAPPERS, *OTHER_NAMES}
    found = with_experts()
    assert len(found) > 70
    assert {name for name, types in found.items() if not types & known} == {*UNREAD}


@pytest.mark.parametrize("name", sorted(UNREAD))
def test_reasons_are_of_folders_that_are_there(name: str) -> None:
    assert (MODELS / name).is_dir()
