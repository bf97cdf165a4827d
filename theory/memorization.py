"""How many associations an attention-only layer can hold, how many heads that takes, and what it costs in parameters.

Every function is one formula in exact integers or Fractions. Symbols: N vocab_size, S seq_len, T0 num_associations,
K num_last_tokens (distinct last tokens of the stored sequences), d embed_dim, d_h head_dim, H num_heads. A head wider
than the embedding gains nothing, so r = min(d_h, d) stands wherever the paper, which assumes d_h <= d, writes d_h.
H = 0 is legal: the skip connection remembers on its own. Counts of associations need d >= 2, because on a line at most
two tokens can ever be the most likely one. A bad argument raises ValueError.

These counts are lower bounds on what some choice of weights holds (any labels): more is possible, see `ceilings` for
the other side. The papers: Dana, Pydi and Chevaleyre 2025 (AISTATS, arXiv 2411.10115) for all but the last two
functions, Mahdavi, Liao and Thrampoulidis 2024 (ICLR, arXiv 2306.02010) for those. What carries no number of theirs is
derived here, and its docstring says whether by proof or by computation.
"""

from fractions import Fraction
from math import isfinite
from numbers import Rational
from typing import overload

from theory.shapes import checked_integer


def corollary_1_associations(num_heads: int, head_dim: int, embed_dim: int) -> int:
    """H r + d, with r = min(d_h, d): the associations that H heads are said to hold.

    Dana, Pydi and Chevaleyre 2025, Corollary 1 (there for d = 2: H d_h + 2; general d from Theorem 1 at epsilon = 0).
    As printed it has assumptions missing: the +d needs K >= d, and the r per head needs sequences that differ enough
    (`repaired_associations`, `guaranteed_associations`). Not capped by N^S.
    """
    heads, rank = _heads(num_heads), _rank(head_dim, embed_dim)
    return heads * rank + embed_dim


def corollary_1_heads(num_associations: int, head_dim: int, embed_dim: int) -> int:
    """The fewest heads whose `corollary_1_associations` reach T0: ceil((T0 - d) / r), and 0 for T0 <= d.

    Dana, Pydi and Chevaleyre 2025, Corollary 1 solved for H. (A remark there calls "H d_h + d = T0" a number of heads.)
    """
    total, rank = _associations(num_associations), _rank(head_dim, embed_dim)
    return _ceil_divide(max(0, total - embed_dim), rank)


def repaired_associations(
    num_heads: int, head_dim: int, embed_dim: int, num_last_tokens: int, num_associations: int
) -> int:
    """min(T0, H r + min(d, K)): Corollary 1 with the assumptions under which its count is reached.

    Repairs Dana, Pydi and Chevaleyre 2025, Corollary 1 and Lemma 2. The skip connection sees last tokens only, hence
    min(d, K) for d. The r per head needs S >= d + 1, or sequences that are not degenerate: Lemma 2 is false as stated
    for S <= d, where on the constant sequences (a, .., a) a head adds at most S - 1.

    Status: under that assumption it is derived for heads whose attention weights are free (S >= d + 1 proved in
    `guaranteed_associations`). Softmax heads reach it on all sets tried in exact arithmetic, save those described
    there: few heads, S >= 4, and a last token preceded by a product of choices.
    """
    heads, rank = _heads(num_heads), _rank(head_dim, embed_dim)
    last, total = _last_tokens(num_last_tokens, num_associations)
    return min(total, heads * rank + min(embed_dim, last))


def repaired_heads(num_associations: int, head_dim: int, embed_dim: int, num_last_tokens: int) -> int:
    """The fewest heads for which `repaired_associations` is all T0: ceil((T0 - min(d, K)) / r), at least 0.

    Same source and assumptions as `repaired_associations`.
    """
    last, total = _last_tokens(num_last_tokens, num_associations)
    rank = _rank(head_dim, embed_dim)
    return _ceil_divide(total - min(embed_dim, last), rank)


