"""The tensors of a Hugging Face checkpoint from the lab's, and the other way round, by one table of names.

A checkpoint's tensor is always some rows of one of the lab's: `hf = lab[at]`. The lab keeps as one tensor what goes
into one product (gate and up, all experts of a layer, the biases of q, k and v), and rotates channel i with channel
i + n/2 where DeepSeek's files rotate 2i with 2i + 1 (Rope in transformers' deepseek_v3, `rope_interleave`).

The names are those of files: what `save_pretrained` of transformers 5.23 writes, and what publishers wrote before it.
In memory transformers 5 fuses the experts; `fused` takes its names there.
"""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from moewright.architecture.counts import prediction_layers
from moewright.architecture.feed_forwards import MoE
from moewright.architecture.mixers import Attention, LatentAttention, Mixer
from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.lab.model import Transformer
from moewright.quantities import brief


class FamilyNames(NamedTuple):
    """What a family calls the parts of its mixture of experts."""

    mixture: str = "mlp"
    shared: str = "shared_experts"
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    always_shared: bool = False
    """The module has shared experts even where the config says 0 of them: tensors without elements."""


TENSOR_NAMES: Mapping[str, FamilyNames] = {
    "qwen3_moe": FamilyNames(),
    "olmoe": FamilyNames(),
    "mixtral": FamilyNames(mixture="block_sparse_moe", gate="w1", up="w3", down="w2"),
    "qwen2_moe": FamilyNames(shared="shared_expert"),
    "dots1": FamilyNames(always_shared=True),
    "glm4_moe": FamilyNames(always_shared=True),
    "deepseek_v3": FamilyNames(always_shared=True),
}
"""The families whose weights moewright reads and writes."""

_OUTSIDE_LAYERS = {
    "embed_tokens": "model.embed_tokens.weight",
    "final_norm.weight": "model.norm.weight",
    "lm_head": "lm_head.weight",
}
_EMBEDDING, _HEAD = _OUTSIDE_LAYERS["embed_tokens"], _OUTSIDE_LAYERS["lm_head"]

# The lab's name in a layer -> the names of its parts, in the order of its rows.
_LAYER: Mapping[str, tuple[str, ...]] = {
    "mixer_norm.weight": ("input_layernorm.weight",),
    "feed_forward_norm.weight": ("post_attention_layernorm.weight",),
    "mixer.q_proj": ("self_attn.q_proj.weight",),
    "mixer.k_proj": ("self_attn.k_proj.weight",),
    "mixer.v_proj": ("self_attn.v_proj.weight",),
    "mixer.o_proj": ("self_attn.o_proj.weight",),
    "mixer.qkv_bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "mixer.o_bias": ("self_attn.o_proj.bias",),
    "mixer.q_norm": ("self_attn.q_norm.weight",),
    "mixer.k_norm": ("self_attn.k_norm.weight",),
    "mixer.q_a_proj": ("self_attn.q_a_proj.weight",),
    "mixer.q_a_bias": ("self_attn.q_a_proj.bias",),
    "mixer.q_a_norm": ("self_attn.q_a_layernorm.weight",),
    "mixer.kv_a_proj": ("self_attn.kv_a_proj_with_mqa.weight",),
    "mixer.kv_a_bias": ("self_attn.kv_a_proj_with_mqa.bias",),
    "mixer.kv_a_norm": ("self_attn.kv_a_layernorm.weight",),
    "mixer.kv_b_proj": ("self_attn.kv_b_proj.weight",),
    "feed_forward.up_proj": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "feed_forward.down_proj": ("mlp.down_proj.weight",),
    "feed_forward.router.weight": ("{mixture}.gate.weight",),
    "feed_forward.router.selection_bias": ("{mixture}.gate.e_score_correction_bias",),
    "feed_forward.groups.0.up_proj": (
        "{mixture}.experts.{expert}.{gate}.weight",
        "{mixture}.experts.{expert}.{up}.weight",
    ),
    "feed_forward.groups.0.down_proj": ("{mixture}.experts.{expert}.{down}.weight",),
    "feed_forward.shared.up_proj": ("{mixture}.{shared}.gate_proj.weight", "{mixture}.{shared}.up_proj.weight"),
    "feed_forward.shared.down_proj": ("{mixture}.{shared}.down_proj.weight",),
    "feed_forward.shared_gate": ("{mixture}.shared_expert_gate.weight",),
}
# With a query latent the lab's q_proj is the second of two query projections.
_WITH_QUERY_LATENT = {"mixer.q_proj": ("self_attn.q_b_proj.weight",)}
_FUSED = {
    "feed_forward.groups.0.up_proj": ("{mixture}.experts.gate_up_proj",),
    "feed_forward.groups.0.down_proj": ("{mixture}.experts.down_proj",),
}
# Of a prediction block, which is numbered on from the layers and has a copy of embedding and head of its own.
_PREDICTION = {
    "embedding_norm.weight": "enorm.weight",
    "hidden_norm.weight": "hnorm.weight",
    "eh_proj": "eh_proj.weight",
    "output_norm.weight": "shared_head.norm.weight",
}
_PREDICTION_COPIES = {"embed_tokens": "embed_tokens.weight", "lm_head": "shared_head.head.weight"}
_FUSED_MARK = ".experts.gate_up_proj"
"""How the name of a fused tensor ends."""
_LISTED = 3
"""Names that one line can hold."""


