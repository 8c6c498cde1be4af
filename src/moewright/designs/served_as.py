"""How a design is held and generates: asked for by the budgets, or an axis of the space."""

from dataclasses import dataclass
from typing import TypedDict

from moewright.architecture.cache import CacheDtype
from moewright.architecture.spec import WeightFormatName
from moewright.hardware.speculation import NO_SPECULATION, Speculation


class StoredFormats(TypedDict):
    """Arguments that the functions of serving share."""

    weights_dtype: WeightFormatName
    kv_dtype: CacheDtype


@dataclass(frozen=True)
class ServedAs:
    """Formats of weights and cache, and what prediction blocks propose."""

    weights_dtype: WeightFormatName = "bf16"
    kv_dtype: CacheDtype = "bf16"
    speculation: Speculation = NO_SPECULATION

    @property
    def formats(self) -> StoredFormats:
        """As arguments."""
        return {"weights_dtype": self.weights_dtype, "kv_dtype": self.kv_dtype}

    @property
    def with_blocks(self) -> bool:
        """Whether prediction blocks are held, for what they propose."""
        return self.speculation.draft > 0
