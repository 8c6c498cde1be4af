"""What a model's weight files hold, by component and format, from their headers alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moewright.architecture.counts import params
from moewright.architecture.inventory import COMPONENT_WORDS, Component
from moewright.architecture.spec import Architecture
from moewright.architecture.tensor_formats import StoredModel, StoredTensors
from moewright.errors import UserError
from moewright.files import read_mapping
from moewright.hf.published import Published
from moewright.hf.tensor_headers import HeaderTensor, Ranges, file_ranges, read_header
from moewright.quantities import brief, format_bytes, format_count

INDEX = "model.safetensors.index.json"
_MOST_FILES = 2_000
_MOST_FILES_ASKED = 40
"""Files elsewhere of which the headers are asked for, one request or two each; of more, the index says the bytes."""


@dataclass
class FilesContent:
    """What some files hold."""

    model: StoredModel = field(default_factory=StoredModel)
    prediction: StoredModel = field(default_factory=StoredModel)
    outside_bytes: int = 0
    """Of towers and projectors beside the language model."""
    files: int = 0
    countable: bool = True
    """False: parameters in packed integers whose bits neither header nor config tells."""


def weight_files(folder: Path) -> tuple[list[Path], list[str], int | None]:
    """A folder's weight files: those that are there, names that its index has beside them, and the index's total bytes.

    The index decides where there is one; else all of one kind, safetensors before GGUF. Raises UserError for an index
    that is none.
    """
    index = folder / INDEX
    if index.is_file():
        names, total = read_index(index)
        there = [folder / name for name in names if (folder / name).is_file()]
        return there, [name for name in names if not (folder / name).is_file()], total
    names = _weights_of_one_kind([path.name for path in folder.iterdir() if path.is_file()])
    return [folder / name for name in names[:_MOST_FILES]], [], None


def read_index(index: Path) -> tuple[list[str], int | None]:
    """The files that an index names, all in its folder, and the bytes of all tensors if stated. Raises UserError."""
    values = read_mapping(index)
    places = values.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise UserError(f"{index}: weight_map: expected the file of each tensor")
    names = sorted(set(places.values()))
    odd = next((name for name in names if Path(name).name != name), None)
    if odd is not None:
        raise UserError(f"{index}: weight_map: {brief(odd)} is not the name of a file in the folder")
    if len(names) > _MOST_FILES:
        raise UserError(f"{index}: weight_map: {len(names):,} files are more than the {_MOST_FILES:,} read")
    metadata = values.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return names, int(total) if isinstance(total, int | float) and 0 < total < 2**62 else None


def published_as_files_say(
    architecture: Architecture,
    config: Mapping[str, Any],
    folder: Path,
    as_config_says: Published,
    elsewhere: Mapping[str, Ranges],
    only: Sequence[Path] = (),
) -> Published | None:
    """The weights as the headers of a folder's files describe them, with what differs from the config; None: no files.

    `elsewhere`: files of the folder that are not on this disk, by name. `only`: these files, whatever else is in the
    folder. Raises UserError for what is no such file.
    """
    there, missing, total = (list(only), [], None) if only else weight_files(folder)
    files: list[tuple[Ranges, str]] = [(file_ranges(path), path.name) for path in there]
    asked = missing or ([] if there else _weights_of_one_kind(elsewhere))
    if asked and len(asked) <= _MOST_FILES_ASKED and all(name in elsewhere for name in asked):
        files += [(elsewhere[name], name) for name in asked]
        missing = []
    if missing or (total is not None and not files):
        return _without_all_files(as_config_says, len(there), len(missing), total)
    if not files:
        return None
    content = read_content(
        files,
        architecture.num_layers,
        packed_bits(config),
        any(moe.router.selection_bias == "parameter" for _, moe in architecture.moe_layers()),
    )
    source = f"headers of {content.files} file{'s' if content.files > 1 else ''}"
    notes = [*_differences(architecture, content, as_config_says)]
    found = content.model.total_bytes + content.prediction.total_bytes + content.outside_bytes
    if total is not None and total != found:
        notes.append(f"{INDEX} says {total:,} bytes, the headers of its files {found:,}")
    return Published(content.model, content.prediction, source, tuple(notes))


def _weights_of_one_kind(names: Collection[str]) -> list[str]:
    """Of files without an index: safetensors before GGUF, the whole model before its parts by another name."""
    for ending in ("safetensors", "gguf"):
        found = sorted(name for name in names if name.endswith(ending))
        whole = [name for name in found if name.startswith("model")] or found
        if whole:
            return whole
    return []


def _without_all_files(as_config_says: Published, there: int, missing: int, total: int | None) -> Published:
    stated = as_config_says.total_bytes
    if total is None:
        note = f"{missing} of {there + missing} weight files are not here; bytes are those that the config says"
    elif stated is None:
        note = f"{INDEX} says {format_bytes(total)} in all; of which tensors is not known without the files"
    elif abs(stated - total) > 0.005 * total:
        note = f"{INDEX} says {format_bytes(total)}, the config {format_bytes(stated)}"
    else:
        return as_config_says
    return Published(
        as_config_says.model, as_config_says.prediction, as_config_says.source, (*as_config_says.notes, note)
    )


def read_content(
    files: Iterable[tuple[Ranges, str]], num_layers: int, bits: int | None = None, counts_selection_bias: bool = False
) -> FilesContent:
    """What files hold, by their headers; each is a range reader with its name, so they may lie behind HTTP.

    `bits` is how many a packed integer's weights have, where the header alone does not tell. `counts_selection_bias`:
    whether the family makes a parameter of it. Raises UserError.
    """
    content = FilesContent()
    tensors: dict[str, HeaderTensor] = {}
    for ranges, name in files:
        for tensor in read_header(ranges, name):
            if tensor.name in tensors:
                raise UserError(f"{name}: tensor {brief(tensor.name)} is in another file too")
            tensors[tensor.name] = tensor
        content.files += 1
    companions: dict[str, dict[str, HeaderTensor]] = {}
    for tensor in tensors.values():
        base, part = _split(tensor.name)
        companions.setdefault(base, {})[part] = tensor
    for base, parts in companions.items():
        main = next((parts[part] for part in _MAIN if part in parts), None) or next(iter(parts.values()))
        stored, elements = _format(main, parts, bits)
        if elements is None:
            content.countable = False
            elements = main.elements
        if _BUFFER.search(base) or (_SELECTION_BIAS.search(base) and not counts_selection_bias):
            elements = 0
        size = sum(tensor.bytes for tensor in parts.values())
        if _OUTSIDE.search(base):
            content.outside_bytes += size
        elif _is_of_prediction(base, num_layers):
            content.prediction.add([StoredTensors("other", stored, elements, size)])
        else:
            content.model.add([StoredTensors(_component(base), stored, elements, size)])
    return content


# Which tensors belong together

_MAIN = ("weight", "weight_packed", "qweight", "_weight_qdata", "blocks", "")
_COMPANION = re.compile(
    r"\.(weight_packed|qweight|weight_scale_inv|weight_scale_2|weight_scale|weight_global_scale|weight_zero_point"
    r"|weight_shape|_weight_qdata|_weight_scale|_weight_zero_point|input_scale|input_global_scale|activation_scale|scales|qzeros|g_idx|scale|SCB|weight_format"
    r"|weight\.(?:absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*)|absmax|weight)$"
)
_FUSED_COMPANION = re.compile(r"_(blocks|scales|scale_inv)$")
_BUFFER = re.compile(
    r"inv_freq|layer_scalar$|ffn\.gate\.tid2eid$|self_attn\.(slope_rate|query_decay|key_decay|diagonal_decay)$"
)
_SELECTION_BIAS = re.compile(r"e_score_correction|\.exp_probs_b|expert_bias$|ffn\.gate\.bias$")
"""A buffer in most families, a parameter in some."""


def _split(name: str) -> tuple[str, str]:
    """What a tensor belongs to, and which part of it it is."""
    if found := _COMPANION.search(name):
        return name[: found.start()], found[1]
    if name.endswith(".biases"):  # mlx's offsets
        return name.removesuffix(".biases"), "biases"
    if found := _FUSED_COMPANION.search(name):
        return name[: found.start()], found[1]
    return name, ""


_SCALES = ("weight_scale", "_weight_scale", "scales", "scale", "scale_inv")
_FLOATS = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64"}


def _format(main: HeaderTensor, parts: Mapping[str, HeaderTensor], bits: int | None) -> tuple[str, int | None]:
    """The format of a tensor with its companions, and its parameters; None where the bits of a word are not known."""
    if main.dtype in _FLOATS:
        return _FLOATS[main.dtype], main.elements
    scales = next((parts[name] for name in _SCALES if name in parts), None)
    if main.dtype.startswith("F8"):
        return _with_scales(8, main.elements, scales) or "fp8", main.elements
    if any(part.startswith("weight.quant_state") for part in parts):
        kind = next(part for part in parts if part.startswith("weight.quant_state")).rpartition("__")[2]
        return kind, 2 * main.elements
    if main.dtype in ("U8", "I8") and scales is not None:
        if "blocks" in parts:
            return "mxfp4", 2 * main.elements
        per_scale = main.elements / max(scales.elements, 1)
        if scales.dtype == "F8_E4M3" and per_scale == 8:
            return "nvfp4", 2 * main.elements
        if scales.dtype in ("F8_E8M0", "U8") and per_scale == 16:
            return "mxfp4", 2 * main.elements
        return "int8", main.elements
    if main.dtype == "I8" and "SCB" in parts:  # bitsandbytes
        return "int8", main.elements
    if main.dtype == "F4":
        return "fp4", main.elements
    if main.dtype in ("I32", "U32") and len(parts) > 1:
        if "qweight" in parts and "scales" in parts and main.shape[-1] != parts["scales"].shape[-1]:  # AWQ
            outputs = parts["scales"].shape[-1]
            return f"int{32 * main.shape[-1] // max(outputs, 1)}", main.shape[0] * outputs
        if "g_idx" in parts:
            inputs = parts["g_idx"].shape[0]
            return f"int{32 * main.shape[0] // max(inputs, 1)}", inputs * main.shape[-1]
        if not bits:
            return "packed", None
        elements = main.elements * 32 // bits
        return _with_scales(bits, elements, scales) or f"int{bits}", elements
    return main.dtype.lower(), main.elements


def _with_scales(bits: int, elements: int, scales: HeaderTensor | None) -> str | None:
    """The format of floats whose scales have a byte for every 32 or 16 of them; None where they have other scales."""
    if scales is None or scales.dtype not in ("U8", "F8_E8M0"):
        return None
    by_group = {32: f"mxfp{bits}", 16: "nvfp4" if bits == 4 else None}
    return by_group.get(elements // max(scales.elements, 1))


def packed_bits(config: Mapping[str, Any]) -> int | None:
    """How many bits a weight in a packed integer has, by a config that knows one number only."""
    found: set[int] = set()

    def look(values: Any, depth: int) -> None:
        if isinstance(values, dict) and depth < 6:
            for key, value in values.items():
                if key in ("bits", "num_bits", "w_bit") and isinstance(value, int) and 1 < value <= 8:
                    found.add(value)
                elif key not in ("input_activations", "output_activations", "kv_cache_scheme"):
                    look(value, depth + 1)

    look({key: config.get(key) for key in ("quantization_config", "quantization", "compression_config")}, 0)
    return found.pop() if len(found) == 1 else None


# Which component a tensor belongs to, by the words of its name

_OUTSIDE = re.compile(r"vision(?!_moe)|visual|audio|image|video|projector|mm_|merger|talker|(^|\.)v\.blk")
_WORDS: tuple[tuple[str, Component], ...] = (
    (r"\.vision_moe\.|_residual(_gate)?(\.|$)", "other"),
    (r"(^|\.)hc_|_hc(\.|$)", "other"),
    (rf"{_SELECTION_BIAS.pattern}|attention\.experts\.router", "router"),
    (r"attention\.experts", "attention"),
    (r"shared_expert|shared_mlp|_shexp", "shared_experts"),
    (
        r"\.experts?\.|\.experts$|(block_sparse_moe|mlp)\.(input|output)_linear|\.mlp\.bias$|_exps|mlp\.(down|up)_embed$",
        "routed_experts",
    ),
    (r"(mlp|moe|ffn|feed_forward|mixer)\.(gate|router)(\.|$)|\.router|ffn_gate_inp", "router"),
    (r"latent_proj$|routed_expert_(down|up)_proj$|(pre|post)_expert_proj$", "latent_projections"),
    (r"block_sparse_moe\.(gate|up|down)_proj$|\.mixer\.(up|down)_proj$", "dense_ffn"),
    (r"layernorm|norm_f$|_norm$|attn_norm|ffn_norm|output_norm|(^|\.)norm$|hnorm|enorm", "norm"),
    (r"linear_attn|mamba|mixer|\.conv\.|ssm_|shortconv", "linear_mixer"),
    (r"attn|attention", "attention"),
    (r"mlp|ffn|feed_forward", "dense_ffn"),
    (r"embed_tokens|token_embd|(^|\.)wte$|tok_embeddings|^embed$|word_embeddings|embedding", "embedding"),
    (r"lm_head|^output$|(^|\.)head$", "lm_head"),
)
_MIXERS = re.compile(r"(self_attn|linear_attn|mamba|mixer|\.attn|attention)\.")


def _is_of_prediction(base: str, num_layers: int) -> bool:
    layer = re.search(r"\b(?:layers|blk|h)\.(\d+)\b", base)
    return bool(re.search(r"(^|\.)mtp|nextn", base)) or (layer is not None and int(layer[1]) >= num_layers)


def _component(base: str) -> Component:
    for words, component in _WORDS:
        if re.search(words, base) and not (component == "norm" and _MIXERS.search(base)):
            return component
    return "other"


_COMPARED: tuple[Component, ...] = ("embedding", "lm_head", "routed_experts", "shared_experts", "dense_ffn")


def _differences(architecture: Architecture, content: FilesContent, as_config_says: Published) -> Iterable[str]:
    """One line each for what the files hold and the config does not say."""
    if content.outside_bytes:
        yield f"the files hold {format_bytes(content.outside_bytes)} beside the language model, not counted"
    if architecture.mtp_layers and not content.prediction.total_bytes:
        yield "the config has token prediction blocks, the files hold none"
    if not content.countable:
        yield "parameters in packed integers cannot be counted: neither headers nor config say how many bits they have"
        return
    counted = params(architecture)
    for component in _COMPARED:
        there, said = content.model.params[component], counted[component]
        if there != said:
            name = COMPONENT_WORDS[component]
            yield f"{name}: the files hold {format_count(there)} parameters, the config makes {format_count(said)}"
    there, said = sum(content.model.params.values()), sum(counted.values())
    if there != said and all(content.model.params[component] == counted[component] for component in _COMPARED):
        yield f"the files hold {there:,} parameters, the config makes {said:,}"
    if as_config_says.model is not None:
        stated, found = as_config_says.dtype, content.model.dtype()
        if stated != found:
            yield f"the files are in {found}, the config says {stated}"
