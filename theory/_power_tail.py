"""Fitting the tail of a power law: exponent by maximum likelihood, start of the tail by the smallest distance, and replicates.

Values are held as their distinct values in rising order with how often each occurs: everything below is sums from the right.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

# All of this is called thousands of times per fit: plain types, as checking shapes would cost more than the work.
Vector = NDArray[np.float64]

LEAST_TAIL = 10
LARGEST_EXPONENT = 20.0  # steeper is no power law that data could show, and zeta underflows
_EULER_FROM = 30.0  # from here on the expansion of Euler and Maclaurin is right to 1e-7 even for the largest exponent
_EULER_TERMS = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600)
_TABLE = 20_000


@dataclass(frozen=True, eq=False)
class Sample:
    """Distinct values (rising, > 0) and how often each occurs; sums over a value and all above it."""

    values: Vector
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, data: Vector) -> "Sample":
        values, counts = np.unique(data, return_counts=True)
        return cls(values, counts)

    @cached_property
    def num_above(self) -> NDArray[np.int64]:
        return np.cumsum(self.counts[::-1])[::-1]

    @cached_property
    def logs(self) -> Vector:
        return np.log(self.values)

    @cached_property
    def mean_log_above(self) -> Vector:
        return np.cumsum((self.counts * self.logs)[::-1])[::-1] / self.num_above

    def candidates(self, most: int) -> NDArray[np.int64]:
        """Where a tail may start: 10 points and 3 distinct values at least; at most `most`, evenly in the log of its size."""
        long_enough = np.arange(self.values.size) <= self.values.size - 3
        allowed = np.flatnonzero((self.num_above >= LEAST_TAIL) & long_enough)
        if allowed.size <= most:
            return allowed
        sizes = np.geomspace(self.num_above[allowed[0]], self.num_above[allowed[-1]], most)
        # num_above falls: the first place with no more points than asked for.
        return np.unique(np.searchsorted(-self.num_above[: allowed[-1] + 1], -sizes * (1 + 1e-9)).clip(allowed[0], allowed[-1]))


@dataclass(frozen=True)
class Tail:
    """A power law from values[start] on: p(x) ~ x^-exponent."""

    start: int
    x_min: float
    exponent: float
    standard_error: float
    distance: float
    num_tail: int


def log_zeta(exponent: Vector | float, first: Vector | float) -> Vector:
    """ln of Hurwitz' zeta, sum over k >= 0 of (first + k)^-exponent, for exponent > 1 and first >= 1, without underflow."""
    exponent, first = np.broadcast_arrays(np.asarray(exponent, dtype=np.float64), np.asarray(first, dtype=np.float64))
    result = np.empty(first.shape)
    small = first < _EULER_FROM
    result[small] = np.log(special.zeta(exponent[small], first[small]))
    power, place = exponent[~small], first[~small]
    series = 1 / (power - 1) + 0.5 / place
    rising = power / place**2
    for number, term in enumerate(_EULER_TERMS):
        series = series + term * rising
        rising = rising * (power + 2 * number + 1) * (power + 2 * number + 2) / place**2
    result[~small] = (1 - power) * np.log(place) + np.log(series)
    return result


def exponents_at(sample: Sample, starts: NDArray[np.int64], discrete: bool) -> Vector:
    """The likeliest exponent for each start; nan where there is none in (1, 20).

    Continuous: 1 + 1 / mean ln(x / x_min). Discrete: the root of the derivative of -ln zeta(g, x_min) - g mean ln x, by Newton's
    method in ln(g - 1), in which the likelihood falls on both sides like that of an exponential law.
    """
    mean_log = sample.mean_log_above[starts]
    first = sample.values[starts]
    with np.errstate(divide="ignore", invalid="ignore"):
        if not discrete:
            found = 1 + 1 / (mean_log - np.log(first))
            return np.where((found > 1) & (found < LARGEST_EXPONENT), found, np.nan)
        guess = 1 / (mean_log - np.log(first - 0.5))
    log_slope = np.log(np.clip(guess, 1e-3, LARGEST_EXPONENT - 1.01))
    for _ in range(60):
        here, first_derivative, second_derivative = _zeta_slopes(1 + np.exp(log_slope), first)
        gradient = (first_derivative + mean_log) * here
        curvature = second_derivative * here**2 + gradient
        step = np.clip(gradient / np.maximum(curvature, 1e-12), -1, 1)
        log_slope = np.clip(log_slope - step, np.log(1e-6), np.log(LARGEST_EXPONENT - 1))
        if np.all(np.abs(step) < 1e-7):  # quadratic convergence: what is left is about the square
            break
    found = 1 + np.exp(log_slope)
    return np.where((found < LARGEST_EXPONENT - 1e-6) & (found > 1 + 2e-6), found, np.nan)


def _zeta_slopes(exponent: Vector, first: Vector) -> tuple[Vector, Vector, Vector]:
    """g - 1 and the first two derivatives of ln zeta in g, the pole's part exactly and the rest by central differences.

    ln zeta = -ln(g - 1) + a smooth function: differences of that one lose nothing near the pole. Error about 1e-9.
    """
    slope = exponent - 1
    step = np.minimum(1e-3, slope / 4)
    low, middle, high = (log_zeta(exponent + shift, first) + np.log(slope + shift) for shift in (-step, 0 * step, step))
    return slope, (high - low) / (2 * step) - 1 / slope, (high - 2 * middle + low) / step**2 + 1 / slope**2


