"""Softmax by messages: equal to dense attention within a bound that is computed, in as many rounds as the theorem says."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from constructions._mpc_softmax import _bound
from constructions.attention import attention
from constructions.mpc import SoftmaxMessages, merge, softmax_by_messages
from theory.parallel import ParallelModel, RoundLimitError, converse_layout, execute
from theory.protocols import PrefixSums


def inputs(seed: int, n: int, heads: int, dim: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(n, heads, dim, dtype=torch.float64, generator=generator) for _ in range(3))
    return q * scale, k, v


def dense(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    return attention(q[None], k[None], v[None], causal=causal)[0]


def check(q: Tensor, k: Tensor, v: Tensor, words: int, causal: bool = False) -> None:
    n = len(q)
    visible = torch.ones(n, n, dtype=torch.bool).tril() if causal else None
    result = softmax_by_messages(q, k, v, words, visible=visible)
    assert ((result.output - dense(q, k, v, causal)).abs().amax(2) <= result.bound).all()
    block, depth = q.shape[1] * q.shape[2], result.layout.depth
    branching = words // (4 * block)
    assert branching ** (depth - 1) < n <= branching**depth
    assert len(result.transcript.rounds) == 2 * depth + 3  # counted, not computed
    assert max(result.transcript.most_sent, result.transcript.most_received, result.transcript.most_stored) <= words


@settings(deadline=None, max_examples=15)
@given(
    st.integers(2, 10), st.integers(1, 2), st.integers(1, 3), st.integers(2, 5), st.integers(0, 9999), st.booleans(),
    st.sampled_from([0.0, 1.0, 30.0]),
)  # fmt: skip
def test_equal_to_dense_attention(
    n: int, heads: int, dim: int, branching: int, seed: int, causal: bool, scale: float
) -> None:
    check(*inputs(seed, n, heads, dim, scale), words=4 * heads * dim * branching + 3, causal=causal)


@pytest.mark.parametrize("causal", [False, True])
def test_huge_scores(causal: bool) -> None:
    q, k, v = inputs(1, 8, 1, 2)
    check(q * 1e4, k, v, 16, causal)
    bound = softmax_by_messages(q * 1e4, k, v, 16).bound
    assert float(bound.max()) < 1e-9  # and the bound still says something


def test_ties_are_the_plain_mean() -> None:
    q, k, v = inputs(2, 9, 2, 2)
    result = softmax_by_messages(q * 0, k, v, 32)
    assert ((result.output - v.mean(0)).abs().amax(2) <= result.bound).all()
    check(q, k[:1].expand(9, 2, 2) * 1e4, v, 32)


def test_masks_of_any_shape_and_parts_that_nobody_sees() -> None:
    q, k, v = inputs(3, 9, 1, 2)
    visible = torch.zeros(9, 9, dtype=torch.bool)
    visible[torch.arange(9), torch.arange(9) * 4 % 9] = True  # each row sees one token: whole subtrees are masked
    result = softmax_by_messages(q, k, v, 16, visible=visible)
    assert torch.equal(result.output[:, 0], v[torch.arange(9) * 4 % 9, 0])
    with pytest.raises(ValueError, match="no empty row"):
        softmax_by_messages(q, k, v, 16, visible=visible & (torch.arange(9) > 0)[:, None])


def test_the_bound_grows_with_scores_and_values_and_is_small() -> None:
    q, k, v = inputs(4, 8, 1, 2)
    plain = softmax_by_messages(q, k, v, 16).bound
    assert (softmax_by_messages(100 * q, k, v, 16).bound > plain).all()
    assert torch.allclose(softmax_by_messages(q, k, 8 * v, 16).bound, 8 * plain, rtol=1e-12, atol=0)
    assert float(plain.max()) < 1e-12


def test_a_wrong_answer_would_be_outside_the_bound() -> None:
    """One score changed by 1e-9 is more than the bound allows, so the comparison above means something."""
    q, k, v = inputs(5, 8, 1, 2)
    result = softmax_by_messages(q, k, v, 16)
    moved = k.clone()
    moved[3] += 1e-9
    assert not ((result.output - dense(q, moved, v)).abs().amax(2) <= result.bound).all()


def test_the_bound_knows_that_parts_differ_by_their_numbers_of_leaves() -> None:
    """With all scores 0 log Z of two parts still differs by the logarithm of their sizes' ratio, and so errs the difference."""
    n, branching = 1000, 2
    (many, _), (one, _) = (merge(np.zeros(size), np.zeros((size, 1))) for size in (n - 1, 1))
    apart, log_n = many - one, np.log(n)
    assert apart > log_n - 0.01  # though the range of the scores is 0
    layout = converse_layout(n, 1, 1, 4 * branching)
    zeros, seen = np.zeros((n, 1, 1)), np.ones((n, n), dtype=np.bool_)
    bound = _bound(zeros, zeros, np.ones((n, 1, 1)), seen, layout) / 2.0**-53
    # In units of 2^-53, per level: differences, exp (4), sum, log (4) and last addition for log Z; the same but for the sum, and
    # a division, for weights; products and sums for means. Then the dense side: differences, exp, sum, division, and its mean.
    last = 4 * np.log(branching) + log_n
    log_sum, weight = apart + 4 + branching - 1 + last, apart + 4 + 1 + last
    assert (bound >= layout.depth * (log_sum + weight + branching) + 2 * 4 + 2 * n).all()


