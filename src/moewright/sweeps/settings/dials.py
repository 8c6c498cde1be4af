"""The settings of a sweep that change the architecture, and the architecture that they make of a base."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from moewright.architecture.feed_forwards import Dense, FeedForward, Router
from moewright.architecture.spec import Architecture, Layer, Repeat
from moewright.complaints import first_complaint
from moewright.sweeps.settings.axes import RUNG
from moewright.sweeps.settings.mixtures import COUNTS, MIX, ROUTER, SHARES, changed_mixture, changes_mixtures
from moewright.sweeps.settings.rungs import Rung
from moewright.sweeps.settings.values import MisfitError, as_whole, shown, whole

BACKBONE = (*RUNG, "vocab_size")
"""Settings of the model around the experts."""
DIALS = (*BACKBONE, *COUNTS, *SHARES, MIX, *(ROUTER + name for name in Router.model_fields))
"""Every setting that changes the architecture."""


def reshape(base: Architecture, settings: Mapping[str, Any], hold: Collection[str] = ()) -> Architecture:
    """The base with the settings among DIALS applied: first the backbone's, which scale everything, then the experts'.

    All mixtures of experts are changed alike, each from its own sizes in the base. hold: active and total keep the
    widths of the base at this backbone's width. Settings that are no dials are passed over.

    Raises MisfitError for sizes that do not fit, and UserError for settings that make no sense whatever their values.
    """
    hold = [name for name in ("active", "total") if name in hold]
    rung = Rung.stated(settings)
    factor = rung.width_factor(base)
    hidden_size = rung.hidden_size or base.hidden_size
    experts = {name: value for name, value in settings.items() if changes_mixtures(name)}
    made: dict[int, Layer] = {}

    def changed(item: Layer | Repeat) -> Layer | Repeat:
        if isinstance(item, Repeat):
            return Repeat(repeat=item.repeat, layers=tuple(map(changed, item.layers)))
        if id(item) not in made:
            feed_forward: FeedForward
            if isinstance(item.feed_forward, Dense):
                size = item.feed_forward.size
                wider = as_whole(size * factor, f"dense feed-forward = {size} of the base x {shown(factor)}")
                feed_forward = item.feed_forward.model_copy(update={"size": wider})
            else:
                feed_forward = changed_mixture(item.feed_forward, experts, hold, hidden_size, factor)
            mixer = rung.mixer(item.mixer, base)
            made[id(item)] = item.model_copy(update={"mixer": mixer, "feed_forward": feed_forward})
        return made[id(item)]

    sizes: dict[str, Any] = {"hidden_size": hidden_size}
    if "vocab_size" in settings:
        sizes["vocab_size"] = whole(settings["vocab_size"], "vocab_size")
    try:
        layers = tuple(map(changed, rung.stretch(base.layers)))
        return Architecture(**{**dict(base), **sizes, "layers": layers})
    except ValidationError as error:
        raise MisfitError(first_complaint(error, "architecture", Architecture)) from None
