"""Short lines of text: nanoGPT's, llm.c's, and torchtitan's and OLMo-core's consoles."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from moewright.runs.readers.megatron_log import CRASH
from moewright.runs.readers.opening import log_lines
from moewright.runs.readers.run_log import RunLog, name_of, number, plain_setting

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

# nanoGPT
_ITERATION = re.compile(r"^iter (\d+): loss (\S+), time")
_EVALUATION = re.compile(r"^step (\d+): train loss (\S+), val loss (\S+)")
_OVERRIDE = re.compile(r"^Overriding: (\w+) = (.*)$")
_PER_STEP = re.compile(r"^tokens per iteration will be: ([\d,]+)")
_PARAMETERS = re.compile(r"^number of parameters: ([\d.]+)M")

# llm.c
_LLM_C = re.compile(r"^s:(\d+) (tel|trl|eval):(\S+)(?: lr:(\S+) norm:(\S+))?")

# torchtitan
_TITAN = re.compile(r"(validate )?step:\s*(\d+)\s+(.*)")
_TITAN_FIELD = re.compile(r"([A-Za-z_]\w*):\s*([-+\w.,]+)")
_TITAN_STOPS = re.compile(r"Loss is not finite \(global_avg_loss=(\S+)\) at step (\d+)")

# OLMo-core
_OLMO = re.compile(r"\[step=([\d,]+)(?:/([\d,]+))?[,\]]")
_OLMO_METRIC = re.compile(r"^\s+(\S.*?)=([-+.,\w]+)$")


def claims_nanogpt(path: Path, head: bytes) -> bool:
    """Whether a line of an iteration or an evaluation is nanoGPT's."""
    return _any(head, _ITERATION, _EVALUATION)


def read_nanogpt(path: Path, top: Path) -> Iterator[RunLog]:
    """One run of nanoGPT. `train loss` of an evaluation is a mean of its own, and no metric of the step."""

    def take(log: RunLog, line: str) -> None:
        if found := _ITERATION.match(line):
            log.add(int(found[1]), [("train/loss", _value(found[2]))])
        elif found := _EVALUATION.match(line):
            log.add(int(found[1]), [("val/loss", _value(found[3]))])
        elif found := _OVERRIDE.match(line):
            log.config[found[1]] = plain_setting(found[2])
        elif found := _PER_STEP.match(line):
            log.config["tokens_per_step"] = int(found[1].replace(",", ""))
        elif found := _PARAMETERS.match(line):
            log.config["rounded_parameters"] = float(found[1]) * 1e6

    yield _read(path, top, "nanogpt", take)


def claims_llm_c(path: Path, head: bytes) -> bool:
    """Whether a line is llm.c's."""
    return _any(head, _LLM_C)


def read_llm_c(path: Path, top: Path) -> Iterator[RunLog]:
    """One run of llm.c's `main.log`."""

    def take(log: RunLog, line: str) -> None:
        if found := _LLM_C.match(line):
            name = {"tel": "val/loss", "trl": "train/loss", "eval": "eval/hellaswag"}[found[2]]
            values = [(name, _value(found[3]))]
            if found[4]:
                values += [("lr", _value(found[4])), ("grad_norm", _value(found[5]))]
            log.add(int(found[1]), values)

    yield _read(path, top, "llm.c", take)


def claims_torchtitan(path: Path, head: bytes) -> bool:
    """Whether the text is torchtitan's console."""
    text = _COLOURS.sub("", head.decode("utf-8", "replace"))
    return ("[titan]" in text or "torchtitan" in text) and bool(re.search(r"step:\s*\d+\s+loss:", text))


def read_torchtitan(path: Path, top: Path) -> Iterator[RunLog]:
    """One run of torchtitan's console."""

    def take(log: RunLog, line: str) -> None:
        line = _COLOURS.sub("", line)
        if found := _TITAN.search(line):
            prefix = "validation/" if found[1] else "train/"
            values = [
                (prefix + name, value)
                for name, text in _TITAN_FIELD.findall(found[3])
                if (value := number(text.replace(",", ""))) is not None
            ]
            log.add(int(found[2]), values)
        elif found := _TITAN_STOPS.search(line):  # at such a loss, which nothing else logs
            log.add(int(found[2]), [("train/loss", _value(found[1]))])
        elif "Training completed" in line:
            log.ending, log.ending_from = "finished", "the line 'Training completed'"
        elif found := re.search(r"([\d,]+) total parameters", line):
            log.config["num_parameters"] = int(found[1].replace(",", ""))
        elif found := re.search(r"global batch size (\d+).*sequence length (\d+).*total steps (\d+)", line):
            log.config |= {"global_batch_size": int(found[1]), "seq_len": int(found[2]), "max_steps": int(found[3])}

    yield _read(path, top, "torchtitan", take)


def claims_olmo_core(path: Path, head: bytes) -> bool:
    """Whether the text is OLMo-core's console."""
    return _any(head, _OLMO) and b"olmo_core" in head


def read_olmo_core(path: Path, top: Path) -> Iterator[RunLog]:
    """One run of OLMo-core's console: a line that names the step, then one a metric."""
    step: int | None = None

    def take(log: RunLog, line: str) -> None:
        nonlocal step
        if found := _OLMO.search(line):
            step = int(found[1].replace(",", ""))
            if found[2]:
                log.config["max_steps"] = int(found[2].replace(",", ""))
        elif step is not None and (found := _OLMO_METRIC.match(line)):
            value = number(found[2].replace(",", ""))
            if value is not None:
                log.add(step, [(found[1], value)])
        elif "Training complete" in line:
            log.ending, log.ending_from = "finished", "the line 'Training complete'"

    yield _read(path, top, "olmo_core", take)


def _any(head: bytes, *patterns: "re.Pattern[str]") -> bool:
    lines = head.decode("utf-8", "replace").splitlines()
    return any(pattern.search(line) for line in lines for pattern in patterns)


def _value(text: str) -> float:
    found = number(text)
    return float("nan") if found is None else found


def _read(path: Path, top: Path, name: str, take: Callable[[RunLog, str], None]) -> RunLog:
    log = RunLog(name_of(path, top), name, path)
    for line in log_lines(path):
        if CRASH.search(line):
            log.ending, log.ending_from = "failed", "signs of a crash in the log"
        else:
            before = log.written
            take(log, line)
            if log.written > before and log.ending == "failed":
                log.ending, log.ending_from = None, ""  # it went on after a restart
    return log
