"""The class of sequence encoders: closed cases, a bracket that no encoder leaves, Propositions 1 and 2, Lemma 1."""

from fractions import Fraction
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.divergence import (
    centred_log_probabilities,
    divergence_lower_bound,
    encoder_divergence,
    exact_centred_rank,
    lemma_1_spread,
    proposition_2_exponents,
    proposition_2_witness,
)
from theory.strategies import association_tasks, distribution_tasks
from theory.tasks import AssociationTask, DistributionTask

EPS = 2.0**-52


def rank_of(logits: np.ndarray) -> int:
    values = np.linalg.svd(logits - logits.mean(axis=1, keepdims=True), compute_uv=False)
    return int((values > 1e-9 * max(values[0], 1e-300)).sum())


@settings(max_examples=25)
@given(task=distribution_tasks(num_sequences=(1, 8)), width=st.integers(1, 6), seed=st.integers(0, 99))
def test_the_bracket_and_its_witness(task: DistributionTask, width: int, seed: int) -> None:
    fit = encoder_divergence(task, width, seed=seed, restarts=2, max_iterations=500)
    assert fit.unembedding.shape == (task.vocab_size, width) and fit.encodings.shape == (task.num_sequences, width)
    assert rank_of(fit.logits) <= width
    assert task.divergence(fit.logits) == pytest.approx(fit.upper, rel=1e-9, abs=1e-15)
    assert 0 <= fit.lower <= fit.upper <= log(task.vocab_size) - task.mean_entropy + 1e-12
    if fit.infimum is not None:
        assert fit.infimum == 0 and fit.upper < 1e-15 and fit.gradient_norm is None
    if width >= min(task.vocab_size - 1, task.num_sequences):
        assert fit.infimum == 0 and fit.attained == task.full_support
    # Any other encoder of this width, a random one or a slightly moved best one, is not below the proven bound.
    rng = np.random.default_rng(seed)
    for size in (1e-3, 1.0):
        code = fit.unembedding + size * rng.standard_normal(fit.unembedding.shape)
        logits = (fit.encodings + size * rng.standard_normal(fit.encodings.shape)) @ code.T
        assert task.divergence(logits) >= fit.lower


@settings(max_examples=15)
@given(task=distribution_tasks(full_support=True, vocab_size=(3, 6), num_sequences=(3, 8)), data=st.data())
def test_wider_encoders_are_not_worse(task: DistributionTask, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, task.vocab_size - 2))
    narrow = encoder_divergence(task, width, restarts=2)
    wide = encoder_divergence(task, width + 1, restarts=2)
    assert wide.lower <= narrow.lower * (1 + 1e-9) + 1e-15
    assert wide.lower <= narrow.upper  # a wide encoder can always copy a narrow one


def test_the_gradient_is_that_of_the_divergence() -> None:
    """At the minimum found, no small move of W or E does better than rounding."""
    task = DistributionTask.random(6, 2, 12, 5, prior_concentration=1.0)
    fit = encoder_divergence(task, 2)
    assert fit.reason.startswith("descent converged") and fit.gradient_norm is not None and fit.gradient_norm < 1e-6
    rng = np.random.default_rng(0)
    for _ in range(50):
        code = fit.unembedding + 1e-4 * rng.standard_normal(fit.unembedding.shape)
        encodings = fit.encodings + 1e-4 * rng.standard_normal(fit.encodings.shape)
        assert task.divergence(encodings @ code.T) >= fit.upper - 1e-13


def test_the_gradient_norm_is_that_of_central_differences() -> None:
    task = DistributionTask.random(4, 2, 5, 5, prior_concentration=1.0)
    fit = encoder_divergence(task, 2, restarts=1, max_iterations=2)
    scale = np.sqrt(task.prior * task.num_sequences)[:, None]
    point = np.concatenate([fit.unembedding.ravel(), (scale * fit.encodings).ravel()])

    def value(flat: np.ndarray) -> float:
        return task.divergence((flat[8:].reshape(5, 2) / scale) @ flat[:8].reshape(4, 2).T)

    step = 1e-5
    slopes = [(value(point + step * move) - value(point - step * move)) / (2 * step) for move in np.eye(len(point))]
    assert fit.gradient_norm is not None and fit.gradient_norm > 1e-4
    assert np.linalg.norm(slopes) == pytest.approx(fit.gradient_norm, rel=1e-5)


def test_descents_from_other_seeds_agree_and_repeat() -> None:
    task = DistributionTask.random(10, 2, 30, 1)
    values = [encoder_divergence(task, 3, seed=seed).upper for seed in (0, 7)]
    assert values[0] == pytest.approx(values[1], rel=1e-9)
    assert np.array_equal(encoder_divergence(task, 3, seed=4).logits, encoder_divergence(task, 3, seed=4).logits)


def test_a_cut_off_descent_says_so() -> None:
    fit = encoder_divergence(DistributionTask.random(10, 2, 30, 1), 3, max_iterations=3)
    assert "stopped at the cap of 3 iterations" in fit.reason and fit.infimum is None


# Closed cases


@given(task=association_tasks(vocab_size=(2, 8)), width=st.integers(1, 4))
def test_sure_labels_need_two_dimensions_or_two_labels(task: AssociationTask, width: int) -> None:
    fit = encoder_divergence(DistributionTask.from_associations(task), width, restarts=1, max_iterations=50)
    closed = width >= 2 or len(set(task.targets.tolist())) <= 2
    assert (fit.infimum == 0) == closed
    if closed and width < min(task.vocab_size - 1, len(set(task.targets.tolist()))):
        assert fit.attained is False and fit.upper < 1e-15 and "limit" in fit.reason


