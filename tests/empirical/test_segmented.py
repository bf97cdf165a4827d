"""Lines with a break and resampled exponents: known answers, brute force, and how often tests and intervals are right."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical.regression import Segmented, bootstrap_log_log_slope, line, log_log_slope, segmented

HEADS = [1.0, 6.0, 11.0, 16.0, 21.0, 26.0, 31.0]


def bent(x: np.ndarray, start: float, first: float, second: float, at: float) -> np.ndarray:
    return start + first * np.minimum(x, at) + second * np.maximum(x - at, 0)


@given(
    first=st.floats(0.5, 50), second=st.floats(-5, 0.2), at=st.floats(7, 24), start=st.floats(-100, 100),
    unit=st.sampled_from([1e-4, 1.0, 1e5]),
)  # fmt: skip
@settings(max_examples=25)
def test_an_exact_broken_line_is_found_exactly(first: float, second: float, at: float, start: float, unit: float) -> None:
    x = unit * np.array(HEADS)
    fit = segmented(x, bent(x / unit, start, first, second, at), num_simulations=99)
    assert fit.reason == "" and fit.p_value == 0.01
    # Rounding of y is some 1e-16 of its size; slopes and break move by that over the spread of x and the turn.
    near = 1e-12 * (1 + abs(start) + 30 * first)
    assert fit.first_slope.value * unit == pytest.approx(first, abs=near)
    assert fit.second_slope.value * unit == pytest.approx(second, abs=near)
    assert fit.breakpoint.value / unit == pytest.approx(at, abs=near / (first - second))
    assert fit.r_squared == pytest.approx(1)


def brute_force(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least rest over a fine grid of breaks, and where."""
    different = np.unique(x)
    best = (math.inf, math.nan)
    for at in np.linspace(different[1], different[-2], 4001):
        design = np.column_stack([np.ones_like(x), np.minimum(x, at), np.maximum(x - at, 0)])
        rest = float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())
        best = min(best, (rest, float(at)))
    return best


@given(seed=st.integers(0, 10**6))
@settings(max_examples=12)
def test_no_break_leaves_less_than_the_one_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.choice(np.arange(1.0, 20), size=int(rng.integers(6, 15)))  # repeated and unordered
    if np.unique(x).size < 5:
        return
    y = bent(x, 3, 4, 0, 9) + rng.normal(size=x.size)
    fit = segmented(x, y, level=0.5, num_simulations=99, seed=seed)
    if math.isnan(fit.breakpoint.value):
        return
    rest, at = brute_force(x, y)
    ours = (1 - fit.r_squared) * float(((y - y.mean()) ** 2).sum())
    assert ours <= rest * (1 + 1e-9)  # the grid can only do worse
    step = (np.unique(x)[-2] - np.unique(x)[1]) / 4000
    finer = bent_rest(x, y, fit.breakpoint.value)
    assert ours == pytest.approx(finer, rel=1e-9)
    assert rest - ours <= 0.02 * rest + 1e-9 and (abs(at - fit.breakpoint.value) < 2 * step or rest >= ours)


def bent_rest(x: np.ndarray, y: np.ndarray, at: float) -> float:
    design = np.column_stack([np.ones_like(x), np.minimum(x, at), np.maximum(x - at, 0)])
    return float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())


def test_points_in_another_order_give_the_same() -> None:
    y = bent(np.array(HEADS), 0, 3, 0, 18) + np.array([0.4, -0.3, 0.2, -0.1, 0.3, -0.2, 0.1])
    order = [3, 0, 6, 1, 5, 2, 4]
    one, other = segmented(HEADS, y), segmented([HEADS[k] for k in order], [y[k] for k in order])
    assert one.breakpoint.value == pytest.approx(other.breakpoint.value) and one.p_value == other.p_value


