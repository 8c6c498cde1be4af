"""What one decoding step moves in the cache, by hand."""

from typing import Any

import pytest

from moewright.architecture import Architecture
from moewright.architecture.cache import cache_bytes_per_sequence, layer_cache_bytes_moved_per_step
from moewright.architecture.feed_forwards import Dense
from moewright.architecture.mixers import Attention, GatedDeltaNet, Indexer, LatentAttention, Mixer, Window
from moewright.architecture.spec import Layer
from moewright.hardware.roofline import step_flops

LATENT: dict[str, Any] = {
    "num_heads": 2,
    "q_lora_rank": 8,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
}


@pytest.mark.parametrize(
    ("mixer", "moved", "flops"),
    [
        # Keys and values of two heads of 8, all of 100 tokens; scores and values of four heads.
        (Attention(num_heads=4, num_kv_heads=2, head_dim=8), 100 * 2 * 2 * 8 * 2, 100 * 4 * 4 * 8),
        (Attention(num_heads=4, num_kv_heads=2, head_dim=8, window=Window(size=30)), 30 * 64, 30 * 128),
        # The latent and the rotary key; in the latent space keys are 16 + 4 wide and values 16.
        (LatentAttention(**LATENT), 100 * 20 * 2, 100 * 2 * 2 * (20 + 16)),
        # Of the latents only the chosen ten; the index (3 wide, one head) of all.
        (
            LatentAttention(**LATENT, indexer=Indexer(num_heads=1, head_dim=3, top_k=10)),
            (10 * 20 + 100 * 3) * 2,
            10 * 2 * 2 * (20 + 16) + 100 * 2 * 3,
        ),
        # A state of two heads, 4 x 4 in fp32, and a convolution's four inputs in bf16, read and written.
        (
            GatedDeltaNet(num_key_heads=2, key_head_dim=4, num_value_heads=2, value_head_dim=4, conv_kernel=4),
            2 * (2 * 4 * 4 * 4 + 3 * 8 * 4 * 2),
            6 * 2 * 4 * 4,
        ),
    ],
)
def test_one_step(mixer: Mixer, moved: int, flops: float) -> None:
    layer = Layer(mixer=mixer, feed_forward=Dense(size=16))
    model = Architecture(vocab_size=10, hidden_size=12, layers=(layer,))
    assert layer_cache_bytes_moved_per_step(model, layer, 100) == moved
    assert step_flops(mixer, 100) == pytest.approx(flops)
    assert step_flops(mixer, 1) > 0
    if mixer.kind == "attention":  # what is read is what is kept
        assert cache_bytes_per_sequence(model, 100) == moved
