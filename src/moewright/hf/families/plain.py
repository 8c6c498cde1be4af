"""Plain dense decoders, which mixtures are compared with: Llama, Mistral, Qwen2, Qwen3, Granite, Seed-OSS."""

from moewright.architecture.mixers import Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, QKNorm, attention, build, dense, stack


def _build(
    c: Config,
    *,
    qkv_bias: bool,
    output_bias: bool,
    qk_norm: QKNorm = None,
    mlp_bias: bool = False,
    slides: list[bool] | None = None,
    theta: float = 10_000.0,
) -> Architecture:
    """Equal layers but for the window, which `slides` gives to some of them."""
    n, rope = c.num_layers(), c.rope(theta)
    full = attention(c, qkv_bias=qkv_bias, output_bias=output_bias, qk_norm=qk_norm, rope=rope)
    slides = slides or [False] * n
    window = Window(size=c.size("sliding_window")) if any(slides) else None
    sliding = full.model_copy(update={"window": window})
    return build(c, stack(c, [sliding if s else full for s in slides], [dense(c, bias=mlp_bias)] * n))


def _read_llama(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    return _build(c, qkv_bias=bias, output_bias=bias, mlp_bias=c.flag("mlp_bias"))


def _read_mistral(c: Config) -> Architecture:
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


def _read_qwen3(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    return _build(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", slides=_qwen_windows(c))


def _read_qwen3_vl(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    return _build(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", theta=500_000.0)


def _read_seed_oss(c: Config) -> Architecture:
    return _build(
        c, qkv_bias=c.flag("attention_bias"), output_bias=c.flag("attention_out_bias"), mlp_bias=c.flag("mlp_bias")
    )


_WINDOWS = {"use_sliding_window": False, "max_window_layers": 28, "layer_types": None}

_MISTRAL = Family(
    model_type="mistral",
    class_name="MistralForCausalLM",
    read=_read_mistral,
    defaults={**COMMON_DEFAULTS, "sliding_window": 4096},
)

FAMILIES = {
    "llama": Family(
        model_type="llama",
        class_name="LlamaForCausalLM",
        read=_read_llama,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "mlp_bias": False},
    ),
    "mistral": _MISTRAL,
    "ministral3": Family(
        model_type="ministral3",
        class_name="Ministral3ForCausalLM",
        read=_read_mistral,
        defaults={**COMMON_DEFAULTS, "head_dim": 128, "rms_norm_eps": 1e-5, "sliding_window": None},
    ),
    "qwen2": Family(
        model_type="qwen2",
        class_name="Qwen2ForCausalLM",
        read=_read_qwen2,
        defaults={**COMMON_DEFAULTS, **_WINDOWS},
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
}
