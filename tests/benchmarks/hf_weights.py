"""Logits of random models before and after their weights go to transformers and back: the table in docs/export.md.

python -m tests.benchmarks.hf_weights [MODELS_PER_FAMILY]
"""

import random
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from moewright.hf.families import EXPORT_ORDER
from moewright.lab.hf_weights import read_hf_checkpoint, write_hf_checkpoint
from tests.lab.hf_models import (
    architecture_of,
    draw,
    lab_model,
    largest_difference,
    load,
    random_hf_model,
    random_lab_model,
    random_tokens,
)


def measure(family: str, models: int) -> tuple[float, float]:
    """The largest difference over the largest logit: out, and in. Stops where a round trip is not exact."""
    r = random.Random(f"sweep {family}")
    written = read = 0.0
    for _ in range(models):
        values = draw(family, r)
        architecture = architecture_of(family, values)
        tokens = random_tokens(architecture, r)
        ours, theirs = random_lab_model(architecture, r), random_hf_model(family, values, r)
        with tempfile.TemporaryDirectory() as folder:
            out = write_hf_checkpoint(ours, architecture, Path(folder) / "out", family=family)
            written = max(written, largest_difference(ours, load(out), tokens))
            state = read_hf_checkpoint(out)[1]
            assert all(torch.equal(state[name], tensor) for name, tensor in ours.state_dict().items())
            theirs.save_pretrained(Path(folder) / "in")
            again = lab_model(*read_hf_checkpoint(Path(folder) / "in"))
            read = max(read, largest_difference(again, theirs, tokens))
    return written, read


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    for name in EXPORT_ORDER:
        out, back = measure(name, count)
        print(f"| {name} | {count} | {out:.1e} | {back:.1e} |", flush=True)
