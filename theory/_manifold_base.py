"""What every manifold of the project can do, and its charts: balls, flat coordinates on them, a smooth partition of unity.

All points are float64 rows of R^D. A sheet of M at a centre c is the part of M around c on which the projection to the tangent
plane at c is one-to-one; `lift` undoes that projection. A chart is a ball around a centre that meets one sheet only.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.distance import cdist

from theory.shapes import checked_integer

BUMP_POWER = 6
"""Power m of the bumps (1 - |x - c|^2 / r^2)_+^m of the partition of unity: m - 1 continuous derivatives, the m-th bounded."""

MOST_CHARTS = 100_000

COVERING_SHARES = (0.5, 0.7, 0.8)
"""Covering radius over chart radius that charts are chosen for, in dimension 1, 2, and 3 or more."""

BLOCK_ELEMENTS = 1 << 22

Points = Float[np.ndarray, "*batch ambient"]
if TYPE_CHECKING:
    Flags = tuple[bool, ...]
    Lengths = tuple[float, ...]
    Factors = tuple["Manifold", ...]
else:  # run-time type checkers try an entry at random, which Hypothesis allows no strategy
    Flags = Lengths = Factors = tuple


def checked_rows(name: str, value: Any, width: int) -> Float[np.ndarray, "*batch width"]:
    """`value` as a float64 array whose last axis has `width` entries, all finite; ValueError otherwise."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: must be an array of numbers") from None
    if array.ndim == 0 or array.shape[-1] != width:
        raise ValueError(f"{name} of shape {array.shape}: the last axis must have length {width}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: must be finite, {int((~np.isfinite(array)).sum())} of {array.size} entries are not")
    return array


