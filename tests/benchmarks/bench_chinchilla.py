"""moewright against the `chinchilla` package's 3,125-start fit, same table, same loss functions, in one run.

Needs `pip install chinchilla` (0.2.0) and the table takano_dense. Run from the project's root:
python -m tests.benchmarks.bench_chinchilla. Takes about three minutes on two cores, nearly all of it the package's.
"""

import functools
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from chinchilla import Chinchilla
from chinchilla._metrics import asymmetric_mae, log_huber

from moewright import laws
from tests.laws.tables import SHARED_DATA, takano

# The grid of the package's own example: 5 values of each of five coefficients.
GRID = {
    "E": np.linspace(1, 2, 5),
    "a": np.linspace(1, 10, 5),
    "b": np.linspace(1, 10, 5),
    "alpha": np.linspace(0.1, 0.7, 5),
    "beta": np.linspace(0.1, 0.7, 5),
}
LOSSES: dict[str, Callable[..., np.ndarray]] = {
    "asymmetric": asymmetric_mae,
    "huber_log": functools.partial(log_huber, delta=1e-3),
}


def main() -> None:
    """Print both fits' seconds and objectives for each loss function."""
    table = takano()
    observed = table["loss"].to_numpy()
    for name, function in LOSSES.items():
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(SHARED_DATA / "takano_dense" / "runs.csv", Path(folder) / "df.csv")
            package = Chinchilla(folder, param_grid=GRID, loss_fn=function, log_level=40)
            start = time.perf_counter()
            package.fit()
            theirs = time.perf_counter() - start
            sizes, tokens = (table[column].to_numpy(dtype=float) for column in ("total_params", "train_tokens"))
            their_value = float(
                np.mean(function(observed.copy(), np.asarray(package.predict_loss(sizes, tokens), float)))
            )
        law = laws.get("hoffmann2022")
        laws.fit_law(law, table, objective=name, bootstrap=0)  # imports
        seconds = []
        for _ in range(10):
            start = time.perf_counter()
            fitted = laws.fit_law(law, table, objective=name, bootstrap=0)
            seconds.append(time.perf_counter() - start)
        ours = float(np.median(seconds))
        our_value = float(np.mean(function(observed.copy(), fitted.predict(table))))
        print(
            f"{name}: chinchilla {theirs:.1f} s, objective {their_value:.9g}; moewright {ours:.4f} s, objective "
            f"{our_value:.9g}; {theirs / ours:,.0f} times faster, no worse: {our_value <= their_value}"
        )


if __name__ == "__main__":
    main()
