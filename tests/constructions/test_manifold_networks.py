"""Networks built for functions on manifolds: what they compute, how many blocks it takes, and what breaks them."""

from itertools import product
from math import ceil, comb, inf, log2, pi

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float

from constructions._token_model import ModelFileError
from constructions.interaction import InteractionPrecisionError
from constructions.manifolds import ManifoldNetwork, build
from theory.manifolds import Charts, Circle, FlatTorus, Manifold, Product, Sphere, SwissRoll, smooth_target, weierstrass_target

EPS = float(np.finfo(float).eps)
CIRCLE, TORUS, SPHERE = Circle(), FlatTorus(), Sphere()
UNEVEN = Product((Circle(), Circle(0.5)))
GENERATOR = 20240501


def drawn(manifold: Manifold, count: int = 60) -> Float[np.ndarray, "points ambient"]:
    return manifold.sample(count, np.random.default_rng(GENERATOR))


def bump(u: Float[np.ndarray, "*shape"], degree: int) -> Float[np.ndarray, "*shape"]:
    return np.clip(2 - np.abs(3 * u), 0, 1) if degree == 0 else np.clip(1 - np.abs(u), 0, 1)


def plain_sum(manifold, function, points, grid, degree, slack, charts: Charts):
    """The approximant straight from its formula, chart by chart and cell by cell, polynomials by numpy's own solver."""
    dimension, radius = manifold.dimension, charts.radius
    step, total, highest = 2 * radius / grid, np.zeros(len(points)), degree if degree > 1 else 0
    chebyshev = np.cos(pi * (np.arange(degree + 1) + 0.5) / (degree + 1)) if degree > 1 else np.zeros(1)
    offsets = np.array(list(product(chebyshev, repeat=dimension)))
    powers = [row for row in product(range(highest + 1), repeat=dimension) if sum(row) <= highest]
    design = np.stack([np.prod(offsets ** np.array(row), axis=1) for row in powers], axis=1)
    nodes = np.array(list(product(range(grid + 1), repeat=dimension))) * step - radius
    for number, (centre, basis) in enumerate(zip(charts.centres, charts.bases, strict=True)):
        z, squared = (points - centre) @ basis, ((points - centre) ** 2).sum(axis=1)
        ramp = np.clip((radius**2 + slack - squared) / slack, 0, 1)
        lifted, found = manifold.lift(centre, basis, (nodes[:, None] + step * offsets).reshape(-1, dimension))
        values = np.zeros(len(lifted))
        values[found] = function(lifted[found]) * charts.partition(lifted[found])[:, number]
        coefficients = np.linalg.lstsq(design, values.reshape(len(nodes), -1).T, rcond=None)[0].T
        for node, local in zip(nodes, coefficients, strict=True):
            u = (z - node) / step
            monomials = np.stack([np.prod(np.clip(u, -1, 1) ** np.array(row), axis=1) for row in powers], axis=1)
            total += monomials @ local * bump(u, degree).prod(axis=1) * ramp
    return total


def steepness(built: ManifoldNetwork) -> float:
    """The largest sum of absolute coefficients of a cell, at most the number of terms times the largest one."""
    coefficients = built.network.blocks[-1].pairs.scales
    terms = comb(built.manifold.dimension + built.degree, built.degree) if built.degree > 1 else 1
    return terms * float(np.abs(coefficients).max())


