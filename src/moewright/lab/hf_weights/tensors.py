"""The tensors of a checkpoint from the lab's, and the other way round."""

from collections.abc import Mapping

import torch
from torch import Tensor

from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.lab.hf_weights.names import EMBEDDING, FUSED_MARK, HEAD, lab_shapes, places

# Names that one line can hold.
_LISTED = 3


def to_hf_tensors(
    model_state: Mapping[str, Tensor], architecture: Architecture, family: str, *, rope_interleave: bool = True
) -> dict[str, Tensor]:
    """The tensors of a checkpoint of `family`, by name, from the state of the lab's model.

    The family must express the architecture (`Architecture.to_hf` says whether); names and shapes are checked here.
    Experts stand one by one, as in published files. The result may share memory with `model_state`. `rope_interleave`
    is the config's key of deepseek_v3, true where it is absent. Raises UserError for tensors that are missing, not of
    the model, or misshapen.
    """
    check_tensors(model_state, lab_shapes(architecture), "the model's state")
    return {
        place.name: torch.zeros(place.shape) if place.lab is None else model_state[place.lab][place.at].contiguous()
        for place in places(architecture, family, fused=False, interleaved=rope_interleave)
    }


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
    if architecture.tie_embeddings and HEAD in kept:
        head = kept.pop(HEAD)
        if EMBEDDING in kept and not torch.equal(head, kept[EMBEDDING]):
            raise UserError(f"{HEAD}: the config ties it to {EMBEDDING}, and the checkpoint holds two unlike tensors")
    fused = any(name.endswith(FUSED_MARK) for name in kept)
    found = [
        place
        for place in places(architecture, family, fused=fused, interleaved=rope_interleave)
        if place.lab is not None
    ]
    check_tensors(kept, {place.name: place.shape for place in found}, "the checkpoint")
    odd = next((name for name, tensor in kept.items() if not _is_plain(tensor)), None)
    if odd is not None:
        raise UserError(f"{odd}: stored as {str(kept[odd].dtype).removeprefix('torch.')}; convert it to bf16 or fp32")
    wide = torch.float64 if any(tensor.dtype == torch.float64 for tensor in kept.values()) else torch.float32
    state = {name: torch.empty(shape, dtype=wide) for name, shape in lab_shapes(architecture).items()}
    for place in found:
        assert place.lab is not None
        state[place.lab][place.at] = kept[place.name].to(wide)
    return state


def check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
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
