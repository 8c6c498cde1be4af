"""Jobs that begin with torch loaded: one process of a sweep loads it, and every job is a fork of that process.

    moewright sweep ── the server: torch is loaded, nothing computed
                         ├── submitit's controller of a job ── its worker      (both forked)
                         └── ...

Loading torch is most of what a tiny run costs beyond its steps. Each job is yet a process of its own: what ends one, if
by a signal, leaves the others alone. The server goes when the sweep does; jobs stay, as without it. A process shows the
command line that it would have had (`ps`, `pkill -f`).

Linux only, and only for what the lab trains on processors; elsewhere a job begins as submitit begins it.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from submitit.local.local import LocalExecutor, LocalJob

PATIENCE_SECONDS = 120.0
"""That the server has to load torch on a busy machine; jobs begin without it after that."""
_DYING_SECONDS = 5.0
"""From the end of what a process has to say to its own."""
_KILLED_AT_MOST = 3
"""Times that a server may be killed while it loads, such as for want of memory, until jobs do without."""
_CAN_FORK = sys.platform == "linux" and hasattr(os, "pidfd_open")
_MESSAGE_BYTES, _READY, _BEGIN = 2**20, b"torch is loaded", b"begin"
_NUMPYS_THREADS = "OPENBLAS_NUM_THREADS"


class ForkedProcess:
    """A process that another one started, by a handle that stays its own when its number comes again.

    What of `subprocess.Popen` submitit and we ask for; how it ended only its parent knows.
    """

    def __init__(self, pid: int, handle: int):
        self.pid, self._handle = pid, handle

    def __del__(self) -> None:
        os.close(self._handle)

    def poll(self) -> int | None:
        """0 if it is gone."""
        asked = select.poll()  # which takes handles of any number
        asked.register(self._handle, select.POLLIN)
        return 0 if asked.poll(0) else None

    def send_signal(self, number: int) -> None:
        """Nothing happens if it is gone."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


class WarmServer:
    """The process that has loaded torch, started when the first job asks for it; the sweep's side of it."""

    def __init__(self) -> None:
        self._failed = not _CAN_FORK
        self._killed = 0
        self._up: _Up | None = None

    @property
    def pid(self) -> int | None:
        """Its process; None before it was started."""
        return None if self._up is None else self._up.process.pid

    def start(self) -> bool:
        """Wait until the server has loaded torch; whether there is one."""
        if self._up is None and not self._failed:
            try:
                self._up = _Up()
                weakref.finalize(self, self._up.end)
                if self._up.channel.recv(len(_READY)) != _READY:
                    raise EOFError
            except (OSError, EOFError):
                was_killed = self._up is not None and self._up.was_killed()
                self._killed += was_killed
                self._failed = not was_killed or self._killed == _KILLED_AT_MOST
                self._end()
        return self._up is not None

    def fork(self, folder: Path, environment: Mapping[str, str]) -> ForkedProcess | None:
        """Begin submitit's controller of the job in a folder. None if there is no server: begin it without.

        After one that was killed the next job gets a new one. The fork begins with its job when it is heard of here: a
        server's answer that comes too late begins none beside the one that begins without it.
        """
        if not self.start() or self._up is None:
            return None
        channel = self._up.channel
        heard_of, word = os.pipe()
        try:
            asked = json.dumps({"folder": str(folder), "environment": dict(environment)}).encode()
            socket.send_fds(channel, [asked], [heard_of])
            answer, handles, *_ = socket.recv_fds(channel, len(_READY), 1)
            if not handles:
                raise EOFError
            os.write(word, _BEGIN)
            return ForkedProcess(int(answer), handles[0])
        except (OSError, EOFError):
            self._end()
            return None
        finally:
            os.close(heard_of)
            os.close(word)

    def _end(self) -> None:
        if self._up is not None:
            self._up.end()
            self._up = None


class _Up:
    """A server that was started, and the way to it."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(PATIENCE_SECONDS)
        # Ctrl-C in a terminal reaches it and its forks too, which hear of it from the sweep.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def was_killed(self) -> bool:
        """Whether a signal ended it."""
        try:
            return self.process.wait(_DYING_SECONDS) < 0
        except subprocess.TimeoutExpired:
            return False

    def end(self) -> None:
        """The server goes; its jobs stay."""
        self.channel.close()
        self.process.kill()
        self.process.wait()


def warm_executor(folder: Path, server: WarmServer) -> "LocalExecutor":
    """submitit's local executor, whose controllers the server forks where it can."""
    from submitit.local.local import LocalExecutor, LocalJob

    class WarmExecutor(LocalExecutor):
        def _submit_command(self, command: str) -> "LocalJob[Any]":
            forked = server.fork(self.folder, _controllers_environment(command, self.parameters))
            if forked is None:
                return super()._submit_command(command)
            return LocalJob(folder=self.folder, job_id=str(forked.pid), process=forked, tasks=[0])  # type: ignore[arg-type]

    return WarmExecutor(folder)


