"""Verdicts: the same for columns and for single models, the same from both sides, deaf to what a search can game."""

import re
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import moewright
from moewright import Architecture, UserError, hf, laws
from moewright.architecture.columns import (
    ArchitectureColumns,
    AttentionColumns,
    ExpertGroupColumns,
    LayerColumns,
    MoEColumns,
    SharedExpertColumns,
)
from moewright.architecture.counts import (
    active_params,
    active_params_non_embedding,
    total_params,
    total_params_non_embedding,
)
from moewright.hf.loading import load_architecture
from moewright.laws import ComparedDesigns, Law
from moewright.laws.design_axes import AXES, DECIDED_AXES
from moewright.laws.judging import verdicts as verdict_rules
from moewright.laws.judging.judged_models import judge_loaded
from moewright.laws.judging.verdicts import NOISE_NATS, OPEN_NATS
from moewright.laws.variable import Array
from tests.test_cli import run

CASES = 300


def sizes(seed: int, count: int = CASES) -> dict[str, np.ndarray[Any, Any]]:
    """Random mixtures as a designer would list them."""
    draw = np.random.default_rng(seed)
    top_k = draw.integers(1, 9, count)
    return {
        "hidden_size": 128 * draw.integers(4, 33, count),
        "num_layers": draw.integers(8, 49, count),
        "num_experts": top_k * draw.integers(1, 65, count),
        "top_k": top_k,
        "expert_size": 64 * draw.integers(1, 65, count),
        "shared_size": 64 * draw.choice([0, 0, 4, 16], count),
    }


def architecture_columns(of: dict[str, np.ndarray[Any, Any]]) -> ArchitectureColumns:
    """The columns as models that `architecture` builds one by one."""
    mixture = MoEColumns(
        groups=(ExpertGroupColumns(count=of["num_experts"], expert_size=of["expert_size"], top_k=of["top_k"]),),
        shared=SharedExpertColumns(count=(of["shared_size"] > 0).astype(int), expert_size=of["shared_size"]),
    )
    heads = of["hidden_size"] // 128
    attention = AttentionColumns(num_heads=heads, num_kv_heads=heads, head_dim=np.full_like(heads, 128))
    layers = LayerColumns(attention, mixture)
    return ArchitectureColumns(vocab_size=32000, hidden_size=of["hidden_size"], runs=((of["num_layers"], layers),))


def architecture(of: dict[str, np.ndarray[Any, Any]], row: int) -> Architecture:
    size = {name: int(column[row]) for name, column in of.items()}
    heads = size["hidden_size"] // 128
    mixture: dict[str, Any] = {
        "kind": "moe",
        "groups": [{"count": size["num_experts"], "expert_size": size["expert_size"], "top_k": size["top_k"]}],
    }
    if size["shared_size"]:
        mixture["shared"] = {"count": 1, "expert_size": size["shared_size"]}
    mixer = {"kind": "attention", "num_heads": heads, "num_kv_heads": heads, "head_dim": 128}
    return Architecture.from_dict(
        {
            "vocab_size": 32000,
            "hidden_size": size["hidden_size"],
            "layers": [{"repeat": size["num_layers"], "layers": [{"mixer": mixer, "feed_forward": mixture}]}],
        }
    )


def test_columns_judge_as_single_models_do_and_both_sides_agree() -> None:
    first, second = sizes(0), sizes(1)
    one, other = (laws.ComparedDesigns(architecture_columns(of), 2e11) for of in (first, second))
    verdicts = laws.judge_columns(one, other)
    assert 0.3 < verdicts.decided.mean() < 1
    np.testing.assert_array_equal(laws.judge_columns(other, one).direction, -verdicts.direction)
    for row in range(25):
        single = laws.judge(architecture(first, row), architecture(second, row), train_tokens=2e11)
        assert single.better == {-1: "first", 0: None, 1: "second"}[int(verdicts.direction[row])]
        assert single.heard == tuple(np.array(verdicts.laws)[verdicts.heard[:, row]])
        if single.decided:
            assert (single.low, single.high) == pytest.approx((verdicts.low[row], verdicts.high[row]), abs=1e-9)

    table: dict[str, Any] = {**first, "train_tokens": np.full(CASES, 2e11)}
    models = architecture_columns(first)
    for count in (total_params, active_params, total_params_non_embedding, active_params_non_embedding):
        table[count.__name__] = count(models)
    from_table = laws.judge_columns(laws.ComparedDesigns.from_columns(table), other)
    np.testing.assert_array_equal(from_table.direction, verdicts.direction)


