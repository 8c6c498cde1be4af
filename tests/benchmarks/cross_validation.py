"""How the coefficients of a step and of a served pass are judged, and how wide their ranges are: by what was left out.

The protocol, written down before any of its figures were seen:

1. Rows are all public ones that can be priced. None is set apart: rows that nobody here has seen judge from outside.
2. Folds: one model left out at a time (two names of one build count as one), and, beside it, one source (a repository
   or paper), and one device. In each fold every coefficient is fitted anew, from priors that no row has touched.
3. What is judged is the printed range, so the middle is the geometric one of its ends. `range_of` makes it: its middle
   is the median of measured over predicted of left-out rows, its ends lie a factor sqrt(width) below and above, and
   width is the smallest of `WIDTHS`, 3 at most, that holds four fifths of them.
4. A class of setting has a range of its own where it has `ENOUGH_ROWS` rows of `ENOUGH_MODELS` models left out; the
   others take that of all classes together. Classes are fixed beforehand. Training: the format of products. Serving:
   decoding, full load and prompts, on servers and by local software. On a device without measurements the range has the
   middle of its class and the smallest width, 4 at most, that holds four fifths of all rows with their device left out,
   if that is wider.
5. Shares inside are pooled over folds by row, and a fold's own rows say nothing about its range: it is made from those
   of the other folds. Direction in pairs: both rows of a pair are predicted by the coefficients of their fold.
6. The packaged coefficients are then fitted to all rows, the packaged ranges made from all folds with a model left out.
7. A term is added to the formulas for a physical reason only, and stays if the mean of |log(measured / predicted)| over
   rows with their model left out, each setting counting once, falls by a hundredth at least, and the share inside does
   not fall by more than that. What was tried is in docs/decisions.md, kept or not.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

WIDTHS = tuple(round(1.5 + 0.1 * step, 1) for step in range(16))
"""High over low, up to the aim of 3."""
WIDTHS_UNMEASURED = (*WIDTHS, *(round(3.1 + 0.1 * step, 1) for step in range(10)))
INSIDE = 0.8
ENOUGH_ROWS = 20
ENOUGH_MODELS = 3


class FoundRange(NamedTuple):
    """Measured over predicted seconds, and what it was made of."""

    middle: float
    width: float
    rows: int

    @property
    def factors(self) -> tuple[float, float]:
        """Low and high."""
        return self.middle / math.sqrt(self.width), self.middle * math.sqrt(self.width)


def left_out(labels: Sequence[str], fit: Callable[[Any], Any], predict: Callable[[Any, Any], Any]) -> Any:
    """Predicted seconds of every row (rows,) by what was fitted to rows of other labels.

    `fit` takes a mask of rows, `predict` what it gave and a mask.
    """
    names = np.array(labels)
    seconds = np.full(len(names), np.nan)
    for name in dict.fromkeys(labels):
        chosen = names == name
        seconds[chosen] = predict(fit(~chosen), chosen)
    return seconds


def range_of(apart: Any, widths: Sequence[float] = WIDTHS) -> FoundRange:
    """The narrowest range around the median of logarithms that holds four fifths of them; the widest if none does.

    >>> range_of(np.log([0.5, 0.9, 1.0, 1.1, 1.2]))
    FoundRange(middle=1.0, width=1.5, rows=5)
    """
    middle = float(np.median(apart))
    away = np.abs(np.asarray(apart) - middle)
    width = next((width for width in widths if np.mean(away <= math.log(width) / 2) >= INSIDE), widths[-1])
    return FoundRange(math.exp(middle), width, len(away))


def ranges_of(apart: Any, classes: Sequence[str], labels: Sequence[str]) -> dict[str, FoundRange]:
    """The range of each class; "" is that of all rows, which classes with few rows or models take."""
    kinds, models = np.array(classes), np.array(labels)
    found = {"": range_of(apart)}
    for kind in dict.fromkeys(classes):
        chosen = kinds == kind
        enough = chosen.sum() >= ENOUGH_ROWS and len(set(models[chosen])) >= ENOUGH_MODELS
        found[kind] = range_of(apart[chosen]) if enough else found[""]
    return found


def ranges_by_fold(apart: Any, classes: Sequence[str], labels: Sequence[str]) -> Any:
    """Low and high (rows, 2) for each row, made without the rows of its fold."""
    names, kinds = np.array(labels), np.array(classes)
    ends = np.zeros((len(names), 2))
    for name in dict.fromkeys(labels):
        others = names != name
        found = ranges_of(apart[others], list(kinds[others]), list(names[others]))
        for row in np.flatnonzero(~others):
            ends[row] = found.get(classes[row], found[""]).factors
    return ends


def judge(apart: Any, ends: Any) -> tuple[float, float, float]:
    """Share inside, median width, and the median error (a factor) of the geometric middle."""
    factor = np.exp(apart)
    inside = (factor >= ends[:, 0]) & (factor <= ends[:, 1])
    middle = np.log(ends).mean(axis=1)
    error = math.exp(np.median(np.abs(apart - middle)))
    return float(inside.mean()), float(np.median(ends[:, 1] / ends[:, 0])), error
