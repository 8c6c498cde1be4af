"""The description of a decoder that everything else stands on: a list of layers between an embedding and a head."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from moewright.architecture.feed_forwards import AnyDense, AnyMoE, FeedForward, MoE, NoFeedForward
from moewright.architecture.mixers import AnyMixer, Mixer, NoMixer
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.sizes import N, N_co
from moewright.files import write_mapping
from moewright.records import Count, FileRecord, Positive, Record, Size

# Ten times the deepest published decoders.
LARGEST_LAYER_COUNT = 1000
LARGEST_PASS_COUNT = 100

NormPlaces = Literal["pre", "post", "sandwich", "half_weighted_sandwich", "parallel"]
WeightFormatName = Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4", "mxfp4", "nvfp4"]


OwnWeights = Annotated[tuple[OwnWeight, ...], Field(max_length=100, strict=False)]


class Norm(Record):
    """The normalisation between sublayers, the same one everywhere."""

    kind: Literal["rms", "layer"] = "rms"
    bias: bool = False
    eps: Positive = 1e-6


class PerLayerInput(Record):
    """A second embedding of each token, one small vector for every layer, added in after the layer's halves.

    Source: Gemma 3n and 4, modules of transformers 5.24.
    """

    size: Size
    """Channels for each layer."""
    vocab_size: Size


class Layer(Record):
    """A mixer and a feed-forward with the norms around them, or one of the two alone."""

    mixer: Mixer
    feed_forward: FeedForward
    norms: NormPlaces = "pre"
    """pre: before each sublayer. post: on each sublayer's output (OLMo 2). sandwich: both. parallel: one norm feeds
    both sublayers, whose outputs are added together (Cohere). half_weighted_sandwich: both, that of the mixer's output
    without weights (Muse Spark)."""
    mixer_norm_gate: Size | None = None
    """Rank of a gate on the normed input of the mixer: the norm's output times a sigmoid of two projections of itself,
    to so many channels and back (A.X K2)."""
    feed_forward_norm_gate: Size | None = None
    """The same on the normed input of the feed-forward."""
    shares_weights: bool = False
    """Whether the weights of its halves and norms are an earlier layer's, used again (Zamba2); own_weights are not."""
    one_residual: bool = False
    """Whether it has a plain residual in a model of hyper-connections (Motif 3's prediction block)."""
    own_weights: OwnWeights = ()
    """Of the family alone, beside those of the halves and norms."""
    own_state: Count = 0
    """Numbers that the layer keeps of a sequence beside its mixer's cache, such as inputs of convolutions."""
    passes: Annotated[int, Field(gt=0, le=LARGEST_PASS_COUNT)] = 1
    """How often each token goes through the layer, with a cache for each pass (Inkling 2 Mini). Each pass chooses its
    experts; active parameters are those of one."""

    @model_validator(mode="after")
    def _has_a_half(self) -> "Layer":
        if not sublayers(self):
            raise ValueError("mixer and feed_forward must not both be of kind none")
        return self


def _check_number(layers: int) -> None:
    if layers > LARGEST_LAYER_COUNT:
        raise ValueError(f"{layers} layers are more than the {LARGEST_LAYER_COUNT} that moewright accepts")


def _not_too_many(layers: Any) -> Any:
    """Before any of them is read."""
    if isinstance(layers, list | tuple):
        _check_number(len(layers))
    return layers


class Repeat(Record):
    """Layers that follow each other `repeat` times."""

    repeat: Annotated[int, Field(gt=0, le=LARGEST_LAYER_COUNT)]
    layers: Annotated[tuple["LayerOrRepeat", ...], Field(min_length=1, strict=False), BeforeValidator(_not_too_many)]


def _layer_or_repeat(value: Any) -> str:
    is_repeat = "repeat" in value if isinstance(value, dict) else isinstance(value, Repeat)
    return "repeat" if is_repeat else "layer"


LayerOrRepeat = Annotated[
    Annotated[Layer, Tag("layer")] | Annotated[Repeat, Tag("repeat")], Discriminator(_layer_or_repeat)
]


class AnyLayer(Protocol[N_co]):
    """What counting asks of a layer: a `Layer`, or one whose sizes are columns."""

    @property
    def mixer(self) -> AnyMixer[N_co]:
        """One of `Mixer`, or its form with columns."""

    @property
    def feed_forward(self) -> AnyDense[N_co] | AnyMoE[N_co] | NoFeedForward:
        """Dense or routed, or none."""

    @property
    def norms(self) -> NormPlaces:
        """Where the norms are."""

    @property
    def mixer_norm_gate(self) -> int | None:
        """Rank of the gate on the mixer's normed input."""

    @property
    def feed_forward_norm_gate(self) -> int | None:
        """Rank of the gate on the feed-forward's normed input."""

    @property
    def shares_weights(self) -> bool:
        """Whether its weights are an earlier layer's."""

    @property
    def one_residual(self) -> bool:
        """Whether it has a plain residual in a model of hyper-connections."""

    @property
    def own_weights(self) -> Sequence[OwnWeight]:
        """Of the family alone."""

    @property
    def own_state(self) -> int:
        """Numbers kept of a sequence beside the mixer's cache."""

    @property
    def passes(self) -> int:
        """How often each token goes through the layer."""


