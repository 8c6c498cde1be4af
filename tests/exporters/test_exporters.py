"""Exports without the tools: read back equal, refused by field and reason, the balance loss converted."""

import importlib
import json
import random
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import moewright
from moewright import Architecture, UserError
from moewright.architecture.canonical import canonical
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, Router, SharedExpert
from moewright.architecture.mixers import Attention, LatentAttention, Rope, Window
from moewright.architecture.spec import Layer, Norm
from moewright.exporters import FORMATS
from moewright.exporters.megatron import vocab_multiple
from moewright.hf import from_config
from tests.exporters import reference
from tests.exporters.samplers import SAMPLERS, anything

CONFIGS = {
    "megatron": "megatron_config.json",
    "olmo-core": "olmo_core_config.json",
    "torchtitan": "torchtitan_model.json",
}
RENORMALISED = Router(normalize=True)


def read_back(target: str, files: Any) -> Architecture:
    """The architecture in the files, shared experts as one."""
    if target == "hf":
        return canonical(from_config(json.loads(files["config.json"])))
    module = importlib.import_module(f"moewright.exporters.{FORMATS[target]}")
    architecture: Architecture = module.read(json.loads(files[CONFIGS[target]]))
    return architecture


@pytest.mark.parametrize("target", SAMPLERS)
def test_what_is_written_reads_back(target: str) -> None:
    r = random.Random(f"export {target}")
    for _ in range(100):
        architecture = SAMPLERS[target](r)
        again = read_back(target, moewright.export(architecture, target).files)
        context = {"max_context": architecture.max_context}
        assert again.model_copy(update=context) == canonical(architecture)


@pytest.mark.parametrize("target", SAMPLERS)
def test_anything_is_expressed_exactly_or_refused_by_a_field(target: str) -> None:
    r = random.Random(f"anything {target}")
    refusals = []
    for _ in range(200):
        architecture = anything(r, SAMPLERS[target](r))
        try:
            files = moewright.export(architecture, target).files
        except UserError as refusal:
            refusals.append(str(refusal))
            continue
        context = {"max_context": architecture.max_context}
        assert read_back(target, files).model_copy(update=context) == canonical(architecture)
    assert 50 < len(refusals) <= 200
    assert all(" cannot express " in text for text in refusals)


def small(
    router: Router = RENORMALISED,
    shared: SharedExpert | None = None,
    count: int = 8,
    top_k: int = 2,
    layers: int = 2,
    dense: int = 0,
    **extra: Any,
) -> Architecture:
    mixer = extra.pop("mixer", Attention(num_heads=4, num_kv_heads=2, head_dim=8, rope=Rope()))
    moe = MoE(
        groups=(ExpertGroup(count=count, expert_size=16, top_k=top_k),),
        router=router,
        shared=shared,
        **extra.pop("moe", {}),
    )
    norms = extra.pop("norms", "pre")
    stack = [Layer(mixer=mixer, feed_forward=Dense(size=32), norms=norms)] * dense
    stack += [Layer(mixer=mixer, feed_forward=moe, norms=norms)] * layers
    return Architecture(vocab_size=96, hidden_size=32, layers=tuple(stack), **extra)


SIGMOID = Router(score="sigmoid", normalize=True)
LATENT = LatentAttention(
    num_heads=4, q_lora_rank=8, kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, rope=Rope()
)
AVERAGE, GATED = (SharedExpert(expert_size=16, combine=way) for way in ("average", "gated"))


