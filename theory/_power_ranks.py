"""Rank-frequency laws: f(r) ~ r^-z, and why ranks and counts should come from different data.

Sorting counts makes a falling curve of anything, and at its end it is noise sorted into order. Where ranks are taken from one
half of the data and counts from the other, a rank's count is an honest, if noisy, draw; the slope is then that of the law,
blurred by ranks that the first half gets wrong (Piantadosi 2014).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

LEAST_TYPES = 10
WELL_RANKED = 100


@dataclass(frozen=True)
class SegmentSlope:
    """The slope of ln f against ln r between two ranks (both within): -z.

    low and high: 95%, where they can be given; else nan, and `reason` says why.
    """

    first_rank: int
    last_rank: int
    num_types: int
    slope: float
    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True, eq=False)
class RankFrequency:
    """Counts by rank, with slopes by segment.

    Attributes:
        ranks: 1, 2, ...
        counts: (num_types,) in that order; of split halves from the second half, where they may be 0 and need not fall.
        halves: whether ranks and counts come from different halves.
        well_ranked: the last rank whose type has at least 100 counts in the data that gave the ranks; 0 where there is none.
        segments: the slopes. Unless others were asked for: all ranks, those up to `well_ranked`, then decade by decade.
    """

    ranks: Int[np.ndarray, " num_types"]
    counts: Int[np.ndarray, " num_types"]
    halves: bool
    well_ranked: int
    segments: tuple[SegmentSlope, ...]

    @property
    def frequencies(self) -> Float[np.ndarray, " num_types"]:
        """Counts as shares of their sum."""
        return self.counts / self.counts.sum()


def rank_frequency(
    counts: Int[np.ndarray, " types"], segments: tuple[tuple[int, int], ...] | None = None
) -> RankFrequency:
    """Counts in falling order, zeros left out, and the least-squares slope of ln count against ln rank in each segment.

    That is how such laws are usually shown. The points depend on each other, so the slopes have no interval here, and those at
    rare types say more about the sample than about the law: see `split_half`. `segments`: pairs of ranks (first, last).

    Raises ValueError for negative counts, fewer than 10 counts above 0 and segments that are none.
    """
    _require_counts("counts", counts)
    ordered = np.sort(counts[counts > 0])[::-1].copy()
    _require_types(ordered.size)
    ranks, well_ranked = np.arange(1, ordered.size + 1), int((ordered >= WELL_RANKED).sum())
    pieces = tuple(_least_squares(ranks, ordered, *ends) for ends in _ends(segments, ordered.size, well_ranked))
    return RankFrequency(ranks, ordered, False, well_ranked, pieces)


def split_half(
    first_counts: Int[np.ndarray, " types"],
    second_counts: Int[np.ndarray, " types"],
    segments: tuple[tuple[int, int], ...] | None = None,
    *,
    seed: int = 0,
) -> RankFrequency:
    """Ranks by the first half's counts, ties in random order, and the second half's counts at these ranks.

    Types that do not occur in the first half have no rank and are left out. The slope in a segment is that of a Poisson
    regression of counts on ln rank (zeros belong to it), with a 95% interval from a sandwich covariance: types scatter about
    the law by more than Poisson's noise. The interval holds for types that are independent given their ranks.

    Raises ValueError for counts of different lengths, negative ones, fewer than 10 types in the first half and segments that are
    none.
    """
    _require_counts("first_counts", first_counts)
    _require_counts("second_counts", second_counts)
    if first_counts.shape != second_counts.shape:
        raise ValueError(f"second_counts: must be {first_counts.size} numbers, as many as first_counts, has {second_counts.size}")
    ties = np.random.default_rng(seed).permutation(first_counts.size)
    order = np.lexsort((ties, -first_counts))[: int((first_counts > 0).sum())]
    _require_types(order.size)
    ranks, counts = np.arange(1, order.size + 1), second_counts[order]
    well_ranked = int((first_counts >= WELL_RANKED).sum())
    pieces = tuple(_poisson(ranks, counts, *ends, well_ranked) for ends in _ends(segments, order.size, well_ranked))
    return RankFrequency(ranks, counts, True, well_ranked, pieces)


def _require_counts(name: str, counts: Int[np.ndarray, " types"]) -> None:
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ValueError(f"{name}: must be a list of integers >= 0")


def _require_types(found: int) -> None:
    if found < LEAST_TYPES:
        raise ValueError(f"counts: must hold at least {LEAST_TYPES} types that occur, has {found}")


def _ends(segments: tuple[tuple[int, int], ...] | None, num_types: int, well_ranked: int) -> tuple[tuple[int, int], ...]:
    """Pairs of ranks: those asked for, or everything, the well-ranked and then the decades."""
    if segments is None:
        starts = [10**power for power in range(len(str(num_types)))]
        whole = ((1, num_types), (1, well_ranked)) if 10 <= well_ranked < num_types else ((1, num_types),)
        return (*whole, *((start, min(10 * start, num_types)) for start in starts if num_types >= 2 * start))
    for first, last in segments:
        if not 1 <= first < last:
            raise ValueError(f"segments: must be pairs of ranks 1 <= first < last, has ({first}, {last})")
    return tuple((first, min(last, num_types)) for first, last in segments)


def _within(ranks: Int[np.ndarray, " types"], first: int, last: int) -> Bool[np.ndarray, " types"]:
    return (ranks >= first) & (ranks <= last)


def _least_squares(ranks: Int[np.ndarray, " types"], counts: Int[np.ndarray, " types"], first: int, last: int) -> SegmentSlope:
    inside, nan = _within(ranks, first, last), float("nan")
    if inside.sum() < 3:
        return SegmentSlope(first, last, int(inside.sum()), nan, nan, nan, "fewer than 3 types")
    slope = float(np.polyfit(np.log(ranks[inside]), np.log(counts[inside]), 1)[0])
    reason = "points of a sorted curve depend on each other: no interval"
    return SegmentSlope(first, last, int(inside.sum()), slope, nan, nan, reason)


def _poisson(
    ranks: Int[np.ndarray, " types"], counts: Int[np.ndarray, " types"], first: int, last: int, well_ranked: int
) -> SegmentSlope:
    """Newton's method on the likelihood of count ~ Poisson(exp(level + slope ln rank)), which is concave."""
    inside, nan = _within(ranks, first, last), float("nan")
    y, num_types = counts[inside].astype(np.float64), int(inside.sum())
    if num_types < 5 or np.count_nonzero(y) < 3:
        reason = "fewer than 5 types, or fewer than 3 that occur in the second half"
        return SegmentSlope(first, last, num_types, nan, nan, nan, reason)
    x = np.log(ranks[inside])
    x = x - np.average(x, weights=y)
    design = np.stack([np.ones_like(x), x], axis=1)
    theta = np.array([np.log(y.mean()), 0.0])
    converged = False
    for _ in range(100):
        rate = np.exp(theta[0] + theta[1] * x)
        hessian = design.T @ (rate[:, None] * design)
        step = np.linalg.solve(hessian, design.T @ (y - rate))
        theta = theta + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-10:
            converged = True
            break
    if not converged:
        return SegmentSlope(first, last, num_types, nan, nan, nan, "the regression did not converge")
    if last > well_ranked:
        reason = f"ranks beyond {well_ranked} rest on fewer than {WELL_RANKED} counts; their errors move the slope: no interval"
        return SegmentSlope(first, last, num_types, float(theta[1]), nan, nan, reason)
    rate = np.exp(theta[0] + theta[1] * x)
    inverse = np.linalg.inv(design.T @ (rate[:, None] * design))
    leverage = np.einsum("ni,ij,nj->n", design, inverse, design) * rate
    # Residuals as if each type had been left out (HC3): without that, the few frequent types at the left set their own error.
    residuals = (y - rate) / np.maximum(1 - leverage, 1e-3)
    covariance = inverse @ (design.T @ (residuals[:, None] ** 2 * design)) @ inverse
    half = 1.96 * float(np.sqrt(covariance[1, 1]))
    return SegmentSlope(first, last, num_types, float(theta[1]), float(theta[1]) - half, float(theta[1]) + half)
