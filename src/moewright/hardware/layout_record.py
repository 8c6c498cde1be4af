"""What `moewright plan --json` prints."""

from typing import ClassVar

from moewright.records import Items, Output, Pair, Record


class TrainingMemoryParts(Record):
    """Bytes on the fullest device while training; see `pretraining.TrainingMemory`."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float


class TrainingMemoryRecord(TrainingMemoryParts):
    """The same, and all of it."""

    total: float


class BillRecord(Record):
    """What so many tokens take: a bill."""

    device_hours: Pair[float]
    money: Pair[float] | None
    """In the currency of the price; null without one."""
    energy_kwh: Pair[float] | None
    """Of the devices alone, by their stated board power; null where none is stated."""
    energy_money: Pair[float] | None
    """In the currency of the power price; null without one."""


class LifetimeRecord(Record):
    """Serving the model on the same devices after it is trained, and both together."""

    tokens: float
    """That are generated."""
    context: int
    """Tokens of a prompt."""
    generate: int
    """Tokens that follow it."""
    layout: str
    """As `plan --serve --layout` takes it: of those that fit, the one with most tokens for each device."""
    batch: int
    """Sequences under way in an instance."""
    serving: BillRecord
    together: BillRecord | None
    """With the training of the first layout; null where no training tokens were given."""


class LayoutRecord(Record):
    """One layout: degrees, what the fullest device holds, and ranges of time."""

    tp: int
    """Tensor parallel, with sequence parallelism."""
    pp: int
    """Pipeline stages."""
    ep: int
    """Expert parallel, inside tensor x data x context."""
    dp: int
    cp: int
    """Context parallel."""
    chunks: int
    """Parts of the model on each pipeline stage; above 1 is interleaved."""
    zero: int
    recompute: str
    """Modules whose forward pass is done again, as Megatron-Core names them, joined by +; layers: all of each layer;
    attention_scores: nothing but what fused attention recomputes."""
    micro_batch: int
    """Sequences."""
    micro_batches: int
    """For each step."""
    memory_bytes_per_device: float
    memory: TrainingMemoryParts
    fits: bool
    """With a tenth kept free."""
    step_seconds: Pair[float]
    components: dict[str, Pair[float]]
    """Seconds of the step by component; they sum to the ends of `step_seconds`."""
    tokens_per_second_per_device: Pair[float]
    mfu: Pair[float]
    """3 x forward FLOPs over the device's bf16 peak."""
    cost: BillRecord | None
    """Null where no training tokens were given."""
    megatron: Items[str]
    """Flags of Megatron-LM."""
    torchtitan: Items[str] | None
    """Overrides of a torchtitan configuration; null where it has no such layout, format, optimizer or recomputation."""


class RefusedRecord(Record):
    """Layouts that do not work, for one reason."""

    reason: str
    count: int
    nearest: str
    """One of them, as `--layout` takes it: that which holds least, or that with the smallest degrees."""
    bytes: float | None
    """What it would hold, where memory is the reason."""


class LayoutPlanRecord(Output):
    """How to lay a training run out over devices."""

    command: ClassVar[str] = "plan"
    model: str
    hardware: str
    devices: int
    domain_devices: int
    """Devices that fast links join."""
    sequence_length: int
    global_batch: int
    """Tokens."""
    precision: str
    optimizer: str
    gradient_dtype: str
    """Format in which gradients are summed and held."""
    usable_memory: float
    """Bytes of a device, a tenth kept free."""
    range: str
    """What low and high mean."""
    range_source: str
    layouts: Items[LayoutRecord]
    considered: int
    refused: dict[str, RefusedRecord]
    lifetime: LifetimeRecord | None
    """Null where no tokens that are served were given."""
    warnings: Items[str]
