"""The settings of a sweep that change the architecture, and the architecture that they make of a base."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

from moewright.architecture.feed_forwards import Dense, FeedForward, NoFeedForward, Router
from moewright.architecture.mixers import Attention, LatentAttention, NoMixer
from moewright.architecture.spec import LARGEST_LAYER_COUNT, Architecture, Layer, Repeat
from moewright.complaints import first_complaint
from moewright.errors import UserError
from moewright.sweeps.settings.axes import BACKBONE_SIZES
from moewright.sweeps.settings.mixtures import COUNTS, LATENT, MIX, ROUTER, SHARES, changed_mixture, changes_mixtures
from moewright.sweeps.settings.recipe_settings import MisfitError, parse_size, show_fraction, whole_width

_Items = tuple[Layer | Repeat, ...]


@dataclass(frozen=True)
class Backbone:
    """The sizes of a backbone that are stated; None: they follow from the base and the other ones."""

    hidden_size: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    head_dim: int | None = None

    @classmethod
    def stated(cls, settings: Mapping[str, Any]) -> "Backbone":
        """The sizes that some settings state; UserError for values that are no sizes."""
        return cls(**{name: parse_size(settings[name], name) for name in BACKBONE_SIZES if name in settings})

    def width_factor(self, base: Architecture) -> Fraction:
        """Hidden size over the base's: what every feed-forward width is multiplied by."""
        return Fraction(self.hidden_size or base.hidden_size, base.hidden_size)

    def mixer(self, mixer: Any, base: Architecture) -> Any:
        """A mixer of the base at this width: heads and key-value heads follow the width, latent ranks too.

        With num_heads, heads grow wider instead; with head_dim alone there are hidden_size / head_dim of them. Raises
        MisfitError for numbers that are not whole.
        """
        if isinstance(mixer, NoMixer) or (self.hidden_size, self.num_heads, self.head_dim) == (None, None, None):
            return mixer
        if not isinstance(mixer, Attention | LatentAttention):
            raise UserError(f"mixer.kind = {mixer.kind}: only attention and latent attention follow a ladder")
        width, factor = self.hidden_size or base.hidden_size, self.width_factor(base)
        if self.num_heads is not None:
            heads = Fraction(self.num_heads)
            what = "num_heads"
        elif self.head_dim is not None:
            heads = Fraction(width, self.head_dim)
            what = f"num_heads = hidden_size {width} / head_dim {self.head_dim}"
        else:
            heads = mixer.num_heads * factor
            what = f"num_heads = {mixer.num_heads} of the base x width {width} / {base.hidden_size}"
        num_heads = whole_width(heads, what)
        sizes: dict[str, int] = {"num_heads": num_heads}
        if isinstance(mixer, Attention):
            channels = self._head_channels(Fraction(mixer.head_dim), mixer.num_heads, num_heads, factor)
            kv_heads = Fraction(num_heads * mixer.num_kv_heads, mixer.num_heads)
            of_base = f"{mixer.num_kv_heads} / {mixer.num_heads} of the base"
            sizes["num_kv_heads"] = whole_width(kv_heads, f"num_kv_heads = {num_heads} heads x {of_base}")
            sizes["head_dim"] = whole_width(channels, "head_dim")
            return mixer.model_copy(update=sizes)
        per_head = Fraction(base.hidden_size, mixer.num_heads)  # stands for head_dim: the parts keep their shares of it
        wider = self._head_channels(per_head, mixer.num_heads, num_heads, factor) / per_head
        for name in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
            sizes[name] = whole_width(
                getattr(mixer, name) * wider, f"{name} = {getattr(mixer, name)} x {show_fraction(wider)}"
            )
        for name in ("q_lora_rank", "kv_lora_rank"):
            if getattr(mixer, name) is not None:
                rank = getattr(mixer, name)
                sizes[name] = whole_width(rank * factor, f"{name} = {rank} x width {width} / {base.hidden_size}")
        return mixer.model_copy(update=sizes)

    def _head_channels(self, per_head: Fraction, base_heads: int, num_heads: int, factor: Fraction) -> Fraction:
        if self.head_dim is not None:
            return Fraction(self.head_dim)
        return per_head * base_heads * factor / num_heads if self.num_heads is not None else per_head

    def stretch(self, items: _Items) -> _Items:
        """The layers with the longest run of equal layers, or of an equal pattern of layers, made longer or shorter.

        Of runs that are equally long, the first. Raises MisfitError where no number of repeats gives num_layers.
        """
        if self.num_layers is None:
            return items
        if self.num_layers > LARGEST_LAYER_COUNT:
            raise MisfitError(f"num_layers = {self.num_layers:,} exceeds the {LARGEST_LAYER_COUNT:,} of moewright")
        spans = [_span(item) for item in items]
        longest = spans.index(max(spans))
        item = items[longest]
        pattern = item.layers if isinstance(item, Repeat) else (item,)
        period = sum(map(_span, pattern))
        rest = sum(spans) - spans[longest]
        times, odd = divmod(self.num_layers - rest, period)
        if times < 1 or odd:
            raise MisfitError(
                f"num_layers = {self.num_layers} is not the {rest} layers outside of the base's longest run and one or "
                f"more times its pattern of {period}"
            )
        return (*items[:longest], Repeat(repeat=times, layers=pattern), *items[longest + 1 :])


