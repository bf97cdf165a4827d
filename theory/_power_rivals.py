"""The laws that a tail could follow instead of a power law, each fitted by maximum likelihood and compared by likelihood ratio.

All are taken relative to a base measure on [x_min, inf), lengths for continuous values and counting for discrete ones, given by
nodes and weights; so one code serves both. With u = ln(x / x_min) and t = x / x_min the densities are proportional to

    exponential             exp(-rate t)
    lognormal               exp(-(slope + 1) u - bend u^2 / 2),      bend > 0
    stretched exponential   exp((power - 1) u - slope (e^(power u) - 1) / power),      power > 0
    truncated power law     exp(-exponent u - rate t),      rate > 0

The last three turn into the power law as bend, power or rate go to 0, so their best likelihood is never below the power law's, up
to the search, and no amount of data can speak against them: what data can do is to leave no room for a bend that matters, which
`largest_drift` measures. (The package powerlaw 2.0.0, which fits the same laws, holds
exponents at 3 or below unless told otherwise, stops short of the optimum for the stretched exponential, and takes seconds per
truncated law: it serves as a second opinion in the tests.)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special

from theory._power_tail import Vector, log_zeta

NESTED = "truncated power law"
Density = Callable[[Vector], Vector]
RIVAL_LEVEL = 0.05
_SUMMED = 2000  # discrete: so many terms one by one, the rest as an integral from the middle between two
_FAR = 400.0  # in u: nothing with a finite mean of u has weight beyond


@dataclass(frozen=True, eq=False)
class RivalTest:
    """A power law against one rival on the same tail.

    Attributes:
        rival: its name.
        ratio: ln of the likelihood ratio, positive where the power law is the likelier; nan where the rival could not be fitted.
        p_value: two-sided, that a ratio so far from 0 comes from noise alone: Vuong's test (Clauset, Shalizi and Newman 2009,
            appendix C), and for the truncated law, which contains the power law, half a chi-squared with one degree of freedom
            (its rate is at least 0, so the power law is at the edge of it).
        favours: "power law", the rival's name, or "neither" where p_value is 0.05 or more.
        parameters: of the fitted rival, in the symbols of this module's table; x_min is that of the power law.
        survival: the fitted probability of at least x, at the fit's `grid`.
        reason: why ratio is nan, or empty.
    """

    rival: str
    ratio: float
    p_value: float
    favours: str
    parameters: dict[str, float] = field(default_factory=dict)
    survival: Float[np.ndarray, " grid"] = field(default_factory=lambda: np.empty(0), repr=False)
    reason: str = ""


@dataclass(frozen=True, eq=False)
class TailData:
    """A tail with its base measure: u of the data and how often, u of the nodes and ln of their weights."""

    u: Float[np.ndarray, " distinct"]
    counts: Int[np.ndarray, " distinct"]
    nodes: Float[np.ndarray, " nodes"]
    log_weights: Float[np.ndarray, " nodes"]

    @classmethod
    def of(
        cls, values: Float[np.ndarray, " distinct"], counts: Int[np.ndarray, " distinct"], x_min: float, discrete: bool
    ) -> "TailData":
        nodes, log_weights = _panels()
        if not discrete:
            return cls(np.log(values / x_min), counts, nodes, log_weights + nodes + np.log(x_min))
        summed = np.log1p(np.arange(_SUMMED) / x_min)
        beyond = np.log1p((_SUMMED - 0.5) / x_min) + nodes
        weights = np.concatenate([np.zeros(_SUMMED), log_weights + beyond + np.log(x_min)])
        return cls(np.log(values / x_min), counts, np.concatenate([summed, beyond]), weights)

    def mean(self, function: Density) -> float:
        """Of a function of u over the data."""
        return float(function(self.u) @ self.shares)

    def log_total(self, density: Density) -> float:
        """ln of the integral (or sum) of a density, given by ln of it as a function of u."""
        terms = density(self.nodes) + self.log_weights
        largest = float(terms.max())
        return largest + float(np.log(np.exp(terms - largest).sum()))

    @cached_property
    def shares(self) -> Vector:
        """Counts as shares of their sum."""
        return self.counts / self.counts.sum()

    def log_likelihoods(self, density: Density) -> Float[np.ndarray, " distinct"]:
        """ln of the normalised density at every distinct value; `density` gives ln of it up to a constant, as a function of u."""
        return density(self.u) - self.log_total(density)

    def survival(self, density: Density, u: Float[np.ndarray, " grid"]) -> Float[np.ndarray, " grid"]:
        """The probability of at least u, read off between nodes: for figures."""
        mass = np.exp(density(self.nodes) + self.log_weights - self.log_total(density))
        return np.interp(u, self.nodes, np.cumsum(mass[::-1])[::-1])


def _panels() -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
    """Gauss' nodes and ln weights on [0, 400]: short panels near 0, where steep laws live, half units to 40, then long ones."""
    edges = np.concatenate([[0.0], np.geomspace(2**-14, 0.5, 14), np.arange(1.0, 40.1, 0.5), np.geomspace(45, _FAR, 20)])
    points, weights = np.polynomial.legendre.leggauss(8)
    half = np.diff(edges)[:, None] / 2
    nodes = edges[:-1, None] + half * (1 + points)
    return nodes.ravel(), np.log(half * weights).ravel()


