"""The bias of dimension estimates, its inverse, and exponents: against known clouds and against plain enumeration."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from empirical.dimension import (
    CorrectedDimension,
    DimensionEstimate,
    bias_curve,
    corrected_dimension,
    gride,
    known_cloud,
    levina_bickel,
    local_pca,
    predicted_exponents,
    two_nn,
)


def estimate(value, low=math.nan, high=math.nan, method="levina_bickel", neighbours=20, num_points=3600):
    return DimensionEstimate(method, value, low, high, 0.95, num_points, 0, neighbours)


def curve(estimates, spread=0.0, families=("ball",), dimensions=(1, 2, 4, 8)):
    rows = [
        [family, d, "levina_bickel", 20, 3600, 8, value * scale, value * scale * (1 - spread), value * scale * (1 + spread)]
        for family, scale in zip(families, (1.0, 1.25), strict=False)
        for d, value in zip(dimensions, estimates, strict=True)
    ]
    names = ["family", "dimension", "method", "neighbours", "num_points", "ambient_dim", "estimate", "low", "high"]
    return pd.DataFrame(rows, columns=names)


@pytest.mark.parametrize("family", ["ball", "gaussian", "sphere"])
def test_known_clouds_are_what_they_are_called(family):
    points = known_cloud(family, 3, 4000, np.random.default_rng(0))
    radii = np.linalg.norm(points, axis=1)
    assert points.shape == (4000, 4 if family == "sphere" else 3)
    law = {"ball": stats.beta(3, 1).cdf, "gaussian": stats.chi(3).cdf}
    if family == "sphere":
        assert radii == pytest.approx(np.ones(4000), abs=1e-12)
    else:
        assert stats.kstest(radii, law[family]).pvalue > 1e-4
    assert np.abs(points.mean(axis=0)).max() < 5 / math.sqrt(4000)


@pytest.mark.parametrize(("dimension", "expected"), [(20, 15.9)])
def test_the_published_setting_saturates(dimension, expected):
    """20 neighbours of 3600 Gaussian points: 15.9 for 20. The standard error is 0.5%: four of these and rounding."""
    points = known_cloud("gaussian", dimension, 3600, np.random.default_rng(dimension))
    assert levina_bickel(points, resamples=0).dimension == pytest.approx(expected, rel=0.025)


def test_a_curve_has_the_estimates_of_its_clouds():
    calls = []
    table = bias_curve(
        num_points=200, dimensions=[1, 6, 30], method=["levina_bickel", "two_nn", "gride"], neighbours=10, repeats=2, seed=3,
        progress=lambda done, everything: calls.append((done, everything)),
    )  # fmt: skip
    assert calls == [(number, 18) for number in range(1, 19)]
    assert len(table) == 27 and set(table["neighbours"]) == {10, 2}
    row = table.query("family == 'gaussian' and dimension == 6").set_index("method")
    for method, name, given in ((levina_bickel, "levina_bickel", {"neighbours": 10}), (two_nn, "two_nn", {}),
                                (gride, "gride", {"neighbours": 10})):  # fmt: skip
        clouds = [known_cloud("gaussian", 6, 200, np.random.default_rng([3, 1, 6, repeat])) for repeat in range(2)]
        logs = [math.log(method(points, resamples=0, **given).dimension) for points in clouds]
        assert row.loc[name, "estimate"] == pytest.approx(math.exp(np.mean(logs)), rel=1e-9)
        assert row.loc[name, "low"] < row.loc[name, "estimate"] < row.loc[name, "high"]
    largest = table[table["dimension"] == 30]
    assert (largest["estimate"] < 25).all()  # 200 points do not show 30 dimensions
    alone = bias_curve(num_points=200, dimensions=[1, 6, 30], neighbours=10, repeats=2, seed=3)
    pd.testing.assert_frame_equal(alone, table[table["method"] == "levina_bickel"].reset_index(drop=True))


def test_a_curve_stays_within_the_data_s_own_width():
    table = bias_curve(num_points=60, ambient_dim=6, families=("ball", "sphere"), repeats=1)
    assert list(table.loc[table["family"] == "ball", "dimension"]) == [1, 2, 3, 5, 6]
    assert table.loc[table["family"] == "sphere", "dimension"].max() == 5
    assert table["low"].isna().all()  # one repeat has no spread


def test_the_corrected_interval_of_a_sphere_holds_its_dimension():
    """Without an edge a sphere's estimates are above those of balls and Gaussians, whose curve alone says 5.1 or more here."""
    told = local_pca(known_cloud("sphere", 5, 2000, np.random.default_rng(0)), most_points=500, resamples=10)
    table = bias_curve(num_points=2000, dimensions=[4, 5, 6], method="local_pca", neighbours=None)
    assert corrected_dimension(told, table[table["family"] != "sphere"]).low > 5
    found = corrected_dimension(told, table)
    assert found.low < 5 < found.high


