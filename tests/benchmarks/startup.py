"""How long everyday commands take to start, against the bare import of the three libraries that they stand on.

    python -m tests.benchmarks.startup                  # eleven rounds; an argument says how many
    python -m tests.benchmarks.startup --instructions   # counted by valgrind, which a busy machine does not disturb

Beside the bare import a small program that uses them: it takes an argument by typer, checks it as a model of pydantic,
computes with numpy and prints a table by rich, which is what typer prints with. It imports what any such program
imports, the modules that pydantic and rich load at first use included.

All are whole processes, run in turn. Printed are medians of wall time and of processor time, which a busy machine
disturbs less, each with its ratio to the bare import. Beside them the same for imports alone, by `-X importtime`: the
sum over all modules that the process loads, the least of each over the rounds; `inspect` has a bound there. It
is held against the libraries with pydantic's models: `import pydantic` alone loads none of these, and leaves them for
whoever defines the first one. The ratio to the bare import is printed too.

On a machine with other work, as root: `chrt -f 3 taskset -c 1 python -m tests.benchmarks.startup 3`; its children
inherit both.

Instructions are those of a process that imports what a command has loaded, and of the whole command.
"""

import os
import re
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from moewright.__main__ import COLLECT_AFTER

CONFIG = str(Path(__file__).parents[2] / "examples" / "configs" / "olmoe-1b-7b.json")
PROGRAM = """
import numpy, pydantic, typer

class Model(pydantic.BaseModel):
    experts: int
    names: list[str] = []

def inspect(experts: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("experts", "loads")
    table.add_row(str(Model.model_validate({"experts": experts}).experts), str(numpy.ones(experts).sum()))
    Console().print(table)

app = typer.Typer(rich_markup_mode=None)
app.command()(inspect)
app()
"""
BARE = "numpy + pydantic + typer, imported"
MODELS = "the same with pydantic's BaseModel"
BASELINE = "numpy + pydantic + typer, used"
MOEWRIGHT = [sys.executable, "-m", "moewright"]
COMMANDS = {
    BARE: [sys.executable, "-c", "import numpy, pydantic, typer"],
    MODELS: [sys.executable, "-c", "import numpy, typer\nfrom pydantic import BaseModel"],
    BASELINE: [sys.executable, "-c", PROGRAM, "64"],
    "import moewright; .inspect": [sys.executable, "-c", "import moewright; moewright.inspect"],
    "inspect CONFIG": [*MOEWRIGHT, "inspect", CONFIG],
    "inspect NAME": [*MOEWRIGHT, "inspect", "deepseek-v3"],
    "inspect CONFIG --json": [*MOEWRIGHT, "inspect", CONFIG, "--json"],
    "laws": [*MOEWRIGHT, "laws"],
    "predict CONFIG": [*MOEWRIGHT, "predict", CONFIG, "--train-tokens", "2T"],
    "design --help": [*MOEWRIGHT, "design", "--help"],
}
IMPORTING = "import gc, importlib\ngc.set_threshold({threshold})\nfor name in {names}: importlib.import_module(name)"
ALLOWED = 1.5
"""The imports of `inspect` within this many times those of the libraries with pydantic's models."""
# Compiling our sources anew each time, where this is set, is not what a user waits for.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main(rounds: int = 11) -> int:
    """Time the commands in turn, so that a busy machine slows all of them; 1 if `inspect` imports for too long."""
    wall: dict[str, list[float]] = {name: [] for name in COMMANDS}
    processor: dict[str, list[float]] = {name: [] for name in COMMANDS}
    imports: dict[str, dict[str, int]] = {name: {} for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            start, before = time.perf_counter(), os.times()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
            wall[name].append(time.perf_counter() - start)
            after = os.times()
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            processor[name].append(spent)
            for module, microseconds in import_times(command).items():
                imports[name][module] = min(microseconds, imports[name].get(module, microseconds))
    print("".join(f"{word:>{width}}" for word, width in (("wall", 44), ("processor", 18), ("imports", 18))))
    ratios = {}
    for name in COMMANDS:
        figures = [
            (statistics.median(wall[name]), statistics.median(wall[BARE])),
            (statistics.median(processor[name]), statistics.median(processor[BARE])),
            (sum(imports[name].values()) / 1e6, sum(imports[BARE].values()) / 1e6),
        ]
        print(f"{name:35s}" + "".join(f"{own * 1e3:6.0f} ms{own / base:6.2f} x " for own, base in figures))
        ratios[name] = figures[-1][0] / figures[-1][1]
    bare, ratio = ratios["inspect CONFIG"], ratios["inspect CONFIG"] / ratios[MODELS]
    fits = ratio <= ALLOWED
    print(f"\nimports of inspect: {bare:.2f} x the bare import, {ratio:.2f} x that with pydantic's models")
    print(f"within {ALLOWED} x of the latter: {'yes' if fits else 'no'}\n\nits slowest own modules:")
    own = {module: time for module, time in imports["inspect CONFIG"].items() if module.startswith("moewright")}
    for module in sorted(own, key=lambda module: -own[module])[:8]:
        print(f"{own[module] / 1e3:8.1f} ms  {module}")
    return int(not fits)


def count_instructions() -> int:
    """Print the instructions of imports and of whole commands, each with its ratio to the bare import."""
    base = instructions_of(COMMANDS[BARE])
    print(f"{BARE}: {base / 1e6:.0f} M instructions\n{'imports':>51}{'whole':>19}")
    for name in ("inspect CONFIG", "inspect NAME"):
        # Listed are modules too that were looked for and are not there, such as Windows'.
        names = [each for each in import_times(COMMANDS[name]) if find_spec(each.partition(".")[0])]
        importing = IMPORTING.format(threshold=COLLECT_AFTER, names=names)
        counts = [instructions_of(command) for command in ([sys.executable, "-c", importing], COMMANDS[name])]
        print(f"{name:35s}" + "".join(f"{count / 1e6:7.0f} M{count / base:7.2f} x " for count in counts))
    return 0


def instructions_of(command: list[str]) -> int:
    """Instructions of a Python process once its sources are compiled; numpy on one thread, since waiting counts too."""
    environment = {**ENVIRONMENT, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    counting = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", *command]
    told = subprocess.run(counting, check=True, capture_output=True, text=True, env=environment).stderr
    found = re.search(r"I +refs: +([\d,]+)", told)
    assert found is not None, told
    return int(found[1].replace(",", ""))


def import_times(command: list[str]) -> dict[str, int]:
    """Microseconds that each module of a Python process takes, without those that it imports."""
    traced = [command[0], "-X", "importtime", *command[1:]]
    told = subprocess.run(traced, capture_output=True, text=True, check=True, env=ENVIRONMENT).stderr
    lines = re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)$", told, re.MULTILINE)
    return {module: int(microseconds) for microseconds, module in lines}


if __name__ == "__main__":
    if sys.argv[1:] == ["--instructions"]:
        sys.exit(count_instructions())
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 11))
