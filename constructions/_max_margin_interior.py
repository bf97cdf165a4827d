"""The max-margin linear programme by a primal-dual interior-point method that starts, and stays, strictly feasible.

max t with A w + b - s = t, s >= 0, p = 1 - w >= 0, q = 1 + w >= 0 has the interior point w = 0; its dual, min lambda . b + sum
(pi + kappa) with A^T lambda = pi - kappa, sum lambda = 1, has one for any lambda > 0. Slacks are computed anew from w and t in
each step, and pi or kappa raised until the equality holds, so rounding never leaves the two feasible sets.
Steps are Mehrotra's (1992, predictor and corrector); the one linear system per step has the unknowns of W alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from constructions._max_margin_problem import MarginProblem

MOST_STEPS = 120
INSIDE = 1 - 2.0**-53  # the largest float64 below 1
SMALLEST = 1e-250  # of anything that is divided by


@dataclass(frozen=True, eq=False)
class InteriorSolution:
    """The best map and the best dual weights that were met.

    Attributes:
        maps: W (r, m) with |W|_inf <= 1.
        weights: lambda (classes, sequences), 0 at the labels themselves, sum 1 up to rounding.
        steps: taken.
        reason: why it ended before the gap was closed; None when it was.
    """

    maps: np.ndarray
    weights: np.ndarray
    steps: int
    reason: str | None


def solve_interior(problem: MarginProblem, gap: float, stop_when_decided: bool = False, part: float = 0.95) -> InteriorSolution:
    """Solve until the bracket, as float64 sees it, is narrower than `gap`; with `stop_when_decided`, until it leaves out 0.

    Steps go `part` of the way to the boundary: closer to 1 is fewer steps, and more often stuck near a corner.
    """
    rank, size = problem.shape
    others, count = problem.others, int(problem.others.sum())
    offsets = np.zeros(others.shape) if problem.offsets is None else np.where(others, problem.offsets, 0.0)
    maps = np.zeros((rank, size))
    slack = np.where(others, offsets, 0.0)
    spread = float(np.abs(problem.adjoint(np.where(others, 1.0 / count, 0.0))).mean()) + float(np.ptp(offsets[others]))
    level = float(slack[others].min()) - max(spread, 1e-6)
    weights = np.where(others, 1.0 / count, 0.0)
    pull = problem.adjoint(weights)
    base = float(np.abs(pull).mean()) + max(spread, 1e-6) / (2 * rank * size)
    above, below = np.maximum(pull, 0) + base, np.maximum(-pull, 0) + base
    best_lower, best_upper = -np.inf, np.inf
    best_maps, best_weights = maps, weights
    reason: str | None = f"{MOST_STEPS} steps were not enough"
    stalled, taken = 0, 0
    for _ in range(MOST_STEPS):
        taken += 1
        margins = np.where(others, problem.linear_margins(maps, 0.0) + offsets, np.inf)
        slack = np.where(others, np.maximum(margins - level, SMALLEST), 1.0)
        upper_room, lower_room = 1.0 - maps, 1.0 + maps
        lower, upper = float(margins.min()), float((weights * offsets).sum() + np.abs(problem.adjoint(weights)).sum())
        better = lower > best_lower or upper < best_upper
        if lower > best_lower:
            best_lower, best_maps = lower, maps
        if upper < best_upper:
            best_upper, best_weights = upper, weights
        if best_upper - best_lower <= gap or (stop_when_decided and (best_lower > gap or best_upper < -gap)):
            reason = None
            break
        stalled = 0 if better else stalled + 1
        if stalled >= 6:
            reason = "rounding ended its progress"
            break
        products = (slack * weights)[others].sum() + (above * upper_room).sum() + (below * lower_room).sum()
        centre = float(products) / (count + 2 * rank * size)
        system = _System(problem, slack, weights, upper_room, lower_room, above, below)
        if not system.factored:
            reason = "the linear system of a step was too badly conditioned"
            break
        targets = (-slack * weights, -above * upper_room, -below * lower_room)
        first = system.step(*targets)
        primal, dual = first.lengths(slack, weights, upper_room, lower_room, above, below, others)
        left = (
            (np.where(others, (slack + primal * first.slack) * (weights + dual * first.weights), 0.0)).sum()
            + ((upper_room - primal * first.maps) * (above + dual * first.above)).sum()
            + ((lower_room + primal * first.maps) * (below + dual * first.below)).sum()
        )
        shrink = (max(float(left), 0.0) / (count + 2 * rank * size) / centre) ** 3
        aim = shrink * centre
        second = system.step(
            targets[0] + np.where(others, aim - first.slack * first.weights, 0.0),
            targets[1] + aim + first.maps * first.above,
            targets[2] + aim - first.maps * first.below,
        )
        primal, dual = second.lengths(slack, weights, upper_room, lower_room, above, below, others)
        primal, dual = min(1.0, part * primal), min(1.0, part * dual)
        maps = maps + primal * second.maps
        level = level + primal * second.level
        weights = np.where(others, weights + dual * second.weights, 0.0)
        above, below = above + dual * second.above, below + dual * second.below
        total = weights.sum()
        if not (np.isfinite(maps).all() and np.isfinite(total) and total > 0):
            reason = "numbers overflowed"
            break
        weights = np.where(others, np.maximum(weights / total, SMALLEST), 0.0)
        above, below = np.maximum(above / total, SMALLEST), np.maximum(below / total, SMALLEST)
        drift = problem.adjoint(weights) - (above - below)
        above, below = above + np.maximum(drift, 0), below + np.maximum(-drift, 0)
        maps = np.clip(maps, -INSIDE, INSIDE)
    return InteriorSolution(best_maps, best_weights, taken, reason)


@dataclass(frozen=True, eq=False)
class _Step:
    maps: np.ndarray
    level: float
    slack: np.ndarray
    weights: np.ndarray
    above: np.ndarray
    below: np.ndarray

    def lengths(
        self,
        slack: np.ndarray,
        weights: np.ndarray,
        upper_room: np.ndarray,
        lower_room: np.ndarray,
        above: np.ndarray,
        below: np.ndarray,
        others: np.ndarray,
    ) -> tuple[float, float]:
        """How far one may go, primal and dual, before something turns negative; at most 1 / 0.9."""
        primal = min(_room(slack[others], self.slack[others]), _room(upper_room, -self.maps), _room(lower_room, self.maps))
        dual = min(_room(weights[others], self.weights[others]), _room(above, self.above), _room(below, self.below))
        return primal, dual


def _room(values: np.ndarray, moves: np.ndarray) -> float:
    falling = moves < 0
    with np.errstate(over="ignore"):  # further than any step goes
        return float(min(1.0 / 0.9, (values[falling] / -moves[falling]).min(initial=np.inf)))


class _System:
    """Newton's equations at one point, factored once for predictor and corrector."""

    def __init__(
        self,
        problem: MarginProblem,
        slack: np.ndarray,
        weights: np.ndarray,
        upper_room: np.ndarray,
        lower_room: np.ndarray,
        above: np.ndarray,
        below: np.ndarray,
    ) -> None:
        self.problem, self.slack, self.weights = problem, slack, weights
        self.upper_room, self.lower_room, self.above, self.below = upper_room, lower_room, above, below
        self.scale = weights / slack  # 0 at the labels
        matrix = problem.gram(self.scale)
        flat = np.arange(len(matrix))
        matrix[flat, flat] += (above / upper_room + below / lower_room).ravel()
        self.factored = False
        for lift in (0.0, 1e-13, 1e-10):  # rows of no rank, or entries of very different sizes: a step need not be exact
            lifted = matrix.copy() if lift == 0.0 else matrix + lift * np.diag(np.diag(matrix) + np.trace(matrix) / len(matrix))
            try:
                self.factor = cho_factor(lifted, lower=True, overwrite_a=True)
            except (LinAlgError, ValueError):
                continue
            self.sums = problem.adjoint(self.scale).ravel()
            self.solved = cho_solve(self.factor, self.sums, check_finite=False)
            total = float(self.scale.sum())
            self.pivot = max(total - float(self.sums @ self.solved), 1e-15 * total)
            self.factored = bool(np.isfinite(self.pivot) and self.pivot > 0)
            if self.factored:
                break

    def step(self, for_slack: np.ndarray, for_above: np.ndarray, for_below: np.ndarray) -> _Step:
        """The step after which s lambda, pi p and kappa q have changed by these amounts, to first order."""
        ratio = for_slack / self.slack
        right = (self.problem.adjoint(ratio) - for_above / self.upper_room + for_below / self.lower_room).ravel()
        free = cho_solve(self.factor, right, check_finite=False)
        level = float(self.sums @ free - ratio.sum()) / self.pivot
        maps = (free + level * self.solved).reshape(self.problem.shape)
        slack = np.where(self.problem.others, self.problem.linear_margins(maps, 0.0) - level, 0.0)
        weights = ratio - self.scale * slack
        above = (for_above + self.above * maps) / self.upper_room
        below = (for_below - self.below * maps) / self.lower_room
        return _Step(maps, level, slack, weights, above, below)
