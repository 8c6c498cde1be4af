"""Total parameters against the module that transformers builds: every family, its default and 40 random configs; the
benchmark `oracle_counts` takes 200."""

import json
import random
import re
from importlib import import_module
from pathlib import Path

import pytest

from moewright.architecture import Architecture
from moewright.architecture.counts import total_params
from moewright.hf.config import read_config
from moewright.hf.families import FILES, MODULES, WRAPPERS
from tests.hf import oracle
from tests.hf.samplers import NEEDED_FIELDS, SAMPLERS
from tests.hf.test_vendors_mixtures import STATED

RANDOM_CONFIGS = 40
NOT_BUILT = {"kimi_k25", "deepseek_vl_v2", "qwen3_omni_moe_thinker", "dots_vlm", "step3_vl"}
"""Wrappers that transformers 5.24 does not know, or builds as a part of another only."""


def test_every_family_has_a_sampler() -> None:
    # kimi_k2 is deepseek_v3 under another name; the others are language models inside multimodal configs.
    others = {"kimi_k2", "dots3_note_text", "qwen3_vl_text", "qwen3_vl_moe_text", "glm4v_moe_text"}
    others |= {"minimax_m3", "hy_v4_vl_text"}
    # not in transformers: tests/hf/test_vendors_families.py
    others |= {"mimo", "nemotron-nas", "bailing_moe", "bailing_moe_v2", "deepseek", "grok1"}
    others |= {"motif", "apriel_ssm_thinker_hybrid"}  # second names
    others |= {read_config(config).family.model_type for config, *_ in STATED.values()} | {"bailing_moe_v2_5"}
    assert set(MODULES) - set(SAMPLERS) == others


def test_the_readme_names_every_family() -> None:
    page = Path("README.md").read_text(encoding="utf-8")
    mixtures = re.search(r"(\d+) families are read: (.*?)\. Seven are", page, flags=re.DOTALL)
    plain = re.search(r"Dense decoders, for comparison: (.*?)\.\n", page, flags=re.DOTALL)
    assert mixtures is not None
    assert plain is not None
    listed = re.sub(r"\(and [^)]*\)", "", mixtures[2]).replace("\n", " ").split(",")
    named = {name.strip() for name in listed}
    assert len(named) == int(mixtures[1])
    named |= {name.strip() for name in plain[1].replace("\n", " ").split(",")}
    # Language models inside wrappers that the list names, and publishers' second names.
    inside = {"kimi_k2", "glm4v_moe_text", "hy_v4_vl_text", "minimax_m3_vl_text", "qwen3_vl_moe_text"}
    assert {name for name in MODULES if name not in named and name.removesuffix("_text") not in named} == inside
    assert {name for name in named if name not in MODULES and f"{name}_text" not in MODULES} == set()


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_is_registered_with_its_families(name: str) -> None:
    assert set(import_module(f"moewright.hf.families.{name}").FAMILIES) == set(FILES[name])


@pytest.mark.parametrize("wrapper", sorted(WRAPPERS))
def test_a_language_model_alone_under_its_wrappers_name(wrapper: str) -> None:
    """Converters and servers write the language model's keys flat, below the multimodal model's model_type."""
    family = WRAPPERS[wrapper]
    if family not in SAMPLERS:
        pytest.skip(f"{family} has no sampler")
    values = oracle.saved_config(oracle.build(family, SAMPLERS[family](random.Random(wrapper))))
    assert read_config(values | {"model_type": wrapper}).architecture == read_config(values).architecture


@pytest.mark.parametrize("family", sorted(SAMPLERS))
def test_default_config(family: str) -> None:
    module = oracle.build(family, NEEDED_FIELDS.get(family, {}))
    for config in (oracle.saved_config(module), json.loads(json.dumps(module.config.to_dict(), default=str))):
        assert total_params(read_config(config).architecture) == oracle.count(module)


@pytest.mark.parametrize("wrapper", sorted(WRAPPERS.keys() - NOT_BUILT))
def test_language_model_of_a_multimodal_config(wrapper: str) -> None:
    module = oracle.build_multimodal(wrapper, NEEDED_FIELDS.get(wrapper, {}))
    parts = dict(module.named_modules())
    inside = next(part for name, part in parts.items() if name.endswith("language_model"))
    head = next((p.numel() for name, p in module.named_parameters() if "lm_head" in name), 0)
    expected = oracle.count(inside)
    if not any("lm_head" in name for name, _ in inside.named_parameters()):
        expected += head
    imported = read_config(oracle.saved_config(module))
    assert total_params(imported.architecture) == expected
    assert any("_config" in warning for warning in imported.warnings)


@pytest.mark.parametrize(("written", "family"), [("hunyuan", "hunyuan_v1_moe"), ("deepseek_ref", "deepseek_v4")])
def test_publishers_own_names(written: str, family: str) -> None:
    config = oracle.saved_config(oracle.build(family, NEEDED_FIELDS.get(family, {})))
    assert read_config(config | {"model_type": written}).architecture == read_config(config).architecture


@pytest.mark.parametrize("family", ["deepseek_v32", "glm_moe_dsa"])
def test_both_words_for_sparse_attention(family: str) -> None:
    config = oracle.saved_config(oracle.build(family, NEEDED_FIELDS.get(family, {})))
    words = ["deepseek_sparse_attention"] * config["num_hidden_layers"]
    assert read_config(config | {"layer_types": words}).architecture == read_config(config).architecture


@pytest.mark.parametrize("family", sorted(SAMPLERS))
def test_random_configs(family: str) -> None:
    r = random.Random(f"oracle {family}")
    for _ in range(RANDOM_CONFIGS):
        values = SAMPLERS[family](r)
        module = oracle.build(family, values)
        architecture = read_config(oracle.saved_config(module)).architecture
        assert total_params(architecture) == oracle.count(module), values
        assert Architecture.from_dict(json.loads(json.dumps(architecture.to_dict()))) == architecture
