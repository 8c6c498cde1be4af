"""Total parameters against transformers' modules, family by family: how many exact, refused and wrong.

    python -m tests.benchmarks.oracle_counts [--configs 200] [--keep FILE]

The same samplers as the tests, other seeds. With `--keep` each family that is done is a line of JSON in that file, and
is not done again; delete the lines of families whose reader changed.
"""

import argparse
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from moewright import UserError
from moewright.architecture.counts import total_params
from moewright.hf.config import read_config
from tests.hf import oracle
from tests.hf.samplers import NEEDED_FIELDS, SAMPLERS

OUTCOMES = ("exact", "refused", "wrong")


def main(configs: int, keep: Path | None) -> int:
    """Print one row per family and their sum; 1 if any is wrong or refused."""
    lines = keep.read_text(encoding="utf-8").splitlines() if keep is not None and keep.exists() else []
    rows = {row["family"]: row for row in map(json.loads, lines) if row["configs"] == configs}
    print(f"{'family':24s} {'default':>18s} " + " ".join(f"{word:>8s}" for word in OUTCOMES))
    for family in sorted(SAMPLERS):
        if family not in rows:
            rows[family] = count(family, configs)
            if keep is not None:
                with keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[family]) + "\n")
        print_row(family, f"{rows[family]['default']:,}", rows[family])
    whole = {word: sum(rows[family][word] for family in SAMPLERS) for word in OUTCOMES}
    print_row(f"all {len(SAMPLERS)}", "", whole)
    return int(whole["refused"] + whole["wrong"] > 0)


def count(family: str, configs: int) -> dict[str, Any]:
    """A family's default and its random configs, by outcome."""
    r = random.Random(f"benchmark {family}")
    module = oracle.build(family, NEEDED_FIELDS.get(family, {}))
    found = Counter([outcome(module)])
    for _ in range(configs):
        found[outcome(oracle.build(family, SAMPLERS[family](r)))] += 1
    by_outcome = {word: found[word] for word in OUTCOMES}
    return {"family": family, "configs": configs, "default": oracle.count(module)} | by_outcome


def print_row(name: str, default: str, row: dict[str, Any]) -> None:
    """One line of the table."""
    print(f"{name:24s} {default:>18s} " + " ".join(f"{row[word]:8d}" for word in OUTCOMES), flush=True)


def outcome(module: Any) -> str:
    """exact, refused or wrong."""
    for config in (oracle.saved_config(module), json.loads(json.dumps(module.config.to_dict(), default=str))):
        try:
            if total_params(read_config(config).architecture) != oracle.count(module):
                return "wrong"
        except UserError:
            return "refused"
    return "exact"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=int, default=200, help="random configs of each family")
    parser.add_argument("--keep", type=Path, help="what is done already, and goes on")
    given = parser.parse_args()
    sys.exit(main(given.configs, given.keep))
