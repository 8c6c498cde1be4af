"""Shards against the digests of their record: whole once, sampled later; and tokens outside of the vocabulary."""

import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from moewright import files
from moewright.data import open_dataset, prepare, verification
from moewright.data.dataset import Dataset
from moewright.data.verification import check_shards
from moewright.errors import UserError
from moewright.experiment.planning import open_data
from moewright.experiment.recipe import Recipe
from moewright.files import FileVersion, HashedFile, hashed
from tests.lab import tiny


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A prepared folder, and a temporary folder of this test's own."""
    draw = random.Random(0)
    text = "<|endoftext|>".join(" ".join(f"word{draw.randrange(99)}" for _ in range(50)) for _ in range(60))
    (tmp_path / "text.txt").write_text(text)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return prepare([tmp_path / "text.txt"], tmp_path / "data", vocab_size=300, validation_share=0.1)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read whole."""
    read: list[Path] = []

    def noted(path: Path) -> HashedFile:
        read.append(path)
        return hashed(path)

    monkeypatch.setattr(verification, "hashed", noted)
    return read


def test_shards_are_read_whole_once_and_again_when_anything_shows(dataset: Dataset, whole: list[Path]) -> None:
    for _ in range(3):
        check_shards(dataset)
    assert len(whole) == 2  # train and validation, once
    path = dataset.train.files[0]
    os.utime(path)
    check_shards(dataset)
    assert whole[2:] == [path.resolve()]
    for note in (Path(tempfile.gettempdir()) / f"moewright-verified-{os.getuid()}").iterdir():
        note.write_text(note.read_text()[:-20])
    check_shards(dataset)
    assert len(whole) == 5


def test_changed_bytes_are_refused_though_size_and_time_are_as_before(dataset: Dataset) -> None:
    """20 flipped bits, and all tokens the other way round, in a folder that was read before."""
    check_shards(dataset)
    path = dataset.train.files[0]
    contents, before = path.read_bytes(), path.stat()
    draw = random.Random(1)
    wrong = [np.frombuffer(contents, "<u2")[::-1].tobytes()]
    for _ in range(20):
        flipped = bytearray(contents)
        flipped[draw.randrange(len(contents))] ^= 1 << draw.randrange(8)
        wrong.append(bytes(flipped))
    for each in wrong:
        path.write_bytes(each)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(UserError, match=f"{path.name}: not the tokens that were prepared"):
            check_shards(dataset)
    path.write_bytes(contents)
    check_shards(dataset)


def test_what_the_file_system_does_not_show_is_found_where_samples_are(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (files, verification):
        monkeypatch.setattr(module, "version_of", lambda file: FileVersion(1, 2, os.stat(file).st_size, 4, 5))
    check_shards(dataset)
    path = dataset.train.files[0]
    path.write_bytes(np.fromfile(path, "<u2")[::-1].tobytes())
    with pytest.raises(UserError, match="not the tokens that were prepared"):
        check_shards(dataset)


def test_only_the_file_that_was_read_is_noted_as_right(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right folder, in the place of one with other tokens while shards are hashed: no time of theirs changes."""
    folder = dataset.train.files[0].parent
    right, wrong = folder.with_name("right"), folder.with_name("wrong")
    shutil.copytree(folder, right)
    for path in folder.glob("*.bin"):
        path.write_bytes(path.read_bytes()[::-1])

    def swapped(path: Path) -> HashedFile:
        folder.rename(wrong)
        right.rename(folder)
        found = hashed(path)
        folder.rename(right)
        wrong.rename(folder)
        return found

    monkeypatch.setattr(verification, "_THREADS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(verification, "hashed", swapped)
        check_shards(dataset)
    with pytest.raises(UserError, match="not the tokens that were prepared"):
        check_shards(dataset)


def test_a_record_that_was_edited_is_refused(dataset: Dataset) -> None:
    assert dataset.folder is not None
    path = dataset.folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "end_of_document": 5}))
    with pytest.raises(UserError, match=r"dataset\.json: changed since it was written.*prepare the dataset again"):
        open_dataset(dataset.folder)


@pytest.mark.parametrize("place", ["train", "near", "far"])
def test_a_token_outside_of_the_vocabulary_is_found_before_the_first_step(place: str, tmp_path: Path) -> None:
    """The last of 300,000, in any file of one's own, bare or with numpy's header."""
    data = tiny.write_tokens(tmp_path, 300_000)
    path = tmp_path / f"{place}.bin"
    tokens = np.fromfile(path, "<u2")
    open_data(Recipe.from_dict(tiny.recipe(data)))
    tokens[-1] = tiny.VOCAB
    tokens.tofile(path)
    with pytest.raises(UserError, match=rf"{place}\.bin: has token 64, but the vocabulary is 64"):
        open_data(Recipe.from_dict(tiny.recipe(data)))
    tokens.tofile(path)
    np.save(tmp_path / "own.npy", tokens)
    own = {**data, "train": [str(tmp_path / "own.npy")]}
    with pytest.raises(UserError, match="has token 64"):
        open_data(Recipe.from_dict(tiny.recipe(own)))
