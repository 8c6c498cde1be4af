"""The runs of a sweep: every cell with every seed, once; tuning before the rest; one error for what cannot be."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import moewright
from moewright.errors import UserError
from moewright.experiment.identity import FORMER_CODE
from moewright.experiment.schedule import peak_learning_rate
from moewright.laws.counted_variables import in_conventions
from moewright.sweeps.foresight.sweep_candidates import sweep_candidates
from moewright.sweeps.planner import PlannedRun, Planner
from moewright.sweeps.running.submitting import note_run, runs_beside, submitting
from moewright.sweeps.running.sweeping import planner_in
from moewright.sweeps.sweep_spec import LoadedSweep
from tests.lab.tiny import architecture, recipe

EXPERTS = {"grid": {"num_experts": [4, 8], "learning_rate": [0.01, 0.02]}}


def spec(data: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"recipe": recipe(data), "axes": [EXPERTS], **more}


def planner(values: dict[str, Any]) -> Planner:
    return Planner(LoadedSweep.from_dict(values))


def test_every_cell_is_run_with_every_seed_once(data: dict[str, Any]) -> None:
    plan = planner(spec(data, seeds=[3, 5])).plan({})
    found = {(r.settings["num_experts"], r.settings["learning_rate"], r.recipe.seed) for r in plan.runs}
    assert found == {(e, rate, seed) for e in (4, 8) for rate in (0.01, 0.02) for seed in (3, 5)}
    assert len({run.id for run in plan.runs}) == 8
    assert {run.stage for run in plan.runs} == {"main"}
    assert plan.known == plan.runs
    for run in plan.runs:
        assert run.recipe.architecture.moe_layers()[0][1].num_experts == run.settings["num_experts"]


def test_cells_that_are_equal_are_run_once_and_counted(data: dict[str, Any]) -> None:
    twice = {"points": [{"num_experts": 4}, {"num_experts": 4, "top_k": 2}, {"num_experts": 8}]}
    plan = planner(spec(data, axes=[twice])).plan({})
    assert (len(plan.runs), plan.merged) == (2, 1)


def test_tuned_cells_wait_for_their_group_alone(data: dict[str, Any]) -> None:
    """Two groups by experts, each tuned on one expert size; when one has its losses, its cells are known."""
    axes = [{"grid": {"num_experts": [4, 8], "expert_size": [24, 12]}}]
    tuning = {"multipliers": [0.5, 1, 2], "per": ["num_experts"], "cell": {"expert_size": 12}}
    made = planner(spec(data, axes=axes, seeds=[0, 1], tuning=tuning))
    first = made.plan({})
    trials = [run for run in first.runs if run.stage == "tune"]
    assert len(trials) == 6
    assert len(first.known) == 6
    assert {run.settings["expert_size"] for run in trials} == {12}
    assert [peak_learning_rate(run.recipe) for run in trials[:3]] == [0.005, 0.01, 0.02]

    def losses(experts: int) -> dict[str, float | None]:
        """Of a group's trials, least at 1.2 times the recipe's rate."""
        return {
            run.id: 3 + math.log(peak_learning_rate(run.recipe) / 0.012) ** 2
            for run in trials
            if run.settings["num_experts"] == experts
        }

    half = made.plan(losses(4))
    assert {name: found.multiplier for name, found in half.tuned.items()} == {
        "num_experts 4": 1.2,
        "num_experts 8": None,
    }
    ready = [run for run in half.known if run.stage == "main"]
    assert len(ready) == 4
    assert {peak_learning_rate(run.recipe) for run in ready} == {0.012}
    assert {run.settings["num_experts"] for run in ready} == {4}
    whole = made.plan({**losses(4), **losses(8)})
    assert len(whole.known) == len(whole.runs) == 14
    assert whole == made.plan({**losses(8), **losses(4)})


def test_a_trial_at_the_promoted_rate_is_a_main_run_too(data: dict[str, Any]) -> None:
    axes = [{"grid": {"num_experts": [4]}}]
    made = planner(spec(data, axes=axes, seeds=[0, 1], tuning={"per": ["num_experts"], "promote": "best"}))
    losses: dict[str, float | None] = {
        run.id: abs(peak_learning_rate(run.recipe) - 0.01) for run in made.plan({}).known
    }
    plan = made.plan(losses)
    assert sorted((run.stage, run.recipe.seed) for run in plan.runs) == [
        ("main", 1),
        ("tune", 0),
        ("tune", 0),
        ("tune+main", 0),
    ]


def test_impossible_cells_are_named_and_the_others_run(data: dict[str, Any]) -> None:
    made = planner(spec(data, axes=[{"grid": {"num_experts": [1, 4], "top_k": [2]}}]))
    assert len(made.plan({}).runs) == 1
    (cell,) = made.invalid
    assert cell.settings == {"num_experts": 1, "top_k": 2}
    assert cell.problem is not None
    assert "\n" not in cell.problem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedes": [1]}, "sedes: unknown key; did you mean seeds?"),
        ({"axes": [{"gird": {"top_k": [1]}}]}, r"axes\[0\]: no key 'gird' .*did you mean grid"),
        ({"axes": [{"grid": {"num_expert": [4]}}]}, "num_experts"),
        ({"axes": [{"grid": {"num_experts": [1], "top_k": [2]}}]}, "no cell has a model; the first: "),
        ({"axes": [{"grid": {"seed": [1]}}]}, "seeds"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "seeds has a value twice"),
        ({"tuning": {"multipliers": [1, 2]}}, "tuning.multipliers"),
        ({"tuning": {"multipliers": [0.5, 1, 1e30]}}, "multipliers: 1e[+]30 times the recipe's own learning rate"),
        ({"tuning": {"multipliers": [0.5, 1, 1.0001]}}, "multipliers: 1 and 1.0001 are less than 2% apart"),
        ({"tuning": {"per": ["hiden_size"]}}, "tuning.per: 'hiden_size'.*did you mean hidden_size"),
        ({"tuning": {"per": ["num_experts"], "cell": {"topk": 1}}}, "tuning.cell: no axis sets 'topk'"),
        ({"tuning": {"per": ["num_experts"], "cell": {"learning_rate": 9}}}, "no cell with num_experts 4 has"),
        ({"execution": {"time_limit": "soon"}}, "execution.time_limit"),
        ({"execution": {"time_limit": "infh"}}, "execution.time_limit"),
        ({"execution": {"stall_limit": "0s"}}, "execution.stall_limit"),
        ({"execution": {"stall_limit": "nanm"}}, "execution.stall_limit"),
        ({"execution": {"retrys": 1}}, "execution.retrys: unknown key; did you mean retries"),
        ({"execution": {"gpus": [0], "gpus_per_run": 2}}, "gpus_per_run .2. exceeds the 1 gpus"),
        ({"recipe": "nowhere.yaml"}, "nowhere.yaml: cannot be read"),
        ({"recipe": {"architecture": architecture()}}, "data"),
    ],
)
def test_bad_input_is_one_line(data: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        planner(spec(data, **change))
    assert "\n" not in str(caught.value)


def test_a_recipe_is_taken_for_what_it_is(data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe(data)))
    with pytest.raises(UserError, match="this is a recipe, not a sweep"):
        LoadedSweep.load(tmp_path / "recipe.json")
    (tmp_path / "sweep.yaml").write_text("recipe: recipe.json\naxes: [{grid: {num_experts: [4, 8]}}]\n")
    assert len(Planner(LoadedSweep.load(tmp_path / "sweep.yaml")).plan({}).runs) == 2


def test_times_are_written_with_units(data: dict[str, Any]) -> None:
    for written, minutes in (("90s", 1.5), ("30m", 30.0), ("2h", 120.0), ("1d", 1440.0), (7.0, 7.0)):
        loaded = LoadedSweep.from_dict(spec(data, execution={"time_limit": written}))
        assert loaded.spec.execution.time_limit == minutes


def test_the_folder_of_another_sweep_is_refused(data: dict[str, Any], tmp_path: Path) -> None:
    """A folder whose runs are none of the specification's; more seeds or cells beside known runs are fine."""
    out = tmp_path / "out"
    (out / "cells").mkdir(parents=True)
    first = planner(spec(data))
    for run in first.plan({}).runs:
        note_run(out, first, run)
    assert runs_beside(out, first, add=False) == 0
    assert runs_beside(out, planner(spec(data, seeds=[0, 1])), add=False) == 0
    assert (
        runs_beside(out, planner(spec(data, axes=[{"grid": {"num_experts": [4], "learning_rate": [0.01]}}])), False)
        == 3
    )
    other = planner(spec(data, seeds=[7]))
    with pytest.raises(
        UserError, match=r"holds 4 runs and none of this specification's: it is another sweep's; .*--add"
    ):
        runs_beside(out, other, add=False)
    assert runs_beside(out, other, add=True) == 4
    first.training_version += 1
    first._made.clear()
    with pytest.raises(UserError, match="other code trained them"):
        runs_beside(out, first, add=False)


