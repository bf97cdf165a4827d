"""Manifolds are what they say: on themselves, tangent, one-to-one in their charts, covered, as far from themselves as stated."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest

from theory.manifolds import Circle, Embedded, FlatTorus, Manifold, Product, Sphere, SwissRoll, manifold_named
from theory.strategies import manifolds

PLAIN = (
    Circle(),
    Circle(0.3),
    Sphere(1),
    Sphere(2, 2.0),
    Sphere(3),
    Sphere(5),
    FlatTorus(),
    FlatTorus((0.5, 1.0, 2.0)),
    SwissRoll(),
    Product((Circle(), Sphere(2))),
    Product((Circle(0.5), SwissRoll())),
)
ALL = (*PLAIN, Circle().embedded(8), Sphere(2).embedded(3, 5), FlatTorus().embedded(40, 1), SwissRoll().embedded(50, 2))
LARGE = Sphere(2).embedded(700, 3)
OF_EACH_KIND = (PLAIN[1], PLAIN[3], PLAIN[7], PLAIN[8], PLAIN[9], ALL[-2], ALL[-1])


def named(manifold: Manifold) -> str:
    return manifold.name


def off_tangent(manifold: Manifold, points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far each y - x sticks out of the tangent space at x."""
    gaps = others - points
    bases = manifold.tangent_basis(points)
    flat = np.einsum("njd,nj->nd", bases, gaps)
    return np.linalg.norm(gaps - np.einsum("njd,nd->nj", bases, flat), axis=1)


@pytest.mark.parametrize("manifold", [*ALL, LARGE], ids=named)
def test_parameters_invert_points(manifold: Manifold) -> None:
    points = manifold.sample(200, np.random.default_rng(0)).reshape(4, 50, -1)
    parameters = manifold.parameters(points)
    assert parameters.shape == (4, 50, manifold.num_parameters)
    assert np.abs(manifold.points(parameters) - points).max() <= 4e-15
    scale = max(1.0, float(np.abs(parameters).max()))
    assert np.abs(manifold.parameters(points[1, 3]) - parameters[1, 3]).max() <= 2e-14 * scale
    again = np.abs(manifold.parameters(manifold.points(parameters)) - parameters)
    assert np.minimum(again, np.abs(again - 2 * math.pi)).max() <= 2e-14 * scale


@pytest.mark.parametrize("manifold", [*ALL, LARGE], ids=named)
def test_tangent_bases_are_orthonormal_and_tangent(manifold: Manifold) -> None:
    rng = np.random.default_rng(1)
    points = manifold.sample(15, rng)
    bases = manifold.tangent_basis(points)
    assert np.abs(bases.swapaxes(1, 2) @ bases - np.eye(manifold.dimension)).max() <= 1e-14
    near = []
    for point, basis in zip(points, bases, strict=True):
        step = rng.standard_normal(manifold.dimension)
        moved, found = manifold.lift(point, basis, 1e-5 * manifold.reach * step[None] / np.linalg.norm(step))
        assert found.all()
        near.append(moved[0])
    # A neighbour at distance h leaves the tangent space by h^2 / (2 reach) at most (Federer), here 5e-11 of the reach.
    assert off_tangent(manifold, points, np.array(near)).max() <= 5.1e-11 * manifold.reach + 1e-14


@pytest.mark.parametrize("dimension", [1, 2, 3, 7])
def test_sphere_bases_are_exact_at_and_near_the_poles(dimension: int) -> None:
    axes = np.concatenate([np.eye(dimension + 1), -np.eye(dimension + 1)])
    rng = np.random.default_rng(2)
    for size in (0.0, 1e-300, 1e-16, 1e-9, 1e-3):
        points = axes + size * rng.standard_normal(axes.shape)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        bases = Sphere(dimension).tangent_basis(points)
        frames = np.concatenate([bases, points[:, :, None]], axis=2)
        assert np.abs(frames.swapaxes(1, 2) @ frames - np.eye(dimension + 1)).max() <= 2e-15
    apart = Sphere(dimension).distance(axes, -axes)
    assert np.abs(apart - math.pi).max() <= 4.5e-16
    turned = np.cos(1e-9) * axes + np.sin(1e-9) * np.roll(axes, 1, axis=1)
    assert np.abs(Sphere(dimension).distance(axes, turned) - 1e-9).max() <= 1e-15
    assert np.abs(Sphere(dimension).distance(axes, -turned) - (math.pi - 1e-9)).max() <= 1e-15


