"""The formulas against published numbers, against each other, and against ranks computed from scratch."""

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import AssociationTask, AttentionShape
from theory.memorization import (
    accuracy_from_memory,
    corollary_1_associations,
    corollary_1_heads,
    corollary_1_parameters,
    corollary_2_accuracy,
    effective_parameters,
    guaranteed_associations,
    logit_dimension,
    mahdavi_associations,
    mahdavi_associations_as_plotted,
    memory_from_accuracy,
    parameter_count,
    rank_one_parameter_count,
    reachable_logit_dimension,
    repaired_associations,
    repaired_heads,
)
from theory.strategies import association_tasks, attention_shapes

examples = settings(max_examples=60, deadline=None)
any_shape = attention_shapes(embed_dim=(2, 12), num_heads=(0, 60), wide_heads=True)
any_task = association_tasks(seq_len=(1, 3))
counts = st.integers(1, 5000)
vocabularies = st.integers(2, 200)
lengths = st.integers(1, 9)


# Published numbers


@pytest.mark.parametrize(
    ("heads", "head_dim", "dim", "published"), [(20, 2, 2, 42), (20, 10, 10, 210), (49, 2, 2, 100), (249, 10, 10, 2500)]
)
def test_corollary_1_published(heads: int, head_dim: int, dim: int, published: int) -> None:
    assert corollary_1_associations(heads, head_dim, dim) == published
    assert corollary_1_heads(published, head_dim, dim) == heads


def test_corollary_1_as_printed_for_the_plane() -> None:
    for heads, tokens, length in itertools.product(range(30), (5, 10), (2, 7)):
        total = corollary_1_associations(heads, 2, 2)
        assert total == 2 * heads + 2
        assert corollary_1_parameters(total, tokens, length) == 2 * (length + 2 * tokens + 4 * (total - 2))


def test_heads_for_the_large_tables() -> None:
    assert corollary_1_heads(90_000, 20, 20) == 4_499
    assert corollary_1_heads(1_000_000, 20, 20) == 49_999


def test_corollary_2_published_example() -> None:
    assert corollary_2_accuracy(20, 2, 2, 10, 100) == Fraction(1, 10) + Fraction(9, 10) * Fraction(42, 100)
    assert corollary_2_accuracy(0, 2, 2, 10, 100) == Fraction(118, 1000)
    assert corollary_2_accuracy(49, 2, 2, 10, 100) == corollary_2_accuracy(500, 2, 2, 10, 100) == 1


def test_mahdavi_in_both_readings() -> None:
    assert mahdavi_associations(20, 10, 2) == 21  # n = S = 2: H + 1
    assert mahdavi_associations_as_plotted(20, 10) == 181
    assert mahdavi_associations(0, 3, 5) == mahdavi_associations_as_plotted(0, 3) == 1


# Inverses


@examples
@given(any_shape, counts, st.integers(1, 20))
def test_heads_are_the_fewest_that_reach_the_count(shape: AttentionShape, total: int, last: int) -> None:
    width, dim = shape.head_dim, shape.embed_dim
    last = min(last, total)
    heads = corollary_1_heads(total, width, dim)
    assert corollary_1_associations(heads, width, dim) >= total
    assert heads == 0 or corollary_1_associations(heads - 1, width, dim) < total
    heads = repaired_heads(total, width, dim, last)
    assert repaired_associations(heads, width, dim, last, total) == total
    assert heads == 0 or repaired_associations(heads - 1, width, dim, last, total) < total


@examples
@given(any_shape)
def test_heads_of_the_associations_are_the_heads(shape: AttentionShape) -> None:
    total = corollary_1_associations(shape.num_heads, shape.head_dim, shape.embed_dim)
    assert corollary_1_heads(total, shape.head_dim, shape.embed_dim) == shape.num_heads


@examples
@given(st.fractions(0, 1), vocabularies, counts)
def test_phi_and_its_inverse_are_exact(accuracy: Fraction, vocab_size: int, total: int) -> None:
    memory = memory_from_accuracy(accuracy, vocab_size, total)
    assert isinstance(memory, Fraction)
    assert accuracy_from_memory(memory, vocab_size, total) == accuracy
    assert accuracy_from_memory(total, vocab_size, total) == 1
    assert accuracy_from_memory(0, vocab_size, total) == Fraction(1, vocab_size)


@examples
@given(st.floats(0, 1), vocabularies, counts)
def test_phi_and_its_inverse_in_floats(accuracy: float, vocab_size: int, total: int) -> None:
    memory = memory_from_accuracy(accuracy, vocab_size, total)
    assert isinstance(memory, float)
    assert memory == pytest.approx(float(memory_from_accuracy(Fraction(accuracy), vocab_size, total)), abs=1e-9)
    again = accuracy_from_memory(memory, vocab_size, total)
    assert isinstance(again, float) and 0 <= again <= 1
    assert again == pytest.approx(accuracy, abs=1e-12)


