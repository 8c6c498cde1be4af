"""Every parser against inputs that hypothesis makes: it answers right, or with one line, in time and in memory.

    python -m tests.trust.fuzz --minutes 60 --processes 2

spreads the time, of processors, over the parsers of `tests/trust/parsers.py`, and prints for each how many inputs of
which seeds were read and refused, and what they took at most. An input that ends otherwise is made small by hypothesis
and kept:

    python -m tests.trust.fuzz --replay fuzz-findings/json-9f86d081.json

A finding is an exception other than UserError, a complaint of more than one line, an answer that does not survive being
written and read again or that differs from an independent reader's, more than 10 s of processor time or 500 MB over
what was held before, and the death of the process. Each parser runs in a process of its own, so that one that dies or
hangs takes nothing with it. The same seed gives the same inputs.
"""

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from moewright.errors import UserError
from tests.trust.battery import make_room
from tests.trust.parsers import PARSERS, Parser

SECONDS, BYTES, LONGEST_LINE = 10, 500e6, 1000
ROUND = 300
"""Inputs of one seed."""
LATEST = 30
"""Times its processor time that a parser may take by the clock, beside other work of the machine."""
BACKSTOP = 8e9
"""Bytes of address space over what was there: what would take the machine down is an error before."""


class WrongAnswerError(AssertionError):
    """What a parser did that it must not."""


class TooLong(BaseException):
    """The processor time of one input is over. No parser catches it by accident."""


class Over(BaseException):
    """The time of a parser is over; hypothesis passes it on."""


@dataclass
class Tally:
    """What came of the inputs of one parser."""

    name: str
    read: int = 0
    refused: int = 0
    seeds: int = 0
    seconds: float = 0
    processor_seconds: float = 0
    slowest: float = 0
    most_bytes: float = 0
    findings: list[str] = field(default_factory=list)
    """A line for each, with the file that shows it."""
    fault: tuple[bytes, Exception] | None = None
    """The last input of a round that showed a new fault."""

    def __str__(self) -> str:
        return (
            f"{self.name:20} {self.read + self.refused:8,} inputs: {self.read:8,} read, {self.refused:8,} refused; "
            f"{self.seeds} seeds; {self.seconds:.0f} s, of the processor {self.processor_seconds:.0f}; at most "
            f"{self.slowest:.2f} s and "
            f"{self.most_bytes / 1e6:.0f} MB; {len(self.findings)} findings"
        )


def check(parser: Parser, room: Path, content: bytes) -> tuple[bool, float, float]:
    """Give a parser one input: whether it was read, its seconds and its bytes. Raises WrongAnswerError."""
    path = room / parser.file
    path.write_bytes(content)
    held, begun = _peak(reset=True), time.process_time()
    with _limited(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parser.read(path)
            was_read = True
        except UserError as error:
            was_read, said = False, str(error)
            if "\n" in said or not said or len(said) > LONGEST_LINE:
                raise WrongAnswerError(f"not one short line: {said[:300]!r}") from None
        except TooLong:
            raise WrongAnswerError(f"over {SECONDS} s") from None
    took, more = time.process_time() - begun, _peak() - held
    if more > BYTES:
        raise WrongAnswerError(f"{more / 1e6:.0f} MB")
    return was_read, took, more


@contextmanager
def _limited() -> Iterator[None]:
    """TooLong after so many seconds of processor time."""

    def stop(number: int, frame: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _peak(reset: bool = False) -> float:
    """The most bytes of memory that this process held; `reset`: since now."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024.0 * int(status.split("VmHWM:")[1].split()[0])


def signature(error: BaseException) -> str:
    """What tells one fault from another: its kind, and the last line of our code that it passed through."""
    ours = [
        f for f in traceback.extract_tb(error.__traceback__) if "moewright" in f.filename or "parsers" in f.filename
    ]
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return (
        f"{type(error).__name__} at {where}"
        if not isinstance(error, WrongAnswerError)
        else f"WrongAnswerError: {str(error)[:60]}"
    )


def one_round(parser: Parser, room: Path, tally: Tally, seed: int, inputs: int, known: set[str], until: float) -> None:
    """The inputs of one seed. Raises Over when the time is; a new fault is noted in `tally.fault`, made small."""

    @hypothesis.seed(seed)
    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(parser.inputs(room))
    def run(content: bytes) -> None:
        if time.process_time() > until:
            raise Over
        try:
            was_read, took, more = check(parser, room, content)
        except Exception as error:
            if signature(error) in known:
                return
            tally.fault = content, error
            raise
        tally.read, tally.refused = tally.read + was_read, tally.refused + (not was_read)
        tally.slowest, tally.most_bytes = max(tally.slowest, took), max(tally.most_bytes, more)

    with contextlib.suppress(Exception):  # noted above
        run()


def fuzz(parser: Parser, room: Path, seed: int, seconds: float, keep: Path) -> Tally:
    """Seeds from `seed` on until so much processor time is over; every fault once."""
    tally, known, begun, used = Tally(parser.name), set[str](), time.monotonic(), time.process_time()
    parser.read_once(room)
    over = False
    while not over:
        try:
            one_round(parser, room, tally, seed + tally.seeds, ROUND, known, used + seconds)
        except Over:
            over = True
        if tally.fault is not None:
            content, error = tally.fault
            known.add(signature(error))
            tally.findings.append(f"{kept(parser, content, keep)}: {signature(error)}: {str(error)[:300]!r}")
            tally.fault = None
        tally.seeds += 1
    tally.seconds, tally.processor_seconds = time.monotonic() - begun, time.process_time() - used
    return tally


def kept(parser: Parser, content: bytes, keep: Path) -> Path:
    """Keep an input under a name that says whose it was."""
    keep.mkdir(parents=True, exist_ok=True)
    file = keep / f"{parser.name}-{hashlib.sha256(content).hexdigest()[:8]}{Path(parser.file).suffix}"
    file.write_bytes(content)
    return file


def replay(file: Path, valid: Path) -> str:
    """What a kept input does now."""
    parser = PARSERS[file.name.rpartition("-")[0]]
    with own_room(valid) as room:
        parser.read_once(room)
        was_read, took, more = check(parser, room, file.read_bytes())
    return f"{'read' if was_read else 'refused'} in {took:.2f} s and {more / 1e6:.0f} MB"


@contextmanager
def own_room(valid: Path) -> Iterator[Path]:
    """A copy of the folder with valid files, as the working folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder) / "room"
        shutil.copytree(valid, room)
        os.chdir(room)
        try:
            yield room
        finally:
            os.chdir(before)


def load() -> None:
    """What every parser needs, before the processes divide: libraries, and hypothesis' table of characters."""
    st.text().validate()
    for name in ("pandas", "pyarrow.parquet", "yaml", "moewright.lab.hf_weights.checkpoint", "moewright.runs"):
        import_module(name)


def _work(name: str, valid: Path, seed: int, seconds: float, keep: Path, answers: Any) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (int(used + BACKSTOP),) * 2)
    with own_room(valid) as room:
        answers.send(str(room))
        answers.send(fuzz(PARSERS[name], room, seed, seconds, keep))


