"""Checkpoints as files: complete or absent, whatever kills the process."""

import errno
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from moewright.errors import UserError
from moewright.experiment.binding import stamp
from moewright.experiment.run_folder import (
    CHECKPOINTS,
    MODEL,
    OPTIMIZER,
    STATE,
    CheckpointState,
    checkpoint_path,
    checkpoints,
)
from moewright.files import renamed_at_the_end


def write_checkpoint(
    folder: Path, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: CheckpointState
) -> Path:
    """Write a checkpoint: complete under its name, or not there at all. Raises OSError when the disk is full.

    `state` gets the digests of the files beside it, and is written last. A checkpoint that is there already stays: a
    run comes to the same step with the same values.
    """
    target = checkpoint_path(folder, state.step)
    parent = target.parent
    parent.mkdir(exist_ok=True)
    if (target / STATE).is_file():
        return target
    partial = Path(tempfile.mkdtemp(dir=parent, prefix=".partial-"))
    with renamed_at_the_end(partial, target):
        for name, tensors in ((MODEL, model), (OPTIMIZER, optimizer)):
            save_tensors({key: tensor.detach().contiguous() for key, tensor in tensors.items()}, partial / name)
        with ThreadPoolExecutor(2) as threads:
            stamps = threads.map(stamp, (partial / MODEL, partial / OPTIMIZER))
            files = dict(zip((MODEL, OPTIMIZER), stamps, strict=True))
        state.model_copy(update={"files": files}).write(partial / STATE)
    return target


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """A safetensors file. Raises OSError: of a full disk, or of whatever else kept the library from writing."""
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:  # its own name for what the operating system said
        raise OSError(errno.ENOSPC, f"{path.name}: {error}") from None


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest checkpoints, and what killed processes left half-written."""
    for old in checkpoints(folder)[:-count]:
        old.rename(old.with_name(f".partial-{old.name}"))  # in one step: no checkpoint is ever half there
    for partial in (folder / CHECKPOINTS).glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def load_tensors(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """The tensors of one of a checkpoint's files. UserError if it cannot be read; see `binding.check_file` too."""
    try:
        return load_file(checkpoint / name)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{checkpoint / name}: damaged ({error}); delete {checkpoint} to go on from the one before"
        ) from None
