"""The claims of Kaplan et al. 2020, Hoffmann et al. 2022 and the lecture, quick: verdicts, and others where formulas are broken.

The searches that checks rest on are themselves held against closed forms and against another library.
"""

import ast
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch.utils.flop_counter import FlopCounterMode

import empirical.comparison  # noqa: F401  (measured claims need it: its imports belong to the start-up, not to one test)
from headcount.claims import Claim, Effort, Kind, Outcome, Verdict, ledger, verify
from headcount.claims._printed import crossing, exact, half_unit, least, rounding
from headcount.claims.hoffmann2022 import _allocation_checks, _extension_checks, _fit_checks
from headcount.claims.kaplan2020 import _allocation_checks as _kaplan_checks
from theory import allocation
from theory.scaling import PUBLISHED, HoffmannLaw

PAPERS = ("kaplan2020", "hoffmann2022", "scaling_lecture")
CLAIMS = {claim.name: claim for paper in PAPERS for claim in ledger(paper)}
with FlopCounterMode(display=False):
    torch.zeros(1) + 1  # here torch loads its compiler, once per process
QUICK = [name for name, claim in CLAIMS.items() if claim.check is not None and claim.least_effort is Effort.QUICK]
REFUTED = {
    "kaplan2020/forward", "kaplan2020/compute-scale", "kaplan2020/joint-headline", "kaplan2020/overfitting-enough",
    "kaplan2020/compute-exponent", "kaplan2020/size-exponent", "kaplan2020/steps-exponent",
    "kaplan2020/table-6-tokens", "kaplan2020/critical-tokens", "kaplan2020/contradiction-nearest",
    "hoffmann2022/exponents-swapped", "hoffmann2022/exponents-3", "hoffmann2022/gopher", "hoffmann2022/ratio-3",
    "hoffmann2022/proportions-3", "hoffmann2022/intervals-sum", "hoffmann2022/intervals-inside",
    "hoffmann2022/intervals-width", "hoffmann2022/objective-mean", "hoffmann2022/isoflop-prefactor",
    "hoffmann2022/serving-example", "scaling_lecture/exponents-literal", "scaling_lecture/rank-regression",
    "scaling_lecture/singular-values-digits",
}


def _halves(alpha: Any, beta: Any) -> tuple[Any, Any]:
    return beta / (alpha + beta), alpha / (alpha + beta)


