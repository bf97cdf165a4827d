"""Column generation: prices that are what they claim to be, brackets that hold, and weights that an outsider finds right."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from constructions import certify
from constructions._column_lp import BOX, Readout, rounding, solve_soft, widest_margin
from constructions._column_pricing import best_gates, value_and_gradient
from constructions._column_problem import GateSpace, LabelCode, Problem, draw_embedding, label_code
from constructions._column_search import ENOUGH, Budget, Heads, holdable
from constructions.aot import PARAMETER_NAMES
from constructions.column_generation import MOST_ASSOCIATIONS, MOST_DIM, build
from constructions.construction import Construction
from theory.strategies import association_tasks
from theory.tasks import AssociationTask


def problem_of(task: AssociationTask, embed_dim: int = 2, head_dim: int | None = None, seed: int = 0) -> Problem:
    width = embed_dim if head_dim is None else head_dim
    embedding = draw_embedding(task, embed_dim, np.random.default_rng(seed))
    return Problem(task, embedding, label_code(task, min(width, embed_dim), seed), width)


def heads_of(problem: Problem, num_heads: int, seed: int = 0, sweeps: int = 10) -> Heads:
    heads = Heads(problem, 8, np.random.default_rng(seed), Budget(sweeps))
    heads.grow(num_heads)
    return heads


def independent_margins(built: Construction) -> np.ndarray:
    """The model's margins from its raw weights, one sequence at a time, in plain numpy."""
    weights = {name: getattr(built.model, name).detach().numpy() for name in PARAMETER_NAMES}
    margins = []
    for tokens, label in zip(built.task.sequences, built.task.targets, strict=True):
        x = weights["token_embedding"][tokens] + weights["position_embedding"]
        stream = x[-1].copy()
        for query, key, value, output in zip(*(weights[name] for name in ("query", "key", "value", "output")), strict=True):
            scores = (x @ key) @ (x[-1] @ query)
            attention = np.exp(scores - scores.max())
            stream += (attention / attention.sum()) @ x @ value @ output
        logits = weights["unembedding"] @ stream
        margins.append(logits[label] - np.delete(logits, label).max())
    return np.array(margins)


# --- pricing


