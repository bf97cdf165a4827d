"""The soft readout program: weights in a box with the least total violation, and prices that prove how little is possible.

    minimise sum_c max(0, 1 - (A w)_c)  over |w|_inf <= box;
    for any prices 0 <= lam <= 1 it is at least  sum(lam) - box |A^T lam|_1.

Both sides are evaluated here for whatever the solver hands out, so that a bracket stands whether or not the solver did well.
The gap splits into terms >= 0, one per column: box |price| - weight price. So a column in the program is worth at most the gap.
The solver is Mehrotra's predictor-corrector for this very form (one Cholesky factor of the size of w per step); its prices lie
inside the face of best ones instead of in a corner, which makes for better new columns. Derived here from standard duality.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import linprog

from constructions._max_margin_bounds import lower_bound, upper_bound
from constructions._max_margin_problem import MarginProblem

BOX = 100.0
STEPS = 60
CENTRED = 0.995  # part of the way to the boundary that a step goes


@dataclass(frozen=True)
class Readout:
    """A pair of weights and prices.

    Attributes:
        weights: w, inside the box (columns,).
        prices: lam in [0, 1], one per inequality.
        violation: total violation of `weights`, as evaluated in float64.
        bound: no weights in the box have less violation than this, as evaluated in float64.
        margin: the least (A w)_c; everything is right when it is positive.
    """

    weights: Float[np.ndarray, " columns"]
    prices: Float[np.ndarray, " inequalities"]
    violation: float
    bound: float
    margin: float


def solve_soft(
    matrix: Float[np.ndarray, "inequalities columns"],
    *,
    box: float = BOX,
    tolerance: float = 1e-3,
    enough_margin: float = np.inf,
    worthless: float = np.inf,
) -> Readout:
    """Weights and prices with violation - bound <= tolerance x max(1, violation), unless rounding stops the solver earlier.

    Args:
        matrix: A.
        box: largest absolute weight.
        tolerance: relative gap to stop at.
        enough_margin: stop as soon as every inequality has this margin.
        worthless: stop as soon as the bound says that the violation can't come below this.
    """
    point = _Point.middle(matrix.shape[0], matrix.shape[1], box)
    best = Readout(point.weights, point.prices, np.inf, -np.inf, -np.inf)
    for _ in range(STEPS):
        scores, forces = matrix @ point.weights, matrix.T @ point.prices
        best = _better(best, point, scores, forces)
        if best.violation - best.bound <= tolerance * max(1.0, best.violation):
            break
        if best.margin >= enough_margin or best.bound >= worthless:
            break
        try:
            newton = _Newton(matrix, point, scores, forces)
        except LinAlgError:
            break  # as near to the boundary as float64 gets; the bracket says how near that is
        pairs = point.pairs()
        first = newton.direction(*(-left * right for left, right in pairs))
        primal, dual = first.rooms(point)
        product = sum(float(left @ right) for left, right in pairs)
        changes = first.changes()
        after = sum(
            float((left + primal * d_left) @ (right + dual * d_right))
            for (left, right), (d_left, d_right) in zip(pairs, changes, strict=True)
        )
        target = product / (2 * sum(matrix.shape)) * (after / product) ** 3
        second = newton.direction(
            *(target - left * right - d_left * d_right for (left, right), (d_left, d_right) in zip(pairs, changes, strict=True))
        )
        if not (np.isfinite(second.weights).all() and np.isfinite(second.prices).all()):
            break
        primal, dual = second.rooms(point)
        point = point.moved(second, CENTRED * primal, CENTRED * dual)
    return best


@dataclass(frozen=True)
class _Point:
    """An inner point: w, the slacks, what is over (A w + slack - 1), the prices, and the prices of the box's two sides."""

    weights: np.ndarray
    slack: np.ndarray
    surplus: np.ndarray
    prices: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    box: float

    @classmethod
    def middle(cls, rows: int, columns: int, box: float) -> "_Point":
        """No weights, and prices half-way."""
        ones = np.ones(rows)
        return cls(np.zeros(columns), 1.5 * ones, 0.5 * ones, 0.5 * ones, np.ones(columns), np.ones(columns), box)

    def pairs(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Positive numbers whose products vanish at the optimum, the primal one first."""
        return (
            (self.surplus, self.prices),
            (self.slack, 1.0 - self.prices),
            (self.box - self.weights, self.upper),
            (self.box + self.weights, self.lower),
        )

    def moved(self, by: "_Point", primal: float, dual: float) -> "_Point":
        """The point after a step."""
        return _Point(
            self.weights + primal * by.weights,
            self.slack + primal * by.slack,
            self.surplus + primal * by.surplus,
            self.prices + dual * by.prices,
            self.upper + dual * by.upper,
            self.lower + dual * by.lower,
            self.box,
        )

    def changes(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """`pairs` of a direction."""
        return (
            (self.surplus, self.prices),
            (self.slack, -self.prices),
            (-self.weights, self.upper),
            (self.weights, self.lower),
        )

    def rooms(self, point: "_Point") -> tuple[float, float]:
        """How far this direction may be followed from a point, for weights and for prices."""
        pairs = list(zip(point.pairs(), self.changes(), strict=True))
        return min(_room(p[0], c[0]) for p, c in pairs), min(_room(p[1], c[1]) for p, c in pairs)


class _Newton:
    """The linear system of one step, reduced to the size of w and factored."""

    def __init__(self, matrix: np.ndarray, point: _Point, scores: np.ndarray, forces: np.ndarray) -> None:
        self.matrix, self.point = matrix, point
        _, (_, self.rest), (self.above, _), (self.below, _) = point.pairs()
        self.broken = point.surplus + 1.0 - scores - point.slack
        self.unbalanced = forces - point.upper + point.lower
        self.scale = point.slack / self.rest + point.surplus / point.prices
        normal = (matrix.T / self.scale) @ matrix
        normal[np.diag_indices(len(normal))] += point.upper / self.above + point.lower / self.below
        self.factor = cho_factor(normal, overwrite_a=True, check_finite=False)

    def direction(self, surplus: np.ndarray, slack: np.ndarray, above: np.ndarray, below: np.ndarray) -> _Point:
        """Where the products of the pairs change by these amounts, to first order."""
        point = self.point
        part = (self.broken - slack / self.rest + surplus / point.prices) / self.scale
        wanted = self.unbalanced + self.matrix.T @ part - above / self.above + below / self.below
        move = cho_solve(self.factor, wanted, check_finite=False)
        prices = part - (self.matrix @ move) / self.scale
        return _Point(
            move,
            (slack + point.slack * prices) / self.rest,
            (surplus - point.surplus * prices) / point.prices,
            prices,
            (above + point.upper * move) / self.above,
            (below - point.lower * move) / self.below,
            point.box,
        )


def _room(values: np.ndarray, change: np.ndarray) -> float:
    """How far a step may go, at most 1, before one of the positive values vanishes."""
    falling = change < 0
    return min(1.0, float((-values[falling] / change[falling]).min(initial=1.0)))


def _better(best: Readout, point: _Point, scores: np.ndarray, forces: np.ndarray) -> Readout:
    """The best weights and the best prices so far, each judged for itself."""
    weights, prices = point.weights, point.prices
    violation = float(np.maximum(0.0, 1.0 - scores).sum())
    bound = float(prices.sum() - point.box * np.abs(forces).sum())
    margin = float(scores.min(initial=np.inf))
    if violation > best.violation:
        weights, violation, margin = best.weights, best.violation, best.margin
    if bound < best.bound:
        prices, bound = best.prices, best.bound
    return Readout(weights, prices, violation, bound, margin)


def rounding(matrix: Float[np.ndarray, "inequalities columns"], readout: Readout, box: float = BOX) -> tuple[float, float]:
    """How far off `violation` and `bound` may be, as every sum and product was rounded.

    Returns:
        A bound for each: |computed - exact| for the matrix as stored; standard model of float64, gamma_n = n u / (1 - n u).
    """
    rows, columns = matrix.shape
    unit = np.finfo(np.float64).eps  # twice the unit roundoff: covers what this very computation rounds
    sizes = np.abs(matrix)
    scores = sizes @ np.abs(readout.weights)
    gamma = (rows + columns + 4) * unit
    of_violation = gamma * float((scores + 1.0 + np.abs(readout.weights).max(initial=0.0)).sum())
    of_bound = gamma * float(readout.prices.sum() + box * (sizes.T @ readout.prices).sum())
    return 2 * of_violation, 2 * of_bound


@dataclass(frozen=True)
class Margin:
    """A bracket on the largest margin: max over |w|_inf <= 1 of min_c (A w)_c.

    Attributes:
        weights: w, inside the unit box.
        reached: the margin of `weights` at least, rounding included.
        ceiling: no weights in the box have more, rounding included: |A^T lam|_1 of prices lam >= 0 that sum to 1; infinite
            without prices.
    """

    weights: Float[np.ndarray, " columns"]
    reached: float
    ceiling: float


def widest_margin(matrix: Float[np.ndarray, "inequalities columns"], start: Float[np.ndarray, " columns"]) -> Margin:
    """The best of `start`, scaled into the unit box, and of what the linear program's solver finds; both sides bounded here.

    The program max t, A w >= t, |w|_inf <= 1 is always feasible and bounded, so that there is always something to bracket.
    """
    rows, columns = matrix.shape
    # The margins of two classes with the code 1/2 and -1/2 are (A w)_c.
    problem = MarginProblem(np.ascontiguousarray(matrix.T), np.zeros(rows, dtype=np.int64), np.array([[0.5], [-0.5]]))
    lengths = np.abs(matrix).max(initial=1e-300)  # one scale for all: it leaves the best w alone
    scaled = matrix / lengths
    result = linprog(
        np.append(np.zeros(columns), -1.0),
        A_ub=np.column_stack([-scaled, np.ones(rows)]),
        b_ub=np.zeros(rows),
        bounds=[(-1.0, 1.0)] * columns + [(None, None)],
        method="highs-ds",
    )
    best = start / max(np.abs(start).max(initial=0.0), 1e-300)
    reached = float((matrix @ best).min())
    ceiling = np.inf
    if result.x is not None and np.isfinite(result.x).all():
        found = np.clip(result.x[:-1], -1.0, 1.0)
        margin = float((matrix @ found).min())
        if margin > reached:
            best, reached = found, margin
    if result.status == 0:
        prices = np.maximum(0.0, -result.ineqlin.marginals)
        if prices.sum() > 0:
            ceiling = upper_bound(problem, np.stack([np.zeros(rows), prices / prices.sum()]))
    return Margin(best, lower_bound(problem, best[None])[0], ceiling)
