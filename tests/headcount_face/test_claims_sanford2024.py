"""Every claim of Sanford, Hsu and Telgarsky 2024, quick: its verdict, and another when its formula or a model is broken.

The exact simulation of what the paper prints is itself held against cosines in balls, softmax in floats and the definition.
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from importlib import import_module
from itertools import pairwise, permutations, product
from math import pi

import numpy as np
import pytest
import sympy
import torch
from flint import arb
from hypothesis import given, settings
from scipy.stats import binomtest

from headcount.claims import Claim, Effort, Kind, Outcome, Verdict, decide, ledger, records, verify
from headcount.claims.sanford2024 import _built_checks, _experiment_checks, _hop_checks, _printed
from theory.hops import find_by_definition, hop
from theory.strategies import hop_strings

CLAIMS = {claim.name.partition("/")[2]: claim for claim in ledger("sanford2024")}
QUICK = [name for name, claim in CLAIMS.items() if claim.check is not None and claim.least_effort is Effort.QUICK]
DROPOUT_OFF = {2: 2, 3: 4, 4: 7, 5: 12}
RIGHT_FORMULAS: dict[str, Callable[..., object]] = {
    "lemma-d-1": lambda target, position, seq_len: Fraction(
        sum(j for j in range(position + 1) if (j - target) % seq_len == 0),
        sum((j - target) % seq_len == 0 for j in range(position + 1)),
    ),
    "lemma-d-2": lambda string, position, vocab_size: _nearest_by_cosine(string, position, vocab_size),
    "lemma-d-2-strict": lambda string, position: _latest(string, position),
    "theorem-4-2-recurrence": lambda num_hops: num_hops // 2 + num_hops % 2,
    "corollary-4-3-reverse": lambda num_cycles: int(num_cycles == 2),
    "reach-stated-published": {2: 1, 3: 3, 4: 5, 5: 8, 6: 15}.__getitem__,
    "reach-by-look-ups": DROPOUT_OFF.__getitem__,
    "reach-stated": DROPOUT_OFF.__getitem__,
    "errors-of-the-model": {2: 0.037, 3: 0.062, 4: 0.08, 5: 0.076}.__getitem__,
    "attended-hops": lambda layer: 2 ** (layer - 3),
    "head-score": lambda printed, cosine, norms: Fraction(cosine**2) / norms,
}
"""What is true instead of refuted statements of equality."""
WRONG_FORMULAS: dict[str, Callable[..., object]] = {"reach-stated-to-four": lambda num_layers: 2 ** (num_layers - 1)}
"""The rival that must not pass too."""


def _latest(string: tuple[int, ...], position: int) -> int:
    """p + 1 for the last p < position with the symbol there, 0 without one."""
    before = string[: position - 1][::-1]
    return position - before.index(string[position - 1]) if string[position - 1] in before else 0


def _cosine_keys(string: tuple[int, ...], position: int, spacing: int, circumference: int) -> list[tuple[int, Fraction]]:
    mark = spacing * string[position - 1] + position
    return [(j, Fraction(spacing * string[j - 2] + j - mark, circumference)) for j in range(2, position + 1)]


def _nearest_by_cosine(string: tuple[int, ...], position: int, vocab_size: int) -> Fraction:
    """The average of the positions of the largest cosine as printed; those that balls can't tell apart are ties."""
    scores = [(j, (2 * arb.pi() * arb(turn.numerator) / turn.denominator).cos())
              for j, turn in _cosine_keys(string, position, len(string), len(string) * vocab_size)]
    best = [j for j, score in scores if not any(other > score for _, other in scores)]
    return Fraction(sum(best), len(best))


@cache
def outcome(name: str) -> Outcome:
    return verify(CLAIMS[name], Effort.QUICK)


@pytest.mark.parametrize("name", QUICK)
def test_the_verdict_is_the_one_on_record(name: str) -> None:
    found = outcome(name)
    assert found.failure is None
    assert found.verdict is records.shipped("sanford2024")[CLAIMS[name].name][Effort.QUICK].verdict


