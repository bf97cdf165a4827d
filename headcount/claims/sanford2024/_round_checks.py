"""How the claims about slots and merging are checked: in whole numbers and fractions, without anything built."""

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import log, log1p

from headcount.claims.checks import enumerated
from headcount.claims.claim import Case, Evidence, Inquiry, Method


def _fewest_slots(num_positions: int, num_rows: int) -> int:
    """The least number of columns at which the chance of a bad choice of rows, summed over all choices, is below 1.

    N^(2b) bounds the number of choices of b rows out of N^2, and one row of a choice is alone in a column with probability
    (1/(b+1)) (b/(b+1))^(b-1).
    """
    alone = Fraction(1, num_rows + 1) * Fraction(num_rows, num_rows + 1) ** (num_rows - 1)
    choices = 2 * num_rows * log(num_positions) + log(num_rows)
    return int(choices / -log1p(-float(alone))) + 1


def slots(inquiry: Inquiry) -> Evidence:
    most = inquiry.pick(30, 100, 300)

    def cases() -> Iterator[Case]:
        for positions in (2, 3, 4, 8, 16, 64, 256, 4096, 10**6):
            for rows in range(1, most + 1):
                words = f"N = {positions}, b = {rows}: columns at which the union bound is below 1"
                formula = inquiry.formula(positions, rows)
                # Logarithms and their quotient are right to a few units in the last place, the count to one.
                yield Case(words, _fewest_slots(positions, rows), formula, 1 + 1e-12 * abs(formula))

    return enumerated(
        inquiry, cases(), Method.EXACT, f"N 2..10^6, b 1..{most}",
        argument="a row is alone in a column with probability above 1 / (e b), since (1 + 1/b)^b < e; so the union bound is "
        "below N^(2b) b exp(-12 b ln(N^2) / e) < b N^(-6.8 b), and b < 2^(6.8 b) <= N^(6.8 b)",
    )


def merged(weights: Sequence[Fraction], values: Sequence[Fraction], branching: int) -> Fraction:
    """The root's S of a tree that merges up to `branching` pairs (Z, S) at once, bottom up."""
    level = list(zip(weights, values, strict=True))
    while len(level) > 1:
        groups = [level[start : start + branching] for start in range(0, len(level), branching)]
        totals = [sum((z for z, _ in group), Fraction(0)) for group in groups]
        level = [
            (total, sum((z / total * s for z, s in group), Fraction(0))) for total, group in zip(totals, groups, strict=True)
        ]
    return level[0][1]


def merge(inquiry: Inquiry) -> Evidence:
    chance, most = random.Random(inquiry.seed), inquiry.pick(20, 60, 200)

    def cases() -> Iterator[Case]:
        for size in range(1, most + 1):
            weights = [Fraction(chance.randint(1, 10**chance.randint(0, 9))) for _ in range(size)]
            values = [Fraction(chance.randint(-99, 99), chance.randint(1, 9)) for _ in range(size)]
            for branching in (2, 3, 8):
                words = f"{size} keys, weights up to {max(weights)}, {branching} at once: the root's S"
                yield Case(words, merged(weights, values, branching), inquiry.formula(weights, values))

    return enumerated(
        inquiry, cases(), Method.EXACT, f"1..{most} keys, branching 2, 3, 8, random whole weights and fractions as values",
        argument="at every node Z S is the sum of Z_c S_c, so by induction the sum of weight times value over the leaves below, "
        "and Z that of their weights",
    )
