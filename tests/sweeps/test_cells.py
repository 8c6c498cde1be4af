"""Cells: recipes and their counts, tokens that follow from FLOPs, and who is told of what does not fit."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.architecture.counts import active_params, total_params, training_flops_per_token
from moewright.architecture.feed_forwards import MoE, SharedExpert
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.sweeps.settings.axes import Axis
from moewright.sweeps.settings.cells import Cell, resolve_cells
from tests.lab import tiny

BATCH = tiny.BATCH * tiny.LENGTH
DATA = {"train": ["train.bin"], "validation": {"near": ["near.bin"]}, "vocab_size": tiny.VOCAB}
LADDER = {"num_layers": [2, 4, 8], "width_per_layer": 16, "head_dim": 8}


def values(**changes: Any) -> dict[str, Any]:
    return tiny.recipe(copy.deepcopy(DATA), 20, **changes)


def cells(*axes: dict[str, Any], beside: Path = Path("/data"), **changes: Any) -> tuple[Cell, ...]:
    return resolve_cells(values(**changes), beside, [Axis.model_validate(axis) for axis in axes])


def recipe(cell: Cell) -> Recipe:
    assert cell.recipe is not None, cell.problem
    return cell.recipe


def mixtures(cell: Cell) -> list[MoE]:
    return [moe for _, moe in recipe(cell).architecture.moe_layers()]


def flops(cell: Cell) -> float:
    one = recipe(cell)
    return one.train_tokens * training_flops_per_token(one.architecture, tiny.LENGTH)


def test_without_axes_the_recipe_itself() -> None:
    (cell,) = cells()
    assert recipe(cell) == Recipe.from_dict(values(), beside=Path("/data"))
    assert (cell.settings, cell.problem) == ({}, None)
    assert cell.counts is not None
    assert (cell.counts.total_drift, cell.counts.active_drift) == (0, 0)


def test_every_cell_is_the_recipe_edited_by_hand() -> None:
    """Dotted keys into mappings that are there, that are not, and into a list; the given recipe stays as it was."""
    before = values()
    made = resolve_cells(
        before,
        Path("/data"),
        [
            Axis.model_validate({"zip": {"balancing.losses.0.weight": [0.1, 0.2], "balancing.z_loss": [0, 0.5]}}),
            Axis.model_validate({"points": [{}, {"schedule.kind": "wsd", "schedule.decay_share": 0.5}]}),
            Axis.model_validate({"grid": {"dispatch.capacity": [None, {"factor": 1.25}], "router.normalize": [True]}}),
        ],
    )
    assert before == values()
    at = 0
    for weight, z in ((0.1, 0), (0.2, 0.5)):
        for schedule in ({}, {"kind": "wsd", "decay_share": 0.5}):
            for capacity in (None, {"factor": 1.25}):
                by_hand = values(
                    balancing={"losses": [{"weight": weight}], "z_loss": z},
                    schedule=schedule,
                    dispatch={"capacity": capacity},
                )
                by_hand["architecture"]["layers"][0]["layers"][0]["feed_forward"]["router"]["normalize"] = True
                assert recipe(made[at]).to_dict() == Recipe.from_dict(by_hand, beside=Path("/data")).to_dict()
                at += 1
    assert len(made) == at
    assert made[1].settings == {
        "balancing.losses.0.weight": 0.1, "balancing.z_loss": 0, "dispatch.capacity": {"factor": 1.25},
        "router.normalize": True,
    }  # fmt: skip


def test_counts_and_drift() -> None:
    """Held widths, and exactly what the router adds: d parameters for each further expert of each layer."""
    made = cells({"ladder": LADDER}, {"grid": {"num_experts": [2, 4, 8, 3]}, "hold": ["active", "total"]})
    for index, cell in enumerate(made):
        depth, experts = (2, 4, 8)[index // 4], (2, 4, 8, 3)[index % 4]
        width = 16 * depth
        if experts == 3:
            assert cell.problem is not None
            assert cell.problem.startswith(f"top_k = 1.5 is not whole (expert_size {width}, top_k 1.5, num_experts 3")
            continue
        architecture, (moe,) = recipe(cell).architecture, mixtures(cell)
        (group,) = moe.groups
        assert (group.count * group.expert_size, group.top_k * group.expert_size) == (3 * width, 3 * width // 2)
        assert (moe.num_experts, moe.shared) == (experts, SharedExpert(expert_size=width // 2))
        counts = cell.counts
        assert counts is not None
        assert counts.total_params == total_params(architecture)
        assert counts.active_params == active_params(architecture)
        assert counts.train_flops == flops(cell)
        more = (experts - 4) * width * depth
        assert counts.total_params - (counts.base_total_params or 0) == more
        assert counts.total_drift == pytest.approx(more / (counts.total_params - more))
        assert counts.active_drift == pytest.approx(more / (counts.active_params - more))


@given(
    target=st.floats(2e8, 1e11),
    axis=st.sampled_from(
        [{"num_experts": [2, 4, 16]}, {"expert_size": [12, 24, 48]}, {"total_ratio": ["7/4", "5/2", 4]}]
    ),
)
@settings(max_examples=60, deadline=None)
def test_flops_are_held_within_half_a_batch(target: float, axis: dict[str, Any]) -> None:
    """60 amounts: no other whole number of batches is nearer."""
    for cell in cells({"grid": {"train_flops": [target], **axis}, "hold": ["flops"]}):
        one = recipe(cell)
        of_a_batch = BATCH * training_flops_per_token(one.architecture, tiny.LENGTH)
        assert one.train_tokens % BATCH == 0
        assert abs(flops(cell) - target) <= of_a_batch / 2 * (1 + 1e-9)


def test_whose_flops_are_held() -> None:
    """The base recipe's, or, where a ladder sets the tokens, those of each rung's own base."""
    experts = {"grid": {"total_ratio": ["7/4", "13/4"], "expert_size": [12, 24]}, "hold": ["active", "flops"]}
    base = Recipe.from_dict(values(train_tokens="200K"), beside=Path("/data"))
    wanted = base.train_tokens * training_flops_per_token(base.architecture, tiny.LENGTH)
    for cell in cells({"ladder": {**LADDER, "num_layers": [2, 4]}}, experts, train_tokens="200K"):
        half = BATCH * training_flops_per_token(recipe(cell).architecture, tiny.LENGTH) / 2
        assert abs(flops(cell) - wanted) <= half
    ruled = {"ladder": {**LADDER, "tokens_per_total_param": 3.0}}
    rungs = cells(ruled)
    for index, cell in enumerate(cells(ruled, experts)):
        half = BATCH * training_flops_per_token(recipe(cell).architecture, tiny.LENGTH) / 2
        assert abs(flops(cell) - flops(rungs[index // 4])) <= half


@pytest.mark.parametrize(
    ("rule", "count"), [("tokens_per_active_param", active_params), ("tokens_per_total_param", total_params)]
)
def test_tokens_by_parameters(rule: str, count: Any) -> None:
    """Up to the next whole batch; a recipe needs no tokens of its own then."""
    given = values()
    del given["train_tokens"]
    axes = [Axis.model_validate({"ladder": {**LADDER, rule: 20.0}}), Axis.model_validate({"grid": {"top_k": [1, 2]}})]
    made = resolve_cells(given, Path("/data"), axes)
    for cell in made:
        wanted = 20 * count(recipe(cell).architecture)
        assert 0 <= recipe(cell).train_tokens - wanted < BATCH
        assert recipe(cell).train_tokens % BATCH == 0
    assert [cell.settings["top_k"] for cell in made] == [1, 2] * 3


def test_architectures_as_an_axis(tmp_path: Path) -> None:
    """Files beside the recipe; what only one of them cannot take is that cell's problem."""
    tiny.save(tiny.architecture(dense=True), tmp_path / "dense.json")
    made = cells(
        {"points": [{"architecture": "dense.json"}, {}]},
        {"points": [{}, {"top_k": 1}]},
        beside=tmp_path,
        balancing={},
    )
    assert [cell.problem for cell in made] == [None, "top_k: the architecture has no experts", None, None]
    assert recipe(made[0]).architecture.moe_layers() == []
    assert [moe.top_k for moe in mixtures(made[3])] == [1]


