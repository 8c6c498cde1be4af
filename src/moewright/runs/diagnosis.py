"""Which rows a fit should not trust, as a table: nothing is dropped here.

Each finding names a row, the kind of problem, the column that shows it and why. The kinds:

- diverged: status says so, the loss is not finite, or it is worse than a uniform guess over the vocabulary.
- failed: status says so.
- unfinished: status says so, or less than its learning-rate schedule ran.
- duplicate: a run_id given to another row before (with the first size that differs, if the model is another), or the
  very same settings, seed and loss as another row.
- unlike: a schedule, tokenizer or evaluation other than most rows have; losses then differ for that reason too.
- outlier: far from its own repeats, or from a smooth robust surface through all rows.
"""

import math
from collections.abc import Iterator
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

FINDINGS = ["row", "run_id", "problem", "column", "detail"]
SIZES = ("total_params", "active_params", "num_layers", "hidden_size", "num_experts", "top_k", "expert_size")
"""By which rows of one name are told to be of other models."""
UNLIKE = ("schedule", "tokenizer", "evaluation")
OUTLIER_SCALES = 6.0
"""Robust standard deviations beyond which a residual is called an outlier (normal noise: 1 row in 500 million)."""
FEWEST_REPEATS = 10  # runs that differ from their configuration's median; fewer give no scale to judge by
HUBER = 1.345  # 95 % efficiency under normal noise (Huber 1981)
MAX_ROWS = 20_000  # a surface of some tens of coefficients needs no more; residuals are taken for every row
ITERATIONS = 30
MAX_LEVERAGE = 0.5  # a row that alone decides the surface where it stands cannot be judged by it
# Variables of the schema that can move a loss smoothly; ratios of these follow from them.
_SMOOTH = (
    "total_params",
    "active_params",
    "train_tokens",
    "num_experts",
    "top_k",
    "expert_size",
    "learning_rate",
    "learning_rate_mean",
    "batch_tokens",
)
_STEPS = ("router", "schedule", "capacity_factor", "shared_ratio", "balance_weight", "bias_step", "num_groups")

Found = tuple[npt.NDArray[np.intp], str, str, list[str]]


def diagnose(table: pd.DataFrame, outlier_scales: float = OUTLIER_SCALES) -> pd.DataFrame:
    """Findings on a table from `load` or `prepare`, one row each, in the order of the table.

    `row` counts from 1. An empty result means that nothing was found.
    """
    findings: list[tuple[int, str, str, str, str]] = []
    for rows, problem, column, details in _all(table, outlier_scales):
        ids = table["run_id"].to_numpy()[rows] if "run_id" in table else [""] * len(rows)
        findings += [
            (int(row) + 1, str(run), problem, column, detail)
            for row, run, detail in zip(rows, ids, details, strict=True)
        ]
    findings.sort(key=itemgetter(0))
    return pd.DataFrame(findings, columns=pd.Index(FINDINGS))


def _all(table: pd.DataFrame, outlier_scales: float) -> Iterator[Found]:
    yield from _diverged(table)
    yield from _unfinished(table)
    yield from _duplicates(table)
    yield from _unlike(table)
    if "loss" in table:
        yield from _outliers(table, outlier_scales)


def _diverged(table: pd.DataFrame) -> Iterator[Found]:
    if "status" in table:
        yield _same(table["status"] == "diverged", "diverged", "status", "its status says so")
    if "loss" not in table:
        return
    loss = table["loss"]
    # A missing loss says nothing more than the status: a finished run has one (`validate`).
    yield _same(np.isinf(loss), "diverged", "loss", "the loss is not finite")
    if "vocab_size" in table:
        worse = loss >= np.log(table["vocab_size"])
        yield _same(worse, "diverged", "loss", "no better than a uniform guess over the vocabulary")


def _unfinished(table: pd.DataFrame) -> Iterator[Found]:
    if "status" in table:
        for problem in ("failed", "unfinished"):
            yield _same(table["status"] == problem, problem, "status", "its status says so")
    if "schedule_fraction" in table:
        part = table["schedule_fraction"]
        short = np.flatnonzero(part < 0.999)  # the last step is often not logged
        yield short, "unfinished", "schedule_fraction", [f"{part.iloc[row]:.1%} of its schedule ran" for row in short]


def _duplicates(table: pd.DataFrame) -> Iterator[Found]:
    if "run_id" in table:
        again = np.flatnonzero(table["run_id"].duplicated())
        yield again, "duplicate", "run_id", [_named_again(table, int(row)) for row in again]
    keys = [name for name in ("config_id", "seed", "loss") if name in table]
    if "config_id" in keys and "loss" in keys:
        same = table.duplicated(keys) & table["loss"].notna()
        yield _same(same, "duplicate", "loss", "settings, seed and loss of an earlier row")


def _named_again(table: pd.DataFrame, row: int) -> str:
    """Whether a row whose name another has is of the same model."""
    first = int(np.flatnonzero((table["run_id"] == table["run_id"].iloc[row]).to_numpy())[0])
    for name in (each for each in SIZES if each in table):
        one, other = table[name].iloc[row], table[name].iloc[first]
        if pd.notna(one) and pd.notna(other) and one != other:
            return f"the name of row {first + 1}, but another model: {name} {one:,}, there {other:,}"
    return f"the name of row {first + 1}"


