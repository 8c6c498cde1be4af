"""The mixture layer in both implementations against the reference that goes token by token."""

import random
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from moewright.architecture.counts import total_params
from moewright.architecture.feed_forwards import ExpertGroup, MoE, Router
from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.experiment.routing import Capacity
from moewright.lab.fast.choice import Implementation, implementation
from moewright.lab.model import Transformer
from moewright.lab.model.moe import DROPLESS, MoELayer, Routing, RoutingMode
from tests.lab.model import reference
from tests.lab.model.samplers import fill, random_architecture, random_capacity, random_moe, random_valid

LAYERS = 200
WIDTHS = (3, 4, 5)

FEATURES = {
    *("one group", "two groups", "three groups", "one router", "router per group", "averaged groups"),
    *("score softmax", "score sigmoid", "score sqrt_softplus", "score after top-k", "normalize", "scale"),
    *("router bias", "selection bias buffer", "selection bias parameter", "weigh input", "weigh output"),
    *("best groups softmax", "best groups sigmoid", "best groups sqrt_softplus"),
    *("shared sum", "shared average", "shared gated", "shared bias", "several shared"),
    *("latent experts", "latent norm", "latent bias", "no latent"),
    *("gated", "plain", "output bias", "parallel dense", "silu", "gelu", "gelu_tanh", "relu", "relu2"),
    *("dropless", "ceil", "floor", "multiple", "drop position", "drop score", "something dropped", "all dropped"),
    *("no padding", "padding", "wholly padded sequence", "nothing but padding"),
    *("empty expert", "one expert", "16 experts", "all experts chosen"),
    "an odd number of rows above 16",
}


def features_of(moe: MoE, capacity: Capacity | None, valid: Tensor, routing: Routing) -> set[str]:
    router, shared = moe.router, moe.shared
    loads, dropped = routing.loads.sum(0), int(routing.dropped)
    limited = router.top_groups < router.num_groups
    facts: dict[str, bool] = {
        ("one group", "two groups", "three groups")[len(moe.groups) - 1]: True,
        "router per group" if moe.router_per_group else "one router": len(moe.groups) > 1,
        "averaged groups": moe.combine_groups == "average",
        f"score {router.score}": True,
        "score after top-k": router.score_after_top_k and router.score == "softmax",
        "normalize": router.normalize and moe.top_k > 1,
        "scale": router.scale != 1,
        "router bias": router.bias,
        f"selection bias {router.selection_bias}": router.selection_bias is not None,
        f"weigh {router.weigh}": True,
        f"best groups {router.score}": limited,
        f"shared {shared.combine if shared else ''}": shared is not None,
        "shared bias": shared is not None and shared.bias,
        "several shared": shared is not None and shared.count > 1,
        "gated" if moe.gated else "plain": True,
        "output bias": moe.output_bias,
        "latent experts" if moe.latent_size else "no latent": True,
        "latent norm": moe.latent_norm,
        "latent bias": moe.latent_bias,
        "parallel dense": moe.parallel_dense is not None,
        moe.activation: True,
        "dropless": capacity is None,
        "ceil" if capacity and capacity.rounding == "ceil" else "floor": capacity is not None,
        "multiple": capacity is not None and capacity.multiple > 1,
        f"drop {capacity.drop if capacity else ''}": dropped > 0,
        "something dropped": dropped > 0,
        "all dropped": 0 < dropped == int(loads.sum()),
        "padding" if not valid.all() else "no padding": True,
        "wholly padded sequence": not valid.any(1).all(),
        "nothing but padding": not valid.any(),
        "empty expert": bool((loads == 0).any()),
        "an odd number of rows above 16": bool(((loads > 16) & (loads % 2 == 1)).any()) and dropped == 0,
        "one expert": moe.num_experts == 1,
        "16 experts": moe.num_experts == 16,
        "all experts chosen": moe.top_k == moe.num_experts,
    }
    return {name for name, holds in facts.items() if holds}


def agree(actual: Tensor | None, expected: Tensor | None, what: str) -> None:
    if expected is None or actual is None:  # autograd gives None where the graph does not reach
        present = expected if actual is None else actual
        assert present is None or not present.any(), what
        return
    assert actual.shape == expected.shape, what
    scale = 1 + expected.abs().max().item() if expected.numel() else 1
    assert (actual - expected).abs().max().item() <= 1e-10 * scale if expected.numel() else True, what


