"""Inkling, Inkling 2 and Inkling 2 Mini (Thinking Machines, 2026), the language models, by transformers 5.24's modules.

Learned profiles of distance stand for rotation, and short convolutions follow keys, values and both halves. The second
generation has residuals by attention, its Mini layers that run several times.
"""

from moewright.architecture.feed_forwards import Dense, MoE, Router
from moewright.architecture.mixers import Attention, Window
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import LARGEST_PASS_COUNT, Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, build, dense, experts, prediction, shared_of_routed_size, without


def _mixers(c: Config, second: bool) -> dict[bool, Attention]:
    """By whether the layer has a window; of the second generation queries and keys are clipped, and values normed."""
    size = c.size("sliding_window_size")

    def made(before: str, window: Window | None) -> Attention:
        return Attention(
            num_heads=c.size(before + "num_attention_heads"),
            num_kv_heads=c.kv_heads(before + "num_attention_heads", before + "num_key_value_heads"),
            head_dim=c.size(before + "head_dim"),
            qk_norm=None if second else "per_head",
            value_norm=second,
            output_gate="per_channel" if second else None,
            window=window,
        )

    return {True: made("swa_", Window(size=size)), False: made("", None)}


def _profiles(c: Config, mixer: Attention) -> list[OwnWeight]:
    """A bias for each distance: every head mixes the same profiles by a few channels of its own."""
    channels, extent = c.size("d_rel"), mixer.window.size if mixer.window else c.size("rel_extent")
    d = c.size("hidden_size")
    return [
        OwnWeight(
            name="relative.proj", component="attention", outputs=mixer.num_heads * channels, inputs=d, use="matmul"
        ),
        OwnWeight(
            name="relative.profiles",
            component="attention",
            outputs=extent,
            inputs=channels,
            times=mixer.num_heads,
            use="matmul",
        ),
    ]


def _convolution(name: str, component: str, channels: int, kernel: int) -> OwnWeight:
    return OwnWeight.from_dict(
        {"name": name, "component": component, "outputs": channels, "inputs": kernel, "use": "convolution"}
    )


def _convolutions(c: Config, mixer: Attention, dynamic: bool = False) -> tuple[list[OwnWeight], int]:
    """Of keys, of values and of both halves' outputs, and the inputs of theirs that a sequence keeps."""
    d, kernel, width = c.size("hidden_size"), c.size("conv_kernel_size"), mixer.num_kv_heads * mixer.head_dim
    weights = [
        _convolution("k_convolution", "attention", width, kernel),
        _convolution("v_convolution", "attention", width, kernel),
        _convolution("mixer_convolution", "other", d, kernel),
        _convolution("feed_forward_convolution", "other", d, kernel),
    ]
    if dynamic:  # each token adds taps to those of keys and values, the same for a head's channels
        weights.append(
            OwnWeight(
                name="convolution_taps",
                component="attention",
                outputs=mixer.num_kv_heads * kernel,
                inputs=d,
                copies=2,
                use="matmul",
            )
        )
    return weights, kernel * (2 * width + 2 * d)


def _read(c: Config) -> Architecture:
    n, d = c.num_layers(), c.size("hidden_size")
    mixers = _mixers(c, second=False)
    kinds = c.per_layer("mlp_layer_types", n, "dense", "sparse")
    if kinds is None:
        kinds = ["dense" if index < c.count("dense_mlp_idx") else "sparse" for index in range(n)]
    experts_size = "intermediate_size" if c.has("dense_intermediate_size") else "moe_intermediate_size"
    dense_size = "dense_intermediate_size" if c.has("dense_intermediate_size") else "intermediate_size"
    moe = experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size=experts_size,
        router=Router(score="sigmoid", normalize=True, scale=c.number("route_scale"), selection_bias="buffer"),
        shared=shared_of_routed_size(c, "n_shared_experts", experts_size, combine="scored"),
    )
    plain = dense(c, dense_size) if "dense" in kinds else None
    parts = {slides: _parts(c, mixer) for slides, mixer in mixers.items()}

    def layer(slides: bool, feed_forward: Dense | MoE) -> Layer:
        component = "dense_ffn" if isinstance(feed_forward, Dense) else "router"
        scale = OwnWeight.from_dict({"name": "output_scale", "component": component, "outputs": 1})
        weights, state = parts[slides]
        return Layer(mixer=mixers[slides], feed_forward=feed_forward, own_weights=(*weights, scale), own_state=state)

    made = {
        (slides, kind): layer(slides, plain if kind == "dense" and plain else moe)
        for slides in mixers
        for kind in set(kinds)
    }
    layers = [made[slides, kind] for slides, kind in zip(_sliding(c, n), kinds, strict=True)]
    block = {}
    section = c.section("mtp_config", {}, neutral=("chain_hidden_post_norm",))
    for key, name in (("num_mtp_layers", "num_nextn_predict_layers"), ("mtp_local_layer_ids", "local_layer_ids")):
        if section.has(name) and not c.has(key):
            c.replace(key, section.raw(name))
    if c.count("num_mtp_layers"):
        near = c.integers("mtp_local_layer_ids")
        if near and len(near) != c.count("num_mtp_layers"):
            c.warn("mtp_local_layer_ids: blocks of two kinds are counted as those with a window")
        # A norm of what they put out is shared by all blocks, and left out here.
        block = prediction(c, "num_mtp_layers", layer(bool(near), dense(c, dense_size))) | {"mtp_norms": 2}
    norm = OwnWeight(name="embedding_norm", component="norm", outputs=d)
    return build(c, layers, tie_embeddings=False, own_weights=(norm,), **block)


