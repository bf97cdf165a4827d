"""How many independent equations the features of attention heads allow on given sequences: ranks, in exact arithmetic.

The features of a sequence t are x(t,S), what the skip connection brings, and W_V^h A^h(t) for every head h, with
x(t,i) = e(t_i) + pos_i and A^h(t) = sum_i a^h_i x(t,i) (Dana, Pydi and Chevaleyre 2025, equations (1) and (2)). As
columns of a matrix of d + H d_h rows they have a rank; rank T0 lets any logits of rank d be met exactly, by a linear
solve. Two ranks, both for generic embeddings, positions and value maps (all but a set of measure zero):

- free: the weights a^h_i(t) are any numbers that sum to one, chosen for each sequence apart. There is an exact formula,
  and no softmax can do better.
- softmax: a^h is the softmax of x(t,S)^T W_QK^h x(t,i), with generic W_QK^h.

Symbols: N vocab_size, S seq_len, T0 number of sequences, K distinct last tokens, d embed_dim, d_h head_dim, H num_heads,
r = min(d_h, d). Functions take an AssociationTask or an integer array (T0, S) of distinct sequences; only which tokens
are equal matters. Bad arguments raise ValueError. What is computed here is derived here, beyond the definitions above.
"""

from math import prod
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped, UInt64

from theory import _modular as modular
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

Sequences = AssociationTask | Shaped[np.ndarray, "associations seq_len"]

Residues = UInt64[np.ndarray, "..."]

MAX_ENTRIES = 3 * 10**7
"""Largest feature matrix or Jacobian whose rank is computed here: about 1 GB while it is being converted."""

MAX_SUBSET_SEQUENCES = 16
"""`free_attention_rank_by_subsets` goes through up to 2^T0 subsets, so it takes no more sequences than this."""


def free_attention_rank(
    task: Sequences, *, embed_dim: int, head_dim: int, num_heads: int, positions: bool = True, seed: int = 0
) -> int:
    """rho_free, the rank of the features when each head may weigh each sequence's positions as it likes.

    It equals the minimum over subsets J of the sequences of

        (sequences outside J) + min(d, K(J)) + H min(r, D(J)),

    K(J) the distinct last tokens in J, D(J) the dimension of the span of all x(t,i) - x(t,S) with t in J
    (`difference_dimension`). For, subtracting W_V^h x(t,S) from the heads' rows, column t of head h is a generic vector
    of the span of its differences, seen through r generic rows: its column matroid is that of generic points in
    subspaces (Rado), truncated to r. Scaling columns is free in each head, so the matrix represents the union of these
    matroids and of the skip's, and the formula is the matroid union theorem. `positions=False` leaves out pos_i; then
    sequences that no head can tell apart (`num_classes_without_positions`) count once.

    Computed in polynomial time as the rank of one random substitution over the field with p = 2^61 - 1 elements; T0 = 1,000
    takes seconds. Never above rho_free: a minor that is not zero modulo p is not the zero polynomial. Below it only by
    bad luck: some rho_free x rho_free minor, of degree at most 3 in each entry, is not the zero polynomial modulo p, as
    the formula holds over every infinite field and D(J) is the same modulo p (it is a rank of integer vectors of norm at
    most 2, capped by d: the minors concerned are at most 2^d, and at most N^(S - 1); d <= 60 or N^(S - 1) < p suffices).
    By Schwartz and Zippel, uniform draws then make it vanish with probability at most 3 T0 / p < T0 2^-59.

    Raises ValueError for a feature matrix of more than MAX_ENTRIES entries.
    """
    shape = AttentionShape(embed_dim, num_heads, head_dim)
    rows = _distinct(task, positions)
    # The rank grows with each head that adds to it: T0 of them are enough for what any number can do.
    heads = min(shape.num_heads, len(rows))
    _check_entries(len(rows), shape.embed_dim + heads * shape.rank)
    rng = np.random.default_rng(checked_integer("seed", seed, 0))
    inputs = _draw_inputs(rows, shape.embed_dim, positions, None, rng)
    last = inputs[:, -1]
    away = modular.residues(inputs[:, :-1] - last[:, None])
    features = [modular.residues(last)]
    if rows.shape[1] > 1:  # otherwise heads see nothing but the last token
        for batch in _batches(heads, away[:, 0].size):
            weights = modular.residues(_draw(rng, None, batch.stop - batch.start, len(rows), 1, rows.shape[1] - 1))
            mixed = modular.matmul(weights, away)[:, :, 0]
            features += _valued(mixed, _draw_values(shape, len(mixed), None, rng))
    return modular.rank(np.concatenate(features, axis=1))


