"""The names that checkpoints give to the matrices of the inventory, which lists of what is not quantised refer to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from moewright.architecture.inventory import OWN, Weight
from moewright.architecture.mixers import (
    CompressedAttention,
    GatedDeltaNet,
    Mamba,
    Mamba2,
    Mixer,
    MixtureOfAttention,
    ParallelMixers,
    ShortConvolution,
)

Kind = Literal["linear", "experts", "router", "lm_head", "embedding", "kept", "unnamed"]
"""`kept`: never quantised. `unnamed`: linear, of a name that is not known, so that lists cannot be asked for it."""


class Module(NamedTuple):
    """`copies` modules with a matrix of outputs x inputs each."""

    names: tuple[str, ...]
    """Without what stands before `layers`; several where publishers write one module in several ways. An
    expert's number is left out: `experts.gate_proj`."""
    kind: Kind
    outputs: int
    inputs: int
    copies: int


@dataclass(frozen=True)
class Naming:
    """What a family calls its modules, where that is not what most do."""

    attention: str = "self_attn"
    feed_forward: str = "mlp"
    mixture: str | None = None
    """What holds routers and experts, where that is not `feed_forward`; "": the layer itself."""
    router: str = "gate"
    experts: str = "experts."
    """What stands before the names of an expert's matrices."""
    expert: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
    shared: str = "shared_experts"
    shared_in_layer: bool = False
    """Whether the layer itself holds the shared expert, and not the mixture."""
    shared_matrices: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
    renamed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Inventory name -> names."""
    kept: frozenset[str] = frozenset({"indexer.head_weights"})
    """Matrices (by inventory name) that the family's publishers never quantise, whatever the list says; by default the
    indexer's projection to its head weights (transformers 5.24, DeepseekV32PreTrainedModel)."""
    linear_mixer: str | None = None
    """What holds a state-space mixer, where the family has its own word."""
    delta_apart: bool = False
    """Whether a delta net has a matrix each for queries, keys, values and its gates, in the words of attention."""
    known: bool = True
    """False: the files number their layers otherwise, so that nothing can be asked for by name."""
    also: tuple[Naming, ...] = ()
    """Other names of the same modules: publishers' files and transformers 5 have names of their own."""


