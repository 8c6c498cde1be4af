"""torchtitan: the sizes of a Qwen3 or DeepSeek-V3 model as JSON, with a module that makes the Config of them.

Written for torchtitan 0.3.0, whose models are Python configs chosen by `--module` and `--config`; so the export is a
module (a fixed file, `templates/moewright_torchtitan.py`) beside its sizes. The sizes are written leniently and read
back as torchtitan understands them; where the reading is another model, the export is refused.
"""

import json
from importlib.resources import files
from itertools import groupby
from typing import Any

from moewright.architecture.canonical import canonical
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, Router, SharedExpert, group_score_experts
from moewright.architecture.mixers import Attention, LatentAttention, Mixer, Rope
from moewright.architecture.spec import Architecture, Layer, Norm
from moewright.errors import UserError
from moewright.exporters.target_conventions import (
    ASSUMED_CONTEXT,
    BIAS_UPDATE_RATE,
    Written,
    refuse,
    refuse_differences,
)

NAME = "torchtitan"
VERSION = "0.3.0"
MODULE, CONFIG = "moewright_torchtitan.py", "torchtitan_model.json"
# torchtitan ranks a group of experts by its best two (models/common/moe.py, _get_node_limited_routing_scores).
_GROUP_SCORE_EXPERTS = 2

_REASONS = {
    "mixer": "grouped-query or latent attention, one kind for all layers",
    "norm.kind": "RMS norms without bias",
    "norm.bias": "RMS norms without bias",
    "norms": "norms stand before each sublayer",
    "qkv_bias": "its Qwen3 and DeepSeek-V3 have no biases",
    "output_bias": "its Qwen3 and DeepSeek-V3 have no biases",
    "bias": "its Qwen3 and DeepSeek-V3 have no biases",
    "expert_bias": "its Qwen3 and DeepSeek-V3 have no biases",
    "qk_norm": "per head only",
    "window": "its Qwen3 and DeepSeek-V3 attend to everything before",
    "sinks": "its Qwen3 and DeepSeek-V3 have none",
    "output_gate": "its Qwen3 and DeepSeek-V3 have none",
    "combine": "the shared expert is added",
    "score": "softmax or sigmoid",
    "activation": "its feed-forwards are SwiGLU",
    "gated": "its feed-forwards are SwiGLU",
    "groups": "all experts of a layer are alike",
    "rope": "every layer rotates all of its rotary channels",
    "fraction": "every layer rotates all of its rotary channels",
    "scaling": "YaRN in latent attention, with mscale equal to mscale_all_dim",
    "mtp_layers": "prediction blocks in its DeepSeek-V3 only",
}


def export(architecture: Architecture, balance_loss: float | None) -> Written:
    """The sizes and the module. UserError names what torchtitan cannot express."""
    if balance_loss is not None:
        raise UserError("balance-loss: torchtitan has no balance loss; it balances by router.selection_bias only")
    wanted = canonical(architecture)
    sizes = json.loads(json.dumps(write(wanted)))
    refuse_differences(NAME, wanted, read(sizes), _REASONS)
    _refuse_other_maths(wanted)
    module = files("moewright.exporters").joinpath("templates", MODULE).read_text(encoding="utf-8")
    return Written({CONFIG: json.dumps(sizes, indent=2) + "\n", MODULE: module}, _notes(wanted))


def write(a: Architecture) -> dict[str, Any]:
    """Sizes by torchtitan's names; equal layers that follow each other are written once."""
    latent = isinstance(next(a.iter_layers()).mixer, LatentAttention)
    layers = [_layer(layer) for layer in a.iter_layers()]
    return {
        "torchtitan": VERSION,
        "model": "deepseek_v3" if latent else "qwen3",
        "dim": a.hidden_size,
        "vocab_size": a.vocab_size,
        "norm_eps": a.norm.eps,
        "enable_weight_tying": a.tie_embeddings,
        "max_seq_len": a.max_context or ASSUMED_CONTEXT,
        "num_mtp_layers": a.mtp_layers if latent else 0,
        "layers": [{"repeat": len(list(run)), **layer} for layer, run in groupby(layers)],
    }


