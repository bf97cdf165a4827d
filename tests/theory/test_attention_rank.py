"""Ranks against a formula by brute force, against closed forms, against each other, and the counterexamples to Lemma 2."""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import AssociationTask, AttentionShape, attention_rank
from theory.attention_rank import (
    difference_dimension,
    free_attention_rank,
    free_attention_rank_by_subsets,
    jacobian_rank,
    num_classes_without_positions,
    softmax_rank,
    softmax_rank_rational,
)
from theory.memorization import (
    corollary_1_associations,
    guaranteed_associations,
    repaired_associations,
)
from theory.strategies import association_tasks, attention_shapes


@pytest.fixture
def fast() -> None:
    """For thousands of cases: no run-time shape checks, of which the other tests have enough (conftest turns them on again)."""
    jaxtyping.config.update("jaxtyping_disable", True)


def sizes(embed_dim: int, num_heads: int, head_dim: int | None = None) -> dict[str, int]:
    return {"embed_dim": embed_dim, "num_heads": num_heads, "head_dim": embed_dim if head_dim is None else head_dim}


def sizes_of(shape: AttentionShape) -> dict[str, int]:
    return sizes(shape.embed_dim, shape.num_heads, shape.head_dim)


def constant(tokens: int, length: int) -> np.ndarray:
    return np.repeat(np.arange(tokens)[:, None], length, axis=1)


# The formula and its polynomial-time evaluation


def small_sets(rng: np.random.Generator, count: int) -> Iterator[np.ndarray]:
    """Sets of at most 8 sequences over at most 5 tokens, S <= 5, most of them degenerate."""
    for k in range(count):
        tokens, length = int(rng.integers(2, 6)), int(rng.integers(1, 6))
        total = int(rng.integers(1, 9))
        rows = rng.integers(0, tokens, (total, length))
        if k % 6 == 1:
            rows[:, -1] = 0  # one last token
        elif k % 6 == 2:
            rows = constant(tokens, length)
        elif k % 6 == 3 and length > 1:
            rows = np.array(list(itertools.permutations(range(length - 1))))[:8] % tokens
            rows = np.concatenate([rows, np.zeros((len(rows), 1), dtype=np.int64)], axis=1)
        elif k % 6 == 4:
            rows = np.array(list(itertools.product(range(2), repeat=length)))[rng.permutation(2**length)[:8]]
        elif k % 6 == 5:  # half constant, half not
            rows[::2] = rows[::2, -1:]
        yield np.unique(rows, axis=0)


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.usefixtures("fast")
def test_random_substitution_is_the_minimum_over_subsets(positions: bool) -> None:
    rng = np.random.default_rng(0)
    below = 0
    for rows in small_sets(rng, 2000):
        shape = sizes(int(rng.integers(1, 6)), int(rng.integers(0, 5)), int(rng.integers(1, 7)))
        rank = free_attention_rank(rows, **shape, positions=positions)
        assert rank == free_attention_rank_by_subsets(rows, **shape, positions=positions), (rows.tolist(), shape)
        below += rank < len(rows)
    assert below > 500  # not a comparison of T0 with T0