def test_three_sure_labels_on_a_line_are_out_of_reach() -> None:
    task = DistributionTask.from_associations(AssociationTask([[0], [1], [2]], [0, 1, 2], 3))
    fit = encoder_divergence(task, 1)
    assert fit.infimum is None and fit.upper > 0.2  # the middle label has at most half beside one of the others


@settings(max_examples=20)
@given(rank=st.integers(1, 3), tokens=st.integers(5, 8), seed=st.integers(0, 999))
def test_low_rank_log_probabilities_are_met_by_decomposition(rank: int, tokens: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((10, rank)) @ rng.standard_normal((rank, tokens)) + rng.standard_normal((10, 1))
    rows = np.exp(logits)
    task = DistributionTask(np.stack(np.divmod(np.arange(10), 5), axis=1), rows / rows.sum(axis=1, keepdims=True))
    fit = encoder_divergence(task, rank)
    assert "centred rank" in fit.reason and fit.upper < 1e-25 and fit.infimum is None
    assert fit.lower == 0


def test_bad_arguments() -> None:
    task = DistributionTask([[0]], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="embed_dim = 0: must be an integer >= 1"):
        encoder_divergence(task, 0)
    with pytest.raises(ValueError, match="restarts = 0"):
        encoder_divergence(task, 1, restarts=0)


# The bound from below


@settings(max_examples=60)
@given(task=distribution_tasks(full_support=True, vocab_size=(3, 6)), width=st.integers(1, 3), seed=st.integers(0, 999))
def test_truncated_tables_do_not_beat_the_lower_bound(task: DistributionTask, width: int, seed: int) -> None:
    """The worst case for a bound from below: tables of rank d as near as can be, with weights of all kinds."""
    table = centred_log_probabilities(task)
    rng = np.random.default_rng(seed)
    lower = divergence_lower_bound(task, width)
    for power in (0.0, 0.5, 1.0):
        weights = task.prior[:, None] ** power * np.exp(0.3 * rng.standard_normal((task.num_sequences, 1)))
        left, values, right = np.linalg.svd(weights * table, full_matrices=False)
        logits = (left[:, :width] * values[:width]) @ right[:width] / weights
        assert task.divergence(logits) >= lower


def test_the_inequality_behind_the_lower_bound() -> None:
    x = np.concatenate([-np.geomspace(1e-3, 700, 2000), np.geomspace(1e-3, 700, 2000)])
    assert (np.expm1(x) - x >= x**2 / (2 + np.abs(x))).all()


def test_lower_bound_is_zero_where_zero_is_reached() -> None:
    task = DistributionTask.random(5, 2, 20, 0)
    assert divergence_lower_bound(task, 4) == 0 < divergence_lower_bound(task, 3)
    assert divergence_lower_bound(DistributionTask([[0], [1]], np.eye(3)[:2]), 1) == 0


# Proposition 2


@pytest.mark.parametrize("tokens", [3, 4, 5, 8, 13, 40])
def test_the_witness_of_proposition_2_is_exact(tokens: int) -> None:
    exponents, task = proposition_2_exponents(tokens), proposition_2_witness(tokens, 2)
    for row, powers in zip(task.conditionals.tolist(), exponents.tolist(), strict=True):
        assert [Fraction(p) for p in row] == [Fraction(1, 2**-power) for power in powers]
        assert sum(map(Fraction, row)) == 1
    assert exact_centred_rank(exponents) == tokens - 1
    assert task.num_sequences == tokens - 1 and task.seq_len == 2


def test_exact_centred_rank_sees_deficiency() -> None:
    exponents = proposition_2_exponents(6)
    exponents[4] = exponents[0] + exponents[1] - exponents[2] + 7  # constants per row don't count
    assert exact_centred_rank(exponents) == 4
    assert exact_centred_rank(np.ones((3, 5), np.int64)) == 0


@pytest.mark.parametrize("tokens", [3, 4, 6, 10])
def test_proposition_2(tokens: int) -> None:
    task = proposition_2_witness(tokens)
    for width in range(1, tokens - 1):
        fit = encoder_divergence(task, width, restarts=2, max_iterations=500)
        assert 0 < divergence_lower_bound(task, width) == fit.lower <= fit.upper
    fit = encoder_divergence(task, tokens - 1)
    assert fit.infimum == 0 and fit.attained and fit.upper < 1e-25


def test_proposition_2_needs_three_tokens() -> None:
    with pytest.raises(ValueError, match="vocab_size = 2: must be an integer >= 3"):
        proposition_2_witness(2)
    with pytest.raises(ValueError, match="vocab_size = 1001: must be at most 1000"):
        proposition_2_witness(1001)


# Lemma 1


@given(task=distribution_tasks(full_support=True), seed=st.integers(0, 999), size=st.floats(0.01, 50))
def test_lemma_1_bounds_the_spread_of_every_model(task: DistributionTask, seed: int, size: float) -> None:
    logits = size * np.random.default_rng(seed).standard_normal(task.conditionals.shape)
    bound = lemma_1_spread(task, task.divergence(logits))
    assert (np.ptp(logits, axis=1) <= bound * (1 + 1e-9)).all()


def test_lemma_1_is_not_far_off_and_refuses() -> None:
    """Two tokens, (1/2, 1/2), spread s: KL is about s / 2 - ln 2, so the bound is about s."""
    task = DistributionTask([[0]], [[0.5, 0.5]])
    assert lemma_1_spread(task, task.divergence([[100.0, 0.0]]))[0] == pytest.approx(100)
    with pytest.raises(ValueError, match="without full support"):
        lemma_1_spread(DistributionTask([[0]], [[0.0, 1.0]]), 1.0)
    with pytest.raises(ValueError, match=r"divergence = -1\.0"):
        lemma_1_spread(task, -1.0)
