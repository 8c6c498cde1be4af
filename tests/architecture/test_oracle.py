"""Total parameters against the module that transformers builds: every family, its default and 200 random configs."""

import json
import random

import pytest

from moewright.architecture import Architecture
from moewright.architecture.counts import total_params
from moewright.architecture.hf import read_config
from moewright.architecture.hf.families import MODULES
from tests.architecture import oracle
from tests.architecture.samplers import NEEDED_FIELDS, SAMPLERS

RANDOM_CONFIGS = 200


def test_every_family_has_a_sampler() -> None:
    # kimi_k2 is deepseek_v3 under another name, dots3_note_text the inner part of dots3_note.
    assert set(MODULES) - set(SAMPLERS) == {"kimi_k2", "dots3_note_text"}


@pytest.mark.parametrize("family", sorted(SAMPLERS))
def test_default_config(family: str) -> None:
    module = oracle.build(family, NEEDED_FIELDS.get(family, {}))
    for config in (oracle.saved_config(module), json.loads(json.dumps(module.config.to_dict(), default=str))):
        assert total_params(read_config(config).architecture) == oracle.count(module)


@pytest.mark.parametrize("family", sorted(SAMPLERS))
def test_random_configs(family: str) -> None:
    r = random.Random(f"oracle {family}")
    for _ in range(RANDOM_CONFIGS):
        values = SAMPLERS[family](r)
        module = oracle.build(family, values)
        architecture = read_config(oracle.saved_config(module)).architecture
        assert total_params(architecture) == oracle.count(module), values
        assert Architecture.from_dict(json.loads(json.dumps(architecture.to_dict()))) == architecture