def _parts(c: Config, mixer: Attention) -> tuple[list[OwnWeight], int]:
    convolutions, state = _convolutions(c, mixer)
    return [*_profiles(c, mixer), *convolutions], state


def _sliding(c: Config, n: int) -> list[bool]:
    types = c.per_layer("layer_types", n, "hybrid", "hybrid_sliding")
    if types is not None:
        return [kind == "hybrid_sliding" for kind in types]
    if c.has("local_layer_ids"):
        near = set(c.integers("local_layer_ids"))
        return [index in near for index in range(n)]
    return [(index + 1) % 6 != 0 for index in range(n)]


def _read_2(c: Config) -> Architecture:
    return _second(c, looped=range(0), passes=1)


def _read_loop(c: Config) -> Architecture:
    n, block = c.num_layers(), c.size("n_layers_per_attn_res_block")
    section = c.section("loop_config", {})  # the publisher's own words
    for key, name in _LOOP_KEYS.items():
        if section.has(name):
            c.replace(key, section.size(name))
    start, end, passes = (c.size(key) for key in ("loop_layer_index_start", "loop_layer_index_end", "loop_num_passes"))
    if passes > LARGEST_PASS_COUNT:
        raise c.error("loop_num_passes", f"more than {LARGEST_PASS_COUNT} passes", passes)
    if not start < end <= n or start % block or end % block:
        raise c.error(
            "loop_layer_index_end", f"expected whole blocks of {block} of the {n} layers after the first", end
        )
    return _second(c, range(start, end), passes)


_LOOP_KEYS = {
    "loop_layer_index_start": "core_start",
    "loop_layer_index_end": "core_end",
    "loop_num_passes": "num_passes",
    "loop_gate_rank": "gate_rank",
}


def _second(c: Config, looped: range, passes: int) -> Architecture:
    n, d = c.num_layers(), c.size("hidden_size")
    mixers = _mixers(c, second=True)
    moe = experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(
            score="softmax" if c.choice("scoring_func", "sigmoid", "softmax") == "softmax" else "sigmoid",
            normalize=True,
            scale=c.number("route_scale"),
            selection_bias="buffer",
        ),
    )
    parts = {slides: _second_parts(c, mixer, slides) for slides, mixer in mixers.items()}
    made: dict[tuple[bool, bool, bool], Layer] = {}
    layers = []
    for index, slides in enumerate(_sliding(c, n)):
        key = slides, index == 0, index in looped
        if key not in made:
            weights, state = parts[slides]
            queries = 1 + (0 if index == 0 else 1 if slides else 3)  # of the feed-forward; of the mixer, or its parts
            reads = OwnWeight(name="residual_queries", component="other", outputs=d, copies=queries)
            made[key] = Layer(
                mixer=mixers[slides],
                feed_forward=moe,
                own_weights=(*weights, reads),
                own_state=state,
                passes=passes if index in looped else 1,
            )
        layers.append(made[key])
    outer = [
        OwnWeight(name="embedding_norm", component="norm", outputs=d),
        OwnWeight(name="residual_queries", component="other", outputs=d),
    ]
    if looped:
        outer += _messages(c, len(looped), passes)
    rows = c.size("unpadded_vocab_size")
    if rows > c.size("vocab_size"):
        raise c.error("unpadded_vocab_size", f"more than vocab_size ({c.size('vocab_size')})", rows)
    return build(c, layers, tie_embeddings=False, lm_head_rows=rows, own_weights=tuple(outer))


