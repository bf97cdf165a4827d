"""The swiss roll: a flat strip rolled up along an Archimedean spiral, flat but close to itself."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from theory._manifold_base import Manifold, Points, WaveCoordinates, checked_count, checked_length

MARGIN = 0.15
"""How far beyond the boundary charts still cover, as a share of their radius."""

FIRST_ANGLE = 1.5 * math.pi
LAST_ANGLE = 4.5 * math.pi
LEAST_ANGLE = math.pi / 2
"""The spiral may be continued down to this angle, and starts no earlier than twice that."""

ARC = 1.25
"""Half width, in the spiral's angle, of the arc that is a centre's sheet."""

FULL_TURN = 2 * math.pi


@dataclass(frozen=True)
class SwissRoll(Manifold):
    """The points (a t cos t, y, a t sin t), first <= t <= last, 0 <= y <= height; parameters: (t, y).

    The default has t from 1.5 pi to 4.5 pi as usual, and its outermost point at distance 1 from the axis. It is isometric to the
    rectangle [0, length] x [0, height], and the only one here with a boundary: `points`, `parameters`, `lift` and charts go
    on beyond it for a little (the spiral down to t = pi / 2).

    Sheets: points at angles s, t are at squared distance a^2 ((s - t)^2 + 4 s t sin^2((s - t) / 2)) in the plane. So a ball
    around t of radius below a min(sqrt(u^2 + 4 m^2 sin^2(u / 2)), 2 pi - u), m the least angle in use, u = 1.25, meets only the
    arc |s - t| < u: `sheet_radius`. On it the tangent turns by u and the change of arctan t, together less than pi / 2, so the
    projection is one-to-one. Charts: centres of equal rectangles that tile the unrolled strip and a margin of 0.15 chart radii
    around it (less than 1/4 in t, so m = first - 1/4); straight distances are no longer than those along M, so half a diagonal
    is a covering radius.

    Raises ValueError for angles that aren't pi <= first < last and for a pitch a or height that isn't a finite number > 0.
    """

    first_angle: float = FIRST_ANGLE
    last_angle: float = LAST_ANGLE
    pitch: float = 1 / LAST_ANGLE
    height: float = 0.7

    def __post_init__(self) -> None:
        for name in ("first_angle", "last_angle", "pitch", "height"):
            object.__setattr__(self, name, checked_length(name, getattr(self, name)))
        if not 2 * LEAST_ANGLE <= self.first_angle < self.last_angle:
            angles = f"first_angle = {self.first_angle:g}, last_angle = {self.last_angle:g}"
            raise ValueError(f"{angles}: must be pi <= first_angle < last_angle")

    @property
    def name(self) -> str:
        sizes = f"{self.first_angle:g} to {self.last_angle:g}, pitch {self.pitch:g}, height {self.height:g}"
        return "swiss-roll" if self == SwissRoll() else f"swiss-roll of angles {sizes}"

    @property
    def dimension(self) -> int:
        return 2

    @property
    def ambient_dim(self) -> int:
        return 3

    @property
    def num_parameters(self) -> int:
        return 2

    @cached_property
    def reach(self) -> float:
        return self.pitch * _spiral_reach(self.first_angle, self.last_angle)

    @property
    def reach_reason(self) -> str:
        return "numerical: the least of Federer's quotients |y - x|^2 / (2 dist(y - x, tangents at x)), searched and refined"

    @property
    def length(self) -> float:
        """Of the spiral."""
        return float(self._arc_length(np.array(self.last_angle)) - self._arc_length(np.array(self.first_angle)))

    @property
    def volume(self) -> float:
        return self.length * self.height

    @property
    def wave_coordinates(self) -> WaveCoordinates:
        return WaveCoordinates((False, False), 1.0)

    @property
    def sheet_radius(self) -> float:
        least = self.first_angle - 0.25
        return self.pitch * min(math.hypot(ARC, 2 * least * math.sin(ARC / 2)), FULL_TURN - ARC)

    @property
    def default_radius(self) -> float:
        return 0.8 * self.sheet_radius

    def _arc_length(self, angles: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
        return np.asarray(self.pitch / 2 * (angles * np.sqrt(1 + angles**2) + np.arcsinh(angles)))

    def _angle_at(self, lengths: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
        """The angles at these arc lengths from the spiral's origin, by Newton's method on a convex function."""
        angles = np.sqrt(2 * np.maximum(lengths, 0) / self.pitch)
        for _ in range(50):
            steps = (self._arc_length(angles) - lengths) / (self.pitch * np.sqrt(1 + angles**2))
            angles = angles - steps
            if not (np.abs(steps) > 4e-16 * np.abs(angles)).any():
                break
        return angles

    def _points(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Points:
        angles, heights = parameters[..., 0], parameters[..., 1]
        radii = self.pitch * angles
        return np.stack([radii * np.cos(angles), heights, radii * np.sin(angles)], axis=-1)

    def _parameters(self, points: Points) -> Float[np.ndarray, "*batch parameters"]:
        # The distance from the axis says which turn, the direction where on it: a radius off by one rounding is far along.
        directions = np.arctan2(points[..., 2], points[..., 0])
        turns = np.rint((np.hypot(points[..., 0], points[..., 2]) / self.pitch - directions) / FULL_TURN)
        return np.stack([directions + FULL_TURN * turns, points[..., 1]], axis=-1)

    def _waves(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Float[np.ndarray, "*batch axes"]:
        return np.stack([self._arc_length(parameters[..., 0]), parameters[..., 1]], axis=-1)

    def _sample(self, num_points: int, generator: np.random.Generator) -> Float[np.ndarray, "n parameters"]:
        shares = generator.random((num_points, 2))
        start = float(self._arc_length(np.array(self.first_angle)))
        angles = self._angle_at(start + self.length * shares[:, 0])
        return np.stack([np.clip(angles, self.first_angle, self.last_angle), self.height * shares[:, 1]], axis=1)

    def _tangents(self, angles: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch three"]:
        """Unit tangents of the spiral."""
        cosines, sines = np.cos(angles), np.sin(angles)
        scale = 1 / np.sqrt(1 + angles**2)
        return np.stack([(cosines - angles * sines) * scale, np.zeros_like(angles), (sines + angles * cosines) * scale], axis=-1)

    def _tangent_basis(self, points: Points) -> Float[np.ndarray, "*batch ambient d"]:
        tangents = self._tangents(self._parameters(points)[..., 0])
        return np.stack([tangents, np.broadcast_to([0.0, 1.0, 0.0], tangents.shape)], axis=-1)

    def _distance(
        self, first: Float[np.ndarray, "*batch parameters"], second: Float[np.ndarray, "*batch parameters"]
    ) -> Float[np.ndarray, "*batch"]:
        return np.asarray(np.sqrt(((self._waves(first) - self._waves(second)) ** 2).sum(axis=-1)))

    def _lift(
        self, centre: Float[np.ndarray, " ambient"], displacements: Float[np.ndarray, "m ambient"]
    ) -> tuple[Float[np.ndarray, "m ambient"], Bool[np.ndarray, " m"]]:
        start = self._parameters(centre)
        tangent = self._tangents(start[:1])[0]
        wanted = displacements @ tangent
        least, largest = max(start[0] - ARC, LEAST_ANGLE), start[0] + ARC

        def gap(angles: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
            return (self._points(np.stack([angles, np.zeros_like(angles)], axis=1)) - centre) @ tangent - wanted

        # Along the arc the projection rises: Newton's steps, kept inside a bracket that shrinks, so none can run away.
        low, high = np.full(len(wanted), least), np.full(len(wanted), largest)
        found = (gap(low) < 0) & (gap(high) > 0)
        angles = np.where(found, start[0], low)
        for _ in range(100):
            values = np.where(found, gap(angles), 0.0)
            low, high = np.where(values < 0, angles, low), np.where(values > 0, angles, high)
            slopes = self.pitch * np.sqrt(1 + angles**2) * (self._tangents(angles) @ tangent)
            steps = np.where(values == 0, 0.0, values / np.where(found, slopes, 1.0))
            new = angles - steps
            new = np.where((new >= low) & (new <= high), new, (low + high) / 2)
            moved = np.abs(new - angles) > 4e-16 * np.abs(angles)
            angles = np.where(found, new, angles)
            if not (moved & found).any():
                break
        return self._points(np.stack([angles, centre[1] + displacements[:, 1]], axis=1)), found

    def _centres(self, covering: float, radius: float) -> tuple[Float[np.ndarray, "c parameters"], float]:
        start = float(self._arc_length(np.array(self.first_angle))) - MARGIN * radius
        sides = np.array([self.length, self.height]) + 2 * MARGIN * radius
        counts = np.ceil(sides / (math.sqrt(2) * covering) - 1e-12)
        checked_count(int(counts.prod()), self.name)
        along, across = (side / count * (np.arange(count) + 0.5) for side, count in zip(sides, counts, strict=True))
        grid = np.stack(np.meshgrid(self._angle_at(start + along), across - MARGIN * radius, indexing="ij"), axis=-1)
        return grid.reshape(-1, 2), math.hypot(*(sides / counts)) / 2

    def _support(self, directions: Float[np.ndarray, "m ambient"]) -> Float[np.ndarray, " m"]:
        across = np.sqrt(directions[:, 0] ** 2 + directions[:, 2] ** 2) * (self.pitch * self.last_angle)
        return across + self.height * np.maximum(directions[:, 1], 0)

    def _clearance(self, radius: float) -> float:
        return self.sheet_radius


def _spiral_reach(first: float, last: float) -> float:
    """Reach of the arc first <= t <= last of the spiral of pitch 1: Federer's quotients |y - x|^2 / (2 dist(y - x, Tan_x)).

    Points less than 1 apart in t give the least radius of curvature, at the inner end. At an end Tan_x is a half line, and dist
    the whole |y - x| for points behind it.
    """
    from scipy.optimize import brentq, minimize, minimize_scalar

    def square(one: Float[np.ndarray, "*batch"], other: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
        return np.asarray((other - one) ** 2 + 4 * one * other * np.sin((other - one) / 2) ** 2)

    def quotient(one: Float[np.ndarray, "*batch"], other: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
        gaps = other - one
        across = np.abs(one * other * np.cos(gaps) - other * np.sin(gaps) - one**2) / np.sqrt(1 + one**2)
        return np.asarray(square(one, other) / (2 * np.maximum(across, 1e-300)))

    def from_end(angle: float, end: float) -> float:
        return float(square(np.asarray(end), np.asarray(angle)))

    def along(other: Float[np.ndarray, "*batch"], end: float) -> Float[np.ndarray, "*batch"]:
        # How far a point is ahead of an end in the direction of the spiral there, times sqrt(1 + end^2).
        return np.asarray(other * (np.cos(other - end) + end * np.sin(other - end)) - end)

    def edge(angle: float, end: float) -> float:
        return float(along(np.asarray(angle), end))

    def refined(pair: Float[np.ndarray, " two"]) -> float:
        one, other = np.clip(pair, first, last)
        return float(quotient(np.asarray(one), np.asarray(other))) if abs(one - other) > 1 else math.inf

    found = [(1 + first**2) ** 1.5 / (2 + first**2)]
    if last - first <= 1:
        return found[0]
    angles = np.linspace(first, last, 400)
    ones, others = np.meshgrid(angles, angles, indexing="ij")
    values = np.where(np.abs(ones - others) > 1.0, quotient(ones, others), np.inf)
    best = values.argmin()
    start = np.array([ones.flat[best], others.flat[best]])
    found.append(float(values.min()))
    found.append(float(minimize(refined, start, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-13}).fun))
    for end, sign in ((first, 1.0), (last, -1.0)):
        is_behind = (sign * along(angles, end) < 0) & (np.abs(angles - end) > 1.0)
        behind = np.where(is_behind, square(np.full_like(angles, end), angles), np.inf)
        place = int(behind.argmin())
        if np.isfinite(behind[place]):
            # Neighbours, or where between them and the nearest one the points cease to be behind.
            low, high = (
                float(angles[each] if is_behind[each] else brentq(edge, angles[each], angles[place], args=(end,), xtol=1e-14))
                for each in (max(place - 1, 0), min(place + 1, len(angles) - 1))
            )
            nearest = minimize_scalar(from_end, bounds=(low, high), args=(end,), method="bounded")
            # The search never tries its bounds themselves.
            found.append(math.sqrt(min(float(nearest.fun), from_end(low, end), from_end(high, end))) / 2)
    return min(found)
