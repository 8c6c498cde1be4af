"""Which designs another beats by the margin under every reading of the laws, among few rivals or among millions."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from moewright.designs.hearing import BEATS_BY
from moewright.laws.variable import Array, Mask
from moewright.progress import ProgressTask, progress_task

# Every box has so many smaller ones in it, and the smallest at most so many designs: timed on 1.4 million.
BRANCHES, LEAF = 8, 32
FEW = 4096
"""Of so many each is held against each design of the front."""
_SPLITS = BRANCHES.bit_length() - 1


def front(found: Array) -> npt.NDArray[np.intp]:
    """The columns of (readings, designs) that no other is at least as good as in all readings and better in one.

    Of columns that are alike the first; by rising sum. What beats a design by a margin has a design on the front at
    least as good, which beats it too. Many are compared in boxes as `beaten_by_another` does.

    >>> front(np.array([[2.0, 2.1, 2.1, 2.0], [3.0, 3.1, 2.9, 3.0]])).tolist()
    [0, 2]
    """
    order = np.argsort(found.sum(axis=0), kind="stable")
    if len(order) > FEW:
        first = _first_of_alike(found)
        on = np.zeros(found.shape[1], dtype=bool)
        on[first] = ~_lost(found[:, first], _at_least_as_good)
        return order[on[order]]
    on_front = []
    while len(order):
        first = order[0]  # the least sum of what is left: nothing left is as good in all readings
        on_front.append(first)
        order = order[(found[:, order] < found[:, [first]]).any(axis=0)]
    return np.array(on_front, dtype=np.intp)


def _first_of_alike(found: Array) -> npt.NDArray[np.intp]:
    """The first column of each that are alike."""
    order = np.lexsort(found)  # stable, so the first of those alike comes first
    new = np.ones(len(order), dtype=bool)
    new[1:] = (found[:, order[1:]] != found[:, order[:-1]]).any(axis=0)
    return order[new]


def beaten(found: Array, rivals: Array) -> Mask:
    """Which columns of (readings, designs) some column of the rivals, which are few, beats by the margin."""
    lost = np.zeros(found.shape[1], dtype=bool)
    for rival in np.unique(rivals, axis=1).T:
        left = np.flatnonzero(~lost)
        if not len(left):
            break
        lost[left] = (found[:, left] > rival[:, None] + BEATS_BY).all(axis=0)
    return lost


def beaten_by_another(found: Array) -> Mask:
    """Which columns of (readings, designs) another of them beats by the margin; one with a NaN is in no comparison.

    Designs lie in boxes within boxes, of losses near each other. Two boxes are looked into only where the least losses
    of one would beat the largest of the other, which is seldom: what is left open lies in a rim as thick as the margin.
    So a million designs take seconds, where holding each against the front of all takes an hour.

    >>> beaten_by_another(np.array([[2.0, 2.1, 2.1], [3.0, 3.1, 2.9]])).tolist()
    [False, True, False]
    """
    known: Mask = np.logical_not(np.isnan(found).any(axis=0))
    if not known.all():  # it would hide all that is in a box with it
        lost: Mask = np.zeros(len(known), dtype=np.bool_)
        lost[known] = beaten_by_another(found[:, known])
        return lost
    return _lost(found, _better_by_margin)


def _better_by_margin(one: Array, other: Array) -> Mask:
    return np.asarray(one + BEATS_BY < other)


def _at_least_as_good(one: Array, other: Array) -> Mask:
    return np.asarray(one <= other)


def _lost(found: Array, better: Callable[[Array, Array], Mask]) -> Mask:
    """Which columns, no two of which are alike, are lost to another that is better in all readings."""
    with progress_task("comparing", found.shape[1], "designs") as task:
        boxes = _Boxes(found, better, task)
        if found.shape[1]:
            boxes.visit(0, 0, np.zeros(1, dtype=np.intp))
    lost = np.empty_like(boxes.lost)
    lost[boxes.order] = boxes.lost
    return lost


class _Boxes:
    """A tree of boxes: at each level `BRANCHES` times as many, each of neighbours in `order`."""

    def __init__(self, found: Array, better: Callable[[Array, Array], Mask], task: ProgressTask) -> None:
        designs = found.shape[1]
        self._task, self._better = task, better
        self._levels = 0
        while designs > LEAF * BRANCHES**self._levels:
            self._levels += 1
        self.order, self._losses = _neighbours(found, _SPLITS * self._levels)
        self.lost = np.zeros(designs, dtype=bool)
        """By place in the order."""
        self._edges = [_edges(designs, _SPLITS * level) for level in range(self._levels + 1)]
        self._least = [np.minimum.reduceat(self._losses, edges[:-1], axis=1) for edges in self._edges if designs]
        self._most = [np.maximum.reduceat(self._losses, edges[:-1], axis=1) for edges in self._edges if designs]

    def visit(self, level: int, box: int, rivals: npt.NDArray[np.intp]) -> None:
        """Mark the designs of a box that some design of other boxes of its level beats."""
        least, most = self._least[level], self._most[level]
        rivals = rivals[self._better(least[:, rivals], most[:, [box]]).all(axis=0)]
        own = slice(*self._edges[level][box : box + 2].tolist())
        if not len(rivals):
            lost: Mask | bool = False
        elif self._better(most[:, rivals[rivals != box]], least[:, [box]]).all(axis=0).any():
            lost = True
        elif level == self._levels:
            lost = self._some_beats(rivals, own, most[:, [box]])
        else:
            inside = (rivals[:, None] * BRANCHES + np.arange(BRANCHES)).ravel()
            for number in range(BRANCHES):
                self.visit(level + 1, box * BRANCHES + number, inside)
            return
        self.lost[own] = lost
        self._task.advance(own.stop - own.start)

    def _some_beats(self, rivals: npt.NDArray[np.intp], own: slice, most: Array) -> Mask:
        """Which designs of a smallest box some design of others beats, one by one."""
        edges = self._edges[-1]
        places = np.concatenate([np.arange(edges[box], edges[box + 1]) for box in rivals])
        places = places[self._better(self._losses[:, places], most).all(axis=0)]
        beats = places[:, None] != np.arange(own.start, own.stop)
        for losses in self._losses:
            beats &= self._better(losses[places, None], losses[own])
        return np.asarray(beats.any(axis=0))


def _edges(designs: int, splits: int) -> npt.NDArray[np.int64]:
    """The ends of so many halvings; those of fewer halvings are among them."""
    return (designs * np.arange(2**splits + 1, dtype=np.int64)) >> splits


def _neighbours(found: Array, splits: int) -> tuple[npt.NDArray[np.intp], Array]:
    """The designs and their losses, halved so often along the reading in which a part is widest."""
    designs = found.shape[1]
    order = np.arange(designs)
    for split in range(splits):
        edges, middles = _edges(designs, split), _edges(designs, split + 1)[1::2]
        widest = (
            np.maximum.reduceat(found, edges[:-1], axis=1) - np.minimum.reduceat(found, edges[:-1], axis=1)
        ).argmax(axis=0)
        moved = np.empty(designs, dtype=np.intp)
        for start, middle, end, reading in zip(edges, middles, edges[1:], widest, strict=False):
            moved[start:end] = start + np.argpartition(found[reading, start:end], middle - start)
        found, order = found[:, moved], order[moved]
    return order, found
