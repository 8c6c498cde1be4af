"""Learning-rate schedules of the "Slicing and Dicing" sweeps, and how much learning rate a run gets in all.

The cosine sweeps warm up for 2,000 steps (the authors' sweep defaults), which is longer than the whole run of the
smallest models: their rate only ever rises. The WSD sweep keeps the training script's own 50 steps of warm-up and of
decay; its lower losses at the smallest size, where the two would otherwise coincide, say so as well.
"""

COSINE_WARMUP = 2000
WSD_WARMUP = 50
WSD_DECAY = 50
COSINE_FLOOR = 0.1


def warmup_steps(schedule: str) -> int:
    """Steps of linear warm-up."""
    return WSD_WARMUP if schedule.lower().startswith("wsd") else COSINE_WARMUP


def learning_rate_sum(schedule: str, steps: float) -> float:
    """The sum of the learning rate over all steps, in units of the peak rate, for `steps` steps."""
    if schedule.lower().startswith("wsd"):
        return max(steps - (WSD_WARMUP + WSD_DECAY) / 2, steps / 2)
    rising = min(steps, COSINE_WARMUP)
    # The mean of a cosine from 1 down to the floor is (1 + floor) / 2.
    return rising**2 / (2 * COSINE_WARMUP) + (steps - rising) * (1 + COSINE_FLOOR) / 2


def final_rate(schedule: str, steps: float) -> float:
    """The learning rate at the last step, in units of the peak rate."""
    if schedule.lower().startswith("wsd"):
        return 0.0
    return steps / COSINE_WARMUP if steps <= COSINE_WARMUP else COSINE_FLOOR
