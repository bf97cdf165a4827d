"""The staircase holds what it says, as much as the formula says, on tasks that a sceptic would choose."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, target
from hypothesis import strategies as st

from constructions import AttentionOnlyTransformer, Construction, logit_margins, memorize
from constructions._staircase_layout import layout, sidon_layout
from constructions._staircase_plan import plan_once
from constructions.construction import DTYPES
from constructions.staircase import build, plan
from theory.attention_rank import free_attention_rank
from theory.memorization import repaired_associations, repaired_heads
from theory.strategies import association_tasks
from theory.tasks import AssociationTask


def task_of(pairs: list[tuple[int, int]], targets: list[int] | None = None, vocab_size: int | None = None) -> AssociationTask:
    size = max(2, *(token + 1 for pair in pairs for token in pair)) if vocab_size is None else vocab_size
    return AssociationTask(np.array(pairs), np.array(targets or [i % size for i in range(len(pairs))]), size)


@given(
    task=association_tasks(vocab_size=(2, 8), seq_len=2),
    embed_dim=st.integers(2, 6),
    narrow=st.integers(0, 4),
    num_heads=st.one_of(st.none(), st.integers(0, 7)),
    seed=st.integers(0, 3),
)
@example(task=AssociationTask.complete(10, 2, 0), embed_dim=2, narrow=0, num_heads=None, seed=0)
@example(task=AssociationTask.complete(10, 2, 0), embed_dim=2, narrow=0, num_heads=48, seed=0)
@example(task=AssociationTask.complete(5, 2, 0), embed_dim=5, narrow=4, num_heads=None, seed=0)
def test_holds_exactly_what_its_plan_says(
    task: AssociationTask, embed_dim: int, narrow: int, num_heads: int | None, seed: int
) -> None:
    head_dim = max(1, embed_dim - narrow)
    promised = plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    built = build(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    assert built.failure is None
    assert np.array_equal(built.held, promised.held)
    assert built.num_heads == (promised.heads_used if num_heads is None else num_heads)
    margins = logit_margins(built.model, task, built.held)
    assert (margins > 0).all()
    assert built.margin == float(margins.min())
    # Saturated gates leave less than 1e-27; the rest is rounding, amplified by at most the weights' size.
    assert built.margin >= built.promised_margin - 1e-9 * built.max_weight
    target(-math.log(built.margin), label="-log margin")


@given(
    task=association_tasks(vocab_size=(2, 7), seq_len=2, num_associations=(1, 24)),
    embed_dim=st.integers(2, 5),
    narrow=st.integers(0, 4),
    num_heads=st.integers(0, 5),
)
def test_count_is_the_formula_unless_the_deltas_are_degenerate(
    task: AssociationTask, embed_dim: int, narrow: int, num_heads: int
) -> None:
    head_dim = max(1, embed_dim - narrow)
    made = plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads)
    formula = repaired_associations(num_heads, head_dim, embed_dim, task.num_last_tokens, task.num_associations)
    assert made.num_held <= formula
    if made.num_held < formula:
        # The plan may fall short only where dependent deltas force it to: by the ceiling, or by one beside it on tasks that
        # are mostly constant sequences or whose embedding has nearly as many dimensions as tokens (heads see one order only).
        ceiling = free_attention_rank(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads)
        constant = int((task.sequences[:, 0] == task.sequences[:, 1]).sum())
        assert embed_dim >= 3 or constant >= 2
        assert made.num_held >= min(formula, ceiling) - 1


@given(task=association_tasks(vocab_size=(3, 9), seq_len=2), embed_dim=st.integers(2, 5), num_heads=st.integers(0, 9))
def test_heads_of_dimension_one_always_reach_the_formula(task: AssociationTask, embed_dim: int, num_heads: int) -> None:
    made = plan(task, embed_dim=embed_dim, head_dim=1, num_heads=num_heads)
    assert made.num_held == repaired_associations(num_heads, 1, embed_dim, task.num_last_tokens, task.num_associations)


@pytest.mark.parametrize(
    ("vocab_size", "embed_dim", "heads"), [(10, 2, 49), (10, 5, 19), (20, 4, 99), (50, 10, 249), (53, 10, 280)]
)
@pytest.mark.parametrize("table_seed", [0, 1])
def test_complete_tables_need_the_heads_of_corollary_1(vocab_size: int, embed_dim: int, heads: int, table_seed: int) -> None:
    task = AssociationTask.complete(vocab_size, 2, table_seed)
    built = memorize(task, embed_dim=embed_dim, head_dim=embed_dim)
    assert built.num_heads == heads == repaired_heads(task.num_associations, embed_dim, embed_dim, vocab_size)
    assert built.num_held == vocab_size**2
    assert set(built.dtypes) == {"float64", "float32"}
    assert built.margin > 0


@pytest.mark.parametrize("head_dim", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("equal labels", task_of([(a, b) for a in range(6) for b in range(6)], [3] * 36)),
        ("two labels", task_of([(a, b) for a in range(6) for b in range(6)], [0, 5, 0, 5, 0, 5, 5, 0, 5, 0, 5, 0] * 3)),
        ("one label in the last block", task_of([(a, b) for a in range(5) for b in range(5)], [0, 1, 2, 3, 4] * 4 + [2] * 5)),
        ("one association", task_of([(1, 2)])),
        ("one last token", task_of([(a, 0) for a in range(9)])),
        ("one first token", task_of([(0, b) for b in range(9)])),
        ("constant sequences", task_of([(a, a) for a in range(7)])),
        ("unused tokens", task_of([(3, 500), (500, 3), (7, 7)], [900, 3, 4], vocab_size=1000)),
    ],
)
def test_awkward_tasks_are_held_whole(name: str, task: AssociationTask, head_dim: int) -> None:
    built = memorize(task, embed_dim=3, head_dim=head_dim)
    assert built.num_held == task.num_associations, name
    assert built.failure is None
    assert "float64" in built.dtypes
    assert "float32" in built.dtypes


def test_one_shared_last_token_adds_one_not_d() -> None:
    """Corollary 1 says H d_h + d; with one last token the skip connection brings 1 (memorization, repaired form)."""
    task = task_of([(a, 0) for a in range(30)])
    for num_heads in (0, 1, 3, 5):
        made = plan(task, embed_dim=4, head_dim=4, num_heads=num_heads)
        assert made.num_held == 4 * num_heads + 1
        # Not only this construction: no attention weights at all solve more equations.
        assert free_attention_rank(task, embed_dim=4, head_dim=4, num_heads=num_heads) == 4 * num_heads + 1


def test_constant_sequences_share_one_delta_and_the_plan_says_so() -> None:
    task = task_of([(a, a) for a in range(12)])
    for num_heads in (0, 1, 2, 5):
        made = plan(task, embed_dim=3, head_dim=3, num_heads=num_heads)
        assert made.num_held == 3 + num_heads == free_attention_rank(task, embed_dim=3, head_dim=3, num_heads=num_heads)
        assert build(task, embed_dim=3, head_dim=3, num_heads=num_heads).num_held == 3 + num_heads


def test_too_few_heads_says_which_are_held_and_more_heads_than_needed_do_no_harm() -> None:
    task = AssociationTask.complete(10, 2, 0)
    few = memorize(task, embed_dim=2, head_dim=2, num_heads=20)
    assert few.num_held == 42
    assert few.held.tolist() == sorted(set(few.held.tolist()))
    many = memorize(task, embed_dim=2, head_dim=2, num_heads=60)
    assert many.num_heads == 60
    assert many.num_held == 100
    assert set(many.dtypes) == {"float64", "float32"}


def test_same_seed_same_bits_other_seed_other_weights() -> None:
    task = AssociationTask.complete(12, 2, 0)
    one, again, other = (memorize(task, embed_dim=4, head_dim=3, seed=seed).model.unembedding for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_built_float32_and_float64_agree_where_float32_is_listed() -> None:
    for vocab_size, embed_dim, head_dim in [(10, 2, 2), (20, 6, 4), (16, 2, 2)]:
        task = AssociationTask.complete(vocab_size, 2, 1)
        built = memorize(task, embed_dim=embed_dim, head_dim=head_dim).checked(tuple(DTYPES))
        tokens = torch.tensor(task.sequences)
        for check in built.checks:
            answers = built.model.to_dtype(DTYPES[check.dtype])(tokens).argmax(dim=1)
            assert (check.dtype in built.dtypes) == bool((answers == built.model(tokens).argmax(dim=1)).all())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"embed_dim": 1, "head_dim": 1}, "embed_dim = 1"),
        ({"embed_dim": 3, "head_dim": 4}, "head_dim = 4"),
        ({"embed_dim": 3, "head_dim": 0}, "head_dim = 0"),
        ({"embed_dim": 3, "head_dim": 2, "num_heads": -1}, "num_heads = -1"),
        ({"embed_dim": 3, "head_dim": 2, "method": "magic"}, "method = 'magic'"),
        ({"embed_dim": 10**9, "head_dim": 2}, "GiB"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        memorize(AssociationTask.complete(4, 2, 0), **arguments)
    assert "\n" not in str(error.value)


def test_three_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="sequences of 3 tokens"):
        memorize(AssociationTask.complete(3, 3, 0), embed_dim=2, head_dim=2, method="staircase")


def test_numerical_failure_is_a_result_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the solution on purpose: what is no longer right must leave `held`, with a reason."""
    from constructions import staircase

    def damaged(made: object, code: object, seed: int) -> object:
        solution = staircase_solve(made, code, seed)
        solution.heads[-3:] = 0.0
        return solution

    staircase_solve = staircase.solve
    monkeypatch.setattr(staircase, "solve", damaged)
    built = memorize(AssociationTask.complete(10, 2, 0), embed_dim=2, head_dim=2, method="staircase")
    assert built.failure is not None
    assert "promised 100" in built.failure
    assert 0 < built.num_held < 100
    assert (logit_margins(built.model, built.task, built.held) > 0).all()


