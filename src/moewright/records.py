"""What every part of an architecture is: a frozen, strictly validated record."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# The largest size that any field may take. Far above every model that exists (a vocabulary of 300 thousand, a width
# of 20 thousand), and small enough that every count stays below 2**63 and every list of layers fits in memory.
LARGEST_SIZE = 10**8
# Ten times the deepest published decoders.
LARGEST_LAYER_COUNT = 1000

Size = Annotated[int, Field(gt=0, le=LARGEST_SIZE)]
Count = Annotated[int, Field(ge=0, le=LARGEST_SIZE)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "relu2"]


class Part(BaseModel):
    """Base of all spec records: immutable, no unknown fields, no silent type conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
