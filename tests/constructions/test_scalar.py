"""Heads of dimension one hold as many associations as wide ones: the count, the chains, an independent forward pass."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from constructions import AttentionOnlyTransformer, logit_margins, scalar
from constructions._planar_code import parabola
from constructions._scalar_plan import rank_one_plan
from constructions._staircase_plan import chain_keys
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
@settings(max_examples=settings().max_examples // 2)
@example(task=AssociationTask.complete(10, 2, 0), embed_dim=2, wider=0, num_heads=None, seed=0)
@example(task=AssociationTask.complete(8, 2, 0), embed_dim=6, wider=2, num_heads=4, seed=0)
def test_staircase_form_holds_exactly_what_its_plan_says(
    task: AssociationTask, embed_dim: int, wider: int, num_heads: int | None, seed: int
) -> None:
    sizes = {"embed_dim": embed_dim, "head_dim": 1 + wider, "num_heads": num_heads, "seed": seed}
    promised, built = scalar.plan(task, **sizes), scalar.build(task, **sizes)
    assert promised.form == "staircase" and built.failure is None
    assert promised.held is not None and np.array_equal(built.held, promised.held)
    assert built.num_heads == promised.num_heads
    if num_heads is None:
        assert built.num_held == task.num_associations
    assert built.model.head_dim == 1 + wider
    for weights in (built.model.query, built.model.key, built.model.value):
        assert not weights[:, :, 1:].any()
    assert_held(built, task)
    formula = repaired_associations(built.num_heads, embed_dim, embed_dim, task.num_last_tokens, task.num_associations)
    ceiling = free_attention_rank(task, embed_dim=embed_dim, head_dim=embed_dim, num_heads=built.num_heads)
    assert built.num_held <= ceiling <= formula


@given(
    task=association_tasks(vocab_size=(2, 7), seq_len=(1, 3), num_associations=(1, 30)),
    embed_dim=st.integers(2, 5),
    num_heads=st.integers(0, 5),
    seed=st.integers(0, 3),
)
@settings(max_examples=settings().max_examples // 2)
def test_generic_form_holds_the_rank_though_one_coordinate_is_constant(
    task: AssociationTask, embed_dim: int, num_heads: int, seed: int
) -> None:
    sizes = {"embed_dim": embed_dim, "num_heads": num_heads, "seed": seed}
    built = scalar.build(task, **sizes, form="generic")
    ceiling = free_attention_rank(task, embed_dim=embed_dim, head_dim=embed_dim, num_heads=num_heads)
    rank = softmax_rank(task, embed_dim=embed_dim, head_dim=embed_dim, num_heads=num_heads, rank_one=True, seed=seed)
    assert built.num_held == scalar.plan(task, **sizes, form="generic").num_held == rank <= ceiling
    assert (built.failure is None) == (rank == ceiling)
    assert_held(built, task)


@pytest.mark.parametrize("form", ["staircase", "generic"])
@pytest.mark.parametrize(("embed_dim", "num_heads"), [(2, 0), (2, 7), (3, 1), (5, 6), (8, 4)])
def test_random_sequences_fill_every_unknown(form: scalar.Form, embed_dim: int, num_heads: int) -> None:
    """d (H + 1), where Corollary 1 counts H + d, and a coordinate constant at all positions (d - 1)(H + 1) + 1."""
    total = embed_dim * (num_heads + 1)
    for seed in range(3):
        task = AssociationTask.random(60, 2, total + 1, seed=seed)
        few = scalar.build(task, embed_dim=embed_dim, num_heads=num_heads, form=form, seed=seed)
        assert few.failure is None and few.num_held == total >= (embed_dim - 1) * (num_heads + 1) + 1
        assert total >= corollary_1_associations(num_heads, 1, embed_dim)
        assert_held(few, task)
        assert scalar.plan(task, embed_dim=embed_dim, form=form).num_heads == num_heads + 1


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_coordinate_that_is_constant_at_every_position_costs_one_row_per_head(everywhere: bool) -> None:
    """Why (d - 1)(H + 1) + 1 there and d (H + 1) here: the rank of [X_S; A^1; ..; A^H] in two numpy models."""
    rng = np.random.default_rng(0)
    dim, heads = 4, 3
    task = AssociationTask.random(30, 3, 40, seed=0)
    tokens, positions = rng.standard_normal((30, dim)), rng.standard_normal((3, dim))
    tokens[:, 1] = 0.0
    positions[-1 if not everywhere else slice(None), 1] = 1.0
    x = tokens[task.sequences] + positions
    rows = [x[:, -1]]
    for _ in range(heads):
        weights = np.exp(np.einsum("tc,tsc->ts", x[:, -1] @ rng.standard_normal((dim, dim)), x))
        rows.append(np.einsum("ts,tsd->td", weights / weights.sum(axis=1, keepdims=True), x))
    rank = np.linalg.matrix_rank(np.concatenate(rows, axis=1))
    assert rank == ((dim - 1) * (heads + 1) + 1 if everywhere else dim * (heads + 1))


@pytest.mark.parametrize("length", [3, 5])
def test_longer_sequences_fill_every_unknown(length: int) -> None:
    task = AssociationTask.random(6, length, 4 * 6, seed=length)
    built = scalar.build(task, embed_dim=4, num_heads=5)
    assert built.notes["form"] == "generic" and built.num_held == 24 and built.failure is None
    assert_held(built, task)


@pytest.mark.parametrize(("vocab_size", "embed_dim"), [(5, 2), (10, 2), (10, 3), (20, 4), (30, 6), (50, 10)])
def test_complete_tables_take_a_few_heads_more_for_their_constant_sequences(vocab_size: int, embed_dim: int) -> None:
    """The heads of the last tokens fall short of d only near both ends of the order: about d^2/4 places, d/4 heads."""
    task = AssociationTask.complete(vocab_size, 2, 1)
    built = scalar.build(task, embed_dim=embed_dim)
    least = repaired_heads(vocab_size**2, embed_dim, embed_dim, vocab_size)
    assert built.num_held == vocab_size**2 and built.failure is None
    assert least <= built.num_heads <= least + embed_dim / 4 + 3
    assert built.num_heads < -(-(vocab_size**2 - 1) // (embed_dim - 1)) - 1 or embed_dim == 2
    assert_held(built, task)


@given(task=association_tasks(vocab_size=(2, 8), seq_len=2), embed_dim=st.integers(2, 5), attempt=st.integers(0, 2))
def test_chains_are_triangular(task: AssociationTask, embed_dim: int, attempt: int) -> None:
    """What the substitution rests on: an association sees its own head, and no later one of any chain."""
    made = rank_one_plan(task, embed_dim, None, attempt, 0)
    before = 0
    first, last = task.sequences.T
    owner = np.full(task.num_associations, -1)
    for chain in made.chains:
        for head, members in enumerate(chain.blocks.members):
            owner[members[members >= 0]] = before + head
        before += len(chain.thresholds)
    assert ((owner >= 0) | np.isin(np.arange(len(owner)), made.skip_carried)).all()
    start = 0
    for chain in made.chains:
        keys = {"last": made.layout.scalar[last], "up": made.layout.scalar[first] - made.layout.scalar[last]}
        key = keys.get(chain.kind, -keys["up"])
        if chain.kind != "last":
            assert np.array_equal(key[key > 0], chain_keys(chain.kind, made.layout, task.sequences)[0][key > 0])
        for head, threshold in enumerate(chain.thresholds):
            sees = key > threshold
            assert sees[owner == start + head].all()
            earlier = (owner >= 0) & (owner < start + head)
            assert not (sees & earlier & (owner >= start)).any()
            if chain.kind != "last":
                assert not (sees & (owner < start) & (owner >= 0)).any()
        start += len(chain.thresholds)


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
def test_awkward_tasks_are_held_whole(name: str, task: AssociationTask, form: scalar.Form) -> None:
    built = scalar.build(task, embed_dim=3, form=form)
    assert built.num_held == task.num_associations and built.failure is None, name
    assert {"float64", "float32"} <= set(built.dtypes), name
    assert_held(built, task)


def test_one_last_token_brings_one_and_constant_sequences_one_per_head_and_the_plan_says_so() -> None:
    shared, constant = task_of([(a, 0) for a in range(20)]), task_of([(a, a) for a in range(12)])
    for heads in (0, 1, 3):
        assert scalar.plan(shared, embed_dim=4, num_heads=heads).num_held == 4 * heads + 1
        same = scalar.plan(constant, embed_dim=3, num_heads=heads)
        assert same.num_held == 3 + heads == free_attention_rank(constant, embed_dim=3, head_dim=3, num_heads=heads)
        assert ("fewer than" in same.limit) == (heads > 0)


@pytest.mark.parametrize(("table_seed", "total", "num_heads"), [(29, 30, 3), (1092, 35, 2)])
def test_what_the_skip_connection_cannot_carry_is_left_to_the_heads(table_seed: int, total: int, num_heads: int) -> None:
    """d = N, and all but one of the skip's sequences constant: heads that see the last one force its value."""
    task = AssociationTask.random(7, 2, total, seed=table_seed)
    few, whole = scalar.build(task, embed_dim=7, num_heads=num_heads), scalar.build(task, embed_dim=7)
    assert few.failure is None and 7 * num_heads + 5 <= few.num_held <= 7 * (num_heads + 1)
    assert whole.failure is None and whole.num_held == total
    for built in (few, whole):
        assert_held(built, task)


