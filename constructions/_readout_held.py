"""Which associations a readout is to hold when it cannot hold all: drop what is most in the way, take back what fits."""

from dataclasses import dataclass

import numpy as np

from constructions._max_margin import MarginBracket, Solver, max_margin
from constructions._max_margin_problem import MarginProblem

DROP_ROUNDS, GROW_ROUNDS = 40, 24


@dataclass(frozen=True, eq=False)
class HeldSet:
    """A map and the sequences on which all its margins are certainly positive.

    Attributes:
        maps: W (r, m), |W|_inf <= 1.
        held: indices of the sequences, ascending.
        lower, upper: bracket of the best margin on exactly these.
        steps: solver steps taken in all.
    """

    maps: np.ndarray
    held: np.ndarray
    lower: float
    upper: float
    steps: int


def solve_on(
    problem: MarginProblem, kept: np.ndarray, solver: Solver, start: np.ndarray | None, most_steps: int
) -> MarginBracket:
    """The bracket on some of the sequences."""
    part = problem.select(kept)
    return max_margin(part.features, part.labels, part.code, solver=solver, start=start, most_steps=most_steps)


def hold_most(problem: MarginProblem, solver: Solver, most_steps: int) -> HeldSet:
    """A large set of sequences that one map gets right: a heuristic, whose answer is certain and whose size is not the largest.

    Squared hinges on all; then the worst half of what is wrong is dropped until the rest is right, and what was dropped is
    taken back, nearest first, in batches that halve when they do not fit.
    """
    total = problem.features.shape[1]
    kept = np.arange(total)
    most_steps = max(1, most_steps // 4)  # of each of many solves, none of which has to be finished
    found = solve_on(problem, kept, "newton", None, most_steps)
    steps = found.steps
    for _ in range(DROP_ROUNDS):
        if found.lower > 0:
            break
        wrong = np.flatnonzero(found.per_sequence <= 0)
        worst = wrong[np.argsort(found.per_sequence[wrong], kind="stable")][: (len(wrong) + 1) // 2]
        kept = np.delete(kept, worst)
        if not len(kept):
            return HeldSet(np.zeros(problem.shape), kept, 0.0, 0.0, steps)
        found = solve_on(problem, kept, "newton", found.maps, most_steps)
        steps += found.steps
    if found.lower <= 0:
        kept = kept[found.per_sequence > 0]
    best = found.maps
    batch = max(1, (total - len(kept)) // 2)
    for _ in range(GROW_ROUNDS):
        margins = problem.margins(best).min(axis=0)
        kept = np.union1d(kept, np.flatnonzero(margins > 1e-9))
        outside = np.setdiff1d(np.arange(total), kept)
        if not len(outside) or batch < 1:
            break
        nearest = outside[np.argsort(-margins[outside], kind="stable")][:batch]
        grown = np.union1d(kept, nearest)
        tried = solve_on(problem, grown, "newton", best, most_steps)
        steps += tried.steps
        if tried.lower > 0:
            kept, best = grown, tried.maps
        else:
            batch //= 2
    part = problem.select(kept)
    if not len(kept):
        return HeldSet(best, kept, 0.0, 0.0, steps)
    last = max_margin(part.features, part.labels, part.code, solver=solver, start=best, most_steps=4 * most_steps)
    if not last.lower > 0:
        last = max_margin(part.features, part.labels, part.code, solver="newton", start=best, most_steps=most_steps)
    right = last.per_sequence > 0
    return HeldSet(last.maps, kept[right], last.lower, last.upper, steps + last.steps)


