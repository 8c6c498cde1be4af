"""Mixers and feed-forwards in a few words, for the cells of tables."""

from functools import singledispatch

from moewright.architecture.feed_forwards import Dense, MoE
from moewright.architecture.mixers import (
    Attention,
    CompressedAttention,
    GatedDeltaNet,
    KimiDeltaAttention,
    LatentAttention,
    LightningAttention,
    Mamba,
    Mamba2,
    MixtureOfAttention,
    ShortConvolution,
    Window,
)
from moewright.records import Record


@singledispatch
def describe(part: Record) -> str:
    """A part in at most some thirty characters."""
    return type(part).__name__


@describe.register
def _attention(mixer: Attention) -> str:
    if mixer.num_kv_heads == mixer.num_heads:
        text = f"MHA {mixer.num_heads}x{mixer.head_dim}"
    else:
        text = f"GQA {mixer.num_heads}:{mixer.num_kv_heads}x{mixer.head_dim}"
    return text + _window(mixer.window)


def _window(window: Window | None) -> str:
    if window is None:
        return ""
    return f", {'window' if window.kind == 'sliding' else 'chunks'} {window.size}"


@describe.register
def _latent(mixer: LatentAttention) -> str:
    text = f"MLA {mixer.num_heads} heads, latent {mixer.kv_lora_rank}+{mixer.qk_rope_head_dim}"
    if mixer.indexer:
        text += f", sparse {mixer.indexer.top_k}"
    return text + _window(mixer.window)


@describe.register
def _compressed(mixer: CompressedAttention) -> str:
    rate = f", 1:{mixer.compress_rate} beyond" if mixer.compress_rate else ""
    return f"MQA {mixer.num_heads}x{mixer.head_dim}{_window(mixer.window)}{rate}"


@describe.register
def _mixture(mixer: MixtureOfAttention) -> str:
    return f"MoA {mixer.num_kv_heads}x{mixer.head_dim}, {mixer.top_k} of {mixer.num_experts}"


@describe.register
def _delta(mixer: GatedDeltaNet) -> str:
    return f"delta net {mixer.num_value_heads} heads {mixer.key_head_dim}x{mixer.value_head_dim}"


@describe.register
def _kimi(mixer: KimiDeltaAttention) -> str:
    return f"KDA {mixer.num_heads}x{mixer.head_dim}"


@describe.register
def _lightning(mixer: LightningAttention) -> str:
    return f"lightning {mixer.num_heads}x{mixer.head_dim}"


@describe.register
def _mamba(mixer: Mamba) -> str:
    return f"Mamba {mixer.inner_size}, state {mixer.state_size}"


@describe.register
def _mamba2(mixer: Mamba2) -> str:
    return f"Mamba-2 {mixer.num_heads}x{mixer.head_dim}, state {mixer.state_size}"


@describe.register
def _convolution(mixer: ShortConvolution) -> str:
    return f"convolution {mixer.kernel}"


@describe.register
def _dense(feed_forward: Dense) -> str:
    return f"dense {feed_forward.size}"


@describe.register
def _moe(moe: MoE) -> str:
    text = " + ".join(f"{group.top_k} of {group.count} x {group.expert_size}" for group in moe.groups)
    if moe.identity_experts:
        text += f" + {moe.identity_experts} idle"
    if moe.shared:
        count = f"{moe.shared.count} x " if moe.shared.count > 1 else ""
        text += f" + shared {count}{moe.shared.expert_size}"
    if moe.parallel_dense:
        text += f" + dense {moe.parallel_dense.size}"
    return text
