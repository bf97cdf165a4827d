"""How the threshold law is checked: random features, random labels, and the linear programme that says how many labels fit.

Every draw gives its own critical number, the most of its sequences, in order, that one map gets right. Half of all draws of T
sequences are realizable where T is the median of these, which is the point that the law speaks of.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import binom

from constructions.readout import max_margin
from headcount.claims.checks import Tally
from headcount.claims.claim import Case, Evidence, Inquiry, Interval, Method
from theory.encoders import circle_code, low_coherence_code
from theory.thresholds import threshold_ratio

NUM_FEATURES = 40
ALLOWED = 0.05
MOST_PER_FEATURE = 10  # no code here comes near half of this: a prediction beyond needs no more sequences to be refuted
BELOW_FEATURES = (2, 3, 4, 5, 7, 10, 20, 40, 80, 6, 9, 15, 110, 30, 60, 210)
Code = tuple[str, np.ndarray, tuple[int, int, int]]
"""In words, the rows, and draws per effort (0: not at that effort)."""


def _random(vocab_size: int, dim: int) -> np.ndarray:
    return low_coherence_code(vocab_size, dim, 0, steps=0)


def _stretched(vocab_size: int) -> np.ndarray:
    code = low_coherence_code(vocab_size, vocab_size - 1, 0)
    code[:, :2] *= 100.0
    return code


def any_code(inquiry: Inquiry) -> list[Evidence]:
    """r / codim as it stands: a code whose readout is a simplex's but whose cones are not, and one with a row in its hull."""
    words = "regular simplex of 6 tokens, two of its five directions stretched a hundredfold"
    codes: tuple[Code, ...] = (
        (words, _stretched(6), (6, 40, 200)),
        ("circle of 9 tokens and a tenth at its centre", np.vstack([circle_code(9), np.zeros((1, 2))]), (14, 60, 300)),
    )
    return _all_measured(inquiry, codes)


def symmetric_codes(inquiry: Inquiry) -> list[Evidence]:
    """The law on codes with closed forms."""
    codes: tuple[Code, ...] = (
        ("circle of 10 tokens", circle_code(10), (12, 80, 800)),
        ("circle of 50 tokens", circle_code(50), (0, 40, 800)),
        ("regular simplex of 5 tokens", low_coherence_code(5, 4, 0), (6, 40, 400)),
        ("regular simplex of 10 tokens", low_coherence_code(10, 9, 0), (0, 8, 100)),
    )
    return _all_measured(inquiry, codes)


def random_codes(inquiry: Inquiry) -> list[Evidence]:
    """The law where its saddle is computed."""
    codes: tuple[Code, ...] = (
        ("random code of 10 tokens in 3 dimensions", _random(10, 3), (8, 40, 400)),
        ("random code of 50 tokens in 5 dimensions", _random(50, 5), (0, 24, 200)),
        ("random code of 20 tokens in 10 dimensions", _random(20, 10), (0, 0, 100)),
        ("regular simplex of 6 tokens, two of its five directions stretched a hundredfold", _stretched(6), (0, 24, 200)),
    )
    return _all_measured(inquiry, codes)


def _all_measured(inquiry: Inquiry, codes: Sequence[Code]) -> list[Evidence]:
    chosen = [code for code in codes if code[2][inquiry.effort.rank] > 0]
    found = []
    for place, code in enumerate(chosen):
        found.append(_measured(inquiry, code))
        inquiry.report((place + 1) / len(chosen))
    return found


