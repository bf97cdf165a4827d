"""How statements on fitting are checked: identities in symbols, arithmetic on printed intervals, fits to synthetic tables.

The published points are not part of this project, so that nothing here fits them.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb
from scipy.optimize import least_squares, minimize
from scipy.stats import chi2

from headcount.claims._printed import balls, enclosed, exact
from headcount.claims.checks import enumerated, identity
from headcount.claims.claim import Case, Evidence, Inquiry, Interval, Method
from headcount.claims.hoffmann2022._allocation_checks import constants_of
from theory.scaling import PUBLISHED

NOISE = 0.005
DELTA = 1e-3
Array = np.ndarray


def log_sum_exp(inquiry: Inquiry) -> Evidence:
    size, data = sympy.symbols("N D", positive=True)
    log_a, log_b, log_e = sympy.symbols("a b e", real=True)
    alpha, beta = sympy.symbols("alpha beta", positive=True)
    law = sympy.exp(log_e) + sympy.exp(log_a) / size**alpha + sympy.exp(log_b) / data**beta
    claimed = inquiry.formula(log_a, log_b, log_e, alpha, beta, size, data)
    return identity(
        inquiry, {"the law, of the exponential of its logarithm": (law, sympy.expand(sympy.simplify(sympy.exp(claimed))))},
        argument="logarithm and exponential undo each other, and the brackets are equal in symbols",
    )


def gradient(inquiry: Inquiry) -> Evidence:
    names = sympy.symbols("a b e alpha beta", real=True)
    log_a, log_b, log_e, alpha, beta = names
    log_n, log_d = sympy.symbols("x y", real=True)
    terms = (sympy.exp(log_a - alpha * log_n), sympy.exp(log_b - beta * log_d), sympy.exp(log_e))
    prediction = sympy.log(sum(terms))
    weights = tuple(term / sum(terms) for term in terms)
    claimed = inquiry.formula(weights, log_n, log_d)
    pairs = {
        f"derivative by {name}": (sympy.diff(prediction, name), part) for name, part in zip(names, claimed, strict=True)
    }
    return identity(inquiry, pairs, argument="five derivatives in symbols; the chain rule multiplies each by Huber's clipped "
        "residual")


def grid(inquiry: Inquiry) -> Evidence:
    halves, fives = [place / 2 for place in range(-2, 5)], list(range(0, 26, 5))
    points = [value for value in halves if 0 <= value <= 2], [value for value in halves if -1 <= value <= 1]
    counted = len(points[0]) ** 2 * len(points[1]) * len(fives) ** 2
    case = Case("points of the grid of starts", counted, inquiry.formula())
    ranges = "alpha, beta 0, .5 .. 2; e -1, -.5 .. 1; a, b 0, 5 .. 25"
    return enumerated(inquiry, [case], Method.EXACT, ranges, argument="counted")


def intervals_sum(inquiry: Inquiry) -> Evidence:
    # b = 1 - a in each subsample, so that b's 10th percentile is 1 less a's 90th; printed digits may hide half a unit of each.
    cases = [
        Case(f"approach 3: {words} of b", Fraction(printed), inquiry.formula(Fraction(other)), 0.001)
        for words, printed, other in (("10th percentile", "0.542", "0.455"), ("90th percentile", "0.543", "0.454"))
    ]
    return enumerated(
        inquiry, cases, Method.EXACT, "table 2, each number within half a unit", argument="two differences of decimals"
    )


def inside(inquiry: Inquiry) -> Evidence:
    constants = constants_of("hoffmann2022")
    with mpmath.workdps(40):
        own = exact(constants["beta"] / (constants["alpha"] + constants["beta"]))
    case = Case("a of the unrounded constants", own, inquiry.formula(), 0.0005)
    return enumerated(inquiry, [case], Method.EXACT, "table 2, its number within half a unit", argument="one quotient")


def runs_needed(inquiry: Inquiry) -> Evidence:
    # A standard error falls as the root of the number of runs; an 80% interval is 2 x 1.2816 of them wide.
    def runs(error: Any, width: Any) -> Any:
        return 240 * (error * 2 * arb("1.2815515655446004") / width) ** 2 / 1000

    case = enclosed("thousands of runs for an 80% interval 0.001 wide", runs(*balls("0.020", "0.001")), inquiry.formula())
    return enumerated(
        inquiry, [case], Method.BALL, "standard error 0.020 of a from 240 points (Besiroglu et al. 2024)", argument="one number "
            "in a ball"
    )


def subsamples(inquiry: Inquiry) -> Evidence:
    """Variance of the mean of 80% of a sample over all subsamples, over that of the mean of the sample: by listing them."""

    def cases() -> Iterator[Case]:
        for total in (5, 10, 15)[: inquiry.pick(2, 3, 3)]:
            values = [Fraction((7 * place * place + 3) % 31) for place in range(total)]
            mean = sum(values) / total
            variance_of_mean = sum((value - mean) ** 2 for value in values) / (total - 1) / total
            means = [sum(some) / len(some) for some in combinations(values, 4 * total // 5)]
            spread = sum((value - mean) ** 2 for value in means) / len(means)
            words = f"{total} numbers: variance over 80% subsamples, over that of the mean"
            yield Case(words, spread / variance_of_mean, inquiry.formula())

    return enumerated(
        inquiry, cases(), Method.EXACT, "all subsamples of 80% of 5 to 15 numbers",
        argument="drawing m of n without replacement has the variance s^2 (1/m - 1/n) of the mean, and s^2/n is that of the mean "
        "itself: n/m - 1 of it, 1/4 for m = 4n/5",
    )


def _table(rng: np.random.Generator, num_points: int) -> tuple[Array, Array, Array]:
    """ln N, ln D and ln L of runs by Besiroglu's constants over the ranges of Hoffmann et al., with Gaussian noise in ln L."""
    constants = PUBLISHED["besiroglu2024"].law.constants
    log_n = rng.uniform(np.log(4.4e7), np.log(1.6e10), num_points)
    log_d = rng.uniform(np.log(5e9), np.log(5e11), num_points)
    losses = constants["A"] * np.exp(-constants["alpha"] * log_n) + constants["B"] * np.exp(-constants["beta"] * log_d)
    losses += constants["E"]
    return log_n, log_d, np.log(losses) + NOISE * rng.standard_normal(num_points)


