"""The mixers that the lab trains: grouped-query attention and latent attention. Letters: `lab.model.transformer`."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moewright.architecture.mixers import Attention, LatentAttention, Rope, Window
from moewright.lab.model.operations import causal_attention, linear, parameter, rms_norm, rotate

LATENT_NORM_EPS = 1e-6
"""Of latent attention's two inner norms: DeepSeek's modules and all their descendants in transformers fix it, whatever
the config's rms_norm_eps (DeepseekV3Attention, transformers 5.23)."""


class AttentionContext(NamedTuple):
    """What attention of every layer knows of the sequences."""

    length: int
    """T."""
    document_ids: Tensor | None
    """(B, T): tokens look at their own document only. None: at every earlier token of the sequence."""

    def mask(self, window: Window | None, device: torch.device) -> Tensor | None:
        """(T, T) or (B, 1, T, T), True where a token may look; None: at itself and everything before it."""
        if self.document_ids is None and (window is None or window.size >= self.length):
            return None
        t = torch.arange(self.length, device=device)
        allowed = t[:, None] >= t[None, :]
        if window is not None and window.kind == "sliding":
            allowed = allowed & (t[:, None] - t[None, :] < window.size)
        elif window is not None:
            allowed = allowed & (t[:, None] // window.size == t[None, :] // window.size)
        if self.document_ids is None:
            return allowed
        return (allowed & (self.document_ids[:, :, None] == self.document_ids[:, None, :])).unsqueeze(1)


def attend(q_BHTC: Tensor, k_BGTC: Tensor, v_BGTC: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """Softmax attention -> (B, T, H, C of v). `mask` as `AttentionContext.mask` gives it: causal already."""
    if mask is None:
        return causal_attention(q_BHTC, k_BGTC, v_BGTC, scale)
    grouped = q_BHTC.shape[1] != k_BGTC.shape[1]
    out_BHTC = F.scaled_dot_product_attention(q_BHTC, k_BGTC, v_BGTC, attn_mask=mask, scale=scale, enable_gqa=grouped)
    return out_BHTC.transpose(1, 2)


def rotary_angles(
    rope: Rope, channels: int, length: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, n/2) for the n channels that rotate out of `channels`, computed in float64.

    Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of channel i with channel i + n/2, the layout of Llama
    and of most modules in transformers. Positions are those in the sequence; since only their differences matter, they
    need no reset where a new document begins.
    """
    rotated = int(channels * rope.fraction) // 2 * 2
    exponents = torch.arange(0, rotated, 2, dtype=torch.float64, device=device) / rotated
    turns = torch.outer(torch.arange(length, dtype=torch.float64, device=device), rope.theta**-exponents)
    return turns.cos().to(dtype), turns.sin().to(dtype)


class AttentionLayer(nn.Module):
    """Grouped-query attention (arXiv 2305.13245) of a spec in a model of width D."""

    def __init__(self, spec: Attention, width: int, norm_eps: float):
        super().__init__()
        self.spec, self.norm_eps = spec, norm_eps
        queries, keys = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
        self.q_proj, self.k_proj, self.v_proj = (parameter(rows, width) for rows in (queries, keys, keys))
        self.o_proj = parameter(width, queries)
        self.qkv_bias = parameter(queries + 2 * keys) if spec.qkv_bias else None
        self.o_bias = parameter(width) if spec.output_bias else None
        self.q_norm = self.k_norm = None
        if spec.qk_norm in ("per_head", "full"):
            full = spec.qk_norm == "full"
            self.q_norm = parameter(queries if full else spec.head_dim)
            self.k_norm = parameter(keys if full else spec.head_dim)
        self.g_proj = self.g_bias = None
        if spec.output_gate is not None:
            gates = queries if spec.output_gate == "per_channel" else spec.num_heads
            self.g_proj = parameter(gates, width)
            self.g_bias = parameter(gates) if spec.output_gate_bias else None

    def forward(self, x_BTD: Tensor, context: AttentionContext) -> Tensor:
        """-> (B, T, D)."""
        spec = self.spec
        queries, keys = self.q_proj.shape[0], self.k_proj.shape[0]
        qk_bias = v_bias = None
        if self.qkv_bias is not None:
            qk_bias, v_bias = self.qkv_bias.split((queries + keys, keys))
        # One product for q and k, and v apart: the norms keep what they read, and all that is one tensor with it.
        qk = linear(x_BTD, torch.cat((self.q_proj, self.k_proj)), qk_bias)
        q_BTHC, k_BTGC = (self._heads(part) for part in qk.split((queries, keys), dim=-1))
        q_BTHC, k_BTGC = self._normed(q_BTHC, self.q_norm), self._normed(k_BTGC, self.k_norm)
        v_BTGC = self._heads(linear(x_BTD, self.v_proj, v_bias))
        q_BHTC, k_BGTC, v_BGTC = q_BTHC.transpose(1, 2), k_BTGC.transpose(1, 2), v_BTGC.transpose(1, 2)
        if spec.rope is not None:
            cos, sin = rotary_angles(spec.rope, spec.head_dim, context.length, x_BTD.device, x_BTD.dtype)
            q_BHTC, k_BGTC = rotate(q_BHTC, cos, sin), rotate(k_BGTC, cos, sin)
        mask = context.mask(spec.window, x_BTD.device)
        q_BHTC, k_BGTC, v_BGTC = q_BHTC.contiguous(), k_BGTC.contiguous(), v_BGTC.contiguous()
        out_BTHC = attend(q_BHTC, k_BGTC, v_BGTC, spec.head_dim**-0.5, mask)
        if self.g_proj is not None:
            gate = torch.sigmoid(linear(x_BTD, self.g_proj, self.g_bias))
            out_BTHC = out_BTHC * gate.unflatten(-1, (spec.num_heads, -1))
        return linear(out_BTHC.flatten(2), self.o_proj, self.o_bias)

    def _heads(self, x: Tensor) -> Tensor:
        """(..., heads x C) -> (..., heads, C)."""
        return x.unflatten(-1, (-1, self.spec.head_dim))

    def _normed(self, x_BTHC: Tensor, weight: Tensor | None) -> Tensor:
        if self.spec.qk_norm == "full":  # over all heads at once
            return self._heads(rms_norm(x_BTHC.flatten(-2), weight, self.norm_eps))
        return x_BTHC if self.spec.qk_norm is None else rms_norm(x_BTHC, weight, self.norm_eps)


class LatentAttentionLayer(nn.Module):
    """Multi-head latent attention of a spec (DeepSeek-V2, arXiv 2405.04434, section 2.1), keys and values in full.

    L latent channels of keys and values, P channels of a head without position, O with rotary position.
    """

    def __init__(self, spec: LatentAttention, width: int):
        super().__init__()
        self.spec = spec
        heads, latent, rope = spec.num_heads, spec.kv_lora_rank, spec.qk_rope_head_dim
        queries = heads * (spec.qk_nope_head_dim + rope)
        self.kv_a_proj, self.kv_a_norm = parameter(latent + rope, width), parameter(latent)
        self.kv_b_proj = parameter(heads * (spec.qk_nope_head_dim + spec.v_head_dim), latent)
        self.o_proj = parameter(width, heads * spec.v_head_dim)
        self.q_a_proj = self.q_a_norm = None
        if spec.q_lora_rank is not None:
            self.q_a_proj, self.q_a_norm = parameter(spec.q_lora_rank, width), parameter(spec.q_lora_rank)
        self.q_proj = parameter(queries, spec.q_lora_rank or width)
        self.q_a_bias = parameter(spec.q_lora_rank) if spec.bias and spec.q_lora_rank else None
        self.kv_a_bias = parameter(latent + rope) if spec.bias else None
        self.o_bias = parameter(width) if spec.bias else None

    def forward(self, x_BTD: Tensor, context: AttentionContext) -> Tensor:
        """-> (B, T, D)."""
        spec = self.spec
        heads, nope, rope = spec.num_heads, spec.qk_nope_head_dim, spec.qk_rope_head_dim
        query = x_BTD
        if self.q_a_proj is not None:
            query = rms_norm(linear(x_BTD, self.q_a_proj, self.q_a_bias), self.q_a_norm, LATENT_NORM_EPS)
        q_BHTC = linear(query, self.q_proj).unflatten(-1, (heads, -1)).transpose(1, 2)
        latent = linear(x_BTD, self.kv_a_proj, self.kv_a_bias)
        latent_BTL, key_rope_BTO = latent.split((spec.kv_lora_rank, rope), dim=-1)
        kv = linear(rms_norm(latent_BTL, self.kv_a_norm, LATENT_NORM_EPS), self.kv_b_proj)
        kv_BHTC = kv.unflatten(-1, (heads, -1)).transpose(1, 2)
        k_BHTP, v_BHTC = kv_BHTC.split((nope, spec.v_head_dim), dim=-1)
        q_BHTP, q_BHTO = q_BHTC.split((nope, rope), dim=-1)
        k_B1TO = key_rope_BTO.unsqueeze(1)
        if spec.rope is not None:
            cos, sin = rotary_angles(spec.rope, rope, context.length, x_BTD.device, x_BTD.dtype)
            q_BHTO, k_B1TO = rotate(q_BHTO, cos, sin), rotate(k_B1TO, cos, sin)
        q_BHTC = torch.cat((q_BHTP, q_BHTO), dim=-1)
        k_BHTC = torch.cat((k_BHTP, k_B1TO.expand(-1, heads, -1, -1)), dim=-1)
        mask = context.mask(spec.window, x_BTD.device)
        out_BTHC = attend(q_BHTC, k_BHTC, v_BHTC.contiguous(), (nope + rope) ** -0.5, mask)
        return linear(out_BTHC.flatten(2), self.o_proj, self.o_bias)
