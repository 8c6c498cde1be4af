"""LLaMA-MoE v1 (arXiv 2406.16554): Llama 2's feed-forwards cut into experts, behind a gate of two layers.

Source: modeling_llama_moe_hf.py of pjlab-sys4nlp/llama-moe.
"""

from typing import Any

from moewright.architecture.feed_forwards import ExpertGroup, MoE, Router
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build


def _sizes(c: Config, n: int, number: int) -> list[tuple[int, ...]]:
    """The width of each expert of each layer; absent: the dense feed-forward's, in equal parts."""
    stated = c.raw("size_experts")
    if stated is None:
        width = c.size("intermediate_size")
        if width % number:
            raise c.error("num_experts", f"does not divide intermediate_size ({width})", number)
        return [(width // number,) * number] * n
    rows = stated if isinstance(stated, list) else []
    if len(rows) != n or not all(_is_row(row, number) for row in rows):
        raise c.error("size_experts", f"expected {n} lists of {number} positive sizes", stated)
    return [tuple(row) for row in rows]


def _is_row(row: Any, number: int) -> bool:
    return isinstance(row, list) and len(row) == number and all(type(size) is int and size > 0 for size in row)


def _read(c: Config) -> Architecture:
    n, width, number = c.num_layers(), c.size("hidden_size"), c.size("num_experts")
    mixer = attention(c, qkv_bias=False, output_bias=False, rope=c.rope())
    chosen = c.top_k("num_selects", "num_experts")
    c.fixed("gate_type", "TopKBalancedNoisyGate")
    c.fixed("calculator_type", "UniversalCalculator")
    own = []
    if c.flag("gate_add_noise"):  # used in training only, but stored
        own.append(OwnWeight(name="router.noise", component="router", outputs=number, inputs=width, times=0))
    through = c.choice("gate_network", "linear", "mlp") == "mlp"
    if through:
        own.append(OwnWeight(name="router.down", component="router", outputs=number, inputs=width, use="matmul"))
    made: dict[tuple[int, ...], Layer] = {}
    layers = []
    for sizes in _sizes(c, n, number):
        if len(set(sizes)) > 1:
            raise c.error("size_experts", "experts of several widths in one layer are not understood", list(sizes))
        if sizes not in made:
            moe = MoE(
                groups=(ExpertGroup(count=number, expert_size=sizes[0], top_k=chosen),),
                router=Router(score_after_top_k=True, normalize=True, input_size=number if through else None),
                activation=c.activation(),
            )
            made[sizes] = Layer(mixer=mixer, feed_forward=moe, own_weights=tuple(own))
        layers.append(made[sizes])
    return build(c, layers)


FAMILIES = {
    "llama_moe": Family(
        model_type="llama_moe",
        class_name="LlamaMoEForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": None,
            "size_experts": None,
            "gate_network": "mlp",
            "gate_add_noise": True,
        },
        neutral=(
            *("gate_use_balance", "gate_balance_loss_weight", "gate_use_softmax", "gate_noise_epsilon"),
            *("score_scale_factor", "multiply_gate_scores", "add_weight_norm", "drop_tokens", "dropped_padding"),
            *("capacity_factor", "intermediate_size", "gates", "moe_type"),
        ),
    )
}
