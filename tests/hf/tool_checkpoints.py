"""Small checkpoints written by the tools that people quantise with, and what became of them: configs and bytes.

    python -m tests.hf.tool_checkpoints --out FOLDER [KIND ...]

writes them, each a folder of a dense and a sparse model of two layers, and prints the lines of
`written_by_tools.jsonl`, which `test_published.py` compares with what the config alone says. The tools are not among
moewright's dependencies: install those of the kinds that are wanted. Kinds that a machine cannot write (a GPU is
needed, or a tool does not know this transformers) say so and are left out.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
import transformers

from moewright.hf.config import STORAGE_KEYS
from moewright.hf.tensor_headers import file_ranges, read_header

SIZES = {
    "vocab_size": 256,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "tie_word_embeddings": False,
}
EXPERTS = {"moe_intermediate_size": 128, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1}
MODELS = {"llama": SIZES, "qwen3_moe": {**SIZES, **EXPERTS}}
Writer = Callable[[str, Path], None]
WRITERS: dict[str, tuple[str, Writer]] = {}
"""Kind -> the tool's name in package registries, and what writes a model's folder to another."""


def loaded(model: str, **settings: Any) -> Any:
    """A model in bf16."""
    return transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, **settings)


def by_transformers(tool: str, kind: str, settings: Callable[[], Any]) -> None:
    """A quantiser that transformers loads and saves with."""

    def write(model: str, out: Path) -> None:
        loaded(model, quantization_config=settings(), device_map="cpu").save_pretrained(out)

    WRITERS[kind] = (tool, write)


def torchao(config: str, **settings: Any) -> Callable[[], Any]:
    """transformers' settings around one of torchao's."""
    return lambda: transformers.TorchAoConfig(getattr(import_module("torchao.quantization"), config)(**settings))


by_transformers("bitsandbytes", "bitsandbytes int8", lambda: transformers.BitsAndBytesConfig(load_in_8bit=True))
NF4 = partial(transformers.BitsAndBytesConfig, load_in_4bit=True, bnb_4bit_quant_type="nf4")
by_transformers("bitsandbytes", "bitsandbytes nf4", NF4)
by_transformers("bitsandbytes", "bitsandbytes nf4 twice", partial(NF4, bnb_4bit_use_double_quant=True))
by_transformers("torchao", "torchao int8", torchao("Int8WeightOnlyConfig"))
by_transformers("torchao", "torchao fp8", torchao("Float8WeightOnlyConfig"))


def compressed_tensors(preset: str) -> None:
    """compressed-tensors by one of its own presets, scales of one."""

    def write(model: str, out: Path) -> None:
        quantization = import_module("compressed_tensors.quantization")
        module = loaded(model)
        scheme = quantization.preset_name_to_scheme(preset, ["Linear"])
        settings = quantization.QuantizationConfig(
            config_groups={"group_0": scheme}, ignore=["lm_head", "re:.*mlp.gate$"], quant_method="compressed-tensors"
        )
        quantization.apply_quantization_config(module, settings)
        for name, parameter in module.named_parameters():
            if name.endswith("_scale"):
                parameter.data.fill_(1)
        compressor = import_module("compressed_tensors.compressors").ModelCompressor.from_pretrained_model(module)
        compressor.compress_model(module)
        module.save_pretrained(out)
        compressor.update_config(out)

    WRITERS[f"compressed-tensors {preset}"] = ("compressed-tensors", write)


for each in (
    *("W4A16", "W4A16_ASYM", "W8A16", "W8A8"),
    *("FP8", "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4", "NVFP4A16", "MXFP4", "MXFP8"),
):
    compressed_tensors(each)


def modelopt(settings: str) -> None:
    """NVIDIA's modelopt: a config with a side file."""

    def write(model: str, out: Path) -> None:
        quantization = import_module("modelopt.torch.quantization")
        module = loaded(model)
        quantization.quantize(module, getattr(quantization, settings), lambda m: m(torch.arange(16)[None]))
        import_module("modelopt.torch.export").export_hf_checkpoint(module, export_dir=str(out))

    WRITERS[f"modelopt {settings.removesuffix('_CFG')}"] = ("nvidia-modelopt", write)


