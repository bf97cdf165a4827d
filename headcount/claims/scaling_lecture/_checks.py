"""How the lecture's statements are checked: best splits by search, ranks of samples from a known law, spectra of noise."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
import sympy

from headcount.claims.checks import enumerated, identity, mean_interval
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from headcount.claims.hoffmann2022._allocation_checks import exponents_of

Array = np.ndarray
TYPES = 50_000


def quotients(inquiry: Inquiry) -> Evidence:
    alpha, beta = Fraction("0.34"), Fraction("0.28")
    cases = [
        Case(f"{one} / (0.34 + 0.28)", Fraction(one) / (alpha + beta), inquiry.formula(one), 0.0005) for one in ("0.34", "0.28")
    ]
    return enumerated(inquiry, cases, Method.EXACT, "to three digits", argument="two quotients of decimals")


def allocation(inquiry: Inquiry) -> Evidence:
    """Exponents of N and D at the optimum of L = E + A/N^0.34 + B/D^0.28, by search, against what is read."""
    cases = [
        Case(f"exponent of {symbol} in C", slope, inquiry.formula(symbol), 0.0005)
        for symbol, slope in zip("ND", exponents_of("hoffmann2022_rounded"), strict=True)
    ]
    return enumerated(
        inquiry, cases, Method.PROPERTY, "L = 1.69 + 406.4/N^0.34 + 410.7/D^0.28, best splits of 1e18 and 1e24 FLOP by search"
    )


def conversion(inquiry: Inquiry) -> Evidence:
    exponent, count, scale = sympy.symbols("z x c", positive=True)
    # The type of rank r has the count c r^-z, so that as many types have at least x as the rank at which the count is x.
    rank = sympy.Symbol("r", positive=True)
    (at_least,) = sympy.solve(sympy.Eq(scale * rank**-exponent, count), rank)
    density = -sympy.diff(at_least, count)
    slope = sympy.simplify(count * sympy.diff(sympy.log(density), count))
    pairs = {"exponent of the density of counts": (sympy.simplify(-slope), inquiry.formula(exponent))}
    for power in (sympy.Integer(1), sympy.Rational(4, 5)):
        pairs[f"z = {power}"] = (-slope.subs(exponent, power), inquiry.formula(power))
    return identity(inquiry, pairs, argument="the number of types with at least x is the rank at x; its derivative is the "
        "density")


def _zipf_counts(rng: np.random.Generator, num_draws: int) -> Array:
    """Counts of `num_draws` draws from exactly 1/r over 50,000 types, in the order of the types' true ranks."""
    shares = 1 / np.arange(1, TYPES + 1)
    return rng.multinomial(num_draws, shares / shares.sum())


def _slope(ranks: Array, counts: Array) -> float:
    return float(np.polyfit(np.log(ranks), np.log(counts), 1)[0])


def _over_samples(inquiry: Inquiry, statistic: Callable[[np.random.Generator], float], what: str, ranges: str) -> Evidence:
    rng, num = np.random.default_rng(inquiry.seed), inquiry.pick(8, 30, 100)
    interval = mean_interval([statistic(rng) for _ in range(num)], what, float(inquiry.formula()))
    drawn = f"{num} samples of 500,000 draws from 1/r over 50,000 types"
    return Evidence(Method.MEASUREMENT, f"{drawn}; {ranges}", num, interval=interval)


def all_ranks(inquiry: Inquiry) -> Evidence:
    def statistic(rng: np.random.Generator) -> float:
        counts = np.sort(_zipf_counts(rng, 500_000))[::-1]
        counts = counts[counts > 0]
        return -_slope(np.arange(1, counts.size + 1), counts)

    return _over_samples(inquiry, statistic, "exponent by least squares", "ranks and counts from one sample, all ranks")


