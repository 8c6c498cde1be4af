"""The disk fails, or the process dies, at the n-th call of a command that writes, for every n.

    python -m tests.trust.faults [COMMAND...]

tries every n of the named commands (all of `COMMANDS` without names) and prints what came of it; the suite tries a few.
After each: the output is there as it should be, or as before, never half; nothing else is beside it; the complaint is
one line; and the same command, started again, ends right. A killed process may leave its hidden file behind. The calls
are counted below Python (tests/sweeps/disk_faults.c), so those of Arrow, safetensors and matplotlib are among them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.sweeps.disk_faults import DiskFaults

ROOT = Path(__file__).parents[2]
OLD_FOLDERS = ROOT / "tests/experiment/old_folders/34ba6fa.tar.xz"
FAULTS = (("ENOSPC", "on"), ("EIO", "once"), ("EROFS", "on"), ("EIO", "kill"))
"""A disk that is full from then on, one bad call, one that goes read-only, and kill -9."""


@dataclass(frozen=True)
class Command:
    """A command that writes."""

    arguments: str
    """{disk}: where the disk fails; {inputs}: where it does not."""
    goes_on: bool = False
    """Whether its folder is one to go on in: then only what comes of a start without faults is compared."""


COMMANDS: dict[str, Command] = {
    "fit": Command("fit {inputs}/runs.csv --law hoffmann2022 --bootstrap 0 --out {disk}/law.json"),
    "fit figures": Command("fit {inputs}/runs.csv --law hoffmann2022 --bootstrap 0 --plots {disk}/plots"),
    "runs": Command("runs {inputs}/finished --out {disk}/runs.parquet --curves {disk}/curves.parquet"),
    "design": Command("design --total-params 3B --train-tokens 2T --top 2 --out {disk}/designs"),
    "export": Command("export {inputs}/design.json --format megatron --out {disk}/new"),
    "export weights": Command("export {inputs}/finished --format hf --out {disk}/new"),
    "data prepare": Command("data prepare {inputs}/text.txt --vocab-size 300 --out {disk}/new"),
    "train": Command("train {inputs}/recipe.yaml --quiet --out {disk}/run", goes_on=True),
    "sweep": Command("sweep {inputs}/sweep.yaml --quiet --jobs 1 --out {disk}/sweep", goes_on=True),
}
"""A new command is a line here."""


class Room:
    """A folder with inputs, a disk that fails, and a place for what finds no room on it."""

    def __init__(self, folder: Path):
        self.folder, self.inputs, self.disk = folder, folder / "inputs", folder / "disk"
        for place in (self.inputs, self.disk, folder / "tmp"):
            place.mkdir()
        self.faults = DiskFaults(folder / "faults", self.disk)
        rows = [f"{n}e9,{d}e10,{1.7 + 0.35 / n**0.34 + 0.6 / d**0.28}" for n in range(1, 7) for d in range(1, 5)]
        (self.inputs / "runs.csv").write_text("\n".join(["total_params,train_tokens,loss", *rows]) + "\n")
        (self.inputs / "text.txt").write_text("".join(f"document {i} of words<|endoftext|>" for i in range(200)))
        shutil.copy(ROOT / "examples/configs/qwen3-30b-a3b.json", self.inputs / "design.json")
        with tarfile.open(OLD_FOLDERS) as archive:
            archive.extractall(self.inputs, filter="data")
        recipe = (self.inputs / "recipe.yaml").read_text()
        for long, short in (("64K", "4K"), ("16K", "2K"), ("8K", "2K"), ("warmup_tokens: 2K", "warmup_tokens: 1K")):
            recipe = recipe.replace(long, short)
        (self.inputs / "recipe.yaml").write_text(recipe)
        (self.inputs / "sweep.yaml").write_text("format: moewright-sweep/1\nrecipe: recipe.yaml\nseeds: [0, 1]\n")

    def run(self, command: Command) -> tuple[int, str]:
        """Exit code and standard error."""
        arguments = [each.format(inputs=self.inputs, disk=self.disk) for each in command.arguments.split()]
        environment = {**os.environ, **self.faults.environment, "TMPDIR": str(self.folder / "tmp")}
        done = subprocess.run(
            [sys.executable, "-m", "moewright", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
        )
        return done.returncode, done.stderr

    def empty(self) -> None:
        """The disk as it was bought."""
        shutil.rmtree(self.disk)
        self.disk.mkdir()

    def state(self) -> dict[str, str]:
        """Digests of all files of the disk; of a run the weights only, since the rest has times in it."""
        found = {path.relative_to(self.disk): path for path in sorted(self.disk.rglob("*")) if path.is_file()}
        return {
            str(name): hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in found.items()
            if not any(part.startswith(".") for part in name.parts)
            and (name.parts[0] not in ("run", "sweep") or name.name == "model.safetensors")
        }


def calls(room: Room, command: Command) -> tuple[int, dict[str, str]]:
    """How many calls of a command can fail, and what is on the disk when none does."""
    room.empty()
    room.faults.fail_at(0, "EIO", "once")
    code, err = room.run(command)
    assert code == 0, err
    return room.faults.counted(), room.state()


def strike(room: Room, command: Command, right: dict[str, str], number: int, error: str, how: str) -> str:
    """One fault and what follows; the exit code in words. Asserts all that must hold."""
    room.empty()
    room.faults.fail_at(number, error, how)
    code, err = room.run(command)
    room.faults.fail_at(0, "EIO", "once")
    case = f"{error} {how} at call {number}: exit {code}: {err}"
    assert "Traceback" not in err, case
    assert code in ((-9, 0, 1) if how == "kill" else (0, 1, 2)), case  # of a sweep, another process may be killed
    found = room.state()
    if not command.goes_on:
        assert all(right.get(name) == digest for name, digest in found.items()), f"half there: {case}"
        tops = {Path(name).parts[0] for name in found}
        for top in tops:  # whole folders, or nothing of them; plots are files of their own
            whole = {name for name in right if Path(name).parts[0] == top}
            assert top == "plots" or whole <= {*found}, f"half there: {case}"
    if how != "kill":
        assert code == 0 or err.splitlines()[-1].startswith("moewright: "), case
        left = [] if command.goes_on else [path.name for path in room.disk.rglob(".*")]
        assert not left, f"left behind {left}: {case}"
        assert command.goes_on or code == 0 or err.count("\n") == 1, case
    if {*right} - {*found} or command.goes_on:
        again, said = room.run(command)
        assert again == 0, f"again: {said}: {case}"
        assert room.state() == right, f"again: {case}"
    return f"exit {code}"


def main(names: list[str]) -> None:
    """Every call of the named commands, every fault, and a line about each command."""
    for name in names or COMMANDS:
        command = COMMANDS[name]
        with tempfile.TemporaryDirectory() as folder:
            room = Room(Path(folder))
            count, right = calls(room, command)
            ends: Counter[str] = Counter()
            wrong = []
            for number in range(1, count + 1):
                for error, how in FAULTS:
                    try:
                        ends[strike(room, command, right, number, error, how)] += 1
                    except AssertionError as problem:
                        wrong.append(str(problem))
                        print(name, problem, flush=True)
        print(f"{name}: {count} calls, {sum(ends.values())} faults, {dict(ends)}, {len(wrong)} wrong", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
