"""Dense hybrids of attention and state spaces: Zamba2 (Zyphra, arXiv 2411.15242), Falcon-H1 (TII, arXiv 2507.22448),
OLMo Hybrid (Ai2) and Apriel-H1 (ServiceNow, arXiv 2511.02651).

Sources: transformers' modules, and for Apriel-H1, which it does not know, ServiceNow/Fast-LLM's
fast_llm_external_models/apriel_hybrid_ssm.
"""

from typing import Any, Literal

from moewright.architecture.feed_forwards import Dense, NoFeedForward
from moewright.architecture.mixers import Attention, GatedDeltaNet, GroupedMamba, Mamba2, ParallelMixers
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, dense, mamba2, without


def _read_zamba2(c: Config) -> Architecture:
    """A hybrid layer is two layers: a block of attention and feed-forward, of whose weights there are num_mem_blocks
    sets that take turns, and the Mamba-2 layer that its output is added to the input of."""
    n = c.num_layers()
    if not c.flag("tie_word_embeddings"):
        raise c.error("tie_word_embeddings", "false leaves the shared blocks untied as well; expected true", False)
    kinds = c.per_layer("layers_block_type", n, "mamba", "linear_attention", "hybrid") or _zamba2_kinds(c, n)
    state_space = Layer(mixer=_zamba2_mamba(c), feed_forward=NoFeedForward())
    blocks = c.size("num_mem_blocks")
    first, again = (_zamba2_block(c, shares_weights=shares) for shares in (False, True))
    layers: list[Layer] = []
    used = 0
    for kind in kinds:
        if kind == "hybrid":
            layers.append(first if used < blocks else again)
            used += 1
        layers.append(state_space)
    if used:
        c.warn(
            f"{used} of {n} layers begin with a block of attention and feed-forward, counted as layers of their own; "
            f"they share the weights of {min(blocks, used)}"
        )
    return build(c, layers)


def _zamba2_kinds(c: Config, n: int) -> list[str]:
    """Where layers_block_type is absent, the layers that hybrid_layer_ids names."""
    if not c.has("hybrid_layer_ids"):
        raise c.error("layers_block_type", "missing: it says which layers begin with a block of attention")
    named = set(c.integers("hybrid_layer_ids"))
    return ["hybrid" if index in named else "mamba" for index in range(n)]


