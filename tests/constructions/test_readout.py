"""The readout holds what it says, with fewer heads than equality needs, on any sequences and any labels."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from constructions import certify, logit_margins, readout
from constructions._max_margin_problem import MarginProblem
from constructions._readout_features import draw_heads, whiten
from constructions._readout_held import hold_most
from constructions.readout import build, plan
from theory.encoders import circle_code
from theory.memorization import repaired_heads
from theory.strategies import association_tasks
from theory.tasks import AssociationTask


def check_held(built, task: AssociationTask) -> None:
    """Held is what an independent forward pass, and exact arithmetic, get right; and it is said when that is not all."""
    assert len(set(built.held.tolist())) == built.num_held
    assert (np.diff(built.held) > 0).all()
    assert (built.failure is None) == (built.num_held == task.num_associations)
    if built.num_held:
        margins = logit_margins(built.model, task, built.held)
        assert (margins > 0).all()
        assert built.promised_margin > 0
        proved = certify(built.model, task, indices=built.held, dtypes=()).statements["exact"]
        assert proved.num_right == built.num_held


@given(
    task=association_tasks(vocab_size=(2, 7), seq_len=(1, 4), num_associations=(1, 30)),
    embed_dim=st.integers(2, 5),
    narrow=st.integers(0, 4),
    num_heads=st.integers(0, 8),
    seed=st.integers(0, 3),
)
@example(task=AssociationTask([[0, 1], [1, 0], [1, 1]], [2, 2, 2], 4), embed_dim=2, narrow=0, num_heads=0, seed=0)
@example(task=AssociationTask([[0, 0]], [1], 2), embed_dim=2, narrow=1, num_heads=3, seed=0)
@example(task=AssociationTask([[a, 0] for a in range(6)], [0, 1, 2, 3, 4, 5], 6), embed_dim=4, narrow=1, num_heads=2, seed=1)
@settings(max_examples=12)
def test_what_is_held_is_right(task: AssociationTask, embed_dim: int, narrow: int, num_heads: int, seed: int) -> None:
    head_dim = max(1, embed_dim - narrow)
    built = build(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    assert (built.num_heads, built.method, built.model.head_dim) == (num_heads, "readout", head_dim)
    check_held(built, task)
    # One map always gets one sequence right, and labels that are all the same cost nothing.
    assert built.num_held >= 1
    if len(set(task.targets.tolist())) == 1:
        assert built.num_held == task.num_associations


@given(
    task=association_tasks(vocab_size=(2, 6), seq_len=(2, 3), num_associations=(1, 24)),
    embed_dim=st.integers(2, 4),
    narrow=st.integers(0, 2),
)
@settings(max_examples=8)
def test_without_a_number_of_heads_all_is_held(task: AssociationTask, embed_dim: int, narrow: int) -> None:
    head_dim = max(1, embed_dim - narrow)
    built = build(task, embed_dim=embed_dim, head_dim=head_dim)
    assert built.failure is None and built.num_held == task.num_associations
    check_held(built, task)
    again = build(task, embed_dim=embed_dim, head_dim=head_dim)
    for name, weights in built.model.named_parameters():
        assert (weights == dict(again.model.named_parameters())[name]).all()


@pytest.mark.parametrize("seed", range(3))
def test_reach_in_the_plane(seed: int) -> None:
    """All 100 pairs of 10 tokens at d = d_h = 2: the law says 32 heads, equality takes 49."""
    task = AssociationTask.complete(10, 2, seed)
    built = build(task, embed_dim=2, head_dim=2, seed=seed)
    assert built.num_held == 100 and built.failure is None
    assert built.num_heads <= 36 < repaired_heads(100, 2, 2, 10)
    assert "float64" in built.dtypes
    assert certify(built.model, task, dtypes=()).statements["exact"].num_right == 100
    assert plan(task, embed_dim=2, head_dim=2).num_heads == 32
    assert built.promised_margin == pytest.approx(built.margin, rel=1e-6, abs=1e-9)


def test_fewest_is_fewest_for_its_pool() -> None:
    task = AssociationTask.complete(6, 2, 1)
    built = build(task, embed_dim=2, head_dim=2)
    labels, code = np.searchsorted(np.unique(task.targets), task.targets), circle_code(len(np.unique(task.targets)))
    made = plan(task, embed_dim=2, head_dim=2)
    most = min(36, made.num_heads + max(4, made.num_heads // 4))
    heads = draw_heads(task, embed_dim=2, head_dim=2, num_heads=most, frozen=False, candidates=8, seed=0)
    problem = whiten(heads.matrix(built.num_heads - 1), labels, code).problem
    found = readout.max_margin(problem.features, problem.labels, problem.code)
    assert found.proved_infeasible
    assert whiten(heads.matrix(built.num_heads), labels, code).problem.unknowns == 2 * 2 * (built.num_heads + 1)


@pytest.mark.parametrize("num_heads", [5, 15, 28])
def test_too_few_heads_hold_more_than_random_labels_would_let_them(num_heads: int) -> None:
    task = AssociationTask.complete(10, 2, 0)
    built = build(task, embed_dim=2, head_dim=2, num_heads=num_heads)
    check_held(built, task)
    assert built.failure is not None and "threshold law" in built.failure
    assert built.num_held > min(99, 1.2 * 1.538 * 2 * (num_heads + 1)) or num_heads == 28
    assert 90 <= built.num_held < 100 or num_heads < 28


def test_dropping_and_taking_back_ends_with_certain_margins() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 3, 8):
        problem = MarginProblem(rng.standard_normal((size, 60)), rng.integers(5, size=60), circle_code(5))
        kept = hold_most(problem, "lp", 2000)
        assert kept.lower > 0 and len(kept.held) > size
        assert (problem.select(kept.held).margins(kept.maps) > 0).all()


@pytest.mark.parametrize(("embed_dim", "head_dim", "values"), [(4, 1, "frozen"), (4, 3, "solved"), (6, 2, "solved")])
def test_forms_and_their_thresholds(embed_dim: int, head_dim: int, values: str) -> None:
    task = AssociationTask.random(8, 3, 60, seed=2)
    built = build(task, embed_dim=embed_dim, head_dim=head_dim, values=values)
    assert built.failure is None and built.notes["values"] == values
    check_held(built, task)
    expected = plan(task, embed_dim=embed_dim, head_dim=head_dim, values=values).num_heads
    assert abs(built.num_heads - expected) <= max(2, 0.35 * expected)
    if head_dim == 1:
        assert plan(task, embed_dim=embed_dim, head_dim=1).values == "frozen"


def test_tokens_that_are_no_label_never_win() -> None:
    task = AssociationTask([[a, b] for a in range(5) for b in range(5)], [(a * b) % 3 for a in range(5) for b in range(5)], 9)
    built = build(task, embed_dim=3, head_dim=2)
    assert built.failure is None and built.num_held == 25
    check_held(built, task)


def test_the_newton_path_holds_the_same() -> None:
    task = AssociationTask.random(12, 2, 90, seed=0)
    built = build(task, embed_dim=4, head_dim=4, num_heads=14, solver="newton")
    assert built.failure is None and built.notes["solver"] == "newton"
    check_held(built, task)


def test_one_token_leaves_attention_no_choice() -> None:
    task = AssociationTask([[a] for a in range(20)], [a % 7 for a in range(20)], 20)
    built = build(task, embed_dim=2, head_dim=2)
    assert built.num_heads == 0 and built.failure is not None and "one token" in built.failure
    check_held(built, task)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embed_dim": 1}, "embed_dim = 1"),
        ({"head_dim": 3}, "head_dim = 3: 1 to embed_dim = 2"),
        ({"num_heads": -1}, "num_heads = -1"),
        ({"values": "trained"}, "values = 'trained'"),
        ({"solver": "simplex"}, "solver = 'simplex'"),
        ({"candidates": 0}, "candidates = 0"),
        ({"resolution": 0}, "resolution = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"task": AssociationTask.complete(90, 2, 0)}, "features with"),
        ({"head_dim": 1, "values": "solved"}, "a code of one dimension has two labels at most"),
        ({"num_heads": 10**10}, "GiB"),
    ],
)
def test_bad_input_is_refused_in_one_line(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build(**({"task": AssociationTask.complete(5, 2, 0), "embed_dim": 2, "head_dim": 2} | options))
    assert "\n" not in str(caught.value)
