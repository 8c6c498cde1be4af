"""The models of the "Slicing and Dicing" sweeps (arXiv 2605.11689): what a run's name says, its size, its architecture.

A name reads `<date>_<sweep>_<family>_<size>_e<experts>x<multipliers>c<top-k>`, `_<shared>gen` or `_nogen`, and
`_lr=<rate>`, with commas between the groups of unlike experts.

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

from moewright.architecture import Architecture, Layer, Norm
from moewright.architecture.counts import (
    active_params,
    active_params_non_embedding,
    total_params,
    total_params_non_embedding,
)
from moewright.architecture.feed_forwards import Dense, ExpertGroup, FeedForward, MoE, SharedExpert
from moewright.architecture.mixers import Attention
from moewright.foreign_text import visible
from moewright.quantities import brief

VOCAB_SIZE = 100_352  # the dolma2 tokenizer, padded
BATCH_TOKENS = 2**20  # 512 sequences of 2,048
TOKENS_PER_NOMINAL_PARAM = 20  # of the size in the name; "5XD" in a name multiplies it

Described = dict[str, float | str]


# Names


@dataclass(frozen=True)
class SlicingGroup:
    """Experts of one size: d_e = multiplier x 4 d."""

    multiplier: float
    experts: int
    top_k: int


@dataclass(frozen=True)
class RunName:
    """The facts in one name; None or empty where it does not say."""

    family: str = "olmo2"
    size: str | None = None
    groups: tuple[SlicingGroup, ...] = ()
    shared_multiplier: float | None = None
    shared_by_default: bool = False
    """The name does not say, so the launch script's default is taken."""
    loss_free_bias: bool = False
    """`lf` among the words of the sweep's name: the loss-free bias with step 0.001."""
    data_multiple: float = 1.0
    """`5XD`: five times 20 tokens per nominal parameter."""
    learning_rate: float | None = None
    batch: str | None = None
    """Date and time of the launch."""


LAUNCH_SHARED = 1.0

_DATE = re.compile(r"^(\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d)_")
_SIZE = re.compile(r"(?:^|_)(olmo2[a-z]?)_(\d+(?:[._]\d+)?[MB])(?:_|$)", re.IGNORECASE)
_GROUPS = re.compile(r"_e([\d,]+)x([\d.,]+)c([\d,]+)(?:_|$)")
_SHARED = re.compile(r"_(no|[\d.]+)gen(?:_|$)")
_RATE = re.compile(r"_lr=([\d.]+(?:e-?\d+)?)(?:_|$)", re.IGNORECASE)
_DATA = re.compile(r"(?:^|_)(\d+(?:\.\d+)?)XD(?:_|$)", re.IGNORECASE)


def read_name(name: str) -> RunName:
    """Parse a run's name; what does not match is left at its default."""
    date, size = _DATE.match(name), _SIZE.search(name)
    sweep = name[date.end() if date else 0 : size.start() if size else len(name)]
    shared, data, rate = _SHARED.search(name), _DATA.search(name), _RATE.search(name)
    groups = _read_groups(name)
    if shared is None:
        # Without the word, the launch script's own default held: a shared expert of a whole feed-forward, if there is
        # a mixture at all. (e4x1c1 reaches 4.213 where its twin e4x1c1_nogen reaches 4.483.)
        says_shared = LAUNCH_SHARED if sum(group.experts for group in groups) > 1 else None
    else:
        says_shared = 0.0 if shared[1] == "no" else _number(shared[1])
    return RunName(
        family=size[1].lower() if size else "olmo2",
        size=size[2] if size else None,
        groups=groups,
        shared_multiplier=says_shared,
        shared_by_default=shared is None,
        loss_free_bias="lf" in sweep.split("_"),
        data_multiple=float(data[1]) if data else 1.0,
        learning_rate=_number(rate[1]) if rate else None,
        batch=date[1] if date else None,
    )


def _read_groups(name: str) -> tuple[SlicingGroup, ...]:
    found = _GROUPS.search(name)
    if not found:
        return ()
    lists = [part.split(",") for part in found.groups()]
    if len({len(part) for part in lists}) != 1:
        return ()
    try:
        return tuple(SlicingGroup(float(m), int(e), int(k)) for e, m, k in zip(*lists, strict=True))
    except ValueError:  # an empty item between two commas
        return ()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# Sizes


@dataclass(frozen=True)
class SlicingSize:
    """A backbone: OLMo 2 decoder with a SwiGLU feed-forward of 4 d, or experts cut from one."""

    hidden_size: int
    num_layers: int
    num_heads: int | None
    nominal_params: float


SLICING_SIZES: dict[tuple[str, str], SlicingSize] = {
    ("olmo2", "10M"): SlicingSize(336, 8, 7, 10e6),
    ("olmo2", "20M"): SlicingSize(432, 9, 9, 20e6),
    ("olmo2", "50M"): SlicingSize(640, 10, 10, 50e6),
    ("olmo2", "100M"): SlicingSize(832, 12, 13, 100e6),
    ("olmo2", "200M"): SlicingSize(1120, 13, 14, 200e6),
    ("olmo2", "400M"): SlicingSize(1440, 16, None, 400e6),
    ("olmo2", "1.0B"): SlicingSize(2048, 20, None, 1e9),
    ("olmo2b", "10M"): SlicingSize(48, 3, 3, 10e6),
    ("olmo2b", "20M"): SlicingSize(96, 4, 4, 20e6),
    ("olmo2b", "50M"): SlicingSize(240, 5, 6, 50e6),
    ("olmo2b", "100M"): SlicingSize(384, 9, 8, 100e6),
    ("olmo2b", "200M"): SlicingSize(640, 10, 10, 200e6),
    ("olmo2b", "300M"): SlicingSize(832, 12, 13, 300e6),
    ("olmo2b", "500M"): SlicingSize(1120, 14, 14, 500e6),
}