def sublayers(layer: AnyLayer[N_co]) -> int:
    """How many of the two halves a layer has: each reads the residual and adds to it."""
    return (not isinstance(layer.mixer, NoMixer)) + (not isinstance(layer.feed_forward, NoFeedForward))


def passed_layers(architecture: "Countable[N]") -> "Sequence[tuple[N, AnyLayer[N]]]":
    """How often a token goes through each written layer, in the order of writing."""
    return [(times * layer.passes, layer) for times, layer in architecture.layer_runs()]


def passed_mixtures(architecture: "Countable[N]") -> "Sequence[tuple[N, AnyMoE[N]]]":
    """How often a token goes through each mixture of experts, in the order of writing."""
    return [
        (times, layer.feed_forward)
        for times, layer in passed_layers(architecture)
        if isinstance(layer.feed_forward, AnyMoE)
    ]


class Countable(Protocol[N_co]):
    """What counting asks of an architecture: an `Architecture`, or many at once (`ArchitectureColumns`).

    The fields mean what they mean in `Architecture`.
    """

    @property
    def vocab_size(self) -> int: ...
    @property
    def hidden_size(self) -> N_co: ...
    @property
    def num_layers(self) -> N_co: ...
    @property
    def tie_embeddings(self) -> Any: ...
    @property
    def norm(self) -> Norm: ...
    @property
    def lm_head_bias(self) -> bool: ...
    @property
    def lm_head_rows(self) -> int | None: ...
    @property
    def own_weights(self) -> "Sequence[OwnWeight]": ...
    @property
    def hyper_connections(self) -> int: ...
    @property
    def mixes_streams(self) -> bool: ...
    @property
    def merges_streams(self) -> bool: ...
    @property
    def residual_vectors(self) -> int: ...
    @property
    def rope_frequencies(self) -> int: ...
    @property
    def per_layer_input(self) -> PerLayerInput | None: ...
    @property
    def attention_residuals(self) -> int: ...
    @property
    def mtp_layers(self) -> int: ...
    @property
    def mtp_block(self) -> "Sequence[AnyLayer[N_co]] | None": ...
    @property
    def mtp_norms(self) -> int: ...

    def layer_runs(self) -> Sequence[tuple[N_co, AnyLayer[N_co]]]:
        """How often each written layer occurs in the whole model, in the order of writing."""

    def moe_layers(self) -> Sequence[tuple[N_co, AnyMoE[N_co]]]:
        """The mixtures of experts with how often each occurs."""


PredictionBlock = Annotated[tuple[Layer, ...], Field(min_length=1, max_length=LARGEST_LAYER_COUNT, strict=False)]


