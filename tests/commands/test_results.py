"""What commands return: one line in a terminal, a table in a notebook, plain values for JSON, a frame for a table."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import moewright
from moewright.report import SECTIONS, show

OLMOE = "examples/configs/olmoe-1b-7b.json"
TABLE = pd.DataFrame(
    {"total_params": [1e9 * n for n in range(1, 9)], "train_tokens": [1e10, 3e10] * 4, "loss": [3.2, 3.0] * 4}
)
TABLE["loss"] -= TABLE["total_params"] / 1e11


def made(name: str, tmp_path: Path, data: dict[str, Any] | None) -> Any:
    """A small result of a command."""
    if name in ("train", "sweep", "dry train", "dry sweep", "runs"):
        pytest.importorskip("torch")
        from tests.lab.tiny import recipe

        assert data is not None
        few = recipe(data)
        sweep = {"recipe": few, "axes": [{"grid": {"learning_rate": [0.01]}}], "execution": {"cores_per_run": 1}}
        (tmp_path / "recipe.yaml").write_text(json.dumps(few), encoding="utf-8")
        if name == "dry train":
            return moewright.train(tmp_path / "recipe.yaml", dry_run=True)
        if name == "dry sweep":
            return moewright.sweep(sweep, dry_run=True, executor="slurm")
        if name == "sweep":
            return moewright.sweep(sweep, tmp_path / "sweep", jobs=1)
        result = moewright.train(tmp_path / "recipe.yaml", tmp_path / "run")
        return result if name == "train" else moewright.collect_runs(tmp_path / "run")
    if name == "data":
        return moewright.prepare_data("examples/data/moby-dick.txt", tmp_path / "tokens", vocab_size=300)
    results: dict[str, Callable[[], Any]] = {
        "inspect": lambda: moewright.inspect(OLMOE, hardware="H100"),
        "counted": lambda: moewright.inspect(
            {"model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        ),
        "several": lambda: moewright.inspect([OLMOE, "dbrx"]),
        "judged": lambda: moewright.predict([OLMOE, "dbrx"], "2T"),
        "predict": lambda: moewright.predict(OLMOE, "2T"),
        "plan": lambda: moewright.plan(OLMOE, hardware="H100", devices=8),
        "calibrate": lambda: moewright.calibrate("examples/measured_steps.csv"),
        "serve": lambda: moewright.plan(OLMOE, hardware="H100", devices=8, serve=True),
        "design": lambda: moewright.design(total_params="1B", train_tokens="20B", top=2),
        "space": lambda: moewright.design(print_space=True),
        "models": lambda: moewright.models(),
        "model": lambda: moewright.models("dbrx"),
        "laws": lambda: moewright.describe_laws(),
        "law": lambda: moewright.describe_laws("zhao2025"),
        "evidence": lambda: moewright.describe_laws(evidence=True),
        "fit": lambda: moewright.fit(TABLE, "hoffmann2022", bootstrap=20),
        "fit all": lambda: moewright.fit(TABLE, "all", bootstrap=0),
        "report": lambda: moewright.make_report(OLMOE, tmp_path / "report.html"),
        "export": lambda: moewright.export(OLMOE, "hf", tmp_path / "out"),
    }
    return results[name]()


TABLES = (
    "inspect",
    "several",
    "predict",
    "plan",
    "serve",
    "calibrate",
    "design",
    "models",
    "laws",
    "fit",
    "fit all",
    "data",
    "sweep",
    "dry sweep",
    "runs",
)
OTHERS = ("space", "law", "model", "export", "report", "train", "dry train")


@pytest.fixture
def tokens(request: pytest.FixtureRequest) -> Iterator[dict[str, Any] | None]:
    """The data of a recipe, where there is torch to make use of it."""
    try:
        yield request.getfixturevalue("data")
    except pytest.FixtureLookupError:
        yield None


COUNTED = ("counted",) if find_spec("transformers") is not None else ()


@pytest.mark.parametrize("name", [*TABLES, *OTHERS, *COUNTED])
def test_results_show_themselves(
    name: str, tmp_path: Path, tokens: dict[str, Any] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    result = made(name, tmp_path, tokens)
    kind = type(result).__name__
    assert getattr(moewright, kind) is type(result)
    assert kind in SECTIONS
    line = repr(result)
    assert line.startswith(f"{kind}(")
    assert "\n" not in line
    assert len(line) < 200
    assert "object at 0x" not in line
    assert result._repr_html_().startswith("<table>")
    assert len(result._repr_html_()) < 50_000
    stored = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert isinstance(stored, dict)
    assert stored
    is_table = name in (*TABLES, *COUNTED)
    assert hasattr(result, "to_frame") == is_table
    if is_table:
        frame = result.to_frame()
        assert isinstance(frame, pd.DataFrame)
        assert len(frame) > 0
    capsys.readouterr()
    show(result)
    assert capsys.readouterr().out.strip()
