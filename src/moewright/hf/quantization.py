"""What `quantization_config` and its relatives say of how each matrix is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from moewright.architecture.tensor_formats import TensorFormat, UnknownStorageError
from moewright.errors import UserError
from moewright.hf.module_names import Kind, Module
from moewright.hf.module_patterns import ModulePatterns
from moewright.hf.parts import QUANTIZATION_KEYS
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


class _Settings:
    """Typed access to one mapping of a quantiser's settings."""

    def __init__(self, values: Mapping[str, Any], prefix: str) -> None:
        self.values, self.prefix = values, prefix

    def error(self, key: str, expected: str) -> UserError:
        return UserError(f"{self.prefix}.{key}: expected {expected}, found {brief(self.values.get(key))}")

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.error(key, "a word")
        return default if value is None else value

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= 2**31:
            raise self.error(key, "an integer")
        return value

    def bits(self, key: str, default: int | None = None) -> int:
        value = self.integer(key, default)
        if not 1 <= value <= 16:
            raise self.error(key, "1 to 16 bits")
        return value

    def group(self, key: str = "group_size", default: int | None = None) -> int:
        """Elements of a row that share a scale; 0 stands for the whole row."""
        value = self.integer(key, default)
        if value == 0:
            raise self.error(key, "a positive integer, or -1 for whole rows")
        return max(value, 0)

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, "true or false")
        return default if value is None else value

    def section(self, key: str) -> _Settings:
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(key, "a mapping")
        return _Settings(value or {}, f"{self.prefix}.{key}")

    def sections(self, key: str) -> dict[str, _Settings]:
        inner = self.section(key)
        return {name: inner.section(name) for name in inner.values}

    def patterns(self, *keys: str, part_of_word: bool = False) -> ModulePatterns:
        """The list under the first key that is there."""
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
                raise self.error(key, "a list of module names")
            return ModulePatterns(value, f"{self.prefix}.{key}", part_of_word)
        return ModulePatterns((), self.prefix)


def scheme(values: Mapping[str, Any], side_file: Mapping[str, Any] | None, model_type: str) -> Scheme | None:
    """The scheme that a config states (of the language model, with the wrapper's quantisation in it); None: none.

    `side_file` is the content of hf_quant_config.json. Raises UnknownStorageError where a scheme is stated that is not
    understood, and UserError for values of the wrong kind.
    """
    for key in QUANTIZATION_KEYS:
        stated = values.get(key)
        if stated is None:
            continue
        if not isinstance(stated, dict):
            raise UserError(f"{key}: expected a mapping, found {brief(stated)}")
        return _scheme(_Settings(stated, key), values, model_type)
    if side_file is not None:
        inner = _Settings(side_file, "hf_quant_config.json").section("quantization")
        if inner.values.get("quant_algo") is not None or inner.values.get("quantized_layers"):
            return _modelopt(inner, values, model_type)
    if isinstance(values.get("expert_dtype"), str):
        raise UnknownStorageError("expert_dtype without a quantization_config")
    return None


def _scheme(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    method = q.text("quant_method").lower()
    if not method:
        if "quant_algo" in q.values:
            method = "modelopt"
        elif "bits" in q.values and "group_size" in q.values:
            method = "mlx"
        elif "config_groups" in q.values:
            method = "compressed-tensors"
    reader = _METHODS.get(method)
    if reader is None:
        raise UnknownStorageError(f"{q.prefix}.quant_method {brief(q.values.get('quant_method'))} is not understood")
    return reader(q, values, model_type)


def _linear(stored: TensorFormat | None, head: TensorFormat | None = None) -> Formats:
    return {"linear": stored, "experts": stored, "lm_head": head}


# One reader per quantiser


def _fp8_format(q: _Settings, scale_bits: int) -> TensorFormat:
    block = q.values.get("weight_block_size")
    extra = 4 if q.text("activation_scheme", "dynamic") == "static" else 0
    if block is None:
        return TensorFormat("fp8", 8, (0, 0), 32, matrix_extra=extra)
    if (
        not isinstance(block, list)
        or len(block) != 2
        or not all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= 2**31 for side in block)
    ):
        raise q.error("weight_block_size", "two positive integers")
    return TensorFormat("fp8", 8, (block[0], block[1]), scale_bits, matrix_extra=extra)