def test_a_curve_that_saturates_has_the_slope_before() -> None:
    """Experiment 1 at d = 10: the line through all points is flatter by a sixth."""
    memory = [280.1, 776.3, 1240.6, 1696.9, 2144.9, 2406.6, 2493.4]
    fit = segmented(HEADS, memory)
    assert fit.reason == "" and fit.p_value < 0.01
    assert fit.first_slope.value == pytest.approx(line(HEADS[:5], memory[:5]).slope.value, rel=0.01)
    assert 21 < fit.breakpoint.low < fit.breakpoint.value < fit.breakpoint.high < 26
    assert fit.second_slope.value == pytest.approx((memory[6] - memory[5]) / 5)
    assert line(HEADS, memory).slope.value < 0.9 * fit.first_slope.low


def test_a_straight_line_has_no_break_and_its_own_slope() -> None:
    exact = segmented(HEADS, [3 + 2 * x for x in HEADS])
    noisy = segmented(HEADS, np.array(HEADS) * 2 + [0.3, -0.4, 0.1, 0.2, -0.3, 0.4, -0.1])
    flat = segmented(HEADS, [4.0] * 7)
    for fit in (exact, noisy, flat):
        assert fit.reason and math.isnan(fit.breakpoint.value) and math.isnan(fit.second_slope.value)
    assert exact.first_slope.value == pytest.approx(2) and exact.p_value == 1
    assert noisy.first_slope.low < 2 < noisy.first_slope.high and noisy.p_value > 0.05
    assert "not rejected" in noisy.reason and flat.first_slope.value == pytest.approx(0, abs=1e-12)


def test_one_point_beyond_a_break_leaves_its_place_open() -> None:
    """Any break between the last two points fits as well: the place is not told, the slope before it is."""
    noise = np.array([0.02, -0.03, 0.01, 0.02, -0.02, 0.0, 0.0])
    last = segmented(HEADS, np.minimum(np.array(HEADS), 27.0) + noise)
    assert "only the last point" in last.reason and "26 and 31" in last.reason
    assert math.isnan(last.breakpoint.value) and math.isnan(last.second_slope.value)
    assert last.first_slope.value == pytest.approx(line(HEADS[:6], (np.array(HEADS) + noise)[:6]).slope.value)
    first = segmented(HEADS, np.maximum(np.array(HEADS), 5.0) + noise)
    assert "only the first point" in first.reason and math.isnan(first.first_slope.value)
    assert first.second_slope.value == pytest.approx(1, abs=0.01)


def test_few_points_tell_no_break() -> None:
    fit = segmented([1, 2, 3, 4], [0, 1, 2, 2])
    assert "4 different x" in fit.reason and math.isnan(fit.p_value) and fit.first_slope.value == pytest.approx(0.7)


def test_a_straight_line_is_rejected_as_often_as_the_level_says() -> None:
    """500 straight lines with normal errors: the count of rejections is binomial."""
    rng = np.random.default_rng(3)
    repeats = 500
    rejected = sum(
        segmented(HEADS, 5 + 2 * np.array(HEADS) + rng.normal(size=7), num_simulations=99, seed=rng).p_value <= 0.1
        for _ in range(repeats)
    )
    assert abs(rejected - 0.1 * repeats) < 4.5 * math.sqrt(repeats * 0.1 * 0.9)


def test_intervals_of_a_clear_break_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    x, repeats, level = np.arange(1.0, 13), 250, 0.9
    fits: list[Segmented] = [
        segmented(x, bent(x, 1, 3, 0.2, 6.6) + 0.4 * rng.normal(size=12), level=level, num_simulations=99) for _ in range(repeats)
    ]
    assert all(not fit.reason for fit in fits)
    allowed = 4.5 * math.sqrt(repeats * level * (1 - level))
    for name, truth in (("first_slope", 3.0), ("second_slope", 0.2), ("breakpoint", 6.6)):
        covered = sum(getattr(fit, name).holds(truth) for fit in fits)
        assert abs(covered - level * repeats) < allowed, name


