"""The generic construction holds what the rank says, on any sequences, and says so when float64 or softmax can't."""

from dataclasses import replace

import flint
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from constructions import _generic_exact, generic, logit_margins, memorize, staircase
from constructions._generic_exact import exact_features
from constructions._generic_features import Features, draw_features
from constructions._generic_solve import Goal, Maps, label_code, set_goal, solve_float64
from constructions.construction import DTYPES
from constructions.generic import build, plan
from theory.attention_rank import free_attention_rank
from theory.memorization import guaranteed_associations, repaired_associations
from theory.strategies import association_tasks
from theory.tasks import AssociationTask


def task_of(rows: list[tuple[int, ...]], targets: list[int] | None = None, vocab_size: int | None = None) -> AssociationTask:
    size = max(2, *(token + 1 for row in rows for token in row)) if vocab_size is None else vocab_size
    return AssociationTask(np.array(rows), np.array(targets or [i % size for i in range(len(rows))]), size)


# (a or b, c or d, e, f): numerators and denominator of a head are sums over positions, so its four outputs span three dimensions.
PRODUCT = task_of([(0, 2, 4, 5), (0, 3, 4, 5), (1, 2, 4, 5), (1, 3, 4, 5)])


@given(
    task=association_tasks(vocab_size=(2, 8), seq_len=(1, 4)),
    embed_dim=st.integers(2, 6),
    narrow=st.integers(0, 4),
    num_heads=st.integers(0, 8),
    seed=st.integers(0, 3),
)
@example(task=AssociationTask.complete(10, 2, 0), embed_dim=2, narrow=0, num_heads=48, seed=0)
@example(task=PRODUCT, embed_dim=3, narrow=0, num_heads=1, seed=0)
def test_holds_exactly_what_its_plan_says(
    task: AssociationTask, embed_dim: int, narrow: int, num_heads: int, seed: int
) -> None:
    head_dim = max(1, embed_dim - narrow)
    sizes = {"embed_dim": embed_dim, "head_dim": head_dim, "num_heads": num_heads, "seed": seed}
    promised, built = plan(task, **sizes), build(task, **sizes)
    last, total = task.num_last_tokens, task.num_associations
    assert promised.free_rank <= repaired_associations(num_heads, head_dim, embed_dim, last, total)
    assert promised.free_rank >= guaranteed_associations(num_heads, head_dim, embed_dim, task.seq_len, last, total)
    assert built.num_heads == num_heads
    assert built.num_held == promised.num_held == promised.softmax_rank <= promised.free_rank
    assert len(set(built.held.tolist())) == built.num_held
    assert (built.failure is None) == (promised.softmax_rank == promised.free_rank)
    margins = logit_margins(built.model, task, built.held)
    assert (margins > 0).all()
    assert built.margin == float(margins.min())
    # Each of the features (at most 200) and of the two products after it adds a relative rounding error.
    assert abs(built.margin - built.promised_margin) <= 1e3 * 2**-52 * _largest_sum(built.model, task)


def _largest_sum(model: torch.nn.Module, task: AssociationTask) -> float:
    """A bound on the sum of absolute values of all terms of one logit."""
    weights = {name: float(tensor.detach().abs().max()) for name, tensor in model.named_parameters() if tensor.numel()}
    dim, width = model.embed_dim, model.head_dim
    entry = weights["token_embedding"] + weights["position_embedding"]
    seen = dim * entry * weights.get("value", 0.0)
    residual = entry + model.num_heads * width * seen * weights.get("output", 0.0)
    # Scores of up to this size change the softmax weights by as many rounding errors.
    scores = 1 + dim**2 * width * entry**2 * weights.get("query", 0.0) * weights.get("key", 0.0)
    return dim * residual * weights["unembedding"] * scores


@given(
    task=association_tasks(vocab_size=(2, 7), seq_len=(1, 4), num_associations=(1, 30)),
    embed_dim=st.integers(2, 5),
    narrow=st.integers(0, 4),
)
@settings(max_examples=settings().max_examples // 2)
def test_without_a_number_of_heads_all_is_held_by_the_fewest(task: AssociationTask, embed_dim: int, narrow: int) -> None:
    head_dim = max(1, embed_dim - narrow)
    assume(task.seq_len > 1 or task.num_associations <= embed_dim)
    built = build(task, embed_dim=embed_dim, head_dim=head_dim)
    assert built.failure is None
    assert built.num_held == task.num_associations
    assert (logit_margins(built.model, task) > 0).all()
    if built.num_heads:
        fewer = plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=built.num_heads - 1)
        assert fewer.num_held < task.num_associations


