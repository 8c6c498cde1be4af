"""A trainer in thirty lines: counts, notes every step, writes checkpoints, obeys SIGTERM, goes on where it was.

python counting_script.py FOLDER STEPS SEED
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

folder, steps, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
stops: list[int] = []
signal.signal(signal.SIGTERM, lambda number, frame: stops.append(number))
checkpoints = sorted((folder / "checkpoints").glob("step-*/state.json"))
step = 0
if checkpoints:
    step, count = json.loads(checkpoints[-1].read_text())
log = folder / "counts.txt"
lines = log.read_text().splitlines(keepends=True)[:step] if log.exists() else []
(folder / "counts.new").write_text("".join(lines))
(folder / "counts.new").rename(log)
with open(log, "a") as file:
    while step < steps and not stops:
        step, count = step + 1, (count * 6364136223846793005 + 1442695040888963407) % 2**64
        file.write(f"{step} {count}\n")
        time.sleep(0.05)
        if step % 5 == 0 or stops:
            file.flush()
            os.fsync(file.fileno())
            partial = folder / "checkpoints" / f".partial-{os.getpid()}-{step}"
            partial.mkdir(parents=True)
            (partial / "state.json").write_text(json.dumps([step, count]))
            partial.rename(folder / "checkpoints" / f"step-{step:08d}")
if step == steps:
    (folder / "result.new").write_text(json.dumps({"step": step, "loss": 2 + count / 2**64}))
    (folder / "result.new").rename(folder / "result.json")
