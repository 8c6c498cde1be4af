"""Jobs that are forks of a process that has loaded torch: as those that begin by themselves, and as apart."""

import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("submitit")

from moewright.experiment.metrics import read_metrics
from moewright.experiment.recipe import Recipe
from moewright.sweeps.running import warm_start
from moewright.sweeps.running.local_executor import LocalExecutor
from moewright.sweeps.running.warm_start import ForkedProcess, WarmServer
from moewright.sweeps.running.worker import take_cores
from moewright.sweeps.sweep_spec import Execution
from tests.lab import tiny

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="handles of processes are Linux's")


@pytest.fixture(scope="module")
def executor() -> LocalExecutor:
    """With a server that all tests here share."""
    made = LocalExecutor(Execution(cores_per_run=1), 1)
    made.prepare()
    return made


def about_itself(**_: Any) -> dict[str, Any]:
    """A job that tells of its process."""
    return {
        "had torch": warm_start.__name__ in sys.argv[0] or Path(sys.argv[0]).stem == "warm_start",
        "command line": Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode(),
        "children are waited for": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
        "can be told to stop": signal.getsignal(signal.SIGTERM) != signal.SIG_IGN,
        "sockets": [end for end in _open_files() if end.startswith("socket:")],
        "GPUs": os.environ["CUDA_VISIBLE_DEVICES"],
    }


def _open_files() -> list[str]:
    found = []
    for path in Path("/proc/self/fd").iterdir():
        if path.is_symlink():
            found.append(os.readlink(path))
    return found


