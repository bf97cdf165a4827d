"""An interval for the mean of a few numbers in [0, 1] that does not shrink to a point where all of them are zero.

Student's interval for n equal numbers has no width, however few they are. This one adds the worst that the next number could be,
with weights of Dirichlet(1, ..., 1) on all n + 1 (the bound of Gaffke 2005, as studied by Learned-Miller and Thomas 2019).
"""

from math import factorial, pi

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import brentq

from empirical.regression import Estimate

# In t, where y = sinh(t) widths is the distance from the saddle point, the integrand falls off faster than e^-3t for two numbers
# already, and is smooth: the trapezoid rule converges exponentially. One half is enough, the other is its mirror image.
_STEPS = np.linspace(0.0, 8.0, 161)
_WEIGHTS = np.where(_STEPS == 0, 0.5, 1.0) * (_STEPS[1] - _STEPS[0])


def bounded_mean(values: Float[np.ndarray, " values"], level: float = 0.95) -> Estimate:
    """The mean of independent numbers in [0, 1] of one unknown distribution, with an interval in [0, 1].

    Each end misses with probability (1 - level)/2: the upper is that quantile of sum_i w_i z_i over the numbers and one more
    that is 1, w uniform on the simplex, the lower the same with 0 added. For numbers that are all 0 or 1 it is Clopper and
    Pearson's interval; beyond them its coverage is conjectured (Gaffke 2005).

    Raises ValueError for no numbers, a number outside [0, 1] and a level outside (0, 1).
    """
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not numbers.size or not ((numbers >= 0) & (numbers <= 1)).all():
        raise ValueError(f"values = {np.array2string(numbers, threshold=8)}: one or more numbers in [0, 1] are legal")
    if not 0 < level < 1:
        raise ValueError(f"level = {level}: a number between 0 and 1 is legal")
    tail = (1 - level) / 2
    mean = float(numbers.mean())
    return Estimate(mean, min(mean, 1 - _upper(1 - numbers, tail)), max(mean, _upper(numbers, tail)), level)


def _upper(numbers: Float[np.ndarray, " values"], tail: float) -> float:
    """The 1 - tail quantile of the weighted mean of `numbers` and 1."""
    places, counts = np.unique(np.append(numbers, 1.0), return_counts=True)
    if places.size == 1:
        return 1.0
    # The exact end for n zeros serves as a lower end of the search: larger numbers have no smaller quantile.
    least = float(places[0]) + (1 - float(places[0])) * (1 - tail ** (1 / numbers.size))
    if places.size == 2 and counts[1] == 1:
        return least
    if _above(least, places, counts) <= tail:  # by rounding alone
        return least
    most = 1 - 1e-12
    if least >= most or _above(most, places, counts) >= tail:
        return 1.0
    return float(brentq(lambda at: _above(at, places, counts) - tail, least, most, xtol=1e-12, rtol=1e-11))


def _above(at: float, places: Float[np.ndarray, " places"], counts: Int[np.ndarray, " places"]) -> float:
    """P(sum_i w_i z_i > at), which is P(sum_i E_i (z_i - at) > 0) for independent exponential E_i; places in ascending order."""
    slopes = places - at
    if counts @ slopes > 0:
        return 1 - _positive(-slopes[::-1], counts[::-1])
    return _positive(slopes, counts)


def _positive(slopes: Float[np.ndarray, " slopes"], counts: Int[np.ndarray, " slopes"]) -> float:
    """P(sum_i counts_i slopes_i E_i > 0) for slopes of both signs, in ascending order, whose sum is not above zero.

    The inversion integral of exp(f(s)), f(s) = -sum_i log(1 - slope_i s) - log s, over a parabola through the saddle point of f
    on the real axis, along which its phase is flat to third order: nothing oscillates, however many terms there are.
    """

    def derivative(s: float, order: int) -> float:
        return factorial(order - 1) * (float(counts @ (slopes / (1 - slopes * s)) ** order) + (-1 / s) ** order)

    end = 1 / float(slopes[-1])
    saddle = brentq(derivative, 1e-12 * end, (1 - 1e-12) * end, args=(1,), xtol=1e-10 * end, rtol=1e-10)
    second, third = derivative(saddle, 2), derivative(saddle, 3)
    width = second**-0.5
    # Up to this bend the points are no nearer to any pole, 1 / slopes, where the integrand is huge, than the parabola's vertex.
    leftmost, rightmost = 1 / float(slopes[slopes < 0][-1]), 1 / float(slopes[slopes > 0][0])
    bend = min(max(third / (6 * second), -0.5 / (saddle - leftmost)), 0.5 / (rightmost - saddle))
    across = width * np.sinh(_STEPS)
    points = saddle + 1j * across + bend * across**2
    exponent = -(np.log(1 - points[:, None] * slopes) @ counts) - np.log(points)
    values = np.exp(exponent) * (1j + 2 * bend * across) * width * np.cosh(_STEPS)
    return float(values.imag @ _WEIGHTS) / pi
