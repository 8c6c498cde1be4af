"""scalebench's mixtures from all of their train rows: which form, by the largest of these held out, and how it does.

    python -m tests.benchmarks.scalebench_moe

The task `moe` of arXiv 2604.22753: 193 rows of 17M to 368M active parameters, all trained on 130B tokens, and 28 of
1.3B to be predicted; its authors report R2 .83 as the best from a tenth of the rows. Tokens are constant, so the term
in tokens of a form that has one is left out, and the asymptote is all that is left of it. The form is chosen by the
rows of the largest size among the train rows, under fits to the smaller ones; the test rows are asked afterwards.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from moewright import laws
from tests.laws.tables import SHARED_DATA

NO_TOKENS: Mapping[str, Any] = {"fix": {"B": 0.0, "beta": 0.3}}
FORMS: Mapping[str, Mapping[str, Any]] = {"clark2022": {}, "wang2024": NO_TOKENS}
NAMES = {"dense_parameter_count": "active_params", "loss_validation": "loss"}


def rows(part: str) -> pd.DataFrame:
    """Train or test rows by the names of laws."""
    table = pd.read_parquet(SHARED_DATA / f"scalebench/moe/{part}-00000-of-00001.parquet")
    return table.rename(columns=NAMES).assign(train_tokens=1.3e11)


def score(form: str, fitted: pd.DataFrame, asked: pd.DataFrame) -> tuple[float, float]:
    """Root mean square error of the log loss, and R2 of the loss, on the rows that are asked about."""
    law = laws.fit_law(form, fitted, bootstrap=0, tuning="none", **FORMS[form])
    expected, loss = law.predict(asked), asked["loss"].to_numpy(float)
    squares = ((loss - expected) ** 2).sum() / ((loss - loss.mean()) ** 2).sum()
    return float(np.sqrt(np.mean(np.log(expected / loss) ** 2))), float(1 - squares)


def main() -> None:
    """One line for each form."""
    train, test = rows("train"), rows("test")
    largest = train["active_params"] == train["active_params"].max()
    for form in FORMS:
        inside, _ = score(form, train[~largest], train[largest])
        error, share = score(form, train, test)
        print(f"{form}: {inside:.2%} off on the largest train size; test rows {error:.2%} off, R2 {share:.3f}")


if __name__ == "__main__":
    main()
