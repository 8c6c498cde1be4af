"""NVIDIA Nemotron-H and Nemotron 3 (arXiv 2504.03624, 2512.20856): layers of Mamba-2, attention, experts or dense."""

from collections.abc import Callable

from moewright.architecture.feed_forwards import Dense, MoE, NoFeedForward, SharedExpert
from moewright.architecture.mixers import Mamba2, NoMixer
from moewright.architecture.spec import Architecture, Layer, Norm
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, expert_groups, experts, sigmoid_router

_LETTERS = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}
_WORDS = {"linear_attention": "mamba", "full_attention": "attention"}  # transformers 5's, beside the files' own


def _read(c: Config) -> Architecture:
    kinds = _kinds(c, "layers_block_type", "hybrid_override_pattern") or ["mamba", "moe", "attention", "mlp"]
    made: dict[str, Layer] = {}  # equal layers share one object, which keeps large models cheap

    def layer(kind: str) -> Layer:
        if kind not in made:
            made[kind] = _LAYERS[kind](c)
        return made[kind]

    predicted = c.count("num_nextn_predict_layers")
    block = _kinds(c, "mtp_layers_block_type", "mtp_hybrid_override_pattern") or ["attention", "moe"]
    if c.flag("tie_word_embeddings"):
        c.warn("tie_word_embeddings: true, but transformers builds this family with a separate head; counted so")
    return build(
        c,
        [layer(kind) for kind in kinds],
        norm=Norm(eps=c.number("layer_norm_epsilon")),
        tie_embeddings=False,
        mtp_layers=predicted,
        mtp_block=tuple(layer(kind) for kind in block) if predicted else None,
    )


def _kinds(c: Config, key: str, pattern_key: str) -> list[str] | None:
    """What each layer is, from a list of words or, in older files, from one letter each."""
    pattern = c.raw(pattern_key)
    if not c.has(key) and pattern is None:
        return None
    if not c.has(key):
        if not isinstance(pattern, str) or not pattern or set(pattern) - _LETTERS.keys():
            raise c.error(pattern_key, f"expected letters {' '.join(_LETTERS)}", pattern)
        c.replace(key, [_LETTERS[letter] for letter in pattern])
    stated = c.raw(key)
    number = len(stated) if isinstance(stated, list) else 0
    if not number:
        raise c.error(key, "expected a list with one entry per layer", stated)
    words = c.per_layer(key, number, *_LETTERS.values(), *_WORDS) or []
    return [_WORDS.get(word, word) for word in words]


def _mamba(c: Config) -> Layer:
    mixer = Mamba2(
        num_heads=c.size("mamba_num_heads"),
        head_dim=c.size("mamba_head_dim"),
        state_size=c.size("ssm_state_size"),
        num_groups=_groups(c),
        conv_kernel=c.size("conv_kernel"),
        conv_bias=c.flag("use_conv_bias"),
        projection_bias=c.flag("use_bias"),
    )
    return Layer(mixer=mixer, feed_forward=NoFeedForward())


def _groups(c: Config) -> int:
    groups, heads = c.size("n_groups"), c.size("mamba_num_heads")
    if heads % groups:
        raise c.error("n_groups", f"{groups} does not divide mamba_num_heads ({heads})")
    return groups


def _attention(c: Config) -> Layer:
    if c.flag("attention_bias"):
        c.warn("attention_bias: true, but transformers builds this family's attention without biases; counted so")
    return Layer(
        mixer=attention(c, qkv_bias=False, output_bias=False, rope=None),  # no position embedding (section 2.1)
        feed_forward=NoFeedForward(),
    )


def _dense(c: Config) -> Layer:
    feed_forward = Dense(
        size=c.size("intermediate_size"),
        gated=False,
        bias=c.flag("mlp_bias"),
        activation=c.activation("mlp_hidden_act"),
    )
    return Layer(mixer=NoMixer(), feed_forward=feed_forward)


def _experts(c: Config) -> Layer:
    latent, biased = c.optional_size("moe_latent_size"), c.flag("mlp_bias")
    c.fixed("n_shared_experts", 1)
    moe: MoE = experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=sigmoid_router(c, expert_groups(c)),
        shared=SharedExpert(expert_size=c.size("moe_shared_expert_intermediate_size"), bias=biased),
        gated=False,
        activation=c.activation("mlp_hidden_act"),
        latent_size=latent,
        latent_bias=biased and latent is not None,
    )
    return Layer(mixer=NoMixer(), feed_forward=moe)


_LAYERS: dict[str, Callable[[Config], Layer]] = {
    "mamba": _mamba,
    "attention": _attention,
    "mlp": _dense,
    "moe": _experts,
}

FAMILIES = {
    "nemotron_h": Family(
        model_type="nemotron_h",
        class_name="NemotronHForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "layer_norm_epsilon": 1e-5,
            "layers_block_type": None,
            "hybrid_override_pattern": None,
            "mtp_layers_block_type": None,
            "mtp_hybrid_override_pattern": None,
            "num_nextn_predict_layers": 0,
            "mlp_hidden_act": "relu2",
            "mlp_bias": False,
            "use_bias": False,
            "use_conv_bias": True,
            "moe_latent_size": None,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.0,
        },
        aliases={
            "layer_types": "layers_block_type",
            "num_local_experts": "n_routed_experts",
            "attention_head_dim": "head_dim",
            "mamba_n_groups": "n_groups",
            "mamba_d_conv": "conv_kernel",
            "mamba_conv_bias": "use_conv_bias",
        },
        neutral=(
            # num_hidden_layers follows from the list of layers, the inner width of Mamba-2 from its heads
            *("num_hidden_layers", "expand", "mamba_expand", "norm_eps", "rms_norm_eps", "mamba_hidden_act"),
            *("hidden_act", "mamba_proj_bias", "sliding_window", "rope_theta", "partial_rotary_factor", "chunk_size"),
            *("mamba_chunk_size", "mamba_ssm_cache_dtype", "use_mamba_kernels", "num_logits_to_keep"),
            *("rescale_prenorm_residual", "residual_in_fp32", "time_step_floor", "time_step_limit", "time_step_max"),
            *("time_step_min", "mamba_dt_min", "mamba_dt_max", "mamba_dt_limit", "mamba_dt_init_floor"),
            *("moe_shared_expert_overlap", "intermediate_size", "time_step_rank"),
        ),
    )
}