@pytest.mark.parametrize("name", QUICK)
def test_a_broken_formula_turns_the_verdict(name: str, broken: Callable[..., Claim]) -> None:
    before = outcome(name)
    swapped = RIGHT_FORMULAS.get(name) or WRONG_FORMULAS.get(name)
    sabotaged = replace(CLAIMS[name], formula=swapped) if swapped else broken(CLAIMS[name], before.verdict, before.evidence)
    after = verify(sabotaged, Effort.QUICK)
    assert after.failure is None
    assert after.verdict is not before.verdict
    assert (after.verdict is Verdict.REFUTED) != (before.verdict is Verdict.REFUTED)


def test_the_ledger_is_whole() -> None:
    assert len(CLAIMS) >= 45
    kept = records.shipped("sanford2024")
    assert set(kept) == {claim.name for claim in CLAIMS.values()}
    for claim in CLAIMS.values():
        assert claim.repairs is None or claim.repairs.partition("/")[2] in CLAIMS
        assert claim.check is not None or claim.note
        assert (kept[claim.name][Effort.STANDARD].verdict is Verdict.NOT_CHECKED) == (claim.check is None)


def test_every_place_in_the_code_is_there() -> None:
    for claim in CLAIMS.values():
        for place in claim.code:
            package, _, name = place.rpartition(".")
            try:
                import_module(place)
            except ModuleNotFoundError:
                assert hasattr(import_module(package), name), place


def test_every_repair_stands_where_its_original_fell() -> None:
    verdicts = {name: kept[Effort.STANDARD].verdict for name, kept in records.shipped("sanford2024").items()}
    for claim in CLAIMS.values():
        if claim.repairs is not None:
            assert verdicts[claim.repairs] is Verdict.REFUTED, claim.name
            assert verdicts[claim.name] not in (Verdict.REFUTED, Verdict.ERROR), claim.name


def test_verdicts_on_record_are_those_of_their_evidence() -> None:
    for name, efforts in records.shipped("sanford2024").items():
        for effort, record in efforts.items():
            assert record.verdict is decide(CLAIMS[name.partition("/")[2]], record.evidence), (name, effort)


def test_what_rests_on_a_conjecture_or_an_open_constant_is_never_a_pass() -> None:
    conditional = {name for name, claim in CLAIMS.items() if claim.kind is Kind.CONDITIONAL}
    assert conditional == {"corollary-4-3", "corollary-3-5"}
    open_constants = {"theorem-3-1", "corollary-3-3", "theorem-5-1", *(f"corollary-5-{number}" for number in (2, 3, 4, 6))}
    for name in conditional | open_constants:
        assert outcome(name).verdict is Verdict.NOT_CHECKED and "constant" in CLAIMS[name].note


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lemma-d-1", "N = 1, period 1, position 1, target 0: attended [0, 1], output"),
        ("lemma-d-2", "X = abaab, |Sigma| = 2, position 5: attended [2, 3], average"),
        ("lemma-d-2-strict", "X = aa, position 2: find"),
        ("theorem-4-2-recurrence", "X = aba, k = 2, symbol at position 3 (-1: undefined)"),
        ("theorem-4-2-depth", "k = 3: least layers of all sequences of look-ups"),
    ],
)
def test_the_smallest_counterexamples(name: str, words: str) -> None:
    (found,) = outcome(name).evidence
    assert found.counterexample is not None and found.counterexample.description == words


@settings(max_examples=25)
@given(hop_strings())
def test_the_ledgers_own_definition_is_that_of_theory(symbols: np.ndarray) -> None:
    string = tuple(int(symbol) for symbol in symbols.reshape(-1, symbols.shape[-1])[0])
    assert [_printed.find(string, i) for i in range(1, len(string) + 1)] == find_by_definition(np.array(string), 1).tolist()
    for k in (0, 1, 2, 5):
        assert _printed.hop(string, k) == tuple(hop(np.array(string), k).tolist())


def test_no_smaller_string_breaks_lemma_d_2_by_cosines_in_balls() -> None:
    for length in range(1, 5):
        for vocab, string in ((v, s) for v in range(2, length + 1) for s in product(range(v), repeat=length)):
            for position in range(2, length + 1):
                if string[position - 1] in string[: position - 1]:
                    found = _nearest_by_cosine(string, position, vocab)
                    assert found == find_by_definition(np.array(string), 1)[position - 1]


