"""Estimators of dimension that read ratios of distances to near neighbours: Levina-Bickel, TwoNN, Gride.

T_j is the distance from a point to its j-th neighbour, itself excluded. Where points lie evenly on a d-manifold at the scale of
k neighbours, volumes of balls grow like r^d, and the ratios of the T_j have a law in which d is the only unknown.
"""

import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from empirical._dimension_intervals import Statistic, group_numbers, halved_spread, interval, listed_neighbours
from empirical._dimension_neighbours import Cloud, Metric, cloud
from theory.shapes import checked_integer

Average = Literal["harmonic", "arithmetic"]
Groups = Sequence[Hashable] | Int[np.ndarray, " n"] | None
Fit = Literal["linear", "mle"]
DISCARDED = 0.1
"""The share of largest ratios that TwoNN sets aside (Facco et al. 2017)."""
MOST_STEPS = 100
NO_RATIO = 1e6
"""Estimates above this come from distances that are equal but for rounding, as on a lattice."""


@dataclass(frozen=True)
class DimensionEstimate:
    """An estimate of dimension.

    method: its name in `METHODS`; dimension: NaN where there is none; low, high: the interval of `level` (NaN without
    resamples): how far another sample would move the estimate, not how far it is from the truth, for which see `bias_curve`;
    num_points: that were used; num_dropped: that repeat another one; neighbours: the farthest one looked at; reason: why there is
    no estimate or no interval, or what was dropped, or "".
    """

    method: str
    dimension: float
    low: float
    high: float
    level: float
    num_points: int
    num_dropped: int
    neighbours: int
    reason: str = ""


def levina_bickel(
    points: Float[np.ndarray, "n D"],
    *,
    neighbours: int = 20,
    average: Average = "harmonic",
    metric: Metric = "euclidean",
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
    groups: Groups = None,
    prepared: Cloud | None = None,
) -> DimensionEstimate:
    """The maximum-likelihood estimate from distances to the first k neighbours, averaged over points.

    At a point 1/m_k = (1/(k-1)) sum_{j<k} log(T_k/T_j). "harmonic" averages these 1/m_k, which are unbiased where points lie
    evenly (MacKay and Ghahramani 2005); "arithmetic" averages the m_k, biased upwards by (k-1)/(k-2) (Levina and Bickel 2004; the
    mean of an inverse Gamma variable). The estimate is scikit-dimension's `MLE().fit(.., precomputed_knn_arrays=.., comb="mle" or
    "mean")`, which agrees with the formula to rounding; its `fit_transform`
    averages arithmetically unless told otherwise.

    Args:
        points: (n, D), any floats; the dimension has no unit.
        neighbours: k >= 2.
        metric: "euclidean", or "cosine": straight lines between the points scaled to length 1.
        resamples: random halvings behind the interval, 0 for none.
        level: of the interval, in (0, 1).
        groups: which document (say) each point is from: halves then take whole groups, as points of one are not independent.
        prepared: the neighbours of these points by this metric, where `prepared_cloud` has found them before.

    Raises:
        ValueError: points that are not finite, or fewer distinct ones than k + 1; an argument out of range.
    """
    checked_integer("neighbours", neighbours, 2)
    if average not in ("harmonic", "arithmetic"):
        raise ValueError(f"average = {average!r}: must be harmonic or arithmetic")

    def by_library(distances: Float[np.ndarray, "n k"]) -> float:
        nowhere = np.zeros(distances.shape, np.int64)  # smoothing alone would read who the neighbours are
        comb = "mle" if average == "harmonic" else "mean"
        fitted = _library().MLE().fit(distances, precomputed_knn_arrays=(distances, nowhere), n_neighbors=neighbours, comb=comb)
        return float(fitted.dimension_)

    statistic = harmonic_mean if average == "harmonic" else arithmetic_mean
    return estimated(
        "levina_bickel", points, neighbours, statistic, by_library, metric=metric, resamples=resamples, level=level, seed=seed,
        groups=groups, prepared=prepared,
    )  # fmt: skip


def _library() -> Any:
    """scikit-dimension's estimators; ValueError where the package is not there."""
    try:
        from skdim import id as estimators
    except ImportError:
        missing = 'need the package scikit-dimension, which `pip install "headcount[dimension]"` brings; gride does without'
        raise ValueError(f"levina_bickel, two_nn: {missing}") from None
    return estimators