def _zamba2_block(c: Config, *, shares_weights: bool) -> Layer:
    width, heads, rank = c.size("hidden_size"), c.size("num_attention_heads"), c.size("adapter_rank")
    c.fixed("use_shared_mlp_adapter", True)
    if 2 * width % heads:
        raise c.error("num_attention_heads", f"{heads} does not divide 2 x hidden_size ({2 * width})")
    c.fixed("attention_hidden_size", 2 * width, None)
    for key in ("attention_head_dim", "head_dim"):
        c.fixed(key, 2 * width // heads, None)
    mixer = Attention(
        num_heads=heads,
        num_kv_heads=c.kv_heads(),
        head_dim=2 * width // heads,
        reads_embedding=True,
        rope=c.rope() if c.flag("use_mem_rope") else None,
    )
    size = c.optional_size("intermediate_size") or 4 * width
    feed_forward = Dense(size=size, bias=c.flag("add_bias_linear"), activation=c.activation())
    adapted = [("gate_up_adapter", "dense_ffn", width, 2 * size)]
    if c.flag("use_shared_attention_adapter"):
        adapted += [(f"{name}_adapter", "attention", 2 * width, 2 * width) for name in ("q", "k", "v")]
    own = [OwnWeight(name="block_output", component="other", outputs=width, inputs=width, use="matmul")]
    for name, component, inputs, outputs in adapted:
        matrix: dict[str, Any] = {"component": component, "use": "matmul"}
        own.append(OwnWeight(name=f"{name}.down", outputs=rank, inputs=inputs, **matrix))
        own.append(OwnWeight(name=f"{name}.up", outputs=outputs, inputs=rank, **matrix))
    return Layer(mixer=mixer, feed_forward=feed_forward, shares_weights=shares_weights, own_weights=tuple(own))


def _zamba2_mamba(c: Config) -> Mamba2:
    inner, heads, groups = (
        c.size("mamba_expand") * c.size("hidden_size"),
        c.size("n_mamba_heads"),
        c.size("mamba_ngroups"),
    )
    if inner % heads:
        raise c.error("n_mamba_heads", f"{heads} does not divide mamba_expand x hidden_size ({inner})")
    if heads % groups:
        raise c.error("mamba_ngroups", f"{groups} does not divide n_mamba_heads ({heads})")
    return Mamba2(
        num_heads=heads,
        head_dim=inner // heads,
        state_size=c.size("mamba_d_state"),
        num_groups=groups,
        conv_kernel=c.size("mamba_d_conv"),
        projection_bias=c.flag("add_bias_linear"),
    )


def _read_falcon_h1(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    inner = c.optional_size("mamba_d_ssm") or c.size("mamba_expand") * c.size("hidden_size")
    sides = _SIDES[c.flag("mamba_proj_bias"), c.flag("projectors_bias")]
    state_space = mamba2(
        c, inner, "the channels of the state space", projection_bias=sides, norm=c.flag("mamba_rms_norm")
    )
    softmax = attention(c, qkv_bias=bias, output_bias=bias, rope=c.rope())
    both = ParallelMixers(attention=softmax, state_space=state_space)
    return build(c, [Layer(mixer=both, feed_forward=dense(c, bias=c.flag("mlp_bias")))] * n)


_SIDES: dict[tuple[bool, bool], bool | Literal["input", "output"]] = {
    (False, False): False,
    (True, False): "input",
    (False, True): "output",
    (True, True): True,
}


def _read_olmo_hybrid(c: Config) -> Architecture:
    n, bias, heads = c.num_layers(), c.flag("attention_bias"), c.size("num_attention_heads")
    types = c.per_layer("layer_types", n, "full_attention", "linear_attention")
    if types is None:
        types = ["full_attention" if index % 4 == 3 else "linear_attention" for index in range(n)]
        types[-1] = types[-1] if "full_attention" in types else "full_attention"
    key_heads = c.optional_size("linear_num_key_heads") or heads
    key_head_dim = c.optional_size("linear_key_head_dim") or max(3 * c.size("hidden_size") // (4 * key_heads), 1)
    linear = GatedDeltaNet(
        num_key_heads=key_heads,
        key_head_dim=key_head_dim,
        num_value_heads=c.optional_size("linear_num_value_heads") or heads,
        value_head_dim=c.optional_size("linear_value_head_dim") or 2 * key_head_dim,
        conv_kernel=c.size("linear_conv_kernel_dim"),
    )
    rotates = c.has("rope_theta") or (c.mapping("rope_parameters") or {}).get("rope_theta") is not None
    softmax = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="full", rope=c.rope() if rotates else None)
    feed_forward = dense(c)
    made = {
        "full_attention": Layer(mixer=softmax, feed_forward=feed_forward, norms="post"),
        "linear_attention": Layer(mixer=linear, feed_forward=feed_forward),
    }
    return build(c, [made[kind] for kind in types])


def _read_apriel_hybrid(c: Config) -> Architecture:
    n, width = c.num_layers(), c.size("hidden_size")
    layout = c.raw("hybrid_block_layout")
    if isinstance(layout, list) and len(layout) == 1:  # the same for all
        c.replace("hybrid_block_layout", layout * n)
    kinds = c.per_layer("hybrid_block_layout", n, "t", "m2")
    if kinds is None:
        raise c.error("hybrid_block_layout", "missing: it says which layers have attention (t) and which Mamba (m2)")
    feed_forward = dense(c)
    softmax = attention(c, qkv_bias=False, output_bias=False, rope=c.rope())
    made = {"t": Layer(mixer=softmax, feed_forward=feed_forward)}
    if "m2" in kinds:
        made["m2"] = Layer(mixer=_apriel_mamba(c, width), feed_forward=feed_forward)
    return build(c, [made[kind] for kind in kinds])


def _apriel_mamba(c: Config, width: int) -> GroupedMamba:
    ssm = c.section(
        "ssm_cfg",
        {
            "d_xb": None,
            "dt_rank": "auto",
            "d_conv": 4,
            "repeat_kv_before_conv": True,
            "conv_bias": True,
            "dt_proj_bias": True,
            "bias": False,
        },
        neutral=(
            *(
                "expand",
                "chunk_size",
                "activation",
                "n_v_heads",
                "n_qk_heads",
                "dt_min",
                "dt_max",
                "dt_init",
                "dt_scale",
            ),
            *("dt_init_floor", "use_fast_path", "layer_idx"),
        ),
    )
    rank = ssm.raw("dt_rank")
    mixer = GroupedMamba(
        inner_size=ssm.size("d_inner"),
        grouped_size=ssm.optional_size("d_xb") or width,
        state_size=ssm.size("d_state"),
        time_step_rank=-(-width // 16) if rank in (None, "auto") else ssm.size("dt_rank"),
        conv_kernel=ssm.size("d_conv"),
        repeats_before_convolution=ssm.flag("repeat_kv_before_conv"),
        conv_bias=ssm.flag("conv_bias"),
        time_step_bias=ssm.flag("dt_proj_bias"),
        projection_bias=ssm.flag("bias"),
    )
    for message in ssm.finish():
        c.warn(message)
    return mixer


_MHA = {**COMMON_DEFAULTS, "num_key_value_heads": None}


def _apriel(model_type: str) -> Family:
    return Family(
        model_type=model_type,
        class_name="AprielHybridSSMForCausalLM",
        read=_read_apriel_hybrid,
        defaults={**_MHA, "hybrid_block_layout": None, "ssm_cfg": None},
        neutral=("sliding_window",),
    )


FAMILIES = {
    "zamba2": Family(
        model_type="zamba2",
        class_name="Zamba2ForCausalLM",
        read=_read_zamba2,
        defaults={
            **without(_MHA, "attention_bias", "head_dim"),
            "hidden_act": "gelu",
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "layers_block_type": None,
            "hybrid_layer_ids": None,
            "intermediate_size": None,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "mamba_ngroups": 1,
            "add_bias_linear": False,
            "num_mem_blocks": 1,
            "use_shared_attention_adapter": False,
            "adapter_rank": 128,
            "use_mem_rope": False,
        },
        aliases={"layer_types": "layers_block_type", "ffn_hidden_size": "intermediate_size"},
        neutral=(
            # what the modules do not ask for, and words about kernels
            *("mamba_headdim", "kv_channels", "num_query_groups"),
            *("time_step_min", "time_step_max", "time_step_floor", "time_step_limit"),
            *("use_mamba_kernels", "use_mem_eff_path", "use_conv_bias", "chunk_size", "num_logits_to_keep"),
            *("use_long_context", "hybrid_layer_ids", "attention_bias"),
        ),
    ),
    "falcon_h1": Family(
        model_type="falcon_h1",
        class_name="FalconH1ForCausalLM",
        read=_read_falcon_h1,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "mamba_d_head": "auto",
            "mamba_n_groups": 1,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "mamba_conv_bias": True,
            "mamba_proj_bias": False,
            "mamba_rms_norm": False,
            "projectors_bias": False,
            "mlp_bias": False,
        },
        neutral=(
            *("layers_block_type", "layer_types", "mamba_chunk_size", "mamba_norm_before_gate", "time_step_limit"),
            *("num_logits_to_keep", "lm_head_multiplier", "embedding_multiplier", "mlp_multipliers"),
            *("key_multiplier", "attention_out_multiplier", "attention_in_multiplier", "ssm_multipliers"),
            *("ssm_in_multiplier", "ssm_out_multiplier", "mamba_use_mlp", "mlp_expansion_factor"),
        ),
    ),
    "olmo_hybrid": Family(
        model_type="olmo_hybrid",
        class_name="OlmoHybridForCausalLM",
        read=_read_olmo_hybrid,
        defaults={
            **_MHA,
            "layer_types": None,
            "linear_num_key_heads": None,
            "linear_num_value_heads": None,
            "linear_key_head_dim": None,
            "linear_value_head_dim": None,
            "linear_conv_kernel_dim": 4,
        },
        neutral=(
            *("linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max", "linear_dt_init_floor"),
            *("linear_allow_neg_eigval"),
        ),
    ),
    "apriel_hybrid_ssm": _apriel("apriel_hybrid_ssm"),
    "apriel_ssm_thinker_hybrid": _apriel("apriel_ssm_thinker_hybrid"),
}