@pytest.mark.parametrize("manifold", OF_EACH_KIND, ids=named)
def test_reach_is_federers_and_tight(manifold: Manifold) -> None:
    rng = np.random.default_rng(3)
    points = manifold.sample(600, rng)
    least = np.inf
    for shift in range(1, 20):
        others = np.roll(points, shift, axis=0)
        squares = ((others - points) ** 2).sum(1)
        quotients = squares / (2 * np.maximum(off_tangent(manifold, points, others), 1e-300))
        least = min(least, float(quotients[squares > (0.01 * manifold.reach) ** 2].min()))  # rounding wins closer by
    assert manifold.reach * (1 - 1e-9) <= least <= 1.35 * manifold.reach


def test_reach_of_the_swiss_roll_by_brute_force() -> None:
    angles = np.linspace(1.5 * np.pi, 4.5 * np.pi, 1201)
    points = SwissRoll().points(np.stack([angles, np.zeros_like(angles)], axis=1))
    tangents = SwissRoll().tangent_basis(points)[:, :, 0]
    fine = np.linspace(3 * np.pi, 4 * np.pi, 20_001)
    gaps = SwissRoll().points(np.stack([fine, np.zeros_like(fine)], axis=1)) - points[0]
    # Behind an end everything sticks out: half the distance counts.
    least = float(np.linalg.norm(gaps[gaps @ tangents[0] < 0], axis=1).min()) / 2
    for place in range(len(angles)):
        gaps = points - points[place]
        along = gaps @ tangents[place]
        squares = (gaps**2).sum(1)
        quotients = squares / (2 * np.sqrt(np.maximum(squares - along**2, 1e-30)))
        least = min(least, float(quotients[np.abs(angles - angles[place]) > 0.1].min()))
    assert SwissRoll().reach == pytest.approx(least, rel=1e-8)


