"""The schema of the run table, as one list: what each column means, its unit, and which values it may hold."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "count", "number", "loss"]
Range = Literal["positive", "non-negative", "share", "any"]

LOSS_PREFIX = "loss_"
"""A column `loss_<evaluation set>` holds the loss on that set."""

GROUP_SEPARATOR = "+"
"""Between the groups of unlike experts in a text column such as `expert_groups`: "8x256k2+16x128k4"."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the schema."""

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    values: Range = "positive"
    """What a present value may be; a number outside is an error that names its row."""
    required_value: bool = False
    """True: if the column exists, no row of a finished run may be empty."""
    choices: tuple[str, ...] = ()


FINISHED = "finished"
STATUSES = (FINISHED, "unfinished", "diverged", "failed")

SCHEMA: tuple[Column, ...] = (
    # Identity
    Column(name="run_id", kind="text", meaning="Name of the run, unique in the table."),
    Column(
        name="config_id",
        kind="text",
        meaning="Equal for runs that differ in nothing but the seed: the cluster that bootstraps and holdouts keep "
        "together. Filled with a digest of the settings if absent.",
    ),
    Column(name="source", kind="text", meaning="Where the row comes from: importer, file, or run directory."),
    Column(
        name="status",
        kind="text",
        meaning="How the run ended. Absent means finished.",
        choices=STATUSES,
    ),
    # The architecture
    Column(
        name="architecture",
        kind="text",
        meaning="The model as moewright's architecture JSON, or the path of such a file; every variable below that is "
        "absent is counted from it.",
    ),
    Column(name="num_layers", kind="count", meaning="Layers."),
    Column(name="hidden_size", kind="count", unit="channels", meaning="Width d of the residual stream."),
    Column(name="num_heads", kind="count", meaning="Query heads per layer."),
    Column(name="vocab_size", kind="count", unit="tokens", meaning="Rows of the embedding."),
    Column(name="num_experts", kind="number", meaning="Routed experts E per MoE layer, all groups; 1 for dense."),
    Column(name="top_k", kind="number", meaning="Routed experts K that a token uses per MoE layer; 1 for dense."),
    Column(name="expert_size", kind="number", unit="channels", meaning="Mean width of the routed experts used."),
    Column(
        name="shared_size", kind="number", values="non-negative", unit="channels", meaning="Shared width per layer."
    ),
    Column(name="expert_groups", kind="text", meaning="Unlike groups as countxwidthkK joined by '+'."),
    Column(name="total_params", kind="number", unit="parameters", meaning="N, every parameter, embeddings in."),
    Column(name="active_params", kind="number", unit="parameters", meaning="N_a, parameters a token multiplies with."),
    Column(name="total_params_non_embedding", kind="number", unit="parameters", meaning="N without vocabulary terms."),
    Column(name="active_params_non_embedding", kind="number", unit="parameters", meaning="N_a without them."),
    Column(name="expansion", kind="number", meaning="E / K over routed experts."),
    Column(name="activation_ratio", kind="number", values="share", meaning="N_a / N."),
    Column(name="active_experts", kind="number", meaning="G of zhao2025: experts used, routed and shared, per token."),
    Column(name="shared_ratio", kind="number", values="share", meaning="S of zhao2025: shared share of those."),
    Column(name="granularity", kind="number", meaning="How finely a feed-forward is cut, in the law's definition."),
    Column(name="sparsity", kind="number", values="non-negative", meaning="In the law's definition: E/K or (E-K)/E."),
    Column(name="router", kind="text", meaning="How tokens choose experts."),
    # Training
    Column(name="train_tokens", kind="number", unit="tokens", meaning="D, tokens trained on, repeats counted."),
    Column(name="train_flops", kind="number", unit="FLOPs", meaning="C, of the whole training run."),
    Column(name="batch_tokens", kind="number", unit="tokens", meaning="Tokens per optimizer step."),
    Column(name="learning_rate", kind="number", meaning="Peak learning rate."),
    Column(name="schedule", kind="text", meaning="Name of the learning-rate schedule."),
    Column(name="warmup_steps", kind="number", values="non-negative", unit="steps", meaning="Linear warm-up."),
    Column(name="schedule_fraction", kind="number", values="share", meaning="Share of the planned steps that ran."),
    Column(name="balance_weight", kind="number", values="non-negative", meaning="Weight of the balance loss; 0: none."),
    Column(name="bias_step", kind="number", values="non-negative", meaning="Step of the loss-free bias; 0: none."),
    Column(name="capacity_factor", kind="number", meaning="Expert capacity over even load; empty: dropless."),
    Column(name="tokenizer", kind="text", meaning="Tokenizer; losses of unlike tokenizers do not compare."),
    Column(name="evaluation", kind="text", meaning="Evaluation set and procedure behind `loss`."),
    Column(name="seed", kind="number", values="any", meaning="Random seed."),
    # Outcome
    Column(
        name="loss",
        kind="loss",
        unit="nats per token",
        meaning="The loss that laws are fitted to.",
        required_value=True,
    ),
)

BY_NAME = {column.name: column for column in SCHEMA}


def column_for(name: str) -> Column | None:
    """The schema's entry for a column name; any `loss_<set>` is a loss; None for a column of the user's own."""
    if name in BY_NAME:
        return BY_NAME[name]
    if name.startswith(LOSS_PREFIX):
        return Column(name=name, kind="loss", unit="nats per token", meaning=f"Loss on {name[len(LOSS_PREFIX) :]}.")
    return None
