"""Llama-Nemotron Super and Ultra (NVIDIA, arXiv 2505.00949): Llama's blocks with unlike halves, found by search."""

from typing import Any

from moewright.architecture.feed_forwards import Dense, FeedForward, NoFeedForward
from moewright.architecture.mixers import Attention, Mixer, NoMixer
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, build

_MULTIPLE = 256
"""Feed-forwards are as wide as the next multiple (DeciLM's modeling file; vLLM's nemotron_nas.py)."""


def _read(c: Config) -> Architecture:
    n, blocks = c.num_layers(), c.raw("block_configs")
    if not isinstance(blocks, list) or len(blocks) != n or not all(isinstance(block, dict) for block in blocks):
        raise c.error("block_configs", f"expected a list of {n} mappings, one for each layer")
    made: dict[str, Layer] = {}
    layers = []
    for index, block in enumerate(blocks):
        mixer, feed_forward = _mixer(c, index, _half(c, index, block, "attention")), _feed_forward(c, index, block)
        if isinstance(mixer, NoMixer) and isinstance(feed_forward, NoFeedForward):
            c.warn("block_configs: layers without either half have no weights, and are left out")
            continue
        layer = Layer(mixer=mixer, feed_forward=feed_forward)
        layers.append(made.setdefault(layer.model_dump_json(), layer))
    if not layers:
        raise c.error("block_configs", "no layer has a half")
    return build(c, layers)


def _half(c: Config, index: int, block: dict[str, Any], name: str) -> dict[str, Any]:
    half = block.get(name)
    if not isinstance(half, dict):
        raise c.error(f"block_configs[{index}].{name}", "expected a mapping", half)
    for key in ("replace_with_linear", "sparsify", "num_sink_tokens", "window_length", "unshifted_sink"):
        if half.get(key):
            raise c.error(f"block_configs[{index}].{name}.{key}", "only null or false is understood", half[key])
    return half


def _mixer(c: Config, index: int, half: dict[str, Any]) -> Mixer:
    if half.get("no_op"):
        return NoMixer()
    heads, group = c.size("num_attention_heads"), half.get("n_heads_in_group")
    if type(group) is not int or group < 1 or heads % group:
        raise c.error(f"block_configs[{index}].attention.n_heads_in_group", f"does not divide {heads} heads", group)
    bias = c.flag("attention_bias")
    return Attention(
        num_heads=heads,
        num_kv_heads=heads // group,
        head_dim=c.head_dim(),
        qkv_bias=bias,
        output_bias=bias,
        rope=c.rope(),
    )


def _feed_forward(c: Config, index: int, block: dict[str, Any]) -> FeedForward:
    half = _half(c, index, block, "ffn")
    if half.get("no_op"):
        return NoFeedForward()
    size = half.get("intermediate_size")
    if size is None:
        times = c.number_at(f"block_configs[{index}].ffn.ffn_mult", half.get("ffn_mult"))
        size = -(-int(2 * times * c.size("hidden_size") / 3) // _MULTIPLE) * _MULTIPLE
    size = c.size_at(f"block_configs[{index}].ffn.intermediate_size", size)
    return Dense(size=size, activation=c.activation(), bias=c.flag("mlp_bias"))


FAMILIES = {
    "nemotron-nas": Family(
        model_type="nemotron-nas",
        class_name="DeciLMForCausalLM",
        read=_read,
        reads_blocks=True,
        defaults={**COMMON_DEFAULTS, "mlp_bias": False},
        neutral=("intermediate_size", "num_key_value_heads", "max_window_layers"),
    )
}