def two_nn(
    points: Float[np.ndarray, "n D"],
    *,
    fit: Fit = "linear",
    metric: Metric = "euclidean",
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
    groups: Groups = None,
    prepared: Cloud | None = None,
) -> DimensionEstimate:
    """The estimate from mu = T_2/T_1 alone, whose logarithm is exponential with rate d (Facco et al. 2017).

    "linear": the slope through the origin of -log(1 - F) on log mu without the largest tenth of the ratios, F_i = i/n; "mle":
    (m - 1) / (sum of log mu, those of the largest tenth counted as censored), unbiased for independent ratios. Both are
    scikit-dimension's `TwoNN(dist=True)`, fed with our distances: its own search takes the fast formula in more than 25
    columns, where a repeated point is found at 1e-8 rather than 0 and not dropped, which can take 4.5 down to 0.1. It sees the
    smallest scale there is, hence noise first.
    Arguments and errors as `levina_bickel`.
    """
    if fit not in ("linear", "mle"):
        raise ValueError(f"fit = {fit!r}: must be linear or mle")

    def by_library(distances: Float[np.ndarray, "n k"]) -> float:
        return float(_library().TwoNN(discard_fraction=DISCARDED, dist=True, method=fit).fit(distances).dimension_)

    statistic = two_nn_line if fit == "linear" else two_nn_likelihood
    return estimated(
        "two_nn", points, 2, statistic, by_library, metric=metric, resamples=resamples, level=level, seed=seed, groups=groups,
        prepared=prepared,
    )  # fmt: skip


def gride(
    points: Float[np.ndarray, "n D"],
    *,
    neighbours: int = 16,
    metric: Metric = "euclidean",
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
    groups: Groups = None,
    prepared: Cloud | None = None,
) -> DimensionEstimate:
    """The maximum-likelihood estimate from mu = T_{2k}/T_k (Denti et al. 2022); `neighbours` is 2k, even and at least 2.

    The density of mu is d (mu^d - 1)^(k-1) / (B(k, k) mu^((2k-1) d + 1)). Own code: scikit-dimension 0.5.0 drops all mu above
    q50 + 20 (q95 - q50) (quantiles of mu), which biases it upwards where mu has a heavy tail: by 1.6% at d = 1, k = 1.
    Without such mu the two agree to rounding. Arguments and errors as `levina_bickel`.
    """
    checked_integer("neighbours", neighbours, 2)
    if neighbours % 2:
        raise ValueError(f"neighbours = {neighbours}: must be even, as Gride compares neighbours k and 2k")
    return estimated(
        "gride", points, neighbours, gride_likelihood, None, metric=metric, resamples=resamples, level=level, seed=seed,
        groups=groups, prepared=prepared,
    )  # fmt: skip


def harmonic_mean(log_distances: Float[np.ndarray, "n k"]) -> float:
    """n (k-1) / sum of all log(T_k/T_j)."""
    rows, columns = log_distances.shape
    return _ratio(float(rows * (columns - 1)), float((log_distances[:, -1:] - log_distances).sum()))


def arithmetic_mean(log_distances: Float[np.ndarray, "n k"]) -> float:
    """The mean over points of (k-1) / sum of log(T_k/T_j)."""
    sums = (log_distances[:, -1:] - log_distances).sum(axis=1)
    return float(((log_distances.shape[1] - 1) / sums).mean()) if len(sums) and sums.all() else math.nan


def two_nn_line(log_distances: Float[np.ndarray, "n k"]) -> float:
    """The line of Facco et al. 2017."""
    ratios = np.sort(log_distances[:, 1] - log_distances[:, 0])
    kept = int(len(ratios) * (1 - DISCARDED))
    heights = -np.log1p(-np.arange(1, kept + 1) / max(len(ratios), 1))
    return _ratio(float(heights @ ratios[:kept]), float(ratios[:kept] @ ratios[:kept]))


def two_nn_likelihood(log_distances: Float[np.ndarray, "n k"]) -> float:
    """The rate of exponential variables of which the largest are censored."""
    ratios = np.sort(log_distances[:, 1] - log_distances[:, 0])
    kept = int(len(ratios) * (1 - DISCARDED))
    if kept < 2:
        return math.nan
    return _ratio(kept - 1.0, float(ratios[:kept].sum() + (len(ratios) - kept) * ratios[kept - 1]))


