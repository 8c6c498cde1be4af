"""Wrong configs: refused with the key's name, or counted exactly as transformers builds them; nothing between."""

import contextlib
import copy
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import moewright
from moewright import UserError, inspect
from moewright.architecture.counts import total_params
from moewright.hf.config import read_config
from moewright.hf.loading import load_architecture
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS

# Keys at which a config was changed in a way that no count can survive.
WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 0),
    st.integers(10**9, 10**40),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-3, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def valid_config(family: str, seed: int) -> dict[str, Any]:
    """A saved config that transformers and moewright agree about."""
    return oracle.saved_config(oracle.build(family, SAMPLERS[family](random.Random(f"{family} {seed}"))))


VALID = {family: valid_config(family, 0) for family in sorted(SAMPLERS)}


def transformers_count(config: dict[str, Any]) -> int | None:
    """What transformers builds from a config; None if it refuses."""
    config = copy.deepcopy(config)
    kind = config.pop("model_type", None)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return oracle.count(oracle.build(kind, config))
    except Exception:
        return None


def check(config: dict[str, Any], changed: str) -> None:
    """Refused by name, or exact, or at least not silent."""
    try:
        imported = read_config(config)
    except UserError as error:
        complaint = str(error)
    else:
        complaint = ""
    if complaint:
        assert "\n" not in complaint
        return
    mine, theirs = total_params(imported.architecture), transformers_count(config)
    assert theirs is None or mine == theirs or any(changed in warning for warning in imported.warnings)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(VALID)), st.data())
def test_one_wrong_value(family: str, data: st.DataObject) -> None:
    config = copy.deepcopy(VALID[family])
    key = data.draw(st.sampled_from(sorted(config.keys() - {"model_type", "architectures", "transformers_version"})))
    config[key] = data.draw(WRONG)
    # transformers would try to build a model of that size; refusing is all that can be asked for
    if isinstance(config[key], int) and config[key] > 10**6:
        with contextlib.suppress(UserError):
            assert total_params(read_config(config).architecture) < 2**62
        return
    check(config, key)


@pytest.mark.parametrize("family", sorted(VALID))
def test_every_missing_key(family: str) -> None:
    for key in VALID[family]:
        config = {name: value for name, value in VALID[family].items() if name != key}
        check(config, key)


@pytest.mark.parametrize("family", sorted(VALID))
def test_every_key_as_null_and_as_text(family: str) -> None:
    for key in VALID[family].keys() - {"model_type"}:
        check(VALID[family] | {key: None}, key)
        check(VALID[family] | {key: "8"}, key)


SIZE_KEYS = {
    "mixtral": ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_local_experts"),
    "deepseek_v3": ("kv_lora_rank", "qk_nope_head_dim", "v_head_dim", "n_routed_experts", "moe_intermediate_size"),
    "qwen3_next": ("linear_num_key_heads", "linear_key_head_dim", "shared_expert_intermediate_size", "num_experts"),
    "jamba": ("hidden_size", "intermediate_size", "num_experts", "num_experts_per_tok"),
}


@pytest.mark.parametrize(("family", "key"), [(family, key) for family, keys in SIZE_KEYS.items() for key in keys])
@pytest.mark.parametrize("value", ["absent", None, 0, -1, 3.5, "12", True, [4], 10**30])
def test_a_size_that_is_none_is_refused_by_name(family: str, key: str, value: Any) -> None:
    config = copy.deepcopy(VALID[family])
    if value == "absent":
        del config[key]
    else:
        config[key] = value
    with pytest.raises(UserError, match=f"^{key}") as caught:
        read_config(config)
    assert "\n" not in str(caught.value)


def test_unknown_keys_are_reported_with_the_near_one() -> None:
    warnings = read_config(VALID["qwen3_moe"] | {"atention_bias": True}).warnings
    assert any("atention_bias" in warning and "did you mean attention_bias" in warning for warning in warnings)


def test_contradicting_spellings_are_refused() -> None:
    with pytest.raises(UserError, match="num_local_experts"):
        read_config(json.loads(Path("examples/configs/qwen3-30b-a3b.json").read_text()) | {"num_local_experts": 64})


@pytest.mark.parametrize("kind", [["Llama4ForConditionalGeneration"], {"a": 1}, 5, True])
@pytest.mark.parametrize("rest", [{}, {"text_config": {"model_type": "llama4_text"}}, {"thinker_config": {}}])
def test_a_family_that_is_no_text(kind: Any, rest: dict[str, Any]) -> None:
    """In a config of its own, in a wrapper, and in the wrapped one."""
    for config in ({"model_type": kind, **rest}, {"model_type": "llama4", "text_config": {"model_type": kind}}):
        with pytest.raises(UserError, match="model_type"):
            read_config(config)


def test_unknown_family_is_named() -> None:
    with pytest.raises(UserError, match=r"model_type: 'mixtrall'.*did you mean mixtral"):
        read_config({"model_type": "mixtrall"})
    with pytest.raises(UserError, match=r"model_type: 'gpt2'"):
        read_config({"model_type": "gpt2"})


