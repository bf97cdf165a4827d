"""How the optimal allocation is checked: the best split of a budget is searched in 40 digits, and compared with closed forms."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import mpmath
import sympy
from flint import arb

from headcount.claims._printed import balls, enclosed, exact, half_unit, least, rounding
from headcount.claims.checks import enumerated, identity
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from theory.scaling import PUBLISHED

GOPHER = "5.76e23"
FLOP_RULE = Fraction(2048, 6 * 8192)
"""Attention's products over those with weights, n_ctx/(6 d_model) at Chinchilla's context and width: what 6 N D leaves out."""
Constants = dict[str, Any]


def constants_of(name: str) -> Constants:
    """E, A, B, alpha and beta of a published set, in 40 digits."""
    with mpmath.workdps(40):
        return {symbol: mpmath.mpf(repr(value)) for symbol, value in PUBLISHED[name].law.constants.items()}


def best_log_size(constants: Constants, compute: Any) -> Any:
    """ln N of the lowest loss at C = 6 N D, by golden section; 1e-16 is a bound on its error."""
    with mpmath.workdps(40):
        log_budget = mpmath.log(mpmath.mpf(compute) / 6)

        def reducible(log_size: Any) -> Any:
            size = constants["A"] * mpmath.exp(-constants["alpha"] * log_size)
            return size + constants["B"] * mpmath.exp(-constants["beta"] * (log_budget - log_size))

        return least(reducible, -20, 100)


def _variants(inquiry: Inquiry) -> Iterator[tuple[str, Constants]]:
    for name in ("hoffmann2022", "hoffmann2022_rounded", "besiroglu2024"):
        yield name, constants_of(name)
    for place in range(inquiry.pick(1, 20, 100)):
        turn = [mpmath.mpf((place * 7 + shift * 5) % 11 + 2) / 8 for shift in range(4)]
        changed = {"A": 400 * turn[0], "B": 900 * turn[1], "alpha": turn[2] / 2, "beta": turn[3] / 3, "E": mpmath.mpf(1)}
        yield "A {A}, B {B}, alpha {alpha}, beta {beta}".format(**{k: float(v) for k, v in changed.items()}), changed


def closed_form(size_scale: Any, data_scale: Any, alpha: Any, beta: Any, compute: Any) -> Any:
    """N at the optimum, equation 4."""
    return (alpha * size_scale / (beta * data_scale)) ** (1 / (alpha + beta)) * (compute / 6) ** (beta / (alpha + beta))


def _solved() -> tuple[Any, tuple[Any, ...]]:
    """ln N where the loss along C = 6 N D is stationary, in symbols; convex in ln N, so that it is the least."""
    symbols = sympy.symbols("A B alpha beta C", positive=True)
    size_scale, data_scale, alpha, beta, compute = symbols
    log_size = sympy.Symbol("n", real=True)
    # The derivatives of the two terms by ln N balance: equal logarithms, which are linear in ln N.
    left = sympy.log(alpha * size_scale) - alpha * log_size
    right = sympy.log(beta * data_scale) - beta * (sympy.log(compute / 6) - log_size)
    (found,) = sympy.solve(left - right, log_size)
    return found, symbols


def allocation(inquiry: Inquiry) -> tuple[Evidence, Evidence]:
    found, symbols = _solved()
    claimed = sympy.log(inquiry.formula(*symbols))
    proof = identity(
        inquiry, {"ln N": (sympy.expand_log(found, force=True), sympy.expand_log(claimed, force=True))},
        argument="along C = 6 N D the loss is a sum of two exponentials of ln N, convex, so that its one stationary point, found "
        "in symbols, is the optimum",
    )

    def cases() -> Iterator[Case]:
        for words, constants in _variants(inquiry):
            for compute in ("1e18", "1e21", GOPHER):
                with mpmath.workdps(40):
                    given = (constants["A"], constants["B"], constants["alpha"], constants["beta"], mpmath.mpf(compute))
                    formula = exact(mpmath.log(inquiry.formula(*given)))
                    yield Case(f"{words}, C = {compute}: ln N", exact(best_log_size(constants, compute)), formula, 1e-14)

    return proof, enumerated(inquiry, cases(), Method.PROPERTY, "published and other constants, C 1e18..5.76e23, best split by "
        "search")


def exponents(inquiry: Inquiry) -> tuple[Evidence, Evidence]:
    found, symbols = _solved()
    alpha, beta, compute = symbols[2:]
    size = sympy.simplify(compute * sympy.diff(found, compute))
    claimed = inquiry.formula(alpha, beta)
    proof = identity(
        inquiry, {"exponent of N": (size, claimed[0]), "exponent of D": (1 - size, claimed[1])},
        argument="the optimum is found in symbols; N D = C / 6 gives the other exponent",
    )
    return proof, exponents_by_search(inquiry)


def exponents_by_search(inquiry: Inquiry) -> Evidence:
    """Slopes of ln N and ln D at the optimum between two budgets, by search, against a pair that the formula gives."""

    def cases() -> Iterator[Case]:
        for words, constants in _variants(inquiry):
            with mpmath.workdps(40):
                low, high = (best_log_size(constants, compute) for compute in ("1e18", "1e24"))
                slope = exact((high - low) / mpmath.log(mpmath.mpf(10) ** 6))
                claimed = inquiry.formula(constants["alpha"], constants["beta"])
                yield Case(f"{words}: exponent of N", slope, exact(claimed[0]), 1e-14)
                yield Case(f"{words}: exponent of D", 1 - slope, exact(claimed[1]), 1e-14)

    return enumerated(inquiry, cases(), Method.PROPERTY, "best splits of 1e18 and 1e24 FLOP, by search")


def exponents_of(name: str) -> tuple[Fraction, Fraction]:
    """Exponents of N and D of a published set, between the best splits of 1e18 and 1e24 FLOP, found by search."""
    constants = constants_of(name)
    low, high = (best_log_size(constants, compute) for compute in ("1e18", "1e24"))
    with mpmath.workdps(40):
        slope = exact((high - low) / mpmath.log(mpmath.mpf(10) ** 6))
    return slope, 1 - slope


def _exponents_3(inquiry: Inquiry, name: str) -> Evidence:
    cases = [
        Case(f"constants {name}: exponent of {symbol}", slope, inquiry.formula(symbol), 0.005)
        for symbol, slope in zip("ND", exponents_of(name), strict=True)
    ]
    return enumerated(inquiry, cases, Method.PROPERTY, "best splits of 1e18 and 1e24 FLOP, by search; to two digits")


def exponents_rounded(inquiry: Inquiry) -> Evidence:
    return _exponents_3(inquiry, "hoffmann2022_rounded")


def exponents_unrounded(inquiry: Inquiry) -> Evidence:
    return _exponents_3(inquiry, "hoffmann2022")


def _gopher(inquiry: Inquiry, name: str, unit: str) -> Evidence:
    with mpmath.workdps(40):
        size = mpmath.exp(best_log_size(constants_of(name), GOPHER)) / 10**9
    case = Case(f"constants {name}: best N at {GOPHER} FLOP, in billions", exact(size), inquiry.formula(), float(half_unit(unit)))
    return enumerated(inquiry, [case], Method.PROPERTY, "best split by search")


def gopher_rounded(inquiry: Inquiry) -> Evidence:
    return _gopher(inquiry, "hoffmann2022_rounded", "40")


def gopher_unrounded(inquiry: Inquiry) -> Evidence:
    return _gopher(inquiry, "hoffmann2022", "40")


def gopher_refitted(inquiry: Inquiry) -> Evidence:
    return _gopher(inquiry, "besiroglu2024", "72")


def _ratio(inquiry: Inquiry, name: str) -> Evidence:
    with mpmath.workdps(40):
        size = mpmath.exp(best_log_size(constants_of(name), GOPHER))
        ratio = mpmath.mpf(GOPHER) / 6 / size**2
    case = Case(f"constants {name}: tokens per parameter at {GOPHER} FLOP", exact(ratio), inquiry.formula(), 0.5)
    return enumerated(inquiry, [case], Method.PROPERTY, "best split by search")


def ratio_own(inquiry: Inquiry) -> Evidence:
    return _ratio(inquiry, "hoffmann2022")


def ratio_refitted(inquiry: Inquiry) -> Evidence:
    return _ratio(inquiry, "besiroglu2024")


def chinchilla_ratio(inquiry: Inquiry) -> Evidence:
    case = Case("1.4e12 / 70e9", Fraction("1.4e12") / Fraction("70e9"), inquiry.formula())
    return enumerated(inquiry, [case], Method.EXACT, "the model as printed", argument="one quotient")


def chinchilla_budget(inquiry: Inquiry) -> Evidence:
    constants = ("70e9", "1.4e12")

    def compute(size: Any, data: Any) -> Any:
        return 6 * size * data / Fraction(10) ** 23

    play = rounding(compute, *constants)
    case = Case("6 N D of Chinchilla, in 1e23 FLOP", compute(*map(Fraction, constants)), inquiry.formula(), play + 0.005)
    return enumerated(inquiry, [case], Method.EXACT, "N and D within their digits", argument="one product")


def _table_3(
    inquiry: Inquiry, description: str, true: Any, claimed: str, constants: tuple[str, ...], *, rule: Fraction = Fraction(0)
) -> Evidence:
    play = rounding(true, *constants) + float(half_unit(claimed) + rule * Fraction(claimed))
    case = Case(description, true(*map(Fraction, constants)), inquiry.formula(), play)
    ranges = "numbers within their digits" + (f", the rule for FLOPs within {float(rule):.1%}" if rule else "")
    return enumerated(inquiry, [case], Method.EXACT, ranges)


def table_3(inquiry: Inquiry) -> Evidence:
    words, constants = "6 N D for 67B and 1.5T, in 1e23 FLOP", ("67e9", "1.5e12")
    return _table_3(inquiry, words, lambda n, d: 6 * n * d / 10**23, "5.76", constants, rule=FLOP_RULE)


def table_3_tokens(inquiry: Inquiry) -> Evidence:
    words = "5.76e23 / (6 N) for 67B, in 1e12 tokens"
    return _table_3(inquiry, words, lambda c, n: c / (6 * n) / 10**12, "1.4", ("5.76e23", "67e9"))


def sums(inquiry: Inquiry) -> Evidence:
    pairs = {"1": ("0.50", "0.50"), "2": ("0.49", "0.51"), "3": ("0.46", "0.54"), "of Kaplan et al.": ("0.73", "0.27")}
    cases = [Case(f"approach {name}: a + b", Fraction(a) + Fraction(b), inquiry.formula()) for name, (a, b) in pairs.items()]
    return enumerated(inquiry, cases, Method.EXACT, "table 2", argument="four sums of decimals")


def _per_doubling(name: str) -> Fraction:
    slope, other = exponents_of(name)
    with mpmath.workdps(40):
        ratio = other / slope
        return exact(mpmath.mpf(2) ** (mpmath.mpf(ratio.numerator) / ratio.denominator))


def proportions(inquiry: Inquiry) -> Evidence:
    first = enclosed("approach 1: tokens for twice the parameters", (balls("0.50")[0] / balls("0.50")[0] * arb(2).log()).exp(),
                     inquiry.formula(), 1e-15)
    return enumerated(inquiry, [first], Method.BALL, "table 2", argument="2^(b/a) in a ball")


def proportions_3(inquiry: Inquiry) -> Evidence:
    case = Case("approach 3, unrounded: tokens for twice the parameters", _per_doubling("hoffmann2022"), inquiry.formula(), 0.05)
    return enumerated(inquiry, [case], Method.PROPERTY, "best splits of 1e18 and 1e24 FLOP, by search; to one decimal")


def proportions_refitted(inquiry: Inquiry) -> Evidence:
    words = "constants besiroglu2024: tokens for twice the parameters"
    case = Case(words, _per_doubling("besiroglu2024"), inquiry.formula(), 0.05)
    return enumerated(inquiry, [case], Method.PROPERTY, "best splits of 1e18 and 1e24 FLOP, by search; to one decimal")
