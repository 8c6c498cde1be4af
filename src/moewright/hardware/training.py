"""How long training takes: its FLOPs over the share of the peak that real runs reach."""

from typing import Any, Literal

from moewright.architecture import counts
from moewright.architecture.spec import Architecture
from moewright.complaints import number
from moewright.errors import UserError
from moewright.hardware.devices import Hardware, load_device
from moewright.hardware.placement import place

# Model FLOPs utilisation, of the bf16 peak. Computed from published runs by 6 N_a D over devices x hours x 989 TFLOP/s:
# OLMoE-1B-7B 0.18 (5.1T tokens in some 10 days on 256 H100, arXiv 2409.02060), DeepSeek-V3 0.34 (14.8T tokens in 2.664M
# H800 hours, with fp8 products, arXiv 2412.19437, table 1). Printed: dense Llama 3 405B 0.38 to 0.43 (arXiv 2407.21783,
# table 4). High: a little above the best of them, assumed.
MODEL_FLOPS_UTILISATION = (0.18, 0.45)


def training_flops(architecture: Architecture, train_tokens: float, tokens_per_sequence: int = 4096) -> Any:
    """FLOPs of training on so many tokens: 3 x forward, nothing recomputed. Numbers or columns."""
    return train_tokens * counts.training_flops_per_token(architecture, tokens_per_sequence)


def training_seconds(
    architecture: Architecture,
    train_tokens: float,
    device: Hardware,
    devices: int = 1,
    *,
    tokens_per_sequence: int = 4096,
    dtype: Literal["bf16", "fp32"] = "bf16",
    utilisation: tuple[float, float] = MODEL_FLOPS_UTILISATION,
) -> tuple[Any, Any]:
    """Seconds of wall time to train on so many tokens, (low, high) over the range of utilisation.

    FLOPs are those of `training_flops`; nothing that is recomputed is counted, as in the definition of utilisation
    (PaLM, arXiv 2204.02311, appendix B). Times `devices` it is device time. Numbers or columns. Raises UserError for an
    unknown device and impossible numbers.
    """
    number(train_tokens, "train-tokens", above=0)
    low, high = utilisation
    if not 0 < low <= high <= 1:
        raise UserError(f"utilisation: expected 0 < low <= high <= 1, found {low} and {high}")
    found = load_device(device)
    place(found, devices)  # only whole nodes, and no more than a network joins
    flops = training_flops(architecture, train_tokens, tokens_per_sequence)
    peak = devices * found.peak_flops[found.compute_dtype(dtype)]
    return flops / (peak * high), flops / (peak * low)


def training_device_hours(
    architecture: Architecture, train_tokens: float, device: Hardware, devices: int = 1, **settings: Any
) -> tuple[Any, Any]:
    """`training_seconds` (whose settings it takes) times the number of devices, in hours: (low, high)."""
    low, high = training_seconds(architecture, train_tokens, device, devices, **settings)
    return devices * low / 3600, devices * high / 3600
