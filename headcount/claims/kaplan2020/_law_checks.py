"""How statements on the laws themselves are checked: limits and series in symbols, numbers by search on the printed laws."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import mpmath
import sympy

from headcount.claims._printed import crossing, exact
from headcount.claims.checks import enumerated, identity
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from theory.scaling import PUBLISHED

SIZE, DATA = sympy.symbols("N D", positive=True)
SIZE_SCALE, DATA_SCALE, ALPHA_N, ALPHA_D = sympy.symbols("N_c D_c alpha_N alpha_D", positive=True)
_JOINT = {name: mpmath.mpf(str(value)) for name, value in PUBLISHED["kaplan2020_joint"].law.constants.items()}


def _joint(size: Any = SIZE, data: Any = DATA) -> Any:
    """Equation 1.5, in symbols."""
    return ((SIZE_SCALE / size) ** (ALPHA_N / ALPHA_D) + DATA_SCALE / data) ** ALPHA_D


def joint_limits(inquiry: Inquiry) -> Evidence:
    inverse = sympy.Symbol("x", positive=True)
    pairs = {
        "D without bound": (_joint(data=1 / inverse).subs(inverse, 0), inquiry.formula(SIZE_SCALE, SIZE, ALPHA_N)),
        "N without bound": (
            sympy.powdenest(((SIZE_SCALE * inverse).subs(inverse, 0) + DATA_SCALE / DATA) ** ALPHA_D, force=True),
            inquiry.formula(DATA_SCALE, DATA, ALPHA_D),
        ),
    }
    pairs = {words: (sympy.powdenest(true, force=True), claimed) for words, (true, claimed) in pairs.items()}
    return identity(inquiry, pairs, argument="the law is continuous in 1/D and 1/N at zero, so that zeros may be put in")


def joint_series(inquiry: Inquiry) -> Evidence:
    inverse, floor = sympy.symbols("x u", positive=True)
    law = (floor + DATA_SCALE * inverse) ** ALPHA_D  # u = (N_c/N)^(alpha_N/alpha_D) > 0
    pairs = {}
    for order in range(1, inquiry.pick(3, 5, 8) + 1):
        true = sympy.diff(law, inverse, order).subs(inverse, 0) / sympy.factorial(order)
        pairs[f"coefficient of 1/D^{order}"] = (
            sympy.powsimp(sympy.expand_func(true)), sympy.expand_func(inquiry.formula(floor, DATA_SCALE, ALPHA_D, order))
        )
    return identity(
        inquiry, pairs,
        argument="at D = infinity the bracket is positive, so that the law is analytic in 1/D there; the coefficients are the "
        "binomial ones of the first orders, and the induction is that of the binomial series",
    )


def joint_tokenizer(inquiry: Inquiry) -> Evidence:
    factor = sympy.Symbol("kappa", positive=True)
    size_scale, data_scale = inquiry.formula(SIZE_SCALE, ALPHA_N, factor), inquiry.formula(DATA_SCALE, ALPHA_D, factor)
    other = _joint().subs({SIZE_SCALE: size_scale, DATA_SCALE: data_scale}, simultaneous=True)
    # Equal positive numbers have equal powers: the bracket of the one, times kappa^(1/alpha_D), has to be that of the other.
    bracket = sympy.expand(sympy.powdenest(factor ** (1 / ALPHA_D) * _joint() ** (1 / ALPHA_D), force=True))
    rescaled = sympy.expand(sympy.powdenest(other ** (1 / ALPHA_D), force=True))
    return _same(inquiry, sympy.expand_power_base(rescaled, force=True), sympy.expand_power_base(bracket, force=True))


def _same(inquiry: Inquiry, claimed: Any, true: Any) -> Evidence:
    difference = sympy.simplify(sympy.powsimp(sympy.expand(claimed - true), force=True))
    point = {SIZE_SCALE: 2, DATA_SCALE: 3, ALPHA_N: 1, ALPHA_D: 2, SIZE: 5, DATA: 7, sympy.Symbol("kappa", positive=True): 11}
    words = "bracket of the rescaled law less kappa^(1/alpha_D) times the law's"
    case = Case(words, 0 if difference == 0 else float(difference.subs(point)), 0)
    argument = "the outer power is one-to-one, so that it is enough to compare brackets, and these are equal in symbols"
    return enumerated(inquiry, [case], Method.SYMBOLIC, "one identity in symbols", argument=argument)


def overfitting_variable(inquiry: Inquiry) -> Evidence:
    excess = _joint() / (SIZE_SCALE / SIZE) ** ALPHA_N - 1
    combined = sympy.Symbol("x", positive=True)
    along = excess.subs(DATA, inquiry.formula(SIZE, ALPHA_N, ALPHA_D) / combined)
    # Constant along a level line of the combination if and only if the derivative by ln N vanishes there.
    drift = sympy.simplify(sympy.powsimp(sympy.diff(along, SIZE) * SIZE, force=True))
    point = {SIZE_SCALE: 2, DATA_SCALE: 3, ALPHA_N: 1, ALPHA_D: 2, SIZE: 5, combined: 7}
    case = Case("change of dL along a level line of the combination", 0 if drift == 0 else float(drift.subs(point)), 0)
    return enumerated(
        inquiry, [case], Method.SYMBOLIC, "one derivative in symbols",
        argument="dL doesn't change with N where the combination is held fixed, so that it is a function of the combination",
    )


def overfitting_formula(inquiry: Inquiry) -> Evidence:
    joint = sympy.powdenest((_joint() / (SIZE_SCALE / SIZE) ** ALPHA_N) ** (1 / ALPHA_D), force=True)
    claimed = sympy.powdenest((inquiry.formula(SIZE, DATA) + 1) ** (1 / ALPHA_D), force=True)
    expanded = sympy.expand_power_base(sympy.expand(sympy.expand_power_base(joint, force=True)), force=True)
    difference = sympy.simplify(sympy.powsimp(expanded - sympy.expand_power_base(sympy.expand(claimed), force=True), force=True))
    point = {SIZE_SCALE: 2, DATA_SCALE: 3, ALPHA_N: 1, ALPHA_D: 2, SIZE: 5, DATA: 7}
    found = 0 if difference == 0 else float(difference.subs(point))
    case = Case("(1 + dL)^(1/alpha_D), of the law and as printed: difference", found, 0)
    return enumerated(
        inquiry, [case], Method.SYMBOLIC, "one identity in symbols",
        argument="the outer power is one-to-one, and the brackets are equal in symbols",
    )


def overfitting_formula_of(size: Any, data: Any, size_scale: Any, data_scale: Any, alpha_n: Any, alpha_d: Any) -> Any:
    """Equation 4.3."""
    return (1 + (size / size_scale) ** (alpha_n / alpha_d) * data_scale / data) ** alpha_d - 1


def _excess(size: Any, data: Any) -> Any:
    """dL by two evaluations of the joint law: not by equation 4.3."""
    power = _JOINT["alpha_N"] / _JOINT["alpha_D"]
    bracket = (_JOINT["N_c"] / size) ** power
    return ((bracket + _JOINT["D_c"] / data) / bracket) ** _JOINT["alpha_D"] - 1


def _floor(size: Any, excess: str = "0.02") -> Any:
    """The D at which dL is `excess`, by bisection in ln D."""
    target = mpmath.mpf(excess)
    return mpmath.exp(crossing(lambda log_data: _excess(size, mpmath.exp(log_data)) - target, 0, 80))


def overfitting_exponent(inquiry: Inquiry) -> Evidence:
    low, high = mpmath.mpf(10) ** 3, mpmath.mpf(10) ** 9
    slope = (mpmath.log(_floor(high)) - mpmath.log(_floor(low))) / mpmath.log(high / low)
    case = Case("d ln D / d ln N at dL = 0.02", exact(slope), inquiry.formula(), 0.005)
    return enumerated(inquiry, [case], Method.PROPERTY, "bisection on the joint law at N = 1e3 and 1e9, 40 digits")


def _sizes(inquiry: Inquiry) -> list[Any]:
    """From the paper's smallest model to its largest."""
    num = inquiry.pick(12, 60, 200)
    return [mpmath.mpf(768) * (mpmath.mpf("1.5e9") / 768) ** (mpmath.mpf(place) / (num - 1)) for place in range(num)]


