"""What the sweep of small mixtures says: effects, laws judged by the largest size, designs; docs/small_mixtures.md.

    moewright sweep examples/small_mixtures/sweep.yaml --out small
    moewright runs small --out examples/small_mixtures/runs.parquet --curves examples/small_mixtures/curves.parquet
    python -m examples.small_mixtures [--docs docs] [--bootstrap 1000]

The first two lines make the tables anew (the sweep takes an hour of two cores), and with check.yaml in the same way
check.parquet; without them the committed ones are read. Tables are written between the markers of
docs/small_mixtures.md, figures beside it, fitted laws to this folder.
"""

import argparse
from pathlib import Path

import pandas as pd

from examples.pages import write
from examples.small_mixtures import designing, effects, figures, fits

HERE = Path(__file__).parent


def main() -> None:
    """Run the study's analysis; every number of the page comes from here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=HERE / "runs.parquet")
    parser.add_argument("--curves", type=Path, default=HERE / "curves.parquet")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--laws", type=Path, default=HERE, help="folder for the fitted laws")
    parser.add_argument("--bootstrap", type=int, default=1000)
    arguments = parser.parse_args()

    runs = effects.read(str(arguments.runs))
    chosen = effects.main_runs(runs)
    judged, fitted = fits.held_out(chosen, arguments.bootstrap)
    whole = fits.save_all(chosen, arguments.laws, arguments.bootstrap)
    write(
        arguments.docs / "small_mixtures.md",
        {
            "overview": effects.overview(runs),
            "rates": effects.rate_table(runs),
            "totals": effects.totals(chosen),
            "sizes": effects.sizes(chosen),
            "laws": judged,
            **{f"coefficients-{name}": fits.coefficients(found) for name, found in whole.items()},
            "design": designing.designs(arguments.laws),
            "trained": designing.trained(HERE / "check.parquet", chosen, whole),
        },
    )
    planned = {name: fitted[name] for name in fits.PLANNED if name in fitted}
    figures.draw(runs, pd.read_parquet(arguments.curves), planned, arguments.docs / "figures")


if __name__ == "__main__":
    main()
