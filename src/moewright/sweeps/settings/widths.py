"""How wide a mixture of experts is, and how many experts it has, from whichever of its sizes are stated.

Five relations tie the sizes of one mixture (widths in channels, d_e the expert size):

    routed = K d_e        active = routed + shared        pool = E d_e        total = pool + shared
    and, where the setting is given,
    d_e = expert_share active        total = total_ratio active        shared = shared_share active

In units of 4 d the active width is K m + sh of arXiv 2605.11689. What is stated or held goes in first, what follows is
derived, and only what is still open is taken from the base: the expert size, then top_k, then the number of experts.
Everything is exact; whether the result is whole is for the caller to see.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction

from moewright.errors import UserError
from moewright.sweeps.settings.values import MisfitError, shown

# (left, one, other, whether left is their product or else their sum)
_Relation = tuple[str, str, str, bool]
_FROM_BASE = ("expert_size", "top_k", "num_experts")


@dataclass(frozen=True)
class Widths:
    """The sizes of one mixture, in channels; exact, and not necessarily whole."""

    active: Fraction
    """W_a: what one token uses, K d_e + shared."""
    total: Fraction
    """E d_e + shared."""
    shared: Fraction
    expert_size: Fraction | None = None
    """d_e; None where unlike groups of experts share the width."""
    top_k: Fraction | None = None
    num_experts: Fraction | None = None

    def describe(self) -> str:
        """The widths in words, for a reason."""
        return f"active width {shown(self.active)}, total {shown(self.total)}, shared {shown(self.shared)}"


def solve(base: Widths, stated: Mapping[str, Fraction], hold: Collection[str] = (), by_groups: bool = False) -> Widths:
    """The sizes that follow from those stated and held, and otherwise from the base.

    stated: any of num_experts, top_k, expert_size, active (channels), expert_share, total_ratio, shared_share.
    hold: active and total keep the base's, an active width that is stated goes before. by_groups: the experts are of
    several sizes, and only the widths are asked for.

    Raises UserError for statements that are one too many or too few, whatever their values, and MisfitError for values
    that leave no width.
    """
    known = dict(stated)
    names = [*("active_width" if name == "active" else name for name in stated), *(f"hold: {name}" for name in hold)]
    relations: list[_Relation] = [("total", "pool", "shared", False)]
    if not by_groups:
        relations += [("routed", "top_k", "expert_size", True), ("pool", "num_experts", "expert_size", True)]
    if known.get("shared_share"):
        known["routed_share"] = 1 - known["shared_share"]
        relations += [("shared", "shared_share", "active", True), ("routed", "routed_share", "active", True)]
    else:
        known["shared"] = Fraction(0) if "shared_share" in known else base.shared
        relations.append(("active", "routed", "shared", False))
    if "total_ratio" in known:
        relations.append(("total", "total_ratio", "active", True))
    if "expert_share" in known:
        relations.append(("expert_size", "expert_share", "active", True))

    def learn(name: str, value: Fraction) -> None:
        if name in known:
            raise UserError(f"{', '.join(names)}: one too many; the {name} width follows from the others")
        known[name] = value
        _derive(known, relations, names)

    _derive(known, relations, names)
    if "active" in hold and "active" not in stated:
        learn("active", base.active)
    if "total" in hold:
        learn("total", base.total)
    if "expert_share" in known and "expert_size" not in known and not by_groups:
        raise UserError(
            "expert_share is a share of the active width, which nothing states: add hold: [active], or set active_width"
        )
    for name in ("active", "total") if by_groups else _FROM_BASE:
        if name not in known:
            learn(name, getattr(base, name))
    return Widths(**{name: known.get(name) for name in ("active", "total", "shared", *_FROM_BASE)})  # type: ignore[arg-type]


def _derive(known: dict[str, Fraction], relations: list[_Relation], names: list[str]) -> None:
    """Take every relation with a single open size, as long as there are any; one with none contradicts or repeats."""
    progress = True
    while progress:
        progress = False
        for relation in list(relations):
            open_sizes = [name for name in relation[:3] if name not in known]
            # A shared width comes from its share or from the base, never as what happens to be left.
            if len(open_sizes) > 1 or (open_sizes == ["shared"] and relation[0] != "shared"):
                continue
            if not open_sizes:
                raise UserError(
                    f"{', '.join(names)}: one too many; {_written(relation)} has nothing left to follow; leave one out"
                )
            relations.remove(relation)
            known[open_sizes[0]] = _value(open_sizes[0], relation, known)
            progress = True


def _value(name: str, relation: _Relation, known: Mapping[str, Fraction]) -> Fraction:
    left, one, other, is_product = relation
    if name == left:
        value = known[one] * known[other] if is_product else known[one] + known[other]
    else:
        given = known[other if name == one else one]
        value = known[left] / given if is_product else known[left] - given
    if value <= 0:
        sizes = ", ".join(f"{size} {shown(known[size])}" for size in relation[:3] if size in known)
        raise MisfitError(f"{name.replace('_', ' ')} = {shown(value)}: nothing is left ({sizes})")
    return value


def _written(relation: _Relation) -> str:
    left, one, other, is_product = relation
    return f"{left} = {one} {'x' if is_product else '+'} {other}"
