"""How far built networks come: slopes that theory promises, measured, and tables that say what was measured."""

from math import inf, isnan, nan

import numpy as np
import pandas as pd
import pytest

from constructions.manifolds import build
from empirical.manifold_reach import REACH_COLUMNS, SLOPE_COLUMNS, predicted_order, reach_slopes, reach_table
from theory.manifolds import Circle, Sphere, smooth_target, weierstrass_target

CIRCLE = Circle().embedded(8, seed=0)
GRIDS = (16, 32, 64, 128, 256)


def measured(target, grids, degree, num_points):
    table = reach_table(target.manifold, target, grids, degree, num_points=num_points)
    assert table["blocks"].nunique() == 1  # whatever the accuracy
    return reach_slopes(table).set_index(["error", "against"])


@pytest.mark.parametrize(("target", "degree"), [(smooth_target(CIRCLE), 1), (weierstrass_target(CIRCLE, 0.5), 0)])
def test_error_on_the_circle_falls_as_promised(target, degree):
    slopes = measured(target, GRIDS, degree, 1500)
    for error in ("rms", "sup"):
        row = slopes.loc[(error, "grid")]
        assert row["predicted"] == (-2 if degree else -0.5)
        assert abs(row["slope"] - row["predicted"]) < 0.1


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_higher_degrees_fall_faster_than_the_second_power(degree):
    row = measured(smooth_target(CIRCLE), (24, 48, 96), degree, 200).loc[("rms", "grid")]
    assert row["predicted"] == -(degree + 1)
    assert row["slope"] < -degree - 0.5  # less would be another power


def test_error_on_the_sphere_falls_with_the_square_of_the_step():
    row = measured(smooth_target(Sphere()), (8, 16, 32), 1, 400).loc[("rms", "grid")]
    assert row["predicted"] == -2
    assert abs(row["slope"] - row["predicted"]) < 0.3  # closer at larger grids: benchmarks/manifold_reach.py


def test_a_row_says_what_a_fresh_build_measures():
    target = smooth_target(Sphere())
    seen: list[tuple[int, int]] = []
    table = reach_table(target.manifold, target, (4, 6), 1, num_points=50, seed=3, progress=lambda *at: seen.append(at))
    assert tuple(table.columns) == REACH_COLUMNS
    assert seen == [(1, 2), (2, 2)]
    points = target.manifold.sample(50, np.random.default_rng(3))
    for row, grid in zip(table.itertuples(), (4, 6), strict=True):
        built = build(target.manifold, target, grid)
        error = built(points) - target(points)
        assert (row.grid, row.tokens, row.heads) == (grid, built.num_tokens, built.num_heads)
        assert (row.blocks, row.parameters) == (built.num_blocks, built.num_parameters)
        assert row.rms == pytest.approx(np.linalg.norm(error) / np.sqrt(50), rel=1e-12)
        assert row.sup == np.abs(error).max()


def made(errors, dimension=2, beta=inf, degree=1, grids=(4, 8, 16)):
    rows = [
        ("made", dimension, 5, "up", beta, degree, grid, 3, grid**dimension, 9, 5, 7 * grid**dimension, error, 2 * error, 10, 0.1)
        for grid, error in zip(grids, errors, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(REACH_COLUMNS))


@pytest.mark.parametrize(
    ("beta", "degree", "order"), [(inf, 1, 2.0), (inf, 4, 5.0), (0.5, 0, 0.5), (0.5, 3, 0.5), (1.5, 1, 1.5), (inf, 0, 1.0)]
)
def test_slopes_of_exact_powers_are_exact(beta, degree, order):
    grids = np.array([4, 8, 16])
    found = reach_slopes(made(3.0 * grids**-order, beta=beta, degree=degree))
    assert tuple(found.columns) == SLOPE_COLUMNS
    assert len(found) == 6
    for row in found.itertuples():
        expected = -order if row.against == "grid" else -order / 2
        assert row.slope == pytest.approx(expected, abs=1e-12)
        assert row.predicted == pytest.approx(expected, abs=1e-15)
        assert row.low <= row.slope <= row.high
        assert (row.num_grids, row.reason) == (3, "")


@pytest.mark.parametrize("errors", [(1.0, 0.0, 0.1), (1.0, nan, 0.1)])
def test_errors_without_logarithm_have_a_reason_and_no_slope(errors):
    found = reach_slopes(made(errors))
    assert found["slope"].isna().all()
    assert found["reason"].str.contains("no logarithm").all()


def test_one_grid_has_no_slope_and_groups_stay_apart():
    table = pd.concat([made((0.5,), grids=(4,)), made((1.0, 0.25), degree=3, grids=(4, 8))], ignore_index=True)
    found = reach_slopes(table).set_index(["degree", "error", "against"])
    assert isnan(found.loc[(1, "rms", "grid"), "slope"])
    assert found.loc[(1, "rms", "grid"), "reason"] == "fewer than two sizes"
    assert found.loc[(3, "rms", "grid"), "slope"] == pytest.approx(-2)
    assert isnan(found.loc[(3, "rms", "grid"), "low"])  # two points leave no scatter


@pytest.mark.bad_input
def test_errors_at_the_door():
    target = smooth_target(Circle())
    with pytest.raises(ValueError, match="grids is empty"):
        reach_table(Circle(), target, (), 1)
    with pytest.raises(ValueError, match="target lives on circle"):
        reach_table(Sphere(), target, (4,), 1)
    with pytest.raises(ValueError, match="num_points = 0"):
        reach_table(Circle(), target, (4,), 1, num_points=0)
    with pytest.raises(ValueError, match="no column heads"):
        reach_slopes(made((1.0, 0.5, 0.25)).drop(columns="heads"))
    with pytest.raises(ValueError, match="beta"):
        predicted_order(-1.0, 1)
    with pytest.raises(ValueError, match="degree = -1"):
        predicted_order(0.5, -1)
