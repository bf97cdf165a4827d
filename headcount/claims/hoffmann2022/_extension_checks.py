"""How laws that build on Hoffmann's are checked: conditions in symbols, examples by search in 40 digits."""

from fractions import Fraction
from typing import Any

import mpmath
import sympy

from headcount.claims._printed import crossing, exact, least
from headcount.claims.checks import enumerated, identity
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from headcount.claims.hoffmann2022._allocation_checks import best_log_size, constants_of

SERVED = mpmath.mpf("2e12")


def serving_condition(inquiry: Inquiry) -> Evidence:
    """The multiplier eliminated from the two conditions of the constrained problem; it is met once, at the least cost."""
    size, data, served, multiplier = sympy.symbols("N D D_inf lambda", positive=True)
    size_scale, data_scale, alpha, beta, floor = sympy.symbols("A B alpha beta E", positive=True)
    cost = 6 * size * data + 2 * size * served
    loss = floor + size_scale / size**alpha + data_scale / data**beta
    lagrangian = cost + multiplier * loss
    (found,) = sympy.solve(sympy.diff(lagrangian, data), multiplier)
    # What is left is a multiple of the claimed condition, left side less right side, by a factor of one sign.
    rest = sympy.simplify(sympy.diff(lagrangian, size).subs(multiplier, found))
    left, right = inquiry.formula(size, data, served, size_scale, data_scale, alpha, beta)
    factor = -multiplier.subs(multiplier, found) / size
    # Along the level line the data's term has the share y of the reducible loss R: B/D^beta = y R, A/N^alpha = (1 - y) R.
    share, reducible, least_data = sympy.symbols("y R D_1", positive=True)  # D_1 = (B/R)^(1/beta), tokens of an infinite model
    along = least_data * share ** (-1 / beta)
    left_along, right_along = inquiry.formula(
        sympy.Integer(1), along, served, (1 - share) * reducible, share * reducible * along**beta, alpha, beta
    )
    lean = sympy.powsimp(sympy.expand(sympy.powdenest((right_along - left_along) / reducible, force=True)), force=True)
    rising = alpha + beta + (1 + beta) * served / (3 * least_data) * share ** (1 / beta)
    pairs = {
        "condition for the cheapest model": (sympy.simplify(rest / factor), sympy.simplify(left - right)),
        "slope of right less left side along y": (sympy.expand(sympy.diff(lean, share)), sympy.expand(rising)),
        "right less left side at y = 1": (lean.subs(share, 1), beta + beta * served / (3 * least_data)),
        "right less left side for y to 0": (sympy.expand(lean - share * (alpha + beta) - (rising - alpha - beta) * share
                                                         * beta / (1 + beta)), -alpha),
    }
    return identity(
        inquiry, pairs,
        argument="both conditions of Lagrange, the multiplier eliminated, in symbols; along a level line right less left side "
        "rises with the share y of the data's term, from -alpha at y = 0 to above 0 at y = 1, so that the condition is met once; "
        "cost is without bound at both ends, D at y = 0 and N at y = 1, so that the one stationary point is the least",
    )


def _log_tokens(constants: dict[str, Any], loss: Any, log_size: Any) -> Any:
    """ln D at which a model reaches the loss; infinite for one too small."""
    gap = loss - constants["E"] - constants["A"] * mpmath.exp(-constants["alpha"] * log_size)
    return mpmath.inf if gap <= 0 else (mpmath.log(constants["B"]) - mpmath.log(gap)) / constants["beta"]


def _example(name: str) -> dict[str, Fraction]:
    """A model as good as the best of 13 billion parameters, asked for 2e12 tokens: the cheapest, and what it saves."""
    with mpmath.workdps(40):
        constants = constants_of(name)
        size = mpmath.mpf("13e9")
        step = mpmath.mpf(10) ** -10

        def leans(log_data: Any) -> Any:
            """Which of two sizes beside 13 billion is better at the budget of these tokens; 0 where 13 billion is best."""
            return _reducible(constants, mpmath.log(size) + step, log_data - step) - _reducible(
                constants, mpmath.log(size) - step, log_data + step
            )

        log_data = crossing(leans, 15, 40)
        loss = constants["E"] + constants["A"] * size ** -constants["alpha"]
        loss += constants["B"] * mpmath.exp(-constants["beta"] * log_data)

        def cost(log_size: Any) -> Any:
            tokens = _log_tokens(constants, loss, log_size)
            return mpmath.inf if tokens == mpmath.inf else mpmath.exp(log_size) * (6 * mpmath.exp(tokens) + 2 * SERVED)

        lowest = mpmath.log(constants["A"] / (loss - constants["E"])) / constants["alpha"]
        best = least(cost, float(lowest) + 1e-6, float(lowest) + 12)
        before, after = size * (6 * mpmath.exp(log_data) + 2 * SERVED), cost(best)
        return {
            "parameters in billions": exact(mpmath.exp(best) / 10**9),
            "saving in 1e22 FLOP": exact((before - after) / mpmath.mpf(10) ** 22),
            "saving in percent": exact(100 * (1 - after / before)),
        }


def _reducible(constants: dict[str, Any], log_size: Any, log_data: Any) -> Any:
    return constants["A"] * mpmath.exp(-constants["alpha"] * log_size) + constants["B"] * mpmath.exp(
        -constants["beta"] * log_data
    )