def _measured(inquiry: Inquiry, code: Code) -> Evidence:
    words, rows, draws = code
    count = draws[inquiry.effort.rank]
    predicted = float(inquiry.formula(NUM_FEATURES, rows))
    # Where to look first: any guess gives the same numbers, if only twice the guess leaves room for all that is predicted.
    guess = max(min(predicted / 2, MOST_PER_FEATURE * NUM_FEATURES), NUM_FEATURES * threshold_ratio(rows, samples=200).value)
    numbers = [critical_number(rows, NUM_FEATURES, guess, np.random.default_rng([inquiry.seed, place])) for place in range(count)]
    low, middle, high = median_interval(numbers)
    interval = Interval(
        f"{words}, m = {NUM_FEATURES}: associations at which half of all label tables are realizable",
        middle, low / (1 + ALLOWED), high / (1 - ALLOWED), predicted,
    )  # fmt: skip
    width = (high - low) / (2 * middle)
    return Evidence(
        Method.MEASUREMENT,
        f"{count} draws of Gaussian features and uniform labels",
        num_cases=count,
        interval=interval,
        note=f"the 95% interval of the median, {low:.4g} to {high:.4g}, widened by the {ALLOWED:.0%} that the statement allows: "
        f"a law that is off by less than {ALLOWED + width:.0%} may pass at this effort",
    )


def critical_number(code: np.ndarray, num_features: int, guess: float, rng: np.random.Generator) -> int:
    """The most of a random list of sequences that one map certainly gets right, by bisection (more are never easier)."""
    most = int(2 * guess) + 10
    features, labels = rng.standard_normal((num_features, most)), rng.integers(len(code), size=most)

    def fits(count: int) -> bool:
        return max_margin(features[:, :count], labels[:count], code, solver="lp", decide_only=True).decision == "feasible"

    low, high, step = 0, most + 1, max(2, round(guess / 25))
    here = round(guess)
    while low < here < high:
        low, high = (here, high) if fits(here) else (low, here)
        here, step = here + step if low == here else here - step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def median_interval(numbers: Sequence[int]) -> tuple[float, float, float]:
    """Median with its 95 per cent interval from order statistics; a critical number T stands for T + 1/2."""
    ordered, count = np.sort(np.asarray(numbers, dtype=float)) + 0.5, len(numbers)
    if count < 6:
        raise ArithmeticError(f"{count} draws: an interval of 95 per cent for the median takes 6 at least")
    below = int(binom.ppf(0.025, count, 0.5))  # P(fewer than this many lie below the median) < 0.025
    return float(ordered[max(0, below - 1)]), float(np.median(ordered)), float(ordered[min(count - 1, count - below)])


def below_the_ceiling(inquiry: Inquiry) -> Evidence:
    """T* against the count of cells: circle (r = 2), regular simplex (r = N - 1) and, with more effort, random codes between."""
    tally, codes = Tally(inquiry), list(_below(inquiry))
    for done, (vocab_size, rank, code) in enumerate(codes):
        ratio = threshold_ratio(code)
        for features in BELOW_FEATURES[: inquiry.pick(9, 13, 16)]:
            tally.see(
                Case(
                    f"N = {vocab_size}, r = {rank}, m = {features}",
                    features * ratio.value,
                    inquiry.formula(vocab_size, rank, features),
                    features * 4 * ratio.standard_error,
                ),
                size=vocab_size + features,
            )
        inquiry.report((done + 1) / len(codes))
    most = BELOW_FEATURES[inquiry.pick(9, 13, 16) - 1]
    return tally.evidence(Method.PROPERTY, f"N from 3 to 50, r from 2 to 10, m from 2 to {most}")


def _below(inquiry: Inquiry) -> Iterator[tuple[int, int, np.ndarray]]:
    for vocab_size in (3, 4, 5, 6, 7, 8, 10, 11, 20, 50):
        yield vocab_size, 2, circle_code(vocab_size)
        if 4 <= vocab_size <= 11:
            yield vocab_size, vocab_size - 1, low_coherence_code(vocab_size, vocab_size - 1, 0)
    for vocab_size, rank in ((5, 3), (10, 3), (20, 5), (50, 10))[: inquiry.pick(0, 3, 4)]:
        yield vocab_size, rank, _random(vocab_size, rank)
