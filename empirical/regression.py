"""Straight lines and power laws through a few measured points, each estimate with its interval.

Two sources of error are kept apart. The intervals here come from the scatter of the points about one curve (Student, degrees
of freedom = points less coefficients); they assume independent errors of equal size. Where whole curves are repeated on
independent tables, fit each curve and take `empirical.comparison.mean_interval` of the estimates instead: that needs no
assumption on the errors within a curve, which share a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

Points = Sequence[float | int] | Float[np.ndarray, " points"] | Int[np.ndarray, " points"]


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its interval; the ends are NaN where the points leave no degree of freedom."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def holds(self, number: float) -> bool:
        """Whether the number lies in the interval; False where there is no interval."""
        return self.low <= number <= self.high


@dataclass(frozen=True)
class Line:
    """A least-squares line y = intercept + slope x.

    `r_squared` is the share of the variance of y that the line explains, NaN where y does not vary.
    """

    slope: Estimate
    intercept: Estimate
    r_squared: float
    num_points: int


@dataclass(frozen=True)
class PowerLaw:
    """A least-squares curve y = offset + factor x^exponent, all three free.

    `reason` is empty for a fit; otherwise it says why there is none, and the numbers are NaN.
    """

    exponent: Estimate
    r_squared: float
    num_points: int
    reason: str = ""


def least_squares(
    design: Float[np.ndarray, "points coefficients"], y: Points, *, level: float = 0.95
) -> tuple[Estimate, ...]:
    """Ordinary least squares: the coefficients b of y = design b with Student intervals.

    Args:
        design: one row per point, one column per coefficient (a column of ones for an intercept).
        y: the responses.
        level: of confidence, in (0, 1).

    Returns:
        One estimate per column; without an interval where there are no more points than columns.

    Raises:
        ValueError: fewer points than columns, columns that are linearly dependent, numbers that are not finite, another level.
    """
    _check_level(level)
    matrix, response = np.asarray(design, dtype=float), _checked("y", y)
    if matrix.ndim != 2 or matrix.shape[0] != response.size:
        raise ValueError(f"design of shape {matrix.shape}: one row for each of the {response.size} entries of y is legal")
    if not np.isfinite(matrix).all():
        raise ValueError("design has an entry that is not finite: finite numbers are legal")
    count, columns = matrix.shape
    sizes = np.linalg.norm(matrix, axis=0)
    scaled = matrix / np.where(sizes > 0, sizes, 1.0)  # so that the units of a column do not decide its rank
    if count < columns or np.linalg.matrix_rank(scaled) < columns:
        raise ValueError(f"design has {count} rows and {columns} columns: columns that are linearly independent are legal")
    left, triangle = np.linalg.qr(scaled)
    inverse = np.linalg.inv(triangle)
    values = inverse @ (left.T @ response)
    freedom = count - columns
    half = np.full(columns, nan)
    if freedom:
        residual = response - scaled @ values
        spread = sqrt(float(residual @ residual) / freedom)
        half = float(stats.t.ppf(0.5 + level / 2, freedom)) * spread * np.linalg.norm(inverse, axis=1)
    return tuple(
        Estimate(float(value / size), float((value - width) / size), float((value + width) / size), level)
        for value, width, size in zip(values, half, sizes, strict=True)
    )


def line(x: Points, y: Points, *, level: float = 0.95) -> Line:
    """The least-squares line through points, with Student intervals.

    Raises ValueError for fewer than two points, x all equal, lengths that differ, numbers that are not finite.
    """
    first, second = _pair(x, y)
    centre = float(first.mean())  # measured from their middle the two coefficients do not disturb each other
    _, slope = least_squares(np.column_stack([np.ones_like(first), first - centre]), second, level=level)
    intercept, _ = least_squares(np.column_stack([np.ones_like(first), first]), second, level=level)
    total = float(((second - second.mean()) ** 2).sum())
    residual = second - second.mean() - slope.value * (first - centre)
    return Line(slope, intercept, 1 - float(residual @ residual) / total if total > 0 else nan, first.size)


def log_log_slope(x: Points, y: Points, *, level: float = 0.95) -> Estimate:
    """The exponent p of y = a x^p: slope of log y against log x.

    Raises ValueError as `line` does, and for a number that is not positive.
    """
    first, second = _pair(x, y)
    for name, values in (("x", first), ("y", second)):
        if values.min() <= 0:
            raise ValueError(f"{name} has the entry {values.min():g}: numbers > 0 have a logarithm")
    return line(np.log(first), np.log(second), level=level).slope


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
    _check_level(level)
    first, second = _pair(x, y)
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
    values = _checked("accuracies", accuracies)
    above = np.flatnonzero(values > limit)
    return int(above[0]) + bool(with_first_above) if above.size else values.size


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level = {level}: a number between 0 and 1 is legal")


def _checked(name: str, values: Points) -> Float[np.ndarray, " points"]:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not all(isfinite(value) for value in array.ravel()):
        raise ValueError(f"{name} = {np.array2string(array, threshold=8)}: a row of finite numbers is legal")
    return array


def _pair(x: Points, y: Points) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    first, second = _checked("x", x), _checked("y", y)
    if first.size != second.size:
        raise ValueError(f"x and y have {first.size} and {second.size} entries: as many of one as of the other are legal")
    if first.size < 2 or float(first.min()) == float(first.max()):
        raise ValueError(f"x = {np.array2string(first, threshold=8)}: at least two different numbers are legal")
    return first, second
