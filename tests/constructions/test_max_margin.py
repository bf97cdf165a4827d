"""Brackets on the best margin: both ends are true, the decision is right, and proofs are proofs."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from constructions import _max_margin_bounds as bounds
from constructions._max_margin_problem import MarginProblem
from constructions.readout import max_margin
from theory.encoders import circle_code, low_coherence_code


def drawn(seed: int, classes: int, rank: int, size: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((size, count)), rng.integers(classes, size=count), rng.standard_normal((classes, rank))


def rows_of(features: np.ndarray, labels: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Every constraint written out, an independent formulation."""
    return np.array([
        np.outer(code[label] - code[other], features[:, place]).ravel()
        for other in range(len(code)) for place, label in enumerate(labels) if other != label
    ])  # fmt: skip


def plain_optimum(features: np.ndarray, labels: np.ndarray, code: np.ndarray, offsets: np.ndarray | None = None) -> float:
    rows = rows_of(features, labels, code)
    own = np.arange(len(labels))
    added = [0.0] * len(rows) if offsets is None else [
        offsets[other, place] for other in range(len(code)) for place in own if other != labels[place]
    ]  # fmt: skip
    cost = np.append(np.zeros(rows.shape[1]), -1.0)
    matrix = np.hstack([-rows, np.ones((len(rows), 1))])
    solved = linprog(cost, A_ub=matrix, b_ub=added, bounds=[(-1, 1)] * rows.shape[1] + [(None, None)])
    assert solved.status == 0
    return float(-solved.fun)


SIZES = {
    "seed": st.integers(0, 10**6), "classes": st.integers(2, 7), "rank": st.integers(1, 3), "size": st.integers(1, 6),
    "count": st.integers(1, 14),
}  # fmt: skip


@given(**SIZES, with_offsets=st.booleans())
@example(seed=935843, classes=3, rank=3, size=4, count=10, with_offsets=False)  # rounding stops the interior-point method short
@example(seed=0, classes=2, rank=2, size=3, count=6, with_offsets=True)  # two classes in two dimensions: a code of rank one
@settings(max_examples=30)
def test_the_bracket_holds_the_optimum_of_the_plain_programme(
    seed: int, classes: int, rank: int, size: int, count: int, with_offsets: bool
) -> None:
    features, labels, code = drawn(seed, classes, rank, size, count)
    offsets = np.random.default_rng(seed + 1).standard_normal((classes, count)) if with_offsets else None
    found = max_margin(features, labels, code, offsets)
    best = plain_optimum(features, labels, code, offsets)
    # HiGHS takes constraints and bounds to 1e-7.
    slack = 1e-6 * (1 + np.abs(features).max() * np.abs(code).max() * size * rank)
    assert found.lower - slack <= best <= found.upper + slack
    assert found.gap <= 1e-9
    assert found.reason is None
    assert np.abs(found.maps).max() <= 1
    if not with_offsets:
        assert found.lower >= 0
        assert (found.decision == "feasible") == (found.lower > 0)


@given(**SIZES)
@settings(max_examples=20)
def test_both_certificates_in_exact_arithmetic(seed: int, classes: int, rank: int, size: int, count: int) -> None:
    features, labels, code = drawn(seed, classes, rank, size, count)
    offsets = np.random.default_rng(seed + 1).standard_normal((classes, count))
    found = max_margin(features, labels, code, offsets)
    exact_f = [[Fraction(x) for x in row] for row in features.tolist()]
    exact_u = [[Fraction(x) for x in row] for row in code.tolist()]
    maps = [[Fraction(x) for x in row] for row in found.maps.tolist()]
    weights = [[Fraction(x) for x in row] for row in found.weights.tolist()]
    least, level = None, Fraction(0)
    pull = [[Fraction(0)] * size for _ in range(rank)]
    for other, place in product(range(classes), range(count)):
        label = int(labels[place])
        if other == label:
            assert weights[other][place] == 0
            continue
        difference = [exact_u[label][a] - exact_u[other][a] for a in range(rank)]
        margin = Fraction(offsets[other, place]) + sum(
            (difference[a] * maps[a][k] * exact_f[k][place] for a in range(rank) for k in range(size)), Fraction(0)
        )
        least = margin if least is None else min(least, margin)
        level += weights[other][place] * Fraction(offsets[other, place])
        for a, k in product(range(rank), range(size)):
            pull[a][k] += weights[other][place] * difference[a] * exact_f[k][place]
    total = sum(map(sum, weights))
    assert least is not None and total > 0
    assert found.lower <= least
    assert (level + sum(abs(x) for row in pull for x in row)) / total <= found.upper


@pytest.mark.parametrize("solver", ["lp", "newton"])
@pytest.mark.parametrize(("count", "size", "decision"), [(40, 18, "infeasible"), (40, 38, "feasible")])
def test_solvers_agree_far_from_the_threshold(solver: str, count: int, size: int, decision: str) -> None:
    for seed in range(4):
        features, labels, _ = drawn(seed, 10, 2, size, count)
        found = max_margin(features, labels, circle_code(10), solver=solver)
        assert found.decision == decision
        assert found.proved_infeasible == (decision == "infeasible")
        assert found.upper >= found.lower >= 0
        if decision == "feasible":
            assert MarginProblem(features, labels, circle_code(10)).margins(found.maps).min() > 0