def guaranteed_associations(
    num_heads: int, head_dim: int, embed_dim: int, seq_len: int, num_last_tokens: int, num_associations: int
) -> int:
    """min(T0, min(d, K) + H min(r, S - 1)): what is held on every data set with this K and T0, degenerate or not.

    For S >= d + 1 this is `repaired_associations`. For S <= d it is the worst case over data sets, reached by constant
    sequences (a, .., a), whose differences from the last position span only S - 1 dimensions. S = 1: heads add nothing.

    Derived here as a repair of Dana, Pydi and Chevaleyre 2025, Lemma 2. Proved for heads with free attention weights:
    their rank is the minimum over subsets J of the data of the number of sequences outside J, plus min(d, K(J)), plus H
    times min(r, dimension of the differences in J); any J but the empty one spans at least min(d, S - 1) differences,
    and loses a last token only with a sequence left outside. For softmax heads it is an observation, not a theorem: in
    exact arithmetic, no exception for S <= 3 (about 5,000 small data sets, most degenerate), but for S >= 4 one head
    holds 3, not 4, of the sequences (a or b, c or d, e, f), since its numerators and denominator are sums over
    positions. Such products before one shared last token, and few heads, were the only exceptions found; other
    sequences beside them do not help (d = d_h = 3, H = 1, S = 4, two more last tokens: 5, not 6).
    """
    heads, rank = _heads(num_heads), _rank(head_dim, embed_dim)
    length = checked_integer("seq_len", seq_len, 1)
    last, total = _last_tokens(num_last_tokens, num_associations)
    return min(total, min(embed_dim, last) + heads * min(rank, length - 1))


def corollary_2_accuracy(
    num_heads: int, head_dim: int, embed_dim: int, vocab_size: int, num_associations: int
) -> Fraction:
    """1/N + (1 - 1/N) (H r + d) / T0, at most 1: accuracy when Corollary 1's associations are held, the rest guessed.

    Dana, Pydi and Chevaleyre 2025, Corollary 2 (uniform prior). The 1/N for the rest is an expectation over uniformly
    drawn labels, not a promise for every table; and the assumptions missing from Corollary 1 are missing here.
    """
    total = _associations(num_associations)
    held = min(total, corollary_1_associations(num_heads, head_dim, embed_dim))
    return accuracy_from_memory(held, vocab_size, total)


@overload
def accuracy_from_memory(memory: int | Fraction, vocab_size: int, num_associations: int) -> Fraction: ...
@overload
def accuracy_from_memory(memory: float, vocab_size: int, num_associations: int) -> float: ...
def accuracy_from_memory(memory: int | Fraction | float, vocab_size: int, num_associations: int) -> Fraction | float:
    """phi(X) = 1/N + (1 - 1/N) X / T0: accuracy of holding X associations and guessing the others one in N.

    `memory` X lies between -T0 / (N - 1), which is accuracy 0, and T0. An int or Fraction gives an exact Fraction, a
    float gives a float. Dana, Pydi and Chevaleyre 2025, Corollary 2 and the conversion used in their figures.
    """
    vocab, total = checked_integer("vocab_size", vocab_size, 2), _associations(num_associations)
    number = _number("memory", memory)
    least = Fraction(-total, vocab - 1)
    slack = Fraction(0) if isinstance(number, Fraction) else Fraction(total, 10**12)  # rounding of phi's inverse
    if not least - slack <= Fraction(number) <= total + slack:
        raise ValueError(f"memory = {memory}: must be between -T0 / (N - 1) = {least} and T0 = {total}")
    accuracy = (total + (vocab - 1) * number) / (vocab * total)
    return accuracy if isinstance(accuracy, Fraction) else min(1.0, max(0.0, accuracy))


@overload
def memory_from_accuracy(accuracy: int | Fraction, vocab_size: int, num_associations: int) -> Fraction: ...
@overload
def memory_from_accuracy(accuracy: float, vocab_size: int, num_associations: int) -> float: ...
def memory_from_accuracy(accuracy: int | Fraction | float, vocab_size: int, num_associations: int) -> Fraction | float:
    """X = T0 (accuracy - 1/N) / (1 - 1/N), the inverse of phi: associations that explain an accuracy beyond guessing.

    `accuracy` lies in [0, 1]; below 1/N the result is negative. An int or Fraction gives an exact Fraction, a float
    gives a float. Meant for accuracy on the uniform table: on training draws it overstates memory.
    Dana, Pydi and Chevaleyre 2025, Corollary 2.
    """
    vocab, total = checked_integer("vocab_size", vocab_size, 2), _associations(num_associations)
    number = _number("accuracy", accuracy)
    if not 0 <= number <= 1:
        raise ValueError(f"accuracy = {accuracy}: must be between 0 and 1")
    return total * (vocab * number - 1) / (vocab - 1)


