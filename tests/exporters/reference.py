"""The spec's routing and balance loss, written out in numpy from their definitions, one token and expert at a time."""

import numpy as np

from moewright.architecture.feed_forwards import MoE


def gates(moe: MoE, logits: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """The weight of every expert for every token: 0 for those not chosen. logits: tokens x experts."""
    router, top_k = moe.router, moe.groups[0].top_k
    found = np.zeros_like(logits)
    for token, row in enumerate(logits):
        if router.score == "softmax":
            scores = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        else:
            scores = 1 / (1 + np.exp(-row))
        wanted = scores if bias is None else scores + bias
        if router.num_groups > 1:
            groups = wanted.reshape(router.num_groups, -1)
            best_of = 1 if router.score == "softmax" else 2
            ranks = [sum(sorted(group)[-best_of:]) for group in groups]
            allowed = np.argsort(ranks)[-router.top_groups :]
            size = groups.shape[1]
            wanted = np.array([w if e // size in allowed else -np.inf for e, w in enumerate(wanted)])
        chosen = np.argsort(wanted)[-top_k:]
        weights = scores[chosen]
        if router.score_after_top_k and router.score == "softmax":
            weights = np.exp(row[chosen]) / np.exp(row[chosen]).sum()
        if router.normalize:
            weights = weights / weights.sum()
        found[token, chosen] = router.scale * weights
    return found


def balance_loss(probabilities: np.ndarray, top_k: int) -> float:
    """E sum_i f_i P_i of one layer, with f_i the share of all choices: 1 when balanced. tokens x experts."""
    tokens, experts = probabilities.shape
    chosen = np.argsort(probabilities, axis=1)[:, -top_k:]
    shares = np.bincount(chosen.ravel(), minlength=experts) / (tokens * top_k)
    return float(experts * (shares * probabilities.mean(axis=0)).sum())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return shares