def test_runs_keep_the_names_that_an_older_version_gave_them(data: dict[str, Any], tmp_path: Path) -> None:
    """Cells as commit 34ba6fa wrote them: without a version, and named by the digest of its sources."""
    values = spec(data)
    loaded, made = LoadedSweep.from_dict(values), planner(values)
    out = tmp_path / "out"
    with submitting(out):
        for run in made.plan({}).known:
            note_run(out, made, run)
    for number, path in enumerate(sorted((out / "cells").iterdir())):
        cell = json.loads(path.read_text())
        del cell["format"], cell["training_version"], cell["digest"]
        name = f"{number:012x}"
        (path.parent / f"{name}.json").write_text(json.dumps({**cell, "id": name, "code": next(iter(FORMER_CODE))}))
        path.unlink()
    again = planner_in(out, loaded)
    assert sorted(run.id for run in again.plan({}).known) == [f"{number:012x}" for number in range(4)]
    assert runs_beside(out, again, add=False) == 0


def test_only_the_cells_that_are_named_are_run_under_their_own_ids(data: dict[str, Any]) -> None:
    everything = planner(spec(data)).plan({}).runs
    some = planner(spec(data, only=[{"num_experts": 8, "learning_rate": 0.02}, {"num_experts": 4}])).plan({}).runs
    wanted = [run for run in everything if run.settings["num_experts"] == 4 or run.settings["learning_rate"] == 0.02]
    assert [run.id for run in some] == [run.id for run in wanted]
    assert len(some) == 3


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ([{"num_experts": 5}], r"only\[0\]: no cell has \{'num_experts': 5\}"),
        ([{"num_experts": 4}, {"num_expert": 4}], r"only\[1\]: no cell has .*did you mean num_experts"),
        ([], "only"),
    ],
)
def test_cells_that_are_not_there_are_named(data: dict[str, Any], only: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        planner(spec(data, only=only))


def test_candidates_for_the_next_runs_are_the_cells_not_yet_run(data: dict[str, Any], tmp_path: Path) -> None:
    """What `next --out` writes is a sweep of the chosen cells, with the ids that the whole sweep gives them."""
    (tmp_path / "recipe.json").write_text(json.dumps(recipe(data)))
    whole = {"format": "moewright-sweep/1", "recipe": "recipe.json", "axes": [EXPERTS], "seeds": [3, 5]}
    (tmp_path / "sweep.json").write_text(json.dumps(whole))
    first = Planner(LoadedSweep.load(tmp_path / "sweep.json")).plan({}).runs
    found = sweep_candidates(tmp_path / "sweep.json", pd.DataFrame({"run_id": [first[0].id]}))
    assert [run.id for run in found.runs] == [run.id for run in first if run.recipe.seed == 3][1:]
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "next.yaml").write_text(found.spec_text([2, 0], tmp_path / "below" / "next.yaml"))
    again = Planner(LoadedSweep.load(tmp_path / "below" / "next.yaml")).plan({}).runs
    assert {run.id for run in again} == {found.runs[2].id, found.runs[0].id}
    with pytest.raises(UserError, match="all 4 runs of the sweep are among the runs"):
        sweep_candidates(tmp_path / "sweep.json", pd.DataFrame({"run_id": [run.id for run in first]}))
    inline = sweep_candidates({**whole, "recipe": recipe(data)}, None)
    with pytest.raises(UserError, match="out: the recipe's paths start at"):
        inline.spec_text([0], tmp_path / "next.yaml")