def parameter_count(vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int) -> int:
    """d (S + 2N) + 4 d d_h H: numbers in the arrays of the model (positions, embedding, unembedding; Q, K, V, O).

    Here d_h is as given, also beyond d: the arrays are there. Dana, Pydi and Chevaleyre 2025, Theorem 1.
    """
    vocab, length, dim, heads, width = _all_sizes(vocab_size, seq_len, embed_dim, num_heads, head_dim)
    return dim * (length + 2 * vocab) + 4 * dim * width * heads


def rank_one_parameter_count(vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int) -> int:
    """d (S + 2N + 2 (d_h + 1) H): the same with query and key of width one, values and output of width d_h.

    Dana, Pydi and Chevaleyre 2025, Remark 2.
    """
    vocab, length, dim, heads, width = _all_sizes(vocab_size, seq_len, embed_dim, num_heads, head_dim)
    return dim * (length + 2 * vocab + 2 * (width + 1) * heads)


def corollary_1_parameters(num_associations: int, vocab_size: int, seq_len: int, embed_dim: int = 2) -> int:
    """d (S + 2N + 4 (T0 - d)): the parameters with which T0 associations are held; T0 <= d needs no heads.

    Equal to `parameter_count` at H = (T0 - d) / d_h heads; where d_h does not divide T0 - d, whole heads cost more.
    Dana, Pydi and Chevaleyre 2025, Corollary 1 (d = 2) and Theorem 1 at epsilon = 0.
    """
    total, dim = _associations(num_associations), checked_integer("embed_dim", embed_dim, 2)
    vocab, length = checked_integer("vocab_size", vocab_size, 2), checked_integer("seq_len", seq_len, 1)
    return dim * (length + 2 * vocab + 4 * max(0, total - dim))


def effective_parameters(vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int) -> int:
    """The parameters that remain when those that cannot change any logit are taken away; at most `parameter_count`.

    For S >= 2, d < N and d <= 2 H r, the usual case, d (S + 2N) + 2 H r (2d - r) - d^2 - d: gone are a basis of R^d, a
    shift between token and position embeddings, and the inner bases of each head's two rank-r maps. Elsewhere:

    - H = 0 or S = 1 (attention has nothing to choose): d (2N - d) for d <= N, else N^2, a matrix of rank d;
    - d < N in general: d (2N - d) + (S - 1) min(d, 2 H r) + 2 H r (2d - r), as the first S - 1 positions are seen
      through the heads only;
    - d >= N, with r = min(d_h, N) and w = min(d, 2 H r, N + S - 2): N^2 + w (N + S - 2 - w) + 2 H r (N + w - r).

    Derived here for the model of Dana, Pydi and Chevaleyre 2025, equations (1) and (2), with its gauge freedoms counted
    by hand; then compared with the generic rank of the Jacobian from parameters to the logits of all N^S sequences,
    computed exactly modulo a prime. For d < N that rank was min(this, `reachable_logit_dimension`) in all shapes tried
    (540 with N <= 6, S <= 4, H <= 3, d_h <= 5, and 376 random ones with N <= 12; d_h > d, H = 0 and S = 1 among them).
    For d >= N it was in 254 of 274, and up to 6 less in the others (N, S, d, d_h, H = 3, 2, 4, 1, 1: rank 17, count 19):
    read it as an upper bound there.
    """
    vocab, length, dim, heads, width = _all_sizes(vocab_size, seq_len, embed_dim, num_heads, head_dim)
    if length == 1:
        heads = 0
    rank = min(width, dim, vocab)
    if dim < vocab:
        return dim * (2 * vocab - dim) + (length - 1) * min(dim, 2 * heads * rank) + 2 * heads * rank * (2 * dim - rank)
    differences = vocab + length - 2
    seen = min(dim, 2 * heads * rank, differences)
    return vocab**2 + seen * (differences - seen) + 2 * heads * rank * (vocab + seen - rank)