@pytest.mark.parametrize(
    ("vocab_size", "seq_len", "embed_dim", "head_dim", "heads"),
    [(20, 3, 4, 4, 49), (20, 3, 10, 10, 19), (12, 4, 4, 2, 98), (12, 4, 8, 4, 48), (8, 6, 6, 6, 32), (8, 6, 4, 4, 49)],
)
def test_reach_of_corollary_1_at_longer_sequences(
    vocab_size: int, seq_len: int, embed_dim: int, head_dim: int, heads: int
) -> None:
    total = heads * head_dim + embed_dim
    assert 198 <= total <= 200
    task = AssociationTask.random(vocab_size, seq_len, total, seed=heads)
    built = memorize(task, embed_dim=embed_dim, head_dim=head_dim)
    assert (built.method, built.num_heads, built.num_held) == ("generic", heads, total)
    assert {"float64", "float32"} <= set(built.dtypes)


@pytest.mark.parametrize(("head_dim", "rank_one", "seed"), [(2, False, 0), (2, False, 1), (2, True, 2), (1, False, 3)])
def test_reach_in_the_plane(head_dim: int, rank_one: bool, seed: int) -> None:
    """All 100 pairs of 10 tokens at d = 2: the numerically bad regime, and still right in float32."""
    task = AssociationTask.complete(10, 2, seed)
    built = build(task, embed_dim=2, head_dim=head_dim, seed=seed, rank_one=rank_one).checked(tuple(DTYPES))
    assert built.num_heads == 98 // head_dim
    assert built.num_held == 100
    assert {"float64", "float32"} <= set(built.dtypes)
    for check in built.checks:  # dtypes are what an argmax of the rounded model says, no more and no less
        answers = built.model.to_dtype(DTYPES[check.dtype])(torch.tensor(task.sequences)).argmax(dim=1).numpy()
        assert (check.dtype in built.dtypes) == bool((answers == task.targets).all())
    forms = built.model.query @ built.model.key.transpose(1, 2)
    assert (torch.linalg.matrix_rank(forms) == 1).all() == (rank_one or head_dim == 1)


@pytest.mark.parametrize("head_dim", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("equal labels", task_of([(a, b, a) for a in range(5) for b in range(5)], [3] * 25)),
        ("two labels of two tokens", task_of([tuple(map(int, f"{i:03b}")) for i in range(8)], [0, 1, 1, 0, 1, 0, 0, 1])),
        ("one association", task_of([(1, 2, 0, 2)])),
        ("one token", task_of([(1,)], [0], vocab_size=2)),
        ("one last token", task_of([(a, b, 0) for a in range(4) for b in range(3)])),
        ("constant sequences", task_of([(a, a, a) for a in range(9)])),
        ("repeated tokens", task_of([(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1)])),
        ("permutations", task_of([(a, b, c, 3) for a in range(3) for b in range(3) for c in range(3) if len({a, b, c}) == 3])),
        ("unused tokens", task_of([(3, 500, 2), (500, 3, 2), (7, 7, 7)], [900, 3, 4], vocab_size=1000)),
    ],
)
def test_awkward_tasks_are_held_whole(name: str, task: AssociationTask, head_dim: int) -> None:
    built = memorize(task, embed_dim=3, head_dim=head_dim)
    assert built.num_held == task.num_associations, name
    assert built.failure is None
    assert {"float64", "float32"} <= set(built.dtypes)


def test_one_token_allows_attention_nothing() -> None:
    task = AssociationTask.complete(6, 1, 0)
    for num_heads in (0, 2, 50):
        assert build(task, embed_dim=4, head_dim=3, num_heads=num_heads).num_held == 4
    with pytest.raises(ValueError, match=r"min\(d, K\) \+ H min\(d_h, S - 1\) = min\(4, 6\) \+ H \* 0 = 4 of the 6") as error:
        build(task, embed_dim=4, head_dim=3)
    assert "\n" not in str(error.value)
    assert build(task, embed_dim=6, head_dim=3).num_heads == 0


