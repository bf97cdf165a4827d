"""Scores of one head, over all states that can occur, from the weights themselves: which sums are exact, and the least gap.

A head's queries read only some coordinates, and those take only so many values: that is what "all strings" comes down to. Per
kind of score this file lists the values of the query's and the key's coordinates, multiplies them with the weights and looks at
every sum of some of the terms. Everything is dyadic; float64 computes it without error wherever the answer is "exact".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from theory.hop_precision import Primitive

Projection = Callable[..., np.ndarray]
"""From the values of the coordinates read to the head's columns, (states, head_dim)."""

Weights = tuple[tuple[float, ...], ...]

ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class ScoreFacts:
    """What was found out about the scores of one kind in one head.

    Attributes:
        unread: weights of the head on coordinates that the kind of score does not have (to be 0).
        digits: the largest sum of some of its terms, in units of what divides all of these sums (below 2^p: exact).
        gap: least difference of an attended position's score to another's.
        tie: for "count": largest difference among the attended (to be 0).
    """

    unread: int
    digits: float
    gap: float
    tie: float = 0.0


def score_facts(
    primitive: Primitive, query: np.ndarray, key: np.ndarray, names: tuple[str, ...],
    reads: tuple[tuple[str, ...], tuple[str, ...]], seq_len: int, vocab_size: int, shifted: bool,
) -> ScoreFacts:  # fmt: skip
    """Facts on one kind of quadratic score.

    Args:
        primitive: the kind.
        query: weights (embed_dim, head_dim), of the head's columns for this kind, as float64.
        key: likewise.
        names: of the embed_dim coordinates.
        reads: names of the query's coordinates and of the key's, in the order in which they appear in the kind's form.
        seq_len: N.
        vocab_size: S.
        shifted: for "look-up": the query's position is i, its target i - 1.
    """
    unread = 0
    read_weights = []
    for weights, read in zip((query, key), reads, strict=True):
        rows = [names.index(name) for name in read]
        unread += int(np.count_nonzero(np.delete(weights, rows, axis=0)))
        read_weights.append(tuple(map(tuple, weights[rows].tolist())))
    digits, gap, tie = _facts(primitive, read_weights[0], read_weights[1], seq_len, vocab_size, shifted)
    return ScoreFacts(unread, digits, gap, tie)


@lru_cache(maxsize=64)  # heads of a model differ mostly in which coordinate they read
def _facts(
    primitive: Primitive, query: Weights, key: Weights, n: int, s: int, shifted: bool
) -> tuple[float, float, float]:
    """digits, gap and tie of `ScoreFacts`; the weights are those on the coordinates read, one row each."""
    on_query, on_key = np.array(query), np.array(key)

    def queries(*values: np.ndarray) -> np.ndarray:
        return np.stack(values, 1) @ on_query

    def keys(*values: np.ndarray) -> np.ndarray:
        return np.stack(values, 1) @ on_key

    places, codes = np.arange(n + 1.0), np.arange(1.0, s + 1)
    if primitive == "look-up":
        asked = queries(places, np.ones(n + 1))
        told, digits, gap = keys(places, places**2), 0.0, np.inf
        attended = np.arange(n + 1) - (1 if shifted else 0)
        for rows in range(1 if shifted else 0, n + 1, ROWS_AT_ONCE):  # the start, as query, sees only itself
            some = slice(rows, min(rows + ROWS_AT_ONCE, n + 1))
            terms, units, scores = _terms(asked[some], told)
            digits = max(digits, _digits(terms, units))
            gap = min(gap, _least_gap(scores, attended[some]))
        return digits, gap, 0.0
    if primitive == "broadcast":
        terms, units, scores = _terms(queries(np.ones(1)), keys(np.array([1.0, 0.0])))
        return _digits(terms, units), _least_gap(scores, np.zeros(1, dtype=int)), 0.0
    if primitive == "count":
        behind = np.concatenate(([0.0], codes))
        terms, units, scores = _terms(queries(codes, np.ones(s), codes**2), keys(behind, behind**2, (behind == 0).astype(float)))
        attended = np.arange(1, s + 1)
        own, start = scores[np.arange(s), attended], scores[:, 0]
        return _digits(terms, units), _least_gap(scores[:, 1:], attended - 1), float(abs(own - start).max())
    if primitive == "last match":
        return *_last_match_facts(queries, keys, n, s), 0.0
    return *_pair_facts(queries, keys, n, s), 0.0