def overfitting_floor(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for size in _sizes(inquiry):
            needed = _floor(size) / size ** mpmath.mpf("0.74") / 1000
            yield Case(f"N = {float(size):.3g}: thousands of D / N^0.74 at dL = 0.02", exact(needed), inquiry.formula(), 0.5)

    return enumerated(inquiry, cases(), Method.PROPERTY, "N 768..1.5e9, evenly in logs, D by bisection on the joint law")


def overfitting_enough(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for size in _sizes(inquiry):
            found = _excess(size, 5000 * size ** mpmath.mpf("0.74"))
            yield Case(f"N = {float(size):.3g}, D = 5e3 N^0.74: dL", exact(found), inquiry.formula(), 1e-15)

    return enumerated(inquiry, cases(), Method.PROPERTY, "N 768..1.5e9, evenly in logs")


def webtext(inquiry: Inquiry) -> Evidence:
    limit = mpmath.mpf("0.02")
    largest = mpmath.exp(crossing(lambda log_size: _excess(mpmath.exp(log_size), 22 * 10**9) - limit, 10, 25)) / 10**9
    case = Case("billions of parameters for which 22B tokens make dL = 0.02", exact(largest), inquiry.formula(), 0.5)
    return enumerated(inquiry, [case], Method.PROPERTY, "bisection on the joint law, 40 digits; to one digit")


def early_stopping(inquiry: Inquiry) -> Evidence:
    step, step_scale, alpha_s, converged, reached = sympy.symbols("S S_c alpha_S L_inf gap", positive=True)
    # reached: the gap L(N, D) - L(N, infinity).
    (found,) = sympy.solve(sympy.Eq(converged + (step_scale / step) ** alpha_s, converged + reached), step)
    return identity(
        inquiry, {"the step at which the curve of infinite data passes L(N, D)": (
            sympy.powdenest(found, force=True), sympy.powdenest(inquiry.formula(step_scale, reached, alpha_s), force=True)
        )},
        argument="solved for the step, in symbols; the curve falls, so that it passes once",
    )


def compute_scale(inquiry: Inquiry) -> Evidence:
    printed = PUBLISHED["kaplan2020_efficient_compute"].law.constants["C_c"] / 1e8
    case = Case("C_c of L(C_min) in table 5, in 1e8 PF-days", Fraction(str(printed)), inquiry.formula(), 0.1)
    return enumerated(inquiry, [case], Method.EXACT, "both to two digits")


def joint_headline(inquiry: Inquiry) -> Evidence:
    table, joint = PUBLISHED["kaplan2020_data"].law.constants, PUBLISHED["kaplan2020_joint"].law.constants
    case = Case("alpha_D of the joint fit", Fraction(str(joint["alpha_D"])), inquiry.formula(table), 0.001)
    return enumerated(inquiry, [case], Method.EXACT, "both to three digits")
