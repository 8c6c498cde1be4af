"""Several forms on the same rows, judged by rows that none of them saw."""

from collections.abc import Iterable
from typing import Any

from moewright.errors import UserError
from moewright.laws.catalogue import get
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.rows import as_frame
from moewright.laws.law import Law


def compare(
    laws: Iterable[str | Law], table: Any, *, holdout: str = "largest", **settings: Any
) -> list[dict[str, Any]]:
    """One dictionary per law, least held-out error first: law, status, coefficients, rmse_fitted, rmse, bias, ...

    A law that cannot be fitted to the table comes last, with the reason under `status`.
    """
    frame = as_frame(table)
    compared: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for given in laws:
        law = get(given) if isinstance(given, str) else given
        try:
            fitted = LawFitter(law, holdout=holdout, **settings).fit(frame).law_
        except UserError as error:
            refused.append({"law": law.name, "status": str(error)})
            continue
        record = fitted.record
        compared.append(
            {
                "law": law.name,
                "status": record.status,
                "coefficients": record.num_free,
                "rows_fitted": record.num_rows,
                "rmse_fitted": record.rmse,
                **(record.holdout or {}),
            }
        )
    return sorted(compared, key=lambda row: float(row["rmse"])) + refused
