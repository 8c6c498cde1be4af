"""The runs of "Slicing and Dicing" (arXiv 2605.11689) as its authors exported them in January 2026.

github.com/sneha-rk/OLMo-core, ml/scripts/results/results_processed.csv, Apache-2.0. What a reader must know:

- Run names hold commas and are quoted in the CSV.
- A word `lf` in the name is the loss-free bias with step 0.001; no column says so.
- Some sweeps are called `lowlb` but ran with weight 0.01: the column is right. An empty weight means no balance loss.
- Two groups of experts have columns; a third stands in the name only.
- A few `0.25gen` rows use 0.75 of a dense feed-forward instead of all of it: see `active_width`.
- Runs with capacity drop tokens at evaluation too, on padded documents, so their validation losses are not
  comparable with dropless ones; the training loss is. Hence `loss` is train_ce.
- A mixture whose name says neither `gen` nor `nogen` ran with the launch script's default, a shared expert of a whole
  feed-forward; its shared_mult of 0 is an artefact of the source's own reading of the name.
- The shared expert's block runs routed experts beside attention: another topology, not only another size.
"""

import warnings

import pandas as pd

from moewright.complaints import name_row
from moewright.errors import UserError
from moewright.foreign_text import visible
from moewright.runs.importers.slicing_models import (
    BATCH_TOKENS,
    TOKENS_PER_NOMINAL_PARAM,
    RunName,
    SlicingGroup,
    SlicingSize,
    describe_models,
    read_name,
    slicing_size,
)
from moewright.runs.validation import parse_quantities, renamed, require

CAPACITY_FACTOR = 1.2  # the sweeps' routing "default"
LOSS_FREE_STEP = 0.001
LAUNCH_RATE = 4e-4

# What two runs of one configuration share, in the order in which `config_id` writes it.
_SETTINGS = (
    "hidden_size",
    "num_layers",
    "expert_groups",
    "shared_multiplier",
    "schedule",
    "learning_rate",
    "train_tokens",
    "drops_tokens",
    "balance_weight",
    "bias_step",
)

_LOSSES = {
    "c4_ce": "loss_c4",
    "cc_ce": "loss_cc",
    "pile_ce": "loss_pile",
    "wikitext_ce": "loss_wikitext",
}


