"""Lines and power laws: known answers, an independent library, and intervals that cover as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from empirical.regression import (
    Estimate,
    before_saturation,
    least_squares,
    line,
    log_log_slope,
    power_law,
)

X = [1.0, 2.0, 3.0, 5.0, 7.0, 10.0]


def test_an_exact_line_is_found_exactly() -> None:
    fit = line([0, 1, 2, 5], [3, 5, 7, 13])
    assert fit.slope.value == pytest.approx(2, abs=1e-14) and fit.intercept.value == pytest.approx(3, abs=1e-13)
    assert fit.slope.high - fit.slope.low < 1e-13
    assert fit.r_squared == pytest.approx(1) and fit.num_points == 4


@given(seed=st.integers(0, 10**6), level=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_a_line_and_its_intervals_are_those_of_scipy(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 12))
    x, y = rng.normal(size=count) * 10 ** rng.uniform(-3, 3), rng.normal(size=count)
    fit, other = line(x, y, level=level), stats.linregress(x, y)
    quantile = stats.t.ppf(0.5 + level / 2, count - 2)
    for estimate, value, error in (
        (fit.slope, other.slope, other.stderr),
        (fit.intercept, other.intercept, other.intercept_stderr),
    ):
        ends = (value, value - quantile * error, value + quantile * error)
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(ends, rel=1e-8, abs=1e-9 * error)
    assert fit.r_squared == pytest.approx(other.rvalue**2, abs=1e-9)


def test_two_points_give_a_line_without_interval() -> None:
    slope = line([1, 3], [1, 5]).slope
    assert slope.value == pytest.approx(2) and math.isnan(slope.low) and math.isnan(slope.high)
    assert not slope.holds(2.0)


def test_r_squared_of_a_flat_line_is_not_a_number() -> None:
    assert math.isnan(line([1, 2, 3], [4, 4, 4]).r_squared)


def test_columns_in_other_units_change_nothing_but_units() -> None:
    rng = np.random.default_rng(0)
    design, y = rng.normal(size=(9, 3)), rng.normal(size=9)
    scales = np.array([1e-9, 1.0, 1e7])
    for one, other, scale in zip(least_squares(design, y), least_squares(design * scales, y), scales, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx(tuple(scale * v for v in (other.value, other.low, other.high)))


def test_intervals_cover_as_often_as_they_say() -> None:
    """800 lines with normal errors; the count of covered slopes is binomial, and 4.5 of its standard deviations are allowed."""
    rng = np.random.default_rng(1)
    repeats, level = 800, 0.9
    x = np.array(X)
    covered = sum(line(x, 3 - 2 * x + rng.normal(size=6), level=level).slope.holds(-2.0) for _ in range(repeats))
    assert abs(covered - level * repeats) < 4.5 * math.sqrt(repeats * level * (1 - level))


def test_power_law_intervals_cover_as_often_as_they_say_for_small_errors() -> None:
    """The interval is of the linearised problem: right for small errors."""
    rng = np.random.default_rng(2)
    repeats, level = 200, 0.9
    x = np.array(X)
    covered = sum(
        power_law(x, 100 + 5 * x**1.5 + 0.3 * rng.normal(size=6), level=level).exponent.holds(1.5) for _ in range(repeats)
    )
    assert abs(covered - level * repeats) < 4.5 * math.sqrt(repeats * level * (1 - level))


@given(
    exponent=st.floats(-2.5, 5),
    offset=st.floats(-1e3, 1e3),
    factor=st.sampled_from([-30.0, -1.0, 0.5, 400.0]),
    unit=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_an_exact_power_law_is_found_in_all_units(exponent: float, offset: float, factor: float, unit: float) -> None:
    if abs(exponent) < 0.05:
        return
    x = np.array(X)
    y = offset + factor * x**exponent
    fit = power_law(unit * x, y)
    # Rounding of y, relative to what y varies, moves the exponent by some hundred times as much.
    noise = 1e3 * np.finfo(float).eps * float(np.abs(y).max()) / float(np.ptp(y))
    assert fit.reason == "" and fit.exponent.value == pytest.approx(exponent, abs=1e-6 + noise)
    assert fit.r_squared == pytest.approx(1, abs=1e-9)


def test_a_logarithm_is_the_power_zero() -> None:
    fit = power_law(X, 2 + 3 * np.log(X))
    assert fit.exponent.value == pytest.approx(0, abs=1e-6) and fit.r_squared == pytest.approx(1)


def test_a_range_of_x_over_many_magnitudes_does_not_leave_the_range_of_floats() -> None:
    x = np.geomspace(1e-60, 1e60, 9)
    fit = power_law(x, 5 + 2 * x**0.1)
    assert fit.exponent.value == pytest.approx(0.1, abs=1e-6)


def test_power_law_is_the_fit_that_scipy_finds() -> None:
    x = np.array(X)
    y = np.array([126.3, 178.6, 277.0, 553.3, 910.7, 1386.7])
    fit = power_law(x, y)
    found, covariance = optimize.curve_fit(lambda x, a, b, p: a + b * x**p, x, y, p0=(100, 20, 2))
    half = stats.t.ppf(0.975, 3) * math.sqrt(covariance[2, 2])
    ends = (found[2], found[2] - half, found[2] + half)
    assert (fit.exponent.value, fit.exponent.low, fit.exponent.high) == pytest.approx(ends, rel=1e-4)


def test_what_no_power_fits_has_a_reason_and_no_number() -> None:
    steep = power_law(X, np.exp(5 * np.array(X)))
    flat = power_law(X, [4.0] * 6)
    for fit in (steep, flat):
        assert fit.reason and math.isnan(fit.exponent.value) and not fit.exponent.holds(1.0)
    assert "8" in steep.reason


def test_log_log_slope_is_the_exponent_and_ignores_factors() -> None:
    x = np.array(X)
    assert log_log_slope(x, 7 * x**2.5).value == pytest.approx(2.5)
    noisy = x**2.5 * np.exp([0.1, -0.2, 0.1, 0.0, 0.1, -0.1])
    one, other = log_log_slope(x, noisy), log_log_slope(100 * x, 0.01 * noisy)
    assert (one.low, one.high) == pytest.approx((other.low, other.high))
    assert one.low < one.value < one.high


def test_cut_off_counts_the_first_point_above() -> None:
    points = [0.1, 0.5, 0.96, 0.94, 0.99]
    assert before_saturation(points) == 3
    assert before_saturation(points, with_first_above=False) == 2
    assert before_saturation([0.1, 0.95, 0.99, 0.99]) == 3  # the limit itself is not above
    assert before_saturation([0.99], with_first_above=False) == 0
    assert before_saturation(points, limit=0.4) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: line([1, 1, 1], [1, 2, 3]), "at least two different"),
        (lambda: line([1, 2], [1, 2, 3]), "2 and 3 entries"),
        (lambda: line([1, math.inf], [1, 2]), "finite"),
        (lambda: line([1, 2, 3], [1, math.nan, 3]), "finite"),
        (lambda: line([1, 2, 3], [1, 2, 4], level=1.0), "level = 1.0"),
        (lambda: log_log_slope([1, 2, 3], [1, 0, 3]), "y has the entry 0"),
        (lambda: log_log_slope([-1, 2, 3], [1, 1, 3]), "x has the entry -1"),
        (lambda: power_law([1, 2, 3], [1, 2, 3]), "at least 4"),
        (lambda: power_law([1, 2, 3, 3], [1, 2, 3, 4]), "at least 4"),
        (lambda: power_law([0, 1, 2, 3], [1, 2, 3, 4]), "x has the entry 0"),
        (lambda: power_law(X, X, exponents=(2, 1)), "exponents"),
        (lambda: power_law(X, X, level=0), "level = 0"),
        (lambda: least_squares(np.ones((3, 2)), [1, 2, 3]), "linearly independent"),
        (lambda: least_squares(np.eye(3)[:2], [1, 2]), "linearly independent"),
        (lambda: least_squares(np.ones((3, 1)), [1, 2]), "one row for each"),
        (lambda: least_squares(np.array([[1.0], [math.nan]]), [1, 2]), "finite"),
    ],
)
@pytest.mark.bad_input
def test_bad_arguments_are_named(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_an_estimate_holds_what_lies_in_it() -> None:
    estimate = Estimate(1.0, 0.5, 2.0)
    assert estimate.holds(0.5) and estimate.holds(2.0) and not estimate.holds(2.1) and not estimate.holds(0.4)