def test_exact_in_exact_out() -> None:
    assert memory_from_accuracy(1, 10, 100) == 100
    assert isinstance(memory_from_accuracy(1, 10, 100), Fraction)
    assert memory_from_accuracy(0, 5, 100) == -25
    assert isinstance(corollary_2_accuracy(3, 2, 2, 10, 100), Fraction)
    assert isinstance(memory_from_accuracy(1.0, 10, 100), float)


# Monotone, saturating, ordered


@examples
@given(any_shape, any_task)
def test_counts_grow_with_heads_width_and_dimension(shape: AttentionShape, task: AssociationTask) -> None:
    heads, width, dim = shape.num_heads, shape.head_dim, shape.embed_dim
    last, total, length = task.num_last_tokens, task.num_associations, task.seq_len

    def all_counts(heads: int, width: int, dim: int) -> tuple[int | Fraction, ...]:
        return (
            corollary_1_associations(heads, width, dim),
            repaired_associations(heads, width, dim, last, total),
            guaranteed_associations(heads, width, dim, length, last, total),
            corollary_2_accuracy(heads, width, dim, task.vocab_size, total),
            parameter_count(task.vocab_size, length, dim, heads, width),
            effective_parameters(task.vocab_size, length, dim, heads, width),
        )

    here = all_counts(heads, width, dim)
    for more in (
        all_counts(heads + 1, width, dim),
        all_counts(heads, width + 1, dim),
        all_counts(heads, width, dim + 1),
    ):
        assert all(a <= b for a, b in zip(here, more, strict=True))
    # Width beyond d is worth nothing, except that its arrays are there.
    assert all_counts(heads, dim, dim)[:4] == all_counts(heads, dim + 5, dim)[:4]
    assert all_counts(heads, dim, dim)[5] == all_counts(heads, dim + 5, dim)[5]


@examples
@given(any_shape, any_task)
def test_order_of_the_counts(shape: AttentionShape, task: AssociationTask) -> None:
    heads, width, dim = shape.num_heads, shape.head_dim, shape.embed_dim
    last, total, length = task.num_last_tokens, task.num_associations, task.seq_len
    guaranteed = guaranteed_associations(heads, width, dim, length, last, total)
    repaired = repaired_associations(heads, width, dim, last, total)
    assert 1 <= guaranteed <= repaired <= min(total, corollary_1_associations(heads, width, dim))
    if length >= dim + 1:
        assert guaranteed == repaired
    if length == 1:
        assert guaranteed == min(dim, last)
    if last >= dim:
        assert repaired == min(total, corollary_1_associations(heads, width, dim))
    assert mahdavi_associations(heads, width, length) <= mahdavi_associations_as_plotted(heads, width)


# Counts against ranks: the assumptions that Corollary 1 does not state


def feature_rank(sequences: Sequence[tuple[int, ...]], dim: int, heads: int, width: int) -> int:
    """Rank of [x_S; W_V^1 A^1; ..] over the sequences, generic parameters, softmax attention, computed in floats."""
    rng = np.random.default_rng(1)
    tokens = np.array(sequences)
    x = rng.normal(size=(tokens.max() + 1, dim))[tokens] + rng.normal(size=(tokens.shape[1], dim))
    features = [x[:, -1]]
    for _ in range(heads):
        scores = np.einsum("td,de,tie->ti", x[:, -1], rng.normal(size=(dim, dim)) / dim, x)
        weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        features.append(np.einsum("ti,tid->td", weights, x) @ rng.normal(size=(dim, width)))
    return int(np.linalg.matrix_rank(np.concatenate(features, axis=1), tol=1e-9))


def test_a_shared_last_token_costs_all_of_d_but_one() -> None:
    sequences = [(a, b, 0) for a in range(5) for b in range(5)][:24]
    assert feature_rank(sequences, dim=4, heads=5, width=4) == 21
    assert repaired_associations(5, 4, 4, 1, 24) == 21
    assert corollary_1_associations(5, 4, 4) == 24


@pytest.mark.parametrize(
    ("length", "dim", "heads", "tokens"), [(2, 2, 5, 40), (3, 4, 5, 40), (2, 3, 5, 30), (3, 3, 2, 9)]
)
def test_constant_sequences_reach_the_guarantee_and_no_more(length: int, dim: int, heads: int, tokens: int) -> None:
    sequences = [(a,) * length for a in range(tokens)]
    guaranteed = guaranteed_associations(heads, dim, dim, length, tokens, tokens)
    assert (
        feature_rank(sequences, dim, heads, dim) == guaranteed < repaired_associations(heads, dim, dim, tokens, tokens)
    )


