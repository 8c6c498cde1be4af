"""The shape of a few numbers in a line of text, for tables where a shape matters."""

import math
from collections.abc import Sequence

from moewright.screen import Screen

_LEVELS = "▁▂▃▄▅▆▇█"


def spark_line(console: Screen, values: Sequence[float]) -> str:
    """The values as bars from the least to the largest; empty for fewer than two, and where letters are all there is.

    >>> spark_line(Screen(), [4.0, 3.0, 2.5, 2.0]) in ("█▅▃▁", "")
    True
    """
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2 or not console.encoding.startswith("utf"):
        return ""
    low, high = min(known), max(known)
    step = (high - low) / (len(_LEVELS) - 1) or 1.0
    return "".join(_LEVELS[round((value - low) / step)] if math.isfinite(value) else " " for value in values)
