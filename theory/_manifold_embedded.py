"""Manifolds made from others: products, flat tori, and random isometric copies in more dimensions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from jaxtyping import Bool, Float

from theory._manifold_base import Factors, Lengths, Manifold, Points, WaveCoordinates, blocks_of, checked_count, checked_length
from theory._manifold_round import Circle
from theory.shapes import checked_integer


class _Factors(Manifold):
    """What products do, given their `factors`."""

    factors: Factors

    @property
    def dimension(self) -> int:
        return sum(factor.dimension for factor in self.factors)

    @property
    def ambient_dim(self) -> int:
        return sum(factor.ambient_dim for factor in self.factors)

    @property
    def num_parameters(self) -> int:
        return sum(factor.num_parameters for factor in self.factors)

    @property
    def reach(self) -> float | None:
        known = [factor.reach for factor in self.factors]
        return None if None in known else min(reach for reach in known if reach is not None)

    @property
    def reach_reason(self) -> str:
        return "the least of the factors': a nearest point of a product is a nearest point in every factor"

    @property
    def volume(self) -> float:
        return math.prod(factor.volume for factor in self.factors)

    @property
    def wave_coordinates(self) -> WaveCoordinates:
        parts = [factor.wave_coordinates for factor in self.factors]
        return WaveCoordinates(sum((part.periodic for part in parts), ()), max(part.lipschitz for part in parts))

    @property
    def sheet_radius(self) -> float:
        return min(factor.sheet_radius for factor in self.factors)

    @property
    def default_radius(self) -> float:
        # Large, since the budget of the covering radius is shared among the factors; shares of the reach for round factors.
        share = {1: 0.8, 2: 1.15}.get(self.dimension, 1.2) / math.sqrt(2)
        return share * self.sheet_radius

    def _split(self, rows: Float[np.ndarray, "*batch width"], widths: Sequence[int]) -> list[Float[np.ndarray, "*batch _"]]:
        return [rows[..., block] for block in blocks_of(widths)]

    def _by_parameters(self, rows: Float[np.ndarray, "*batch width"]) -> list[Float[np.ndarray, "*batch _"]]:
        return self._split(rows, [factor.num_parameters for factor in self.factors])

    def _by_space(self, rows: Float[np.ndarray, "*batch width"]) -> list[Float[np.ndarray, "*batch _"]]:
        return self._split(rows, [factor.ambient_dim for factor in self.factors])

    def _points(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Points:
        parts = zip(self.factors, self._by_parameters(parameters), strict=True)
        return np.concatenate([factor._points(part) for factor, part in parts], axis=-1)

    def _parameters(self, points: Points) -> Float[np.ndarray, "*batch parameters"]:
        parts = zip(self.factors, self._by_space(points), strict=True)
        return np.concatenate([factor._parameters(part) for factor, part in parts], axis=-1)

    def _waves(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Float[np.ndarray, "*batch axes"]:
        parts = zip(self.factors, self._by_parameters(parameters), strict=True)
        return np.concatenate([factor._waves(part) for factor, part in parts], axis=-1)

    def _sample(self, num_points: int, generator: np.random.Generator) -> Float[np.ndarray, "n parameters"]:
        return np.concatenate([factor._sample(num_points, generator) for factor in self.factors], axis=-1)

    def _tangent_basis(self, points: Points) -> Float[np.ndarray, "*batch ambient d"]:
        parts = zip(self.factors, self._by_space(points), strict=True)
        return self._side_by_side([factor._tangent_basis(part) for factor, part in parts])

    def _chart_bases(self, parameters: Float[np.ndarray, "c parameters"]) -> Float[np.ndarray, "c ambient d"]:
        parts = zip(self.factors, self._by_parameters(parameters), strict=True)
        return self._side_by_side([factor._chart_bases(part) for factor, part in parts])

    def _side_by_side(self, parts: Sequence[np.ndarray]) -> Float[np.ndarray, "*batch ambient d"]:
        """One basis of the factors' bases, each in its own rows and columns."""
        bases = np.zeros((*parts[0].shape[:-2], self.ambient_dim, self.dimension))
        rows, columns = (blocks_of([part.shape[axis] for part in parts]) for axis in (-2, -1))
        for part, row, column in zip(parts, rows, columns, strict=True):
            bases[..., row, column] = part
        return bases

    def _distance(
        self, first: Float[np.ndarray, "*batch parameters"], second: Float[np.ndarray, "*batch parameters"]
    ) -> Float[np.ndarray, "*batch"]:
        pairs = zip(self.factors, self._by_parameters(first), self._by_parameters(second), strict=True)
        squares = [factor._distance(one, other) ** 2 for factor, one, other in pairs]
        return np.asarray(np.sqrt(np.sum(squares, axis=0)))

    def _lift(
        self, centre: Float[np.ndarray, " ambient"], displacements: Float[np.ndarray, "m ambient"]
    ) -> tuple[Float[np.ndarray, "m ambient"], Bool[np.ndarray, " m"]]:
        parts = zip(self.factors, self._by_space(centre), self._by_space(displacements), strict=True)
        lifted = [factor._lift(start, moved) for factor, start, moved in parts]
        return np.concatenate([points for points, _ in lifted], axis=-1), np.all([found for _, found in lifted], axis=0)

    def _centres(self, covering: float, radius: float) -> tuple[Float[np.ndarray, "c parameters"], float]:
        shares = [math.sqrt(factor.dimension / self.dimension) for factor in self.factors]
        parts = [factor._centres(covering * share, radius) for factor, share in zip(self.factors, shares, strict=True)]
        checked_count(math.prod(len(centres) for centres, _ in parts), self.name)
        rows = [np.concatenate(choice) for choice in product(*[centres for centres, _ in parts])]
        return np.array(rows), math.hypot(*[reached for _, reached in parts])

    def _support(self, directions: Float[np.ndarray, "m ambient"]) -> Float[np.ndarray, " m"]:
        parts = zip(self.factors, self._by_space(directions), strict=True)
        supports: Float[np.ndarray, " m"] = np.sum([factor._support(part) for factor, part in parts], axis=0)
        return supports

    def _clearance(self, radius: float) -> float:
        return min(factor._clearance(radius) for factor in self.factors)


