"""Ordinary least squares and what every fit of `regression` shares: estimates with intervals, checked points."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from jaxtyping import Float, Int

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
    check_level(level)
    matrix, response = np.asarray(design, dtype=float), checked_row("y", y)
    if matrix.ndim != 2 or matrix.shape[0] != response.size:
        raise ValueError(f"design of shape {matrix.shape}: one row for each of the {response.size} entries of y is legal")
    if not np.isfinite(matrix).all():
        raise ValueError("design has an entry that is not finite: finite numbers are legal")
    count, columns = matrix.shape
    sizes = np.linalg.norm(matrix, axis=0)
    scaled = matrix / np.where(sizes > 0, sizes, 1.0)  # so that the units of a column do not decide its rank
    if count < columns or np.linalg.matrix_rank(scaled) < columns:
        raise ValueError(f"design has {count} rows and {columns} columns: columns that are linearly independent are legal")
    from statsmodels.regression.linear_model import OLS  # slow to import

    fit = OLS(response, scaled).fit(method="qr")
    ends = fit.conf_int(alpha=1 - level) if count > columns else np.full((columns, 2), nan)
    return tuple(
        Estimate(float(value / size), float(low / size), float(high / size), level)
        for value, (low, high), size in zip(fit.params, ends, sizes, strict=True)
    )


def line(x: Points, y: Points, *, level: float = 0.95) -> Line:
    """The least-squares line through points, with Student intervals.

    Raises ValueError for fewer than two points, x all equal, lengths that differ, numbers that are not finite.
    """
    first, second = checked_pair(x, y)
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
    first, second = checked_pair(x, y)
    for name, values in (("x", first), ("y", second)):
        if values.min() <= 0:
            raise ValueError(f"{name} has the entry {values.min():g}: numbers > 0 have a logarithm")
    return line(np.log(first), np.log(second), level=level).slope


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level = {level}: a number between 0 and 1 is legal")


def checked_row(name: str, values: Points) -> Float[np.ndarray, " points"]:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not all(isfinite(value) for value in array.ravel()):
        raise ValueError(f"{name} = {np.array2string(array, threshold=8)}: a row of finite numbers is legal")
    return array


def checked_pair(x: Points, y: Points) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    first, second = checked_row("x", x), checked_row("y", y)
    if first.size != second.size:
        raise ValueError(f"x and y have {first.size} and {second.size} entries: as many of one as of the other are legal")
    if first.size < 2 or float(first.min()) == float(first.max()):
        raise ValueError(f"x = {np.array2string(first, threshold=8)}: at least two different numbers are legal")
    return first, second
