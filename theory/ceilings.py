"""How many associations a model cannot exceed: upper bounds, the other side of the counts in `theory.memorization`.

Each ceiling is the largest T0 for which ALL N^T0 labelings of some set of T0 sequences are within reach, as far as its
counting argument can tell; no set of T0 + 1 sequences has all its labelings stored. One labeling may well be stored
beyond it: of uniformly random labels, a share of at most 2^(log2 of labelings) / N^T0 is (`label_probability`). Stored
means that the right logit is strictly the largest. Two ceilings, `exact_target_ceiling` and `distribution_ceiling`,
are of another kind: they count dimensions, and speak of almost every real target.

Symbols: N vocab_size, S seq_len, T0 num_associations, d embed_dim, d_h head_dim, H num_heads, r = min(d_h, d). The model
is that of Dana, Pydi and Chevaleyre 2025, equations (1) and (2); the ceilings are derived here from the theorems named.
Integers are exact (big integers, or enclosures refined until they decide); bad arguments raise ValueError.
"""

from collections.abc import Callable
from math import comb, inf, nan, nextafter
from numbers import Integral, Rational, Real
from typing import Any

import numpy as np

from theory.memorization import effective_parameters
from theory.shapes import AttentionShape, checked_integer


def counting_ceiling(vocab_size: int, seq_len: int, positions: bool = True) -> int:
    """N^S, the number of sequences; without positions N binom(N + S - 2, S - 1), that of (multiset, last token) pairs.

    Assumes nothing about the model, but without position embeddings: there, attention at the last position cannot see
    the order of the first S - 1 tokens, and sequences that differ in it only have the same logits.
    """
    vocab, length = checked_integer("vocab_size", vocab_size, 2), checked_integer("seq_len", seq_len, 1)
    _check_flag("positions", positions)
    return int(vocab**length) if positions else vocab * comb(vocab + length - 2, length - 1)