def rounding(built: ManifoldNetwork, largest: float, slack: float) -> float:
    """What rounding can do to an answer: that of u and of |x - c|^2 times how steeply a term follows them, once per term.

    u = z / h - k is off by (2 D + 6) eps of its size, at most (D B + r) / h with |x_j| <= B; the ramp by (3 D + 6) eps of
    the squares' sum over the slack. At most 2^d cells of a chart speak at a point, each with at most `largest` as the sum of its
    coefficients; a product of m + d factors in [-1, 1] follows each with slope 3 (trapezoid) at most.
    """
    manifold, charts = built.manifold, built.charts
    bound, ambient = manifold.coordinate_bound, manifold.ambient_dim
    step = 2 * charts.radius / built.grid
    off = (2 * ambient + 6) * EPS * (ambient * bound + charts.radius) / step
    far = (3 * ambient + 6) * EPS * 4 * ambient * bound**2 / slack
    speaking = charts.num_charts * 2**manifold.dimension * largest
    return speaking * ((manifold.dimension + built.degree) * 3 * off + far + 64 * EPS)


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from([CIRCLE, TORUS, SPHERE, UNEVEN]), st.integers(0, 3), st.integers(2, 3), st.integers(0, 3), st.booleans(),
)  # fmt: skip
def test_network_is_the_sum_that_it_stands_for(manifold, degree, grid, extra, rough):
    place = manifold.embedded(manifold.ambient_dim + extra, seed=extra)
    target = weierstrass_target(place, 0.5, 8) if rough else smooth_target(place)
    built = build(place, target, grid, degree, slack=0.3)
    points = drawn(place, 20)
    expected = plain_sum(place, target, points, grid, degree, 0.3, built.charts)
    np.testing.assert_allclose(built(points), expected, rtol=0, atol=rounding(built, steepness(built), 0.3))
    assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize(
    ("manifold", "degree", "grid", "radius"), [(CIRCLE, 0, 4, 1.3), (CIRCLE, 1, 5, 1.3), (CIRCLE, 2, 2, 1.4), (SPHERE, 0, 2, 1.3)]
)
def test_every_head_on_all_pairs_answers_as_only_its_own_pair_does(manifold, degree, grid, radius):
    built = build(manifold, smooth_target(manifold), grid, degree, radius=radius)
    points, network = drawn(manifold, 3), built.network
    dense = network.evaluate_dense(points, built.dense(tolerance=1e-5))
    bound = network.error_bound()
    assert bound < 1e-2  # the comparison says something
    np.testing.assert_allclose(dense, built(points), rtol=0, atol=2 * bound)
    assert np.abs(dense).max() > 0.1


def test_float32_is_refused_where_routing_rounds_too_much_and_is_indeed_off():
    built = build(CIRCLE, smooth_target(CIRCLE), 8, radius=1.3)
    with pytest.raises(InteractionPrecisionError, match="float32"):
        built.dense(torch.float32, tolerance=1e-6)
    points = drawn(CIRCLE, 5)
    forced = built.network.evaluate_dense(points, built.dense(torch.float32, tolerance=inf))
    assert np.abs(forced - built(points)).max() > 1e-6


@pytest.mark.parametrize(
    ("manifold", "grids", "degree"),
    [*((CIRCLE, (8, 16, 32), degree) for degree in range(5)), *((TORUS, (3, 6), degree) for degree in range(4)),
     *((Product((CIRCLE, SPHERE)), (2, 3), degree) for degree in range(2))],
)  # fmt: skip
def test_blocks_follow_dimension_and_degree_and_nothing_else(manifold, grids, degree):
    factors = manifold.dimension + (degree if degree > 1 else 0) + 1
    for grid in grids:
        assert build(manifold, smooth_target(manifold), grid, degree).num_blocks == ceil(log2(factors)) + 3


@pytest.mark.parametrize(("manifold", "grid"), [(CIRCLE, 64), (TORUS, 12), (SPHERE, 12)])
def test_tokens_grow_as_the_grid_to_the_dimension(manifold, grid):
    target = smooth_target(manifold)
    charts = manifold.charts()
    for size in (grid, 2 * grid):
        built = build(manifold, target, size)
        fixed = charts.num_charts * (1 + manifold.dimension * (size + 2)) + manifold.ambient_dim + 1
        # cells whose node lies in the chart's disc, by volume, up to the cells its rim can cut
        ball = {1: size, 2: pi * size**2 / 4}[manifold.dimension]
        assert 0.5 * charts.num_charts * ball < built.num_tokens < charts.num_charts * ball + fixed