class Architecture(FileRecord):
    """A decoder language model, exactly: `layers` in order, repeats written compactly.

    However the repeats are written, they are stored in one canonical form, so two architectures are equal when their
    plain lists of layers and their other fields are.

    >>> from moewright.architecture.feed_forwards import ExpertGroup, MoE
    >>> from moewright.architecture.mixers import Attention
    >>> layer = Layer(
    ...     mixer=Attention(num_heads=8, num_kv_heads=2, head_dim=64),
    ...     feed_forward=MoE(groups=(ExpertGroup(count=32, expert_size=256, top_k=4),)),
    ... )
    >>> small = Architecture(vocab_size=32_000, hidden_size=512, layers=(Repeat(repeat=12, layers=(layer,)),))
    >>> small.num_layers
    12
    >>> small == Architecture(vocab_size=32_000, hidden_size=512, layers=[layer] * 12)
    True
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     small.save(f"{folder}/small.yaml")
    ...     Architecture.load(f"{folder}/small.yaml") == small
    True
    """

    format: Literal["moewright-architecture/1"] = "moewright-architecture/1"
    version_without_format: ClassVar[int | None] = 1
    vocab_size: Size
    hidden_size: Size
    layers: Annotated[tuple[LayerOrRepeat, ...], Field(min_length=1, strict=False), BeforeValidator(_not_too_many)]
    tie_embeddings: bool = False
    """True: the head multiplies with the embedding matrix; it is then counted once."""
    norm: Norm = Norm.default()
    lm_head_bias: bool = False
    lm_head_rows: Size | None = None
    """Rows of an untied head that leaves out the vocabulary's padding (Inkling 2); None: vocab_size."""
    own_weights: OwnWeights = ()
    """Of the family alone, outside the layers."""
    hyper_connections: Count = 0
    """Residual streams mixed by learned weights (arXiv 2409.19606, as in DeepSeek-V4); 0: one plain residual."""
    mixes_streams: bool = True
    """Whether hyper-connections mix the streams among themselves too (Hy4's do not)."""
    merges_streams: bool = True
    """Whether learned weights make one of the streams before the head; False: their mean (GLM-5.3-Flash)."""
    residual_vectors: Count = 0
    """Learned vectors of hidden_size by which the residual and a half's output are weighed where they are added: one
    (Doge; Muse Spark's gate), or four, a scale and a bias of each (ZAYA)."""
    rope_frequencies: Count = 0
    """Learned frequencies of the one rotary embedding that all layers share (Mistral Large 4); 0: they are fixed."""
    per_layer_input: PerLayerInput | None = None
    attention_residuals: Count = 0
    """Layers of a block where each sublayer, and the output, reads a learned mixture of the blocks before it instead of
    their sum (arXiv 2603.15031, as in Kimi K3); 0: plain residuals."""
    mtp_layers: Count = 0
    """Multi-token-prediction blocks beside the model; reported apart, in neither total nor active parameters."""
    mtp_block: PredictionBlock | None = None
    """The layers of such a block; None: one like the model's last."""
    mtp_norms: Count = 3
    """Norms of such a block beside those of its layers: of its two inputs and, in most families, of its output."""
    max_context: Size | None = None
    """Longest sequence that the model was made for, in tokens."""
    weights_format: WeightFormatName | None = None
    """How the published weights are stored, where that is known."""

    @model_validator(mode="after")
    def _one_residual(self) -> "Architecture":
        if self.hyper_connections and self.attention_residuals:
            raise ValueError("hyper_connections and attention_residuals replace the same residual; state one of them")
        if self.lm_head_rows is not None and (self.tie_embeddings or self.lm_head_rows > self.vocab_size):
            raise ValueError("lm_head_rows needs a head of its own, of at most vocab_size rows")
        return self

    @field_validator("layers", mode="after")
    @classmethod
    def _canonical(cls, layers: tuple[Layer | Repeat, ...]) -> tuple[Layer | Repeat, ...]:
        _check_number(_count(layers))
        return repeat_compactly(list(_expand(layers)))

    @field_validator("mtp_block", mode="after")
    @classmethod
    def _unlike_the_last(cls, block: tuple[Layer, ...] | None, read: ValidationInfo) -> tuple[Layer, ...] | None:
        if block is not None and not read.data.get("mtp_layers", 1):
            raise ValueError("needs mtp_layers: how many such blocks there are")
        layers = read.data.get("layers")  # absent if they are wrong themselves
        return None if block is not None and layers and block == (_last(layers),) else block

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
        return cls.read(path)

    def save(self, path: str | Path) -> None:
        """Write a moewright file, YAML or JSON by the ending; an existing file is replaced in one step."""
        write_mapping(Path(path), self.to_dict())


def repeat_compactly(layers: list[Layer]) -> tuple[Layer | Repeat, ...]:
    """The canonical compact form of a plain list of layers."""
    by_object: dict[int, str] = {}  # readers reuse one object for equal layers, so most need no second look
    by_content: dict[str, int] = {}
    keys = []
    for layer in layers:
        content = by_object.setdefault(id(layer), "") or layer.model_dump_json()
        by_object[id(layer)] = content
        keys.append(by_content.setdefault(content, len(by_content)))

    def build(runs: list[int | RepeatedPattern]) -> tuple[Layer | Repeat, ...]:
        return tuple(
            layers[run] if isinstance(run, int) else Repeat.model_construct(repeat=run.times, layers=build(run.pattern))
            for run in runs
        )

    return build(find_repeats(keys))


def _last(layers: Sequence[Layer | Repeat]) -> Layer:
    item = layers[-1]
    return item if isinstance(item, Layer) else _last(item.layers)


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


# Runs and repeated patterns, found again from the plain list


class RepeatedPattern(NamedTuple):
    """`pattern` (positions in the plain list) written once and repeated `times`; a nested one is one too."""

    times: int
    pattern: "list[int | RepeatedPattern]"


def find_repeats(keys: Sequence[Hashable]) -> "list[int | RepeatedPattern]":
    """Write a list as repeated patterns: at each position take the pattern whose repeats save the most items.

    The result depends on the keys only, so equal lists always get equal patterns. Patterns nest one level: within a
    repeated pattern only repeats of single items are folded again. At worst quadratic in the number of items.
    """
    return _fold(keys, 0, len(keys), longest_pattern=len(keys))


def _fold(keys: Sequence[Hashable], start: int, stop: int, longest_pattern: int) -> "list[int | RepeatedPattern]":
    runs: list[int | RepeatedPattern] = []
    while start < stop:
        best_saved, best_period, best_times = 0, 1, 1
        for period in range(1, min(longest_pattern, (stop - start) // 2) + 1):
            if best_saved >= stop - start - period:  # no longer pattern can save more
                break
            times = _times(keys, start, stop, period)
            if (times - 1) * period > best_saved:
                best_saved, best_period, best_times = (times - 1) * period, period, times
        if best_times == 1:
            runs.append(start)
        else:
            runs.append(RepeatedPattern(best_times, _fold(keys, start, start + best_period, longest_pattern=1)))
        start += best_period * best_times
    return runs


def _times(keys: Sequence[Hashable], start: int, stop: int, period: int) -> int:
    """How often the pattern keys[start:start+period] stands there in a row."""
    end = start + period
    while end < stop and keys[end] == keys[end - period]:
        end += 1
    return (end - start) // period
