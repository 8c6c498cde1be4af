"""The papers' variables on models whose values the papers state."""

import pytest

from moewright import Architecture, UserError
from moewright.architecture import counts, variables
from moewright.architecture.feed_forwards import Dense
from moewright.architecture.mixers import Attention
from moewright.architecture.spec import Layer
from moewright.hf.config import read_config


def load(name: str) -> Architecture:
    return read_config(f"examples/configs/{name}.json").architecture


def test_kimi_k2() -> None:
    # arXiv 2507.20534, section 2.3: sparsity 48 (384 / 8); one shared expert of the routed experts' size.
    a = load("kimi-k2")
    assert variables.sparsity_liew(a) == 48
    assert variables.active_experts_zhao(a) == 9
    assert variables.shared_ratio_zhao(a) == pytest.approx(1 / 9)
    assert variables.activation_ratio_ling(a) == pytest.approx(9 / 385)
    assert variables.sparsity_abnar(a) == pytest.approx(376 / 384)


def test_shared_expert_of_another_width_counts_by_width() -> None:
    # Qwen1.5-MoE: 60 experts of 1408, top-4, and a shared expert of 5632, which is four of them.
    config = {
        "model_type": "qwen2_moe",
        "vocab_size": 151936,
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "num_experts": 60,
        "num_experts_per_tok": 4,
    }
    a = read_config(config).architecture
    assert variables.active_experts_zhao(a) == 8
    assert variables.shared_ratio_zhao(a) == 0.5
    # Model card: 14.3B in total, 2.7B active.
    assert counts.total_params(a) / 1e9 == pytest.approx(14.3, abs=0.05)
    assert counts.active_params(a) / 1e9 == pytest.approx(2.7, abs=0.05)


def test_granularities() -> None:
    a = load("mixtral-8x7b")  # width 4096, experts of 14336
    assert variables.granularity_liew(a) == 4096 / 14336
    assert variables.granularity_krajewski(a) == 4 * 4096 / 14336
    assert variables.granularity_krajewski(a, dense_ffn_size=14336) == 1
    assert variables.granularity_ling(a) == 2 * 4096 / 14336
    assert variables.expert_multiplier_slicing(a) == 14336 / 16384


@pytest.mark.parametrize(
    ("name", "total_gap", "active_gap"),
    [("olmoe-1b-7b", 0.004, 0.034), ("qwen3-30b-a3b", 0.004, 0.034), ("qwen3-235b-a22b", 0.004, 0.034)],
)
def test_liew_closed_forms_are_near(name: str, total_gap: float, active_gap: float) -> None:
    # N = l d^2 (4 + 3 E / g) and with K for N_a, plus 2 V d (arXiv 2601.08215): approximations, with these errors.
    a = load(name)
    l, d, g = a.num_layers, a.hidden_size, variables.granularity_liew(a)  # noqa: E741
    vocabulary = 2 * a.vocab_size * d
    total = l * d**2 * (4 + 3 * variables.num_experts(a) / g) + vocabulary
    active = l * d**2 * (4 + 3 * variables.top_k(a) / g) + vocabulary
    assert total == pytest.approx(counts.total_params(a), rel=total_gap)
    assert active == pytest.approx(counts.active_params(a), rel=active_gap)


def test_dense_models_have_no_expert_variables() -> None:
    mixer = Attention(num_heads=2, num_kv_heads=1, head_dim=4)
    a = Architecture(vocab_size=10, hidden_size=8, layers=(Layer(mixer=mixer, feed_forward=Dense(size=9)),))
    assert variables.activation_ratio(a) == 1
    with pytest.raises(UserError, match="no mixture-of-experts layer"):
        variables.sparsity_liew(a)
