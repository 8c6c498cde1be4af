"""What flips the answer: the choice again under each assumption that could be otherwise.

Assumed are how laws read expansion, that each law is right to be heard, the bounds of each rule of the space, what
devices reach, prices, what training is worth and the preference. Each is changed by itself.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from pydantic import ValidationError

from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem, search_problem
from moewright.designs.candidates import CANDIDATE_SIZES, join
from moewright.designs.design_record import FlipRecord, SizesRecord
from moewright.designs.groups import groups_of
from moewright.designs.hearing import Hearing, hear
from moewright.designs.preference import PREFERENCES, Choice, choose_design, order_undecided
from moewright.designs.rules import RULES
from moewright.designs.space import Space
from moewright.designs.undecided import unbeaten, undecided_set
from moewright.errors import UserError
from moewright.progress import track
from moewright.quantities import format_size

SHARE = 0.2
"""By which prices and speeds are moved, up and down."""
FURTHER = 1.25
"""A bound that is a number is moved by this factor; a list of sizes goes on by its last step."""
READINGS = {0: "expansion multiplies the experts' channels only", 1: "expansion multiplies all active parameters"}


@dataclass(frozen=True)
class Flip:
    """The choice under one assumption that is changed."""

    assumption: str
    sizes: Mapping[str, int]
    """Of the design that would be built."""
    undecided: int
    loses: float | None
    """By how much the recommended design is dearer there than this one, as a share of effective cost (nats where the
    mean loss chooses); None where it is not undecided there."""

    def changed(self, recommended: Mapping[str, int]) -> tuple[str, ...]:
        """The sizes that are not the recommended design's."""
        return tuple(name for name in CANDIDATE_SIZES if self.sizes[name] != recommended[name])

    def answer(self, recommended: Mapping[str, int]) -> FlipRecord:
        """For JSON."""
        return FlipRecord(
            assumption=self.assumption,
            design=SizesRecord(**self.sizes),
            changed=self.changed(recommended),
            undecided=self.undecided,
            loses=self.loses,
        )


@dataclass(frozen=True)
class Flips:
    """The choice under each changed assumption, and why others were not tried."""

    found: tuple[Flip, ...]
    left_out: Mapping[str, str]
    """By assumption."""


def find_flips(problem: SearchProblem, within: FeasibleSet, choice: Choice) -> Flips:
    """The choice under each changed assumption, and which of them leave more than can be searched, or nothing."""
    recommended = choice.designs.sizes(0)
    found: list[Flip] = []
    left_out: dict[str, str] = {}

    def attempt(assumption: str, choose: Callable[[], Choice]) -> None:
        try:
            other = choose()
        except UserError as error:
            left_out[assumption] = str(error)
        else:
            loses = _loses(other, recommended)
            found.append(Flip(assumption, other.designs.sizes(0), len(other.undecided.designs), loses))

    for assumption, hearing in _other_hearings(choice.hearing):
        attempt(assumption, partial(choose_design, problem, within, choice.prefer, hearing))
    if problem.own is not None:
        attempt("without your runs", partial(choose_design, replace(problem, own=None), within, choice.prefer))
    for assumption, space, added in track("wider rules", wider_spaces(problem.space), unit="rules"):
        attempt(assumption, partial(_in_wider_space, problem, choice, space, added))
    for assumption, changed in _other_costs(problem, choice):
        given = {"prefer": choice.prefer, "worth": choice.worth, "on": choice.on, **changed}
        attempt(assumption, partial(order_undecided, problem, choice.undecided, choice.hearing, **given))
    return Flips(tuple(found), left_out)


def _in_wider_space(problem: SearchProblem, choice: Choice, space: Space, added: Space) -> Choice:
    """The choice in a wider space, of which only what is added is searched; UserError where that is too much.

    What is undecided in the wider space is so among what is undecided here and what is undecided in what is added: a
    design that another beats is beaten by one of these too. If a law falls silent on what is added, all is searched.
    """
    wider = search_problem(groups_of(space), problem.budgets, problem.judges, problem.own)
    try:
        band = search_problem(groups_of(added), problem.budgets, problem.judges)
    except UserError:  # other rules leave nothing of it
        return choice
    within = FeasibleSet(band)
    if not within.designs:
        return choice
    hearing = hear(band, within)
    others_heard = (hearing.laws, hearing.may_judge) != (choice.hearing.laws, choice.hearing.may_judge)
    if others_heard or problem.own is not None:  # runs of one's own are asked about all designs together
        return choose_design(wider, FeasibleSet(wider), choice.prefer)
    there = undecided_set(band, within, choice.hearing)
    together = unbeaten(
        join([choice.undecided.designs, there.designs]),
        np.concatenate([choice.undecided.losses, there.losses], axis=1),
    )
    return order_undecided(wider, together, choice.hearing, choice.prefer)


