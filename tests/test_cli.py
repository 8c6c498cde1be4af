"""The command line: its frozen names, its exit codes, one JSON object, one line for a user's mistake."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

import moewright
from moewright import cli
from moewright.commands import COMMANDS

FIRST_WORDS = ", ".join(dict.fromkeys(path.split()[0] for path in COMMANDS))
CONFIGS = sorted(Path("examples/configs").glob("*.json"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command line in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["moewright", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
    captured = capsys.readouterr()
    return exit_.value.code or 0, captured.out, captured.err  # type: ignore[return-value]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_inspect_on_published_configs(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    code, out, err = run(capsys, "inspect", str(config))
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = run(capsys, "inspect", str(config), "--json", "--batch", "4", "--tokens-per-sequence", "1000")
    found = json.loads(out)
    assert code == 0
    assert found["total_params"] == sum(found["params"].values())
    assert found["active_params"] == sum(found["active"].values())
    assert found["num_layers"] == sum(run["count"] for run in found["layers"])
    assert found["cache_bytes"] == 4 * found["cache_bytes_per_sequence"]
    assert found["flops_per_token"]["training"] == pytest.approx(3 * found["flops_per_token"]["forward"])
    # The fields of the contract.
    assert {"moe", "kv_bytes_per_token", "weights_bytes", "warnings"} <= found.keys()
    assert {"num_experts", "top_k", "expert_size", "shared_experts", "sparsity", "granularity", "G", "S"} <= found[
        "moe"
    ].keys()


def test_design_json_has_the_fields_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    budgets = ("--memory", "80GB", "--active-params", "3B", "--train-tokens", "2T")
    code, out, err = run(capsys, "design", *budgets, "--json", "--top", "3")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert {"budgets", "designs", "laws", "shadow_prices", "search"} <= found.keys()
    for design in found["designs"]:
        assert {"architecture", "total_params", "active_params", "memory_bytes", "predicted_loss"} <= design.keys()
        assert {"regret", "worst_regret", "binding", "extrapolation"} <= design.keys()


def test_tables_fit_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    large, small = ("--total-params", "1T", "--active-params", "30B"), ("--total-params", "500M", "--context", "4096")
    for size in (("--memory", "80GB", "--active-params", "3B"), large, small):
        code, out, _ = run(capsys, "design", *size, "--train-tokens", "2T")
        assert code == 0
        assert "…" not in out
        assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("inspect", "config"),
        ("inspect missing.json", "missing.json"),
        ("inspect examples", "config.json"),
        ("inspect examples/configs/dbrx.json --batch 0", "batch"),
        ("inspect examples/configs/dbrx.json --batch many", "batch"),
        ("inspect examples/configs/dbrx.json --kv-dtype int3", "kv-dtype"),
        ("inspect examples/configs/dbrx.json --weights-dtype bf17", "weights-dtype"),
        ("inspect examples/configs/dbrx.json --tokens-per-sequence -4", "tokens-per-sequence"),
        ("inspect examples/configs/dbrx.json --batches 3", "--batch"),
        ("inspect examples/configs/dbrx.json extra", "extra"),
        ("inspekt", "inspekt"),
        ("design", "memory"),
        ("design --memory 80GB", "train-tokens"),
        ("design --memory 80 --train-tokens 2T", "80GB"),
        ("design --memory 80GX --train-tokens 2T", "memory"),
        ("design --memory -80GB --train-tokens 2T", "memory"),
        ("design --memory 80GB --total-params 30B --train-tokens 2T", "memory, total-params"),
        ("design --total-params 3B --active-params 5B --train-tokens 2T", "active-params"),
        ("design --total-params 3B --active-params 1M --train-tokens 2T", "active-params: no design"),
        ("design --memory 1GB --batch 100000 --train-tokens 2T", "memory: no design"),
        ("design --total-params 3B --train-tokens 2TB", "train-tokens"),
        ("design --total-params 3B --train-tokens 0", "train-tokens"),
        ("design --total-params 3B --train-tokens 1e999", "train-tokens"),
        ("design --total-params 3B --train-tokens 2T --law nothing", "nothing"),
        ("design --total-params 3B --train-tokens 2T --top 0", "top"),
        ("design --total-params 3B --train-tokens 2T --vocab-size 0", "vocab-size"),
        ("design --total-params 3B --train-tokens 2T --out examples", "out"),
        ("design --total-params 3B --train-tokens 2T --train-flops 1e22", "train-tokens and train-flops"),
        ("design --total-params 3B --train-flops 1e30GB", "train-flops"),
        ("design --total-params 3B --train-tokens 2T --devices 2", "devices"),
        ("design --total-params 3B --train-tokens 2T --decode-tokens-per-second 40", "--hardware"),
        ("design --total-params 3B --train-tokens 2T --time-to-first-token 1", "--hardware"),
        ("design --total-params 3B --train-device-hours 1000", "--hardware"),
        ("design --hardware H1000 --train-tokens 2T", "H1000"),
        ("design --hardware H100 --devices 3000000 --train-tokens 2T", "devices"),
        ("design --hardware H100 --decode-tokens-per-second 1e9 --train-tokens 2T", "nearest feasible"),
        ("design --memory 8GB --active-params 1M --train-tokens 2T", "nearest feasible"),
        ("design --memory 80GB --train-tokens 2T --kv-dtype int3", "kv-dtype"),
        ("design --memory 80GB --train-tokens 2T --law epoch2024", "epoch2024"),
        ("design --memory 80GB --train-tokens 2T --law zhao2025 --law zhao2025", "twice"),
        ("design --memory 80GB --train-tokens 2T --law missing.json", "missing.json"),
        ("design --memory 80GB --train-tokens 2T --space missing.yaml", "missing.yaml"),
        ("design --like examples/configs/olmoe-1b-7b.json --memory 80GB --train-tokens 2T", "memory"),
        ("design --like examples/configs/olmoe-1b-7b.json --vocab-size 5 --train-tokens 2T", "vocab-size"),
        ("design --like examples/configs/olmoe-1b-7b.json", "train-tokens"),
        ("design --print-space --memory 80GB", "memory"),
    ],
)
def test_mistakes_get_one_line_and_exit_2(capsys: pytest.CaptureFixture[str], arguments: str, named: str) -> None:
    code, out, err = run(capsys, *arguments.split())
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert named in err
    assert "Traceback" not in err


def test_imports_stay_light() -> None:
    heavy = "{'torch', 'transformers', 'scipy', 'pandas', 'plotly', 'matplotlib'}"
    script = (
        f"import sys, moewright; moewright.inspect('examples/configs/dbrx.json'); print({heavy} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "set()"


def test_module_and_command_are_the_same() -> None:
    out = subprocess.check_output([sys.executable, "-m", "moewright", "--help"], text=True)
    assert "inspect" in out
    assert "design" in out


def test_version_and_the_completion_of_shells() -> None:
    def process(*arguments: str, **environment: str) -> str:
        script = "import sys; sys.argv[0] = 'moewright'; from moewright.cli import main; main()"
        # typer looks for a shell among the parents, and whoever runs the tests may have none.
        command = ["bash", "-c", '"$@"; exit', "bash", sys.executable, "-c", script, *arguments]
        return subprocess.check_output(command, text=True, env={**os.environ, **environment})

    assert process("--version") == f"moewright {moewright.__version__}\n"
    for shell in ("bash", "zsh", "fish"):
        assert "_MOEWRIGHT_COMPLETE" in process("--show-completion", shell, SHELL=f"/bin/{shell}")
    for typed, meant in (
        ("moewright ins", "inspect"),
        ("moewright inspect --ba", "--batch"),
        ("moewright data p", "prepare"),
    ):
        told = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_TYPER_COMPLETE_ARGS": typed}
        for shell in ("bash", "zsh", "fish"):
            asked = {"_MOEWRIGHT_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
            assert meant in process(**told, **asked)
    assert process(**told, _MOEWRIGHT_COMPLETE="complete_bash").split() == ["prepare"]


@pytest.mark.parametrize("arguments", [(), ("data",)])
def test_without_a_command_the_help_is_the_answer(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, "")
    assert out == run(capsys, *arguments, "--help")[1]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("inspekt x", "inspekt: moewright has no such command; did you mean inspect?"),
        ("data prepar x", "prepar: data has no such command; did you mean prepare?"),
        (
            "qqqq",
            f"qqqq: moewright has no such command; known: {FIRST_WORDS}",
        ),
        ("laws -b", "-b: laws has no such argument; known: --evidence, --explain, --quiet, --json"),
        ("--verson", "--verson: moewright has no such argument; did you mean --version?"),
    ],
)
def test_unknown_names_get_the_line_of_the_house(capsys: pytest.CaptureFixture[str], typed: str, line: str) -> None:
    assert run(capsys, *typed.split()) == (2, "", f"moewright: {line}\n")


def test_nothing_warns_on_the_way() -> None:
    command = [sys.executable, "-W", "error", "-m", "moewright", "inspect", str(CONFIGS[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "moewright", "laws", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_the_version_is_that_of_the_package() -> None:
    assert moewright.__version__ == version("moewright")


@pytest.mark.parametrize("path", COMMANDS)
def test_an_option_given_twice_is_refused(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where an option takes one value, a second one is no silent last word; flags may be repeated."""
    command: Any = typer.main.get_command(cli.make_app(path.split()))
    for word in path.split():
        command = command.commands[word]
    once = [each for each in command.params if each.param_type_name == "option" and not (each.multiple or each.is_flag)]
    for option in once:
        for typed in ([option.opts[0], "1", option.opts[0], "2"], [f"{option.opts[0]}=1", f"{option.opts[0]}=1"]):
            code, out, err = run(capsys, *path.split(), "there", *typed)
            assert (code, out) == (2, "")
            assert err == f"moewright: {option.opts[0][2:]}: given twice; give it once\n"