def test_cells_whose_rate_is_still_to_be_tuned_are_known_by_their_models(data: dict[str, Any]) -> None:
    tuning = {"multipliers": [0.5, 1, 2], "per": ["num_experts"]}
    whole = spec(data, axes=[{"grid": {"num_experts": [4, 8]}}], tuning=tuning)
    everything = sweep_candidates(whole, None)
    assert len(everything.runs) == 2
    assert not everything.table["run_id"].str.startswith("awaits").any()
    left = sweep_candidates(whole, everything.table.iloc[[0]].assign(run_id="tuned"))
    assert [run.cell.settings for run in left.runs] == [{"num_experts": 8}]


def test_next_writes_a_sweep_and_never_over_the_users(data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe(data)))
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(json.dumps({"recipe": "recipe.json", "axes": [EXPERTS]}))
    given: dict[str, Any] = {"candidates": sweep, "spend": 1e15, "law": "clark2022"}
    with pytest.raises(UserError, match="is what candidates reads"):
        moewright.next_runs(out=sweep, **given)
    for _ in range(2):  # its own earlier result is replaced
        found = moewright.next_runs(out=tmp_path / "next.yaml", **given)
    assert found.record.first_batch
    ids = {run.id for run in Planner(LoadedSweep.load(tmp_path / "next.yaml")).plan({}).runs}
    assert ids == {run.name for run in found.record.chosen}
    (tmp_path / "mine.yaml").write_text("mine: 1\n")
    with pytest.raises(UserError, match="exists and nothing in it says"):
        moewright.next_runs(out=tmp_path / "mine.yaml", **given)