def logit_dimension(vocab_size: int, seq_len: int, embed_dim: int) -> int:
    """m (N^S + N - m) with m = min(d, N): dimension of all N^S x N tables of logits of rank at most d.

    No model of width d can move its logits in more independent directions, however many heads it has. The set of
    tables is the one of Dana, Pydi and Chevaleyre 2025, Definition 1 (sequence encoders).
    """
    vocab, length = checked_integer("vocab_size", vocab_size, 2), checked_integer("seq_len", seq_len, 1)
    used = min(checked_integer("embed_dim", embed_dim, 1), vocab)
    return used * (int(vocab**length) + vocab - used)


def reachable_logit_dimension(vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int) -> int:
    """d (N - d) + w N^S + (d - w) (N + w) with w = min(d, H r), for d < N: what heads of width d_h leave of `logit_dimension`.

    All heads together write into w dimensions (none for S = 1, where attention has nothing to choose). Elsewhere in R^d
    the output depends on the last token only. Counted are the space of logits (d (N - d)), the w dimensions in it
    (w (d - w)), a number per sequence in these, and one per last token in the others. Equal to `logit_dimension` for
    w = d. Derived here.

    Raises ValueError for d >= N.
    """
    vocab, length, dim, heads, width = _all_sizes(vocab_size, seq_len, embed_dim, num_heads, head_dim)
    if dim >= vocab:
        raise ValueError(f"embed_dim = {dim}: must be below vocab_size = {vocab}")
    written = min(dim, heads * min(width, dim)) if length > 1 else 0
    return dim * (vocab - dim) + written * int(vocab**length) + (dim - written) * (vocab + written)


def mahdavi_associations(num_heads: int, head_dim: int, seq_len: int) -> int:
    """H (min(n, d_h) - 1) + 1, with n = seq_len the size of a context.

    Mahdavi, Liao and Thrampoulidis 2024, Theorem 1; needs contexts of full row rank n and queries of Kruskal rank >= n,
    hence n <= d. Their d_h is the width of queries and keys, while their values may have width one; in Dana, Pydi and
    Chevaleyre 2025 d_h is the width of the values, and queries and keys may have width one. The two counts price
    different resources: compare them with that said.
    """
    heads, width = _heads(num_heads), checked_integer("head_dim", head_dim, 1)
    return heads * (min(checked_integer("seq_len", seq_len, 1), width) - 1) + 1


def mahdavi_associations_as_plotted(num_heads: int, head_dim: int) -> int:
    """H (d_h - 1) + 1: the earlier bound as Dana, Pydi and Chevaleyre 2025 draw it, without the minimum with n.

    It overstates Mahdavi, Liao and Thrampoulidis 2024 wherever d_h > n: with n = S = 2, as in all experiments there,
    their theorem gives H + 1. For what d_h means in each paper see `mahdavi_associations`.
    """
    return _heads(num_heads) * (checked_integer("head_dim", head_dim, 1) - 1) + 1


def _heads(num_heads: int) -> int:
    return checked_integer("num_heads", num_heads, 0)


def _associations(num_associations: int) -> int:
    return checked_integer("num_associations", num_associations, 1)


def _rank(head_dim: int, embed_dim: int) -> int:
    return min(checked_integer("head_dim", head_dim, 1), checked_integer("embed_dim", embed_dim, 2))


def _last_tokens(num_last_tokens: int, num_associations: int) -> tuple[int, int]:
    total, last = _associations(num_associations), checked_integer("num_last_tokens", num_last_tokens, 1)
    if last > total:
        raise ValueError(f"num_last_tokens = {last}: must be at most num_associations = {total}")
    return last, total


def _all_sizes(
    vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int
) -> tuple[int, int, int, int, int]:
    return (
        checked_integer("vocab_size", vocab_size, 2),
        checked_integer("seq_len", seq_len, 1),
        checked_integer("embed_dim", embed_dim, 1),
        _heads(num_heads),
        checked_integer("head_dim", head_dim, 1),
    )


def _ceil_divide(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _number(name: str, value: object) -> Fraction | float:
    """An exact Fraction where the value is exact, a finite float otherwise."""
    if isinstance(value, Rational) and not isinstance(value, bool):
        return Fraction(value)
    try:
        number = float(value) if not isinstance(value, (bool, str, bytes)) else float("nan")  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{name} = {value!r}: must be a finite number")
    return number
