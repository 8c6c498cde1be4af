"""The complete search against trying everything, and its bounds against the values that they bound."""

from typing import Any

import numpy as np
import pytest

from moewright.designs.branch_and_bound import FeasibleSet, best_of_each_law, search_problem
from moewright.designs.budgets import make_budgets
from moewright.designs.candidates import Candidates, join
from moewright.designs.groups import groups_of
from moewright.designs.intervals import IntervalColumn
from moewright.designs.judges import choose_judges, least_losses, losses
from moewright.designs.preference import choose_design
from moewright.designs.space import Space
from moewright.laws import judges
from tests.designs import brute_force

PUBLISHED = ("zhao2025", "ludziejewski2025", "clark2022", "krajewski2024", "abnar2025", "ling2025")


def random_question(r: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """A small space and budgets that some of it is within."""
    space: dict[str, Any] = {
        "widths": sorted(int(w) for w in r.choice([256, 384, 512, 768], 2, replace=False)),
        "depths": sorted(int(depth) for depth in r.choice([4, 6, 8, 12], 2, replace=False)),
        "experts": sorted(int(e) for e in r.choice([8, 16, 64], 2, replace=False)),
        "top_k": sorted(int(k) for k in r.choice([1, 2, 3, 6], 2, replace=False)),
        "shared_experts": [0, int(r.integers(1, 3))],
        "dense_first": [0, int(r.choice([1, 3]))],
        "least_width_over_depth": float(r.choice([32, 42])),
        "most_width_over_depth": 128.0,
        "least_active_share": float(r.choice([0, 1 / 64, 1 / 16])),
        "most_active_share": float(r.choice([0.25, 0.5])),
        "least_expert_size": int(r.choice([128, 256])),
        "least_expert_size_over_width": float(r.choice([0, 0.3])),
        "most_expert_size_over_width": float(r.choice([1.5, 2.5])),
        "least_experts_share": float(r.choice([0, 0.35, 0.45])),
        "least_layers_at_1b_active": float(r.choice([0, 8, 12])),
        "most_experts_share": float(r.choice([0.83, 0.93, 1])),
        "least_active_over_total": float(r.choice([0, 0.07, 0.1])),
    }
    if r.random() < 0.5:  # what layers have beyond their sizes: one or two of the axes, each with one or two values
        axes: dict[str, list[Any]] = {
            "window": [[0], [64], [0, 64]],
            "linear_attention": [[True], [False, True]],
            "attention": [["latent"], ["grouped", "latent"]],
            "latent_experts": [[0.5], [0.0, 0.5]],
            "tie_embeddings": [[True], [False, True]],
        }
        for name in r.choice(list(axes), 2, replace=False):
            space[str(name)] = axes[str(name)][int(r.integers(len(axes[str(name)])))]
        if "linear_attention" in space:
            space.pop("window", None)
        space |= {"full_every": [int(r.integers(1, 6))], "latent_rank": [32], "query_rank": [int(r.choice([0, 48]))]}
    if r.random() < 0.25:  # how a model is served, and blocks that are trained beside it
        formats = [["fp8"], ["asked", "int4"], ["bf16", "nvfp4"]], [["asked"], ["fp8"], ["asked", "fp8"]]
        names = ("weights_dtype", "kv_dtype")
        space |= {name: each[int(r.integers(3))] for name, each in zip(names, formats, strict=True)}
        space["prediction_blocks"] = [[0], [1], [0, 2]][int(r.integers(3))]
    by_memory = bool(r.random() < 0.5)
    size = float(10 ** r.uniform(7.7, 9.4))
    by_tokens = bool(r.random() < 0.5)
    asked = {
        "memory" if by_memory else "total_params": size,
        "active_params": size * float(10 ** r.uniform(-1.2, -0.1)) if r.random() < 0.7 else None,
        "train_tokens" if by_tokens else "train_flops": float(10 ** r.uniform(*((9, 12) if by_tokens else (17, 22)))),
        "weights_dtype": str(r.choice(["bf16", "fp8", "int4", "mxfp4"])),
    }  # fmt: skip
    return space, asked


def test_the_laws_that_may_judge_say_so() -> None:
    assert tuple(law.name for law in judges()) == PUBLISHED


@pytest.mark.parametrize("seed", range(60))
def test_the_search_equals_trying_everything(seed: int) -> None:
    r = np.random.default_rng(seed)
    lists, asked = random_question(r)
    names: tuple[str, ...] = PUBLISHED if seed % 3 else (PUBLISHED[seed // 3 % len(PUBLISHED)],)
    if "train_flops" in asked:  # clark2022 does not see tokens, which then differ
        names = tuple(name for name in names if name != "clark2022") or ("abnar2025",)
    expected = brute_force.solve(lists, asked, names)
    space = Space.model_validate({**lists, "vocab_size": brute_force.VOCABULARY})
    budgets = make_budgets({**asked, "context": brute_force.CONTEXT, "batch": 2})
    problem = search_problem(groups_of(space), budgets, choose_judges(names, budgets))
    assert problem.groups.num_designs == sum(1 for _ in brute_force.every_design(lists))
    within = FeasibleSet(problem)
    assert within.designs == expected.num_within
    if not expected.num_within:
        return
    best, _ = best_of_each_law(problem, within)
    assert dict(zip(names, best, strict=True)) == pytest.approx(expected.best, abs=1e-9)
    choice = choose_design(problem, within, "loss")
    assert choice.hearing.laws == expected.heard
    found = choice.undecided
    assert {of_row(found.designs, row) for row in range(len(found.designs))} == expected.undecided
    assert len(found.designs) == len(expected.undecided)
    mean = choice.hearing.mean_by_law(found.losses)
    assert expected.least_mean is not None
    assert mean.min() == pytest.approx(expected.least_mean[0], abs=1e-9)
    assert of_row(choice.designs, 0) in {
        of_row(found.designs, int(row)) for row in np.flatnonzero(mean <= mean.min() + 1e-9)
    }


def of_row(designs: Candidates, row: int) -> brute_force.Sizes:
    """In the brute force's order."""
    names = ("hidden_size", "num_layers", "dense_first", "num_experts", "top_k", "shared_experts", "expert_size")
    sizes, plan = designs.sizes(row), designs.plan_of(row)
    layers = plan.window, plan.full_every, int(plan.linear), plan.latent_rank, plan.query_rank
    served = plan.weights or "asked", plan.cache or "asked", plan.blocks
    return (*(sizes[name] for name in names), *layers, round(64 * plan.latent_experts), int(plan.tied), *served)


def test_enough_of_the_random_budgets_hold_designs() -> None:
    """The comparison above must not pass for want of designs."""
    held = [
        brute_force.solve(lists, {**asked, "train_tokens": 1e12}, ("clark2022",))
        for lists, asked in (random_question(np.random.default_rng(seed)) for seed in range(60))
    ]
    assert sum(answer.num_within > 10 for answer in held) >= 50
    assert sum(1 < len(answer.undecided) < answer.num_within for answer in held) >= 30


@pytest.mark.parametrize("budget", [{"train_tokens": 2e12}, {"train_flops": 1e23}], ids=["tokens", "flops"])
def test_bounds_hold_over_whole_ranges(budget: dict[str, float]) -> None:
    """No design between two expert sizes is better than the bound of their range, under any law, however wide."""
    r = np.random.default_rng(0)
    groups = groups_of(Space.wide())
    budgets = make_budgets({"total_params": 1e15, **budget})
    problem = search_problem(groups, budgets, choose_judges(None, budgets))
    chunk = join(list(problem.groups.chunks()))
    some = chunk.take(r.choice(len(chunk), 3000))
    first = 64 * r.integers(2, 9, len(some))
    last = first + 64 * r.integers(0, 25, len(some))
    ends = problem.variables(some.with_expert_size(first)), problem.variables(some.with_expert_size(last))
    for judge in problem.judges:
        bound = least_losses(judge, *ends)
        for share in (0.0, 0.1, 0.4, 0.7, 1.0):
            sizes = first + ((last - first) * share).astype(np.int64) // 64 * 64
            values = losses(judge, problem.variables(some.with_expert_size(sizes)))
            assert np.all(bound <= values + 1e-12), judge.name
        single = first == last
        values = losses(judge, problem.variables(some.with_expert_size(first)))
        assert bound[single] == pytest.approx(values[single], abs=1e-12)


def test_intervals_enclose() -> None:
    """Random numbers between the ends of random intervals give results between the ends of the result."""
    r = np.random.default_rng(1)
    low = r.uniform(-3, 3, (2, 2000))
    high = low + r.uniform(0, 2, (2, 2000))
    x, y = (IntervalColumn(low[i], high[i]) for i in range(2))
    a, b = r.uniform(low, high)
    positive = IntervalColumn(np.exp(low[0]), np.exp(high[0]))
    for interval, value in (
        (x + y, a + b),
        (x - y, a - b),
        (x * y, a * b),
        (-x, -a),
        (x * -2.5, a * -2.5),
        (3.0 / x, 3.0 / a),
        (x / y, a / b),
        (x**2, a**2),
        (np.exp(x), np.exp(a)),
        (np.log(positive) + np.log10(positive) + np.log2(positive), a * (1 + np.log10(np.e) + np.log2(np.e))),
        (positive**y, np.exp(a) ** b),
        (0.5**y, 0.5**b),
    ):
        slack = 1e-9 * (1 + np.abs(value))
        assert np.all(interval.low <= value + slack)
        assert np.all(value <= interval.high + slack)
