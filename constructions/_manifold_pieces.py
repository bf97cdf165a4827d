"""The local polynomials of a function on a manifold: one for each cell of each chart's grid, as coefficients of monomials."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from jaxtyping import Float, Int

from theory.manifolds import Charts

Function = Callable[[Float[np.ndarray, "points ambient"]], Float[np.ndarray, " points"]]
CHUNK = 2**16  # points at which the function is asked at once


@dataclass(frozen=True, eq=False)
class Pieces:
    """g_n near the nodes z_k = -r + k h, h = 2 r / N, of chart n, as sums of monomials of u = (z - z_k) / h.

    `exponents` (terms, d) are those of the monomials, total degree <= m (only 0 where the degree is 0 or 1: values at nodes);
    `charts` (cells,), `nodes` (cells, d) in 0..N and `coefficients` (cells, terms) are the pieces, one a row.
    """

    radius: float
    grid: int
    degree: int
    exponents: Int[np.ndarray, "terms axes"]
    charts: Int[np.ndarray, " cells"]
    nodes: Int[np.ndarray, "cells axes"]
    coefficients: Float[np.ndarray, "cells terms"]

    @cached_property
    def step(self) -> float:
        """h, the distance of neighbouring nodes."""
        return 2 * self.radius / self.grid

    @property
    def dimension(self) -> int:
        """d, of the manifold."""
        return int(self.exponents.shape[1])


def monomials(dimension: int, degree: int) -> Int[np.ndarray, "terms axes"]:
    """Exponents of the local monomials: total degree <= m, constants only where m <= 1; the constant first."""
    degree = degree if degree > 1 else 0
    every = product(range(degree + 1), repeat=dimension)
    return np.array(sorted((row for row in every if sum(row) <= degree), key=sum), dtype=int)


def local_pieces(charts: Charts, function: Function, grid: int, degree: int) -> Pieces:
    """The pieces of g_n(z) = (f rho_n)(chart n's inverse at z), zero where that has no point in the chart's ball.

    Degree 0 and 1 take the values at the nodes. A higher degree m takes the least-squares polynomial of total degree m through
    the (m+1)^d Chebyshev points of the cell [z_k - h, z_k + h]^d, so that f is only ever asked for values, no derivative.

    Raises ValueError where f doesn't give one finite number for each point.
    """
    dimension = charts.bases.shape[-1]
    exponents = monomials(dimension, degree)
    if degree > 1:
        roots = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
        offsets = np.array(list(product(roots, repeat=dimension)))
        weights = np.linalg.pinv(np.prod(offsets[:, None, :] ** exponents, axis=-1))  # (terms, offsets)
    else:
        offsets, weights = np.zeros((1, dimension)), np.ones((1, 1))
    step = 2 * charts.radius / grid
    every = np.indices((grid + 1,) * dimension).reshape(dimension, -1).T
    # the cell's box may only miss the ball |z| < r, where g is 0, when its centre is further off than the box's half diagonal
    every = every[np.linalg.norm(step * every - charts.radius, axis=1) < charts.radius + step * np.sqrt(dimension)]
    numbers, nodes, coefficients = [], [], []
    for chart in range(charts.num_charts):
        for part in np.array_split(every, -(-len(every) * len(offsets) // CHUNK)):
            z = (part[:, None, :] + offsets) * step - charts.radius
            values = _chart_values(charts, function, chart, z.reshape(-1, dimension)).reshape(z.shape[:2])
            numbers.append(np.full(len(part), chart))
            nodes.append(part)
            coefficients.append(values @ weights.T)
    return Pieces(
        charts.radius, grid, degree, exponents, np.concatenate(numbers), np.concatenate(nodes), np.concatenate(coefficients)
    )


def _chart_values(
    charts: Charts, function: Function, chart: int, coordinates: Float[np.ndarray, "points axes"]
) -> Float[np.ndarray, " points"]:
    """f rho_n at the points of the manifold above the coordinates."""
    centre, result = charts.centres[chart], np.zeros(len(coordinates))
    points, found = charts.manifold.lift(centre, charts.bases[chart], coordinates)
    inside = np.zeros(len(points), dtype=bool)
    inside[found] = ((points[found] - centre) ** 2).sum(axis=1) < charts.radius**2
    if inside.any():
        given = np.asarray(function(points[inside]))
        if given.dtype.kind not in "fiu":
            raise ValueError(f"function gives {given.dtype}: one finite number for each point is legal")
        values = given.astype(float)
        if values.shape != (int(inside.sum()),) or not np.isfinite(values).all():
            raise ValueError(
                f"function gives {values.shape} for {int(inside.sum())} points: one finite number for each point is legal"
            )
        result[inside] = values * charts.partition(points[inside])[:, chart]
    return result
