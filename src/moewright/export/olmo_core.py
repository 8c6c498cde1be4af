"""OLMo-core: a TransformerConfig as JSON, which `TransformerConfig.from_dict` loads.

Written for ai2-olmo-core 3.0.0 (nn/transformer/config.py, nn/moe/moe.py, nn/moe/router.py, nn/attention). The config is
written leniently and read back as OLMo-core understands it; where the reading is another model, the export is refused.
"""

import json
from typing import Any, Literal

from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, Router, SharedExpert
from moewright.architecture.mixers import Attention, Rope, Window
from moewright.architecture.spec import Architecture, Layer, Norm
from moewright.export.conventions import (
    BIAS_UPDATE_RATE,
    Written,
    canonical,
    divided_by_all_layers,
    refuse_differences,
)

NAME = "olmo-core"
VERSION = "3.0.0"
CONFIG = "olmo_core_config.json"

_REASONS = {
    "mixer": "softmax attention only; its linear mixers are not written here",
    "combine": "its MoE averages: shared/(K+1) + routed K/(K+1)",
    "scale": "its router has no factor on the gates",
    "num_groups": "its router has no expert groups",
    "top_groups": "its router has no expert groups",
    "score": "softmax or sigmoid",
    "expert_bias": "its experts have no biases",
    "activation": "its experts are SwiGLU, its dense layers SwiGLU or GeGLU by tanh",
    "gated": "its feed-forwards are gated",
    "output_bias": "one switch for the biases of queries, keys, values, output and gate",
    "output_gate_bias": "one switch for the biases of queries, keys, values, output and gate",
    "bias": "one switch for each feed-forward, none in the router and the shared expert of an MoE",
    "groups": "all experts of a layer are alike",
    "qk_norm": "per head or over all heads, with weights",
    "theta": "RoPEConfig.theta is an integer",
    "scaling": "rope scaling is not written here",
    "mtp_layers": "it has no prediction blocks",
    "norms": "before or after each sublayer; both only in dense layers",
    "window": "sliding windows only",
}
Norms = Literal["pre", "post", "sandwich", "parallel"]
_BLOCKS: dict[tuple[Norms, bool], str] = {
    ("pre", False): "default",
    ("post", False): "reordered_norm",
    ("sandwich", False): "peri_norm",
    ("pre", True): "moe",
    ("post", True): "moe_reordered_norm",
}
_NORMS = {block: norms for (norms, _), block in _BLOCKS.items()}
_GATES: dict[str, Literal["per_head", "per_channel"]] = {"headwise": "per_head", "elementwise": "per_channel"}


def export(architecture: Architecture, balance_loss: float | None) -> Written:
    """The config file. UserError names what OLMo-core cannot express."""
    wanted = canonical(architecture)
    config = json.loads(json.dumps(write(wanted, balance_loss)))
    refuse_differences(NAME, wanted, read(config), _REASONS)
    return Written({CONFIG: json.dumps(config, indent=2) + "\n"}, _notes(wanted, balance_loss))


def write(a: Architecture, balance_loss: float | None) -> dict[str, Any]:
    """TransformerConfig's fields; unlike layers become named blocks and a pattern of their names."""
    weight = None if balance_loss is None else divided_by_all_layers(a, balance_loss)
    blocks: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    pattern = []
    for layer in a.iter_layers():
        block = _block(layer, a.norm, weight)
        name = names.setdefault(json.dumps(block), f"block_{len(names)}")
        blocks[name] = block
        pattern.append(name)
    values: dict[str, Any] = {
        "d_model": a.hidden_size,
        "vocab_size": a.vocab_size,
        "n_layers": len(pattern),
        "block": blocks if len(blocks) > 1 else blocks[pattern[0]],
        "lm_head": _made("nn.lm_head.LMHeadConfig", layer_norm=_norm(a.norm), bias=a.lm_head_bias),
        "name": "moe" if a.moe_layers() else "default",
        "tie_word_embeddings": a.tie_embeddings,
    }
    if len(blocks) > 1:
        values["block_pattern"] = pattern
    return _made("nn.transformer.config.TransformerConfig", **values)