def test_too_few_heads_hold_the_rank_and_the_plan_says_which_formula_limits() -> None:
    task = AssociationTask.random(20, 3, 60, 0)
    assert plan(task, embed_dim=4, head_dim=3, num_heads=5).limit == "H d_h + min(d, K) = 5 * 3 + min(4, 19) = 19 of T0 = 60"
    built = build(task, embed_dim=4, head_dim=3, num_heads=5)
    assert built.num_held == 19
    assert built.failure is None
    constant = task_of([(a, a, a) for a in range(30)])
    made = plan(constant, embed_dim=5, head_dim=5, num_heads=4)
    assert made.num_held == 5 + 4 * 2 == build(constant, embed_dim=5, head_dim=5, num_heads=4).num_held
    # Every head adds S - 1 = 2 on them: ceil((30 - 5) / 2) heads hold all, far beyond the (30 - 5) / 5 of Corollary 1.
    assert plan(constant, embed_dim=5, head_dim=5).num_heads == 13
    assert "13 of T0 = 30, fewer than H d_h + min(d, K) = 4 * 5 + min(5, 30) = 25" in made.limit


def test_more_heads_than_needed_do_no_harm() -> None:
    task = AssociationTask.random(9, 3, 20, 0)
    for num_heads in (7, 30, 400):
        built = build(task, embed_dim=3, head_dim=3, num_heads=num_heads)
        assert (built.num_heads, built.num_held, built.failure) == (num_heads, 20, None)


def test_where_softmax_falls_short_of_free_attention_both_ranks_are_named() -> None:
    assert free_attention_rank(PRODUCT, embed_dim=3, head_dim=3, num_heads=1) == 4
    built = build(PRODUCT, embed_dim=3, head_dim=3, num_heads=1)
    assert built.num_held == 3
    assert built.failure is not None
    assert "would hold 4" in built.failure and "rank 3 only" in built.failure
    whole = build(PRODUCT, embed_dim=3, head_dim=3)
    assert (whole.num_heads, whole.num_held, whole.failure) == (2, 4, None)


