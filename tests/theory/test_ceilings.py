"""Ceilings against numbers, against counts by enumeration, against each other, and against what is built and solved."""

import itertools
import math
import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from constructions.staircase import plan
from theory import AssociationTask, AttentionShape
from theory.attention_rank import free_attention_rank, jacobian_rank, num_classes_without_positions, softmax_rank
from theory.ceilings import (
    bits_ceiling,
    counting_ceiling,
    distribution_ceiling,
    exact_target_ceiling,
    hard_attention_ceiling,
    hard_attention_labelings_log2,
    label_probability,
    readout_ceiling,
    readout_labelings_log2,
    softmax_ceiling,
    trained_readout_ceiling,
    trained_readout_labelings_log2,
)
from theory.memorization import corollary_1_associations, parameter_count
from theory.strategies import association_tasks, attention_shapes

vocabularies = st.integers(2, 60)
lengths = st.integers(1, 6)
shapes = attention_shapes(embed_dim=(2, 12), num_heads=(0, 40), wide_heads=True)
MODELS = [(10, 2, 2, 2, 20), (50, 2, 10, 10, 20)]  # N, S, d, d_h, H


def frozen(vocab: int, shape: AttentionShape) -> tuple[int, int, int]:
    """Arguments of the readout's ceiling when values are fixed too."""
    features = shape.num_heads * shape.rank + shape.embed_dim
    return vocab, min(shape.embed_dim, vocab - 1), features


# Numbers


def by_floats(vocab: int, log_labelings: Callable[[int], float], start: int) -> int:
    """Largest count beyond `start` with N^count <= labelings, in floating point and one by one."""
    count = start
    while (count + 1) * math.log(vocab) <= log_labelings(count + 1):
        count += 1
    return count


@pytest.mark.parametrize(
    ("model", "bits", "readout", "both", "hard"),
    [(MODELS[0], 1753, 204, 353, 3049), (MODELS[1], 25571, 4793, 7186, 50214)],
)
def test_the_two_standard_models(
    model: tuple[int, int, int, int, int], bits: int, readout: int, both: int, hard: int
) -> None:
    vocab, length, dim, width, heads = model
    parameters = parameter_count(vocab, length, dim, heads, width)
    assert bits_ceiling(vocab, parameters, 16) == bits
    assert readout_ceiling(vocab, dim, heads * width + dim) == readout
    assert trained_readout_ceiling(vocab, dim, width, heads) == both
    assert hard_attention_ceiling(vocab, length, dim, width, heads) == hard
    pairs = vocab * (vocab - 1) // 2
    unknowns = dim * vocab + dim * width * heads

    def signs(constant: int, degree: int, per_sequence: int, size: int) -> Callable[[int], float]:
        return lambda count: size * math.log(constant * math.e * degree * count * per_sequence / size)

    assert by_floats(vocab, signs(4, 2, pairs, unknowns), both - 40) == both
    values = trained_readout_ceiling(vocab, dim, width, heads, train_values=True)
    more = unknowns + dim * width * heads
    assert by_floats(vocab, signs(4, 3, pairs, more), values - 40) == values == {10: 673, 50: 13447}[vocab]
    compare, outputs = signs(8, 4, heads * math.comb(length, 2), parameters), signs(4, 4, pairs, parameters)
    assert by_floats(vocab, lambda count: compare(count) + outputs(count), hard - 40) == hard
    # With zeros counted among the signs, and a free map for the skip beside a free unembedding: looser.
    looser = by_floats(vocab, signs(8, 2, pairs, unknowns + dim**2), both)
    assert looser == {10: 403, 50: 7978}[vocab] > both
    outputs = signs(8, 4, pairs, parameters)
    looser = by_floats(vocab, lambda count: compare(count) + outputs(count), hard)
    assert looser == {10: 3171, 50: 51971}[vocab] > hard


def test_exact_targets_of_the_standard_models() -> None:
    for vocab, length, dim, width, heads in MODELS:
        assert exact_target_ceiling(vocab, length, dim, width, heads) == 2 * heads * dim + length + vocab - 1
    assert exact_target_ceiling(10, 2, 2, 2, 20) == 91
    assert exact_target_ceiling(50, 2, 10, 10, 20) == 451
    assert exact_target_ceiling(50, 1, 10, 10, 20) == exact_target_ceiling(50, 3, 10, 10, 0) == 50