@pytest.mark.parametrize("angles", [(4.597715104383115, 9.843155592395718), (6.486347307007737, 11.33672796756325)])
def test_reach_of_a_roll_is_no_more_than_half_the_way_from_one_end_to_the_other(angles: tuple[float, float]) -> None:
    # The other end is the nearest point that lies behind: the least is at the bound of the search.
    roll = SwissRoll(*angles, pitch=1.0)
    ends = roll.points(np.array([[angle, 0.0] for angle in angles]))
    assert roll.reach == pytest.approx(np.linalg.norm(ends[1] - ends[0]) / 2, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(manifold=manifolds(), seed=st.integers(0, 999))
def test_distances_along_lie_between_chord_and_arc(manifold: Manifold, seed: int) -> None:
    first, second, third = manifold.sample(60, np.random.default_rng(seed)).reshape(3, 20, -1)
    chords = np.linalg.norm(first - second, axis=1)
    along = manifold.distance(first, second)
    size = manifold.coordinate_bound
    assert (along >= chords - 1e-13 * size).all()
    close = chords < 2 * manifold.reach
    # On sets of positive reach short distances are at most those on a circle of that radius.
    arcs = 2 * manifold.reach * np.arcsin(np.minimum(chords / (2 * manifold.reach), 1))
    assert (along <= arcs * (1 + 1e-9) + 1e-12 * size)[close].all()
    np.testing.assert_allclose(along, manifold.distance(second, first), rtol=1e-13)
    assert (along <= manifold.distance(first, third) + manifold.distance(third, second) + 1e-12 * size).all()
    assert np.abs(first).max() <= size


@pytest.mark.parametrize(
    ("manifold", "share"),
    [(which, share) for which in OF_EACH_KIND for share in (None, 0.5, 0.999) if which.dimension < 3 or share != 0.5],
    ids=str,
)
def test_charts_cover_and_have_one_sheet_each(manifold: Manifold, share: float | None) -> None:
    charts = manifold.charts(None if share is None else share * manifold.sheet_radius)
    assert charts.covering_radius is not None
    assert charts.covering_radius < 0.81 * charts.radius
    points = manifold.sample(1000, np.random.default_rng(4))
    coordinates = charts.coordinates(points)
    for chart in range(0, charts.num_charts, max(1, charts.num_charts // 6)):
        lifted, found = manifold.lift(charts.centres[chart], charts.bases[chart], coordinates[:, chart])
        same = found & (np.abs(lifted - points).max(axis=1) < 1e-7)
        distances = np.linalg.norm(points - charts.centres[chart], axis=1)
        assert same[distances < charts.radius].all()
        # Whatever else projects onto a point of the ball is beyond the clearance.
        onto = found & ~same & (np.linalg.norm(lifted - charts.centres[chart], axis=1) < charts.radius)
        assert (distances[onto] >= charts.clearance * (1 - 1e-9)).all()


@pytest.mark.parametrize("manifold", [*PLAIN, ALL[-1]], ids=named)
def test_no_point_is_farther_from_the_centres_than_the_covering_radius(manifold: Manifold) -> None:
    charts = manifold.charts()
    points = manifold.sample(3000 if manifold.dimension <= 2 else 300, np.random.default_rng(5))
    nearest = np.sqrt(charts._squared_distances(points).min(axis=1))
    assert charts.covering_radius is not None
    assert nearest.max() <= charts.covering_radius * (1 + 1e-12)
    if manifold.dimension <= 2:
        assert nearest.max() >= 0.95 * charts.covering_radius
    assert charts.covered(points).all()
    parts = charts.partition(points)
    assert np.abs(parts.sum(axis=1) - 1).max() <= 2e-15
    assert parts.min() >= 0
    assert (parts[charts._squared_distances(points) >= charts.radius**2] == 0).all()


@pytest.mark.parametrize(
    ("manifold", "radius", "count"),
    [
        (Circle(), 0.8, 8),
        (FlatTorus(), 1.05, 36),
        (Sphere(2), None, 12),
        (Sphere(3), None, 24),
        (FlatTorus(), None, 36),
        (FlatTorus((1.0, 1.0, 1.0)), None, 216),
    ],
    ids=lambda value: str(value),
)
def test_few_charts(manifold: Manifold, radius: float | None, count: int) -> None:
    assert manifold.charts(radius).num_charts == count


@pytest.mark.parametrize("radius", [0.2, 0.45, 1.35])
def test_spheres_are_covered_by_more_charts_when_they_are_small(radius: float) -> None:
    charts = Sphere(2).charts(radius)
    assert charts.covering_radius <= 0.7 * radius
    points = Sphere(2).sample(20_000, np.random.default_rng(6))
    nearest = np.sqrt(charts._squared_distances(points).min(axis=1))
    assert 0.97 * charts.covering_radius <= nearest.max() <= charts.covering_radius * (1 + 1e-12)
    assert charts.num_charts <= 20 / radius**2 + 6


@pytest.mark.parametrize("power", [1, 3, 6])
def test_the_partition_leaves_a_ball_like_that_power(power: int) -> None:
    charts = Circle().charts(0.8, power=power)
    rim = 2 * math.asin(0.4)
    heights = charts.partition(Circle().points(rim - np.array([[4e-3], [2e-3], [-1e-9]])))[:, 0]
    assert math.log2(heights[0] / heights[1]) == pytest.approx(power, abs=0.05)
    assert heights[2] == 0


def test_points_off_all_balls_get_nothing() -> None:
    charts = Circle().charts(0.8)
    far = np.array([[5.0, 0.0], [0.0, 0.0]])
    assert not charts.covered(far).any()
    assert (charts.partition(far) == 0).all()


@pytest.mark.parametrize("manifold", [Sphere(3, 2.0).embedded(9), SwissRoll().embedded(5), PLAIN[9]], ids=named)
def test_lift_solves_for_any_basis(manifold: Manifold) -> None:
    rng = np.random.default_rng(7)
    centre = manifold.sample(1, rng)[0]
    turn, _ = np.linalg.qr(rng.standard_normal((manifold.dimension, manifold.dimension)))
    basis = manifold.tangent_basis(centre)
    coordinates = 0.4 * manifold.reach * rng.uniform(-1, 1, (50, manifold.dimension))
    points, found = manifold.lift(centre, basis @ turn, coordinates)
    assert found.all()
    assert np.abs((points - centre) @ (basis @ turn) - coordinates).max() <= 4e-15
    assert np.abs(manifold.points(manifold.parameters(points)) - points).max() <= 4e-15
    assert np.abs(manifold.lift(centre, basis, coordinates @ turn.T)[0] - points).max() <= 4e-15


@pytest.mark.parametrize("manifold", [Circle(2.0), Sphere(2, 2.0)], ids=named)
def test_lift_stops_at_the_rim(manifold: Manifold) -> None:
    centre = manifold.sample(1, np.random.default_rng(8))[0]
    basis = manifold.tangent_basis(centre)
    coordinates = np.zeros((5, manifold.dimension))
    coordinates[:, 0] = [2 * (1 - 1e-12), -2 * (1 - 1e-15), 2.0000001, 1e9, 0.0]
    points, found = manifold.lift(centre, basis, coordinates)
    assert found.tolist() == [True, True, False, False, True]
    assert np.isfinite(points).all()
    assert np.abs(np.linalg.norm(points[found], axis=1) - 2).max() <= 2e-15
    assert (points[found] @ centre >= -1e-12).all()


def test_the_swiss_roll_goes_on_beyond_its_boundary() -> None:
    roll = SwissRoll()
    corner = roll.points(np.array([roll.last_angle, roll.height]))
    points, found = roll.lift(corner, roll.tangent_basis(corner), np.array([[0.05, 0.04], [9.0, 0.0]]))
    assert found.tolist() == [True, False]
    parameters = roll.parameters(points[:1])[0]
    assert parameters[0] > roll.last_angle + 0.04
    assert parameters[1] == pytest.approx(roll.height + 0.04, abs=1e-15)
    charts = roll.charts()
    lengths = roll.waves(np.array([roll.points(np.array([angle, 0.0])) for angle in (roll.first_angle, roll.last_angle)]))[:, 0]
    margin = 0.149 * charts.radius
    along = roll._angle_at(np.linspace(lengths[0] - margin, lengths[1] + margin, 400))
    for height in (-margin, roll.height + margin):
        edge = roll.points(np.stack([along, np.full(400, height)], axis=1))
        assert np.sqrt(charts._squared_distances(edge).min(axis=1)).max() <= charts.covering_radius


@pytest.mark.parametrize(
    ("manifold", "uniform"),
    [
        (Circle(3.0), lambda x: np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) + 0.5),
        (Sphere(2, 0.5), lambda x: x[:, 2] + 0.5),
        (Sphere(2, 0.5), lambda x: np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) + 0.5),
        (FlatTorus((1.0, 2.0)), lambda x: np.arctan2(x[:, 3], x[:, 2]) / (2 * np.pi) + 0.5),
        (SwissRoll(), lambda x: x[:, 1] / 0.7),
        (SwissRoll(), lambda x: (SwissRoll().waves(x)[:, 0] - spiral(1.5 * np.pi)) / SwissRoll().length),
    ],
)
def test_samples_are_uniform_in_volume(manifold: Manifold, uniform) -> None:
    points = manifold.sample(4000, np.random.default_rng(9))
    assert kstest(uniform(points), "uniform").pvalue > 0.01
    assert manifold.sample(0, np.random.default_rng(9)).shape == (0, manifold.ambient_dim)
    np.testing.assert_array_equal(points, manifold.sample(4000, np.random.default_rng(9)))


def spiral(angle: float) -> float:
    return quad(lambda t: math.sqrt(1 + t * t) / (4.5 * math.pi), 0, angle)[0]


@pytest.mark.parametrize(
    ("manifold", "volume"),
    [
        (Circle(2.0), 4 * math.pi),
        (Sphere(2, 3.0), 36 * math.pi),
        (Sphere(3, 2.0), 16 * math.pi**2),
        (FlatTorus((1.0, 3.0)), 12 * math.pi**2),
        (SwissRoll(), 0.7 * (spiral(4.5 * math.pi) - spiral(1.5 * math.pi))),
        (Product((Circle(), Sphere(2))).embedded(7), 8 * math.pi**2),
    ],
    ids=lambda value: str(value)[:20],
)
def test_volumes(manifold: Manifold, volume: float) -> None:
    assert manifold.volume == pytest.approx(volume, rel=1e-12)


def test_embeddings_keep_everything() -> None:
    torus = FlatTorus((1.0, 0.5))
    copy = torus.embedded(300, seed=4)
    points = torus.sample(100, np.random.default_rng(10))
    moved = copy.sample(100, np.random.default_rng(10))
    assert np.abs(moved - (points @ copy.columns.T + copy.offset)).max() <= 1e-15
    assert np.abs(copy.columns.T @ copy.columns - np.eye(4)).max() <= 1e-15
    assert 0 < np.linalg.norm(copy.offset) <= 1
    gaps = np.linalg.norm(moved[:50] - moved[50:], axis=1) - np.linalg.norm(points[:50] - points[50:], axis=1)
    assert np.abs(gaps).max() <= 2e-15
    assert np.abs(copy.charts().partition(moved) - torus.charts().partition(points)).max() <= 1e-13
    assert np.abs(np.abs(copy.charts().coordinates(moved)) - np.abs(torus.charts().coordinates(points))).max() <= 4e-15
    assert copy == torus.embedded(300, 4)
    assert hash(copy) == hash(torus.embedded(300, 4))
    assert np.abs(torus.embedded(300, 5).columns - copy.columns).max() > 0.01
    assert repr(copy) == "Embedded(manifold=FlatTorus(radii=(1.0, 0.5)), ambient_dim=300, seed=4)"


def test_coordinate_bounds_are_reached() -> None:
    copy = Sphere(2, 2.0).embedded(30, 3)
    steepest = copy.columns / np.linalg.norm(copy.columns, axis=1, keepdims=True)
    reached = np.abs(copy.offset + 2 * np.linalg.norm(copy.columns, axis=1) * np.sign(copy.offset)).max()
    extreme = copy.points(np.concatenate([steepest, -steepest]))
    assert np.abs(extreme).max() == pytest.approx(reached, rel=1e-15)
    assert np.abs(extreme).max() <= copy.coordinate_bound <= np.abs(extreme).max() * (1 + 4e-15)


@pytest.mark.parametrize(
    ("text", "manifold"),
    [
        ("circle", Circle()),
        ("sphere", Sphere(2)),
        ("sphere-3", Sphere(3)),
        (" torus ", FlatTorus()),
        ("torus-3", FlatTorus((1.0,) * 3)),
        ("swiss-roll", SwissRoll()),
        ("circle x sphere", Product((Circle(), Sphere()))),
        ("torus-1 x circle  x sphere-1", Product((FlatTorus((1.0,)), Circle(), Sphere(1)))),
    ],
)
def test_names(text: str, manifold: Manifold) -> None:
    assert manifold_named(text) == manifold
    assert manifold_named(manifold.name) == manifold
    assert manifold_named(text, 12, 3) == Embedded(manifold, 12, 3)
    assert manifold_named(text, 12).name == f"{manifold.name} in R^12"


@pytest.mark.parametrize("text", ["", "ball", "circle-2", "sphere-0", "sphere-17", "torus-x", "circle x", "x", "circle xsphere"])
def test_other_names_are_refused_with_what_is_legal(text: str) -> None:
    with pytest.raises(ValueError, match=r"manifold = .*: must be circle, sphere-d, torus-d .*swiss-roll") as caught:
        manifold_named(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Circle(0.0), r"^radius = 0\.0: must be a finite number > 0$"),
        (lambda: Sphere(2, math.inf), "radius = inf"),
        (lambda: Sphere(0), "dimension = 0: must be an integer >= 1"),
        (lambda: FlatTorus((1.0, -1.0)), r"radii = -1\.0"),
        (lambda: FlatTorus(()), "radii"),
        (lambda: Product(()), "factors"),
        (lambda: SwissRoll(2.0, 9.0), "first_angle = 2"),
        (lambda: SwissRoll(5.0, 4.0), "last_angle = 4"),
        (lambda: SwissRoll(pitch=math.nan), "pitch = nan"),
        (lambda: Circle().embedded(1), "ambient_dim = 1: must be an integer >= 2"),
        (lambda: Circle().embedded(3, -1), "seed = -1"),
        (lambda: Circle().charts(1.5), "fold over"),
        (lambda: Circle().charts(-0.1), "radius = -0.1"),
        (lambda: Circle().charts(1e-9), "too small"),
        (lambda: Sphere(3).charts(0.01), "too small"),
        (lambda: SwissRoll().charts(1e-6), "too small"),
        (lambda: FlatTorus().charts(1e-3), "too small"),
        (lambda: Circle().charts(0.8, power=0), "power = 0"),
        (lambda: Circle().parameters(np.zeros((3, 4))), r"points of shape \(3, 4\): the last axis must have length 2"),
        (lambda: Circle().parameters(np.array([np.nan, 1.0])), "must be finite, 1 of 2"),
        (lambda: Sphere().tangent_basis(np.zeros((1, 3))), "rows must not be 0"),
        (lambda: Circle().sample(-1, np.random.default_rng(0)), "num_points = -1"),
    ],
)
def test_bad_arguments(call, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.bad_input
def test_arrays_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"points of shape \(2,\): must be \(n, 2\)"):
        Circle().charts().partition(np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"basis \(3, 1\)"):
        Circle().lift(np.array([1.0, 0.0]), np.array([[0.0], [1.0], [0.0]]), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="parameters: must be an array of numbers"):
        Circle().points("pole")
