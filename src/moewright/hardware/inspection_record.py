"""What `moewright inspect` prints as JSON. Bytes, seconds and FLOPs; ranges are [low, high]."""

from typing import Annotated, ClassVar, Literal

from moewright.architecture.cache import LatentCache, WindowCache
from moewright.architecture.feed_forwards import FeedForward
from moewright.architecture.inventory import Component
from moewright.architecture.mixers import Mixer
from moewright.architecture.spec import WeightFormatName
from moewright.hardware.devices import Efficiency
from moewright.hardware.layout_record import BillRecord, TrainingMemoryRecord
from moewright.hardware.mixture_anatomy import IntOrFloat, MoERecord
from moewright.records import LISTS_AS_TUPLES, Items, Output, Pair, Record

ByComponent = dict[Component, int]
BilledWork = Literal["train", "generate", "read"]
BILLED_WORDS: dict[BilledWork, str] = {"train": "1T trained", "generate": "1M generated", "read": "1M read"}
"""By the tokens for which the field states prices (`assessment.BILLED_TOKENS`)."""
Bottleneck = Literal["memory", "compute", "communication", "overhead"]
Value = int | float | str | tuple[float, float] | None
"""Of a quantity that models are compared in."""
Unit = Literal["", "parameters", "FLOPs", "bytes", "seconds", "tokens/s", "tokens/day", "money"]
"""Of the same."""


class LayerRecord(Record):
    """Equal layers: how many there are in the model, and one of them."""

    count: int
    mixer: Mixer
    feed_forward: FeedForward
    norms: str
    params: ByComponent
    active: ByComponent
    forward_flops_per_token: float
    kv_bytes_per_token: IntOrFloat
    weights_bytes: int


class FlopsRecord(Record):
    """FLOPs of one token."""

    forward: float
    forward_by_component: dict[Component, float]
    training: float
    mixing: float
    """Of the mixers, beyond their weights' products."""
    six_n: int
    tokens_per_sequence: int
    convention: str


class PlacementRecord(Record):
    """How the model is spread over the devices."""

    tensor_parallel: int
    groups: int
    expert_parallel: int
    link: str
    link_between_groups: str


class DeviceMemoryRecord(Record):
    """Bytes on the fullest device."""

    weights: float
    cache: float
    reserve: float
    needed: float
    capacity: float
    spare: float
    fits: bool


class ComponentTimeRecord(Record):
    """One component's share of a pass."""

    seconds: Pair[float]
    bound: Bottleneck


class StageRecord(Record):
    """One pass over the model."""

    seconds: Pair[float]
    bound: Bottleneck
    bound_at_the_slow_end: Bottleneck
    experts_touched_per_layer: float | None
    sent_bytes_in_group: float
    sent_bytes_between_groups: float
    components: dict[str, ComponentTimeRecord]


class DecodeRecord(StageRecord):
    """One token for each sequence."""

    tokens_per_second_per_sequence: Pair[float]
    tokens_per_second: Pair[float]


class PrefillRecord(StageRecord):
    """The whole prompts of all sequences."""

    time_to_first_token: Pair[float]


class DeviceTrainingRecord(Record):
    """Training on the devices."""

    utilisation: Pair[float]
    tokens_per_day: Pair[float]
    device_hours_per_trillion_tokens: Pair[float]
    expert_parallel: int
    memory_per_device_by_zero_stage: dict[str, TrainingMemoryRecord]


class AssessmentRecord(Record):
    """Memory, speed and training on some devices."""

    device: str
    description: str
    sources: dict[str, str]
    devices: int
    efficiency: Efficiency
    batch: int
    context: int
    weights_dtype: str
    kv_dtype: str
    compute_dtype: str
    placement: PlacementRecord
    memory_per_device: DeviceMemoryRecord
    decode: DecodeRecord
    prefill: PrefillRecord
    training: DeviceTrainingRecord
    bills: dict[BilledWork, BillRecord] | None
    """What 1T tokens of training, 1M generated and 1M of prompts take; null without a price."""


class TensorParallelRecord(Record):
    """Bytes on the fullest of some devices that share every layer by heads, the experts whole."""

    devices: int
    weights: float
    cache_per_token: float
    cache: float
    """Of all sequences."""
    total: float
    head_copies: int
    """Devices that hold the same key-value head, or the same latent, at most."""


class StoredRecord(Record):
    """What is stored in one format: parameters, and bytes with scales and zero points."""

    params: int
    bytes: int


class InspectionRecord(Output):
    """What a model is: exact counts; bytes and FLOPs by the stated settings."""

    command: ClassVar[str] = "inspect"
    name: str
    family: str | None
    """The Hugging Face model_type; null for a moewright file."""
    total_params: int
    active_params: int
    active_convention: str
    active_params_with_embedding: int
    active_params_without_embedding: int
    total_params_non_embedding: int
    active_params_non_embedding: int
    params: ByComponent
    active: ByComponent
    mtp_params: int
    num_layers: int
    layers: Items[LayerRecord]
    moe: MoERecord | None
    """null for a dense model."""
    flops_per_token: FlopsRecord
    weights_dtype: str
    weights_bytes: int
    weights_bytes_by_dtype: dict[WeightFormatName, int]
    published_dtype: str | None
    """The formats of the published weights, those of most parameters first; null where they are not known."""
    published_weights_bytes: int | None
    """Of the published weights, prediction blocks included; null where they are not known."""
    published_bytes: ByComponent | None
    """Of the model without its prediction blocks."""
    published_mtp_bytes: int | None
    published_formats: dict[str, StoredRecord]
    published_source: str
    kv_dtype: str
    kv_bytes_per_token: IntOrFloat
    kv_bytes_per_token_decompressed: IntOrFloat
    kv_bytes_per_token_beyond_windows: IntOrFloat
    latent_cache: LatentCache
    """What the runtime stores of latent attention, as it was asked."""
    window_cache: WindowCache
    """What it stores of layers with a window: the window, or all tokens."""
    kv_convention: str
    state_bytes_per_sequence: int
    cache_bytes_per_sequence: int
    batch: int
    cache_bytes: int
    tensor_parallel: TensorParallelRecord | None
    """null where it was not asked about."""
    hardware: AssessmentRecord | None
    """null where no device was asked about."""
    warnings: Items[str]


class ComparedQuantity(Record):
    """One quantity of several models, a value for each in their order, null where one has none; ranges are
    [low, high]."""

    group: str
    name: str
    unit: Unit
    values: Items[Annotated[Value, LISTS_AS_TUPLES]]

    @property
    def differs(self) -> bool:
        """Whether the models differ in it."""
        return any(value != self.values[0] for value in self.values)


class ComparisonRecord(Output):
    """Models inspected with the same settings, and every quantity in which they differ."""

    command: ClassVar[str] = "inspect CONFIG CONFIG"
    models: Items[InspectionRecord]
    differences: Items[ComparedQuantity]