def end_by(number: int, **_: Any) -> None:
    """A job that a signal ends; without one (0) it waits for that."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit's handler would go on
    os.kill(os.getpid(), number)
    time.sleep(60)


def say_and_die(**_: Any) -> None:
    """A job that is killed after a line."""
    print("the last line")
    os.kill(os.getpid(), signal.SIGKILL)


def add_a_line(file: Path, **_: Any) -> None:
    """A job that can be counted."""
    with file.open("a") as lines:
        lines.write("once\n")


def train(recipe: dict[str, Any], out: str, *, threads: int, cores: Sequence[int]) -> None:
    """A job that trains, as a worker does."""
    take_cores(threads, cores)
    from moewright.lab.machine import use_threads
    from moewright.lab.training import train

    use_threads(threads)
    train(Recipe.from_dict(recipe), Path(out), show=False)


def test_a_fork_is_as_a_process_that_began_by_itself(executor: LocalExecutor, tmp_path: Path) -> None:
    told = executor.start(tmp_path, 0, about_itself).result()
    assert told.pop("had torch")
    assert told.pop("command line").split()[-4:] == ["-u", "-m", "submitit.core._submit", str(tmp_path)]
    assert told == {"children are waited for": True, "can be told to stop": True, "sockets": [], "GPUs": ""}


def test_a_run_has_the_same_bits(executor: LocalExecutor, tmp_path: Path) -> None:
    recipe = tiny.recipe(tiny.write_tokens(tmp_path), 4)
    forked = executor.start(tmp_path / "warm job", 0, train, recipe, str(tmp_path / "warm"))
    assert forked.exception() is None
    alone = LocalExecutor(Execution(cores_per_run=1), 1)
    alone._server._failed = True
    assert alone.start(tmp_path / "cold job", 0, train, recipe, str(tmp_path / "cold")).exception() is None
    losses = []
    for name in ("warm", "cold"):
        lines = list(read_metrics(tmp_path / name))
        losses.append([{key: value for key, value in vars(line).items() if key not in tiny.MEASURED} for line in lines])
    assert len(losses[0]) >= 4
    assert losses[0] == losses[1]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_what_ends_a_job_ends_no_other(executor: LocalExecutor, tmp_path: Path, number: int) -> None:
    waits = executor.start(tmp_path / "waits", 0, end_by, 0)
    _until((tmp_path / "waits").is_dir)
    ends = executor.start(tmp_path / "ends", 0, end_by, number)
    _until(ends.done)
    assert not ends.paths.result_pickle.exists()
    assert not waits.done()
    waits._process.terminate()
    _until(waits.done)
    assert executor.start(tmp_path / "next", 0, about_itself).result()["had torch"]


def test_what_a_job_printed_is_in_its_log_though_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    executor = LocalExecutor(Execution(cores_per_run=1), 1)
    executor.prepare()
    job = executor.start(tmp_path, 0, say_and_die)
    _until(job.done)
    assert "the last line" in job.paths.stdout.read_text()


def test_after_a_server_that_was_killed_comes_another(executor: LocalExecutor, tmp_path: Path) -> None:
    waits = executor.start(tmp_path / "waits", 0, end_by, 0)
    server = executor._server.pid
    assert server is not None
    os.kill(server, signal.SIGKILL)
    _until(lambda: not _lives(server))
    assert not waits.done()  # a job needs no server
    had = [executor.start(tmp_path / str(job), 0, about_itself).result()["had torch"] for job in range(2)]
    assert had == [False, True]
    waits._process.terminate()
    _until(waits.done)


@pytest.mark.parametrize("killed", [1, 2, 3])
def test_a_server_that_is_killed_while_it_loads_gets_three_tries(
    killed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as by a system that has no memory left."""
    started: list[subprocess.Popen[bytes]] = []

    class Killed(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            started.append(self)
            if len(started) <= killed:
                self.kill()

    monkeypatch.setattr(subprocess, "Popen", Killed)
    server = WarmServer()
    assert [server.start() for _ in range(killed)] == [False] * killed
    assert server.start() == (killed < 3)
    assert len(started) == min(killed + 1, 3)


def test_a_server_that_ends_by_itself_while_it_loads_gets_no_other_try(monkeypatch: pytest.MonkeyPatch) -> None:
    popen, started = subprocess.Popen, []

    def failing(command: Sequence[str], **named: Any) -> subprocess.Popen[bytes]:
        started.append(command)
        return popen([sys.executable, "-c", "raise SystemExit(1)"], **named)

    monkeypatch.setattr(subprocess, "Popen", failing)
    server = WarmServer()
    assert [server.start(), server.start()] == [False, False]
    assert len(started) == 1


def test_an_answer_that_comes_too_late_begins_no_second_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = LocalExecutor(Execution(cores_per_run=1), 1)
    executor.prepare()
    receive, forks = socket.recv_fds, []

    def late(*arguments: Any) -> Any:
        answer, handles, *_ = receive(*arguments)
        forks.append(ForkedProcess(int(answer), handles[0]))
        raise TimeoutError

    monkeypatch.setattr(socket, "recv_fds", late)
    done = tmp_path / "done"
    job = executor.start(tmp_path / "job", 0, add_a_line, done)
    assert job.exception() is None
    _until(lambda: forks[0].poll() is not None)
    assert done.read_text() == "once\n"


def test_an_interrupt_in_the_terminal_is_the_sweeps_alone(tmp_path: Path) -> None:
    """It reaches all processes there: a server that heard it printed a traceback, and so did what it had forked."""
    executor = LocalExecutor(Execution(cores_per_run=1), 1)
    executor.prepare()
    server = executor._server.pid
    assert server is not None
    os.kill(server, signal.SIGINT)
    waits = executor.start(tmp_path, 0, end_by, 0)
    assert (executor._server.pid, waits.done()) == (server, False)
    waits._process.terminate()
    _until(waits.done)


def test_a_job_that_ends_at_once_ends_no_server(executor: LocalExecutor, tmp_path: Path) -> None:
    """There is a handle of it, though it was gone before the server asked for one."""
    (tmp_path / "a file").touch()
    server = executor._server.pid
    for _ in range(20):
        handle = executor._server.fork(tmp_path / "a file", {})
        assert handle is not None
        while handle.poll() is None:
            time.sleep(0.01)
    assert executor._server.pid == server


def test_a_handle_may_have_any_number() -> None:
    """Of a sweep of thousands of open files; select() knows the first 1,024."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most <= 1100:
        pytest.skip(f"no more than {most} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, 1200), most))
    try:
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        first = os.pidfd_open(pid)
        process = ForkedProcess(pid, fcntl.fcntl(first, fcntl.F_DUPFD_CLOEXEC, 1100))
        os.close(first)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        os.waitpid(pid, 0)
        assert process.poll() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))


def test_a_childs_end_is_known_though_a_signal_asked_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    child, wait = warm_start._Child(pid), os.waitpid

    def interrupted(number: int, options: int) -> tuple[int, int]:
        monkeypatch.setattr(os, "waitpid", wait)
        _until(lambda: child.poll() is not None)
        return wait(number, options)

    monkeypatch.setattr(os, "waitpid", interrupted)
    assert child.poll() == 3


def test_a_server_that_does_not_come_up_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_start, "PATIENCE_SECONDS", 0.0)
    executor = LocalExecutor(Execution(cores_per_run=1), 1)
    assert not executor.start(tmp_path, 0, about_itself).result()["had torch"]
    assert executor._server.pid is None
    assert not executor._server.start()


def test_a_server_has_one_thread_and_goes_with_its_sweep() -> None:
    """A fork of several threads would have one of them, and the locks of all."""
    script = """
        import os, sys
        from moewright.sweeps.running.warm_start import WarmServer
        server = WarmServer()
        assert server.start()
        print(server.pid, len(os.listdir(f"/proc/{server.pid}/task")), flush=True)
        os._exit(0)
    """
    printed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=300
    )
    pid, threads = printed.stdout.split()
    assert threads == "1", printed.stderr
    _until(lambda: not _lives(int(pid)))


def test_nothing_is_started_where_there_are_no_handles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_start, "_CAN_FORK", False)
    assert not WarmServer().start()


def _lives(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
