"""Weights that a run begins with: what they are enters the id, where they lie does not; what is refused before work."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from moewright.errors import UserError  # noqa: E402
from moewright.experiment.identity import run_id  # noqa: E402
from moewright.experiment.initial_weights import fingerprint, stored_tensors  # noqa: E402
from moewright.experiment.planning import plan_run  # noqa: E402
from moewright.experiment.recipe import Recipe  # noqa: E402
from moewright.files import read_mapping, write_mapping  # noqa: E402
from moewright.lab.hf_weights import write_hf_checkpoint  # noqa: E402
from moewright.lab.model import Transformer  # noqa: E402
from moewright.lab.optimization import initialize  # noqa: E402
from moewright.lab.training import train  # noqa: E402
from moewright.sweeps.foresight.dry_run import dry_run  # noqa: E402
from tests.lab import tiny  # noqa: E402

WEIGHTS = "model.safetensors"


def architecture() -> dict[str, Any]:
    """Tiny, and one that transformers' families express."""
    model = tiny.architecture()
    for layer in model["layers"][0]["layers"]:
        layer["mixer"]["qk_norm"] = "per_head"
        layer["feed_forward"].pop("shared")
    return model


def recipe(data: dict[str, Any], weights: Path | None, **changes: Any) -> Recipe:
    begun = {} if weights is None else {"initial_weights": str(weights)}
    return Recipe.from_dict(tiny.recipe(data, 2, **{"architecture": architecture(), **begun, **changes}))


@pytest.fixture
def weights(tmp_path: Path, data: dict[str, Any]) -> Path:
    """A Hugging Face folder."""
    made = recipe(data, None)
    model = Transformer(made.architecture)
    initialize(model, made.initialization, 7)
    return Path(write_hf_checkpoint(model, made.architecture, tmp_path / "weights"))


def test_ids_of_runs_without_initial_weights_are_what_they_were() -> None:
    """The id that the commit before fingerprints of weights gives this recipe."""
    assert run_id(Recipe.load("examples/train/tiny.yaml"), "37407d32") == "dc9a5aedcf79"


def test_the_same_weights_are_the_same_run_wherever_they_lie(
    tmp_path: Path, data: dict[str, Any], weights: Path
) -> None:
    """In another folder, under other metadata, in shards; 20 flipped bits and another reading are another run each."""
    before = fingerprint(recipe(data, weights))
    assert before is not None
    ids = {run_id(recipe(data, path), "tokens", 1, before) for path in (weights, tmp_path / "elsewhere")}
    assert len(ids) == 1
    tensors = load_file(weights / WEIGHTS)
    names = sorted(tensors)
    sharded = Path(shutil.copytree(weights, tmp_path / "sharded"))
    (sharded / WEIGHTS).unlink()
    files = {name: f"part-{index % 2}.safetensors" for index, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, sharded / file, {"format": "pt"})
    write_mapping(sharded / f"{WEIGHTS}.index.json", {"weight_map": files})
    assert fingerprint(recipe(data, sharded)) == before

    draw = random.Random(3)
    whole = (weights / WEIGHTS).read_bytes()
    first = min(tensor.start for tensor in stored_tensors(weights / WEIGHTS))
    others = set()
    for _ in range(20):
        changed = bytearray(whole)
        changed[draw.randrange(first, len(whole))] ^= 1 << draw.randrange(8)
        (weights / WEIGHTS).write_bytes(changed)
        others.add(fingerprint(recipe(data, weights)))
    assert len(others - {before}) == 20
    (weights / WEIGHTS).write_bytes(whole)
    assert fingerprint(recipe(data, weights)) == before
    config = read_mapping(weights / "config.json")
    write_mapping(weights / "config.json", {**config, "rope_interleave": False})
    assert fingerprint(recipe(data, weights)) != before


@pytest.mark.usefixtures("quick")
def test_a_run_goes_on_with_its_weights_alone(tmp_path: Path, data: dict[str, Any], weights: Path) -> None:
    """Also where they were moved to; other ones are refused."""
    train(recipe(data, weights), tmp_path / "whole", show=False)
    with pytest.MonkeyPatch.context() as patch:
        tiny.interrupt_after(patch, 1)
        train(recipe(data, weights), tmp_path / "run", show=False)
    other = Path(shutil.copytree(weights, tmp_path / "other"))
    changed = bytearray((other / WEIGHTS).read_bytes())
    changed[-1] ^= 1
    (other / WEIGHTS).write_bytes(changed)
    with pytest.raises(UserError, match="was begun with other weights than"):
        train(recipe(data, other), tmp_path / "run", show=False)
    moved = weights.rename(tmp_path / "moved")
    train(recipe(data, moved), tmp_path / "run", show=False)
    tiny.assert_same_end(tmp_path / "run", tmp_path / "whole")


def gone(weights: Path) -> None:
    shutil.rmtree(weights)


def without_config(weights: Path) -> None:
    (weights / "config.json").unlink()


def without_tensors(weights: Path) -> None:
    (weights / WEIGHTS).unlink()


def cut(weights: Path) -> None:
    path = weights / WEIGHTS
    path.write_bytes(path.read_bytes()[:-10])


def cut_header(weights: Path) -> None:
    path = weights / WEIGHTS
    path.write_bytes(path.read_bytes()[:50])


def another_model(weights: Path) -> None:
    config = read_mapping(weights / "config.json")
    write_mapping(weights / "config.json", {**config, "num_hidden_layers": 3})


BAD: dict[Callable[[Path], None], str] = {
    gone: "not a folder with a Hugging Face checkpoint",
    without_config: "has no config.json",
    without_tensors: f"neither {WEIGHTS} nor",
    cut: "is it complete",
    cut_header: "is it complete",
    another_model: "holds another model than the recipe's",
}


@pytest.mark.parametrize("change", BAD, ids=lambda change: change.__name__)
def test_dry_runs_refuse_weights_that_cannot_be(
    change: Callable[[Path], None], tmp_path: Path, data: dict[str, Any], weights: Path
) -> None:
    """Of a run and of a sweep, before anything is allocated."""
    made = recipe(data, weights)
    plan_run(made)
    change(weights)
    with pytest.raises(UserError, match=f"^initial_weights: .*{BAD[change]}"):
        plan_run(made)
    sweep = {"recipe": json.loads(json.dumps(made.to_dict())), "seeds": [0, 1]}
    with pytest.raises(UserError, match=f"^initial_weights: .*{BAD[change]}"):
        dry_run(sweep, tmp_path / "sweep")
