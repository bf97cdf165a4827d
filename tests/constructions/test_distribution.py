"""Theorem 1: what is promised on the likely sequences, the inequality on the rest, and the printed constant's counterexample."""

from fractions import Fraction
from math import log, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings, target
from hypothesis import strategies as st

from constructions.distribution import DistributionConstruction, build, printed_bound_counterexample
from theory.divergence import encoder_divergence, proposition_2_witness
from theory.strategies import distribution_tasks
from theory.tasks import AssociationTask, DistributionTask


def forward(built: DistributionConstruction) -> np.ndarray:
    """Equations (1) and (2) written out, one sequence and head at a time, in numpy."""
    model = {name: part.detach().numpy() for name, part in built.model.named_parameters()}
    rows = []
    for tokens in built.task.sequences.tolist():
        stream = model["token_embedding"][tokens] + model["position_embedding"]
        total = stream[-1].copy()
        for head in range(built.num_heads):
            scores = (stream[-1] @ model["query"][head]) @ (stream @ model["key"][head]).T
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            total += (weights @ stream) @ model["value"][head] @ model["output"][head]
        rows.append(model["unembedding"] @ total)
    return np.array(rows)


def features(built: DistributionConstruction) -> np.ndarray:
    """F: the last token's embedding and the heads' values, from the model's weights alone."""
    model = {name: part.detach().numpy() for name, part in built.model.named_parameters()}
    columns = []
    for tokens in built.task.sequences.tolist():
        stream = model["token_embedding"][tokens] + model["position_embedding"]
        column = [stream[-1]]
        for head in range(built.num_heads):
            scores = (stream[-1] @ model["query"][head]) @ (stream @ model["key"][head]).T
            weights = np.exp(scores - scores.max())
            column.append((weights / weights.sum()) @ stream @ model["value"][head])
        columns.append(np.concatenate(column))
    return np.array(columns).T


def spread(difference: np.ndarray) -> np.ndarray:
    return np.ptp(difference, axis=1)


# Epsilon = 0