def _controllers_environment(command: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """What submitit's controller of one task without GPUs is told by its environment."""
    return {
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_COMMAND": command,
        "SUBMITIT_LOCAL_NTASKS": "1",
        "SUBMITIT_LOCAL_NODEID": "0",
        "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
        "SUBMITIT_LOCAL_TIMEOUT_S": str(int(60 * parameters["timeout_min"])),
        "SUBMITIT_LOCAL_SIGNAL_DELAY_S": str(int(parameters["signal_delay_s"])),
        "SUBMITIT_LOCAL_WITH_SHELL": "",
        "SUBMITIT_STDERR_TO_STDOUT": "",
        "CUDA_VISIBLE_DEVICES": "",
    }


# What follows runs in the server and its forks.


def serve(channel: socket.socket) -> None:
    """Fork a controller for every message, until the sweep has gone."""
    _load()
    channel.send(_READY)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started the sweep may have it ignored
    while True:
        message, handles, *_ = socket.recv_fds(channel, _MESSAGE_BYTES, 1)
        if not message:
            return
        asked, heard_of = json.loads(message), handles[0]
        _bury()
        pid = os.fork()
        if pid == 0:
            channel.close()
            _become(asked["environment"], partial(_control, asked["folder"], heard_of))
        os.close(heard_of)
        handle = os.pidfd_open(pid)  # of one that has ended too: until it is buried its number is its own
        socket.send_fds(channel, [str(pid).encode()], [handle])
        os.close(handle)


def _bury() -> None:
    """Wait for the controllers that have ended."""
    with suppress(ChildProcessError):  # there is none at all
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _load() -> None:
    """What controllers and workers import. Nothing is computed, and this thread stays the only one: a fork has no
    other.

    numpy's matrix library would start its threads when it is loaded; torch has a library of its own.
    """
    before = os.environ.get(_NUMPYS_THREADS)
    os.environ[_NUMPYS_THREADS] = "1"
    import numpy  # noqa: F401

    if before is None:
        del os.environ[_NUMPYS_THREADS]
    else:
        os.environ[_NUMPYS_THREADS] = before
    import setproctitle  # noqa: F401
    import submitit.core.submission
    import submitit.local.local  # noqa: F401

    import moewright.lab.training
    import moewright.sweeps.running.worker  # noqa: F401


def _become(environment: Mapping[str, str], main: Callable[[], None]) -> NoReturn:
    """What a fork does: as a process of its own that was told to run `main`, and nothing of the server afterwards."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.update(environment)
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _control(folder: str, heard_of: int) -> None:
    """submitit's controller, whose task is a fork of this process; nothing if the sweep has given up on it."""
    begins = os.read(heard_of, len(_BEGIN)) == _BEGIN
    os.close(heard_of)
    if not begins:
        return
    from setproctitle import setproctitle
    from submitit.core.utils import JobPaths
    from submitit.local.local import Controller

    class ForkingController(Controller):
        def start_tasks(self) -> None:
            self.folder.mkdir(exist_ok=True)
            paths = JobPaths(self.folder, self.pid, 0)
            out, err = paths.stdout.open("a"), paths.stderr.open("a")
            self.stdouts, self.stderrs = [out], [err]
            told = {"SUBMITIT_LOCAL_LOCALID": "0", "SUBMITIT_LOCAL_GLOBALID": "0", "SUBMITIT_LOCAL_JOB_ID": self.pid}
            pid = os.fork()
            if pid == 0:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                _become(told, lambda: _work(folder))
            self.tasks.append(_Child(pid))  # type: ignore[arg-type]

    setproctitle(f"{sys.executable} -m submitit.local._local {folder}")
    ForkingController(Path(folder)).run()


class _Child:
    """A fork of this process: what of `subprocess.Popen` a controller asks for."""

    def __init__(self, pid: int):
        self._pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or less than 0 if a signal ended it; None while it lives."""
        if self._code is None:
            with suppress(ChildProcessError):  # a signal's handler has asked in between
                pid, status = os.waitpid(self._pid, os.WNOHANG)
                if pid:
                    self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def send_signal(self, number: int) -> None:
        """Nothing happens if it is gone."""
        if self.poll() is None:
            os.kill(self._pid, number)


def _work(folder: str) -> None:
    from setproctitle import setproctitle
    from submitit.core.submission import process_job

    setproctitle(f"{sys.executable} -u -m submitit.core._submit {folder}")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # -u: what kills it takes no line with it
    process_job(folder)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
