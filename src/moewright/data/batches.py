"""Which tokens stand at which place of an endless stream of training sequences."""

import numpy as np
from numpy.typing import NDArray

from moewright.complaints import check_number
from moewright.data.shards import TokenShards
from moewright.errors import UserError

_GOLDEN_GAMMA = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio, odd; SplitMix64's step


class Batches:
    """Sequences of equal length from shards, epoch after epoch.

    Sequence i covers tokens iT to iT + T of the shards: T inputs and, one later, T targets, so that every token but the
    first is a target once in an epoch. Documents are packed: a sequence may hold several and parts of them. What is
    left after the last whole sequence is dropped.

    What stands at a position is a function of the seed and the position alone. Ranks, workers and earlier calls do not
    enter, so a run can stop, continue and change its number of devices without another order of its data.
    """

    def __init__(self, shards: TokenShards, sequence_length: int, seed: int, shuffle: bool = True) -> None:
        """Raises UserError if the shards are shorter than one sequence and its last target."""
        check_number(sequence_length, "sequence_length", at_least=1)
        self.num_sequences = (len(shards) - 1) // sequence_length
        if self.num_sequences < 1:
            raise UserError(
                f"{shards.files[0]}: {len(shards):,} tokens are fewer than one sequence of {sequence_length:,} "
                "and its last target; take a shorter sequence or more data"
            )
        self.shards = shards
        self.sequence_length = sequence_length
        self.seed = seed
        self.shuffle = shuffle
        self._orders: dict[int, NDArray[np.int64]] = {}

    def take(self, position: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Inputs and targets of positions position to position + count - 1, each int64 (count, sequence_length).

        Position p is place p mod num_sequences of epoch p // num_sequences, in an order of that epoch's own, or in the
        order of the files without shuffling.
        """
        if position < 0 or count < 1:
            raise IndexError(f"{count} sequences from position {position}")
        length = self.sequence_length
        tokens = np.empty((count, length + 1), dtype=np.int64)
        for row in range(count):
            epoch, place = divmod(position + row, self.num_sequences)
            start = int(self._order(epoch)[place]) * length if self.shuffle else place * length
            tokens[row] = self.shards.read(start, start + length + 1)
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            if len(self._orders) > 1:  # a batch spans two epochs at their border, more only when it is larger than one
                self._orders.clear()
            self._orders[epoch] = permutation(self.num_sequences, self.seed, epoch)
        return self._orders[epoch]


def permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """An order of 0 to size - 1, int64 (size,): by a random 64-bit key for each.

    The keys are outputs of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, as in Vigna's splitmix64.c) rather than of
    numpy's generators, whose streams may change between versions of numpy.

    >>> permutation(5, seed=0, epoch=0).tolist() == permutation(5, seed=0, epoch=1).tolist()
    False
    >>> sorted(permutation(5, seed=0, epoch=1).tolist())
    [0, 1, 2, 3, 4]
    """
    stream = _mix(_mix(np.array([seed % 2**64], dtype=np.uint64)) + np.uint64(epoch))
    keys = _mix(stream + np.arange(1, size + 1, dtype=np.uint64) * np.uint64(_GOLDEN_GAMMA))
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function, a bijection of 64 bits; its constants are Stafford's mix 13."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def document_ids(inputs: NDArray[np.int64], end_of_document: int) -> NDArray[np.int64]:
    """Which document of its sequence each token belongs to, from 0; int64 (count, sequence_length) like inputs.

    A separator belongs to the document that it ends. With attention only between equal ids, no document sees another.

    >>> document_ids(np.array([[5, 3, 0, 4, 0, 2]]), end_of_document=0).tolist()
    [[0, 0, 0, 1, 1, 2]]
    """
    ends = inputs == end_of_document
    before: NDArray[np.int64] = np.cumsum(ends, axis=-1, dtype=np.int64) - ends
    return before