_USUAL_NAMES = Naming()
_W1_W3_W2 = ("w1", "w3", "w2")
_MIXTRAL = Naming(feed_forward="block_sparse_moe", expert=_W1_W3_W2, also=(_USUAL_NAMES, Naming(router="router")))
_SHARED_EXPERT = Naming(shared="shared_expert")
_GATED_QUERIES = Naming(shared="shared_expert", renamed={"g_proj": ("q_proj",)})
"""Queries and the gate of the output in one matrix."""
_LLAMA4 = Naming(feed_forward="feed_forward", router="router", shared="shared_expert")
_GRANITE_5 = Naming(
    feed_forward="block_sparse_moe",
    router="router",
    shared="shared_mlp",
    shared_in_layer=True,
    shared_matrices=("input_linear", "input_linear", "output_linear"),
)
_GRANITE = replace(
    _GRANITE_5,
    router="router.layer",
    experts="",
    expert=("input_linear", "input_linear", "output_linear"),
    also=(_GRANITE_5,),
)
_OUTPUT_GATE = Naming(renamed={"g_proj": ("gate_proj",)})
_FORGET_GATE = Naming(
    renamed={name: (name, f"forget_gate.{name}") for name in ("f_proj", "f_a_proj", "f_b_proj")}
    | {"indexer.pool_gate": ("indexer.index_kpool_compress_gate",)}
)
_DEEPSEEK_V4_KEPT = frozenset({"compressor.kv_proj", "compressor.gate_proj", "indexer.head_weights"})
# transformers 5.24: DeepseekV4PreTrainedModel's comment on modules kept from fp8, and its conversion mapping.
_DEEPSEEK_V4 = Naming(
    attention="attn",
    feed_forward="ffn",
    expert=_W1_W3_W2,
    shared_matrices=_W1_W3_W2,
    kept=_DEEPSEEK_V4_KEPT,
    renamed={
        "q_a_proj": ("wq_a",),
        "q_b_proj": ("wq_b",),
        "kv_proj": ("wkv",),
        "o_a_proj": ("wo_a",),
        "o_b_proj": ("wo_b",),
        "compressor.kv_proj": ("compressor.wkv",),
        "compressor.gate_proj": ("compressor.wgate",),
    },
    also=(Naming(kept=_DEEPSEEK_V4_KEPT, renamed={"indexer.q_proj": ("compressor.indexer.q_b_proj",)}),),
)
_NAMINGS: dict[str, Naming] = {
    **dict.fromkeys(("mixtral", "phimoe", "minimax_m2"), _MIXTRAL),
    "minimax": replace(_MIXTRAL, renamed={"o_proj": ("o_proj", "out_proj")}),
    "minimax_m3_vl_text": Naming(
        feed_forward="block_sparse_moe",
        expert=_W1_W3_W2,
        renamed={"indexer.q_proj": ("index_q_proj",), "indexer.k_proj": ("index_k_proj",)},
        also=(Naming(renamed={f"indexer.{side}_proj": (f"indexer.{side}_proj",) for side in "qk"}),),
    ),
    **dict.fromkeys(("qwen2_moe", "flint", "lara_mini"), _SHARED_EXPERT),
    **dict.fromkeys(("qwen3_next", "qwen3_5_moe_text", "qwen3_5_text"), _GATED_QUERIES),
    "laguna": replace(_SHARED_EXPERT, also=(_USUAL_NAMES,)),
    **dict.fromkeys(("granitemoe", "granitemoeshared", "granitemoehybrid", "granitemoe_swa"), _GRANITE),
    "llama4_text": _LLAMA4,
    "gpt_oss": Naming(router="router"),
    "gemma4_text": Naming(mixture="", router="router.proj"),
    "deepseek_v4": _DEEPSEEK_V4,
    "lfm2_moe": Naming(
        feed_forward="feed_forward",
        expert=_W1_W3_W2,
        renamed={"conv": ("conv.conv",), "o_proj": ("out_proj",)},
        also=(Naming(feed_forward="feed_forward", renamed={"conv": ("conv.conv",)}),),
    ),
    "lfm2": Naming(
        feed_forward="feed_forward", expert=_W1_W3_W2, renamed={"conv": ("conv.conv",), "o_proj": ("out_proj",)}
    ),
    "lfm3": Naming(feed_forward="feed_forward", expert=_W1_W3_W2, renamed={"conv": ("conv.conv",)}),
    "olmo_hybrid": Naming(delta_apart=True, renamed={"out_proj": ("o_proj",)}),
    "zamba2": Naming(known=False),
    **dict.fromkeys(("jamba", "bamba", "falcon_h1"), Naming(feed_forward="feed_forward", router="router")),
    "aria_text": Naming(router="router"),
    "axk2": Naming(renamed={"q_b_proj": ("q_gate_proj",)}),
    "beam": _OUTPUT_GATE,
    "hy_v4": replace(_OUTPUT_GATE, kept=frozenset()),
    **dict.fromkeys(("bailing_hybrid", "kimi_linear", "glm5_next_text"), _FORGET_GATE),
    "muse_spark_text": Naming(
        renamed={
            "g_proj": ("gate_proj",),
            "latent_down": ("pre_expert_proj",),
            "latent_up": ("post_expert_proj",),
        }
    ),
    "hunyuan_v1_moe": Naming(router="gate.wg", shared="shared_mlp"),
    "dbrx": Naming(feed_forward="ffn", router="router.layer"),
    "afmoe": replace(_OUTPUT_GATE, router="router.gate"),
    "ernie4_5_vl_moe_text": Naming(also=(Naming(mixture="mlp.text_moe"),)),
    "longcat_flash": Naming(router="router.classifier"),
    "qwen4_exp_text": replace(
        _GATED_QUERIES,
        renamed={"g_proj": ("q_proj",), **{f"indexer.{side}_proj": ("indexer.index_qk_proj",) for side in "qk"}},
    ),
    "phi": Naming(expert=("gate_proj", "fc1", "fc2"), renamed={"o_proj": ("dense",)}),
    "starcoder2": Naming(expert=("gate_proj", "c_fc", "c_proj")),
    "step3_text": Naming(
        mixture="moe",
        experts="",
        shared="share_expert",
        shared_in_layer=True,
        renamed={"q_a_proj": ("q_proj",), "q_b_proj": ("wq",)},
    ),
    "nemotron_h": Naming(
        attention="mixer",
        feed_forward="mixer",
        linear_mixer="mixer",
        renamed={"latent_down": ("fc1_latent_proj",), "latent_up": ("fc2_latent_proj",)},
    ),
}