@dataclass(frozen=True)
class Product(_Factors):
    """The product M_1 x M_2 x .. of manifolds, points and parameters one behind the other.

    Charts: all combinations of the factors' centres. A point's squared distance from a centre is the sum of the factors', so the
    squares of the covering radii add; the budget is shared in proportion to the dimensions. Raises ValueError for no factor
    and for things that aren't manifolds.
    """

    factors: Factors

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        if not self.factors or not all(isinstance(factor, Manifold) for factor in self.factors):
            raise ValueError(f"factors = {self.factors!r}: must be one manifold or more")

    @property
    def name(self) -> str:
        return " x ".join(factor.name for factor in self.factors)


@dataclass(frozen=True)
class FlatTorus(_Factors):
    """The product of circles of these radii in R^(2d): flat, unlike a doughnut; parameters: d angles.

    Charts as for `Product`. Raises ValueError for no radius and for radii that aren't finite numbers > 0.
    """

    radii: Lengths = (1.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "radii", tuple(checked_length("radii", radius) for radius in self.radii))
        if not self.radii:
            raise ValueError("radii = (): must be one number > 0 or more")

    @property
    def factors(self) -> Factors:  # type: ignore[override]  # computed here, a field in Product
        return tuple(Circle(radius) for radius in self.radii)

    @property
    def name(self) -> str:
        sizes = "" if set(self.radii) == {1.0} else f" of radii {', '.join(f'{radius:g}' for radius in self.radii)}"
        return f"torus-{len(self.radii)}{sizes}"


