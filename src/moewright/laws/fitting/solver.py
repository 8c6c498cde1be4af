"""A damped Newton method for many candidate laws at once, inside bounds. It serves squared, Huber and bisquare costs.

Levenberg and Marquardt's method with two matrices: N = J' diag(w rho'') J, Newton's without curvature of the law, and
W = J' diag(w rho'/r) J, that of reweighted least squares, which is never less than N. A step solves
(N + lambda (W + diag W)) step = -gradient: for large lambda a short, safe one, for small lambda Newton's, which a Huber
cost with most rows outside delta needs, because reweighting alone converges slowly there. Where a bounded cost bends
downwards (`Objective.slopes`) N takes 0, so that every step descends.

The coefficients of a law lie in curved valleys (a larger exponent with a much larger factor), along which straight
steps are short. So after each step the linear coefficients are chosen again, by weighted least squares, to reach the
residuals that the step promised. Started from projected coefficients (`Problem.with_best_linear`), this is variable
projection in Kaufman's form (1975), and it holds for Huber costs too. On zhao2025 with 446 rows it brings all bootstrap
replicates to their optimum in 20 to 40 iterations; without it a quarter arrives in 80.
"""

from dataclasses import dataclass

import numpy as np

from moewright.laws.fitting.problem import Problem
from moewright.laws.variable import Array, Mask

_LARGEST_DAMPING = 1e12


@dataclass(frozen=True)
class Solution:
    """Where the candidates ended: u (S, P), mean cost (S,), whether each converged (S,)."""

    u: Array
    cost: Array
    converged: Mask


def minimise(
    problem: Problem,
    u: Array,
    weights: Array,
    *,
    iterations: int,
    tolerance: float = 1e-10,
    held: Mask | None = None,
) -> Solution:
    """Improve candidates u (S, P) on rows weighted by (S, R); stops where a step promises a relative gain < tolerance.

    `held` (S, P) of bool keeps single coefficients of single candidates as they are (profiles).
    """
    u = np.clip(u, problem.lower, problem.upper)
    may_move = np.broadcast_to(problem.free, u.shape) if held is None else problem.free & ~held
    share = weights / weights.sum(axis=1, keepdims=True)
    cost = _cost(problem, u, share)
    converged = np.zeros(len(u), dtype=bool)
    damping, growth = np.full(len(u), 1e-2), np.full(len(u), 4.0)
    residual, jacobian = problem.linearise(u)
    at_work = np.flatnonzero(np.isfinite(cost))
    residual, jacobian = residual[at_work], jacobian[at_work]
    for _ in range(iterations):
        if not len(at_work):
            break
        here, w, lam = u[at_work], share[at_work], damping[at_work]
        slope, bend, pull = problem.objective.slopes(residual)
        gradient = (jacobian @ (w * slope)[:, :, None])[:, :, 0]
        newton = (jacobian * (w * bend)[:, None, :]) @ jacobian.swapaxes(1, 2)
        reweighted = newton
        if problem.objective.delta is not None:
            reweighted = (jacobian * (w * pull)[:, None, :]) @ jacobian.swapaxes(1, 2)
        blocked = ((here <= problem.lower) & (gradient > 0)) | ((here >= problem.upper) & (gradient < 0))
        step, gain = _step(gradient, newton, reweighted, lam, may_move[at_work] & ~blocked)
        trial = np.clip(here + step, problem.lower, problem.upper)
        promised = residual + (step[:, None, :] @ jacobian)[:, 0]
        trial = problem.with_best_linear(trial, w * pull, promised, may_move[at_work])
        trial_cost = _cost(problem, trial, w)
        better = trial_cost < cost[at_work]
        # Near the optimum rounding hides the gain; a tiny promised one means arrival whether or not it came true.
        arrived = gain <= tolerance * cost[at_work]
        stuck = ~better & (lam > _LARGEST_DAMPING)
        u[at_work[better]], cost[at_work[better]] = trial[better], trial_cost[better]
        growth[at_work] = np.where(better, 4.0, growth[at_work] * 2)
        damping[at_work] = np.where(better, np.maximum(lam / 5, 1e-9), lam * growth[at_work])
        converged[at_work[arrived]] = True
        going = ~(arrived | stuck)
        fresh = going & better
        if fresh.any():
            residual[fresh], jacobian[fresh] = problem.linearise(u[at_work[fresh]])
        at_work, residual, jacobian = at_work[going], residual[going], jacobian[going]
    return Solution(u, cost, converged)


def _cost(problem: Problem, u: Array, share: Array) -> Array:
    cost = problem.objective.cost(problem.residual(u))
    with np.errstate(invalid="ignore"):
        total = np.where(share > 0, share * cost, 0.0).sum(axis=1)
    return np.asarray(total)


def _step(gradient: Array, newton: Array, reweighted: Array, damping: Array, moves: Mask) -> tuple[Array, Array]:
    """Steps (S, P) of the coefficients that move, and the gain that each promises, (S,)."""
    size = np.sqrt(np.maximum(np.diagonal(reweighted, axis1=1, axis2=2), 1e-300))
    outer = size[:, :, None] * size[:, None, :]
    eye = np.eye(gradient.shape[1])
    system = (newton + damping[:, None, None] * reweighted) / outer + damping[:, None, None] * eye
    system = (
        np.where(moves[:, :, None] & moves[:, None, :], system, 0.0) + np.where(moves, 1e-12, 1.0)[:, :, None] * eye
    )
    pull = np.where(moves, gradient / size, 0.0)
    try:
        scaled = -np.linalg.solve(system, pull[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        scaled = -pull / (1 + damping[:, None])
    return np.where(moves, scaled / size, 0.0), -0.5 * np.sum(pull * scaled, axis=1)
