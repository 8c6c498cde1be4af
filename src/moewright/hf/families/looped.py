"""Looped decoders: Ouro (ByteDance, arXiv 2510.25741), whose layers all are passed several times.

Source: modeling_ouro.py of ByteDance/Ouro-1.4B.
"""

from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import LARGEST_PASS_COUNT, Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, dense


def _read(c: Config) -> Architecture:
    n, passes, width = c.num_layers(), c.size("total_ut_steps"), c.size("hidden_size")
    if passes > LARGEST_PASS_COUNT:
        raise c.error("total_ut_steps", f"more than {LARGEST_PASS_COUNT} passes", passes)
    if "sliding_attention" in (c.per_layer("layer_types", n, "full_attention", "sliding_attention") or []):
        raise c.error("layer_types", "only full_attention is understood")
    mixer = attention(c, qkv_bias=False, output_bias=False, rope=c.rope())
    layer = Layer(mixer=mixer, feed_forward=dense(c), norms="sandwich", passes=passes)
    # A score after each pass of whether it is the last.
    gate = (
        OwnWeight(name="early_exit_gate", component="other", outputs=1, inputs=width, times=passes, use="matmul"),
        OwnWeight(name="early_exit_gate.bias", component="other", outputs=1),
    )
    return build(c, [layer] * n, own_weights=gate)


FAMILIES = {
    "ouro": Family(
        model_type="ouro",
        class_name="OuroForCausalLM",
        read=_read,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "layer_types": None},
        neutral=(
            "early_exit_threshold",
            "early_exit_step",
            "use_sliding_window",
            "sliding_window",
            "max_window_layers",
        ),
    ),
}