@given(st.integers(2, 40), st.integers(2, 6), st.integers(0, 6), st.integers(0, 5))
def test_orders_tell_all_pairs_apart(vocab_size: int, embed_dim: int, attempt: int, seed: int) -> None:
    pairs = AssociationTask.complete(vocab_size, 2, 0).sequences
    made = layout(pairs, vocab_size, embed_dim, attempt, seed)
    keys = made.first * made.scalar[pairs[:, 0]] + made.last * made.scalar[pairs[:, 1]]
    assert len(np.unique(keys)) == len(pairs)
    sidon = sidon_layout(pairs, vocab_size, embed_dim, attempt, seed).scalar
    different = pairs[:, 0] != pairs[:, 1]
    assert len(np.unique((sidon[pairs[:, 0]] - sidon[pairs[:, 1]])[different])) == different.sum()


def test_a_table_on_which_the_orders_tried_fall_short_is_said_beforehand() -> None:
    """d near N: generic heads would reach 38; what the plan promises is what is built."""
    task = AssociationTask.random(9, 2, 38, seed=2043)
    made = plan(task, embed_dim=8, head_dim=8, num_heads=4)
    built = build(task, embed_dim=8, head_dim=8, num_heads=4)
    assert 35 <= made.num_held <= 38
    assert np.array_equal(made.held, built.held) and built.failure is None


def test_rows_that_do_not_align_with_blocks_need_the_search() -> None:
    """The regular layout alone is degenerate here: a search cut to one attempt must show."""
    task = AssociationTask.complete(53, 2, 0)
    assert plan_once(task, 10, 10, None, 0, 0).heads_used > 280
    assert plan(task, embed_dim=10, head_dim=10).num_heads == 280


def test_a_check_counts_only_strict_margins_and_bears_nothing_held() -> None:
    task = AssociationTask.complete(4, 2, 0)
    zero = Construction(AttentionOnlyTransformer(4, 2, 2, 1, 2), task, "none", "none", np.arange(16), 0.0)
    assert [check.num_right for check in zero.checked().checks] == [0, 0]
    assert zero.checked().dtypes == ()
    nothing = replace(zero, held=np.zeros(0, dtype=np.int64)).checked()
    assert nothing.dtypes == () and nothing.num_held == 0
