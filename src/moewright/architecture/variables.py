"""The papers' variables, each a named function of an architecture.

Papers give one word several meanings, so the names carry the paper. Where MoE layers are unlike, a ratio is the ratio
of sums over the MoE layers, and an expert size the mean over the experts that a token uses; for equal layers both are
the plain definitions. Every function raises UserError for a model without MoE layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moewright.architecture.counts import active_params, total_params
from moewright.architecture.feed_forwards import AnyMoE
from moewright.architecture.sizes import F, N, total
from moewright.architecture.spec import Countable
from moewright.errors import UserError


def num_experts(architecture: Countable[F]) -> F:
    """E: routed experts per MoE layer."""
    return _sum_over_moe(architecture, lambda moe: moe.num_experts) / _num_moe_layers(architecture)


def top_k(architecture: Countable[F]) -> F:
    """K: routed experts that a token uses per MoE layer."""
    return _sum_over_moe(architecture, lambda moe: moe.top_k) / _num_moe_layers(architecture)


def expert_size(architecture: Countable[F]) -> F:
    """d_e: width of a routed expert, in channels."""
    return _routed_width(architecture) / _sum_over_moe(architecture, lambda moe: moe.top_k)


def shared_experts(architecture: Countable[F]) -> F:
    """Shared experts per MoE layer, in units of d_e (a shared expert of another width counts by its width)."""
    return _shared_width(architecture) / _num_moe_layers(architecture) / expert_size(architecture)


def sparsity_liew(architecture: Countable[F]) -> F:
    """s = E / K over routed experts (arXiv 2601.08215); the same number as the expansion rate."""
    return num_experts(architecture) / top_k(architecture)


def sparsity_abnar(architecture: Countable[F]) -> F:
    """S = (E - K) / E, the idle share of the routed experts (arXiv 2501.12370)."""
    return 1 - top_k(architecture) / num_experts(architecture)


def granularity_liew(architecture: Countable[F]) -> F:
    """g = d / d_e (arXiv 2601.08215)."""
    return architecture.hidden_size / expert_size(architecture)


def granularity_krajewski(architecture: Countable[F], dense_ffn_size: int | None = None) -> F:
    """G = d_ff / d_e with d_ff = 4 d unless a dense width is given (arXiv 2402.07871)."""
    return (dense_ffn_size or 4 * architecture.hidden_size) / expert_size(architecture)


def granularity_ling(architecture: Countable[F]) -> F:
    """G = 2 d / d_e (arXiv 2507.17702)."""
    return 2 * architecture.hidden_size / expert_size(architecture)


def expert_multiplier_slicing(architecture: Countable[F]) -> F:
    """m = d_e / (4 d) (arXiv 2605.11689)."""
    multiplier: F = expert_size(architecture) / (4 * architecture.hidden_size)
    return multiplier


def active_experts_zhao(architecture: Countable[F]) -> F:
    """G: active experts, routed and shared, in units of d_e (arXiv 2509.23678).

    >>> from moewright.hf import load_architecture
    >>> active_experts_zhao(load_architecture("examples/configs/deepseek-v3.json").architecture)
    9.0
    """
    return top_k(architecture) + shared_experts(architecture)


def shared_ratio_zhao(architecture: Countable[F]) -> F:
    """S: shared share of the active experts (arXiv 2509.23678)."""
    return shared_experts(architecture) / active_experts_zhao(architecture)


def stored_over_used_width(architecture: Countable[F]) -> F:
    """Experts' channels that the MoE layers hold, over those that a token uses; shared ones are both.

    E / K where no expert is shared; unlike that it cannot be raised by making the shared experts wide.
    """
    shared = _shared_width(architecture)
    stored = _sum_over_moe(
        architecture,
        lambda moe: total((group.count * group.expert_size for group in moe.groups), 0 * architecture.hidden_size),
    )
    ratio: F = (stored + shared) / (_routed_width(architecture) + shared)
    return ratio


def active_width_ratio(architecture: Countable[F]) -> F:
    """Experts' channels that a token uses in an MoE layer, shared ones included, over d."""
    used = _routed_width(architecture) + _shared_width(architecture)
    ratio: F = used / _num_moe_layers(architecture) / architecture.hidden_size
    return ratio


def activation_ratio_ling(architecture: Countable[F]) -> F:
    """A = (K + shared) / (E + shared), shared in units of d_e (arXiv 2507.17702)."""
    shared = shared_experts(architecture)
    ratio: F = (top_k(architecture) + shared) / (num_experts(architecture) + shared)
    return ratio


def activation_ratio(architecture: Countable[F]) -> F:
    """N_a / N."""
    return active_params(architecture) / total_params(architecture)


def _moe_layers(architecture: Countable[N]) -> Sequence[tuple[N, AnyMoE[N]]]:
    layers = architecture.moe_layers()
    if not layers:
        raise UserError("the model has no mixture-of-experts layer, so this variable has no value")
    return layers


def _num_moe_layers(architecture: Countable[N]) -> N:
    return total((times for times, _ in _moe_layers(architecture)), 0 * architecture.hidden_size)


def _sum_over_moe(architecture: Countable[N], value: Callable[[AnyMoE[N]], N | int]) -> N:
    return total((times * value(moe) for times, moe in _moe_layers(architecture)), 0 * architecture.hidden_size)


def _routed_width(architecture: Countable[N]) -> N:
    none = 0 * architecture.hidden_size
    return _sum_over_moe(
        architecture, lambda moe: total((group.top_k * group.expert_size for group in moe.groups), none)
    )


def _shared_width(architecture: Countable[N]) -> N:
    return _sum_over_moe(architecture, lambda moe: moe.shared.count * moe.shared.expert_size if moe.shared else 0)