def _exponential(theta: Vector, u: Vector) -> Vector:
    return -np.exp(theta[0] + u)


def _lognormal(theta: Vector, u: Vector) -> Vector:
    return -(theta[0] + 1) * u - np.exp(theta[1]) * u**2 / 2


def _stretched(theta: Vector, u: Vector) -> Vector:
    power = np.exp(theta[1])
    return (power - 1) * u - np.exp(theta[0]) * np.expm1(np.minimum(power * u, 600)) / power


def _truncated(theta: Vector, u: Vector) -> Vector:
    return -theta[0] * u - np.exp(theta[1] + u)


Moments = tuple[float, float, float]  # means of u, u^2 and t over the data: all that three of the four likelihoods take from it
LAWS: dict[str, tuple[Callable[[Vector, Vector], Vector], Callable[[Vector, Moments], float] | None]] = {
    "exponential": (_exponential, lambda theta, moments: -np.exp(theta[0]) * moments[2]),
    "lognormal": (_lognormal, lambda theta, moments: -(theta[0] + 1) * moments[0] - np.exp(theta[1]) * moments[1] / 2),
    "stretched exponential": (_stretched, None),
    "truncated power law": (_truncated, lambda theta, moments: -theta[0] * moments[0] - np.exp(theta[1]) * moments[2]),
}


def compare(
    values: Float[np.ndarray, " distinct"],
    counts: Int[np.ndarray, " distinct"],
    x_min: float,
    exponent: float,
    discrete: bool,
    grid: Float[np.ndarray, " grid"],
) -> tuple[tuple[RivalTest, ...], float]:
    """The power law against every rival, on values >= x_min; and the largest drift of its exponent."""
    data = TailData.of(values, counts, x_min, discrete)
    if discrete:
        own = -exponent * np.log(values) - log_zeta(exponent, x_min)
    else:
        own = np.log((exponent - 1) / x_min) - exponent * data.u
    tests = tuple(_against(rival, data, own, exponent, np.log(grid / x_min)) for rival in LAWS)
    return tests, largest_drift(data, exponent)


def _against(
    rival: str, data: TailData, own: Float[np.ndarray, " distinct"], exponent: float, grid: Float[np.ndarray, " grid"]
) -> RivalTest:
    law, mean_density = LAWS[rival]
    mean = data.mean(np.exp)
    starts = _starts(rival, exponent, mean)
    moments = (data.mean(lambda u: u), data.mean(np.square), mean)

    def cost(theta: Vector) -> float:
        with np.errstate(over="ignore"):
            observed = data.mean(lambda u: law(theta, u)) if mean_density is None else mean_density(theta, moments)
            value = data.log_total(lambda u: law(theta, u)) - observed
        return value if np.isfinite(value) else 1e6

    bounds = [(-40.0, 40.0)] * len(starts[0])
    tries = [
        optimize.minimize(
            cost, np.array(start), method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-6, "fatol": 1e-10, "maxiter": 2000}
        )
        for start in starts
    ]
    best = min(tries, key=lambda tried: float(tried.fun))
    if not best.success or best.fun >= 1e6:
        return RivalTest(rival, float("nan"), float("nan"), "neither", reason=f"{rival}: the search for its parameters failed")
    theta = np.asarray(best.x)
    with np.errstate(over="ignore"):
        gaps = own - data.log_likelihoods(lambda u: law(theta, u))
        survival = data.survival(lambda u: law(theta, u), grid)
    ratio, p_value = likelihood_ratio(gaps, data.counts, nested=rival == NESTED)
    favours = "neither" if p_value >= RIVAL_LEVEL else "power law" if ratio > 0 else rival
    return RivalTest(rival, ratio, p_value, favours, _named(rival, theta), survival)


