"""Megatron-LM: the arguments of pretrain_gpt.py and the same as megatron-core's TransformerConfig.

Written for megatron-core 0.16.1 (transformer/transformer_config.py, transformer/moe/, models/gpt/gpt_model.py) and the
arguments of the Megatron-LM of its time (megatron/training/arguments.py). The settings are written leniently and read
back as megatron-core understands them; where the reading is another model, the export is refused.
"""

import json
from typing import Any

from moewright.architecture.canonical import canonical
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, Router, SharedExpert, group_score_experts
from moewright.architecture.mixers import Attention, LatentAttention, Mixer, Rope, Window
from moewright.architecture.spec import Architecture, Layer, Norm
from moewright.exporters.target_conventions import (
    ASSUMED_CONTEXT,
    BIAS_UPDATE_RATE,
    Written,
    refuse,
    refuse_differences,
    summed_over_layers,
)
from moewright.foreign_text import shell_words

MegatronSettings = dict[str, dict[str, Any]]

NAME = "megatron"
VERSION = "0.16.1"
ARGUMENTS, CONFIG = "pretrain_gpt_args.sh", "megatron_config.json"
# Megatron-LM pads the vocabulary to a multiple of this times the tensor-parallel degree; its own default.
VOCAB_MULTIPLE = 128
# What MLATransformerConfig takes for the settings of YaRN that pretrain_gpt.py has no argument for.
YARN_FIXED = {"beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 4096}

# activation_func, and whether linear units are gated -> the argument that sets both.
_ACTIVATIONS = {("silu", True): "--swiglu", ("relu2", False): "--squared-relu", ("gelu", False): None}

# Arguments that are not --the-name-of-the-field.
_ARGUMENT_NAMES = {
    "layernorm_epsilon": "--norm-epsilon",
    "num_moe_experts": "--num-experts",
    "max_sequence_length": "--max-position-embeddings",
}
SETTING_NAMES = {flag.removeprefix("--").replace("-", "_"): setting for setting, flag in _ARGUMENT_NAMES.items()}
"""The same from pretrain_gpt.py's names to those of the fields."""
# Settings that an argument of another kind states.
_STATED_OTHERWISE = ("gated_linear_unit", "activation_func", "add_bias_linear", "share_embeddings_and_output_weights")

_REASONS = {
    "qk_norm": "qk_layernorm has weights per head, of the model's kind of norm, and none in a model of layer norms",
    "selection_bias": "its expert bias is a buffer and needs sigmoid scores",
    "normalize": "it always renormalises sigmoid scores, and never a single expert's",
    "shared.combine": "it sums the shared expert, or multiplies it with a sigmoid gate",
    "window": "one window size for all layers that have one, no chunks, none in latent attention",
    "scaling": "YaRN in latent attention only; pretrain_gpt.py has no argument for its betas and original length",
    "theta": "--rotary-base is an integer, and one for all layers",
    "output_bias": "biases are on queries, keys and values only, or everywhere",
    "groups": "all experts of a layer are alike, in every layer",
    "norms": "norms stand before each sublayer",
    "activation": "one of swiglu, squared relu and gelu for all feed-forwards",
    "gated": "one of swiglu, squared relu and gelu for all feed-forwards",
    "size": "one ffn_hidden_size for all dense layers",
    "mixer": "softmax or latent attention, the same in all layers",
    "norm.bias": "layer norms have biases, RMS norms none",
}


def export(architecture: Architecture, balance_loss: float | None) -> Written:
    """The arguments file and the settings file. UserError names what Megatron-LM cannot express."""
    wanted = canonical(architecture)
    settings = json.loads(json.dumps(write(wanted, balance_loss)))
    refuse_differences(NAME, wanted, read(settings), _REASONS)
    _refuse_other_maths(wanted)
    notes = _notes(wanted, settings, balance_loss)
    files = {ARGUMENTS: arguments_file(settings, notes), CONFIG: json.dumps(settings, indent=2) + "\n"}
    return Written(files, notes)


def write(a: Architecture, balance_loss: float | None) -> MegatronSettings:
    """TransformerConfig's and GPTModel's settings for the first attention, dense layer and mixture of the model."""
    layers = list(a.iter_layers())
    mixer = next((x.mixer for x in layers if isinstance(x.mixer, Attention | LatentAttention)), None)
    dense = next((x.feed_forward for x in layers if isinstance(x.feed_forward, Dense)), None)
    moe = next((moe for _, moe in a.moe_layers()), None)
    # Without any: read back as a dense one, and so refused by its kind.
    feed_forward = moe or dense or Dense(size=1)
    config: dict[str, Any] = {
        "num_layers": len(layers),
        "hidden_size": a.hidden_size,
        "normalization": "RMSNorm" if a.norm.kind == "rms" else "LayerNorm",
        "layernorm_epsilon": a.norm.eps,
        "hidden_dropout": 0.0,  # 0.1 where it is not said
        "attention_dropout": 0.0,
        "add_bias_linear": False,
        "gated_linear_unit": feed_forward.gated,
        "activation_func": feed_forward.activation,
        "ffn_hidden_size": dense.size if dense else moe.groups[0].expert_size if moe else 1,
    }
    if isinstance(mixer, LatentAttention):
        config |= _latent_attention(mixer)
    elif isinstance(mixer, Attention):
        config |= _attention(mixer, layers, a.norm)
    else:  # no attention anywhere: read back as some, and so refused by its kind
        config |= {"num_attention_heads": 1, "num_query_groups": 1, "kv_channels": 1}
    if moe is not None:
        config |= _experts(moe, layers)
        config |= _balancing(a, moe.router, balance_loss)
    if a.mtp_layers:
        config["mtp_num_layers"] = a.mtp_layers
    rope = getattr(mixer, "rope", None)
    model: dict[str, Any] = {
        "vocab_size": a.vocab_size,
        "max_sequence_length": a.max_context or ASSUMED_CONTEXT,
        "share_embeddings_and_output_weights": a.tie_embeddings,
        "position_embedding_type": "rope" if rope else "none",
    }
    if rope:
        model |= _rotation(rope)
    return {"transformer_config": config, "gpt_model": model}


def _attention(mixer: Attention, layers: list[Layer], norm: Norm) -> dict[str, Any]:
    values: dict[str, Any] = {
        "num_attention_heads": mixer.num_heads,
        "num_query_groups": mixer.num_kv_heads,
        "kv_channels": mixer.head_dim,
        "add_qkv_bias": mixer.qkv_bias,
        "qk_layernorm": mixer.qk_norm == "per_head" and norm.kind == "rms",
    }
    if mixer.sinks:
        values["softmax_type"] = "learnable"
    windows = [getattr(layer.mixer, "window", None) for layer in layers]
    window = next((window for window in windows if window), None)
    if window:
        # The token itself is inside: size - 1 tokens to the left (transformer/utils.py, sliding causal mask).
        values["window_size"] = [window.size - 1, 0]
        values["window_attn_skip_freq"] = [int(w is not None) for w in windows]
    return values


def _latent_attention(mixer: LatentAttention) -> dict[str, Any]:
    values: dict[str, Any] = {
        "multi_latent_attention": True,
        "num_attention_heads": mixer.num_heads,
        "q_lora_rank": mixer.q_lora_rank,
        "kv_lora_rank": mixer.kv_lora_rank,
        "qk_head_dim": mixer.qk_nope_head_dim,
        "qk_pos_emb_head_dim": mixer.qk_rope_head_dim,
        "v_head_dim": mixer.v_head_dim,
        "qk_layernorm": True,  # the norms of the two latents
        "rope_type": "rope",
    }
    if mixer.rope:  # latent attention makes its own rotation, and does not ask GPTModel's
        values |= _rotation(mixer.rope)
    if mixer.rope and mixer.rope.scaling and mixer.rope.scaling.get("rope_type") == "yarn":
        scaling = mixer.rope.scaling
        values |= {
            "rope_type": "yarn",
            "rotary_scaling_factor": scaling.get("factor", 1.0),
            "mscale": scaling.get("mscale", 0.0),
            "mscale_all_dim": scaling.get("mscale_all_dim", 0.0),
        }
    return values


def _rotation(rope: Rope) -> dict[str, Any]:
    return {"rotary_base": int(rope.theta), "rotary_percent": rope.fraction}


def _experts(moe: MoE, layers: list[Layer]) -> dict[str, Any]:
    group, router = moe.groups[0], moe.router
    values: dict[str, Any] = {
        "num_moe_experts": group.count,
        "moe_layer_freq": [int(isinstance(layer.feed_forward, MoE)) for layer in layers],
        "moe_ffn_hidden_size": group.expert_size,
        "moe_router_topk": group.top_k,
        "moe_router_score_function": router.score,
        # Softmax before the choice leaves the gates as they are, softmax after it renormalises them.
        "moe_router_pre_softmax": router.score == "softmax" and not router.normalize,
    }
    if router.scale != 1:
        values["moe_router_topk_scaling_factor"] = router.scale
    if router.num_groups > 1:
        values |= {"moe_router_num_groups": router.num_groups, "moe_router_group_topk": router.top_groups}
    if moe.latent_size is not None:
        values["moe_latent_size"] = moe.latent_size
    if moe.shared:
        values["moe_shared_expert_intermediate_size"] = moe.shared.expert_size  # of all shared experts together
        values["moe_shared_expert_gate"] = moe.shared.combine == "gated"
    return values


def _balancing(a: Architecture, router: Router, balance_loss: float | None) -> dict[str, Any]:
    values: dict[str, Any] = {"moe_router_load_balancing_type": "none"}
    if balance_loss is not None:
        values = {
            "moe_router_load_balancing_type": "aux_loss",
            "moe_aux_loss_coeff": summed_over_layers(a, balance_loss),
        }
    if router.selection_bias and router.score == "sigmoid":
        values |= {"moe_router_enable_expert_bias": True, "moe_router_bias_update_rate": BIAS_UPDATE_RATE}
    return values


def read(settings: MegatronSettings) -> Architecture:
    """The architecture that megatron-core builds from the settings."""
    config, model = settings["transformer_config"], settings["gpt_model"]
    rope = None
    if model["position_embedding_type"] == "rope":
        rotation = config if config.get("multi_latent_attention") else model
        rope = Rope(
            theta=float(rotation["rotary_base"]),
            fraction=float(rotation["rotary_percent"]),
            scaling=_read_scaling(config),
        )
    gated, activation = config["gated_linear_unit"], config["activation_func"]
    moe = _read_experts(config) if "num_moe_experts" in config else None
    dense = Dense(size=config["ffn_hidden_size"], gated=gated, activation=activation)
    if (activation, gated) not in _ACTIVATIONS:  # no argument sets it: read as what the model is without one
        dense = Dense(size=config["ffn_hidden_size"], gated=False, activation="gelu")
        moe = moe.model_copy(update={"gated": False, "activation": "gelu"}) if moe else None
    pattern = config.get("moe_layer_freq", [0] * config["num_layers"])
    windows = config.get("window_attn_skip_freq", [0] * config["num_layers"])
    layers = tuple(
        Layer(mixer=_read_mixer(config, rope, bool(slides)), feed_forward=moe if moe and sparse else dense)
        for sparse, slides in zip(pattern, windows, strict=True)
    )
    rms = config["normalization"] == "RMSNorm"
    return Architecture(
        vocab_size=model["vocab_size"],
        hidden_size=config["hidden_size"],
        layers=layers,
        tie_embeddings=model["share_embeddings_and_output_weights"],
        norm=Norm(kind="rms" if rms else "layer", bias=not rms, eps=config["layernorm_epsilon"]),
        mtp_layers=config.get("mtp_num_layers", 0),
    )


def _read_mixer(config: dict[str, Any], rope: Rope | None, slides: bool) -> Mixer:
    if config.get("multi_latent_attention"):
        return LatentAttention(
            num_heads=config["num_attention_heads"],
            q_lora_rank=config["q_lora_rank"],
            kv_lora_rank=config["kv_lora_rank"],
            qk_nope_head_dim=config["qk_head_dim"],
            qk_rope_head_dim=config["qk_pos_emb_head_dim"],
            v_head_dim=config["v_head_dim"],
            rope=rope,
        )
    return Attention(
        num_heads=config["num_attention_heads"],
        num_kv_heads=config["num_query_groups"],
        head_dim=config["kv_channels"],
        qkv_bias=config.get("add_qkv_bias", False),
        qk_norm="per_head" if config.get("qk_layernorm") else None,
        sinks=config.get("softmax_type") == "learnable",
        window=Window(size=config["window_size"][0] + 1) if slides else None,
        rope=rope,
    )


def _read_scaling(config: dict[str, Any]) -> dict[str, Any] | None:
    if config.get("rope_type") != "yarn":
        return None
    names = {"factor": "rotary_scaling_factor", "mscale": "mscale", "mscale_all_dim": "mscale_all_dim"}
    return {"rope_type": "yarn", **YARN_FIXED, **{name: config[key] for name, key in names.items()}}


def _read_experts(config: dict[str, Any]) -> MoE:
    score, top_k = config["moe_router_score_function"], config["moe_router_topk"]
    after = top_k > 1 if score == "sigmoid" else not config["moe_router_pre_softmax"] and top_k > 1
    shared_size = config.get("moe_shared_expert_intermediate_size")
    groups = config.get("moe_router_num_groups", 1)
    return MoE(
        groups=(ExpertGroup(count=config["num_moe_experts"], expert_size=config["moe_ffn_hidden_size"], top_k=top_k),),
        router=Router(
            score="sigmoid" if score == "sigmoid" else "softmax",
            normalize=after,
            scale=config.get("moe_router_topk_scaling_factor", 1.0),
            selection_bias="buffer" if config.get("moe_router_enable_expert_bias") else None,
            num_groups=groups,
            top_groups=config.get("moe_router_group_topk", groups),
        ),
        shared=SharedExpert(expert_size=shared_size, combine="gated" if config.get("moe_shared_expert_gate") else "sum")
        if shared_size
        else None,
        gated=config["gated_linear_unit"],
        activation=config["activation_func"],
        latent_size=config.get("moe_latent_size"),
    )


def _refuse_other_maths(a: Architecture) -> None:
    """Refuse what has a setting of the same name with another meaning."""
    for _, layer in a.layer_runs():
        if isinstance(layer.mixer, LatentAttention) and a.norm.kind == "layer":
            refuse(NAME, a, layer.mixer, "kind", layer.mixer.kind, "layer norms would give its latents biases")
        moe = layer.feed_forward
        if isinstance(moe, MoE) and moe.router.num_groups > 1:
            # moe_utils.group_limited_topk: the sum of the best top_k // group_topk experts ranks a group
            summed, meant = moe.top_k // moe.router.top_groups, group_score_experts(moe.router)
            if summed != meant:
                reason = f"it would rank groups by their best {summed} experts, not their best {meant}"
                refuse(NAME, a, moe, "router.top_groups", moe.router.top_groups, reason)


def vocab_multiple(vocab_size: int) -> int:
    """The largest power of two up to Megatron-LM's default that divides the vocabulary, so that nothing is padded."""
    return min(vocab_size & -vocab_size, VOCAB_MULTIPLE)


def _notes(a: Architecture, settings: MegatronSettings, balance_loss: float | None) -> tuple[str, ...]:
    config = settings["transformer_config"]
    multiple = vocab_multiple(a.vocab_size)
    notes = [
        f"vocabulary: {a.vocab_size} is a multiple of {multiple}, so it is not padded at tensor parallel degree 1; "
        f"at degree n it is padded to a multiple of {multiple} n"
    ]
    if a.max_context is None:
        notes.append(f"max_context: not given, --max-position-embeddings {ASSUMED_CONTEXT} assumed")
    for _, moe in a.moe_layers()[:1]:
        if moe.router.score == "softmax":
            order = "before the choice, not renormalised" if config["moe_router_pre_softmax"] else "after the choice"
            notes.append(f"gates: softmax {order}")
        if moe.latent_size is not None:
            notes.append("latent experts: need Transformer Engine, and --moe-shared-expert-overlap left out")
        if moe.shared and moe.shared.combine == "sum":
            notes.append("shared experts: summed, given by their total width")
        if config.get("moe_router_enable_expert_bias"):
            notes.append(f"loss-free bias: step {BIAS_UPDATE_RATE}, not part of the spec (DeepSeek-V3's)")
        notes.append(
            "balance loss: none (--balance-loss sets one)"
            if balance_loss is None
            else f"balance loss {balance_loss:g}: --moe-aux-loss-coeff {config['moe_aux_loss_coeff']:g}, since "
            "Megatron-LM adds up its layers' losses (each 1 when balanced) where moewright averages them"
        )
    return tuple(notes)


def arguments(settings: MegatronSettings) -> list[str]:
    """The settings as arguments of pretrain_gpt.py, one list entry per word."""
    config, model = settings["transformer_config"], settings["gpt_model"]
    words: list[str] = ["--disable-bias-linear"]
    style = _ACTIVATIONS[config["activation_func"], config["gated_linear_unit"]]
    words += [style] if style else []
    if not model["share_embeddings_and_output_weights"]:
        words.append("--untie-embeddings-and-output-weights")
    words += ["--make-vocab-size-divisible-by", str(vocab_multiple(model["vocab_size"]))]
    if "num_query_groups" in config:
        words.append("--group-query-attention")
    for name, value in (config | model).items():
        if name in _STATED_OTHERWISE or value is None or value is False:
            continue
        words.append(_ARGUMENT_NAMES.get(name, "--" + name.replace("_", "-")))
        if value is True:
            continue
        if name == "window_size":
            words.append(",".join(map(str, value)))
        elif isinstance(value, list):
            words.append(_pattern(value))
        else:
            words.append(str(value))
    return words


def _pattern(values: list[int]) -> str:
    """A list as Megatron-LM's layer patterns write it: ([0]*1+[1]*60)."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1] = (value, runs[-1][1] + 1)
        else:
            runs.append((value, 1))
    return "(" + "+".join(f"[{value}]*{times}" for value, times in runs) + ")"


def arguments_file(settings: MegatronSettings, notes: tuple[str, ...]) -> str:
    """A shell file that sets MODEL_ARGS: `source` it and pass "${MODEL_ARGS[@]}" to pretrain_gpt.py."""
    lines = [f"# Made by moewright for Megatron-LM (megatron-core {VERSION})."]
    lines += [f"# {note}" for note in notes]
    lines.append("MODEL_ARGS=(")
    for word in arguments(settings):
        if word.startswith("--"):
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {shell_words(word)}"
    return "\n".join([*lines, ")", ""])
