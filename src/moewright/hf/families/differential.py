"""Differential attention: DiffLlama, and Motif 1 to 3 (Motif Technologies; grouped maps: arXiv 2510.06949).

Sources: transformers' diffllama, vLLM's motif.py (before 0.11), mlx-motif's model.py (Motif 1 and 2), and for Motif 3,
whose heads share the keys and values of a latent, mlx-lm's port of its modeling_motif.py and the shapes in the headers
of its published files.
"""

from typing import Any

from moewright.architecture.feed_forwards import Dense, Router
from moewright.architecture.mixers import DifferentialAttention, LatentAttention, Mixer, Rope, Window
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, build, dense, experts, prediction, shared_of_routed_size

_POLY_NORM = 4
"""Learned numbers of one polynomial activation: three factors and a bias (arXiv 2411.03884)."""


def _read_diffllama(c: Config) -> Architecture:
    bias = c.flag("attention_bias")
    mixer = _maps(c, noise=c.size("num_attention_heads") // 2, bias=bias, output_norm=False)
    return build(c, [Layer(mixer=mixer, feed_forward=dense(c))] * c.num_layers())


def _read_motif(c: Config) -> Architecture:
    """All three generations call themselves so; the third says `attention_cls: gdla`."""
    c.choice("hidden_act", "poly_norm")
    if c.raw("attention_cls") is not None:
        return _read_motif_3(c)
    n, bias = c.num_layers(), c.flag("use_bias")
    c.fixed("k_ratio", 1)
    grouped = c.has("num_noise_heads")
    heads, width = c.size("num_attention_heads"), c.size("hidden_size")
    if not grouped and c.head_dim() * heads != width:
        raise c.error("head_dim", f"times {heads} heads must be hidden_size ({width}) without num_noise_heads")
    noise = c.size("num_noise_heads") if grouped else heads // 2
    mixer = _maps(c, noise=noise, bias=bias, output_norm=True, window=_window_of_all(c))
    feed_forward = Dense(size=c.size("intermediate_size"), bias=bias, activation="poly_norm")
    return build(c, [Layer(mixer=mixer, feed_forward=feed_forward, own_weights=_DENSE_ACTIVATION)] * n)


def _maps(
    c: Config, *, noise: int, bias: bool, output_norm: bool, window: Window | None = None
) -> DifferentialAttention:
    heads = c.size("num_attention_heads")
    kv_heads = c.optional_size("num_key_value_heads") or heads
    if noise < 1 or heads % noise or heads == noise:
        raise c.error("num_attention_heads", f"{heads} maps cannot be told into {noise} that are subtracted and others")
    if kv_heads % 2 or noise % (kv_heads // 2):
        raise c.error("num_key_value_heads", f"half of {kv_heads} do not divide the {noise} maps that are subtracted")
    return DifferentialAttention(
        num_heads=heads,
        num_noise_heads=noise,
        num_kv_heads=kv_heads,
        head_dim=c.head_dim(),
        bias=bias,
        output_norm=output_norm,
        window=window,
        rope=c.rope(),
    )


def _window_of_all(c: Config) -> Window | None:
    return Window(size=c.size("sliding_window")) if c.flag("use_sliding_window") else None


_DENSE_ACTIVATION = (OwnWeight(name="activation", component="dense_ffn", outputs=_POLY_NORM),)


def _read_motif_3(c: Config) -> Architecture:
    n, width = c.num_layers(), c.size("hidden_size")
    c.choice("attention_cls", "gdla")
    c.fixed("score_func", "sigmoid")
    c.fixed("score_before_experts", False)
    streams = c.size("mhc_expansion_rate") if c.flag("mhc_enabled") else 0
    every = c.size("sliding_window_period") if c.flag("use_sliding_window") else 1
    far = _latent_maps(c, None)
    # A window of so many tokens before the token itself.
    near = _latent_maps(c, Window(size=c.size("sliding_window") + 1)) if every > 1 else far
    top_k, number = c.top_k("experts_top_k", "num_experts"), c.size("num_experts")
    moe = experts(
        c,
        count="num_experts",
        top_k="experts_top_k",
        size="moe_intermediate_size",
        router=Router(
            score="sigmoid",
            normalize=c.flag("route_norm"),
            scale=c.number("route_scale"),
            selection_bias="buffer" if c.has("load_balance_coeff") else None,
        ),
        shared=shared_of_routed_size(c, "num_shared_experts", "moe_intermediate_size"),
        activation="poly_norm",
    )
    plain = Dense(size=c.size("intermediate_size"), activation="poly_norm")
    activations: dict[str, Any] = {"component": "routed_experts", "copies": number, "active": top_k}
    of_experts: tuple[OwnWeight, ...] = (OwnWeight(name="experts.activation", outputs=_POLY_NORM, **activations),)
    if moe.shared is not None:
        of_experts += (OwnWeight(name="shared.activation", component="other", outputs=_POLY_NORM),)
    of_attention = _gate_and_lambda(c, far)
    of_streams = (
        (OwnWeight(name="streams_norm", component="norm", outputs=streams * width, copies=2),) if streams else ()
    )
    step, first = c.size("interleave_moe_layer_step"), c.count("n_dense_first_layers")
    made: dict[tuple[bool, bool], Layer] = {}
    layers = []
    for index in range(n):
        sparse = index >= first and (index + 1) % step == 0
        key = index % every == 0, sparse
        if key not in made:
            mixer: Mixer = far if key[0] else near
            own = of_attention + of_streams + (of_experts if sparse else _DENSE_ACTIVATION)
            made[key] = Layer(mixer=mixer, feed_forward=moe if sparse else plain, own_weights=own)
        layers.append(made[key])
    block = Layer(
        mixer=far, feed_forward=plain, own_weights=of_attention + _DENSE_ACTIVATION, one_residual=bool(streams)
    )
    return build(
        c,
        layers,
        hyper_connections=streams,
        merges_streams=not streams,
        mtp_norms=2,
        **prediction(c, "num_nextn_predict_layers", block),
    )


def _latent_maps(c: Config, window: Window | None) -> LatentAttention:
    heads, noise, kv_heads = c.size("num_attention_heads"), c.size("num_noise_heads"), c.kv_heads()
    if heads % noise or heads == noise:
        raise c.error("num_noise_heads", f"{noise} do not divide the others of {heads} heads")
    turning, whole = c.size("qk_rope_head_dim"), c.size("head_dim")
    if turning >= whole:
        raise c.error("qk_rope_head_dim", f"{turning} is not less than head_dim ({whole})")
    near = window is not None and c.has("swa_rope_theta")
    return LatentAttention(
        num_heads=heads,
        num_kv_heads=None if kv_heads == heads else kv_heads,
        num_noise_heads=noise,
        q_lora_rank=c.size("q_lora_rank"),
        kv_lora_rank=c.size("kv_lora_rank"),
        qk_nope_head_dim=whole - turning,
        qk_rope_head_dim=turning,
        v_head_dim=c.size("v_head_dim"),
        window=window,
        rope=Rope(theta=c.number("swa_rope_theta")) if near else c.rope(),
    )


def _gate_and_lambda(c: Config, mixer: LatentAttention) -> tuple[OwnWeight, ...]:
    """How much of its group's noise each signal head subtracts, by the token, and a gate of the heads' outputs."""
    signal = mixer.num_heads - mixer.num_noise_heads
    c.fixed("diff_v2", True)
    own = [
        OwnWeight(name="lambda_proj", component="attention", outputs=signal, inputs=c.size("hidden_size"), use="matmul")
    ]
    if c.flag("elementwise_attn_output_gate"):
        gate = {"outputs": signal * mixer.v_head_dim, "inputs": c.size("q_lora_rank")}
        own.append(OwnWeight(name="output_gate", component="attention", use="matmul", **gate))
    return tuple(own)


def _motif(model_type: str) -> Family:
    return Family(
        model_type=model_type,
        class_name="MotifForCausalLM",
        read=_read_motif,
        defaults={
            **COMMON_DEFAULTS,
            "hidden_act": "poly_norm",
            "use_bias": False,
            "num_noise_heads": None,
            "k_ratio": 1,
            "use_sliding_window": False,
            "attention_cls": None,
            "elementwise_attn_output_gate": False,
            "swa_rope_theta": None,
            "mhc_enabled": False,
            "num_shared_experts": 0,
            "n_dense_first_layers": 0,
            "interleave_moe_layer_step": 1,
            "route_norm": False,
            "route_scale": 1.0,
            "load_balance_coeff": None,
            "num_nextn_predict_layers": 0,
        },
        neutral=(
            *("attn_rms_norm_eps", "attention_bias", "fused_rope", "sliding_window", "max_window_layers", "expanded"),
            *("lambda_init", "grouped_ratio", "mhc_sinkhorn_iters", "mhc_h_post_alpha_end", "hidden_clamp"),
            *("polynorm_sigmoid_weight", "polynorm_output_scale", "polynorm_bias_clamp", "rope_factor", "mscale"),
            *("polynorm_output_scale_per_layer", "original_seq_len", "sliding_window_pattern", "apply_yarn_scaling"),
            *("wesar_weights", "init_std", "sliding_window_period"),
        ),
    )


FAMILIES = {
    "diffllama": Family(
        model_type="diffllama",
        class_name="DiffLlamaForCausalLM",
        read=_read_diffllama,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "rms_norm_eps": 1e-5},
        neutral=("lambda_std_dev",),
    ),
    "motif": _motif("motif"),
    "Motif": _motif("Motif"),
}