def _served(inquiry: Inquiry, name: str) -> Evidence:
    tolerances = {"parameters in billions": 0.5, "saving in 1e22 FLOP": 0.05, "saving in percent": 0.5}
    cases = [
        Case(f"constants {name}: {what}", value, inquiry.formula(what), tolerances[what])
        for what, value in _example(name).items()
    ]
    return enumerated(inquiry, cases, Method.PROPERTY, "13 billion parameters replaced, 2e12 tokens asked for; all by search")


def serving(inquiry: Inquiry) -> Evidence:
    return _served(inquiry, "sardana2024")


def serving_rounded(inquiry: Inquiry) -> Evidence:
    return _served(inquiry, "hoffmann2022_rounded")


def _repeated(size: Any, data: Any, unique: Any) -> Any:
    """The data-constrained law, written out from its definition."""
    with mpmath.workdps(40):
        names = ("ln A", "ln B", "ln E", "alpha", "R_D", "R_N")
        texts = ("6.255414", "7.3049974", "0.6254804", "0.3526596", "15.387756", "5.309743")
        given = {name: mpmath.mpf(text) for name, text in zip(names, texts, strict=True)}
        size, data, unique = mpmath.mpf(size), mpmath.mpf(data), mpmath.mpf(unique)
        # With one exponent the best N is a fixed multiple of D:
        # A/N^alpha + B/D^alpha at given N D is least at N/D = (A/B)^(1/alpha).
        paired = unique * mpmath.exp((given["ln A"] - given["ln B"]) / given["alpha"])
        used = min(size, paired)
        worth_size = used + used * given["R_N"] * -mpmath.expm1(-(size / used - 1) / given["R_N"])
        worth_data = unique + unique * given["R_D"] * -mpmath.expm1(-(data / unique - 1) / given["R_D"])
        loss = mpmath.exp(given["ln E"])
        loss += mpmath.exp(given["ln A"] - given["alpha"] * mpmath.log(worth_size))
        return loss + mpmath.exp(given["ln B"] - given["alpha"] * mpmath.log(worth_data))


REPEATED = (("6.34e9", "242e9", "25e9"), ("8.67e9", "178e9", "25e9"))


def repeated(inquiry: Inquiry) -> Evidence:
    cases = [
        Case(f"N = {point[0]}, D = {point[1]}, unique {point[2]}: loss", exact(_repeated(*point)), inquiry.formula(*point), 4e-15)
        for point in REPEATED
    ]
    return enumerated(inquiry, cases, Method.PROPERTY, "two points of the paper, in 40 digits; double precision")


def repeated_better(inquiry: Inquiry) -> Evidence:
    first, second = (exact(_repeated(*point)) for point in REPEATED)
    case = Case("loss of 8.67e9 parameters on 178e9 tokens", second, inquiry.formula(first))
    return enumerated(inquiry, [case], Method.PROPERTY, "6 N D of 9.2e21 and 9.3e21, 25e9 unique tokens, in 40 digits")


def repeated_ratio(inquiry: Inquiry) -> Evidence:
    constants = constants_of("muennighoff2023")
    with mpmath.workdps(40):
        log_size = best_log_size(constants, "1e21")
        ratio = mpmath.mpf("1e21") / 6 / mpmath.exp(2 * log_size)
    case = Case("tokens per parameter at 1e21 FLOP, one epoch", exact(ratio), inquiry.formula(), 0.05)
    return enumerated(inquiry, [case], Method.PROPERTY, "best split by search; alpha = beta, so that it is the same at any "
        "budget")


def repeated_once(inquiry: Inquiry) -> Evidence:
    unique, scale = sympy.symbols("U R", positive=True)
    repeats = sympy.Symbol("r", nonnegative=True)
    worth = unique + unique * scale * (1 - sympy.exp(-repeats / scale))
    pairs = {
        "worth without repeats": (worth.subs(repeats, 0), inquiry.formula(unique, 0)),
        "worth of the first repeats": (
            sympy.diff(worth, repeats).subs(repeats, 0), sympy.diff(inquiry.formula(unique, repeats), repeats)
        ),
    }
    return identity(inquiry, pairs, argument="value and slope at no repeats, in symbols")


def repeated_four(inquiry: Inquiry) -> Evidence:
    with mpmath.workdps(40):
        scale = mpmath.mpf("15.387756")
        worth = (1 + scale * -mpmath.expm1(-3 / scale)) / 4
    case = Case("worth of four epochs over that of as many new tokens", exact(100 * worth), inquiry.formula(), 0.5)
    return enumerated(inquiry, [case], Method.PROPERTY, "R_D* = 15.387756")


def over_training(inquiry: Inquiry) -> Evidence:
    compute, ratio, size_scale, data_scale, eta, floor = sympy.symbols("C M A B eta E", positive=True)
    size, data = sympy.sqrt(compute / (6 * ratio)), sympy.sqrt(compute * ratio / 6)
    law = floor + size_scale / size ** (2 * eta) + data_scale / data ** (2 * eta)
    claimed = inquiry.formula(compute, ratio, size_scale, data_scale, eta, floor)
    pairs = {"loss in compute and tokens per parameter": (
        sympy.powsimp(sympy.expand_power_base(sympy.powdenest(law, force=True), force=True), force=True),
        sympy.powsimp(sympy.expand_power_base(sympy.expand(claimed), force=True), force=True),
    )}
    return identity(inquiry, pairs, argument="N and D are put in from C = 6 N D and M = D/N, in symbols")
