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

import torch

from moewright import cli
from moewright.lab import checkpoint_files, loop, sharding, training
from moewright.lab.session import Session

TAKE_STEP, SAVE = Session.next_step, checkpoint_files.save_file


def no_space(*_: Any) -> None:
    """A full disk."""
    raise OSError(28, "No space left on device")


def main() -> None:
    torch.set_num_threads(1)
    loop.matmul_peak = lambda *_: 1e9  # type: ignore[assignment]
    runs = Path(sys.argv[1])
    with sharding.world() as members:
        training.world = lambda: nullcontext(members)  # type: ignore[assignment]
        for recipe, folder, when, what in json.loads(runs.read_text()):
            checkpoint_files.save_file = SAVE

            def next_step(self: Session, when: int | None = when, what: str | None = what) -> Any:
                if self.step == when and what == "signal" and members.rank == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                if self.step == when and what == "full":
                    checkpoint_files.save_file = no_space
                return TAKE_STEP(self)

            Session.next_step = next_step  # type: ignore[method-assign]
            sys.argv = ["moewright", "train", recipe, "--out", folder, "--json"]
            try:
                cli.main()
            except SystemExit as ended:
                with open(runs.parent / f"exits-{members.rank}", "a") as exits:
                    exits.write(f"{ended.code or 0}\n")


if __name__ == "__main__":
    main()
