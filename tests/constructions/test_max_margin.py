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


def exact_bounds(
    features: np.ndarray, labels: np.ndarray, code: np.ndarray, offsets: np.ndarray | None, maps: np.ndarray, weights: np.ndarray
) -> tuple[Fraction, Fraction]:
    """Least margin of W and the bound of the dual weights, in rationals."""
    f, u, w, lam = ([[Fraction(x) for x in row] for row in array.tolist()] for array in (features, code, maps, weights))
    rank, size = maps.shape
    least, level = None, Fraction(0)
    pull = [[Fraction(0)] * size for _ in range(rank)]
    for other, place in product(range(len(code)), range(len(labels))):
        label = int(labels[place])
        if other == label:
            assert lam[other][place] == 0
            continue
        difference = [u[label][a] - u[other][a] for a in range(rank)]
        offset = Fraction(0) if offsets is None else Fraction(float(offsets[other, place]))
        margin = offset + sum((difference[a] * w[a][k] * f[k][place] for a in range(rank) for k in range(size)), Fraction(0))
        least = margin if least is None else min(least, margin)
        level += lam[other][place] * offset
        for a, k in product(range(rank), range(size)):
            pull[a][k] += lam[other][place] * difference[a] * f[k][place]
    total = sum(map(sum, lam))
    assert least is not None and total > 0
    return least, (level + sum(abs(x) for row in pull for x in row)) / total


def no_more(value: float, exact: Fraction) -> bool:
    """value <= exact, for infinite values too."""
    return value == -np.inf or (value != np.inf and Fraction(value) <= exact)


@given(**SIZES)
@settings(max_examples=20)
def test_both_certificates_in_exact_arithmetic(seed: int, classes: int, rank: int, size: int, count: int) -> None:
    features, labels, code = drawn(seed, classes, rank, size, count)
    offsets = np.random.default_rng(seed + 1).standard_normal((classes, count))
    found = max_margin(features, labels, code, offsets)
    least, least_upper = exact_bounds(features, labels, code, offsets, found.maps, found.weights)
    assert found.lower <= least
    assert least_upper <= found.upper


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


@given(
    **SIZES | {"classes": st.integers(2, 4), "size": st.integers(1, 4), "count": st.integers(1, 8)},
    of_features=st.integers(-1000, 1000),
    of_code=st.integers(-1000, 1000),
    of_offsets=st.none() | st.integers(-1070, 1000),
    fall=st.sampled_from([0, 30, 900, 1060]),
    newton=st.booleans(),
)
@example(seed=0, classes=3, rank=2, size=3, count=6, of_features=-1072, of_code=996, of_offsets=None, fall=0, newton=False)
@example(seed=0, classes=3, rank=2, size=3, count=6, of_features=996, of_code=-1063, of_offsets=None, fall=0, newton=True)
@example(seed=1, classes=3, rank=2, size=3, count=6, of_features=1000, of_code=1000, of_offsets=None, fall=0, newton=True)
@example(seed=1, classes=3, rank=2, size=3, count=6, of_features=-1000, of_code=-1000, of_offsets=1000, fall=0, newton=False)
@example(seed=0, classes=2, rank=1, size=2, count=2, of_features=0, of_code=0, of_offsets=18, fall=1060, newton=False)
@example(seed=2, classes=3, rank=2, size=3, count=6, of_features=1000, of_code=0, of_offsets=None, fall=2060, newton=False)
@settings(max_examples=60)
def test_brackets_are_true_at_every_scale(
    seed: int, classes: int, rank: int, size: int, count: int, of_features: int, of_code: int, of_offsets: int | None,
    fall: int, newton: bool,
) -> None:  # fmt: skip
    features, labels, code = drawn(seed, classes, rank, size, count)
    falls = np.random.default_rng(seed + 1).integers(0, fall + 1, size=features.shape)
    features, code = np.ldexp(features, of_features - falls), np.ldexp(code, of_code)
    offsets = None
    if of_offsets is not None:
        offsets = np.ldexp(np.random.default_rng(seed + 2).standard_normal((classes, count)), of_offsets)
    found = max_margin(features, labels, code, offsets, solver="newton" if newton and offsets is None else "auto")
    least, least_upper = exact_bounds(features, labels, code, offsets, found.maps, found.weights)
    assert np.abs(found.maps).max() <= 1
    assert no_more(found.lower, least if offsets is not None else max(least, Fraction(0)))
    assert no_more(float(found.per_sequence.min()), least)
    assert no_more(-found.upper, -least)
    assert found.proved_infeasible or no_more(-found.upper, -least_upper)
    if least > 0:
        assert not found.proved_infeasible
    if fall == 0 and offsets is None and abs(of_features + of_code) < 900:
        plain = max_margin(*drawn(seed, classes, rank, size, count), solver="newton" if newton else "auto")
        if plain.lower > 1e-9 or plain.proved_infeasible:
            assert found.decision == plain.decision and found.proved_infeasible == plain.proved_infeasible