class _Place(NamedTuple):
    """A tensor of a checkpoint, and where it is in the lab's model."""

    name: str
    shape: tuple[int, ...]
    lab: str | None
    """None: the tensor has no elements."""
    at: tuple[int | slice | Tensor, ...] = ()
    """Index into the lab's tensor."""
    again: bool = False
    """The checkpoint holds it at another place too."""


def _lab_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the lab model's state."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Transformer(architecture).state_dict().items()}


def _places(architecture: Architecture, family: str, *, fused: bool, interleaved: bool) -> Iterator[_Place]:
    """Every tensor of a checkpoint of a family. `interleaved`: latent attention rotates channel 2i with 2i + 1.

    Raises UserError for families without `TENSOR_NAMES`, and for tensors of the lab's that the family has no name for.
    """
    if family not in TENSOR_NAMES:
        raise UserError(
            f"family: moewright has no names for {brief(family)}'s weights; use one of {', '.join(TENSOR_NAMES)}"
        )
    own = TENSOR_NAMES[family]
    if fused:
        own = own._replace(mixture=FamilyNames().mixture)
    layers = list(architecture.iter_layers())
    if architecture.mtp_layers and len(prediction_layers(architecture)) > 1:
        raise UserError(f"{family} has no place for the weights of prediction blocks of several layers")
    mixers = [layer.mixer for layer in (*layers, *architecture.mtp_layers * [*prediction_layers(architecture)])]
    shapes = _lab_shapes(architecture)
    for lab, shape in shapes.items():
        if lab in _OUTSIDE_LAYERS:
            yield _Place(_OUTSIDE_LAYERS[lab], shape, lab)
            continue
        start, number, key = lab.split(".", 2) if lab.startswith(("layers.", "prediction.")) else ("", "", lab)
        if start == "prediction":
            number = str(len(layers) + int(number))
            if key in _PREDICTION:
                yield _Place(f"model.layers.{number}.{_PREDICTION[key]}", shape, lab)
                continue
            key = key.removeprefix("layers.0.")
        table = {**_LAYER, **(_FUSED if fused else {})}
        if lab.removesuffix(key) + "mixer.q_a_proj" in shapes:
            table |= _WITH_QUERY_LATENT
        if key not in table:
            raise UserError(f"{family} has no place for the weights {lab}")
        mixer = mixers[int(number)]
        rows = _rows(key, shape, mixer, len(table[key]), interleaved)
        for part, index in zip(table[key], rows, strict=True):
            name = f"model.layers.{number}.{part}"
            if "{expert}" in part:
                for expert in range(shape[0]):
                    filled = name.format(expert=expert, **own._asdict())
                    yield _Place(filled, (_length(index), *shape[2:]), lab, (expert, index))
            elif len(shape) == 3:
                yield _Place(name.format(**own._asdict()), shape, lab)
            else:
                yield _Place(name.format(**own._asdict()), (_length(index), *shape[1:]), lab, (index,))
    for behind in range(len(layers), len(mixers)):
        for lab, name in _PREDICTION_COPIES.items():
            held = lab if lab in shapes else "embed_tokens"  # a tied head
            yield _Place(f"model.layers.{behind}.{name}", shapes[held], held, again=True)
    if own.always_shared:
        yield from _empty_shared(architecture, own)


