"""What `quantization_config` and its relatives say of how each matrix is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from moewright.architecture.tensor_formats import TensorFormat, UnknownStorageError
from moewright.errors import UserError
from moewright.hf.module_names import Kind, Module
from moewright.hf.module_patterns import ModulePatterns
from moewright.hf.parts import QUANTIZATION_KEYS, SIDE_FILE, speaks_of_storage, transformers_major
from moewright.hf.quantizer_keys import NEUTRAL, NOT_READ
from moewright.hf.quantizer_settings import QuantizerSettings, keys_in_words
from moewright.quantities import brief

Formats = Mapping[Kind, TensorFormat | None]


@dataclass(frozen=True)
class Scheme:
    """How a quantiser stores matrices: by kind of module, and by name."""

    formats: Formats
    """By kind; kinds that are absent stay in the model's dtype."""
    kept: ModulePatterns = field(default_factory=lambda: ModulePatterns((), ""))
    """Modules that stay in the model's dtype."""
    special: tuple[tuple[ModulePatterns, TensorFormat | None], ...] = ()
    """Modules with a format of their own, which goes before all else; None: the model's dtype."""
    unclear: Mapping[Kind, str] = field(default_factory=dict)
    """By kind: why nothing says how it is stored, where the list does not say that it is kept."""
    without_prediction: bool = False
    """Written by a tool that loads the model through transformers or mlx, which build no prediction blocks; some tools
    copy their files beside, which no config says."""
    rest_dtype: str | None = None
    """The format of what is not quantised, where the scheme fixes it and the config need not say."""
    notes: tuple[str, ...] = ()
    """Keys that were not used and cannot matter."""

    @property
    def by_name(self) -> bool:
        """Whether names matter."""
        return bool(self.kept) or any(patterns for patterns, _ in self.special)

    def split(self, module: Module) -> list[tuple[int, TensorFormat | None]]:
        """The module's copies by format; None: the model's dtype."""
        left, shares = module.copies, []
        for patterns, stored in self.special:
            fitting = min(patterns.fitting_copies(module), left)
            if fitting:
                shares.append((fitting, stored))
                left -= fitting
        kept = min(self.kept.fitting_copies(module), left) if self.kept else 0
        if left > kept and module.kind == "unnamed" and self.formats.get("linear") is not None:
            raise UnknownStorageError(f"what the files call {module.names[0]} is not known, so neither is its format")
        if left > kept and module.kind in self.unclear:
            raise UnknownStorageError(self.unclear[module.kind])
        shares += [(kept, None), (left - kept, self.formats.get(module.kind))]
        return [(copies, stored) for copies, stored in shares if copies]


def _says_nothing(value: Any) -> bool:
    return value is None or value in ("", 0, [], {})  # False is 0


def scheme(values: Mapping[str, Any], side_file: Mapping[str, Any] | None, model_type: str) -> Scheme | None:
    """The scheme that a config states (of the language model, with the wrapper's quantisation in it); None: none.

    `side_file` is the content of hf_quant_config.json, which is read where the config states none. Raises
    UnknownStorageError where a scheme is stated that is not understood, and UserError for values of the wrong kind.
    """
    strange = [key for key, value in values.items() if speaks_of_storage(key) and not _says_nothing(value)]
    if strange:
        raise UnknownStorageError(f"{keys_in_words(strange, list(QUANTIZATION_KEYS))}: not understood")
    stated = {key: values[key] for key in QUANTIZATION_KEYS if values.get(key) is not None}
    for key, settings in stated.items():
        if not isinstance(settings, dict):
            raise UserError(f"{key}: expected a mapping, found {brief(settings)}")
    side = None if side_file is None else QuantizerSettings(side_file, SIDE_FILE)
    if stated:
        first, *others = stated
        for key in others:
            if {**stated[key], "quant_method": None} != {**stated[first], "quant_method": None}:
                raise UnknownStorageError(f"{first} and {key} say different things")
        algorithms = {
            each.text("quant_algo").upper() for each in (QuantizerSettings(stated[first], first), *_inner(side))
        }
        if len(algorithms - {""}) > 1:
            raise UnknownStorageError(f"{first} and {SIDE_FILE} name different algorithms")
        return _scheme(QuantizerSettings(stated[first], first), values, model_type)
    for inner in _inner(side):
        if side is not None and not all(_says_nothing(value) for value in inner.values.values()):
            return _understood(_modelopt(inner, values, model_type), side, NEUTRAL["modelopt"], "quantization.")
    if isinstance(values.get("expert_dtype"), str):
        raise UnknownStorageError("expert_dtype without a quantization_config")
    return None


def _inner(side: QuantizerSettings | None) -> list[QuantizerSettings]:
    return [] if side is None else [side.section("quantization")]