RIGHT: dict[str, Callable[..., Any]] = {
    "kaplan2020/forward": lambda layers, width, context: 24 * layers * width**2 + 4 * layers * context * width,
    "kaplan2020/compute-scale": lambda: Fraction("3.1"),
    "kaplan2020/joint-headline": lambda table: Fraction("0.103"),
    "kaplan2020/compute-exponent": lambda: Fraction("0.0525"),
    "kaplan2020/size-exponent": lambda: Fraction("0.68"),
    "kaplan2020/steps-exponent": lambda: Fraction("0.069"),
    "kaplan2020/table-6-tokens": lambda: Fraction("1.1"),
    "kaplan2020/critical-tokens": lambda: Fraction("2.2"),
    "kaplan2020/contradiction-nearest": {"log10 C": 4, "log10 N": 12, "log10 D": 11}.__getitem__,
    "hoffmann2022/exponents-swapped": _halves,
    "hoffmann2022/exponents-3": {"N": Fraction("0.45"), "D": Fraction("0.55")}.__getitem__,
    "hoffmann2022/gopher": lambda: 32,
    "hoffmann2022/ratio-3": lambda: 59,
    "hoffmann2022/proportions-3": lambda: Fraction("2.3"),
    "hoffmann2022/intervals-sum": {Fraction("0.455"): Fraction("0.542"), Fraction("0.454"): Fraction("0.543")}.__getitem__,
    "hoffmann2022/isoflop-prefactor": {"besiroglu2024": Fraction("0.99"), "hoffmann2022_rounded": Fraction("1.035")}.__getitem__,
    "hoffmann2022/serving-example": {
        "parameters in billions": 8, "saving in 1e22 FLOP": Fraction("1.3"), "saving in percent": 10
    }.__getitem__,
    "scaling_lecture/exponents-literal": {"N": Fraction("0.4516"), "D": Fraction("0.5484")}.__getitem__,
    "scaling_lecture/singular-values-digits": {1: Fraction("0.18"), 4: Fraction("0.63"), 16: Fraction("1.23")}.__getitem__,
}
"""What is true instead of refuted statements of equality."""
FORWARD = CLAIMS["kaplan2020/efficient-formulas"].formula
WRONG: dict[str, Callable[..., Any]] = {
    # Pairs and triples, to which 1 can't be added; and numbers with a tolerance of 1.
    "kaplan2020/batch-tradeoff": lambda quantity, ratio: (quantity / (1 + ratio), quantity / (1 + 1 / ratio)),
    "kaplan2020/frontier": lambda constants, compute: _kaplan_checks.closed_forms(
        constants | {"B_star": constants["B_star"] * (1 + mpmath.mpf(10) ** -9)}, compute
    ),
    "kaplan2020/efficient-formulas": lambda size, steps: FORWARD(size, steps)[::-1],
    "kaplan2020/contradiction": {"log10 C": 4, "log10 N": 12, "log10 D": 13, "L": Fraction("1.7")}.__getitem__,
    "hoffmann2022/allocation": lambda a, b, alpha, beta, compute: (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    * (compute / 6) ** (alpha / (alpha + beta)),
    "hoffmann2022/exponents": lambda alpha, beta: (alpha / (alpha + beta), beta / (alpha + beta)),
    "hoffmann2022/gradient": lambda weights, log_n, log_d: (*weights, -weights[0] * log_d, -weights[1] * log_n),
    "hoffmann2022/serving-condition": lambda n, d, served, a, b, alpha, beta: (
        alpha * a / n**alpha, beta * b / d**beta * (1 + served / (2 * d))
    ),
    "hoffmann2022/serving-example-repaired": {
        "parameters in billions": 7, "saving in 1e22 FLOP": Fraction("1.7"), "saving in percent": 18
    }.__getitem__,
    "kaplan2020/batch-doubling": lambda: 15,
    "kaplan2020/frontier-loss": lambda size, steps: 1 + steps / size,
}
"""Rivals that must not pass."""


@cache
def outcome(name: str) -> Outcome:
    return verify(CLAIMS[name], Effort.QUICK)


@pytest.mark.parametrize("name", QUICK)
def test_the_verdict_follows_and_turns_when_the_formula_is_broken(name: str, broken: Callable[..., Claim]) -> None:
    before = outcome(name)
    assert before.failure is None
    assert (before.verdict is Verdict.REFUTED) == (name in REFUTED), before.summary
    swapped = RIGHT.get(name) or WRONG.get(name)
    sabotaged = replace(CLAIMS[name], formula=swapped) if swapped else broken(CLAIMS[name], before.verdict, before.evidence)
    after = verify(sabotaged, Effort.QUICK)
    assert after.failure is None
    assert (after.verdict is Verdict.REFUTED) != (name in REFUTED), after.summary


def test_every_refuted_statement_that_is_a_sources_own_has_what_is_true_beside_it() -> None:
    repaired = {claim.repairs for claim in CLAIMS.values() if claim.repairs}
    # A number printed twice, and percentiles that do not add up: their notes have the right numbers.
    told = {"compute-scale", "intervals-sum"}
    for name in REFUTED:
        assert CLAIMS[name].note
        assert name in repaired or name.partition("/")[2] in told or not CLAIMS[name].own, name


def test_refuted_statements_that_count_against_a_source_are_its_own() -> None:
    assert {name for name in REFUTED if CLAIMS[name].own} == {
        "kaplan2020/compute-scale", "kaplan2020/compute-exponent", "kaplan2020/size-exponent", "kaplan2020/steps-exponent",
        "kaplan2020/critical-tokens", "hoffmann2022/intervals-sum", "scaling_lecture/exponents-literal",
    }


def test_every_repair_stands_where_its_original_fell() -> None:
    for name, claim in CLAIMS.items():
        if claim.repairs is not None:
            assert claim.repairs in REFUTED, name
            assert outcome(name).verdict not in (Verdict.REFUTED, Verdict.ERROR, Verdict.NOT_CHECKED), name


def test_what_is_not_checked_says_why_and_how_it_can_be() -> None:
    unchecked = [claim for claim in CLAIMS.values() if claim.check is None]
    assert len(unchecked) == 25
    for claim in unchecked:
        assert claim.note and verify(claim, Effort.EXHAUSTIVE).verdict is Verdict.NOT_CHECKED
    for name in ("constants", "refit", "refit-intervals", "refit-five-points"):
        assert "`headcount scaling fit POINTS.csv`" in CLAIMS[f"hoffmann2022/{name}"].note


def test_the_order_of_exponents_needs_an_assumption_that_is_about_letters() -> None:
    claim = CLAIMS["scaling_lecture/exponents-charitable"]
    assert claim.kind is Kind.CONDITIONAL and any("new letters" in line for line in claim.assumptions)
    assert outcome(claim.name).verdict is Verdict.NEEDS_ASSUMPTION


def test_no_claim_on_unpublished_losses_passes() -> None:
    for name in ("parameters", "data", "compute", "efficient-compute", "joint", "steps", "critical-batch"):
        assert outcome(f"kaplan2020/law-{name}").verdict is Verdict.NOT_CHECKED


@cache
def _defined(module: Path) -> frozenset[str]:
    """Names that a module has at its top, read without importing it."""
    names: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names)


