"""Designs as laws and axes read them: one architecture, columns of architectures, or the rows of a run table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moewright.architecture import Architecture, counts, variables
from moewright.architecture.columns import (
    ArchitectureColumns,
    AttentionColumns,
    ExpertGroupColumns,
    LayerColumns,
    MoEColumns,
    SharedExpertColumns,
)
from moewright.architecture.spec import Countable
from moewright.complaints import check_names
from moewright.laws import derive
from moewright.laws.design_axes import AXES, AxisName
from moewright.laws.law import Law, ModelLaw
from moewright.laws.variable import TRAIN_TOKENS, Array, Variable

DESIGN_SIZES = ("hidden_size", "num_layers", "num_experts", "top_k", "expert_size", "shared_size")
"""Sizes that a run table must have, by its own names (docs/run_table.md)."""
COUNTED: Mapping[str, tuple[Callable[..., Any], ...]] = {
    "total_params": (counts.total_params,),
    "active_params": (derive.active_params_with_embedding, counts.active_params),
    "total_params_non_embedding": (counts.total_params_non_embedding,),
    "active_params_non_embedding": (counts.active_params_non_embedding,),
}
"""Parameters that it must have, and the functions that would count them."""


@dataclass(frozen=True)
class ComparedDesigns:
    """One design or many, with the tokens that each is trained on."""

    architecture: Countable[Any]
    train_tokens: Any
    """A number, or a column."""
    known: Mapping[Callable[..., Any], Any] = field(default_factory=dict)
    """What need not be counted again, by the function that counts it; columns for columns."""

    def of(self, read: Callable[[Countable[Any]], Any]) -> Any:
        """What a function reads from the architecture, as float64."""
        return np.asarray(self.known[read] if read in self.known else read(self.architecture), dtype=np.float64)

    def variable(self, variable: Variable) -> Any:
        """A law's variable in the law's own convention."""
        assert variable.derive is not None, variable.name
        value = self.of(variable.derive)
        return value * self.train_tokens if variable.per_token else value

    def axis(self, name: AxisName) -> Array:
        """Where the designs lie on an axis."""
        read = AXES[name].read
        return np.asarray(self.train_tokens, dtype=np.float64) if read is None else np.asarray(self.of(read))

    def total_over_active(self) -> Any:
        """Parameters held over parameters used, without the vocabulary's."""
        return self.of(counts.total_params_non_embedding) / self.of(counts.active_params_non_embedding)

    def tokens_per_param(self) -> Any:
        """Training tokens for each active parameter without the vocabulary's."""
        return self.axis("tokens") / self.axis("size")

    def silence_of(self, law: Law) -> str | None:
        """Why a law says nothing about a single design; None where it speaks, and for columns."""
        if isinstance(law, ModelLaw) and isinstance(self.architecture, Architecture):
            return law.applies(self.architecture)
        return None

    def answered_by(self, law: Law) -> Any:
        """Whether a law speaks of each design. Columns hold experts of one size, or one expert where a row is dense."""
        if isinstance(self.architecture, Architecture) or not isinstance(law, ModelLaw):
            return np.asarray(self.silence_of(law) is None)
        return np.asarray((self.of(variables.num_experts) > 1) | (law.applies is not derive.needs_moe))

    @classmethod
    def from_columns(cls, table: Mapping[str, Any]) -> "ComparedDesigns":
        """Designs from columns by the run table's names (a data frame will do): DESIGN_SIZES, COUNTED and train_tokens.

        A dense row is one expert, used by every token. UserError names a column that is missing.
        """
        needed = (*DESIGN_SIZES, *COUNTED, TRAIN_TOKENS.name)
        missing = [name for name in needed if name not in table]
        if missing:
            check_names([name for name in table if name in needed], needed, "columns of designs", "column")
        columns = {name: np.asarray(table[name], dtype=np.float64) for name in needed}
        mixture = MoEColumns(
            groups=(
                ExpertGroupColumns(
                    count=columns["num_experts"], expert_size=columns["expert_size"], top_k=columns["top_k"]
                ),
            ),
            shared=SharedExpertColumns(count=np.ones_like(columns["shared_size"]), expert_size=columns["shared_size"]),
        )
        one = np.ones(1)  # no axis and no law reads the heads: parameters come from the table
        attention = AttentionColumns(num_heads=one, num_kv_heads=one, head_dim=one)
        known = {read: columns[name] for name, reads in COUNTED.items() for read in reads}
        known[derive.six_active_params_non_embedding] = 6 * columns["active_params_non_embedding"]
        return cls(
            ArchitectureColumns(
                vocab_size=1,
                hidden_size=columns["hidden_size"],
                runs=((columns["num_layers"], LayerColumns(attention, mixture)),),
            ),
            columns["train_tokens"],
            known,
        )
