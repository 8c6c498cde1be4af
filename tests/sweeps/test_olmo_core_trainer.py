"""OLMo-core below a sweep. Running it needs ai2-olmo-core, and for experts a GPU: here a dense model is trained."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from moewright.errors import UserError
from moewright.experiment.collecting.collection import collect
from moewright.sweeps.running.sweeping import sweep
from tests.lab.tiny import architecture
from tests.sweeps.test_hf_trainer import qwen


def cell(folder: Path, **changes: Any) -> Path:
    """The folder of one run."""
    values = qwen(folder, **{"steps": 20, "balancing": {"losses": [{"weight": 0.01}]}, **changes})
    values["data"]["end_of_document"] = 0
    spec = {"recipe": values, "trainer": {"kind": "olmo-core", "python": sys.executable}}
    (script,) = sweep(spec, folder / "out", write_only=True).written
    return Path(script).parent


def test_the_folder_has_model_script_and_settings(tmp_path: Path) -> None:
    run = cell(tmp_path)
    config = json.loads((run / "model/olmo_core_config.json").read_text())
    assert (config["d_model"], config["n_layers"]) == (32, 2)
    told = json.loads((run / "settings.json").read_text())
    assert (told["steps"], told["warmup_steps"], told["end_of_document"], told["token_dtype"]) == (20, 10, 0, "uint16")
    assert "-m torch.distributed.run --nproc-per-node 1 --standalone train.py" in (run / "launch.sh").read_text()
    compile((run / "train.py").read_text(), "train.py", "exec")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"balancing": {"z_loss": 0.1}}, "olmo-core has no balancing.z_loss"),
        ({"recompute": True}, "olmo-core has no recompute"),
        ({"architecture": architecture()}, "olmo-core has this model in fused blocks only"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as error:
        cell(tmp_path, **changes)
    assert complaint in str(error.value)


@pytest.mark.skipif(find_spec("olmo_core") is None, reason="needs ai2-olmo-core, in an environment of its own")
def test_it_trains_a_dense_model_and_the_loss_comes_home(tmp_path: Path) -> None:
    run = cell(tmp_path, architecture=architecture(dense=True), balancing={})
    assert subprocess.run(["bash", str(run / "launch.sh")], check=False).returncode == 0
    (row,) = collect(tmp_path / "out").table.to_dict("records")
    metrics = json.loads((run / "output/metrics.json").read_text())
    assert (row["state"], row["train_tokens"]) == ("done", 20 * 128)
    assert row["loss"] == metrics["eval/lm/validation/CE loss"]
    assert f"{int(row['total_params']):,} parameters" in (run / "printed.log").read_text()
