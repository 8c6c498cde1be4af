"""Columns of numbers as text in a page."""

import base64

import numpy as np
import numpy.typing as npt


def encoded(values: npt.ArrayLike, kind: str = "<f8") -> str:
    """Numbers one after another as bytes of a kind, in base64; `decoded` of `assets/what_if.js` reads them.

    >>> encoded([1, 2], "<u2")
    'AQACAA=='
    """
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode("ascii")
