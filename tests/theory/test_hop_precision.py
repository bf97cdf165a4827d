"""Bounds on gaps, leaks and ranges against what they bound, computed in other ways; limits against what breaks behind them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import hop_precision as precision
from theory.hop_precision import HopRangeError

QUADRATIC = ("look-up", "last match", "pair")


def scores_of(primitive, n, s):
    """Rows of exact quadratic scores with the attended column, by the formulas, for every state: worst cases of all strings."""
    places = np.arange(n + 1)
    if primitive == "look-up":
        for t in places:
            yield 2 * t * places - places**2, t
    if primitive == "last match":
        base = n + 1
        for v, before in itertools.product(range(1, s + 1), itertools.product(range(s + 1), repeat=n)):
            u = np.array((0, *before))
            row = 2 * base * v * u + places - base * u**2 + base * v**2 * (places == 0)
            row[0] = base * v * v
            match = np.flatnonzero(u == v)
            yield row, (match[-1] if len(match) else 0)
    if primitive == "pair":
        grid = list(itertools.product(range(s + 1), range(n + 1)))
        for index, (a, b) in enumerate(grid):
            yield np.array([2 * a * x + 2 * b * y - x * x - y * y for x, y in grid]), index


@pytest.mark.parametrize("primitive", QUADRATIC)
@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0, 8.0])
def test_gaps_and_leaks_of_quadratic_scores_cover_every_state(primitive, scale):
    n, s = 4, 3
    gaps, leaks = [], []
    for row, attended in scores_of(primitive, n, s):
        below = row[attended] - np.delete(row, attended)
        gaps.append(below.min())
        leaks.append(np.exp(-scale * below).sum())
    assert min(gaps) == precision.score_gap(primitive, "quadratic", n, s) == 1
    # A model has N other positions; the pair's rows hold the whole lattice, more than any string can.
    size = len(row) - 1 if primitive == "pair" else n
    assert max(leaks) <= precision.leaked_mass(primitive, "quadratic", size, scale) * (1 + 1e-12)


def test_leak_bounds_are_not_far_off():
    row = np.arange(201)
    leak = np.exp(-3.0 * (row - 100) ** 2.0).sum() - 1
    assert leak <= precision.leaked_mass("look-up", "quadratic", 200, 3.0) <= 1.001 * leak
    assert precision.leaked_mass("count", "quadratic", 50, 3.0) == pytest.approx(50 * math.exp(-3))
    assert precision.leaked_mass("look-up", "quadratic", 50, 0.0) == math.inf


@pytest.mark.parametrize(("n", "s"), [(1, 1), (2, 1), (3, 4), (16, 2), (64, 26)])
def test_circle_gaps_are_the_least_of_all_pairs(n, s):
    unit = 2 * np.pi / (2 * n * (s + 1))
    start = math.cos(unit * (n - 0.5))
    matches = np.cos(unit * np.arange(n))
    mismatches = np.cos(unit * np.arange(n + 1, n * (s + 1) + 1))
    worst = min(np.diff(-matches).min(initial=np.inf), matches[-1] - start, start - mismatches.max())
    assert precision.score_gap("last match", "circle", n, s) == pytest.approx(worst, rel=1e-6)
    assert precision.score_gap("look-up", "circle", n, s) == pytest.approx(1 - math.cos(2 * np.pi / (n + 1)), rel=1e-9)


@pytest.mark.parametrize("n", [4, 37, 300])
def test_rounded_circle_scores_keep_the_guaranteed_gap(n):
    # Points and scores in float32, angles rounded on the way; what is left of the gap, over all targets and positions.
    frequency, places = np.float32(2 * np.pi / (n + 1)), np.arange(n + 1, dtype=np.float32)
    angles = (frequency * places).astype(np.float64)
    points = [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]
    scores = np.outer(points[0], points[0]) + np.outer(points[1], points[1])
    others = scores.astype(np.float64)
    np.fill_diagonal(others, -np.inf)
    left = (np.diag(scores).astype(np.float64) - others.max(1)).min()
    kept = precision.guaranteed_gap("look-up", "circle", n, 3, "float32")
    assert left >= kept
    assert precision.score_gap("look-up", "circle", n, 3) > kept > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [6.0, 9.0, 14.0, 40.0])
def test_what_a_lookup_brings_is_off_by_at_most_the_bound(dtype, scale):
    n = 300
    places = np.arange(n + 1)
    rng = np.random.default_rng(0)
    bound = precision.payload_error("look-up", "quadratic", n, n, scale, dtype)
    for t in rng.integers(0, n + 1, 60):
        scores = (-scale * (places - t) ** 2.0).astype(dtype)
        weights = np.exp(scores)
        weights /= weights.sum()
        for payload in (rng.integers(0, n + 1, n + 1), np.where(places == t, 0, n), np.where(places == t, n, 0)):
            brought = (weights * payload.astype(dtype)).sum()
            assert abs(float(brought) - payload[t]) <= bound


def test_float32_ends_at_4095_positions():
    assert precision.longest_string(4, "float32", "A") == precision.longest_string(4, "float32", "C") == 4095
    assert precision.longest_string(4, "float32", "B") == 4095
    precision.check_range(4095, 4, "float32", "B")
    with pytest.raises(HopRangeError, match=r"^seq_len = 4096: past the look-up limit of float32, N\^2 < 2\^24: .* 1 to 4095"):
        precision.check_range(4096, 4, "float32", "A")
    assert int(np.float32(4097**2)) != 4097**2


def test_with_many_symbols_the_last_match_ends_first():
    longest = precision.longest_string(46, "float32", "A")
    assert longest == 3962
    with pytest.raises(HopRangeError, match="past the last match limit of float32"):
        precision.check_range(longest + 1, 46, "float32", "A")
    base, s = longest + 2, 46  # N + 1 of one position more: a sum that float32 does not have
    sums = [2 * base * s * s + j for j in (longest, longest + 1)]
    assert any(int(np.float32(total)) != total for total in sums)
    assert all(int(np.float32(2 * (longest + 1) * s * s + j)) == 2 * (longest + 1) * s * s + j for j in range(1, longest + 1))


@given(st.integers(1, 60), st.integers(1, 60))
def test_every_sum_of_terms_within_the_limits_is_exact(n, s):
    # At 2^12 as the limit, so that small sizes reach it: largest odd parts of all partial sums against the formulas.
    base, places = n + 1, np.array([1, n])
    limits = {limit.name: limit for limit in precision.range_limits(n, s, "float32", "B")}
    codes = np.arange(s + 1)
    v, u, j = np.meshgrid(codes[1:], codes, places, indexing="ij")
    terms = [2 * base * v * u, j, -base * u * u]
    sums = [sum(chosen) for count in (1, 2, 3) for chosen in itertools.combinations(terms, count)]
    assert max(abs(total).max() for total in sums) == limits["last match"].value
    t, i = np.meshgrid(np.arange(n + 1), np.arange(n + 1))
    assert max(t.max() * i.max(), (i * i).max(), abs(2 * t * i - i * i).max()) == limits["look-up"].value
    assert n * n + s * s == limits["pair"].value


def test_circle_in_float32_ends_where_rounding_takes_the_gap():
    longest = precision.longest_string(4, "float32", "A", "circle")
    assert 512 <= longest < 4095
    with pytest.raises(HopRangeError, match=r"past the last match, scale limit of float32, .*rounding leaves"):
        precision.check_range(longest + 1, 4, "float32", "A", "circle")
    assert precision.longest_string(4, "float64", "A", "circle") > 100_000


@pytest.mark.parametrize("recipe", ["A", "B", "C"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_default_scales_suffice_and_least_scales_are_least(recipe, dtype):
    least = precision.least_scale(256, 4, dtype, recipe)
    assert least <= precision.DEFAULT_SCALE[dtype]
    precision.check_range(256, 4, dtype, recipe, scale=least)
    with pytest.raises(HopRangeError, match=f"scale limit of {dtype}.*scale = {least / 2:g}"):
        precision.check_range(256, 4, dtype, recipe, scale=least / 2)
    assert least == (precision.DEFAULT_SCALE[dtype] if recipe == "C" else {"A": 8.0, "B": 16.0}[recipe])


@pytest.mark.parametrize(("dtype", "numpy_type"), [("float32", np.float32), ("float64", np.float64)])
def test_thresholds_of_formats_are_those_of_their_exponentials(dtype, numpy_type):
    assert numpy_type(math.exp(-precision.WHOLE_WEIGHT[dtype] - 1e-9)) + numpy_type(1) == 1
    assert 1 / (1 + numpy_type(math.exp(-precision.WHOLE_WEIGHT[dtype] + 1.5))) < 1
    assert np.exp(numpy_type(-precision.UNDERFLOW[dtype])) == 0
    assert np.exp(numpy_type(-precision.UNDERFLOW[dtype] + 2)) > 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: precision.significand_bits("float16"), r"dtype = float16: float32 and float64 are legal \(float16 has all"),
        (lambda: precision.significand_bits("bfloat16"), r"which squares of positions pass at 17\)"),
        (lambda: precision.primitives_of("C", "circle"), "encoding = 'circle' with recipe = 'C'"),
        (lambda: precision.primitives_of("C", multi_task=True), "max_hops with recipe = 'C'"),
        (lambda: precision.primitives_of("D"), "recipe = 'D': must be one of A, B, C"),
        (lambda: precision.primitives_of("A", "binary"), "encoding = 'binary': must be one of quadratic, circle"),
        (lambda: precision.range_limits(0, 4, "float32", "A"), "seq_len = 0"),
        (lambda: precision.score_gap("look-up", "circle", 4, 0), "vocab_size = 0"),
    ],
)
@pytest.mark.bad_input
def test_bad_arguments_are_named_in_one_line(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