def test_every_place_in_the_code_is_there() -> None:
    root = Path(__file__).parents[2]
    for place in {place for claim in CLAIMS.values() for place in claim.code}:
        package, _, name = place.rpartition(".")
        whole, part = root.joinpath(*place.split(".")), root.joinpath(*package.split("."))
        assert whole.with_suffix(".py").is_file() or name in _defined(part.with_suffix(".py")), place


# What the checks rest on


@pytest.mark.parametrize(
    ("text", "half"),
    [
        ("0.73", Fraction(1, 200)), ("1.3e9", 5 * 10**7), ("5e3", 500), ("40", Fraction(1, 2)), ("2.0e6", 50_000),
        ("1e-16", Fraction(1, 2 * 10**16)),
    ],
)
def test_half_a_unit_of_the_last_digit(text: str, half: Fraction) -> None:
    assert half_unit(text) == half


@pytest.mark.parametrize("text", ["", "1,5", "1.3 e9", "abc", "1e", "0x10"])
def test_what_is_no_number_has_no_last_digit(text: str) -> None:
    with pytest.raises(ValueError, match="is legal"):
        half_unit(text)


def test_rounding_is_the_move_at_the_worst_corner() -> None:
    assert rounding(lambda x, y: x * y, "2", "10") == pytest.approx(2.5 * 10.5 - 20)
    assert rounding(lambda x, y: x / y, "2", "10") == pytest.approx(2.5 / 9.5 - 0.2)


@pytest.mark.parametrize("place", [-3.0, 0.25, 7.0])
def test_the_search_finds_flat_minima_to_its_bound(place: float) -> None:
    assert abs(least(lambda x: (x - place) ** 4 + (x - place) ** 2, -20, 30) - place) < 1e-16


def test_bisection_finds_a_root_and_refuses_none() -> None:
    assert abs(crossing(lambda x: mpmath.exp(x) - 3, 0, 5) - mpmath.log(3)) < 1e-15
    with pytest.raises(ArithmeticError, match="no change of sign"):
        crossing(lambda x: x * x + 1, -1, 1)


