"""The ledger's own rules: which evidence makes which verdict, and that no way leads from a failing check to a pass."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import sympy
from hypothesis import strategies as st

from headcount.claims import (
    Case,
    Claim,
    Effort,
    Evidence,
    Inquiry,
    Interval,
    Kind,
    Method,
    Verdict,
    chosen,
    decide,
    ledger,
    records,
    verify,
)
from headcount.claims.checks import Tally, enumerated, identity, mean_interval, property_tested

NAN = float("nan")


def claim(kind: Kind = Kind.TIGHT, check=None, formula=lambda: 0, **more) -> Claim:
    given = {"granted": Kind.UPPER} if kind is Kind.CONDITIONAL else {}
    basic = {"name": "paper/claim", "number": "1", "title": "t", "statement": "s"}
    return Claim(kind=kind, formula=formula, check=check, **basic | given | more)


def inquiry(kind: Kind = Kind.TIGHT, formula=lambda *a: 0) -> Inquiry:
    return Inquiry(claim(kind, formula=formula), Effort.QUICK)


HELD = Evidence(Method.PROPERTY, "r", num_cases=3)
PROVED = Evidence(Method.SYMBOLIC, "r", num_cases=1, complete=True, argument="because")
REFUTED = Evidence(Method.EXACT, "r", num_cases=1, counterexample=Case("c", 3, 2))
EMPTY = Evidence(Method.PROPERTY, "r")
INSIDE = Evidence(Method.MEASUREMENT, "r", interval=Interval("x", 1.0, 0.5, 1.5, 1.2))
OUTSIDE = Evidence(Method.MEASUREMENT, "r", interval=Interval("x", 1.0, 0.5, 1.5, 1.6))


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        ([], Verdict.NOT_CHECKED),
        ([HELD], Verdict.HELD),
        ([PROVED], Verdict.PROVED),
        ([PROVED, HELD], Verdict.PROVED),
        ([PROVED, REFUTED], Verdict.REFUTED),
        ([HELD, EMPTY], Verdict.ERROR),
        ([EMPTY], Verdict.ERROR),
        ([EMPTY, REFUTED], Verdict.REFUTED),
        ([INSIDE], Verdict.MEASURED),
        ([INSIDE, PROVED], Verdict.MEASURED),
        ([INSIDE, OUTSIDE], Verdict.REFUTED),
    ],
)
def test_a_verdict_follows_from_evidence(evidence: list[Evidence], verdict: Verdict) -> None:
    assert decide(claim(), evidence) is verdict


@pytest.mark.parametrize("evidence", [HELD, PROVED, INSIDE])
def test_a_conditional_claim_is_never_held(evidence: Evidence) -> None:
    assert decide(claim(Kind.CONDITIONAL), [evidence]) is Verdict.NEEDS_ASSUMPTION
    assert decide(claim(Kind.CONDITIONAL), [evidence, REFUTED]) is Verdict.REFUTED


@pytest.mark.parametrize(
    ("kind", "value", "formula", "tolerance", "agrees"),
    [
        (Kind.TIGHT, 3, 3, 0.0, True),
        (Kind.TIGHT, 3, 4, 0.0, False),
        (Kind.TIGHT, Fraction(1, 3), 1 / 3, 0.0, False),  # the float is not a third
        (Kind.TIGHT, 1.0, 1.0 + 1e-9, 1e-8, True),
        (Kind.TIGHT, float("inf"), float("inf"), 0.0, True),
        (Kind.LOWER, 5, 4, 0.0, True),
        (Kind.LOWER, 3, 4, 0.0, False),
        (Kind.LOWER, 3.9, 4, 0.2, True),
        (Kind.UPPER, 3, 4, 0.0, True),
        (Kind.UPPER, 5, 4, 0.0, False),
        (Kind.UPPER, float("inf"), 4, 0.0, False),
        (Kind.UPPER, 10**400, 10**400 + 1, 0.0, True),
        (Kind.TIGHT, 1, 1 + Fraction(1, 10**400), 0.0, False),  # the difference is 0 as a float
        (Kind.LOWER, 1, 1 + Fraction(1, 10**400), 0.0, False),
        (Kind.UPPER, 1 + Fraction(1, 10**400), 1, 0.0, False),
        (Kind.LOWER, float("-inf"), 4, 1.0, False),
        (Kind.TIGHT, float("inf"), 4, 1.0, False),
    ],
)
def test_the_kind_picks_the_comparison(kind: Kind, value: float, formula: float, tolerance: float, agrees: bool) -> None:
    assert Case("c", value, formula, tolerance).agrees(kind) is agrees


@pytest.mark.parametrize(
    ("value", "formula", "tolerance"), [(NAN, 0, 0.0), (0, NAN, 0.0), (1, 1, NAN), (1, 2, float("inf")), (1, 1, -1.0)]
)
def test_a_case_that_can_be_neither_right_nor_wrong_is_refused(value: float, formula: float, tolerance: float) -> None:
    with pytest.raises(ValueError, match=r"not a number|is legal"):
        Case("c", value, formula, tolerance)
    found = verify(claim(check=lambda _: Evidence(Method.EXACT, "r", 1, Case("c", value, formula, tolerance))), Effort.QUICK)
    assert found.verdict is Verdict.ERROR


@pytest.mark.parametrize(
    "numbers", [(NAN, 0.0, 1.0, 1.0), (1.0, 0.0, float("inf"), 1.0), (1.0, 2.0, 0.0, 1.0), (1.0, 0.0, 2.0, NAN)]
)
def test_an_interval_with_a_gap_is_refused(numbers: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="are legal"):
        Interval("x", *numbers)


def test_evidence_against_itself_is_an_error_or_refutes() -> None:
    agreeing = Evidence(Method.EXACT, "r", 1, counterexample=Case("c", 1, 1))
    assert verify(claim(check=lambda _: agreeing), Effort.QUICK).verdict is Verdict.ERROR
    assert decide(claim(), [Evidence(Method.EXACT, "r", 1, closest=Case("c", 1, 2))]) is Verdict.REFUTED
    with pytest.raises(ValueError, match="num_cases"):
        Evidence(Method.EXACT, "r", num_cases=-1)


def test_leaving_the_program_is_a_crash_too() -> None:
    def leave(_: Inquiry) -> Evidence:
        raise SystemExit(0)

    assert verify(claim(check=leave), Effort.QUICK).verdict is Verdict.ERROR


def test_intervals_are_one_sided_for_bounds() -> None:
    above = Interval("x", 2.0, 1.5, 2.5, 1.0)
    assert above.agrees(Kind.LOWER) and not above.agrees(Kind.UPPER) and not above.agrees(Kind.ASYMPTOTIC)


def test_only_rigorous_methods_with_an_argument_are_complete() -> None:
    with pytest.raises(ValueError, match="a rigorous method and an argument are legal"):
        Evidence(Method.PROPERTY, "r", num_cases=1, complete=True, argument="many cases")
    with pytest.raises(ValueError, match="a rigorous method and an argument are legal"):
        Evidence(Method.EXACT, "r", num_cases=1, complete=True)


def crashing(_: Inquiry) -> Evidence:
    raise ZeroDivisionError("on purpose")


def test_a_crash_is_an_error_and_says_where() -> None:
    outcome = verify(claim(check=crashing), Effort.QUICK)
    assert outcome.verdict is Verdict.ERROR
    assert outcome.failure is not None and "ZeroDivisionError: on purpose (test_claim_verdicts.py, line" in outcome.failure


@pytest.mark.parametrize("nothing", [[], EMPTY, [EMPTY, PROVED]])
def test_a_check_that_sees_nothing_is_an_error(nothing: object) -> None:
    assert verify(claim(check=lambda _: nothing), Effort.QUICK).verdict is Verdict.ERROR


def test_effort_below_the_least_is_not_checked_and_runs_nothing() -> None:
    dear = claim(check=crashing, least_effort=Effort.STANDARD)
    assert verify(dear, Effort.QUICK).verdict is Verdict.NOT_CHECKED
    assert verify(dear, Effort.STANDARD).verdict is Verdict.ERROR
    assert verify(claim(check=None), Effort.EXHAUSTIVE).verdict is Verdict.NOT_CHECKED


def test_enumeration_ends_at_the_smallest_violation() -> None:
    def cases():
        for n in range(10):
            assert n < 5, "went on after the violation"
            yield Case(f"n = {n}", n, 3)

    found = enumerated(inquiry(Kind.UPPER), cases(), Method.EXACT, "n 0..9", argument="all n")
    assert found.counterexample == Case("n = 4", 4, 3)
    assert not found.complete and found.num_cases == 5


def test_enumeration_of_nothing_is_not_complete() -> None:
    assert not enumerated(inquiry(), [], Method.EXACT, "none", argument="all of none").complete


def test_tally_keeps_closest_and_smallest() -> None:
    tally = Tally(inquiry(Kind.LOWER))
    for value, size in ((9, 1), (5, 2), (7, 3)):
        assert tally.see(Case(f"{value}", value, 4), size)
    assert not tally.see(Case("big", 1, 4), size=8)
    assert not tally.see(Case("small", 2, 4), size=3)
    found = tally.evidence(Method.EXACT, "r")
    assert found.closest is not None and found.closest.description == "5"
    assert found.counterexample is not None and found.counterexample.description == "small"


def test_property_tests_find_shrink_and_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def observe(n: int) -> Case | None:
        return None if n % 2 else Case(f"n = {n}", n, 100)

    drawn = {"n": st.integers(0, 10**6)}
    found = [property_tested(inquiry(Kind.UPPER), observe, drawn, examples=300, ranges="n") for _ in range(2)]
    assert found[0].counterexample == Case("n = 102", 102, 100)  # the smallest even number beyond the bound
    assert found[0] == found[1]
    held = property_tested(inquiry(Kind.LOWER), lambda n: Case(f"n = {n}", n, 0), drawn, examples=200, ranges="n")
    assert held.counterexample is None and held.num_cases >= 100
    assert held.closest is not None and held.closest.value == 0  # pushed to the worst case
    assert list(tmp_path.iterdir()) == []


def test_property_tests_let_crashes_through() -> None:
    def observe(n: int) -> Case | None:
        return Case("c", 1 // (n - n), 0)

    drawn = {"n": st.integers()}
    outcome = verify(claim(check=lambda i: property_tested(i, observe, drawn, examples=5, ranges="n")), Effort.QUICK)
    assert outcome.verdict is Verdict.ERROR and "ZeroDivisionError" in str(outcome.failure)


def test_identities_are_proved_or_told_apart_by_a_number() -> None:
    x, y = sympy.symbols("x y", positive=True)
    assert identity(inquiry(), {"square": ((x + y) ** 2, x**2 + 2 * x * y + y**2)}, argument="binomial").complete
    found = identity(inquiry(), {"square": ((x + y) ** 2, x**2 + y**2)}, argument="binomial")
    assert found.counterexample is not None and not found.complete
    assert found.counterexample.description == "square, x = 1, y = 2" and found.counterexample.value == 9


def test_mean_interval_covers_about_as_often_as_it_says() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    hits = sum(mean_interval(rng.normal(3.0, 2.0, 6).tolist(), "x", 3.0).agrees(Kind.ASYMPTOTIC) for _ in range(2000))
    assert abs(hits / 2000 - 0.95) < 4 * (0.95 * 0.05 / 2000) ** 0.5  # four standard errors
    with pytest.raises(ArithmeticError, match="no interval"):
        mean_interval([1.0], "x", 1.0)
    with pytest.raises(ArithmeticError, match="no interval"):
        mean_interval([1.0, NAN], "x", 1.0)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    evidence = (
        Evidence(Method.EXACT, "r|_*", 3, closest=Case("a", Fraction(1, 3), float("inf"), 0.5), note="n"),
        replace(REFUTED, counterexample=Case("b", 10**30, -1)),
        PROVED,
        OUTSIDE,
    )
    seen = claim(Kind.UPPER, check=lambda _: evidence)
    outcome = verify(seen, Effort.STANDARD)
    kept = records.merged({}, [outcome], date="2026-01-02", code="abc", commands={"paper/claim": "headcount verify paper/claim"})
    place = tmp_path / "records.json"
    place.write_text(records.as_text(kept, []), encoding="utf-8")
    again = records.read(place)
    assert again == kept
    assert again["paper/claim"][Effort.STANDARD].evidence == evidence
    assert again["paper/claim"][Effort.STANDARD].summary(seen) == outcome.summary


def test_errors_are_not_recorded_and_other_records_stay() -> None:
    good = verify(claim(check=lambda _: HELD), Effort.QUICK)
    kept = records.merged({}, [good], date="d", code="c", commands={"paper/claim": "x"})
    bad = verify(claim(check=crashing), Effort.QUICK)
    assert records.merged(kept, [bad], date="e", code="c", commands={"paper/claim": "x"}) == kept
    more = verify(claim(check=lambda _: PROVED), Effort.STANDARD)
    both = records.merged(kept, [more], date="e", code="c", commands={"paper/claim": "x"})
    assert set(both["paper/claim"]) == {Effort.QUICK, Effort.STANDARD}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "other", "claims": {}}', "null",
     json.dumps({"format": records.FORMAT, "claims": {"a/b": {"quick": {"verdict": "fine"}}}}),
     json.dumps({"format": records.FORMAT, "claims": {"a/b": {"slow": {}}}}),
     json.dumps({"format": records.FORMAT, "claims": []}), "[" * 100000,
     json.dumps({"format": records.FORMAT, "claims": {"a/b": {"quick": {"verdict": "held", "evidence": [{
         "method": "symbolic", "ranges": "r", "num_cases": 1, "closest": {
             "description": "c", "value": "1e99999999", "formula": 1, "tolerance": 0}}],
         "seconds": 1, "date": "d", "code": "c", "command": "x"}}}}),
     json.dumps({"format": records.FORMAT, "claims": {"a/b": {"quick": {"verdict": "held", "evidence": [{
         "method": "symbolic", "ranges": "r", "num_cases": "abc"}], "seconds": 1, "date": "d", "code": "c", "command": "x"}}}})],
)
def test_damaged_records_are_refused_in_one_line(content: str, tmp_path: Path) -> None:
    place = tmp_path / "records.json"
    place.write_text(content, encoding="utf-8")
    with pytest.raises(records.RecordFileError) as caught:
        records.read(place)
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)


def test_claims_are_found_by_either_name_and_misspelt_ones_get_a_hint() -> None:
    claims = ledger("dana2025")
    assert chosen(["corollary-1"], claims) == chosen(["dana2025/corollary-1"], claims)
    assert chosen([], claims) == claims
    with pytest.raises(ValueError, match=r"near are .*dana2025/corollary-1"):
        chosen(["corolary-1"], claims)
    with pytest.raises(ValueError, match=r"dana2025 or .* or scaling_lecture is legal"):
        ledger("dana2026")


@pytest.mark.parametrize("name", ["dana2025", "Dana/x", "a/b/c", "a b/c", ""])
def test_illegal_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is legal"):
        replace(claim(), name=name)


def test_granted_goes_with_conditional_claims_only() -> None:
    with pytest.raises(ValueError, match="granted"):
        replace(claim(), granted=Kind.UPPER)
    with pytest.raises(ValueError, match="granted"):
        replace(claim(Kind.CONDITIONAL), granted=None)
    with pytest.raises(ValueError, match="granted"):
        replace(claim(Kind.CONDITIONAL), granted=Kind.CONDITIONAL)
