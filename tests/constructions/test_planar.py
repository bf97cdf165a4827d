"""Heads of dimension two hold d (H + 1) associations: the count, the sets it fails on, and an independent forward pass."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from constructions import AttentionOnlyTransformer, logit_margins, planar
from constructions._planar_code import circle
from constructions.certificate import certify
from theory.attention_rank import free_attention_rank, softmax_rank
from theory.memorization import corollary_1_associations, repaired_associations, repaired_heads
from theory.strategies import association_tasks
from theory.tasks import AssociationTask


def task_of(rows: list[tuple[int, ...]], targets: list[int] | None = None, vocab_size: int | None = None) -> AssociationTask:
    size = max(2, *(token + 1 for row in rows for token in row)) if vocab_size is None else vocab_size
    return AssociationTask(np.array(rows), np.array(targets or [i % size for i in range(len(rows))]), size)


def answers(model: AttentionOnlyTransformer, task: AssociationTask) -> np.ndarray:
    """The forward pass written out in numpy, equations (1) and (2) of Dana, Pydi and Chevaleyre 2025: argmax or -1 for a tie."""
    e, pos, q, k, v, o, u = (p.detach().numpy() for p in model.parameters())
    x = e[task.sequences] + pos
    stream = x[:, -1].copy()
    for head in range(model.num_heads):
        scores = np.einsum("tc,tsc->ts", x[:, -1] @ q[head], x @ k[head])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        seen = np.einsum("ts,tsd->td", weights / weights.sum(axis=1, keepdims=True), x)
        stream += seen @ v[head] @ o[head]
    logits = stream @ u.T
    best = logits.max(axis=1, keepdims=True)
    return np.where((logits == best).sum(axis=1) == 1, logits.argmax(axis=1), -1)


def assert_held(built, task: AssociationTask) -> None:  # type: ignore[no-untyped-def]
    assert (answers(built.model, task)[built.held] == task.targets[built.held]).all()


@given(
    task=association_tasks(vocab_size=(2, 8), seq_len=2),
    embed_dim=st.integers(2, 6),
    wider=st.integers(0, 2),
    num_heads=st.one_of(st.none(), st.integers(0, 7)),
    seed=st.integers(0, 3),
)
@example(task=AssociationTask.complete(10, 2, 0), embed_dim=2, wider=0, num_heads=None, seed=0)
@example(task=AssociationTask.complete(8, 2, 0), embed_dim=6, wider=5, num_heads=4, seed=0)
def test_staircase_form_holds_exactly_what_its_plan_says(
    task: AssociationTask, embed_dim: int, wider: int, num_heads: int | None, seed: int
) -> None:
    sizes = {"embed_dim": embed_dim, "head_dim": 2 + wider, "num_heads": num_heads, "seed": seed}
    promised, built = planar.plan(task, **sizes), planar.build(task, **sizes)
    assert promised.form == "staircase" and built.failure is None
    assert promised.held is not None and np.array_equal(built.held, promised.held)
    assert built.num_heads == promised.num_heads
    assert built.model.head_dim == 2 + wider
    assert not built.model.query[:, :, 2:].any() and not built.model.value[:, :, 2:].any()
    assert_held(built, task)
    formula = repaired_associations(built.num_heads, embed_dim, embed_dim, task.num_last_tokens, task.num_associations)
    ceiling = free_attention_rank(task, embed_dim=embed_dim, head_dim=embed_dim, num_heads=built.num_heads)
    assert built.num_held <= ceiling <= formula
    # Saturated gates leave less than 1e-27; the rest is rounding, amplified by at most the weights' size.
    assert built.margin >= built.promised_margin - 1e-9 * built.max_weight


@given(
    task=association_tasks(vocab_size=(2, 7), seq_len=(1, 3), num_associations=(1, 30)),
    embed_dim=st.integers(2, 5),
    num_heads=st.integers(0, 5),
    seed=st.integers(0, 3),
)
@settings(max_examples=settings().max_examples // 2)
def test_generic_form_holds_the_rank_with_whole_heads(
    task: AssociationTask, embed_dim: int, num_heads: int, seed: int
) -> None:
    sizes = {"embed_dim": embed_dim, "num_heads": num_heads, "seed": seed}
    built = planar.build(task, **sizes, form="generic")
    ceiling = free_attention_rank(task, embed_dim=embed_dim, head_dim=embed_dim, num_heads=num_heads)
    rank = softmax_rank(task, embed_dim=embed_dim, head_dim=embed_dim, num_heads=num_heads, rank_one=True, seed=seed)
    assert built.num_held == planar.plan(task, **sizes, form="generic").num_held == rank <= ceiling
    assert (built.failure is None) == (rank == ceiling)
    assert_held(built, task)
    # Scores of rank one, values of dimension two.
    assert not built.model.query[:, :, 1:].any() and not built.model.key[:, :, 1:].any()


@pytest.mark.parametrize("form", ["staircase", "generic"])
@pytest.mark.parametrize(("embed_dim", "num_heads"), [(2, 0), (2, 7), (3, 1), (5, 6), (8, 4)])
def test_random_sequences_fill_every_unknown(form: planar.Form, embed_dim: int, num_heads: int) -> None:
    """d (H + 1), not one less, where Corollary 1 counts 2 H + d; one association more needs one head more."""
    total = embed_dim * (num_heads + 1)
    for seed in range(3):
        task = AssociationTask.random(60, 2, total + 1, seed=seed)
        assert task.num_last_tokens >= embed_dim
        few = planar.build(task, embed_dim=embed_dim, num_heads=num_heads, form=form, seed=seed)
        assert few.failure is None and few.num_held == total >= corollary_1_associations(num_heads, 2, embed_dim)
        assert_held(few, task)
        assert planar.plan(task, embed_dim=embed_dim, form=form).num_heads == num_heads + 1


@pytest.mark.parametrize("length", [3, 5])
def test_longer_sequences_fill_every_unknown(length: int) -> None:
    task = AssociationTask.random(6, length, 4 * 6, seed=length)
    built = planar.build(task, embed_dim=4, num_heads=5)
    assert built.notes["form"] == "generic" and built.num_held == 24 and built.failure is None
    assert_held(built, task)


@pytest.mark.parametrize(("vocab_size", "embed_dim"), [(10, 2), (16, 5), (53, 10), (60, 20)])
def test_complete_tables_are_right_in_float32(vocab_size: int, embed_dim: int) -> None:
    task = AssociationTask.complete(vocab_size, 2, 1)
    built = planar.build(task, embed_dim=embed_dim)
    assert built.num_heads == repaired_heads(vocab_size**2, embed_dim, embed_dim, vocab_size)
    assert built.num_held == vocab_size**2
    assert set(built.dtypes) == {"float64", "float32"}
    assert built.promised_margin == pytest.approx(1 - np.cos(2 * np.pi / vocab_size), rel=1e-9)


@pytest.mark.parametrize("form", ["staircase", "generic"])
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("equal labels", task_of([(a, b) for a in range(5) for b in range(5)], [3] * 25)),
        ("two labels", task_of([(a, b) for a in range(4) for b in range(4)], [0, 3] * 8)),
        ("one association", task_of([(1, 2)])),
        ("one last token", task_of([(a, 0) for a in range(9)])),
        ("one first token", task_of([(0, b) for b in range(9)])),
        ("constant sequences", task_of([(a, a) for a in range(7)])),
        ("unused tokens", task_of([(3, 500), (500, 3), (7, 7)], [900, 3, 4], vocab_size=1000)),
    ],
)
def test_awkward_tasks_are_held_whole(name: str, task: AssociationTask, form: planar.Form) -> None:
    built = planar.build(task, embed_dim=3, form=form)
    assert built.num_held == task.num_associations and built.failure is None, name
    assert {"float64", "float32"} <= set(built.dtypes), name
    assert_held(built, task)
    assert np.linalg.matrix_rank(built.model.output.detach().numpy().reshape(-1, 3), tol=1e-6) <= 2


def test_one_last_token_brings_one_and_constant_sequences_one_per_head_and_the_plan_says_so() -> None:
    """What d (H + 1) silently needs; no attention weights at all do better with exact targets."""
    shared, constant = task_of([(a, 0) for a in range(20)]), task_of([(a, a) for a in range(12)])
    for heads in (0, 1, 3):
        one = planar.plan(shared, embed_dim=4, num_heads=heads)
        assert one.num_held == 4 * heads + 1 == free_attention_rank(shared, embed_dim=4, head_dim=4, num_heads=heads)
        same = planar.plan(constant, embed_dim=3, num_heads=heads)
        assert same.num_held == 3 + heads == free_attention_rank(constant, embed_dim=3, head_dim=3, num_heads=heads)
        assert ("fewer than" in same.limit) == (heads > 0)
    assert "min(4, 1)" in planar.plan(shared, embed_dim=4, num_heads=1).limit


@pytest.mark.parametrize(("form", "length"), [("staircase", 2), ("generic", 2), ("generic", 3)])
def test_exact_arithmetic_agrees(form: planar.Form, length: int) -> None:
    task = AssociationTask.random(5, length, 3 * 4, seed=7)
    built = planar.build(task, embed_dim=3, num_heads=3, form=form)
    assert certify(built.model, task, dtypes=()).statements["exact"].num_right == built.num_held == 12


@given(num_labels=st.integers(1, 40), unused=st.booleans(), seed=st.integers(0, 5))
def test_moved_targets_stay_in_their_sectors(num_labels: int, unused: bool, seed: int) -> None:
    size = max(2, num_labels + unused)
    task = AssociationTask(np.array([(0, y) for y in range(num_labels)]), np.arange(num_labels), size)
    code = circle(task)
    which = np.repeat(np.arange(num_labels), 20)
    moved = code.moved(which, np.random.default_rng(seed))
    assert code.margin(moved, which) > 0.25 * code.margin(code.places, np.arange(num_labels)) > 0
    assert code.margin(-moved, which) < 0


def test_same_seed_same_bits_other_seed_other_weights() -> None:
    task = AssociationTask.random(9, 3, 20, seed=0)
    one, again, other = (planar.build(task, embed_dim=4, seed=seed).model.value for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_numerical_failure_is_a_result_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(made: object, code: object, seed: int) -> object:
        solution = solve(made, code, seed)
        solution.heads[-3:] = 0.0
        return solution

    solve = planar.solve
    monkeypatch.setattr(planar, "solve", damaged)
    built = planar.build(AssociationTask.complete(8, 2, 0), embed_dim=4)
    assert built.failure is not None and "promised 64" in built.failure
    assert 0 < built.num_held < 64
    assert (logit_margins(built.model, built.task, built.held) > 0).all()


def test_higher_precision_solves_what_float64_could_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from constructions import _planar_generic

    monkeypatch.setattr(_planar_generic._System, "solve", lambda self, seed: None)
    task = AssociationTask.random(5, 3, 12, seed=1)
    built = planar.build(task, embed_dim=3, num_heads=3)
    assert built.notes["solved in"] == "128 bits" and built.num_held == 12 and built.failure is None
    assert_held(built, task)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"embed_dim": 1}, "embed_dim = 1"),
        ({"embed_dim": 3, "head_dim": 1}, "head_dim = 1"),
        ({"embed_dim": 3, "num_heads": -1}, "num_heads = -1"),
        ({"embed_dim": 3, "form": "magic"}, "form = 'magic'"),
        ({"embed_dim": 3, "seed": -1}, "seed = -1"),
        ({"embed_dim": 10**9}, "GiB"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], words: str) -> None:
    for function in (planar.build, planar.plan):
        with pytest.raises(ValueError, match=words) as error:
            function(AssociationTask.complete(4, 2, 0), **arguments)
        assert "\n" not in str(error.value)


def test_the_staircase_form_is_for_two_tokens_and_one_token_leaves_no_choice() -> None:
    with pytest.raises(ValueError, match="sequences of 3 tokens"):
        planar.build(AssociationTask.complete(3, 3, 0), embed_dim=2, form="staircase")
    with pytest.raises(ValueError, match="no number of heads is enough"):
        planar.build(AssociationTask.complete(5, 1, 0), embed_dim=2)
