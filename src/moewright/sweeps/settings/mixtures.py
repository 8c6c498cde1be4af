"""One mixture of experts with other sizes, groups or router, from the settings that change it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

from moewright.architecture.feed_forwards import ExpertGroup, MoE, Router, SharedExpert
from moewright.complaints import check_bounds, first_complaint, hint
from moewright.errors import UserError
from moewright.quantities import brief
from moewright.sweeps.settings.recipe_settings import MisfitError, fraction, parse_size, show_fraction, whole_width

# (left, one, other, whether left is their product or else their sum)
_Relation = tuple[str, str, str, bool]
_FROM_BASE = ("expert_size", "top_k", "num_experts")


@dataclass(frozen=True)
class MixtureWidths:
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
        active, total, shared = (show_fraction(width) for width in (self.active, self.total, self.shared))
        return f"active width {active}, total {total}, shared {shared}"


def solve(
    base: MixtureWidths, stated: Mapping[str, Fraction], hold: Collection[str] = (), by_groups: bool = False
) -> MixtureWidths:
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
    return MixtureWidths(**{name: known.get(name) for name in ("active", "total", "shared", *_FROM_BASE)})  # type: ignore[arg-type]


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
        sizes = ", ".join(f"{size} {show_fraction(known[size])}" for size in relation[:3] if size in known)
        raise MisfitError(f"{name.replace('_', ' ')} = {show_fraction(value)}: nothing is left ({sizes})")
    return value


def _written(relation: _Relation) -> str:
    left, one, other, is_product = relation
    return f"{left} = {one} {'x' if is_product else '+'} {other}"


COUNTS = ("num_experts", "top_k", "expert_size", "active_width")
SHARES: dict[str, dict[str, float]] = {
    "expert_share": {"above": 0, "at_most": 1},
    "total_ratio": {"at_least": 1},
    "active_width_ratio": {"above": 0},
    "shared_share": {"at_least": 0, "below": 1},  # what is shared leaves something to route
}
"""Settings that are shares or ratios, each with its bounds."""
MIX = "mix"
LATENT = "latent_size"
ROUTER = "router."
_OF_A_GROUP = ("expert_share", "active_share", "total_share")
_SAYS_THE_SAME = (("active_width", "active_width_ratio"), *((MIX, name) for name in (*COUNTS[:3], "expert_share")))


def changes_mixtures(name: str) -> bool:
    """Whether a setting changes the mixtures of experts, and needs some."""
    return name in (*COUNTS, *SHARES, MIX, LATENT) or name.startswith(ROUTER)


def changed_mixture(
    moe: MoE, settings: Mapping[str, Any], hold: Collection[str], hidden_size: int, factor: Fraction
) -> MoE:
    """A mixture of the base whose widths are multiplied by `factor` (the ladder's), changed by the settings.

    Settings of other parts are passed over. Raises MisfitError for sizes that are not whole, more choices than experts,
    or anything that the spec refuses; UserError for values of a wrong kind and for settings that contradict each other
    whatever their values.
    """
    sizes = {name: settings[name] for name in (*COUNTS, *SHARES) if name in settings}
    mix = settings.get(MIX)
    _check_one_says_it({name for name in (*sizes, MIX) if name in sizes or mix is not None})
    base = _widths(moe, factor)
    fields: dict[str, Any] = dict(moe)
    if mix is not None:
        widths = solve(base, _stated(sizes, hidden_size), hold, by_groups=True)
        fields |= _mixed(read_mix(mix), widths)
    elif sizes:
        if len(moe.groups) > 1:
            raise MisfitError(f"{next(iter(sizes))}: the base's experts are of {len(moe.groups)} groups; state mix")
        widths = solve(base, _stated(sizes, hidden_size), hold)
        fields["groups"] = (_group(widths),)
    else:
        widths = base
        fields["groups"] = tuple(_scaled(group, factor) for group in moe.groups)
    fields["shared"] = _shared(moe.shared, widths, factor)
    fields |= _latent(moe, settings, factor)
    if moe.parallel_dense is not None:
        beside = moe.parallel_dense
        size = whole_width(
            beside.size * factor, f"parallel_dense = {beside.size} of the base x {show_fraction(factor)}"
        )
        fields["parallel_dense"] = beside.model_copy(update={"size": size})
    router = {name.removeprefix(ROUTER): value for name, value in settings.items() if name.startswith(ROUTER)}
    try:
        fields["router"] = Router(**{**dict(moe.router), **router})
    except ValidationError as error:
        raise MisfitError(f"router.{first_complaint(error, 'groups', Router)}") from None
    try:
        return MoE(**fields)
    except ValidationError as error:
        raise MisfitError(first_complaint(error, "feed_forward", MoE)) from None


def _latent(moe: MoE, settings: Mapping[str, Any], factor: Fraction) -> dict[str, Any]:
    """The channels that routed experts work on: as stated, null for the model's, or the base's at this width."""
    if LATENT in settings:
        if settings[LATENT] is None:
            return {"latent_size": None, "latent_norm": False, "latent_bias": False}
        return {LATENT: parse_size(settings[LATENT], LATENT)}
    if moe.latent_size is None:
        return {}
    return {
        LATENT: whole_width(
            moe.latent_size * factor, f"latent_size = {moe.latent_size} of the base x {show_fraction(factor)}"
        )
    }


def read_mix(value: Any) -> list[dict[str, Fraction]]:
    """Groups as exact shares; UserError unless they are a list of mappings whose shares add up to 1."""
    if not isinstance(value, list | tuple) or not value:
        raise UserError(f"mix: expected a list of groups, each with {', '.join(_OF_A_GROUP)}, or null for no mix")
    groups = []
    for index, given in enumerate(value):
        if not isinstance(given, dict):
            raise UserError(f"mix[{index}]: expected a mapping with {', '.join(_OF_A_GROUP)}")
        for name in given:
            if name not in _OF_A_GROUP:
                raise UserError(f"mix[{index}]: no key {brief(name)}{hint(str(name), _OF_A_GROUP, '')}")
        missing = next((name for name in _OF_A_GROUP if name not in given), None)
        if missing is not None:
            raise UserError(f"mix[{index}]: {missing} is missing")
        groups.append({name: _share(given[name], f"mix[{index}].{name}") for name in _OF_A_GROUP})
    for name in ("active_share", "total_share"):
        total = sum(group[name] for group in groups)
        if total != 1:
            raise UserError(f"mix: the groups' {name} add up to {show_fraction(Fraction(total))}, not 1")
    return groups


def _share(value: Any, name: str) -> Fraction:
    share = fraction(value, name)
    check_bounds(share, value, name, above=0, at_most=1)
    return share


def _stated(sizes: Mapping[str, Any], hidden_size: int) -> dict[str, Fraction]:
    """What the settings state, exactly; both settings of the active width in channels."""
    stated = {name: Fraction(parse_size(sizes[name], name)) for name in COUNTS if name in sizes}
    for name, bounds in SHARES.items():
        if name in sizes:
            stated[name] = fraction(sizes[name], name)
            check_bounds(stated[name], sizes[name], name, **bounds)
    if "active_width_ratio" in stated:
        ratio = stated.pop("active_width_ratio")
        what = f"active_width = {show_fraction(ratio)} x hidden_size {hidden_size}"
        stated["active"] = Fraction(whole_width(ratio * hidden_size, what))
    if "active_width" in stated:
        stated["active"] = stated.pop("active_width")
    return stated


def _check_one_says_it(names: Collection[str]) -> None:
    for one, other in _SAYS_THE_SAME:
        if one in names and other in names:
            raise UserError(f"{one} and {other} both set the experts' sizes; leave out one")


def _widths(moe: MoE, factor: Fraction) -> MixtureWidths:
    """The widths of a mixture of the base, multiplied by the ladder's factor."""
    shared = moe.shared.count * moe.shared.expert_size * factor if moe.shared else Fraction(0)
    active = sum(group.top_k * group.expert_size for group in moe.groups) * factor + shared
    total = sum(group.count * group.expert_size for group in moe.groups) * factor + shared
    widths = MixtureWidths(active, total, shared)
    if len(moe.groups) > 1:
        return widths
    group = moe.groups[0]
    return replace(
        widths,
        expert_size=group.expert_size * factor,
        top_k=Fraction(group.top_k),
        num_experts=Fraction(group.count),
    )


def _group(widths: MixtureWidths) -> ExpertGroup:
    assert widths.expert_size is not None
    assert widths.top_k is not None
    assert widths.num_experts is not None
    return _whole_group(widths.expert_size, widths.top_k, widths.num_experts, widths.describe())


def _whole_group(expert_size: Fraction, top_k: Fraction, count: Fraction, context: str, where: str = "") -> ExpertGroup:
    """A group of experts, or a MisfitError with all its numbers."""
    sizes = {"expert_size": expert_size, "top_k": top_k, "num_experts": count}
    numbers = ", ".join(f"{name} {show_fraction(value)}" for name, value in sizes.items())
    for name, value in sizes.items():
        if value.denominator != 1:
            raise MisfitError(f"{where}{name} = {show_fraction(value)} is not whole ({numbers}; {context})")
    if top_k > count:
        raise MisfitError(f"{where}top_k = {top_k} exceeds num_experts = {count} ({numbers}; {context})")
    try:
        return ExpertGroup(count=int(count), expert_size=int(expert_size), top_k=int(top_k))
    except ValidationError as error:
        raise MisfitError(f"{where}{first_complaint(error, 'experts', ExpertGroup)} ({numbers})") from None


def _mixed(mix: list[dict[str, Fraction]], widths: MixtureWidths) -> dict[str, Any]:
    """Groups by their shares, with a router each and outputs averaged by top_k, as in arXiv 2605.11689."""
    routed, pool = widths.active - widths.shared, widths.total - widths.shared
    groups = []
    for index, share in enumerate(mix):
        size = share["expert_share"] * widths.active
        active, total = share["active_share"] * routed, share["total_share"] * pool
        groups.append(_whole_group(size, active / size, total / size, widths.describe(), f"mix[{index}]: "))
    several = len(groups) > 1
    return {
        "groups": tuple(groups),
        "router_per_group": several,
        "combine_groups": "average" if several else "sum",
    }


def _scaled(group: ExpertGroup, factor: Fraction) -> ExpertGroup:
    size = whole_width(
        group.expert_size * factor, f"expert_size = {group.expert_size} of the base x {show_fraction(factor)}"
    )
    return group.model_copy(update={"expert_size": size})


def _shared(base: SharedExpert | None, widths: MixtureWidths, factor: Fraction) -> SharedExpert | None:
    """The base's shared experts if they keep their width, else one of the new width that is combined alike."""
    if widths.shared == 0:
        return None
    if base is not None and widths.shared == base.count * base.expert_size * factor:
        size = base.expert_size * factor
        return base.model_copy(update={"expert_size": whole_width(size, f"shared expert_size = {show_fraction(size)}")})
    width = whole_width(widths.shared, f"shared width ({widths.describe()})")
    if base is None:
        return SharedExpert(expert_size=width)
    return base.model_copy(update={"count": 1, "expert_size": width})
