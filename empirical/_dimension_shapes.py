"""Two estimators that read more than ratios at one neighbour: local principal components and the correlation dimension."""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from empirical._dimension_estimators import NO_RATIO, DimensionEstimate, Groups, concluded, ready
from empirical._dimension_intervals import halves, spread_of, within_half
from empirical._dimension_neighbours import BLOCK_ELEMENTS, Cloud, Metric, remeasured, squared_blocks
from theory.shapes import checked_integer

MOST_PAIRS = 20_000_000


def local_pca(
    points: Float[np.ndarray, "n D"],
    *,
    neighbours: int = 40,
    variance: float = 0.95,
    most_points: int = 1000,
    metric: Metric = "euclidean",
    resamples: int = 40,
    level: float = 0.95,
    seed: int = 0,
    groups: Groups = None,
    prepared: Cloud | None = None,
) -> DimensionEstimate:
    """The mean over points of how many principal components of the k nearest neighbours reach a share of their variance.

    A whole number at each point (Fukunaga and Olsen 1971), at most k - 1, and at most `most_points` points, drawn by the seed,
    are looked at. One far outlier among the neighbours holds most of their variance and takes the count down to 1.
    Own code, from the k x k matrices of inner products: scikit-dimension's `lPCA(ver="ratio")` counts the same on the same
    neighbours, but takes a decomposition in all D columns for each point, and its `alphaRatio` keeps 0.05 of the variance unless
    it is set, so that the answer is 1. Arguments and errors otherwise as `levina_bickel`; 0 < variance < 1.
    """
    checked_integer("neighbours", neighbours, 2)
    checked_integer("most_points", most_points, 8)
    if isinstance(variance, bool) or not isinstance(variance, int | float) or not 0 < variance < 1:
        raise ValueError(f"variance = {variance!r}: must be a number in (0, 1)")
    found, numbers = ready(points, neighbours, metric, resamples, level, groups, prepared)
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.permutation(len(found.points))[:most_points])
    dimension = _mean_count(found.points, found.neighbours[chosen, :neighbours], variance)
    pairs: list[tuple[float, float]] = []
    for _ in range(resamples):
        half = halves(len(found.points), generator, numbers)
        first, second = within_half(found.neighbours[chosen], found.neighbours[chosen], half, neighbours, own=half[chosen])
        pairs.append((_mean_count(found.points, first, variance), _mean_count(found.points, second, variance)))
    # A half looks at as many points as it holds of the chosen ones, so that the variance still falls as 1/n.
    spread = spread_of(pairs) if resamples else math.nan
    return concluded("local_pca", dimension, spread, "", found, neighbours, level, resamples)


def component_counts(
    points: Float[np.ndarray, "n D"], neighbours: Int[np.ndarray, "m k"], variance: float
) -> Int[np.ndarray, " m"]:
    """How many components of each set of neighbours hold that share of its variance."""
    rows, columns = neighbours.shape
    step = max(1, BLOCK_ELEMENTS // (columns * max(points.shape[1], columns)))
    counts = np.empty(rows, np.int64)
    for start in range(0, rows, step):
        sets = points[neighbours[start : start + step]]
        sets = sets - sets.mean(axis=1, keepdims=True)
        products = sets @ sets.transpose(0, 2, 1) if columns < sets.shape[2] else sets.transpose(0, 2, 1) @ sets
        values = np.maximum(np.linalg.eigvalsh(products)[:, ::-1], 0)
        shares = np.cumsum(values, axis=1) / values.sum(axis=1, keepdims=True)
        counts[start : start + step] = (shares < variance).sum(axis=1) + 1
    return counts


def correlation_dimension(
    points: Float[np.ndarray, "n D"],
    *,
    neighbours: int = 20,
    metric: Metric = "euclidean",
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
    groups: Groups = None,
    prepared: Cloud | None = None,
) -> DimensionEstimate:
    """The slope of log C(r) on log r between two radii, C(r) the number of pairs nearer than r (Grassberger and Procaccia 1983).

    The radii are the medians of the distances to the neighbours k/2 and k, as in scikit-dimension's `CorrInt(k1=k // 2, k2=k)`,
    whose answer it gives; own code since that measures all n^2 distances anew for every half that the interval needs. Arguments
    and errors otherwise as `levina_bickel`.
    """
    checked_integer("neighbours", neighbours, 2)
    found, numbers = ready(points, neighbours, metric, resamples, level, groups, prepared)
    inner, outer = max(1, neighbours // 2), neighbours
    everyone = np.ones(len(found.points), bool)
    # Halves of the points have their neighbours further off.
    farthest = min(found.distances.shape[1], 3 * outer) if resamples else outer
    reach = float(np.median(found.distances[:, farthest - 1]))
    pairs = near_pairs(found, reach)
    dimension = _slope(pairs, everyone, _radii(found.distances, inner, outer))
    if not 0 < dimension < NO_RATIO:
        reason = "neighbours are equally far: there is no slope to read"
        return concluded("correlation_dimension", math.nan, math.nan, reason, found, neighbours, level, resamples)
    generator = np.random.default_rng(seed)
    told = []
    for _ in range(resamples):
        half = halves(len(found.points), generator, numbers)
        both = within_half(found.distances, found.neighbours, half, outer)
        ends = [_radii(near, inner, outer) if len(near) else (math.nan, math.nan) for near in both]
        if not all(end[1] <= reach for end in ends):
            told = [(math.nan, math.nan)]
            break
        told.append((_slope(pairs, half, ends[0]), _slope(pairs, ~half, ends[1])))
    spread = spread_of(told) if resamples else math.nan
    return concluded("correlation_dimension", dimension, spread, "", found, neighbours, level, resamples)


def near_pairs(
    found: Cloud, reach: float
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """(i, j, distance) of all pairs i < j that are at most `reach` apart. Raises ValueError where they are too many to hold."""
    parts, total = [], 0
    for start, squares in squared_blocks(found.points, once=True):
        row, column = np.nonzero(squares <= reach**2 * (1 + 1e-6) + 1e-14)
        later = column > row
        row, column = row[later], column[later]
        measured = remeasured(found.points, row + start, column + start, squares[row, column])
        parts.append((row + start, column + start, np.sqrt(np.maximum(measured, 0))))
        total += len(row)
        if total > MOST_PAIRS:
            raise ValueError(f"points: {len(found.points):,} have more than {MOST_PAIRS:,} near pairs; fewer points are legal")
    first, second, distances = (np.concatenate(part) for part in zip(*parts, strict=True))
    return first, second, distances


def _radii(distances: Float[np.ndarray, "n k"], inner: int, outer: int) -> tuple[float, float]:
    return float(np.median(distances[:, inner - 1])), float(np.median(distances[:, outer - 1]))


def _slope(
    pairs: tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]],
    there: Bool[np.ndarray, " n"],
    radii: tuple[float, float],
) -> float:
    """The slope among the points that are there."""
    distances = pairs[2] if there.all() else pairs[2][there[pairs[0]] & there[pairs[1]]]
    counts = [int((distances < radius).sum()) for radius in radii]
    return math.log(counts[1] / counts[0]) / math.log(radii[1] / radii[0]) if counts[0] and radii[1] > radii[0] else math.nan


def _mean_count(points: Float[np.ndarray, "n D"], neighbours: Int[np.ndarray, "m k"], variance: float) -> float:
    return float(component_counts(points, neighbours, variance).mean()) if len(neighbours) else math.nan
