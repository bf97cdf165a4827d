"""How statements on exponents are checked: derivations in symbols, arithmetic on published constants, a simple estimator."""

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from math import ceil, floor

import numpy as np
import sympy

from headcount.claims._printed import half_unit, rounding
from headcount.claims.checks import Tally, enumerated, identity
from headcount.claims.claim import Case, Evidence, Inquiry, Interval, Method
from theory.manifold_rates import RateDerivation, derive_rates, inverse_difference_interval
from theory.scaling import PUBLISHED, HoffmannLaw

DIMENSION, BETA = sympy.symbols("d beta", positive=True)
BOTH_MISS = 0.9
"""Level of a statement that holds where two intervals of 95 per cent both do, however they depend on each other."""


def _derived(inquiry: Inquiry, found: RateDerivation, what: str, true: sympy.Expr, argument: str) -> Evidence:
    pairs = {what: (true, inquiry.formula(DIMENSION, BETA))}
    pairs |= {words: (residual + inquiry.formula(DIMENSION, BETA), inquiry.formula(DIMENSION, BETA))
              for words, residual in found.residuals.items()}
    return identity(inquiry, pairs, argument=argument)


def data_exponent(inquiry: Inquiry) -> Evidence:
    found = derive_rates()
    return _derived(inquiry, found, "slope of -ln risk on ln n, at the best accuracy", found.data_exponent,
                    "the risk has one stationary point in ln eps, a minimum; its slope there is taken in symbols")


def model_exponent(inquiry: Inquiry) -> Evidence:
    found = derive_rates()
    return _derived(inquiry, found, "slope of -ln eps^2 on ln P, with P = eps^(-d/beta)", found.model_exponent,
                    "the size is solved for the accuracy, in symbols")


def best_size(inquiry: Inquiry) -> Evidence:
    found = derive_rates()
    samples = sympy.Symbol("n", positive=True)
    logarithm = sympy.expand_log(sympy.log(found.best_parameters), force=True)
    slope = sympy.simplify(samples * sympy.diff(logarithm, samples))
    return _derived(inquiry, found, "slope of ln P on ln n, at the best accuracy", slope,
                    "the size at the accuracy that minimises the risk, in symbols")


def difference(inquiry: Inquiry) -> Evidence:
    found = derive_rates()
    return identity(
        inquiry, {"1/alpha_D - 1/alpha_N": (1 / found.data_exponent - 1 / found.model_exponent, inquiry.formula())},
        argument="both exponents as derived from the risk and the size; d and beta drop out",
    )


def order(inquiry: Inquiry) -> Evidence:
    found = derive_rates()
    gap = sympy.factor(found.model_exponent - found.data_exponent)
    # Positive for positive symbols, which sympy decides from the sign of every factor.
    case = Case("sign of alpha_N - alpha_D in positive d and beta", 1 if gap.is_positive else -1, inquiry.formula())
    return enumerated(inquiry, [case], Method.SYMBOLIC, "one expression in symbols", argument=f"alpha_N - alpha_D = {gap}, all "
                      "factors positive")


def sharma_kaplan(inquiry: Inquiry) -> Evidence:
    found = derive_rates()
    pairs = {"alpha_N at beta = 2": (found.model_exponent.subs(BETA, 2), inquiry.formula(DIMENSION))}
    return identity(inquiry, pairs, argument="one substitution in the derived exponent")


TABLE = (5, 8, 10, 12, 15, 20, 30)