def _scheme(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    method = q.text("quant_method").lower()
    if not method:
        if "quant_algo" in q.values:
            method = "modelopt"
        elif "bits" in q.values and "group_size" in q.values:
            method = "mlx"
        elif "config_groups" in q.values:
            method = "compressed-tensors"
    method = _OTHER_NAMES.get(method, method)
    if method not in _METHODS:
        why = f": {NOT_READ[method]}" if method in NOT_READ else ""
        raise UnknownStorageError(f"{q.prefix}.quant_method {brief(q.get('quant_method'))} is not understood{why}")
    return _understood(_METHODS[method](q, values, model_type), q, NEUTRAL[method])


def _understood(found: Scheme, q: QuantizerSettings, neutral: Collection[str], place: str = "") -> Scheme:
    """The scheme, if nothing was said beside that might change it."""
    neutral = {*neutral, *(f"{place}{key}" for key in neutral)} if place else neutral
    strange: list[str] = []
    empty: list[str] = []
    for key, value in q.unread(neutral):
        (empty if value is None or value in ("", [], {}) else strange).append(key)
    known = q.known_keys(neutral)
    if strange:
        raise UnknownStorageError(
            f"{keys_in_words(strange, known)}: not understood, and may change how weights are stored"
        )
    return replace(found, notes=(f"{keys_in_words(empty, [])}: empty, not used",)) if empty else found


def _linear(stored: TensorFormat | None, head: TensorFormat | None = None) -> Formats:
    return {"linear": stored, "experts": stored, "lm_head": head}


# One reader per quantiser


def _block(q: QuantizerSettings, key: str) -> tuple[int, int] | None:
    block = q.get(key)
    if block is None:
        return None
    if (
        not isinstance(block, list)
        or len(block) != 2
        or not all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= 2**31 for side in block)
    ):
        raise q.error(key, "two positive integers")
    return block[0], block[1]


def _only(q: QuantizerSettings, key: str, *understood: Any) -> None:
    """A key of which other values than these, or none, are not understood."""
    value = q.get(key)
    if value is not None and not any(type(value) is type(each) and value == each for each in understood):
        raise UnknownStorageError(f"{q.prefix}.{key} {brief(value)} is not understood")


def _fp8_format(q: QuantizerSettings, scale_bits: int) -> TensorFormat:
    block = _block(q, "weight_block_size")
    _only(q, "fmt", "e4m3", "float8_e4m3fn", "e5m2", "float8_e5m2")  # all of one byte
    extra = 4 if q.text("activation_scheme", "dynamic").lower() == "static" else 0
    if block is None:
        return TensorFormat("fp8", 8, (0, 0), 32, matrix_extra=extra)
    return TensorFormat("fp8", 8, block, scale_bits, matrix_extra=extra)


