"""Megatron-LM's text log, and what NeMo and Megatron-Bridge print like it."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from moewright.runs.readers.opening import log_lines
from moewright.runs.readers.run_log import RunLog, name_of, number, plain_setting

FORMAT = "megatron"
_ARGUMENT = re.compile(r"^(?:\[\w+\]:|\d+:)?\s+(\w+) \.{2,} ?(.*)$")
_STEP = re.compile(r"\biteration\s+(\d+)\s*/\s*(\d+)\s*\|(.*)")
_EVALUATION = re.compile(r"validation loss at (?:the end of training for )?iteration (\d+)[^|]*\|(.*)")
CRASH = re.compile(
    r"Traceback \(most recent|OutOfMemoryError|CUDA out of memory|slurmstepd: error|SIGKILL|SIGTERM|ChildFailedError"
    r"|Segmentation fault|RuntimeError:"
)
"""Signs of a crash in a log of text."""


def claims(path: Path, head: bytes) -> bool:
    """Whether it has the block of arguments, or a line of an iteration, as Megatron-LM prints them."""
    text = head.decode("utf-8", "replace")
    return bool("---- arguments ----" in text or (_STEP.search(text) and "consumed samples" in text))


def read(path: Path, top: Path) -> Iterator[RunLog]:
    """The run of one log; a block of arguments that comes again begins a restart."""
    log = RunLog(name_of(path, top), FORMAT, path)
    for line in log_lines(path):
        if "validation loss" not in line and (found := _STEP.search(line)):  # first, since most lines are such
            _add_step(log, found)
        elif found := _ARGUMENT.match(line):
            log.config[found[1]] = plain_setting(found[2].strip())
        elif "---- arguments ----" in line:
            if log.points:
                log.sessions += 1
            log.ending, log.ending_from = None, ""
        elif found := _EVALUATION.search(line):
            fields = _fields(found[2])
            log.add(int(found[1]), ((f"validation/{name.removesuffix(' value')}", value) for name, value in fields))
        elif "after training is done" in line:
            log.ending, log.ending_from = "finished", "the line 'after training is done'"
        elif CRASH.search(line):
            log.ending, log.ending_from = "failed", "signs of a crash in the log"
    yield log


def _add_step(log: RunLog, line: re.Match[str]) -> None:
    log.config.setdefault("train_iters", int(line[2]))
    named = dict(_fields(line[3]))
    # The mean is left out of the line where it is NaN.
    if "lm loss" not in named and math.isnan(named.get("grad norm", 0.0)):
        named["lm loss"] = math.nan
    length = number(log.config.get("seq_length"))
    if length is not None and "consumed samples" in named:
        named["consumed tokens"] = named["consumed samples"] * length
    log.add(int(line[1]), named.items())


def _fields(text: str) -> Iterator[tuple[str, float]]:
    """Names and numbers of `name: value | name: value`; other values are left out."""
    for field in text.split("|"):
        name, _, value = field.partition(":")
        found = number(value)
        if found is not None:
            yield name.strip(), found
