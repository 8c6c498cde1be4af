"""The layers of a model as a small drawing: what mixes tokens, dense and expert layers, experts used of all."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from moewright.architecture.feed_forwards import Dense, MoE
from moewright.architecture.mixers import (
    Attention,
    CompressedAttention,
    DifferentialAttention,
    LatentAttention,
    MixtureOfAttention,
    NoMixer,
    ParallelMixers,
)
from moewright.architecture.spec import Architecture, Layer
from moewright.foreign_text import to_html
from moewright.report.inspection_tables import describe_part

_WIDTH, _MOST_EXPERTS, _LEAST_IN_A_ROW = 640, 512, 32
KEY_WORDS = {
    "mixer-full": "attention",
    "mixer-window": "windowed",
    "mixer-latent": "latent",
    "mixer-state": "state or convolution",
    "mixer-none": "none",
    "ff-moe": "experts",
    "ff-dense": "dense",
    "ff-none": "none",
    "expert-used": "used by a token",
    "expert-idle": "not used",
    "expert-shared": "shared",
}
"""What each colour of the drawing is."""


@dataclass(frozen=True)
class DrawnLayers:
    """What the drawing shows, also for the page's script, which draws designs that are picked (`assets/layers.js`)."""

    layers: tuple[tuple[int, str, str, str, str], ...]
    """Equal ones in a row: how many, the mixer's kind and words, the feed-forward's kind and words."""
    experts: tuple[int, int, int] | None
    """Routed, used by a token, shared: of the last mixture; None where there is none."""

    @classmethod
    def of(cls, architecture: Architecture) -> "DrawnLayers":
        """Of any model."""
        rows = tuple(
            (
                count,
                f"mixer-{mixer_kind(layer)}",
                describe_part(layer.mixer),
                f"ff-{feed_forward_kind(layer)}",
                describe_part(layer.feed_forward),
            )
            for count, layer in _runs_of_equal(architecture)
        )
        mixtures = architecture.moe_layers()
        if not mixtures:
            return cls(rows, None)
        moe = mixtures[-1][1]
        return cls(rows, (moe.num_experts, moe.top_k, moe.shared.count if moe.shared else 0))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"layers": [list(row) for row in self.layers], "experts": self.experts and list(self.experts)}


def layers_words(architecture: Architecture) -> str:
    """The layers in words: how many of each kind in a row."""
    return _words(DrawnLayers.of(architecture))


def _words(drawn: DrawnLayers) -> str:
    return ", ".join(f"{count} x ({mixer}; {feed_forward})" for count, _, mixer, _, feed_forward in drawn.layers)


def layers_svg(architecture: Architecture, name: str) -> str:
    """A strip with a column for each layer, mixers above, feed-forwards below, and the experts of the last mixture."""
    drawn = DrawnLayers.of(architecture)
    layers = [row for count, *row in drawn.layers for _ in range(count)]
    step = min(26.0, _WIDTH / len(layers))
    gap = min(2.0, step / 5)
    parts = []
    for place, (mixer, mixer_words, feed_forward, words) in enumerate(layers):
        x = place * step
        parts.append(_box(x, 0, step - gap, 16, mixer, mixer_words, place))
        parts.append(_box(x, 18, step - gap, 34 if feed_forward == "ff-moe" else 16, feed_forward, words, place))
    experts, bottom = _experts(drawn.experts, 64, step * len(layers))
    told = to_html(f"{len(layers)} layers: {_words(drawn)}")
    return (
        f'<figure class="layers" id="{name}"><svg role="img" aria-label="{told}" viewBox="0 0 {_WIDTH} {bottom}">'
        f"{''.join(parts)}{experts}</svg><figcaption>{_legend(drawn)}</figcaption></figure>\n"
    )


def mixer_kind(layer: Layer) -> str:
    """How a layer moves information between tokens, as the drawing tells it apart."""
    mixer = layer.mixer
    if isinstance(mixer, NoMixer):
        return "none"
    if isinstance(mixer, LatentAttention):
        return "latent"
    if isinstance(mixer, ParallelMixers):
        mixer = mixer.attention
    if isinstance(mixer, Attention | CompressedAttention | DifferentialAttention | MixtureOfAttention):
        return "window" if getattr(mixer, "window", None) is not None else "full"
    return "state"


def feed_forward_kind(layer: Layer) -> str:
    """moe, dense or none."""
    if isinstance(layer.feed_forward, MoE):
        return "moe"
    return "dense" if isinstance(layer.feed_forward, Dense) else "none"


def _runs_of_equal(architecture: Architecture) -> Iterator[tuple[int, Layer]]:
    for layer, run in groupby(architecture.iter_layers()):
        yield len(list(run)), layer


def _box(x: float, y: float, width: float, height: float, kind: str, words: str, place: int) -> str:
    return (
        f'<rect class="{kind}" x="{x:.2f}" y="{y}" width="{width:.2f}" height="{height}" rx="1.5">'
        f"<title>layer {place + 1}: {to_html(words)}</title></rect>"
    )


def _experts(experts: tuple[int, int, int] | None, top: float, width: float) -> tuple[str, float]:
    """A square for each routed expert of the last mixture, those that a token uses filled, then the shared ones."""
    if experts is None or experts[0] + experts[2] > _MOST_EXPERTS:
        return "", top - 8
    number, used, shared = experts
    size = 8 if number + shared <= 128 else 6
    in_a_row = max(int(width // size), _LEAST_IN_A_ROW)
    kinds = ["used"] * used + ["idle"] * (number - used) + ["shared"] * shared
    squares = "".join(
        f'<rect class="expert-{kind}" x="{place % in_a_row * size}" y="{top + place // in_a_row * size:g}" '
        f'width="{size - 1.5}" height="{size - 1.5}" rx="1"/>'
        for place, kind in enumerate(kinds)
    )
    rows = -(-len(kinds) // in_a_row)
    words = f"{used} of {number} experts used" + (f", {shared} shared" if shared else "")
    return f"<g><title>{words}</title>{squares}</g>", top + rows * size


def _legend(drawn: DrawnLayers) -> str:
    kinds = [*dict.fromkeys(row[1] for row in drawn.layers), *dict.fromkeys(row[3] for row in drawn.layers)]
    if drawn.experts is not None:
        kinds += ["expert-used", "expert-idle", *(["expert-shared"] if drawn.experts[2] else [])]
    return "".join(
        f'<span class="key"><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="{kind}" width="10" height="10" '
        f'rx="2"/></svg>{KEY_WORDS[kind]}</span>'
        for kind in kinds
    )