@pytest.mark.parametrize(("form", "length"), [("staircase", 2), ("generic", 2), ("generic", 3)])
def test_exact_arithmetic_agrees(form: scalar.Form, length: int) -> None:
    task = AssociationTask.random(5, length, 3 * 4, seed=7)
    built = scalar.build(task, embed_dim=3, num_heads=3, form=form)
    assert certify(built.model, task, dtypes=()).statements["exact"].num_right == built.num_held == 12


@given(num_labels=st.integers(1, 40), unused=st.booleans(), seed=st.integers(0, 5))
def test_moved_targets_are_still_nearest_to_their_labels(num_labels: int, unused: bool, seed: int) -> None:
    size = max(2, num_labels + unused)
    code = parabola(AssociationTask(np.array([(0, y) for y in range(num_labels)]), np.arange(num_labels), size))
    which = np.repeat(np.arange(num_labels), 20)
    assert code.margin(code.places, np.arange(num_labels)) == 1.0
    assert code.margin(code.moved(which, np.random.default_rng(seed)), which) >= 0.5
    if num_labels > 1:
        assert code.margin(code.places + 0.51, np.arange(num_labels)) < 0


def test_the_margin_is_one_and_the_logits_are_squares() -> None:
    task = AssociationTask.random(12, 2, 30, seed=3)
    built = scalar.build(task, embed_dim=3)
    labels = np.unique(task.targets)
    logits = built.model(torch.tensor(task.sequences)).detach().numpy()[:, labels]
    j = np.arange(len(labels)) - (len(labels) - 1) / 2
    z = j[np.searchsorted(labels, task.targets)][:, None]
    error = 1e-12 * built.max_weight  # rounding, amplified by at most the weights' size
    assert np.abs(logits - (2 * j * z - j**2))[built.held].max() < 0.5 + error * len(j)  # targets of the skip may be moved by 1/4
    assert built.promised_margin >= 0.5