def test_softmax_ceiling_by_hand() -> None:
    """N = 2, S = 1, d = d_h = H = 1: 9 parameters, one exponential, 22 steps."""
    steps = 3 + (2 * 1 + 1) + 1 + (1 + 1 + 1 + 1) + 2 + 2
    expected = 18**2 + 11 * 18 * (steps + math.log2(9 * 18))
    assert softmax_ceiling(2, 1, 1, 1, 1) == math.floor(expected)


# Counting


@pytest.mark.parametrize(("tokens", "length"), [(2, 1), (2, 4), (3, 3), (4, 2), (5, 3), (6, 1)])
def test_sequences_that_a_model_can_tell_apart(tokens: int, length: int) -> None:
    task = AssociationTask.complete(tokens, length, 0)
    assert counting_ceiling(tokens, length) == task.num_associations
    classes = {(*sorted(row[:-1]), row[-1]) for row in task.sequences.tolist()}
    assert counting_ceiling(tokens, length, positions=False) == len(classes) == num_classes_without_positions(task)


@given(st.integers(2, 400), st.integers(1, 300), st.integers(1, 40))
def test_bits_by_big_integers(vocab: int, parameters: int, bits: int) -> None:
    count = bits_ceiling(vocab, parameters, bits)
    assert vocab**count <= 2 ** (bits * parameters) < vocab ** (count + 1)


def test_bits_of_a_very_large_model() -> None:
    assert bits_ceiling(1024, 10**12, 16) == 16 * 10**11
    assert bits_ceiling(1000, 10**12, 16) == math.floor(16 * 10**12 * Fraction(math.log(2)) / Fraction(math.log(1000)))


def test_cells_of_central_hyperplanes_by_enumeration() -> None:
    """The count behind the readout's ceiling, on all sign patterns that random unknowns reach."""
    rng = np.random.default_rng(0)
    for hyperplanes, unknowns in ((3, 2), (6, 2), (5, 3), (7, 3)):
        normals = rng.normal(size=(hyperplanes, unknowns))
        seen = np.unique(rng.normal(size=(100_000, unknowns)) @ normals.T > 0, axis=0)
        assert len(seen) == 2 * sum(math.comb(hyperplanes - 1, k) for k in range(unknowns))


def cells(hyperplanes: int, unknowns: int) -> int:
    return 2 * sum(math.comb(hyperplanes - 1, k) for k in range(unknowns))