def test_layers_equal_the_definition() -> None:
    """Forward, balance quantities and every gradient of 200 random layers, in both implementations."""
    r = random.Random(20250)
    seen: Counter[str] = Counter()
    for case in range(LAYERS):
        moe, capacity, width = random_moe(r), random_capacity(r), r.choice(WIDTHS)
        batch, length = r.randrange(1, 4), r.randrange(1, 5)
        if case % 5 == 0:  # enough rows for the loop to round their number up
            length = r.randrange(12, 20)
        valid = random_valid(r, batch, length)
        mask = torch.ones(batch, length, dtype=torch.bool) if valid is None else valid
        layer = MoELayer(moe, width)
        fill(layer, case)
        weights = dict(layer.named_parameters()) | dict(layer.named_buffers())
        learned = [weight for weight in layer.parameters() if weight.requires_grad]
        generator = torch.Generator().manual_seed(case)
        x = torch.randn(batch, length, width, generator=generator, dtype=torch.float64, requires_grad=True)
        of_y, of_shares = torch.randn_like(x), torch.randn(batch, moe.num_experts, dtype=torch.float64)
        of_z = torch.randn(batch, dtype=torch.float64)

        def gradients(y: Tensor, shares: Tensor, z: Tensor) -> tuple[Tensor | None, ...]:
            loss = (y * mask.unsqueeze(-1) * of_y).sum() + (shares * of_shares).sum() + (z * of_z).sum()  # noqa: B023
            if not loss.requires_grad:  # nothing but padding
                return (None,) * (1 + len(learned))  # noqa: B023
            return torch.autograd.grad(loss, (x, *learned), allow_unused=True)  # noqa: B023

        answer = reference.mixture(moe, weights, x, mask, capacity)
        expected = gradients(answer.y, answer.shares, answer.z)
        for kind in ("plain", "fast"):
            with implementation(kind):
                y, routing = layer(x, valid, RoutingMode(capacity))
            where = f"case {case}, {kind}: {moe} {capacity} {valid}"
            assert routing.loads.tolist() == answer.loads, where
            assert int(routing.dropped) == answer.dropped, where
            assert routing.tokens.tolist() == mask.sum(1).tolist(), where
            agree(y * mask.unsqueeze(-1), answer.y, f"y of {where}")
            agree(routing.shares, answer.shares, f"shares of {where}")
            agree(routing.z, answer.z, f"z of {where}")
            actual = gradients(y, routing.shares, routing.z)
            names = ["x", *(name for name, weight in layer.named_parameters() if weight.requires_grad)]
            for name, one, other in zip(names, actual, expected, strict=True):
                agree(one, other, f"gradient of {name} of {where}")
        seen.update(features_of(moe, capacity, mask, routing))
    assert set(seen) == FEATURES
    assert min(seen.values()) >= 3, seen


def _layer(dtype: torch.dtype, seed: int = 0, **router: Any) -> MoELayer:
    """Sizes that torch's grouped product takes in fp32 and bf16 (multiples of 16 bytes)."""
    groups = (ExpertGroup(count=6, expert_size=16, top_k=2), ExpertGroup(count=3, expert_size=8, top_k=1))
    layer = MoELayer(MoE(groups=groups, router=Router(**router)), 24)
    fill(layer, seed, dtype)
    return layer


def _results(layer: MoELayer, x: Tensor, kind: Implementation, mode: RoutingMode = DROPLESS) -> list[Tensor]:
    """Output and gradients, one expert at a time empty or not as the scores have it."""
    x = x.clone().requires_grad_()
    with implementation(kind):
        y, routing = layer(x, None, mode)
    weigh = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    loss = (y * weigh).sum() + routing.shares.square().sum()
    return [y, *torch.autograd.grad(loss, (x, *layer.parameters()))]


@pytest.mark.parametrize("kind", ["plain", "fast"])
def test_infinite_capacity_is_dropless_bit_for_bit(kind: Implementation) -> None:
    layer = _layer(torch.float32)
    x = torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(1))
    dropless = _results(layer, x, kind)
    infinite = RoutingMode(Capacity(factor=float("inf")))
    assert all(map(torch.equal, dropless, _results(layer, x, kind, infinite)))
    layer(x, torch.zeros(2, 7, dtype=torch.bool), infinite)  # nothing but padding