def gride_likelihood(log_distances: Float[np.ndarray, "n k"]) -> float:
    """The root in d of d times the score, n - 1 + (k-1) sum phi(d v) - (2k-1) d sum v with v = log mu, phi(u) = u / (1 - e^-u).

    It is convex and falls (phi is convex with slopes of 1/2 to 1), and is positive at (n-1) / ((2k-1) sum v), from where Newton's
    steps climb to the root without passing it (derived here).
    """
    nearer = log_distances.shape[1] // 2
    steps = log_distances[:, -1] - log_distances[:, nearer - 1]
    steps = steps[steps > 0]  # ties say nothing: their likelihood is 0 for k > 1 whatever d is
    if len(steps) < 2:
        return math.nan
    total = float(steps.sum())
    rate = (len(steps) - 1) / ((2 * nearer - 1) * total)
    for _ in range(MOST_STEPS if nearer > 1 else 0):
        scaled = rate * steps
        rest = -np.expm1(-scaled)
        slopes = np.where(scaled < 1e-4, 0.5, (rest - scaled * np.exp(-scaled)) / rest**2)
        value = len(steps) - 1 + (nearer - 1) * float((scaled / rest).sum()) - (2 * nearer - 1) * rate * total
        step = value / ((2 * nearer - 1) * total - (nearer - 1) * float((slopes * steps).sum()))
        rate += step
        if abs(step) <= 1e-14 * rate:
            break
    return rate


def estimated(
    method: str,
    points: Float[np.ndarray, "n D"],
    neighbours: int,
    statistic: Statistic,
    by_library: Callable[[Float[np.ndarray, "n k"]], float] | None,
    *,
    metric: Metric,
    resamples: int,
    level: float,
    seed: int,
    groups: Groups,
    prepared: Cloud | None,
) -> DimensionEstimate:
    """The estimate from distances to the first neighbours, with its interval: what the methods here have in common."""
    found, numbers = ready(points, neighbours, metric, resamples, level, groups, prepared)
    return from_cloud(
        method, found, neighbours, statistic, by_library, resamples=resamples, level=level, seed=seed, groups=numbers
    )


def ready(
    points: Float[np.ndarray, "n D"],
    neighbours: int,
    metric: Metric,
    resamples: int,
    level: float,
    groups: Groups,
    prepared: Cloud | None,
) -> tuple[Cloud, Int[np.ndarray, " n"] | None]:
    """The cloud with the neighbours that the estimate and its interval need, and the groups of its points as numbers."""
    checked_spread(resamples, level)
    listed = listed_neighbours(neighbours) if resamples else neighbours
    found = cloud(points, listed, metric, least=neighbours) if prepared is None else prepared.nearer(listed, neighbours)
    numbers = group_numbers(groups, len(points))
    return found, None if numbers is None else numbers[found.rows]


def prepared_cloud(points: Float[np.ndarray, "n D"], neighbours: int = 40, metric: Metric = "euclidean") -> Cloud:
    """The neighbours that all methods need with up to so many `neighbours` and an interval, found once.

    Raises ValueError as `levina_bickel`; fewer than 3 distinct points.
    """
    checked_integer("neighbours", neighbours, 2)
    return cloud(points, listed_neighbours(neighbours), metric, least=2)


def from_cloud(
    method: str,
    found: Cloud,
    neighbours: int,
    statistic: Statistic,
    by_library: Callable[[Float[np.ndarray, "n k"]], float] | None,
    *,
    resamples: int,
    level: float,
    seed: int,
    groups: Int[np.ndarray, " n"] | None,
) -> DimensionEstimate:
    """`estimated` for a cloud whose neighbours are known."""
    near = found.distances[:, :neighbours]
    dimension = statistic(np.log(near))
    if by_library is not None and math.isfinite(dimension):
        with quiet():
            dimension = by_library(near)
    spread, reason = math.nan, ""
    if not 0 < dimension < NO_RATIO:
        dimension, reason = math.nan, "neighbours are equally far: there is no ratio to read"
    elif resamples:
        spread = halved_spread(
            statistic, np.log(found.distances), found.neighbours, neighbours, resamples=resamples, seed=seed, groups=groups
        )
    return concluded(method, dimension, spread, reason, found, neighbours, level, resamples)


def concluded(
    method: str, dimension: float, spread: float, reason: str, found: Cloud, neighbours: int, level: float, resamples: int
) -> DimensionEstimate:
    """An estimate and the standard error of its logarithm as a `DimensionEstimate`."""
    if resamples and math.isfinite(dimension) and math.isnan(spread):
        reason = "half of the points are too few for an interval"
    low, high = interval(dimension, spread, level, resamples) if resamples else (math.nan, math.nan)
    told = "; ".join(filter(None, (reason, found.dropped)))
    return DimensionEstimate(method, dimension, low, high, level, len(found.rows), found.num_dropped, neighbours, told)


def checked_spread(resamples: object, level: object) -> None:
    """Raises ValueError for resamples below 0 or a level outside (0, 1)."""
    checked_integer("resamples", resamples, 0)
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise ValueError(f"level = {level!r}: must be a number in (0, 1)")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of a library."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _ratio(upper: float, lower: float) -> float:
    return upper / lower if lower > 0 else math.nan
