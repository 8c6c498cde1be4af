"""The mixers that the lab trains: grouped-query attention and latent attention.

B batch, T tokens, H query heads, G key-value heads, D channels of a head, d width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from moewright.architecture.mixers import Attention, LatentAttention, Window
from moewright.lab.model.causal import causal_attention
from moewright.lab.model.linear import linear, linears
from moewright.lab.model.norm import rms_norm
from moewright.lab.model.rotary import angles, rotate

LATENT_NORM_EPS = 1e-6
"""Of latent attention's two inner norms: DeepSeek's modules and all their descendants in transformers fix it, whatever
the config's rms_norm_eps (DeepseekV3Attention, transformers 5.23)."""


class View(NamedTuple):
    """What every layer of a forward pass may look at."""

    length: int
    document_ids: Tensor | None
    """(B, T): tokens look at their own document only. None: at every earlier token of the sequence."""

    def allowed(self, window: Window | None, device: torch.device) -> Tensor | None:
        """Mask (T, T) or (B, 1, T, T), True where a token may look; None: everywhere before it."""
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


def weight(*shape: int) -> nn.Parameter:
    """A parameter of this shape, not yet initialised."""
    return nn.Parameter(torch.empty(*shape))


class AttentionLayer(nn.Module):
    """Grouped-query attention of a spec in a model of width d."""

    def __init__(self, spec: Attention, d: int, norm_eps: float):
        super().__init__()
        self.spec, self.norm_eps = spec, norm_eps
        queries, keys = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
        self.q_proj, self.k_proj, self.v_proj = weight(queries, d), weight(keys, d), weight(keys, d)
        self.o_proj = weight(d, queries)
        self.qkv_bias = weight(queries + 2 * keys) if spec.qkv_bias else None
        self.o_bias = weight(d) if spec.output_bias else None
        self.q_norm = self.k_norm = None
        if spec.qk_norm in ("per_head", "full"):
            full = spec.qk_norm == "full"
            self.q_norm = weight(queries if full else spec.head_dim)
            self.k_norm = weight(keys if full else spec.head_dim)
        self.g_proj = self.g_bias = None
        if spec.output_gate is not None:
            gates = queries if spec.output_gate == "per_channel" else spec.num_heads
            self.g_proj = weight(gates, d)
            self.g_bias = weight(gates) if spec.output_gate_bias else None

    def forward(self, x: Tensor, view: View) -> Tensor:
        """x (B, T, d) -> (B, T, d)."""
        spec = self.spec
        batch, length, _ = x.shape
        queries, keys = self.q_proj.shape[0], self.k_proj.shape[0]
        qk_bias = v_bias = None
        if self.qkv_bias is not None:
            qk_bias, v_bias = self.qkv_bias.split((queries + keys, keys))
        # Not v with them: the norms keep what they read, and with it all that was computed as one tensor.
        qk = linears(x, [self.q_proj, self.k_proj], qk_bias)
        q, k = (self._heads(part) for part in qk.split((queries, keys), dim=-1))
        q, k = self._normed(q, self.q_norm), self._normed(k, self.k_norm)
        v = self._heads(linear(x, self.v_proj, v_bias))
        if spec.rope is not None:
            cos, sin = angles(spec.rope, spec.head_dim, length, x.device, x.dtype)
            q, k = rotate(q.transpose(1, 2), cos, sin), rotate(k.transpose(1, 2), cos, sin)
        else:
            q, k = q.transpose(1, 2).contiguous(), k.transpose(1, 2).contiguous()
        allowed = view.allowed(spec.window, x.device)
        out = causal_attention(q, k, v.transpose(1, 2).contiguous(), spec.head_dim**-0.5, allowed)
        if self.g_proj is not None:
            gate = torch.sigmoid(linear(x, self.g_proj, self.g_bias))
            out = out * gate.view(batch, length, spec.num_heads, -1)
        return linear(out.reshape(batch, length, -1), self.o_proj, self.o_bias)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.spec.head_dim))

    def _normed(self, x: Tensor, norm_weight: Tensor | None) -> Tensor:
        if self.spec.qk_norm == "full":
            return self._heads(rms_norm(x.flatten(-2), norm_weight, self.norm_eps))
        return x if self.spec.qk_norm is None else rms_norm(x, norm_weight, self.norm_eps)


class LatentAttentionLayer(nn.Module):
    """Multi-head latent attention of a spec (DeepSeek-V2, arXiv 2405.04434, section 2.1), keys and values in full."""

    def __init__(self, spec: LatentAttention, d: int):
        super().__init__()
        self.spec = spec
        heads, latent, rope = spec.num_heads, spec.kv_lora_rank, spec.qk_rope_head_dim
        queries = heads * (spec.qk_nope_head_dim + rope)
        self.kv_a_proj, self.kv_a_norm = weight(latent + rope, d), weight(latent)
        self.kv_b_proj = weight(heads * (spec.qk_nope_head_dim + spec.v_head_dim), latent)
        self.o_proj = weight(d, heads * spec.v_head_dim)
        self.q_a_proj = self.q_a_norm = None
        if spec.q_lora_rank is not None:
            self.q_a_proj, self.q_a_norm = weight(spec.q_lora_rank, d), weight(spec.q_lora_rank)
        self.q_proj = weight(queries, spec.q_lora_rank or d)
        self.q_a_bias = weight(spec.q_lora_rank) if spec.bias and spec.q_lora_rank else None
        self.kv_a_bias = weight(latent + rope) if spec.bias else None
        self.o_bias = weight(d) if spec.bias else None

    def forward(self, x: Tensor, view: View) -> Tensor:
        """x (B, T, d) -> (B, T, d)."""
        spec = self.spec
        nope, rope, heads = spec.qk_nope_head_dim, spec.qk_rope_head_dim, spec.num_heads
        batch, length, _ = x.shape
        query = x
        if self.q_a_proj is not None:
            query = rms_norm(linear(x, self.q_a_proj, self.q_a_bias), self.q_a_norm, LATENT_NORM_EPS)
        q = linear(query, self.q_proj).view(batch, length, heads, -1).transpose(1, 2)
        latent, key_rope = linear(x, self.kv_a_proj, self.kv_a_bias).split((spec.kv_lora_rank, rope), dim=-1)
        kv = linear(rms_norm(latent, self.kv_a_norm, LATENT_NORM_EPS), self.kv_b_proj)
        k, v = kv.view(batch, length, heads, -1).transpose(1, 2).split((nope, spec.v_head_dim), dim=-1)
        q_rope, k_rope = q[..., nope:], key_rope.unsqueeze(1)
        if spec.rope is not None:
            cos, sin = angles(spec.rope, rope, length, x.device, x.dtype)
            q_rope, k_rope = rotate(q_rope, cos, sin), rotate(k_rope, cos, sin)
        q = torch.cat((q[..., :nope], q_rope), dim=-1)
        k = torch.cat((k, k_rope.expand(-1, heads, -1, -1)), dim=-1)
        allowed = view.allowed(spec.window, x.device)
        out = causal_attention(q, k, v.contiguous(), (nope + rope) ** -0.5, allowed)
        return linear(out.reshape(batch, length, -1), self.o_proj, self.o_bias)
