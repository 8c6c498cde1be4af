"""The rules of the default space: which published mixtures they exclude, by name, and what the wide space lets in."""

import numpy as np
import pytest

import moewright
from moewright import UserError
from moewright.architecture import counts, variables
from moewright.designs.rules import RULES, excluded, published_mixtures
from moewright.designs.space import Space

EXCLUDED = {
    "width": set(),
    "layers": {"nemotron-3-ultra-550b-a55b"},
    "width/layers": {"dbrx"},
    "experts": {"mixtral-8x7b", "mixtral-8x22b", "kimi-k3"},
    "top_k": {
        "llama-4-scout",
        "llama-4-maverick",
        "mixtral-8x7b",
        "mixtral-8x22b",
        "jamba-v0.1",
        "phi-3.5-moe",
        "kimi-k3",
        "nemotron-3-ultra-550b-a55b",
    },
    "top_k/experts": {"llama-4-maverick"},
    "shared experts": {"qwen1.5-moe-a2.7b"},
    "expert size": set(),
    "expert size/width": {"mixtral-8x7b", "mixtral-8x22b", "jamba-v0.1"},
    "experts' share of active": {
        "llama-4-maverick",
        "laguna-xs.2",
        "mixtral-8x7b",
        "mixtral-8x22b",
        "dbrx",
        "hunyuan-a13b",
    },
    "active/total": set(),
    "layers at 1B active": set(),
}


def test_each_rule_says_which_published_models_it_excludes() -> None:
    models = published_mixtures()
    assert len(models) >= 54
    assert {rule.name: set(excluded(rule, Space(), models)) for rule in RULES} == EXCLUDED


def test_every_rule_has_a_reason_and_the_wide_space_is_wider() -> None:
    for rule in RULES:
        assert all(len(reason) > 20 for reason in rule.reasons)
        low, high = rule.bounds(Space())
        wide_low, wide_high = rule.bounds(Space.wide())
        assert wide_low <= low
        assert high <= wide_high


def test_designs_keep_the_rules_that_count_parameters() -> None:
    answer = moewright.design(memory="80GB", active_params="3B", train_tokens="2T", top=20)
    for design in answer.designs:
        a = design.architecture
        assert all(rule.allows(a, answer.space) for rule in RULES)
        routed = 3 * a.hidden_size * variables.expert_size(a) * variables.active_experts_zhao(a)
        layers = sum(times for times, _ in a.moe_layers())
        share = layers * routed / counts.active_params_non_embedding(a)
        assert 0.45 <= share <= 0.85
    # The wide space lets in what laws like and nobody builds.
    wide = moewright.design(memory="80GB", active_params="3B", train_tokens="2T", space="wide", top=20)
    assert not all(rule.allows(wide.designs[0].architecture, answer.space) for rule in RULES)
    assert wide.considered > 10 * answer.considered


def test_a_rule_that_leaves_nothing_is_named() -> None:
    space = Space(widths=(1024,), depths=(16,), experts=(64,), top_k=(4,), least_experts_share=0.84)
    space = space.model_copy(update={"most_expert_size_over_width": 0.25})
    with pytest.raises(UserError, match=r"^space: least_experts_share 0\.84 leaves no design"):
        moewright.design(total_params="30B", train_tokens="1T", space=space)


def test_rules_bind_to_the_last_channel() -> None:
    """The narrowest size that a rule allows keeps it and one step narrower does not, at the exact counts."""
    from moewright.designs.candidates import columns
    from moewright.designs.groups import groups_of
    from moewright.designs.rules import experts_active_params, sizes_by_rules

    space = Space()
    chunk = next(groups_of(space).chunks())
    some = chunk.take(np.random.default_rng(0).choice(len(chunk), 20_000, replace=False))
    first, last = sizes_by_rules(some, space)

    def share(size: np.ndarray) -> np.ndarray:
        counted = columns(some.with_expert_size(size), space.vocab_size)
        return np.asarray(experts_active_params(counted) / counts.active_params_non_embedding(counted))

    def sparse(size: np.ndarray) -> np.ndarray:
        counted = columns(some.with_expert_size(size), space.vocab_size)
        return np.asarray(counts.active_params(counted) / counts.total_params(counted))

    def deep(size: np.ndarray) -> np.ndarray:
        active = counts.active_params(columns(some.with_expert_size(size), space.vocab_size))
        return np.asarray(some.num_layers >= 15 * (active / 1e9) ** 0.25)

    def inside(size: np.ndarray) -> np.ndarray:
        found: np.ndarray = (share(size) >= 0.45) & (share(size) <= 0.85) & (sparse(size) >= 0.03) & deep(size)
        return found

    left = first <= last
    assert 100 < left.sum() < 20_000
    assert inside(first)[left].all()
    assert inside(last)[left].all()
    narrower = left & (first > some.expert_size)
    wider = left & (last < space.widest_size(some.hidden_size))
    assert narrower.sum() > 20
    assert wider.sum() > 20
    assert not inside(first - 64)[narrower].any()
    assert not inside(last + 64)[wider].any()
    grid = some.expert_size + 64 * np.random.default_rng(1).integers(0, 60, len(some))
    on_axis = grid <= space.widest_size(some.hidden_size)
    assert (inside(grid) == ((first <= grid) & (grid <= last)))[on_axis].all()