def test_numbers_of_mpmath_become_fractions_exactly() -> None:
    for number in (0.1, -2.5, 1e-300, 0.0, 123456789.0):
        assert exact(mpmath.mpf(number)) == Fraction(number)


def _law(name: str) -> HoffmannLaw:
    law = PUBLISHED[name].law
    assert isinstance(law, HoffmannLaw)
    return law


@pytest.mark.parametrize("name", ["hoffmann2022", "hoffmann2022_rounded", "besiroglu2024", "sardana2024"])
def test_searched_optima_are_those_of_theory(name: str) -> None:
    compute = 5.76e23
    found = _allocation_checks.best_log_size(_allocation_checks.constants_of(name), compute)
    expected = allocation.optimal_allocation(_law(name), compute).parameters
    assert float(mpmath.exp(found)) == pytest.approx(expected, rel=1e-12)


def test_the_cheapest_model_to_ask_is_that_of_theory() -> None:
    expected = allocation.inference_allocation(_law("sardana2024"), parameters=13e9, inference_tokens=2e12)
    found = _extension_checks._example("sardana2024")
    assert float(found["parameters in billions"]) == pytest.approx(expected.parameters / 1e9, rel=1e-9)
    assert float(found["saving in percent"]) == pytest.approx(100 * expected.saving_share, rel=1e-7)


@pytest.mark.parametrize("point", _extension_checks.REPEATED)
def test_losses_on_repeated_data_are_those_of_theory(point: tuple[str, str, str]) -> None:
    size, data, unique = map(float, point)
    found = PUBLISHED["muennighoff2023"].law(N=size, D=data, U=unique)
    assert found == pytest.approx(float(_extension_checks._repeated(*point)), abs=1e-14)


def test_the_gradient_of_huber_losses_is_that_of_differences() -> None:
    table = _fit_checks._table(np.random.default_rng(3), 50)
    theta = _fit_checks._start("hoffmann2022")
    for place, step in enumerate(1e-6 * np.eye(5)):
        slope = (_fit_checks._huber(theta + step, table, 1.0)[0] - _fit_checks._huber(theta - step, table, 1.0)[0]) / 2e-6
        assert _fit_checks._huber(theta, table, 1.0)[1][place] == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_tails_of_chi_squared_are_those_of_scipy() -> None:
    (piece,) = outcome("hoffmann2022/refit-tails").evidence
    assert piece.closest is not None and float(piece.closest.value) == pytest.approx(np.log10(chi2.sf(238.4, 5)), abs=1e-9)
    assert np.log10(chi2.sf(84.0, 5)) == pytest.approx(-15.91372, abs=1e-4)
    assert np.log10(chi2.sf(238.4, 5)) == pytest.approx(-48.77167, abs=1e-5)


def test_a_frontier_that_is_not_searched_far_enough_turns_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _kaplan_checks._cheapest

    def beside(constants: Any, loss: Any) -> Any:
        log_size, _ = real(constants, loss)
        return log_size + mpmath.mpf(10) ** -6, _kaplan_checks._log_compute(constants, log_size, loss)

    assert outcome("kaplan2020/frontier").verdict is Verdict.HELD
    monkeypatch.setattr(_kaplan_checks, "_cheapest", beside)
    assert verify(CLAIMS["kaplan2020/frontier"], Effort.QUICK).verdict is Verdict.REFUTED


def test_a_split_beside_the_best_turns_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _allocation_checks.best_log_size
    assert outcome("hoffmann2022/gopher-repaired").verdict is Verdict.HELD
    monkeypatch.setattr(_allocation_checks, "best_log_size", lambda constants, compute: real(constants, compute) + 0.02)
    assert verify(CLAIMS["hoffmann2022/gopher-repaired"], Effort.QUICK).verdict is Verdict.REFUTED
    assert verify(CLAIMS["hoffmann2022/allocation"], Effort.QUICK).verdict is Verdict.REFUTED