def _made(name: str, /, **fields: Any) -> dict[str, Any]:
    """A config as OLMo-core's own files hold it: the class, then its fields."""
    return {"_CLASS_": f"olmo_core.{name}", **fields}


def _norm(norm: Norm) -> dict[str, Any]:
    name = "rms" if norm.kind == "rms" else "default"
    return _made("nn.layer_norm.LayerNormConfig", name=name, eps=norm.eps, bias=norm.bias)


def _block(layer: Layer, norm: Norm, balance_weight: float | None) -> dict[str, Any]:
    moe = layer.feed_forward if isinstance(layer.feed_forward, MoE) else None
    fields: dict[str, Any] = {
        # A place of the norms without a block of its own is read back as another place, and so refused.
        "name": _BLOCKS.get((layer.norms, moe is not None), "moe" if moe else "default"),
        "sequence_mixer": _attention(layer.mixer, norm),
        "layer_norm": _norm(norm),
    }
    if moe is not None:
        fields["feed_forward_moe"] = _experts(moe, balance_weight)
    elif isinstance(layer.feed_forward, Dense):
        fields["feed_forward"] = _dense(layer.feed_forward)
    return _made("nn.transformer.config.TransformerBlockConfig", **fields)


def _attention(mixer: Any, norm: Norm) -> dict[str, Any]:
    if not isinstance(mixer, Attention):  # read back as attention, and so refused by its kind
        return _made("nn.attention.AttentionConfig", n_heads=1, n_kv_heads=1, head_dim=1, bias=False)
    fields: dict[str, Any] = {
        "n_heads": mixer.num_heads,
        "n_kv_heads": mixer.num_kv_heads,
        "head_dim": mixer.head_dim,
        "bias": mixer.qkv_bias,
    }
    if mixer.rope:
        fields["rope"] = _made(
            "nn.rope.RoPEConfig", theta=int(mixer.rope.theta), partial_rotary_factor=mixer.rope.fraction
        )
    if mixer.qk_norm in ("per_head", "full"):
        fields["qk_norm"] = _norm(norm) | {"bias": False}
        fields["use_head_qk_norm"] = mixer.qk_norm == "per_head"
    if mixer.output_gate:
        granularity = next(name for name, gate in _GATES.items() if gate == mixer.output_gate)
        fields["gate"] = _made("nn.attention.GateConfig", granularity=granularity)
    if mixer.sinks:
        fields |= {"attention_sinks": True, "backend": "torch"}  # the only backend that has them
    if mixer.window and mixer.window.kind == "sliding":
        fields["sliding_window"] = _made(
            "nn.attention.SlidingWindowAttentionConfig",
            pattern=[mixer.window.size],
            force_full_attention_on_first_layer=False,
            force_full_attention_on_last_layer=False,
        )
    return _made("nn.attention.AttentionConfig", **fields)


def _dense(dense: Dense) -> dict[str, Any]:
    activation = "gelu_tanh" if dense.activation == "gelu_tanh" else "silu"
    return _made("nn.feed_forward.FeedForwardConfig", hidden_size=dense.size, bias=dense.bias, activation=activation)


def _experts(moe: MoE, balance_weight: float | None) -> dict[str, Any]:
    group, router = moe.groups[0], moe.router
    gates = {
        "top_k": group.top_k,
        "gating_function": "sigmoid" if router.score == "sigmoid" else "softmax",
        "normalize_expert_weights": 1.0 if router.normalize else None,  # the norm's order: 1 divides by the sum
        "bias_gamma": BIAS_UPDATE_RATE if router.selection_bias else None,
    }
    fields: dict[str, Any] = {
        "name": "dropless",
        "num_experts": group.count,
        "hidden_size": group.expert_size,
        "router": _made("nn.moe.router.MoERouterConfig", **gates),
        "lb_loss_weight": balance_weight,
        "scale_loss_by_num_layers": True,
    }
    if moe.shared:
        width = moe.shared.expert_size
        fields["shared_mlp"] = _made("nn.feed_forward.FeedForwardConfig", hidden_size=width, bias=False)
    return _made("nn.moe.moe.MoEConfig", **fields)