def _layer(layer: Layer) -> dict[str, Any]:
    feed_forward = layer.feed_forward
    if isinstance(feed_forward, Dense):
        return {"attention": _attention(layer.mixer), "feed_forward": {"hidden_dim": feed_forward.size}}
    if isinstance(feed_forward, MoE):
        return {"attention": _attention(layer.mixer), "moe": _experts(feed_forward)}
    # read back as a dense feed-forward, and so refused by its kind
    return {"attention": _attention(layer.mixer), "feed_forward": {"hidden_dim": 1}}


def _attention(mixer: Mixer) -> dict[str, Any]:
    rope = getattr(mixer, "rope", None) or Rope()
    if isinstance(mixer, LatentAttention):
        return {
            "n_heads": mixer.num_heads,
            "q_lora_rank": mixer.q_lora_rank or 0,  # 0: one full query projection
            "kv_lora_rank": mixer.kv_lora_rank,
            "qk_nope_head_dim": mixer.qk_nope_head_dim,
            "qk_rope_head_dim": mixer.qk_rope_head_dim,
            "v_head_dim": mixer.v_head_dim,
            "rope_theta": rope.theta,
            "yarn": _yarn(rope.scaling),
        }
    if isinstance(mixer, Attention):
        return {
            "n_heads": mixer.num_heads,
            "n_kv_heads": mixer.num_kv_heads,
            "head_dim": mixer.head_dim,
            "qk_norm": mixer.qk_norm == "per_head",
            "rope_theta": rope.theta,
        }
    # read back as attention, and so refused by its kind
    return {"n_heads": 1, "n_kv_heads": 1, "head_dim": 2, "qk_norm": False, "rope_theta": rope.theta}


def _yarn(scaling: dict[str, Any] | None) -> dict[str, Any] | None:
    if not scaling or scaling.get("rope_type") != "yarn":
        return None
    return {
        "rope_factor": scaling.get("factor", 1.0),
        "beta_fast": scaling.get("beta_fast", 32),
        "beta_slow": scaling.get("beta_slow", 1),
        "original_seq_len": scaling.get("original_max_position_embeddings", 4096),
        "mscale": scaling.get("mscale", 1.0),
    }


def _experts(moe: MoE) -> dict[str, Any]:
    group, router = moe.groups[0], moe.router
    limited = router.num_groups > 1
    return {
        "num_experts": group.count,
        "hidden_dim": group.expert_size,
        "top_k": group.top_k,
        "score_func": "sigmoid" if router.score == "sigmoid" else "softmax",
        "route_norm": router.normalize,
        "route_scale": router.scale,
        "num_expert_groups": router.num_groups if limited else None,
        "num_limited_groups": router.top_groups if limited else None,
        "load_balance_coeff": BIAS_UPDATE_RATE if router.selection_bias else None,
        "shared_hidden_dim": moe.shared.expert_size if moe.shared else None,  # of all shared experts together
    }


def read(sizes: dict[str, Any]) -> Architecture:
    """The architecture that torchtitan builds from the sizes."""
    latent = sizes["model"] == "deepseek_v3"
    layers = [_read_layer(layer, latent) for layer in sizes["layers"] for _ in range(layer["repeat"])]
    return Architecture(
        vocab_size=sizes["vocab_size"],
        hidden_size=sizes["dim"],
        layers=tuple(layers),
        tie_embeddings=sizes["enable_weight_tying"],
        norm=Norm(eps=sizes["norm_eps"]),
        mtp_layers=sizes["num_mtp_layers"],
    )