def test_same_seed_same_bits_other_seed_other_weights() -> None:
    task = AssociationTask.random(12, 3, 40, 0)
    one, again, other = (build(task, embed_dim=4, head_dim=3, seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def _parts(task: AssociationTask, embed_dim: int, head_dim: int, num_heads: int, **settings: object) -> tuple[Features, Goal]:
    drawn: dict[str, object] = {"candidates": 4, "score_scale": None, "rank_one": False}
    features = draw_features(
        task,
        embed_dim=embed_dim,
        head_dim=head_dim,
        num_heads=num_heads,
        num_held=plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads).num_held,
        rng=np.random.default_rng(0),
        **(drawn | settings),
    )
    return features, set_goal(task, features, *label_code(task, embed_dim, 0))


def test_the_change_of_basis_leaves_the_logits_equal() -> None:
    """U (B x + sum W_O W_V A), with an explicit skip map B and the heads' outputs as solved for, against the model's logits."""
    task = AssociationTask.random(9, 3, 30, 0)
    features, goal = _parts(task, 4, 3, 9)
    maps = solve_float64(features, goal)
    assert maps is not None
    before = maps.output.reshape(-1, 4) @ maps.skip.T  # W_O, transposed
    outputs = features.matrix.T @ np.concatenate([maps.skip.T, before])
    made = plan(task, embed_dim=4, head_dim=3, num_heads=9)
    built = generic._construction(made, features, goal, maps, np.unique(task.targets), 53)
    logits = built.model(torch.tensor(task.sequences)).detach().numpy()
    labels = np.unique(task.targets)
    expected = np.zeros_like(logits)
    expected[:, labels] = outputs @ goal.code[: len(labels)].T
    np.testing.assert_allclose(logits, expected, atol=1e-9 * np.abs(before).max())
    assert np.linalg.norm(maps.skip - np.eye(4)) > 0.1  # it is a change


def test_everything_drawn_is_exact_in_float32() -> None:
    features, _ = _parts(AssociationTask.random(9, 3, 30, 0), 4, 3, 9)
    rows = features.tokens + features.positions[0]
    for array in (rows, features.query, features.key, features.value):
        assert np.array_equal(array, array.astype(np.float32))


def test_choosing_among_candidates_improves_the_condition() -> None:
    """Over seeds, not for each: the best of many is what the choice is for."""
    task = AssociationTask.complete(8, 2, 0)

    def condition(seed: int, candidates: int) -> float:
        built = build(task, embed_dim=2, head_dim=2, seed=seed, candidates=candidates, check=False)
        return float(built.notes["condition number of the features"])

    without, chosen = ([condition(seed, candidates) for seed in range(3)] for candidates in (1, 8))
    assert np.median(chosen) < 0.1 * np.median(without)


def test_features_in_ball_arithmetic_are_those_of_float64_and_of_more_bits() -> None:
    task = AssociationTask.random(6, 3, 20, 0)
    features, _ = _parts(task, 3, 2, 6)
    flint.ctx.prec = 100
    try:
        few = exact_features(task, features)
        flint.ctx.prec = 300
        many = exact_features(task, features)
    finally:
        flint.ctx.prec = 53
    assert few.overlaps(many)
    for i, row in enumerate(few.tolist()):
        for j, ball in enumerate(row):
            assert float(ball.rad()) < 1e-25
            # Scores up to 200 multiply the rounding error of the softmax.
            assert abs(float(ball) - features.matrix[i, features.held[j]]) < 1e-12


@pytest.mark.parametrize("seed", [3, 17])
def test_more_bits_help_where_float64_fails(seed: int) -> None:
    """Heads that hardly differ: the float64 solution is wrong, that of 256 bits is right even after rounding."""
    task = AssociationTask.complete(10, 2, seed)
    badly = {"embed_dim": 2, "head_dim": 2, "seed": seed, "candidates": 1, "score_scale": 0.1}
    failed = build(task, **badly, precision="float64")
    assert failed.failure is not None and "promises 100" in failed.failure
    assert failed.num_held < 100
    assert (logit_margins(failed.model, task, failed.held) > 0).all()
    raised = build(task, **badly)
    assert raised.failure is None
    assert raised.num_held == 100
    assert raised.notes["solved in"] == "256 bits"
    assert (logit_margins(raised.model, task) > 0).all()


def test_at_the_cap_there_is_a_reason_not_a_wrong_number(monkeypatch: pytest.MonkeyPatch) -> None:
    task = AssociationTask.complete(10, 2, 3)
    badly = {"embed_dim": 2, "head_dim": 2, "seed": 3, "candidates": 1, "score_scale": 0.1}
    capped = build(task, **badly, precision=128)
    assert capped.num_held == 0 and capped.failure is not None
    assert "128 bits: equations met to" in capped.failure
    monkeypatch.setattr(generic, "RAISED", (64, 128))
    both = build(task, **badly)
    assert both.failure is not None and "64 bits" in both.failure and "128 bits" in both.failure
    assert (logit_margins(both.model, task, both.held) > 0).all()
    assert np.setdiff1d(np.arange(100), both.held).size > 0


def test_weights_too_large_for_float64_are_a_failure_that_says_so() -> None:
    task = AssociationTask.complete(10, 2, 0)
    built = build(task, embed_dim=2, head_dim=2, candidates=1, score_scale=0.03)
    assert built.failure is not None and "256 bits: the rounded weights (largest" in built.failure
    assert "512 bits" not in built.failure  # more bits would be rounded to the same weights
    assert (logit_margins(built.model, task, built.held) > 0).all()
    assert set(built.held.tolist()) < set(range(100))


def test_a_given_number_of_bits_agrees_with_float64_and_leaves_the_global_precision_alone() -> None:
    task = AssociationTask.random(8, 3, 25, 0)
    before = flint.ctx.prec
    float64 = build(task, embed_dim=3, head_dim=3)
    exact = build(task, embed_dim=3, head_dim=3, precision=200)
    assert flint.ctx.prec == before
    assert exact.notes["solved in"] == "200 bits"
    assert exact.num_held == 25
    for one, other in zip(float64.model.parameters(), exact.model.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-8 * max(1.0, float(other.detach().abs().max())))


def test_numerical_failure_is_a_result_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break every solution on purpose: what is no longer right must leave `held`, with a reason."""

    def damaged(maps: Maps | None) -> Maps:
        assert maps is not None
        output = maps.output.copy()
        output[-2:] = 0.0
        return replace(maps, output=output)

    right_float64, right_exact = generic.solve_float64, _generic_exact.solve_exact
    monkeypatch.setattr(generic, "solve_float64", lambda features, goal: damaged(right_float64(features, goal)))
    monkeypatch.setattr(_generic_exact, "solve_exact", lambda *arguments: damaged(right_exact(*arguments)))
    built = build(AssociationTask.random(9, 3, 30, 0), embed_dim=3, head_dim=3)
    assert built.failure is not None and "promises 30" in built.failure and "128 bits" in built.failure
    assert built.num_held < 30
    assert (logit_margins(built.model, built.task, built.held) > 0).all()


def test_the_goal_knows_right_from_wrong() -> None:
    goal = Goal(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), np.array([0, 1]))
    assert goal.margin(np.array([[2.0, 1.0], [0.0, 3.0]])) == 1.0
    assert goal.margin(np.array([[2.0, 1.0], [1.0, 0.5]])) == -0.5
    assert goal.margin(np.array([[-1.0, -2.0], [0.0, 1.0]])) == -1.0  # the other tokens' logit 0 wins
    assert goal.margin(np.array([[np.nan, 0.0], [0.0, 1.0]])) == -np.inf


def test_auto_takes_what_holds_more() -> None:
    pairs = AssociationTask.complete(6, 2, 0)
    assert memorize(pairs, embed_dim=2, head_dim=2).method == "staircase"
    assert memorize(pairs, embed_dim=2, head_dim=2, num_heads=3).method == "staircase"
    assert memorize(pairs, embed_dim=2, head_dim=2, method="generic").method == "generic"
    assert memorize(AssociationTask.complete(3, 3, 0), embed_dim=2, head_dim=2).method == "generic"
    # A table on which no order of the staircase deals out all associations (d near N).
    awkward = AssociationTask.random(9, 2, 38, seed=2043)
    sizes = {"embed_dim": 8, "head_dim": 8, "num_heads": 4}
    assert len(memorize(awkward, **sizes, method="staircase", check=False).held) < 38
    built = memorize(awkward, **sizes)
    assert (built.method, built.num_held) == ("generic", 38)


@given(task=association_tasks(vocab_size=(2, 8), seq_len=2), embed_dim=st.integers(2, 6), num_heads=st.integers(0, 6))
@settings(max_examples=settings().max_examples // 4)
def test_auto_never_holds_less_than_either_method(task: AssociationTask, embed_dim: int, num_heads: int) -> None:
    sizes = {"embed_dim": embed_dim, "head_dim": max(1, embed_dim - 1), "num_heads": num_heads}
    held = [staircase.plan(task, **sizes).num_held, plan(task, **sizes).num_held]
    assert memorize(task, **sizes, check=False).num_held == max(held)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"embed_dim": 1, "head_dim": 1}, "embed_dim = 1"),
        ({"embed_dim": 3, "head_dim": 4}, "head_dim = 4"),
        ({"embed_dim": 3, "head_dim": 0}, "head_dim = 0"),
        ({"embed_dim": 3, "head_dim": 2, "num_heads": -1}, "num_heads = -1"),
        ({"embed_dim": 3, "head_dim": 2, "num_heads": 2.0}, "num_heads = 2.0"),
        ({"embed_dim": 3, "head_dim": 2, "seed": -1}, "seed = -1"),
        ({"embed_dim": 3, "head_dim": 2, "candidates": 0}, "candidates = 0"),
        ({"embed_dim": 3, "head_dim": 2, "score_scale": -1.0}, "score_scale = -1.0"),
        ({"embed_dim": 3, "head_dim": 2, "score_scale": float("nan")}, "score_scale = nan"),
        ({"embed_dim": 3, "head_dim": 2, "precision": "float32"}, "precision = 'float32'"),
        ({"embed_dim": 3, "head_dim": 2, "precision": 53}, "precision = 53"),
        ({"embed_dim": 3, "head_dim": 2, "precision": True}, "precision = True"),
        ({"embed_dim": 3, "head_dim": 3, "num_heads": 10**9}, "GiB"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        build(AssociationTask.complete(3, 3, 0), **arguments)
    assert "\n" not in str(error.value)


def test_a_task_too_large_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="T0 = 9000") as error:
        plan(AssociationTask.random(50, 3, 9000, 0), embed_dim=4, head_dim=4)
    assert "\n" not in str(error.value)