def _predicted(theta: Array, log_n: Array, log_d: Array) -> tuple[Array, Array]:
    """Log prediction, and its derivatives, of (a, b, e, alpha, beta)."""
    terms = np.exp(np.stack([theta[0] - theta[3] * log_n, theta[1] - theta[4] * log_d, np.full_like(log_n, theta[2])]))
    total = terms.sum(axis=0)
    first, second, floor = terms / total
    return np.log(total), np.stack([first, second, floor, -first * log_n, -second * log_d], axis=1)


def _start(name: str) -> Array:
    constants = PUBLISHED[name].law.constants
    return np.array([*np.log([constants["A"], constants["B"], constants["E"]]), constants["alpha"], constants["beta"]])


def _least_squares(log_n: Array, log_d: Array, log_loss: Array) -> Array:
    def residual(theta: Any) -> Any:
        return _predicted(theta, log_n, log_d)[0] - log_loss

    def slopes(theta: Any) -> Any:
        return _predicted(theta, log_n, log_d)[1]

    start = _start("besiroglu2024")
    return np.asarray(least_squares(residual, start, jac=slopes, x_scale="jac", xtol=1e-12, ftol=1e-12).x)


def interval_width(inquiry: Inquiry) -> Evidence:
    """Width of an 80% interval of a from 400 runs: the spread of a over synthetic tables, each fitted by least squares."""
    rng, tables = np.random.default_rng(inquiry.seed), inquiry.pick(30, 300, 2000)
    exponents = []
    for _ in range(tables):
        log_n, log_d, log_loss = _table(rng, 400)
        fitted = _least_squares(log_n, log_d, log_loss)
        exponents.append(fitted[4] / (fitted[3] + fitted[4]))
    spread = float(np.std(exponents, ddof=1))
    low, high = (spread * float(np.sqrt((tables - 1) / chi2.ppf(level, tables - 1))) for level in (0.975, 0.025))
    factor = 2 * 1.2815515655446004
    interval = Interval("width of an 80% interval of a", factor * spread, factor * low, factor * high, float(inquiry.formula()))
    return Evidence(
        Method.MEASUREMENT, f"{tables} synthetic tables of 400 runs, noise 0.5%, seed {inquiry.seed}", tables, interval=interval,
        note="N 4.4e7..1.6e10 and D 5e9..5e11 evenly in logs, which tells N and D apart better than the runs of the paper did.",
    )


