"""The description of a decoder that everything else stands on: a list of layers between an embedding and a head."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from moewright.architecture.feed_forwards import FeedForward, MoE
from moewright.architecture.mixers import Mixer
from moewright.architecture.repeats import Run, find_runs
from moewright.records import Count, FileRecord, Positive, Record, Size

if TYPE_CHECKING:
    from moewright.hf.config import HFImport

# Ten times the deepest published decoders.
LARGEST_LAYER_COUNT = 1000

WeightFormatName = Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4", "mxfp4", "nvfp4"]


class Norm(Record):
    """The normalisation between sublayers, the same one everywhere."""

    kind: Literal["rms", "layer"] = "rms"
    bias: bool = False
    eps: Positive = 1e-6


class Layer(Record):
    """A mixer and a feed-forward with the norms around them."""

    mixer: Mixer
    feed_forward: FeedForward
    norms: Literal["pre", "post", "sandwich", "parallel"] = "pre"
    """pre: before each sublayer. post: on each sublayer's output (OLMo 2). sandwich: both. parallel: one norm feeds
    both sublayers, whose outputs are added together (Cohere)."""


class Repeat(Record):
    """Layers that follow each other `repeat` times."""

    repeat: Annotated[int, Field(gt=0, le=LARGEST_LAYER_COUNT)]
    layers: Annotated[tuple["LayerOrRepeat", ...], Field(min_length=1, strict=False)]


def _layer_or_repeat(value: Any) -> str:
    is_repeat = "repeat" in value if isinstance(value, dict) else isinstance(value, Repeat)
    return "repeat" if is_repeat else "layer"


LayerOrRepeat = Annotated[
    Annotated[Layer, Tag("layer")] | Annotated[Repeat, Tag("repeat")], Discriminator(_layer_or_repeat)
]


class Architecture(FileRecord):
    """A decoder language model, exactly: `layers` in order, repeats written compactly.

    However the repeats are written, they are stored in one canonical form, so two architectures are equal when their
    plain lists of layers and their other fields are.
    """

    format: Literal["moewright-architecture/1"] = "moewright-architecture/1"
    version_without_format: ClassVar[int | None] = 1
    vocab_size: Size
    hidden_size: Size
    layers: Annotated[tuple[LayerOrRepeat, ...], Field(min_length=1, strict=False)]
    tie_embeddings: bool = False
    """True: the head multiplies with the embedding matrix; it is then counted once."""
    norm: Norm = Norm()
    lm_head_bias: bool = False
    hyper_connections: Count = 0
    """Residual streams mixed by learned weights (arXiv 2409.19606, as in DeepSeek-V4); 0: one plain residual."""
    mtp_layers: Count = 0
    """Multi-token-prediction blocks beside the model; reported apart, in neither total nor active parameters."""
    max_context: Size | None = None
    """Longest sequence that the model was made for, in tokens."""
    weights_format: WeightFormatName | None = None
    """How the published weights are stored, where that is known."""

    @field_validator("layers", mode="after")
    @classmethod
    def _canonical(cls, layers: tuple[Layer | Repeat, ...]) -> tuple[Layer | Repeat, ...]:
        count = _count(layers)
        if count > LARGEST_LAYER_COUNT:
            raise ValueError(f"{count} layers are more than the {LARGEST_LAYER_COUNT} that moewright accepts")
        return repeat_compactly(list(_expand(layers)))

    # Reading the layers

    def iter_layers(self) -> Iterator[Layer]:
        """Every layer in order, repeats written out."""
        return _expand(self.layers)

    def layer_runs(self) -> list[tuple[int, Layer]]:
        """How often each written layer occurs in the whole model, in the order of writing."""
        return list(_multiplicities(self.layers, 1))

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return sum(times for times, _ in self.layer_runs())

    def moe_layers(self) -> list[tuple[int, MoE]]:
        """The mixtures of experts with how often each occurs."""
        return [
            (times, layer.feed_forward) for times, layer in self.layer_runs() if isinstance(layer.feed_forward, MoE)
        ]

    # In and out

    def to_dict(self, defaults: bool = False) -> dict[str, Any]:
        """A plain dictionary for JSON or YAML: fields at their default are left out, `kind` and `format` are not."""
        return super().to_dict(defaults)

    @classmethod
    def load(cls, path: str | Path) -> "Architecture":
        """Read a moewright YAML or JSON file."""
        from moewright.files import read_mapping

        return cls.from_dict(read_mapping(Path(path)))

    def save(self, path: str | Path) -> None:
        """Write a moewright file, YAML or JSON by the ending; an existing file is replaced in one step."""
        from moewright.files import write_mapping

        write_mapping(Path(path), self.to_dict())

    @classmethod
    def from_hf(cls, source: "str | Path | dict[str, Any]") -> "Architecture":
        """The architecture of a Hugging Face config.json (a path, its folder, or its contents).

        Warnings about the config are issued through the `warnings` module; `moewright.hf.read_config`
        returns them instead.
        """
        import warnings

        from moewright.hf.config import read_config

        imported: HFImport = read_config(source)
        for message in imported.warnings:
            warnings.warn(message, stacklevel=2)
        return imported.architecture

    def to_hf(self, family: str | None = None) -> dict[str, Any]:
        """The contents of a Hugging Face config.json of a family that expresses this architecture exactly.

        `family` is a model_type; None takes the first that can. A UserError names what cannot be expressed.
        """
        from moewright.hf.config import write_config

        return write_config(self, family)


def repeat_compactly(layers: list[Layer]) -> tuple[Layer | Repeat, ...]:
    """The canonical compact form of a plain list of layers."""
    by_object: dict[int, str] = {}  # readers reuse one object for equal layers, so most need no second look
    by_content: dict[str, int] = {}
    keys = []
    for layer in layers:
        content = by_object.setdefault(id(layer), "") or layer.model_dump_json()
        by_object[id(layer)] = content
        keys.append(by_content.setdefault(content, len(by_content)))

    def build(runs: list[int | Run]) -> tuple[Layer | Repeat, ...]:
        return tuple(
            layers[run] if isinstance(run, int) else Repeat.model_construct(repeat=run.times, layers=build(run.pattern))
            for run in runs
        )

    return build(find_runs(keys))


def _count(layers: Iterable[Layer | Repeat]) -> int:
    return sum(1 if isinstance(item, Layer) else item.repeat * _count(item.layers) for item in layers)


def _expand(layers: Iterable[Layer | Repeat]) -> Iterator[Layer]:
    for item in layers:
        if isinstance(item, Layer):
            yield item
        else:
            for _ in range(item.repeat):
                yield from _expand(item.layers)


def _multiplicities(layers: Iterable[Layer | Repeat], times: int) -> Iterator[tuple[int, Layer]]:
    for item in layers:
        if isinstance(item, Layer):
            yield times, item
        else:
            yield from _multiplicities(item.layers, times * item.repeat)