def test_the_tie_of_lemma_d_2_is_an_exact_one() -> None:
    keys = dict(_cosine_keys((0, 1, 0, 0, 1), 5, 5, 10))
    wrong, right = (sympy.cos(2 * sympy.pi * sympy.Rational(keys[j].numerator, keys[j].denominator)) for j in (2, 3))
    assert sympy.simplify(wrong - right) == 0
    assert all((2 * arb.pi() * arb(keys[j].numerator) / keys[j].denominator).cos() < arb(0.4) for j in (4, 5))


@pytest.mark.parametrize("length", [1, 5, 64])
def test_softmax_on_a_circle_of_n_marks_averages_start_and_end(length: int) -> None:
    angles = 2 * pi * torch.arange(length + 1, dtype=torch.float64)
    for period, expected in ((length, length / 2), (length + 1, float(length))):
        scores = 1e7 * torch.cos((angles - angles[length]) / period)
        output = torch.softmax(scores, 0) @ torch.arange(length + 1, dtype=torch.float64)
        assert float(output) == pytest.approx(expected, abs=1e-6)


def test_the_order_on_the_circle_is_that_of_cosines() -> None:
    for circumference in range(1, 14):
        cosines = {apart: (2 * arb.pi() * apart / circumference).cos() for apart in range(-20, 21)}
        for one, two in product(range(-20, 21), repeat=2):
            near, far = (_printed.circle_distance(apart, 0, circumference) for apart in (one, two))
            assert (near < far) == bool(cosines[one] > cosines[two])


def test_pointers_of_different_strings_need_their_own_positions() -> None:
    # The search over programs speaks of exponents; on an alternation each find^n is another position, so none stands for two.
    alternation = tuple(place % 2 for place in range(40))
    positions = [40]
    for _ in range(30):
        positions.append(_printed.find(alternation, positions[-1]))
    assert all(later == sooner - 1 for sooner, later in pairwise(positions))


def test_every_order_of_the_gadgets_of_two_triangles_or_a_hexagon() -> None:
    two = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]
    one = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)]
    for place, order in enumerate(permutations(range(6))):
        if place % 8 == 0:
            for edges, same in ((one, False), (two, True)):
                string = _printed.gadgets([edges[e] if (place >> 3) % 3 else edges[e][::-1] for e in order], place % 6)
                assert (_printed.last_hop(string, 6) == place % 6) is same
    assert len(_printed.gadgets(one, 0)) == 9 * 6 * 3 + 1


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("theorem-4-2-one-head", "repaired_one_head"),
        ("theorem-4-2-two-heads", "repaired_two_heads"),
        ("theorem-4-2-powers-of-two", "by_doubling"),
    ],
)
def test_a_model_that_takes_over_too_late_turns_the_verdict(name: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(name).verdict is Verdict.PROVED
    monkeypatch.setattr(_hop_checks, model, _printed.recurrence_as_printed)
    assert verify(CLAIMS[name], Effort.QUICK).verdict is Verdict.REFUTED


def test_a_layer_more_than_said_turns_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hop_checks, "repaired_two_heads", _printed.repaired_one_head)  # right answers, one layer more for k = 3
    found = verify(CLAIMS["theorem-4-2-two-heads"], Effort.QUICK)
    assert found.verdict is Verdict.REFUTED
    assert found.evidence[0].counterexample is not None and found.evidence[0].counterexample.description.startswith("k = 3,")


