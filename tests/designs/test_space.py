"""The space: printed and read back, changed by a file, and rules that leave nothing say which rule it was."""

from pathlib import Path

import pytest

import moewright
from moewright import UserError
from moewright.designs.groups import groups_of
from moewright.designs.space import Space, describe_space, load_space


def test_the_default_space_is_large_and_prints_itself(tmp_path: Path) -> None:
    assert groups_of(Space()).num_designs > 1e8
    path = tmp_path / "space.yaml"
    path.write_text(describe_space(Space()))
    assert load_space(path) == Space()
    reasons = [field.description for name, field in Space.model_fields.items() if name != "format"]
    assert all(reasons)
    assert all(f"# {reason}" in path.read_text() for reason in reasons)


def test_a_file_changes_the_space(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    rules = ("widths: [512, 1024]", "experts: [48, 96]", "expert_parallel: 16", "kv_heads: [1, 2]")
    path.write_text("\n".join((*rules, "expert_size_step: 128")))
    answer = moewright.design(total_params="3B", train_tokens="1T", space=path, top=5)
    for design in answer.designs:
        assert design.sizes["num_experts"] in (48, 96)
        assert design.sizes["num_kv_heads"] in (1, 2)
        assert design.sizes["expert_size"] % 128 == 0
    assert answer.considered == sum(
        1
        for width, *_ in load_space(path).shapes()
        for _ in load_space(path).mixtures()
        for _ in range(128, 4 * width + 1, 128)
    )


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("widths: [512]\ndepths: [200]", "width/depth"),
        ("experts: [8, 12]\nexpert_parallel: 64", "expert_parallel"),
        ("experts: [8]\ntop_k: [6, 7]", "most_active_share"),
        ("target: qwen3_moe\nshared_experts: [1, 2]", "target qwen3_moe"),
        ("target: dots1\nshared_experts: [0]", "target dots1"),
        ("top_k: [1]\nshared_experts: [2, 3]", "shared_experts"),
        ("depths: [16]\ndense_first: [20]", "dense_first"),
        ("kv_heads: [11]", "kv_heads"),
        ("least_expert_size: 64000", "least_expert_size"),
        ("least_expert_size: 100", "multiple of expert_size_step"),
        ("least_width_over_depth: 300", "least_width_over_depth"),
        ("widths: []", "widths"),
        ("widths: [512, 512]", "twice"),
        ("widths: [-512]", "widths"),
        ("width: [512]", "width"),
        ("target: gpt2", "target"),
        ("top_k: many", "top_k"),
        ("format: moewright-space/7", "format"),
        ("- 1", "mapping"),
    ],
)
def test_spaces_that_cannot_be(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=named) as raised:
        moewright.design(total_params="3B", train_tokens="1T", space=path)
    assert "\n" not in str(raised.value)


def test_a_vocabulary_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("vocab_size: 32000")
    with pytest.raises(UserError, match="vocab-size"):
        moewright.design(total_params="3B", train_tokens="1T", space=path, vocab_size=50_000)
