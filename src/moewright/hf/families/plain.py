"""Plain dense decoders, which mixtures are compared with: Llama, Mistral, Qwen2, MiMo, Qwen3, Granite, Seed-OSS, Phi-3
and 4, OLMo 2 and 3, GLM-4, SmolLM3, Gemma, ERNIE 4.5, Hunyuan, CWM, StableLM, Youtu, EXAONE 3, InternLM 2 and 3,
IQuest-Coder, HyperCLOVA X, Helium, Ministral, MiniCPM3 and Baichuan 2.

What transformers does not build, InternLM 2 and Baichuan 2, is by modeling_internlm2.py and modeling_baichuan.py.
"""

from moewright.architecture.mixers import Mixer, Rope, Window
from moewright.architecture.spec import Architecture, Norm, NormPlaces
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    LATENT_NEUTRAL,
    QKNorm,
    attention,
    build,
    dense,
    latent_attention,
    stack,
    windowed,
    without,
)


def _build(
    c: Config,
    *,
    qkv_bias: bool,
    output_bias: bool,
    qk_norm: QKNorm = None,
    mlp_bias: bool = False,
    slides: list[bool] | None = None,
    rope: Rope | None = None,
    norms: NormPlaces = "pre",
) -> Architecture:
    """Equal layers but for the window, which `slides` gives to some of them."""
    n, rope = c.num_layers(), rope or c.rope()
    full = attention(c, qkv_bias=qkv_bias, output_bias=output_bias, qk_norm=qk_norm, rope=rope)
    slides = slides or [False] * n
    window = Window(size=c.size("sliding_window")) if any(slides) else None
    sliding = full.model_copy(update={"window": window})
    return build(c, stack(c, [sliding if s else full for s in slides], [dense(c, bias=mlp_bias)] * n, norms))


