"""How the claims about single heads are checked: hardmax in whole numbers, scores on a circle ordered by whole distances."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations_with_replacement, product

from headcount.claims.checks import enumerated
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from headcount.claims.sanford2024._printed import (
    String,
    circle_last_match,
    circle_look_up,
    find,
    in_letters,
    repaired_circle_last_match,
    strings,
)

COSINE = "scores are cosines of the angle between query and key, which fall strictly as the distance on the circle grows"


def _average(positions: list[int]) -> Fraction:
    return Fraction(sum(positions), len(positions))


def hardmax(inquiry: Inquiry) -> Evidence:
    longest = inquiry.pick(4, 5, 6)
    decays = [Fraction(1, 10**power) for power in (0, 1, 3, 9)]

    def cases() -> Iterator[Case]:
        for size in range(2, longest + 1):
            for ties, decay in product(range(1, size), decays):
                below = [decay, decay / 2, Fraction(0)]
                for rest in combinations_with_replacement(below, size - ties):
                    for top, other in product((-1, 0, 1), repeat=2):
                        total = ties + sum(rest)
                        apart = abs(Fraction(ties * top + sum(rest) * other) / total - top)
                        words = f"N = {size}, t = {ties}, e^-xi = {decay}, weights below {', '.join(map(str, rest))}, values"
                        yield Case(f"{words} {top} and {other}", apart, inquiry.formula(size, ties, decay, 1))

    return enumerated(
        inquiry, cases(), Method.EXACT,
        f"weights relative to the largest in fractions, N 2..{longest}, all ties, e^-xi 1 to 1e-9, values -1, 0, 1",
        argument="the weights off the maximum sum to at most ((N - t) / t) e^-xi of those on it, softmax is the average of the "
        "two groups' averages by these weights, and two averages of values in [-v, v] differ by at most 2 v; the case of "
        "equality is approached as e^-xi falls to 0",
    )


def _all_look_ups(inquiry: Inquiry, longest: int, extra: tuple[int, ...]) -> Iterator[Case]:
    for length in range(1, longest + 1):
        for more, position in product(extra, range(length + 1)):
            for target in range(position + 1):
                seen = circle_look_up(position, target, length + more)
                words = f"N = {length}, period {length + more}, position {position}, target {target}: attended {seen}, output"
                yield Case(words, _average(seen), inquiry.formula(target, position, length))


def look_up(inquiry: Inquiry) -> Evidence:
    longest = inquiry.pick(8, 16, 30)
    ranges = f"all positions and targets, N 1..{longest}"
    return enumerated(inquiry, _all_look_ups(inquiry, longest, (0,)), Method.EXACT, ranges, note=COSINE + ".")


def look_up_repaired(inquiry: Inquiry) -> Evidence:
    longest = inquiry.pick(8, 16, 30)
    return enumerated(
        inquiry, _all_look_ups(inquiry, longest, (1, 2, longest)), Method.EXACT,
        f"all positions and targets, N 1..{longest}, periods N + 1, N + 2, N + {longest}",
        argument=f"0 < |j - t| <= N < P for j != t in 0..N, so that only j = t has distance 0; {COSINE}",
    )


def _strings(longest: dict[int, int]) -> Iterator[tuple[int, String]]:
    """All strings, the shorter ones first, then those over smaller alphabets: with the alphabet's size."""
    for length in range(1, max(longest.values()) + 1):
        for vocab_size, most in longest.items():
            if length <= most:
                yield from ((vocab_size, string) for string in strings(vocab_size, length))


def _sizes(inquiry: Inquiry) -> dict[int, int]:
    """The longest strings tried, by size of the alphabet."""
    return (
        {1: 6, 2: 7, 3: 5}, {1: 8, 2: 10, 3: 7, 4: 5}, {1: 8, 2: 13, 3: 8, 4: 7, 5: 6}
    )[inquiry.effort.rank]


def _said(sizes: dict[int, int]) -> str:
    return "all strings: " + ", ".join(f"|Sigma| = {vocab}, N 1..{most}" for vocab, most in sizes.items())


def last_match(inquiry: Inquiry) -> Evidence:
    sizes = {vocab: most for vocab, most in _sizes(inquiry).items() if vocab > 1}

    def cases() -> Iterator[Case]:
        for vocab, string in _strings(sizes):
            length = len(string)
            for position in range(2, length + 1):
                if vocab <= length and string[position - 1] in string[: position - 1]:
                    seen = circle_last_match(string, position, length, length * vocab)
                    words = f"X = {in_letters(string)}, |Sigma| = {vocab}, position {position}: attended {seen}, average"
                    yield Case(words, _average(seen), inquiry.formula(string, position, vocab))

    ranges = f"{_said(sizes)}, |Sigma| <= N, positions whose symbol came before"
    return enumerated(inquiry, cases(), Method.EXACT, ranges, note=COSINE + ".")


def last_match_repaired(inquiry: Inquiry) -> Evidence:
    sizes = _sizes(inquiry)

    def cases() -> Iterator[Case]:
        for vocab, string in _strings(sizes):
            for position in range(1, len(string) + 1):
                seen = repaired_circle_last_match(string, position, vocab)
                words = f"X = {in_letters(string)}, |Sigma| = {vocab}, position {position}: attended {seen}, average"
                yield Case(words, _average(seen), inquiry.formula(string, position, vocab))

    return enumerated(
        inquiry, cases(), Method.EXACT, f"{_said(sizes)}, all positions",
        argument="a key of the query's symbol stands i - j <= N - 1 marks away, nearer the later it is; of any other symbol at "
        "least 2 N - (N - 1) = N + 1 marks, both ways around since the |Sigma| + 1 symbols fill the circle; the start token's "
        "key, "
        f"N - 1/2 marks away, lies between; {COSINE}",
    )


def strict(inquiry: Inquiry) -> Evidence:
    sizes = _sizes(inquiry)

    def cases() -> Iterator[Case]:
        for _, string in _strings(sizes):
            for position in range(1, len(string) + 1):
                words = f"X = {in_letters(string)}, position {position}: find"
                yield Case(words, find(string, position), inquiry.formula(string, position))

    return enumerated(inquiry, cases(), Method.EXACT, f"{_said(sizes)}, all positions")


def strict_repaired(inquiry: Inquiry) -> Evidence:
    sizes = _sizes(inquiry)

    def cases() -> Iterator[Case]:
        for _, string in _strings(sizes):
            for position in range(1, len(string) + 1):
                differ = find(string, position) != find(string, position, strictly_before=True)
                words = f"X = {in_letters(string)}, position {position}: whether they differ"
                yield Case(words, int(differ), inquiry.formula(string, position))

    return enumerated(
        inquiry, cases(), Method.EXACT, f"{_said(sizes)}, all positions",
        argument="the two maxima run over sets that differ by i alone, which is in the larger one exactly if X_{i-1} = X_i, and "
        "is its maximum then",
    )