@pytest.mark.parametrize(("manifold", "degree"), [(CIRCLE, 1), (CIRCLE, 3), (TORUS, 1)])
def test_neither_rotation_nor_ambient_dimension_changes_the_answers(manifold, degree):
    parameters, target, answers = manifold.parameters(drawn(manifold)), smooth_target(manifold), []
    for ambient, seed in ((manifold.ambient_dim + 1, 0), (manifold.ambient_dim + 1, 1), (50, 2)):
        place = manifold.embedded(ambient, seed=seed)
        built = build(place, target.on(place), 8, degree)
        answers.append(built(place.points(parameters)))
        tolerance = 2 * rounding(built, steepness(built), built.charts.radius**2 / 4)
        np.testing.assert_allclose(answers[-1], answers[0], rtol=0, atol=tolerance)
    assert tolerance < 1e-6


@pytest.mark.parametrize("manifold", [CIRCLE, TORUS, SPHERE])
def test_without_the_indicator_the_far_side_speaks_too(manifold):
    target, points = smooth_target(manifold), drawn(manifold, 100)
    error = {kind: np.abs(build(manifold, target, 16, indicator=kind)(points) - target(points)).max() for kind in (True, False)}
    assert error[False] > 0.5 > 2 * error[True]


def test_far_side_answers_what_the_near_side_would_where_nothing_tells_them_apart():
    # one chart's patch alone: cos > 0 half of the circle around the centre (1, 0)
    built = build(CIRCLE, lambda points: np.ones(len(points)), 32, indicator=False)
    near = np.linspace(-0.2, 0.2, 9)
    points = CIRCLE.points(np.concatenate([near, pi - near])[:, None])
    answers = built(points)
    # every patch speaks on both sides: two times the constant, near and far
    np.testing.assert_allclose(answers, 2.0, atol=0.02)


@pytest.mark.parametrize(
    "manifold", [CIRCLE, TORUS, SPHERE, Sphere(3), SwissRoll(), Product((Circle(), Sphere()))], ids=lambda each: each.name
)
def test_ramps_are_one_on_their_chart_and_zero_on_other_sheets(manifold):
    charts, points = manifold.charts(), drawn(manifold, 400)
    slack = min(charts.radius**2, charts.largest_slack) / 2
    squared = ((points[:, None] - charts.centres) ** 2).sum(axis=2)
    within = squared < charts.radius**2 + slack
    for chart in range(min(charts.num_charts, 40)):
        near = points[within[:, chart]]
        z = (near - charts.centres[chart]) @ charts.bases[chart]
        lifted, found = manifold.lift(charts.centres[chart], charts.bases[chart], z)
        inside = found & (((lifted - charts.centres[chart]) ** 2).sum(axis=1) < charts.radius**2)
        np.testing.assert_allclose(lifted[inside], near[inside], atol=1e-6)


@pytest.mark.parametrize("degree", [1, 2])
def test_cells_that_count_for_nothing_are_left_out(degree):
    target, points = smooth_target(CIRCLE), drawn(CIRCLE)
    sparse, full = (build(CIRCLE, target, 40, degree, skip_zeros=skip) for skip in (True, False))
    assert sparse.num_tokens < full.num_tokens
    np.testing.assert_allclose(sparse(points), full(points), rtol=0, atol=64 * EPS)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_nothing_is_built_for_the_zero_function_and_it_answers_zero(degree):
    built = build(SPHERE, lambda points: np.zeros(len(points)), 4, degree)
    assert built.num_tokens == 12 + 3 + 24 + 1
    assert not built(drawn(SPHERE)).any()
    assert built.num_blocks == build(SPHERE, smooth_target(SPHERE), 3, degree).num_blocks


def test_products_are_ordered_for_few_tokens():
    # Two axes, degree 3: with every product written axis by axis there would be 8956.
    assert build(SPHERE, smooth_target(SPHERE), 8, 3).num_tokens <= 8224


