"""Pieces that many families' configs have in common, in reading and in writing."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

from moewright.architecture.feed_forwards import Activation, Dense, ExpertGroup, FeedForward, MoE, Router, SharedExpert
from moewright.architecture.mixers import Attention, Indexer, LatentAttention, Mamba2, Mixer, Rope, Window
from moewright.architecture.spec import Architecture, Layer, Norm, NormPlaces, WeightFormatName
from moewright.hf.config_reader import HF_ACTIVATIONS, Config
from moewright.quantities import plain_integer


def without(defaults: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The defaults less some keys, which a family requires."""
    return {key: value for key, value in defaults.items() if key not in keys}


QKNorm = Literal["per_head", "full", "unweighted"] | None

# What nearly every family means by keys that it leaves out. num_key_value_heads is not here: null means as many as
# heads, but where transformers has a number for an absent key, the key is required.
COMMON_DEFAULTS: dict[str, Any] = {
    "tie_word_embeddings": False,
    "max_position_embeddings": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "head_dim": None,
    "rope_theta": None,
    "rope_scaling": None,
    "rope_parameters": None,
    "partial_rotary_factor": None,
    "torch_dtype": None,
    "dtype": None,
    "quantization_config": None,
    "compression_config": None,
    "quantization": None,
    "expert_dtype": None,
}

# What DeepSeek-V3's keys mean where a family that took them over leaves them out.
DEEPSEEK_ROUTING: dict[str, Any] = {
    "first_k_dense_replace": 0,
    "n_shared_experts": None,
    "n_group": None,
    "topk_group": None,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "num_nextn_predict_layers": 0,
}
# The keys of `shared_indexers` where a family leaves them out.
SHARED_INDEXERS: dict[str, Any] = {
    "indexer_types": None,
    "index_topk_pattern": None,
    "index_topk_freq": 1,
    "index_skip_topk_offset": 2,
}
# num_key_value_heads and head_dim say nothing in latent attention; ep_size and the like are training settings.
LATENT_NEUTRAL = (
    "num_key_value_heads",
    "head_dim",
    "qk_head_dim",
    "rope_interleave",
    "ep_size",
    "aux_loss_alpha",
    "seq_aux",
    "intermediate_size",
)

DTYPES: dict[str, WeightFormatName] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
"""torch's names in `dtype` and `torch_dtype`."""
QUANTIZATION_KEYS = ("quantization_config", "compression_config", "quantization")
"""Where a config says how its weights are quantised; several must say the same."""
SIDE_FILE = "hf_quant_config.json"
"""Where modelopt says it."""
_SPEAKS_OF_STORAGE = r"(?i)quanti[sz]|quant_|(?:^|_)(?:fp8|fp4|int8|int4|n?bits?|awq|gptq)(?:_|$)"


def speaks_of_storage(key: str) -> bool:
    """Whether a key of a config, which no reader knows, may say how weights are stored."""
    return key not in QUANTIZATION_KEYS and re.search(_SPEAKS_OF_STORAGE, key) is not None


def transformers_major(values: Mapping[str, Any]) -> int:
    """Of the version that wrote a config; 0 where it does not say."""
    major = str(values.get("transformers_version")).split(".")[0]
    return plain_integer(major, 3) or 0


def attention(
    c: Config,
    *,
    qkv_bias: bool,
    output_bias: bool,
    qk_norm: QKNorm = None,
    window: Window | None = None,
    rope: Rope | None,
    sinks: bool = False,
    output_gate: Literal["per_channel", "per_head"] | None = None,
    output_gate_bias: bool | Literal["per_head"] = False,
) -> Attention:
    """Grouped-query attention by the usual keys."""
    return Attention(
        num_heads=c.size("num_attention_heads"),
        num_kv_heads=c.kv_heads(),
        head_dim=c.head_dim(),
        qkv_bias=qkv_bias,
        output_bias=output_bias,
        qk_norm=qk_norm,
        window=window,
        rope=rope,
        sinks=sinks,
        output_gate=output_gate,
        output_gate_bias=output_gate_bias,
    )