def test_what_one_cell_cannot_be() -> None:
    """The spec's, the recipe's and the tokens' reasons, each of its cell; the others have recipes."""
    made = cells(
        {
            "points": [
                {"router.num_groups": 3},
                {"batch_tokens": 130},
                {"schedule.decay_share": 0.5},
                {"hidden_size": 64},
                {"router.kind": "hash"},
                {"precision": "fp8"},
            ]
        }
    )
    reasons = ["num_groups (3)", "batch_tokens (130)", "schedule.decay_share has", None, "router.kind", "precision"]
    for cell, reason in zip(made, reasons, strict=True):
        assert (cell.problem is None) == (cell.recipe is not None) == (cell.counts is not None)
        assert reason is None or reason in str(cell.problem)
        assert "\n" not in str(cell.problem)
    (few,) = cells({"grid": {"train_flops": ["1e5"]}})
    assert few.problem is not None
    assert "less than half of one batch" in few.problem


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": [1, 2]}, "list the sweep's `seeds`"),
    "format": ({"format": ["a"]}, "no axis"),
    "near a dial": ({"topk": [1]}, "no setting 'topk'; did you mean top_k?"),
    "near a key": ({"balancing.z_los": [1]}, "did you mean balancing.z_loss?"),
    "near a key in a list": ({"balancing.losses.0.wieght": [1]}, "did you mean balancing.losses.0.weight?"),
    "near a router's field": ({"router.scor": ["softmax"]}, "did you mean router.score?"),
    "beyond a list": ({"balancing.losses.1.weight": [1]}, "balancing.losses has 1 entries"),
    "into a number": ({"learning_rate.multiplier": [1]}, "learning_rate is 0.01, not a mapping"),
    "into an architecture": ({"architecture.hidden_size": [1]}, "did you mean hidden_size?"),
    "no place in a list": ({"balancing.losses.\u00b2.weight": [1]}, "no setting 'balancing.losses"),
    "a place of thousands of digits": ({f"balancing.losses.{'9' * 5000}.weight": [1]}, "no setting 'balancing.losses"),
    "beneath a leaf": ({"seed.a": [1]}, "no setting 'seed.a'"),
    "not whole": ({"top_k": [1, 1.5]}, "top_k: expected an integer from 1 to 10^8, found 1.5"),
    "no number": ({"train_flops": ["many"]}, "train_flops"),
    "no number of FLOPs": ({"train_flops": [[1]]}, "train_flops: [1] is not a count"),
    "no tokens": ({"tokens_per_active_param": [0]}, "tokens_per_active_param: 0"),
    "no such file": ({"architecture": ["nowhere.yaml"]}, "nowhere.yaml: cannot be read"),
    "no file at all": ({"architecture": [3]}, "architecture: 3"),
    "one too many": ({"expert_size": [1], "top_k": [1]}, "one too many"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_cell_can_be(name: str) -> None:
    grid, said = REFUSED[name]
    with pytest.raises(UserError) as caught:
        cells({"grid": grid, "hold": ["active"]})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recipes_that_no_sweep_can_use() -> None:
    dense = tiny.architecture(dense=True)
    top_k = {"grid": {"top_k": [1]}}
    for axes, changes, said in (
        ([top_k], {"architecture": dense}, "axes: top_k: the architecture has no experts"),
        ([{"grid": {"router.score": ["sigmoid"]}}], {"architecture": dense}, "router.score: the architecture has no"),
        ([{"grid": {"precision": ["bf16"]}, "hold": ["total"]}], {"architecture": dense}, "hold: total"),
        ([top_k], {"learning_rat": 1}, "did you mean learning_rate?"),
    ):
        with pytest.raises(UserError) as caught:
            cells(*axes, **changes)
        assert said in str(caught.value)
    incomplete: list[tuple[str, list[dict[str, Any]]]] = [
        ("batch_tokens", [top_k]),
        ("train_tokens", [top_k]),
        ("architecture", [{"points": [{"architecture": tiny.architecture()}], "hold": ["flops"]}]),
        ("train_tokens", [{"grid": {"top_k": [1]}, "hold": ["flops"]}]),
    ]
    for missing, needing in incomplete:
        given = values()
        del given[missing]
        with pytest.raises(UserError, match=missing):
            resolve_cells(given, Path(), [Axis.model_validate(axis) for axis in needing])


def test_groups_are_set_by_a_mix() -> None:
    """A base of two groups follows a ladder, and takes no single expert size."""
    share = {"active_share": "1/2", "total_share": "1/2"}
    mix = [{"expert_share": "3/16", **share}, {"expert_share": "3/8", **share}]
    (mixed,) = cells({"grid": {"mix": [mix], "total_ratio": [4]}, "hold": ["active"]})
    base: dict[str, Any] = {"architecture": recipe(mixed).architecture.to_dict()}
    made = cells({"ladder": LADDER}, **base)
    assert [[g.expert_size for g in mixtures(cell)[0].groups] for cell in made] == [[12, 24], [24, 48], [48, 96]]
    with pytest.raises(UserError, match="expert_size: the architecture's experts are of 2 groups; set them with mix"):
        cells({"grid": {"expert_size": [12]}}, **base)


def test_cells_need_no_torch() -> None:
    program = "import sys, moewright.sweeps.settings.cells; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
