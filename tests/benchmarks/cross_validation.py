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
   Amended after the first figures: a range holds nine tenths of its left-out rows (`HELD`) where 3 is wide enough for
   that, since ranges of four fifths that a fold's rows had no part in held 72 % of training steps. Where 3 does not
   hold four fifths (prompts, local software), what is served takes the width that does, 6 at most: a range that says
   eight of ten and holds five misleads. The two small classes of local software have one range together. Training has
   one for all formats: of bf16 the median, 1.43, lay between Hopper's rows (0.63 to 1) and Blackwell's (1.3 and more).
7. A term is added to the formulas for a physical reason only, and stays if the mean of |log(measured / predicted)| over
   rows with their model left out, each setting counting once, falls by a hundredth at least, and the share inside does
   not fall by more than that. What was tried is in docs/decisions.md, kept or not.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import least_squares

from moewright.hardware.training_coefficients import StepRange

WIDTHS = tuple(round(1.5 + 0.1 * step, 1) for step in range(46))
"""High over low."""
AIM, WIDEST_UNMEASURED = 3.0, 4.0
HELD, LEAST_HELD = 0.9, 0.8
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


Priors = dict[str, tuple[float, float, str]]
"""By coefficient: value, standard deviation of its logarithm, where it is from."""
_CORNER = 0.3  # of the pseudo-Huber loss, in logarithms
_MOST_STEPS = 8
_STEP = 1e-3  # of a slope
_LONGEST_STEP = 0.7
_CLOSE = 0.02


def fit_logs(
    predict: Callable[[Any], Any], measured: Any, trust: Any, priors: Priors, most: Any = np.inf, start: Any = None
) -> Any:
    """Logarithms of coefficients: robust least squares of log seconds (rows,) with the priors, by Gauss-Newton.

    `predict` takes logarithms of coefficients (..., coefficients) and gives (..., rows), `trust` is one over each row's
    standard deviation, `most` bounds.
    """
    centre = np.log([value for value, _, _ in priors.values()])
    widths = np.array([width for _, width, _ in priors.values()])
    logs = np.minimum(centre if start is None else start, np.asarray(most) - 1e-9)
    for _ in range(_MOST_STEPS):
        base, *moved = predict(logs + _STEP * np.vstack([np.zeros(len(logs)), np.eye(len(logs))]))
        slopes = (np.array(moved) - base).T / _STEP

        def residuals(new: Any, logs: Any = logs, base: Any = base, slopes: Any = slopes) -> Any:
            apart = base + slopes @ (new - logs) - measured
            pull = np.sign(apart) * np.sqrt(2 * _CORNER**2 * (np.sqrt(1 + (apart / _CORNER) ** 2) - 1))
            return np.concatenate([trust * pull, (new - centre) / widths])

        found = least_squares(residuals, logs, bounds=(-np.inf, most), max_nfev=40).x
        step = np.clip(found - logs, -_LONGEST_STEP, _LONGEST_STEP)
        logs = logs + step
        if np.abs(step).max() < _CLOSE:
            break
    return logs


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


def range_of(apart: Any, widest: float = AIM) -> FoundRange:
    """The narrowest range around the median of logarithms that holds what it should; the widest if none does.

    >>> range_of(np.log([0.5, 0.9, 0.9, 0.9, 1.0, 1.0, 1.0, 1.1, 1.1, 1.2]))
    FoundRange(middle=1.0, width=1.5, rows=10)
    """
    middle = float(np.median(apart))
    away = np.abs(np.asarray(apart) - middle)

    def holds(width: float) -> bool:
        return float(np.mean(away <= math.log(width) / 2)) >= (HELD if width < AIM else LEAST_HELD)

    width = next((width for width in WIDTHS if width <= widest and holds(width)), widest)
    return FoundRange(math.exp(middle), width, len(away))


def ranges_of(apart: Any, classes: Sequence[str], labels: Sequence[str], widest: float = AIM) -> dict[str, FoundRange]:
    """The range of each class; "" is that of all rows.

    Classes with few rows or models take that of all whose names begin alike (local_decode, local_prefill), or of all.
    """
    models = np.array(labels)
    found = {"": range_of(apart, widest)}
    for kind in dict.fromkeys(classes):
        for begin in (kind, kind.split("_")[0]):
            chosen = np.array([each.startswith(begin) for each in classes])
            if chosen.sum() >= ENOUGH_ROWS and len(set(models[chosen])) >= ENOUGH_MODELS:
                found[kind] = range_of(apart[chosen], widest)
                break
        else:
            found[kind] = found[""]
    return found


def ranges_by_fold(apart: Any, classes: Sequence[str], labels: Sequence[str], widest: float = AIM) -> Any:
    """Low and high (rows, 2) for each row, made without the rows of its fold."""
    names, kinds = np.array(labels), np.array(classes)
    ends = np.zeros((len(names), 2))
    for name in dict.fromkeys(labels):
        others = names != name
        found = ranges_of(apart[others], list(kinds[others]), list(names[others]), widest)
        for row in np.flatnonzero(~others):
            ends[row] = found.get(classes[int(row)], found[""]).factors
    return ends


def packaged_range(found: FoundRange, what: str) -> StepRange:
    """As a file of coefficients has it."""
    low, high = found.factors
    source = f"measured over predicted of {found.rows} {what}, each with its model left out of the fit"
    return StepRange(factors=(float(f"{low:.3g}"), float(f"{high:.3g}")), source=source)


def judge(apart: Any, ends: Any) -> tuple[float, float, float]:
    """Share inside, median width, and the median error (a factor) of the geometric middle."""
    factor = np.exp(apart)
    inside = (factor >= ends[:, 0]) & (factor <= ends[:, 1])
    middle = np.log(ends).mean(axis=1)
    error = math.exp(np.median(np.abs(apart - middle)))
    return float(inside.mean()), float(np.median(ends[:, 1] / ends[:, 0])), error
