"""The threshold law as claims: verdicts at quick effort, and a critical number that is what it says."""

from dataclasses import replace

import numpy as np
import pytest

from headcount.claims.claim import Effort, Kind, Verdict
from headcount.claims.dana2025 import _threshold_checks as checks
from headcount.claims.dana2025.thresholds import CLAIMS
from headcount.claims.run import verify
from theory.encoders import circle_code, low_coherence_code

BY_NAME = {claim.name.partition("/")[2]: claim for claim in CLAIMS}
VERDICTS = {
    "threshold-symmetric": Verdict.MEASURED, "threshold-any-code": Verdict.REFUTED, "threshold-saddle": Verdict.MEASURED,
    "threshold-below-ceiling": Verdict.HELD,
}  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_verdicts(name: str) -> None:
    found = verify(BY_NAME[name], Effort.QUICK)
    assert found.failure is None
    assert found.verdict is VERDICTS[name]


def test_a_law_that_is_off_by_a_third_is_refuted_at_quick_effort() -> None:
    for name, factor in (("threshold-symmetric", 0.67), ("threshold-saddle", 1.5)):
        claim = BY_NAME[name]
        wrong = replace(claim, formula=lambda *given, formula=claim.formula, factor=factor: factor * formula(*given))
        assert verify(wrong, Effort.QUICK).verdict is Verdict.REFUTED


def test_a_row_in_the_hull_refutes_the_formula_for_any_code() -> None:
    """Half of all tables of T sequences avoid one label of ten while 0.9^T >= 1/2: up to 6, where r m / codim says 59."""
    found = verify(BY_NAME["threshold-any-code"], Effort.QUICK)
    stretched, hull = (piece.interval for piece in found.evidence)
    assert stretched is not None and hull is not None
    assert not stretched.agrees(Kind.ASYMPTOTIC) and not hull.agrees(Kind.ASYMPTOTIC)
    assert hull.low < 6.5 < hull.high < 40
    assert hull.predicted == pytest.approx(80 / (0.9 * (1.5 - 2 / 9) + 0.1 * 2))


def test_below_the_ceiling_has_no_room_outside_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "BELOW_FEATURES", (1, *checks.BELOW_FEATURES))
    found = verify(BY_NAME["threshold-below-ceiling"], Effort.QUICK)
    assert found.verdict is Verdict.REFUTED
    case = found.evidence[0].counterexample
    assert case is not None and case.description == "N = 3, r = 2, m = 1"
    assert (case.value, case.formula) == (pytest.approx(2.4), 2)


def test_a_critical_number_does_not_depend_on_guess_or_basis() -> None:
    simplex, stretched = low_coherence_code(5, 4, 0), low_coherence_code(5, 4, 0)
    stretched[:, :2] *= 10
    numbers = {checks.critical_number(code, 8, 24.0, np.random.default_rng(3)) for code in (simplex, stretched)}
    assert len(numbers) == 1
    for guess in (10.0, 19.0, 30.0):
        # Draws depend on the guess through their length only; the same features must give the same number.
        rng = np.random.default_rng(7)
        found = checks.critical_number(circle_code(6), 10, guess, rng)
        again = np.random.default_rng(7)
        most = int(2 * guess) + 10
        features, labels = again.standard_normal((10, most)), again.integers(6, size=most)
        fits = [
            checks.max_margin(features[:, :count], labels[:count], circle_code(6), solver="lp").lower > 0
            for count in (found, found + 1)
        ]
        assert fits == [True, False]


def test_the_median_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for count in (6, 12, 40):
        hits = 0
        for _ in range(2000):
            low, _, high = checks.median_interval([int(x) for x in rng.integers(0, 10**6, size=count)])
            hits += low <= 500_000 <= high
        assert hits >= 2000 * 0.95 - 4 * (2000 * 0.95 * 0.05) ** 0.5
    with pytest.raises(ArithmeticError, match="takes 6 at least"):
        checks.median_interval([1, 2, 3, 4, 5])