for each in (
    *("FP8_DEFAULT_CFG", "FP8_PER_CHANNEL_PER_TOKEN_CFG", "FP8_2D_BLOCKWISE_WEIGHT_ONLY_CFG"),
    *("NVFP4_DEFAULT_CFG", "W4A8_MXFP4_FP8_CFG", "MXFP8_DEFAULT_CFG"),
):
    modelopt(each)


def auto_round(layout: str) -> None:
    """Intel's auto-round, which writes its own layout and those of others."""

    def write(model: str, out: Path) -> None:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        rounding = import_module("auto_round").AutoRound(
            loaded(model),
            tokenizer,
            scheme="W4A16",
            group_size=64,
            iters=0,
            nsamples=2,
            seqlen=8,
            device_map="cpu",
            disable_opt_rtn=True,
        )
        rounding.quantize_and_save(str(out), format=layout)

    WRITERS[f"auto-round as {layout}"] = ("auto-round", write)


for each in ("auto_round", "auto_gptq", "auto_awq"):
    auto_round(each)


def mlx(mode: str, group: int) -> None:
    """mlx-lm's converter."""

    def write(model: str, out: Path) -> None:
        out.rmdir()
        import_module("mlx_lm").convert(
            model, mlx_path=str(out), quantize=True, q_group_size=group, q_bits=4, q_mode=mode
        )

    WRITERS[f"mlx {mode}"] = ("mlx-lm", write)


for each, number in (("affine", 64), ("mxfp4", 32)):
    mlx(each, number)


def quark(scheme: str) -> None:
    """AMD's quark by one of its named schemes."""

    def write(model: str, out: Path) -> None:
        package = import_module("quark.torch")
        module = loaded(model)
        template = package.LLMTemplate.get(module.config.model_type)
        quantizer = package.ModelQuantizer(template.get_config(scheme=scheme, exclude_layers=["lm_head", "*mlp.gate"]))
        tokens: Any = [torch.arange(16)]
        quantized = quantizer.quantize_model(module, torch.utils.data.DataLoader(tokens, batch_size=1))
        package.export_safetensors(quantizer.freeze(quantized), str(out))

    WRITERS[f"quark {scheme}"] = ("amd-quark", write)


for each in ("fp8", "ptpc_fp8", "mxfp4", "int8"):
    quark(each)


def gptqmodel(settings: dict[str, Any]) -> None:
    """GPTQModel without calibration: rounding to the nearest, in the files that GPTQ has."""

    def write(model: str, out: Path) -> None:
        package = import_module("gptqmodel")
        loader = package.GPTQModel.load(model, package.QuantizeConfig(bits=4, group_size=64, **settings), device="cpu")
        loader.quantize(["1 2 3 4 5 6 7 8 9 10 11 12"] * 8, batch_size=1)
        loader.save(str(out))

    WRITERS["gptqmodel unsymmetric" if settings else "gptqmodel"] = ("gptqmodel", write)


for chosen in ({}, {"sym": False}):
    gptqmodel(chosen)


def packed_by_hand(kind: str, tool: str, pack: Callable[[torch.nn.Linear], torch.nn.Module], said: Any) -> None:
    """A tool's own linear layer in place of each of a dense model's, for tools that no longer load whole models."""

    def write(model: str, out: Path) -> None:
        module = loaded(model).half()
        for name, each in list(module.named_modules()):
            if isinstance(each, torch.nn.Linear) and name != "lm_head":
                parent, _, last = name.rpartition(".")
                setattr(module.get_submodule(parent), last, pack(each))
        state = {key: value.contiguous() for key, value in module.state_dict().items() if torch.is_tensor(value)}
        import_module("safetensors.torch").save_file(state, out / "model.safetensors")
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
        (out / "config.json").write_text(json.dumps(config | {"dtype": "float16", "quantization_config": said}))

    WRITERS[kind] = (tool, write)


