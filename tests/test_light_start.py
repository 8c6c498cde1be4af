"""Everyday commands load no plotting library, no pandas, no torch and no room that they have no use for.

No times: those are of `python -m tests.benchmarks.startup`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("matplotlib", "pandas", "plotly", "pyarrow", "scipy", "torch", "transformers")
OLMOE = "examples/configs/olmoe-1b-7b.json"


HIGHER = ("data", "designs", "experiment", "exporters", "lab", "runs", "sweeps")
"""Rooms that neither counting nor predicting needs."""
TABLES = ("rich", "html", "moewright.report")


@pytest.mark.parametrize(
    ("command", "without"),
    [
        (f"inspect {OLMOE}", ("numpy", "yaml", "moewright.hardware.devices", "moewright.laws", *HIGHER)),
        ("inspect qwen3-30b-a3b", ("numpy", "yaml", "moewright.hardware.devices", "moewright.laws", *HIGHER)),
        ("models", ("numpy", "yaml", "moewright.laws", "moewright.hardware", *HIGHER)),
        (f"inspect {OLMOE} --json", ("numpy", "yaml", "moewright.laws", *TABLES, *HIGHER)),
        (f"inspect {OLMOE} --hardware H100 --json", ("moewright.laws", *TABLES, *HIGHER)),
        ("inspect --help", ("numpy", "yaml", "moewright.architecture", "moewright.hardware", *HIGHER)),
        ("laws", ("yaml", "moewright.hf", "moewright.hardware", *HIGHER)),
        ("laws zhao2025", ("yaml", "moewright.hf", "moewright.hardware", *HIGHER)),
        (f"predict {OLMOE} --train-tokens 2T", ("yaml", "moewright.hardware", *HIGHER)),
        (
            "design --total-params 1B --train-tokens 20B --law zhao2025 --top 1",
            ("data", "experiment", "exporters", "lab", "runs", "sweeps"),
        ),
        (
            "design --total-params 1B --train-tokens 20B --law zhao2025 --top 1 --json",
            ("data", "experiment", "exporters", "lab", "runs", "sweeps", *TABLES),
        ),
        (f"export {OLMOE} --format hf --out {{new}}", ("numpy", "designs", "lab", "sweeps", "moewright.laws")),
    ],
)
def test_a_command_loads_only_what_it_needs(command: str, without: tuple[str, ...], tmp_path: object) -> None:
    loaded = modules_of(command.format(new=f"{tmp_path}/new").split())
    rooms = {name.partition(".")[2].partition(".")[0] for name in loaded if name.startswith("moewright.")}
    assert not {*HEAVY, *without} & (loaded | rooms)


@pytest.mark.parametrize("command", [f"inspect {OLMOE}", f"predict {OLMOE} --train-tokens 2T"])
def test_one_family_is_read(command: str) -> None:
    families = {name for name in modules_of(command.split()) if name.startswith("moewright.hf.families.")}
    assert families == {"moewright.hf.families.olmo"}


def test_of_the_catalogue_one_file_is_read_and_no_family() -> None:
    """Nor is any other file of it opened."""
    script = (
        "import sys\nopened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "import moewright\nmoewright.inspect('Qwen3-30B-A3B')\n"
        "print(*(path for path in opened if '/hf/models/' in path or '/hf/families/' in path), sep='\\n')"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert {Path(path).stem.partition(".")[0] for path in told.splitlines()} == {"qwen3-30b-a3b", "__init__"}


def test_no_part_of_an_architecture_is_a_class_twice() -> None:
    """pydantic makes one more class of a generic part for every type in brackets: of columns, not of whole numbers."""
    script = (
        "from moewright.architecture.spec import Architecture\nfrom moewright.records import Record\n"
        "waiting = [Record]\n"
        "for each in waiting:\n    waiting += each.__subclasses__()\n    print(each.__name__)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    names = told.splitlines()
    assert "Attention" in names
    assert [name for name in names if "[" in name] == []


def modules_of(words: list[str]) -> set[str]:
    """What a process has imported once it has run a command."""
    script = (
        "import sys\nfrom moewright.cli import main\n"
        f"sys.argv = {['moewright', *words]!r}\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print('loaded:', *sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return set(told.splitlines()[-1].split()[1:])
