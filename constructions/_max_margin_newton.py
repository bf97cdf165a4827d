"""The multiclass max-margin problem at size: Newton's method on squared hinges, matrix-free, with the margin to reach set to 1.

min 1/2 sum over constraints of max(0, 1 - margin)^2 + mu/2 |W|^2 has violations v = max(0, 1 - margin) with mu W = A^T v at its
minimum, so the violations are dual weights: |A^T v|_1 / sum v = mu |W|_1 / sum v bounds every margin. As mu falls, margins go to
1 where that is possible, and that bound goes to 0 where it is not. The generalised Newton step (Mangasarian 2002) is by conjugate
gradients on the violated constraints; the line search along it is exact, as the function is piecewise quadratic there.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from constructions._max_margin_problem import MarginProblem

FIRST_WEIGHT, LAST_WEIGHT, WEIGHT_STEP = 1e-4, 1e-10, 1e-2  # of |W|^2, for features of mean square 1
ACCURACY = 0.03  # of the gradient at the end of a weight, relative to its part that the norm makes
LARGEST_DIRECT = 600  # unknowns up to which a step is solved for by a factorisation
STUCK = 0.995  # violations that fall by less than this factor from one weight to the next will not vanish


@dataclass(frozen=True, eq=False)
class NewtonSolution:
    """Where the method ended.

    Attributes:
        maps: W (r, m), margins aimed at 1.
        weights: violations (classes, sequences) at the end of the last weight of |W|^2.
        steps: products with the Hessian.
        least: smallest margin of `maps`.
        reason: why it ended with a margin that is not positive; None when all are.
    """

    maps: np.ndarray
    weights: np.ndarray
    steps: int
    least: float
    reason: str | None


def solve_newton(
    problem: MarginProblem,
    *,
    start: np.ndarray | None = None,
    margin: float = 0.5,
    most_steps: int = 20_000,
    first_weight: float = FIRST_WEIGHT,
    last_weight: float = LAST_WEIGHT,
) -> NewtonSolution:
    """Solve for mu falling from `first_weight` to `last_weight`, until every margin is `margin` at least (of 1), or steps end."""
    descent = _Descent(problem, start, most_steps)
    weight, before = first_weight, np.inf
    reason: str | None = "violations stayed, however little the norm weighed"
    while True:
        descent.minimise(weight, margin)
        if descent.least >= margin:
            reason = None
            break
        if descent.steps >= most_steps:
            reason = f"{most_steps} steps were not enough"
            break
        left = float(np.linalg.norm(descent.violations()))
        if weight <= last_weight or left > STUCK * before:
            break
        before = left
        weight *= WEIGHT_STEP
    if descent.least > 0:
        reason = None
    return NewtonSolution(descent.maps, descent.violations(), descent.steps, descent.least, reason)


class _Descent:
    def __init__(self, problem: MarginProblem, start: np.ndarray | None, most_steps: int) -> None:
        self.problem, self.most_steps, self.steps = problem, most_steps, 0
        # Of one row: features times this have mean square 1, and W is in units of its inverse.
        self.size = float((problem.features**2).sum() / problem.features.shape[0]) or 1.0
        self.maps = np.zeros(problem.shape) if start is None else start.copy()
        self.margins = problem.margins(self.maps)
        self.features, self.code = problem.features.astype(np.float32), problem.code.astype(np.float32)

    @property
    def least(self) -> float:
        return float(self.margins.min())

    def violations(self) -> np.ndarray:
        return np.maximum(0.0, 1.0 - self.margins)

    def minimise(self, weight: float, margin: float) -> None:
        """Newton steps to the minimum for one weight of the norm, or until every margin is large enough."""
        problem, ridge = self.problem, weight * self.size
        for _ in range(200):
            violations = self.violations()
            gradient = ridge * self.maps - problem.adjoint(violations)
            scale = ridge * float(np.linalg.norm(self.maps)) + 1e-300
            error = float(np.linalg.norm(gradient))
            if self.least >= margin or error <= ACCURACY * scale or self.steps >= self.most_steps:
                return
            direction = self._direct(gradient, violations > 0, ridge) if problem.unknowns <= LARGEST_DIRECT else None
            if direction is None:
                direction = self._newton(gradient, violations > 0, ridge, min(0.1, max(1e-3, 0.1 * error / (scale + error))))
            change = problem.linear_margins(direction, 0.0)
            length = self._search(direction, change, ridge)
            if length == 0.0:
                return
            self.maps = self.maps + length * direction
            self.margins = problem.margins(self.maps)

    def _direct(self, gradient: np.ndarray, active: np.ndarray, ridge: float) -> np.ndarray | None:
        """The Newton step by one factorisation; None where rounding makes that impossible."""
        self.steps += 1
        matrix = self.problem.gram(active.astype(np.float64))
        flat = np.arange(len(matrix))
        matrix[flat, flat] += ridge
        try:
            return -cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), gradient.ravel()).reshape(gradient.shape)
        except LinAlgError:
            return None

    def _newton(self, gradient: np.ndarray, active: np.ndarray, ridge: float, accuracy: float) -> np.ndarray:
        """Conjugate gradients on (ridge + sum over active of a a^T) direction = -gradient."""
        problem = self.problem
        inverse = self._preconditioner(active, ridge).astype(np.float32)
        features, code, labels = self.features, self.code, problem.labels
        mask = active.astype(np.float32)
        columns = np.arange(len(labels))

        def product_with(conjugate: np.ndarray) -> np.ndarray:
            # In float32: it halves the time, and the step is judged in float64 afterwards.
            logits = code @ (conjugate @ features)
            pulled = mask * (logits[labels, columns] - logits)
            back = code.T[:, labels] * pulled.sum(axis=0) - code.T @ pulled
            return np.float32(ridge) * conjugate + back @ features.T

        gradient = gradient.astype(np.float32)
        direction = np.zeros_like(gradient)
        residual = -gradient
        preconditioned = inverse @ residual
        conjugate = preconditioned
        product = float((residual * preconditioned).sum())
        goal = accuracy * float(np.linalg.norm(gradient))
        for _ in range(1000):
            self.steps += 1
            image = product_with(conjugate)
            curvature = float((conjugate * image).sum())
            if not curvature > 0:
                break
            length = product / curvature
            direction = direction + length * conjugate
            residual = residual - length * image
            if float(np.linalg.norm(residual)) <= goal or self.steps >= self.most_steps:
                break
            preconditioned = inverse @ residual
            product, before = float((residual * preconditioned).sum()), product
            conjugate = preconditioned + (product / before) * conjugate
        return direction.astype(np.float64)

    def _preconditioner(self, active: np.ndarray, ridge: float) -> np.ndarray:
        """Inverse of the Hessian as it would be for features that are white among the violated constraints (r, r)."""
        problem = self.problem
        code = problem.code
        counts = active.sum(axis=0)
        own = code[problem.labels]
        per_class = active.sum(axis=1)
        mixed = own.T @ (active.T @ code)
        total = (own.T * counts) @ own - mixed - mixed.T + (code.T * per_class) @ code
        mean = total * self.size / len(problem.labels)
        return np.linalg.inv(mean + (ridge + 1e-6 * float(np.trace(mean)) / len(mean) + 1e-300) * np.eye(len(mean)))

    def _search(self, direction: np.ndarray, change: np.ndarray, ridge: float) -> float:
        """The exact minimum along a direction: Newton's method on the derivative, kept between known signs."""
        linear = ridge * float((self.maps * direction).sum())
        square = ridge * float((direction**2).sum())
        gap = np.where(self.problem.others, 1.0 - self.margins, -1.0)

        def slope(length: float) -> tuple[float, float]:
            rest = gap - length * change
            moving = change * (rest > 0)
            return linear + length * square - float((rest * moving).sum()), square + float((change * moving).sum())

        low, high, length = 0.0, np.inf, 1.0
        if slope(0.0)[0] >= 0:
            return 0.0
        for _ in range(60):
            value, curvature = slope(length)
            if value < 0:
                low = length
            else:
                high = length
            if curvature <= 0:
                break
            step = length - value / curvature
            if not low < step < high:
                step = (low + high) / 2 if np.isfinite(high) else 2 * length
            if abs(step - length) <= 1e-12 * max(1.0, length):
                return step
            length = step
        return length