def dimension_by_floats(rows: np.ndarray, dim: int, positions: bool) -> int:
    """Rank of generic differences in floating point: these matrices are tiny and well-conditioned."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(int(rows.max()) + 1, dim))[rows] + positions * rng.normal(size=(rows.shape[1], dim))
    return int(np.linalg.matrix_rank((x[:, :-1] - x[:, -1:]).reshape(-1, dim), tol=1e-9)) if rows.shape[1] > 1 else 0


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.usefixtures("fast")
def test_difference_dimension_is_a_rank(positions: bool) -> None:
    rng = np.random.default_rng(2)
    for rows in small_sets(rng, 600):
        dim = int(rng.integers(1, 9))
        expected = dimension_by_floats(rows, dim, positions)
        assert difference_dimension(rows, embed_dim=dim, positions=positions) == expected, (rows.tolist(), dim)


def test_difference_dimension_of_known_sets() -> None:
    complete = AssociationTask.complete(5, 3, 0)
    assert difference_dimension(complete, embed_dim=50) == 5 + 3 - 2
    assert difference_dimension(complete, embed_dim=50, positions=False) == 4
    assert difference_dimension(complete, embed_dim=4) == 4
    assert difference_dimension(constant(9, 4), embed_dim=50) == 3
    assert difference_dimension(constant(9, 4), embed_dim=50, positions=False) == 0
    assert difference_dimension(constant(9, 1), embed_dim=50) == 0
    # A cycle 0 -> 1 -> 2 -> 0 forces 3 (pos_1 - pos_2) = 0: the tokens span two dimensions, the positions one.
    cycle = np.array([(0, 1), (1, 2), (2, 0)])
    assert difference_dimension(cycle, embed_dim=50) == 3
    assert difference_dimension(cycle, embed_dim=50, positions=False) == 2
    # What tokens 0, 1 and 2 force: pos_1 - pos_2 = 0, and (pos_1 - pos_3) + (pos_2 - pos_3) = 0. Token 3 adds one more.
    assert difference_dimension(np.array([(0, 1, 2), (1, 0, 2), (3, 2, 0)]), embed_dim=50) == 3 + 2


@given(association_tasks(vocab_size=(2, 6), seq_len=(1, 4), num_associations=(1, 9)), attention_shapes(wide_heads=True))
def test_minimum_over_subsets_on_public_strategies(task: AssociationTask, shape: AttentionShape) -> None:
    for positions in (True, False):
        rank = free_attention_rank(task, **sizes_of(shape), positions=positions)
        assert rank == free_attention_rank_by_subsets(task, **sizes_of(shape), positions=positions)


@given(association_tasks(seq_len=(1, 4)), attention_shapes(wide_heads=True), st.integers(0, 5))
def test_free_rank_between_the_guarantee_and_the_repaired_count(
    task: AssociationTask, shape: AttentionShape, seed: int
) -> None:
    rank = free_attention_rank(task, **sizes_of(shape), seed=seed)
    last, total = task.num_last_tokens, task.num_associations
    least = guaranteed_associations(shape.num_heads, shape.head_dim, shape.embed_dim, task.seq_len, last, total)
    most = repaired_associations(shape.num_heads, shape.head_dim, shape.embed_dim, last, total)
    assert least <= rank <= most
    assert rank == free_attention_rank(task.sequences, **sizes_of(shape), seed=seed + 1)
    without = free_attention_rank(task, **sizes_of(shape), positions=False)
    assert without <= min(rank, num_classes_without_positions(task))


@given(association_tasks(seq_len=(1, 3)), attention_shapes(num_heads=(0, 4)))
def test_free_rank_grows_with_every_resource_and_with_data(task: AssociationTask, shape: AttentionShape) -> None:
    dim, heads, width = shape.embed_dim, shape.num_heads, shape.head_dim
    rank = free_attention_rank(task, **sizes(dim, heads, width))
    assert rank <= free_attention_rank(task, **sizes(dim + 1, heads, width))
    assert rank <= free_attention_rank(task, **sizes(dim, heads + 1, width)) <= rank + width
    assert rank <= free_attention_rank(task, **sizes(dim, heads, width + 1))
    if task.num_associations > 1:
        fewer = task.subset(list(range(task.num_associations - 1)))
        assert rank - 1 <= free_attention_rank(fewer, **sizes(dim, heads, width)) <= rank


def test_more_heads_than_sequences_are_cut_without_harm() -> None:
    rows = constant(12, 2)
    assert [free_attention_rank(rows, **sizes(3, heads)) for heads in (0, 4, 8, 9, 12, 10**9)] == [3, 7, 11, 12, 12, 12]


@pytest.mark.usefixtures("fast")
def test_a_thousand_sequences_in_polynomial_time() -> None:
    task = AssociationTask.random(50, 3, 1000, seed=0)
    assert free_attention_rank(task, **sizes(10, 98)) == 990
    assert free_attention_rank(task, **sizes(10, 99)) == 1000


# Softmax


@given(
    association_tasks(vocab_size=(2, 6), seq_len=(1, 4), num_associations=(1, 24)),
    attention_shapes(num_heads=(0, 5), wide_heads=True),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
def test_softmax_never_beats_free_weights(
    task: AssociationTask, shape: AttentionShape, positions: bool, rank_one: bool, seed: int
) -> None:
    free = free_attention_rank(task, **sizes_of(shape), positions=positions)
    options = {"positions": positions, "rank_one": rank_one, "seed": seed}
    rank = softmax_rank(task, **sizes_of(shape), **options)
    assert rank <= free
    assert softmax_rank(task, **sizes_of(shape), **options, skip=False) <= rank
    assert rank >= min(shape.embed_dim, task.num_last_tokens)


@pytest.mark.usefixtures("fast")
def test_softmax_equals_free_away_from_degenerate_sets() -> None:
    """d <= N + S - 3 and at least d last tokens: no exception is known there."""
    rng = np.random.default_rng(4)
    for _ in range(120):
        tokens, length, dim = int(rng.integers(3, 7)), int(rng.integers(2, 5)), int(rng.integers(1, 5))
        task = AssociationTask.random(tokens, length, int(rng.integers(1, min(24, tokens**length))), int(rng.integers(99)))
        if difference_dimension(task, embed_dim=99) <= dim or task.num_last_tokens < dim:
            continue
        shape = sizes(dim, int(rng.integers(0, 6)), int(rng.integers(1, 6)))
        for rank_one in (False, True):
            assert softmax_rank(task, **shape, rank_one=rank_one) == free_attention_rank(task, **shape)


def test_rank_one_forms_are_of_rank_one() -> None:
    rng = np.random.default_rng(0)
    (left, right), values = attention_rank._draw_heads(AttentionShape(4, 3, 2), True, 9, rng)
    assert left.shape == (3, 4, 1) and right.shape == (3, 1, 4) and values is not None
    (form,), _ = attention_rank._draw_heads(AttentionShape(4, 3, 4), False, 9, rng)
    assert np.linalg.matrix_rank(form).tolist() == [4, 4, 4]


def softmax_rank_by_floats(rows: np.ndarray, dim: int, heads: int, width: int, skip: bool, seed: int) -> int:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(int(rows.max()) + 1, dim))[rows] + rng.normal(size=(rows.shape[1], dim))
    features = [x[:, -1]] if skip else []
    for _ in range(heads):
        weights = np.exp(np.einsum("ta,ab,tib->ti", x[:, -1], rng.normal(size=(dim, dim)), x))
        mixed = np.einsum("ti,tia->ta", weights / weights.sum(axis=1, keepdims=True), x)
        features.append(mixed @ rng.normal(size=(dim, width)))
    return int(np.linalg.matrix_rank(np.concatenate(features, axis=1), tol=1e-12)) if features else 0


@pytest.mark.usefixtures("fast")
def test_softmax_rank_is_what_floating_point_sees_on_small_sets() -> None:
    """The prime-field rank must not fall short either (as powers of 2, of which there are 61, might)."""
    rng = np.random.default_rng(5)
    for rows in small_sets(rng, 150):
        dim, heads, width = int(rng.integers(1, 4)), int(rng.integers(0, 4)), int(rng.integers(1, 5))
        skip = bool(rng.integers(2))
        seen = max(softmax_rank_by_floats(rows, dim, heads, width, skip, seed) for seed in range(5))
        assert softmax_rank(rows, **sizes(dim, heads, width), skip=skip) == seen, (rows.tolist(), dim, heads, width)


@pytest.mark.usefixtures("fast")
def test_rational_and_modular_rank_agree_at_the_same_point() -> None:
    rng = np.random.default_rng(6)
    full = 0
    for rows in small_sets(rng, 150):
        shape = sizes(int(rng.integers(1, 4)), int(rng.integers(0, 4)), int(rng.integers(1, 4)))
        options: dict[str, Any] = {"rank_one": bool(rng.integers(2)), "positions": bool(rng.integers(2))}
        options |= {"skip": bool(rng.integers(2)), "seed": int(rng.integers(99)), "largest": int(rng.integers(1, 5))}
        exact = softmax_rank_rational(rows, **shape, **options)
        # Below would be allowed modulo a prime, but only where the prime divides a minor: a chance of about 2^-61 each.
        assert softmax_rank(rows, **shape, **options) == exact, (rows.tolist(), shape, options)
        generic = softmax_rank(rows, **shape, **{**options, "largest": None})
        assert exact <= generic
        full += exact == generic > 1
    assert full > 30


# Counterexamples to what is printed, and closed forms


@pytest.mark.parametrize(
    ("length", "dim", "heads"), [(2, 2, 5), (2, 3, 5), (3, 4, 4), (3, 4, 5), (5, 4, 4), (1, 3, 2), (4, 6, 0)]
)
@pytest.mark.parametrize("width", [1, 2, 3, 6])
def test_constant_sequences_span_the_position_differences_only(length: int, dim: int, heads: int, width: int) -> None:
    rows = constant(40, length)
    expected = min(40, dim + heads * min(width, dim, length - 1))
    assert free_attention_rank(rows, **sizes(dim, heads, width)) == expected
    assert softmax_rank(rows, **sizes(dim, heads, width)) == expected
    assert guaranteed_associations(heads, width, max(2, dim), length, 40, 40) == expected


def test_few_constant_sequences() -> None:
    for tokens in (1, 2, 3, 4):
        rows = constant(tokens, 3)
        assert free_attention_rank(rows, **sizes(4, 2)) == tokens == softmax_rank(rows, **sizes(4, 2))


def test_lemma_2_as_printed_is_false_on_constant_sequences() -> None:
    """It promises min(T0, H d) for [A^1; ..; A^H] at some point; exact at one point, and below the free rank at all."""
    for length, dim, heads, rank in ((2, 2, 5, 6), (2, 3, 5, 7), (3, 4, 4, 10), (3, 4, 5, 12)):
        # A^h - A^1 spans position differences only.
        assert rank == dim + (heads - 1) * min(dim, length - 1)
        rows = constant(heads * dim + 2, length)
        assert softmax_rank(rows, **sizes(dim, heads), skip=False) == rank
        free = free_attention_rank(rows, **sizes(dim, heads))  # with the skip, at every point
        assert rank <= free == dim + heads * min(dim, length - 1) < heads * dim
        if dim < 4:
            assert softmax_rank_rational(rows, **sizes(dim, heads), skip=False) == rank
    assert softmax_rank(constant(22, 5), **sizes(4, 4), skip=False) == 16  # S >= d + 1: as printed


def test_one_last_token_adds_one_not_d() -> None:
    for last, rank in ((1, 31), (2, 32), (3, 33), (4, 34), (5, 35)):
        rows = np.array([(a, b) for a in range(36) for b in range(last)])
        assert softmax_rank(rows, **sizes(5, 6)) == rank == free_attention_rank(rows, **sizes(5, 6))
    rows = np.array([(a, 0) for a in range(24)])
    assert softmax_rank(rows, **sizes(4, 5)) == 21 < corollary_1_associations(5, 4, 4) == 24


def test_heads_wider_than_the_embedding_gain_nothing() -> None:
    task = AssociationTask.random(20, 2, 60, seed=0)
    for width in (2, 5):
        assert softmax_rank(task, **sizes(2, 10, width)) == 22 == free_attention_rank(task, **sizes(2, 10, width))


def test_permutations_collapse_without_positions() -> None:
    rows = np.array([(*order, 4) for order in itertools.permutations(range(4))])
    assert num_classes_without_positions(rows) == 1
    shape = sizes(6, 6)
    assert softmax_rank(rows, **shape) == 24 == free_attention_rank(rows, **shape)
    assert softmax_rank(rows, **shape, positions=False) == 1 == free_attention_rank(rows, **shape, positions=False)


def test_all_pairs_without_positions_lose_constant_pairs() -> None:
    task = AssociationTask.complete(5, 2, 0)
    assert num_classes_without_positions(task) == 25
    for dim in (2, 3):  # the pairs (a, a) have no differences: only min(d, N) of the N are told apart
        shape = sizes(dim, 25)
        assert softmax_rank(task, **shape, positions=False) == 20 + dim == free_attention_rank(task, **shape, positions=False)
        assert softmax_rank(task, **shape) == 25


def test_few_tokens_bound_what_wide_heads_see() -> None:
    for tokens, length, dim, heads, rank, printed in ((3, 4, 6, 6, 33, 42), (2, 6, 8, 4, 26, 40)):
        task = AssociationTask.complete(tokens, length, 0)
        width = difference_dimension(task, embed_dim=dim)
        assert width == tokens + length - 2
        assert softmax_rank(task, **sizes(dim, heads)) == rank == heads * width + min(dim, tokens)
        assert free_attention_rank(task, **sizes(dim, heads)) == rank < printed == corollary_1_associations(heads, dim, dim)


@pytest.mark.parametrize(
    ("tokens", "length", "dim", "heads", "width"),
    [(10, 2, 2, 49, 2), (50, 2, 10, 9, 10), (50, 2, 10, 12, 3), (20, 3, 5, 12, 5), (5, 6, 4, 15, 4), (9, 5, 3, 21, 2)],
)
@pytest.mark.parametrize("rank_one", [False, True])
def test_random_sets_reach_corollary_1(tokens: int, length: int, dim: int, heads: int, width: int, rank_one: bool) -> None:
    total = heads * width + dim
    assert total == corollary_1_associations(heads, width, dim)
    task = AssociationTask.random(tokens, length, total, seed=1)
    assert softmax_rank(task, **sizes(dim, heads, width), rank_one=rank_one) == total


def test_softmax_falls_short_of_free_weights_on_a_product_of_choices() -> None:
    """(a or b, c or d, e, f), one head: products of sums over positions make 3 of what free weights make 4."""
    square = np.array([(a, b, 4, 5) for a in (0, 1) for b in (2, 3)])
    assert free_attention_rank(square, **sizes(3, 1)) == 4 == free_attention_rank_by_subsets(square, **sizes(3, 1))
    for seed in range(5):
        assert softmax_rank(square, **sizes(3, 1), seed=seed) == 3 == softmax_rank_rational(square, **sizes(3, 1), seed=seed)
        assert softmax_rank(square, **sizes(3, 2), seed=seed) == 4
    more = np.concatenate([square, [(0, 2, 5, 1), (3, 0, 1, 2)]])
    assert softmax_rank(more, **sizes(3, 1)) == 5 < free_attention_rank(more, **sizes(3, 1)) == 6


# Refused at the door

ROWS = np.array([(0, 1), (1, 0), (2, 2)])
SHAPE = {"embed_dim": 2, "head_dim": 2, "num_heads": 2}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: free_attention_rank(ROWS, **{**SHAPE, "embed_dim": 0}), "embed_dim = 0: must be an integer >= 1"),
        (lambda: free_attention_rank(ROWS, **{**SHAPE, "head_dim": 1.5}), "head_dim = 1.5: must be an integer >= 1"),
        (lambda: softmax_rank(ROWS, **{**SHAPE, "num_heads": -1}), "num_heads = -1: must be an integer >= 0"),
        (lambda: softmax_rank(ROWS, **SHAPE, seed=-1), "seed = -1: must be an integer >= 0"),
        (lambda: softmax_rank(ROWS, **SHAPE, largest=0), "largest = 0: must be an integer >= 1"),
        (lambda: softmax_rank_rational(ROWS, **SHAPE, largest=True), "largest = True: must be an integer >= 1"),
        (lambda: free_attention_rank(ROWS, **SHAPE, positions=1), "positions = 1: must be True or False"),
        (lambda: softmax_rank(ROWS, **SHAPE, positions="no"), "positions = 'no': must be True or False"),
        (lambda: softmax_rank(ROWS, **SHAPE, skip=2), "skip = 2: must be True or False"),
        (lambda: softmax_rank_rational(ROWS, **SHAPE, rank_one=None), "rank_one = None: must be True or False"),
        (lambda: free_attention_rank(np.array([(0, 1), (0, 1)]), **SHAPE), "must be distinct"),
        (lambda: free_attention_rank(np.array([0, 1]), **SHAPE), "sequences has shape (2,)"),
        (lambda: free_attention_rank(np.zeros((0, 2), dtype=int), **SHAPE), "sequences has shape (0, 2)"),
        (lambda: num_classes_without_positions(np.array([(0, -1)])), "sequences[0]"),
        (lambda: difference_dimension(np.array([(0.5, 1.0)]), embed_dim=2), "sequences"),
        (lambda: difference_dimension(7, embed_dim=2), "sequences"),
        (lambda: free_attention_rank_by_subsets(constant(17, 2), **SHAPE), "17 different sequences: must be at most 16"),
        (lambda: softmax_rank(constant(9, 2), **{**SHAPE, "num_heads": 10**8}), "must have at most 30000000"),
        (lambda: jacobian_rank(vocab_size=1, seq_len=2, **SHAPE), "vocab_size = 1: must be an integer >= 2"),
        (lambda: jacobian_rank(vocab_size=3, seq_len=40, **SHAPE), "must have at most 30000000"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], int], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        call()
    assert "\n" not in str(error.value)