def free_attention_rank_by_subsets(
    task: Sequences, *, embed_dim: int, head_dim: int, num_heads: int, positions: bool = True
) -> int:
    """The minimum over subsets in `free_attention_rank`, taken literally: exact, no random numbers, exponential time.

    Raises ValueError for more than MAX_SUBSET_SEQUENCES sequences.
    """
    shape = AttentionShape(embed_dim, num_heads, head_dim)
    rows = _distinct(task, positions).tolist()
    total = len(rows)
    if total > MAX_SUBSET_SEQUENCES:
        raise ValueError(f"task has {total} different sequences: must be at most {MAX_SUBSET_SEQUENCES}")
    best = total
    undecided: list[tuple[int, list[list[int]], int]] = [(0, [], 0)]  # next sequence, those in J, number left out
    while undecided:
        place, inside, outside = undecided.pop()
        skip = min(shape.embed_dim, len({row[-1] for row in inside}))
        span = min(shape.rank, _difference_rank(inside, positions)) if shape.num_heads else 0
        cost = outside + skip + shape.num_heads * span
        if cost >= best:  # deciding on more sequences never makes it less
            continue
        if place == total:
            best = cost
            continue
        undecided += [(place + 1, inside, outside + 1), (place + 1, [*inside, rows[place]], outside)]
    return best


def difference_dimension(task: Sequences, *, embed_dim: int, positions: bool = True) -> int:
    """Dimension of the span of all differences x(t,i) - x(t,S), for generic embeddings and positions; exact.

    The smaller of d and the rank of the formal differences, the integer vectors e(t_i) - e(t_S) + pos_i - pos_S. At most
    N + S - 2 with positions (tokens and positions that occur), N - 1 without.
    """
    dim = checked_integer("embed_dim", embed_dim, 1)
    return min(dim, _difference_rank(_distinct(task, positions).tolist(), positions))


def num_classes_without_positions(task: Sequences) -> int:
    """Number of sequences that heads without position embeddings can tell apart.

    They see the multiset of the first S - 1 tokens, and the last token: a permutation of the others changes nothing.
    """
    return len(_distinct(task, positions=False))


def softmax_rank(
    task: Sequences,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int,
    positions: bool = True,
    rank_one: bool = False,
    skip: bool = True,
    largest: int | None = None,
    seed: int = 0,
) -> int:
    """Rank modulo p = 2^61 - 1 of the features of a true softmax model with random integer parameters.

    A proved lower bound on the generic rank, and usually equal to it. With W_QK = ln(3) W and integers everywhere else,
    the softmax weights are 3^score / sum 3^score. Multiplying each sequence's features by all its denominators, which
    are positive, and by a power of 3 changes no rank and leaves an integer matrix. Reduced modulo p its rank can only
    fall, since a minor that is not zero modulo p is not zero. So this rank is at most the real rank at that point (a
    sequence with a denominator divisible by p is left out, which also can only lower it). And the features are analytic
    in the parameters: a rank reached at one point is reached at almost every point.

    `rank_one` makes W an outer product (Dana, Pydi and Chevaleyre 2025, Remark 2). `skip=False` leaves out x(t,S); with
    head_dim >= embed_dim, where the value map is the identity, what is left is [A^1; ..; A^H] of their Lemma 2.
    Parameters are uniform on 0, .., p - 1, or on -largest, .., largest when `largest` is given: then this is the point
    of `softmax_rank_rational`. Never above the formula of `free_attention_rank`.

    Raises ValueError for a feature matrix of more than MAX_ENTRIES entries.
    """
    shape = AttentionShape(embed_dim, num_heads, head_dim)
    _check_flags(positions=positions, rank_one=rank_one, skip=skip)
    rows = _distinct(task, True)
    _check_entries(len(rows), skip * shape.embed_dim + shape.num_heads * shape.rank)
    bound = None if largest is None else checked_integer("largest", largest, 1)
    rng = np.random.default_rng(checked_integer("seed", seed, 0))
    drawn = _draw_inputs(rows, shape.embed_dim, positions, bound, rng)
    inputs, exponents = modular.residues(drawn), modular.residues(drawn, modular.ORDER)
    factors, values = _draw_heads(shape, rank_one, bound, rng)
    last = exponents[:, -1]
    features = [inputs[:, -1]] if skip else []
    usable = np.ones(len(rows), dtype=np.bool_)
    for batch in _batches(shape.num_heads, last.size):
        query = last
        for factor in factors:
            query = modular.matmul(query, modular.residues(factor[batch], modular.ORDER), modular.ORDER)
        numerators = modular.powers(modular.matmul(exponents, query[..., None], modular.ORDER)).swapaxes(2, 3)
        denominators = modular.matmul(numerators, np.ones((rows.shape[1], 1), dtype=np.uint64))
        usable &= denominators.all(axis=(0, 2, 3))
        mixed = modular.matmul(modular.multiply(numerators, modular.inverses(denominators)), inputs)[:, :, 0]
        features += _valued(mixed, None if values is None else values[batch])
    return modular.rank(np.concatenate(features, axis=1)[usable]) if features else 0