WIDTHS = np.array([3.0, 5.0, 7.0, 10.0, 13.0])


def test_the_resampled_exponent_is_that_of_the_means() -> None:
    rng = np.random.default_rng(5)
    curves = 7 * WIDTHS**2.5 * (1 + 0.1 * rng.normal(size=(6, 5)))
    found = bootstrap_log_log_slope(WIDTHS, curves, seed=0)
    assert found.value == pytest.approx(log_log_slope(WIDTHS, curves.mean(axis=0)).value)
    assert found.low < found.value < found.high
    assert found == bootstrap_log_log_slope(WIDTHS, curves, seed=0)
    assert found.low != bootstrap_log_log_slope(WIDTHS, curves, seed=1).low
    wider = bootstrap_log_log_slope(WIDTHS, curves, seed=0, level=0.99)
    assert wider.low < found.low and wider.high > found.high


@pytest.mark.parametrize(("repetitions", "least"), [(5, 0.85), (20, 0.9)])
def test_resampled_intervals_cover_nearly_as_often_as_they_say(repetitions: int, least: float) -> None:
    """Repetitions with an error of their own and one in common: 95% intervals; few repetitions have few resamples."""
    rng = np.random.default_rng(6)
    repeats, covered = 250, 0
    for k in range(repeats):
        shared = 1 + 0.1 * rng.normal(size=(repetitions, 1)) * np.log(WIDTHS / 6)
        curves = WIDTHS**2.5 * (shared + 0.1 * rng.normal(size=(repetitions, 5)))
        covered += bootstrap_log_log_slope(WIDTHS, curves, seed=k, num_resamples=999).holds(2.5)
    allowed = 4.5 * math.sqrt(repeats * 0.05 * 0.95)
    assert repeats * least - allowed / 2 < covered < 0.95 * repeats + allowed


def test_equal_repetitions_have_an_interval_of_no_width_and_one_has_none() -> None:
    curves = np.tile(2 * WIDTHS**3, (3, 1))
    same = bootstrap_log_log_slope(WIDTHS, curves, seed=0)
    assert (same.low, same.value, same.high) == pytest.approx((3, 3, 3))
    one = bootstrap_log_log_slope(WIDTHS, curves[:1], seed=0)
    assert one.value == pytest.approx(3) and math.isnan(one.low) and math.isnan(one.high)


def test_a_resample_without_logarithm_has_no_interval() -> None:
    curves = np.array([[1.0, 10.0], [-0.5, 10.0]])
    found = bootstrap_log_log_slope([1.0, 2.0], curves, seed=0)
    assert found.value == pytest.approx(math.log2(40)) and math.isnan(found.low)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: segmented([1, 1, 1], [1, 2, 3]), "at least two different"),
        (lambda: segmented(HEADS, HEADS[1:]), "7 and 6 entries"),
        (lambda: segmented(HEADS, HEADS, level=1), "level = 1"),
        (lambda: segmented(HEADS, HEADS, num_simulations=5), "num_simulations = 5"),
        (lambda: bootstrap_log_log_slope([1, 2], np.ones((3, 3)), seed=0), "rows of 2 numbers"),
        (lambda: bootstrap_log_log_slope([1, 1], np.ones((3, 2)), seed=0), "two of them different"),
        (lambda: bootstrap_log_log_slope([0, 1], np.ones((3, 2)), seed=0), "numbers > 0"),
        (lambda: bootstrap_log_log_slope([1, 2], -np.ones((3, 2)), seed=0), "means > 0"),
        (lambda: bootstrap_log_log_slope([1, 2], np.full((3, 2), np.nan), seed=0), "not finite"),
        (lambda: bootstrap_log_log_slope([1, 2], np.ones((3, 2)), seed=0, num_resamples=9), "num_resamples = 9"),
    ],
)
@pytest.mark.bad_input
def test_bad_arguments_are_named(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
