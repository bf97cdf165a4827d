"""Clean clouds of points and their nearest neighbours, with distances that are right however near the points are.

The fast way to many distances, |x|^2 + |y|^2 - 2 x y, is blind below 1e-8 of the cloud's size: a repeated point gets a neighbour
at a made-up distance instead of 0. Here it only proposes neighbours; near ones are measured again by differences.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

Metric = Literal["euclidean", "cosine"]
METRICS = ("euclidean", "cosine")

TREE_COLUMNS = 12
"""A k-d tree up to so many columns, blocks of all distances above: trees are no help there."""
BLOCK_ELEMENTS = 1_000_000
NEAR = 1e-6
"""Squared distances below this part of the largest squared norm are measured again: the others are right to about 1e-9."""
PASSES = 20


@dataclass(frozen=True, eq=False)
class Cloud:
    """Distinct points with their nearest neighbours.

    points (n, D), centred and scaled to at most 1; rows (n,): which rows of the data they are; neighbours (n, k): their
    numbers, nearest first; distances (n, k) > 0 between `points`; unit: what a distance of 1 is in the data's own units (kept
    apart, as the product of the two may underflow); num_dropped: points that repeat another one, as near as rounding lets tell.
    """

    points: Float[np.ndarray, "n D"]
    rows: Int[np.ndarray, " n"]
    neighbours: Int[np.ndarray, "n k"]
    distances: Float[np.ndarray, "n k"]
    unit: float
    num_dropped: int

    @property
    def dropped(self) -> str:
        """What was dropped, in words, or ""."""
        if not self.num_dropped:
            return ""
        total = len(self.rows) + self.num_dropped
        return f"{self.num_dropped} of {total} points dropped: each repeats another point, as far as its number format tells"

    def nearer(self, num_neighbours: int, least: int) -> "Cloud":
        """The same with up to `num_neighbours` neighbours. Raises ValueError where fewer than `least` are known."""
        if self.distances.shape[1] < least:
            raise ValueError(f"prepared: has {self.distances.shape[1]} neighbours of each point; {least} or more are legal")
        return replace(
            self, neighbours=self.neighbours[:, :num_neighbours], distances=self.distances[:, :num_neighbours]
        )


def checked_points(points: Float[np.ndarray, "n D"], metric: str) -> Float[np.ndarray, "n D"]:
    """The points as float64, at most 1 in size; on the unit sphere for "cosine". Raises ValueError where they won't do."""
    if metric not in METRICS:
        raise ValueError(f"metric = {metric!r}: must be one of {', '.join(METRICS)}")
    if not isinstance(points, np.ndarray) or points.ndim != 2 or not all(points.shape) or points.dtype.kind not in "fiu":
        told = f"{points.dtype} {points.shape}" if isinstance(points, np.ndarray) else type(points).__name__
        raise ValueError(f"points = {told}: must be an array of numbers with a row for each point, a column for each coordinate")
    bad = int((~np.isfinite(points)).any(axis=1).sum())
    if bad:
        raise ValueError(f"points: {bad} of {len(points)} rows have a NaN or an infinity; finite numbers are legal")
    found = points.astype(np.float64)
    size = float(np.abs(found).max())
    if size == 0:
        raise ValueError(f"points: all {len(points)} are 0; points that differ are legal")
    found /= size
    if metric == "cosine":
        length = np.abs(found).max(axis=1)
        if not length.all():
            raise ValueError(f"points: {int((length == 0).sum())} of {len(points)} rows are 0 and have no direction for a cosine")
        found /= length[:, None]  # first, so that the squares of small rows do not vanish
        found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def cloud(points: Float[np.ndarray, "n D"], num_neighbours: int, metric: str = "euclidean", least: int | None = None) -> Cloud:
    """The distinct points and up to `num_neighbours` neighbours of each, at least `least` (None: all of them).

    "cosine" puts the points on the unit sphere and takes the straight line between them. 1 - cos itself would not do: it is half
    that distance squared, so every logarithm of a ratio doubles and every estimate of a dimension halves (derived here).
    Points that are nearer than the rounding of their own type (2 eps of the longer of the two) count as one.
    Raises ValueError for points that are none, or fewer distinct ones than are needed.
    """
    found = checked_points(points, metric)
    size = 1.0 if metric == "cosine" else float(np.abs(points).max())
    precision = np.finfo(points.dtype if points.dtype.kind == "f" else np.float64).eps
    rounding = 2 * float(precision) * np.linalg.norm(found, axis=1)  # of each point: one far off must not swallow the others
    rows = np.sort(np.unique(found, axis=0, return_index=True)[1])
    needed = num_neighbours if least is None else least
    for _ in range(PASSES):
        if len(rows) <= needed:
            same = "all points are the same" if len(rows) == 1 else f"{len(rows)} of {len(points)} points are distinct"
            raise ValueError(f"points: {same}; {needed} neighbours take at least {needed + 1} distinct points")
        kept = found[rows] - np.median(found[rows], axis=0)  # which one far point does not move
        neighbours, distances = nearest(kept, min(num_neighbours, len(rows) - 1))
        own = rounding[rows]
        tolerance = np.maximum(own[:, None], own[neighbours])
        repeats = (distances <= tolerance) & (neighbours < np.arange(len(rows))[:, None])
        if not repeats.any():
            break
        rows = rows[~repeats.any(axis=1)]
    else:
        raise ValueError(f"points: more than {len(points) - len(rows)} of {len(points)} are within rounding of another")
    return Cloud(kept, rows, neighbours, distances, size, len(points) - len(rows))