def windowed(c: Config, types: Sequence[str], full: Attention, rope: Rope | None) -> list[Mixer]:
    """`full`, or in sliding_attention layers the same within sliding_window, with a rotary embedding of its own."""
    if "sliding_attention" not in types:
        return [full] * len(types)
    sliding = full.model_copy(update={"rope": rope, "window": Window(size=c.size("sliding_window"))})
    return [sliding if kind == "sliding_attention" else full for kind in types]


def latent_attention(
    c: Config, *, rope: Rope | None, indexer: Indexer | None = None, rotates: bool = True, **extra: Any
) -> LatentAttention:
    """Multi-head latent attention by DeepSeek's keys; without `rotates` no channel does, and there are as many."""
    still, turning = c.size("qk_nope_head_dim"), c.count("qk_rope_head_dim")
    return LatentAttention(
        num_heads=c.size("num_attention_heads"),
        q_lora_rank=c.optional_size("q_lora_rank"),
        kv_lora_rank=c.size("kv_lora_rank"),
        qk_nope_head_dim=still if rotates else still + turning,
        qk_rope_head_dim=turning if rotates else 0,
        v_head_dim=c.size("v_head_dim"),
        bias=c.flag("attention_bias"),
        rope=rope,
        indexer=indexer,
        **extra,
    )


def mamba2(
    c: Config,
    width: int,
    called: str,
    *,
    projection_bias: bool | Literal["input", "output"],
    norm: bool = True,
) -> Mamba2:
    """Mamba-2 of `width` channels, by the keys that Granite 4, Bamba and Falcon-H1 share; `called`: the width in
    complaints."""
    heads = c.size("mamba_n_heads")
    if width % heads:
        raise c.error("mamba_n_heads", f"{heads} does not divide {called} ({width})")
    head_dim = width // heads if c.raw("mamba_d_head") in (None, "auto") else c.size("mamba_d_head")
    if head_dim * heads != width:
        raise c.error("mamba_d_head", f"{head_dim} x {heads} heads is not {called} ({width})")
    groups = c.size("mamba_n_groups")
    if heads % groups:
        raise c.error("mamba_n_groups", f"{groups} does not divide mamba_n_heads ({heads})")
    return Mamba2(
        num_heads=heads,
        head_dim=head_dim,
        state_size=c.size("mamba_d_state"),
        num_groups=groups,
        conv_kernel=c.size("mamba_d_conv"),
        conv_bias=c.flag("mamba_conv_bias"),
        projection_bias=projection_bias,
        norm=norm,
    )


def indexer(c: Config, shared: bool = False, **extra: Any) -> Indexer:
    """DeepSeek sparse attention's indexer."""
    return Indexer(
        num_heads=c.size("index_n_heads"),
        head_dim=c.size("index_head_dim"),
        top_k=c.size("index_topk"),
        shared=shared,
        **extra,
    )


def shared_indexers(c: Config, n: int) -> list[bool]:
    """Which layers reuse an earlier layer's choice of tokens."""
    types = c.per_layer("indexer_types", n, "full", "shared")
    if types is not None:
        return [kind == "shared" for kind in types]
    pattern = c.raw("index_topk_pattern")
    if pattern is not None:
        if not isinstance(pattern, str) or len(pattern) != n or set(pattern) - {"F", "S"}:
            raise c.error("index_topk_pattern", f"expected {n} letters F or S", pattern)
        return [letter == "S" for letter in pattern]
    every, offset = c.count("index_topk_freq") or 1, c.count("index_skip_topk_offset")
    return [max(index - offset + 1, 0) % every != 0 for index in range(n)]