@given(
    **SIZES | {"count": st.integers(1, 10)}, of_features=st.integers(-1000, 1000), of_code=st.integers(-1000, 1000),
    tilt=st.integers(0, 40),
)  # fmt: skip
@example(seed=0, classes=2, rank=1, size=1, count=3, of_features=-533, of_code=0, tilt=0)
@example(seed=0, classes=2, rank=1, size=2, count=8, of_features=-536, of_code=0, tilt=4)
@settings(max_examples=40)
def test_what_a_map_solves_is_never_proved_infeasible(
    seed: int, classes: int, rank: int, size: int, count: int, of_features: int, of_code: int, tilt: int
) -> None:
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((rank, size))
    features, code = rng.standard_normal((size, count)), rng.standard_normal((classes, rank))
    features[0] = np.ldexp(features[0], -tilt)  # thin cones: small margins
    labels = (code @ (true @ features)).argmax(axis=0)
    features, code = np.ldexp(features, of_features), np.ldexp(code, of_code)
    none = np.where(np.arange(classes)[:, None] == labels, 0.0, 1.0)
    if exact_bounds(features, labels, code, None, true, none)[0] <= 0:
        return
    for solver in ("lp", "newton"):
        found = max_margin(features, labels, code, solver=solver)
        assert not found.proved_infeasible
    problem = MarginProblem(features, labels, code)
    with np.errstate(all="ignore"):  # not rescaled: overflow and underflow may only lose the proof
        assert not bounds.proves_infeasible(problem, np.where(problem.others, found.weights, 0.0))
        assert not bounds.proves_infeasible(problem, np.where(problem.others, rng.random(problem.others.shape), 0.0))


def test_subnormal_grams_prove_nothing() -> None:
    # Every feature is positive, W = 1 reads all of them out; their squares are rounded to multiples of 2^-1074.
    labels, code = np.zeros(3, dtype=np.int64), np.array([[0.5], [-0.5]])
    for size in (8.55976892522636e-161, 3e-162, 1e-310):
        features = np.full((1, 3), size)
        for solver in ("lp", "newton"):
            found = max_margin(features, labels, code, solver=solver)
            assert found.decision == "feasible" and 0 < found.lower <= size <= found.upper
            assert found.gap <= 1e-8 * size + 2.0**-1073
    generator = np.random.default_rng(0)
    for _ in range(200):
        features = np.round(generator.uniform(0, 9, (2, 6))) * 10 ** generator.uniform(-163, -160.5)
        problem = MarginProblem(features, np.zeros(6, dtype=np.int64), code)
        assert not bounds.proves_infeasible(problem, np.stack([np.zeros(6), generator.uniform(0.2, 1, 6)]))


@pytest.mark.parametrize(("of_features", "of_code"), [(1e-323, 1e300), (1e-310, 1e305), (1e-170, 1e160), (1e300, 1e-320)])
def test_amplified_underflow_is_in_the_bounds(of_features: float, of_code: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        features, code = rng.standard_normal((3, 6)) * of_features * 3, rng.standard_normal((3, 2)) * of_code
        labels, maps = rng.integers(0, 3, 6), rng.uniform(-1, 1, (2, 3))
        problem = MarginProblem(features, labels, code)
        weights = np.where(problem.others, rng.uniform(0, 1, (3, 6)), 0.0)
        least, least_upper = exact_bounds(features, labels, code, None, maps, weights)
        assert no_more(bounds.lower_bound(problem, maps)[0], least)
        assert no_more(-bounds.upper_bound(problem, weights), -least_upper)


def test_ends_that_float64_cannot_hold_are_rounded_outwards() -> None:
    labels, code = np.zeros(2, dtype=np.int64), np.array([[0.5], [-0.5]])
    tiny = max_margin(np.full((1, 2), 1e-200), labels, np.ldexp(code, -600))
    assert (tiny.lower, tiny.upper, tiny.proved_infeasible) == (0.0, 2.0**-1074, False)
    assert tiny.decision == "undecided"
    huge = max_margin(np.full((1, 2), 1e200), labels, np.ldexp(code, 600))
    assert (huge.lower, huge.upper, huge.decision) == (np.finfo(np.float64).max, np.inf, "feasible")
    opposite = max_margin(np.array([[1e-200, -1e-200]]), labels, np.ldexp(code, -600))
    assert opposite.proved_infeasible and opposite.upper == 0


def test_a_start_is_rescaled_with_the_problem() -> None:
    features, labels, _ = drawn(0, 10, 2, 38, 40)
    code = circle_code(10)
    solved = max_margin(features, labels, code, solver="newton")
    start = solved.maps / solved.lower  # margins of 1: nothing left to do
    for exponent in (0, 300, -300):
        found = max_margin(np.ldexp(features, exponent), labels, code, solver="newton", start=np.ldexp(start, -exponent))
        assert found.steps == 0 and found.decision == "feasible"


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
        ({"labels": np.array([0.0, 1.0, 2.0])}, "labels has type float64"),
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
