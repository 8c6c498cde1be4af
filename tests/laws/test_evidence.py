"""The scoreboard of laws: as the public tables give it, against another's count of the same, and its arithmetic."""

from itertools import combinations

import numpy as np
import pytest

from moewright import laws
from moewright.laws.judging.back_test import KINDS, TrainedRuns, score
from moewright.laws.judging.evidence import EvidenceScore
from tests.laws.evidence_tables import DATA, TABLES, PublicTable
from tests.test_cli import run

ALIKE = "any two trained alike"
# Pairs that all six laws decide together, and that each ranks right, counted by someone else from the same tables.
UNANIMOUS = {"joint_moe": 0.52, "clark_routing": 0.74, "marin": 0.09, "slicing_low": 0.31, "slicing_high": 0.31}
COUNTED_BEFORE = {
    "joint_moe": {"zhao2025": 0.94, "ludziejewski2025": 0.98, "clark2022": 0.94, "krajewski2024": 0.94}
    | {"abnar2025": 0.94, "ling2025": 0.66, "minimax regret": 0.94},
    "clark_routing": dict.fromkeys(("zhao2025", "ludziejewski2025", "clark2022", "krajewski2024", "abnar2025"), 1.0),
    "marin": dict.fromkeys(("zhao2025", "ludziejewski2025", "clark2022", "krajewski2024", "abnar2025"), 1.0),
    "slicing_low": {"abnar2025": 0.80},
}


@pytest.mark.parametrize("public", TABLES, ids=lambda table: table.name)
def test_the_record_is_what_the_tables_give(public: PublicTable) -> None:
    if not (DATA / public.file).exists():
        pytest.skip(f"the public table {public.file} is not here: docs/evidence.md says where it is published")
    kept = laws.evidence()
    assert public.describe() in kept.tables
    found = score(public.read())
    expected = [each for each in kept.scores if each.table == public.name]
    assert [(each.kind, each.scorer) for each in found] == [(each.kind, each.scorer) for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert numbers(one) == pytest.approx(numbers(other), abs=0.002, nan_ok=True), one


def numbers(one: EvidenceScore) -> list[float]:
    values = (one.comparisons, one.groups, one.decided, one.accuracy, one.regret)
    return [np.nan if value is None else float(value) for value in values]


def test_what_is_decided_is_right_in_every_table_and_kind() -> None:
    """The promise of `judge`: .97 right where it decides, and as much decided as by unanimity of all laws."""
    kept = laws.evidence()
    for each in kept.scores:
        if each.scorer.startswith("judge") and each.accuracy is not None:
            assert each.accuracy >= 0.97, each
    for table, share in UNANIMOUS.items():
        assert kept.of(table, ALIKE)["judge, all laws"].decided >= share
    for kind in (kind for kind in KINDS if "fixed total and active" in kind):
        assert not any(kept.of(table.name, kind)["judge"].decided for table in kept.tables if kept.of(table.name, kind))


def test_the_shares_are_those_of_another_count() -> None:
    for table, shares in COUNTED_BEFORE.items():
        found = laws.evidence().of(table, "number of experts")
        for scorer, share in shares.items():
            assert found[scorer].accuracy == pytest.approx(share, abs=0.02), (table, scorer)


def test_a_law_is_right_about_its_own_losses() -> None:
    """60 designs whose measured loss is what one law says: that law and no other is never wrong, by a count by hand."""
    draw = np.random.default_rng(0)
    count = 60
    width = draw.choice([512, 1024], count)
    experts = draw.choice([4, 8, 64, 256], count).astype(float)
    size = draw.choice([0.5, 1.0, 2.0], count) * width
    active = 8.0 * (4 * width**2 + 3 * width * 2 * size)
    columns = {
        "hidden_size": width,
        "num_layers": np.full(count, 8),
        "num_experts": experts,
        "top_k": np.full(count, 2.0),
        "expert_size": size,
        "shared_size": np.zeros(count),
        "active_params_non_embedding": active,
        "total_params_non_embedding": active + 8 * 3 * width * size * (experts - 2),
        "train_tokens": np.full(count, 1e10),
        "cell": draw.choice(["a", "b"], count),
    }
    columns |= {name: columns[f"{name}_non_embedding"] + 64000 * width for name in ("total_params", "active_params")}
    law = laws.get("abnar2025")
    at = {"total_params": columns["total_params"], "train_tokens": columns["train_tokens"], "sparsity": 1 - 2 / experts}
    columns["loss"] = law.loss(**at)
    found = {
        each.scorer: each for each in score(TrainedRuns("synthetic", columns, 0.002, "abnar2025")) if each.kind == ALIKE
    }
    assert (found["abnar2025"].accuracy, found["abnar2025"].regret, found["abnar2025"].own) == (1.0, 0.0, True)

    loss, other = columns["loss"], laws.get("clark2022")
    expected = other.loss(active_params=columns["active_params"], num_experts=experts / 2)
    pairs = [
        (i, j)
        for i, j in combinations(range(count), 2)
        if columns["cell"][i] == columns["cell"][j] and abs(loss[i] - loss[j]) > 0.002
    ]
    right = 0.0
    for i, j in pairs:
        gap = expected[i] - expected[j]
        right += 0.5 if abs(gap) <= 0.001 else float((gap > 0) == (loss[i] > loss[j]))
    assert found["clark2022"].comparisons == len(pairs)
    assert found["clark2022"].accuracy == pytest.approx(right / len(pairs), abs=1e-4)
    cells = [np.flatnonzero(columns["cell"] == cell) for cell in "ab"]
    regret = np.mean([loss[cell[expected[cell].argmin()]] - loss[cell].min() for cell in cells])
    assert found["clark2022"].regret == pytest.approx(regret, abs=1e-4)


def test_the_screen_has_the_answer_first(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "laws", "--evidence")
    assert code == 0
    assert "what `laws.judge` decides" in out.splitlines()[1]
    assert max(map(len, out.splitlines())) <= 80
    assert len(out.splitlines()) <= 40
