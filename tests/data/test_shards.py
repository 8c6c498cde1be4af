"""Shards as other programs write them, read back against plain numpy; and files that are no shards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moewright.data import TokenShards, open_files
from moewright.errors import UserError


def as_nanogpt(path: Path, tokens: np.ndarray) -> None:
    """nanoGPT's data/openwebtext/prepare.py: a bare memory map."""
    written = np.memmap(path, dtype=tokens.dtype, mode="w+", shape=tokens.shape)
    written[:] = tokens
    written.flush()


def as_llm_c(path: Path, tokens: np.ndarray) -> None:
    """llm.c's dev/data/data_common.py: a header of 256 int32, then the tokens."""
    header = np.zeros(256, dtype=np.int32)
    header[:3] = (20240520, 1, len(tokens)) if tokens.dtype == np.uint16 else (20240801, 7, len(tokens))
    with path.open("wb") as file:
        file.write(header.tobytes())
        file.write(tokens.tobytes())


Writer = Callable[[Path, np.ndarray], object]
WRITERS: dict[str, Writer] = {
    "nanogpt.bin": as_nanogpt,
    "olmo-core.npy": as_nanogpt,
    "numpy.npy": np.save,
    "llm-c.bin": as_llm_c,
}


@given(
    parts=st.lists(st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=20), min_size=1, max_size=4),
    kinds=st.lists(st.sampled_from(sorted(WRITERS)), min_size=4, max_size=4),
    dtype=st.sampled_from(["uint16", "uint32"]),
    ends=st.tuples(st.integers(0, 80), st.integers(0, 80)),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reads_what_numpy_reads(
    tmp_path: Path, parts: list[list[int]], kinds: list[str], dtype: str, ends: tuple[int, int]
) -> None:
    files = []
    for index, part in enumerate(parts):
        files.append(tmp_path / f"{index}-{kinds[index]}")
        WRITERS[kinds[index]](files[-1], np.array(part, dtype=dtype))
    shards = TokenShards.open(files, dtype)
    whole = np.concatenate([np.array(part, dtype=np.int64) for part in parts])
    assert len(shards) == len(whole)
    assert shards.max_token() == whole.max()
    start, stop = sorted(min(end, len(whole)) for end in ends)
    read = shards.read(start, stop)
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, whole[start:stop])
    one = tmp_path / "one.bin"
    as_nanogpt(one, whole.astype(dtype))
    assert TokenShards.open([one], dtype).fingerprint() == shards.fingerprint()


@pytest.mark.parametrize("span", [(-1, 2), (0, 4), (2, 1)])
def test_outside_is_an_error(tmp_path: Path, span: tuple[int, int]) -> None:
    np.save(tmp_path / "a.npy", np.arange(3, dtype=np.uint16))
    with pytest.raises(IndexError):
        TokenShards.open([tmp_path / "a.npy"]).read(*span)


def write_bad_files(folder: Path) -> None:
    (folder / "odd.bin").write_bytes(b"\0" * 7)
    (folder / "empty.bin").write_bytes(b"")
    (folder / "raw.bin").write_bytes(b"\1\0" * 8)
    np.save(folder / "floats.npy", np.zeros(3))
    np.save(folder / "big-endian.npy", np.zeros(3, dtype=">u2"))
    np.save(folder / "square.npy", np.zeros((3, 3), dtype=np.uint16))
    np.save(folder / "none.npy", np.zeros(0, dtype=np.uint16))
    np.save(folder / "short.npy", np.zeros(9, dtype=np.uint16))
    np.save(folder / "wide.npy", np.zeros(9, dtype=np.uint32))
    np.save(folder / "cut.npy", np.zeros(900, dtype=np.uint16))
    (folder / "cut.npy").write_bytes((folder / "cut.npy").read_bytes()[:-10])
    as_llm_c(folder / "header.bin", np.zeros(900, dtype=np.uint16))
    (folder / "header.bin").write_bytes((folder / "header.bin").read_bytes()[:-10])
    as_llm_c(folder / "bare-header.bin", np.zeros(0, dtype=np.uint16))


@pytest.mark.parametrize(
    ("files", "dtype", "said"),
    [
        (["missing.bin"], "uint16", "missing.bin: cannot be read: No such file"),
        (["odd.bin"], "uint16", "odd.bin: 7 bytes are not whole uint16 tokens"),
        (["empty.bin"], "uint16", "empty.bin: empty"),
        (["raw.bin"], None, "raw.bin: bare tokens do not say"),
        (["raw.bin"], "int8", "dtype: unknown 'int8'"),
        (["floats.npy"], None, "floats.npy: 1-D float64"),
        (["big-endian.npy"], None, "big-endian.npy: 1-D >u2"),
        (["square.npy"], None, "square.npy: 2-D uint16"),
        (["none.npy"], None, "none.npy: empty"),
        (["cut.npy"], None, "cut.npy: not a complete .npy file"),
        (["header.bin"], None, "header.bin: its header promises 2,824 bytes and it has 2,814"),
        (["bare-header.bin"], None, "bare-header.bin: empty"),
        (["header.bin"], "uint32", "header.bin: dtype is uint32, but the file's header says uint16"),
        (["short.npy"], "uint32", "short.npy: dtype is uint32, but the file holds uint16"),
        (["short.npy", "wide.npy"], None, "wide.npy: uint32 tokens, but"),
        ([], None, "shards: no files"),
        (["a\0b"], "uint16", "cannot be read"),
    ],
)
def test_bad_files(tmp_path: Path, files: list[str], dtype: str | None, said: str) -> None:
    write_bad_files(tmp_path)
    with pytest.raises(UserError) as complaint:
        TokenShards.open([tmp_path / file for file in files], dtype)
    assert said in str(complaint.value)


def test_own_files_are_checked(tmp_path: Path) -> None:
    tokens = np.zeros(2**17, dtype=np.uint16)
    tokens[-1] = 500
    np.save(tmp_path / "late.npy", tokens)
    np.save(tmp_path / "good.npy", tokens[:9])
    late, good = [tmp_path / "late.npy"], [tmp_path / "good.npy"]
    dataset = open_files(late, {"own": good}, vocab_size=501, end_of_document=0, bytes_per_token={"own": 3.5})
    assert (dataset.vocab_size, dataset.train.max_token(), dataset.bytes_per_token) == (501, 500, {"own": 3.5})
    other = open_files(late, {"own": good}, vocab_size=502, end_of_document=0)
    assert dataset.fingerprint != other.fingerprint
    open_files(late, {"own": good}, vocab_size=500)  # the first tokens do not show it
    wrong: dict[str, dict[str, Any]] = {
        "late.npy: has token 500, but the vocabulary is 500": {"check_tokens": True},
        "validation: no files": {"validation": {}},
        "validation set 'own': no files": {"validation": {"own": []}},
        "vocab_size: 0": {"vocab_size": 0},
        "end_of_document: expected an integer from 0 to 499, found 500": {"end_of_document": 500},
        "bytes_per_token: 'other' is no validation set; they are own": {"bytes_per_token": {"other": 1.0}},
    }
    for said, change in wrong.items():
        with pytest.raises(UserError) as complaint:
            open_files(**{"train": late, "validation": {"own": good}, "vocab_size": 500, **change})
        assert said in str(complaint.value)