def test_forced_choices_are_even() -> None:
    layer = _layer(torch.float64)
    x = torch.randn(3, 6, 24, dtype=torch.float64)
    y, routing = layer(x, None, RoutingMode(forced_uniform=True))
    assert routing.loads.sum(0).tolist() == [6] * 6 + [6] * 3
    assert int(layer(x, None, RoutingMode(Capacity(factor=1.0), forced_uniform=True))[1].dropped) == 0
    with implementation("plain"):
        torch.testing.assert_close(layer(x, None, RoutingMode(forced_uniform=True))[0], y)


def test_grouped_product_of_torch_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32: the grouped product runs (it is counted) and differs from the loop by rounding only."""
    calls = []
    original = torch.nn.functional.grouped_mm

    def counted(x: Tensor, *others: Any, **named: Any) -> Tensor:
        calls.append(x.dtype)
        return original(x, *others, **named)

    monkeypatch.setattr(torch.nn.functional, "grouped_mm", counted)
    for seed in range(5):
        layer = _layer(torch.float32, seed, normalize=True)
        x = torch.randn(2, 3 + 8 * seed, 24, generator=torch.Generator().manual_seed(seed))
        grouped = _results(layer, x, "plain")
        exact = _results(layer.double(), x.double(), "fast")
        layer.float()
        for one, other, truth in zip(grouped, _results(layer, x, "fast"), exact, strict=True):
            for value in (one, other):
                torch.testing.assert_close(value.double(), truth, rtol=1e-5, atol=2e-5 * truth.abs().max().item())
    assert calls == [torch.float32] * 4 * 5


@pytest.mark.parametrize("kind", ["plain", "fast"])
def test_bf16_is_close(kind: Implementation) -> None:
    """Activations in bf16 over weights in fp32; the router sees the rounded input and chooses in fp32."""
    layer = _layer(torch.float32)
    x = torch.randn(2, 20, 24, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    narrow = _results(layer, x, kind)
    exact = _results(layer.double(), x.double(), "fast")
    assert narrow[0].dtype == narrow[1].dtype == torch.bfloat16
    assert all(gradient.dtype == torch.float32 for gradient in narrow[2:])
    for one, truth in zip(narrow, exact, strict=True):
        assert (one.double() - truth).norm() <= 0.01 * truth.norm()


def test_module_has_the_counted_parameters() -> None:
    """200 random architectures: the module's parameters are those that the counts know."""
    r = random.Random(5)
    seen: Counter[str] = Counter()
    for _ in range(200):
        architecture = random_architecture(r)
        with torch.device("meta"):
            model = Transformer(architecture)
        assert sum(parameter.numel() for parameter in model.parameters()) == total_params(architecture), architecture
        layers = list(architecture.iter_layers())
        seen.update(layer.norms for layer in layers)
        seen.update(layer.mixer.kind for layer in layers)
        seen.update(str(getattr(layer.mixer, "qk_norm", None)) for layer in layers)
        seen.update(str(getattr(layer.mixer, "output_gate", None)) for layer in layers)
        seen["tied"] += architecture.tie_embeddings
        seen["dense first"] += layers[0].feed_forward.kind == "dense" and len(model.moe_layers()) > 0
        seen["unlike"] += len({layer.model_dump_json() for layer in layers}) > 1
    expected = {"pre", "post", "sandwich", "parallel", "attention", "latent_attention", "tied", "dense first", "unlike"}
    assert set(seen) == expected | {"None", "per_head", "full", "unweighted", "per_channel"}
    assert min(seen.values()) >= 20, seen