def softmax_rank_rational(
    task: Sequences,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int,
    positions: bool = True,
    rank_one: bool = False,
    skip: bool = True,
    largest: int = 3,
    seed: int = 0,
) -> int:
    """Rank over the rationals of the features of one true softmax model: exact at that point, in integers throughout.

    The point is that of `softmax_rank` with the same arguments, whose docstring says why everything is an integer after
    clearing denominators; `softmax_rank` with `largest` is never above this. A lower bound on the generic rank, and a low
    rank is a fact about this point only: for all points at once see `free_attention_rank`. Small tasks and few heads
    only, because the integers have up to 13 d^2 largest^3 bits per head.

    Raises ValueError for a feature matrix of more than MAX_ENTRIES entries.
    """
    from flint import fmpz_mat  # imported here so that `import theory` does without it

    shape = AttentionShape(embed_dim, num_heads, head_dim)
    _check_flags(positions=positions, rank_one=rank_one, skip=skip)
    rows = _distinct(task, True)
    _check_entries(len(rows), skip * shape.embed_dim + shape.num_heads * shape.rank)
    bound = checked_integer("largest", largest, 1)
    rng = np.random.default_rng(checked_integer("seed", seed, 0))
    inputs = _draw_inputs(rows, shape.embed_dim, positions, bound, rng).astype(object)
    factors, values = _draw_heads(shape, rank_one, bound, rng)
    matrix = []
    for vectors in inputs:
        numerators, denominators = [], []
        for h in range(shape.num_heads):
            query = vectors[-1]
            for factor in factors:
                query = query.dot(factor[h].astype(object))
            scores = vectors.dot(query)
            weights = np.array([modular.BASE ** int(score - min(scores)) for score in scores], dtype=object)
            mixed = weights.dot(vectors)
            numerators.append(mixed if values is None else mixed.dot(values[h].astype(object)))
            denominators.append(int(weights.sum()))
        cleared = prod(denominators)
        features = [cleared * vectors[-1]] if skip else []
        features += [cleared // below * above for above, below in zip(numerators, denominators, strict=True)]
        matrix.append([int(entry) for block in features for entry in block])
    return int(fmpz_mat(matrix).rank()) if matrix[0] else 0


def jacobian_rank(*, vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int, seed: int = 0) -> int:
    """Rank of the derivative of all logits of all N^S sequences by all parameters, at a random point, modulo 2^61 - 1.

    A proved lower bound on the generic rank of the model's parameterisation (embeddings, positions, queries, keys,
    values, outputs, unembedding: Dana, Pydi and Chevaleyre 2025, equations (1) and (2)), and usually equal to it.
    With integers for parameters, queries being ln(3) times integers, the derivatives are rational numbers and rational
    multiples of ln(3). As ln(3) is transcendental, the rank is that with an unknown in its place, and an integer for
    the unknown, and the reduction modulo a prime, can only lower it.

    For d < N it is the smaller of `theory.memorization.effective_parameters` and, with w = min(d, H r) (0 for S = 1),
    d (N - d) + w N^S + (d - w) (N + w): the dimension of all tables of logits whose d-dimensional outputs, for each last
    token, lie in one shift of the same w-dimensional space. So in all of 540 shapes (N <= 6, S <= 4, H <= 3, d_h <= 5).

    Raises ValueError for a Jacobian, or derivatives of inputs, of more than MAX_ENTRIES entries.
    """
    vocab, length = checked_integer("vocab_size", vocab_size, 2), checked_integer("seq_len", seq_len, 1)
    shape = AttentionShape(embed_dim, num_heads, head_dim)
    dim, width = shape.embed_dim, shape.head_dim
    sizes = [(vocab, dim), (length, dim), (vocab, dim)] + ([(dim, width)] * 3 + [(width, dim)]) * shape.num_heads
    places = np.cumsum([0, *[prod(size) for size in sizes]]).tolist()
    _check_entries(vocab**length * max(vocab, length * dim), places[-1])
    rng = np.random.default_rng(checked_integer("seed", seed, 0))
    # Forward differentiation in all parameters at once: beside each array its derivatives, parameters as the first axis.
    unit = np.eye(places[-1], dtype=np.uint64)
    drawn = [_draw(rng, None, *size) for size in sizes]
    derivatives = [unit[:, low:high].reshape(-1, *size) for low, high, size in zip(places, places[1:], sizes, strict=False)]
    modulo_prime = [_Dual(modular.residues(a), da) for a, da in zip(drawn, derivatives, strict=True)]
    embedding, position, unembedding = modulo_prime[:3]
    log_base = modular.residues(_draw(rng, None, 1))
    table = np.indices((vocab,) * length).reshape(length, -1).T
    inputs = _Dual(embedding.value[table], embedding.slope[:, table]) + _Dual(position.value, position.slope[:, None])
    exponents = modular.residues(drawn[0][table] + drawn[1], modular.ORDER)
    outputs = last = _Dual(inputs.value[:, -1:], inputs.slope[:, :, -1:])
    for h in range(shape.num_heads):
        query, key, value, output = modulo_prime[4 * h + 3 : 4 * h + 7]
        maps = [modular.residues(drawn[4 * h + k], modular.ORDER) for k in (3, 4)]
        asked, offered = (modular.matmul(a, m, modular.ORDER) for a, m in zip((exponents[:, -1:], exponents), maps, strict=True))
        numerators = modular.powers(modular.matmul(asked, offered.swapaxes(-1, -2), modular.ORDER))
        denominators = modular.matmul(numerators, np.ones((length, 1), dtype=np.uint64))
        weights = modular.multiply(numerators, modular.inverses(denominators))
        change = (last @ query @ (inputs @ key).transposed()).slope
        mean = modular.matmul(change, weights.swapaxes(-1, -2))
        slope = modular.multiply(modular.multiply(weights, log_base), modular.subtract(change, mean))
        outputs = outputs + _Dual(weights, slope) @ inputs @ value @ output
    logits = outputs @ unembedding.transposed()
    return modular.rank(logits.slope.reshape(places[-1], -1))


class _Dual(NamedTuple):
    """An array modulo PRIME (..., rows, columns) with its derivatives (parameters, ..., rows, columns)."""

    value: Residues
    slope: Residues

    def __add__(self, other: "_Dual") -> "_Dual":  # type: ignore[override]
        return _Dual(modular.add(self.value, other.value), modular.add(self.slope, other.slope))

    def __matmul__(self, other: "_Dual") -> "_Dual":
        # A matrix shared by all sequences has no axis for them: give its derivatives one.
        left, right = self._aligned(other), other._aligned(self)
        slope = modular.add(modular.matmul(left, other.value), modular.matmul(self.value, right))
        return _Dual(modular.matmul(self.value, other.value), slope)

    def _aligned(self, other: "_Dual") -> Residues:
        missing = max(0, other.value.ndim - self.value.ndim)
        return self.slope.reshape(self.slope.shape[0], *(1,) * missing, *self.slope.shape[1:])

    def transposed(self) -> "_Dual":
        return _Dual(self.value.swapaxes(-1, -2), self.slope.swapaxes(-1, -2))


def _distinct(task: Sequences, positions: bool) -> Int[np.ndarray, "classes seq_len"]:
    """The sequences, tokens renumbered 0, 1, ..; without positions, one per class that heads can tell apart."""
    _check_flags(positions=positions)
    if isinstance(task, AssociationTask):
        rows = task.sequences
    else:  # a task checks its sequences
        given = np.asarray(task)
        size = max(2, int(given.max()) + 1) if given.size and given.dtype.kind in "iu" else 2
        rows = AssociationTask(given, np.zeros(len(given) if given.ndim else 0, dtype=np.int64), size).sequences
    if not positions:
        rows = np.unique(np.concatenate([np.sort(rows[:, :-1], axis=1), rows[:, -1:]], axis=1), axis=0)
    return np.unique(rows, return_inverse=True)[1].reshape(rows.shape).astype(np.int64)


def _difference_rank(rows: list[list[int]], positions: bool) -> int:
    """Rank of the integer vectors e(t_i) - e(t_S) + pos_i - pos_S.

    Modulo the vectors seen so far, tokens of one component differ by a combination of the pos_i - pos_S (their offset);
    a vector that joins two components adds one, those within a component add what combinations they force to zero.
    """
    from flint import fmpz_mat  # imported here so that `import theory` does without it

    component: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    offset: dict[int, list[int]] = {}
    joined, forced = 0, set()
    for row in rows:
        zero = [0] * (len(row) - 1)
        for token in row:
            if token not in component:
                component[token], members[token], offset[token] = token, [token], zero
        last = row[-1]
        for place, token in enumerate(row[:-1]):
            shift = [a - b for a, b in zip(offset[token], offset[last], strict=True)]
            if positions:
                shift[place] += 1
            old, new = component[token], component[last]
            if old == new:
                forced.add(tuple(shift))
                continue
            joined += 1
            for moved in members[old]:
                component[moved] = new
                offset[moved] = [a - b for a, b in zip(offset[moved], shift, strict=True)]
            members[new] += members.pop(old)
    forced.discard(tuple([0] * (len(rows[0]) - 1)) if rows else ())
    return joined + (int(fmpz_mat([list(vector) for vector in forced]).rank()) if forced else 0)


def _check_flags(**flags: bool) -> None:
    for name, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name} = {value!r}: must be True or False")