@given(st.integers(2, 12), st.integers(1, 11), st.integers(1, 12))
def test_readout_ceiling_by_big_integers(vocab: int, code: int, features: int) -> None:
    code = min(code, vocab - 1)
    count, pairs, unknowns = readout_ceiling(vocab, code, features), math.comb(vocab, 2), code * features
    assert (count == 0) is (unknowns == 1 and vocab > 2)
    assert all(vocab**k <= cells(k * pairs, unknowns) for k in {1, count // 2, count - 1, count} if 0 < k <= count)
    assert all(vocab**k > cells(k * pairs, unknowns) for k in (count + 1, count + 2, 2 * count + 1))
    for k in (1, count or 1, count + 1, 3 * count + 1):
        exact = min(vocab**k, cells(k * pairs, unknowns))
        bound = readout_labelings_log2(vocab, code, features, k)
        assert exact <= Fraction(2) ** math.floor(bound) * Fraction(2 ** (bound - math.floor(bound)) * (1 + 1e-12))
        assert bound == pytest.approx(math.log2(exact), rel=1e-11, abs=1e-11)


def test_two_labels_are_shattered_up_to_the_number_of_unknowns() -> None:
    assert [readout_ceiling(2, 1, features) for features in (1, 2, 17, 10**9)] == [1, 2, 17, 10**9]
    assert readout_labelings_log2(2, 1, 5, 5) == pytest.approx(5)
    assert readout_labelings_log2(2, 1, 5, 10) == pytest.approx(9)  # Cover: half of all at T = 2 m
    assert label_probability(readout_labelings_log2(2, 1, 50_000, 100_000), 2, 100_000) == pytest.approx(0.5)


def test_large_models_take_no_time() -> None:
    assert readout_ceiling(50, 10, 2500) == 57106
    assert readout_ceiling(50_000, 1000, 10**7) > 10**10
    assert hard_attention_ceiling(50_000, 1000, 1000, 64, 100) == 584705037


# Shattering, on models small enough


def test_readout_ceiling_holds_for_a_linear_classifier() -> None:
    """N = 3, q = 2, one feature: 4 unknowns; no 3 sequences are given all 27 labelings by 200,000 random maps."""
    code = np.array([[math.cos(2 * math.pi * k / 3), math.sin(2 * math.pi * k / 3)] for k in range(3)])
    rng = np.random.default_rng(1)
    ceiling = readout_ceiling(3, 2, 1)
    seen = 0
    for _ in range(5):
        features = rng.normal(size=(1, ceiling + 1))
        labels = (code @ (rng.normal(size=(20_000, 2, 1)) @ features)).argmax(axis=1)
        seen = max(seen, len(np.unique(labels, axis=0)))
    assert seen < 3 ** (ceiling + 1)
    assert math.log2(seen) <= readout_labelings_log2(3, 2, 1, ceiling + 1)


# Order and monotonicity


@given(vocabularies, lengths, shapes, st.integers(0, 2), st.booleans())
def test_every_ceiling_grows_with_every_size(
    vocab: int, length: int, shape: AttentionShape, which: int, values: bool
) -> None:
    dim, heads, width = shape.embed_dim, shape.num_heads, shape.head_dim
    assert counting_ceiling(vocab, length) < counting_ceiling(vocab + 1, length)
    assert counting_ceiling(vocab, length, False) < counting_ceiling(vocab, length + 1, False)
    assert counting_ceiling(vocab, length, False) <= counting_ceiling(vocab, length)
    assert bits_ceiling(vocab, 7 * dim, 16) >= bits_ceiling(vocab + 1, 7 * dim, 16)
    assert bits_ceiling(vocab, 7 * dim, 16) <= bits_ceiling(vocab, 7 * dim + 1, 16) <= bits_ceiling(vocab, 7 * dim + 1, 17)
    _, code, features = frozen(vocab, shape)
    assert readout_ceiling(vocab, code, features) < readout_ceiling(vocab, code, features + 1)
    if code + 1 < vocab:
        assert readout_ceiling(vocab, code, features) < readout_ceiling(vocab, code + 1, features)
    step = [(dim + 1, width, heads), (dim, width + 1, heads), (dim, width, heads + 1)][which]
    base = trained_readout_ceiling(vocab, dim, width, heads, values)
    assert base <= trained_readout_ceiling(vocab, *step, values)
    assert base == trained_readout_ceiling(vocab, dim, min(width, dim), heads, values)
    assert base >= trained_readout_ceiling(vocab, dim, width, heads)
    for ceiling in (hard_attention_ceiling, softmax_ceiling, exact_target_ceiling, distribution_ceiling):
        base = ceiling(vocab, length, dim, width, heads)
        assert base <= ceiling(vocab, length, *step)
        assert base <= ceiling(vocab, length + 1, dim, width, heads)
        assert base == ceiling(vocab, length, dim, min(width, dim), heads)


@given(vocabularies, lengths, shapes)
def test_the_order_of_ceilings(vocab: int, length: int, shape: AttentionShape) -> None:
    dim, heads, width = shape.embed_dim, shape.num_heads, shape.head_dim
    readout = readout_ceiling(*frozen(vocab, shape))
    if vocab > dim:
        assert corollary_1_associations(heads, width, dim) <= readout
    if width >= 2:
        planar = dim * (heads + 1)
        assert corollary_1_associations(heads, 2, dim) <= planar <= readout_ceiling(vocab, min(2, vocab - 1), planar)
    both = trained_readout_ceiling(vocab, dim, width, heads)
    assert readout <= both <= trained_readout_ceiling(vocab, dim, width, heads, True)
    hard = hard_attention_ceiling(vocab, length, dim, width, heads)
    assert both <= hard <= softmax_ceiling(vocab, length, dim, width, heads)
    if vocab > dim:  # what is solved exactly may be met exactly
        used = heads if length > 1 else 0
        assert corollary_1_associations(used, width, dim) <= exact_target_ceiling(vocab, length, dim, width, heads)


@given(
    association_tasks(seq_len=2), st.integers(2, 5), st.integers(1, 5), st.integers(0, 6), st.integers(0, 3)
)
def test_what_is_built_and_solved_stays_below(
    task: AssociationTask, dim: int, width: int, heads: int, seed: int
) -> None:
    width, vocab = min(width, dim), task.vocab_size
    built = plan(task, embed_dim=dim, head_dim=width, num_heads=heads, seed=seed).num_held
    features = free_attention_rank(task, embed_dim=dim, head_dim=width, num_heads=heads)
    assert built <= features
    ceilings = [
        readout_ceiling(*frozen(vocab, AttentionShape(dim, heads, width))),
        trained_readout_ceiling(vocab, dim, width, heads),
        hard_attention_ceiling(vocab, 2, dim, width, heads),
    ]
    if vocab > dim:  # otherwise several unembedding rows more than the N - 1 that a readout's count is about
        assert built <= readout_ceiling(vocab, dim, features)
    assert ceilings == sorted(ceilings)
    assert built <= ceilings[0] or vocab <= dim
    assert built <= ceilings[1]
    assert built <= min(counting_ceiling(vocab, 2), bits_ceiling(vocab, parameter_count(vocab, 2, dim, heads, width), 64))


@given(st.integers(2, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 4), st.integers(0, 3))
def test_exact_targets_need_that_many_dimensions(vocab: int, length: int, width: int, heads: int, seed: int) -> None:
    """The table of outputs of all N^S sequences has rank at most d x ceiling over the parameters: d = N - 1, W_U square."""
    dim = vocab - 1
    assume(vocab**length <= 40)
    logits = jacobian_rank(vocab_size=vocab, seq_len=length, embed_dim=dim, num_heads=heads, head_dim=width, seed=seed)
    # Logits add the N d - d^2 = d parameters of the column space of W_U to those of the outputs E.
    outputs = logits - dim
    assert outputs <= dim * (exact_target_ceiling(vocab, length, dim, width, heads) + 1) - 1


def test_distributions() -> None:
    assert distribution_ceiling(10, 2, 8, 8, 5) == 8  # d < N - 1: rank
    assert distribution_ceiling(10, 2, 9, 9, 0) == (9 * 20 - 81) // 9 == 11
    assert distribution_ceiling(3, 1, 5, 5, 5) == 3  # no more sequences than these
    # What features of full rank solve for distributions stays below: H d_h + d at d = N - 1.
    task = AssociationTask.random(6, 2, 20, seed=0)
    rank = softmax_rank(task, embed_dim=5, head_dim=5, num_heads=3)
    assert rank == 20 <= distribution_ceiling(6, 2, 5, 5, 3)


# Shares of labelings


@given(st.integers(3, 30), shapes, st.integers(0, 2))
def test_at_the_ceiling_all_labelings_beyond_it_not(vocab: int, shape: AttentionShape, case: int) -> None:
    dim, heads, width = shape.embed_dim, shape.num_heads, shape.head_dim
    cases: list[tuple[Callable[[], int], Callable[[int], float]]] = [
        (lambda: readout_ceiling(*frozen(vocab, shape)), lambda t: readout_labelings_log2(*frozen(vocab, shape), t)),
        (
            lambda: trained_readout_ceiling(vocab, dim, width, heads, True),
            lambda t: trained_readout_labelings_log2(vocab, dim, width, heads, t, True),
        ),
        (
            lambda: hard_attention_ceiling(vocab, 3, dim, width, heads),
            lambda t: hard_attention_labelings_log2(vocab, 3, dim, width, heads, t),
        ),
    ]
    largest, labelings = cases[case]
    ceiling = largest()
    counts = [1, ceiling // 2 or 1, ceiling, ceiling + 1, ceiling + 50, 4 * ceiling + 100]
    logs, everything = [labelings(count) for count in counts], [count * math.log2(vocab) for count in counts]
    assert logs[:3] == pytest.approx(everything[:3], rel=1e-12)
    assert all(log < most for log, most in zip(logs[3:], everything[3:], strict=True))
    chances = [label_probability(log, vocab, count) for count, log in zip(counts, logs, strict=True)]
    assert chances[:3] == pytest.approx([1, 1, 1])
    assert 1 > chances[3] > chances[4] > chances[5] > 0


def test_probability_known() -> None:
    assert label_probability(0.0, 10, 3) == pytest.approx(1e-3)
    assert label_probability(16.0, 2, 16) == 1.0
    assert label_probability(16.0, 2, 15) == 1.0
    assert 0 < label_probability(1.0, 2, 10**9) < 1e-300  # rounded up, never to zero


@pytest.mark.parametrize("heads", [0, 1, 3])
def test_one_position_leaves_hard_attention_no_choice(heads: int) -> None:
    """S = 1: no comparisons, so only the second factor counts."""
    parameters = parameter_count(7, 1, 3, heads, 2)
    count = hard_attention_ceiling(7, 1, 3, 2, heads)
    for k, expected in ((count, True), (count + 1, False)):
        assert (k * math.log(7) <= parameters * math.log(16 * math.e * k * 21 / parameters)) is expected


def test_signs_of_polynomials_by_enumeration() -> None:
    """Warren's count on random quadratics in two unknowns: patterns seen never exceed it, and the bound is not idle."""
    rng = np.random.default_rng(2)
    points = rng.normal(size=(100_000, 2)) * 3
    monomials = np.stack([points[:, 0] ** i * points[:, 1] ** j for i, j in itertools.product(range(3), repeat=2) if i + j <= 2])
    for polynomials in (2, 4, 8, 16):
        seen = len(np.unique((rng.normal(size=(polynomials, 6)) @ monomials > 0).T, axis=0))
        assert polynomials < seen <= (4 * math.e * 2 * polynomials / 2) ** 2


# Refused at the door


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: counting_ceiling(1, 2), "vocab_size = 1: must be an integer >= 2"),
        (lambda: counting_ceiling(3, 0), "seq_len = 0: must be an integer >= 1"),
        (lambda: bits_ceiling(3, 0, 1), "num_parameters = 0: must be an integer >= 1"),
        (lambda: bits_ceiling(3, 5, 1.5), "bits = 1.5: must be an integer >= 1"),
        (lambda: readout_ceiling(4, 4, 2), "code_dim = 4: must be at most vocab_size - 1 = 3"),
        (lambda: readout_ceiling(4, 1, 0), "num_features = 0: must be an integer >= 1"),
        (lambda: readout_labelings_log2(4, 1, 1, 0), "num_associations = 0: must be an integer >= 1"),
        (lambda: trained_readout_ceiling(4, 0, 1, 1), "embed_dim = 0: must be an integer >= 1"),
        (lambda: trained_readout_labelings_log2(4, 1, 1, 1, -1), "num_associations = -1: must be an integer >= 1"),
        (lambda: hard_attention_ceiling(4, 2, 1, 0, 1), "head_dim = 0: must be an integer >= 1"),
        (lambda: hard_attention_labelings_log2(4, 2, 1, 1, 1, True), "num_associations = True: must be an integer >= 1"),
        (lambda: softmax_ceiling(4, 2, 1, 1, -1), "num_heads = -1: must be an integer >= 0"),
        (lambda: exact_target_ceiling(4, None, 1, 1, 1), "seq_len = None: must be an integer >= 1"),
        (lambda: distribution_ceiling("4", 2, 1, 1, 1), "vocab_size = '4': must be an integer >= 2"),
        (lambda: label_probability(-1.0, 4, 1), "labelings_log2 = -1.0: must be a finite number >= 0"),
        (lambda: label_probability(math.inf, 4, 1), "labelings_log2 = inf: must be a finite number >= 0"),
        (lambda: label_probability(math.nan, 4, 1), "labelings_log2 = nan: must be a finite number >= 0"),
        (lambda: label_probability("x", 4, 3), "labelings_log2 = 'x': must be a finite number >= 0"),
        (lambda: label_probability(None, 4, 3), "labelings_log2 = None: must be a finite number >= 0"),
        (lambda: label_probability(True, 4, 3), "labelings_log2 = True: must be a finite number >= 0"),
        (lambda: counting_ceiling(3, 2, "no"), "positions = 'no': must be True or False"),
        (lambda: trained_readout_ceiling(4, 2, 1, 1, "False"), "train_values = 'False': must be True or False"),
        (lambda: trained_readout_labelings_log2(4, 2, 1, 1, 3, 0), "train_values = 0: must be True or False"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", [int, np.int64, np.float32, np.float64])
def test_numpys_numbers_are_numbers(kind: type) -> None:
    assert label_probability(kind(3), 4, 3) == label_probability(3.0, 4, 3) == pytest.approx(1 / 8, rel=1e-15)
    assert counting_ceiling(3, 3, np.False_) == counting_ceiling(3, 3, False)
