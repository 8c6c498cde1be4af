"""Exports as the target tools read them: parameters counted, gates and balance loss computed by the tools themselves.

Each part runs where its tool is installed (docs/export.md says how); transformers is among the development tools.
"""

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import moewright
from moewright.architecture.feed_forwards import ExpertGroup, MoE, Router, SharedExpert
from tests.exporters import reference
from tests.exporters.samplers import SAMPLERS
from tests.exporters.test_exporters import balance_settings, small
from tests.exporters.tools import COUNTERS, PACKAGES, load_torchtitan, megatron_config

# The tools' own warnings: missing GPU libraries and the like.
pytestmark = pytest.mark.filterwarnings("ignore")

TOKENS, EXPERTS = 50, 8
PUBLISHED = {
    "hf": ("glm-4.5-air", "olmoe-1b-7b"),  # more of them in tests/architecture
    "megatron": ("deepseek-v3", "glm-4.5-air", "mixtral-8x7b", "qwen3-235b-a22b"),
    "olmo-core": ("dbrx", "mixtral-8x7b", "olmoe-1b-7b", "qwen3-235b-a22b"),
    "torchtitan": ("deepseek-v3", "kimi-k2", "mixtral-8x7b", "qwen3-235b-a22b"),
}


def needs(target: str) -> None:
    """Skip unless the tool is installed; it is imported by what uses it."""
    package = PACKAGES[target].split(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize(("target", "name"), [(target, name) for target in PUBLISHED for name in PUBLISHED[target]])
def test_published_models_count_the_same(target: str, name: str) -> None:
    needs(target)
    exported = moewright.export(Path(f"examples/configs/{name}.json"), target)
    assert COUNTERS[target](exported) == exported.total_params + exported.mtp_params


@pytest.mark.parametrize("target", SAMPLERS)
def test_random_models_count_the_same(target: str) -> None:
    needs(target)
    r = random.Random(f"tool {target}")
    for _ in range(40):
        exported = moewright.export(SAMPLERS[target](r), target)
        assert COUNTERS[target](exported) == exported.total_params + exported.mtp_params


ROUTERS = {
    "softmax": Router(),
    "softmax renormalised": Router(normalize=True),
    "softmax after the choice": Router(score_after_top_k=True),
    "softmax scaled": Router(normalize=True, scale=2.5),
    "sigmoid": Router(score="sigmoid"),
    "sigmoid renormalised": Router(score="sigmoid", normalize=True),
    "sigmoid with bias": Router(score="sigmoid", normalize=True, scale=2.5, selection_bias="buffer"),
    "sigmoid in groups": Router(score="sigmoid", normalize=True, num_groups=4, top_groups=2),
}


def drawn(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(len(name))
    return rng.normal(size=(TOKENS, EXPERTS)) * 2, rng.normal(size=EXPERTS)


def router_case(target: str, name: str) -> tuple[Any, MoE, np.ndarray, np.ndarray | None]:
    """The exported settings, the mixture, logits and the bias; skipped where the target refuses this router."""
    needs(target)
    router = ROUTERS[name]
    model = small(router, count=EXPERTS, top_k=4 if router.num_groups > 1 else 3)
    moe = next(model.iter_layers()).feed_forward
    assert isinstance(moe, MoE)
    try:
        exported = moewright.export(model, target)
    except moewright.UserError:
        pytest.skip(f"{target} refuses {name}")
    logits, bias = drawn(name)
    return exported, moe, logits, bias if router.selection_bias else None


@pytest.mark.parametrize("name", ROUTERS)
def test_megatron_gates(name: str) -> None:
    exported, moe, logits, bias = router_case("megatron", name)
    from megatron.core.transformer.moe.moe_utils import topk_routing_with_score_function

    config = megatron_config(json.loads(exported.files["megatron_config.json"]))
    found, _ = topk_routing_with_score_function(
        torch.tensor(logits),
        config.moe_router_topk,
        use_pre_softmax=config.moe_router_pre_softmax,
        num_groups=config.moe_router_num_groups,
        group_topk=config.moe_router_group_topk,
        scaling_factor=config.moe_router_topk_scaling_factor,
        score_function=config.moe_router_score_function,
        expert_bias=torch.tensor(bias) if bias is not None else None,
    )
    assert config.moe_router_enable_expert_bias is (bias is not None)
    np.testing.assert_allclose(found.numpy(), reference.gates(moe, logits, bias), rtol=1e-5)


def router_needs_fused(router: Router) -> bool:
    return router.scale != 1 or router.num_groups > 1


@pytest.mark.parametrize("name", ROUTERS)
def test_olmo_core_gates(name: str) -> None:
    exported, moe, logits, bias = router_case("olmo-core", name)
    from olmo_core.nn.transformer import TransformerConfig

    config = TransformerConfig.from_dict(json.loads(exported.files["olmo_core_config.json"]))
    fused = config.block.feed_forward_moe is None
    assert fused is (router_needs_fused(moe.router))
    if fused:
        config.block.routed_experts_router.d_model = EXPERTS
        router = config.block.routed_experts_router.build()
    else:
        router = config.block.feed_forward_moe.router.build(EXPERTS, EXPERTS)
    with torch.no_grad():  # an identity for weights: the input is the logits
        router.weight.copy_(torch.eye(EXPERTS).reshape(router.weight.shape))
    if bias is not None:
        router.score_bias = torch.tensor(bias, dtype=torch.float32)
    arguments = (False,) if fused else ()  # scores_only
    weights, chosen, *_ = router.eval()(torch.tensor(logits, dtype=torch.float32)[None], *arguments)
    found = torch.zeros(TOKENS, EXPERTS).scatter(1, chosen[0], weights[0].detach())
    np.testing.assert_allclose(found.numpy(), reference.gates(moe, logits, bias), rtol=1e-4)


@pytest.mark.parametrize("name", ROUTERS)
def test_torchtitan_gates(name: str) -> None:
    exported, moe, logits, bias = router_case("torchtitan", name)
    config = load_torchtitan(exported).model_config().layers[0].moe
    router_config = config.router
    router_config.gate.in_features = EXPERTS
    router = router_config.build()
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(EXPERTS))
    given = None if bias is None else torch.tensor(bias, dtype=torch.float32)
    assert (config.load_balance_coeff is not None) is (bias is not None)
    weights, chosen, _ = router(torch.tensor(logits, dtype=torch.float32)[None], given)
    found = torch.zeros(TOKENS, EXPERTS).scatter(1, chosen[0], weights[0].detach())
    np.testing.assert_allclose(found.numpy(), reference.gates(moe, logits, bias), rtol=1e-4)


def unbalanced(layers: int, top_k: int) -> tuple[list[np.ndarray], float]:
    """Logits of some layers and what moewright's balance loss of them is, coefficient 0.01."""
    rng = np.random.default_rng(5)
    logits = [rng.normal(size=(TOKENS, EXPERTS)) * 2 for _ in range(layers)]
    return logits, 0.01 * float(np.mean([reference.balance_loss(reference.softmax(x), top_k) for x in logits]))


def test_transformers_balance_loss() -> None:
    needs("hf")
    from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

    weight = balance_settings("hf", small(layers=1), 0.01)["router_aux_loss_coef"]
    logits, meant = unbalanced(1, top_k=2)
    by_layer: Any = tuple(torch.tensor(x) for x in logits)
    theirs = load_balancing_loss_func(by_layer, EXPERTS, 2)
    assert weight * float(theirs) == pytest.approx(meant, rel=1e-5)


def test_megatron_balance_loss() -> None:
    needs("megatron")
    from megatron.core.transformer.moe import moe_utils

    weight = balance_settings("megatron", small(layers=3, dense=1), 0.01)["moe_aux_loss_coeff"]
    logits, meant = unbalanced(3, top_k=2)
    theirs = 0.0
    for layer in logits:
        chosen, scores = moe_utils.compute_routing_scores_for_aux_loss(torch.tensor(layer), 2, "softmax")
        theirs += float(
            moe_utils.switch_load_balancing_loss_func(scores, chosen.sum(dim=0), TOKENS, 2, EXPERTS, weight)
        )
    assert theirs == pytest.approx(meant, rel=1e-5)


def test_olmo_core_balance_loss_of_fused_blocks() -> None:
    needs("olmo-core")
    from olmo_core.nn.transformer import TransformerConfig

    model = small(shared=SharedExpert(expert_size=16), layers=3, dense=1)
    exported = moewright.export(model, "olmo-core", balance_loss=0.01)
    config = TransformerConfig.from_dict(json.loads(exported.files["olmo_core_config.json"]))
    logits, meant = unbalanced(3, top_k=2)
    theirs = 0.0
    mixtures = [block for block in config.resolved_block_configs if block.routed_experts is not None]
    for block, layer in zip(mixtures, logits, strict=True):
        built = block.build(d_model=32, block_idx=1, n_layers=4, init_device="meta").routed_experts_router
        assert built.lb_loss_weight == block.routed_experts_router.lb_loss_weight  # not divided on the way
        block.routed_experts_router.d_model = EXPERTS
        router = block.routed_experts_router.build().train()
        with torch.no_grad():
            router.weight.copy_(torch.eye(EXPERTS).reshape(router.weight.shape))
        *_, given = router(torch.tensor(layer, dtype=torch.float32)[None], False)
        theirs += float(router.compute_aux_loss(*given))
    assert theirs == pytest.approx(meant, rel=1e-5)


def test_olmo_core_balance_loss() -> None:
    needs("olmo-core")
    from olmo_core.nn.transformer import TransformerConfig

    exported = moewright.export(small(layers=3, dense=1), "olmo-core", balance_loss=0.01)
    config = TransformerConfig.from_dict(json.loads(exported.files["olmo_core_config.json"]))
    logits, meant = unbalanced(3, top_k=2)
    theirs = 0.0
    mixtures = [block for block in config.resolved_block_configs if block.feed_forward_moe is not None]
    for block, layer in zip(mixtures, logits, strict=True):
        # The mixture as the model builds it; the router then sees an identity for weights.
        moe = block.feed_forward_moe.build(EXPERTS, n_layers=config.n_layers)
        with torch.no_grad():
            moe.router.weight.copy_(torch.eye(EXPERTS).flatten())
        *_, loss = moe.router.train()(torch.tensor(layer, dtype=torch.float32)[None])
        theirs += float(loss)
    assert theirs == pytest.approx(meant, rel=1e-5)


def test_olmo_core_is_told_that_there_is_no_balance_loss() -> None:
    needs("olmo-core")
    from olmo_core.nn.transformer import TransformerConfig

    exported = moewright.export(small(), "olmo-core")
    config = TransformerConfig.from_dict(json.loads(exported.files["olmo_core_config.json"]))
    assert config.block.feed_forward_moe.build(32).router.lb_loss_weight is None  # 0.01 where nothing is said


def test_olmo_core_averages_its_shared_expert() -> None:
    """shared/(K+1) + routed K/(K+1), what the spec calls average."""
    needs("olmo-core")
    from olmo_core.nn.transformer import TransformerConfig

    exported = moewright.export(small(shared=SharedExpert(expert_size=16, combine="average"), top_k=3), "olmo-core")
    config = TransformerConfig.from_dict(json.loads(exported.files["olmo_core_config.json"]))
    moe = config.block.feed_forward_moe.build(32).eval()
    x, routed = torch.randn(1, 5, 32), torch.randn(1, 5, 32)
    moe.experts.forward = lambda *_: routed  # OLMo-core's experts need a GPU
    torch.testing.assert_close(moe(x), moe.shared_mlp(x) / 4 + routed * 3 / 4)


def test_torchtitan_finds_the_exported_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs("torchtitan")
    from torchtitan.config import ConfigManager

    shared = SharedExpert(expert_size=16)
    model = small(Router(score="sigmoid", selection_bias="buffer"), shared, dense=1)
    moewright.export(model, "torchtitan", tmp_path / "out")
    monkeypatch.syspath_prepend(tmp_path / "out")
    arguments = ["--module", "moewright_torchtitan", "--config", "pretrain", "--training.steps", "7"]
    config = ConfigManager().parse_args(arguments)
    assert config.training.steps == 7
    assert len(config.model_spec.model.layers) == 3


def test_megatron_settings_survive_its_own_checks() -> None:
    """Every setting is a field of the TransformerConfig and keeps its value through its checks."""
    needs("megatron")
    r = random.Random("megatron settings")
    for _ in range(40):
        settings = json.loads(moewright.export(SAMPLERS["megatron"](r), "megatron").files["megatron_config.json"])
        config = megatron_config(settings)
        for name, value in settings["transformer_config"].items():
            if name != "activation_func":
                assert getattr(config, name) == value


def test_groups_of_unlike_experts_are_refused_everywhere() -> None:
    model = small()
    moe = next(model.iter_layers()).feed_forward
    assert isinstance(moe, MoE)
    unlike = moe.model_copy(update={"groups": (*moe.groups, ExpertGroup(count=2, expert_size=64, top_k=1))})
    layers = tuple(layer.model_copy(update={"feed_forward": unlike}) for layer in model.iter_layers())
    for target in COUNTERS:
        with pytest.raises(moewright.UserError, match="groups"):
            moewright.export(model.model_copy(update={"layers": layers}), target)