@pytest.mark.parametrize(
    ("tokens", "length", "count", "dim", "width"),
    [(5, 2, 9, 2, 1), (10, 2, 40, 9, 3), (10, 2, 60, 4, 2), (6, 3, 40, 4, 4), (4, 4, 60, 3, 1), (7, 2, 5, 6, 2), (6, 1, 4, 5, 1)],
)
def test_at_epsilon_zero_the_best_encoder_is_reached_with_the_promised_heads(
    tokens: int, length: int, count: int, dim: int, width: int
) -> None:
    task = DistributionTask.random(tokens, length, count, 1, prior_concentration=1.0)
    built = build(task, embed_dim=dim, head_dim=width)
    assert built.failure is None and built.terms is not None
    last = len(np.unique(task.sequences[:, -1]))
    assert built.num_heads == max(0, -(-(count - min(dim, last)) // width))
    assert sorted(built.likely.tolist()) == list(range(count))
    logits = forward(built)
    assert spread(logits - built.encoder.logits).max() < 1e-6
    assert task.divergence(logits) == pytest.approx(built.encoder.upper, abs=1e-9)
    assert built.divergence == pytest.approx(built.encoder.upper, abs=1e-9)
    assert built.terms.printed == built.terms.repaired == built.encoder.upper
    # Proposition 1: no model of this width does better than sequence encoders.
    assert built.divergence >= built.encoder.lower


@settings(max_examples=30)
@given(task=distribution_tasks(vocab_size=(2, 6), num_sequences=(1, 12)), data=st.data())
def test_any_task_is_matched_or_the_failure_said(task: DistributionTask, data: st.DataObject) -> None:
    dim = data.draw(st.integers(1, 5))
    width = data.draw(st.integers(1, dim))
    encoder = encoder_divergence(task, dim, restarts=1, max_iterations=100)
    last = len(np.unique(task.sequences[:, -1]))
    if task.seq_len == 1 and task.num_sequences > min(dim, last):
        with pytest.raises(ValueError, match="heads add nothing to the skip connection"):
            build(task, embed_dim=dim, head_dim=width, encoder=encoder)
        return
    built = build(task, embed_dim=dim, head_dim=width, encoder=encoder)
    size = 1 + float(np.abs(encoder.logits).max())
    if built.failure is None:
        assert built.likely_error <= 1e-6
        assert spread(forward(built) - encoder.logits).max() <= 1e-5
    else:
        assert "rank" in built.failure or "miss" in built.failure or "inverted" in built.failure
        # Only d = 1, where all features are numbers, and logits as large as those standing for probability 0 are excuses.
        assert dim == 1 or size > 30


def test_proposition_2_witness_needs_its_dimensions() -> None:
    task = proposition_2_witness(6, 2)
    full = build(task, embed_dim=5, head_dim=1)
    short = build(task, embed_dim=3, head_dim=1)
    assert full.failure is short.failure is None
    assert full.divergence < 1e-20 < 1e-4 < short.encoder.lower <= short.divergence


def test_sure_labels_by_way_of_smoothing() -> None:
    """Corollary 1's route: (pi + delta) / (1 + N delta) for small delta, d = 2 and T0 = H d_h + 2; the argmax is the label."""
    table = AssociationTask.complete(5, 2, 0)
    task = DistributionTask.from_associations(table)
    built = build(task, embed_dim=2, head_dim=2, tolerance=1e-2)
    assert built.num_heads == 12 and built.failure is None
    assert (forward(built).argmax(axis=1) == table.targets).all()
    assert built.divergence < 1e-12


def test_constant_sequences_get_the_heads_that_they_need() -> None:
    """Each (a, a) sees one difference only: with d = d_h = 4 a head adds 1, not 4, so 6 heads for 10 sequences, not 2."""
    sequences = np.repeat(np.arange(10)[:, None], 2, axis=1)
    task = DistributionTask(sequences, np.random.default_rng(0).dirichlet(np.ones(10), size=10))
    built = build(task, embed_dim=4, head_dim=4)
    assert built.num_heads == 6 and built.failure is None
    assert spread(forward(built) - built.encoder.logits).max() < 1e-6
    short = build(task, embed_dim=4, head_dim=4, num_heads=5)
    assert short.failure is not None and "rank on the likely sequences is 9, 10 needed" in short.failure
    assert short.terms is None


# Epsilon > 0


@settings(max_examples=40)
@given(
    task=distribution_tasks(full_support=True, vocab_size=(2, 6), seq_len=(2, 3), num_sequences=(2, 16)),
    data=st.data(),
    epsilon=st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9]),
)
def test_the_repaired_inequality_and_the_exact_part(task: DistributionTask, data: st.DataObject, epsilon: float) -> None:
    dim = data.draw(st.integers(1, 5))
    width = data.draw(st.integers(1, dim))
    encoder = encoder_divergence(task, dim, restarts=1, max_iterations=100)
    built = build(task, embed_dim=dim, head_dim=width, epsilon=epsilon, encoder=encoder, seed=data.draw(st.integers(0, 9)))
    assert len(built.likely) == task.t_epsilon(epsilon)
    if built.failure is not None or built.terms is None:
        return
    logits = forward(built)
    assert spread((logits - encoder.logits)[built.likely]).max() <= 2e-6
    # Two forward passes differ by rounding only, which is far below the sizes compared here.
    found = task.divergence(logits)
    assert found == pytest.approx(built.divergence, rel=1e-6, abs=1e-6)
    assert found <= built.terms.repaired + built.gamma + 1e-6
    assert built.terms.printed <= built.terms.repaired
    if built.terms.repaired > encoder.upper + 1e-9:
        target((found - encoder.upper) / (built.terms.repaired - encoder.upper))


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_the_constant_is_that_of_its_definition(epsilon: float) -> None:
    task = DistributionTask.random(6, 3, 40, 2, prior_concentration=1.0)
    built = build(task, embed_dim=4, head_dim=2, epsilon=epsilon)
    assert built.terms is not None and built.failure is None
    count = len(built.likely)
    right = np.linalg.svd(features(built))[2].T  # V, all of it
    order = np.concatenate([built.likely, np.setdiff1d(np.arange(40), built.likely)])
    block = right[order][:count, :count]  # P1 V P1^T with the likely sequences first
    kappa = 1 / np.linalg.svd(block, compute_uv=False)[-1]
    assert built.terms.inverse_norm == pytest.approx(kappa, rel=1e-6)
    assert built.terms.constant == pytest.approx(sqrt(1 + kappa**2), rel=1e-6)
    assert built.terms.logit_norm == pytest.approx(np.linalg.norm(built.encoder.logits, 2), rel=1e-12)
    extra = epsilon * built.terms.logit_norm
    assert built.terms.printed == pytest.approx(built.encoder.upper + built.terms.constant * extra, rel=1e-12)
    assert built.terms.repaired == pytest.approx(built.encoder.upper + sqrt(2) * built.terms.inverse_norm * extra, rel=1e-12)
    assert built.divergence <= built.terms.printed  # not a theorem, but so here


def test_the_chain_of_the_proof_step_by_step() -> None:
    """|errors|_2 <= kappa |W E|_2, and the divergence grows by at most sqrt(2) |e_t|, checked on every sequence."""
    for seed in range(5):
        task = DistributionTask.random(5, 2, 20, seed, prior_concentration=1.0)
        built = build(task, embed_dim=3, head_dim=2, epsilon=0.3, seed=seed)
        assert built.terms is not None
        errors = forward(built) - built.encoder.logits
        errors -= errors.mean(axis=1, keepdims=True)
        assert np.linalg.norm(errors, 2) <= built.terms.inverse_norm * built.terms.logit_norm * (1 + 1e-9)
        growth = task.divergences(forward(built)) - task.divergences(built.encoder.logits)
        assert (growth <= sqrt(2) * np.linalg.norm(errors, axis=1) + 1e-9).all()


