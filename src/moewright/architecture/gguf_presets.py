"""What llama.cpp's quantiser makes of a model's tensors, by the names of its mixtures: Q4_K_M and others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from moewright.architecture.counts import mtp_outer_weights, prediction_layers
from moewright.architecture.gguf_types import GGUF_TYPES
from moewright.architecture.inventory import OWN, UNUSED, Weight, layer_weights, outer_weights
from moewright.architecture.mixers import Attention, LatentAttention, Mixer
from moewright.architecture.spec import Architecture

# ggml-org/llama.cpp at 007dbbf, src/llama-quant.cpp, tensor_type_fallback: rows that no blocks of 256 fill.
_SHORT_ROWS = {
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
    "IQ4_XS": "IQ4_NL",
    "IQ3_S": "IQ4_NL",
}


@dataclass(frozen=True)
class _Place:
    """Where a tensor stands: its layer among all and among those with such a tensor, of a model of so many."""

    layer: int
    layers: int
    experts: int
    queries_per_key: int
    large: bool
    """Of 80 layers with grouped queries, which llama.cpp takes for the 70B."""


_Rule = Callable[[_Place], str]


def _more_bits(place: _Place) -> bool:
    at, of = place.layer, place.layers
    return at < of // 8 or at >= 7 * of // 8 or (at - of // 8) % 3 == 2


@dataclass(frozen=True)
class GGUFPreset:
    """The type of most tensors, and of those that differ by place: values, down projections, outputs of attention."""

    name: str
    base: str
    head: str = "Q6_K"
    values: _Rule | None = None
    down: _Rule | None = None
    attention_output: str | None = None
    """Where there are not eight experts."""

    def type_of(self, role: str, place: _Place) -> str:
        """The type of a tensor by what it is: embedding, head, q, k, v, o, down or another matrix."""
        if role == "head":
            return self.head
        if role in ("v", "k") and place.experts == 8:
            return "Q8_0"
        found = self.base
        if role == "v":
            found = self.values(place) if self.values else found
            if place.large and found in ("Q3_K", "Q4_K"):
                found = "Q5_K"
        elif role == "down" and self.down:
            found = self.down(place)
        elif role == "o":
            if place.experts == 8 and self.name in _FEWER_THAN_FIVE:
                found = "Q5_K"
            elif place.experts != 8:
                found = self.attention_output or found
        return found


_FEWER_THAN_FIVE = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_XS")


def _first(share: int, many: str, few: str) -> _Rule:
    return lambda place: many if place.layer < place.layers // share else few


def _spread(many: str, few: str) -> _Rule:
    return lambda place: many if _more_bits(place) else few


# The same file, llama_tensor_get_type_impl.
GGUF_PRESETS: dict[str, GGUFPreset] = {
    preset.name: preset
    for preset in (
        GGUFPreset("Q8_0", "Q8_0", head="Q8_0"),
        GGUFPreset("Q6_K", "Q6_K"),
        GGUFPreset("Q5_K_M", "Q5_K", values=_spread("Q6_K", "Q5_K"), down=_spread("Q6_K", "Q5_K")),
        GGUFPreset("Q5_K_S", "Q5_K"),
        GGUFPreset("Q4_K_M", "Q4_K", values=_spread("Q6_K", "Q4_K"), down=_spread("Q6_K", "Q4_K")),
        GGUFPreset(
            "Q4_K_S",
            "Q4_K",
            values=lambda place: "Q5_K" if place.layer < 4 else "Q4_K",
            down=_first(8, "Q5_K", "Q4_K"),
        ),
        GGUFPreset("IQ4_XS", "IQ4_XS", values=lambda place: "Q5_K" if place.queries_per_key >= 4 else "IQ4_XS"),
        GGUFPreset(
            "Q3_K_M",
            "Q3_K",
            values=lambda place: "Q5_K" if place.layer < 2 else "Q4_K",
            down=_first(16, "Q5_K", "Q4_K"),
            attention_output="Q4_K",
        ),
        GGUFPreset("Q3_K_S", "Q3_K"),
        GGUFPreset(
            "Q2_K",
            "Q2_K",
            values=lambda place: "Q4_K" if place.queries_per_key >= 4 else "Q3_K",
            down=lambda place: "Q3_K",
            attention_output="Q3_K",
        ),
    )
}
"""By name; IQ4_XS as it is made with an importance matrix, which all publishers of it have."""


WITH_PREDICTION = frozenset({"glm4_moe"})
"""Families (by model_type) of which files hold the prediction block, as a layer more, with copies of embedding and head
(llama.cpp's conversion of Glm4MoeForCausalLM counts it into block_count); those of deepseek2 do not."""


def gguf_bytes(architecture: Architecture, preset: str, family: str | None = None) -> int | None:
    """Bytes of all tensors in a GGUF file that `llama-quantize` writes; None where a layer is neither plain attention
    nor plain latent attention with a dense feed-forward or experts, whose tensors llama.cpp has in shapes of its own.

    Queries, keys and values are taken to be apart, as in most architectures, and what latents become keys and values by
    to be apart too, as in files since April 2025. Prediction blocks are counted for families of WITH_PREDICTION.
    """
    mixture = GGUF_PRESETS[preset]
    layers = list(architecture.iter_layers())
    predicts = family in WITH_PREDICTION and architecture.mtp_layers > 0
    if predicts:
        layers += [*prediction_layers(architecture)] * architecture.mtp_layers
    first = layers[0].mixer
    if not all(type(layer.mixer) is type(first) and _is_plain(layer.mixer) for layer in layers):
        return None
    experts = max((moe.num_experts for _, moe in architecture.moe_layers()), default=0)
    grouped = first.num_heads // first.num_kv_heads if isinstance(first, Attention) else 1
    large = len(layers) == 80 and grouped > 1
    size = 0
    for index, layer in enumerate(layers):
        place = _Place(index, len(layers), experts, grouped, large)
        for weight in _as_llama_cpp_has_them(layer_weights(architecture, layer), layer.mixer):
            if weight.name == UNUSED or weight.name.startswith(OWN) or not weight.held:
                return None
            size += _bytes(weight, mixture.type_of(_ROLES.get(weight.name.rpartition(".")[2], "other"), place))
    tied = not any(weight.component == "lm_head" for weight in outer_weights(architecture))
    outside = _Place(0, len(layers), experts, grouped, large)
    blocks = architecture.mtp_layers if predicts else 0
    for weight in outer_weights(architecture):
        is_head = weight.component == "lm_head" or (tied and weight.component == "embedding")
        size += _bytes(weight, mixture.type_of("head" if is_head else "embedding", outside))
        if weight.component in ("embedding", "lm_head"):
            size += blocks * _bytes(weight, mixture.type_of("other", outside))
    block = mtp_outer_weights(architecture) if blocks else []
    return size + blocks * sum(_bytes(weight, mixture.type_of("other", outside)) for weight in block)


def _is_plain(mixer: Mixer) -> bool:
    """Whether llama.cpp has the matrices of a mixer in the inventory's shapes, but for those that it splits."""
    if isinstance(mixer, LatentAttention):
        return mixer == LatentAttention(
            num_heads=mixer.num_heads,
            q_lora_rank=mixer.q_lora_rank,
            kv_lora_rank=mixer.kv_lora_rank,
            qk_nope_head_dim=mixer.qk_nope_head_dim,
            qk_rope_head_dim=mixer.qk_rope_head_dim,
            v_head_dim=mixer.v_head_dim,
            rope=mixer.rope,
            window=mixer.window,
        )
    return type(mixer) is Attention and mixer.q_rank is None and not mixer.reads_embedding


def _as_llama_cpp_has_them(weights: list[Weight[int]], mixer: Mixer) -> Iterator[Weight[int]]:
    """Keys and values of each head of latents as two stacks, the keys' transposed (llama.cpp's conversion of
    deepseek2: attn_k_b and attn_v_b)."""
    for weight in weights:
        if weight.name == "kv_b_proj" and isinstance(mixer, LatentAttention):
            latent, heads = mixer.kv_lora_rank, mixer.num_heads
            yield weight._replace(name="k_b", outputs=latent, inputs=mixer.qk_nope_head_dim, copies=heads)
            yield weight._replace(name="v_b", outputs=mixer.v_head_dim, inputs=latent, copies=heads)
        else:
            yield weight


_ROLES = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o", "down_proj": "down"}
_FOUR_BYTES = 4
"""Of norms, biases, routers and whatever else is no matrix: fp32."""


def _bytes(weight: Weight[int], name: str) -> int:
    if weight.use not in ("matmul", "lookup") or weight.component == "router":
        return _FOUR_BYTES * weight.params
    stored = GGUF_TYPES[name]
    if weight.inputs % stored.block:
        stored = GGUF_TYPES[_SHORT_ROWS.get(name, "F16")]
    if weight.inputs % stored.block:
        stored = GGUF_TYPES["F16"]
    return weight.copies * weight.outputs * weight.inputs // stored.block * stored.block_bytes
