"""A line with one break: how steep before it bends, where it bends, and whether it bends at all."""

from dataclasses import dataclass
from math import nan

import numpy as np
from jaxtyping import Float

from empirical._regression_lines import Estimate, Points, check_level, checked_pair, least_squares, line
from theory.shapes import checked_integer

FEWEST_POINTS = 5
"""Of different x: a broken line has four free numbers, and one degree of freedom must be left."""


@dataclass(frozen=True)
class Segmented:
    """A least-squares line that may bend once: y = a + b min(x, t) + c max(x - t, 0).

    Attributes:
        first_slope: b, or the slope of one straight line where none with a break is better.
        second_slope: c.
        breakpoint: t.
        p_value: of a straight line; NaN where it was not tested.
        r_squared: share of the variance of y that the chosen curve explains, NaN where y doesn't vary.
        num_points: all points given.
        reason: empty where there is a break; otherwise why none can be told, and the numbers that can't be told are NaN.
    """

    first_slope: Estimate
    second_slope: Estimate
    breakpoint: Estimate
    p_value: float
    r_squared: float
    num_points: int
    reason: str = ""


def segmented(
    x: Points, y: Points, *, level: float = 0.95, seed: int | np.random.Generator = 0, num_simulations: int = 999
) -> Segmented:
    """Fit a continuous line with at most one break, which is kept only where a straight line is rejected.

    The fit is exact, not a search: between two neighbouring x the best broken line is two separate lines, if they cross there,
    and otherwise breaks at one of the two (Hudson 1966). The straight line is tested by the F ratio; since the break is free
    the ratio is not F-distributed, but for normal errors its distribution depends on x alone, so it is simulated (a Monte Carlo
    test, exact but for its own chance). Intervals are Student's, of the problem linearised at the optimum; they take the break
    for given to exist.

    Args:
        x: at least two different numbers, in any order, repeated or not.
        y: as many numbers.
        level: of confidence; a straight line is rejected at 1 - level.
        seed: of the simulation, or a generator.
        num_simulations: at least 99.

    Returns:
        The fit. Without a break, and with a reason: fewer than five different x; a straight line that isn't rejected
        (`first_slope` is its slope); only the last point beyond the break (`first_slope` is that of all others); only the
        first point before it (`second_slope` is that of all others).

    Raises:
        ValueError: as `line` does.
    """
    check_level(level)
    checked_integer("num_simulations", num_simulations, 99)
    first, second = checked_pair(x, y)
    order = np.argsort(first, kind="stable")
    first, second = first[order], second[order]
    straight = line(first, second, level=level)
    none = Estimate(nan, nan, nan, level)

    def no_break(reason: str, p_value: float = nan) -> Segmented:
        return Segmented(straight.slope, none, none, p_value, straight.r_squared, first.size, reason)

    different = np.unique(first)
    if different.size < FEWEST_POINTS:
        return no_break(f"{different.size} different x: at least {FEWEST_POINTS} are needed to tell a break")
    problem = _Breaks(first)
    one, two, place = (float(values[0]) for values in problem.fit(second[:, None]))
    scale = float(np.abs(second).max())
    if one <= (1e-13 * scale) ** 2 * first.size:
        return no_break("the points lie on a straight line", 1.0)
    noise = np.random.default_rng(seed).normal(size=(first.size, num_simulations))
    simulated, rest, _ = problem.fit(noise)
    # Compared as products: the rest of a perfect broken line is 0.
    p_value = (1 + int((simulated * two >= one * rest).sum())) / (1 + num_simulations)
    if p_value > 1 - level:
        return no_break(f"a straight line is not rejected (p = {p_value:.2g})", p_value)
    total = float(((second - second.mean()) ** 2).sum())
    explained = 1 - two / total
    if place >= different[-2]:
        inner = first <= different[-2]
        slope = line(first[inner], second[inner], level=level).slope
        words = f"only the last point is beyond the break, which lies between x = {different[-2]:g} and {different[-1]:g}"
        return Segmented(slope, none, none, p_value, explained, first.size, words)
    if place <= different[1]:
        inner = first >= different[1]
        slope = line(first[inner], second[inner], level=level).slope
        words = f"only the first point is before the break, which lies between x = {different[0]:g} and {different[1]:g}"
        return Segmented(none, slope, none, p_value, explained, first.size, words)
    design = np.column_stack([np.ones_like(first), np.minimum(first, place), np.maximum(first - place, 0)])
    values = [estimate.value for estimate in least_squares(design, second, level=level)]
    tangent = (values[1] - values[2]) * (first > place)
    shifts = least_squares(np.column_stack([design, tangent]), second - design @ np.array(values), level=level)
    estimates = [
        Estimate(value, value + shift.low - shift.value, value + shift.high - shift.value, level)
        for value, shift in zip([*values, place], shifts, strict=True)
    ]
    return Segmented(estimates[1], estimates[2], estimates[3], p_value, explained, first.size)


class _Breaks:
    """All broken lines through points with these x, for many columns of y at once.

    The break is kept within [second x, last x but one]: at these ends the fit is that of any break beyond, with one point
    alone on the other side.
    """

    def __init__(self, x: Float[np.ndarray, " points"]) -> None:
        self.x = x - x.mean()  # from their middle the coefficients hardly disturb each other
        self.mean = float(x.mean())
        self.knots = np.unique(self.x)

    def fit(
        self, columns: Float[np.ndarray, "points columns"]
    ) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
        """Sum of squares of the straight line, of the best broken line, and where that breaks."""
        ones = np.ones_like(self.x)
        rests, places = [], []
        for knot in self.knots[1:-1]:
            bent = np.column_stack([ones, np.minimum(self.x, knot), np.maximum(self.x - knot, 0)])
            rests.append(_residuals(bent, columns))
            places.append(np.full(columns.shape[1], knot))
        for low, high in zip(self.knots[1:-2], self.knots[2:-1], strict=True):
            left, right = self.x <= low, self.x >= high
            before, rest_before = _line(self.x[left], columns[left])
            after, rest_after = _line(self.x[right], columns[right])
            turn = after[1] - before[1]
            crossing = np.where(turn == 0, np.inf, (before[0] - after[0]) / np.where(turn == 0, 1.0, turn))
            rests.append(np.where((crossing > low) & (crossing < high), rest_before + rest_after, np.inf))
            places.append(crossing)
        best = np.argmin(rests, axis=0)[None]
        straight = _residuals(np.column_stack([ones, self.x]), columns)
        rest, place = (np.take_along_axis(np.stack(values), best, 0)[0] for values in (rests, places))
        return straight, rest, place + self.mean


def _residuals(
    design: Float[np.ndarray, "points coefficients"], columns: Float[np.ndarray, "points columns"]
) -> Float[np.ndarray, " columns"]:
    """Sums of squares that a least-squares fit leaves."""
    basis, _ = np.linalg.qr(design)
    return ((columns - basis @ (basis.T @ columns)) ** 2).sum(axis=0)


def _line(
    x: Float[np.ndarray, " points"], columns: Float[np.ndarray, "points columns"]
) -> tuple[Float[np.ndarray, "2 columns"], Float[np.ndarray, " columns"]]:
    """Intercepts and slopes of straight lines, and the sums of squares that they leave."""
    centred = x - x.mean()
    slopes = centred @ columns / (centred @ centred)
    means = columns.mean(axis=0)
    rest = ((columns - means - centred[:, None] * slopes) ** 2).sum(axis=0)
    return np.stack([means - slopes * x.mean(), slopes]), rest
