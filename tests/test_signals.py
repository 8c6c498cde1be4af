"""Handlers that hold for a while."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from moewright.signals import ENDINGS, Interrupted, handling


def test_handlers_hold_within_the_block_and_what_is_ignored_stays_so() -> None:
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDINGS}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handling(dict.fromkeys(ENDINGS, lambda number, frame: heard.append(number))):
            for number in ENDINGS:
                os.kill(os.getpid(), number)
        assert heard == [signal.SIGINT, signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert {number: signal.getsignal(number) for number in ENDINGS} == before


def test_other_threads_leave_signals_to_their_owner() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def block() -> None:
        with handling({signal.SIGTERM: lambda number, frame: None}):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("number", ENDINGS)
def test_an_interruption_is_pythons_own_with_its_signal(number: int) -> None:
    with pytest.raises(KeyboardInterrupt, match=ENDINGS[number]) as stopped:
        raise Interrupted(number)
    assert isinstance(stopped.value, Interrupted)
    assert stopped.value.number == number


def test_after_a_hangup_a_file_is_still_printed_to(capfd: pytest.CaptureFixture[str]) -> None:
    """Only a terminal is left."""
    with handling({signal.SIGHUP: lambda number, frame: None}):
        os.kill(os.getpid(), signal.SIGHUP)
    os.write(sys.__stdout__.fileno() if sys.__stdout__ else 1, b"seen")
    assert capfd.readouterr().out == "seen"


_UNRAISABLE = """
import os, signal, sys, time

class Held:
    def __del__(self):  # where Python prints and forgets what is raised
        os.kill(os.getpid(), int(sys.argv[1]))
        for _ in range(1000):
            pass

def work():
    Held()
    time.sleep(30)

import moewright.cli
from moewright.__main__ import main
moewright.cli.main = work
main()
"""


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_where_nothing_can_be_raised_ends_the_command_all_the_same(number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNRAISABLE, str(int(number))],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a suite that nohup started would have it deaf
    )
    assert (done.returncode, done.stderr) == (128 + number, f"moewright: {ENDINGS[number]}\n")
