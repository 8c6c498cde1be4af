"""A battery of hostile and careless cases, made from the signatures of the commands and from valid files.

    python -m tests.trust.battery --cases 2000 --seed 0

prints how many cases of which command and kind ended how, then every fault. A new command needs a line in `LINES`; a
new option of one enters by itself, and one that needs others is a line of `CONTEXTS`; a new input file is a line of
`MORE_LINES`. A case is, in a folder of its own and a forked child with limits of time and memory, one command line, one
call from Python, or one relation between answers (`tests/trust/relations.py`). What is right is judged without the
code: see `faults_of_line`.
"""

import argparse
import contextlib
import hashlib
import inspect
import io
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import pairwise, takewhile
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.commands import COMMANDS
from moewright.commands.checking import OUTPUTS, is_list, names_of, written
from moewright.errors import UserError
from tests.trust.relations import RELATIONS

if TYPE_CHECKING:
    import pandas as pd

SECONDS, BYTES, LONGEST_LINE = 10, 1e9, 400
"""Processor time, which a busy machine does not change; memory over what the parent holds; characters."""
SHARES = 64
"""Of the cases, which the processes take in turn."""
RELATION_SEEDS = 40
"""Of each relation, among the cases to draw from."""
STUCK = 600
"""Seconds of the clock after which a case that takes no processor time is taken for stuck."""
MEASURING = 60
"""Seconds of processor time for lines that measure this machine, in processes of their own that load torch."""
CODES = {0, 1, 2, 130, 143}
ROOT = Path(__file__).parents[2]

