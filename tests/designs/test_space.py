"""The space: printed and read back, changed by a file, and rules that leave nothing say which rule it was."""

import re
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright import UserError
from moewright.designs.budgets import make_budgets
from moewright.designs.groups import groups_of
from moewright.designs.space import Space, describe_space, load_space


def test_the_default_space_is_large_and_prints_itself(tmp_path: Path) -> None:
    assert groups_of(Space()).num_designs > 5e6
    assert groups_of(Space.wide()).num_designs > 1e8
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
        for _ in range(max(256, width // 4), 2 * width + 1, 128)
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


def test_a_format_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("widths: [1024]\nexperts: [64]\nweights_dtype: [fp8, int4]")
    asked = {"total_params": "3B", "train_tokens": "1T", "space": path}
    with pytest.raises(UserError, match=r"^weights-dtype: int4 was given, and the space lists fp8, int4"):
        moewright.design(**asked, weights_dtype="int4")  # type: ignore[call-overload]
    path.write_text("widths: [1024]\nexperts: [64]\nweights_dtype: [asked, fp8]")
    moewright.design(**asked, weights_dtype="int4")  # type: ignore[call-overload]
    answers = []
    for listed in ("[fp8, int4]", "[asked, fp8, int4]"):  # asked is fp8 then, of which one copy is searched
        path.write_text(f"widths: [1024]\nexperts: [64]\nweights_dtype: {listed}")
        more = {"weights_dtype": "fp8"} if "asked" in listed else {}
        answers.append(moewright.design(**asked, **more))  # type: ignore[call-overload]
    assert len({each.considered for each in answers}) == 1
    assert len({each.undecided.count for each in answers}) == 1
    assert answers[0].designs[0].sizes == answers[1].designs[0].sizes


def test_a_vocabulary_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("vocab_size: 32000")
    with pytest.raises(UserError, match="vocab-size"):
        moewright.design(total_params="3B", train_tokens="1T", space=path, vocab_size=50_000)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"widths": range(512, 13_312, 64), "depths": range(4, 204)}, "combinations, more than the 10,000,000"),
        (
            {"widths": range(64, 64_064, 64), "depths": range(1, 1001), "least_width_over_depth": 1e-3}
            | {"most_width_over_depth": 1e6, "kv_heads": range(1000), "dense_first": range(1000)},
            "shapes are more than the 500,000",
        ),
        (
            {"experts": range(1, 1001), "top_k": range(1, 1001), "shared_experts": range(1000)},
            "mixtures are more than the 500,000",
        ),
        (
            {"widths": [10**6], "depths": [10**6], "least_width_over_depth": 0.1, "experts": [10**6]}
            | {"least_active_share": 0.0},
            "parameters, more than the 1e+15 that are counted exactly",
        ),
    ],
)
def test_spaces_that_are_too_large_are_refused_at_once(space: dict[str, Any], said: str) -> None:
    given = {name: list(values) if isinstance(values, range) else values for name, values in space.items()}
    if "combinations" in said:
        given |= {"experts": list(range(8, 108)), "top_k": list(range(1, 33))}
    with pytest.raises(UserError, match=re.escape(said)):
        groups_of(Space.from_dict(given))


@pytest.mark.parametrize("memory", ["1e15", "1e20", "1e30", "1e36"])
@pytest.mark.parametrize("hardware", [None, "H100"])
def test_more_memory_than_any_design_takes_changes_nothing(memory: str, hardware: str | None) -> None:
    """An int64 that overflows would leave only the narrowest experts, or let in what does not fit."""
    space = Space(widths=(1024, 2048), depths=(16, 24), experts=(64, 512), top_k=(2, 8))
    more: dict[str, Any] = {} if hardware is None else {"hardware": hardware, "decode_tokens_per_second": 1e-20}
    found = [moewright.design(memory=each, train_tokens="2T", space=space, **more) for each in ("1e14", memory)]
    assert found[0].designs == found[1].designs


@pytest.mark.parametrize("hardware", [None, "H100"])
def test_a_cache_beyond_int64_fits_nowhere(hardware: str | None) -> None:
    space = Space(widths=(1024,), depths=(16,), experts=(64,), top_k=(2,))
    more: dict[str, Any] = {} if hardware is None else {"hardware": hardware, "decode_tokens_per_second": 1e-20}
    with pytest.raises(UserError, match="no design of the space is within"):
        moewright.design(memory="80GB", train_tokens="2T", space=space, batch=10**8, context=10**8, **more)


@pytest.mark.parametrize("name", ["memory", "total_params", "active_params", "train_tokens", "train_flops"])
@pytest.mark.parametrize("value", ["1e300", "1e-300", "1e309", "nan", "-1", "-0", "0", "1e37", "9" * 400, "٣", "1__e5"])
def test_budgets_at_the_edge_are_refused_in_one_line(name: str, value: str) -> None:
    given: dict[str, Any] = {"total_params": "30B", "train_tokens": "2T"}
    if name == "memory":
        del given["total_params"]
    elif name == "train_flops":
        del given["train_tokens"]
    with pytest.raises(UserError) as caught:
        moewright.design(**(given | {name: value}))
    assert len(str(caught.value)) < 200
    assert str(caught.value).startswith(f"{name.replace('_', '-')}: ")


@pytest.mark.parametrize(
    "asked",
    [
        {"total_params": "7B", "train_tokens": 1e30},
        {"total_params": "7B", "train_tokens": 1e-4},
        {"total_params": "7B", "train_flops": 1e30},
        {"total_params": "7B", "train_flops": 1e-4},
        {"total_params": "7B", "train_tokens": "2T", "serve_tokens": 1e30},
        {"hardware": "H100", "train_device_hours": 1e30},
    ],
)
def test_amounts_beyond_all_reason_are_one_line(asked: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"is out of range; expected") as raised:
        moewright.design(**asked)
    assert "\n" not in str(raised.value)


def test_contexts_take_units() -> None:
    assert make_budgets({"total_params": "7B", "train_tokens": "2T", "context": "128k"}).context == 128_000
