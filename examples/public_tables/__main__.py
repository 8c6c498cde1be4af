"""What the public tables say: refits, effects, the slicing law and its tests, figures, and docs/public_tables.md.

    python -m examples.public_tables DATA [--docs docs] [--bootstrap 400]

DATA is a folder with joint_moe/runs.csv, clark_routing/final_step.csv and slicing/runs.csv; docs/run_table.md says
where each is published. Tables are written between the markers of docs/public_tables.md, figures beside it, and the
slicing law to slicing2026.json. Needs matplotlib.
"""

import argparse
from pathlib import Path

from examples.pages import write
from examples.public_tables import effects, figures, refits, slicing
from moewright import runs


def main() -> None:
    """Run the study; every number of the page comes from here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--bootstrap", type=int, default=400)
    arguments = parser.parse_args()

    clark = runs.load(arguments.data / "clark_routing" / "final_step.csv", source="clark_routing")
    joint = runs.load(arguments.data / "joint_moe" / "runs.csv", source="joint_moe")
    table = runs.load(arguments.data / "slicing" / "runs.csv", source="slicing")

    law = slicing.fit(table, arguments.bootstrap)
    law.save(arguments.docs / "slicing2026.json")
    tables = {
        "refits": refits.refits(clark, joint),
        "noise": effects.noise(table),
        "doubling": effects.doubling(table),
        "size": effects.expert_size(table),
        "settings": effects.settings(table),
        "rates": effects.rates(table),
        "coefficients": slicing.coefficients(law),
        "validation": slicing.validation(table, law),
        "choices": slicing.choices(table),
        "unseen": slicing.unseen(table, law),
    }
    write(arguments.docs / "public_tables.md", tables)
    figures.draw(table, law, arguments.docs / "figures")


if __name__ == "__main__":
    main()
