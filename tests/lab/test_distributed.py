"""Two processes of torchrun, by whole copies and sharded, against one process with the same batches."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from moewright.errors import UserError
from moewright.lab import sharding, training
from moewright.lab.training import train
from tests.lab import tiny

EXACT = 2e-6
"""Relative. Sums of float32 in another order, over a few steps: the largest difference seen was 2e-7."""
ALL_SCOPES = {
    "losses": [
        {"weight": 0.05, "scope": scope, "layers": layers}
        for scope, layers in (("micro_batch", "sum"), ("sequence", "mean"), ("global_batch", "pooled"))
    ],
    "z_loss": 0.001,
    "selection_bias": {"step": 0.01},
}
CAPACITY = {"capacity": {"factor": 1.0}, "evaluation_capacity": {"factor": 0.5}}

pytestmark = pytest.mark.usefixtures("quick")


def two_processes(folder: Path, runs: list[tuple[str, Path, int | None, str | None]]) -> tuple[list[str], list[str]]:
    """Lines that they printed, and what their commands said on stderr; raises if a process did not come to the end."""
    (folder / "runs.json").write_text(json.dumps([[file, str(out), *event] for file, out, *event in runs]))
    several = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    process = tiny.start(*several, "tests.lab.run_all", str(folder / "runs.json"))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.splitlines(), [line for line in err.splitlines() if line.startswith(("moewright:", "warning:"))]


def assert_close(actual: Any, expected: Any, where: str = "") -> None:
    """Equal numbers but for rounding, in nested records."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_close(actual[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_close(one, other, f"{where}/{index}")
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=EXACT, abs=1e-6), where
    else:
        assert actual == expected, where


def test_two_processes_do_what_one_does(tmp_path: Path, data: dict[str, Any]) -> None:
    """Every loss, gradient norm, load and validation loss of a run, and how runs end that do not get so far."""
    everything = {"balancing": ALL_SCOPES, "dispatch": CAPACITY, "micro_batch_sequences": 2, "evaluation": {}}
    parameter = tiny.architecture(selection_bias="parameter", tie_embeddings=True)
    recipes = {
        "copies": tiny.recipe(data, 4, **everything),
        "shards": tiny.recipe(data, 4, **everything, parallel="shard"),
        "recomputed": tiny.recipe(
            data,
            4,
            architecture=parameter,
            balancing=ALL_SCOPES,
            micro_batch_sequences=4,
            parallel="shard",
            recompute=True,
        ),
        "muon": tiny.recipe(data, 3, optimizer={"kind": "muon"}, micro_batch_sequences=4),
        "to one": tiny.recipe(data, 4, **everything, parallel="shard"),
        "from one": tiny.recipe(data, 4, **everything, parallel="shard"),
        "locked": tiny.recipe(data, 4, micro_batch_sequences=4),
        "uneven": tiny.recipe(data, 4),
        "diverging": tiny.recipe(data, 4, micro_batch_sequences=4, learning_rate=1e20),
        "full disk": tiny.recipe(data, 4, micro_batch_sequences=4, checkpoints={"every_tokens": 128}),
    }
    files = {name: tiny.save(recipe, tmp_path / f"{name}.json") for name, recipe in recipes.items()}
    several = tmp_path / "several"
    events = {"to one": (2, "signal"), "full disk": (2, "full")}

    with pytest.MonkeyPatch.context() as patch:
        tiny.interrupt_after(patch, 2)
        assert train(files["from one"], several / "from one", show=False).state == "interrupted"
    with training.lock(several / "locked"):
        runs = [(file, several / name, *events.get(name, (None, None))) for name, file in files.items()]
        printed, said = two_processes(tmp_path, runs)

    for name in ("copies", "shards", "recomputed", "muon", "from one"):
        train(files[name], tmp_path / "one" / name, show=False)
        kinds = ("train", "evaluation")
        assert_close(tiny.metrics(several / name, *kinds), tiny.metrics(tmp_path / "one" / name, *kinds))
        for ours, theirs in zip(*(tiny.last_state(one / name)[1:] for one in (several, tmp_path / "one")), strict=True):
            assert ours.keys() == theirs.keys()
            if name != "muon":  # whose products are in bfloat16
                assert all(torch.allclose(ours[key], theirs[key], rtol=1e-3, atol=1e-5) for key in ours)
    train(files["to one"], several / "to one", show=False)
    assert_close(
        tiny.metrics(several / "to one", "train", "evaluation"),
        tiny.metrics(tmp_path / "one" / "shards", "train", "evaluation"),
    )

    # Only the first process prints and says why; both know that it ended.
    exits = [[int(code) for code in (tmp_path / f"exits-{rank}").read_text().split()] for rank in (0, 1)]
    assert exits == [[0, 0, 0, 0, 130, 0, 2, 2, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]]
    assert [json.loads(line)["state"] for line in printed] == ["finished"] * 4 + ["interrupted", "finished"]
    reasons = [line.removeprefix("moewright: ") for line in said if line.startswith("moewright:")]
    assert len(reasons) == 4
    assert reasons[0] == f"out: another process is training in {several / 'locked'}"
    assert "do not divide among 2 processes" in reasons[1]
    assert "not finite; there is no checkpoint yet" in reasons[2]
    assert reasons[3].startswith(f"step 3: {several / 'full disk'} cannot be written: No space left on device; ")
    assert reasons[3].endswith("/checkpoints/step-00000002")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE: expected an integer from 0"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "9" * 30}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}, "RANK"),
        ({"WORLD_SIZE": "2", "RANK": "1.5", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}, "RANK"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE: 2 processes, and RANK, MASTER_ADDR, MASTER_PORT not set; unset it"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, "MASTER_PORT not set"),
    ],
)
def test_variables_that_torchrun_did_not_set(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said), sharding.world():
        pass