def test_no_sphere_is_larger_than_the_space_it_lies_in():
    """In R^8 a sphere has 7 dimensions at most: that it can't give 3.6 says that the data are none, not that it is saturated."""
    ball = curve([1, 2**0.5, 2, 8**0.5])
    sphere = curve([1, 2**0.5, 2, 7**0.5], dimensions=(1, 2, 4, 7)).assign(family="sphere")
    both = pd.concat([ball, sphere.assign(estimate=sphere["estimate"] * 0.9, high=sphere["high"] * 0.9, low=sphere["low"] * 0.9)])
    told = estimate(2.5, 2.25, 2.75)
    found, alone = corrected_dimension(told, both), corrected_dimension(told, ball)
    assert not found.reason and found.dimension == pytest.approx(alone.dimension) == pytest.approx(6.25)
    assert found.low == pytest.approx(alone.low) and found.high == pytest.approx(max(alone.high, 7))
    free = corrected_dimension(told, both.assign(ambient_dim=None))
    assert math.isinf(free.high) and math.isnan(free.dimension)  # in a larger space it may be a larger sphere


@pytest.mark.parametrize(("columns", "spheres"), [(1, []), (2, [1]), (30, [1, 2, 6, 29])])
def test_spheres_stay_one_below_the_width(columns, spheres):
    dimensions = [d for d in (1, 2, 6, 30) if d <= columns]
    table = bias_curve(num_points=60, ambient_dim=columns, dimensions=dimensions, repeats=1)
    assert list(table.loc[table["family"] == "sphere", "dimension"]) == spheres
    assert list(table.loc[table["family"] == "ball", "dimension"]) == dimensions


def test_a_curve_ends_where_nothing_further_is_asked_for():
    calls = []
    arguments = {"num_points": 100, "method": ["levina_bickel", "two_nn"], "neighbours": 10}
    whole = bias_curve(dimensions=[1, 2, 4, 6, 8], **arguments)
    short = bias_curve(
        dimensions=[1, 2, 4, 6, 8], beyond={"levina_bickel": 1.5, "two_nn": 2.2}, **arguments,
        progress=lambda done, everything: calls.append((done, everything)),
    )  # fmt: skip
    last = short["dimension"].max()
    assert 2 < last < 8 and calls[-1] == (3 * 2 * short["dimension"].nunique(),) * 2
    kept = whole[whole["dimension"] <= last].reset_index(drop=True)
    pd.testing.assert_series_equal(short["estimate"], kept["estimate"])
    lows = short[short["dimension"] == last].groupby("method")["low"].min()
    assert lows["levina_bickel"] > 1.5 and lows["two_nn"] > 2.2
    before = short[short["dimension"] == sorted(set(short["dimension"]))[-2]].groupby("method")["low"].min()
    assert before["levina_bickel"] <= 1.5 or before["two_nn"] <= 2.2


def test_the_corrected_interval_holds_the_truth_where_the_estimate_s_own_does_not():
    points = known_cloud("gaussian", 12, 600, np.random.default_rng(9)) @ np.linalg.qr(
        np.random.default_rng(8).standard_normal((30, 12))
    )[0].T
    told = levina_bickel(points, resamples=50)
    assert told.high < 11
    corrected = corrected_dimension(told, bias_curve(num_points=600, ambient_dim=30, dimensions=[8, 10, 15, 20]))
    assert corrected.low < 12 < corrected.high < 18
    assert corrected.low < corrected.dimension < corrected.high and not corrected.reason


def test_a_curve_is_inverted_between_its_points():
    """Estimates d^(1/2): logarithms are linear, so the inverse is exact: 2.5 is 6.25, or (2.5/1.25)^2 = 4 in the other family."""
    table = curve([1, 2**0.5, 2, 8**0.5], families=("ball", "gaussian"))
    found = corrected_dimension(estimate(2.5, 2.25, 2.75), table)
    assert (found.low, found.high) == pytest.approx(((2.25 / 1.25) ** 2, 2.75**2))
    assert found.dimension == pytest.approx(math.sqrt(6.25 * 4))
    assert corrected_dimension(2.5, table).dimension == found.dimension
    assert corrected_dimension(0.5, curve([0.8, 2, 3, 4])).dimension == pytest.approx(0.5 / 0.8)