def as_number(value: object) -> float:
    """`value` as a float; NaN for what is no number."""
    try:
        return math.nan if isinstance(value, bool | str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def checked_length(name: str, value: object) -> float:
    """`value` as a float, when it is a finite number > 0; ValueError otherwise."""
    number = as_number(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} = {value!r}: must be a finite number > 0")
    return number


@dataclass(frozen=True)
class WaveCoordinates:
    """How functions on a manifold are written down: `num_axes` coordinates of a point, all smooth on M or periodic in 2 pi.

    `periodic` says which. `lipschitz` bounds (distance of two points' coordinates, periodic ones the short way round) over
    (distance of the points along M).
    """

    periodic: Flags
    lipschitz: float


class Manifold(ABC):
    """A compact d-dimensional submanifold of R^D with everything in closed form.

    Subclasses are frozen dataclasses of numbers: equal arguments, equal manifolds, usable as keys. Points handed over are
    taken to lie on M (up to rounding); a ValueError answers arrays of another width and entries that aren't finite.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in tables, such as "circle in R^8"; for default sizes `manifold_named` understands it."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """d, the dimension of M itself."""

    @property
    @abstractmethod
    def ambient_dim(self) -> int:
        """D, of the space around it."""

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """p, numbers that name a point: d angles or lengths, d + 1 entries of a unit vector for spheres."""

    @property
    @abstractmethod
    def reach(self) -> float | None:
        """The largest t such that all points of R^D closer than t to M have one nearest point on M (Federer 1959)."""

    @property
    @abstractmethod
    def reach_reason(self) -> str:
        """Where the number in `reach` comes from."""

    @property
    @abstractmethod
    def volume(self) -> float:
        """The d-dimensional volume: length, area, .."""

    @property
    @abstractmethod
    def wave_coordinates(self) -> WaveCoordinates:
        """What `waves` returns: which coordinates are periodic, and how fast they change along M."""

    @property
    @abstractmethod
    def sheet_radius(self) -> float:
        """Balls of a smaller radius around points of M meet one sheet only. Charts can't be larger."""

    @property
    @abstractmethod
    def default_radius(self) -> float:
        """Radius of charts unless another is asked for."""

    @property
    def coordinate_bound(self) -> float:
        """sup |x_j| over all points x of M and all j: never below what `points` and `sample` return, rounding included."""
        rows = max(1, BLOCK_ELEMENTS // self.ambient_dim)  # axes of R^D at once: all of them would be D^2 numbers
        most = 0.0
        for start in range(0, self.ambient_dim, rows):
            axes = np.eye(min(rows, self.ambient_dim - start), self.ambient_dim, k=start)
            most = max(most, float(self._support(axes).max()), float(self._support(-axes).max()))
        return most * (1 + 8 * np.finfo(float).eps)

    def points(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Points:
        """The points with these parameters (*batch, p) -> (*batch, D)."""
        return self._points(checked_rows("parameters", parameters, self.num_parameters))

    def parameters(self, points: Points) -> Float[np.ndarray, "*batch parameters"]:
        """The parameters of points on M, (*batch, D) -> (*batch, p); angles in [-pi, pi]."""
        return self._parameters(checked_rows("points", points, self.ambient_dim))

    def waves(self, points: Points) -> Float[np.ndarray, "*batch axes"]:
        """Coordinates that targets are written in (*batch, q): see `wave_coordinates`."""
        return self._waves(self.parameters(points))

    def sample(self, num_points: int, generator: np.random.Generator) -> Float[np.ndarray, "n ambient"]:
        """`num_points` independent points, uniform in volume (n, D). Raises ValueError for what is no count or no Generator."""
        if not isinstance(generator, np.random.Generator):
            raise ValueError(f"generator = {generator!r}: a numpy Generator is legal, such as numpy.random.default_rng(0)")
        return self._points(self._sample(checked_integer("num_points", num_points, 0), generator))

    def tangent_basis(self, points: Points) -> Float[np.ndarray, "*batch ambient d"]:
        """An orthonormal basis of the tangent space at each point, as columns (*batch, D, d)."""
        return self._tangent_basis(checked_rows("points", points, self.ambient_dim))

    def distance(self, first: Points, second: Points) -> Float[np.ndarray, "*batch"]:
        """Distance along M of pairs of points (*batch, D), never less than the straight one."""
        return self._distance(self.parameters(first), self.parameters(second))

    def lift(
        self,
        centre: Float[np.ndarray, " ambient"],
        basis: Float[np.ndarray, "ambient d"],
        coordinates: Float[np.ndarray, "m d"],
    ) -> tuple[Float[np.ndarray, "m ambient"], Bool[np.ndarray, " m"]]:
        """The points x on the centre's sheet with basis^T (x - centre) = coordinates, and for which coordinates there is one.

        Args:
            centre: on M (D,). basis: any orthonormal basis of the tangent space there (D, d). coordinates: (m, d).

        Returns (points (m, D), found (m,)). Rows that are not found are some finite points of no meaning. Manifolds with a
        boundary are continued beyond it, so that functions can be, too.
        """
        centre = checked_rows("centre", centre, self.ambient_dim)
        basis = checked_rows("basis", basis, self.dimension)
        coordinates = checked_rows("coordinates", coordinates, self.dimension)
        if centre.ndim != 1 or basis.shape[0] != self.ambient_dim or basis.ndim != 2 or coordinates.ndim != 2:
            raise ValueError(
                f"centre {centre.shape}, basis {basis.shape}, coordinates {coordinates.shape}: must be of shapes "
                f"({self.ambient_dim},), ({self.ambient_dim}, {self.dimension}), (m, {self.dimension})"
            )
        return self._lift(centre, coordinates @ basis.T)

    def charts(self, radius: float | None = None, *, power: int = BUMP_POWER) -> "Charts":
        """Balls of one radius around points of M that cover it, each of them on one sheet.

        Without `radius`, `default_radius` is taken: few charts that are not too curved. The centres leave no point of M
        farther from all of them than COVERING_SHARES of the radius; the proof is in each class's docstring, the number in
        `Charts.covering_radius`. `power` makes the partition smoother or, when lower, less steep: local polynomials of degree
        k need k + 1. Raises ValueError for a radius that isn't in (0, `sheet_radius`), for one that takes more than MOST_CHARTS
        charts, and for a power that isn't an integer >= 1.
        """
        radius = self.default_radius if radius is None else checked_length("radius", radius)
        if not radius < self.sheet_radius:
            raise ValueError(f"radius = {radius:g}: must be below {self.sheet_radius:g}, where charts of {self.name} fold over")
        share = COVERING_SHARES[min(self.dimension, len(COVERING_SHARES)) - 1]
        parameters, covering = self._centres(share * radius, radius)
        centres = self._points(parameters)
        return Charts(self, centres, self._chart_bases(parameters), radius, covering, checked_integer("power", power, 1))

    def embedded(self, ambient_dim: int, seed: int = 0) -> "Manifold":
        """The same manifold turned and moved at random into R^ambient_dim, distances kept: see `Embedded`."""
        from theory._manifold_embedded import Embedded

        return Embedded(self, ambient_dim, seed)

    def clearance(self, radius: float) -> float:
        """A lower bound on the distance from a chart's centre to the points of M that are not on its sheet but project into it.

        That is: points off the sheet whose tangent coordinates equal those of some point of the sheet in the ball. What tells
        sheets apart has to be 1 at `radius` and 0 here.
        """
        return self._clearance(radius)

    @abstractmethod
    def _points(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Points: ...

    @abstractmethod
    def _parameters(self, points: Points) -> Float[np.ndarray, "*batch parameters"]: ...

    @abstractmethod
    def _waves(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Float[np.ndarray, "*batch axes"]: ...

    @abstractmethod
    def _sample(self, num_points: int, generator: np.random.Generator) -> Float[np.ndarray, "n parameters"]:
        """Parameters of points that are uniform in volume."""

    def _chart_bases(self, parameters: Float[np.ndarray, "c parameters"]) -> Float[np.ndarray, "c ambient d"]:
        """Tangent bases at charts' centres: from parameters, not points, so that an embedding's are the inner ones, turned.

        Where a basis has to jump somewhere on M, the rounding of a point could choose the other one.
        """
        return self._tangent_basis(self._points(parameters))

    @abstractmethod
    def _tangent_basis(self, points: Points) -> Float[np.ndarray, "*batch ambient d"]: ...

    @abstractmethod
    def _distance(
        self, first: Float[np.ndarray, "*batch parameters"], second: Float[np.ndarray, "*batch parameters"]
    ) -> Float[np.ndarray, "*batch"]: ...

    @abstractmethod
    def _lift(
        self, centre: Float[np.ndarray, " ambient"], displacements: Float[np.ndarray, "m ambient"]
    ) -> tuple[Float[np.ndarray, "m ambient"], Bool[np.ndarray, " m"]]:
        """`lift` for tangent vectors in R^D: no basis needed, so products and embeddings can hand them on in parts."""

    @abstractmethod
    def _centres(self, covering: float, radius: float) -> tuple[Float[np.ndarray, "c parameters"], float]:
        """Parameters of points that no point of M is farther from than `covering`, and how far it is at most.

        Where M has a boundary, what lies beyond it but within a small share of `radius` is covered, too.
        """

    @abstractmethod
    def _support(self, directions: Float[np.ndarray, "m ambient"]) -> Float[np.ndarray, " m"]:
        """An upper bound on the largest <v, x> over x in M, for each row v; exact where that is easy."""

    @abstractmethod
    def _clearance(self, radius: float) -> float: ...


@dataclass(frozen=True, eq=False)
class Charts:
    """Balls around points of a manifold, with tangent coordinates and a partition of unity.

    Attributes:
        manifold: M. centres: (C, D), on M. bases: (C, D, d), orthonormal tangent bases there. radius: of the balls.
        covering_radius: no point of M is farther than this from the nearest centre (a bound; None: not known).
        power: m of the bumps (1 - |x - c|^2 / r^2)_+^m.
    """

    manifold: Manifold
    centres: Float[np.ndarray, "charts ambient"]
    bases: Float[np.ndarray, "charts ambient d"]
    radius: float
    covering_radius: float | None = None
    power: int = BUMP_POWER

    @property
    def num_charts(self) -> int:
        """C."""
        return len(self.centres)

    @property
    def clearance(self) -> float:
        """`Manifold.clearance` at this radius."""
        return self.manifold.clearance(self.radius)

    @property
    def largest_slack(self) -> float:
        """clearance^2 - radius^2: room for an indicator that falls from 1 to 0 in the squared distance from the centre."""
        return self.clearance**2 - self.radius**2

    @cached_property
    def _projections(self) -> tuple[Float[np.ndarray, "ambient charts_d"], Float[np.ndarray, " charts_d"]]:
        """All bases side by side (D, C d), and where the centres go (C d,)."""
        flat = np.ascontiguousarray(self.bases.transpose(1, 0, 2)).reshape(self.centres.shape[1], -1)
        return flat, np.einsum("cj,cji->ci", self.centres, self.bases).reshape(-1)

    def coordinates(self, points: Float[np.ndarray, "n ambient"]) -> Float[np.ndarray, "n charts d"]:
        """Tangent coordinates T_c^T (x - c) of every point in every chart (n, C, d)."""
        points = self._checked(points)
        flat, shifts = self._projections
        return (points @ flat - shifts).reshape(len(points), self.num_charts, -1)

    def partition(self, points: Float[np.ndarray, "n ambient"]) -> Float[np.ndarray, "n charts"]:
        """The partition of unity (n, C): rho_c >= 0, zero off the ball of c, sum 1 on M up to rounding.

        rho_c is (1 - |x - c|^2 / r^2)_+^m over the sum of these, so it has m - 1 continuous derivatives wherever some ball is.
        Rows of points in no ball are 0.
        """
        heights = np.maximum(1 - self._squared_distances(points) / self.radius**2, 0)
        highest = heights.max(axis=1, keepdims=True)
        # Over the highest first: powers of tiny heights can't vanish together.
        bumps = (heights / np.where(highest > 0, highest, 1)) ** self.power
        return bumps / np.maximum(bumps.sum(axis=1, keepdims=True), 1)

    def covered(self, points: Float[np.ndarray, "n ambient"]) -> Bool[np.ndarray, " n"]:
        """Which points lie in some ball: everywhere else the partition is 0."""
        return np.any(self._squared_distances(points) < self.radius**2, axis=1)

    def _squared_distances(self, points: Float[np.ndarray, "n ambient"]) -> Float[np.ndarray, "n charts"]:
        distances: Float[np.ndarray, "n charts"] = cdist(self._checked(points), self.centres, "sqeuclidean")
        return distances

    def _checked(self, points: Float[np.ndarray, "n ambient"]) -> Float[np.ndarray, "n ambient"]:
        points = checked_rows("points", points, self.centres.shape[1])
        if points.ndim != 2:
            raise ValueError(f"points of shape {points.shape}: must be (n, {self.centres.shape[1]})")
        return points


def checked_count(count: int, name: str) -> int:
    """`count`, when it is at most MOST_CHARTS; ValueError that tells of a radius too small for the manifold `name` otherwise."""
    if count > MOST_CHARTS:
        raise ValueError(f"radius: too small, {name} would need {count} charts, more than {MOST_CHARTS}")
    return count


def blocks_of(widths: Sequence[int]) -> list[slice]:
    """Slices of consecutive blocks of these widths."""
    ends = np.cumsum([0, *widths]).tolist()
    return [slice(start, end) for start, end in pairwise(ends)]
