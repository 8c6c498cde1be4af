"""What `moewright plan --serve --json` prints."""

from typing import ClassVar

from moewright.hardware.layout_record import BillRecord, RefusedRecord
from moewright.records import Items, Output, Pair, Record


class ServingMemoryRecord(Record):
    """Bytes of the fullest device."""

    weights: float
    cache: float


class ServingLayoutRecord(Record):
    """One way to serve: degrees, batch, what the fullest device holds, and ranges of time."""

    tp: int
    """Devices that share the attention of the same sequences."""
    dp: int
    """Groups of them with sequences of their own, which share the experts."""
    ep: int
    """Devices over which whole experts are spread; 1: each expert is split over all tp x dp."""
    pp: int
    """Pipeline stages."""
    instances: int
    """Copies of all this that work apart."""
    batch: int
    """Sequences under way in an instance."""
    largest_batch: int
    """That fits in an instance."""
    experts_on_host: int
    """Layers whose routed experts are in the host's memory."""
    memory_bytes_per_device: float
    memory: ServingMemoryRecord
    fits: bool
    """With a tenth kept free."""
    prefill_seconds: Pair[float]
    """From a lone prompt to its first token."""
    step_seconds: Pair[float]
    """One pass of all sequences, which gives each `tokens_per_step` tokens."""
    tokens_per_step: float
    """1, or with prediction blocks what is accepted on average and one more."""
    components: dict[str, Pair[float]]
    """Seconds of the pass by component; they sum to the ends of `step_seconds`."""
    tokens_per_second_per_user: Pair[float]
    """With others' prompts in between, where the tokens that follow a prompt are given."""
    tokens_per_second_per_device: Pair[float]
    """Generated, over all devices."""
    mfu: Pair[float]
    """Forward FLOPs of the generated tokens over the device's bf16 peak."""
    cost: BillRecord | None
    """Of the tokens that are served; null where none were given."""
    vllm: Items[str]
    """Flags of `vllm serve`."""
    sglang: Items[str]
    """Flags of `python -m sglang.launch_server`."""
    llama_cpp: Items[str] | None
    """Flags of `llama-server`; null on several devices."""


class ServingPlanRecord(Output):
    """How to serve a model on some devices."""

    command: ClassVar[str] = "plan --serve"
    model: str
    hardware: str
    devices: int
    domain_devices: int
    """Devices that fast links join."""
    software: str
    """Class of software whose coefficients are used: server (vLLM, SGLang, TensorRT-LLM) or local (llama.cpp, MLX)."""
    context: int
    """Tokens of a prompt."""
    generate: int | None
    """Tokens that follow it; null: they are not thought of, and decoding is at `context`."""
    weights_dtype: str
    kv_dtype: str
    draft_tokens: int
    acceptance: float | None
    experts_on: str | None
    """The device whose memory holds routed experts."""
    usable_memory: float
    """Bytes of a device, a tenth kept free."""
    range: str
    """What low and high mean."""
    range_sources: dict[str, str]
    """By what is asked: decode, prefill."""
    layouts: Items[ServingLayoutRecord]
    considered: int
    refused: dict[str, RefusedRecord]
    warnings: Items[str]
