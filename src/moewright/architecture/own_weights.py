"""Weights that a family has and no other field describes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from moewright.records import Count, Record, Size

Rows = Annotated[int, Field(gt=0, le=10**11)]
"""Rows of a table: Qwen4-Exp's have 320 million."""


class OwnWeight(Record):
    """`copies` tensors of outputs x inputs numbers: counted, stored and multiplied with, and no more than that.

    For families whose small parts (convolutions of keys, scales of queries, tables of n-grams) nobody else has. What
    they do is the family's business: the lab refuses a model that has any.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,60}$")]
    component: Literal[
        "embedding", "attention", "linear_mixer", "router", "routed_experts", "dense_ffn", "norm", "other"
    ]
    outputs: Rows
    inputs: Size = 1
    copies: Size = 1
    active: Count | None = None
    """Copies that a token uses; None: all of them."""
    times: Count = 1
    """How often a token multiplies with each copy: once for each head that shares it, or for each further pass. 0: no
    token does, and none of it counts as active."""
    use: Literal["matmul", "convolution", "elementwise", "lookup"] = "elementwise"
    """lookup: a table of which a token reads some rows; none of it counts as active."""

    @model_validator(mode="after")
    def _has_the_active(self) -> "OwnWeight":
        if self.active is not None and self.active > self.copies:
            raise ValueError(f"active ({self.active}) must not exceed copies ({self.copies})")
        return self