def test_same_seed_same_bits_other_seed_other_weights() -> None:
    task = AssociationTask.complete(9, 2, 0)
    one, again, other = (scalar.build(task, embed_dim=4, seed=seed).model.value for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_numerical_failure_is_a_result_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(self: object, code: object, seed: int) -> object:
        solution = solve(self, code, seed)
        solution.heads[-3:] = 0.0
        return solution

    solve = scalar.LineSystem.solve
    monkeypatch.setattr(scalar.LineSystem, "solve", damaged)
    built = scalar.build(AssociationTask.complete(8, 2, 0), embed_dim=4)
    assert built.failure is not None and "promised 64" in built.failure
    assert 0 < built.num_held < 64
    assert (logit_margins(built.model, built.task, built.held) > 0).all()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"embed_dim": 1}, "embed_dim = 1"),
        ({"embed_dim": 3, "head_dim": 0}, "head_dim = 0"),
        ({"embed_dim": 3, "num_heads": -1}, "num_heads = -1"),
        ({"embed_dim": 3, "form": "magic"}, "form = 'magic'"),
        ({"embed_dim": 10**9}, "GiB"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], words: str) -> None:
    for function in (scalar.build, scalar.plan):
        with pytest.raises(ValueError, match=words) as error:
            function(AssociationTask.complete(4, 2, 0), **arguments)
        assert "\n" not in str(error.value)
