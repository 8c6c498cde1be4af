"""Folders that transformers loads: config, weights, tokenizer; written from the lab's model and read into it."""

import re
import shutil
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from moewright.architecture.canonical import canonical
from moewright.architecture.feed_forwards import MoE
from moewright.architecture.mixers import Attention, LatentAttention
from moewright.architecture.spec import Architecture
from moewright.complaints import check_integer, one_of
from moewright.errors import UserError
from moewright.experiment.binding import check_file, check_used
from moewright.experiment.early_digests import EarlyDigests
from moewright.experiment.initial_weights import initial_weight_files
from moewright.experiment.run_folder import MODEL
from moewright.experiment.trained import find_trained
from moewright.files import new_folder, read_mapping, write_mapping
from moewright.foreign_text import visible
from moewright.hf.config import read_config, to_config
from moewright.hf.training_config import write_training_config
from moewright.lab.checkpoint_files import save_tensors
from moewright.lab.hf_weights.tensors import TENSOR_NAMES, from_hf_tensors, to_hf_tensors
from moewright.outputs import check_space

StoredAs = Literal["fp32", "bf16"]

_DTYPES: Mapping[StoredAs, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
_LAYER = re.compile(r"model\.layers\.(\d+)\.")


def write_hf_checkpoint(
    model: nn.Module | Mapping[str, Tensor],
    architecture: Architecture,
    out: str | Path,
    *,
    family: str | None = None,
    tokenizer: str | Path | None = None,
    dtype: StoredAs = "fp32",
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    balance_loss: float | None = None,
) -> Path:
    """Write a new folder for `AutoModelForCausalLM.from_pretrained` from the lab's model or its state.

    It holds config.json, generation_config.json, model.safetensors, and with `tokenizer` (a tokenizer.json) the files
    for AutoTokenizer; it appears complete or not at all. `family` None takes the first that expresses the
    architecture. `dtype` is of the weights; selection biases stay in fp32, since their steps are below bf16's.
    `balance_loss` is as in `moewright.export`. Raises UserError naming what the family cannot express, or what is
    wrong with the tokenizer.
    """
    one_of(dtype, "dtype", _DTYPES)
    stored = architecture.model_copy(update={"weights_format": dtype})
    config, _ = write_training_config(stored, balance_loss, family)
    _refuse_unlike(architecture, config["model_type"])
    tokens = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id}
    for name, token in tokens.items():
        if token is not None:
            check_integer(token, name, 0, architecture.vocab_size - 1)
    state = model.state_dict() if isinstance(model, nn.Module) else model
    tensors = {
        name: tensor.to(torch.float32 if name.endswith("e_score_correction_bias") else _DTYPES[dtype])
        for name, tensor in to_hf_tensors(state, architecture, config["model_type"]).items()
    }
    with new_folder(Path(out)) as partial:
        # Absent ids would be the family's own, and generation would stop at some token of another vocabulary.
        write_mapping(partial / "config.json", {**config, **tokens, "pad_token_id": None})
        write_mapping(partial / "generation_config.json", {**tokens, "pad_token_id": eos_token_id})
        if tokenizer is not None:
            _write_tokenizer(partial, Path(tokenizer), architecture, tokens)
        check_space(Path(out), sum(tensor.nbytes for tensor in tensors.values()), "out")
        save_tensors(tensors, partial / MODEL, {"format": "pt"})  # transformers asks for that format
        (partial / MODEL).chmod(0o644)
    return Path(out)


