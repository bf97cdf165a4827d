"""Numbers as papers print them: what their last digit leaves open, and searches by brute force to hold them against.

A printed constant stands for all numbers that round to it. So a number derived from such constants is compared with the printed
result up to half a unit of the result's last digit, and, where a claim says so, up to what the constants' own digits leave open.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
from flint import arb, fmpq

from headcount.claims.claim import Case, Number

EXACT = "the printed constants are taken as exact"
ROUNDED = "each printed constant may be off by half a unit of its last digit"
DIGITS = 40


def half_unit(text: str) -> Fraction:
    """Half a unit in the last printed digit: 1/200 for "0.73", 5e7 for "1.3e9". Raises ValueError for what is no number."""
    match = re.fullmatch(r"-?\d+(?:\.(\d+))?(?:e([+-]?\d+))?", text)
    if match is None:
        raise ValueError(f"text = {text!r}: a decimal number like '0.73' or '1.3e9' is legal")
    return Fraction(1, 2) * Fraction(10) ** (int(match[2] or 0) - len(match[1] or ""))


def rounding(function: Callable[..., Any], *printed: str) -> float:
    """How far the constants' digits move `function`: the largest move at a corner, each constant half a unit up or down.

    The function has to be monotone in each constant over its half units, so that its extremes are at corners.
    """
    here = function(*(Fraction(text) for text in printed))
    corners = product(*((Fraction(text) - half_unit(text), Fraction(text) + half_unit(text)) for text in printed))
    return float(max(abs(function(*corner) - here) for corner in corners))


def enclosed(description: str, ball: arb, formula: Number, tolerance: Fraction | float = 0.0) -> Case:
    """A case whose true value is known in a ball: the middle, with the radius added to the tolerance."""
    middle, radius = (_dyadic(part) for part in (ball.mid(), ball.rad()))
    return Case(description, middle, formula, float(Fraction(tolerance) + radius))


def balls(*printed: str) -> list[arb]:
    """Printed numbers as balls around what is printed, without the printed digits' own play."""
    return [arb(fmpq(number.numerator, number.denominator)) for number in map(Fraction, printed)]


def least(function: Callable[[Any], Any], low: float, high: float) -> Any:
    """Where a function with one minimum is least, by golden section in 40 digits: good to about 1e-17 of the range's width."""
    with mpmath.workdps(DIGITS):
        golden = (mpmath.sqrt(5) - 1) / 2
        left, right = mpmath.mpf(low), mpmath.mpf(high)
        inner, outer = right - golden * (right - left), left + golden * (right - left)
        at_inner, at_outer = function(inner), function(outer)
        while right - left > mpmath.mpf(10) ** -18 * (high - low):
            if at_inner < at_outer:
                right, outer, at_outer = outer, inner, at_inner
                inner = right - golden * (right - left)
                at_inner = function(inner)
            else:
                left, inner, at_inner = inner, outer, at_outer
                outer = left + golden * (right - left)
                at_outer = function(outer)
        return (left + right) / 2


def crossing(function: Callable[[Any], Any], low: float, high: float) -> Any:
    """Where a function changes its sign, by bisection in 40 digits. Raises ArithmeticError where it does not."""
    with mpmath.workdps(DIGITS):
        left, right = mpmath.mpf(low), mpmath.mpf(high)
        sign = mpmath.sign(function(left))
        if sign * mpmath.sign(function(right)) > 0:
            raise ArithmeticError(f"no change of sign between {low} and {high}")
        while right - left > mpmath.mpf(10) ** -20 * (high - low):
            middle = (left + right) / 2
            if mpmath.sign(function(middle)) == sign:
                left = middle
            else:
                right = middle
        return (left + right) / 2


def _dyadic(number: arb) -> Fraction:
    mantissa, exponent = number.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def exact(number: Any) -> Fraction:
    """An mpmath number as a fraction, without rounding."""
    sign, mantissa, exponent, _ = mpmath.mpf(number)._mpf_
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