def experts(
    c: Config, *, count: str, top_k: str, size: str, router: Router, shared: SharedExpert | None = None, **extra: Any
) -> MoE:
    """One group of gated experts; `count`, `top_k` and `size` are the family's keys."""
    group = ExpertGroup(count=c.size(count), expert_size=c.size(size), top_k=c.top_k(top_k, count))
    extra = extra if "activation" in extra else {**extra, "activation": c.activation()}
    return MoE(groups=(group,), router=router, shared=shared, **extra)


def shared_of_routed_size(
    c: Config, count: str, size: str, combine: Literal["sum", "average", "gated", "scored"] = "sum", bias: bool = False
) -> SharedExpert | None:
    """`count` shared experts as wide as routed ones; none or null means none."""
    number = c.count(count)
    return SharedExpert(count=number, expert_size=c.size(size), combine=combine, bias=bias) if number else None


def expert_groups(
    c: Config, groups: str = "n_group", top: str = "topk_group", count: str = "n_routed_experts"
) -> tuple[int, int]:
    """Number of groups for group-limited routing, and how many compete; null means one group."""
    number = c.optional_size(groups) or 1
    best = c.optional_size(top) or number
    if best > number:
        raise c.error(top, f"{best} is more than {groups} ({number})")
    if c.size(count) % number:
        # transformers builds such a module but cannot run it; the groups are no parameters, so the counts stand
        c.warn(f"{groups}: {number} does not divide {count} ({c.size(count)}): the router cannot run; groups left out")
        return 1, 1
    return number, best


def sigmoid_router(c: Config, groups: tuple[int, int] = (1, 1)) -> Router:
    """DeepSeek-V3's router: sigmoid scores, selection bias, group limits, scale (arXiv 2412.19437, section 2.1.2)."""
    return Router(
        score="sigmoid",
        normalize=c.flag("norm_topk_prob"),
        scale=c.number("routed_scaling_factor"),
        selection_bias="buffer",
        num_groups=groups[0],
        top_groups=groups[1],
    )


def deepseek_experts(c: Config) -> MoE:
    """DeepSeek-V3's mixture by the keys that many families took over: shared experts, sigmoid router, expert groups."""
    c.fixed("scoring_func", "sigmoid", "noaux_tc")  # dots.llm1's files name the method there
    c.fixed("topk_method", "noaux_tc", None)
    c.fixed("moe_layer_freq", 1)
    return experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=sigmoid_router(c, expert_groups(c)),
        shared=shared_of_routed_size(c, "n_shared_experts", "moe_intermediate_size"),
    )


def dense(
    c: Config, size: str = "intermediate_size", bias: bool = False, activation: Activation | None = None
) -> Dense:
    """A gated dense feed-forward."""
    return Dense(size=c.size(size), activation=activation or c.activation(), bias=bias)


def sparse_step_layers(c: Config, num_layers: int) -> list[bool]:
    """Qwen's rule: every decoder_sparse_step-th layer has experts, except those in mlp_only_layers."""
    step, dense_only = c.size("decoder_sparse_step"), set(c.integers("mlp_only_layers"))
    return [index not in dense_only and (index + 1) % step == 0 for index in range(num_layers)]


def sparse_each(c: Config, num_layers: int, every: int, sparse: Layer) -> list[Layer]:
    """The layer with experts as the last of each so many; the others have a plain dense feed-forward for all that it
    has beside its mixer, whose keys are read only if there are any."""
    plain = sparse if every == 1 else Layer(mixer=sparse.mixer, feed_forward=dense(c))
    return [sparse if (index + 1) % every == 0 else plain for index in range(num_layers)]


def dense_first_layers(c: Config, num_layers: int, key: str = "first_k_dense_replace") -> list[bool]:
    """DeepSeek's rule: the first so many layers are dense."""
    return [index >= c.count(key) for index in range(num_layers)]