@pytest.mark.parametrize(("dim", "head_dim"), [(2, 2), (3, 3), (3, 2), (4, 1)])
def test_pricing_gradient_is_what_automatic_differentiation_says(dim: int, head_dim: int) -> None:
    rng = np.random.default_rng(dim)
    last, delta = rng.standard_normal((2, 9, dim))
    priced = rng.standard_normal((9, 5))
    space = GateSpace(last, delta, head_dim)
    gates = space.draw(6, rng)
    values, gradient = value_and_gradient(space, gates, priced)
    leaf = torch.tensor(gates, requires_grad=True)
    if head_dim >= dim:
        matrices = leaf.reshape(-1, dim, dim)
    else:
        halves = leaf.reshape(-1, 2, dim, head_dim)
        matrices = halves[:, 0] @ halves[:, 1].transpose(1, 2)
    scores = torch.einsum("ti,gij,tj->gt", torch.tensor(last), matrices, torch.tensor(delta))
    expected = (torch.sigmoid(scores) @ torch.tensor(priced)).abs().sum(1)
    expected.sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    np.testing.assert_allclose(values, expected.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_the_climb_beats_many_more_random_gates() -> None:
    heads = heads_of(problem_of(AssociationTask.complete(6, 2, 0)), 2)
    space = heads.problem.gates
    priced = heads.problem.priced(heads.readout.prices)
    gates, values = best_gates(space, priced, starts=8, rng=np.random.default_rng(0))
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(values, np.abs(space.values(gates) @ priced).sum(axis=1), rtol=1e-12)
    pool = space.draw(20_000, np.random.default_rng(1))
    assert values[0] > np.abs(space.values(pool) @ priced).sum(axis=1).max()


def test_known_gates_are_started_from() -> None:
    heads = heads_of(problem_of(AssociationTask.complete(6, 2, 0)), 2)
    space, priced = heads.problem.gates, heads.problem.priced(heads.readout.prices)
    known, value = best_gates(space, priced, starts=8, rng=np.random.default_rng(0))
    _, again = best_gates(space, priced, starts=1, rng=np.random.default_rng(5), known=known[:1])
    assert again[0] >= value[0]


# --- the program and its certificates


def exact_bracket(matrix: np.ndarray, readout: Readout, box: float) -> tuple[Fraction, Fraction]:
    """Violation of the weights and bound of the prices in rationals."""
    rows = [[Fraction(entry) for entry in row] for row in matrix.tolist()]
    weights, prices = map(Fraction, readout.weights.tolist()), [Fraction(price) for price in readout.prices.tolist()]
    weights = list(weights)
    scores = [sum((a * w for a, w in zip(row, weights, strict=True)), Fraction(0)) for row in rows]
    violation = sum((max(Fraction(0), 1 - score) for score in scores), Fraction(0))
    forces = [sum((row[k] * price for row, price in zip(rows, prices, strict=True)), Fraction(0)) for k in range(len(weights))]
    return violation, sum(prices, Fraction(0)) - Fraction(box) * sum((abs(force) for force in forces), Fraction(0))


@given(
    rows=st.integers(1, 25), columns=st.integers(1, 8), seed=st.integers(0, 10**6), box=st.sampled_from([0.1, 1.0, 100.0])
)
@example(rows=1, columns=1, seed=0, box=100.0)
def test_the_bracket_holds_in_rationals_closes_and_agrees_with_another_solver(
    rows: int, columns: int, seed: int, box: float
) -> None:
    matrix = np.random.default_rng(seed).standard_normal((rows, columns))
    readout = solve_soft(matrix, box=box, tolerance=1e-7)
    assert np.abs(readout.weights).max() <= box
    assert readout.prices.min() >= 0 and readout.prices.max() <= 1
    violation, bound = exact_bracket(matrix, readout, box)
    of_violation, of_bound = rounding(matrix, readout, box)
    assert abs(violation - Fraction(readout.violation)) <= Fraction(of_violation)
    assert abs(bound - Fraction(readout.bound)) <= Fraction(of_bound)
    assert bound <= violation
    assert readout.violation - readout.bound <= 1e-7 * max(1.0, readout.violation)
    result = linprog(
        np.concatenate([np.zeros(columns), np.ones(rows)]),
        A_ub=-np.column_stack([matrix, np.eye(rows)]),
        b_ub=-np.ones(rows),
        bounds=[(-box, box)] * columns + [(0, None)] * rows,
    )
    feasible = 1e-6 * (1 + rows * box)  # what the other solver's own tolerance of 1e-7 per bound and row can move
    assert readout.bound - feasible <= result.fun <= readout.violation + feasible


def test_early_stops_say_what_they_promise() -> None:
    heads = heads_of(problem_of(AssociationTask.complete(8, 2, 0)), 3)
    matrix = heads.matrix(heads.columns)
    best = solve_soft(matrix, tolerance=1e-8)
    target = best.violation / 2
    stopped = solve_soft(matrix, tolerance=1e-8, worthless=target)
    assert target <= stopped.bound <= best.violation < stopped.violation
    easy = solve_soft(matrix[:4], enough_margin=ENOUGH)
    assert easy.margin == pytest.approx((matrix[:4] @ easy.weights).min()) and easy.margin >= ENOUGH


def test_columns_in_the_program_are_worth_nothing_more_than_the_gap() -> None:
    heads = heads_of(problem_of(AssociationTask.complete(7, 2, 1)), 4)
    assert not heads.right
    matrix = heads.matrix(heads.columns)
    for tolerance in (1e-2, 1e-4, 1e-7):
        readout = solve_soft(matrix, tolerance=tolerance)
        gap = readout.violation - readout.bound
        forces, scores = matrix.T @ readout.prices, matrix @ readout.weights
        reduced = BOX * np.abs(forces) - forces * readout.weights
        rounded = sum(rounding(matrix, readout))
        assert (reduced >= -rounded).all()
        # The gap is these terms and the inequalities' own, all of them non-negative.
        own = np.maximum(0.0, 1.0 - scores) - readout.prices * (1.0 - scores)
        assert reduced.sum() + own.sum() == pytest.approx(gap, abs=rounded)
        assert reduced.reshape(-1, 4).sum(axis=1).max() <= gap + rounded
    # The best gate not in the program is worth a lot by the same prices.
    _, values = best_gates(heads.problem.gates, heads.problem.priced(readout.prices), starts=8, rng=np.random.default_rng(0))
    assert BOX * values[0] > 100 * gap


def test_a_gate_is_worth_what_its_columns_weigh() -> None:
    problem = problem_of(AssociationTask.complete(5, 2, 0), embed_dim=3, head_dim=2)
    rng = np.random.default_rng(0)
    gate, prices = problem.gates.draw(1, rng)[0], rng.random(problem.num_inequalities)
    direct = problem.columns(gate).T @ prices
    np.testing.assert_allclose(problem.gates.values(gate[None])[0] @ problem.priced(prices), direct, rtol=1e-12, atol=1e-12)


@given(task=association_tasks(vocab_size=(3, 7), seq_len=2, num_associations=(6, 30)), seed=st.integers(0, 20))
@settings(max_examples=25)
def test_a_priced_column_never_raises_the_violation(task: AssociationTask, seed: int) -> None:
    heads = heads_of(problem_of(task, seed=seed), 0)
    for _ in range(3):
        before = heads.readout
        heads.add()
        after = heads.readout
        rounded = sum(rounding(heads.matrix(heads.columns), after))
        # Certified: what is possible now is at most what was reached before.
        assert after.bound <= before.violation + rounded
        if heads.right:
            break
        assert after.violation <= before.violation * (1 + 1.1e-3) + 1.1e-3  # both within their stopping gap of the optimum


def test_no_sweep_raises_the_violation_and_repair_keeps_the_best() -> None:
    heads = heads_of(problem_of(AssociationTask.complete(7, 2, 2)), 6, sweeps=4)
    seen = [heads.readout.violation]
    for _ in range(2):
        heads.sweep()
        seen.append(heads.readout.violation)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < seen[0]
    heads.repair()
    assert heads.right or heads.readout.violation <= seen[-1]
    assert len(heads.gates) == len(heads.columns) == 6
    for gate, columns in zip(heads.gates, heads.columns, strict=True):
        np.testing.assert_array_equal(columns, heads.problem.columns(gate))


def test_the_last_program_is_bracketed() -> None:
    heads = heads_of(problem_of(AssociationTask.complete(5, 2, 0)), 25)
    assert heads.right
    matrix = heads.matrix(heads.columns)
    margin = widest_margin(matrix, heads.readout.weights)
    assert np.abs(margin.weights).max() <= 1
    assert 0 < margin.reached <= (matrix @ margin.weights).min() <= margin.reached * (1 + 1e-12)
    assert margin.reached >= heads.readout.margin / BOX * (1 - 1e-12)
    assert 0 <= margin.ceiling - margin.reached <= 1e-6 * margin.ceiling


def test_both_sides_of_the_widest_margin_are_rounded_outwards() -> None:
    for seed in range(400):
        rng = np.random.default_rng(seed)
        rows, columns = rng.integers(1, 7), rng.integers(1, 6)
        matrix = rng.standard_normal((rows, columns)) * 10.0 ** rng.uniform(-3, 4)
        if seed % 2:  # a square system with all margins equal at the optimum: both sides meet
            matrix = np.abs(matrix)
        margin = widest_margin(matrix, rng.standard_normal(columns))
        exact = [[Fraction(entry) for entry in row] for row in matrix.tolist()]
        weights = [Fraction(weight) for weight in margin.weights.tolist()]
        least = min(sum((a * w for a, w in zip(row, weights, strict=True)), Fraction(0)) for row in exact)
        assert Fraction(margin.reached) <= least <= Fraction(margin.ceiling)
        assert margin.ceiling - margin.reached <= 1e-6 * np.abs(matrix).max()


def test_facets_imply_all_other_inequalities() -> None:
    task = AssociationTask.complete(12, 2, 0)
    for dim in (2, 3, 4):
        code: LabelCode = label_code(task, dim, 0)
        points = np.random.default_rng(dim).standard_normal((4000, dim))
        winner = (points @ code.rows.T).argmax(axis=1)
        for label, normals in code.normals.items():
            inside = (points @ normals.T > 0).all(axis=1)
            np.testing.assert_array_equal(inside, winner == label)
        if dim == 2:
            assert {len(normals) for normals in code.normals.values()} == {2}


# --- what is built


@given(
    task=association_tasks(vocab_size=(2, 5), seq_len=2, num_associations=(1, 12)),
    embed_dim=st.integers(2, 3),
    narrow=st.integers(0, 1),
    num_heads=st.one_of(st.none(), st.integers(0, 4)),
    seed=st.integers(0, 3),
)
@example(task=AssociationTask([[0, 0]], [1], 2), embed_dim=2, narrow=0, num_heads=None, seed=0)
@example(task=AssociationTask([[0, 0], [1, 1], [2, 2], [3, 3]], [0, 1, 0, 1], 4), embed_dim=2, narrow=1, num_heads=None, seed=0)
@example(task=AssociationTask([[0, 1], [2, 1], [3, 1], [1, 1]], [4, 3, 2, 0], 5), embed_dim=2, narrow=0, num_heads=None, seed=0)
@settings(max_examples=15)
def test_what_it_says_is_held_is_right_in_an_independent_forward_pass(
    task: AssociationTask, embed_dim: int, narrow: int, num_heads: int | None, seed: int
) -> None:
    labels = len(np.unique(task.targets))
    head_dim = embed_dim - narrow if embed_dim - narrow >= 2 or labels <= 2 else embed_dim
    built = build(
        task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed, draws=2, pricing_starts=6, sweeps=3
    )
    assert built.failure is None
    assert built.num_held == task.num_associations or num_heads is not None
    assert built.num_heads == (int(built.notes["heads used"]) if num_heads is None else num_heads)
    margins = independent_margins(built)[built.held]
    assert (margins > 0).all()
    assert built.margin == pytest.approx(margins.min(initial=np.inf) if len(margins) else 0.0, rel=1e-6)
    # Margin 1 by design, up to the rounding of d (2 + 2 H) products of the largest weights.
    if len(margins):
        assert built.promised_margin == 1.0
        assert margins.min() >= 1.0 - 1e-12 * built.max_weight**3
    assert certify(built.model, task, dtypes=()).statements["exact"].num_right >= built.num_held


def test_a_table_over_six_tokens_needs_few_heads() -> None:
    task = AssociationTask.complete(6, 2, 0)
    built = build(task, embed_dim=2, head_dim=2, draws=3, sweeps=4)
    assert built.num_held == 36 and built.failure is None
    assert built.num_heads <= 8  # Corollary 1 asks for 17
    assert certify(built.model, task, dtypes=()).statements["exact"].num_right == 36


def test_more_heads_hold_more_and_spare_heads_stay_empty() -> None:
    task = AssociationTask.complete(5, 2, 1)
    counts = [build(task, embed_dim=2, head_dim=2, num_heads=heads, draws=2, sweeps=4).num_held for heads in (0, 2, 8)]
    assert counts[0] < counts[1] < counts[2] == 25
    spare = build(task, embed_dim=2, head_dim=2, num_heads=40, draws=1, sweeps=0)
    used = int(spare.notes["heads used"])
    assert spare.num_held == 25 and spare.num_heads == 40 and used < 40
    assert not spare.model.output[used:].any()


def test_no_association_could_join_the_held_ones() -> None:
    problem = problem_of(AssociationTask.complete(6, 2, 3))
    heads = heads_of(problem, 3)
    held = holdable(heads)
    assert 0 < len(held) < 36
    heads.asked(held)
    assert heads.right
    for other in np.setdiff1d(np.arange(36), held):
        heads.asked(np.append(held, other))
        assert not heads.right
        # Not only not found: the prices prove that a margin 1 for all of them costs violation.
        assert heads.readout.bound > sum(rounding(heads.matrix(heads.columns), heads.readout))


def test_same_seed_same_weights() -> None:
    task = AssociationTask.complete(5, 2, 0)
    one, two, other = (
        build(task, embed_dim=2, head_dim=2, seed=seed, draws=1, sweeps=2, max_seconds=None) for seed in (3, 3, 4)
    )
    for name in PARAMETER_NAMES:
        assert torch.equal(getattr(one.model, name), getattr(two.model, name))
    assert not torch.equal(one.model.position_embedding, other.model.position_embedding)


def test_a_bitten_time_limit_is_reported() -> None:
    task = AssociationTask.complete(8, 2, 0)
    built = build(task, embed_dim=2, head_dim=2, max_seconds=1e-9)
    assert "max_seconds" in built.notes["stopped by"]
    assert built.failure is not None and "max_seconds" in built.failure and built.num_held < 64
    assert (independent_margins(built)[built.held] > 0).all()


# --- refusals


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"head_dim": 3}, "head_dim = 3"),
        ({"embed_dim": 1, "head_dim": 1}, "embed_dim = 1"),
        ({"embed_dim": MOST_DIM + 1}, f"embed_dim = {MOST_DIM + 1}"),
        ({"head_dim": 1}, "head_dim = 1 with 4 labels"),
        ({"num_heads": -1}, "num_heads = -1"),
        ({"sweeps": -1}, "sweeps = -1"),
        ({"draws": 0}, "draws = 0"),
        ({"pricing_starts": 0}, "pricing_starts = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"max_seconds": 0.0}, "max_seconds = 0.0"),
        ({"num_heads": 10**9}, "GiB"),
    ],
)
def test_refusals_name_what_is_wrong(change: dict[str, int | float], words: str) -> None:
    task = AssociationTask([[0, 1], [1, 2], [2, 3], [3, 0]], [0, 1, 2, 3], 4)
    arguments = {"embed_dim": 2, "head_dim": 2, **change}
    with pytest.raises(ValueError, match=words) as caught:
        build(task, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and "legal" in str(caught.value) + " legal" * ("must be" in str(caught.value))


def test_other_lengths_and_large_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="sequences of 3 tokens"):
        build(AssociationTask.complete(3, 3, 0), embed_dim=2, head_dim=2)
    with pytest.raises(ValueError, match=f"at most {MOST_ASSOCIATIONS}"):
        build(AssociationTask.complete(21, 2, 0), embed_dim=2, head_dim=2)