def _unlike(table: pd.DataFrame) -> Iterator[Found]:
    for name in UNLIKE:
        if name not in table:
            continue
        counts = table[name].value_counts()
        if len(counts) > 1:
            usual, share = counts.index[0], counts.iloc[0] / len(table)
            rows = np.flatnonzero(table[name].notna() & (table[name] != usual))
            values = table[name].to_numpy()
            yield rows, "unlike", name, [f"{values[row]}, where {share:.0%} of rows have {usual}" for row in rows]


def _outliers(table: pd.DataFrame, scales: float) -> Iterator[Found]:
    usable = np.isfinite(table["loss"].to_numpy(dtype=float)) & (table["loss"].to_numpy(dtype=float) > 0)
    log_loss = np.full(len(table), np.nan)
    log_loss[usable] = np.log(table["loss"].to_numpy(dtype=float)[usable])
    if "config_id" in table:
        yield _far_from_repeats(table["config_id"], log_loss, scales)
    residuals = surface_residuals(table, log_loss)
    scale = robust_scale(residuals[np.isfinite(residuals)])
    if not math.isfinite(scale) or scale < 1e-9:
        return
    far = np.flatnonzero(np.abs(residuals) > scales * scale)
    details = [f"{residuals[row] / scale:+.0f} robust scales from a smooth fit of all rows" for row in far]
    yield far, "outlier", "loss", details


def _far_from_repeats(config_id: "pd.Series[str]", log_loss: npt.NDArray[np.float64], scales: float) -> Found:
    """Runs far from the median of three or more runs of their configuration; of two, neither is the outlier."""
    grouped = pd.Series(log_loss).groupby(config_id.to_numpy())
    apart = log_loss - grouped.transform("median").to_numpy()
    moved = apart[np.isfinite(apart) & (apart != 0)]  # a lone run and a middle one do not differ from their median
    far = np.empty(0, dtype=np.intp)
    scale = robust_scale(moved)
    if moved.size >= FEWEST_REPEATS and scale > 0:
        far = np.flatnonzero((grouped.transform("count").to_numpy() > 2) & (np.abs(apart) > scales * scale))
    return far, "outlier", "loss", [f"{abs(apart[row]) / scale:.0f} repeat scales from its repeats" for row in far]


def _same(flags: "pd.Series[bool]", problem: str, column: str, detail: str) -> Found:
    rows = np.flatnonzero(flags.to_numpy(dtype=bool, na_value=False))
    return rows, problem, column, [detail] * len(rows)


# A smooth surface through all rows that a few bad rows cannot bend: the yardstick for outliers


def robust_scale(values: Floats) -> float:
    """The median absolute deviation as a standard deviation of normal noise; NaN without values."""
    if values.size == 0:
        return float("nan")
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def surface_residuals(table: pd.DataFrame, log_loss: Floats) -> Floats:
    """Residuals of log loss from a quadratic in the logs of the table's numeric settings, shape [rows].

    Fitted by iteratively reweighted least squares with Huber's weights. NaN where the loss is missing or the row
    stands alone among the settings, and everywhere if there are fewer than twice as many rows as coefficients.
    """
    design = _design(table)
    usable = np.isfinite(log_loss) & np.isfinite(design).all(axis=1)
    rows = np.flatnonzero(usable)
    residuals = np.full(len(table), np.nan)
    if rows.size < 2 * design.shape[1]:
        return residuals
    sample = rows if rows.size <= MAX_ROWS else rows[np.linspace(0, rows.size - 1, MAX_ROWS).astype(int)]
    coefficients = _huber(design[sample], log_loss[sample])
    judged = rows[_leverage(design[sample], design[rows]) < MAX_LEVERAGE]
    residuals[judged] = log_loss[judged] - design[judged] @ coefficients
    return residuals


def _design(table: pd.DataFrame) -> Floats:
    logs = []
    for name in _SMOOTH:
        if len(table) and name in table.columns:
            values = table[name].to_numpy(dtype=float)
            if np.isfinite(values).all() and (values > 0).all() and np.ptp(values) > 0:
                centred = np.log(values) - np.mean(np.log(values))
                logs.append(centred / np.std(centred))
    columns = [np.ones(len(table)), *logs]
    columns += [a * b for i, a in enumerate(logs) for b in logs[i:]]
    for name in _STEPS:
        if name in table.columns:
            codes, levels = pd.factorize(table[name].astype(object).where(table[name].notna(), "none"))
            if len(levels) <= 10:
                columns += [(codes == level).astype(float) for level in range(1, len(levels))]
    return np.column_stack(columns)


def _huber(design: Floats, target: Floats) -> Floats:
    coefficients = _least_squares(design, target)
    for _ in range(ITERATIONS):
        residuals = target - design @ coefficients
        scale = max(robust_scale(residuals), 1e-12)
        root = np.sqrt(np.minimum(1.0, HUBER * scale / np.maximum(np.abs(residuals), 1e-300)))
        updated = _least_squares(design * root[:, None], target * root)
        if np.allclose(updated, coefficients, rtol=1e-6, atol=1e-9):
            return updated
        coefficients = updated
    return coefficients


def _leverage(sample: Floats, rows: Floats) -> Floats:
    """Diagonal of the hat matrix of the sample, shape [rows]: 1 where a row would be fitted by itself alone."""
    _, sizes, directions = np.linalg.svd(sample, full_matrices=False)
    kept = sizes > 1e-8 * sizes[0]
    return np.asarray((((rows @ directions[kept].T) / sizes[kept]) ** 2).sum(axis=1), dtype=np.float64)


def _least_squares(design: Floats, target: Floats) -> Floats:
    return np.asarray(np.linalg.lstsq(design, target, rcond=1e-8)[0], dtype=np.float64)
