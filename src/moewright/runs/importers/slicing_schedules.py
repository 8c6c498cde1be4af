"""Learning-rate schedules of the "Slicing and Dicing" sweeps, and the mean rate that a run gets from its peak rate.

The cosine sweeps warm up for 2,000 steps (the authors' sweep defaults), which is longer than the whole run of the two
smallest models: their rate only ever rises. For the WSD sweep the training script's own 50 steps of warm-up and of
decay are taken: with 2,000 steps of warm-up it would coincide with the cosine at 10M, where it ends 0.1 nat lower.
"""

COSINE_WARMUP = 2000
COSINE_FLOOR = 0.1  # of the peak rate
WSD_WARMUP = 50
WSD_DECAY = 50


def is_wsd(schedule: str) -> bool:
    """Warm-up, stable, decay; every other name is taken for the cosine."""
    return schedule.strip().lower().startswith("wsd")


def warmup_steps(schedule: str) -> int:
    """Steps of linear warm-up."""
    return WSD_WARMUP if is_wsd(schedule) else COSINE_WARMUP


def mean_rate(schedule: str, steps: float) -> float:
    """The learning rate's mean over all steps, in units of the peak rate."""
    if is_wsd(schedule):
        return max(1 - (WSD_WARMUP + WSD_DECAY) / (2 * steps), 0.5)  # two triangles beside a plateau
    rising = min(steps, COSINE_WARMUP)
    falling = (steps - rising) * (1 + COSINE_FLOOR) / 2  # a cosine's mean lies half-way between its ends
    return (rising**2 / (2 * COSINE_WARMUP) + falling) / steps