def _huber(theta: Any, table: tuple[Array, Array, Array], scale: float) -> Any:
    """The objective and its gradient."""
    log_n, log_d, log_loss = table
    predicted, jacobian = _predicted(theta, log_n, log_d)
    residual = predicted - log_loss
    clipped = np.clip(residual, -DELTA, DELTA)
    losses = clipped * (residual - clipped / 2)
    return float(losses.sum()) * scale, scale * clipped @ jacobian


def _reached(table: tuple[Array, Array, Array], *, mean: bool, options: Any) -> float:
    """The sum of Huber losses where L-BFGS stops, started at the published constants."""
    scale = 1 / len(table[0]) if mean else 1.0
    found = minimize(_huber, _start("hoffmann2022"), args=(table, scale), jac=True, method="L-BFGS-B", options=options)
    return float(_huber(found.x, table, 1.0)[0])


def _least(table: tuple[Array, Array, Array]) -> float:
    """The lowest of three tight fits from different starts, then by another method, Nelder and Mead's."""
    tight: Any = {"ftol": 1e-15, "gtol": 1e-12, "maxiter": 20000, "maxfun": 20000, "maxcor": 20}
    finer: Any = {"xatol": 1e-7, "fatol": 1e-12, "maxiter": 1000}

    def objective(theta: Any) -> float:
        return float(_huber(theta, table, 1.0)[0])

    lowest, best = float("inf"), _start("besiroglu2024")
    for start in (_start("besiroglu2024"), _start("hoffmann2022"), np.array([6.0, 7.0, 0.5, 0.35, 0.35])):
        found = minimize(_huber, start, args=(table, 1.0), jac=True, method="L-BFGS-B", options=tight)
        if float(found.fun) < lowest:
            lowest, best = float(found.fun), found.x
    return min(lowest, float(minimize(objective, best, method="Nelder-Mead", options=finer).fun))


def _stops(inquiry: Inquiry, *, mean: bool, options: Any, words: str) -> Evidence:
    def cases() -> Iterator[Case]:
        for seed in range(inquiry.pick(1, 10, 50)):
            table = _table(np.random.default_rng(seed), 240)
            ratio = _reached(table, mean=mean, options=options) / _least(table)
            yield Case(f"synthetic table {seed}: objective reached over the least", ratio, inquiry.formula(), 1e-6)

    return enumerated(inquiry, cases(), Method.PROPERTY, f"synthetic tables of 240 runs, noise 0.5%; {words}")


def stops_at_mean(inquiry: Inquiry) -> Evidence:
    return _stops(inquiry, mean=True, options={}, words="mean of Huber losses, L-BFGS at its default tolerances")


def stops_at_sum(inquiry: Inquiry) -> Evidence:
    tight = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 20000, "maxfun": 20000}
    return _stops(inquiry, mean=False, options=tight, words="sum of Huber losses, L-BFGS at tight tolerances")


def isoflop_shape(inquiry: Inquiry) -> Evidence:
    size_scale, data_scale, alpha, beta, budget, term = sympy.symbols("A B alpha beta K X", positive=True)  # K = C / 6
    shift = sympy.Symbol("u", real=True)
    best = (sympy.log(alpha * size_scale / (beta * data_scale)) + beta * sympy.log(budget)) / (alpha + beta)
    # At the optimum the size's term X and the data's Y have alpha X = beta Y; beside it X falls and Y grows, whatever the budget.
    marginal_size = sympy.log(alpha * size_scale) - alpha * best
    marginal_data = sympy.log(beta * data_scale) - beta * (sympy.log(budget) - best)
    pairs = {
        "ln(alpha X) less ln(beta Y) at the optimum": (
            sympy.expand_log(sympy.expand(marginal_size - marginal_data), force=True), 0
        ),
        "L - E at u beside it": (
            term * sympy.exp(-alpha * shift) + alpha * term / beta * sympy.exp(beta * shift),
            alpha * term * inquiry.formula(alpha, beta, shift),
        ),
    }
    return identity(inquiry, pairs, argument="k(C) = alpha X, the only place where the budget is left; both in symbols")