def _span(item: Layer | Repeat) -> int:
    return item.repeat * sum(map(_span, item.layers)) if isinstance(item, Repeat) else 1


BACKBONE = (*BACKBONE_SIZES, "vocab_size")
"""Settings of the model around the experts."""
DIALS = (*BACKBONE, *COUNTS, *SHARES, MIX, LATENT, *(ROUTER + name for name in Router.model_fields))
"""Every setting that changes the architecture."""


def reshape(base: Architecture, settings: Mapping[str, Any], hold: Collection[str] = ()) -> Architecture:
    """The base with the settings among DIALS applied: first the backbone's, which scale everything, then the experts'.

    All mixtures of experts are changed alike, each from its own sizes in the base. hold: active and total keep the
    widths of the base at this backbone's width. Settings that are no dials are passed over.

    Raises MisfitError for sizes that do not fit, and UserError for settings that make no sense whatever their values.
    """
    hold = [name for name in ("active", "total") if name in hold]
    backbone = Backbone.stated(settings)
    factor = backbone.width_factor(base)
    hidden_size = backbone.hidden_size or base.hidden_size
    experts = {name: value for name, value in settings.items() if changes_mixtures(name)}
    made: dict[int, Layer] = {}

    def changed(item: Layer | Repeat) -> Layer | Repeat:
        if isinstance(item, Repeat):
            return Repeat(repeat=item.repeat, layers=tuple(map(changed, item.layers)))
        if id(item) not in made:
            feed_forward: FeedForward
            if isinstance(item.feed_forward, Dense):
                size = item.feed_forward.size
                wider = whole_width(size * factor, f"dense feed-forward = {size} of the base x {show_fraction(factor)}")
                feed_forward = item.feed_forward.model_copy(update={"size": wider})
            elif isinstance(item.feed_forward, NoFeedForward):
                feed_forward = item.feed_forward
            else:
                feed_forward = changed_mixture(item.feed_forward, experts, hold, hidden_size, factor)
            mixer = backbone.mixer(item.mixer, base)
            made[id(item)] = item.model_copy(update={"mixer": mixer, "feed_forward": feed_forward})
        return made[id(item)]

    sizes: dict[str, Any] = {"hidden_size": hidden_size}
    if "vocab_size" in settings:
        sizes["vocab_size"] = parse_size(settings["vocab_size"], "vocab_size")
    try:
        layers = tuple(map(changed, backbone.stretch(base.layers)))
        return Architecture(**{**dict(base), **sizes, "layers": layers})
    except ValidationError as error:
        raise MisfitError(first_complaint(error, "architecture", Architecture)) from None
