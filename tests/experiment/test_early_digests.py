"""Digests that are begun early count for the file as it is when they are asked for, and stop when nobody asks."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from moewright import files
from moewright.experiment import early_digests
from moewright.experiment.early_digests import EarlyDigests, of_newest_checkpoint
from moewright.files import file_size

SIZES = (0, 1, 4095, 4096, 4097, 100_000)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_digests, "_BLOCK_BYTES", 4096)


def test_they_are_those_of_hashlib(tmp_path: Path) -> None:
    draw = random.Random(1)
    contents = {tmp_path / str(size): draw.randbytes(size) for size in SIZES}
    for path, content in contents.items():
        path.write_bytes(content)
    begun = [*contents][::2]
    with EarlyDigests(begun) as digests:
        for path, content in contents.items():
            stamp = digests.stamp(path)
            assert (stamp.bytes, stamp.sha256) == (len(content), hashlib.sha256(content).hexdigest())
            assert digests.unchanged(path)


def flip(path: Path) -> None:
    """In place, with the times that it had."""
    before = path.stat()
    with path.open("r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """By another of the same size."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    os.replace(other, path)


def shrink(path: Path) -> None:
    os.truncate(path, 7)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("change", [flip, replace, shrink, grow])
def test_a_file_that_changes_after_it_was_hashed_is_hashed_again(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(2).randbytes(10_000))
    os.utime(path, (1e9, 1e9))
    with EarlyDigests([path]) as digests:
        before = digests.stamp(path)
        change(path)
        assert not digests.unchanged(path)
        after = digests.stamp(path)
        assert after != before
        assert (after.bytes, after.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_file_that_stood_there_only_while_it_was_opened_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole folders change places, which leaves no mark on the files in them."""
    path, spare, other = tmp_path / "now/file", tmp_path / "spare", tmp_path / "other"
    for folder, content in ((path.parent, b"the first"), (other, b"other")):
        folder.mkdir()
        (folder / "file").write_bytes(content)

    def opened(asked: Path) -> int:
        if other.exists():
            path.parent.rename(spare)
            other.rename(path.parent)
        return file_size(asked)

    with EarlyDigests() as digests:
        with monkeypatch.context() as patch:
            patch.setattr(files, "file_size", opened)
            digests.begin(path)
            digests._begun[path].result()
        path.parent.rename(other)
        spare.rename(path.parent)
        assert not digests.unchanged(path)
        assert digests.stamp(path).sha256 == hashlib.sha256(b"the first").hexdigest()


def test_a_file_that_is_not_there_or_goes_is_an_error_when_it_is_asked_for(tmp_path: Path) -> None:
    late, gone = tmp_path / "late", tmp_path / "gone"
    gone.write_bytes(b"x")
    with EarlyDigests([late, gone, tmp_path]) as digests:
        with pytest.raises(FileNotFoundError):
            digests.stamp(late)
        late.write_bytes(b"y")
        assert digests.stamp(late).sha256 == hashlib.sha256(b"y").hexdigest()
        assert digests.stamp(gone).bytes == 1
        gone.unlink()
        with pytest.raises(FileNotFoundError):
            digests.stamp(gone)
        with pytest.raises(IsADirectoryError):
            digests.stamp(tmp_path)


def test_whoever_leaves_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    """A sparse file that would take hours: without an end of its own this test has none."""
    path = tmp_path / "long"
    path.touch()
    os.truncate(path, 2**43)
    with EarlyDigests([path]):
        pass


def test_only_what_a_run_would_go_on_from_is_hashed(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        folder = tmp_path / f"checkpoints/step-{step:08d}"
        folder.mkdir(parents=True)
        for name in ("model.safetensors", "optimizer.safetensors"):
            (folder / name).write_bytes(b"")
        if step < 15:  # else it is not complete
            (folder / "state.json").write_text("{}")

    def begun(folder: str | Path) -> set[Path]:
        with of_newest_checkpoint(folder) as digests:
            return {*digests._begun}

    newest = tmp_path / "checkpoints/step-00000010"
    assert begun(tmp_path) == {newest / "model.safetensors", newest / "optimizer.safetensors"}
    assert begun(str(tmp_path)) == begun(tmp_path)
    status = {"state": "finished", "step": 10, "tokens": 1, "loss": 1.0}
    (tmp_path / "status.json").write_text(json.dumps(status))
    assert not begun(tmp_path)
    (tmp_path / "status.json").write_text("{")  # to be complained of elsewhere
    for odd in (tmp_path, tmp_path / "nowhere", tmp_path / "status.json", "x\0y", "x" * 5000, "/dev/zero"):
        assert not begun(odd)


_BEFORE_TORCH = """
import importlib.abc, os, sys
from pathlib import Path
from moewright.experiment import early_digests
begun, real = [], early_digests.EarlyDigests.begin

def begin(self, path):
    begun.append(path.name)
    real(self, path)

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print(sorted(begun), flush=True)
            os._exit(0)

early_digests.EarlyDigests.begin = begin
sys.meta_path.insert(0, Watch())
run = Path(sys.argv[1])
"""
_STARTS = {
    "train": "from moewright.commands.train import train; train(run.parent / 'recipe.yaml', run)",
    "worker": "from moewright.sweeps.running.worker import _train; _train({}, run)",
    "export": "from moewright.commands.export import export; export(run, 'hf', run / 'new')",
}


@pytest.mark.parametrize("command", _STARTS)
def test_hashing_has_begun_when_torch_is_imported(command: str, tmp_path: Path) -> None:
    """Which is what hides its time: the longest part of a start."""
    old = Path(__file__).parent / "old_folders/34ba6fa.tar.xz"
    shutil.unpack_archive(old, tmp_path, filter="data")
    kind = "finished" if command == "export" else "interrupted"
    record = tmp_path / kind / "run.json"
    record.write_text(record.read_text().replace("/old/here", str(tmp_path)))
    code = _BEFORE_TORCH + _STARTS[command]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / kind)], capture_output=True, text=True)
    wanted = ["model.safetensors"] if command == "export" else ["model.safetensors", "optimizer.safetensors"]
    assert done.stdout.strip() == str(wanted), done.stderr
