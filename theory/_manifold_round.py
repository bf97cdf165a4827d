"""Circles and spheres: everything in closed form, and sets of points that provably cover them."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from theory._manifold_base import Manifold, Points, WaveCoordinates, checked_count, checked_length
from theory.shapes import checked_integer


def round_clearance(reach: float, radius: float) -> float:
    """Distance from a point of a sphere of radius R to the far point over the rim of its cap of chord r: sqrt(4 R^2 - r^2).

    With angle t = 2 arcsin(r / 2R), cap and far side share the tangent coordinate R sin t, and the far point is at angle
    pi - t: chord 2 R cos(t / 2). Smaller coordinates are farther.
    """
    return math.sqrt((2 * reach - radius) * (2 * reach + radius))


def lifted_cap(
    centre: Float[np.ndarray, " ambient"], displacements: Float[np.ndarray, "m ambient"], radius: float
) -> tuple[Float[np.ndarray, "m ambient"], Bool[np.ndarray, " m"]]:
    """Points c sqrt(1 - |w|^2 / R^2) + w of the half sphere around c, and which |w| are below R."""
    lengths = np.sqrt(np.einsum("mj,mj->m", displacements, displacements)) / radius
    found = lengths < 1
    shares = np.where(found, lengths, 0.0)
    heights = np.sqrt((1 - shares) * (1 + shares))
    return heights[:, None] * centre + np.where(found[:, None], displacements, 0.0), found


class _Round(Manifold):
    """What circles and spheres do, given their `radius`."""

    radius: float

    @property
    def reach(self) -> float:
        return self.radius

    @property
    def reach_reason(self) -> str:
        return "exact: the centre is the only point with more than one nearest point"

    @property
    def sheet_radius(self) -> float:
        return math.sqrt(2) * self.radius

    def _lift(
        self, centre: Float[np.ndarray, " ambient"], displacements: Float[np.ndarray, "m ambient"]
    ) -> tuple[Float[np.ndarray, "m ambient"], Bool[np.ndarray, " m"]]:
        return lifted_cap(centre, displacements, self.radius)

    def _support(self, directions: Float[np.ndarray, "m ambient"]) -> Float[np.ndarray, " m"]:
        return self.radius * np.sqrt((directions**2).sum(axis=1))

    def _clearance(self, radius: float) -> float:
        return round_clearance(self.radius, radius)


@dataclass(frozen=True)
class Circle(_Round):
    """The circle R (cos t, sin t) in the plane; parameter: the angle t.

    Charts: C equally spaced centres; the point halfway between two is at chord 2 R sin(pi / (2 C)), the covering radius.
    Raises ValueError for a radius that isn't a finite number > 0.
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", checked_length("radius", self.radius))

    @property
    def name(self) -> str:
        return "circle" if self.radius == 1 else f"circle of radius {self.radius:g}"

    @property
    def dimension(self) -> int:
        return 1

    @property
    def ambient_dim(self) -> int:
        return 2

    @property
    def num_parameters(self) -> int:
        return 1

    @property
    def volume(self) -> float:
        return 2 * math.pi * self.radius

    @property
    def wave_coordinates(self) -> WaveCoordinates:
        return WaveCoordinates((True,), 1 / self.radius)

    @property
    def default_radius(self) -> float:
        return 0.8 * self.radius

    def _points(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Points:
        return self.radius * np.concatenate([np.cos(parameters), np.sin(parameters)], axis=-1)

    def _parameters(self, points: Points) -> Float[np.ndarray, "*batch parameters"]:
        return np.arctan2(points[..., 1:], points[..., :1])

    def _waves(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Float[np.ndarray, "*batch axes"]:
        return parameters

    def _sample(self, num_points: int, generator: np.random.Generator) -> Float[np.ndarray, "n parameters"]:
        return generator.uniform(-math.pi, math.pi, (num_points, 1))

    def _tangent_basis(self, points: Points) -> Float[np.ndarray, "*batch ambient d"]:
        angles = self._parameters(points)
        return np.concatenate([-np.sin(angles), np.cos(angles)], axis=-1)[..., None]

    def _distance(
        self, first: Float[np.ndarray, "*batch parameters"], second: Float[np.ndarray, "*batch parameters"]
    ) -> Float[np.ndarray, "*batch"]:
        gaps = np.abs(first - second)[..., 0]
        return np.asarray(self.radius * np.minimum(gaps, np.abs(2 * math.pi - gaps)))

    def _centres(self, covering: float, radius: float) -> tuple[Float[np.ndarray, "c parameters"], float]:
        count = max(3, math.ceil(math.pi / (2 * math.asin(min(1.0, covering / (2 * self.radius)))) - 1e-12))
        checked_count(count, self.name)
        angles = 2 * math.pi / count * np.arange(count)
        return np.where(angles > math.pi, angles - 2 * math.pi, angles)[:, None], (
            2 * self.radius * math.sin(math.pi / (2 * count))
        )


@dataclass(frozen=True)
class Sphere(_Round):
    """The sphere of radius R in R^(d + 1); parameters: the unit vector x / R, so no point is harder than another.

    Charts: vertices of regular bodies, and where these are too few, far points added in rounds. The covering radius is exact up
    to rounding: the points of a sphere that are farthest from a set of centres are normals of facets of the centres' convex
    hull, and a facet at distance b from the middle of the unit sphere has its normal at chord sqrt(2 - 2 b).

    Raises ValueError for a dimension that isn't an integer >= 1 and a radius that isn't a finite number > 0.
    """

    dimension: int = 2  # the property of Manifold as a field
    radius: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimension", checked_integer("dimension", self.dimension, 1))
        object.__setattr__(self, "radius", checked_length("radius", self.radius))

    @property
    def name(self) -> str:
        return f"sphere-{self.dimension}" + ("" if self.radius == 1 else f" of radius {self.radius:g}")

    @property
    def ambient_dim(self) -> int:
        return self.dimension + 1

    @property
    def num_parameters(self) -> int:
        return self.dimension + 1

    @property
    def volume(self) -> float:
        half = (self.dimension + 1) / 2
        return 2 * math.pi**half / math.gamma(half) * self.radius**self.dimension

    @property
    def wave_coordinates(self) -> WaveCoordinates:
        return WaveCoordinates((False,) * (self.dimension + 1), 1 / self.radius)

    @property
    def default_radius(self) -> float:
        return {1: 0.8, 2: 1.2, 3: 1.15}.get(self.dimension, 1.2) * self.radius

    def _points(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Points:
        return self.radius * _unit(parameters, "parameters")

    def _parameters(self, points: Points) -> Float[np.ndarray, "*batch parameters"]:
        return _unit(points, "points")

    def _waves(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Float[np.ndarray, "*batch axes"]:
        return parameters

    def _sample(self, num_points: int, generator: np.random.Generator) -> Float[np.ndarray, "n parameters"]:
        return _unit(generator.standard_normal((num_points, self.dimension + 1)), "points")

    def _tangent_basis(self, points: Points) -> Float[np.ndarray, "*batch ambient d"]:
        # The reflection that takes u to -sign(u_0) e_0 takes the other axes to a basis of what is orthogonal to u. The sign
        # keeps the reflected vector longer than 1, so nothing cancels anywhere; the basis jumps where u_0 changes sign (there
        # is no continuous one on even spheres).
        normals = _unit(points, "points")
        mirrors = normals.copy()
        mirrors[..., 0] += np.where(normals[..., 0] < 0, -1.0, 1.0)
        scales = 2 / np.einsum("...j,...j->...", mirrors, mirrors)
        axes = np.eye(self.dimension + 1)[:, 1:]
        return axes - scales[..., None, None] * mirrors[..., :, None] * mirrors[..., None, 1:]

    def _distance(
        self, first: Float[np.ndarray, "*batch parameters"], second: Float[np.ndarray, "*batch parameters"]
    ) -> Float[np.ndarray, "*batch"]:
        # Exact near 0 and near pi, where arcsin and arccos are not.
        apart, together = (np.sqrt(((first + sign * second) ** 2).sum(axis=-1)) for sign in (-1, 1))
        return np.asarray(2 * self.radius * np.arctan2(apart, together))

    def _centres(self, covering: float, radius: float) -> tuple[Float[np.ndarray, "c parameters"], float]:
        centres, chord = covering_set(self.dimension, covering / self.radius)
        return centres, chord * self.radius


def _unit(vectors: Float[np.ndarray, "*batch width"], name: str) -> Float[np.ndarray, "*batch width"]:
    lengths = np.sqrt((vectors**2).sum(axis=-1, keepdims=True))
    if not (lengths > 0).all():
        raise ValueError(f"{name}: the middle of a sphere has no direction, rows must not be 0")
    return vectors / lengths


MOST_POINTS = 2000


def covering_set(dimension: int, covering: float) -> tuple[Float[np.ndarray, "c ambient"], float]:
    """Unit vectors (C, d + 1) such that all others are within chord `covering` of one, and the largest chord there is.

    The smallest of the regular bodies that does, or else the largest and, in rounds, points that were too far from all. Raises
    ValueError where that takes more than MOST_POINTS.
    """
    refused = f"radius: too small, sphere-{dimension} would need more than {MOST_POINTS} charts"
    if covering < 1:  # caps of this chord take at least a sphere's volume over a cap's, here a flat ball's
        logarithm = math.log(2 * math.sqrt(math.pi)) + math.lgamma(dimension / 2 + 1) - math.lgamma((dimension + 1) / 2)
        if logarithm - dimension * math.log(covering) > math.log(MOST_POINTS):
            raise ValueError(refused)
    for centres in _regular_bodies(dimension):
        normals, chords = _facets(centres)
        if chords[0] <= covering:
            return centres, float(chords[0])
    while chords[0] > covering:
        left = normals[chords > covering]
        while len(left):  # the farthest one, then what isn't near it, ..
            centres = np.concatenate([centres, left[:1]])
            left = left[((left - left[0]) ** 2).sum(axis=1) > covering**2]
        if len(centres) > MOST_POINTS:
            raise ValueError(refused)
        normals, chords = _facets(centres)
    return centres, float(chords[0])


def _facets(centres: Float[np.ndarray, "c ambient"]) -> tuple[Float[np.ndarray, "f ambient"], Float[np.ndarray, " f"]]:
    """Unit normals of the facets of the centres' hull, and their chords to the nearest centres, farthest first."""
    from scipy.spatial import ConvexHull

    hull = ConvexHull(centres)
    normals = hull.equations[:, :-1]
    corners = centres[hull.simplices]
    chords = np.sqrt(((corners - normals[:, None]) ** 2).sum(axis=-1).min(axis=1))
    order = np.argsort(-chords, kind="stable")
    return normals[order], chords[order]


def _regular_bodies(dimension: int) -> list[Float[np.ndarray, "c ambient"]]:
    """Vertices of regular bodies of d + 1 dimensions on the unit sphere, few first."""
    axes = np.concatenate([np.eye(dimension + 1), -np.eye(dimension + 1)])
    if dimension == 1:
        return [_polygon(count) for count in range(4, 65)]
    if dimension == 2:
        golden = (1 + math.sqrt(5)) / 2
        corners = np.array([[0, one, other * golden] for one in (-1, 1) for other in (-1, 1)])
        icosahedron = np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)]) / math.sqrt(1 + golden**2)
        return [axes, icosahedron]
    if dimension == 3:
        signs = np.array(np.meshgrid(*[[-0.5, 0.5]] * 4)).reshape(4, -1).T
        return [axes, np.concatenate([axes, signs])]
    return [axes]


def _polygon(count: int) -> Float[np.ndarray, "c two"]:
    angles = 2 * math.pi / count * np.arange(count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)
