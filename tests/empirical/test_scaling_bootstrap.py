"""The bootstrap of scaling-law fits: weights are resampled tables, runs stay whole, ends are order statistics, failures count."""

from math import inf, isnan, nan

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from empirical import scaling_bootstrap
from empirical._scaling_engine import minimise
from empirical._scaling_forms import FORMS
from empirical.scaling_bootstrap import Bootstrap, allocation_cloud, bootstrap_fit, percentiles
from empirical.scaling_points import ScalingPoints
from theory.allocation import optimal_allocation

HOFFMANN, LINE = FORMS["hoffmann"], FORMS["kaplan-data"]
TRUTH = np.array([np.log(482.01), np.log(2085.43), np.log(1.8172), 0.3478, 0.3658])


def drawn(num_points, noise, seed, runs=None):
    generator = np.random.default_rng(seed)
    sizes, tokens = 10 ** generator.uniform(8, 10, num_points), 10 ** generator.uniform(9, 11, num_points)
    loss = 1.8172 + 482.01 / sizes**0.3478 + 2085.43 / tokens**0.3658
    return ScalingPoints.of(sizes, tokens, loss * np.exp(noise * generator.standard_normal(num_points)), runs=runs)


def logs(points):
    return points.log_parameters, points.log_tokens, points.log_loss


def by_hand(thetas):
    return Bootstrap(HOFFMANN, TRUTH, np.asarray(thetas, dtype=float), num_failed=0, unit="pairs", num_units=99)


@pytest.fixture
def seen_weights(monkeypatch):
    """The weights that the engine is handed, call by call."""
    seen = []

    def watched(*args, **named):
        seen.append(named["weights"])
        return minimise(*args, **named)

    monkeypatch.setattr(scaling_bootstrap, "minimise", watched)
    return seen


@pytest.mark.parametrize(
    ("values", "failed", "ends"),
    [
        (np.arange(1.0, 40), 0, (1, 39)), (np.arange(1.0, 39), 0, (nan, nan)), (np.arange(1.0, 200), 0, (5, 195)),
        (np.arange(1.0, 198), 2, (3, 195)), (np.array([*np.arange(1.0, 198), nan, nan]), 0, (3, 195)),
        (np.arange(1.0, 195), 5, (nan, nan)),
        (np.array([-inf] * 5 + list(np.arange(6.0, 195)) + [inf] * 5), 0, (-inf, inf)),
    ],
)  # fmt: skip
def test_ends_are_order_statistics_and_failures_count_at_both(values, failed, ends):
    assert percentiles(values[::-1], 0.95, num_failed=failed) == pytest.approx(ends, nan_ok=True)


@given(st.integers(1, 300), st.integers(0, 20), st.floats(0.5, 0.99), st.integers(0, 9))
def test_failures_can_only_widen(size, failed, level, seed):
    values = np.random.default_rng(seed).normal(size=size)
    best, worst = percentiles(values, level), percentiles(values, level, num_failed=failed)
    if not isnan(worst[0]):
        # as wide as if all failures had fallen below, and as if all had fallen above
        below, above = (percentiles(np.append(values, [end] * failed), level) for end in (-inf, inf))
        assert worst[0] <= above[0] and worst[1] >= below[1]
        assert worst[0] <= best[0] <= best[1] <= worst[1]


@pytest.mark.parametrize("unit", ["pairs", "runs"])
def test_a_resample_is_a_table_with_rows_repeated(unit, seen_weights):
    points = drawn(48, 0.01, 3, runs=[f"run {number % 16}" for number in range(48)])
    found = bootstrap_fit(HOFFMANN, points, TRUTH, unit=unit, resamples=24, seed=5)
    weights = seen_weights[0]
    assert weights.shape == (24, 48) and (weights.sum(1) == 48).all() and (weights == weights.round()).all()
    assert len(np.unique(weights, axis=0)) == 24
    by_run = weights.reshape(24, 3, 16)  # a run's three points stand 16 apart
    assert (by_run == by_run[:, :1]).all() == (unit == "runs")
    assert found.num_units == (16 if unit == "runs" else 48) and found.num_failed == 0
    for row in (0, 7):
        times = weights[row].astype(int)
        repeated = ScalingPoints.of(*(np.repeat(getattr(points, name), times) for name in ("parameters", "tokens", "loss")))
        alone = minimise(HOFFMANN, *logs(repeated), TRUTH[None])
        assert found.thetas[row] == pytest.approx(alone.theta[0], abs=1e-4)  # two stops at 1e-7 of the gradient
    told = "trust the bootstrap by run" if unit == "pairs" else "16 runs for 5 parameters"
    assert len(found.warnings) == 1 and told in found.warnings[0]


