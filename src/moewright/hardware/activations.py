"""What a layer keeps for its backward pass, in bytes for each token.

Counted as in Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1): every tensor that a backward pass needs, in
2-byte formats. Theirs is a dense GPT layer with dropout, 34 d bytes for each token besides the scores. Extended here:

- A projection's output is kept where something nonlinear consumes it (queries, keys, values, gates); a projection back
  into the residual, or out of a low rank, keeps its input. The layer's normed input is kept once for each sublayer, and
  so is what each norm reads. Dropout is gone, and scores are not kept: fused attention recomputes them (FlashAttention,
  arXiv 2205.14135). For d_ff = 4 d without gates and full heads that gives 2d + 2d (norms' inputs), 2d + 8d (attention:
  input, queries, keys, values, output) and 2d + 16d (feed-forward): 32 d, which is theirs less the two dropout masks.
- Norms of queries and keys keep what they read, beside the normed queries and keys that attention keeps.
- A routed expert works on copies of its tokens. Each token keeps, for each of its K experts, the copy (d), what the
  expert keeps (as a feed-forward of expert_size), and its output before it is weighed (d); and for the router the
  scores and their softmax in fp32. Routing is balanced, so a device gets as many copies as it sends, whatever the
  expert-parallel degree; `imbalance` multiplies the copies where it is not.
"""

from typing import Any

from moewright.architecture.feed_forwards import MoE
from moewright.architecture.spec import Architecture, Layer
from moewright.architecture.weights import Weight, layer_weights

BYTES = 2  # bf16
FP32_BYTES = 4
# Projections back into the residual: their inputs are kept, their outputs are not.
_TO_RESIDUAL = ("o_proj", "o_b_proj", "out_proj", "output_experts", "down_proj")


def layer_activation_bytes_per_token(
    architecture: Architecture,
    layer: Layer,
    imbalance: float = 1.0,
    *,
    number_bytes: int = BYTES,
    recompute_experts: bool = False,
) -> Any:
    """Bytes that one layer keeps for one token, attention scores recomputed. Numbers or columns.

    `number_bytes` is the width of an activation; scores of routers are fp32 whatever it is.
    """
    d = architecture.hidden_size
    weights = layer_weights(layer, d, architecture.norm, architecture.hyper_connections)
    products = [weight for weight in weights if weight.use in ("matmul", "convolution")]
    kept = sum(_kept(weight, d, imbalance, recompute_experts) for weight in products)
    norms = sum(weight.params for weight in weights if weight.component == "norm") / (
        2 if architecture.norm.bias else 1
    )
    if any(weight.name == "qk_norm" for weight in weights):
        kept = kept + sum(weight.outputs for weight in products if weight.name in ("q_proj", "k_proj"))
    inputs = 2 * d  # of the two sublayers, after their norms
    total = number_bytes * (kept + norms + inputs)
    feed_forward = layer.feed_forward
    if isinstance(feed_forward, MoE):
        copies_and_outputs = 0 if recompute_experts else imbalance * feed_forward.top_k * 2 * d
        scores = 2 * (feed_forward.num_experts + feed_forward.identity_experts)
        total = total + number_bytes * copies_and_outputs + FP32_BYTES * scores
    return total


def _kept(weight: Weight, d: Any, imbalance: float, recompute_experts: bool) -> Any:
    if weight.component == "router":  # counted in fp32 with the softmax
        return 0
    if recompute_experts and weight.component == "routed_experts" and weight.name.endswith(_TO_RESIDUAL):
        return 0
    copies = weight.active * (imbalance if weight.component == "routed_experts" else 1)
    if weight.name.endswith(_TO_RESIDUAL):
        return copies * weight.inputs
    if weight.use == "convolution":
        return copies * weight.outputs
    from_low_rank = weight.inputs * (weight.inputs != d)
    return copies * (weight.outputs + from_low_rank)


def recomputed_layer_bytes_per_token(architecture: Architecture, number_bytes: int = BYTES) -> Any:
    """Bytes that one layer keeps for one token where everything but its input is computed again."""
    return number_bytes * architecture.hidden_size