def _read_layer(layer: dict[str, Any], latent: bool) -> Layer:
    sizes = layer["attention"]
    mixer: Mixer
    if "kv_lora_rank" in sizes and latent:
        mixer = LatentAttention(
            num_heads=sizes["n_heads"],
            q_lora_rank=sizes["q_lora_rank"] or None,
            kv_lora_rank=sizes["kv_lora_rank"],
            qk_nope_head_dim=sizes["qk_nope_head_dim"],
            qk_rope_head_dim=sizes["qk_rope_head_dim"],
            v_head_dim=sizes["v_head_dim"],
            rope=Rope(theta=float(sizes["rope_theta"]), scaling=_read_yarn(sizes["yarn"])),
        )
    else:
        mixer = Attention(
            num_heads=sizes["n_heads"],
            num_kv_heads=sizes.get("n_kv_heads", 1),
            head_dim=sizes.get("head_dim", 2),
            qk_norm="per_head" if sizes.get("qk_norm") else None,
            rope=Rope(theta=float(sizes["rope_theta"])),
        )
    return Layer(
        mixer=mixer,
        feed_forward=_read_experts(layer["moe"]) if "moe" in layer else Dense(size=layer["feed_forward"]["hidden_dim"]),
    )


def _read_yarn(yarn: dict[str, Any] | None) -> dict[str, Any] | None:
    if yarn is None:
        return None
    return {
        "rope_type": "yarn",
        "factor": yarn["rope_factor"],
        "beta_fast": yarn["beta_fast"],
        "beta_slow": yarn["beta_slow"],
        "original_max_position_embeddings": yarn["original_seq_len"],
        # its softmax scale takes the one, its rotation neither (models/deepseek_v3/model.py, models/common/rope.py)
        "mscale": yarn["mscale"],
        "mscale_all_dim": yarn["mscale"],
    }


def _read_experts(sizes: dict[str, Any]) -> MoE:
    shared, groups = sizes["shared_hidden_dim"], sizes["num_expert_groups"] or 1
    return MoE(
        groups=(ExpertGroup(count=sizes["num_experts"], expert_size=sizes["hidden_dim"], top_k=sizes["top_k"]),),
        router=Router(
            score=sizes["score_func"],
            normalize=sizes["route_norm"],
            scale=float(sizes["route_scale"]),
            selection_bias="buffer" if sizes["load_balance_coeff"] is not None else None,
            num_groups=groups,
            top_groups=sizes["num_limited_groups"] or groups,
        ),
        shared=SharedExpert(expert_size=shared) if shared else None,
    )


def _refuse_other_maths(a: Architecture) -> None:
    """Refuse what has a setting of the same name with another meaning, and what its layers must have in common."""
    for _, moe in a.moe_layers():
        meant = group_score_experts(moe.router)
        if moe.router.num_groups > 1 and meant != _GROUP_SCORE_EXPERTS:
            reason = f"it would rank groups by their best {_GROUP_SCORE_EXPERTS} experts, not their best {meant}"
            refuse(NAME, a, moe, "router.top_groups", moe.router.top_groups, reason)
    biases = {moe.router.selection_bias for _, moe in a.moe_layers()}
    if len(biases) > 1:
        raise UserError(f"{NAME} cannot express router.selection_bias in some layers only (all or none)")


def _notes(a: Architecture) -> tuple[str, ...]:
    notes = []
    if a.max_context is None:
        notes.append(f"max_context: not given, rotary tables of {ASSUMED_CONTEXT} assumed")
    for _, moe in a.moe_layers()[:1]:
        if moe.router.normalize:
            notes.append("gates: scores over all, divided by the sum of the chosen (route_norm)")
        if moe.shared:
            notes.append("shared experts: summed, given by their total width")
        notes.append(
            f"loss-free bias: load_balance_coeff {BIAS_UPDATE_RATE}, not part of the spec (DeepSeek-V3's)"
            if moe.router.selection_bias
            else "balancing: none, load_balance_coeff is off (torchtitan's own default is 0.001)"
        )
    return tuple(notes)