def read(config: dict[str, Any]) -> Architecture:
    """The architecture that OLMo-core builds from the config."""
    pattern = config.get("block_pattern")
    blocks = [config["block"][name] for name in pattern] if pattern else [config["block"]] * config["n_layers"]
    norm = config["lm_head"]["layer_norm"]
    return Architecture(
        vocab_size=config["vocab_size"],
        hidden_size=config["d_model"],
        layers=tuple(_read_block(block) for block in blocks),
        tie_embeddings=config["tie_word_embeddings"],
        norm=Norm(kind="rms" if norm["name"] == "rms" else "layer", bias=norm["bias"], eps=norm["eps"]),
        lm_head_bias=config["lm_head"]["bias"],
    )


def _read_block(block: dict[str, Any]) -> Layer:
    mixer, dense = block["sequence_mixer"], block.get("feed_forward")
    rope, gate, window = mixer.get("rope"), mixer.get("gate"), mixer.get("sliding_window")
    attention = Attention(
        num_heads=mixer["n_heads"],
        num_kv_heads=mixer["n_kv_heads"],
        head_dim=mixer["head_dim"],
        qkv_bias=mixer["bias"],
        output_bias=mixer["bias"],
        qk_norm=("per_head" if mixer["use_head_qk_norm"] else "full") if "qk_norm" in mixer else None,
        output_gate=_GATES[gate["granularity"]] if gate else None,
        output_gate_bias=mixer["bias"] if gate else False,
        sinks=mixer.get("attention_sinks", False),
        window=Window(size=window["pattern"][0]) if window else None,
        rope=Rope(theta=float(rope["theta"]), fraction=float(rope["partial_rotary_factor"])) if rope else None,
    )
    return Layer(
        mixer=attention,
        feed_forward=Dense(size=dense["hidden_size"], bias=dense["bias"], activation=dense["activation"])
        if dense
        else _read_experts(block["feed_forward_moe"]),
        norms=_NORMS[block["name"]],
    )


def _read_experts(moe: dict[str, Any]) -> MoE:
    router, shared = moe["router"], moe.get("shared_mlp")
    return MoE(
        groups=(ExpertGroup(count=moe["num_experts"], expert_size=moe["hidden_size"], top_k=router["top_k"]),),
        router=Router(
            score=router["gating_function"],
            normalize=router["normalize_expert_weights"] is not None,
            selection_bias="buffer" if router["bias_gamma"] is not None else None,
        ),
        shared=SharedExpert(expert_size=shared["hidden_size"], combine="average") if shared else None,
    )


def _notes(a: Architecture, balance_loss: float | None) -> tuple[str, ...]:
    notes = []
    if a.max_context is not None:
        notes.append(f"max_context {a.max_context}: not in the config; the data loader's sequence length sets it")
    for _, moe in a.moe_layers()[:1]:
        if moe.router.normalize:
            notes.append("gates: scores over all, divided by the sum of the chosen (normalize_expert_weights 1)")
        if moe.router.selection_bias:
            notes.append(f"loss-free bias: bias_gamma {BIAS_UPDATE_RATE}, not part of the spec (DeepSeek-V3's)")
        if moe.shared:
            notes.append("shared expert: averaged with the routed ones, given by its total width")
        if balance_loss is None:
            notes.append("balance loss: none (--balance-loss sets one)")
        else:
            weight = divided_by_all_layers(a, balance_loss)
            notes.append(
                f"balance loss {balance_loss:g}: lb_loss_weight {weight:g}; OLMo-core's is 1 when balanced and divides "
                f"the sum over the mixtures by all {a.num_layers} layers"
            )
    return tuple(notes)