def table(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for place, dimension in enumerate(TABLE):
            yield Case(f"2/(2 + d) at d = {dimension}", Fraction(2, 2 + dimension), inquiry.formula("data", place), 0.00005)
            yield Case(f"2/d at d = {dimension}", Fraction(2, dimension), inquiry.formula("model", place), 0.00005)

    return enumerated(inquiry, cases(), Method.EXACT, "seven dimensions, to four digits", argument="fourteen quotients")


def cross_entropy(inquiry: Inquiry) -> Evidence:
    # Divergence of softmax(z + e) from softmax(z), as it depends on two of the logits; all other classes enter as one weight.
    first, second = sympy.symbols("e_1 e_2", real=True)
    weights = sympy.symbols("w_1 w_2 w_3", positive=True)
    total = sum(weights)
    shares = [weight / total for weight in weights]
    moved = sympy.log(weights[0] * sympy.exp(first) + weights[1] * sympy.exp(second) + weights[2]) - sympy.log(total)
    divergence = moved - shares[0] * first - shares[1] * second
    at_zero = {first: 0, second: 0}
    pairs = {
        "divergence without an error": (divergence.subs(at_zero), sympy.Integer(0) * inquiry.formula(shares[0], shares[1], True)),
        "its first derivative": (sympy.diff(divergence, first).subs(at_zero), sympy.Integer(0)),
        "second derivative in one logit": (
            sympy.diff(divergence, first, 2).subs(at_zero), inquiry.formula(shares[0], shares[0], True)),
        "mixed second derivative": (
            sympy.diff(divergence, first, second).subs(at_zero), inquiry.formula(shares[0], shares[1], False)),
    }
    return identity(inquiry, pairs, argument="the divergence sees classes other than two through the sum of their weights "
                    "alone, so that the entries for two of three classes are those for two of any number")


# Published fits: (alpha_D, alpha_N) as printed.
KAPLAN = (
    ("laws of one quantity", "0.095", "0.076"),
    ("joint law", "0.103", "0.076"),
)
HOFFMANN = (("approach 3", "0.28", "0.34"),)


def _differences(inquiry: Inquiry, rows: tuple[tuple[str, str, str], ...]) -> Evidence:
    def cases() -> Iterator[Case]:
        for words, data, model in rows:
            play = rounding(lambda one, other: 1 / one - 1 / other, data, model)
            value = 1 / Fraction(data) - 1 / Fraction(model)
            yield Case(f"{words}: 1/{data} - 1/{model}", value, inquiry.formula(), play)

    return enumerated(inquiry, cases(), Method.EXACT, "printed exponents, each to half a unit of its last digit",
                      argument="quotients of decimals",
                      note="What the digits leave open is allowed for; how far the fits themselves may be off is not published.")


def kaplan(inquiry: Inquiry) -> Evidence:
    return _differences(inquiry, KAPLAN[:1])


def kaplan_joint(inquiry: Inquiry) -> Evidence:
    return _differences(inquiry, KAPLAN[1:])


def hoffmann(inquiry: Inquiry) -> Evidence:
    return _differences(inquiry, HOFFMANN)


def besiroglu(inquiry: Inquiry) -> Evidence:
    published = PUBLISHED["besiroglu2024"]
    law = published.law
    if not isinstance(law, HoffmannLaw):
        raise ArithmeticError("besiroglu2024 is not a law of parameters and tokens")
    low, high = inverse_difference_interval(published.intervals["beta"], published.intervals["alpha"])
    interval = Interval("1/alpha_D - 1/alpha_N", 1 / law.beta - 1 / law.alpha, low, high, inquiry.formula(), BOTH_MISS)
    return Evidence(Method.MEASUREMENT, "published intervals of the two exponents of a refit of 240 points", 1, interval=interval,
                    note="The interval holds however the two estimates depend on each other: it takes the corners of both.")


def order_published(inquiry: Inquiry) -> Evidence:
    rows = (*((f"Kaplan et al. 2020, {words}", data, model) for words, data, model in KAPLAN),
            ("Hoffmann et al. 2022", "0.28", "0.34"), ("Besiroglu et al. 2024", "0.3658", "0.3478"))
    cases = [
        Case(f"{words}: alpha_N - alpha_D", Fraction(model) - Fraction(data), inquiry.formula(),
             float(half_unit(data) + half_unit(model)))
        for words, data, model in rows
    ]
    return enumerated(inquiry, cases, Method.EXACT, "printed exponents, each to half a unit", argument="differences of decimals")


def implied(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for words, data, model, half in (
            ("Kaplan et al. 2020", "0.095", "0.076", 0.5), ("Besiroglu et al. 2024", "0.3658", "0.3478", 0.05)
        ):
            for kind, value in (("parameters", 2 / Fraction(model)), ("data", 2 / Fraction(data) - 2)):
                yield Case(f"{words}: d/beta from the exponent in {kind}", value, inquiry.formula(words, kind), half)

    return enumerated(inquiry, cases(), Method.EXACT, "to the digits given", argument="quotients of decimals")


def agreement_allows(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for dimension in (16, 20):
            alpha, play = Fraction(2, 2 + dimension), Fraction("0.02")
            ends = [2 / moved - 2 for moved in (alpha + play, alpha - play)]
            for place, (side, end) in enumerate(zip(("above", "below"), ends, strict=True)):
                words = f"d whose data exponent is 0.02 {side} that of {dimension}"
                yield Case(words, end, inquiry.formula(dimension, place, False), float(half_unit("0.00")))
            for place, whole in enumerate((ceil(ends[0]), floor(ends[1]))):
                words = f"{('least', 'largest')[place]} whole d within 0.02 of the data exponent of {dimension}"
                yield Case(words, whole, inquiry.formula(dimension, place, True))

    return enumerated(inquiry, cases(), Method.EXACT, "beta = 1, ends to half a unit of their last digit",
                      argument="the exponent falls with d, so that the ends are where it is 0.02 off")


def agreement_blind(inquiry: Inquiry) -> Evidence:
    """How many whole dimensions have an exponent within 0.02 of that of d."""
    def cases() -> Iterator[Case]:
        for dimension in range(1, 98):
            alpha, play = Fraction(2, 2 + dimension), Fraction("0.02")
            least, largest = max(1, ceil(2 / (alpha + play) - 2)), floor(2 / (alpha - play) - 2)
            yield Case(f"d = {dimension}: whole dimensions that agree", largest - least + 1, inquiry.formula(dimension))

    return enumerated(inquiry, cases(), Method.EXACT, "d = 1 .. 97, beta = 1", argument="counted for each d; from d = 98 on "
                      "the exponent is 0.02 or less, and every larger dimension agrees")


# The rate in samples, for the part of the network that is linear.


SIEVE_SIZES = tuple(1000 * 4**place for place in range(7))


def _weierstrass(angles: np.ndarray, beta: float) -> np.ndarray:
    return np.asarray(sum(2.0 ** (-beta * k) * np.cos(2.0**k * angles) for k in range(20)))


def _sieve_error(generator: np.random.Generator, num_samples: int, beta: float) -> float:
    """Squared error of the mean per cell of n^(1/(2 beta + 1)) cells of a circle, noise of deviation 1."""
    cells = max(2, round(num_samples ** (1 / (2 * beta + 1))))
    angles = generator.uniform(0, 2 * np.pi, num_samples)
    noisy = _weierstrass(angles, beta) + generator.standard_normal(num_samples)
    place = np.minimum((angles / (2 * np.pi) * cells).astype(int), cells - 1)
    counts = np.bincount(place, minlength=cells)
    means = np.bincount(place, weights=noisy, minlength=cells) / np.maximum(counts, 1)
    fresh = generator.uniform(0, 2 * np.pi, 5_000)
    found = means[np.minimum((fresh / (2 * np.pi) * cells).astype(int), cells - 1)]
    return float(np.mean((found - _weierstrass(fresh, beta)) ** 2))


@cache
def _sieve_slope(beta: float, num_sizes: int, repeats: int, seed: int) -> float:
    sizes = SIEVE_SIZES[:num_sizes]
    generator = np.random.default_rng([seed, int(10 * beta)])
    errors = [np.mean([_sieve_error(generator, size, beta) for _ in range(repeats)]) for size in sizes]
    return -float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def sieve(inquiry: Inquiry) -> Evidence:
    num_sizes = inquiry.pick(4, 5, 7)
    repeats = inquiry.pick(4, 8, 48)
    tally = Tally(inquiry)
    for beta in (0.5, 0.8):
        slope = _sieve_slope(beta, num_sizes, repeats, inquiry.seed)
        words = f"beta = {beta}: exponent of the squared error over n = {SIEVE_SIZES[0]:,} .. {SIEVE_SIZES[num_sizes - 1]:,}"
        tally.see(Case(words, slope, float(inquiry.formula(1, beta)), 0.1))
    return tally.evidence(Method.PROPERTY, f"{repeats} repetitions, noise of deviation 1, seed {inquiry.seed}")
