"""Times of runs: the model's arithmetic by oracles, the timetable by a slow clock, a real measurement of tiny runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.sweeps.foresight.calibration import Calibration, Measured, calibrate, calibration_of, evaluations
from moewright.sweeps.foresight.makespan import Task, makespan
from moewright.sweeps.foresight.step_speed import TERMS, SpeedModel, StepShape, fit_speed, shape_of, spread
from moewright.sweeps.running.local_executor import LocalExecutor
from moewright.sweeps.sweep_spec import Execution
from tests.lab.tiny import architecture, recipe

SCALES = {"flops": 1e9, "layers": 4.0, "experts": 60.0, "params": 1e6}


def shapes(number: int, seed: int) -> list[StepShape]:
    r = np.random.default_rng(seed)
    return [
        StepShape(f"s{i}", "fp32 adamw", {name: scale * r.lognormal() for name, scale in SCALES.items()})
        for i in range(number)
    ]


@settings(max_examples=150, deadline=None)
@given(st.integers(5, 12), st.integers(0, 10**6), st.floats(0, 0.5))
def test_the_speed_model_is_the_non_negative_least_squares_of_relative_errors(n: int, seed: int, noise: float) -> None:
    r = np.random.default_rng(seed)
    some = shapes(n, seed)
    true = {name: r.choice([0.0, 1.0]) * 10 / SCALES[name] for name in TERMS} | {"layers": 1.0}
    seconds = [sum(true[name] * s.work[name] for name in TERMS) * np.exp(noise * r.normal()) for s in some]
    model = fit_speed(some, seconds)
    relative = np.array([[s.work[name] / t for name in TERMS] for s, t in zip(some, seconds, strict=True)])
    scale = relative.max(axis=0)
    expected, residual = nnls(relative / scale, np.ones(n))
    found = np.array([model.coefficients[name] for name in TERMS])
    assert found.min() >= 0
    assert np.linalg.norm(relative @ found - 1) == pytest.approx(residual, abs=1e-6)
    assert relative @ found == pytest.approx(relative @ (expected / scale), abs=1e-5)


def test_the_error_is_that_of_shapes_left_out_in_turn() -> None:
    some = shapes(6, 3)
    seconds = [0.1 * (i + 1) for i in range(6)]
    missed = []
    for i in range(6):
        others = fit_speed(some[:i] + some[i + 1 :], seconds[:i] + seconds[i + 1 :])
        missed.append(others.seconds(some[i]) / seconds[i] - 1)
    assert fit_speed(some, seconds).error == pytest.approx(np.sqrt(np.mean(np.square(missed))))
    assert fit_speed(some[:2], seconds[:2]).error is None


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_model_of_few_shapes_has_fewer_terms_than_them(number: int) -> None:
    some = shapes(number, 1)
    model = fit_speed(some, [1.0] * number)
    assert sum(value > 0 for value in model.coefficients.values()) <= max(1, number - 1)
    assert model.seconds(shapes(5, 2)[4]) > 0


def test_the_spread_begins_with_the_largest_and_meets_every_kind_early() -> None:
    some = shapes(12, 5)
    some[7] = StepShape("other", "bf16 adamw", some[7].work)
    order = spread(some)
    assert sorted(shape.key for shape in order) == sorted(shape.key for shape in some)
    assert order[0] == max(some, key=lambda shape: shape.work["flops"])
    assert "other" in {shape.key for shape in order[:2]}
    assert spread([]) == []


def test_shapes_are_equal_for_what_a_step_takes_no_longer_for(data: dict[str, Any]) -> None:
    base = shape_of(Recipe.from_dict(recipe(data)))
    same: list[dict[str, Any]] = [{"seed": 3}, {"learning_rate": 0.5}, {"steps": 20}, {"evaluation": {"sequences": 2}}]
    assert all(shape_of(Recipe.from_dict(recipe(data, **change))) == base for change in same)
    different: list[dict[str, Any]] = [
        {"precision": "bf16"},
        {"recompute": True},
        {"batch_tokens": 256},
        {"micro_batch_sequences": 4},
        {"architecture": architecture(width=48)},
        {"dispatch": {"capacity": {"factor": 1.0}}},
    ]
    keys = {shape_of(Recipe.from_dict(recipe(data, **change))).key for change in different}
    assert len(keys | {base.key}) == len(different) + 1
    accumulated = shape_of(Recipe.from_dict(recipe(data, micro_batch_sequences=2)))
    assert accumulated.work["layers"] == 4 * base.work["layers"] == 8.0
    assert (base.work["experts"], accumulated.work["experts"]) == (2 * 4, 4 * 2 * 4)


@pytest.mark.parametrize("every", [None, 128, 200, 256, 1000, 10**6])
def test_evaluations_are_counted_as_the_loop_makes_them(data: dict[str, Any], every: int | None) -> None:
    given = Recipe.from_dict(recipe(data, steps=9, evaluation={"every_tokens": every}))
    count = 1
    for step in range(1, given.total_steps):
        tokens = step * given.batch_tokens
        count += every is not None and tokens // every > (tokens - given.batch_tokens) // every
    assert evaluations(given) == count


def test_a_run_takes_its_start_its_steps_and_its_evaluations(data: dict[str, Any]) -> None:
    given = Recipe.from_dict(recipe(data, steps=10, evaluation={"every_tokens": 640}))
    shape = shape_of(given)
    made = calibration_of("by hand", [Measured(shape, 0.5, 0.25)], 3.0)
    # 2 evaluations of 300 tokens, each a quarter of 0.5 s / 128 tokens.
    assert made.run_seconds(given, 300) == pytest.approx(3 + 10 * 0.5 + 2 * 300 * 0.25 * 0.5 / 128)
    half = 3 + 5 * 0.5 + 300 * 0.25 * 0.5 / 128
    assert made.run_seconds(given, 300, done_steps=5) == pytest.approx(half)
    json.dumps(made.answer().to_dict(), allow_nan=False)


def test_a_kind_that_was_not_measured_is_taken_for_the_slowest() -> None:
    some = shapes(3, 1)
    models = {kind: SpeedModel({"layers": value}, None) for kind, value in (("a", 1.0), ("b", 2.0))}
    made = Calibration("by hand", 0.0, 0.3, {}, models)
    assert made.step_seconds(some[0]) == pytest.approx(2 * some[0].work["layers"])


def slow_clock(tasks: list[Task], slots: int) -> int:
    """The same rules, second by second."""
    waiting, now = list(range(len(tasks))), 0
    under_way: dict[int, int] = {}
    while waiting or under_way:
        for i in [i for i, end in under_way.items() if end == now]:
            del under_way[i]
        while len(under_way) < slots:
            unfinished = set(waiting) | set(under_way)
            free = [
                i
                for i in waiting
                if tasks[i].group is None
                or not any(tasks[j].group == tasks[i].group and tasks[j].level < tasks[i].level for j in unfinished)
            ]
            if not free:
                break
            first = min(free, key=lambda i: (not tasks[i].is_tuning, -tasks[i].flops))
            waiting.remove(first)
            under_way[first] = now + int(tasks[first].seconds)
        now += 1 if under_way else 0
    return now


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from([None, "a", "b"]), st.integers(0, 2)), min_size=1, max_size=12
    ),
    st.integers(1, 4),
)
def test_the_timetable_is_that_of_a_slow_clock(given: list[tuple[int, str | None, int]], slots: int) -> None:
    # FLOPs all differ, so that no order is a matter of taste.
    tasks = [
        Task(float(seconds), 100.0 * seconds + i, group, level if group else 0, level == 0)
        for i, (seconds, group, level) in enumerate(given)
    ]
    assert makespan(tasks, slots) == slow_clock(tasks, slots)


def test_main_runs_wait_for_their_group_and_fill_the_slots_meanwhile() -> None:
    tune = Task(10, 10, "a", 0, True)
    main = Task(4, 4, "a", 1)
    free = Task(7, 7)
    assert makespan([tune, main], 2) == 14
    assert makespan([tune, main, free, free], 2) == 14
    assert makespan([tune, main, free, free], 1) == 28
    assert makespan([], 2) == 0


def test_steps_of_tiny_runs_are_measured_in_processes_of_their_own(data: dict[str, Any]) -> None:
    recipes = [Recipe.from_dict(recipe(data, architecture=architecture(width=width))) for width in (16, 32, 48)]
    told = []
    one = LocalExecutor(Execution(cores_per_run=1), 1)
    made = calibrate(recipes, one, lambda done, total: told.append((done, total)), seconds=60)  # or 50 steps
    assert told[-1] == (3, 3)
    assert set(made.measured) == {shape_of(one).key for one in recipes}
    assert min(made.measured.values()) > 0
    assert made.start_seconds > 0
    assert made.validation_share > 0
    assert "3 of 3" in made.source


def test_what_kept_a_measurement_from_its_first_step_is_told(data: dict[str, Any]) -> None:
    broken = Recipe.from_dict(recipe(data))
    Path(data["train"][0]).unlink()
    with pytest.raises(UserError, match=r"calibration: no step could be measured: .*train\.bin"):
        calibrate([broken], LocalExecutor(Execution(cores_per_run=1), 1), lambda done, total: None, seconds=1)