@pytest.mark.parametrize(("dim", "heads", "width"), [(2, 4, 2), (2, 6, 1), (3, 4, 2), (3, 3, 5), (2, 3, 5), (4, 0, 2)])
def test_random_pairs_reach_the_repaired_count(dim: int, heads: int, width: int) -> None:
    task = AssociationTask.random(12, 2, 40, seed=4)
    sequences = [tuple(row) for row in task.sequences.tolist()]
    assert feature_rank(sequences, dim, heads, width) == repaired_associations(
        heads, width, dim, task.num_last_tokens, 40
    )


def test_the_exceptions_of_the_docstring() -> None:
    square = [(a, b, 1, 0) for a in (1, 2) for b in (3, 4)]
    assert feature_rank(square, dim=3, heads=1, width=3) == 3 < guaranteed_associations(1, 3, 3, 4, 1, 4) == 4
    assert feature_rank(square, dim=3, heads=2, width=3) == 4
    beside_others = [*square, (1, 2, 3, 1), (4, 1, 0, 2)]
    assert feature_rank(beside_others, dim=3, heads=1, width=3) == 5 < guaranteed_associations(1, 3, 3, 4, 3, 6) == 6


# Parameters


def parameter_sizes(tokens: int, length: int, dim: int, heads: int, width: int) -> list[tuple[int, ...]]:
    """Token embedding, positions, query, key, value, output, unembedding."""
    return [(tokens, dim), (length, dim), *[(heads, dim, width)] * 3, (heads, width, dim), (tokens, dim)]


@examples
@given(any_shape, vocabularies, lengths)
def test_parameter_counts_are_array_sizes(shape: AttentionShape, tokens: int, length: int) -> None:
    heads, width, dim = shape.num_heads, shape.head_dim, shape.embed_dim
    sizes = [int(np.prod(size)) for size in parameter_sizes(tokens, length, dim, heads, width)]
    assert parameter_count(tokens, length, dim, heads, width) == sum(sizes)
    rank_one = sum(sizes[:2]) + sizes[-1] + 2 * heads * dim + sum(sizes[4:6])
    assert rank_one_parameter_count(tokens, length, dim, heads, width) == rank_one
    assert 0 < effective_parameters(tokens, length, dim, heads, width) <= sum(sizes)


@examples
@given(any_shape, vocabularies, lengths)
def test_corollary_1_parameters_are_the_parameters_of_its_heads(
    shape: AttentionShape, tokens: int, length: int
) -> None:
    heads, width, dim = shape.num_heads, shape.rank, shape.embed_dim
    total = corollary_1_associations(heads, width, dim)
    assert corollary_1_parameters(total, tokens, length, dim) == parameter_count(tokens, length, dim, heads, width)
    assert corollary_1_parameters(1, tokens, length, dim) == dim * (length + 2 * tokens)  # never below H = 0


@examples
@given(any_shape, vocabularies, st.integers(2, 9))
def test_effective_parameters_in_the_usual_case(shape: AttentionShape, tokens: int, length: int) -> None:
    heads, rank, dim = shape.num_heads, shape.rank, shape.embed_dim
    effective = effective_parameters(tokens, length, dim, heads, shape.head_dim)
    if dim < tokens and dim <= 2 * heads * rank:
        assert effective == dim * (length + 2 * tokens) + 2 * heads * rank * (2 * dim - rank) - dim**2 - dim
    if heads == 0:
        assert effective == (dim * (2 * tokens - dim) if dim <= tokens else tokens**2)
        assert effective == effective_parameters(tokens, 1, dim, 7, 3)


def jacobian_rank(tokens: int, length: int, dim: int, heads: int, width: int) -> int:
    """Rank of d logits / d parameters over all N^S sequences at a random point; derivatives by complex steps, exact."""
    sizes = parameter_sizes(tokens, length, dim, heads, width)
    splits = np.cumsum([int(np.prod(size)) for size in sizes])
    table = np.array(list(itertools.product(range(tokens), repeat=length)))

    def logits(parameters: np.ndarray) -> np.ndarray:
        parts = np.split(parameters, splits[:-1], axis=-1)
        e, p, q, k, v, o, u = (part.reshape(len(parameters), *size) for part, size in zip(parts, sizes, strict=True))
        x = e[:, table] + p[:, None]
        out = x[:, :, -1]
        for h in range(heads):
            scores = np.einsum("ptk,ptik->pti", x[:, :, -1] @ q[:, h], x @ k[:, None, h])
            weights = np.exp(scores - scores.real.max(axis=-1, keepdims=True))
            weights = weights / weights.sum(axis=-1, keepdims=True)
            out = out + np.einsum("pti,ptid->ptd", weights, x) @ v[:, h] @ o[:, h]
        return np.asarray(out @ u.swapaxes(1, 2)).reshape(len(parameters), -1)

    point = np.random.default_rng(5).normal(size=int(splits[-1])) * 0.8
    jacobian = logits(point + 1e-30j * np.eye(point.size)).imag / 1e-30
    values = np.linalg.svd(jacobian, compute_uv=False)
    return int((values > 1e-10 * values[0]).sum())