def _starts(rival: str, exponent: float, mean: float) -> list[tuple[float, ...]]:
    """Where searches start: from next to the power law to far from it."""
    slope = exponent - 1
    if rival == "exponential":
        return [(-float(np.log(max(mean - 1, 1e-6))),)]
    if rival == "lognormal":
        return [(slope, -7.0), (0.8 * slope, -2.0), (-0.5 * slope, 0.5)]
    if rival == "stretched exponential":
        return [(float(np.log(slope)), start) for start in (-7.0, -2.0, 0.0)]
    return [(part * exponent, rate - float(np.log(mean))) for part, rate in ((1, -7.0), (0.8, -2.0), (0, 0.0))]


def largest_drift(data: TailData, exponent: float) -> float:
    """By how much the local exponent may change along the tail before data (at 95%) object, as a share of exponent - 1.

    The local exponent minus 1 of a lognormal is slope + bend u. The largest bend whose profile likelihood is within 1.353 of
    the best (one-sided 95% bound, chi-squared with one degree of freedom) is taken times the u that one value in a hundred
    exceeds under the power law, ln(100) / (exponent - 1), or the largest u there is, if that is less. Derived here; for a
    continuous law and n points it comes to about 7.6 / sqrt n.
    """
    slope = exponent - 1
    mean, square = data.mean(lambda u: u), data.mean(np.square)

    def profile(log_bend: float) -> float:
        bend = float(np.exp(log_bend))

        def cost(first: float) -> float:
            theta = np.array([first, log_bend])
            return data.log_total(lambda u: _lognormal(theta, u)) + (first + 1) * mean + bend * square / 2

        around = slope - bend * mean  # where the local slope at the middle stays as it was
        width = 2 * slope + 3 * bend * mean
        return float(optimize.minimize_scalar(cost, bounds=(around - width, around + width), method="bounded").fun)

    steps = np.log(slope**2) + np.arange(-12.0, 6.1, 0.75)
    costs = np.array([profile(float(step)) for step in steps])
    lowest = int(np.argmin(costs))
    bound = float(costs[lowest]) + 1.353 / float(data.counts.sum())
    beyond = np.flatnonzero(costs[lowest:] > bound)
    if not beyond.size:
        return float("inf")
    right = lowest + int(beyond[0])
    if right == 0:
        return 0.0
    ends = (float(steps[right - 1]), float(steps[right]))
    log_bend = optimize.brentq(lambda value: profile(float(value)) - bound, *ends, xtol=1e-3)
    reach = min(np.log(100) / slope, float(data.u.max()))
    return float(np.exp(log_bend) * reach / slope)


def likelihood_ratio(
    gaps: Float[np.ndarray, " distinct"], counts: Int[np.ndarray, " distinct"], *, nested: bool
) -> tuple[float, float]:
    """The sum of gaps (ln of density ratios, each as often as counted) and its two-sided p-value; see `RivalTest`."""
    total = int(counts.sum())
    ratio = float(np.sum(counts * gaps))
    if nested:
        # Half the chi-squared with 1 degree of freedom: twice the gain is 0 half of the time. A gain below 0 is the search's
        # error.
        return min(ratio, 0.0), float(special.erfc(np.sqrt(max(-ratio, 0.0)))) / 2 if ratio < 0 else 1.0
    if abs(ratio) < 1e-3:  # the two laws are one, up to what the search leaves
        return ratio, 1.0
    variance = float(np.average((gaps - ratio / total) ** 2, weights=counts))
    return ratio, float(special.erfc(abs(ratio) / np.sqrt(2 * total * variance)))


def _named(rival: str, theta: Float[np.ndarray, " p"]) -> dict[str, float]:
    if rival == "exponential":
        return {"rate": float(np.exp(theta[0]))}
    if rival == "lognormal":
        return {"slope": float(theta[0]), "bend": float(np.exp(theta[1]))}
    if rival == "stretched exponential":
        return {"slope": float(np.exp(theta[0])), "power": float(np.exp(theta[1]))}
    return {"exponent": float(theta[0]), "rate": float(np.exp(theta[1]))}
