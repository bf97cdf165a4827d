"""Targets are the functions they say, exactly, and as rough as they say: no smoother in any direction, no rougher anywhere."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.manifolds import (
    Circle,
    FlatTorus,
    Manifold,
    Product,
    Sphere,
    SwissRoll,
    Target,
    smooth_target,
    target_named,
    weierstrass_target,
)
from theory.strategies import hoelder_targets, manifolds

CURVED = (Circle(), FlatTorus(), FlatTorus((1.0,) * 3), Sphere(2), Sphere(3), SwissRoll(), Product((Circle(), Sphere(2))))


def segments(manifold: Manifold, count: int, size: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points x and the points of M at about +-size from each in a random tangent direction."""
    rng = np.random.default_rng(seed)
    middles = manifold.sample(count, rng)
    directions = rng.standard_normal((count, manifold.dimension))
    directions *= size / np.linalg.norm(directions, axis=1, keepdims=True)
    steps = np.einsum("njd,nd->nj", manifold.tangent_basis(middles), directions)
    right, left = (manifold.points(manifold.parameters(middles + sign * steps)) for sign in (1, -1))
    return middles, right, left


def test_the_circles_targets_are_the_known_ones() -> None:
    angles = np.concatenate([np.linspace(-3.1, 3.1, 50), [math.pi, -math.pi, 3.14159265358, 0.0, 1e-300]])
    points = Circle(2.0).points(angles[:, None])
    smooth = np.sin(3 * angles) + 0.5 * np.cos(5 * angles)
    assert np.abs(smooth_target(Circle(2.0))(points) - smooth).max() <= 3e-15
    rough = sum(2 ** (-0.5 * k) * np.cos(2**k * angles) for k in range(8))
    assert np.abs(weierstrass_target(Circle(2.0), 0.5, 8)(points) - rough).max() <= 2e-13


@pytest.mark.parametrize("beta", [0.25, 0.5, 1.5])
def test_weierstrass_is_exact_to_float_precision(beta: float) -> None:
    target = weierstrass_target(Circle(), beta)
    angles = np.concatenate([np.random.default_rng(0).uniform(-np.pi, np.pi, 20), np.pi - 10.0 ** -np.arange(3, 16)])
    points = Circle().points(angles[:, None])
    with mpmath.workdps(40):
        exact = [
            float(mpmath.fsum(mpmath.power(2, -beta * k) * mpmath.cos(2**k * mpmath.atan2(y, x)) for k in range(24)))
            for x, y in points.tolist()
        ]
    # The angle is known to one unit in its last place, 4.4e-16, which wave k magnifies by 2^k; cosines and sums add the rest.
    bound = sum(2 ** (-beta * k) * (2**k * 4.5e-16 + 4e-16) for k in range(24))
    assert np.abs(target(points) - exact).max() <= bound
    assert bound < 4e-10


@pytest.mark.parametrize("manifold", [FlatTorus(), Product((Circle(), Circle(2.0), Sphere(2)))], ids=lambda m: m.name)
def test_nothing_happens_where_angles_jump(manifold: Manifold) -> None:
    parameters = manifold.parameters(manifold.sample(50, np.random.default_rng(1)))
    for target in (smooth_target(manifold), weierstrass_target(manifold, 0.5, 10)):
        sides = []
        for angle in (math.pi, -math.pi):
            parameters[:, 0] = angle
            sides.append(target(manifold.points(parameters)))
        assert np.abs(sides[0] - sides[1]).max() <= 1e-12
        assert sides[0].std() > 0.1


@settings(max_examples=15, deadline=None)
@given(target=hoelder_targets(), size=st.integers(0, 9), seed=st.integers(0, 999))
def test_the_hoelder_constant_holds_at_all_scales(target: Target, size: int, seed: int) -> None:
    manifold = target.manifold
    first, second, _ = segments(manifold, 10, 0.9 * manifold.reach * 8.0**-size, seed)
    far = manifold.sample(10, np.random.default_rng(seed + 1))
    steps = np.abs(target.amplitudes[:, None] * np.linalg.norm(target.frequencies, axis=2)).sum()
    # Coordinates are known to a few units in the last place of their sizes: which the waves magnify.
    slack = steps * 1e-14 * max(1.0, float(np.abs(manifold.waves(first)).max()), manifold.wave_coordinates.lipschitz)
    for other in (second, far):
        moved = np.abs(target(first) - target(other))
        exponent = min(target.smoothness, 1.0)
        assert (moved <= target.hoelder_constant * manifold.distance(first, other) ** exponent + slack).all()


@pytest.mark.parametrize("beta", [0.25, 0.5, 0.75])
def test_the_hoelder_constant_is_less_than_four_times_too_large(beta: float) -> None:
    target = weierstrass_target(Circle(), beta, 40)
    steps = 2.0 ** -np.linspace(2, 16, 300)
    fallen = target(np.array([[1.0, 0.0]])) - target(Circle().points(steps[:, None]))
    assert target.hoelder_constant is not None
    assert target.hoelder_constant / 4 <= (fallen / steps**beta).max() <= target.hoelder_constant