def _last_match_facts(queries: Projection, keys: Projection, n: int, s: int) -> tuple[float, float]:
    # Scores are linear in j: the first position, the second and the last say everything.
    codes, befores = np.arange(1.0, s + 1), np.arange(0.0, s + 1)
    asked = queries(codes, np.ones(s), codes**2)
    digits, by_place = 0.0, dict[int, np.ndarray]()
    for place in {1, min(2, n), n}:
        terms, units, by_place[place] = _terms(asked, keys(befores, np.full(s + 1, float(place)), befores**2, np.zeros(s + 1)))
        digits = max(digits, _digits(terms, units))
    nothing = np.zeros(1)
    terms, units, start = _terms(asked, keys(nothing, nothing, nothing, np.ones(1)))
    digits = max(digits, _digits(terms, units))
    rows, match = np.arange(s), np.arange(1, s + 1)
    step = (by_place[min(2, n)] - by_place[1])[rows, match].min() if n > 1 else np.inf
    over_start = (by_place[1][rows, match] - start[:, 0]).min()
    missed = np.maximum(by_place[1], by_place[n])
    missed[rows, match] = -np.inf
    return digits, float(min(step, over_start, (start[:, 0] - missed.max(1)).min()))


def _pair_facts(queries: Projection, keys: Projection, n: int, s: int) -> tuple[float, float]:
    # Scores are a sum of one part of the symbols and one of the ranks, each largest where they are equal.
    symbols, ranks = np.arange(0.0, s + 1), np.arange(0.0, n + 1)
    gap = np.inf
    highest: dict[tuple[int, ...], float] = {}
    lowest: dict[tuple[int, ...], float] = {}
    unit: dict[tuple[int, ...], float] = {}
    for values, is_rank in ((symbols, False), (ranks, True)):
        zero, one = np.zeros(len(values)), np.ones(len(values))
        asked = queries(zero, values, one) if is_rank else queries(values, zero, one)
        told = keys(zero, values, values**2) if is_rank else keys(values, zero, values**2)
        most: dict[tuple[int, ...], float] = {}
        least: dict[tuple[int, ...], float] = {}
        for rows in range(0, len(values), ROWS_AT_ONCE):
            some = slice(rows, min(rows + ROWS_AT_ONCE, len(values)))
            terms, units, scores = _terms(asked[some], told)
            gap = min(gap, _least_gap(scores, np.arange(len(values))[some]))
            for chosen, total in _sums(terms):
                most[chosen] = max(most.get(chosen, -np.inf), float(total.max()))
                least[chosen] = min(least.get(chosen, np.inf), float(total.min()))
                unit[chosen] = min(unit.get(chosen, np.inf), *(units[column] for column in chosen))
        for chosen in most:
            highest[chosen] = highest.get(chosen, 0.0) + most[chosen]
            lowest[chosen] = lowest.get(chosen, 0.0) + least[chosen]
    digits = max(max(highest[chosen], -lowest[chosen]) / part for chosen, part in unit.items() if part < np.inf)
    return digits, gap


def _terms(queries: np.ndarray, keys: np.ndarray) -> tuple[list[np.ndarray], list[float], np.ndarray]:
    """The score's terms, (queries, keys) each, a power of two that divides each, and their sum."""
    columns = range(queries.shape[1])
    terms = [np.multiply.outer(queries[:, column], keys[:, column]) for column in columns]
    units = [_unit(queries[:, column]) * _unit(keys[:, column]) for column in columns]
    return terms, units, sum(terms, np.zeros((len(queries), len(keys))))


def _sums(terms: list[np.ndarray]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    for count in range(1, len(terms) + 1):
        for chosen in combinations(range(len(terms)), count):
            yield chosen, sum((terms[column] for column in chosen[1:]), terms[chosen[0]])


def _digits(terms: list[np.ndarray], units: list[float]) -> float:
    largest = ((chosen, float(abs(total).max())) for chosen, total in _sums(terms))
    return max((size / min(units[column] for column in chosen) for chosen, size in largest if size), default=0.0)


def _unit(numbers: np.ndarray) -> float:
    """The largest power of two that divides all of them; infinity where all are zero."""
    fractions, exponents = np.frexp(numbers[numbers != 0])
    if not len(fractions):
        return np.inf
    whole = (fractions * 2.0**53).astype(np.int64)
    return float(np.ldexp((whole & -whole).astype(np.float64), exponents - 53).min())


def _least_gap(scores: np.ndarray, attended: np.ndarray) -> float:
    rows = np.arange(len(scores))
    others = scores.copy()
    others[rows, attended] = -np.inf
    return float((scores[rows, attended] - others.max(1)).min()) if scores.shape[1] > 1 else np.inf