def _loses(choice: Choice, sizes: Mapping[str, int]) -> float | None:
    designs = choice.undecided.designs
    same = np.logical_and.reduce([getattr(designs, name) == size for name, size in sizes.items()])
    if not same.any():
        return None
    above = float(choice.of_undecided[same][0])
    return math.expm1(above) if choice.by_cost else above


def _other_hearings(hearing: Hearing) -> Iterator[tuple[str, Hearing]]:
    if any(judge.reading is not None for judge in hearing.readings):
        for reading, words in READINGS.items():
            yield words, replace(hearing, readings=tuple(j for j in hearing.readings if j.reading in (None, reading)))
    if len(hearing.laws) > 1:
        for law in hearing.laws:
            yield f"without {law}", replace(hearing, readings=tuple(j for j in hearing.readings if j.name != law))


def wider_spaces(space: Space) -> list[tuple[str, Space, Space]]:
    """Every rule one step wider at each of its ends: the rule with its bound, the space, and what it adds.

    What is added is a space too, as small as spaces can say it: all designs that are new are in it. Ends at which a
    space cannot be wider are left out.
    """
    found = []
    for rule in RULES:
        for field, value in _next_bounds(space, rule.fields):
            held = getattr(space, field)
            is_list = isinstance(held, tuple)
            # A bound of a pair: what is new lies between it and where it was.
            others = [other for other in rule.fields if other != field]
            band = {field: (value,)} if is_list else {field: value, **dict.fromkeys(others, held)}
            try:
                wider = Space.model_validate({**space.to_dict(), field: (*held, value) if is_list else value})
            except ValidationError:
                continue
            if wider == space:
                continue
            try:
                added = Space.model_validate({**space.to_dict(), **band})
            except ValidationError:
                added = wider
            end = "from" if _is_lower(space, field, value) else "to"
            found.append((f"{rule.name} {end} {format_size(value)}", wider, added))
    return found


def _next_bounds(space: Space, fields: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for field in fields:
        held = getattr(space, field)
        if not isinstance(held, tuple):
            if field == "least_expert_size":
                yield field, held - space.expert_size_step
            elif field.startswith("least"):
                yield field, held / FURTHER
            else:
                yield field, min(held * FURTHER, 1.0) if field.endswith("share") else held * FURTHER
        elif len(held) > 1:
            rising = sorted(held)
            yield field, rising[-1] + rising[-1] - rising[-2]
            if 2 * rising[0] - rising[1] > 0:
                yield field, 2 * rising[0] - rising[1]


def _is_lower(space: Space, field: str, value: float) -> bool:
    held = getattr(space, field)
    return value < min(held) if isinstance(held, tuple) else field.startswith("least")


def _other_costs(problem: SearchProblem, choice: Choice) -> Iterator[tuple[str, dict[str, Any]]]:
    """Other preferences, worths of training, devices and prices, by what they change: what is undecided stays."""
    if problem.budgets.serve_tokens is None:
        for prefer in PREFERENCES:
            if prefer != choice.prefer:
                yield f"prefer {prefer}", {"prefer": prefer}
    if not choice.by_cost:
        return
    assert choice.worth.nats is not None
    for factor, words in ((0.5, "half"), (2.0, "twice")):
        worth = replace(choice.worth, nats=factor * choice.worth.nats)
        yield f"more training worth {words} as much", {"worth": worth}
    for factor in (1 - SHARE, 1 + SHARE):
        for words, on in _other_devices(choice, factor, problem.budgets.serve_tokens is not None):
            yield f"{words} {factor - 1:+.0%}", {"on": on}


def _other_devices(choice: Choice, factor: float, has_bill: bool) -> Iterator[tuple[str, Any]]:
    """What moves costs against each other; a device faster in everything changes no choice but that of a whole bill."""
    from moewright.hardware import load_device

    on = choice.on
    device = load_device(on.hardware)
    yield (
        "memory's speed of the device that serves",
        replace(on, hardware=device.model_copy(update={"memory_bandwidth": factor * device.memory_bandwidth})),
    )
    peaks = {dtype: factor * peak for dtype, peak in device.peak_flops.items()}
    yield "its peak in products", replace(on, hardware=device.model_copy(update={"peak_flops": peaks}))
    if max(on.devices, on.bill_devices if has_bill else 1) > 1:
        links = {"node": device.node.model_copy(update={"bandwidth": factor * device.node.bandwidth})}
        if device.network is not None:
            network = {"bandwidth": factor * device.network.bandwidth}
            links["network"] = device.network.model_copy(update=network)  # type: ignore[assignment]
        yield "its links' speed", replace(on, hardware=device.model_copy(update=links))
    if has_bill and on.train_price is not None and on.serve_price is not None:
        yield "the price of training", replace(on, train_price=factor * on.train_price)
        yield "the price of serving", replace(on, serve_price=factor * on.serve_price)