_LABEL = re.compile(r"^(\d+(?:[._]\d+)?)([MB])$", re.IGNORECASE)


def slicing_size(family: str, label: str) -> SlicingSize:
    """The size behind a family and a label such as 10M or 1_0B.

    An unlisted label is placed between its family's listed sizes by its number of parameters, with a warning;
    ValueError if the label is no number of parameters.
    """
    found = _LABEL.match(label.strip())
    if not found:
        raise ValueError(f"{brief(label)} is not a size such as 20M or 1.0B")
    number, unit = found[1].replace("_", "."), found[2].upper()
    known = SLICING_SIZES.get((family, number + unit))
    if known is None and unit == "B":
        known = SLICING_SIZES.get((family, f"{float(number):.1f}B"))
    return known or _between(family, float(number) * (1e6 if unit == "M" else 1e9), label)


def _between(family: str, nominal: float, label: str) -> SlicingSize:
    members = sorted(
        (size for (kin, _), size in SLICING_SIZES.items() if kin == family), key=lambda size: size.nominal_params
    )
    if not members:
        members = sorted(
            (size for (kin, _), size in SLICING_SIZES.items() if kin == "olmo2"), key=lambda s: s.nominal_params
        )
    at = [math.log(size.nominal_params) for size in members]
    width = math.exp(np.interp(math.log(nominal), at, [math.log(size.hidden_size) for size in members]))
    layers = np.interp(math.log(nominal), at, [size.num_layers for size in members])
    size = SlicingSize(max(16, 16 * round(width / 16)), max(1, round(float(layers))), None, nominal)
    warnings.warn(
        visible(
            f"size {family}_{label} is not listed: taken as width {size.hidden_size} and {size.num_layers} layers, "
            "between its neighbours"
        ),
        stacklevel=2,
    )
    return size


# Architectures


def describe_models(
    sizes: list[SlicingSize], groups: list[tuple[SlicingGroup, ...]], shared: list[float]
) -> dict[str, list[float | str]]:
    """Columns of counts and shapes, one value per run; each distinct model is built once."""
    described: dict[tuple[SlicingSize, tuple[SlicingGroup, ...], float], Described] = {}
    rows = []
    for key in zip(sizes, groups, shared, strict=True):
        if key not in described:
            described[key] = _describe(*key)
        rows.append(described[key])
    return {name: [row[name] for row in rows] for name in rows[0]}


def backbone(size: SlicingSize, groups: tuple[SlicingGroup, ...], shared_multiplier: float) -> Architecture:
    """The model of one run; widths in units of 4 d as the sweep writes them. One group of one expert is dense."""
    d = size.hidden_size
    feed_forward: FeedForward
    if sum(group.experts for group in groups) == 1 and not shared_multiplier:
        feed_forward = Dense(size=_width(groups[0].multiplier, d))
    else:
        feed_forward = MoE(
            groups=tuple(
                ExpertGroup(count=g.experts, expert_size=_width(g.multiplier, d), top_k=min(g.top_k, g.experts))
                for g in groups
            ),
            router_per_group=len(groups) > 1,
            shared=SharedExpert(expert_size=_width(shared_multiplier, d)) if shared_multiplier else None,
        )
    heads = size.num_heads or 1  # heads change no count
    mixer = Attention(num_heads=heads, num_kv_heads=heads, head_dim=d // heads, qk_norm="full")
    layer = Layer(mixer=mixer, feed_forward=feed_forward, norms="post")
    return Architecture(vocab_size=VOCAB_SIZE, hidden_size=d, layers=(layer,) * size.num_layers, norm=Norm())


def _describe(size: SlicingSize, groups: tuple[SlicingGroup, ...], shared: float) -> Described:
    model = backbone(size, groups, shared)
    top_k = sum(group.top_k for group in groups)
    used = sum(group.top_k * group.multiplier for group in groups)
    return {
        "hidden_size": size.hidden_size,
        "num_layers": size.num_layers,
        "num_heads": size.num_heads or float("nan"),
        "vocab_size": VOCAB_SIZE,
        "num_experts": sum(group.experts for group in groups),
        "top_k": top_k,
        "expert_size": 4 * size.hidden_size * used / top_k,
        "shared_size": 4 * size.hidden_size * shared,
        "expert_groups": "+".join(f"{g.experts}x{_width(g.multiplier, size.hidden_size)}k{g.top_k}" for g in groups),
        "num_groups": len(groups),
        "expert_multiplier": used / top_k,
        "expert_ratio": sum(group.experts * group.multiplier for group in groups),
        "shared_multiplier": shared,
        "total_width": sum(group.experts * group.multiplier for group in groups) + shared,
        "active_width": used + shared,
        "total_params": total_params(model),
        "active_params": active_params(model),
        "total_params_non_embedding": total_params_non_embedding(model),
        "active_params_non_embedding": active_params_non_embedding(model),
    }


def _width(multiplier: float, hidden_size: int) -> int:
    return max(1, round(multiplier * 4 * hidden_size))