_USUAL: dict[str, tuple[str, ...]] = {
    "kv_a_proj": ("kv_a_proj_with_mqa",),
    "indexer.q_proj": ("indexer.wq_b",),
    "indexer.k_proj": ("indexer.wk",),
    "indexer.head_weights": ("indexer.weights_proj", "indexers_proj"),
    "shared.gate": ("shared_expert_gate",),
}
_FUSED: dict[str, tuple[str, ...]] = {
    "q_proj": ("q_proj", "qkv_proj", "query_key_value"),
    "k_proj": ("k_proj", "qkv_proj", "query_key_value"),
    "v_proj": ("v_proj", "qkv_proj", "query_key_value"),
    "gate_proj": ("gate_proj", "gate_up_proj"),
    "up_proj": ("up_proj", "gate_up_proj"),
}


def naming(model_type: str | None) -> Naming:
    """What a family calls its modules."""
    return _NAMINGS.get(model_type or "", Naming())


def outer_modules(weight: Weight[int]) -> Iterator[Module]:
    """The module of a matrix outside the layers."""
    if weight.name.startswith(OWN):
        yield _own_module(weight, weight.name)
    elif weight.component == "lm_head":
        yield Module(("lm_head", "head"), "lm_head", weight.outputs, weight.inputs, 1)
    elif weight.component == "embedding":
        yield Module(("embed_tokens", "embed"), "embedding", weight.outputs, weight.inputs, 1)
    else:
        yield Module((weight.name,), "kept", weight.outputs, weight.inputs, weight.copies)


def _own_module(weight: Weight[int], name: str) -> Module:
    """What only a family has, under a name of ours."""
    kind: Kind = "unnamed" if weight.use == "matmul" else "kept"
    return Module((name,), kind, weight.outputs, weight.inputs, weight.copies)


def layer_modules(weight: Weight[int], mixer: Mixer, prefix: str, names: Naming) -> Iterator[Module]:
    """The modules that hold a matrix of a layer; `prefix` is `layers.3` or what else the layer is called."""
    yield from under_all_names(list(_modules(weight, mixer, prefix, each)) for each in (names, *names.also))


def under_all_names(ways: Iterable[list[Module]]) -> Iterator[Module]:
    """The same modules, listed in the same order under names of several kinds, each with all of its names."""
    for same in zip(*ways, strict=True):
        names = dict.fromkeys(name for module in same for name in module.names)
        yield same[0]._replace(names=tuple(names))


