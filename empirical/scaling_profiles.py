"""Profile likelihood: how far one constant of a scaling law can be moved before the others can no longer make up for it.

The Huber sum with delta = 1e-3 is nearly a sum of absolute values, so its rise is no log-likelihood ratio: it needs a scale,
which `_scaling_noise` takes from the residuals, constant by constant, so that noise may differ from point to point and depend
within a run. A Laplace likelihood with a free scale, the tempting shortcut, covers 84 to 91 times in 100 in place of 95; one
scale for all points covers as well as ours where noise is alike everywhere, but 77 times in 100 where the smallest models are the
noisiest (there ours covers 90 to 94).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from jaxtyping import Float
from scipy import stats

from empirical._regression_lines import check_level
from empirical._scaling_engine import minimise
from empirical._scaling_forms import FORMS, HOFFMANN_BY_ALLOCATION, Form
from empirical._scaling_noise import NO_NOISE, noise_scale
from empirical._scaling_refits import decides
from empirical.scaling_bootstrap import checked_theta, natural_constants
from empirical.scaling_points import ScalingPoints

STEPS = (0.6, 1.2, 1.8, 2.4, 3.0, 3.6)  # standard errors from the estimate, on both sides
FARTHER = ((4.5, 6.0, 9.0), (13.0, 20.0, 35.0, 60.0, 100.0))  # where the first did not do
FLOOR = -40.0  # ln E of a floor that no loss can tell from 0
TOLERANCE = 1e-7  # of the gradient: an objective within a millionth of the rise that matters
REFINE = 5  # places between the two neighbours that the threshold lies between


@dataclass(frozen=True, eq=False)
class Profile:
    """The lowest objective for every fixed value of one constant, and the interval where it does not rise too far.

    On tables drawn from a Hoffmann law (N and D over two decades, 60 or 240 points, Gaussian noise of 0.5% or 2%) the nominal 95%
    interval covered 95 to 98 times in 100 for each of E, A, B, alpha, beta and a (`benchmarks/scaling_coverage.py` prints every
    cell).
    It is the interval to trust first: it needs no symmetry, stops at natural limits, and takes noise that differs from point to
        point and
    points that depend within a run. Compare it with the bootstrap; where the two differ much, few points carry the answer.

    Attributes:
        symbol: of the constant.
        estimate: its value in the fit.
        grid: values that it was fixed at, growing, with the estimate among them.
        objective: the lowest Huber sum at each.
        thetas: where, (grid, parameters) in the form's own symbols.
        low, high: ends of the interval; 0, infinity or 1 where a natural limit of the constant is not excluded, NaN where not
            known.
        level: of confidence.
        threshold: the objective at the ends.
        reason: why an end is open or not known, or what weakens the interval; "" where there is nothing to say. On a
            table without noise, whose residuals are rounding, both ends are the estimate.
    """

    symbol: str
    estimate: float
    grid: Float[np.ndarray, " grid"]
    objective: Float[np.ndarray, " grid"]
    thetas: Float[np.ndarray, "grid parameters"]
    low: float
    high: float
    level: float
    threshold: float
    reason: str


@dataclass(frozen=True)
class _Coordinate:
    """One coordinate of a form that a constant is a monotone function of."""

    form: Form
    index: int
    natural: Callable[[float], float]
    own: Callable[[float], float]
    least: float = -inf
    most: float = inf


def profile_symbols(form: Form) -> tuple[str, ...]:
    """The constants that `profile_likelihood` can move in this form."""
    return tuple(_coordinates(form))


def _same(value: float) -> float:
    return value


def _exp(value: float) -> float:
    return float(np.exp(min(value, 709.0)))


def _log(value: float) -> float:
    return float(np.log(value))


def _one_minus(value: float) -> float:
    return 1.0 - value


def _coordinates(form: Form) -> dict[str, _Coordinate]:
    """By symbol. Scales are moved in logarithms, where their profiles are nearly parabolas; exponents are kept >= 0."""
    logs, plain = {"e": "E", "a": "A", "b": "B", "d": "D_c"}, {"alpha": "alpha", "beta": "beta", "s": "alpha_D"}
    plain |= {symbol: symbol for symbol in ("alpha_N", "alpha_D", "alpha_C")}
    found = {}
    for index, symbol in enumerate(form.symbols):
        if symbol in logs:
            found[logs[symbol]] = _Coordinate(form, index, _exp, _log, least=FLOOR if symbol == "e" else -inf)
        elif symbol in plain:
            found[plain[symbol]] = _Coordinate(form, index, _same, _same, least=0.0)
    if form == FORMS["hoffmann"]:
        found["a"] = _Coordinate(HOFFMANN_BY_ALLOCATION, 4, _same, _same, least=0.0, most=1.0 - 1e-9)
        found["b"] = _Coordinate(HOFFMANN_BY_ALLOCATION, 4, _one_minus, _one_minus, least=0.0, most=1.0 - 1e-9)
    return found


def profile_likelihood(
    form: Form,
    points: ScalingPoints,
    theta: Float[np.ndarray, " parameters"],
    symbol: str,
    *,
    level: float = 0.95,
    delta: float = 1e-3,
    progress: Callable[[int, int], None] | None = None,
) -> Profile:
    """Fix one constant at values around its estimate, fit the others again, and find where the fit becomes too bad.

    Args:
        form: the law.
        points: the table; points of the same run may depend on each other, others must not.
        theta: the minimum on the table.
        symbol: the constant, one of `profile_symbols(form)`: for "hoffmann" E, A, B, alpha, beta, and a, b of N_opt ~ C^a, D_opt
            ~ C^b.
        level: of confidence, in (0, 1).
        delta: of the Huber loss on log-loss residuals.
        progress: called with (batches done, batches expected).

    Raises:
        ValueError: another symbol or level, a theta of another length or not finite, delta not > 0.
    """
    check_level(level)
    start = checked_theta(form, theta, delta)
    coordinates = _coordinates(form)
    if symbol not in coordinates:
        raise ValueError(f"symbol = {symbol!r}: {', '.join(coordinates) or 'none'} can be moved in the law {form.name!r}")
    search = _Search(form, points, start, coordinates[symbol], delta, level)
    return search.profile(symbol, natural_constants(form, start)[symbol], progress)


class _Search:
    """The places looked at so far along one coordinate, and the best of the other parameters at each."""

    def __init__(
        self,
        form: Form,
        points: ScalingPoints,
        theta: Float[np.ndarray, " parameters"],
        along: _Coordinate,
        delta: float,
        level: float,
    ) -> None:
        self.along, self.delta, self.level, self.points = along, delta, level, points
        self.data = points.log_parameters, points.log_tokens, points.log_loss
        self.by_allocation = along.form is HOFFMANN_BY_ALLOCATION
        row = HOFFMANN_BY_ALLOCATION.from_full(theta[None])[0] if self.by_allocation else theta
        prediction, jacobian = along.form.with_jacobian(row[None], *self.data[:2])
        residuals = prediction[0] - self.data[2]
        runs = None if points.runs is None else np.unique(np.array(points.runs), return_inverse=True)[1].ravel()
        self.scale = noise_scale(residuals, jacobian[0], delta, runs)
        self.exact = bool((np.abs(residuals) <= NO_NOISE).all()) and len(residuals) > len(row) and decides(jacobian[0])
        inner = np.minimum(np.abs(residuals), delta)
        self.best = float((inner * (np.abs(residuals) - 0.5 * inner)).sum())
        self.centre = float(row[along.index])
        self.places, self.objective, self.thetas = np.array([self.centre]), np.array([self.best]), row[None].copy()
        if self.scale.reason:
            return
        self.rise = self.scale.rise(along.index)
        # a singular design has no error worth the name: the search then starts with steps that are long but not absurd
        self.error = min(self.scale.error(along.index), 3.0 if along.natural is _exp else 0.3)
        self.direction = self.scale.bread[along.index] / self.scale.bread[along.index, along.index]

    def statistic(self) -> Float[np.ndarray, " places"]:
        return 2 * (self.objective - self.objective.min()) / self.rise

    @property
    def critical(self) -> float:
        return float(stats.t.ppf(0.5 + self.level / 2, self.scale.freedom)) ** 2

    def look(self, places: Float[np.ndarray, " places"]) -> None:
        """Fit at new places, from the tangent at the estimate and from the nearest places known on both sides."""
        places = np.setdiff1d(places[np.isfinite(places)], self.places)
        if not places.size:
            return
        near = np.clip(np.searchsorted(self.places, places), 1, len(self.places)) - 1
        far = np.minimum(near + 1, len(self.places) - 1)
        base = self.thetas[np.searchsorted(self.places, self.centre)]
        share = (places - self.places[near]) / np.where(far > near, self.places[far] - self.places[near], 1.0)
        between = self.thetas[near] + np.clip(share, 0, 1)[:, None] * (self.thetas[far] - self.thetas[near])
        starts = np.concatenate([base + (places - self.centre)[:, None] * self.direction, between])
        objective, thetas = self._fit(np.tile(places, 2), starts)
        objective, thetas = objective.reshape(2, -1), thetas.reshape(2, len(places), -1)
        pick = objective.argmin(0), np.arange(len(places))
        self._keep(places, objective[pick], thetas[pick])

    def smooth(self) -> None:
        """Fit again at every place from where its neighbours ended: a profile must not jump between valleys."""
        if len(self.places) < 3:
            return
        rows = np.flatnonzero(self.places != self.centre)
        before, after = np.maximum(rows - 1, 0), np.minimum(rows + 1, len(self.places) - 1)
        objective, thetas = self._fit(np.tile(self.places[rows], 2), np.concatenate([self.thetas[before], self.thetas[after]]))
        for half in (slice(0, len(rows)), slice(len(rows), None)):
            better = objective[half] < self.objective[rows]
            self.objective[rows[better]], self.thetas[rows[better]] = objective[half][better], thetas[half][better]

    def _fit(
        self, places: Float[np.ndarray, " rows"], starts: Float[np.ndarray, "rows parameters"]
    ) -> tuple[np.ndarray, np.ndarray]:
        found = minimise(
            self.along.form, *self.data, starts, delta=self.delta, fixed={self.along.index: places}, tolerance=TOLERANCE,
            max_iterations=150,
        )  # fmt: skip
        return np.where(np.isfinite(found.theta).all(1), found.objective, inf), found.theta

    def _keep(self, places: np.ndarray, objective: np.ndarray, thetas: np.ndarray) -> None:
        good = np.isfinite(objective)
        places, objective, thetas = places[good], objective[good], thetas[good]
        order = np.argsort(np.concatenate([self.places, places]), kind="stable")
        self.places = np.concatenate([self.places, places])[order]
        self.objective = np.concatenate([self.objective, objective])[order]
        self.thetas = np.concatenate([self.thetas, thetas])[order]

    def clipped(self, steps: tuple[float, ...], sign: float) -> Float[np.ndarray, " places"]:
        return np.clip(self.centre + sign * self.error * np.array(steps), self.along.least, self.along.most)

    def excluded(self, sign: float) -> bool:
        """Whether the farthest place on this side is already too bad."""
        return bool(self.statistic()[-1 if sign > 0 else 0] > self.critical)

    def profile(self, symbol: str, estimate: float, progress: Callable[[int, int], None] | None) -> Profile:
        def told(done: int) -> None:
            if progress is not None:
                progress(done, 3)

        if not self.along.least <= self.centre <= self.along.most:
            return self._result(symbol, estimate, nan, nan, f"{symbol} = {estimate:.4g} lies outside of what it can be")
        if self.exact:
            reason = "the law passes through all points and they decide its constants: what is left is rounding"
            return self._result(symbol, estimate, self.centre, self.centre, reason)
        if self.scale.reason:
            return self._result(symbol, estimate, nan, nan, self.scale.reason)
        if not (np.isfinite(self.rise) and self.rise > 0 and self.error > 0):
            return self._result(symbol, estimate, nan, nan, f"the noise around {symbol} has no scale on this table")
        self.look(np.concatenate([self.clipped(STEPS, sign) for sign in (-1.0, 1.0)]))
        told(1)
        for steps in FARTHER:
            beyond = [self.clipped(steps, sign) for sign in (-1.0, 1.0) if not self.excluded(sign)]
            if beyond:
                self.look(np.concatenate(beyond))
        if not self.excluded(-1.0) and np.isfinite(self.along.least):
            self.look(np.array([self.along.least]))
        self.smooth()
        told(2)
        brackets = [pair for sign in (-1.0, 1.0) if (pair := self.bracket(sign))]
        if brackets:
            self.look(np.concatenate([np.linspace(*pair, REFINE + 2)[1:-1] for pair in brackets]))
        told(3)
        low, high = (self.end(sign) for sign in (-1.0, 1.0))
        return self._result(symbol, estimate, low, high, self.remarks(symbol, low, high))

    def bracket(self, sign: float) -> tuple[float, float] | None:
        """The outermost neighbours on this side that the threshold lies between, the one that is still good first."""
        good = np.flatnonzero(self.statistic() <= self.critical)
        inner = int(good.max() if sign > 0 else good.min())
        outer = inner + int(sign)
        return (float(self.places[inner]), float(self.places[outer])) if 0 <= outer < len(self.places) else None

    def end(self, sign: float) -> float:
        """Where the signed root of the statistic, nearly a straight line, meets the threshold; +-infinity where it does not."""
        pair = self.bracket(sign)
        if pair is None:
            return sign * inf
        roots = np.sqrt(self.statistic()[np.searchsorted(self.places, pair)])
        share = (sqrt(self.critical) - roots[0]) / (roots[1] - roots[0])
        return pair[0] + float(share) * (pair[1] - pair[0])

    def remarks(self, symbol: str, low: float, high: float) -> str:
        lines = []
        for end, place, edge in ((low, self.places[0], self.along.least), (high, self.places[-1], self.along.most)):
            if np.isinf(end):
                told = f"{symbol} = {self.along.natural(float(place)) if edge != FLOOR else 0:.4g}"
                lines.append(f"{told} is not excluded" + ("" if place == edge else ", nor was anything beyond looked at"))
        if self.objective.min() < self.best * (1 - 1e-6):
            lines.append("a lower objective than that of the fit was found: fit again with more starts")
        runs = self.points.runs
        if runs is not None and len(set(runs)) < len(runs):
            lines.append(f"points may depend on each other within their {len(set(runs))} runs")
        return "; ".join(lines)

    def _result(self, symbol: str, estimate: float, low: float, high: float, reason: str) -> Profile:
        """Back in the constant's own units; a mirrored coordinate (b = 1 - a) swaps the ends."""
        with np.errstate(over="ignore"):
            natural = self.along.natural
            grid = np.array([natural(float(place)) for place in self.places])
            limits = {-inf: _limit(natural, self.along.least, -inf), inf: _limit(natural, self.along.most, inf)}
            ends = [nan if np.isnan(end) else limits.get(end, natural(end) if np.isfinite(end) else end) for end in (low, high)]
        order, known = np.argsort(grid), not (np.isnan(low) or np.isnan(high))
        thetas = HOFFMANN_BY_ALLOCATION.full_theta(self.thetas) if self.by_allocation else self.thetas
        allowed = 0.0 if self.exact else 0.5 * self.critical * self.rise if known else nan
        threshold = float(self.objective.min() + allowed)
        first, second = sorted(ends)
        return Profile(
            symbol, estimate, grid[order], self.objective[order], thetas[order], first, second, self.level, threshold, reason
        )


def _limit(natural: Callable[[float], float], edge: float, side: float) -> float:
    """The constant at the edge of what it can be: 0 for a floor that is not excluded, infinity for a scale without an end."""
    if natural is _exp:
        return 0.0 if side < 0 else inf
    return natural(edge) if np.isfinite(edge) else side