def _read_llama(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    return _build(c, qkv_bias=bias, output_bias=bias, mlp_bias=c.flag("mlp_bias"))


def _read_windowed(c: Config) -> Architecture:
    """Mistral's and Phi-3's: a window in every layer, or in none."""
    slides = c.optional_size("sliding_window") is not None
    return _build(c, qkv_bias=False, output_bias=False, slides=[slides] * c.num_layers())


def _qwen_windows(c: Config) -> list[bool]:
    """layer_types, or with use_sliding_window the layers from max_window_layers on."""
    n, used = c.num_layers(), c.flag("use_sliding_window")
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    if types is None:
        first = c.count("max_window_layers")
        return [used and index >= first for index in range(n)]
    if "sliding_attention" in types and not used:
        raise c.error("layer_types", "has sliding_attention layers while use_sliding_window is false")
    return [kind == "sliding_attention" for kind in types]


def _read_qwen2(c: Config) -> Architecture:
    return _build(c, qkv_bias=True, output_bias=False, slides=_qwen_windows(c))


def _read_mimo(c: Config) -> Architecture:
    """Qwen2's layers, and a prediction block that is one more of them (vLLM's mimo_mtp.py)."""
    whole = _read_qwen2(c)
    return whole.model_copy(update={"mtp_layers": c.count("num_nextn_predict_layers")})


def _read_qwen3(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    return _build(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", slides=_qwen_windows(c))


def _read_qwen3_vl(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    return _build(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", rope=c.rope(500_000.0))


def _read_seed_oss(c: Config) -> Architecture:
    return _build(
        c, qkv_bias=c.flag("attention_bias"), output_bias=c.flag("attention_out_bias"), mlp_bias=c.flag("mlp_bias")
    )


def _read_olmo2(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    return _build(c, qkv_bias=bias, output_bias=bias, qk_norm="full", norms="post")


def _read_olmo3(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    types = types or ["full_attention" if (index + 1) % 4 == 0 else "sliding_attention" for index in range(n)]
    far = c.rope(500_000.0, layer_type="full_attention")
    # Contexts are extended in the full layers only, where one rope_scaling is stated for all.
    near = c.rope(500_000.0, layer_type="sliding_attention") if c.has("rope_parameters") else Rope(theta=far.theta)
    full = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="full", rope=far)
    return build(c, stack(c, windowed(c, types, full, near), [dense(c)] * n, norms="post"))


def _read_glm(c: Config, norms: NormPlaces) -> Architecture:
    bias = c.flag("attention_bias")
    return _build(c, qkv_bias=bias, output_bias=False, rope=c.rope(fraction=0.5), norms=norms)


def _read_smollm3(c: Config) -> Architecture:
    n, bias, rope = c.num_layers(), c.flag("attention_bias"), c.rope(2e6)
    turns = c.integers("no_rope_layers")  # 1 where the layer has rotary embeddings
    if not turns:
        every = c.size("no_rope_layer_interval")
        turns = [int((index + 1) % every != 0) for index in range(n)]
    if len(turns) != n:
        raise c.error("no_rope_layers", f"has {len(turns)} entries for {n} layers")
    c.fixed("use_sliding_window", False, None)
    with_rope = attention(c, qkv_bias=bias, output_bias=bias, rope=rope)
    without_rope = attention(c, qkv_bias=bias, output_bias=bias, rope=None)
    mixers: list[Mixer] = [with_rope if turn else without_rope for turn in turns]
    return build(c, stack(c, mixers, [dense(c, bias=c.flag("mlp_bias"))] * n))


def _read_ernie(c: Config) -> Architecture:
    bias = c.flag("use_bias")
    return _build(c, qkv_bias=bias, output_bias=bias, mlp_bias=bias)


def _read_hunyuan(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    c.fixed("use_qk_norm", True)
    return _build(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head")


def _read_cwm(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    types = types or ["full_attention" if index % 4 == 0 else "sliding_attention" for index in range(n)]
    slides = [kind == "sliding_attention" for kind in types]
    return _build(c, qkv_bias=False, output_bias=False, slides=slides, rope=c.rope(1e6))


def _read_stablelm(c: Config) -> Architecture:
    n = c.num_layers()
    norm = Norm(kind="layer", bias=True, eps=c.number("layer_norm_eps"))
    mixer = attention(
        c,
        qkv_bias=c.flag("use_qkv_bias"),
        output_bias=False,
        qk_norm="full" if c.flag("qk_layernorm") else None,
        rope=c.rope(fraction=0.25),
    )
    norms: NormPlaces = "parallel" if c.flag("use_parallel_residual") else "pre"
    return build(c, stack(c, [mixer] * n, [dense(c)] * n, norms), norm=norm)


def _read_youtu(c: Config) -> Architecture:
    n = c.num_layers()
    return build(c, stack(c, [latent_attention(c, rope=c.rope(1.6e6))] * n, [dense(c)] * n))


def _read_internlm(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    return _build(c, qkv_bias=bias, output_bias=c.flag("mlp_bias"), mlp_bias=c.flag("mlp_bias"))


def _read_internlm2(c: Config) -> Architecture:
    bias = c.flag("bias")
    return _build(c, qkv_bias=bias, output_bias=bias)


def _read_baichuan(c: Config) -> Architecture:
    """Rotary embeddings in the 7B, biases of the scores by distance in the 13B: neither has weights."""
    return _build(c, qkv_bias=False, output_bias=False)


def _read_hyperclovax(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    norms: NormPlaces = "sandwich" if c.flag("use_post_norm") else "pre"
    return _build(c, qkv_bias=bias, output_bias=bias, mlp_bias=c.flag("mlp_bias"), norms=norms)


def _read_helium(c: Config) -> Architecture:
    bias, width, heads = c.flag("attention_bias"), c.size("hidden_size"), c.size("num_attention_heads")
    if heads * c.head_dim() != width:
        raise c.error("head_dim", f"times {heads} heads must be hidden_size ({width})", c.head_dim())
    return _build(c, qkv_bias=bias, output_bias=False, mlp_bias=c.flag("mlp_bias"), rope=c.rope(100_000.0))


def _read_ministral(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    slides = c.optional_size("sliding_window") is not None
    windows = [slides] * n if types is None else [kind == "sliding_attention" for kind in types]
    return _build(c, qkv_bias=False, output_bias=False, slides=windows)


def _read_minicpm3(c: Config) -> Architecture:
    n = c.num_layers()
    if not c.has("v_head_dim"):
        width, heads = c.size("hidden_size"), c.size("num_attention_heads")
        if width % heads:
            raise c.error("num_attention_heads", f"{heads} does not divide hidden_size ({width})")
        c.replace("v_head_dim", width // heads)
    mixer = latent_attention(c, rope=c.rope())
    return build(c, stack(c, [mixer] * n, [dense(c, bias=c.flag("mlp_bias"))] * n))


_WINDOWS = {"use_sliding_window": False, "max_window_layers": 28, "layer_types": None}

FAMILIES = {
    "llama": Family(
        model_type="llama",
        class_name="LlamaForCausalLM",
        read=_read_llama,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "mlp_bias": False},
    ),
    "mistral": Family(
        model_type="mistral",
        class_name="MistralForCausalLM",
        read=_read_windowed,
        defaults={**COMMON_DEFAULTS, "sliding_window": 4096},
    ),
    "ministral3": Family(
        model_type="ministral3",
        class_name="Ministral3ForCausalLM",
        read=_read_windowed,
        defaults={**COMMON_DEFAULTS, "head_dim": 128, "rms_norm_eps": 1e-5, "sliding_window": None},
    ),
    "qwen2": Family(
        model_type="qwen2",
        class_name="Qwen2ForCausalLM",
        read=_read_qwen2,
        defaults={**COMMON_DEFAULTS, **_WINDOWS},
        neutral=("sliding_window", "use_mrope"),
    ),
    "mimo": Family(
        model_type="mimo",
        class_name="MiMoForCausalLM",
        read=_read_mimo,
        defaults={**COMMON_DEFAULTS, **_WINDOWS, "num_nextn_predict_layers": 0},
        neutral=("sliding_window", "use_mrope"),
    ),
    "qwen3": Family(
        model_type="qwen3",
        class_name="Qwen3ForCausalLM",
        read=_read_qwen3,
        defaults={**COMMON_DEFAULTS, **_WINDOWS, "head_dim": 128},
        neutral=("sliding_window",),
    ),
    "qwen3_vl_text": Family(
        model_type="qwen3_vl_text",
        class_name="Qwen3VLTextModel",
        read=_read_qwen3_vl,
        defaults={**COMMON_DEFAULTS, "head_dim": 128},
    ),
    "granite": Family(
        model_type="granite",
        class_name="GraniteForCausalLM",
        read=_read_llama,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "mlp_bias": False},
        neutral=("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"),
    ),
    "seed_oss": Family(
        model_type="seed_oss",
        class_name="SeedOssForCausalLM",
        read=_read_seed_oss,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "attention_bias": True,
            "attention_out_bias": False,
            "mlp_bias": False,
        },
        neutral=("residual_dropout",),
    ),
    "phi3": Family(
        model_type="phi3",
        class_name="Phi3ForCausalLM",
        read=_read_windowed,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "rms_norm_eps": 1e-5, "sliding_window": None},
        neutral=("original_max_position_embeddings",),
    ),
    "olmo2": Family(
        model_type="olmo2",
        class_name="Olmo2ForCausalLM",
        read=_read_olmo2,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "rms_norm_eps": 1e-5},
    ),
    "olmo3": Family(
        model_type="olmo3",
        class_name="Olmo3ForCausalLM",
        read=_read_olmo3,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": None,
            "rms_norm_eps": 1e-5,
            "sliding_window": 4096,
            "layer_types": None,
        },
    ),
    "gemma": Family(
        model_type="gemma",
        class_name="GemmaForCausalLM",
        read=lambda c: _build(c, qkv_bias=c.flag("attention_bias"), output_bias=c.flag("attention_bias")),
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 256,
            "hidden_act": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
        },
        neutral=("hidden_activation", "use_bidirectional_attention"),
    ),
    "ernie4_5": Family(
        model_type="ernie4_5",
        class_name="Ernie4_5ForCausalLM",
        read=_read_ernie,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "use_bias": False,
        },
    ),
    "hunyuan_v1_dense": Family(
        model_type="hunyuan_v1_dense",
        class_name="HunYuanDenseV1ForCausalLM",
        read=_read_hunyuan,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "rms_norm_eps": 1e-5},
        aliases={"attention_head_dim": "head_dim"},
        neutral=("eod_token_id", "org_vocab_size", "use_rotary_pos_emb", "norm_type", "mlp_bias", "sep_token_id"),
    ),
    "cwm": Family(
        model_type="cwm",
        class_name="CwmForCausalLM",
        read=_read_cwm,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "rms_norm_eps": 1e-5,
            "sliding_window": 8192,
            "layer_types": None,
        },
        neutral=("mlp_bias", "window_pattern", "global_window", "slow_rope"),
    ),
    "stablelm": Family(
        model_type="stablelm",
        class_name="StableLmForCausalLM",
        read=_read_stablelm,
        defaults={
            **COMMON_DEFAULTS,
            "layer_norm_eps": 1e-5,
            "use_qkv_bias": False,
            "qk_layernorm": False,
            "use_parallel_residual": False,
        },
        aliases={"rope_pct": "partial_rotary_factor"},
        neutral=("norm_eps", "rms_norm_eps"),
    ),
    "youtu": Family(
        model_type="youtu",
        class_name="YoutuForCausalLM",
        read=_read_youtu,
        defaults={**COMMON_DEFAULTS, "q_lora_rank": 1536, "tie_word_embeddings": True},
        neutral=(*LATENT_NEUTRAL, "mlp_bias", "embedding_initializer_range"),
    ),
    "exaone": Family(
        model_type="exaone",
        class_name="ExaoneForCausalLM",
        read=_read_llama,
        defaults={**COMMON_DEFAULTS, "rms_norm_eps": 1e-5, "mlp_bias": False},
        aliases={
            "num_layers": "num_hidden_layers",
            "layer_norm_epsilon": "rms_norm_eps",
            "activation_function": "hidden_act",
        },
        neutral=("embed_dropout",),
    ),
    "internlm2": Family(
        model_type="internlm2",
        class_name="InternLM2ForCausalLM",
        read=_read_internlm2,
        defaults={**without(COMMON_DEFAULTS, "attention_bias"), "num_key_value_heads": None, "bias": True},
        neutral=("attn_implementation", "rope_theta"),
    ),
    "internlm3": Family(
        model_type="internlm3",
        class_name="InternLM3ForCausalLM",
        read=_read_internlm,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "rms_norm_eps": 1e-5,
            "mlp_bias": False,
        },
        aliases={"qkv_bias": "attention_bias", "bias": "mlp_bias"},
    ),
    "iquestcoder": Family(
        model_type="iquestcoder",
        class_name="IQuestCoderForCausalLM",
        read=_read_llama,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "rms_norm_eps": 1e-5,
            "mlp_bias": False,
        },
    ),
    "hyperclovax": Family(
        model_type="hyperclovax",
        class_name="HyperCLOVAXForCausalLM",
        read=_read_hyperclovax,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "mlp_bias": False, "use_post_norm": True},
        neutral=("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"),
    ),
    "helium": Family(
        model_type="helium",
        class_name="HeliumForCausalLM",
        read=_read_helium,
        defaults={**COMMON_DEFAULTS, "head_dim": 128, "rms_norm_eps": 1e-8, "mlp_bias": False},
    ),
    "ministral": Family(
        model_type="ministral",
        class_name="MinistralForCausalLM",
        read=_read_ministral,
        defaults={**COMMON_DEFAULTS, "sliding_window": 4096, "layer_types": None},
    ),
    "minicpm3": Family(
        model_type="minicpm3",
        class_name="MiniCPM3ForCausalLM",
        read=_read_minicpm3,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "v_head_dim": None,
            "mlp_bias": False,
        },
        neutral=(
            *without(dict.fromkeys(LATENT_NEUTRAL), "intermediate_size"),
            "scale_emb",
            "scale_depth",
            "dim_model_base",
        ),
    ),
    "baichuan": Family(
        model_type="baichuan",
        class_name="BaichuanForCausalLM",
        read=_read_baichuan,
        defaults={**without(COMMON_DEFAULTS, "attention_bias"), "num_key_value_heads": None},
        aliases={"model_max_length": "max_position_embeddings"},
        neutral=("z_loss_weight", "gradient_checkpointing"),
    ),
    "glm": Family(
        model_type="glm",
        class_name="GlmForCausalLM",
        read=lambda c: _read_glm(c, "pre"),
        defaults={**COMMON_DEFAULTS, "head_dim": 128, "attention_bias": True, "rms_norm_eps": 1.5625e-7},
    ),
    "glm4": Family(
        model_type="glm4",
        class_name="Glm4ForCausalLM",
        read=lambda c: _read_glm(c, "sandwich"),
        defaults={**COMMON_DEFAULTS, "head_dim": 128, "attention_bias": True, "rms_norm_eps": 1.5625e-7},
    ),
    "smollm3": Family(
        model_type="smollm3",
        class_name="SmolLM3ForCausalLM",
        read=_read_smollm3,
        defaults={
            **COMMON_DEFAULTS,
            "tie_word_embeddings": True,
            "no_rope_layers": None,
            "no_rope_layer_interval": 4,
            "use_sliding_window": False,
            "mlp_bias": False,
        },
        neutral=("sliding_window", "layer_types"),
    ),
}