def _check_entries(num_rows: int, num_columns: int) -> None:
    if num_rows * num_columns > MAX_ENTRIES:
        raise ValueError(f"a matrix of {num_rows} x {num_columns} entries: must have at most {MAX_ENTRIES}")


def _draw(rng: np.random.Generator, bound: int | None, *size: int) -> Int[np.ndarray, "..."]:
    """Integers on 0, .., p - 1, or on -bound, .., bound."""
    return rng.integers(0, modular.PRIME, size) if bound is None else rng.integers(-bound, bound + 1, size)


def _draw_inputs(
    rows: Int[np.ndarray, "classes seq_len"], dim: int, positions: bool, bound: int | None, rng: np.random.Generator
) -> Int[np.ndarray, "classes seq_len dim"]:
    """x(t,i) = e(t_i) + pos_i, as integers (not reduced: they also enter exponents)."""
    embedding = _draw(rng, bound, int(rows.max()) + 1, dim)
    return embedding[rows] + (_draw(rng, bound, rows.shape[1], dim) if positions else 0)


def _draw_values(
    shape: AttentionShape, num_heads: int, bound: int | None, rng: np.random.Generator
) -> Int[np.ndarray, "heads d r"] | None:
    """Value maps; None for the identity, which stands for all maps of rank d."""
    return _draw(rng, bound, num_heads, shape.embed_dim, shape.rank) if shape.rank < shape.embed_dim else None


def _draw_heads(
    shape: AttentionShape, rank_one: bool, bound: int | None, rng: np.random.Generator
) -> tuple[list[Int[np.ndarray, "heads _ _"]], Int[np.ndarray, "heads d r"] | None]:
    """Factors of the bilinear forms W, and the value maps."""
    heads, dim = shape.num_heads, shape.embed_dim
    sizes = [(dim, 1), (1, dim)] if rank_one else [(dim, dim)]
    return [_draw(rng, bound, heads, *size) for size in sizes], _draw_values(shape, heads, bound, rng)


def _batches(num_heads: int, entries: int) -> list[slice]:
    """Slices of heads, so that arrays with `entries` for each head stay small."""
    step = max(1, 10**6 // entries)
    return [slice(low, min(num_heads, low + step)) for low in range(0, num_heads, step)]


def _valued(
    mixed: UInt64[np.ndarray, "heads associations d"], values: Int[np.ndarray, "heads d r"] | None
) -> list[UInt64[np.ndarray, "associations _"]]:
    """What each head's value map makes of its mixtures."""
    return list(mixed if values is None else modular.matmul(mixed, modular.residues(values)))
