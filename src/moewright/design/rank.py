"""From the ranked candidates to the answer: the few worth showing, what bounds them and what more budget would buy."""

import time
from dataclasses import replace

import numpy as np

from moewright import laws
from moewright.architecture import counts
from moewright.design.budgets import Budgets
from moewright.design.result import Alike, Design, Designs
from moewright.design.search import BOUNDS, Losses, binding, costs, fill, law_variables, losses, memory_bytes
from moewright.design.space import Candidates, all_candidates, build
from moewright.errors import UserError
from moewright.laws import Law

# Losses of repeated runs differ by .001 to .010 nats (arXiv 2605.11689's repeats); less is no difference.
ALIKE_NATS = 0.001
# Below this share of a budget used, the answer says that the budget is not used up.
FULL = 0.9


def rank(budgets: Budgets, law_name: str, top: int) -> Designs:
    """Search, and make the answer. Of designs with the same experts (E, K, shared) only the best is shown."""
    start = time.perf_counter()
    if not 1 <= top <= 1000:
        raise UserError(f"top: expected 1 to 1000, found {top}")
    law = laws.get(law_name)
    if "loss" not in law.gives or not {"active_params", "active_experts"} <= {v.name for v in law.inputs}:
        raise UserError(f"law: {law.name} does not see both size and experts, so it cannot rank designs; use zhao2025")
    candidates = fill(budgets)
    loss = losses(law, candidates, budgets)
    best = float(loss.min())
    designs = tuple(
        _design(candidates.take([row]), float(loss[row]), best, budgets, law)
        for row in _best_of_each_kind(candidates, loss, top)
    )
    return Designs(
        budgets=budgets,
        designs=designs,
        laws=(law.name,),
        optimum=law.optimum(total_params=float(designs[0].total_params)),
        alike=_alike(candidates, loss),
        shadow_prices={law.name: _shadow_prices(budgets, law, candidates, best)},
        considered=len(all_candidates()),
        feasible=len(candidates),
        seconds=time.perf_counter() - start,
        warnings=tuple(_warnings(designs[0], budgets)),
    )


def _best_of_each_kind(candidates: Candidates, loss: Losses, top: int) -> list[int]:
    """Rows of the best design of every (E, K, shared), best first; ties go to fewer experts, then fewer layers."""
    kind = (candidates.num_experts * 1000 + candidates.top_k) * 1000 + candidates.shared_experts
    by_kind = np.lexsort((candidates.num_layers, loss, kind))
    first = by_kind[np.flatnonzero(np.diff(kind[by_kind], prepend=-1))]
    order = np.lexsort((candidates.num_layers[first], candidates.num_experts[first], loss[first]))
    return [int(row) for row in first[order[:top]]]


def _design(this: Candidates, loss: float, best: float, budgets: Budgets, law: Law) -> Design:
    architecture = build(this, budgets.vocab_size, budgets.context)
    taken = {
        "memory_bytes": memory_bytes(architecture, budgets),
        "total_params": counts.total_params(architecture),
        "active_params": counts.active_params(architecture),
    }
    assert taken == costs(this, budgets), "the columns and the built architecture describe unlike models"
    variables = law_variables(law, this, budgets)
    domain = law.domain(**{name: float(np.squeeze(value)) for name, value in variables.items()})
    return Design(
        architecture=architecture,
        family="dots1" if this.shared_experts[0] else "qwen3_moe",
        **taken,
        predicted_loss={law.name: loss},
        regret={law.name: loss - best},
        binding=tuple(BOUNDS[name] for name, binds in binding(this, budgets).items() if binds[0]),
        extrapolation={law.name: {name: s.factor for name, s in domain.items() if s.status in ("below", "above")}},
    )


def _alike(candidates: Candidates, loss: Losses) -> Alike:
    near = candidates.take(loss <= loss.min() + ALIKE_NATS)
    ranges = {name: (int(column.min()), int(column.max())) for name, column in vars(near).items()}
    return Alike(ALIKE_NATS, len(near), ranges)


def _shadow_prices(budgets: Budgets, law: Law, candidates: Candidates, best: float) -> dict[str, float]:
    more_tokens = replace(budgets, train_tokens=1.1 * budgets.train_tokens)
    prices = {"train-tokens": float(losses(law, candidates, more_tokens).min()) - best}
    for name, option in BOUNDS.items():
        if getattr(budgets, name) is not None:
            more = replace(budgets, **{name: 1.1 * getattr(budgets, name)})
            prices[option] = float(losses(law, fill(more), more).min()) - best
    return prices


def _warnings(best: Design, budgets: Budgets) -> list[str]:
    found = []
    for law, variables in best.extrapolation.items():
        if variables:
            far = ", ".join(f"{name} {factor:.3g} times" for name, factor in variables.items())
            found.append(f"{law} is outside the range of its runs: {far}; trust the order more than the loss")
    for name, option in BOUNDS.items():
        budget = getattr(budgets, name)
        used = getattr(best, name) / budget if budget else 1.0
        if used < FULL:
            found.append(f"{option}: the best design uses {used:.0%} of this budget; another one binds first")
    return found