def layers_in_words(c: Config, key: str) -> set[int] | None:
    """The layers with experts, as a list or in one text: "3,4,5"; None where the key is absent or null."""
    stated = c.raw(key)
    if stated is None:
        return None
    items = stated.split(",") if isinstance(stated, str) else stated
    numbers = [plain_integer(str(item).strip()) for item in items] if isinstance(items, list) else [None]
    if None in numbers:
        raise c.error(key, "expected the numbers of the layers with experts", stated)
    return {number for number in numbers if number is not None}


def typed_layers(c: Config, num_layers: int) -> list[bool]:
    """mlp_layer_types where the config has it, else first_k_dense_replace. True: experts."""
    types = c.per_layer("mlp_layer_types", num_layers, "dense", "sparse")
    return dense_first_layers(c, num_layers) if types is None else [kind == "sparse" for kind in types]


def choose_feed_forwards(c: Config, sparse: Sequence[bool], moe: MoE, **dense_settings: Any) -> list[FeedForward]:
    """The experts where `sparse` says so, else a dense feed-forward, whose keys are read only if one is needed."""
    plain = moe if all(sparse) else dense(c, **dense_settings)
    return [moe if is_sparse else plain for is_sparse in sparse]


def stack(
    c: Config,
    mixers: Sequence[Mixer],
    feed_forwards: Sequence[FeedForward],
    norms: NormPlaces = "pre",
) -> list[Layer]:
    """Layers from their halves. Equal pairs share one object, which keeps large models cheap."""
    made: dict[tuple[int, int], Layer] = {}
    return [
        made.setdefault((id(mixer), id(feed_forward)), Layer(mixer=mixer, feed_forward=feed_forward, norms=norms))
        for mixer, feed_forward in zip(mixers, feed_forwards, strict=True)
    ]


def build(c: Config, layers: list[Layer], *, norm: Norm | None = None, **extra: Any) -> Architecture:
    """The architecture around the layers, by the usual keys."""
    if "tie_embeddings" not in extra:
        extra["tie_embeddings"] = c.flag("tie_word_embeddings")
    return Architecture(
        vocab_size=c.size("vocab_size"),
        hidden_size=c.size("hidden_size"),
        layers=tuple(layers),
        norm=norm or Norm(eps=c.number("rms_norm_eps")),
        max_context=c.optional_size("max_position_embeddings"),
        weights_format=weights_format(c),
        **extra,
    )


def prediction(c: Config, number: str, layer: Layer) -> dict[str, Any]:
    """Prediction blocks of one layer that need not be like the last: `number` is the family's key."""
    blocks = c.count(number)
    return {"mtp_layers": blocks, "mtp_block": (layer,) if blocks else None}


def block_kind(c: Config, key: str, blocks: int, otherwise: str, *allowed: str) -> str:
    """The kind of prediction blocks that a list under `key` has one word for each of; without blocks `otherwise`."""
    kinds = (c.per_layer(key, blocks, *allowed) if blocks else None) or [otherwise]
    if len(set(kinds)) > 1:
        c.warn(f"{key}: prediction blocks of several kinds are counted as the first of them")
    return kinds[0]


def weights_format(c: Config) -> WeightFormatName | None:
    """The one named format in which all weights are published; None where they are stored in another way, or unknown.

    `hf.published` says what each tensor has.
    """
    dtype = c.raw("dtype") or c.raw("torch_dtype")
    quantization = c.mapping("quantization_config")
    if c.has("quantization") or c.has("compression_config"):
        return None
    if quantization is None:
        if dtype is None or dtype == "auto":
            return None
        if not isinstance(dtype, str) or dtype.removeprefix("torch.") not in DTYPES:
            raise c.error("dtype" if c.has("dtype") else "torch_dtype", f"expected one of {', '.join(DTYPES)}", dtype)
        return DTYPES[dtype.removeprefix("torch.")]
    if quantization.get("quant_method") == "mxfp4":
        return "mxfp4"
    whole = not (c.has("expert_dtype") or "expert" in str(quantization.get("modules_to_not_convert")))
    is_fp8 = quantization.get("quant_method") == "fp8" and quantization.get("weight_block_size") == [128, 128]
    return "fp8" if whole and is_fp8 else None


