"""The exponent of a power law through means over repetitions, with an interval that rests on the repetitions alone."""

from math import nan, sqrt
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from empirical._regression_lines import Estimate, Points, check_level, checked_row
from theory.shapes import checked_integer


def bootstrap_log_log_slope(
    x: Points,
    y_by_repetition: Float[np.ndarray, "repetitions points"],
    *,
    seed: int | np.random.Generator,
    level: float = 0.95,
    num_resamples: int = 9999,
) -> Estimate:
    """The exponent p of y = a x^p through the means over repetitions, with a bootstrap interval over the repetitions.

    Whole repetitions are resampled, so nothing is assumed on how the points of one curve depend on each other, nor that a power
    law holds. The interval is the expanded percentile interval: percentiles of few values are too narrow, by sqrt((n - 1) / n)
    in spread and by the normal quantile in place of Student's, and both are made up for in the level (Hesterberg 2015, "What
    teachers should know about the bootstrap"). Simulated 95% intervals cover 93 to 95 times in 100 from 5 repetitions on, but
    78 times with 3. Repetitions on one table say nothing about other tables.

    Args:
        x: numbers > 0, at least two of them different.
        y_by_repetition: one row for each repetition, with positive means.
        seed: of the resampling, or a generator.
        level: of confidence.
        num_resamples: of the repetitions.

    Returns:
        The exponent; the ends are NaN with fewer than two repetitions, or with an entry that is not positive: a resample may
        then have a mean without a logarithm.

    Raises:
        ValueError: x as above, rows of another length than x, means that are not positive, numbers that are not finite.
    """
    check_level(level)
    checked_integer("num_resamples", num_resamples, 100)
    places, curves = checked_row("x", x), np.asarray(y_by_repetition, dtype=float)
    if curves.ndim != 2 or not len(curves) or curves.shape[1] != places.size:
        raise ValueError(f"y_by_repetition has shape {curves.shape}: rows of {places.size} numbers are legal, as many as x has")
    if not np.isfinite(curves).all():
        raise ValueError("y_by_repetition has an entry that is not finite: finite numbers are legal")
    if places.size < 2 or places.min() == places.max() or places.min() <= 0:
        raise ValueError(f"x = {np.array2string(places, threshold=8)}: numbers > 0, two of them different, are legal")
    if curves.mean(axis=0).min() <= 0:
        raise ValueError(f"y_by_repetition has the mean {curves.mean(axis=0).min():g}: means > 0 have a logarithm")
    centred = np.log(places) - np.log(places).mean()
    weights = centred / (centred @ centred)  # the slope is this combination of the logarithms

    def exponent(*columns: Any, axis: int = -1) -> Any:
        means = np.stack([column.mean(axis=axis) for column in columns], axis=-1)
        return np.log(means) @ weights

    value = float(exponent(*curves.T))
    count = len(curves)
    if count < 2 or curves.min() <= 0:
        return Estimate(value, nan, nan, level)
    tail = float(stats.norm.sf(sqrt(count / (count - 1)) * stats.t.ppf(0.5 + level / 2, count - 1)))
    drawn = stats.bootstrap(
        tuple(curves.T), exponent, paired=True, vectorized=True, n_resamples=num_resamples, method="percentile",
        rng=np.random.default_rng(seed), batch=1000,
    ).bootstrap_distribution  # fmt: skip
    low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    return Estimate(value, low, high, level)
