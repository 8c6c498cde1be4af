"""The registry of sections: every line names a class of the project and a function that prints it."""

import ast
import inspect
import re
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright import laws
from moewright.hardware.device_list import list_devices
from moewright.report import EXPLAINED, SECTIONS, show
from moewright.screen import Screen
from tests.test_cli import run

SOURCE = Path(moewright.__file__).parent


def classes() -> list[str]:
    """The names of all classes of the project."""
    return [
        node.name
        for path in SOURCE.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_prints_one_class(name: str) -> None:
    assert classes().count(name) == 1
    module, function = SECTIONS[name].split(".")
    printer = getattr(import_module(f"moewright.report.{module}"), function)
    console, result = inspect.signature(printer).parameters.values()
    assert (console.name, str(result.annotation).strip("'\"").rpartition(".")[2].rstrip("'>")) == ("console", name)


def test_what_no_section_prints_is_an_error() -> None:
    with pytest.raises(TypeError, match="no section of the report prints a dict"):
        show({})


def test_it_prints_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    show(moewright.inspect("examples/configs/olmoe-1b-7b.json"))
    assert "6.919B parameters" in capsys.readouterr().out


SCREEN = 24
"""Lines of the smallest terminal that is usual."""


@pytest.fixture(scope="module")
def one_of_each() -> dict[str, Any]:
    """Results of usual size of the commands whose answers fit on a screen, by their classes."""
    model, table = "deepseek-v3", "examples/small_mixtures/runs.parquet"
    results = [
        moewright.inspect(model, hardware="H100", devices=16),
        moewright.inspect([model, "glm-4.5-air", "kimi-k2"], hardware="H100", devices=16),
        moewright.predict("olmoe-1b-7b", "5T"),
        moewright.predict(["qwen3-30b-a3b", "olmoe-1b-7b"], "2T"),
        moewright.describe_laws(evidence=True),
        moewright.plan("olmoe-1b-7b", hardware="H100", devices=64, price="H100=2.5", train_tokens="1T"),
        moewright.plan("olmoe-1b-7b", hardware="H100", devices=8, serve=True),
        moewright.fit(table, law="hoffmann2022", bootstrap=20, holdout="largest:0.1"),
        moewright.describe_laws(),
        moewright.models(),
        list_devices(),
        laws.describe("zhao2025"),
        moewright.design(memory="80GB", active_params="3B", train_tokens="2T", baseline="nemotron-3-nano-30b-a3b"),
    ]
    return {type(result).__name__: result for result in results}


def printed(result: Any, width: int, *, explain: bool = False, terminal: bool = True) -> list[str]:
    """The lines of a section."""
    file = StringIO()
    show(result, Screen(explain=explain, file=file, width=width, force_terminal=terminal, color_system=None))
    return file.getvalue().splitlines()


def test_answers_fit_on_a_screen(one_of_each: dict[str, Any]) -> None:
    assert set(EXPLAINED) < set(one_of_each)
    for name, result in one_of_each.items():
        for width in (80, 160):
            lines = printed(result, width)
            assert len(lines) < SCREEN, (name, width, "\n".join(lines))
            assert widest(lines) <= width, (name, width)


def widest(lines: list[str]) -> int:
    """Without the one that is there to be copied: a terminal breaks it, and no line end does."""
    return max(len(line) for line in lines if not line.startswith("The first: --layout"))


def test_every_law_fits_on_a_screen_and_is_whole_elsewhere() -> None:
    """On a terminal with the name of each variable that is shown; in a pipe and explained every word."""
    for name in laws.names():
        law = laws.describe(name)
        lines = printed(law, 80)
        assert len(lines) < SCREEN, "\n".join(lines)
        assert max(map(len, lines)) <= 80
        assert all(any(line.startswith(each.name) for line in lines) for each in law.variables[:9])
        assert lines[-1].startswith("--explain: ")
        for whole in (printed(law, 80, explain=True), printed(law, 80, terminal=False)):
            text = " ".join(" ".join(whole).split())
            assert all(each.name in text for each in (*law.variables, *law.held_fixed))
            assert all(" ".join(note.split()) in text for note in law.notes)


def test_a_law_of_many_coefficients_fits_on_a_screen() -> None:
    fit = moewright.fit("examples/small_mixtures/runs.parquet", law="zhao2025", bootstrap=20, fix={"k": 0.0013})
    lines = printed(fit, 80)
    assert len(lines) < SCREEN, "\n".join(lines)
    assert all(item.name in " ".join(lines) for item in fit.law.record.identified)
    assert "Coefficients that are fixed: k 0.0013" in lines
    assert any("moves with" in line for line in printed(fit, 80, explain=True)), "--explain has the table of all"


def test_what_is_left_out_is_pointed_to(one_of_each: dict[str, Any]) -> None:
    for name in EXPLAINED:
        short, long = printed(one_of_each[name], 80), printed(one_of_each[name], 80, explain=True)
        assert short[-1].startswith("--explain: "), name
        assert not any(line.startswith("--explain") for line in long)
        assert len(long) > len(short)
        assert widest(long) <= 80 + 2 * (name == "LayoutPlan"), name


def test_names_are_never_cut(one_of_each: dict[str, Any]) -> None:
    listed_laws, models = moewright.describe_laws(), moewright.models()
    for width in (60, 80, 160):
        law_names, model_names = [law.name for law in listed_laws.laws], [line.name for line in models.models]
        for listed, names in ((listed_laws, law_names), (models, model_names)):
            lines = printed(listed, width, explain=listed is models)
            assert all(any(line.startswith(f"{name} ") for line in lines) for name in names)


def test_a_catalogue_is_a_screen_on_a_terminal_and_a_line_each_in_a_pipe() -> None:
    """Series add up to all models; `grep` finds each model, and each device, once, with all that is said of it."""
    models, devices = moewright.models().models, list_devices().record.devices
    for width in (60, 80, 120, 200):
        lines = printed(moewright.models(), width)
        cells = " ".join(lines[2 : [line[:10] for line in lines].index("`moewright")]).split()
        series = {cells[place]: cells[place + 1 : place + 3] for place in range(0, len(cells), 4)}
        for place, said in enumerate((len(models), sum(each.num_experts is not None for each in models))):
            assert sum(int(counts[place]) for counts in series.values()) == said
        for name, counts in series.items():
            assert int(counts[0]) == sum(re.split(r"[\d-]", each.name)[0] == name for each in models)
        words = " ".join(printed(list_devices(), width)).split()
        assert all(words.count(name) == 1 for name in devices)
    piped = printed(moewright.models(), 40, terminal=False)
    for model in models:
        (line,) = [line for line in piped if line.startswith(f"{model.name} ")]
        assert model.license is None or " ".join(line.split()).endswith(model.license)
    piped = printed(list_devices(), 40, terminal=False)
    assert all(sum(line.startswith(f"{name} ") for line in piped) == 1 for name in devices)


def test_only_what_has_more_takes_explain(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "inspect", "olmoe-1b-7b", "--explain")
    assert (code, err) == (0, "")
    assert "mxfp4" in out
    code, out, err = run(capsys, "inspect", "olmoe-1b-7b", "dbrx", "--explain")
    assert (code, err) == (0, "")
    assert "routed experts" in out
    code, out, err = run(capsys, "laws", "zhao2025", "--explain")
    assert (code, err) == (0, "")
    assert "validated by the authors up to 9B parameters" in out
    code, out, err = run(capsys, "plan", "--hardware", "list", "--explain")
    assert (code, err, "link per s" in out) == (0, "", True)
    code, out, err = run(capsys, "models", "dbrx", "--explain")
    assert (code, err) == (0, "moewright: warning: explain: this answer is all that there is\n")
    code, out, err = run(capsys, "inspect", "olmoe-1b-7b", "--explain", "--json")
    assert (code, out, err) == (2, "", "moewright: explain: --json has all of it; leave it out\n")