def _fine_grained_fp8(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # transformers 5.24, integrations/finegrained_fp8.py: FP8Linear and FP8Experts. DeepSeek-V3 and V3.2 keep scales in
    # fp32 though V3.2 names ue8m0 (inference/model.py of both); V4's have one byte.
    one_byte = q.text("scale_fmt") == "ue8m0" and model_type not in ("deepseek_v3", "deepseek_v32", "kimi_k2")
    scale_bits = 8 if one_byte else 32
    stored = _fp8_format(q, scale_bits)
    experts = stored
    named = values.get("expert_dtype") or q.values.get("expert_dtype")
    if named == "fp4":
        experts = TensorFormat("mxfp4", 4, (1, 32), scale_bits)
    elif named not in (None, "fp8"):
        raise UnknownStorageError(f"expert_dtype {brief(named)} is not understood")
    kept = q.patterns("modules_to_not_convert", "ignored_layers")
    if q.values.get("modules_to_convert"):
        raise UnknownStorageError(f"{q.prefix}.modules_to_convert is not understood")
    return Scheme({"linear": stored, "experts": experts}, kept, _modelopt_layers(q))


def _fbgemm_fp8(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # transformers 5.24, integrations/fbgemm_fp8.py: an fp32 scale per output, and input_scale_ub.
    stored = TensorFormat("fp8", 8, (1, 0), 32, matrix_extra=4)
    return Scheme(_linear(stored), q.patterns("modules_to_not_convert"))


def _mxfp4(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # OCP MX: one byte per 32. gpt-oss's model card (arXiv 2508.10925, section 2.1): the rest is bf16.
    stored = TensorFormat("mxfp4", 4, (1, 32), 8)
    kept = q.patterns("modules_to_not_convert")
    return Scheme({"experts": stored}, kept, rest_dtype="bf16" if model_type == "gpt_oss" else None)


def _nvfp4_format(name: str = "nvfp4", extra: int = 8) -> TensorFormat:
    # arXiv 2509.25149: an fp8 scale per 16, and an fp32 one for the matrix; modelopt adds the input's.
    return TensorFormat(name, 4, (1, 16), 8, matrix_extra=extra)


def _modelopt_format(q: _Settings, algorithm: str) -> TensorFormat:
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
    return known[algorithm]


def _modelopt(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    kept = q.patterns("exclude_modules", "ignore", "modules_to_not_convert")
    algorithm = q.text("quant_algo").upper()
    if q.values.get("quantized_layers") or algorithm == "MIXED_PRECISION":
        return Scheme({}, kept, _modelopt_layers(q))
    stored = _modelopt_format(q, algorithm)
    return Scheme(_linear(stored, stored), kept)


def _modelopt_layers(q: _Settings) -> tuple[tuple[ModulePatterns, TensorFormat], ...]:
    """What modelopt says of single modules; also beside the fp8 of a publisher, of whose weights it converted some."""
    by_format: dict[TensorFormat, list[str]] = {}
    for name, settings in q.sections("quantized_layers").items():
        by_format.setdefault(_modelopt_format(settings, settings.text("quant_algo").upper()), []).append(name)
    return tuple((ModulePatterns(names, f"{q.prefix}.quantized_layers"), stored) for stored, names in by_format.items())


def _compressed_format(weights: _Settings, packing: str, inputs: _Settings, rest_bits: int) -> TensorFormat:
    # vllm-project/compressed-tensors, src/compressed_tensors: compressors/*/base.py, quantization/quant_args.py and
    # quantization/lifecycle/initialize.py.
    bits, kind = weights.bits("num_bits", 8), weights.text("type", "int")
    sharing = weights.values.get("group_size")
    inferred = "tensor" if sharing is None else "channel" if sharing == -1 else "group"
    strategy, symmetric = weights.text("strategy", inferred), weights.flag("symmetric", True)
    static_input = bool(inputs.values) and inputs.values.get("dynamic", False) is False
    if kind == "float" and bits == 4:
        group = weights.group(default=16)
        if "mx" in packing or group == 32:
            return TensorFormat("mxfp4", 4, (1, 32), 8)
        # the input's global scale is there unless all of its scales are found at run time ("local": those of groups)
        return _nvfp4_format(extra=8 if inputs.values and inputs.values.get("dynamic") is not True else 4)
    blocks: dict[str, tuple[int, int]] = {"tensor": (0, 0), "channel": (1, 0), "block": (128, 128)}
    if strategy in ("group", "tensor_group"):
        block = (1, weights.group(default=128))
    elif strategy == "block":
        block = _fp8_format(
            _Settings({"weight_block_size": weights.values.get("block_structure")}, weights.prefix), 0
        ).block
    elif strategy in blocks:
        block = blocks[strategy]
    else:
        raise UnknownStorageError(f"{weights.prefix}.strategy {brief(strategy)} is not understood")
    extra = rest_bits // 8 if static_input else 0
    scale = rest_bits
    if kind == "float" and bits == 8:
        scale = 8 if "mx" in packing or weights.text("scale_dtype") == "torch.uint8" else rest_bits
        return TensorFormat("mxfp8" if scale == 8 else "fp8", 8, block, scale, matrix_extra=extra)
    if kind != "int":
        raise UnknownStorageError(f"{weights.prefix}: {bits} bits of type {brief(kind)} are not understood")
    zero = 0 if symmetric else (bits if packing == "pack-quantized" else 8)
    if packing == "pack-quantized":
        if 32 % bits:
            raise UnknownStorageError(f"{weights.prefix}: versions pack {bits} bits in different ways")
        # weight_g_idx: int32 an input. weight_shape, two integers a matrix, is left out: versions differ in its type.
        index = 4 if weights.text("actorder") == "group" else 0
        return TensorFormat(
            f"int{bits}", bits, block, scale + zero, word_bits=32, matrix_extra=extra, input_extra=index
        )
    return TensorFormat(f"int{bits}", 8, block, scale + zero, matrix_extra=extra)


def _compressed_tensors(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    sparsity = q.section("sparsity_config")
    if sparsity.values and sparsity.text("format", "dense") != "dense":
        raise UnknownStorageError(f"{q.prefix}.sparsity_config is not understood")
    kept = q.patterns("ignore", "modules_to_not_convert")
    default: TensorFormat | None = None
    special: list[tuple[ModulePatterns, TensorFormat | None]] = []
    for name, group in q.sections("config_groups").items():
        packing = group.text("format") or q.text("format")
        weights = group.section("weights")
        if not weights.values:
            continue
        stored = _compressed_format(weights, packing, group.section("input_activations"), 16)
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
    return Scheme(_linear(default, default), kept, tuple(special), without_prediction=True)


def _awq(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # casper-hansen/AutoAWQ, awq/modules/linear/gemm.py: qweight and qzeros (int32 words), scales (fp16); 4 bits only.
    bits, version = q.bits("bits" if "bits" in q.values else "w_bit", 4), q.text("version", "gemm").lower()
    # auto-round keeps zero points of symmetric weights too
    with_zeros = q.flag("zero_point", True) or q.text("provider") == "auto-round"
    if version != "gemm" or bits != 4 or not with_zeros:
        raise UnknownStorageError(f"{q.prefix}: AWQ's files are known for version gemm, 4 bits and zero points only")
    stored = TensorFormat("int4", 4, (1, q.group(default=128)), 16 + 4)
    kept = q.patterns("modules_to_not_convert", part_of_word=True)
    return Scheme(_linear(stored), kept, without_prediction=True)


def _gptq_format(q: _Settings, bits: int, with_index: bool) -> TensorFormat:
    # ModelCloud/GPTQModel, gptqmodel/nn_modules/qlinear/__init__.py: qweight and qzeros (int32 words), scales (fp16),
    # g_idx (int32 an input); auto_round_extension/torch/qlinear_torch.py of intel/auto-round: the same without g_idx.
    if bits not in (2, 3, 4, 8):
        raise UnknownStorageError(f"{q.prefix}: GPTQ's files are known for 2, 3, 4 and 8 bits only")
    return TensorFormat(f"int{bits}", bits, (1, q.group(default=128)), 16 + bits, input_extra=4 if with_index else 0)


def _gptq(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    if "marlin" in (q.text("checkpoint_format") or q.text("format")):
        raise UnknownStorageError(f"{q.prefix}: Marlin's own packing is not understood")
    stored = _gptq_format(q, q.bits("bits"), True)
    special: list[tuple[ModulePatterns, TensorFormat | None]] = []
    for entry, settings in q.sections("dynamic").items():
        patterns = ModulePatterns(
            ("re:" + entry[2:] if entry[:2] in ("-:", "+:") else "re:" + entry,), f"{q.prefix}.dynamic"
        )
        merged = _Settings({**q.values, **settings.values}, settings.prefix)
        special.append((patterns, None if entry.startswith("-:") else _gptq_format(merged, merged.bits("bits"), True)))
    only = q.values.get("modules_in_block_to_quantize")
    if only is not None:
        if not isinstance(only, list):
            raise q.error("modules_in_block_to_quantize", "a list of lists of module names")
        names = [name for group in only for name in (group if isinstance(group, list) else [group])]
        chosen = _Settings({"names": names}, q.prefix).patterns("names")
        kept = q.patterns("modules_to_not_convert")
        return Scheme({}, kept, (*special, (chosen, stored)), without_prediction=True)
    head = stored if q.flag("lm_head", False) else None
    kept = q.patterns("modules_to_not_convert")
    return Scheme(_linear(stored, head), kept, tuple(special), without_prediction=True)


def _auto_round(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    if q.text("data_type", "int") != "int":
        raise UnknownStorageError(f"{q.prefix}.data_type {brief(q.values['data_type'])} is not understood")
    packing = q.text("packing_format", "auto_round:auto_gptq")
    if not any(word in packing for word in ("gptq", "awq")):
        raise UnknownStorageError(f"{q.prefix}.packing_format {brief(packing)} is not understood")
    stored = _gptq_format(q, q.bits("bits"), False)
    special: list[tuple[ModulePatterns, TensorFormat | None]] = []
    for name, settings in q.sections("extra_config").items():
        merged = _Settings({**q.values, **settings.values}, settings.prefix)
        bits = merged.bits("bits")
        own = None if bits >= 16 else _gptq_format(merged, bits, False)
        special.append((ModulePatterns((name,), f"{q.prefix}.extra_config"), own))
    kept = q.patterns("modules_to_not_convert")
    return Scheme(_linear(stored), kept, tuple(special), without_prediction=True)


def _bitsandbytes(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    kept = q.patterns("llm_int8_skip_modules")
    if q.flag("load_in_8bit", False) or q.flag("_load_in_8bit", False):
        # bitsandbytes/nn/modules.py, Linear8bitLt: weight, SCB (fp32 an output) and weight_format (one byte)
        return _linear_modules(TensorFormat("int8", 8, (1, 0), 32, matrix_extra=1), kept, values, model_type)
    if not (q.flag("load_in_4bit", False) or q.flag("_load_in_4bit", False)):
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
    major = str(values.get("transformers_version")).split(".")[0]
    if major.isdigit() and int(major) >= 5:
        return Scheme({"linear": stored}, kept, without_prediction=True)
    unclear: dict[Kind, str] = {}
    if model_type.startswith(_FUSED_BEFORE_5):
        unclear["experts"] = "some tools split this family's experts into linear layers, others leave them as they are"
    elif not major.isdigit():
        unclear["experts"] = "the config does not say with which transformers it was written"
    return Scheme(_linear(stored), kept, unclear=unclear, without_prediction=True)


def _mlx_format(q: _Settings) -> TensorFormat:
    # ml-explore/mlx, mlx.core.quantize: affine has a scale and a bias in the model's dtype per group.
    mode, bits = q.text("mode", "affine"), q.bits("bits", 4)
    if mode == "affine":
        return TensorFormat(f"int{bits}", bits, (1, q.group(default=64)), 32, word_bits=32)
    fixed = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
    if mode not in fixed:
        raise UnknownStorageError(f"{q.prefix}.mode {brief(mode)} is not understood")
    bits, group = fixed[mode]
    return TensorFormat(mode, bits, (1, group), 8, word_bits=32)


def _mlx(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    stored = _mlx_format(q)
    special: list[tuple[ModulePatterns, TensorFormat | None]] = []
    for name, own in q.values.items():
        if name in ("bits", "group_size", "mode", "quant_method") or (
            "." not in name and not isinstance(own, dict | bool)
        ):
            continue
        if not isinstance(own, dict | bool):
            raise q.error(name, "a mapping, true or false")
        own_format: TensorFormat | None = stored if own else None
        if isinstance(own, dict):
            own_format = _mlx_format(_Settings({**q.values, **own}, f"{q.prefix}.{name}"))
        # mlx calls the experts of a layer switch_mlp
        special.append((ModulePatterns((name.replace("switch_mlp", "experts"),), q.prefix), own_format))
    kinds: tuple[Kind, ...] = ("linear", "experts", "router", "lm_head", "embedding")
    return Scheme(dict.fromkeys(kinds, stored), special=tuple(special), without_prediction=True)


def _hqq(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    # mobiusml/hqq, hqq/core/quantize.py: W_q, scale and zero per group in the compute dtype, which is taken to have 16
    # bits; some 70 bytes a matrix of settings kept as tensors. 3, 5 and 6 bits are packed in words of other widths.
    inner = q.section("quant_config")
    weights = inner.section("weight_quant_params")
    if not weights.values:
        raise UnknownStorageError(f"{q.prefix}.quant_config has no weight_quant_params")
    bits = weights.bits("nbits")
    if bits not in (1, 2, 4, 8):
        raise UnknownStorageError(f"{weights.prefix}: HQQ's packing of {bits} bits is not understood")
    if inner.values.get("scale_quant_params") or inner.values.get("zero_quant_params"):
        raise UnknownStorageError(f"{inner.prefix}: scales that are quantised themselves are not understood")
    stored = TensorFormat(f"int{bits}", bits, (1, weights.group(default=64)), 32, matrix_extra=70)
    return _linear_modules(stored, q.patterns("skip_modules"), values, model_type)


_TORCHAO: dict[str, TensorFormat] = {
    # pytorch/ao, torchao/quantization/quant_api.py: a scale in fp32 a row, unless a granularity is named; integers have
    # a zero point of a byte too, in version 2 of their settings (files of 0.18).
    "int8weightonly": TensorFormat("int8", 8, (1, 0), 32 + 8),
    "int8dynamicactivationint8weight": TensorFormat("int8", 8, (1, 0), 32 + 8),
    "float8weightonly": TensorFormat("fp8", 8, (1, 0), 32),
    "float8dynamicactivationfloat8weight": TensorFormat("fp8", 8, (1, 0), 32),
}


def _torchao(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    stated, version = q.values.get("quant_type"), 1
    settings = _Settings({}, q.prefix)
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
    if "Group" in str(settings.values.get("granularity")) or "Block" in str(settings.values.get("granularity")):
        raise UnknownStorageError(f"{settings.prefix}.granularity is not understood")
    if q.flag("include_input_output_embeddings", False):
        raise UnknownStorageError(f"{q.prefix}.include_input_output_embeddings is not understood")
    return _linear_modules(stored, q.patterns("modules_to_not_convert"), values, model_type)


def _quark_format(q: _Settings) -> TensorFormat:
    # What vllm-project/vllm loads, vllm/model_executor/layers/quantization/quark/schemes: int8 with an fp32 scale and a
    # zero point of a byte a row (quark_w8a8_int8.py), MX types with a byte per 32 (quark_w4a4_mxfp4.py).
    weight = q.values.get("weight")
    if not isinstance(weight, dict):
        raise UnknownStorageError(f"{q.prefix}.weight is not understood")
    w = q.section("weight")
    dtype, how = w.text("dtype"), w.text("qscheme")
    inputs = q.values.get("input_tensors")
    extra = 4 if isinstance(inputs, dict) and inputs.get("is_dynamic") is False and how == "per_tensor" else 0
    names = {"fp8_e4m3": ("fp8", 8), "int8": ("int8", 8), "fp4": ("fp4", 4)}
    if dtype not in names:
        raise UnknownStorageError(f"{w.prefix}.dtype {brief(dtype)} is not understood")
    name, bits = names[dtype]
    if how == "per_tensor":
        return TensorFormat(name, bits, (0, 0), 32, matrix_extra=extra)
    if how == "per_channel":
        return TensorFormat(name, bits, (1, 0), 32 + (8 if dtype == "int8" else 0))
    if how == "per_group" and name.startswith("fp") and w.text("scale_format") == "e8m0":
        return TensorFormat(f"mx{name}", bits, (1, w.group(default=32)), 8)
    raise UnknownStorageError(f"{w.prefix}: {dtype} {how} is not understood")


def _quark(q: _Settings, values: Mapping[str, Any], model_type: str) -> Scheme:
    stored = _quark_format(q.section("global_quant_config"))
    special: list[tuple[ModulePatterns, TensorFormat | None]] = [
        (ModulePatterns((name,), f"{q.prefix}.layer_quant_config"), _quark_format(settings))
        for name, settings in q.sections("layer_quant_config").items()
    ]
    kept = q.patterns("exclude")
    if special:
        special.insert(0, (kept, None))
    return Scheme(_linear(stored, stored), kept, tuple(special))


_METHODS: dict[str, Callable[[_Settings, Mapping[str, Any], str], Scheme]] = {
    "fp8": _fine_grained_fp8,
    "fbgemm_fp8": _fbgemm_fp8,
    "mxfp4": _mxfp4,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "compressed-tensors": _compressed_tensors,
    "awq": _awq,
    "gptq": _gptq,
    "auto-round": _auto_round,
    "intel/auto-round": _auto_round,
    "bitsandbytes": _bitsandbytes,
    "mlx": _mlx,
    "hqq": _hqq,
    "torchao": _torchao,
    "quark": _quark,
}
"""quant_method -> what it means. A new quantiser is a function and its line here."""