@pytest.mark.parametrize(
    ("tokens", "length", "dim", "heads", "width"),
    [
        (6, 2, 2, 1, 2),
        (6, 2, 2, 2, 1),
        (5, 2, 3, 2, 2),
        (6, 2, 2, 1, 5),  # d_h > d
        (5, 2, 3, 1, 1),  # 2 H r < d
        (4, 3, 3, 1, 1),
        (4, 2, 1, 2, 1),  # d = 1
        (6, 2, 3, 0, 2),  # H = 0
        (4, 2, 6, 0, 1),
        (6, 1, 2, 3, 2),  # S = 1
        (4, 1, 5, 1, 2),
        (4, 3, 4, 1, 2),  # d >= N, where the count is the rank too
        (4, 3, 6, 1, 2),
        (3, 3, 4, 1, 1),
        (3, 2, 2, 4, 2),  # more parameters than the logits of this table have dimensions
        (3, 2, 2, 1, 1),  # one more than a head of width one can reach of them
    ],
)
def test_effective_parameters_are_the_jacobian_rank(tokens: int, length: int, dim: int, heads: int, width: int) -> None:
    effective = effective_parameters(tokens, length, dim, heads, width)
    rank = jacobian_rank(tokens, length, dim, heads, width)
    if dim < tokens:
        reachable = reachable_logit_dimension(tokens, length, dim, heads, width)
    else:
        reachable = logit_dimension(tokens, length, dim)
    assert rank == min(effective, reachable)


def test_effective_parameters_are_only_a_bound_beyond_the_vocabulary() -> None:
    assert effective_parameters(3, 2, 4, 1, 1) == 19
    assert jacobian_rank(3, 2, 4, 1, 1) == 17


# Refused at the door


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corollary_1_associations(-1, 2, 2), "num_heads = -1: must be an integer >= 0"),
        (lambda: corollary_1_associations(1, 0, 2), "head_dim = 0: must be an integer >= 1"),
        (lambda: corollary_1_associations(1, 1, 1), "embed_dim = 1: must be an integer >= 2"),
        (lambda: corollary_1_heads(0, 2, 2), "num_associations = 0: must be an integer >= 1"),
        (lambda: repaired_associations(1, 2, 2, 0, 5), "num_last_tokens = 0"),
        (lambda: repaired_associations(1, 2, 2, 6, 5), "num_last_tokens = 6: must be at most num_associations = 5"),
        (lambda: repaired_heads(5, 2, 2, 6), "num_last_tokens = 6"),
        (lambda: guaranteed_associations(1, 2, 2, 0, 1, 5), "seq_len = 0"),
        (lambda: corollary_2_accuracy(1, 2, 2, 1, 5), "vocab_size = 1: must be an integer >= 2"),
        (lambda: accuracy_from_memory(101, 10, 100), "memory = 101: must be between .* and T0 = 100"),
        (lambda: accuracy_from_memory(-100, 10, 100), r"memory = -100: must be between .* = -100/9"),
        (lambda: accuracy_from_memory(float("nan"), 10, 100), "memory = nan: must be a finite number"),
        (lambda: memory_from_accuracy(1.5, 10, 100), "accuracy = 1.5: must be between 0 and 1"),
        (lambda: memory_from_accuracy(-1, 10, 100), "accuracy = -1"),
        (lambda: memory_from_accuracy(float("inf"), 10, 100), "accuracy = inf"),
        (lambda: parameter_count(10, 2, 0, 1, 1), "embed_dim = 0"),
        (lambda: rank_one_parameter_count(10, 0, 2, 1, 1), "seq_len = 0"),
        (lambda: corollary_1_parameters(5, 10, 2, 1), "embed_dim = 1"),
        (lambda: effective_parameters(1, 2, 2, 1, 1), "vocab_size = 1"),
        (lambda: logit_dimension(10, 0, 2), "seq_len = 0"),
        (lambda: reachable_logit_dimension(10, 2, 10, 1, 1), "embed_dim = 10"),
        (lambda: mahdavi_associations(1, 1, 0), "seq_len = 0"),
        (lambda: mahdavi_associations_as_plotted(1, 0), "head_dim = 0"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as failure:
        call()
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("value", [2.0, "2", None, float("nan")])
def test_only_integers_are_counts(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        corollary_1_associations(value, 2, 2)  # type: ignore[arg-type]
