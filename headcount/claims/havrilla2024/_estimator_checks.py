"""How statements on estimates of dimension are checked: laws of neighbours in symbols, and clouds whose dimension is known.

The estimators here are a few lines of their own, so that what `empirical.dimension` says has something to be held against.
"""

from collections.abc import Iterator
from functools import cache
from math import exp, log

import numpy as np
import sympy
from jaxtyping import Float

from headcount.claims.checks import enumerated, identity
from headcount.claims.claim import Case, Evidence, Inquiry, Method

NUM_POINTS, NEIGHBOURS = 3600, 20
MOST_NEIGHBOURS = 40
FAMILIES = ("ball", "gaussian")


def log_neighbour_distances(points: Float[np.ndarray, "n D"], neighbours: int) -> Float[np.ndarray, "n k"]:
    """Logarithms of the distances to the first k neighbours, ascending, by comparing all pairs. Points have to be different."""
    centred = points - points.mean(axis=0)
    squares = np.sum(centred**2, axis=1)
    rows = []
    for start in range(0, len(points), 600):
        part = slice(start, start + 600)
        apart = squares[part, None] + squares - 2 * centred[part] @ centred.T
        apart[np.arange(len(apart)), np.arange(start, start + len(apart))] = np.inf
        near = np.argpartition(apart, neighbours, axis=1)[:, :neighbours]
        # Again from differences: the squares above lose what near points differ in.
        exact = np.sum((points[part, None] - points[near]) ** 2, axis=2)
        rows.append(np.sort(exact, axis=1))
    return np.asarray(0.5 * np.log(np.concatenate(rows)))


def harmonic(logs: Float[np.ndarray, "n k"]) -> float:
    """(k - 1) n over the sum of all log(T_k/T_j): Levina and Bickel 2004 as averaged by MacKay and Ghahramani 2005."""
    return float(logs.shape[0] * (logs.shape[1] - 1) / (logs[:, -1:] - logs).sum())


def two_neighbours(logs: Float[np.ndarray, "n k"]) -> float:
    """(n - 1) over the sum of log(T_2/T_1): Facco et al. 2017, by likelihood."""
    return float((len(logs) - 1) / (logs[:, 1] - logs[:, 0]).sum())


def _cloud(family: str, dimension: int, num_points: int, seed: int) -> Float[np.ndarray, "n D"]:
    generator = np.random.default_rng([seed, FAMILIES.index(family), dimension, num_points])
    found = generator.standard_normal((num_points, dimension))
    if family == "gaussian":
        return found
    radii = generator.uniform(size=(num_points, 1)) ** (1 / dimension)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True) * radii)


@cache
def _logs(family: str, dimension: int, num_points: int, seed: int) -> Float[np.ndarray, "n k"]:
    return log_neighbour_distances(_cloud(family, dimension, num_points, seed), MOST_NEIGHBOURS)


@cache
def _estimate(family: str, dimension: int, num_points: int, neighbours: int, repeats: int, seed: int) -> float:
    """Geometric mean of the estimates of several clouds."""
    logs = (_logs(family, dimension, num_points, seed + place)[:, :neighbours] for place in range(repeats))
    return exp(float(np.mean([log(harmonic(each)) for each in logs])))


def _estimates(inquiry: Inquiry, dimensions: tuple[int, ...]) -> Iterator[tuple[str, int, float]]:
    for dimension in dimensions:
        for family in FAMILIES:
            yield family, dimension, _estimate(family, dimension, NUM_POINTS, NEIGHBOURS, inquiry.pick(1, 4, 16), inquiry.seed)


def _ranges(inquiry: Inquiry) -> str:
    return f"{NUM_POINTS} points, {NEIGHBOURS} neighbours, {inquiry.pick(1, 4, 16)} cloud(s) each, seed {inquiry.seed}"


def faithful(inquiry: Inquiry) -> Evidence:
    cases = (
        Case(f"{family} of dimension {dimension}: estimate", found, inquiry.formula(dimension), 0.05 * dimension)
        for family, dimension, found in _estimates(inquiry, (2, 5, 10, 20))
    )
    return enumerated(inquiry, cases, Method.PROPERTY, _ranges(inquiry))


def saturates(inquiry: Inquiry) -> Evidence:
    cases = (
        Case(f"{family} of dimension {dimension}: estimate", found, inquiry.formula(dimension))
        for family, dimension, found in _estimates(inquiry, (20, 30, 50) if inquiry.effort.rank == 0 else (20, 30, 50, 100))
    )
    return enumerated(inquiry, cases, Method.PROPERTY, _ranges(inquiry))


def exponent_too_large(inquiry: Inquiry) -> Evidence:
    cases = (
        Case(f"{family} of dimension {dimension}: data exponent from the estimate, over that of d", (2 + dimension) / (2 + found),
             inquiry.formula(dimension))
        for family, dimension, found in _estimates(inquiry, (20, 30, 50))
    )
    return enumerated(inquiry, cases, Method.PROPERTY, f"beta = 1; {_ranges(inquiry)}")


