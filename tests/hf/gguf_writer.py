"""GGUF files by their description (ggml-org/ggml, docs/gguf.md): modules of transformers under llama.cpp's names."""

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

_KINDS: dict[type, tuple[int, str]] = {bool: (7, "?"), int: (4, "I"), float: (6, "f")}
# gguf-py's tensor_mapping.py, the names of the families that are tested.
_NAMES = (
    (r"model\.embed_tokens\.weight", "token_embd.weight"),
    (r"model\.norm\.weight", "output_norm.weight"),
    (r"lm_head\.weight", "output.weight"),
    (r"input_layernorm", "attn_norm"),
    (r"post_attention_layernorm", "ffn_norm"),
    (r"self_attn\.([qkv])_norm", r"attn_\1_norm"),
    (r"self_attn\.q_a_proj", "attn_q_a"),
    (r"self_attn\.q_b_proj", "attn_q_b"),
    (r"self_attn\.q_a_layernorm", "attn_q_a_norm"),
    (r"self_attn\.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    (r"self_attn\.kv_a_layernorm", "attn_kv_a_norm"),
    (r"self_attn\.kv_b_proj", "attn_kv_b"),
    (r"self_attn\.([qkv])_proj", r"attn_\1"),
    (r"self_attn\.o_proj", "attn_output"),
    (r"self_attn\.sinks", "attn_sinks.weight"),
    (r"mlp\.shared_experts?\.(gate|up|down)_proj", r"ffn_\1_shexp"),
    (r"mlp\.shared_expert_gate", "ffn_gate_inp_shexp"),
    (r"mlp\.experts\.gate_up_proj$", "ffn_gate_up_exps.weight"),
    (r"mlp\.experts\.gate_up_proj_bias$", "ffn_gate_up_exps.bias"),
    (r"mlp\.experts\.down_proj$", "ffn_down_exps.weight"),
    (r"mlp\.experts\.down_proj_bias$", "ffn_down_exps.bias"),
    (r"mlp\.(gate|router)\.", "ffn_gate_inp."),
    (r"mlp\.(gate|up|down)_proj", r"ffn_\1"),
    (r"model\.layers\.(\d+)\.", r"blk.\1."),
)


def llama_cpp_name(name: str) -> str:
    for words, other in _NAMES:
        name = re.sub(words, other, name)
    return name


def write(path: Path, metadata: Mapping[str, Any], module: torch.nn.Module) -> None:
    """A file of a module's parameters in F16, all zero, and of these keys."""
    tensors = {llama_cpp_name(name): tuple(value.shape) for name, value in module.named_parameters()}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _text(key) + _value(value)
    offset = 0
    for name, shape in tensors.items():
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], 1, offset)
        offset += -(-2 * torch.Size(shape).numel() // 32) * 32
    path.write_bytes(head + bytes(-len(head) % 32 + offset))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        items = b"".join(_text(item) if isinstance(item, str) else struct.pack("<I", item) for item in value)
        return struct.pack("<IIQ", 9, 8 if isinstance(value[0], str) else 4, len(value)) + items
    kind, letter = _KINDS[type(value)]
    return struct.pack(f"<I{letter}", kind, value)