def split_ranks(inquiry: Inquiry) -> Evidence:
    def statistic(rng: np.random.Generator) -> float:
        first, second = _zipf_counts(rng, 250_000), _zipf_counts(rng, 250_000)
        # Ranks by one half, ties in random order; counts from the other, in bins of ranks, whose mean ranks are known.
        order = np.lexsort((rng.permutation(TYPES), -first))
        counts = second[order]
        edges = np.unique(np.geomspace(1, 500, 15).astype(int))
        sums = np.add.reduceat(counts[: edges[-1] - 1], edges[:-1] - 1)
        widths = np.diff(edges)
        inverse = np.array([np.mean(1 / np.arange(low, high)) for low, high in pairwise(edges)])
        return -_slope(1 / inverse, sums / widths)

    rng, num = np.random.default_rng(inquiry.seed), inquiry.pick(8, 30, 100)
    found = mean_interval([statistic(rng) for _ in range(num)], "exponent", 1.0)
    case = Case("farther end of the 95% interval of the mean", max(1 - found.low, found.high - 1), inquiry.formula())
    return enumerated(inquiry, [case], Method.PROPERTY, f"{num} samples of twice 250,000 draws from 1/r over 50,000 types")


def _noise(inquiry: Inquiry) -> Array:
    """Falling singular values of a square Gaussian matrix over the root of its side."""
    side = inquiry.pick(400, 1024, 2048)
    values = np.linalg.svd(np.random.default_rng(inquiry.seed).standard_normal((side, side)), compute_uv=False)
    return np.asarray(values / np.sqrt(side))


def noise_slopes(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        values = _noise(inquiry)
        ranks, side = np.arange(1, values.size + 1), values.size
        flat, steep = slice(0, side // 32), slice(side // 2, side - side // 40)
        ratio = _slope(ranks[steep], values[steep]) / _slope(ranks[flat], values[flat])
        words = f"{side} x {side} noise: slope over ranks {steep.start} to {steep.stop}, over that of ranks 1 to {flat.stop}"
        yield Case(words, ratio, inquiry.formula())

    return enumerated(inquiry, cases(), Method.PROPERTY, f"one Gaussian matrix, seed {inquiry.seed}")


def noise_edge(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        values = _noise(inquiry)
        side = values.size
        # Largest value: 2 up to fluctuations of order side^(-2/3), of which 3 are ample (Tracy and Widom).
        yield Case(f"{side} x {side} noise: largest singular value", float(values[0]), inquiry.formula(), 3 * side ** (-2 / 3))

    return enumerated(inquiry, cases(), Method.PROPERTY, f"one Gaussian matrix, seed {inquiry.seed}")


def _images() -> Array:
    from empirical.data import digits

    images = digits()
    return np.asarray(np.linalg.svd(images - images.mean(axis=0), compute_uv=False))


def digits_slope(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        values = _images()
        for first, last in ((1, 4), (4, 16), (16, 48)):
            slope = _slope(np.arange(first, last + 1), values[first - 1 : last])
            yield Case(f"digits, centred: exponent over ranks {first} to {last}", -slope, inquiry.formula(first), 0.05)

    return enumerated(inquiry, cases(), Method.PROPERTY, "scikit-learn's 1797 images of 64 pixels; to one digit")


def word_slopes(inquiry: Inquiry) -> Evidence:
    """Zipf's exponent of words in the standard library's sources, by decade of ranks, with intervals."""
    from empirical.data import stdlib_corpus, word_counts
    from theory.power_laws import split_half

    corpus = stdlib_corpus()
    halves = word_counts(corpus).halves
    found = split_half(halves[0], halves[1], ((1, 10), (10, 100), (100, 1000)), seed=inquiry.seed)
    cases = [
        Case(f"words of rank {piece.first_rank} to {piece.last_rank}: exponent", -piece.slope, inquiry.formula(), 0.05)
        for piece in found.segments
    ]
    return enumerated(
        inquiry, cases, Method.PROPERTY, f"Python {corpus.python_version}'s standard library, split by files; to one decimal"
    )
