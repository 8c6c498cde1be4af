"""Configs out: equal when read back, built by transformers, refused by field name where a family cannot."""

import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest

from moewright import UserError
from moewright.architecture.counts import total_params
from moewright.hf.config import from_config, read_config, to_config
from moewright.hf.families import EXPORT_ORDER
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS

RANDOM_CONFIGS = 40


@pytest.mark.parametrize("family", EXPORT_ORDER)
def test_round_trip(family: str) -> None:
    r = random.Random(f"export {family}")
    for _ in range(RANDOM_CONFIGS):
        values = SAMPLERS[family](r)
        architecture = read_config(oracle.saved_config(oracle.build(family, values))).architecture
        config = json.loads(json.dumps(to_config(architecture, family)))
        assert read_config(config).architecture == architecture
        assert read_config(config).warnings == ()
        kind = config.pop("model_type")
        assert oracle.count(oracle.build(kind, config)) == total_params(architecture)
        # Without a name some family is found, and it too gives the architecture back.
        assert read_config(to_config(architecture)).architecture == architecture


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("mixtral-8x7b", "mixtral"),
        ("olmoe-1b-7b", "olmoe"),
        ("qwen3-235b-a22b", "qwen3_moe"),
        ("deepseek-v3", "deepseek_v3"),
        ("kimi-k2", "deepseek_v3"),
        ("glm-4.5-air", "glm4_moe"),
    ],
)
def test_published_models_find_their_family(name: str, family: str) -> None:
    architecture = from_config(f"examples/configs/{name}.json")
    config = to_config(architecture)
    assert config["model_type"] == family
    assert read_config(config).architecture == architecture


@pytest.mark.parametrize(
    ("name", "family", "refused"),
    [
        ("gpt-oss-20b", "qwen3_moe", "sinks"),
        ("gpt-oss-20b", None, "cannot express"),
        ("deepseek-v3", "mixtral", "latent_attention"),
        ("qwen3-30b-a3b", "mixtral", "qk_norm"),
        ("qwen3-30b-a3b", "olmoe", "head_dim = 128"),
        ("mixtral-8x7b", "qwen2_moe", "shared_expert_intermediate_size"),
        ("qwen3-next-80b-a3b", "qwen2_moe", "gated_delta_net"),
        ("mixtral-8x7b", "dbrx", "does not export to it"),
        ("mixtral-8x7b", "mixtrall", "did you mean mixtral"),
    ],
)
def test_what_a_family_cannot_express_is_named(name: str, family: str | None, refused: str) -> None:
    architecture = from_config(f"examples/configs/{name}.json")
    with pytest.raises(UserError, match=refused):
        to_config(architecture, family)


def test_from_config_warns(tmp_path: Path) -> None:
    config: dict[str, Any] = json.loads(Path("examples/configs/mixtral-8x7b.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_expert_layers": 3}))
    with pytest.warns(UserWarning, match="num_expert_layers"):
        from_config(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_config(config)