def test_machines_with_less_memory_are_refused() -> None:
    q, k, v = inputs(6, 4, 2, 3)
    with pytest.raises(ValueError, match=r"words_per_machine = 47: at least .* = 48 is legal"):
        softmax_by_messages(q, k, v, 47)
    protocol = SoftmaxMessages(4, 2, 3, 96)  # branching 4: a token's machine sends 4 (6 + 12) words
    protocol.input_share, protocol._packed = 18, 1
    words = torch.stack([q, k, v], 1).reshape(-1).tolist()
    smaller = ParallelModel(72, words_per_machine=71, num_machines=protocol.num_machines, input_share=18)
    with pytest.raises(RoundLimitError, match="machine 0 sends 72 words in round 2: at most 71"):
        execute(protocol, words, smaller)
    with pytest.raises(ValueError, match="keys: finite float64"):
        softmax_by_messages(q, k * torch.inf, v, 48)
    with pytest.raises(ValueError, match="queries: finite float64"):
        softmax_by_messages(q.float(), k, v, 48)


parts = st.lists(
    st.tuples(st.one_of(st.floats(-1e4, 1e4), st.just(-np.inf)), st.floats(-100, 100)), min_size=3, max_size=9
)  # fmt: skip


def together(some: list[tuple[float, float]]) -> tuple[float, float]:
    log_sum, mean = merge(np.array([part[0] for part in some]), np.array([[part[1]] for part in some]))
    return log_sum, float(mean[0])


@given(parts, st.data())
def test_merging_is_associative(some: list[tuple[float, float]], data: st.DataObject) -> None:
    """Any bracketing is within rounding of all at once: errors of log Z are relative to its size, B, and of S to the parts'."""
    cut = data.draw(st.integers(1, len(some) - 1))
    (left, low), (right, high) = together(some), together([together(some[:cut]), together(some[cut:])])
    finite = [abs(part[0]) for part in some if part[0] > -np.inf]
    if not finite:
        assert left == right == -np.inf and low == high == 0
        return
    # Two evaluations, at most two levels each: differences up to 2 B, exp, sums of at most 9 terms, log.
    error = 4 * (3 * max(finite) + 40) * 2.0**-53
    assert abs(left - right) <= error
    assert abs(low - high) <= 100 * np.expm1(4 * error)


def test_merging_one_part_and_empty_parts() -> None:
    assert together([(3.25, 7.0)]) == (3.25, 7.0)
    assert together([(-np.inf, 5.0), (3.25, 7.0), (-np.inf, 1.0)]) == (3.25, 7.0)
    log_sum, mean = together([(0.0, 1.0), (0.0, 4.0)])
    assert mean == 2.5 and log_sum == pytest.approx(np.log(2), rel=1e-15)
    assert Fraction(together([(1e4, 1.0), (1e4, 2.0), (-1e4, 1e2)])[1]) == Fraction(3, 2)


def test_prefixes_of_merges_are_causal_attention() -> None:
    """The operation works in any protocol for associative operations."""
    q, k, v = inputs(7, 11, 1, 3)
    last = q[-1:].expand(11, 1, 3)
    scores = (last * k).sum(2)[:, 0]
    words = torch.cat([scores[:, None], v[:, 0]], 1).reshape(-1).tolist()

    def both(left: tuple[float, ...], right: tuple[float, ...]) -> tuple[float, ...]:
        log_sum, mean = merge(np.array([left[0], right[0]]), np.array([left[1:], right[1:]]))
        return (log_sum, *mean.tolist())

    output = torch.tensor(execute(PrefixSums(11, both, width=4), words).output, dtype=torch.float64).reshape(11, 4)
    bound = softmax_by_messages(last, k, v, 24).bound.max()  # also four levels of two, also one row's scores
    assert float((output[:, 1:] - dense(last, k, v, causal=True)[:, 0]).abs().max()) <= float(bound)