def head(**change: Any) -> Attention:
    return Attention(**{"num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "rope": Rope(), **change})


@pytest.mark.parametrize(
    ("target", "architecture", "field", "reason"),
    [
        ("megatron", small(Router(score="sigmoid")), "router.normalize = False", "renormalises sigmoid"),
        ("megatron", small(SIGMOID, top_k=1), "router.normalize = True", "never a single expert"),
        ("megatron", small(Router(normalize=True), top_k=1), "router.normalize = True", "never a single expert"),
        ("megatron", small(Router(selection_bias="buffer")), "router.selection_bias = 'buffer'", "sigmoid"),
        ("megatron", small(shared=AVERAGE), "shared.combine = 'average'", "sums"),
        ("megatron", small(mixer=head(qk_norm="full")), "mixer.qk_norm = 'full'", "per head"),
        ("megatron", small(mixer=head(output_bias=True)), "mixer.output_bias = True", "biases"),
        ("megatron", small(mixer=head(rope=Rope(theta=1e4 + 0.5))), "mixer.rope.theta = 10000.5", "integer"),
        ("megatron", small(norms="post"), "norms = 'post'", "before"),
        (
            "megatron",
            small(SIGMOID.model_copy(update={"num_groups": 4, "top_groups": 2}), top_k=6),
            "router.top_groups = 2",
            "best 3 experts, not their best 2",
        ),
        ("megatron", small(mixer=LATENT, norm=Norm(kind="layer", bias=True)), "mixer.kind", "biases"),
        ("olmo-core", small(Router(scale=2.5), AVERAGE), "shared.combine = 'average'", "shared/(K+1)"),
        ("olmo-core", small(shared=GATED), "shared.combine = 'gated'", "shared/(K+1)"),
        (
            "olmo-core",
            small(Router(num_groups=4, top_groups=2)),
            "router.top_groups = 2",
            "best 2 experts, not their best 1",
        ),
        ("olmo-core", small(mixer=LATENT), "mixer = kind latent_attention", "softmax attention only"),
        ("olmo-core", small(norms="parallel"), "norms = 'parallel'", "before or after"),
        ("olmo-core", small(mixer=head(qkv_bias=True)), "mixer.output_bias = False", "one switch"),
        ("olmo-core", small(mtp_layers=1), "mtp_layers = 1", "no prediction blocks"),
        ("torchtitan", small(shared=GATED), "shared.combine = 'gated'", "added"),
        ("torchtitan", small(mixer=head(window=Window(size=8))), "mixer.window = kind sliding", "everything before"),
        ("torchtitan", small(mixer=head(sinks=True)), "mixer.sinks = True", "none"),
        ("torchtitan", small(mixer=head(rope=None)), "mixer.rope = None", "rotates"),
        ("torchtitan", small(norm=Norm(kind="layer")), "norm.kind = 'layer'", "RMS"),
        (
            "torchtitan",
            small(Router(num_groups=4, top_groups=2)),
            "router.top_groups = 2",
            "best 2 experts, not their best 1",
        ),
        ("hf", small(mixer=head(sinks=True)), "mixer.sinks = True", ""),
    ],
)
def test_refusals_name_the_field_and_the_reason(
    target: str, architecture: Architecture, field: str, reason: str
) -> None:
    with pytest.raises(UserError, match="cannot express") as error:
        moewright.export(architecture, target)
    assert field in str(error.value)
    assert reason in str(error.value)


def test_gate_spellings_of_one_function_are_one_export() -> None:
    after = Router(score_after_top_k=True)
    logits = np.random.default_rng(0).normal(size=(20, 8))
    moes = [next(small(router).iter_layers()).feed_forward for router in (after, RENORMALISED)]
    np.testing.assert_allclose(reference.gates(moes[0], logits), reference.gates(moes[1], logits), rtol=1e-12)  # type: ignore[arg-type]
    for target in SAMPLERS:
        assert moewright.export(small(after), target) == moewright.export(small(RENORMALISED), target)


def balance_settings(target: str, architecture: Architecture, coefficient: float) -> dict[str, Any]:
    files = moewright.export(architecture, target, balance_loss=coefficient).files
    config = json.loads(next(iter(contents for name, contents in files.items() if name.endswith("json"))))
    settings: dict[str, Any] = {
        "hf": lambda: config,
        "megatron": lambda: config["transformer_config"],
        "olmo-core": lambda: (config["block"] if "_CLASS_" in config["block"] else config["block"]["block_1"])[
            "feed_forward_moe"
        ],
    }[target]()
    return settings


def test_balance_loss_keeps_its_weight_in_every_target() -> None:
    # Three mixtures after one dense layer; logits far from balanced.
    rng, coefficient, top_k, experts, tokens = np.random.default_rng(1), 0.01, 2, 8, 40
    layers = [reference.softmax(rng.normal(size=(tokens, experts)) * 2) for _ in range(3)]
    losses = [reference.balance_loss(layer, top_k) for layer in layers]
    meant = coefficient * np.mean(losses)
    model = small(layers=3, dense=1)

    # Megatron-LM (moe_utils.switch_load_balancing_loss_func): summed over layers.
    weight = balance_settings("megatron", model, coefficient)["moe_aux_loss_coeff"]
    assert weight == pytest.approx(coefficient / 3)
    assert weight * np.sum(losses) == pytest.approx(meant)

    # OLMo-core (MoEBase): the weight divided by all layers, then summed.
    weight = balance_settings("olmo-core", model, coefficient)["lb_loss_weight"]
    assert weight == pytest.approx(coefficient * 4 / 3)
    assert weight / 4 * np.sum(losses) == pytest.approx(meant)

    # transformers (load_balancing_loss_func): top_k when balanced, the layers' tokens pooled. Exact for one layer.
    weight = balance_settings("hf", small(layers=1), coefficient)["router_aux_loss_coef"]
    assert weight == pytest.approx(coefficient / top_k)
    chosen = np.argsort(layers[0], axis=1)[:, -top_k:]
    per_slot = np.stack([np.bincount(chosen[:, slot], minlength=experts) / tokens for slot in range(top_k)])
    theirs = experts * (per_slot * layers[0].mean(axis=0)).sum()
    assert weight * theirs == pytest.approx(coefficient * losses[0])


def test_balanced_routing_loses_exactly_the_coefficient() -> None:
    # By hand: 4 experts, top 1, each chosen by one of four tokens with probability 0.7, 0.1 elsewhere.
    probabilities = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    assert reference.balance_loss(probabilities, 1) == pytest.approx(1.0)
    # All on one expert: E f_0 P_0 = 4 x 1 x 0.7.
    collapsed = np.tile(probabilities[0], (4, 1))
    assert reference.balance_loss(collapsed, 1) == pytest.approx(2.8)


def test_no_balance_loss_is_written_as_none() -> None:
    model = small()
    settings = json.loads(moewright.export(model, "megatron").files["megatron_config.json"])["transformer_config"]
    assert settings["moe_router_load_balancing_type"] == "none"
    block = json.loads(moewright.export(model, "olmo-core").files["olmo_core_config.json"])["block"]
    assert block["feed_forward_moe"]["lb_loss_weight"] is None
    assert "router_aux_loss_coef" not in json.loads(moewright.export(model, "hf").files["config.json"])


@pytest.mark.parametrize(
    ("target", "architecture", "named"),
    [
        ("torchtitan", small(), "no balance loss"),
        ("hf", from_config("examples/configs/deepseek-v3.json"), "deepseek_v3 has no balance loss"),
        ("megatron", small(layers=0, dense=2), "no mixture-of-experts layer"),
    ],
)
def test_a_balance_loss_that_cannot_be_is_refused(target: str, architecture: Architecture, named: str) -> None:
    with pytest.raises(UserError, match=f"balance-loss: .*{named}"):
        moewright.export(architecture, target, balance_loss=0.01)


def test_megatron_arguments_say_what_the_settings_say() -> None:
    """The shell file, read word by word as Megatron-LM's parser does, holds the settings file's values."""
    r = random.Random("arguments")
    renamed = {"norm_epsilon": "layernorm_epsilon", "num_experts": "num_moe_experts"}
    renamed["max_position_embeddings"] = "max_sequence_length"
    for _ in range(50):
        files = moewright.export(SAMPLERS["megatron"](r), "megatron").files
        settings = json.loads(files["megatron_config.json"])
        words = shlex.split(files["pretrain_gpt_args.sh"], comments=True)
        assert words[0] == "MODEL_ARGS=("
        assert words[-1] == ")"
        given: dict[str, Any] = {}
        for word in words[1:-1]:
            if word.startswith("--"):
                name = word.removeprefix("--").replace("-", "_")
                name = renamed.get(name, name)
                given[name] = True
            else:
                given[name] = word
        config, model = settings["transformer_config"], settings["gpt_model"]
        assert given.pop("untie_embeddings_and_output_weights", False) is not model.pop(
            "share_embeddings_and_output_weights"
        )
        assert given.pop("disable_bias_linear") is not config.pop("add_bias_linear")
        assert given.pop("swiglu") is (config.pop("gated_linear_unit") and config.pop("activation_func") == "silu")
        assert int(given.pop("make_vocab_size_divisible_by")) == vocab_multiple(model["vocab_size"])
        assert given.pop("group_query_attention", False) is ("num_query_groups" in config)
        wanted = {name: value for name, value in (config | model).items() if value is not None and value is not False}
        assert given.keys() == wanted.keys()
        for name, value in wanted.items():
            if isinstance(value, bool | str):
                assert given[name] == value
            elif name == "window_size":
                assert [int(part) for part in given[name].split(",")] == value
            elif isinstance(value, list):
                assert eval(given[name]) == value  # as _eval_pattern does
            else:
                assert float(given[name]) == value


def test_latent_attention_tells_megatron_its_rotation_where_it_looks() -> None:
    # MLATransformerConfig has a rotary_base of its own, 10,000 unless said.
    model = small(mixer=LATENT.model_copy(update={"rope": Rope(theta=50_000.0)}))
    settings = json.loads(moewright.export(model, "megatron").files["megatron_config.json"])
    assert settings["transformer_config"]["rotary_base"] == 50_000


def test_a_padded_vocabulary_is_never_needed() -> None:
    assert [vocab_multiple(size) for size in (151936, 32000, 50304, 50257, 96)] == [128, 128, 128, 1, 32]


def test_a_design_folder_exports_its_own_spec(tmp_path: Path) -> None:
    small(layers=3).save(tmp_path / "design-01" / "architecture.yaml")
    (tmp_path / "design-01" / "config.json").write_text("{}")
    exported = moewright.export(tmp_path / "design-01", "hf", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == sorted(exported.files)
    with pytest.raises(UserError, match=r"out: .* is not an empty folder"):
        moewright.export(tmp_path / "design-01", "hf", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["design-01", "out"]
