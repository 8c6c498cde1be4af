"""What the lab trains, and how much of it at a time: a refusal that names the field of every other one. No torch."""

from collections.abc import Iterator

from moewright.architecture.counts import prediction_layers
from moewright.architecture.feed_forwards import MoE, NoFeedForward
from moewright.architecture.mixers import Attention, LatentAttention
from moewright.architecture.spec import Architecture, Layer
from moewright.errors import UserError

LOGIT_ROWS = 512
"""Tokens whose logits exist at a time. 512 x 50,000 fp32 logits are 102 MB; fewer make the products less efficient."""


def check_trainable(architecture: Architecture) -> None:
    """Raise UserError naming the first part that the lab cannot train."""
    places = [(f"layers[{index}]", layer) for index, layer in enumerate(architecture.iter_layers())]
    if architecture.mtp_layers:
        places += [(f"mtp_block[{index}]", layer) for index, layer in enumerate(prediction_layers(architecture))]
    for where, layer in places:
        for field in _unsupported(layer):
            raise UserError(f"{where}.{field}: the lab does not train it; it trains attention, MLA, and experts")
    if architecture.hyper_connections:
        raise UserError(f"hyper_connections = {architecture.hyper_connections}: the lab trains one residual stream")
    if architecture.residual_vectors:
        raise UserError(f"residual_vectors = {architecture.residual_vectors}: the lab adds a half's output as it is")
    if architecture.own_weights:
        raise UserError(f"own_weights: the lab has no {architecture.own_weights[0].name}")
    if architecture.lm_head_rows is not None:
        raise UserError(f"lm_head_rows = {architecture.lm_head_rows}: the lab's head scores the whole vocabulary")
    if architecture.rope_frequencies:
        raise UserError(
            f"rope_frequencies = {architecture.rope_frequencies}: the lab's rotary embedding has none to learn"
        )
    if architecture.per_layer_input is not None:
        raise UserError("per_layer_input: the lab gives a token one embedding")
    if architecture.attention_residuals:
        raise UserError(f"attention_residuals = {architecture.attention_residuals}: the lab trains plain residuals")
    if architecture.mtp_layers and architecture.mtp_norms != 3:
        raise UserError(f"mtp_norms = {architecture.mtp_norms}: the lab's prediction blocks have three norms")


def _unsupported(layer: Layer) -> Iterator[str]:
    mixer, feed_forward = layer.mixer, layer.feed_forward
    for field in ("mixer_norm_gate", "feed_forward_norm_gate"):
        if getattr(layer, field) is not None:
            yield f"{field} = {getattr(layer, field)}"
    for field in ("shares_weights", "one_residual"):
        if getattr(layer, field):
            yield f"{field} = true"
    if layer.own_weights:
        yield f"own_weights[0].name = {layer.own_weights[0].name}"
    if layer.own_state:
        yield f"own_state = {layer.own_state}"
    if layer.passes > 1:
        yield f"passes = {layer.passes}"
    if layer.norms == "half_weighted_sandwich":
        yield f"norms = {layer.norms}"
    if not isinstance(mixer, Attention | LatentAttention):
        yield f"mixer.kind = {mixer.kind}"
        return
    if mixer.rope is not None and mixer.rope.scaling is not None:
        yield "mixer.rope.scaling"
    if isinstance(mixer, Attention):
        if mixer.value_channels != mixer.head_dim:
            yield f"mixer.value_head_dim = {mixer.value_head_dim}"
        if mixer.key_values != "own":
            yield f"mixer.key_values = {mixer.key_values}"
        if mixer.output_gate_bias == "per_head":
            yield "mixer.output_gate_bias = per_head"
        for field in ("value_norm", "reads_embedding"):
            if getattr(mixer, field):
                yield f"mixer.{field} = true"
        for field in ("indexer", "dynamic_mask", "q_rank"):
            if getattr(mixer, field) is not None:
                yield f"mixer.{field}"
    if mixer.sinks:
        yield "mixer.sinks = true"
    if isinstance(mixer, LatentAttention):
        for field in ("indexer", "output_gate"):
            if getattr(mixer, field) is not None:
                yield f"mixer.{field}"
        if mixer.key_values != "own":
            yield f"mixer.key_values = {mixer.key_values}"
        if not mixer.qk_rope_head_dim:
            yield "mixer.qk_rope_head_dim = 0"
        for field in ("rope_key_norm", "position_scaling", "gate_from_query"):
            if getattr(mixer, field):
                yield f"mixer.{field} = true"
        for field in ("num_kv_heads", "num_noise_heads"):
            if getattr(mixer, field):
                yield f"mixer.{field} = {getattr(mixer, field)}"
    if isinstance(feed_forward, NoFeedForward):
        yield "feed_forward.kind = none"
    elif feed_forward.activation in ("situ", "xielu", "poly_norm"):
        yield f"feed_forward.activation = {feed_forward.activation}"
    if isinstance(feed_forward, MoE):
        if feed_forward.experts != "own":
            yield f"feed_forward.experts = {feed_forward.experts}"
        if feed_forward.router.kind != "learned":
            yield f"feed_forward.router.kind = {feed_forward.router.kind}"
        if feed_forward.image_group is not None:
            yield "feed_forward.image_group"
        if feed_forward.router.input_size is not None:
            yield f"feed_forward.router.input_size = {feed_forward.router.input_size}"
        if feed_forward.router.skip_choices:
            yield f"feed_forward.router.skip_choices = {feed_forward.router.skip_choices}"
        if feed_forward.shared is not None and feed_forward.shared.combine == "scored":
            yield "feed_forward.shared.combine = scored"
        for field in ("input_scale", "expert_scale"):
            if getattr(feed_forward.router, field):
                yield f"feed_forward.router.{field} = true"
        for field in ("expert_bias", "branch_norms", "output_norm", "expert_output_norm"):
            if getattr(feed_forward, field):
                yield f"feed_forward.{field} = true"
        router = feed_forward.router
        reachable = feed_forward.groups[0].count // router.num_groups * router.top_groups
        if feed_forward.groups[0].top_k > reachable and router.num_groups > 1:
            yield f"feed_forward.groups[0].top_k = {feed_forward.groups[0].top_k} of {reachable} within top_groups"
        if feed_forward.identity_experts:
            yield f"feed_forward.identity_experts = {feed_forward.identity_experts}"
