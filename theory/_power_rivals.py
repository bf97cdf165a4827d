"""The laws that a tail could follow instead of a power law, each fitted by maximum likelihood and compared by likelihood ratio.

All are taken relative to a base measure on [x_min, inf), lengths for continuous values and counting for discrete ones, given by
nodes and weights; so one code serves both. With u = ln(x / x_min) and t = x / x_min the densities are proportional to

    exponential             exp(-rate t)
    lognormal               exp(-(slope + 1) u - bend u^2 / 2),      bend > 0
    stretched exponential   exp((power - 1) u - slope (e^(power u) - 1) / power),      power > 0
    truncated power law     exp(-exponent u - rate t),      rate > 0

The last three turn into the power law as bend, power or rate go to 0: they contain it, at the edge of what they allow. So their
best likelihood is never below the power law's, up to the search, and no amount of data can speak against them: what data can do
is to leave no room for a bend that matters, up or down, which `largest_drift` measures. (The package powerlaw 2.0.0, which fits
the same laws, holds exponents at 3 or below unless told otherwise, stops short of the optimum for the stretched exponential, and
takes seconds per truncated law: it serves as a second opinion in the tests.)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special

from theory._power_tail import Vector, log_zeta

NOT_NESTED = "exponential"
Density = Callable[[Vector], Vector]
RIVAL_LEVEL = 0.05
# For each of the three rivals that contain the power law. Next to it the lognormal and the stretched exponential bend alike (in
# u^2), so that their ratios are nearly equal, and the truncated law bends in t: two directions, .05 in all.
NESTED_LEVEL = 0.025
_SUMMED = 2000  # discrete: so many terms one by one, the rest as an integral from the middle between two
_WIDEST = 5.0  # shares of exponent - 1: no larger change is looked for
_FAR = 400.0  # in u: nothing with a finite mean of u has weight beyond


@dataclass(frozen=True, eq=False)
class RivalTest:
    """A power law against one rival on the same tail.

    Attributes:
        rival: its name.
        ratio: ln of the likelihood ratio, positive where the power law is the likelier; nan where the rival could not be fitted.
        p_value: that a ratio so far from 0 comes from noise alone. For the exponential two-sided, by Vuong's test (Clauset,
            Shalizi and Newman 2009, appendix C). For the others half a chi-squared with one degree of freedom, as they contain
            the power law at their edge (Chernoff 1954; the limit does not hold exactly for the truncated law where g < 3, as t
            has no variance then: see the rates in `theory.power_laws.fit_power_law`).
        favours: "power law" (against the exponential only), the rival's name, or "neither" where p_value is not below 0.05 for
            the exponential and 0.025 for the three others.
        parameters: of the fitted rival, in the symbols of this module's table; x_min is that of the power law.
        survival: the fitted probability of at least x, at the fit's `grid`.
        reason: why ratio is nan, or empty.
        vuong_p_value: by Vuong's test for every rival, as the package powerlaw has it for all but the truncated law. For
            comparison only: its normal limit does not hold for the three that contain the power law, whom it hardly ever finds.
    """

    rival: str
    ratio: float
    p_value: float
    favours: str
    parameters: dict[str, float] = field(default_factory=dict)
    survival: Float[np.ndarray, " grid"] = field(default_factory=lambda: np.empty(0), repr=False)
    reason: str = ""
    vuong_p_value: float = float("nan")


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

    def search(start: Vector, in_theta: float, in_cost: float) -> optimize.OptimizeResult:
        return optimize.minimize(
            cost, start, method="Nelder-Mead", bounds=[(-40.0, 40.0)] * len(start),
            options={"xatol": in_theta, "fatol": in_cost, "maxiter": 2000},
        )  # fmt: skip

    tries = [search(np.array(start), 0.05, 1e-5) for start in starts]  # coarse from everywhere, fine from the best
    near = float(np.clip(1e-4 / data.counts.sum(), 1e-10, 1e-7))  # of the mean: 1e-4 of the sum
    best = search(min(tries, key=lambda tried: float(tried.fun)).x, 1e-4, near)
    if not best.success or best.fun >= 1e6:
        return RivalTest(rival, float("nan"), float("nan"), "neither", reason=f"{rival}: the search for its parameters failed")
    theta = np.asarray(best.x)
    with np.errstate(over="ignore"):
        gaps = own - data.log_likelihoods(lambda u: law(theta, u))
        survival = data.survival(lambda u: law(theta, u), grid)
    ratio, vuong = vuong_test(gaps, data.counts)
    p_value, level = vuong, RIVAL_LEVEL
    if rival != NOT_NESTED:
        ratio = min(ratio, 0.0)  # above 0 is the search's error
        p_value, level = half_chi_squared(ratio), NESTED_LEVEL
    favours = "neither" if p_value >= level else "power law" if ratio > 0 else rival
    return RivalTest(rival, ratio, p_value, favours, _named(rival, theta), survival, vuong_p_value=vuong)


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
    """By how much the local exponent may rise or fall along the tail before data object, as a share of exponent - 1.

    Two ways to change are tried, both added to the power law's density with a strength b of either sign: a bend, exp(-s u - u -
    b u^2 / 2) up to a reach and straight beyond it, so that the local exponent minus 1 goes from s to s + b reach; and a break,
    where it steps from s to s + b. The reach is the u that one value in a hundred exceeds under the power law, ln(100) /
    (exponent - 1), or the largest u there is, if that is less; the break is half-way, where one in ten is left. For each, the
    strengths whose profile likelihood is within 1.353 of the best are kept (one-sided 95% on each side: chi-squared with one
    degree of freedom); the largest change among them is returned, inf where nothing bounds it. Derived here; for a continuous
    law and n points the bend's standard error is ln(100) / sqrt n, about 4.6 / sqrt n, and that of the break 3.5 / sqrt n.

    A change of another shape (late, or up and down again) may be larger than this bound.
    """
    slope = exponent - 1
    reach = min(float(np.log(100)) / slope, float(data.u.max()))

    def bend(u: Vector) -> Vector:
        inside = np.minimum(u, reach)
        return (inside * (u - inside / 2)) / reach

    def step(u: Vector) -> Vector:
        return np.maximum(u - reach / 2, 0)

    return max(_room(data, slope, change) for change in (bend, step))


def _room(data: TailData, slope: float, change: Density) -> float:
    """The largest |strength| / slope that data allow exp(-(first + 1) u - strength change(u)).

    An exponential family: minus the log-likelihood per value is convex in (first, strength), and so is its profile.
    """
    mean, mean_change = data.mean(lambda u: u), data.mean(change)
    base, changes = data.log_weights - data.nodes, change(data.nodes)
    first = slope

    def profile(share: float) -> float:
        nonlocal first  # where the last search ended is near to where the next one does
        bent = base - share * slope * changes
        total = 0.0
        for _ in range(100):
            terms = bent - first * data.nodes
            largest = terms.max()
            mass = np.exp(terms - largest)
            total = float(mass.sum())
            centre = float(mass @ data.nodes) / total
            spread = float(np.sqrt(max(mass @ (data.nodes - centre) ** 2 / total, 1e-30)))
            move = (centre - mean) / spread  # Newton's step in units of 1 / spread, held where the quadratic is trusted
            if abs(move) < 1e-7:
                break
            most = max(slope, abs(first)) / 2  # where an atom at 0 holds nearly everything, the spread is no guide
            first += float(np.clip(np.clip(move, -0.5, 0.5) / spread, -most, most))
        return float(largest) + float(np.log(total)) + first * mean + share * slope * mean_change

    best = optimize.minimize_scalar(profile, bounds=(-_WIDEST, _WIDEST), method="bounded", options={"xatol": 1e-4})
    bound = float(best.fun) + 1.353 / float(data.counts.sum())
    if min(profile(-_WIDEST), profile(_WIDEST)) <= bound:
        return float("inf")
    ends = [optimize.brentq(lambda share: profile(share) - bound, float(best.x), side * _WIDEST, xtol=1e-3) for side in (-1, 1)]
    return float(max(abs(end) for end in ends))


def vuong_test(gaps: Float[np.ndarray, " distinct"], counts: Int[np.ndarray, " distinct"]) -> tuple[float, float]:
    """The sum of gaps (ln of density ratios, each as often as counted) and Vuong's two-sided p-value of it."""
    total = int(counts.sum())
    ratio = float(np.sum(counts * gaps))
    if abs(ratio) < 1e-3:  # the two laws are one, up to what the search leaves
        return ratio, 1.0
    variance = float(np.average((gaps - ratio / total) ** 2, weights=counts))
    return ratio, float(special.erfc(abs(ratio) / np.sqrt(2 * total * variance)))


def half_chi_squared(ratio: float) -> float:
    """The p-value of a ratio (0 or below) against a law that contains the power law at its edge, with one parameter more.

    Twice the gain is 0 half of the time, and else chi-squared with one degree of freedom.
    """
    return float(special.erfc(np.sqrt(-ratio))) / 2 if ratio < 0 else 1.0


def _named(rival: str, theta: Float[np.ndarray, " p"]) -> dict[str, float]:
    if rival == "exponential":
        return {"rate": float(np.exp(theta[0]))}
    if rival == "lognormal":
        return {"slope": float(theta[0]), "bend": float(np.exp(theta[1]))}
    if rival == "stretched exponential":
        return {"slope": float(np.exp(theta[0])), "power": float(np.exp(theta[1]))}
    return {"exponent": float(theta[0]), "rate": float(np.exp(theta[1]))}