def test_the_uncertainty_of_the_curve_widens_the_interval():
    told = estimate(2.0, 1.8, 2.2)
    narrow, wide = (corrected_dimension(told, curve([1, 2**0.5, 2, 8**0.5], spread)) for spread in (0.0, 0.1))
    assert wide.low < narrow.low and wide.high > narrow.high
    assert narrow.high == pytest.approx(2.2**2) and wide.high == pytest.approx((2.2 / 0.9) ** 2)


def test_saturation_is_told_and_leaves_no_upper_end():
    table = curve([1, 1.5, 1.9, 1.9])
    found = corrected_dimension(estimate(1.8, 1.7, 1.95), table)
    assert math.isinf(found.high) and "saturated" in found.reason and 2 < found.low < found.dimension < 4
    beyond = corrected_dimension(estimate(2.5, 2.4, 2.6), table)
    assert math.isnan(beyond.dimension) and beyond.low == 8 and math.isinf(beyond.high)
    exponents = predicted_exponents(beyond, 1.0)
    assert (exponents.data_low, exponents.model_low) == (0, 0)
    assert exponents.data_high == pytest.approx(0.2) and math.isnan(exponents.data)


def test_what_is_not_comparable_is_refused_or_told():
    table = curve([1, 2, 4, 8])
    with pytest.raises(ValueError, match="for gride with 20 neighbours"):
        corrected_dimension(estimate(2.0, method="gride"), table)
    with pytest.raises(ValueError, match="with 10 neighbours"):
        corrected_dimension(estimate(2.0, neighbours=10), table)
    with pytest.raises(ValueError, match="is of 2 methods"):
        corrected_dimension(2.0, pd.concat([table, table.assign(method="two_nn")]))
    assert "3600 points, the estimate 900" in corrected_dimension(estimate(2.0, num_points=900), table).reason
    assert math.isnan(corrected_dimension(estimate(math.nan), table).high)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"families": ("cube",)}, "'cube' is unknown"),
        ({"dimensions": [3, 2]}, "must ascend"),
        ({"dimensions": [3], "ambient_dim": 2}, "none above ambient_dim = 2"),
        ({"dimensions": [0]}, "dimensions = 0"),
        ({"method": "magic"}, "method = 'magic'"),
        ({"num_points": 20}, "20 of 20 points are distinct"),
        ({"repeats": 0}, "repeats = 0"),
    ],
)
def test_a_curve_of_nonsense_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        bias_curve(**{"num_points": 50, "dimensions": [2], **arguments})


@pytest.mark.parametrize(("dimension", "beta"), [((5.0, 8.0), 1.0), ((3.0, 3.0), (0.5, 2.0)), ((13.0, 20.0), (0.25, 1.0))])
def test_exponents_have_the_ends_that_enumeration_finds(dimension, beta):
    found = predicted_exponents(dimension, beta)
    smooths = beta if isinstance(beta, tuple) else (beta, beta)
    every = [(2 * b / (2 * b + d), 2 * b / d) for d in np.linspace(*dimension, 50) for b in np.linspace(*smooths, 50)]
    data, model = zip(*every, strict=True)
    assert (found.data_low, found.data_high) == pytest.approx((min(data), max(data)))
    assert (found.model_low, found.model_high) == pytest.approx((min(model), max(model)))
    assert found.data_low <= found.data <= found.data_high
    assert 1 / found.data - 1 / found.model == pytest.approx(1)


def test_a_match_within_two_hundredths_allows_many_dimensions():
    """Why agreement of exponents is weak evidence: at beta = 1 all of 13.3 to 19.9 are within 0.02 of d = 16's data exponent."""
    for centre, low, high in ((16.0, 13.26, 19.94), (20.0, 16.04, 26.20)):
        middle = predicted_exponents((centre, centre), 1.0).data
        near = predicted_exponents((low, high), 1.0)
        assert (near.data_low, near.data_high) == pytest.approx((middle - 0.02, middle + 0.02), abs=5e-5)


@pytest.mark.parametrize(
    ("dimension", "beta", "words"),
    [((8.0, 5.0), 1.0, "low <= high"), ((0.0, 5.0), 1.0, "0 < low"), ((1.0, 2.0), 0.0, "beta = 0"),
     ((1.0, 2.0), (2.0, 1.0), "beta"), (CorrectedDimension(2.0, 1.0, 3.0), math.inf, "beta = inf")],
)  # fmt: skip
def test_exponents_of_nonsense_are_refused(dimension, beta, words):
    with pytest.raises(ValueError, match=words):
        predicted_exponents(dimension, beta)