def standard_error(exponent: float, x_min: float, num_tail: int, discrete: bool) -> float:
    """Of the exponent for given x_min, from the curvature of the likelihood: (g - 1) / sqrt n where values are continuous."""
    if not discrete:
        return (exponent - 1) / float(np.sqrt(num_tail))
    curvature = _zeta_slopes(np.array([exponent]), np.array([x_min]))[2][0]
    return float(1 / np.sqrt(num_tail * curvature))


def log_survival(exponent: float, x_min: float, x: Vector, discrete: bool) -> Vector:
    """ln of the probability of at least x, for x >= x_min."""
    if discrete:
        return log_zeta(exponent, x) - log_zeta(exponent, x_min)
    return (1 - exponent) * np.log(x / x_min)


def distance_at(sample: Sample, start: int, exponent: float, discrete: bool) -> float:
    """The distance of Kolmogorov and Smirnov: the largest gap between the tail's distribution function and the fitted one."""
    x = sample.values[start:]
    at_least = np.exp(log_survival(exponent, float(x[0]), x, discrete))
    observed = sample.num_above[start:] / sample.num_above[start]  # share of at least x
    beyond = np.append(observed[1:], 0.0)
    if not discrete:
        return float(max(np.abs(at_least - observed).max(), np.abs(at_least - beyond).max()))
    # Between two neighbouring values the observed function is constant: the gap is largest at the ends of each such stretch.
    above = at_least - np.exp(-exponent * np.log(x) - log_zeta(exponent, float(x[0])))
    return float(max(np.abs(at_least - observed).max(), np.abs(above - beyond).max()))


def fit_tail(sample: Sample, discrete: bool, x_min: float | int | None, most_candidates: int) -> Tail | None:
    """The tail with the smallest distance among all candidate starts (or from x_min on); None where no start has an exponent."""
    if x_min is None:
        starts = sample.candidates(most_candidates)
    else:
        starts = np.array([np.searchsorted(sample.values, x_min)])
        if sample.values.size - starts[0] < 3 or sample.num_above[starts[0]] < LEAST_TAIL:
            return None
    if x_min is not None and sample.values[starts[0]] != x_min:
        # The law starts at x_min, whether or not a value lies there: a value of weight 0 does it.
        sample = Sample(np.insert(sample.values, starts[0], x_min), np.insert(sample.counts, starts[0], 0))
    exponents = exponents_at(sample, starts, discrete)
    usable = np.flatnonzero(np.isfinite(exponents))
    if not usable.size:
        return None
    distances = [distance_at(sample, int(starts[i]), float(exponents[i]), discrete) for i in usable]
    best = int(usable[int(np.argmin(distances))])
    start, exponent = int(starts[best]), float(exponents[best])
    first, num_tail = float(sample.values[start]), int(sample.num_above[start])
    return Tail(start, first, exponent, standard_error(exponent, first, num_tail, discrete), min(distances), num_tail)


def draw_tail(exponent: float, x_min: float, size: int, discrete: bool, generator: np.random.Generator) -> Vector:
    """Draws from the law. Discrete ones by a table of the first 20,000 probabilities; beyond it a continuous law is rounded,
    with an error of order (exponent / x)^2 of a probability that is small already."""
    uniform = 1 - generator.random(size)  # (0, 1]: the probability of at least x
    if not discrete:
        return np.asarray(x_min * uniform ** (1 / (1 - exponent)), dtype=np.float64)
    survival = _survival_table(exponent, x_min)
    # x_min + k where survival[k + 1] < uniform <= survival[k]
    place = np.searchsorted(-survival, -uniform, side="right") - 1.0
    far = place >= _TABLE
    last = x_min + _TABLE
    place[far] = np.floor((last - 0.5) * (uniform[far] / survival[-1]) ** (1 / (1 - exponent)) + 0.5) - x_min
    return np.asarray(x_min + place, dtype=np.float64)


@lru_cache(maxsize=2)
def _survival_table(exponent: float, x_min: float) -> Vector:
    """The probability of at least x_min + k for k = 0, 1, .. of the discrete law; all replicates of a fit need the same one."""
    return np.exp(log_survival(exponent, x_min, x_min + np.arange(_TABLE + 1.0), True))


def replicate(sample: Sample, tail: Tail, discrete: bool, generator: np.random.Generator) -> Sample:
    """As many values as there are, drawn from the fitted law with the tail's share, and else from the values below it."""
    total = int(sample.counts.sum())
    num_tail = int(generator.binomial(total, tail.num_tail / total))
    drawn = Sample.of(draw_tail(tail.exponent, tail.x_min, num_tail, discrete, generator))
    below = sample.values < tail.x_min
    weights = sample.counts[below]
    if not weights.sum():
        return drawn
    body = generator.multinomial(total - num_tail, weights / weights.sum())
    kept = body > 0
    return Sample(np.concatenate([sample.values[below][kept], drawn.values]), np.concatenate([body[kept], drawn.counts]))