def nearest(points: Float[np.ndarray, "n D"], num_neighbours: int) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Numbers of and distances to the nearest points, the point itself excluded; exact ties in any order."""
    if points.shape[1] <= TREE_COLUMNS:
        answer = cKDTree(points).query(points, k=num_neighbours + 1)
        distances, neighbours = np.asarray(answer[0]), np.asarray(answer[1])
        # With repeated points a point need not be its own first neighbour, nor among them at all: the last one goes then.
        own = neighbours == np.arange(len(points))[:, None]
        own[~own.any(axis=1), -1] = True
        return neighbours[~own].reshape(-1, num_neighbours), distances[~own].reshape(-1, num_neighbours)
    found = np.empty((len(points), num_neighbours), np.int64), np.empty((len(points), num_neighbours))
    for start, squares in squared_blocks(points):
        stop = start + len(squares)
        squares[np.arange(stop - start), np.arange(start, stop)] = np.inf
        near = np.argpartition(squares, num_neighbours - 1, axis=1)[:, :num_neighbours]
        own = np.repeat(np.arange(start, stop), num_neighbours)
        measured = remeasured(points, own, near.ravel(), np.take_along_axis(squares, near, axis=1).ravel()).reshape(near.shape)
        order = np.argsort(measured, axis=1)
        found[0][start:stop] = np.take_along_axis(near, order, axis=1)
        found[1][start:stop] = np.sqrt(np.take_along_axis(measured, order, axis=1))
    return found


def squared_blocks(
    points: Float[np.ndarray, "n D"], once: bool = False
) -> Iterator[tuple[int, Float[np.ndarray, "rows columns"]]]:
    """(first row, squared distances of some rows to all points), quick and rough: errors of about eps times the squared norm.

    once: to points from the block's first row on, so that each pair is seen once (those within a block twice).
    """
    norms = (points**2).sum(axis=1)
    rows = max(1, BLOCK_ELEMENTS // len(points))
    for start in range(0, len(points), rows):
        columns = slice(start if once else 0, None)
        squares = points[start : start + rows] @ points[columns].T
        squares *= -2
        squares += norms[columns]
        squares += norms[start : start + rows, None]
        yield start, squares


def remeasured(
    points: Float[np.ndarray, "n D"],
    first: Int[np.ndarray, " m"],
    second: Int[np.ndarray, " m"],
    squares: Float[np.ndarray, " m"],
) -> Float[np.ndarray, " m"]:
    """The squared distances of pairs of points, those that are small taken from differences."""
    found = squares.copy()
    small = np.flatnonzero(squares < NEAR * float((points**2).sum(axis=1).max()))
    step = max(1, BLOCK_ELEMENTS // points.shape[1])
    for start in range(0, len(small), step):
        some = small[start : start + step]
        found[some] = ((points[first[some]] - points[second[some]]) ** 2).sum(axis=1)
    return found