def bits_ceiling(vocab_size: int, num_parameters: int, bits: int) -> int:
    """floor(b P / log2 N): P parameters of b bits each take 2^(b P) values, N^T0 labelings need as many.

    Any model whatever, run on P (`num_parameters`) stored numbers of b (`bits`) bits. Pigeonhole principle.
    """
    vocab = checked_integer("vocab_size", vocab_size, 2)
    total = checked_integer("num_parameters", num_parameters, 1) * checked_integer("bits", bits, 1)
    if vocab & (vocab - 1) == 0:
        return total // (vocab.bit_length() - 1)

    def needed(count: int) -> bool:  # log2 N is irrational: never a tie
        return _at_least(lambda: _log(2) * total, lambda: _log(vocab) * count)

    return _largest(needed, total // vocab.bit_length())


def readout_ceiling(vocab_size: int, code_dim: int, num_features: int) -> int:
    """Largest T0 with N^T0 <= 2 sum_{k < P} binom(s - 1, k), P = q m unknowns, s = T0 N (N - 1) / 2 hyperplanes.

    Assumes that attention, embeddings, value maps and unembedding are fixed before the labels, and that the output is
    E = W F with m = `num_features` fixed features and a free linear map W into R^d. Each labeling stored then takes
    at least one cell of the s hyperplanes (u_y - u_j) . W f_t = 0 in the space of W. They run through the origin, so
    there are at most as many cells as Schlaefli and Cover count (Cover 1965, theorem 1). `code_dim` is q, the dimension
    of the span of all u_y - u_j, at most min(d, N - 1): only W's projection to it matters.

    With value maps fixed, m = H r + d: heads and the skip connection (which is the identity, but a change of basis makes
    of it any invertible map). With value maps trained and d_h >= q, m = d (H + 1). In place of m, the rank of the
    features on the sequences at hand will do. N = 2 gives T0 = P; P = 1 with N >= 3 gives 0: of three points on a line,
    one is never the furthest.
    """
    vocab, unknowns = _readout_sizes(vocab_size, code_dim, num_features)
    if vocab == 2:  # one hyperplane per sequence, and T0 > P of them have less than 2^T0 cells
        return unknowns
    per_sequence = comb(vocab, 2)

    def within(count: int) -> bool:
        others = count * per_sequence - 1
        if others < 2 * unknowns:  # at least half of all patterns, 2^(s - 1), and N <= 2^(N (N - 1) / 2 - 1) for N >= 3
            return True
        for refine in (0, 32, 1024):
            with _precision(256):
                least, most = _log_binomial_sum(others, unknowns, refine)
                labels = _log(vocab) * count - _log(2)
                if least > labels or most < labels:
                    return bool(least > labels)
        return bool(vocab**count <= 2 * sum(comb(others, k) for k in range(unknowns)))  # next to a tie

    return _largest(within, 1) if unknowns > 1 else 0  # one unknown, two cells, three labels


def readout_labelings_log2(vocab_size: int, code_dim: int, num_features: int, num_associations: int) -> float:
    """log2 of at most how many labelings of T0 sequences a free linear readout stores: see `readout_ceiling`.

    At most T0 log2 N, rounded up.
    """
    vocab, unknowns = _readout_sizes(vocab_size, code_dim, num_features)
    count = checked_integer("num_associations", num_associations, 1)
    others = count * comb(vocab, 2) - 1
    with _precision(128):
        everything = _log(vocab) * count
        if others < unknowns:
            return _rounded_up(everything, everything)
        _, most = _log_binomial_sum(others, unknowns, unknowns if others < 3 * unknowns else 64)
        return _rounded_up(everything, most + _log(2))


def trained_readout_ceiling(
    vocab_size: int, embed_dim: int, head_dim: int, num_heads: int, train_values: bool = False
) -> int:
    """Largest T0 with N^T0 <= (4 e D s / P)^P, s = T0 N (N - 1) / 2: output maps and unembedding trained, attention not.

    Assumes that embeddings, positions and W_QK are fixed before the labels, and so are the value maps W_V unless
    `train_values`. Logit differences are then s polynomials in P = d N + d r H unknowns (W_U, W_O) of degree D = 2, with
    `train_values` in P = d N + 2 d r H unknowns (W_U, W_O, W_V) of degree D = 3. The labels follow from their signs, none
    of them zero, and polynomials s >= P have at most (4 e D s / P)^P sign patterns without zeros (Warren 1968, theorem 3).
    Goldberg and Jerrum's 8 e in place of 4 e allows for zeros, which stored associations never have.
    """
    vocab, unknowns, degree = _trained_sizes(vocab_size, embed_dim, head_dim, num_heads, train_values)
    return _largest_by_signs(vocab, lambda count: [(count * comb(vocab, 2), degree, unknowns, 4)])


def trained_readout_labelings_log2(
    vocab_size: int,
    embed_dim: int,
    head_dim: int,
    num_heads: int,
    num_associations: int,
    train_values: bool = False,
) -> float:
    """log2 of at most how many labelings of T0 sequences are stored in the setting of `trained_readout_ceiling`.

    At most T0 log2 N, rounded up.
    """
    vocab, unknowns, degree = _trained_sizes(vocab_size, embed_dim, head_dim, num_heads, train_values)
    count = checked_integer("num_associations", num_associations, 1)
    return _labelings_log2(vocab, count, [(count * comb(vocab, 2), degree, unknowns, 4)])


def hard_attention_ceiling(vocab_size: int, seq_len: int, embed_dim: int, head_dim: int, num_heads: int) -> int:
    """Largest T0 with T0 log2 N <= P log2(32 e s1 / P) + P log2(16 e s2 / P): every parameter trained, attention hard.

    Assumes that each head attends to the position of highest score (to all of them equally, or to the first, on a
    tie). The signs of s1 = T0 H S (S - 1) / 2 score differences, polynomials of degree 4 in embeddings, positions,
    queries and keys, say what is attended to; then s2 = T0 N (N - 1) / 2 logit differences are polynomials of degree 4.
    P = d (S + 2N) + 4 d r H. Sign patterns with zeros, s1 >= P of degree D: (8 e D s1 / P)^P (Goldberg and Jerrum 1995,
    from Warren 1968); without: (4 e D s2 / P)^P (Warren 1968). Fewer than P polynomials have at most 3^s1 patterns.
    """
    vocab, patterns = _hard_attention(vocab_size, seq_len, embed_dim, head_dim, num_heads)
    return _largest_by_signs(vocab, patterns)


def hard_attention_labelings_log2(
    vocab_size: int, seq_len: int, embed_dim: int, head_dim: int, num_heads: int, num_associations: int
) -> float:
    """log2 of at most how many labelings of T0 sequences hard attention stores: see `hard_attention_ceiling`.

    At most T0 log2 N, rounded up.
    """
    vocab, patterns = _hard_attention(vocab_size, seq_len, embed_dim, head_dim, num_heads)
    count = checked_integer("num_associations", num_associations, 1)
    return _labelings_log2(vocab, count, patterns(count))


def softmax_ceiling(vocab_size: int, seq_len: int, embed_dim: int, head_dim: int, num_heads: int) -> int:
    """floor of (P (q + 1))^2 + 11 P (q + 1) (t + log2(9 P (q + 1))): every parameter trained, attention softmax.

    A bound on the Vapnik-Chervonenkis dimension of the sign of one logit difference, which shatters T0 sequences when
    all labelings with those two tokens are stored. P = d (S + 2N) + 4 d r H real parameters, q = H S exponentials and
    at most t other operations (arithmetic, comparisons, jumps) for one sequence, counted in the code of this function.
    Anthony and Bartlett 1999, theorem 8.14, its constants from memory. Far above all else here: what softmax attention
    holds at unbounded precision is open beyond such polynomials.
    """
    vocab, length, shape = _model(vocab_size, seq_len, embed_dim, head_dim, num_heads)
    dim, width, heads = shape.embed_dim, shape.rank, shape.num_heads
    reading = length * (vocab + dim)  # find each token's embedding, add its position
    project = width * (2 * dim - 1)
    scores = (length + 1) * project + length * (2 * width - 1)  # query and keys; inner products
    normalise = 2 * length - 1
    mixing = dim * (2 * length - 1) + project + dim * (2 * width - 1) + dim  # mixture, values, output, sum
    steps = reading + heads * (scores + normalise + mixing) + 2 * (2 * dim - 1) + 2  # two logits, compared
    size = _parameters(vocab, length, shape) * (heads * length + 1)

    def enclosure() -> Any:
        return size**2 + 11 * size * (steps + _log(9 * size) / _log(2))

    for bits in _PRECISIONS:  # log2 of a multiple of 9 is irrational: never a tie
        with _precision(bits):
            whole = enclosure().floor().unique_fmpz()
        if whole is not None:
            return int(whole)
    raise AssertionError("an irrational number has a floor")


def exact_target_ceiling(vocab_size: int, seq_len: int, embed_dim: int, head_dim: int, num_heads: int) -> int:
    """Largest T0 for which more than a null set of targets E in R^(d x T0) can be met exactly, W_U being fixed.

    floor(P' / d) with P' = d (N + S - 1) + 2 H r (2d - r): embeddings and positions less a shift between them, and two
    maps of rank r per head. (Smooth maps from fewer dimensions into more have images of measure zero: Sard.) Without heads
    or with S = 1 it is N: the output depends on the last token only. For d_h = d: 2 H d + S + N - 1, so the linear
    solve behind H d + d is within a factor of about two of any method that meets targets exactly.
    """
    vocab, length, shape = _model(vocab_size, seq_len, embed_dim, head_dim, num_heads)
    if shape.num_heads == 0 or length == 1:
        return vocab
    pairs = 2 * shape.num_heads * shape.rank * (2 * shape.embed_dim - shape.rank)
    return vocab + length - 1 + pairs // shape.embed_dim


def distribution_ceiling(vocab_size: int, seq_len: int, embed_dim: int, head_dim: int, num_heads: int) -> int:
    """Largest T0 for which more than a null set of tables of T0 next-token distributions (all positive) can be met exactly.

    For d < N - 1 it is d: log-probabilities, up to a constant per sequence, form a matrix (N - 1) x T0 of rank at most
    d. For d >= N - 1 it is floor(P_eff / (N - 1)), with P_eff of `theory.memorization.effective_parameters`, by the
    argument of `exact_target_ceiling`. Never above N^S.
    """
    vocab, length, shape = _model(vocab_size, seq_len, embed_dim, head_dim, num_heads)
    if shape.embed_dim < vocab - 1:
        return min(shape.embed_dim, vocab**length)
    free = effective_parameters(vocab, length, shape.embed_dim, shape.num_heads, shape.head_dim)
    return min(free // (vocab - 1), int(vocab**length))


def label_probability(labelings_log2: float, vocab_size: int, num_associations: int) -> float:
    """2^labelings_log2 / N^T0, at most 1: with what probability uniformly random labels can be stored, at most.

    `labelings_log2` is what a function `.._labelings_log2` gives for the same N and T0, or b P for P parameters of b bits.
    """
    vocab, count = checked_integer("vocab_size", vocab_size, 2), checked_integer("num_associations", num_associations, 1)
    bits = _plain(labelings_log2)
    if not 0 <= bits < inf:
        raise ValueError(f"labelings_log2 = {labelings_log2!r}: must be a finite number >= 0")
    with _precision(128):
        share = _enclosed(bits) * _log(2) - _log(vocab) * count
        return 1.0 if not share < 0 else _up(share.exp())


# The parts: sizes, monotone search, enclosures

_PRECISIONS = [64 << k for k in range(12)]
Patterns = list[tuple[int, int, int, int]]  # polynomials, their degree, unknowns, and 4 without or 8 with zeros


def _plain(number: object) -> int | float:
    """An int or float of Python's or numpy's as Python's own, NaN for anything else (fractions may have no float)."""
    if isinstance(number, Integral) and not isinstance(number, bool):
        return int(number)
    return float(number) if isinstance(number, Real) and not isinstance(number, Rational) else nan


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} = {value!r}: must be True or False")


def _readout_sizes(vocab_size: int, code_dim: int, num_features: int) -> tuple[int, int]:
    vocab, code = checked_integer("vocab_size", vocab_size, 2), checked_integer("code_dim", code_dim, 1)
    if code > vocab - 1:
        raise ValueError(f"code_dim = {code}: must be at most vocab_size - 1 = {vocab - 1}")
    return vocab, code * checked_integer("num_features", num_features, 1)


def _model(
    vocab_size: int, seq_len: int, embed_dim: int, head_dim: int, num_heads: int
) -> tuple[int, int, AttentionShape]:
    vocab, length = checked_integer("vocab_size", vocab_size, 2), checked_integer("seq_len", seq_len, 1)
    return vocab, length, AttentionShape(embed_dim, num_heads, head_dim)


def _parameters(vocab: int, length: int, shape: AttentionShape) -> int:
    return shape.embed_dim * (length + 2 * vocab + 4 * shape.rank * shape.num_heads)


def _trained_sizes(
    vocab_size: int, embed_dim: int, head_dim: int, num_heads: int, train_values: bool
) -> tuple[int, int, int]:
    vocab, _, shape = _model(vocab_size, 1, embed_dim, head_dim, num_heads)
    _check_flag("train_values", train_values)
    maps = 2 if train_values else 1
    return vocab, shape.embed_dim * (vocab + maps * shape.rank * shape.num_heads), 1 + maps


def _hard_attention(
    vocab_size: int, seq_len: int, embed_dim: int, head_dim: int, num_heads: int
) -> tuple[int, Callable[[int], Patterns]]:
    vocab, length, shape = _model(vocab_size, seq_len, embed_dim, head_dim, num_heads)
    unknowns, choices = _parameters(vocab, length, shape), shape.num_heads * comb(length, 2)

    def patterns(count: int) -> Patterns:
        return [(count * choices, 4, unknowns, 8), (count * comb(vocab, 2), 4, unknowns, 4)]

    return vocab, patterns


def _log_patterns(polynomials: int, degree: int, unknowns: int, constant: int) -> Any:
    """log of the number of sign patterns; the bound for `polynomials` >= `unknowns`, else all patterns there are."""
    if polynomials < unknowns:
        return _log(2 if constant == 4 else 3) * polynomials
    return (_log(constant * degree * polynomials) - _log(unknowns) + 1) * unknowns


def _largest_by_signs(vocab: int, patterns: Callable[[int], Patterns]) -> int:
    def within(count: int) -> bool:
        parts = patterns(count)
        polynomials, _, unknowns, _ = parts[-1]
        if polynomials < unknowns:  # all 2^s2 patterns, of which N^T0 is at most as many
            return True
        # No tie: a power of e with rational factors is on one side only.
        return _at_least(lambda: sum(_log_patterns(*part) for part in parts), lambda: _log(vocab) * count)

    return _largest(within, 1)


def _labelings_log2(vocab: int, count: int, parts: Patterns) -> float:
    with _precision(128):
        return _rounded_up(_log(vocab) * count, sum(_log_patterns(*part) for part in parts))


def _largest(holds: Callable[[int], bool], start: int) -> int:
    """The largest number that holds, when all from `start` on up to it do and none beyond."""
    low, high = start, 2 * start + 1
    while holds(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _log_binomial_sum(items: int, terms: int, refine: int) -> tuple[Any, Any]:
    """log of sum_{k < terms} binom(items, k), from below and above: `refine` terms from the last, then a geometric series.

    Needs terms <= items, and terms <= refine or 2 terms < items + 3.
    """
    largest = _log_binomial(items, terms - 1)
    total = term = _enclosed(1)
    for k in range(terms - 1, max(0, terms - 1 - refine), -1):
        term = term * k / (items - k + 1)
        total += term
    first_left = max(0, terms - 1 - refine)
    ratio = _enclosed(first_left) / (items - first_left + 1)
    return largest + total.log(), largest + (total + term * ratio / (1 - ratio)).log()


def _precision(bits: int) -> Any:
    from flint import ctx  # imported here so that `import theory` does without it

    return ctx.workprec(bits)


def _enclosed(number: float | int) -> Any:
    from flint import arb

    return arb(number)


def _log(number: int) -> Any:
    return _enclosed(number).log()


def _log_binomial(items: int, chosen: int) -> Any:
    return sum(sign * _enclosed(n + 1).lgamma() for sign, n in ((1, items), (-1, chosen), (-1, items - chosen)))


def _at_least(left: Callable[[], Any], right: Callable[[], Any]) -> bool:
    """Whether left >= right, two enclosures that are never equal, at the precision that it takes."""
    for bits in _PRECISIONS:
        with _precision(bits):
            difference = left() - right()
            if difference > 0 or difference < 0:
                return bool(difference > 0)
    raise AssertionError("numbers that differ were not told apart")


def _up(enclosure: Any) -> float:
    """A float that is not below the enclosure."""
    return nextafter(float(enclosure.upper()), inf)


def _rounded_up(everything: Any, logarithm: Any) -> float:
    """The smaller of two natural logarithms in base 2, as a float that is not below it."""
    return min(_up(everything / _log(2)), _up(logarithm / _log(2)))
