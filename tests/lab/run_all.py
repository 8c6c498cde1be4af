"""Several runs, one after another in the processes of one torchrun, whose start takes longer than they do.

python -m torch.distributed.run --nproc-per-node 2 -m tests.lab.run_all RUNS.json

RUNS.json: [[recipe file, run folder, step before which something happens, what happens], ...], where the second process
gets SIGTERM ("signal"), or the disk of the first is full from then on ("full"). Each process adds its exit codes to
exits-RANK beside RUNS.json.
"""

import json
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from moewright import cli
from moewright.lab import checkpoint_files, loop, sharding, training
from moewright.lab.session import Session

TAKE_STEP = Session.next_step


def no_space(*_: Any) -> None:
    """A full disk."""
    raise OSError(28, "No space left on device")


def main() -> None:
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()  # until the process ends
    patch.setattr(loop, "matmul_peak", lambda *_: 1e9)
    runs = Path(sys.argv[1])
    with sharding.world() as members:
        patch.setattr(training, "world", lambda: nullcontext(members))
        for recipe, folder, when, what in json.loads(runs.read_text()):
            patch.setattr(checkpoint_files, "save_file", save_file)

            def next_step(self: Session, when: int | None = when, what: str | None = what) -> Any:
                if self.step == when and what == "signal" and members.rank == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                if self.step == when and what == "full":
                    patch.setattr(checkpoint_files, "save_file", no_space)
                return TAKE_STEP(self)

            patch.setattr(Session, "next_step", next_step)
            sys.argv = ["moewright", "train", recipe, "--out", folder, "--json"]
            try:
                cli.main()
            except SystemExit as ended:
                with open(runs.parent / f"exits-{members.rank}", "a") as exits:
                    exits.write(f"{ended.code or 0}\n")
        for _ in range(300):  # without the wait, a fifth of them are still held
            members.any(False)
            assert members.sent()


if __name__ == "__main__":
    main()
