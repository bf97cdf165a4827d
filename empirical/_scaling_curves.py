"""Polynomials through the points of one group, with draws of what noise in the losses would have made of them.

The draws are a wild bootstrap (Wu 1986): every fitted curve gets its own residuals back with random signs, one sign per training
run, so that checkpoints of one run move together and losses may be noisier in one place than in another. Residuals are first
divided by sqrt(1 - leverage), which makes up for what the fit has absorbed. What a polynomial cannot follow counts as noise.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Float, Int
from scipy import stats


@dataclass(frozen=True, eq=False)
class Curve:
    """A least-squares polynomial y = sum_k c_k (x - middle)^k, and `draws` of its coefficients (draws, degree + 1)."""

    middle: float
    coefficients: Float[np.ndarray, " terms"]
    draws: Float[np.ndarray, "draws terms"]
    low: float
    high: float
    curvature_error: float

    def at(self, x: Float[np.ndarray, " places"]) -> Float[np.ndarray, " places"]:
        """The curve's height."""
        return self.basis(x) @ self.coefficients

    def basis(self, x: Float[np.ndarray, " places"]) -> Float[np.ndarray, "places terms"]:
        """Powers of x - middle."""
        return np.vander(x - self.middle, self.coefficients.size, increasing=True)


def fit_curve(
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    degree: int,
    signs: Int[np.ndarray, "draws points"],
) -> Curve:
    """The polynomial of this degree through points with more different x than that, and its draws under these signs."""
    middle = float(x.mean())
    basis = np.vander(x - middle, degree + 1, increasing=True)
    solve = np.linalg.pinv(basis)
    residuals = y - basis @ (solve @ y)
    noise = residuals / np.sqrt(np.maximum(1 - _leverage(basis, solve), 1e-9))  # without freedom the residual is zero
    best = solve @ y
    free = x.size - degree - 1
    spread = sqrt(float(residuals @ residuals) / free) if free > 0 else float("nan")
    return Curve(
        middle, best, best + (signs * noise) @ solve.T, float(x.min()), float(x.max()),
        spread * float(np.linalg.norm(solve[degree])),
    )  # fmt: skip


def smoothest_degree(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"], most: int) -> int:
    """The degree, 1 to `most`, that best predicts each point from the others (leave-one-out, in closed form)."""
    scores = []
    for degree in range(1, most + 1):
        basis = np.vander(x - x.mean(), degree + 1, increasing=True)
        solve = np.linalg.pinv(basis)
        missed = (y - basis @ (solve @ y)) / np.maximum(1 - _leverage(basis, solve), 1e-9)
        scores.append(float(missed @ missed))
    return 1 + int(np.argmin(scores))


def curvature_is_clear(curve: Curve, num_points: int, level: float) -> bool:
    """Whether a parabola's curvature is above zero beyond its one-sided Student interval."""
    free = num_points - 3
    quantile = float(stats.t.ppf(level, free)) if free > 0 else float("inf")
    return bool(curve.coefficients[2] > quantile * curve.curvature_error)


def carried(
    log_loss: Float[np.ndarray, " points"],
    log_parameters: Float[np.ndarray, " points"],
    log_compute: Float[np.ndarray, " points"],
    groups: list[Int[np.ndarray, " _"]],
    budgets: list[float],
) -> list[Float[np.ndarray, " _"]]:
    """The losses of each group, carried to its budget (FLOP) at fixed N.

    d ln L / d ln C at fixed N is taken to be s + t (ln N - its mean in the group), with s and t common to all groups: more
    tokens help a large model more. They come from the small differences of C within groups, by least squares of ln L on a
    parabola in ln N per group and these two; the slope is kept within [-1, 0]. Without such differences nothing is carried.
    """
    columns, losses = list[Float[np.ndarray, "members 2"]](), list[Float[np.ndarray, " members"]]()
    for part in groups:
        x = log_parameters[part] - log_parameters[part].mean()
        basis = np.vander(x, 3, increasing=True)
        off = log_compute[part] - log_compute[part].mean()
        both = np.column_stack([off, off * x])
        solve = np.linalg.pinv(basis)
        columns.append(both - basis @ (solve @ both))
        losses.append(log_loss[part] - basis @ (solve @ log_loss[part]))
    slopes = np.zeros(2)
    if groups:
        design = np.concatenate(columns)
        if float((design**2).mean()) > 1e-12:
            slopes = np.linalg.lstsq(design, np.concatenate(losses), rcond=1e-6)[0]
    moved = list[Float[np.ndarray, " members"]]()
    for part, budget in zip(groups, budgets, strict=True):
        x = log_parameters[part] - log_parameters[part].mean()
        slope = np.clip(slopes[0] + slopes[1] * x, -1.0, 0.0)
        moved.append(np.exp(log_loss[part] + slope * (np.log(budget) - log_compute[part])))
    return moved


def _leverage(basis: Float[np.ndarray, "points terms"], solve: Float[np.ndarray, "terms points"]) -> Float[np.ndarray, " points"]:
    return np.einsum("pt,tp->p", basis, solve)