def awq_linear(linear: torch.nn.Linear) -> torch.nn.Module:
    """AutoAWQ's, with scales and zero points of one."""
    scales = torch.ones(linear.in_features // 64, linear.out_features, dtype=torch.float16)
    made: torch.nn.Module = import_module("awq.modules.linear.gemm").WQLinear_GEMM.from_linear(
        linear, 4, 64, scales=scales, zeros=scales
    )
    return made


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm", "zero_point": True}
packed_by_hand("autoawq", "autoawq", awq_linear, AWQ | {"modules_to_not_convert": None})


def hqq_linear(linear: torch.nn.Linear) -> torch.nn.Module:
    """hqq's, by its own settings."""
    package = import_module("hqq.core.quantize")
    made: torch.nn.Module = package.HQQLinear(
        linear, package.BaseQuantizeConfig(nbits=4, group_size=64, axis=1), compute_dtype=torch.float16, device="cpu"
    )
    return made


HQQ_WEIGHTS = {"nbits": 4, "channel_wise": True, "group_size": 64, "optimize": True, "round_zero": True, "axis": 1}
HQQ = {"weight_quant_params": HQQ_WEIGHTS, "scale_quant_params": None, "zero_quant_params": None, "offload_meta": False}
packed_by_hand("hqq", "hqq", hqq_linear, {"quant_method": "hqq", "quant_config": HQQ, "skip_modules": ["lm_head"]})


def source(family: str, folder: Path) -> str:
    """The unquantised model of a family, with a tokenizer of numbers."""
    path = folder / family
    if not path.exists():
        from tokenizers import Tokenizer, models, pre_tokenizers

        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(family, **MODELS[family])
        transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(path)
        words = {str(number): number for number in range(250)} | {"[UNK]": 250}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        made: Any = transformers.PreTrainedTokenizerFast
        made(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[UNK]").save_pretrained(path)
    return str(path)


def line(kind: str, tool: str, family: str, out: Path) -> dict[str, Any]:
    """What is kept of a folder: its config, its side file, and the bytes of all tensors by their headers."""
    side = out / "hf_quant_config.json"
    tensors = [each for path in sorted(out.glob("*.safetensors")) for each in read_header(file_ranges(path), path.name)]
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    kept = {*MODELS[family], *STORAGE_KEYS, "model_type", "num_local_experts"}
    return {
        "kind": kind,
        "tool": f"{tool} {metadata.version(tool)}",
        "family": family,
        "bytes": sum(each.bytes for each in tensors),
        "config": {key: value for key, value in config.items() if key in kept},
        "side": json.loads(side.read_text(encoding="utf-8")) if side.is_file() else None,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="of checkpoints; all without")
    parser.add_argument("--out", type=Path, required=True, help="where they are written")
    given = parser.parse_args()
    for kind in given.kinds or WRITERS:
        tool, write = WRITERS[kind]
        # compressed-tensors leaves the experts of transformers 5 as they are; those who publish split them before
        for family in ("llama",) if tool in ("compressed-tensors", "autoawq", "hqq") else MODELS:
            folder = given.out / f"{kind} {family}".replace(" ", "-")
            shutil.rmtree(folder, ignore_errors=True)
            model = source(family, given.out)
            folder.mkdir(parents=True)
            try:
                write(model, folder)
                inner = folder if (folder / "config.json").is_file() else next(folder.iterdir())  # auto-round's own
                print(json.dumps(line(kind, tool, family, inner)), flush=True)
            except Exception as error:
                print(f"{kind}, {family}: {type(error).__name__}: {error}"[:200], file=sys.stderr)
