"""Lines, broken lines and power laws through a few measured points, each estimate with its interval.

Two sources of error are kept apart. The intervals of fits come from the scatter of the points about one curve (Student, degrees
of freedom = points less coefficients); they assume independent errors of equal size. Where whole curves are repeated, either
fit each curve and take `empirical.comparison.mean_interval` of the estimates (independent tables), or resample the curves
(`bootstrap_log_log_slope`): neither assumes anything on the errors within a curve, which share a table.
"""

from dataclasses import dataclass
from math import inf, nan

import numpy as np
from jaxtyping import Float

from empirical._regression_bootstrap import bootstrap_log_log_slope
from empirical._regression_lines import (
    Estimate,
    Line,
    Points,
    check_level,
    checked_pair,
    checked_row,
    least_squares,
    line,
    log_log_slope,
)
from empirical._regression_segmented import Segmented, segmented

__all__ = [
    "Estimate",
    "Line",
    "Points",
    "PowerLaw",
    "Segmented",
    "before_saturation",
    "bootstrap_log_log_slope",
    "least_squares",
    "line",
    "log_log_slope",
    "power_law",
    "segmented",
]


@dataclass(frozen=True)
class PowerLaw:
    """A least-squares curve y = offset + factor x^exponent, all three free.

    `reason` is empty for a fit; otherwise it says why there is none, and the numbers are NaN.
    """

    exponent: Estimate
    r_squared: float
    num_points: int
    reason: str = ""


def power_law(
    x: Points, y: Points, *, exponents: tuple[float, float] = (-4.0, 8.0), level: float = 0.95
) -> PowerLaw:
    """The exponent p of y = offset + factor x^p by least squares, offset and factor free too.

    Two is a parabola with its top at zero, one a straight line; zero stands for offset + factor log x, the limit of the family
    (Box and Cox 1964), and below zero y levels off. For each p the other two are a straight line, so that one number is
    searched for, on grids of 241 points, the last with a step below 1e-7. The interval is Student's, of the problem linearised
    at the optimum.

    Args:
        x: numbers > 0, at least four of them different.
        y: as many numbers.
        exponents: range of the search.
        level: of confidence.

    Returns:
        The fit; without an exponent, and with a reason, where y doesn't vary or an end of the range fits best.

    Raises ValueError for anything else.
    """
    check_level(level)
    first, second = checked_pair(x, y)
    least, greatest = exponents
    if not -inf < least < greatest < inf:
        raise ValueError(f"exponents = {exponents}: two finite numbers in ascending order are legal")
    if np.unique(first).size < 4:
        raise ValueError(f"x has {np.unique(first).size} different entries: at least 4 are legal for three free numbers")
    if first.min() <= 0:
        raise ValueError(f"x has the entry {first.min():g}: numbers > 0 are legal")
    logs = np.log(first) - float(np.log(first).mean())  # about their middle: powers stay in the range of floats
    centred = second - second.mean()
    total = float(centred @ centred)
    none = Estimate(nan, nan, nan, level)
    if total <= (1e-14 * float(np.abs(second).max())) ** 2 * first.size:
        return PowerLaw(none, nan, first.size, "y is the same for all x")

    def rest(exponents: Float[np.ndarray, " exponents"]) -> Float[np.ndarray, " exponents"]:
        powers = _power(logs, exponents[:, None])
        powers -= powers.mean(axis=1, keepdims=True)
        residuals = centred - (powers @ centred / (powers**2).sum(axis=1))[:, None] * powers
        return (residuals**2).sum(axis=1)

    largest = 300 / float(np.abs(logs).max())  # beyond it squares of powers leave the range of floats
    grid = np.linspace(max(least, -largest), min(greatest, largest), 241)
    best = int(np.argmin(rest(grid)))
    if best in (0, grid.size - 1):
        return PowerLaw(none, nan, first.size, f"no exponent between {grid[0]:g} and {grid[-1]:g} fits best")
    for _ in range(3):  # each grid between the neighbours of the best point is 120 times as fine as the one before
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)], 241)
        best = int(np.argmin(rest(grid)))
    exponent = float(grid[best])
    powers = _power(logs, np.array([exponent]))
    slope = line(powers, second).slope.value
    step = 1e-5  # central difference: its error is of order 1e-10 of the logs' cubes, far below any residual
    tangent = slope * (_power(logs, np.array([exponent + step])) - _power(logs, np.array([exponent - step]))) / (2 * step)
    residual = centred - slope * (powers - powers.mean())
    *_, shift = least_squares(np.column_stack([np.ones_like(powers), powers, tangent]), residual, level=level)
    return PowerLaw(
        Estimate(exponent, exponent + shift.low - shift.value, exponent + shift.high - shift.value, level),
        1 - float(residual @ residual) / total,
        first.size,
    )


def _power(logs: Float[np.ndarray, " points"], exponents: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... points"]:
    """(x^p - 1) / p from log x, and log x at p = 0; the last axis of `exponents` is stretched over the points."""
    tiny = np.abs(exponents) < 1e-12
    return np.where(tiny, logs, np.expm1(exponents * logs) / np.where(tiny, 1.0, exponents))


def before_saturation(accuracies: Points, *, limit: float = 0.95, with_first_above: bool = True) -> int:
    """How many leading points count as not saturated: those up to the first accuracy above `limit`.

    That first point is counted or not; all points count where none is above. Counting it, with limit 0.95, is the rule of the
    scripts published with Dana, Pydi and Chevaleyre 2025.
    """
    values = checked_row("accuracies", accuracies)
    above = np.flatnonzero(values > limit)
    return int(above[0]) + bool(with_first_above) if above.size else values.size