def test_the_spread_is_that_of_robust_errors_where_those_are_known():
    """Squares on a straight line with unequal noise: HC1 errors, up to 4 deviations of 1 / sqrt(2 * 1000) = 2.2%, and O(1/n)."""
    generator = np.random.default_rng(0)
    log_d = generator.uniform(20, 26, 400)
    loss = np.exp(4 - 0.1 * log_d + 0.01 * (log_d - 19.5) * generator.standard_normal(400))
    points = ScalingPoints.of(np.full(400, 1e9), np.exp(log_d), loss)
    least = sm.OLS(points.log_loss, sm.add_constant(-log_d)).fit(cov_type="HC1")
    found = bootstrap_fit(LINE, points, least.params, resamples=1000, delta=10.0)
    assert found.constants["alpha_D"].std() == pytest.approx(least.bse[1], rel=0.1)
    assert found.constants["alpha_D"].mean() == pytest.approx(least.params[1], abs=4 * least.bse[1] / np.sqrt(1000))


def test_checkpoints_of_one_run_are_not_ten_points():
    """Ten copies of every point: pairs find an interval about sqrt(10) too narrow and say so, runs do not."""
    base = drawn(40, 0.01, 1)
    columns = (np.repeat(getattr(base, name), 10) for name in ("parameters", "tokens", "loss"))
    copies = ScalingPoints.of(*columns, runs=[str(row // 10) for row in range(400)])
    theta = minimise(HOFFMANN, *logs(base), TRUTH[None]).theta[0]
    pairs = bootstrap_fit(HOFFMANN, copies, theta, resamples=60)
    runs = bootstrap_fit(HOFFMANN, copies, theta, resamples=60, unit="runs")
    widths = [found.interval("alpha").high - found.interval("alpha").low for found in (pairs, runs)]
    assert widths[1] > 2 * widths[0]
    assert any("trust the bootstrap by run" in line for line in pairs.warnings) and not runs.warnings


def test_batches_change_nothing(monkeypatch):
    points, seen = drawn(30, 0.01, 2), []
    whole = bootstrap_fit(HOFFMANN, points, TRUTH, resamples=24, seed=3)
    monkeypatch.setattr(scaling_bootstrap, "BATCH", 7 * 30)
    parts = bootstrap_fit(HOFFMANN, points, TRUTH, resamples=24, seed=3, progress=lambda done, of: seen.append((done, of)))
    assert parts.thetas == pytest.approx(whole.thetas, rel=1e-5) and parts.num_failed == whole.num_failed
    assert seen == sorted(seen) and seen[-1] == (24, 24)


def test_same_seed_same_bits_and_progress_ends():
    points, seen = drawn(30, 0.01, 2), []
    first, again, other = (
        bootstrap_fit(HOFFMANN, points, TRUTH, resamples=20, seed=seed, progress=lambda done, of: seen.append((done, of)))
        for seed in (3, np.random.default_rng(3), 4)
    )
    assert (first.thetas == again.thetas).all() and not (first.thetas == other.thetas).all()
    assert seen[-1] == (20, 20)


def test_allocation_exponents_mirror_each_other_and_b_is_skewed():
    generator = np.random.default_rng(0)
    cloud = by_hand(TRUTH + generator.normal(size=(4000, 5)) * [0.2, 0.4, 0.01, 0.01, 0.02])
    a, b = cloud.interval("a"), cloud.interval("b")
    assert (b.low, b.high, b.value) == pytest.approx((1 - a.high, 1 - a.low, 1 - a.value))
    assert a.value == pytest.approx(0.3658 / (0.3478 + 0.3658)) and a.level == 0.95
    wide = cloud.interval("a", level=0.5)
    assert a.low < wide.low < wide.high < a.high
    # the skewness of exp(0.4 z) is 1.32; 4,000 draws of a heavy tail know it to about .2
    assert cloud.skew("B") == pytest.approx((np.exp(0.16) + 2) * np.sqrt(np.exp(0.16) - 1), abs=0.4)
    assert abs(cloud.skew("beta")) < 4 * np.sqrt(6 / 4000)
    assert isnan(by_hand([TRUTH] * 5).skew("E"))


def test_allocation_of_every_resample_is_the_closed_form():
    good = TRUTH + np.random.default_rng(1).normal(size=(5, 5)) * [0.2, 0.4, 0.01, 0.01, 0.02]
    table = allocation_cloud(by_hand([*good, [6, 7, 0.6, -0.01, 0.3], [6, 7, 0.6, 0.0, 0.3]]), 5.76e23)
    assert len(table) == 7 and table.iloc[5:][["parameters", "tokens", "loss"]].isna().all(axis=None)
    assert (table["compute"] == 5.76e23).all()
    for theta, row in zip(good, table.itertuples(), strict=False):
        told = optimal_allocation(HOFFMANN.law(theta), 5.76e23)
        expected = [told.parameters, told.tokens, told.tokens_per_parameter, told.loss]
        assert [row.parameters, row.tokens, row.tokens_per_parameter, row.loss] == pytest.approx(expected, rel=1e-10)
        assert row.parameters * row.tokens == pytest.approx(5.76e23 / 6, rel=1e-12)


def test_resamples_that_hold_too_little_are_counted():
    """Six places for five parameters: most resamples hold fewer than five different ones."""
    points = drawn(6, 0.001, 2)
    found = bootstrap_fit(HOFFMANN, points, TRUTH, resamples=60)
    draws = np.random.default_rng(0).integers(6, size=(20_000, 6))
    share = np.mean([len(set(row)) < 5 for row in draws.tolist()])
    # binomial, 4 deviations; what does not converge comes on top
    assert found.num_failed >= 60 * share - 4 * np.sqrt(60 * share * (1 - share))
    assert len(found.thetas) == 60 - found.num_failed == len(found.constants)
    assert isnan(found.interval("E").low) and isnan(found.interval("E").high)
    assert any("could not be fitted" in line for line in found.warnings) and any("too narrow" in line for line in found.warnings)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"unit": "points"}, "unit = 'points'"), ({"unit": "runs"}, "name no runs"), ({"resamples": 19}, "resamples"),
        ({"level": 0.0}, "level"), ({"theta": TRUTH[:3]}, "5 finite numbers"), ({"delta": -1.0}, "delta"),
        ({"unit": "runs", "points": drawn(6, 0.01, 0, runs=["x"] * 6)}, "at least 2"),
    ],
)  # fmt: skip
@pytest.mark.bad_input
def test_errors_at_the_door(changed, told):
    given_ = {"form": HOFFMANN, "points": drawn(20, 0.01, 0), "theta": TRUTH} | changed
    with pytest.raises(ValueError, match=told) as caught:
        bootstrap_fit(**given_)
    assert "\n" not in str(caught.value)


def test_errors_of_intervals_and_clouds():
    cloud = by_hand([TRUTH] * 40)
    with pytest.raises(ValueError, match="symbol = 'gamma': E, A, B"):
        cloud.interval("gamma")
    with pytest.raises(ValueError, match="compute = nan"):
        allocation_cloud(cloud, nan)
    line = Bootstrap(LINE, np.array([4.0, 0.1]), np.array([[4.0, 0.1]]), 0, "pairs", 9)
    with pytest.raises(ValueError, match="law = 'kaplan-data'"):
        allocation_cloud(line, 1e20)