@dataclass(frozen=True)
class Embedded(Manifold):
    """The set {o + Q y: y in M}: M turned, reflected and moved at random in R^D, all distances kept.

    Q (D x D_M) has orthonormal columns, uniform (Haar) over all such; the offset o has a uniform direction and a length that is
    uniform in [0, 1]. Both follow from `seed`. Parameters, charts and targets are those of M. Raises ValueError for an
    `ambient_dim` below M's and a seed that isn't an integer >= 0.
    """

    manifold: Manifold
    ambient_dim: int = 0  # no legal default: it is there to hide the property of Manifold
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.manifold, Manifold):
            raise ValueError(f"manifold = {self.manifold!r}: must be a manifold")
        least = self.manifold.ambient_dim
        object.__setattr__(self, "ambient_dim", checked_integer("ambient_dim", self.ambient_dim, least))
        object.__setattr__(self, "seed", checked_integer("seed", self.seed, 0))

    @cached_property
    def _placement(self) -> tuple[Float[np.ndarray, "ambient inner"], Float[np.ndarray, " ambient"]]:
        generator = np.random.default_rng(self.seed)
        columns, triangle = np.linalg.qr(generator.standard_normal((self.ambient_dim, self.manifold.ambient_dim)))
        direction = generator.standard_normal(self.ambient_dim)
        offset = direction * (generator.random() / np.sqrt((direction**2).sum()))
        return columns * np.where(np.diagonal(triangle) < 0, -1.0, 1.0), offset

    @property
    def columns(self) -> Float[np.ndarray, "ambient inner"]:
        """Q (D, D_M)."""
        return self._placement[0].copy()

    @property
    def offset(self) -> Float[np.ndarray, " ambient"]:
        """o (D,)."""
        return self._placement[1].copy()

    @property
    def name(self) -> str:
        return f"{self.manifold.name} in R^{self.ambient_dim}"

    @property
    def dimension(self) -> int:
        return self.manifold.dimension

    @property
    def num_parameters(self) -> int:
        return self.manifold.num_parameters

    @property
    def reach(self) -> float | None:
        return self.manifold.reach

    @property
    def reach_reason(self) -> str:
        return self.manifold.reach_reason

    @property
    def volume(self) -> float:
        return self.manifold.volume

    @property
    def wave_coordinates(self) -> WaveCoordinates:
        return self.manifold.wave_coordinates

    @property
    def sheet_radius(self) -> float:
        return self.manifold.sheet_radius

    @property
    def default_radius(self) -> float:
        return self.manifold.default_radius

    def _outward(self, points: Float[np.ndarray, "*batch inner"]) -> Points:
        columns, offset = self._placement
        return points @ columns.T + offset

    def _inward(self, points: Points) -> Float[np.ndarray, "*batch inner"]:
        columns, offset = self._placement
        return (points - offset) @ columns

    def _points(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Points:
        return self._outward(self.manifold._points(parameters))

    def _parameters(self, points: Points) -> Float[np.ndarray, "*batch parameters"]:
        return self.manifold._parameters(self._inward(points))

    def _waves(self, parameters: Float[np.ndarray, "*batch parameters"]) -> Float[np.ndarray, "*batch axes"]:
        return self.manifold._waves(parameters)

    def _sample(self, num_points: int, generator: np.random.Generator) -> Float[np.ndarray, "n parameters"]:
        return self.manifold._sample(num_points, generator)

    def _tangent_basis(self, points: Points) -> Float[np.ndarray, "*batch ambient d"]:
        return self._placement[0] @ self.manifold._tangent_basis(self._inward(points))

    def _chart_bases(self, parameters: Float[np.ndarray, "c parameters"]) -> Float[np.ndarray, "c ambient d"]:
        return self._placement[0] @ self.manifold._chart_bases(parameters)

    def _distance(
        self, first: Float[np.ndarray, "*batch parameters"], second: Float[np.ndarray, "*batch parameters"]
    ) -> Float[np.ndarray, "*batch"]:
        return self.manifold._distance(first, second)

    def _lift(
        self, centre: Float[np.ndarray, " ambient"], displacements: Float[np.ndarray, "m ambient"]
    ) -> tuple[Float[np.ndarray, "m ambient"], Bool[np.ndarray, " m"]]:
        points, found = self.manifold._lift(self._inward(centre), displacements @ self._placement[0])
        return self._outward(points), found

    def _centres(self, covering: float, radius: float) -> tuple[Float[np.ndarray, "c parameters"], float]:
        return self.manifold._centres(covering, radius)

    def _support(self, directions: Float[np.ndarray, "m ambient"]) -> Float[np.ndarray, " m"]:
        columns, offset = self._placement
        return directions @ offset + self.manifold._support(directions @ columns)

    def _clearance(self, radius: float) -> float:
        return self.manifold._clearance(radius)