def read_hf_checkpoint(folder: str | Path) -> tuple[Architecture, dict[str, Tensor]]:
    """The architecture and the lab model's state (fp32) of a local Hugging Face folder.

    The weights are model.safetensors, or shards with their index. Prediction blocks are left out, with a warning, as
    transformers does. Raises UserError for a family whose weights moewright does not read, a model that the lab does
    not train, tensors that do not fit, quantized weights, and pickled files, which are not opened.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: not a folder with a Hugging Face checkpoint")
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"{folder}: the folder has no config.json")
    values = read_mapping(config)
    imported = read_config(values)
    family = imported.family.model_type
    if family not in TENSOR_NAMES:
        raise UserError(
            f"model_type: moewright reads {family}'s config, not its weights; it reads those of "
            f"{', '.join(TENSOR_NAMES)}"
        )
    for key in ("quantization_config", "clip_qkv"):  # the one stores other tensors, the other computes another function
        if values.get(key) is not None:
            raise UserError(f"{key}: the lab has no model for it; expected null")
    for message in imported.warnings:
        warnings.warn(visible(message), stacklevel=2)
    prediction_blocks = imported.architecture.mtp_layers
    architecture = imported.architecture.model_copy(update={"mtp_layers": 0})
    to_config(canonical(architecture, merge_shared=False), family)  # refuses keys that transformers' module ignores
    _refuse_unlike(architecture, family)
    tensors = _load(folder)
    behind = range(architecture.num_layers, architecture.num_layers + prediction_blocks)  # numbered on from the layers
    left_out = [name for name in tensors if (found := _LAYER.match(name)) and int(found.group(1)) in behind]
    for name in left_out:
        del tensors[name]
    if left_out:
        warnings.warn(visible(f"prediction blocks are left out: {len(left_out)} tensors"), stacklevel=2)
    interleaved = values.get("rope_interleave", True)
    return architecture, from_hf_tensors(tensors, architecture, family, rope_interleave=bool(interleaved))


def export_run(
    run: str | Path,
    out: str | Path,
    *,
    step: int | None = None,
    family: str | None = None,
    dtype: StoredAs = "fp32",
    balance_loss: float | None = None,
    digests: EarlyDigests | None = None,
) -> Path:
    """Write a trainer's run (or one of its checkpoints) to a new folder for transformers, with its tokenizer.

    `step` None takes the newest complete checkpoint. `digests`: under way already, of its files. The run's token
    between documents ends a generation.
    Raises UserError as `write_hf_checkpoint` does, where there is no complete checkpoint, and for files of another run.
    """
    trained = find_trained(run, step)
    with nullcontext(digests) if digests is not None else EarlyDigests() as hashed:
        check_file(trained.checkpoint, trained.state, MODEL, hashed)
        weights = _load_one(trained.checkpoint / MODEL)
        check_used(trained.checkpoint, trained.state, MODEL, hashed)
    return write_hf_checkpoint(
        weights,
        trained.architecture,
        out,
        family=family,
        tokenizer=trained.tokenizer,
        dtype=dtype,
        eos_token_id=trained.end_of_document,
        balance_loss=balance_loss,
    )


def _refuse_unlike(architecture: Architecture, family: str) -> None:
    """UserError for what the config can say and transformers' module computes in another way, or not at all."""
    for index, layer in enumerate(architecture.iter_layers()):
        mixer, moe = layer.mixer, layer.feed_forward
        if isinstance(mixer, Attention | LatentAttention) and mixer.rope is not None:
            channels = mixer.head_dim if isinstance(mixer, Attention) else mixer.qk_rope_head_dim
            rotated = int(channels * mixer.rope.fraction)
            if rotated % 2:
                raise UserError(f"layers[{index}].mixer.rope: {rotated} channels rotate; {family} needs an even number")
        if isinstance(moe, MoE) and moe.router.selection_bias and moe.groups[0].count < 2 * moe.router.num_groups:
            raise UserError(
                f"layers[{index}].feed_forward.router.num_groups = {moe.router.num_groups}: {family} ranks groups by "
                f"their best two experts, and {moe.groups[0].count} experts are too few"
            )


def _write_tokenizer(partial: Path, path: Path, architecture: Architecture, tokens: Mapping[str, int | None]) -> None:
    """tokenizer.json and tokenizer_config.json."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"tokenizer: {path} cannot be read: {error}") from None
    if tokenizer.get_vocab_size() > architecture.vocab_size:
        raise UserError(
            f"tokenizer: {path} has {tokenizer.get_vocab_size()} tokens, the model {architecture.vocab_size}"
        )
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if architecture.max_context is not None:
        settings["model_max_length"] = architecture.max_context
    for name, token in tokens.items():
        if token is not None:
            text = tokenizer.id_to_token(token)
            if text is None:
                raise UserError(f"{name}: {token} is not in the tokenizer {path}")
            settings[name.removesuffix("_id")] = text
    shutil.copyfile(path, partial / "tokenizer.json")
    write_mapping(partial / "tokenizer_config.json", settings)


def _load(folder: Path) -> dict[str, Tensor]:
    """All tensors of model.safetensors, or of the shards that its index names."""
    tensors: dict[str, Tensor] = {}
    for path in initial_weight_files(folder):
        tensors |= _load_one(path)
    return tensors


def _load_one(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read as safetensors: {error}") from None