def _fine_grained_fp8(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # transformers 5.24, integrations/finegrained_fp8.py: FP8Linear and FP8Experts. DeepSeek-V3 and V3.2 keep scales in
    # fp32 though V3.2 names ue8m0 (inference/model.py of both); V4's have one byte.
    one_byte = q.text("scale_fmt") == "ue8m0" and model_type not in ("deepseek_v3", "deepseek_v32", "kimi_k2")
    scale_bits = 8 if one_byte else 32
    stored = _fp8_format(q, scale_bits)
    experts = stored
    expert_dtype = values.get("expert_dtype") or q.get("expert_dtype")
    if expert_dtype == "fp4":
        experts = TensorFormat("mxfp4", 4, (1, 32), scale_bits)
    elif expert_dtype not in (None, "fp8"):
        raise UnknownStorageError(f"expert_dtype {brief(expert_dtype)} is not understood")
    kept = q.patterns("modules_to_not_convert", "ignored_layers")
    _check_auto_round_blocks(q)
    layers = _modelopt_layers(q)
    if layers:  # modelopt converted these modules; what it ignored is in fp8 as before
        formats = {each for _, each in layers}
        _only(q, "quant_algo", "MIXED_PRECISION")
        _only(q, "moe_quant_algo", *(each.name.upper() for each in formats))
        q.patterns("ignore", "exclude_modules")
        _check_groups(q, formats)
        for each in formats:
            _check_group(q, each)
    return Scheme({"linear": stored, "experts": experts}, kept, layers)


def _mxfp8(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # transformers 5.24, quantizers/auto.py: FP8 with an E8M0 byte for 32 of a row.
    if _block(q, "weight_block_size") not in (None, (1, 32)):
        raise UnknownStorageError(f"{q.prefix}.weight_block_size is not that of MXFP8, 1 and 32")
    _only(q, "fmt", "e4m3", "float8_e4m3fn")
    _only(q, "scale_fmt", "ue8m0", "e8m0")
    _only(q, "activation_scheme", "dynamic")
    _only(q, "expert_dtype", "fp8")
    stored = TensorFormat("mxfp8", 8, (1, 32), 8)
    return Scheme({"linear": stored, "experts": stored}, q.patterns("modules_to_not_convert", "ignored_layers"))


def _fbgemm_fp8(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # transformers 5.24, integrations/fbgemm_fp8.py: an fp32 scale per output, and input_scale_ub.
    stored = TensorFormat("fp8", 8, (1, 0), 32, matrix_extra=4)
    return Scheme(_linear(stored), q.patterns("modules_to_not_convert"))


def _mxfp4(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # OCP MX: one byte per 32. gpt-oss's model card (arXiv 2508.10925, section 2.1): the rest is bf16.
    stored = TensorFormat("mxfp4", 4, (1, 32), 8)
    kept = q.patterns("modules_to_not_convert")
    return Scheme({"experts": stored}, kept, rest_dtype="bf16" if model_type == "gpt_oss" else None)


def _nvfp4_format(name: str = "nvfp4", extra: int = 8) -> TensorFormat:
    # arXiv 2509.25149: an fp8 scale per 16, and an fp32 one for the matrix; modelopt adds the input's.
    return TensorFormat(name, 4, (1, 16), 8, matrix_extra=extra)


def _modelopt_format(q: QuantizerSettings, algorithm: str) -> TensorFormat:
    # NVIDIA/TensorRT-Model-Optimizer, modelopt/torch/export/unified_export_hf.py and quant_utils.py: weight_scale
    # (fp32, but in fp8 for NVFP4), weight_scale_2 and input_scale of each linear. AWQ variants are left out: they add
    # pre_quant_scale where it could not be fused into the layer before, which no config says.
    known = {
        "FP8": TensorFormat("fp8", 8, (0, 0), 32, matrix_extra=4),
        "FP8_PER_CHANNEL_PER_TOKEN": TensorFormat("fp8", 8, (1, 0), 32),
        "FP8_PB_WO": TensorFormat("fp8", 8, (128, 128), 32),
        "FP8_PB_REAL": TensorFormat("fp8", 8, (128, 128), 32),
        "NVFP4": _nvfp4_format(),
        "W4A16_NVFP4": _nvfp4_format(extra=4),
        "MXFP8": TensorFormat("mxfp8", 8, (1, 32), 8),
        "MXFP4": TensorFormat("mxfp4", 4, (1, 32), 8),
        "W4A8_MXFP4_FP8": TensorFormat("mxfp4", 4, (1, 32), 8),
        "W8A16": TensorFormat("int8", 8, (1, 0), 32),
    }
    if algorithm not in known:
        raise UnknownStorageError(f"{q.prefix}.quant_algo {brief(algorithm)} is not understood")
    _only(q, "has_zero_point", False)
    _only(q, "pre_quant_scale", False)
    _check_group(q, known[algorithm])
    return known[algorithm]


def _modelopt(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    kept = q.patterns("exclude_modules", "ignore", "modules_to_not_convert")
    algorithm = q.text("quant_algo").upper()
    layers = _modelopt_layers(q)
    if layers:
        _only(q, "quant_algo", "MIXED_PRECISION", "mixed_precision")
        found, formats = Scheme({}, kept, layers), {stored for _, stored in layers}
    elif algorithm == "MIXED_PRECISION":
        raise UnknownStorageError(f"{q.prefix}.quantized_layers does not say which precisions are mixed")
    else:
        stored = _modelopt_format(q, algorithm)
        found, formats = Scheme(_linear(stored, stored), kept), {stored}
    _check_groups(q, formats)
    return found


def _check_groups(q: QuantizerSettings, formats: Collection[TensorFormat]) -> None:
    """What modelopt says once more in compressed-tensors' words must be the same."""
    for group in q.sections("config_groups").values():
        weights = group.section("weights")
        if weights.values and weights.bits("num_bits", 8) not in {each.bits for each in formats}:
            raise UnknownStorageError(f"{weights.prefix}.num_bits contradicts {q.prefix}.quant_algo")
        for each in formats:
            if each.bits == weights.get("num_bits"):
                _check_group(weights, each)


def _check_group(q: QuantizerSettings, stored: TensorFormat) -> None:
    """A group size must be that of the format, where the format has one."""
    stated = q.get("group_size")
    if stated is not None and stated != stored.block[1] and not (stated in (0, -1) and stored.block[1] == 0):
        raise UnknownStorageError(f"{q.prefix}.group_size {brief(stated)} is not known of {stored.name}")


def _modelopt_layers(q: QuantizerSettings) -> tuple[tuple[ModulePatterns, TensorFormat], ...]:
    """What modelopt says of single modules; also beside the fp8 of a publisher, of whose weights it converted some."""
    by_format: dict[TensorFormat, list[str]] = {}
    for name, settings in q.sections("quantized_layers").items():
        by_format.setdefault(_modelopt_format(settings, settings.text("quant_algo").upper()), []).append(name)
    return tuple((ModulePatterns(names, f"{q.prefix}.quantized_layers"), stored) for stored, names in by_format.items())


# compressed_tensors/config/base.py, CompressionFormat: those whose files hold what the weights' arguments say.
_COMPRESSED = frozenset(
    {
        *("int-quantized", "float-quantized", "naive-quantized", "pack-quantized"),
        *("nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized"),
    }
)
_SCALES = {"torch.bfloat16": 16, "torch.float16": 16, "torch.float32": 32, "torch.uint8": 8, "torch.float8_e4m3fn": 8}


def _compressed_format(
    weights: QuantizerSettings, packing: str, inputs: QuantizerSettings, rest_bits: int, by_the_tool: bool
) -> TensorFormat:
    # vllm-project/compressed-tensors, src/compressed_tensors: compressors/*/base.py, quantization/quant_args.py and
    # quantization/lifecycle/initialize.py.
    bits, kind = weights.bits("num_bits", 8), weights.text("type", "int")
    sharing = weights.get("group_size")
    inferred = "tensor" if sharing is None else "channel" if sharing == -1 else "group"
    strategy, symmetric = weights.text("strategy", inferred), weights.flag("symmetric", True)
    _only(inputs, "dynamic", True, False, "local")
    dynamic = inputs.get("dynamic") or False
    static_input = bool(inputs.values) and dynamic is False
    if packing not in _COMPRESSED:
        raise UnknownStorageError(f"{weights.prefix}: files of format {brief(packing)} are not understood")
    if kind == "float" and bits == 4:
        group = weights.group(default=16)
        _only(weights, "scale_dtype", "torch.uint8", "torch.float8_e4m3fn")
        _only(weights, "zp_dtype", "torch.float8_e4m3fn", "torch.uint8")
        _only(weights, "strategy", "group", "tensor_group")
        _only(weights, "actorder", False, "static", "weight")
        _only(weights, "block_structure")
        if group not in (16, 32):
            raise UnknownStorageError(f"{weights.prefix}.group_size {group} is not known of 4-bit floats")
        if "mx" in packing or group == 32:
            return TensorFormat("mxfp4", 4, (1, 32), 8)
        # the input's global scale is there unless all of its scales are found at run time ("local": those of groups)
        return _nvfp4_format(extra=8 if inputs.values and dynamic is not True else 4)
    blocks: dict[str, tuple[int, int]] = {"tensor": (0, 0), "channel": (1, 0), "block": (128, 128)}
    if strategy in ("group", "tensor_group"):
        block = (1, weights.group(default=128))
    elif strategy == "block":
        block = _block(weights, "block_structure") or blocks["block"]
    elif strategy in blocks:
        block = blocks[strategy]
    else:
        raise UnknownStorageError(f"{weights.prefix}.strategy {brief(strategy)} is not understood")
    extra = rest_bits // 8 if static_input else 0
    named_scale = weights.get("scale_dtype")
    scale = rest_bits if named_scale is None else _SCALES.get(str(named_scale), 0)
    if not scale:
        raise UnknownStorageError(f"{weights.prefix}.scale_dtype {brief(named_scale)} is not understood")
    _only(weights, "zp_dtype", "torch.int8", "torch.float8_e4m3fn")
    if weights.get("actorder") not in (None, False, "static", "weight", "group"):
        raise UnknownStorageError(f"{weights.prefix}.actorder {brief(weights.get('actorder'))} is not understood")
    if weights.get("block_structure") and strategy != "block":
        raise UnknownStorageError(f"{weights.prefix}.block_structure without the strategy of blocks")
    if kind == "float" and bits == 8:
        if "mx" in packing:
            scale = 8
        return TensorFormat("mxfp8" if scale == 8 else "fp8", 8, block, scale, matrix_extra=extra)
    if kind != "int":
        raise UnknownStorageError(f"{weights.prefix}: {bits} bits of type {brief(kind)} are not understood")
    zero = 0 if symmetric else (bits if packing == "pack-quantized" else 8)
    if packing == "pack-quantized":
        if 32 % bits:
            raise UnknownStorageError(f"{weights.prefix}: versions pack {bits} bits in different ways")
        # weight_g_idx: int32 an input. weight_shape: two int64 a matrix in the tool's own files; other writers, naming
        # no version of it, have other types of 8 or 16 bytes, which are left out.
        extra += 16 if by_the_tool else 0
        index = 4 if weights.text("actorder") == "group" else 0
        return TensorFormat(
            f"int{bits}", bits, block, scale + zero, word_bits=32, matrix_extra=extra, input_extra=index
        )
    return TensorFormat(f"int{bits}", 8, block, scale + zero, matrix_extra=extra)


def _compressed_tensors(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    sparsity = q.section("sparsity_config")
    if sparsity.values and sparsity.text("format", "dense") != "dense":
        raise UnknownStorageError(f"{q.prefix}.sparsity_config is not understood")
    _only(q, "quantization_status", "compressed", "frozen")  # the others' weights are still in the model's dtype
    kept = q.patterns("ignore", "modules_to_not_convert")
    by_the_tool, whole = isinstance(q.get("version"), str), q.text("format")
    _only(q, "format", "mixed-precision", *_COMPRESSED)
    _only(q, "moe_sparsity_config")
    _only(q, "transform_config", {})
    rest_bits = 32 if str(values.get("dtype") or values.get("torch_dtype")).endswith("float32") else 16
    default: TensorFormat | None = None
    special: list[tuple[ModulePatterns, TensorFormat | None]] = []
    for name, group in q.sections("config_groups").items():
        packing = group.text("format") or whole
        if packing == "mixed-precision":
            raise UnknownStorageError(f"{group.prefix} names no format of its own, and the whole is mixed-precision")
        weights = group.section("weights")
        if not weights.values:
            continue
        stored = _compressed_format(weights, packing, group.section("input_activations"), rest_bits, by_the_tool)
        targets = group.patterns("targets")
        if "Linear" in targets.entries or not targets:
            default = stored
        names = [target for target in targets.entries if target != "Linear"]
        if names:
            special.append((ModulePatterns(names, f"{q.prefix}.config_groups.{name}.targets"), stored))
    if default is None and not special:
        raise UnknownStorageError(f"{q.prefix}.config_groups says nothing of weights")
    if special:
        # what is ignored is so before any target
        special.insert(0, (kept, None))
    entries = (*kept.entries, *(entry for patterns, _ in special for entry in patterns.entries))
    unclear = _maybe_whole_experts("compressed-tensors", values, entries)
    return Scheme(_linear(default, default), kept, tuple(special), unclear, without_prediction=True)


_NUMBERED_EXPERT = re.compile(r"\bexperts\\?\.(?:\d|\*|\\d|\[0-9)")


def _maybe_whole_experts(tool: str, values: Mapping[str, Any], entries: Iterable[str]) -> Mapping[Kind, str]:
    """Why experts may have kept the model's dtype: these tools leave what is no linear layer, such as the one
    tensor that transformers 5 has for a layer's experts, unless who quantised split it first.

    A vendor's own module (`auto_map`) has linear layers, and so had one of whose experts a list names some.
    """
    linear = values.get("auto_map") or any(_NUMBERED_EXPERT.search(entry) for entry in entries)
    if linear or transformers_major(values) < 5:
        return {}
    why = "leaves a layer's experts as they are unless they were split before, which no config says"
    return {"experts": f"with transformers 5 {tool} {why}"}


def _awq(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # casper-hansen/AutoAWQ, awq/modules/linear/gemm.py: qweight and qzeros (int32 words), scales (fp16); 4 bits only.
    bits, version = q.bits("bits" if "bits" in q.values else "w_bit", 4), q.text("version").lower()
    version = version or q.text("format", "gemm").lower()
    _only(q, "format", "gemm", "GEMM")
    _only(q, "method", "awq")
    _only(q, "modules_in_block_to_quantize")
    _only(q, "lm_head", False)
    _check_integers(q)
    size = q.group("group_size" if "group_size" in q.values else "q_group_size", 128)
    # auto-round keeps zero points of symmetric weights too
    with_zeros = q.flag("zero_point", True) or q.text("provider") == "auto-round"
    if version != "gemm" or bits != 4 or not with_zeros:
        raise UnknownStorageError(f"{q.prefix}: AWQ's files are known for version gemm, 4 bits and zero points only")
    stored = TensorFormat("int4", 4, (1, size), 16 + 4)
    kept = q.patterns("modules_to_not_convert", part_of_word=True)
    return Scheme(_linear(stored), kept, without_prediction=True)


def _check_integers(q: QuantizerSettings) -> None:
    """What GPTQ, AWQ and auto-round say of integers in 32-bit words, which they may also say otherwise."""
    _only(q, "data_type", "int")
    _only(q, "pack_dtype", "int32")
    _only(q, "scale_dtype", "torch.float16", "float16", "fp16", "torch.bfloat16")
    for bits in ("act_bits", "super_bits"):
        if (q.get(bits) or 16) != 16:
            raise UnknownStorageError(f"{q.prefix}.{bits} {brief(q.get(bits))} is not understood")
    if q.get("act_bits"):
        for key in ("act_data_type", "act_dynamic", "act_group_size", "act_sym"):
            q.get(key)  # of what keeps its 16 bits
    _check_auto_round_blocks(q)


def _check_auto_round_blocks(q: QuantizerSettings) -> None:
    blocks = q.get("to_quant_block_names")
    names = blocks if isinstance(blocks, list) else [blocks]
    if blocks and not all(isinstance(name, str) and name.split(".")[-1] in ("layers", "blocks", "h") for name in names):
        raise UnknownStorageError(f"{q.prefix}.to_quant_block_names {brief(blocks)} is not understood")


def _gptq_format(q: QuantizerSettings, bits: int, with_index: bool) -> TensorFormat:
    # ModelCloud/GPTQModel, gptqmodel/nn_modules/qlinear/__init__.py: qweight and qzeros (int32 words), scales (fp16),
    # g_idx (int32 an input); auto_round_extension/torch/qlinear_torch.py of intel/auto-round: the same without g_idx.
    if bits not in (2, 3, 4, 8):
        raise UnknownStorageError(f"{q.prefix}: GPTQ's files are known for 2, 3, 4 and 8 bits only")
    return TensorFormat(f"int{bits}", bits, (1, q.group(default=128)), 16 + bits, input_extra=4 if with_index else 0)


def _gptq(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    for key in ("checkpoint_format", "format"):
        if q.text(key, "gptq").lower() not in ("gptq", "gptq_v2"):
            raise UnknownStorageError(f"{q.prefix}.{key} {brief(q.get(key))} is not understood")
    _only(q, "is_marlin_format", False)
    _only(q, "method", "gptq")
    _check_integers(q)
    stored = _gptq_format(q, q.bits("bits"), True)
    special: list[tuple[ModulePatterns, TensorFormat | None]] = []
    for entry, settings in q.sections("dynamic").items():
        patterns = ModulePatterns(
            ("re:" + entry[2:] if entry[:2] in ("-:", "+:") else "re:" + entry,), f"{q.prefix}.dynamic"
        )
        merged = settings.over(q)
        special.append((patterns, None if entry.startswith("-:") else _gptq_format(merged, merged.bits("bits"), True)))
    only = q.get("modules_in_block_to_quantize")
    if only is not None:
        if not isinstance(only, list):
            raise q.error("modules_in_block_to_quantize", "a list of lists of module names")
        names = [name for group in only for name in (group if isinstance(group, list) else [group])]
        chosen = QuantizerSettings({"names": names}, q.prefix).patterns("names")
        kept = q.patterns("modules_to_not_convert")
        _only(q, "lm_head", False)
        return Scheme({}, kept, (*special, (chosen, stored)), without_prediction=True)
    head = stored if q.flag("lm_head", False) else None
    kept = q.patterns("modules_to_not_convert")
    return Scheme(_linear(stored, head), kept, tuple(special), without_prediction=True)


def _auto_round(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    _check_integers(q)
    packing = q.text("packing_format") or q.text("backend", "auto_round:auto_gptq")  # earlier versions had one key
    if packing != "auto" and ("marlin" in packing or not any(word in packing for word in ("gptq", "awq"))):
        raise UnknownStorageError(f"{q.prefix}.packing_format {brief(packing)} is not understood")
    stored = _gptq_format(q, q.bits("bits"), False)
    special: list[tuple[ModulePatterns, TensorFormat | None]] = []
    for name, settings in q.sections("extra_config").items():
        merged = settings.over(q)
        bits = merged.bits("bits")
        if bits >= 16:
            own = None
            settings.get("data_type"), settings.get("group_size")  # of what is not quantised
        else:
            _check_integers(merged)
            own = _gptq_format(merged, bits, False)
        special.append((ModulePatterns((name,), f"{q.prefix}.extra_config"), own))
    kept = q.patterns("modules_to_not_convert")
    return Scheme(_linear(stored), kept, tuple(special), without_prediction=True)


def _bitsandbytes(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    kept = q.patterns("llm_int8_skip_modules")
    _only(q, "llm_int8_has_fp16_weight", False)
    in_8, in_4 = (any([q.flag(f"load_in_{bits}bit", False), q.flag(f"_load_in_{bits}bit", False)]) for bits in (8, 4))
    if in_8:
        # bitsandbytes/nn/modules.py, Linear8bitLt: weight, SCB (fp32 an output) and weight_format (one byte)
        return _linear_modules(TensorFormat("int8", 8, (1, 0), 32, matrix_extra=1), kept, values, model_type)
    if not in_4:
        raise UnknownStorageError(f"{q.prefix}: bitsandbytes with neither 4 nor 8 bits")
    kind = q.text("bnb_4bit_quant_type", "fp4")
    # bitsandbytes/functional.py, QuantState.as_dict: absmax per 64 elements in fp32, or in bytes with fp32 per 256 of
    # these; quant_map (16 fp32), nested_quant_map (256 fp32), and some 84 or 174 bytes of JSON (files of 0.50.2).
    if q.flag("bnb_4bit_use_double_quant", False):
        stored = TensorFormat(kind, 4, (1, 64), 8 + Fraction(32, 256), matrix_extra=64 + 1024 + 174)
    else:
        stored = TensorFormat(kind, 4, (1, 64), 32, matrix_extra=64 + 84)
    return _linear_modules(stored, kept, values, model_type)


# Families whose experts were one tensor a layer before transformers 5 too.
_FUSED_BEFORE_5 = ("gpt_oss", "llama4", "granitemoe", "dbrx", "jetmoe", "aria", "qwen3_vl", "qwen3_omni")


def _linear_modules(stored: TensorFormat, kept: ModulePatterns, values: Mapping[str, Any], model_type: str) -> Scheme:
    """Of quantisers that replace linear layers: experts were such until transformers 5 made them one tensor a layer."""
    major = transformers_major(values)
    if major >= 5:
        return Scheme({"linear": stored}, kept, without_prediction=True)
    unclear: dict[Kind, str] = {}
    if model_type.startswith(_FUSED_BEFORE_5):
        unclear["experts"] = "some tools split this family's experts into linear layers, others leave them as they are"
    elif not major:
        unclear["experts"] = "the config does not say with which transformers it was written"
    return Scheme(_linear(stored), kept, unclear=unclear, without_prediction=True)


def _mlx_format(q: QuantizerSettings) -> TensorFormat:
    # ml-explore/mlx, mlx.core.quantize: affine has a scale and a bias in the model's dtype per group.
    mode, bits = q.text("mode", "affine"), q.bits("bits", 4)
    if mode == "affine":
        return TensorFormat(f"int{bits}", bits, (1, q.group(default=64)), 32, word_bits=32)
    fixed = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
    if mode not in fixed:
        raise UnknownStorageError(f"{q.prefix}.mode {brief(mode)} is not understood")
    bits, group = fixed[mode]
    _check_group(q, TensorFormat(mode, bits, (1, group)))
    if q.bits("bits", bits) != bits:
        raise UnknownStorageError(f"{q.prefix}.bits {brief(q.get('bits'))} is not known of {mode}")
    return TensorFormat(mode, bits, (1, group), 8, word_bits=32)


def _mlx(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    stored = _mlx_format(q)
    special: list[tuple[ModulePatterns, TensorFormat | None]] = []
    for name, own in q.values.items():
        if not isinstance(own, dict | bool):
            if "." in name:
                raise q.error(name, "a mapping, true or false")
            continue
        own_format: TensorFormat | None = stored if q.get(name) else None
        if isinstance(own, dict):
            own_format = _mlx_format(q.section(name, named_by_publisher=True).over(q))
        # mlx calls the experts of a layer switch_mlp
        special.append((ModulePatterns((name.replace("switch_mlp", "experts"),), q.prefix), own_format))
    kinds: tuple[Kind, ...] = ("linear", "experts", "router", "lm_head", "embedding")
    return Scheme(dict.fromkeys(kinds, stored), special=tuple(special), without_prediction=True)


def _hqq(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # mobiusml/hqq, hqq/core/quantize.py: W_q, scale and zero per group in the compute dtype, which is taken to have 16
    # bits; 68 bytes a matrix of settings kept as tensors. 3, 5 and 6 bits are packed in words of other widths.
    inner = q.section("quant_config")
    weights = inner.section("weight_quant_params")
    if not weights.values:
        raise UnknownStorageError(f"{q.prefix}.quant_config has no weight_quant_params")
    bits = weights.bits("nbits")
    if bits not in (1, 2, 4, 8):
        raise UnknownStorageError(f"{weights.prefix}: HQQ's packing of {bits} bits is not understood")
    if inner.get("scale_quant_params") or inner.get("zero_quant_params"):
        raise UnknownStorageError(f"{inner.prefix}: scales that are quantised themselves are not understood")
    _only(weights, "channel_wise", True)
    stored = TensorFormat(f"int{bits}", bits, (1, weights.group(default=64)), 32, matrix_extra=68)
    return _linear_modules(stored, q.patterns("skip_modules"), values, model_type)


_TORCHAO: dict[str, TensorFormat] = {
    # pytorch/ao, torchao/quantization/quant_api.py: a scale in fp32 a row, unless a granularity is named; integers have
    # a zero point of a byte too, in version 2 of their settings (files of 0.18).
    "int8weightonly": TensorFormat("int8", 8, (1, 0), 32 + 8),
    "int8dynamicactivationint8weight": TensorFormat("int8", 8, (1, 0), 32 + 8),
    "float8weightonly": TensorFormat("fp8", 8, (1, 0), 32),
    "float8dynamicactivationfloat8weight": TensorFormat("fp8", 8, (1, 0), 32),
}


def _torchao(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    stated, version = q.get("quant_type"), 1
    settings = QuantizerSettings({}, q.prefix)
    if isinstance(stated, dict):
        inner = q.section("quant_type").section("default")
        stated, settings, version = inner.text("_type"), inner.section("_data"), inner.integer("_version", 1)
    else:
        settings = q.section("quant_type_kwargs")
    if not isinstance(stated, str):
        raise q.error("quant_type", "a word or a mapping")
    name = stated.lower().replace("_", "").removesuffix("config")
    if name == "int4weightonly":
        stored = TensorFormat("int4", 4, (1, settings.group(default=128)), 32)
    elif name in _TORCHAO:
        stored = _TORCHAO[name]
        if stored.name == "int8" and version < 2:
            raise UnknownStorageError(f"{q.prefix}: before version 2 of its settings torchao stored int8 in other ways")
    else:
        raise UnknownStorageError(f"{q.prefix}.quant_type {brief(stated)} is not understood")
    if name != "int4weightonly":
        _only(settings, "group_size")
    granularity = settings.get("granularity")
    if isinstance(granularity, dict):
        inner = settings.section("granularity")
        _only(inner, "_type", "PerRow")
        _only(inner, "_version", 1)
        _only(inner.section("_data"), "dim", -1)
    elif granularity is not None:
        raise UnknownStorageError(f"{settings.prefix}.granularity {brief(granularity)} is not understood")
    _only(q, "include_input_output_embeddings", False)
    _only(q, "untie_embedding_weights", False)
    return _linear_modules(stored, q.patterns("modules_to_not_convert"), values, model_type)


def _quark_format(q: QuantizerSettings, fp8_scale: int) -> TensorFormat:
    # Files of quark 0.13, and what vllm-project/vllm loads, vllm/model_executor/layers/quantization/quark/schemes: int8
    # with an fp32 scale and a zero point of a byte, MX types with a byte per 32 (quark_w4a4_mxfp4.py).
    weight = q.get("weight")
    if not isinstance(weight, dict):
        raise UnknownStorageError(f"{q.prefix}.weight is not understood")
    w = q.section("weight")
    dtype, how = w.text("dtype"), w.text("qscheme")
    _only(w, "is_scale_quant", False)
    _only(w, "mx_element_dtype")
    _only(q, "bias")
    inputs = q.get("input_tensors")
    is_static = isinstance(inputs, dict) and inputs.get("is_dynamic") is False and how == "per_tensor"
    names = {"fp8_e4m3": ("fp8", 8), "int8": ("int8", 8), "fp4": ("fp4", 4)}
    if dtype not in names:
        raise UnknownStorageError(f"{w.prefix}.dtype {brief(dtype)} is not understood")
    name, bits = names[dtype]
    _only(w, "block_size")
    if how in ("per_tensor", "per_channel"):
        _only(w, "group_size")
        _only(w, "scale_format", "float32")
        scale = fp8_scale if name == "fp8" else 32 + 8
        sharing = (0, 0) if how == "per_tensor" else (1, 0)
        return TensorFormat(name, bits, sharing, scale, matrix_extra=scale // 8 if is_static else 0)
    _only(w, "scale_format", "e8m0")
    if how == "per_group" and name.startswith("fp") and w.text("scale_format") == "e8m0":
        return TensorFormat(f"mx{name}", bits, (1, w.group(default=32)), 8)
    raise UnknownStorageError(f"{w.prefix}: {dtype} {how} is not understood")


def _quark(q: QuantizerSettings, values: Mapping[str, Any], model_type: str) -> Scheme:
    _only(q.section("export"), "weight_format", "real_quantized")
    _only(q, "softmax_quant_spec")
    if q.sections("layer_type_quant_config"):
        raise UnknownStorageError(f"{q.prefix}.layer_type_quant_config is not understood")
    # Files that name quark's version have scales of fp8 in the model's dtype, earlier ones in fp32.
    fp8_scale = 32 if q.get("version") is None else 16
    stored = _quark_format(q.section("global_quant_config"), fp8_scale)
    special: list[tuple[ModulePatterns, TensorFormat | None]] = [
        (ModulePatterns((name,), f"{q.prefix}.layer_quant_config"), _quark_format(settings, fp8_scale))
        for name, settings in q.sections("layer_quant_config").items()
    ]
    kept = q.patterns("exclude")
    if special:
        special.insert(0, (kept, None))
    unclear = _maybe_whole_experts("quark", values, kept.entries)
    return Scheme(_linear(stored, stored), kept, tuple(special), unclear)


_METHODS: dict[str, Callable[[QuantizerSettings, Mapping[str, Any], str], Scheme]] = {
    "fp8": _fine_grained_fp8,
    "mxfp8": _mxfp8,
    "fbgemm_fp8": _fbgemm_fp8,
    "mxfp4": _mxfp4,
    "modelopt": _modelopt,
    "compressed-tensors": _compressed_tensors,
    "awq": _awq,
    "gptq": _gptq,
    "auto-round": _auto_round,
    "bitsandbytes": _bitsandbytes,
    "mlx": _mlx,
    "hqq": _hqq,
    "torchao": _torchao,
    "quark": _quark,
}
"""quant_method -> what it means. A new quantiser is a function, its line here and its line in `NEUTRAL`."""
_OTHER_NAMES = {"modelopt_fp4": "modelopt", "modelopt_mixed": "modelopt", "intel/auto-round": "auto-round"}


def readers() -> set[str]:
    """The quantisers whose settings are read, by `quant_method`."""
    return set(_METHODS)