def more_points(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for dimension in (10, 20):
            few, many = (
                _estimate("gaussian", dimension, num, NEIGHBOURS, inquiry.pick(1, 4, 16), inquiry.seed)
                for num in (900, NUM_POINTS)
            )
            words = f"Gaussian of dimension {dimension}: estimate from {NUM_POINTS} points less that from 900"
            yield Case(words, many - few, inquiry.formula())

    return enumerated(inquiry, cases(), Method.PROPERTY, f"{NEIGHBOURS} neighbours, seed {inquiry.seed}")


def more_neighbours(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for dimension in (10, 20):
            few, many = (
                _estimate("gaussian", dimension, NUM_POINTS, number, inquiry.pick(1, 4, 16), inquiry.seed) for number in (10, 40)
            )
            words = f"Gaussian of dimension {dimension}: estimate from 10 neighbours less that from 40"
            yield Case(words, few - many, inquiry.formula())

    return enumerated(inquiry, cases(), Method.PROPERTY, f"{NUM_POINTS} points, seed {inquiry.seed}")


@cache
def _of_noisy_circle(seed: int, repeat: int) -> float:
    generator = np.random.default_rng([seed, repeat])
    angles = generator.uniform(0, 2 * np.pi, NUM_POINTS)
    points = generator.normal(0, 1e-3, (NUM_POINTS, 50))
    points[:, 0] += np.cos(angles)
    points[:, 1] += np.sin(angles)
    return two_neighbours(log_neighbour_distances(points, 2))


def noise(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for repeat in range(inquiry.pick(2, 5, 20)):
            words = f"circle in R^50, noise of 0.001 in every coordinate, cloud {repeat}: dimension by two neighbours"
            yield Case(words, _of_noisy_circle(inquiry.seed, repeat), inquiry.formula())

    return enumerated(inquiry, cases(), Method.PROPERTY, f"{NUM_POINTS} points, so that they are 0.0017 apart along the circle")


# Laws of neighbours, in symbols: where points lie evenly, n (k - 1) logarithms of ratios sum to a Gamma variable of that shape.

DIMENSION = sympy.Symbol("d", positive=True)


@cache
def _inverse_moment(shape: sympy.Expr, power: int) -> sympy.Expr:
    """The mean of G^(-power) for a Gamma variable G of a shape above `power` and the rate d."""
    x, free = sympy.symbols("x m", positive=True)
    density = DIMENSION ** (free + power) * x ** (free + power - 1) * sympy.exp(-DIMENSION * x) / sympy.gamma(free + power)
    found = sympy.simplify(sympy.integrate(density * x ** (-power), (x, 0, sympy.oo)))
    return sympy.gammasimp(found.subs(free, shape - power))


def averages(inquiry: Inquiry) -> Evidence:
    points, neighbours = sympy.symbols("n k", positive=True)
    shape = points * (neighbours - 1)
    pooled = sympy.simplify(shape * _inverse_moment(shape, 1))
    pairs = {
        "mean of m_k at one point, over d": (pooled.subs(points, 1) / DIMENSION, inquiry.formula(1, neighbours)),
        "mean of the harmonic mean of n points apart, over d": (pooled / DIMENSION, inquiry.formula(points, neighbours)),
    }
    return identity(inquiry, pairs, argument="the means of the inverse of a Gamma variable, integrated in symbols")


def spread(inquiry: Inquiry) -> Evidence:
    neighbours = sympy.Symbol("k", positive=True)
    shape = neighbours - 1
    mean, square = (shape**power * _inverse_moment(shape, power) for power in (1, 2))
    pairs = {"variance of m_k at one point over its mean squared": (square / mean**2 - 1, inquiry.formula(neighbours))}
    return identity(inquiry, pairs, argument="two moments of the inverse of a Gamma variable, integrated in symbols")


@cache
def _beyond(ratio: sympy.Expr) -> sympy.Expr:
    """P((v + w)/v > ratio). Volumes v up to the first neighbour and w from it to the second: independent, exponential."""
    first, second = sympy.symbols("v w", positive=True)
    inner = sympy.integrate(sympy.exp(-second), (second, (ratio - 1) * first, sympy.oo))
    return sympy.simplify(sympy.integrate(sympy.exp(-first) * inner, (first, 0, sympy.oo)))


def two_nearest(inquiry: Inquiry) -> Evidence:
    ratio = 1 + sympy.Symbol("s", positive=True)  # t = (1 + s)^(1/d), so that t^d = 1 + s
    beyond = _beyond(ratio)
    t = ratio ** (1 / DIMENSION)
    return identity(inquiry, {"P(T_2/T_1 > t)": (beyond, sympy.powdenest(inquiry.formula(t, DIMENSION), force=True))},
                    argument="T_2/T_1 > t where the second volume is more than t^d - 1 times the first")


def metric(inquiry: Inquiry) -> Evidence:
    one, other = sympy.symbols("u v", positive=True)  # half the angles
    chords = [2 * sympy.sin(angle) for angle in (one, other)]
    cosines = [sympy.trigsimp(1 - sympy.cos(2 * angle)) for angle in (one, other)]
    over = sympy.expand_log(sympy.log(cosines[0]) - sympy.log(cosines[1]), force=True)
    under = sympy.expand_log(sympy.log(chords[0]) - sympy.log(chords[1]), force=True)
    pairs = {
        "1 - cos over the chord squared": (sympy.simplify(cosines[0] / chords[0] ** 2), sympy.Rational(1) / inquiry.formula()),
        "log ratio of two values of 1 - cos, over that of their chords": (sympy.simplify(over / under), inquiry.formula()),
    }
    return identity(inquiry, pairs, argument="every estimator here is 1/(a sum of logarithms of ratios of distances), or "
                    "fits a slope to such logarithms: twice the logarithms, half the dimension")