def test_a_file_gives_back_the_same_network(tmp_path):
    place = Product((Circle(), Circle(0.7))).embedded(6, seed=3)
    built = build(place, smooth_target(place), 3, 2, radius=0.6)
    built.save(tmp_path / "net.safetensors", {"made by": "a test"})
    again, points = ManifoldNetwork.load(tmp_path / "net.safetensors"), drawn(place)
    assert again.manifold == place
    assert (again.grid, again.degree, again.indicator, again.num_tokens) == (3, 2, True, built.num_tokens)
    np.testing.assert_array_equal(again(points), built(points))
    np.testing.assert_array_equal(again.charts.centres, built.charts.centres)


@pytest.mark.parametrize(("degree", "power"), [(1, 6), (5, 6), (6, 7), (8, 9)])
def test_the_partition_is_smooth_enough_for_the_degree_in_a_file_too(tmp_path, degree, power):
    # A bump of power p has p - 1 derivatives at its rim: f rho_n is no smoother, and no polynomial nearer than h^p.
    built = build(CIRCLE, smooth_target(CIRCLE), 2, degree)
    built.save(tmp_path / "net.safetensors")
    again, points = ManifoldNetwork.load(tmp_path / "net.safetensors"), drawn(CIRCLE, 20)
    assert built.charts.power == again.charts.power == power
    np.testing.assert_array_equal(again.charts.partition(points), built.charts.partition(points))


def test_degree_eight_falls_faster_than_the_sixth_power():
    target, points = smooth_target(CIRCLE), drawn(CIRCLE, 200)
    coarse, fine = (np.abs(build(CIRCLE, target, grid, 8)(points) - target(points)).max() for grid in (48, 96))
    assert fine < coarse / 2**7  # power 6 in the bumps: 2^6.2


@pytest.mark.parametrize(
    "kept", [None, "{}", '{"manifold": 3}', '{"manifold": {"class": "Charts", "fields": {}}}', '{"manifold": {"class": "os"}}',
             '{"manifold": {"class": "Sphere", "fields": {}}, "radius": 0.8, "grid": 4, "degree": 1, "indicator": true}'],
)  # fmt: skip
def test_a_file_that_does_not_say_what_it_is_is_refused(tmp_path, kept):
    network = build(CIRCLE, smooth_target(CIRCLE), 2).network
    network.save(tmp_path / "net.safetensors", {} if kept is None else {"manifold network": kept})
    with pytest.raises(ModelFileError, match=r"net\.safetensors"):
        ManifoldNetwork.load(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": 1}, "grid = 1"), ({"grid": 2.5}, "grid = 2.5"), ({"degree": -1}, "degree = -1"), ({"degree": 9}, "degree = 9"),
        ({"slack": 0.0}, "slack = 0.0"), ({"slack": inf}, "slack = inf"), ({"slack": 1e9}, "far sheets"),
        ({"manifold": "circle"}, "manifold = 'circle'"), ({"radius": 2.0}, "radius = 2"),
        ({"function": lambda points: points[:, :1]}, "function gives"),
        ({"function": lambda points: np.full(len(points), np.nan)}, "function gives"),
        ({"function": lambda points: points[:, 0] * 1j}, "function gives complex128"),
    ],
)  # fmt: skip
@pytest.mark.bad_input
def test_errors_at_the_door(change, words):
    arguments = {"manifold": CIRCLE, "function": smooth_target(CIRCLE), "grid": 4} | change
    with pytest.raises(ValueError, match=words) as caught:
        build(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("degree", [1, 2])
def test_what_products_multiply_stays_small_however_fine_the_grid(degree):
    # local coordinates are clipped: without it every score of a product would grow with N, and the routing of it
    coarse, fine = (build(CIRCLE, smooth_target(CIRCLE), grid, degree).network.score_bounds[2:-1] for grid in (8, 64))
    assert len(coarse) == len(fine) > 0
    np.testing.assert_allclose(fine, coarse, rtol=1e-9)