def import_slicing(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The schema's columns beside the source's own, which are all kept.

    Only `name` and `lr` are necessary: what other columns would say is read from the name where they are absent, and
    a table without train_ce simply has no loss (to predict, not to fit).
    """
    require(frame, ["name", "lr"], where)
    names = [read_name(str(name)) for name in frame["name"]]
    sizes = _sizes(frame, names, where)
    groups = _groups(frame, names, where)
    shared = _shared_multipliers(frame, names)
    table = renamed(frame, {"name": "run_id", **_LOSSES}, where)
    table = table.assign(**describe_models(sizes, groups, shared))

    table["learning_rate"] = _learning_rates(frame, names, where)
    table["schedule"] = frame.get("scheduler", "CosWithWarmup")
    table["train_tokens"] = [
        TOKENS_PER_NOMINAL_PARAM * name.data_multiple * size.nominal_params
        for name, size in zip(names, sizes, strict=True)
    ]
    table["batch_tokens"] = BATCH_TOKENS
    table["warmup_steps"] = [warmup_steps(str(schedule)) for schedule in table["schedule"]]
    table["learning_rate_mean"] = table["learning_rate"] * [
        mean_rate(str(schedule), tokens / BATCH_TOKENS)
        for schedule, tokens in zip(table["schedule"], table["train_tokens"], strict=True)
    ]

    is_moe = table["num_experts"] > 1
    routing = frame["routing"] if "routing" in frame else pd.Series(None, index=frame.index, dtype=object)
    routing = routing.fillna(pd.Series([_routing_in(str(name)) for name in frame["name"]], index=frame.index))
    capacity = pd.Series(CAPACITY_FACTOR, index=frame.index).where(is_moe & (routing == "default"))
    table["capacity_factor"] = capacity
    table["drops_tokens"] = capacity.notna().astype(float)
    weight = frame["lb_loss_weight"] if "lb_loss_weight" in frame else pd.Series(0.0, index=frame.index)
    table["balance_weight"] = weight.fillna(0.0).where(is_moe, 0.0)
    biased = pd.Series([name.loss_free_bias for name in names], index=frame.index)
    table["bias_step"] = (biased & is_moe) * LOSS_FREE_STEP
    table["config_id"] = [
        f"{width}x{depth}/{groups}+s{share:g}/{schedule}{rate:g}/{tokens:.4g}/drop{drops:g}/lb{balance:g}/lf{bias:g}"
        for width, depth, groups, share, schedule, rate, tokens, drops, balance, bias in zip(
            *(table[column] for column in _SETTINGS),
            strict=True,
        )
    ]
    table["sweep_started"] = [name.batch for name in names]
    table["tokenizer"] = "dolma2"
    table["evaluation"] = "training batches"
    table["source"] = "slicing"
    if "train_ce" in frame:
        table["loss"] = frame["train_ce"]
    return table


def _sizes(frame: pd.DataFrame, names: list[RunName], where: str) -> list[SlicingSize]:
    labels = frame["model_size"] if "model_size" in frame else pd.Series(None, index=frame.index, dtype=object)
    sizes: dict[tuple[str, str], SlicingSize] = {}
    found = []
    for row, (name, label) in enumerate(zip(names, labels, strict=True)):
        # The name is what was launched; the column may use the authors' later labels (80M for olmo2_10M).
        key = (name.family, name.size or (str(label) if pd.notna(label) else ""))
        if key not in sizes:
            try:
                sizes[key] = slicing_size(*key)
            except ValueError as error:
                raise UserError(f"{where}: {name_row(row + 1)}, column model_size: {error}") from None
        found.append(sizes[key])
    return found


def _groups(frame: pd.DataFrame, names: list[RunName], where: str) -> list[tuple[SlicingGroup, ...]]:
    """The columns' groups, with the third and further ones from the name; the name's alone without columns."""
    by_column: list[list[SlicingGroup]] = [[] for _ in names]
    for number in (1, 2):
        parts = [f"g{number}_mult", f"g{number}_experts", f"g{number}_topk"]
        if all(part in frame for part in parts):
            for row, (m, e, k) in enumerate(frame[parts].fillna(0).itertuples(index=False)):
                if e > 0:
                    by_column[row].append(SlicingGroup(float(m), int(e), int(k)))
    found = []
    for row, (columns, name) in enumerate(zip(by_column, names, strict=True)):
        groups = name.groups if list(name.groups[: len(columns)]) == columns else tuple(columns)
        if not groups or not all(g.multiplier > 0 and 0 < g.top_k <= g.experts for g in groups):
            given = name.groups or tuple(columns)
            raise UserError(
                f"{where}: {name_row(row + 1)}: no usable expert groups in its columns or name (found {given})"
            )
        found.append(groups)
    return found


def _learning_rates(frame: pd.DataFrame, names: list[RunName], where: str) -> "pd.Series[float]":
    rates, complaints = parse_quantities(frame["lr"])
    if complaints:
        row = min(complaints)
        raise UserError(f"{where}: {name_row(row + 1)}, column lr: {complaints[row]}")
    in_names = pd.Series([name.learning_rate for name in names], index=frame.index, dtype=float)
    known = pd.Series(rates, index=frame.index).fillna(in_names)
    if known.isna().any():
        warnings.warn(
            visible(
                f"{where}: {known.isna().sum()} runs give no learning rate: taken as the launch script's "
                f"{LAUNCH_RATE:g}"
            ),
            stacklevel=2,
        )
    return known.fillna(LAUNCH_RATE)


def _shared_multipliers(frame: pd.DataFrame, names: list[RunName]) -> list[float]:
    """The column where the name says something; the source fills 0 where it does not, and that is wrong."""
    in_names = pd.Series([name.shared_multiplier for name in names], index=frame.index, dtype=float).fillna(0.0)
    if "shared_mult" not in frame:
        return in_names.tolist()
    by_default = pd.Series([name.shared_by_default for name in names], index=frame.index)
    column = frame["shared_mult"].astype(float).fillna(in_names)
    return column.where(~(by_default & (column == 0)), in_names).tolist()


def _routing_in(name: str) -> str:
    return "dropless" if "dropless" in name.split("_") else "default"


# Schedules of the learning rate, and the mean rate that a run gets from its peak rate
#
# The cosine sweeps warm up for 2,000 steps (the authors' sweep defaults), which is longer than the whole run of the two
# smallest models: their rate only ever rises. For the WSD sweep the training script's own 50 steps of warm-up and of
# decay are taken: with 2,000 steps of warm-up it would coincide with the cosine at 10M, where it ends 0.1 nat lower.

COSINE_WARMUP = 2000
COSINE_FLOOR = 0.1  # of the peak rate
WSD_WARMUP = 50
WSD_DECAY = 50


def is_wsd(schedule: str) -> bool:
    """Warm-up, stable, decay; every other name is taken for the cosine."""
    return schedule.strip().lower().startswith("wsd")


def warmup_steps(schedule: str) -> int:
    """Steps of linear warm-up."""
    return WSD_WARMUP if is_wsd(schedule) else COSINE_WARMUP


def mean_rate(schedule: str, steps: float) -> float:
    """The learning rate's mean over all steps, in units of the peak rate."""
    if is_wsd(schedule):
        return max(1 - (WSD_WARMUP + WSD_DECAY) / (2 * steps), 0.5)  # two triangles beside a plateau
    rising = min(steps, COSINE_WARMUP)
    falling = (steps - rising) * (1 + COSINE_FLOOR) / 2  # a cosine's mean lies half-way between its ends
    return (rising**2 / (2 * COSINE_WARMUP) + falling) / steps