@pytest.mark.parametrize("name", ["recipe-a-built", "recipe-b-built", "recipe-c-built"])
def test_one_wrong_symbol_of_a_built_model_turns_the_verdict(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(name).verdict is Verdict.HELD
    for answers in ("predicted", "held_exactly"):
        real = getattr(_built_checks, answers)

        def spoilt(built, symbols, real=real):
            found = real(built, symbols)
            found[-1, -1] += 1e-9 if found.dtype.kind == "f" and found.dtype.itemsize == 8 else 1
            return found

        monkeypatch.setattr(_built_checks, answers, spoilt)
    assert verify(CLAIMS[name], Effort.QUICK).verdict is Verdict.REFUTED


@pytest.mark.parametrize("name", ["theorem-4-2-one-head", "theorem-4-2-two-heads", "recipe-a-built", "recipe-b-built"])
def test_what_writes_over_says_that_it_needs_maps(name: str) -> None:
    assert any("Definition 2.2 does not have" in assumption for assumption in CLAIMS[name].assumptions)


@pytest.mark.parametrize("name", ["theorem-4-2-powers-of-two", "recipe-c-built"])
def test_what_only_adds_assumes_no_maps(name: str) -> None:
    assert not any("map" in assumption for assumption in CLAIMS[name].assumptions)


@settings(max_examples=20)
@given(hop_strings())
def test_doubling_alone_is_right_for_powers_of_two_and_refuses_others(symbols: np.ndarray) -> None:
    string = tuple(int(symbol) for symbol in symbols.reshape(-1, symbols.shape[-1])[0])
    for power in range(6):
        assert _printed.by_doubling(string, 2**power) == (tuple(hop(np.array(string), 2**power).tolist()), power + 2)
    for k in (0, 3, 6):
        with pytest.raises(ValueError, match="power of two"):
            _printed.by_doubling(string, k)


@pytest.mark.parametrize(("wrong", "strings"), [(0, 100), (1, 100), (29, 100), (0, 300), (13, 300), (300, 300)])
def test_errors_of_whole_strings_have_clopper_and_pearsons_interval(wrong: int, strings: int) -> None:
    exact = binomtest(wrong, strings).proportion_ci(0.95, "exact")
    assert _experiment_checks.error_interval(wrong / strings, strings) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize(("error", "strings"), [(0.0004, 300), (0.0377, 300), (0.2163, 100), (0.7375, 100)])
def test_errors_between_lie_between(error: float, strings: int) -> None:
    fewer, more = int(error * strings) / strings, (int(error * strings) + 1) / strings
    below, here, above = (_experiment_checks.error_interval(each, strings) for each in (fewer, error, more))
    assert below[0] <= here[0] < error < here[1] and below[1] < here[1] < above[1] and here[0] < above[0]


def test_a_reach_has_the_confidence_of_one_error() -> None:
    # Its upper end rests on intervals above a level having only such after them.
    for dropout, level in ((True, 0.05), (False, 0.05), (False, 0.02)):
        assert _experiment_checks.error_interval(_experiment_checks.FAR_ABOVE, 100)[0] > level
        curves = _experiment_checks.with_intervals(_experiment_checks.curves(dropout=dropout))
        for _, rows in curves.groupby("num_layers"):
            above = (rows.sort_values("num_hops")["error_low"] >= level).tolist()
            assert above == sorted(above)


@pytest.mark.parametrize("name", ["reach-by-look-ups-least", "reach-stated-most", "reach-stated-to-four"])
def test_verdicts_on_reach_rest_on_ends_that_come_from_the_data(name: str) -> None:
    claim = CLAIMS[name]
    assert _experiment_checks.error_interval(0.0, 300)[1] < _experiment_checks.DECIDED
    for piece in outcome(name).evidence:
        assert piece.interval is not None and piece.interval.low > 0 and piece.interval.high < piece.num_cases
        # The whole interval is on the claim's side, so that the claim is borne out and not just not contradicted.
        assert claim.kind is not Kind.LOWER or piece.interval.low >= piece.interval.predicted
        assert claim.kind is not Kind.UPPER or piece.interval.high <= piece.interval.predicted


def test_at_one_percent_lower_ends_would_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_experiment_checks, "DECIDED", 0.01)
    lows = [piece.interval.low for piece in verify(CLAIMS["reach-stated-most"], Effort.QUICK).evidence if piece.interval]
    assert lows == [0, 0, 0, 0]


@pytest.mark.parametrize(("level", "verdict"), [(0.02, Verdict.REFUTED), (0.05, Verdict.MEASURED)])
def test_two_percent_tells_the_stated_reach_from_one_more_and_five_does_not(
    level: float, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_experiment_checks, "DECIDED", level)
    claim = CLAIMS["reach-stated-to-four"]
    assert verify(claim, Effort.QUICK).verdict is Verdict.MEASURED
    assert verify(replace(claim, formula=lambda num_layers: 2 ** (num_layers - 1)), Effort.QUICK).verdict is verdict
