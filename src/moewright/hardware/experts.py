"""How many experts a batch of tokens touches, on average and on the most loaded device, under balanced routing."""

import math
from typing import Any

import numpy as np


def distinct_experts(num_experts: Any, top_k: Any, tokens: Any) -> Any:
    """Expected number of distinct experts that `tokens` tokens use in one layer: E (1 - (1 - K/E)^T).

    Each token draws K different experts of E, all equally likely and independently of other tokens; an expert escapes
    one token with probability 1 - K/E. Real routing is less even and touches fewer. Numbers or columns.
    """
    return num_experts * (1 - (1 - top_k / num_experts) ** tokens)


def most_loaded(touched: Any, experts: Any, devices: int) -> Any:
    """Expected number of touched experts on the device that has most of them, as a bound.

    With a mean of m to a device the largest of D Poisson counts is near m + sqrt(2 m ln D) (Gaussian extreme value);
    it cannot exceed the touched experts, nor those that live on one device.
    """
    mean = touched / devices
    bound = mean + np.sqrt(2 * mean * math.log(devices))
    return np.minimum(np.minimum(bound, touched), np.maximum(experts / devices, 1.0))
