"""Counterexamples of the ledger as plain tests, by ways that the ledger's own checks do not use."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from constructions import AttentionOnlyTransformer, logit_margins
from headcount.claims.dana2025._features import additive_rank, coinciding_contexts_rank, sequences_in_words
from headcount.claims.dana2025._proof_step_checks import _bumps_store, _slab
from headcount.claims.dana2025._weights import certified_right, certified_wrong, planar, read_by_rows
from theory.attention_rank import softmax_rank_rational
from theory.tasks import AssociationTask


def features(task: AssociationTask, dim: int, heads: int, seed: int) -> np.ndarray:
    """[A^1; ..; A^H] of a model with random weights, in float64, one column per sequence."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((task.vocab_size, dim))[task.sequences] + rng.standard_normal((task.seq_len, dim))
    outputs = []
    for _ in range(heads):
        scores = np.einsum("td,de,tie->ti", rows[:, -1], rng.standard_normal((dim, dim)), rows)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        outputs.append(np.einsum("ti,tid->dt", weights / weights.sum(axis=1, keepdims=True), rows))
    return np.concatenate(outputs)


def test_lemma_2_on_four_constant_pairs() -> None:
    task = AssociationTask(np.array([[a, a] for a in range(4)]), np.arange(4), 4)
    values = np.linalg.svd(features(task, 2, 2, seed=0), compute_uv=False)
    assert values[2] > 1e-3 * values[0] and values[3] < 1e-12 * values[0]  # rank 3, not min(T0, H d) = 4


def test_lemma_2_where_sequences_differ() -> None:
    task = AssociationTask(np.array([[0, 1], [1, 2], [2, 3], [3, 0]]), np.arange(4), 4)
    values = np.linalg.svd(features(task, 2, 2, seed=0), compute_uv=False)
    assert values[3] > 1e-6 * values[0]


def test_products_before_one_last_token_have_rank_3_with_one_head() -> None:
    task = AssociationTask(np.array([(a, b, 4) for a in (0, 1) for b in (2, 3)]), np.zeros(4, dtype=np.int64), 5)
    assert additive_rank(task) == 3
    assert softmax_rank_rational(task, embed_dim=3, head_dim=3, num_heads=1) == 3
    assert softmax_rank_rational(task, embed_dim=3, head_dim=3, num_heads=2) == 4


@pytest.mark.parametrize("seed", range(3))
def test_a_slab_is_linear_on_its_points_and_zero_on_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [tuple(int(x) for x in row) for row in rng.integers(-50, 51, (12, 6))]
    labels = [Fraction(int(x), 3) for x in rng.integers(-40, 41, 12)]
    assert _bumps_store(points, labels, 6) == 12  # with 8 neurons
    normal, offset, _, width, _ = _slab(points, labels, range(6))
    heights = [abs(sum(u * x for u, x in zip(normal, point, strict=True)) - offset) for point in points]
    assert heights[:6] == [0] * 6 and min(heights[6:]) > 2 * width


def test_a_matrix_of_rank_two_reads_every_token_of_the_circle() -> None:
    model, task = read_by_rows(9)
    assert (certified_right(model, task), certified_wrong(model, task)) == (9, 0)
    model.unembedding.data[3] = model.unembedding.data[4]  # a tie is wrong
    assert certified_wrong(model, task) >= 2


@pytest.mark.parametrize("labels", ["random", "alike", "alternating"])
def test_one_association_more_than_the_formula(labels: str) -> None:
    sequences = AssociationTask.random(3, 2, 6, seed=0).sequences
    targets = {"random": [2, 0, 1, 1, 0, 2], "alike": [0, 0, 0, 0, 0, 0], "alternating": [0, 1, 0, 1, 0, 1]}[labels]
    model, task = planar(AssociationTask(sequences, np.array(targets), 3), 3, 1, seed=0)
    assert isinstance(model, AttentionOnlyTransformer) and model.dtype == torch.float64
    assert (model.embed_dim, model.num_heads, model.head_dim) == (3, 1, 2)
    assert certified_right(model, task) == 6  # H d_h + d = 5
    assert (logit_margins(model, task) > 0).all()


def test_their_setting_reaches_their_rank_and_no_more() -> None:
    # Mahdavi et al.: one context of n tokens; H (n - 1) + 1 is also the most.
    assert coinciding_contexts_rank(20, 3, 6, 4, seed=1) == 4 * 2 + 1
    assert coinciding_contexts_rank(5, 3, 6, 4, seed=1) == 5


def test_sequences_are_written_so_that_they_can_be_typed() -> None:
    assert sequences_in_words(AssociationTask([[0, 1], [1, 1]], [0, 0], 2)) == "01, 11"
    assert sequences_in_words(AssociationTask([[10, 1]], [0], 12)) == "10.1"
    assert sequences_in_words(AssociationTask.complete(5, 2, 0)).endswith(", .. (25)")
