"""Why no design is within the budgets, and how far each budget alone would have to move."""

import numpy as np

from moewright.designs.candidates import columns
from moewright.designs.costs import Limit, show_budget, sizes_within
from moewright.designs.groups import Groups
from moewright.designs.search import Question
from moewright.errors import UserError


def no_design(question: Question) -> UserError:
    """One line: the budgets that nothing is within, and the nearest value of each at which something is."""
    reachable = {limit: _least(question.groups, limit, others(question.bounds, limit)) for limit in question.bounds}
    alone = next(
        (limit for limit in question.bounds if _least(question.groups, limit, ()) > limit.most), question.bounds[0]
    )
    given = " and ".join(f"{limit.option} {show_budget(limit, limit.most)}" for limit in question.bounds)
    nearest = [
        f"{limit.option} {show_budget(limit, least, nearest=True)}"
        for limit, least in reachable.items()
        if np.isfinite(least)
    ]
    b = question.budgets
    conditions = f"a vocabulary of {question.space.vocab_size:,}"
    if b.memory_bytes is not None:
        conditions += f", weights in {b.weights_dtype} and a cache of {b.batch} x {b.context:,} tokens"
    hope = f"nearest feasible: {' or '.join(nearest)}" if nearest else "no single budget can mend it; raise all of them"
    return UserError(f"{alone.option}: no design of the space is within {given} ({conditions}); {hope}")


def others(bounds: tuple[Limit, ...], limit: Limit) -> tuple[Limit, ...]:
    """All bounds but one."""
    return tuple(other for other in bounds if other is not limit)


def _least(groups: Groups, limit: Limit, bounds: tuple[Limit, ...]) -> float:
    """The least that any design within the bounds takes of a budget; infinite if there is none.

    Costs grow with the expert size, so only the narrowest of each group is counted.
    """
    least = np.inf
    for chunk in groups.chunks():
        within = sizes_within(chunk, bounds, groups.space)[0]
        if len(within):
            least = min(least, float(np.min(limit.cost(columns(within, groups.space.vocab_size)))))
    return least
