"""The layers of a model as a small drawing: what mixes tokens, dense and expert layers, experts used of all."""

from collections.abc import Iterator
from itertools import groupby

from moewright.architecture.feed_forwards import Dense, MoE
from moewright.architecture.mixers import Attention, CompressedAttention, LatentAttention, MixtureOfAttention, NoMixer
from moewright.architecture.spec import Architecture, Layer
from moewright.foreign_text import to_html
from moewright.report.inspection_tables import describe_part

_WIDTH, _MOST_EXPERTS, _LEAST_IN_A_ROW = 640, 512, 32
_MIXERS = {
    "full": "attention",
    "window": "windowed",
    "latent": "latent",
    "state": "state or convolution",
    "none": "none",
}


def layers_words(architecture: Architecture) -> str:
    """The layers in words: how many of each kind in a row."""
    return ", ".join(
        f"{count} x ({describe_part(layer.mixer)}; {describe_part(layer.feed_forward)})"
        for count, layer in _runs_of_equal(architecture)
    )


def layers_svg(architecture: Architecture, name: str) -> str:
    """A strip with a column for each layer, mixers above, feed-forwards below, and the experts of the last mixture."""
    layers = list(architecture.iter_layers())
    step = min(26.0, _WIDTH / len(layers))
    gap = min(2.0, step / 5)
    parts = []
    for place, layer in enumerate(layers):
        x = place * step
        parts.append(_box(x, 0, step - gap, 16, f"mixer-{mixer_kind(layer)}", describe_part(layer.mixer), place))
        kind = feed_forward_kind(layer)
        height = 34 if kind == "moe" else 16
        parts.append(_box(x, 18, step - gap, height, f"ff-{kind}", describe_part(layer.feed_forward), place))
    experts, bottom = _experts(architecture, 64, step * len(layers))
    legend = _legend(layers)
    words = to_html(f"{len(layers)} layers: {layers_words(architecture)}")
    return (
        f'<figure class="layers" id="{name}"><svg role="img" aria-label="{words}" viewBox="0 0 {_WIDTH} {bottom}">'
        f"{''.join(parts)}{experts}</svg><figcaption>{legend}</figcaption></figure>\n"
    )


def mixer_kind(layer: Layer) -> str:
    """How a layer moves information between tokens, as the drawing tells it apart."""
    mixer = layer.mixer
    if isinstance(mixer, NoMixer):
        return "none"
    if isinstance(mixer, LatentAttention):
        return "latent"
    if isinstance(mixer, Attention | CompressedAttention | MixtureOfAttention):
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


def _experts(architecture: Architecture, top: float, width: float) -> tuple[str, float]:
    """A square for each routed expert of the last mixture, those that a token uses filled, then the shared ones."""
    mixtures = architecture.moe_layers()
    if not mixtures:
        return "", top - 8
    moe = mixtures[-1][1]
    shared = moe.shared.count if moe.shared else 0
    if moe.num_experts + shared > _MOST_EXPERTS:
        return "", top - 8
    size = 8 if moe.num_experts + shared <= 128 else 6
    in_a_row = max(int(width // size), _LEAST_IN_A_ROW)
    kinds = ["used"] * moe.top_k + ["idle"] * (moe.num_experts - moe.top_k) + ["shared"] * shared
    squares = "".join(
        f'<rect class="expert-{kind}" x="{place % in_a_row * size}" y="{top + place // in_a_row * size:g}" '
        f'width="{size - 1.5}" height="{size - 1.5}" rx="1"/>'
        for place, kind in enumerate(kinds)
    )
    rows = -(-len(kinds) // in_a_row)
    words = f"{moe.top_k} of {moe.num_experts} experts used" + (f", {shared} shared" if shared else "")
    return f"<g><title>{words}</title>{squares}</g>", top + rows * size


def _legend(layers: list[Layer]) -> str:
    mixers = dict.fromkeys(f"mixer-{mixer_kind(layer)}" for layer in layers)
    halves = dict.fromkeys(f"ff-{feed_forward_kind(layer)}" for layer in layers)
    words = {
        **{f"mixer-{kind}": text for kind, text in _MIXERS.items()},
        "ff-moe": "experts",
        "ff-dense": "dense",
        "ff-none": "none",
    }
    entries = [(kind, words[kind]) for kind in (*mixers, *halves)]
    if any(feed_forward_kind(layer) == "moe" for layer in layers):
        entries += [("expert-used", "used by a token"), ("expert-idle", "not used")]
        if any(isinstance(layer.feed_forward, MoE) and layer.feed_forward.shared for layer in layers):
            entries.append(("expert-shared", "shared"))
    return "".join(
        f'<span class="key"><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="{kind}" width="10" height="10" '
        f'rx="2"/></svg>{text}</span>'
        for kind, text in entries
    )
