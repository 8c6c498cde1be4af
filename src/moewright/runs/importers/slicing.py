"""The runs of "Slicing and Dicing" (arXiv 2605.11689) as its authors exported them in January 2026.

github.com/sneha-rk/OLMo-core, ml/scripts/results/results_processed.csv, Apache-2.0. What a reader must know:

- Run names hold commas and are quoted in the CSV.
- A word `lf` in the name is the loss-free bias with step 0.001; no column says so.
- Some sweeps are called `lowlb` but ran with weight 0.01: the column is right. An empty weight means no balance loss.
- Two groups of experts have columns; a third stands in the name only.
- A few `0.25gen` rows use 0.75 of a dense feed-forward instead of all of it: see `active_width`.
- Runs with capacity drop tokens at evaluation too, on padded documents, so their validation losses are not
  comparable with dropless ones; the training loss is. Hence `loss` is train_ce.
- The shared expert's block runs routed experts beside attention: another topology, not only another size.
"""

import pandas as pd

from moewright.architecture import Architecture, Layer, Norm
from moewright.architecture.counts import (
    active_params,
    active_params_non_embedding,
    total_params,
    total_params_non_embedding,
)
from moewright.architecture.feed_forwards import Dense, ExpertGroup, FeedForward, MoE, SharedExpert
from moewright.architecture.mixers import Attention
from moewright.errors import UserError
from moewright.runs.importers.slicing_names import Group, RunName, read_name
from moewright.runs.importers.slicing_schedules import learning_rate_sum, warmup_steps
from moewright.runs.importers.slicing_sizes import (
    BATCH_TOKENS,
    TOKENS_PER_NOMINAL_PARAM,
    VOCAB_SIZE,
    Size,
    size_of,
)
from moewright.runs.quantities import parse_quantities
from moewright.runs.validation import require