LINES: dict[str, list[str]] = {
    "inspect": ["inspect", "config.json", "--json"],
    "models": ["models", "olmoe-1b-7b", "--json"],
    "predict": ["predict", "config.json", "--train-tokens", "2T", "--json"],
    "design": ["design", "--total-params", "3B", "--train-tokens", "2T", "--space", "space.yaml", "--json"],
    "plan": ["plan", "config.json", "--hardware", "H100", "--devices", "8", "--json"],
    "calibrate": ["calibrate", "steps.csv", "--json"],
    "train": ["train", "recipe.yaml", "--dry-run", "--json"],
    "sweep": ["sweep", "sweep.yaml", "--dry-run", "--executor", "slurm", "--json"],
    "runs": ["runs", "runs", "--json"],
    "fit": ["fit", "runs.csv", "--law", "hoffmann2022", "--bootstrap", "0", "--json"],
    "laws": ["laws", "hoffmann2022", "--json"],
    "next": ["next", "runs.csv", "--law", "hoffmann2022", "--spend", "1e23", "--json"],
    "export": ["export", "config.json", "--format", "megatron", "--out", "new", "--json"],
    "report": ["report", "config.json", "--out", "report.html", "--json"],
    "data prepare": ["data", "prepare", "text.txt", "--vocab-size", "300", "--out", "new", "--json"],
}
"""A command line that works, for every command, in the folder that `make_room` fills."""
CONTEXTS: list[list[str]] = [
    ["inspect", "config.json", "spec.json", "olmoe-1b-7b", "--hardware", "devices.yaml", "--devices", "8", "--price",
     "mine=2", "--power-price", "0.1", "--json"],
    ["predict", "config.json", "spec.json", "--train-tokens", "2T", "--own", "runs", "--json"],
    ["design", "--total-params", "3B", "--active-params", "1B", "--train-tokens", "2T", "--space", "space.yaml",
     "--baseline", "config.json", "--explain", "--prefer", "serve", "--law", "zhao2025", "--context", "32k", "--batch",
     "4", "--json"],
    ["fit", "runs.csv", "--law", "hoffmann2022", "--bootstrap", "0", "--holdout", "largest:0.2", "--fix", "E=1.7",
     "--bound", "alpha=0.1:1", "--weights", "train_tokens", "--cluster", "total_params", "--json"],
    ["next", "runs.csv", "--for", "design", "--target", "total_params=50B,train_tokens=1T", "--target",
     "total_params=20B,train_tokens=2T", "--law", "hoffmann2022", "--spend", "1e22", "--noise", "0.01", "--confidence",
     "0.9", "--most", "3", "--json"],
    ["predict", "config.json", "--train-tokens", "2T", "--serve-tokens", "5T", "--unique-tokens", "1T", "--json"],
    ["design", "--total-params", "3B", "--train-tokens", "2T", "--space", "space.yaml", "--hardware", "H100",
     "--train-hardware", "devices.yaml", "--train-devices", "8", "--price", "H100=2.5", "--price", "mine=2.5",
     "--serve-tokens", "5T", "--power-price", "0.1", "--top", "2", "--json"],
    ["design", "--total-params", "3B", "--train-tokens", "2T", "--space", "space.yaml", "--law", "krajewski2024",
     "--own", "mixtures.csv", "--top", "2", "--json"],
    ["plan", "config.json", "--hardware", "H100", "--devices", "8", "--coefficients", "my_cluster.yaml", "--layout",
     "tp=1,pp=1,ep=8", "--train-tokens", "1T", "--price", "H100=2.5", "--json"],
    ["plan", "config.json", "--hardware", "H100", "--devices", "8", "--serve", "--batch", "4", "--context", "4096",
     "--price", "H100=2.5", "--power-price", "0.1", "--serve-tokens", "5T", "--top", "2", "--json"],
    ["fit", "named.csv", "--law", "all", "--bootstrap", "0", "--column", "total_params=N", "--column",
     "train_tokens=D", "--json"],
    ["fit", "runs.csv", "--law", "hoffmann2022", "--bootstrap", "20", "--at", "total_params=8e9", "--at",
     "train_tokens=5e10", "--preregister", "new.json", "--json"],
    ["fit", "2.3", "--score", "planned.json", "--json"],
    ["next", "runs.csv", "--candidates", "sweep.yaml", "--law", "hoffmann2022", "--spend", "1e12", "--out", "new.yaml",
     "--json"],
    ["next", "--candidates", "runs.csv", "--for", "compare", "--target", "total_params=50B,train_tokens=1T", "--target",
     "total_params=20B,train_tokens=2T", "--law", "hoffmann2022", "--spend", "1e22", "--out", "new.csv", "--json"],
    ["sweep", "trained.yaml", "--write-only", "--out", "new", "--json"],
    ["sweep", "untold.yaml", "--trainer", "hf", "--write-only", "--out", "new", "--json"],
    ["sweep", "untold.yaml", "--trainer", "megatron", "--write-only", "--out", "new", "--json"],
    ["sweep", "biased.yaml", "--trainer", "torchtitan", "--write-only", "--out", "new", "--json"],
    ["sweep", "untold.yaml", "--write-only", "--out", "new", "--json"],
    ["sweep", "own.yaml", "--write-only", "--out", "new", "--json"],
    ["sweep", "own.yaml", "--watch", "--out", "own", "--json"],
    ["runs", "own", "--map", "map.yaml", "--from", "jsonl", "--out", "new.csv", "--curves", "curves.parquet", "--json"],
    ["report", "designs.json", "law.json", "runs.csv", "plan.json", "serving.json", "spec.json", "--out",
     "report.html", "--title", "Ours", "--json"],
    ["report", "sweeps", "runs", "own", "--out", "report.html", "--watch", "--force", "--json"],
    ["report", "designs.json", "law.json", "runs.csv", "serving.json", "own", "--out", "report.md", "--format", "md",
     "--json"],
]  # fmt: skip
"""More lines that work, with options that have a use beside others only: values are exchanged for odd texts, files are
damaged."""
MORE_LINES: dict[str, list[str]] = {
    "spec.json": ["inspect", "spec.json", "--json"],
    "spec.yaml": ["inspect", "spec.yaml", "--json"],
    "devices.yaml": ["inspect", "config.json", "--hardware", "devices.yaml", "--json"],
    "law.json": ["laws", "law.json", "--json"],
    "mixtures.csv": [
        "predict",
        "config.json",
        "olmoe-1b-7b",
        "--train-tokens",
        "2T",
        "--law",
        "krajewski2024",
        "--own",
        "mixtures.csv",
        "--json",
    ],
    "runs.jsonl": ["fit", "runs.jsonl", "--law", "hoffmann2022", "--bootstrap", "0", "--json"],
    "runs.parquet": ["fit", "runs.parquet", "--law", "hoffmann2022", "--bootstrap", "0", "--json"],
    "public.csv": ["fit", "public.csv", "--source", "joint_moe", "--law", "hoffmann2022", "--bootstrap", "0", "--json"],
    "texts.jsonl": ["data", "prepare", "texts.jsonl", "--vocab-size", "300", "--out", "new", "--json"],
    "texts.parquet": ["data", "prepare", "texts.parquet", "--vocab-size", "300", "--out", "new", "--json"],
    "texts.jsonl.gz": ["data", "prepare", "texts.jsonl.gz", "--vocab-size", "300", "--out", "new", "--json"],
    "designs.json": ["report", "designs.json", "--out", "report.html", "--json"],
    "plan.json": ["report", "plan.json", "--out", "report.md", "--format", "md", "--json"],
    "tokenizer.json": ["data", "prepare", "text.txt", "--tokenizer", "tokenizer.json", "--out", "new", "--json"],
}
MEASURES = {("sweep", "sweep.yaml", "--dry-run", "--json")}
"""Lines that try out how fast this machine is."""
READS = {
    "config.json": LINES["inspect"],
    "recipe.yaml": LINES["train"],
    "sweep.yaml": LINES["sweep"],
    "space.yaml": LINES["design"],
    "runs.csv": LINES["fit"],
    "steps.csv": LINES["calibrate"],
    "text.txt": LINES["data prepare"],
    **MORE_LINES,
    "runs/metrics.jsonl": LINES["runs"],
    "runs/run.json": LINES["runs"],
    "runs/status.json": LINES["runs"],
    "saved/state.json": ["data", "prepare", "saved", "--vocab-size", "300", "--out", "new", "--json"],
    "saved/data.arrow": ["data", "prepare", "saved", "--vocab-size", "300", "--out", "new", "--json"],
    "data/dataset.json": LINES["train"],
    "sweeps/sweep.json": ["runs", "sweeps", "--json"],
    "own/runs/*/trainer.json": ["runs", "own", "--json"],
    "sweeps/attempts/ed40a1f6f3a2.jsonl": ["runs", "sweeps", "--json"],
}
"""Every kind of input file, and the command line that reads it; a star stands for the only such file."""
IN_FOLDERS = {
    "runs": ("runs/metrics.jsonl", "runs/run.json", "runs/status.json"),
    "sweeps": ("sweeps/sweep.json", "sweeps/attempts/ed40a1f6f3a2.jsonl"),
    "own": (
        "own/sweep.json",
        "own/cells/*.json",
        *(f"own/runs/*/{name}" for name in ("trainer.json", "printed.log", "exit_code", "output/log.jsonl")),
    ),
}
"""What is read where a line of `CONTEXTS` names a folder."""


