"""Enclosures in float64: an exponential with a proved error, the rounding of sums of products, softmax weights between bounds.

Nothing here trusts a library beyond the basic operations + - * / of IEEE 754, rounded to nearest, each with relative error at
most u = 2^-53. Every function says what it bounds; docs/certificates.md has the derivations line by line.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Floats = Float[np.ndarray, "..."]

UNIT = 2.0**-53
EXP_ERROR = 2.0**-50
"""Relative error of `exponential` where its result is not cut off to zero (derived below: 4.5 u)."""
EXP_CUT = -700.0
"""Below this `exponential` gives 0; the true value is then at most NEGLIGIBLE."""
NEGLIGIBLE = 1e-300
LARGEST_EXPONENT = 600.0

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.6931471803691238  # 33 bits, so that its product with a whole number up to 2^20 is exact
_LN2_LOW = 1.9082149292705877e-10  # ln 2 - _LN2_HIGH to within 2^-85
_COEFFICIENTS = (
    1.0, 1.0, 0.5, 0.16666666666666666, 0.041666666666666664, 0.008333333333333333, 0.001388888888888889,
    0.0001984126984126984, 2.48015873015873e-05, 2.7557319223985893e-06, 2.755731922398589e-07, 2.505210838544172e-08,
    2.08767569878681e-09, 1.6059043836821613e-10,
)  # fmt: skip


@dataclass(frozen=True)
class NumberFormat:
    """What an error analysis needs of a floating-point format.

    Attributes:
        unit: unit roundoff u; a result is right up to a factor 1 + delta, |delta| <= u, where nothing under- or overflows.
        largest: the largest finite number.
        lost: bound on what one operation loses to underflow. The least normal number (subnormals may be flushed to zero, read
            or written), save for float16, whose range is too small for that: there the least subnormal (underflow is gradual).
    """

    unit: float
    largest: float
    lost: float


FORMATS = {
    "float64": NumberFormat(2.0**-53, 2.0**1023 * (2 - 2.0**-52), 2.0**-1022),
    "float32": NumberFormat(2.0**-24, 2.0**127 * (2 - 2.0**-23), 2.0**-126),
    "bfloat16": NumberFormat(2.0**-8, 2.0**127 * (2 - 2.0**-7), 2.0**-126),
    "float16": NumberFormat(2.0**-11, 65504.0, 2.0**-24),
}


def gamma(count: int, unit: float) -> float:
    """An upper bound on n u / (1 - n u), the relative error of n roundings (Higham 2002, lemma 3.1); inf from n u = 1/2 on."""
    share = count * unit
    return np.inf if share >= 0.5 else share / (1 - share) * (1 + 2.0**-50)


def enlarged(bound: Floats, operations: int) -> Floats:
    """A bound found in float64 from non-negative numbers, by at most that many roundings per path, made one in exact arithmetic.

    The computed value is at least (1-u)^n of the exact one, up to underflow, which callers cover by an absolute term.
    """
    return bound * (1 + (operations + 16) * 2.0**-52)


def exponential(exponents: Floats) -> Floats:
    """exp, elementwise, with relative error at most EXP_ERROR; 0 below EXP_CUT, infinite above LARGEST_EXPONENT, NaN for NaN.

    t = k ln 2 + r with |r| <= 0.347, a Taylor polynomial of degree 13 by Horner's rule, and an exact scaling by 2^k. The error in
    units of u, relative to exp(r) >= 0.706: 0.6 from r (two subtractions with results below 0.35, and the split of ln 2), 0.1
    from the remainder 0.347^14 e^0.347/14!, 3.8 from Horner's rule and rounded coefficients: 4.5 < 8 = EXP_ERROR / u.
    """
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        kept = np.clip(exponents, EXP_CUT, LARGEST_EXPONENT)  # NaN stays NaN
        turns = np.rint(kept * _LOG2_E)
        rest = kept - turns * _LN2_HIGH
        rest -= turns * _LN2_LOW
        result = np.full_like(rest, _COEFFICIENTS[-1])
        for coefficient in reversed(_COEFFICIENTS[:-1]):
            result *= rest
            result += coefficient
        np.nan_to_num(turns, copy=False)
        result *= ((turns.astype(np.int64) + 1023) << 52).view(np.float64)  # 2^turns: |turns| <= 1010, all results normal
    result[exponents < EXP_CUT] = 0.0
    result[exponents > LARGEST_EXPONENT] = np.inf
    return result


def softmax_ranges(
    exponents: list[Floats], deviations: list[list[Floats]]
) -> tuple[list[Floats], list[list[Floats]]]:
    r"""Softmax weights over the items of a list, and how far weights can be apart whose scores stay near the given ones.

    Args:
        exponents: per item the score minus the largest score (<= 0), arrays of one shape.
        deviations: several cases, each with one \(\rho_i \ge 0\) per item: all scores \(s'\) are meant for which some \(c\) has
            \(|s'_i - c - t_i| \le \rho_i\) for every item.

    Returns:
        The weights computed from `exponents`; per case and item the length of an interval that holds the computed weight, before
        its last roundings, and the softmax weights of all scores meant. It is infinite where a deviation is not finite.

    With \(E_i = e^{t_i}\), every meant \(e^{s'_i - c}\) lies in [lo_i, hi_i] = E_i e^{\mp\rho_i}, so that the weight lies between
    lo_i / (lo_i + sum_{j != i} hi_j) and hi_i / (hi_i + sum_{j != i} lo_j); brought to one denominator, the difference of the two
    keeps its relative precision when a weight is next to 0 or 1.
    """
    values = [exponential(exponent) for exponent in exponents]
    total = _sum(values)
    with np.errstate(invalid="ignore"):
        weights = [value / total for value in values]
    return weights, [_widths(exponents, values, case) for case in deviations]


def _widths(exponents: list[Floats], values: list[Floats], deviations: list[Floats]) -> list[Floats]:
    known = np.isfinite(_sum(deviations))
    if len(values) == 1:
        return [np.where(known, 0.0, np.inf)]
    tops, lows = [], []
    for exponent, value, deviation in zip(exponents, values, deviations, strict=True):
        wide = deviation + 2.0**-49  # the error of `exponential` itself, as a change of the exponent
        top = wide + 1
        top *= wide
        top += 1
        top *= value
        top += NEGLIGIBLE  # e^x <= 1 + x + x^2 up to x = 1, and 1 - x <= e^-x
        low = 1 - wide
        low *= value
        far = wide > 1
        if far.any():
            here, away = exponent[far], wide[far]
            away = away + (np.abs(here) + away) * 2.0**-50
            top[far] = exponential(here + away) * (1 + 2.0**-49) + NEGLIGIBLE
            low[far] = exponential(here - away) * (1 - 2.0**-49)
        tops.append(top)
        lows.append(low)
    slack = (len(values) + 16) * 2.0**-52
    widths = []
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for top, low, rest_top, rest_low in zip(tops, lows, _sums_of_others(tops), _sums_of_others(lows), strict=True):
            width = top * rest_top
            width *= 1 + slack
            width -= low * rest_low * (1 - slack)
            below = top + rest_low
            below *= low + rest_top
            width /= below
            width *= 1 + 2 * slack
            # 0/0 and infinities say nothing, but a weight lies between 0 and 1 all the same.
            widths.append(np.where(known, np.where(width <= 1, width, 1.0), np.inf))
    return widths


def _sum(parts: list[Floats]) -> Floats:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _sums_of_others(parts: list[Floats]) -> list[Floats]:
    """Per item the sum of all other items, without subtracting."""
    if len(parts) == 2:
        return [parts[1], parts[0]]
    before, after = [np.zeros_like(parts[0])], [np.zeros_like(parts[0])]
    for part in parts[:-1]:
        before.append(before[-1] + part)
    for part in parts[:0:-1]:
        after.append(after[-1] + part)
    return [left + right for left, right in zip(before, reversed(after), strict=True)]