CAPACITY_FACTOR = 1.2  # the sweeps' routing "default"
LOSS_FREE_STEP = 0.001

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
    table = frame.rename(columns={"name": "run_id", **_LOSSES})
    table = table.assign(**_architecture_columns(sizes, groups, shared))

    table["learning_rate"] = frame["lr"]
    table["schedule"] = frame["scheduler"] if "scheduler" in frame else "CosWithWarmup"
    tokens = [
        TOKENS_PER_NOMINAL_PARAM * name.data_multiple * size.nominal_params
        for name, size in zip(names, sizes, strict=True)
    ]
    table["train_tokens"] = tokens
    table["batch_tokens"] = BATCH_TOKENS
    table["warmup_steps"] = [warmup_steps(str(schedule)) for schedule in table["schedule"]]
    peak, _ = parse_quantities(frame["lr"])
    table["learning_rate_sum"] = [
        rate * learning_rate_sum(str(schedule), token / BATCH_TOKENS)
        for rate, schedule, token in zip(peak, table["schedule"], tokens, strict=True)
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


def backbone(size: Size, groups: tuple[Group, ...], shared_multiplier: float) -> Architecture:
    """The model of one run; widths in units of 4 d as the sweep writes them. One group of one expert is dense."""
    d = size.hidden_size
    feed_forward: FeedForward
    if sum(group.experts for group in groups) == 1 and not shared_multiplier:
        feed_forward = Dense(size=_width(groups[0].multiplier, d))
    else:
        feed_forward = MoE(
            groups=tuple(
                ExpertGroup(count=g.experts, expert_size=_width(g.multiplier, d), top_k=min(g.top_k, g.experts))
                for g in groups
            ),
            router_per_group=len(groups) > 1,
            shared=SharedExpert(expert_size=_width(shared_multiplier, d)) if shared_multiplier else None,
        )
    heads = size.num_heads or 1  # heads change no count
    mixer = Attention(num_heads=heads, num_kv_heads=heads, head_dim=d // heads, qk_norm="full")
    layer = Layer(mixer=mixer, feed_forward=feed_forward, norms="post")
    return Architecture(vocab_size=VOCAB_SIZE, hidden_size=d, layers=(layer,) * size.num_layers, norm=Norm())


def _architecture_columns(
    sizes: list[Size], groups: list[tuple[Group, ...]], shared: list[float]
) -> dict[str, list[float] | list[str]]:
    described: dict[tuple[Size, tuple[Group, ...], float], dict[str, float | str]] = {}
    rows = []
    for key in zip(sizes, groups, shared, strict=True):
        if key not in described:
            described[key] = _describe(*key)
        rows.append(described[key])
    return {name: [row[name] for row in rows] for name in rows[0]}  # type: ignore[misc]


def _describe(size: Size, groups: tuple[Group, ...], shared: float) -> dict[str, float | str]:
    model = backbone(size, groups, shared)
    top_k = sum(group.top_k for group in groups)
    used = sum(group.top_k * group.multiplier for group in groups)
    return {
        "hidden_size": size.hidden_size,
        "num_layers": size.num_layers,
        "num_heads": size.num_heads or float("nan"),
        "vocab_size": VOCAB_SIZE,
        "num_experts": sum(group.experts for group in groups),
        "top_k": top_k,
        "expert_size": 4 * size.hidden_size * used / top_k,
        "shared_size": 4 * size.hidden_size * shared,
        "expert_groups": "+".join(f"{g.experts}x{_width(g.multiplier, size.hidden_size)}k{g.top_k}" for g in groups),
        "num_groups": len(groups),
        "expert_multiplier": used / top_k,
        "expert_ratio": sum(group.experts * group.multiplier for group in groups),
        "shared_multiplier": shared,
        "active_width": used + shared,
        "total_params": total_params(model),
        "active_params": active_params(model),
        "total_params_non_embedding": total_params_non_embedding(model),
        "active_params_non_embedding": active_params_non_embedding(model),
    }


def _width(multiplier: float, hidden_size: int) -> int:
    return max(1, round(multiplier * 4 * hidden_size))


def _sizes(frame: pd.DataFrame, names: list[RunName], where: str) -> list[Size]:
    labels = frame["model_size"] if "model_size" in frame else pd.Series(None, index=frame.index, dtype=object)
    sizes: dict[tuple[str, str], Size] = {}
    found = []
    for row, (name, label) in enumerate(zip(names, labels, strict=True)):
        # The name is what was launched; the column may use the authors' later labels (80M for olmo2_10M).
        key = (name.family, name.size or (str(label) if pd.notna(label) else ""))
        if key not in sizes:
            try:
                sizes[key] = size_of(*key)
            except ValueError as error:
                raise UserError(f"{where}: row {row + 1}, column model_size: {error}") from None
        found.append(sizes[key])
    return found


def _groups(frame: pd.DataFrame, names: list[RunName], where: str) -> list[tuple[Group, ...]]:
    """The columns' groups, with the third and further ones from the name; the name's alone without columns."""
    by_column: list[list[Group]] = [[] for _ in names]
    for number in (1, 2):
        parts = [f"g{number}_mult", f"g{number}_experts", f"g{number}_topk"]
        if all(part in frame for part in parts):
            for row, (m, e, k) in enumerate(frame[parts].fillna(0).itertuples(index=False)):
                if e > 0:
                    by_column[row].append(Group(float(m), int(e), int(k)))
    found = []
    for row, (columns, name) in enumerate(zip(by_column, names, strict=True)):
        groups = name.groups if list(name.groups[: len(columns)]) == columns else tuple(columns)
        if not groups or not all(g.multiplier > 0 and 0 < g.top_k <= g.experts for g in groups):
            given = name.groups or tuple(columns)
            raise UserError(f"{where}: row {row + 1}: no usable expert groups in its columns or name (found {given})")
        found.append(groups)
    return found


def _shared_multipliers(frame: pd.DataFrame, names: list[RunName]) -> list[float]:
    in_names = pd.Series([name.shared_multiplier for name in names], index=frame.index, dtype=float).fillna(0.0)
    if "shared_mult" not in frame:
        return in_names.tolist()
    return frame["shared_mult"].astype(float).fillna(in_names).tolist()


def _routing_in(name: str) -> str:
    return "dropless" if "dropless" in name.split("_") else "default"