def test_a_verdict_is_what_its_rule_says() -> None:
    """By an unvectorised reading of the rule, on 300 comparisons."""
    first, second = (laws.ComparedDesigns(architecture_columns(sizes(seed)), 2e11) for seed in (2, 3))
    verdicts = laws.judge_columns(first, second)
    for row in range(CASES):
        differing = {name for name, column in verdicts.differs.items() if column[row]}
        opinions: list[float] = []
        for place, law in enumerate(laws.judges()):
            blind = any(name not in law.judges.moved for name in differing & DECIDED_AXES)
            tokens = min(float(each.tokens_per_param()[row]) for each in (first, second))
            if differing & law.judges.moved and not blind and tokens >= 0.98 * law.judges.least_tokens_per_param:
                opinions.extend(verdicts.differences[place, :, row])
        margin = OPEN_NATS if differing - DECIDED_AXES else NOISE_NATS
        enough = len(opinions) >= 4 and bool(differing & DECIDED_AXES)  # two laws of two readings
        expected = -1 if enough and max(opinions) < -margin else 1 if enough and min(opinions) > margin else 0
        assert verdicts.direction[row] == expected


def test_open_axes_are_never_decided() -> None:
    """Finer experts at one total and active size, and channels shared in place of routed: 300 cases each."""
    coarse = sizes(4)
    coarse["expert_size"] = 8 * coarse["expert_size"]
    finer = {
        **coarse,
        "num_experts": 4 * coarse["num_experts"],
        "top_k": 4 * coarse["top_k"],
        "expert_size": coarse["expert_size"] // 4,
    }
    assert not judged(coarse, finer).decided.any()
    assert set(np.flatnonzero([judged(coarse, finer).differs[name].all() for name in AXES])) == {
        list(AXES).index("granularity")
    }
    one_shared = {
        **coarse,
        "shared_size": coarse["expert_size"],
        "num_experts": coarse["num_experts"],
        "top_k": coarse["top_k"] + 1,
    }
    routed = {
        **coarse,
        "num_experts": coarse["num_experts"] + 1,
        "top_k": coarse["top_k"] + 2,
        "shared_size": 0 * coarse["top_k"],
    }
    alike = judged(one_shared, routed)
    assert not alike.differs["expansion"].any()
    assert not alike.decided.any()


def test_expansion_cannot_be_gamed() -> None:
    """512 experts of 64 channels beside wide shared ones are not a 512-fold expansion."""
    honest = {name: column[:1] for name, column in sizes(5).items()} | {
        "num_experts": np.array([64]),
        "top_k": np.array([8]),
        "expert_size": np.array([1024]),
        "shared_size": np.array([0]),
    }
    gamed = honest | {
        "num_experts": np.array([512]),
        "top_k": np.array([1]),
        "expert_size": np.array([128]),
        "shared_size": np.array([8064]),
    }
    axis = [laws.ComparedDesigns(architecture_columns(of), 1e12).axis("expansion")[0] for of in (honest, gamed)]
    assert axis == pytest.approx([8, (512 * 128 + 8064) / 8192])
    for law in laws.judges():
        reading = law.judges.expansion
        if reading is not None:  # at the runs' own share of experts both readings are one
            total_over_active = 1 - reading.experts_share + reading.experts_share * 24
            assert reading.readings(24.0, total_over_active)[1] == pytest.approx(reading.of(24.0))


def judged(first: dict[str, Any], second: dict[str, Any]) -> laws.Verdicts:
    one, other = (laws.ComparedDesigns(architecture_columns(of), 1e12) for of in (first, second))
    return laws.judge_columns(one, other)


