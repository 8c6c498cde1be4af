"""Designs against a plain loop over specs, against transformers' modules, and against what the law must imply."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

import moewright
from moewright import Architecture, UserError
from moewright.architecture.cache import cache_bytes_per_sequence
from moewright.architecture.counts import active_params, total_params
from moewright.architecture.storage import weights_bytes
from moewright.design import rank, search, space
from moewright.design.space import Candidates, build
from tests.architecture import oracle

BUDGETS = [
    {"memory": "80GB", "active_params": "3B", "train_tokens": "2T"},
    {"memory": "24GiB", "active_params": "1.5B", "train_tokens": "1T", "weights_dtype": "fp8", "batch": 4},
    {"total_params": "7B", "train_tokens": "100B"},
    {"total_params": "600M", "active_params": "200M", "train_tokens": "20B", "vocab_size": 32_000},
    {"memory": "640GB", "active_params": "30B", "train_tokens": "15T", "weights_dtype": "int4"},
]


def zhao_loss(N: float, Na: float, D: float, K: int, shared: int) -> float:  # noqa: N803
    """The joint law once more, in plain floats (arXiv 2509.23678, fitted coefficients)."""
    G, S = K + shared, shared / (K + shared)  # noqa: N806
    factor = 0.1577 * G + 7.2446 / G + 5.1395 * S**2 - 3.2363 * S
    size = N**-0.2383 + 0.0013 * Na**-0.2383 + 0.0450 * Na / N
    return factor * size + 38.051 * N**-0.2383 + 27129.05 * D**-0.4694 + 31.096 * Na**-0.2383 + 1.8182


def brute_force(
    candidates: Candidates, limits: dict[str, float | None], tokens: float
) -> tuple[float, tuple[int, ...]]:
    """The best loss and its sizes: for every combination the widest experts that fit, found by trying them all."""
    best: tuple[float, tuple[int, ...]] | None = None
    for row in range(len(candidates)):
        widest = None
        for size in range(128, 4 * int(candidates.hidden_size[row]) + 1, 64):
            a = build(candidates.take([row]).with_expert_size(size), 1000, 512)
            costs = {
                "memory_bytes": weights_bytes(a, "fp8") + 2 * cache_bytes_per_sequence(a, 512),
                "total_params": total_params(a),
                "active_params": active_params(a),
            }
            if any(limit is not None and costs[name] > limit for name, limit in limits.items()):
                break
            widest = (size, costs)
        if widest is not None:
            size, costs = widest
            kind = (int(candidates.num_experts[row]), int(candidates.top_k[row]), int(candidates.shared_experts[row]))
            loss = zhao_loss(costs["total_params"], costs["active_params"], tokens, *kind[1:])
            shape = (int(candidates.hidden_size[row]), int(candidates.num_layers[row]), *kind, size)
            best = min(best, (loss, shape)) if best else (loss, shape)
    if best is None:
        raise UserError("no design")
    return best


def test_against_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    r = np.random.default_rng(0)
    everything = space.all_candidates()
    small = np.flatnonzero((everything.hidden_size <= 640) & (everything.num_experts <= 64))
    solved = 0
    for _ in range(50):
        some = everything.take(r.choice(small, 12))
        monkeypatch.setattr(search, "all_candidates", lambda some=some: some)
        monkeypatch.setattr(rank, "all_candidates", lambda some=some: some)
        by_memory = bool(r.random() < 0.5)
        limits: dict[str, float | None] = {
            "memory_bytes": float(10 ** r.uniform(7.5, 9.5)) if by_memory else None,
            "total_params": None if by_memory else float(10 ** r.uniform(7.5, 9.5)),
            "active_params": float(10 ** r.uniform(7, 8.5)) if r.random() < 0.7 else None,
        }
        if limits["total_params"] and limits["active_params"]:
            limits["active_params"] = min(limits["total_params"], limits["active_params"])
        tokens = float(10 ** r.uniform(9, 12))
        asked = {
            "memory": limits["memory_bytes"],
            "total_params": limits["total_params"],
            "active_params": limits["active_params"],
            "train_tokens": tokens,
            "vocab_size": 1000,
            "context": 512,
            "batch": 2,
            "weights_dtype": "fp8",
        }
        try:
            loss, shape = brute_force(some, limits, tokens)
        except UserError:
            with pytest.raises(UserError, match="no design"):
                moewright.design(**asked)  # type: ignore[arg-type]
            continue
        best = moewright.design(**asked).designs[0]  # type: ignore[arg-type]
        assert best.predicted_loss["zhao2025"] == pytest.approx(loss, abs=1e-9)
        assert sizes(best.architecture) == shape
        solved += 1
    assert solved >= 30


def sizes(a: Architecture) -> tuple[int, ...]:
    """Width, depth, E, K, shared, expert size."""
    moe = a.moe_layers()[0][1]
    group, shared = moe.groups[0], moe.shared.count if moe.shared else 0
    return (a.hidden_size, a.num_layers, group.count, group.top_k, shared, group.expert_size)


@pytest.mark.parametrize("asked", BUDGETS, ids=lambda asked: "-".join(map(str, asked.values())))
def test_designs_are_within_budgets_and_buildable(asked: dict[str, object], tmp_path: Path) -> None:
    answer = moewright.design(**asked)  # type: ignore[arg-type]
    assert 3 <= len(answer.designs) <= 10
    losses = [design.predicted_loss["zhao2025"] for design in answer.designs]
    assert losses == sorted(losses)
    for design in answer.designs:
        for name in ("memory_bytes", "total_params", "active_params"):
            limit = getattr(answer.budgets, name)
            assert limit is None or getattr(design, name) <= limit
        assert design.binding
        assert design.regret["zhao2025"] == pytest.approx(design.predicted_loss["zhao2025"] - losses[0])
    assert all(change < 0 for change in answer.shadow_prices["zhao2025"].values())
    answer.write(tmp_path / "out")
    for number, design in enumerate(answer.designs, start=1):
        folder = tmp_path / "out" / f"design-{number:02d}"
        assert Architecture.load(folder / "architecture.yaml") == design.architecture
        assert Architecture.from_hf(folder) == design.architecture
        config = json.loads((folder / "config.json").read_text())
        module = oracle.build(config.pop("model_type"), config)
        assert oracle.count(module) == design.total_params
        assert idle(module) == design.total_params - design.active_params
        assert moewright.inspect(folder).active_params == design.active_params
    assert json.loads((tmp_path / "out" / "designs.json").read_text())["designs"][0]["total_params"] > 0


def idle(module) -> int:  # type: ignore[no-untyped-def]
    """Parameters of the experts that a token does not choose, read off the module's own tensors."""
    experts = [p for name, p in module.named_parameters() if ".experts." in name]
    return sum((p.shape[0] - module.config.num_experts_per_tok) * p[0].numel() for p in experts)