@pytest.mark.parametrize("beta", [0.3, 0.75, 1.5])
@pytest.mark.parametrize("manifold", CURVED, ids=lambda manifold: manifold.name)
def test_roughness_is_beta_in_random_directions(manifold: Manifold, beta: float) -> None:
    target = weierstrass_target(manifold, beta)
    exponents = range(5, 13)
    sizes = []
    for exponent in exponents:
        middle, right, left = segments(manifold, 250, 2.0**-exponent * manifold.reach, exponent)
        second = target(right) - 2 * target(middle) + target(left)
        sizes.append(np.sqrt(np.mean(second**2)))
    # Waves come in octaves, so the mean square of second differences at steps h is h^(2 beta) times something periodic in log2 h.
    slope = np.polyfit(exponents, np.log2(sizes), 1)[0]
    assert -slope == pytest.approx(beta, abs=0.1)


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (3, -1)])
def test_no_direction_of_the_torus_is_smooth_and_none_splits_off(direction: tuple[int, int]) -> None:
    target = weierstrass_target(FlatTorus(), 0.5)
    along = np.array(direction) / math.hypot(*direction)
    across = np.array([-along[1], along[0]])
    parameters = np.random.default_rng(2).uniform(-3, 3, (800, 2))

    def value(right: float, up: float) -> np.ndarray:
        return target(FlatTorus().points(parameters + right * along + up * across))

    for step in 2.0 ** -np.arange(3, 12):
        moved = value(step, 0) - value(0, 0)
        assert 0.6 <= np.sqrt(np.mean(moved**2) / step) <= 2
        # A sum g(along) + h(across) would have mixed differences 0.
        mixed = value(step, step) - value(step, 0) - value(0, step) + value(0, 0)
        assert np.sqrt(np.mean(mixed**2) / step) >= 0.5


@settings(max_examples=20, deadline=None)
@given(manifold=manifolds(embedded=False), extra=st.integers(0, 60), seed=st.integers(0, 99))
def test_targets_do_not_know_the_embedding(manifold: Manifold, extra: int, seed: int) -> None:
    copy = manifold.embedded(manifold.ambient_dim + extra, seed)
    points, moved = (which.sample(20, np.random.default_rng(seed)) for which in (manifold, copy))
    for target in (smooth_target(manifold), weierstrass_target(manifold, 0.5, 12)):
        steps = np.abs(target.amplitudes[:, None] * np.linalg.norm(target.frequencies, axis=2)).sum()
        size = manifold.wave_coordinates.lipschitz * (1 + manifold.coordinate_bound)
        difference = np.abs(target.on(copy)(moved) - target(points)).max()
        assert difference <= 4e-15 * steps * max(size, float(np.abs(manifold.waves(points)).max()))


def test_values_are_of_order_one() -> None:
    for manifold in CURVED:
        points = manifold.sample(4000, np.random.default_rng(3))
        for target in (smooth_target(manifold), weierstrass_target(manifold, 0.5)):
            assert 0.6 < target(points).std() < 1.4
            assert np.abs(target(points)).max() < 6


@pytest.mark.bad_input
@pytest.mark.parametrize("beta", [0, 1, 2.0, -0.5, math.nan, math.inf, True, "0.5"])
def test_betas_that_make_no_such_function_are_refused(beta: object) -> None:
    with pytest.raises(ValueError, match="must be a number > 0 that is no integer") as caught:
        target_named(Circle(), "weierstrass", beta)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_targets_by_name() -> None:
    assert target_named(Circle(), "smooth", 7.0).name == "smooth"
    assert target_named(Circle(), "smooth").smoothness == math.inf
    assert target_named(Circle(), "weierstrass", 0.75).name == "weierstrass 0.75"
    assert target_named(Circle(), "weierstrass", 0.75).smoothness == 0.75
    with pytest.raises(ValueError, match=r"^target = 'step': must be one of smooth, weierstrass$"):
        target_named(Circle(), "step", 0.5)
    for terms in (0, 41):
        with pytest.raises(ValueError, match=f"num_terms = {terms}"):
            weierstrass_target(Circle(), 0.5, terms)
    with pytest.raises(ValueError, match="must be a copy of circle"):
        smooth_target(Circle()).on(Sphere(2))


@pytest.mark.parametrize(
    ("manifold", "smooth", "least", "most"),
    [
        (FlatTorus(), (2.8284, 2.8285, 4.0, 4.0), 1.0, 2.24), (FlatTorus((1.0, 1.0, 1.0)), (3.3, 3.75, 5.0, 5.2), 1.41, 2.24),
        (Sphere(), (2.0, 2.0, 3.0, 3.0), 1.0, 1.0),
    ],
)  # fmt: skip
def test_waves_are_as_long_as_is_said(
    manifold: Manifold, smooth: tuple[float, float, float, float], least: float, most: float
) -> None:
    first, second = np.linalg.norm(smooth_target(manifold).frequencies, axis=2)
    assert smooth == pytest.approx((first.min(), first.max(), second.min(), second.max()), abs=0.06)
    lengths = np.linalg.norm(weierstrass_target(manifold, 0.5).frequencies, axis=2) / 2.0 ** np.arange(24)[:, None]
    assert least - 0.005 <= lengths.min() <= lengths.max() <= most + 0.005
    # Once rounding is fine, root q times 2^k where all coordinates are periodic.
    root = len(manifold.wave_coordinates.periodic) ** 0.5 if all(manifold.wave_coordinates.periodic) else 1.0
    assert lengths[12:] == pytest.approx(np.full_like(lengths[12:], root), rel=1e-3)
