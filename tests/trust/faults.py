"""The disk fails, or the process dies, at the n-th call of a command that writes, for every n.

    python -m tests.trust.faults [--sample N] [CASE...]

tries every n of the named cases (all of `CASES` without names), or N faults drawn by chance, and prints what came
of it, and how far it is every 10 s; the suite tries a few. Which commands there are is asked of the command line: one
that writes and has no case, or an output of one, is an error.

Each start is a fork of a process that has loaded moewright already (`Starter`): a fault then takes tenths of a second.
After each: the output is there as it should be, or as before, never half; nothing else is beside it; the complaint is
one line; and the same command, started again, ends right. A killed process may leave its hidden file behind. The calls
are counted below Python (tests/sweeps/disk_faults.c), so those of Arrow, safetensors and matplotlib are among them.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

from moewright.commands import COMMANDS
from moewright.commands.checking import places_of, written
from tests.sweeps.disk_faults import DiskFaults

ROOT = Path(__file__).parents[2]
OLD_FOLDERS = ROOT / "tests/experiment/old_folders/34ba6fa.tar.xz"
FAULTS = (("ENOSPC", "on"), ("EIO", "once"), ("EROFS", "on"), ("EIO", "kill"))
"""A disk that is full from then on, one bad call, one that goes read-only, and kill -9."""
PROGRESS_SECONDS = 10
"""Between lines that say how far a campaign is."""


@dataclass(frozen=True)
class Case:
    """A command that writes."""

    arguments: str
    """{disk}: where the disk fails; {inputs}: where it does not."""
    goes_on: bool = False
    """Whether its folder is one to go on in: then only what comes of a start without faults is compared."""


CASES: dict[str, Case] = {
    "fit": Case("fit {inputs}/runs.csv --law hoffmann2022 --bootstrap 0 --out {disk}/law.json"),
    "next": Case("next {inputs}/runs.csv --law hoffmann2022 --spend 1e23 --out {disk}/next.csv"),
    "calibrate": Case("calibrate {inputs}/steps.csv --out {disk}/my_cluster.yaml"),
    "fit preregister": Case(
        "fit {inputs}/runs.csv --law hoffmann2022 --bootstrap 40 --preregister {disk}/planned.json "
        "--at total_params=8e9 --at train_tokens=5e10"
    ),
    "fit figures": Case("fit {inputs}/runs.csv --law hoffmann2022 --bootstrap 0 --plots {disk}/plots"),
    "runs": Case("runs {inputs}/finished --out {disk}/runs.parquet --curves {disk}/curves.parquet"),
    "report": Case("report {inputs}/design.json {inputs}/runs.csv {inputs}/finished --out {disk}/report.html"),
    "design": Case(
        "design --total-params 3B --train-tokens 2T --space {inputs}/space.yaml --top 2 --out {disk}/designs"
    ),
    "export": Case("export {inputs}/design.json --format megatron --out {disk}/new"),
    "export weights": Case("export {inputs}/finished --format hf --out {disk}/new"),
    "data prepare": Case("data prepare {inputs}/text.txt --vocab-size 300 --out {disk}/new"),
    "train": Case("train {inputs}/recipe.yaml --quiet --out {disk}/run", goes_on=True),
    "sweep": Case("sweep {inputs}/sweep.yaml --quiet --jobs 1 --out {disk}/sweep", goes_on=True),
    "sweep write-only": Case("sweep {inputs}/sweep.yaml --write-only --quiet --out {disk}/sweep", goes_on=True),
    "sweep trainer": Case("sweep {inputs}/own.yaml --write-only --quiet --out {disk}/sweep", goes_on=True),
}
"""For a new command that writes, a line here; `missing` finds those that have none."""


def missing() -> list[str]:
    """Outputs of commands, as the command line has them, that no case writes."""
    outputs = []
    for path, name in COMMANDS.items():
        function = getattr(import_module(f"moewright.commands.{name}"), name)
        outputs += [f"{path} --{written(output)}" for output in places_of(function)]
    tried = [case.arguments for case in CASES.values()]
    return [
        each
        for each in outputs
        for path, option in [each.rsplit(" ", 1)]
        if not any(case.startswith(f"{path} ") and f" {option} {{disk}}" in case for case in tried)
    ]


LOADED = ("moewright.cli", "pandas", "pyarrow.parquet", "matplotlib.backends.backend_agg", "moewright.lab.training")
"""What the commands of the cases load, as far as torch is there."""


class Starter:
    """A process under the shim that forks for every start: the command's own part of it is all that remains."""

    def __init__(self, environment: dict[str, str]):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.trust.faults", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def run(self, arguments: list[str], err: Path) -> int:
        """Exit code of `moewright ARGUMENTS`, negative for a signal; what it says goes to a file."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, str(err)]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """No more."""
        self._process.communicate()


def serve() -> None:
    """What a `Starter` starts: for each line a fork that is the command."""
    for name in LOADED:
        try:
            import_module(name)
        except ModuleNotFoundError:  # no torch
            continue
    machine: Any = sys.modules.get("moewright.lab.machine")
    if machine is not None:
        machine._SIZE = 64  # the speed of the machine is not what is tried
    preregistration: Any = import_module("moewright.laws.fitting.preregistration")
    preregistration._now = lambda: "2026-11-28T00:00:00Z"  # nor is the date: results are compared byte for byte
    for line in sys.stdin:
        arguments, err = json.loads(line)
        child = os.fork()
        if child == 0:
            output = os.open(os.devnull, os.O_RDWR)
            os.dup2(output, 0)
            os.dup2(output, 1)
            os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.argv = ["moewright", *arguments]
            run_as_a_process()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run_as_a_process() -> None:
    """`python -m moewright`, to its end."""
    import traceback

    from moewright.__main__ import main as command_line

    code: Any = 1
    try:
        command_line()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


class Room:
    """A folder with inputs, a disk that fails, and a place for what finds no room on it."""

    def __init__(self, folder: Path):
        self.folder, self.inputs, self.disk = folder, folder / "inputs", folder / "disk"
        for place in (self.inputs, self.disk, folder / "tmp"):
            place.mkdir()
        self.faults = DiskFaults(folder / "faults", self.disk)
        rows = [f"{n}e9,{d}e10,{1.7 + 0.35 / n**0.34 + 0.6 / d**0.28}" for n in range(1, 7) for d in range(1, 5)]
        shutil.copy("examples/measured_steps.csv", self.inputs / "steps.csv")
        (self.inputs / "runs.csv").write_text("\n".join(["total_params,train_tokens,loss", *rows]) + "\n")
        (self.inputs / "text.txt").write_text("".join(f"document {i} of words<|endoftext|>" for i in range(200)))
        shutil.copy(ROOT / "examples/configs/qwen3-30b-a3b.json", self.inputs / "design.json")
        with tarfile.open(OLD_FOLDERS) as archive:
            archive.extractall(self.inputs, filter="data")
        record = self.inputs / "finished/run.json"
        record.write_text(record.read_text().replace("/old/here", str(self.inputs)))
        recipe = (self.inputs / "recipe.yaml").read_text()
        for long, short in (("64K", "4K"), ("16K", "2K"), ("8K", "2K"), ("warmup_tokens: 2K", "warmup_tokens: 1K")):
            recipe = recipe.replace(long, short)
        (self.inputs / "recipe.yaml").write_text(recipe)
        (self.inputs / "sweep.yaml").write_text("format: moewright-sweep/1\nrecipe: recipe.yaml\nseeds: [0, 1]\n")
        own = 'trainer: {kind: command, run: "train {output} {seed}", loss: val_loss}\n'
        (self.inputs / "own.yaml").write_text((self.inputs / "sweep.yaml").read_text() + own)
        (self.inputs / "space.yaml").write_text("depths: [16, 24]\nwidths: [1024, 2048]\n")
        self._starter = Starter(
            {**os.environ, **self.faults.environment, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
        )

    def run(self, case: Case) -> tuple[int, str]:
        """Exit code and standard error."""
        arguments = [each.format(inputs=self.inputs, disk=self.disk) for each in case.arguments.split()]
        said = self.folder / "said"
        code = self._starter.run(arguments, said)
        return code, said.read_text()

    def close(self) -> None:
        """No more starts."""
        self._starter.close()

    def empty(self) -> None:
        """The disk as it was bought."""
        shutil.rmtree(self.disk)
        self.disk.mkdir()

    def state(self) -> dict[str, str]:
        """Digests of all files of the disk; of a run the weights only, since the rest has times in it."""
        found = {path.relative_to(self.disk): path for path in sorted(self.disk.rglob("*")) if path.is_file()}
        return {
            # How long a search took is of that search.
            str(name): hashlib.sha256(re.sub(rb'"seconds": [0-9.e-]+', b"", path.read_bytes())).hexdigest()
            for name, path in found.items()
            if not any(part.startswith(".") for part in name.parts)
            and (name.parts[0] not in ("run", "sweep") or name.name == "model.safetensors")
        }


@contextmanager
def room_in(folder: Path) -> Iterator[Room]:
    """A room for as long as the block lasts."""
    room = Room(folder)
    try:
        yield room
    finally:
        room.close()


def calls(room: Room, case: Case) -> tuple[int, dict[str, str]]:
    """How many calls of a command can fail, and what is on the disk when none does."""
    room.empty()
    room.faults.fail_at(0, "EIO", "once")
    code, err = room.run(case)
    assert code == 0, err
    return room.faults.counted(), room.state()


def strike(room: Room, case: Case, right: dict[str, str], number: int, error: str, how: str) -> str:
    """One fault and what follows; the exit code in words. Asserts all that must hold."""
    room.empty()
    room.faults.fail_at(number, error, how)
    code, err = room.run(case)
    room.faults.fail_at(0, "EIO", "once")
    said = f"{error} {how} at call {number}: exit {code}: {err}"
    assert "Traceback" not in err, said
    assert code in ((-9, 0, 1) if how == "kill" else (0, 1, 2)), said  # of a sweep, another process may be killed
    found = room.state()
    if not case.goes_on:
        assert all(right.get(name) == digest for name, digest in found.items()), f"half there: {said}"
        tops = {Path(name).parts[0] for name in found}
        for top in tops:  # whole folders, or nothing of them; plots are files of their own
            whole = {name for name in right if Path(name).parts[0] == top}
            assert top == "plots" or whole <= {*found}, f"half there: {said}"
    if how != "kill":
        assert code == 0 or err.splitlines()[-1].startswith("moewright: "), said
        left = [] if case.goes_on else [path.name for path in room.disk.rglob(".*")]
        assert not left, f"left behind {left}: {said}"
        assert case.goes_on or code == 0 or err.count("\n") == 1, said
    if {*right} - {*found} or case.goes_on:
        again, problem = room.run(case)
        assert again == 0, f"again: {problem}: {said}"
        now = room.state()
        odd = sorted(name for name in {*right} | {*now} if right.get(name) != now.get(name))
        assert not odd, f"again, {', '.join(odd)} differ: {said}"
    return f"exit {code}"


def main() -> None:
    """Every call of the named cases, every fault, and a line about each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--sample", type=int, metavar="N", help="that many faults of each case, drawn by chance")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    assert not missing(), f"no case for {missing()}"
    for name in given.cases or CASES:
        with tempfile.TemporaryDirectory() as folder, room_in(Path(folder)) as room:
            count, right = calls(room, CASES[name])
            faults = list(product(range(1, count + 1), FAULTS))
            if given.sample is not None:
                faults = random.Random(given.seed).sample(faults, min(given.sample, len(faults)))
            print(f"{name}: {count} calls, {len(faults)} faults to try", file=sys.stderr, flush=True)
            ends: Counter[str] = Counter()
            wrong, said = 0, time.monotonic()
            for done, (number, (error, how)) in enumerate(faults):
                if time.monotonic() - said > PROGRESS_SECONDS:
                    said = time.monotonic()
                    print(f"{name}: {done} of {len(faults)} tried, {wrong} wrong", file=sys.stderr, flush=True)
                try:
                    ends[strike(room, CASES[name], right, number, error, how)] += 1
                except AssertionError as problem:
                    wrong += 1
                    print(name, problem, flush=True)
        ended = ", ".join(f"{end} {times} times" for end, times in sorted(ends.items()))
        print(f"{name}: {count} calls, {len(faults)} faults: {ended}; {wrong} wrong", flush=True)


if __name__ == "__main__":
    main()
