"""Total parameters against transformers' modules, family by family: how many exact, refused and wrong.

    python -m tests.benchmarks.oracle_counts [random configs per family, 200 unless given]

The same samplers as the tests, other seeds.
"""

import json
import random
import sys
from collections import Counter

from moewright import UserError
from moewright.architecture.counts import total_params
from moewright.hf.config import read_config
from tests.hf import oracle
from tests.hf.samplers import NEEDED_FIELDS, SAMPLERS


def main(configs: int) -> None:
    """Print one row per family and their sum."""
    whole: Counter[str] = Counter()
    print(f"{'family':20s} {'default':>16s} {'exact':>6s} {'refused':>8s} {'wrong':>6s}")
    for family in sorted(SAMPLERS):
        r = random.Random(f"benchmark {family}")
        module = oracle.build(family, NEEDED_FIELDS.get(family, {}))
        found = Counter([outcome(module)])
        for _ in range(configs):
            found[outcome(oracle.build(family, SAMPLERS[family](r)))] += 1
        whole += found
        default = f"{oracle.count(module):,}"
        print(f"{family:20s} {default:>16s} {found['exact']:6d} {found['refused']:8d} {found['wrong']:6d}", flush=True)
    print(f"{'all':20s} {'':>16s} {whole['exact']:6d} {whole['refused']:8d} {whole['wrong']:6d}")


def outcome(module) -> str:  # type: ignore[no-untyped-def]
    """exact, refused or wrong."""
    for config in (oracle.saved_config(module), json.loads(json.dumps(module.config.to_dict(), default=str))):
        try:
            if total_params(read_config(config).architecture) != oracle.count(module):
                return "wrong"
        except UserError:
            return "refused"
    return "exact"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