def test_targets_of_the_next_runs_may_be_a_sweep(data: dict[str, Any], tmp_path: Path) -> None:
    """Each at its own length; the same belief as of the models named by a law's variables."""
    sweep = spec(data, axes=[{"points": [{"num_experts": 4, "train_tokens": 640}, {"num_experts": 8}]}])
    given: dict[str, Any] = {"candidates": spec(data), "spend": 1e15, "for_": "compare", "law": "clark2022"}
    (tmp_path / "targets.json").write_text(json.dumps(sweep))
    found = moewright.next_runs(target=tmp_path / "targets.json", **given).record.targets
    assert [target.name for target in found] == ["num_experts=4 train_tokens=640", "num_experts=8"]
    table = sweep_candidates(sweep, None).table
    assert table["train_tokens"].tolist() == [640, 1280]
    law = moewright.laws.get("clark2022")
    counted = in_conventions(law, table)[0]
    texts = [",".join(f"{each.name}={counted[each.name][row]}" for each in law.inputs) for row in range(2)]
    named = moewright.next_runs(target=texts, **given).record.targets
    assert [target.loss for target in named] == pytest.approx([target.loss for target in found])
    with pytest.raises(UserError, match="goes alone"):
        moewright.next_runs(target=[tmp_path / "targets.json", "dbrx"], **given)
    with pytest.raises(UserError, match="says how long each is trained"):
        moewright.next_runs(target=sweep, train_tokens=1e9, **given)


def test_the_transfer_rule_tests_some_groups_and_predicts_the_rest(data: dict[str, Any]) -> None:
    """Six groups by tokens, whose best rate falls with them by a known power; dear ones follow from cheap ones."""
    steps = [4, 5, 6, 16, 20, 24]
    axes = [{"grid": {"train_tokens": [step * 64 for step in steps], "num_experts": [4]}}]
    tuning = {"multipliers": [0.5, 1, 2], "per": ["train_tokens"], "noise": 0.002, "transfer": {"within": 0.04}}
    made = planner(spec(data, axes=axes, seeds=[0, 1], tuning=tuning))

    def loss(run: PlannedRun) -> float:
        best = 0.011 * (run.recipe.train_tokens / 256) ** -0.1
        return 3 + 0.3 * math.log(peak_learning_rate(run.recipe) / best) ** 2

    first = made.plan({})
    assert {run.recipe.train_tokens for run in first.known} < {256, 320, 384}  # of the first wave, and not all
    waiting = [run for run in first.runs if run.awaits_rate]
    assert {run.recipe.train_tokens for run in waiting} == {64 * step for step in steps}

    losses: dict[str, float | None] = {}
    plans = []
    while True:
        plan = made.plan(losses)
        new = [run for run in plan.known if run.id not in losses]
        plans.append(plan)
        if not new:
            break
        losses |= {run.id: loss(run) for run in new}
    assert not any(run.awaits_rate for run in plan.runs)
    predicted = {name: found for name, found in plan.tuned.items() if found.predicted is not None}
    assert 2 <= len(predicted) < len(steps)
    for name, found in plan.tuned.items():
        tokens = int(name.split()[-1])
        best = 1.1 * (tokens / 256) ** -0.1
        assert found.multiplier is not None
        assert 0.3 * math.log(found.multiplier / best) ** 2 < 0.04, name
        assert (found.points == ()) == (name in predicted)
    assert made.plan(dict(reversed(losses.items()))) == plan, "the order of results decides nothing"
    for earlier in plans:  # whatever was found stays found
        assert all(plan.tuned[name] == found for name, found in earlier.tuned.items() if found.multiplier is not None)
    assert len([run for run in plan.runs if run.stage != "main"]) < 3 * len(steps)