def _modules(weight: Weight[int], mixer: Mixer, prefix: str, names: Naming) -> Iterator[Module]:
    copies, component = weight.copies, weight.component
    mixture = names.feed_forward if names.mixture is None else names.mixture
    if weight.name.startswith(OWN) or not names.known:
        yield _own_module(weight, f"{prefix}.{weight.name}")
    elif component == "linear_mixer" or component == "attention":
        place = _mixer_place(_part_of(weight, mixer), names)
        for name, outputs in _mixer_pieces(weight, mixer, names):
            kind: Kind = "kept" if weight.name in names.kept else "linear"
            yield Module(_under(prefix, place, name), kind, outputs, weight.inputs, copies)
    elif component == "router":
        yield Module(_under(prefix, mixture, (names.router,)), "router", weight.outputs, weight.inputs, copies)
    elif component == "routed_experts":
        matrix = names.expert[_WHICH[weight.name.removeprefix("experts.")]]
        parts = tuple(f"{names.experts}{part}" for part in _FUSED.get(matrix, (matrix,)))
        yield Module(_under(prefix, mixture, parts), "experts", weight.outputs, weight.inputs, copies)
    elif component == "latent_projections":
        parts = names.renamed.get(weight.name, (weight.name,))
        kind = "linear" if weight.name in names.renamed else "unnamed"
        yield Module(_under(prefix, mixture, parts), kind, weight.outputs, weight.inputs, copies)
    elif component == "shared_experts":
        if weight.name == "shared.gate":
            gate = _under(prefix, mixture, ("shared_expert_gate",))
            yield Module(gate, "router", weight.outputs, weight.inputs, copies)
            return
        matrix = names.shared_matrices[_WHICH[weight.name.removeprefix("shared.")]]
        parts = tuple(f"{names.shared}.{part}" for part in _FUSED.get(matrix, (matrix,)))
        place = "" if names.shared_in_layer else mixture
        yield Module(_under(prefix, place, parts), "linear", weight.outputs, weight.inputs, copies)
    elif component == "dense_ffn":
        parts = _FUSED.get(weight.name, (weight.name,))
        parts += (names.expert[_WHICH[weight.name]],)
        places = dict.fromkeys((names.feed_forward, "mlp"))
        every = tuple(full for place in places for full in _under(prefix, place, parts))
        yield Module(every, "linear", weight.outputs, weight.inputs, copies)
    elif weight.name.startswith("norm_gate."):
        part = "mlp.fc1" if weight.name == "norm_gate.down" else "mlp.fc2"
        both = tuple(f"{prefix}.{norm}.{part}" for norm in ("input_layernorm", "post_attention_layernorm"))
        yield Module(both, "linear", weight.outputs, weight.inputs, copies)
    else:
        kind = "unnamed" if weight.name.startswith("image_experts.") else "kept"
        yield Module((f"{prefix}.{weight.name}",), kind, weight.outputs, weight.inputs, copies)


_WHICH = {"gate_proj": 0, "up_proj": 1, "down_proj": 2}


def _under(prefix: str, place: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(".".join(filter(None, (prefix, place, name))) for name in names)


def _part_of(weight: Weight[int], mixer: Mixer) -> Mixer:
    if isinstance(mixer, ParallelMixers):
        return mixer.attention if weight.component == "attention" else mixer.state_space
    return mixer


def _mixer_place(mixer: Mixer, names: Naming) -> str:
    if isinstance(mixer, GatedDeltaNet):
        return "linear_attn"
    if isinstance(mixer, Mamba | Mamba2):
        return names.linear_mixer or "mamba"
    if isinstance(mixer, ShortConvolution):
        return "conv"
    return names.attention


_DELTA_PARTS = {"in_proj_qkvz": ("q_proj", "k_proj", "v_proj", "g_proj"), "in_proj_ba": ("a_proj", "b_proj")}


def _mixer_pieces(weight: Weight[int], mixer: Mixer, names: Naming) -> Iterator[tuple[tuple[str, ...], int]]:
    """Names and outputs of the matrices that the inventory counts as one."""
    if isinstance(mixer, GatedDeltaNet) and names.delta_apart and weight.name in _DELTA_PARTS:
        keys, values = mixer.num_key_heads * mixer.key_head_dim, mixer.num_value_heads * mixer.value_head_dim
        outputs = {"q_proj": keys, "k_proj": keys, "v_proj": values, "g_proj": values}
        for name in _DELTA_PARTS[weight.name]:
            yield (name,), outputs.get(name, mixer.num_value_heads)
    elif isinstance(mixer, GatedDeltaNet) and weight.name == "in_proj_qkvz":
        values = mixer.num_value_heads * mixer.value_head_dim
        yield ("in_proj_qkv", "in_proj_qkvz"), weight.outputs - values
        yield ("in_proj_z", "in_proj_qkvz"), values
    elif isinstance(mixer, GatedDeltaNet) and weight.name == "in_proj_ba":
        yield ("in_proj_b", "in_proj_ba"), weight.outputs // 2
        yield ("in_proj_a", "in_proj_ba"), weight.outputs // 2
    elif isinstance(mixer, CompressedAttention | MixtureOfAttention):
        yield names.renamed.get(weight.name) or _USUAL.get(weight.name) or (weight.name,), weight.outputs
    else:
        usual = _USUAL.get(weight.name) or _FUSED.get(weight.name) or (weight.name,)
        yield names.renamed.get(weight.name) or usual, weight.outputs
