"""The model sizes of the "Slicing and Dicing" sweeps (arXiv 2605.11689): width, layers, heads, training tokens.

Two families occur in run names. `olmo2_<size>` names a model by its parameters without vocabulary, `olmo2b_<size>` by
all of them. Widths and layers follow the paper's list of sizes and the parameter counts in the authors' scripts
(github.com/sneha-rk/OLMo-core, ml/scripts/results, process_results.py and wandb_upload.py, Apache-2.0), which they
reproduce; where the heads are not public they are None, and no count depends on them.
"""

import math
import re
import warnings
from dataclasses import dataclass

import numpy as np

VOCAB_SIZE = 100_352  # the dolma2 tokenizer, padded
BATCH_TOKENS = 2**20  # 512 sequences of 2,048
TOKENS_PER_NOMINAL_PARAM = 20  # of the size in the name; "5XD" in a name multiplies it


@dataclass(frozen=True)
class Size:
    """A backbone: OLMo 2 decoder with a SwiGLU feed-forward of 4 d, or experts cut from one."""

    hidden_size: int
    num_layers: int
    num_heads: int | None
    nominal_params: float


SIZES: dict[tuple[str, str], Size] = {
    ("olmo2", "10M"): Size(336, 8, 7, 10e6),
    ("olmo2", "20M"): Size(432, 9, 9, 20e6),
    ("olmo2", "50M"): Size(640, 10, 10, 50e6),
    ("olmo2", "100M"): Size(832, 12, 13, 100e6),
    ("olmo2", "200M"): Size(1120, 13, 14, 200e6),
    ("olmo2", "400M"): Size(1440, 16, None, 400e6),
    ("olmo2", "1.0B"): Size(2048, 20, None, 1e9),
    ("olmo2b", "10M"): Size(48, 3, 3, 10e6),
    ("olmo2b", "20M"): Size(96, 4, 4, 20e6),
    ("olmo2b", "50M"): Size(240, 5, 6, 50e6),
    ("olmo2b", "100M"): Size(384, 9, 8, 100e6),
    ("olmo2b", "200M"): Size(640, 10, 10, 200e6),
    ("olmo2b", "300M"): Size(832, 12, 13, 300e6),
    ("olmo2b", "500M"): Size(1120, 14, 14, 500e6),
}

_LABEL = re.compile(r"^(\d+(?:[._]\d+)?)([MB])$", re.IGNORECASE)


def size_of(family: str, label: str) -> Size:
    """The size behind a family and a label such as 10M or 1_0B.

    An unlisted label is placed between its family's listed sizes by its number of parameters, with a warning;
    ValueError if the label is no number of parameters.
    """
    found = _LABEL.match(label.strip())
    if not found:
        raise ValueError(f"{label!r} is not a size such as 20M or 1.0B")
    number, unit = found[1].replace("_", "."), found[2].upper()
    known = SIZES.get((family, number + unit))
    if known is None and unit == "B":
        known = SIZES.get((family, f"{float(number):.1f}B"))
    return known or _between(family, float(number) * (1e6 if unit == "M" else 1e9), label)


def _between(family: str, nominal: float, label: str) -> Size:
    members = sorted((size for (kin, _), size in SIZES.items() if kin == family), key=lambda size: size.nominal_params)
    if not members:
        members = sorted((size for (kin, _), size in SIZES.items() if kin == "olmo2"), key=lambda s: s.nominal_params)
    at = [math.log(size.nominal_params) for size in members]
    width = math.exp(np.interp(math.log(nominal), at, [math.log(size.hidden_size) for size in members]))
    layers = np.interp(math.log(nominal), at, [size.num_layers for size in members])
    size = Size(max(16, 16 * round(width / 16)), max(1, round(float(layers))), None, nominal)
    warnings.warn(
        f"size {family}_{label} is not listed: taken as width {size.hidden_size} and {size.num_layers} layers, "
        "between its neighbours",
        stacklevel=2,
    )
    return size