def test_towers_are_left_out_and_named() -> None:
    imported = read_config("examples/configs/llama-4-scout.json")
    assert any("text_config" in warning and "vision_config" in warning for warning in imported.warnings)
    # Meta's model card: 109B in total with the vision tower, 17B active.
    assert total_params(imported.architecture) / 1e9 == pytest.approx(107.8, abs=0.05)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "JSON"),
        ('{"model_type": "mixtral", "hidden_size": 40', "line 1"),
        ("[1, 2]", "mapping"),
        ("null", "mapping"),
        ('{"hidden_size": 3, "hidden_size": 4, "model_type": "mixtral"}', "'hidden_size' occurs twice"),
        ('{"hidden_size": 3}', "model_type"),
        ("\x00\x01", "JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_broken_files(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(UserError) as caught:
        inspect(tmp_path)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json"):
        inspect(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        inspect(tmp_path / "missing.json")
    (tmp_path / "latin.json").write_bytes(b'{"model_type": "\xe9"}')
    with pytest.raises(UserError, match="UTF-8"):
        inspect(tmp_path / "latin.json")


@settings(max_examples=200, deadline=None)
@example("?")  # YAML for a mapping whose only key is null
@given(st.text(max_size=60))
def test_any_text_is_refused_in_one_line(text: str) -> None:
    import tempfile

    for ending in ("json", "yaml"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"model.{ending}"
            file.write_text(text, encoding="utf-8")
            with pytest.raises(UserError) as caught:
                inspect(file)
            assert "\n" not in " ".join(str(caught.value).split())


def test_groups_that_do_not_divide_are_reported_and_counted() -> None:
    config = VALID["deepseek_v3"] | {"n_routed_experts": 7, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1}
    imported = read_config(config)
    assert total_params(imported.architecture) == transformers_count(config)
    assert any(warning.startswith("n_group: 2 does not divide") for warning in imported.warnings)


def test_keys_by_the_hundred_thousand() -> None:
    values = oracle.saved_config(oracle.build("llama", SAMPLERS["llama"](random.Random(1))))
    many = {f"key_{number}": number for number in range(100_000)}
    imported = read_config(values | many)
    assert "99,900 more unknown keys were not used" in imported.warnings
    assert len(imported.warnings) < 200
    del values["num_hidden_layers"]
    with pytest.raises(UserError, match="num_hidden_layers: missing"):
        read_config(values | many)


# Families that only transformers knows


@pytest.mark.parametrize("family", ["falcon", "gpt_neox", "mpt"])
def test_an_unknown_family_is_refused_with_what_transformers_builds(family: str) -> None:
    module = oracle.build(family, {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4})
    with pytest.raises(UserError, match="is not a family that moewright knows") as refusal:
        load_architecture(oracle.saved_config(module))
    assert f" of {oracle.count(module):,} parameters (" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    counted = moewright.inspect(oracle.saved_config(module))
    assert isinstance(counted, moewright.ModuleCount)
    assert counted.total_params == sum(counted.params_by_module.values()) == oracle.count(module)
    assert counted.to_dict()["active_params"] is None
    for asked in ({"hardware": "H100"}, {"batch": 8}, {"tensor_parallel": 2}):
        with pytest.raises(UserError, match="leave it out"):
            moewright.inspect(oracle.saved_config(module), **asked)
    with pytest.raises(UserError, match="is not a family that moewright knows"):
        moewright.inspect([oracle.saved_config(module), "dbrx"])


def test_a_family_that_somebody_registered_is_counted() -> None:
    class MadeUpConfig(transformers.PretrainedConfig):
        model_type = "made_up_mixture"

        def __init__(self, hidden_size: int = 8, num_experts: int = 4, **settings: Any) -> None:
            self.hidden_size, self.num_experts = hidden_size, num_experts
            super().__init__(**settings)

    class MadeUpForCausalLM(transformers.PreTrainedModel):
        config_class = MadeUpConfig

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            width = config.hidden_size
            self.experts = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(config.num_experts))
            self.post_init()

    transformers.AutoConfig.register("made_up_mixture", MadeUpConfig)
    transformers.AutoModelForCausalLM.register(MadeUpConfig, MadeUpForCausalLM)
    values = {"model_type": "made_up_mixture", "hidden_size": 16, "experts_of": 3}
    counted = moewright.inspect({**values, "architectures": ["MadeUpForCausalLM"]})
    assert isinstance(counted, moewright.ModuleCount)
    assert counted.params_by_module == {"experts.*": 4 * (16 * 16 + 16)}
    assert counted.warnings[0] == "MadeUpConfig does not know experts_of: whatever they say is not counted"
    assert "num_experts = 4" in counted.warnings[1]
    # a class that transformers has not under this word is another family with the same word
    with pytest.raises(UserError, match="is not a family that moewright knows") as refusal:
        moewright.inspect({**values, "architectures": ["OtherForCausalLM"]})
    assert "builds" not in str(refusal.value)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "falkon"},
        {"model_type": "falcon", "num_hidden_layers": 10**9},
        {"model_type": "falcon", "text_config": {"num_local_experts": 10**9}},
        {"model_type": "bart", "num_hidden_layers": 2, "decoder_layers": 10**9},
        {"model_type": "falcon", "hidden_size": "wide"},
        {"model_type": 'x", "'},
    ],
)
def test_what_transformers_does_not_build_is_refused_without(config: dict[str, Any]) -> None:
    with pytest.raises(UserError) as refusal:
        load_architecture(config)
    assert "builds" not in str(refusal.value)


def test_a_key_of_millions_of_letters_is_a_short_line(tmp_path: Path) -> None:
    """It was compared with every known key by difflib, for seconds, and printed whole."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**valid_config("mixtral", 0), "x" * 3_000_000: 1}))
    found = moewright.inspect(path)
    assert any("unknown key xxx" in warning for warning in found.warnings)
    assert max(map(len, found.warnings)) < 2000
