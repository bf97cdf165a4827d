"""The solver: what it says is held is held, its stops have reasons, and the same call gives the same weights."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import AttentionOnlyTransformer, certify
from empirical._solver_net import Net
from empirical.capacity import measure
from empirical.solver import SolverStep, solve
from theory.memorization import corollary_1_associations
from theory.shapes import AttentionShape
from theory.strategies import association_tasks
from theory.tasks import AssociationTask

COMPLETE = AssociationTask.complete(6, 2, 0)


def independent_predictions(model: AttentionOnlyTransformer, task: AssociationTask) -> np.ndarray:
    """Equations (1) and (2) once more, in numpy, one sequence and one head at a time."""
    p = {name: array.detach().numpy() for name, array in model.named_parameters()}
    found = []
    for sequence in task.sequences:
        x = p["token_embedding"][sequence] + p["position_embedding"]
        stream = x[-1].copy()
        for h in range(model.num_heads):
            scores = (x[-1] @ p["query"][h]) @ (x @ p["key"][h]).T
            weights = np.exp(scores - scores.max())
            stream += (weights / weights.sum()) @ x @ p["value"][h] @ p["output"][h]
        logits = p["unembedding"] @ stream
        found.append(int(logits.argmax()) if np.sum(logits == logits.max()) == 1 else -1)
    return np.array(found)


@pytest.mark.parametrize(
    ("shape", "engine", "free"),
    [
        (AttentionShape(2, 7, 2), None, "all"),
        (AttentionShape(3, 5, 1), None, "all"),
        (AttentionShape(2, 6, 4), "dense", "all"),
        (AttentionShape(3, 6, 3), "matrix-free", "all"),
        (AttentionShape(3, 9, 3), None, "heads"),
    ],
)
def test_a_small_table_is_held_and_proved(shape: AttentionShape, engine: str | None, free: str) -> None:
    solved = solve(COMPLETE, shape, seed=1, free=free, engine=engine, max_steps=600, max_seconds=300)
    assert solved.reason is None
    assert solved.exact
    assert solved.num_held == 36
    assert solved.margin >= 1.0
    assert (independent_predictions(solved.model, COMPLETE) == COMPLETE.targets).all()
    assert certify(solved.model, COMPLETE, dtypes=()).statements["exact"].num_right == 36
    assert measure(solved.model, COMPLETE).bits_per_effective_parameter == solved.bits_per_effective_parameter
    assert corollary_1_associations(shape.num_heads, shape.head_dim, shape.embed_dim) < 36  # beyond the theorem's count
    assert solved.model.shape == shape


@settings(max_examples=10, deadline=None)
@given(
    association_tasks(vocab_size=(2, 5), seq_len=(1, 3), num_associations=(1, 12)),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(1, 3),
    st.integers(0, 5),
)
def test_what_it_says_is_held_is_held(task: AssociationTask, dim: int, heads: int, width: int, seed: int) -> None:
    solved = solve(task, AttentionShape(dim, heads, width), seed=seed, max_steps=25, max_seconds=300)
    right = np.flatnonzero(independent_predictions(solved.model, task) == task.targets)
    assert set(solved.held.tolist()) <= set(right.tolist())
    assert solved.exact == (solved.num_held == task.num_associations)
    assert (solved.reason is None) == (solved.exact and solved.margin >= 1.0)
    assert (solved.margin > 0) == solved.exact


@pytest.mark.parametrize("engine", ["dense", "matrix-free"])
def test_the_same_call_gives_the_same_weights(engine: str) -> None:
    calls: list[dict[str, Any]] = [{"seed": 3}, {"seed": 3}, {"seed": 4}]
    models = [
        solve(COMPLETE, AttentionShape(2, 3, 2), engine=engine, max_steps=12, max_seconds=300, **call).model.state_dict()
        for call in calls
    ]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert not torch.equal(models[0]["query"], models[2]["query"])


def test_three_positions_are_held() -> None:
    task = AssociationTask.random(5, 3, 30, 2)
    solved = solve(task, AttentionShape(3, 4, 2), max_steps=600, max_seconds=300)
    assert solved.reason is None
    assert (independent_predictions(solved.model, task) == task.targets).all()


def test_one_position_is_a_linear_memory() -> None:
    task = AssociationTask(np.arange(5)[:, None], np.array([3, 1, 1, 0, 2]), 5)
    solved = solve(task, AttentionShape(2, 3, 2), max_steps=200, max_seconds=300)
    assert solved.reason is None
    assert not solved.model.value.detach().any()


def test_heads_alone_leave_the_rest_as_drawn() -> None:
    shape = AttentionShape(3, 2, 2)
    solved = solve(COMPLETE, shape, seed=5, free="heads", max_steps=30, max_restarts=0, max_seconds=300)
    net = Net(COMPLETE, shape, "heads")
    starts = [net.views(net.draw(5, restart)) for restart in range(13)]
    model = solved.model
    same = [
        torch.equal(model.token_embedding, p["token"])
        and torch.equal(model.position_embedding, p["position"])
        and torch.equal(model.unembedding, p["code"])
        for p in starts
    ]
    assert sum(same) == 1
    drawn = starts[same.index(True)]
    assert not torch.equal(model.query, drawn["query"])


def test_what_cannot_be_held_has_a_reason() -> None:
    solved = solve(COMPLETE, AttentionShape(2, 0, 2), max_steps=40, max_seconds=300)
    assert not solved.exact
    assert solved.num_held < 36
    assert solved.reason is not None
    assert solved.reason.startswith("stopped after 40 steps: ")
    assert solved.seconds_to_exact is None
    limited = solve(COMPLETE, AttentionShape(2, 0, 2), max_restarts=0, max_seconds=300)
    assert limited.reason is not None
    assert limited.reason.startswith("stalled, with 0 restarts allowed: ")
    assert "\n" not in limited.reason


def test_the_clock_stops_it_and_says_so() -> None:
    solved = solve(COMPLETE, AttentionShape(2, 1, 2), max_seconds=1e-9)
    assert solved.reason is not None
    assert solved.reason.startswith("stopped by the clock after 1e-09 s: ")
    assert len(solved.history) == 1


def test_history_tells_what_happened() -> None:
    seen: list[SolverStep] = []
    solved = solve(COMPLETE, AttentionShape(2, 7, 2), target_margin=0, max_steps=600, max_seconds=300, progress=seen.append)
    assert tuple(seen) == solved.history
    assert [record.step for record in seen] == list(range(1, len(seen) + 1))
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(seen))
    assert seen[-1].wrong == 0
    assert all(record.wrong > 0 for record in seen[:-1])  # with target 0 the first exact recall ends it
    assert solved.seconds_to_exact == seen[-1].seconds
    assert solved.margin > 0


def test_margins_grow_to_the_target() -> None:
    solved = solve(COMPLETE, AttentionShape(2, 8, 2), target_margin=5.0, max_steps=600, max_seconds=300)
    assert solved.reason is None
    assert solved.margin >= 5.0


def test_objective_of_one_net_never_rises() -> None:
    solved = solve(COMPLETE, AttentionShape(2, 2, 2), batch=1, max_steps=55, max_seconds=300)
    assert {record.restart for record in solved.history} == {0}
    assert all(b.objective <= a.objective for a, b in itertools.pairwise(solved.history))
    assert solved.history[-1].objective < 0.5 * solved.history[0].objective


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"task": "table"}, "task"),
        ({"shape": (2, 3, 2)}, "shape"),
        ({"shape": AttentionShape(2, 100_000_000, 2)}, "shape"),
        ({"seed": -1}, "seed"),
        ({"free": "code"}, "free"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"max_seconds": math.inf}, "max_seconds"),
        ({"max_seconds": True}, "max_seconds"),
        ({"target_margin": -1.0}, "target_margin"),
        ({"target_margin": math.nan}, "target_margin"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_restarts": -1}, "max_restarts"),
        ({"engine": "adam"}, "engine"),
        ({"batch": 0}, "batch"),
        ({"dtype": torch.float16}, "dtype"),
        ({"device": "nowhere"}, "device"),
        ({"free": "heads", "shape": AttentionShape(2, 0, 2)}, "free"),
        ({"free": "heads", "task": AssociationTask.complete(3, 1, 0)}, "free"),
    ],
)
def test_refusals_name_the_argument(change: dict[str, Any], named: str) -> None:
    arguments: dict[str, Any] = {"task": COMPLETE, "shape": AttentionShape(2, 3, 2)} | change
    with pytest.raises(ValueError, match=rf"^{named} = [^\n]*$"):
        solve(arguments.pop("task"), arguments.pop("shape"), **arguments)