ATTENTION = {"kind": "attention", "num_heads": 2, "num_kv_heads": 1, "head_dim": 4}
LATENT = {
    "kind": "latent_attention",
    "num_heads": 2,
    "q_lora_rank": 4,
    "kv_lora_rank": 4,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 2,
    "v_head_dim": 4,
}
EXPERTS = {"kind": "moe", "groups": [{"count": 4, "expert_size": 4, "top_k": 2}]}
OWN = {"name": "gate", "component": "other", "outputs": 3}
REFUSED: dict[str, dict[str, Any]] = {
    "mixer.kind": {"mixer": {"kind": "lightning_attention", "num_heads": 2, "head_dim": 4}},
    "mixer.rope.scaling": {"mixer": {**ATTENTION, "rope": {"scaling": {"type": "yarn", "factor": 4.0}}}},
    "mixer.sinks": {"mixer": {**ATTENTION, "sinks": True}},
    "mixer.indexer": {"mixer": {**LATENT, "indexer": {"num_heads": 1, "head_dim": 4, "top_k": 2}}},
    "mixer.output_gate": {"mixer": {**LATENT, "output_gate": "per_head"}},
    "mixer.rope_key_norm": {"mixer": {**LATENT, "rope_key_norm": True}},
    "mixer.key_values": {"mixer": {**LATENT, "key_values": "earlier_layer"}},
    "mixer.qk_rope_head_dim": {"mixer": {**LATENT, "qk_rope_head_dim": 0}},
    "mixer.position_scaling": {"mixer": {**LATENT, "position_scaling": True}},
    "mixer.gate_from_query": {"mixer": {**LATENT, "gate_from_query": True}},
    "mixer.output_gate_bias": {"mixer": {**ATTENTION, "output_gate": "per_channel", "output_gate_bias": "per_head"}},
    "mixer_norm_gate": {"mixer_norm_gate": 2},
    "feed_forward_norm_gate": {"feed_forward_norm_gate": 2},
    "norms": {"norms": "half_weighted_sandwich"},
    "feed_forward.expert_output_norm": {"feed_forward": {**EXPERTS, "expert_output_norm": True}},
    "residual_vectors": {"residual_vectors": 1},
    "own_weights[0]": {"own_weights": [OWN]},
    "own_weights": {"own_weights": [OWN]},
    "own_state": {"own_state": 3},
    "passes": {"passes": 2},
    "lm_head_rows": {"lm_head_rows": 9},
    "feed_forward.router.input_size": {"feed_forward": {**EXPERTS, "router": {"input_size": 4}}},
    "feed_forward.router.skip_choices": {"feed_forward": {**EXPERTS, "router": {"skip_choices": 1}}},
    "feed_forward.shared.combine": {
        "feed_forward": {**EXPERTS, "shared": {"expert_size": 4, "combine": "scored"}},
    },
    "rope_frequencies": {"rope_frequencies": 4},
    "feed_forward.router.kind": {"feed_forward": {**EXPERTS, "router": {"kind": "hash"}}},
    "mixer.dynamic_mask": {"mixer": {**ATTENTION, "dynamic_mask": 8}},
    "mixer.q_rank": {"mixer": {**ATTENTION, "q_rank": 4}},
    "feed_forward.image_group": {
        "feed_forward": {**EXPERTS, "image_group": {"count": 4, "expert_size": 4, "top_k": 2}}
    },
    "feed_forward.expert_bias": {"feed_forward": {**EXPERTS, "expert_bias": True}},
    "feed_forward.identity_experts": {"feed_forward": {**EXPERTS, "identity_experts": 2}},
    "hyper_connections": {"hyper_connections": 2},
    "mtp_norms": {"mtp_layers": 1, "mtp_norms": 2},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_the_lab_does_not_train_is_refused_by_name(field: str) -> None:
    plain: dict[str, Any] = {"mixer": ATTENTION, "feed_forward": {"kind": "dense", "size": 4}, "norms": "pre"}
    plain |= {"mixer_norm_gate": None, "feed_forward_norm_gate": None, "own_state": 0, "passes": 1}
    change = REFUSED[field]
    in_layer = {key: value for key, value in change.items() if key in plain or field == "own_weights[0]"}
    whole = {key: value for key, value in change.items() if key not in in_layer}
    layers = [plain, plain | in_layer]
    architecture = Architecture.from_dict({"vocab_size": 10, "hidden_size": 8, "layers": layers, **whole})
    where = f"layers[1].{field}" if in_layer else field
    with torch.device("meta"), pytest.raises(UserError) as refusal:
        Transformer(architecture)
    assert str(refusal.value).startswith(where)
