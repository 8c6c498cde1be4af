"""A smooth surface through all rows that a few bad rows cannot bend: the yardstick for outliers."""

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

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
        if name in table.columns:
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
