"""Jamba (arXiv 2403.19887): Mamba layers with a softmax attention layer now and then, experts every other layer."""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import Mamba
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, dense, experts, stack


def _read(c: Config) -> Architecture:
    n, width = c.num_layers(), c.size("hidden_size")
    c.fixed("mamba_inner_layernorms", True)
    rank = c.raw("mamba_dt_rank")
    state_space = Mamba(
        inner_size=c.size("mamba_expand") * width,
        state_size=c.size("mamba_d_state"),
        time_step_rank=-(-width // 16) if rank in (None, "auto") else c.size("mamba_dt_rank"),
        conv_kernel=c.size("mamba_d_conv"),
        conv_bias=c.flag("mamba_conv_bias"),
        projection_bias=c.flag("mamba_proj_bias"),
        inner_norms=True,
    )
    softmax = attention(c, qkv_bias=False, output_bias=False, rope=None)
    moe = experts(c, count="num_experts", top_k="num_experts_per_tok", size="intermediate_size", router=Router())
    plain = dense(c)
    has_attention = _every(c, "attn_layer_period", "attn_layer_offset", n)
    # One expert is a plain feed-forward without router.
    has_experts = [e and c.size("num_experts") > 1 for e in _every(c, "expert_layer_period", "expert_layer_offset", n)]
    return build(
        c,
        stack(c, [softmax if a else state_space for a in has_attention], [moe if e else plain for e in has_experts]),
    )


def _every(c: Config, period_key: str, offset_key: str, n: int) -> list[bool]:
    period, offset = c.size(period_key), c.count(offset_key)
    if offset >= period:
        raise c.error(offset_key, f"{offset} must be below {period_key} ({period})")
    return [index % period == offset for index in range(n)]


FAMILIES = {
    "jamba": Family(
        model_type="jamba",
        class_name="JambaForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "attn_layer_period": 8,
            "attn_layer_offset": 4,
            "mamba_d_state": 16,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "mamba_dt_rank": None,
            "mamba_conv_bias": True,
            "mamba_proj_bias": False,
        },
        aliases={"num_local_experts": "num_experts"},
        neutral=(
            "use_mamba_kernels",
            "use_mambapy",
            "use_associative_scan",
            "num_logits_to_keep",
            "sliding_window",
        ),
    ),
}