def test_nothing_feasible_is_proved_infeasible() -> None:
    """The strongest wrong weights there are: those of an infeasible problem, handed over with a feasible one beside it."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true, features = rng.standard_normal((2, 6)), rng.standard_normal((6, 30))
        code = circle_code(5)
        labels = (code @ (true @ features)).argmax(axis=0)  # feasible by construction
        problem = MarginProblem(features, labels, code)
        least = problem.margins(true).min()
        assert least > 0
        assert not max_margin(features, labels, code).proved_infeasible
        weights = np.where(problem.others, rng.exponential(size=problem.others.shape), 0.0)
        assert not bounds.proves_infeasible(problem, weights)
        wrong = max_margin(features, np.roll(labels, 1), code)
        assert not bounds.proves_infeasible(problem, np.where(problem.others, wrong.weights, 0.0))


def test_a_residual_too_large_to_repair_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, _ = drawn(0, 10, 2, 18, 40)
    problem = MarginProblem(features, labels, circle_code(10))
    weights = max_margin(features, labels, circle_code(10)).weights
    assert bounds.proves_infeasible(problem, weights)
    real = bounds._pull
    monkeypatch.setattr(bounds, "_pull", lambda *given: (*real(*given)[:2], real(*given)[2] + 1.0))
    assert not bounds.proves_infeasible(problem, weights)


def test_an_exact_proof_by_hand() -> None:
    # f and -f cannot both be read out as token 0; weights 1, 1 combine to nothing.
    features, labels, code = np.array([[1.0, -1.0]]), np.array([0, 0]), np.array([[1.0], [-1.0]])
    problem = MarginProblem(features, labels, code)
    assert bounds.proves_infeasible(problem, np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert not bounds.proves_infeasible(problem, np.array([[0.0, 0.0], [1.0, 0.0]]))
    found = max_margin(features, labels, code)
    assert (found.decision, found.lower, found.upper, found.proved_infeasible) == ("infeasible", 0.0, 0.0, True)
    turned = max_margin(features, np.array([0, 1]), code)
    assert turned.decision == "feasible" and turned.lower <= 2 <= turned.upper <= 2 + 1e-9


def test_the_decision_is_three_valued() -> None:
    features, labels, code = drawn(0, 6, 2, 5, 6)
    found = max_margin(features, labels, code)
    assert replace(found, lower=0.0, upper=1e-3, proved_infeasible=False).decision == "undecided"
    assert replace(found, lower=0.0, upper=1e-10, proved_infeasible=False).decision == "infeasible"
    assert replace(found, lower=1e-12, upper=1e-10).decision == "feasible"


def test_an_upper_end_below_zero_needs_no_tolerance() -> None:
    features, labels, code = drawn(1, 4, 2, 3, 5)
    offsets = np.full((4, 5), -1e3)
    found = max_margin(features, labels, code, offsets)
    assert found.proved_infeasible and found.decision == "infeasible" and found.upper < 0
    assert found.upper == pytest.approx(plain_optimum(features, labels, code, offsets), rel=1e-9)


def test_upper_bounds_refuse_weights_that_are_none() -> None:
    features, labels, code = drawn(0, 4, 2, 3, 5)
    problem = MarginProblem(features, labels, code)
    for bad in (-1.0, np.nan):
        weights = np.where(problem.others, 1.0, 0.0)
        weights[(labels[0] + 1) % 4, 0] = bad
        with pytest.raises(ValueError, match="weights: finite numbers"):
            bounds.upper_bound(problem, weights)
    with pytest.raises(ValueError, match="0 at the labels"):
        bounds.upper_bound(problem, np.ones((4, 5)))


def test_adjoint_and_gram_are_those_of_the_rows() -> None:
    features, labels, code = drawn(3, 5, 3, 4, 7)
    problem = MarginProblem(features, labels, code)
    rows = rows_of(features, labels, code)
    maps = np.random.default_rng(0).standard_normal((3, 4))
    weights = np.where(problem.others, np.random.default_rng(1).random((5, 7)), 0.0)
    flat = weights[problem.others]
    bound = 1e-13 * np.abs(rows).sum()
    assert np.abs(problem.margins(maps)[problem.others] - rows @ maps.ravel()).max() <= bound
    assert np.abs(problem.adjoint(weights).ravel() - flat @ rows).max() <= bound
    assert np.abs(problem.gram(weights) - rows.T @ (flat[:, None] * rows)).max() <= bound * np.abs(rows).max()


def test_the_same_arguments_give_the_same_answer() -> None:
    features, labels, _ = drawn(5, 8, 3, 12, 20)
    code = low_coherence_code(8, 3, 0)
    for solver in ("lp", "newton"):
        first, second = (max_margin(features, labels, code, solver=solver) for _ in range(2))
        assert np.array_equal(first.maps, second.maps) and first.upper == second.upper


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.full((2, 3), np.nan)}, "features has type"),
        ({"labels": np.array([0, 1, 5])}, "labels: one of 0 to 2"),
        ({"labels": np.array([0, 1])}, "labels: one of 0 to 2"),
        ({"code": np.ones((1, 2))}, "code has 1 rows"),
        ({"offsets": np.ones((2, 3))}, "offsets has shape"),
        ({"solver": "simplex"}, "solver = 'simplex'"),
        ({"solver": "newton", "offsets": np.ones((3, 3))}, "offsets need solver = 'lp'"),
        ({"tolerance": 0.0}, "tolerance = 0.0"),
    ],
)
def test_bad_input_is_refused_in_one_line(change: dict, message: str) -> None:
    given_ = {"features": np.ones((2, 3)), "labels": np.array([0, 1, 2]), "code": np.eye(3)[:, :2].copy()}
    with pytest.raises(ValueError, match=message) as caught:
        max_margin(**(given_ | change))
    assert "\n" not in str(caught.value)
