"""The stream of sequences against a plain reading of the tokens."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moewright.data import Batches, TokenShards, document_ids
from moewright.data.batches import permutation
from moewright.errors import UserError

anywhere = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def shards_of(folder: Path, tokens: np.ndarray, cuts: int) -> TokenShards:
    files = []
    for index, part in enumerate(np.array_split(tokens, cuts)):
        files.append(folder / f"{index}.npy")
        np.save(files[-1], part)
    return TokenShards.open(files)


@given(
    size=st.integers(3, 300),
    cuts=st.integers(1, 3),
    length=st.integers(1, 20),
    seed=st.integers(0, 2**63 - 1),
    chunks=st.lists(st.integers(1, 40), min_size=1, max_size=8),
)
@anywhere
def test_each_epoch_has_every_sequence_once_however_it_is_taken(
    tmp_path: Path, size: int, cuts: int, length: int, seed: int, chunks: list[int]
) -> None:
    tokens = np.random.default_rng(0).integers(0, 1000, size).astype(np.uint16)
    shards = shards_of(tmp_path, tokens, cuts)
    if size < length + 1:
        with pytest.raises(UserError, match="fewer than one sequence"):
            Batches(shards, length, seed)
        return
    # By brute force: all windows, one token of overlap.
    windows = [tokens[at : at + length + 1].tolist() for at in range(0, size - length, length)]
    batches = Batches(shards, length, seed)
    assert batches.num_sequences == len(windows)
    inputs, targets = batches.take(0, 3 * len(windows))
    assert inputs.shape == targets.shape == (3 * len(windows), length)
    assert inputs.dtype == targets.dtype == np.int64
    rows = np.concatenate([inputs, targets[:, -1:]], axis=1).tolist()
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    for epoch in range(3):
        assert sorted(rows[epoch * len(windows) : (epoch + 1) * len(windows)]) == sorted(windows)
    # In chunks, from the end to the start, by an object that has done nothing else.
    other, position, parts = Batches(shards, length, seed), 0, []
    for chunk in chunks:
        parts.append((position, chunk))
        position += chunk
    taken = [other.take(*part)[0] for part in reversed(parts)]
    np.testing.assert_array_equal(np.concatenate(taken[::-1]), batches.take(0, position)[0])
    plain = Batches(shards, length, seed, shuffle=False).take(0, 2 * len(windows))[0]
    assert plain.tolist() == [window[:-1] for window in windows] * 2


def mixed(value: int) -> int:
    """SplitMix64's output for a state, in whole numbers."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def outputs(state: int, count: int) -> list[int]:
    """The first outputs of SplitMix64."""
    return [mixed((state + step * 0x9E3779B97F4A7C15) % 2**64) for step in range(1, count + 1)]


def test_order_is_the_published_generators() -> None:
    # Rosetta Code, "Pseudo-random numbers/Splitmix64".
    assert outputs(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (2**63 - 1, 12345)):
        keys = outputs((mixed(mixed(seed) + epoch)) % 2**64, 200)
        assert permutation(200, seed, epoch).tolist() == sorted(range(200), key=keys.__getitem__)


def test_orders_look_random() -> None:
    orders = np.array([permutation(1000, seed, epoch) for seed in range(6) for epoch in range(6)])
    assert len({order.tobytes() for order in orders}) == 36
    correlations = np.corrcoef(np.vstack([orders, np.arange(1000)]))[np.triu_indices(37, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(1000)  # five standard deviations, 666 pairs
    firsts = np.array([permutation(10, seed, 0)[0] for seed in range(2000)])
    assert np.abs(np.bincount(firsts, minlength=10) - 200).max() < 5 * np.sqrt(180)


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=6), st.integers(0, 3))
def test_document_ids(rows: list[list[int]], end: int) -> None:
    expected = []
    for row in rows:
        document, ids = 0, []
        for token in row:
            ids.append(document)
            document += token == end
        expected.append(ids)
    assert document_ids(np.array(rows), end).tolist() == expected


@pytest.mark.parametrize("span", [(-1, 1), (0, 0)])
def test_positions_outside_the_stream(tmp_path: Path, span: tuple[int, int]) -> None:
    batches = Batches(shards_of(tmp_path, np.arange(9, dtype=np.uint16), 1), 2, 0)
    with pytest.raises(IndexError):
        batches.take(*span)
    with pytest.raises(UserError, match="sequence_length: 0"):
        Batches(batches.shards, 0, 0)