def test_the_printed_inequality_fails_where_said() -> None:
    built = printed_bound_counterexample()
    task = built.task
    assert built.failure is None and built.terms is not None and built.gamma < 1e-12
    assert (task.vocab_size, task.num_sequences, built.model.embed_dim, built.num_heads) == (2, 2, 1, 0)
    assert built.likely.tolist() == [0] and task.t_epsilon(Fraction(251, 1000)) == 1
    # By hand: logits +-x / 2 with x = ln 999 on the likely sequence, ten times that on the other.
    x = log(999)
    by_hand = 0.25 * (0.05 * log(0.05) + 0.95 * log(0.95) + 0.95 * 10 * x + np.log1p(np.exp(-10 * x)))
    assert task.divergence(forward(built)) == pytest.approx(by_hand, rel=1e-12)
    norm = sqrt(2) * sqrt((x / 2) ** 2 + (log(19) / 2) ** 2)
    assert built.encoder.upper < 1e-30 and built.terms.logit_norm == pytest.approx(norm, rel=1e-12)
    assert built.terms.constant == pytest.approx(sqrt(1 + 101), rel=1e-12)
    assert built.divergence > 1.2 * built.terms.printed
    assert built.divergence < built.terms.repaired


def test_footnote_8_a_block_of_an_orthogonal_matrix_may_be_singular() -> None:
    """V the swap of two: features (0, 1) have the right singular vectors (0, 1), (1, 0); the block at the first is 0."""
    right = np.linalg.svd(np.array([[0.0, 1.0]]))[2].T
    assert abs(right[0, 0]) == 0 and np.allclose(right @ right.T, np.eye(2))


# Few last tokens, more heads than needed, one token


def test_directions_that_no_likely_sequence_has_leave_the_skip_invertible() -> None:
    """Two likely sequences in R^5: three directions of the skip map are free or nearly, and still no logit explodes."""
    task = DistributionTask.random(6, 2, 6, 4, prior_concentration=0.5)
    built = build(task, embed_dim=5, head_dim=2, epsilon=0.5)
    assert built.failure is None and len(built.likely) < 5 and built.num_heads == 0
    assert built.gamma < 1e-4
    assert np.isfinite(built.divergence) and spread(forward(built) - built.encoder.logits)[built.likely].max() < 1e-6


def test_one_last_token_and_many_heads() -> None:
    rng = np.random.default_rng(1)
    sequences = np.stack([np.arange(12), rng.permutation(12), np.full(12, 3)], axis=1)
    task = DistributionTask(sequences, rng.dirichlet(np.ones(12), size=12))
    built = build(task, embed_dim=4, head_dim=2)
    assert built.num_heads == 6 and built.failure is None
    more = build(task, embed_dim=4, head_dim=2, num_heads=9)
    assert more.num_heads == 9 and more.failure is None
    assert more.divergence == pytest.approx(built.divergence, abs=1e-9)


def test_the_same_arguments_give_the_same_bits() -> None:
    task = DistributionTask.random(5, 2, 15, 1)
    one, two = (build(task, embed_dim=3, head_dim=2, seed=4).model.state_dict() for _ in range(2))
    other = build(task, embed_dim=3, head_dim=2, seed=5).model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["token_embedding"], other["token_embedding"])


# Refusals


def test_too_few_heads_are_refused_with_the_rank_that_is_needed() -> None:
    task = DistributionTask.random(10, 2, 40, 1)
    needed = r"num_heads = 5: must be at least 18, as .* H d_h \+ min\(d, K\) = 14 .* T_epsilon = 40"
    with pytest.raises(ValueError, match=needed):
        build(task, embed_dim=4, head_dim=2, num_heads=5)
    built = build(task, embed_dim=4, head_dim=2, num_heads=5, epsilon=0.65)
    assert built.failure is None and len(built.likely) == 14


def test_bad_arguments() -> None:
    task = DistributionTask.random(5, 2, 10, 1)
    with pytest.raises(ValueError, match="head_dim = 4: 1 to embed_dim = 3 is legal"):
        build(task, embed_dim=3, head_dim=4)
    with pytest.raises(ValueError, match="epsilon = 2: must be a number between 0 and 1"):
        build(task, embed_dim=3, head_dim=2, epsilon=2)
    with pytest.raises(ValueError, match=r"encoder has encodings of shape \(10, 2\): must be \(10, 3\)"):
        build(task, embed_dim=3, head_dim=2, encoder=encoder_divergence(task, 2, restarts=1, max_iterations=5))
    with pytest.raises(ValueError, match=r"tolerance = 0\.0"):
        build(task, embed_dim=3, head_dim=2, tolerance=0.0)
    for epsilon in (1, 1.0, Fraction(1)):
        with pytest.raises(ValueError, match="0 to below 1 is legal") as caught:
            build(task, embed_dim=3, head_dim=2, epsilon=epsilon)
        assert str(caught.value).startswith(f"epsilon = {epsilon!r}: ")
    assert len(build(task, embed_dim=3, head_dim=2, epsilon=1 - 1e-12).likely) == 1


@pytest.mark.bad_input
def test_a_task_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^task is of type AssociationTask: a DistributionTask is legal$"):
        build(AssociationTask([[0, 1]], [1], 2), embed_dim=3, head_dim=2)