def test_out_must_be_new(tmp_path: Path) -> None:
    answer = moewright.design(total_params="1B", train_tokens="20B", top=2)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("precious")
    with pytest.raises(UserError, match="not an empty folder"):
        answer.write(tmp_path / "taken")
    with pytest.raises(UserError, match="not an empty folder"):
        answer.write(tmp_path / "taken" / "file")
    assert (tmp_path / "taken" / "file").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    answer.write(tmp_path / "empty")
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["design-01", "design-02", "designs.json"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_columns_count_like_architectures() -> None:
    """Random candidates at random expert sizes: the columns' costs equal those of each built architecture."""
    r = random.Random(0)
    everything = space.all_candidates()
    rows = [r.randrange(len(everything)) for _ in range(200)]
    some = everything.take(rows).with_expert_size([64 * r.randrange(2, 40) for _ in rows])
    columns = space.columns(some, 5000)
    totals, actives, stored = total_params(columns), active_params(columns), weights_bytes(columns, "int4")
    for row in range(len(rows)):
        a = build(some.take([row]), 5000, 512)
        assert (total_params(a), active_params(a), weights_bytes(a, "int4")) == (
            totals[row],  # type: ignore[index]
            actives[row],  # type: ignore[index]
            stored[row],  # type: ignore[index]
        )
