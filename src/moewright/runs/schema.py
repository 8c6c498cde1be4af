"""The schema of the run table, as one list: what each column means, its unit, and which values it may hold."""

from dataclasses import dataclass
from typing import Literal

ColumnKind = Literal["text", "count", "number", "loss"]
ValueRange = Literal["positive", "non-negative", "share", "any"]

LOSS_PREFIX = "loss_"
"""A column `loss_<evaluation set>` holds the loss on that set."""

GROUP_SEPARATOR = "+"
"""Between the groups of unlike experts in a text column such as `expert_groups`: "8x256k2+16x128k4"."""


@dataclass(frozen=True, kw_only=True)
class RunColumn:
    """One column of the schema."""

    name: str
    kind: ColumnKind
    meaning: str
    unit: str = ""
    values: ValueRange = "positive"
    """What a present value may be; a number outside is an error that names its row."""
    required_value: bool = False
    """True: if the column exists, no row of a finished run may be empty."""
    choices: tuple[str, ...] = ()


FINISHED = "finished"
STATUSES = (FINISHED, "unfinished", "diverged", "failed")

SCHEMA: tuple[RunColumn, ...] = (
    # Identity
    RunColumn(name="run_id", kind="text", meaning="Name of the run, unique in the table."),
    RunColumn(
        name="config_id",
        kind="text",
        meaning="Equal for runs that differ in nothing but the seed: the cluster that bootstraps and holdouts keep "
        "together. Filled with a digest of the settings if absent.",
    ),
    RunColumn(name="source", kind="text", meaning="Where the row comes from: importer, file, or run directory."),
    RunColumn(
        name="status",
        kind="text",
        meaning="How the run ended. Absent means finished.",
        choices=STATUSES,
    ),
    # The architecture
    RunColumn(
        name="architecture",
        kind="text",
        meaning="The model as moewright's architecture JSON, or the path of such a file; every variable below that is "
        "absent is counted from it.",
    ),
    RunColumn(name="num_layers", kind="count", meaning="Layers."),
    RunColumn(name="hidden_size", kind="count", unit="channels", meaning="Width d of the residual stream."),
    RunColumn(name="num_heads", kind="count", meaning="Query heads per layer."),
    RunColumn(name="vocab_size", kind="count", unit="tokens", meaning="Rows of the embedding."),
    RunColumn(name="num_experts", kind="number", meaning="Routed experts E per MoE layer, all groups; 1 for dense."),
    RunColumn(name="top_k", kind="number", meaning="Routed experts K that a token uses per MoE layer; 1 for dense."),
    RunColumn(name="expert_size", kind="number", unit="channels", meaning="Mean width of the routed experts used."),
    RunColumn(
        name="shared_size", kind="number", values="non-negative", unit="channels", meaning="Shared width per layer."
    ),
    RunColumn(name="expert_groups", kind="text", meaning="Unlike groups as countxwidthkK joined by '+'."),
    RunColumn(name="total_params", kind="number", unit="parameters", meaning="N, every parameter, embeddings in."),
    RunColumn(
        name="active_params", kind="number", unit="parameters", meaning="N_a, parameters a token multiplies with."
    ),
    RunColumn(
        name="total_params_non_embedding", kind="number", unit="parameters", meaning="N without vocabulary terms."
    ),
    RunColumn(name="active_params_non_embedding", kind="number", unit="parameters", meaning="N_a without them."),
    RunColumn(name="expansion", kind="number", meaning="E / K over routed experts."),
    RunColumn(name="activation_ratio", kind="number", values="share", meaning="N_a / N."),
    RunColumn(
        name="active_experts", kind="number", meaning="G of zhao2025: experts used, routed and shared, per token."
    ),
    RunColumn(name="shared_ratio", kind="number", values="share", meaning="S of zhao2025: shared share of those."),
    RunColumn(name="granularity", kind="number", meaning="How finely a feed-forward is cut, in the law's definition."),
    RunColumn(
        name="sparsity", kind="number", values="non-negative", meaning="In the law's definition: E/K or (E-K)/E."
    ),
    RunColumn(name="router", kind="text", meaning="How tokens choose experts."),
    # Training
    RunColumn(name="train_tokens", kind="number", unit="tokens", meaning="D, tokens trained on, repeats counted."),
    RunColumn(name="train_flops", kind="number", unit="FLOPs", meaning="C, of the whole training run."),
    RunColumn(name="batch_tokens", kind="number", unit="tokens", meaning="Tokens per optimizer step."),
    RunColumn(name="learning_rate", kind="number", meaning="Peak learning rate."),
    RunColumn(name="schedule", kind="text", meaning="Name of the learning-rate schedule."),
    RunColumn(name="warmup_steps", kind="number", values="non-negative", unit="steps", meaning="Linear warm-up."),
    RunColumn(name="schedule_fraction", kind="number", values="share", meaning="Share of the planned steps that ran."),
    RunColumn(
        name="balance_weight", kind="number", values="non-negative", meaning="Weight of the balance loss; 0: none."
    ),
    RunColumn(name="bias_step", kind="number", values="non-negative", meaning="Step of the loss-free bias; 0: none."),
    RunColumn(name="capacity_factor", kind="number", meaning="Expert capacity over even load; empty: dropless."),
    RunColumn(name="tokenizer", kind="text", meaning="Tokenizer; losses of unlike tokenizers do not compare."),
    RunColumn(name="evaluation", kind="text", meaning="Evaluation set and procedure behind `loss`."),
    RunColumn(name="seed", kind="number", values="any", meaning="Random seed."),
    # Outcome
    RunColumn(
        name="loss",
        kind="loss",
        unit="nats per token",
        meaning="The loss that laws are fitted to.",
        required_value=True,
    ),
)

BY_NAME = {column.name: column for column in SCHEMA}


def column_for(name: str) -> RunColumn | None:
    """The schema's entry for a column name; any `loss_<set>` is a loss; None for a column of the user's own."""
    if name in BY_NAME:
        return BY_NAME[name]
    if name.startswith(LOSS_PREFIX):
        return RunColumn(name=name, kind="loss", unit="nats per token", meaning=f"Loss on {name[len(LOSS_PREFIX) :]}.")
    return None
