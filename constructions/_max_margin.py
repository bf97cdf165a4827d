"""The best margin that one linear readout of given features has, as a bracket with a certificate at either end.

max t over maps W (r, m) with |W|_inf <= 1 such that (u_y - u_j) . W f + b >= t for every sequence and every class j other than
its label y. Always feasible and bounded. The lower end is the least margin of a W, evaluated with its rounding error bounded; the
upper end follows from weights lambda >= 0 with sum 1, as every W has margin at most |sum lambda (u_y - u_j) (x) f|_1 + sum
lambda b.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linprog

from constructions._max_margin_bounds import lower_bound, proves_infeasible, upper_bound
from constructions._max_margin_interior import solve_interior
from constructions._max_margin_newton import solve_newton
from constructions._max_margin_problem import MarginProblem, rescaled, scaled_back

Solver = Literal["auto", "lp", "newton"]
Decision = Literal["feasible", "infeasible", "undecided"]
LARGEST_SIMPLEX = 1 << 22  # entries of the programme written out, up to which HiGHS is a last resort
LARGEST_PROGRAMME = 1200  # unknowns up to which "auto" solves the linear programme


@dataclass(frozen=True, eq=False)
class MarginBracket:
    """What is known of the best margin.

    Attributes:
        maps: W (r, m), |W|_inf <= 1, with least margin at least `lower` where that is positive.
        weights: lambda (classes, sequences), the dual certificate of `upper`; sum 1 up to rounding.
        lower, upper: certain bounds on the best margin, in units of code times feature. Without offsets `lower` is at least 0,
            as W = 0 shows, also where "newton" hands back a W that gets some sequences wrong. What float64 cannot hold is
            rounded outwards: a lower end to 0 or the largest number, an upper end to the least number or infinity.
        per_sequence: certain lower bounds on the least margin of `maps` for each sequence.
        tolerance: how close to 0 an upper end counts as "infeasible" without a proof, in units of code times feature.
        proved_infeasible: exact weights with vanishing combination certainly exist (then `upper` is 0), or `upper` < 0.
        solver: "lp" or "newton".
        steps: interior-point steps, or products with a Hessian.
        reason: why the bracket stayed wide; None when it did not.
    """

    maps: Float[np.ndarray, "code_dim features"]
    weights: Float[np.ndarray, "classes sequences"]
    lower: float
    upper: float
    per_sequence: Float[np.ndarray, " sequences"]
    tolerance: float
    proved_infeasible: bool
    solver: str
    steps: int
    reason: str | None = None

    @property
    def gap(self) -> float:
        """upper - lower."""
        return self.upper - self.lower

    @property
    def decision(self) -> Decision:
        """Whether all margins can be positive: "feasible" is always proved, "infeasible" where `proved_infeasible` says so."""
        if self.lower > 0:
            return "feasible"
        return "infeasible" if self.proved_infeasible or self.upper < self.tolerance else "undecided"


def max_margin(
    features: Float[np.ndarray, "features sequences"],
    labels: Int[np.ndarray, " sequences"],
    code: Float[np.ndarray, "classes code_dim"],
    offsets: Float[np.ndarray, "classes sequences"] | None = None,
    *,
    solver: Solver = "auto",
    tolerance: float = 1e-9,
    decide_only: bool = False,
    start: Float[np.ndarray, "code_dim features"] | None = None,
    most_steps: int = 20_000,
) -> MarginBracket:
    """Bracket the best least margin of a linear readout.

    Args:
        features: F, a column f per sequence; of size about 1 for the tolerance to mean something. Rows that are orthonormal, or
            nearly, make both solvers fast. Features and code of other sizes than about 1 are solved rescaled by powers of two;
            entries less than 1e-290 of an array's largest may be lost in the bounds.
        labels: per sequence the row of `code` that has to win.
        code: U, at least two rows.
        offsets: b, added to the margin of each class and sequence (the labels' own entries are ignored). Margins can then all be
            negative, and best margins below 0 are proved by their upper end.
        solver: "lp", an interior-point method, to a gap of `tolerance` at most where rounding allows; "newton", which stops at a
            margin that is positive but not the best, its bracket being wide then, and takes no offsets; "auto" by size.
        tolerance: of the gap, and of the decision. Where the largest feature or code entry is beyond 2^-17 to 2^16, that entry's
            power of two is its unit.
        decide_only: stop once the sign of the best margin is known.
        start: W to start from, for "newton".
        most_steps: products with a Hessian for "newton".

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, fewer than two classes, an illegal option.

    Source: the bounded form of the separability problem; its certificates are derived here.
    """
    _check(features, labels, code, offsets, solver, tolerance)
    problem, exponent = rescaled(MarginProblem(features, labels, code, offsets))
    if start is not None and exponent:
        with np.errstate(all="ignore"):
            start = np.ldexp(start, exponent)  # margins as they were
        start = start if np.isfinite(start).all() else None
    found = _bracketed(problem, solver, tolerance, decide_only, start, most_steps)
    if exponent == 0:
        return found
    return replace(
        found,
        lower=float(scaled_back(np.array(found.lower), exponent, upwards=False)),
        upper=float(scaled_back(np.array(found.upper), exponent, upwards=True)),
        per_sequence=scaled_back(found.per_sequence, exponent, upwards=False),
        tolerance=float(scaled_back(np.array(tolerance), exponent, upwards=False)),
    )


def _bracketed(
    problem: MarginProblem, solver: Solver, tolerance: float, decide_only: bool, start: np.ndarray | None, most_steps: int
) -> MarginBracket:
    """The bracket of a problem of ordinary size."""
    offsets = problem.offsets
    if solver == "auto":
        solver = "lp" if problem.unknowns <= LARGEST_PROGRAMME or offsets is not None else "newton"
    if solver == "newton":
        found = solve_newton(problem, start=start, most_steps=most_steps)
        maps, weights, steps, reason = found.maps, found.weights, found.steps, found.reason
        largest = float(np.abs(maps).max())
        maps = maps / (largest * (1 + 1e-15)) if largest > 0 else maps
        weights = np.where(problem.others, weights, 0.0)
        weights = weights / weights.sum() if weights.sum() > 0 else problem.others / problem.others.sum()
    else:
        solved = solve_interior(problem, 0.1 * tolerance, decide_only)
        if solved.reason is not None:
            again = solve_interior(problem, 0.1 * tolerance, decide_only, part=0.7)
            if again.reason is None or upper_bound(problem, again.weights) < upper_bound(problem, solved.weights):
                solved = again
        maps, weights, steps, reason = solved.maps, solved.weights, solved.steps, solved.reason
    lower, per_sequence = lower_bound(problem, maps)
    upper = upper_bound(problem, weights)
    if solver == "lp" and reason is not None and upper - lower > tolerance:
        for other_maps, other_weights in _by_simplex(problem):
            other_lower, other_rows = lower_bound(problem, other_maps)
            if other_lower > lower:
                maps, lower, per_sequence = other_maps, other_lower, other_rows
            other_upper = upper_bound(problem, other_weights)
            if other_upper < upper:
                weights, upper = other_weights, other_upper
    if solver == "lp" and upper - lower <= tolerance:
        reason = None
    if offsets is None and lower <= 0:  # W = 0 is exact: no margin is below 0
        lower = 0.0
        if solver == "lp":
            maps, per_sequence = np.zeros_like(maps), np.zeros(len(problem.labels))
    proved = upper < 0
    if lower <= 0 and not proved and proves_infeasible(problem, weights):
        upper, proved = 0.0, True
    if reason is None and solver == "newton" and upper - lower > tolerance:
        reason = "the first positive margin was enough"
    return MarginBracket(maps, weights, lower, upper, per_sequence, tolerance, proved, solver, steps, reason)


def _by_simplex(problem: MarginProblem) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A vertex by HiGHS, where rounding stopped the interior-point method short: its certificates are checked like any other."""
    rows = problem.differences[:, None] * problem.features[None, :, None, :]
    matrix = rows.reshape(problem.unknowns, -1).T[problem.others.ravel()]
    if matrix.size > LARGEST_SIMPLEX:
        return
    given = problem.offsets
    offsets = np.zeros(len(matrix)) if given is None else given[problem.others]
    cost = np.append(np.zeros(problem.unknowns), -1.0)
    solved = linprog(
        cost, A_ub=np.hstack([-matrix, np.ones((len(matrix), 1))]), b_ub=offsets,
        bounds=[(-1, 1)] * problem.unknowns + [(None, None)], method="highs-ds",
    )  # fmt: skip
    if solved.status == 0 and solved.x is not None:
        weights = np.zeros(problem.others.shape)
        weights[problem.others] = np.maximum(0.0, -solved.ineqlin.marginals)
        if weights.sum() > 0:
            yield np.clip(solved.x[:-1], -1, 1).reshape(problem.shape), weights / weights.sum()


def _check(
    features: np.ndarray, labels: np.ndarray, code: np.ndarray, offsets: np.ndarray | None, solver: str, tolerance: float
) -> None:
    for name, array in (("features", features), ("code", code), ("offsets", offsets)):
        if array is not None and (array.dtype != np.float64 or not np.isfinite(array).all()):
            raise ValueError(f"{name} has type {array.dtype} or entries that are not finite: finite float64 numbers are legal")
    if features.ndim != 2 or code.ndim != 2 or min(features.shape) < 1 or code.shape[1] < 1:
        shapes = f"{features.shape} and {code.shape}"
        raise ValueError(f"features and code have shapes {shapes}: (m, T) and (N, r), all at least 1, are legal")
    if len(code) < 2:
        raise ValueError(f"code has {len(code)} rows: at least 2 are legal")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels has type {labels.dtype}: whole numbers are legal")
    if labels.shape != (features.shape[1],) or labels.min() < 0 or labels.max() >= len(code):
        raise ValueError(f"labels: one of 0 to {len(code) - 1} for each of the {features.shape[1]} sequences is legal")
    if offsets is not None and offsets.shape != (len(code), len(labels)):
        raise ValueError(f"offsets has shape {offsets.shape}: (classes, sequences) = {(len(code), len(labels))} is legal")
    if solver not in ("auto", "lp", "newton"):
        raise ValueError(f"solver = {solver!r}: 'auto', 'lp' and 'newton' are legal")
    if solver == "newton" and offsets is not None:
        raise ValueError("offsets with solver = 'newton': offsets need solver = 'lp'")
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"tolerance = {tolerance}: a number above 0 is legal")
