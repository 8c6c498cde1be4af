"""What a run's name in the "Slicing and Dicing" sweeps says, and no column does.

A name reads <date>_<sweep>_<family>_<size>_e<experts>x<multipliers>c<top-k>[_<shared>gen|_nogen][_lr=<rate>], with
commas between the groups of unlike experts.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Experts of one size: d_e = multiplier x 4 d."""

    multiplier: float
    experts: int
    top_k: int


@dataclass(frozen=True)
class RunName:
    """The facts in one name; None or empty where it does not say."""

    family: str = "olmo2"
    size: str | None = None
    groups: tuple[Group, ...] = ()
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


def _read_groups(name: str) -> tuple[Group, ...]:
    found = _GROUPS.search(name)
    if not found:
        return ()
    lists = [part.split(",") for part in found.groups()]
    if len({len(part) for part in lists}) != 1:
        return ()
    try:
        return tuple(Group(float(m), int(e), int(k)) for e, m, k in zip(*lists, strict=True))
    except ValueError:  # an empty item between two commas
        return ()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