def test_laws_say_why_they_are_not_heard() -> None:
    large, small = (hf.load_architecture(name).architecture for name in ("deepseek-v3", "kimi-k2"))
    verdict = laws.judge(large, small, train_tokens=2e12, names=("V3", "K2"))
    reasons = {opinion.law: opinion.reason for opinion in verdict.laws}
    assert reasons["krajewski2024"] == "its runs did not move expansion"
    assert "training tokens for each active parameter; its runs had 100 or more" in str(reasons["clark2022"])
    assert not verdict.decided
    assert verdict.mean is None
    assert "hangs on whether expansion multiplies" in verdict.reason
    assert "if expansion multiplies all active parameters, K2 is better" in verdict.assumes
    assert laws.judge(large, large, train_tokens=2e12).reason == "the two are alike on every axis that a law sees"
    assert verdict.to_dict()["better"] is None

    dense = hf.load_architecture("examples/configs/mixtral-8x7b.json").architecture
    assert laws.judge(dense, small, train_tokens=(1e12, 2e12)).reason
    with pytest.raises(UserError, match="hoffmann2022 cannot judge mixtures: it is a law of dense models"):
        laws.judge(large, small, train_tokens=2e12, law=[laws.get("hoffmann2022")])
    with pytest.raises(UserError, match="train_tokens must be above 0"):
        laws.judge(large, small, train_tokens=-1)
    with pytest.raises(UserError, match="needs the column num_layers"):
        laws.ComparedDesigns.from_columns({"hidden_size": [512]})


def test_predict_judges_several(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "predict", "qwen3-30b-a3b", "olmoe-1b-7b", "--train-tokens", "2T")
    assert (code, err) == (0, "")
    first = " ".join(out.split("\n\n")[0].split())
    assert first.startswith("qwen3-30b-a3b is better than olmoe-1b-7b by 0.114 nats (0.053 to 0.174): all 5 laws")
    assert "krajewski2024" in out
    assert "not heard: its runs did not move expansion" not in out
    code, out, err = run(capsys, "predict", "qwen3-30b-a3b", "olmoe-1b-7b", "--train-tokens", "2T", "--explain")
    assert (code, err) == (0, "")
    assert "not heard: its runs did not move expansion" in out
    assert "if expansion multiplies the experts only / all" in " ".join(out.split())

    judged = moewright.predict(["olmoe-1b-7b", "qwen3-30b-a3b", "gpt-oss-20b"], "2T")
    assert isinstance(judged, laws.JudgedModels)
    assert [(pair.first, pair.second, pair.better) for pair in judged.pairs] == [
        ("olmoe-1b-7b", "qwen3-30b-a3b", "second"),
        ("olmoe-1b-7b", "gpt-oss-20b", "second"),
        ("qwen3-30b-a3b", "gpt-oss-20b", None),
    ]


def test_what_is_open_is_not_ordered_in_print(capsys: pytest.CaptureFixture[str]) -> None:
    """No difference is printed, and turning the two round turns only names and columns."""
    both = []
    for models in (("gpt-oss-20b", "qwen3-30b-a3b"), ("qwen3-30b-a3b", "gpt-oss-20b")):
        code, out, _ = run(capsys, "predict", *models, "--train-tokens", "2T")
        assert code == 0
        assert out.startswith(f"open: {models[0]} or {models[1]}: laws disagree")
        assert "better" not in out
        assert not re.search(r"[+-]0\.\d", out)
        both.append(sorted(re.findall(r"[\w.-]+", out)))
    assert both[0] == both[1]
    code, out, _ = run(capsys, "predict", "dbrx", "dbrx", "--train-tokens", "2T")
    assert out.startswith("open: dbrx (1) or dbrx (2): the two are alike")


def test_every_two_of_several_models_read_each_of_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `judge` says of each pair; and no law is evaluated anew for a pair."""
    names = ("qwen3-30b-a3b", "olmoe-1b-7b", "dbrx", "llama-2-7b", "gpt-oss-20b")
    loaded = [load_architecture(name) for name in names]
    alone = {
        (one.name, other.name): laws.judge(
            one.architecture, other.architecture, train_tokens=2e12, names=(one.name, other.name)
        )
        for one, other in combinations(loaded, 2)
    }
    asked: Counter[str] = Counter()
    original = verdict_rules.readings

    def counted(law: Law, designs: ComparedDesigns) -> tuple[Array, Array]:
        asked[law.name] += 1
        return original(law, designs)

    monkeypatch.setattr(verdict_rules, "readings", counted)
    together = judge_loaded(loaded, 2e12).pairs
    assert {(pair.first, pair.second): pair for pair in together} == alone
    assert set(asked.values()) == {len(names)}