def _second_parts(c: Config, mixer: Attention, slides: bool) -> tuple[list[OwnWeight], int]:
    d, channels = c.size("hidden_size"), c.size("d_rel")
    convolutions, state = _convolutions(c, mixer, dynamic=not slides)
    scaled = mixer.num_heads * (mixer.head_dim + channels)
    weights = [
        *_profiles(c, mixer),
        OwnWeight(name="query_and_relative_scales", component="attention", outputs=scaled),
        OwnWeight(name="sink_proj", component="attention", outputs=mixer.num_heads, inputs=d, use="matmul"),
        *convolutions,
    ]
    if not slides:  # queries, keys and values have a norm each
        weights.append(OwnWeight(name="further_input_norms", component="norm", outputs=d, copies=2))
    return weights, state


def _messages(c: Config, layers: int, passes: int) -> list[OwnWeight]:
    """What later passes read of the one before, through four gates a layer: of queries, keys, values, feed-forward."""
    d, rank = c.size("hidden_size"), c.size("loop_gate_rank")
    again = passes - 1

    def weight(name: str, use: str, outputs: int, inputs: int, each: int) -> OwnWeight:
        sizes = {"outputs": outputs, "inputs": inputs, "copies": each * layers, "times": again}
        return OwnWeight.from_dict({"name": f"message_{name}", "component": "other", "use": use, **sizes})

    return [
        weight("queries", "elementwise", d, 1, 4),
        weight("gate.down", "matmul", rank, 2 * d, 4),
        weight("gate.up", "matmul", d, rank, 8),
    ]


_DEFAULTS = {
    **without(COMMON_DEFAULTS, "head_dim", "attention_bias"),
    "layer_types": None,
    "swa_head_dim": 128,
    "d_rel": 16,
    "rel_extent": 1024,
    "conv_kernel_size": 4,
    "route_scale": 8.0,
    "local_layer_ids": None,
}
_SECOND_DEFAULTS = {**_DEFAULTS, "unpadded_vocab_size": 200058, "scoring_func": "sigmoid"}
_ALIASES = {
    "sliding_window": "sliding_window_size",
    "num_local_experts": "n_routed_experts",
    "sconv_kernel_size": "conv_kernel_size",
    "model_max_length": "max_position_embeddings",
    "routed_scaling_factor": "route_scale",
}
_NEUTRAL = ("log_scaling_n_floor", "log_scaling_alpha", "number_of_conv_states")
_SECOND_NEUTRAL = (
    *_NEUTRAL,
    "qk_l2_clip_threshold",
    "rel_l2_clip_threshold",
    "mlp_gate_softcap",
    "mlp_up_softcap",
    "final_logit_softcapping",
    "n_layers_per_attn_res_block",
)

FAMILIES = {
    "inkling_text": Family(
        model_type="inkling_text",
        class_name="InklingForCausalLM",
        read=_read,
        defaults={
            **_DEFAULTS,
            "mlp_layer_types": None,
            "dense_mlp_idx": 0,
            "dense_intermediate_size": None,
            "n_shared_experts": 2,
            "num_mtp_layers": None,
            "mtp_local_layer_ids": None,
            "mtp_config": None,
        },
        aliases=_ALIASES,
        neutral=(
            *_NEUTRAL,
            "intermediate_size",
            "unpadded_vocab_size",  # rows that the checkpoint leaves out; the module has them
            "shared_expert_sink",
            "logits_mup_width_multiplier",
            "embedding_multiplier",
            "rms_norm_eps_moe_gate",
            "chain_hidden_post_norm",
            "mtp_hidden_states_first",
        ),
    ),
    "inkling2_text": Family(
        model_type="inkling2_text",
        class_name="Inkling2ForCausalLM",
        read=_read_2,
        defaults=_SECOND_DEFAULTS,
        aliases={**_ALIASES, "intermediate_size": "moe_intermediate_size"},
        neutral=_SECOND_NEUTRAL,
    ),
    "inkling2_loop_text": Family(
        model_type="inkling2_loop_text",
        class_name="Inkling2LoopForCausalLM",
        read=_read_loop,
        defaults={
            **_SECOND_DEFAULTS,
            "n_layers_per_attn_res_block": 6,
            "loop_layer_index_start": 6,
            "loop_layer_index_end": 18,
            "loop_num_passes": 3,
            "loop_gate_rank": 64,
            "loop_config": None,
        },
        aliases={**_ALIASES, "intermediate_size": "moe_intermediate_size"},
        neutral=_SECOND_NEUTRAL,
    ),
}