def fuzz_apart(names: list[str], valid: Path, seed: int, seconds: float, keep: Path, processes: int) -> Iterator[Tally]:
    """Each parser in a process of its own, so many at a time; what a process died of is a finding."""
    context = multiprocessing.get_context("fork")
    waiting, at_work = list(names), list[Any]()
    while waiting or at_work:
        while waiting and len(at_work) < processes:
            name = waiting.pop(0)
            mine, theirs = context.Pipe()
            process = context.Process(target=_work, args=(name, valid, seed, seconds, keep, theirs))
            process.start()
            theirs.close()
            at_work.append((name, process, mine, time.monotonic() + LATEST * seconds + 600, mine.recv()))
        for each in list(at_work):
            name, process, mine, latest, room = each
            if mine.poll(0.2):
                with_answer = _answer(mine)
                process.join(10)
            elif time.monotonic() > latest:
                process.kill()
                with_answer = None
            elif process.is_alive():
                continue
            else:
                with_answer = None
            at_work.remove(each)
            if with_answer is None:
                process.join()
                last = Path(room) / PARSERS[name].file
                left = kept(PARSERS[name], last.read_bytes(), keep) if last.is_file() else "no input"
                with_answer = Tally(name, findings=[f"{left}: the process ended with {process.exitcode}"])
                shutil.rmtree(Path(room).parent, ignore_errors=True)
            yield with_answer


def _answer(pipe: Any) -> Tally | None:
    try:
        found: Tally = pipe.recv()
    except EOFError:
        return None
    return found


def main() -> None:
    """The command line."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--minutes", type=float, default=5, help="Of processor time, on each process.")
    asked.add_argument("--seed", type=int, default=0, help="The first; a parser's next inputs are of the next one.")
    asked.add_argument("--only", nargs="*", default=[*PARSERS], choices=PARSERS, help="Names of parsers.")
    asked.add_argument("--processes", type=int, default=1)
    asked.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="Folder for inputs that show a fault.")
    asked.add_argument("--replay", type=Path, help="An input that was kept.")
    given_words = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_room(Path(folder))
        if given_words.replay:
            print(replay(given_words.replay, Path(folder)))
            return
        load()
        share = 60 * given_words.minutes * given_words.processes / len(given_words.only)
        keep = given_words.keep.resolve()
        print(f"{len(given_words.only)} parsers, {share:.0f} s each, from seed {given_words.seed} on", flush=True)
        tallies = []
        for tally in fuzz_apart(given_words.only, Path(folder), given_words.seed, share, keep, given_words.processes):
            print(tally, *(f"    {line}" for line in tally.findings), sep="\n", flush=True)
            tallies.append(tally)
    total, found = sum(each.read + each.refused for each in tallies), sum(len(each.findings) for each in tallies)
    minutes = [
        sum(each) / 60 for each in zip(*((tally.processor_seconds, tally.seconds) for tally in tallies), strict=True)
    ]
    print(
        f"{total:,} inputs in {minutes[0]:.1f} minutes of processors, {minutes[1]:.1f} by the clock; {found} findings"
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
