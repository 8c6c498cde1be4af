"""A trainer of somebody's own, in thirty lines: a bigram model by numpy, with checkpoints that it goes on from.

python train.py FOLDER TRAIN_FILE VALIDATION_FILE VOCABULARY STEPS TOKENS_A_STEP RATE SEED
"""

import json
import sys
from pathlib import Path

import numpy as np

folder, train, held_out = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
vocabulary, steps, batch, seed = (int(sys.argv[place]) for place in (4, 5, 6, 8))
rate = float(sys.argv[7])
tokens, validation = (np.fromfile(path, "<u2").astype(np.int64) for path in (train, held_out))
logits, start = np.zeros((vocabulary, vocabulary)), 0
for path in sorted(folder.glob("step-*.npy")):
    logits, start = np.load(path), int(path.stem[5:])


def loss(before, after):  # type: ignore[no-untyped-def]
    rows = logits[before] - logits[before].max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(rows).sum(1)) - rows[np.arange(len(rows)), after]))


with open(folder / "log.jsonl", "a", buffering=1) as log:
    for step in range(start + 1, steps + 1):
        places = np.random.default_rng([seed, step]).integers(0, len(tokens) - 1, batch)
        x, y = tokens[places], tokens[places + 1]
        log.write(json.dumps({"step": step, "train_loss": loss(x, y)}) + "\n")
        slope = np.exp(logits[x]) / np.exp(logits[x]).sum(1, keepdims=True)
        slope[np.arange(batch), y] -= 1
        np.add.at(logits, x, -rate * slope)
        if step % 10 == 0:
            before = list(folder.glob("step-*.npy"))
            np.save(folder / "new.npy", logits)
            (folder / "new.npy").rename(folder / f"step-{step:08d}.npy")
            for path in before:
                path.unlink(missing_ok=True)
    log.write(json.dumps({"step": steps, "val_loss": loss(validation[:-1], validation[1:])}) + "\n")
    print("final", loss(validation[:-1], validation[1:]))