def _rows(key: str, shape: tuple[int, ...], mixer: Mixer, parts: int, interleaved: bool) -> list[slice | Tensor]:
    """The rows of a tensor of the lab's that each of its parts in a checkpoint holds."""
    count = shape[1] if len(shape) == 3 else shape[0]  # behind the experts, where there are any
    if isinstance(mixer, LatentAttention) and interleaved and key in _ROTARY:
        return [_interleaved(torch.arange(count), mixer, key)]
    sizes = [count // parts] * parts
    if key == "mixer.qkv_bias" and isinstance(mixer, Attention):
        sizes = [heads * mixer.head_dim for heads in (mixer.num_heads, mixer.num_kv_heads, mixer.num_kv_heads)]
    ends = list(accumulate(sizes))
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


# Tensors of latent attention some of whose rows become rotated channels.
_ROTARY = ("mixer.q_proj", "mixer.kv_a_proj", "mixer.kv_a_bias")


def _interleaved(rows: Tensor, mixer: LatentAttention, key: str) -> Tensor:
    """The lab's row for each row of a checkpoint that rotates channel 2i with 2i + 1."""
    fixed = mixer.qk_nope_head_dim if key == "mixer.q_proj" else mixer.kv_lora_rank
    by_head = rows.view(-1, fixed + mixer.qk_rope_head_dim)  # the key's rotary channels are of one head
    halves = by_head[:, fixed:].unflatten(1, (2, -1))
    return torch.cat((by_head[:, :fixed], halves.transpose(1, 2).flatten(1)), dim=1).flatten()


def _length(index: slice | Tensor) -> int:
    return len(index) if isinstance(index, Tensor) else index.stop - index.start


def _empty_shared(architecture: Architecture, own: FamilyNames) -> Iterator[_Place]:
    d = architecture.hidden_size
    for number, layer in enumerate(architecture.iter_layers()):
        if isinstance(layer.feed_forward, MoE) and layer.feed_forward.shared is None:
            for key, shape in (("feed_forward.shared.up_proj", (0, d)), ("feed_forward.shared.down_proj", (d, 0))):
                for part in _LAYER[key]:
                    yield _Place(f"model.layers.{number}.{part.format(**own._asdict())}", shape, None)


# Both directions


def to_hf_tensors(
    model_state: Mapping[str, Tensor], architecture: Architecture, family: str, *, rope_interleave: bool = True
) -> dict[str, Tensor]:
    """The tensors of a checkpoint of `family`, by name, from the state of the lab's model.

    The family must express the architecture (`hf.to_config` says whether); names and shapes are checked here.
    Experts stand one by one, as in published files. The result may share memory with `model_state`. `rope_interleave`
    is the config's key of deepseek_v3, true where it is absent. Raises UserError for tensors that are missing, not of
    the model, or misshapen.
    """
    _check_tensors(model_state, _lab_shapes(architecture), "the model's state")
    tensors = {}
    for place in _places(architecture, family, fused=False, interleaved=rope_interleave):
        tensor = torch.zeros(place.shape) if place.lab is None else model_state[place.lab][place.at].contiguous()
        tensors[place.name] = tensor.clone() if place.again else tensor  # files hold no tensor under two names
    return tensors


def from_hf_tensors(
    tensors: Mapping[str, Tensor], architecture: Architecture, family: str, *, rope_interleave: bool = True
) -> dict[str, Tensor]:
    """The state of the lab's model from the tensors of a checkpoint of `family`; in fp32, or fp64 if they are.

    Experts may stand one by one, or fused as transformers 5 holds them in memory. Ignored are what modules compute
    (rotary frequencies), tensors without elements, and a tied head that equals the embedding.
    Raises UserError for tensors that are missing, unexpected, misshapen or quantized.
    """
    kept = {
        name: tensor for name, tensor in tensors.items() if tensor.numel() and not name.endswith("rotary_emb.inv_freq")
    }
    if architecture.tie_embeddings and _HEAD in kept:
        head = kept.pop(_HEAD)
        if _EMBEDDING in kept and not torch.equal(head, kept[_EMBEDDING]):
            raise UserError(f"{_HEAD}: the config ties it to {_EMBEDDING}, and the checkpoint holds two unlike tensors")
    fused = any(name.endswith(_FUSED_MARK) for name in kept)
    found = [
        place
        for place in _places(architecture, family, fused=fused, interleaved=rope_interleave)
        if place.lab is not None
    ]
    _check_tensors(kept, {place.name: place.shape for place in found}, "the checkpoint")
    odd = next((name for name, tensor in kept.items() if not _is_plain(tensor)), None)
    if odd is not None:
        raise UserError(f"{odd}: stored as {str(kept[odd].dtype).removeprefix('torch.')}; convert it to bf16 or fp32")
    wide = torch.float64 if any(tensor.dtype == torch.float64 for tensor in kept.values()) else torch.float32
    state = {name: torch.empty(shape, dtype=wide) for name, shape in _lab_shapes(architecture).items()}
    for place in sorted(found, key=lambda place: place.again):
        assert place.lab is not None
        if place.again and not torch.equal(state[place.lab], kept[place.name].to(wide)):
            raise UserError(f"{place.name}: the lab has it once, and the checkpoint holds two unlike tensors")
        state[place.lab][place.at] = kept[place.name].to(wide)
    return state


def _check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """UserError unless the tensors have exactly these names and shapes."""
    missing, unexpected = [n for n in shapes if n not in tensors], [n for n in tensors if n not in shapes]
    if missing:
        also = f"; it has {_listed(unexpected)}, which the model has not" if unexpected else ""
        raise UserError(f"{where} lacks {_listed(missing)}{also}")
    if unexpected:
        raise UserError(f"{where} has {_listed(unexpected)}, which the model has not")
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise UserError(f"{name}: {where} has shape {tuple(tensors[name].shape)}, the model needs {shape}")


def _is_plain(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