# Writing


def common_keys(a: Architecture, attention_or_latent: Attention | LatentAttention | None) -> dict[str, Any]:
    """The keys that nearly every family has."""
    rope = attention_or_latent.rope if attention_or_latent else None
    values: dict[str, Any] = {
        "vocab_size": a.vocab_size,
        "hidden_size": a.hidden_size,
        "num_hidden_layers": a.num_layers,
        # 1 stands where there is no such mixer: then the family cannot express the model, and the comparison says so
        "num_attention_heads": attention_or_latent.num_heads if attention_or_latent else 1,
        "num_key_value_heads": 1,
        "hidden_act": HF_ACTIVATIONS[first_activation(a)],
        "max_position_embeddings": a.max_context,
        "rms_norm_eps": a.norm.eps,
        "tie_word_embeddings": a.tie_embeddings,
    }
    if a.max_context is None:
        del values["max_position_embeddings"]
    if rope is not None:
        # partial_rotary_factor is a family's own: most modules ignore the key
        values |= {"rope_theta": rope.theta, "rope_scaling": rope.scaling}
    if a.weights_format == "fp8":
        values["torch_dtype"] = "bfloat16"
        values["quantization_config"] = {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": [128, 128],
        }
    else:
        names = {name: dtype for dtype, name in DTYPES.items()}
        if a.weights_format in names:
            values["torch_dtype"] = names[a.weights_format]
    return values


@cache
def no_experts() -> MoE:
    """What a config says of experts where no layer has any: the keys must be there, and mean nothing."""
    return MoE(groups=(ExpertGroup(count=1, expert_size=1, top_k=1),))


def deepseek_expert_keys(moe: MoE | None, plain: Dense | None) -> dict[str, Any]:
    """Experts, router and dense width by the keys that DeepSeek-V3 began and others took over."""
    moe = moe or no_experts()
    group, router = moe.groups[0], moe.router
    return {
        "n_routed_experts": group.count,
        "num_experts_per_tok": group.top_k,
        "moe_intermediate_size": group.expert_size,
        "n_shared_experts": moe.shared.count if moe.shared else 0,
        "n_group": router.num_groups,
        "topk_group": router.top_groups,
        "norm_topk_prob": router.normalize,
        "routed_scaling_factor": router.scale,
        # transformers wants a dense width even where no layer uses it
        "intermediate_size": plain.size if plain else group.top_k * group.expert_size,
    }


def first_mixer(a: Architecture, kind: type[Attention] | type[LatentAttention]) -> Any:
    """The first mixer of a kind, or None."""
    return next((layer.mixer for layer in a.iter_layers() if isinstance(layer.mixer, kind)), None)


def first_moe(a: Architecture) -> MoE | None:
    """The first mixture of experts, be it in a prediction block only, or None."""
    halves = (layer.feed_forward for layer in (*a.iter_layers(), *(a.mtp_block or ())))
    return next((half for half in halves if isinstance(half, MoE)), None)


def first_activation(a: Architecture) -> Activation:
    """Of the first feed-forward."""
    feed_forwards = (layer.feed_forward for layer in a.iter_layers())
    return next((one.activation for one in feed_forwards if isinstance(one, Dense | MoE)), "silu")


def first_dense(a: Architecture) -> Dense | None:
    """The first dense feed-forward, or None."""
    return next((x.feed_forward for x in a.iter_layers() if isinstance(x.feed_forward, Dense)), None)


def dense_prefix(a: Architecture) -> int:
    """How many layers come before the first mixture of experts."""
    kinds = [isinstance(layer.feed_forward, MoE) for layer in a.iter_layers()]
    return kinds.index(True) if True in kinds else len(kinds)


def dense_layer_indices(a: Architecture) -> list[int]:
    """Positions of the layers without experts."""
    return [index for index, layer in enumerate(a.iter_layers()) if isinstance(layer.feed_forward, Dense)]