def read_in(line: list[str]) -> list[str]:
    """The files that a line of `CONTEXTS` reads."""
    outputs = {f"--{written(name)}" for name in OUTPUTS}
    words = [word for before, word in pairwise(line) if before not in outputs]
    files = [word for word in words if Path(word).suffix in (".json", ".yaml", ".csv")]
    return [*files, *(file for word in words for file in IN_FOLDERS.get(word, ()))]


def command_of(line: list[str] | tuple[str, ...]) -> str:
    """The command's words."""
    return " ".join(line[:2]) if line[0] == "data" else line[0]


TEXTS = [
    "", " ", "0", "-1", "-0", "1e30", "1e300", "1e-300", "nan", "inf", "-inf", "9" * 400, "1_000", "017", "0x10", "٣",
    "½", "True", "null", "[]", "{}", "3B", "80GB", "5 parsecs", "a=b", "a=b=c", "E=nan", "E=1:0", ":", "=", ",", "é",
    "日本語", "\U0001f600", "a\tb", "a\nb", "\x1b[31mred\x1b[0m", "\x07", "\x7f", "[/red]", "<script>", "$\\frac",
    "../../x", "/", ".", "..", "~", "/dev/null", "/dev/zero", "/proc/self/mem", "nowhere/at/all", "x" * 300, "x" * 5000,
    "x/" * 2100, "-", "--", "-rf", "*", "$HOME", "`id`", "%s%n", "{0}", "\u202eabc", "\ud800", "\udcff", "a b.json",
    "\x00",
]  # fmt: skip
ARGUMENTS = [text for text in TEXTS if "\x00" not in text and text != "\ud800"]
"""Those that a process can be given."""
OBJECTS: list[Any] = [
    None, object(), b"x", [], {}, (), set(), [[]], {"a": 1}, {1: 2}, [None], ["x", 1], math.nan, math.inf, -math.inf,
    -1, 0, True, False, 10**400, 1e308, 5e-324, 1j, int, len, Path("/"), Path(""), Ellipsis, range(3), "x\x00y",
    "\ud800",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One command line, or one call; `change` is done to the file of the folder that has valid ones."""

    command: str
    kind: str
    line: tuple[str, ...] = ()
    file: str = ""
    change: str = ""
    place: float = 0
    call: tuple[str, int] | None = None
    relation: str = ""
    """Of `relations.RELATIONS`; `place` is its seed."""

    def __str__(self) -> str:
        what = f"{self.change}@{self.place:.6f} of {self.file}: " if self.file else ""
        if self.relation:
            return f"{self.command} / {self.kind}: {self.relation}, seed {self.place:.0f}"
        ending = f" with {self.call[0]}=OBJECTS[{self.call[1]}]" if self.call else ""
        return f"{self.command} / {self.kind}: {what}{[each[:80] for each in self.line]}{ending}"


@dataclass(frozen=True)
class Outcome:
    case: Case
    ended: str
    faults: tuple[str, ...]


def function_of(path: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(import_module(f"moewright.commands.{COMMANDS[path]}"), COMMANDS[path])
    return found


def cases_of_arguments() -> Iterator[Case]:
    """Every parameter of every command with every text, twice, without a value; and every object from Python."""
    for path, line in LINES.items():
        for place, (name, parameter) in enumerate(inspect.signature(function_of(path)).parameters.items()):
            positional = place == 0 and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
            option = f"--{written(name)}"
            yield Case(path, "unknown option", (*line, f"{option}x", "1"))
            for number in range(len(OBJECTS)):
                yield Case(path, "object", call=(name, number))
            if names_of(parameter) == ["bool"]:
                yield Case(path, "contradiction", (*line, option, "--json"))
                continue
            at = len(path.split())
            for text in ARGUMENTS:
                if positional:
                    yield Case(path, "text", (*line[:at], "--", text))
                else:
                    yield Case(path, "text", (*without(line, option), option, text))
            if not positional:
                yield Case(path, "no value", (*without(line, option), option))
                yield Case(path, "repeated", (*without(line, option), option, "1", option, "2"))
    for line in CONTEXTS:
        for place, (option, value) in enumerate(pairwise(line)):
            if option.startswith("--") and not value.startswith("--"):
                for text in ARGUMENTS:
                    yield Case(command_of(line), "text", (*line[: place + 1], text, *line[place + 2 :]))
    for path, line in LINES.items():
        for extra in ([], ["surplus"], ["--help"], ["--version"], ["--json"], ["--"]):
            yield Case(path, "surplus", (*line, *extra))


def cases_of_lists() -> Iterator[Case]:
    """Every line with one more value of a list: one that a line of the same command has there, by another path too."""
    lines = [*LINES.values(), *READS.values(), *CONTEXTS]
    for line in lines:
        path = command_of(line)
        for place, (name, parameter) in enumerate(inspect.signature(function_of(path)).parameters.items()):
            if not is_list(parameter):
                continue
            option = (
                [] if place == 0 and parameter.kind is not inspect.Parameter.KEYWORD_ONLY else [f"--{written(name)}"]
            )
            known = {value: None for other in lines if command_of(other) == path for value in listed(other, option)}
            for value in known:
                for text in (value, f"./{value}"):
                    yield Case(path, "one more", (*line, *option, text))


def listed(line: list[str], option: list[str]) -> list[str]:
    """The values of an option, or those before all options."""
    if option:
        return [value for before, value in pairwise(line) if before == option[0]]
    return [*takewhile(lambda word: not word.startswith("--"), line[len(command_of(line).split()) :])]


def without(line: list[str], option: str) -> list[str]:
    """The line without an option and its value."""
    if option not in line:
        return line
    at = line.index(option)
    return line[:at] + line[at + 2 :]


CHANGES = (
    "truncate", "flip", "delete line", "duplicate line", "swap type", "rename key", "insert BOM", "insert NUL",
    "insert CRLF", "insert number", "insert nesting", "insert escape", "insert bytes", "directory", "fifo", "loop",
    "unreadable", "empty", "missing", "odd name", "endless",
)  # fmt: skip
ONCE = {"directory", "fifo", "loop", "unreadable", "empty", "missing", "odd name", "endless"}


def cases_of_files(generator: random.Random, times: int) -> Iterator[Case]:
    lines = [*READS.items(), *((file, line) for line in CONTEXTS for file in read_in(line))]
    for file, line in lines:
        for change in CHANGES:
            for _ in range(1 if change in ONCE else times):
                yield Case(command_of(line), f"file: {change}", tuple(line), file, change, generator.random())


def cases_of_relations(times: int) -> Iterator[Case]:
    """Every relation, with so many seeds."""
    for name, (command, _) in RELATIONS.items():
        for seed in range(times):
            yield Case(command, "relation", place=seed, relation=name)


def cases_of_this_machine(generator: random.Random, times: int) -> Iterator[Case]:
    """Dry runs of a sweep here, which take seconds each, as they are and with damaged files."""
    (line,) = MEASURES
    yield Case("sweep", "measures", line)
    for change in generator.sample(CHANGES, times):
        yield Case("sweep", f"measures: {change}", line, "sweep.yaml", change, generator.random())


def changed(content: bytes, change: str, place: float) -> bytes:
    """A file's bytes with one thing wrong."""
    at, lines = int(place * len(content)), content.split(b"\n")
    row = int(place * len(lines))
    inserted = {
        "insert NUL": b"\0", "insert number": b"9" * 400, "insert nesting": b"[" * 3000,
        "insert escape": b"\x1b[31m[/red]<script>", "insert bytes": b"\xff\xfe\xc3",
    }  # fmt: skip
    if change in inserted:
        return content[:at] + inserted[change] + content[at:]
    if change == "truncate":
        return content[:at]
    if change == "flip":
        return content[:at] + bytes([content[at] ^ (1 << int(place * 1e6) % 8)]) + content[at + 1 :] if content else b""
    if change == "delete line":
        return b"\n".join(lines[:row] + lines[row + 1 :])
    if change == "duplicate line":
        return b"\n".join(lines[: row + 1] + lines[row:])
    if change == "insert BOM":
        return b"\xef\xbb\xbf" + content
    if change == "insert CRLF":
        return content.replace(b"\n", b"\r\n")
    if change == "swap type":
        key, colon, _ = lines[row].partition(b":")
        wrong = [b"null", b"[]", b"{}", b'"text"', b"true", b"-1", b"1e999"][int(place * 1e6) % 7]
        return b"\n".join(
            [*lines[:row], key + colon + b" " + wrong + b"," * lines[row].endswith(b","), *lines[row + 1 :]]
        )
    assert change == "rename key"
    key, colon, rest = lines[row].partition(b":")
    return b"\n".join([*lines[:row], key[:-2] + b"x" + key[-2:] + colon + rest, *lines[row + 1 :]])


def damage(case: Case, room: Path) -> tuple[str, ...]:
    """Do a case's change in its folder; the command line, with the file's new name if it has one."""
    if not case.file:
        return case.line
    (path,) = room.glob(case.file)
    content = path.read_bytes()
    if case.change not in ONCE:
        path.write_bytes(changed(content, case.change, case.place))
        return case.line
    path.unlink()
    if case.change == "directory":
        path.mkdir()
    elif case.change == "fifo":
        os.mkfifo(path)
    elif case.change == "loop":
        path.symlink_to(path.name)
    elif case.change == "unreadable":
        path.touch(mode=0)
    elif case.change == "empty":
        path.touch()
    elif case.change == "endless":
        path.symlink_to("/dev/zero")
    elif case.change == "odd name":
        name = ["a b", "a\nb", "\x1b[31m", "\udcff", "é" * 80, "[red]"][int(case.place * 6)] + path.suffix
        path.with_name(name).write_bytes(content)
        return tuple(name if each == case.file else each for each in case.line)
    return case.line


def make_room(room: Path) -> None:
    """A folder with one valid file of each kind."""
    import pandas as pd
    import yaml

    shutil.copy(ROOT / "examples/configs/qwen3-30b-a3b.json", room / "config.json")
    layer = {
        "mixer": {"kind": "attention", "num_heads": 2, "num_kv_heads": 2, "head_dim": 16},
        "feed_forward": {"kind": "dense", "size": 64},
    }
    spec = {"format": "moewright-architecture/1", "vocab_size": 300, "hidden_size": 32, "layers": [layer, layer]}
    (room / "spec.json").write_text(json.dumps(spec, indent=1))
    (room / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    sizes = [{"total_params": 1e9 * (1 + i), "train_tokens": 1e10 * (1 + j)} for i in range(6) for j in range(4)]
    table = pd.DataFrame(sizes)
    table["loss"] = 1.7 + 400 / table.total_params**0.34 + 410 / table.train_tokens**0.28
    table.to_csv(room / "runs.csv", index=False)
    shutil.copy(ROOT / "examples" / "measured_steps.csv", room / "steps.csv")
    table.to_parquet(room / "runs.parquet")
    table.to_json(room / "runs.jsonl", orient="records", lines=True)
    table.rename(
        columns={"total_params": "n_total_with_embed", "train_tokens": "tokens", "loss": "final_eval_loss"}
    ).assign(
        n_active_with_embed=1e9, n_active_nonembed=1e9, n_total_nonembed=1e9, d_model=64, n_blocks=2, n_experts=1
    ).to_csv(room / "public.csv", index=False)
    own_mixtures().to_csv(room / "mixtures.csv", index=False)
    make_texts(room)
    (room / "text.txt").write_text("".join(f"document {i} of {i * i} words<|endoftext|>\n" for i in range(400)))
    recipe = {
        "format": "moewright-recipe/1",
        "architecture": spec,
        "data": "data",
        "train_tokens": 4096,
        "sequence_length": 32,
        "batch_tokens": 256,
        "micro_batch_sequences": 8,
        "learning_rate": 0.004,
        "schedule": {"kind": "cosine", "warmup_tokens": 512},
    }
    (room / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    grid = {"format": "moewright-sweep/1", "recipe": recipe, "axes": [{"grid": {"train_tokens": [2048, 4096]}}]}
    (room / "sweep.yaml").write_text(yaml.safe_dump({**grid, "seeds": [0, 1]}, sort_keys=False))
    make_trained(room, recipe, spec)
    device: dict[str, Any] = {"memory": "80GB", "memory_bandwidth": "2039GB", "peak_flops": {"bf16": "312T"}}
    device |= {"board_power": 400, "node": {"devices": 8, "bandwidth": "300GB", "link": "NVLink 3"}}
    (room / "devices.yaml").write_text(yaml.safe_dump({"devices": {"mine": device}}, sort_keys=False))
    import moewright

    with contextlib.chdir(room):
        moewright.fit("runs.csv", "hoffmann2022", bootstrap=0, out="law.json")
        function_of("data prepare")("text.txt", "data", vocab_size=300, validation_share=0.2)
        few = {
            "widths": [1024, 2048],
            "depths": [16, 32],
            "experts": [8, 64],
            "top_k": [1, 2, 4],
            "shared_experts": [0, 1],
        }
        space = {**moewright.design(print_space=True).to_dict(), **few}
        (room / "space.yaml").write_text(str(yaml.safe_dump(space)))
        designs = moewright.design(total_params="3B", train_tokens="2T", space="space.yaml", top=2)
        (room / "designs.json").write_text(json.dumps(designs.to_dict(), indent=1))
        plan = moewright.plan("config.json", hardware="H100", devices=8, top=2)
        (room / "plan.json").write_text(json.dumps(plan.to_dict(), indent=1))
        serving = moewright.plan("config.json", hardware="H100", devices=8, serve=True, top=2)
        (room / "serving.json").write_text(json.dumps(serving.to_dict(), indent=1))
        moewright.calibrate("steps.csv", out="my_cluster.yaml")
        planned = {"total_params": 8e9, "train_tokens": 5e10}
        moewright.fit("runs.csv", "hoffmann2022", bootstrap=20, at=planned, preregister="planned.json")
        made = moewright.sweep("own.yaml", "own", write_only=True)
        run = Path(made.written[0]).parent
        (run / "output").mkdir()
        lines = [{"step": step, "train_loss": 5.7 - step / 40} for step in range(1, 17)]
        lines += [{"step": 16, "val_loss": 5.4}]
        (run / "output/log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (run / "printed.log").write_text("final 5.4\n")
        (run / "exit_code").write_text("0\n")
        import tarfile

        with tarfile.open(ROOT / "tests/experiment/old_folders/34ba6fa.tar.xz") as archive:
            members = [each for each in archive.getmembers() if each.name.startswith(("./finished", "./sweep-partial"))]
            archive.extractall(room / "all", members, filter="data")
        shutil.move(room / "all/finished", room / "runs")
        shutil.move(room / "all/sweep-partial", room / "sweeps")
        shutil.copy(room / "data/tokenizer.json", room / "tokenizer.json")
        shutil.rmtree(room / "all")


def own_mixtures() -> "pd.DataFrame":
    """Eight small runs of mixtures, the fewest that are heard."""
    import pandas as pd

    rows = []
    for place in range(8):
        experts, width = 8 * 2 ** (place % 4), 256 + 64 * place
        size = {"hidden_size": width, "num_layers": 8, "num_experts": experts, "top_k": 2, "expert_size": 4 * width}
        attention = 4 * width**2
        total, active = (8 * (attention + 3 * width * 4 * width * number) for number in (experts, 2))
        loss = 1.8 + 38.0 / total**0.24 + 31.0 / active**0.24
        counted = {"total_params": total + 32000 * width, "active_params": active + 32000 * width}
        counted |= {"total_params_non_embedding": total, "active_params_non_embedding": active}
        rows.append({**size, "shared_size": 0, **counted, "train_tokens": 2e10, "loss": loss, "status": "finished"})
    return pd.DataFrame(rows)


def make_trained(room: Path, recipe: dict[str, Any], spec: dict[str, Any]) -> None:
    """Sweeps that other trainers make: a model that every one of them has, and a command of somebody's own."""
    import yaml

    mixture = {
        "mixer": {**spec["layers"][0]["mixer"], "qk_norm": "per_head", "rope": {"theta": 10000.0}},
        "feed_forward": {
            "kind": "moe",
            "groups": [{"count": 4, "expert_size": 32, "top_k": 2}],
            "router": {"normalize": True},
        },
    }
    balance = {"losses": [{"weight": 0.01, "layers": "pooled", "balanced_value": "top_k"}]}
    trained = {
        **recipe, "architecture": {**spec, "layers": [mixture, mixture]}, "balancing": balance,
        "checkpoints": {"every_tokens": 1024, "every_minutes": None},
    }  # fmt: skip
    rate = {"format": "moewright-sweep/1", "axes": [{"grid": {"learning_rate": [0.03]}}]}
    hf = {"kind": "hf", "python": "/envs/hf/bin/python", "launch": "torchrun", "arguments": {"bf16": False}}
    slurm = {"cores_per_run": 1, "gpus_per_run": 2, "time_limit": "1h", "slurm": {"partition": "a", "mem_gb": 4}}
    values = {**rate, "recipe": trained, "trainer": hf, "execution": slurm}
    (room / "trained.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (room / "untold.yaml").write_text(yaml.safe_dump({**rate, "recipe": trained}, sort_keys=False))
    router = {"normalize": True, "selection_bias": "buffer"}
    mixture = {**mixture, "feed_forward": {**mixture["feed_forward"], "router": router}}
    biased = {
        **trained, "architecture": {**spec, "layers": [mixture, mixture]},
        "balancing": {"selection_bias": {"zero_mean": True}},
    }  # fmt: skip
    values = {**rate, "recipe": biased, "execution": slurm}
    (room / "biased.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    own = {
        "kind": "command",
        "run": "{python} {here}/train.py {output} {train_files} {steps} {learning_rate} {seed} {run}",
        "loss": "val_loss",
        "resumes": True,
        "checkpoints": r"step-(\d+)\.npy",
    }
    values = {**rate, "recipe": recipe, "trainer": own, "execution": {"cores_per_run": 1}}
    (room / "own.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (room / "map.yaml").write_text("loss: val_loss\n")
    text = (room / "runs.csv").read_text()
    (room / "named.csv").write_text(text.replace("total_params", "N").replace("train_tokens", "D"))


def make_texts(room: Path) -> None:
    """Documents as JSON lines, compressed, as Parquet, and as Hugging Face datasets saves them."""
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"text": f"document {i} of {i * i} words", "source": "ab"[i % 2]} for i in range(300)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (room / "texts.jsonl").write_text(lines)
    (room / "texts.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, room / "texts.parquet")
    (room / "saved").mkdir()
    (room / "saved/state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}], "_split": "train"}))
    with pa.ipc.new_stream(str(room / "saved/data.arrow"), table.schema) as writer:
        writer.write_table(table)


def digests(room: Path) -> dict[str, str]:
    """What is in a folder; FIFOs, links and what cannot be read by their kind alone."""
    found = {}
    for path in room.rglob("*"):
        plain = path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
        found[str(path.relative_to(room))] = hashlib.sha256(path.read_bytes()).hexdigest() if plain else "other"
    return found


def faults_of_line(
    line: tuple[str, ...], code: int, out: str, err: str, before: dict[str, str], room: Path
) -> list[str]:
    """What is wrong with how a command line ended, by rules that know nothing of the code."""
    faults = [] if code in CODES else [f"exit {code}"]
    if "Traceback" in out + err:
        faults.append("traceback")
    if code == 2:
        lines = err.strip("\n").split("\n")
        if len(lines) != 1 or not lines[0].startswith("moewright:"):
            faults.append("not one line")
        elif len(lines[0]) > LONGEST_LINE:
            faults.append(f"a line of {len(lines[0])} characters")
    if any((ord(each) < 32 and each not in "\n\t") or 127 <= ord(each) < 160 for each in out + err):
        faults.append("raw control characters")
    if code == 0 and "--json" in line and "--help" not in line and "--version" not in line:
        try:
            assert isinstance(json.loads(out, parse_constant=lambda word: 1 / 0), dict)
        except (ValueError, AssertionError, ZeroDivisionError):
            faults.append("not one JSON object")
    after = digests(room)
    if any(after.get(name) != digest for name, digest in before.items()):
        faults.append("an input changed")
    news = {name.split("/")[0] for name in after if name not in before}
    named = {line[line.index(f"--{name}") + 1].split("/")[0] for name in OUTPUTS if f"--{name}" in line[:-1]}
    if news - named - {os.path.normpath(each).split("/")[0] for each in named if each}:
        faults.append(f"left {sorted(news - named)}")
    return faults


def run_line(case: Case, room: Path, aside: Path) -> Outcome:
    """A command line in a forked child; positional texts come before the rest of the line's options."""
    line = damage(case, room)
    before, begun, held = digests(room), time.monotonic(), _held_bytes()
    most = MEASURING if case.line in MEASURES else SECONDS
    out_file, err_file = aside / "out", aside / "err"
    child = os.fork()
    if child == 0:
        _become(line, room, out_file, err_file)
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - begun > STUCK or _seconds_of(child) > 2 * most:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    code = os.waitstatus_to_exitcode(status)
    out, err = (file.read_bytes().decode("utf-8", "surrogateescape") for file in (out_file, err_file))
    faults = faults_of_line(line, code, out, err, before, room)
    if usage.ru_utime + usage.ru_stime > most or code == -signal.SIGKILL:
        faults.append(f"over {most} s, or stuck for {STUCK}")
    if usage.ru_maxrss * 1024 - held > BYTES:  # a forked child begins with what this process holds
        faults.append("over 1 GB")
    shown = (err.strip().split("\n") or [""])[-1][:300]
    return Outcome(case, f"exit {code}", tuple(f"{fault} | {shown!r}" for fault in faults))


def _seconds_of(process: int) -> float:
    """Processor time of a child that has not been waited for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _held_bytes() -> int:
    """Bytes of memory that this process holds."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _become(line: tuple[str, ...], room: Path, out_file: Path, err_file: Path) -> None:
    """The rest of a child's life: the command line, as the installed command has it."""
    code: Any = 1
    try:
        for number, file in ((1, out_file), (2, err_file)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(room)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["moewright", *line]
        from moewright.__main__ import main

        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def run_call(case: Case, room: Path) -> Outcome:
    """A call from Python with one odd object: it answers, or UserError in one short line."""

    def call() -> str:
        assert case.call is not None
        name, number = case.call
        values = python_arguments(case.command)
        values[name] = OBJECTS[number]
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                function_of(case.command)(**values)
        except UserError as error:
            return "UserError" if "\n" not in str(error) and len(str(error)) <= LONGEST_LINE else f"fault: long {error}"
        return "returned"

    return _in_child(case, room, call, SECONDS)


def run_relation(case: Case, room: Path) -> Outcome:
    """Several answers, which agree."""

    def compare() -> str:
        RELATIONS[case.relation][1](random.Random(int(case.place)))
        return "agreed"

    return _in_child(case, room, compare, MEASURING)


def _in_child(case: Case, room: Path, work: Callable[[], str], seconds: float) -> Outcome:
    """What a piece of work in a forked child says; a fault for an exception, and for one that takes too long."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            os.chdir(room)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            signal.alarm(STUCK)
            told = work()
        except BaseException as error:
            told = f"fault: {type(error).__name__}: {error}"
        os.write(write, told.encode("utf-8", "backslashreplace")[:2000])
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        told = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0 or not told:
        told = f"fault: over {seconds} s, stuck for {STUCK}, or killed"
    return Outcome(case, told.split(":")[0], (told[:600],) if told.startswith("fault") else ())


def python_arguments(path: str) -> dict[str, Any]:
    """The working line of a command as arguments from Python."""
    words = [each for each in LINES[path][len(path.split()) :] if each != "--json"]
    parameters = inspect.signature(function_of(path)).parameters
    values: dict[str, Any] = {}
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            values[next(iter(parameters))] = word
            continue
        name = word[2:].replace("-", "_")
        parameter = parameters[name]
        is_number = "str" not in names_of(parameter) and "int" in names_of(parameter)
        values[name] = True if names_of(parameter) == ["bool"] else int(words.pop(0)) if is_number else words.pop(0)
    return values


def run_case(case: Case, valid: Path) -> Outcome:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack():
        room, aside = Path(folder) / "room", Path(folder) / "aside"
        shutil.copytree(valid, room)
        aside.mkdir()
        if case.relation:
            return run_relation(case, room)
        return run_call(case, room) if case.call else run_line(with_rest(case), room, aside)


def with_rest(case: Case) -> Case:
    """A hostile first argument stands last, after `--`, behind the options that make the line whole."""
    if case.kind != "text" or "--" not in case.line[: len(case.command.split()) + 1]:
        return case
    at = len(case.command.split())
    return replace(case, line=(*case.line[:at], *LINES[case.command][at + 1 :], *case.line[at:]))


def _work(given: tuple[list[Case], str]) -> list[Outcome]:
    cases, valid = given
    outcomes = []
    for case in cases:
        outcomes.append(run_case(case, Path(valid)))
        for fault in outcomes[-1].faults:  # a long run says at once what it finds
            print(f"{case}: {fault}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)
    return outcomes


LOADED = (
    "pandas", "pyarrow.parquet", "rich.table", "tokenizers", "torch", "submitit", "moewright.cli", "moewright.report",
    "moewright.laws.fitting.search", "moewright.experiment.planning", "moewright.experiment.collecting.collection",
    "moewright.exporters.exported", "moewright.sweeps.foresight.dry_run", "moewright.sweeps.running.sweeping",
    "moewright.data.preparation", "moewright.designs.recommendation", "moewright.report.page.page_writing",
    "moewright.report.page.sections.design_section", "moewright.report.page.sections.what_if_section",
    "moewright.sweeps.trainers.hf_trainer", "moewright.sweeps.trainers.torchtitan_trainer",
    "moewright.laws.selection.run_choice",
)  # fmt: skip
"""What commands load, so that each case need not."""


def load() -> None:
    """Import what cases need, before the processes divide."""
    for path in COMMANDS:
        function_of(path)
    for name in LOADED:
        with contextlib.suppress(ImportError):
            import_module(name)


def battery(cases: int, seed: int, processes: int = 2, only: str = "") -> list[Outcome]:
    """So many cases, drawn by the seed from all that there are; `only` is a text in the case's description."""
    assert {*LINES} == {*COMMANDS}, "a command without a line in LINES"
    generator = random.Random(seed)
    every = [
        *cases_of_arguments(),
        *cases_of_lists(),
        *cases_of_files(generator, 20),
        *cases_of_relations(RELATION_SEEDS),
    ]
    drawn = [each for each in every if only in str(each)]
    generator.shuffle(drawn)
    drawn[:0] = [each for each in cases_of_this_machine(generator, 5) if only in str(each)]
    load()
    with tempfile.TemporaryDirectory() as folder:
        make_room(Path(folder))
        shares = [(drawn[:cases][i::SHARES], folder) for i in range(SHARES)]
        outcomes: list[Outcome] = []
        with get_context("fork").Pool(processes) as pool:
            for share in pool.imap_unordered(_work, shares):
                outcomes += share
                print(f"{len(outcomes)} of {len(drawn[:cases])} cases", file=sys.stderr, flush=True)
        return outcomes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="Text in the description of a case.")
    given = parser.parse_args()
    begun = time.monotonic()
    outcomes = battery(given.cases, given.seed, given.processes, given.only)
    for what in (lambda each: each.case.command, lambda each: each.case.kind, lambda each: each.ended):
        print(
            *(f"{count:6} {name}" for name, count in sorted(Counter(map(what, outcomes)).items())), sep="\n", end="\n\n"
        )
    bad = [each for each in outcomes if each.faults]
    for each in bad:
        print(
            str(each.case).encode("utf-8", "backslashreplace").decode(),
            *(f"    {fault}" for fault in each.faults),
            sep="\n",
        )
    print(f"{len(outcomes)} cases of seed {given.seed} in {time.monotonic() - begun:.0f} s, {len(bad)} with faults")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