def _parabola_slope(name: str, drift: float, half_width: float, num_budgets: int = 9) -> tuple[float, float]:
    """Exponent of N by approach 2 without noise, and N over the true optimum at the middle budget.

    Parabolas of the loss in ln N over 21 sizes within `half_width` decades of the optimum, centres drifting by `drift` decades.
    """
    constants = {symbol: float(value) for symbol, value in constants_of(name).items()}
    alpha, beta = constants["alpha"], constants["beta"]
    log_budgets = np.linspace(np.log(6e18), np.log(3e21), num_budgets)
    balance = np.log(alpha * constants["A"] / (beta * constants["B"])) / (alpha + beta)
    optima = balance + beta / (alpha + beta) * (log_budgets - np.log(6))
    found = []
    for place, (budget, optimum) in enumerate(zip(log_budgets, optima, strict=True)):
        centre = optimum + np.log(10) * drift * (place / (num_budgets - 1) - 0.5)
        sizes = centre + np.linspace(-1, 1, 21) * np.log(10) * half_width
        losses = constants["A"] * np.exp(-alpha * sizes) + constants["B"] * np.exp(-beta * (budget - np.log(6) - sizes))
        curve, line, _ = np.polyfit(sizes - optimum, losses, 2)
        found.append(optimum - line / (2 * curve))
    return float(np.polyfit(log_budgets, found, 1)[0]), float(np.exp(found[num_budgets // 2] - optima[num_budgets // 2]))


def isoflop_exponent(inquiry: Inquiry) -> Evidence:
    cases = []
    for name in ("besiroglu2024", "hoffmann2022_rounded"):
        for half_width in (0.3, 0.5, 1.0):
            slope, _ = _parabola_slope(name, 0.0, half_width)
            constants = PUBLISHED[name].law.constants
            words = f"constants {name}, within {half_width} decades: exponent by parabolas"
            cases.append(Case(words, slope, inquiry.formula(constants["alpha"], constants["beta"]), 1e-9))
    return enumerated(inquiry, cases, Method.PROPERTY, "noise-free losses at nine budgets, 21 sizes centred on the optimum")


def isoflop_prefactor(inquiry: Inquiry) -> Evidence:
    cases = [
        Case(f"constants {name}, within a decade: N by the parabola over the true optimum", _parabola_slope(name, 0.0, 1.0)[1],
             inquiry.formula(name), 5e-3)
        for name in ("besiroglu2024", "hoffmann2022_rounded")
    ]
    return enumerated(inquiry, cases, Method.PROPERTY, "noise-free losses, 21 sizes centred on the optimum; to two digits")


def isoflop_drift(inquiry: Inquiry) -> Evidence:
    slope, _ = _parabola_slope("hoffmann2022_rounded", 1.0, 1.0)
    case = Case("alpha = .34, beta = .28: exponent where the grid's centre drifts by a decade", slope, inquiry.formula(), 5e-4)
    return enumerated(inquiry, [case], Method.PROPERTY, "noise-free losses at nine budgets, 21 sizes within a decade; to three "
        "digits")


def tails(inquiry: Inquiry) -> Evidence:
    """Chi-squared with 5 degrees: its tail, an incomplete gamma function, in 40 digits."""
    cases = []
    # A statistic's last digit moves the exponent by 0.011; half a unit of 1.7 is 0.013 of it, of 1e-16 up to 0.176.
    for name, statistic, tolerance in (("wald", "238.4", 0.024), ("likelihood ratio", "84.0", 0.188)):
        with mpmath.workdps(40):
            tail = mpmath.gammainc(mpmath.mpf("2.5"), mpmath.mpf(statistic) / 2, regularized=True)
            words = f"{name} {statistic}: log10 of the tail"
            cases.append(Case(words, exact(mpmath.log10(tail)), inquiry.formula(name), tolerance))
    return enumerated(inquiry, cases, Method.PROPERTY, "tails of chi-squared with 5 degrees of freedom, in 40 digits")
