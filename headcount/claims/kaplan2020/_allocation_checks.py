"""How the allocation of section 6 and appendix B is checked: the least compute by search, printed numbers by arithmetic."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import mpmath
import sympy
from flint import arb

from headcount.claims._printed import balls, enclosed, exact, half_unit, least, rounding
from headcount.claims.checks import enumerated, identity
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from theory.scaling import PUBLISHED
from theory.scaling_units import PF_DAY

Constants = dict[str, Any]


def batch_tradeoff(inquiry: Inquiry) -> Evidence:
    steps, batch, critical, least_steps, size = sympy.symbols("S B B_crit s N", positive=True)
    # Examples E = B S, least examples B_crit s: the relation of steps and examples, solved for the least steps.
    relation = (steps / least_steps - 1) * (batch * steps / (critical * least_steps) - 1) - 1
    (found,) = sympy.solve(sympy.numer(sympy.together(relation)), least_steps)
    pairs = {
        "S_min": (found, inquiry.formula(steps, batch / critical)[0]),
        "C_min": (6 * size * critical * found, inquiry.formula(6 * size * batch * steps, batch / critical)[1]),
    }
    return identity(inquiry, pairs, argument="the relation has one positive solution, found in symbols")


def at_critical_batch(inquiry: Inquiry) -> Evidence:
    steps, least_steps, critical = sympy.symbols("S s B_crit", positive=True)
    relation = sympy.Eq((steps / least_steps - 1) * (critical * steps / (critical * least_steps) - 1), 1)
    (found,) = [root for root in sympy.solve(relation, steps) if root != 0]
    pairs = {
        "S / S_min": (found / least_steps, inquiry.formula()),
        "E / E_min": (critical * found / (critical * least_steps), inquiry.formula()),
    }
    return identity(inquiry, pairs, argument="the relation is solved for the steps at B = B_crit, in symbols")


def _rounded(
    inquiry: Inquiry, description: str, value: Callable[..., Any], claimed: str, constants: tuple[str, ...], ranges: str,
    *, argument: str = "one number",
) -> Evidence:
    """One number from printed constants, in a ball, against the printed one: half a unit, and what the constants leave open."""
    play = rounding(lambda *numbers: float(value(*(arb(n.numerator) / n.denominator for n in numbers)).mid()), *constants)
    case = enclosed(description, value(*balls(*constants)), inquiry.formula(), half_unit(claimed) + Fraction(play))
    return enumerated(inquiry, [case], Method.BALL, f"{ranges}; constants within their digits", argument=argument)


def _printed(
    inquiry: Inquiry, description: str, value: Callable[..., Any], claimed: str, constants: tuple[str, ...], ranges: str,
    *, argument: str = "one number",
) -> Evidence:
    """As `_rounded`, the constants exactly as printed."""
    case = enclosed(description, value(*balls(*constants)), inquiry.formula(), half_unit(claimed))
    return enumerated(inquiry, [case], Method.BALL, f"{ranges}; constants exactly as printed", argument=argument)


def batch_doubles(inquiry: Inquiry) -> Evidence:
    return _rounded(
        inquiry, "percent by which the loss falls while B_crit doubles", lambda alpha: 100 * (1 - (-alpha * arb(2).log()).exp()),
        "13", ("0.21",), "B_crit ~ L^(-1/0.21)",
    )


def batch_exponent(inquiry: Inquiry) -> Evidence:
    return _printed(inquiry, "exponent of B_crit in C_min", lambda loss, batch: loss * batch, "0.24", ("0.050", "4.8"),
                    "L ~ C^-0.050, B ~ L^-4.8")


def sums(inquiry: Inquiry) -> Evidence:
    cases = [
        Case("exponents of N, B and S_min", sum(map(Fraction, ("0.73", "0.24", "0.03"))), inquiry.formula("N", "B", "S")),
        Case("exponents of B and S_min", Fraction("0.24") + Fraction("0.03"), inquiry.formula("D")),
    ]
    return enumerated(inquiry, cases, Method.EXACT, "the printed exponents", argument="two sums of decimals")


def growth(inquiry: Inquiry) -> Evidence:
    cases = [
        enclosed(f"{name} for 10 times the compute", (balls(power)[0] * arb(10).log()).exp(), inquiry.formula(name), 0.5)
        for name, power in (("N", "0.73"), ("D", "0.27"))
    ]
    return enumerated(inquiry, cases, Method.BALL, "10^0.73 and 10^0.27, to one digit", argument="two numbers in balls")


def data_need(inquiry: Inquiry) -> Evidence:
    return _printed(inquiry, "exponent of D in C_min where over-fitting is held fixed", lambda need, size: need * size, "0.54",
                    ("0.74", "0.73"), "D ~ N^0.74, N ~ C^0.73")


def data_limited(inquiry: Inquiry) -> Evidence:
    return _printed(inquiry, "exponent of the data-limited loss in 1/C_min", lambda loss, data: loss * data, "0.03",
                    ("0.095", "0.27"), "L ~ D^-0.095, D ~ C^0.27")


def _harmonic(alpha_n: Any, alpha_s: Any, alpha_b: Any) -> Any:
    return 1 / (1 / alpha_s + 1 / alpha_b + 1 / alpha_n)


STEPS_FIT = ("0.077", "0.76", "0.21")


def compute_exponent(inquiry: Inquiry) -> Evidence:
    return _rounded(inquiry, "1/(1/alpha_S + 1/alpha_B + 1/alpha_N)", _harmonic, "0.054", STEPS_FIT, "0.76, 0.21 and 0.077",
                    argument="the sum in a ball, at the ends of the constants' digits too")


def size_exponent(inquiry: Inquiry) -> Evidence:
    return _rounded(inquiry, "exponent of N in C_min by theory", lambda *given: _harmonic(*given) / given[0], "0.71", STEPS_FIT,
                    "0.76, 0.21 and 0.077", argument="the quotient in a ball, at the ends of the constants' digits too")


def steps_exponent(inquiry: Inquiry) -> Evidence:
    return _rounded(inquiry, "exponent of S_min in C_min by theory", lambda *given: _harmonic(*given) / given[1], "0.03",
                    STEPS_FIT, "0.76, 0.21, 0.077", argument="the quotient in a ball, at the ends of the constants' digits too")


def _steps_law() -> Constants:
    steps, batch = (PUBLISHED[f"kaplan2020_{name}"].law.constants for name in ("steps", "critical_batch"))
    return {name: mpmath.mpf(str(value)) for name, value in (*steps.items(), *batch.items())}


def _variants(inquiry: Inquiry) -> Iterator[Constants]:
    """The printed constants, and others around them."""
    printed = _steps_law()
    yield printed
    for place in range(inquiry.pick(1, 12, 60)):
        turn = [1 + mpmath.mpf((place * 7 + shift * 5) % 11 - 5) / 20 for shift in range(6)]
        names = ("N_c", "S_c", "alpha_N", "alpha_S", "B_star", "alpha_B")
        yield {name: printed[name] * factor for name, factor in zip(names, turn, strict=True)}


def _log_compute(constants: Constants, log_size: Any, loss: Any) -> Any:
    """ln of 6 N B_crit(L) S, with S the steps after which a model of N parameters has this loss; infinite where it never has."""
    gap = loss - (constants["N_c"] * mpmath.exp(-log_size)) ** constants["alpha_N"]
    if gap <= 0:
        return mpmath.mpf("inf")
    log_steps = mpmath.log(constants["S_c"]) - mpmath.log(gap) / constants["alpha_S"]
    log_batch = mpmath.log(constants["B_star"]) - mpmath.log(loss) / constants["alpha_B"]
    return mpmath.log(6) + log_size + log_batch + log_steps


def _cheapest(constants: Constants, loss: Any) -> tuple[Any, Any]:
    """ln N and ln C of the cheapest way to a loss, by golden section: the frontier turned round, least compute per loss."""
    smallest = float(mpmath.log(constants["N_c"]) - mpmath.log(loss) / constants["alpha_N"])
    best = least(lambda log_size: _log_compute(constants, log_size, loss), smallest + 1e-9, smallest + 30)
    return best, _log_compute(constants, best, loss)


def _frontier(inquiry: Inquiry, what: Callable[[Constants, Any, Any, Any], Iterator[Case]], ranges: str) -> Evidence:
    def cases() -> Iterator[Case]:
        for constants in _variants(inquiry):
            for loss in map(mpmath.mpf, ("1.7", "2.5", "4")):
                with mpmath.workdps(40):
                    log_size, log_compute = _cheapest(constants, loss)
                    yield from what(constants, loss, log_size, log_compute)

    return enumerated(inquiry, cases(), Method.PROPERTY, f"{ranges}; losses 1.7, 2.5, 4, printed and other constants, optimum "
        f"by search")


def frontier_loss(inquiry: Inquiry) -> tuple[Evidence, Evidence]:
    size, level = sympy.symbols("U L", positive=True)  # the size's term of the loss, and the loss
    alpha_n, alpha_s = sympy.symbols("alpha_N alpha_S", positive=True)
    # At fixed L, and so at fixed batch, N ~ U^(-1/alpha_N) and S ~ (L - U)^(-1/alpha_S).
    log_compute = -sympy.log(size) / alpha_n - sympy.log(level - size) / alpha_s
    (best,) = sympy.solve(sympy.diff(log_compute, size), size)
    pairs = {"L over the converged loss at the least compute": (sympy.simplify(level / best), inquiry.formula(alpha_n, alpha_s))}
    proof = identity(
        inquiry, pairs,
        argument="at a fixed loss the batch is fixed, and compute is convex in the share of the loss that the size's term has, "
        "so that its one stationary point, found in symbols, is the least",
    )

    def found(constants: Constants, loss: Any, log_size: Any, log_compute: Any) -> Iterator[Case]:
        converged = (constants["N_c"] * mpmath.exp(-log_size)) ** constants["alpha_N"]
        claimed = inquiry.formula(exact(constants["alpha_N"]), exact(constants["alpha_S"]))
        yield Case(_said(constants, loss), exact(loss / converged), Fraction(claimed), 1e-12)

    return proof, _frontier(inquiry, found, "loss over converged loss")


def _said(constants: Constants, loss: Any) -> str:
    return f"alpha_N = {float(constants['alpha_N']):.4g}, alpha_S = {float(constants['alpha_S']):.4g}, L = {float(loss)}"


def frontier(inquiry: Inquiry) -> Evidence:
    def found(constants: Constants, loss: Any, log_size: Any, log_compute: Any) -> Iterator[Case]:
        claimed_loss, claimed_size, claimed_steps = inquiry.formula(constants, mpmath.exp(log_compute))
        steps = _log_compute(constants, log_size, loss) - mpmath.log(6) - log_size
        steps -= mpmath.log(constants["B_star"]) - mpmath.log(loss) / constants["alpha_B"]
        for words, true, claimed in (
            ("ln L", mpmath.log(loss), claimed_loss), ("ln N", log_size, claimed_size), ("ln S", steps, claimed_steps)
        ):
            yield Case(f"{_said(constants, loss)}: {words}", exact(true), exact(claimed), 1e-12)

    return _frontier(inquiry, found, "loss, size and steps at the optimal compute")


def closed_forms(constants: Constants, compute: Any) -> tuple[Any, Any, Any]:
    """ln L, ln N and ln S by equations B.6 to B.10."""
    alpha_n, alpha_s, alpha_b = (constants[name] for name in ("alpha_N", "alpha_S", "alpha_B"))
    alpha_c, over = _harmonic(alpha_n, alpha_s, alpha_b), 1 + alpha_n / alpha_s
    scale = 6 * constants["N_c"] * constants["B_star"] * constants["S_c"]
    scale *= over ** (1 / alpha_s + 1 / alpha_n) * (alpha_s / alpha_n) ** (1 / alpha_s)
    relative = mpmath.log(compute) - mpmath.log(scale)
    size = mpmath.log(constants["N_c"]) + alpha_c / alpha_n * relative + mpmath.log(over) / alpha_n
    steps = mpmath.log(scale) - mpmath.log(6 * constants["N_c"] * constants["B_star"])
    steps += -mpmath.log(over) / alpha_n + alpha_c / alpha_s * relative
    return -alpha_c * relative, size, steps


def ten_percent(inquiry: Inquiry) -> Evidence:
    return _printed(inquiry, "percent above the converged loss", lambda size, steps: 100 * size / steps, "10", ("0.077", "0.76"),
                    "alpha_N / alpha_S")


def excess_compute(inquiry: Inquiry) -> Evidence:
    def found(constants: Constants, loss: Any, log_size: Any, log_compute: Any) -> Iterator[Case]:
        for ratio in map(mpmath.mpf, ("0.6", "0.9", "1", "2.2", "5")):
            other = _log_compute(constants, log_size + mpmath.log(ratio), loss)
            claimed = inquiry.formula(ratio, constants["alpha_N"], constants["alpha_S"])
            yield Case(f"{_said(constants, loss)}, N / N_eff = {float(ratio)}: C / C_eff", exact(mpmath.exp(other - log_compute)),
                       exact(mpmath.mpf(claimed)), 1e-12)

    return _frontier(inquiry, found, "compute at 0.6 to 5 times the optimal size")


def excess_formula(ratio: Any, alpha_n: Any, alpha_s: Any) -> Any:
    """Equation B.16."""
    return ratio * (1 + alpha_s / alpha_n * (1 - ratio ** (-alpha_n))) ** (-1 / alpha_s)


def _at_size(inquiry: Inquiry, quantity: Callable[[Any, Any], Any], digits: str, ratios: tuple[str, ...], words: str) -> Evidence:
    def cases() -> Iterator[Case]:
        constants, loss = _steps_law(), mpmath.mpf("2.5")
        with mpmath.workdps(40):
            log_size, log_compute = _cheapest(constants, loss)
            for text in ratios:
                ratio = mpmath.mpf(text)
                found = mpmath.exp(_log_compute(constants, log_size + mpmath.log(ratio), loss) - log_compute)
                tolerance = float(half_unit(digits))
                yield Case(f"N = {text} N_eff: {words}", exact(quantity(found, ratio)), inquiry.formula(text), tolerance)

    return enumerated(inquiry, cases(), Method.PROPERTY, "printed constants, optimum by search, L = 2.5: the same at any loss")


def suboptimal(inquiry: Inquiry) -> Evidence:
    ratios = ("1", "0.8", "1.5", "0.7", "1.9", "0.6", "2.2")
    return _at_size(inquiry, lambda found, ratio: 100 * (found - 1), "20", ratios, "percent of compute in excess")


def fewer_steps(inquiry: Inquiry) -> Evidence:
    return _at_size(inquiry, lambda found, ratio: 100 * (1 - found / ratio), "45", ("2.2",), "percent fewer steps")


def _inefficient(quantity: str) -> Callable[[Any, Any], Any]:
    """Ratios of size, steps and compute between stopping alpha_N/alpha_S and 2% above the converged loss."""

    def value(alpha_n: Any, alpha_s: Any) -> Any:
        share, small = alpha_n / alpha_s, arb(1) / 50
        size = (((1 + share) / (1 + small)).log() / alpha_n).exp()
        steps = (((1 + 1 / share) / (1 + 1 / small)).log() / alpha_s).exp()
        return {"size": size, "steps": steps, "fewer": 1 / steps, "saved": 100 * (1 - size * steps)}[quantity]

    return value


def efficient(inquiry: Inquiry) -> Evidence:
    cases = []
    for quantity, digits in (("size", "2.7"), ("steps", "0.13"), ("saved", "65")):
        found = _inefficient(quantity)(*balls("0.077", "0.76"))
        words = f"{quantity} of 10% above convergence, against 2%"
        cases.append(enclosed(words, found, inquiry.formula(quantity), half_unit(digits)))
    return enumerated(
        inquiry, cases, Method.BALL, "parameters, steps, compute (percent saved); constants exactly as printed",
        argument="three numbers in balls",
    )


def efficient_steps(inquiry: Inquiry) -> Evidence:
    return _printed(inquiry, "steps of 2% above convergence over those of 10%", _inefficient("fewer"), "7.7", ("0.077", "0.76"),
                    "by equation B.13 unrounded")


def efficient_steps_within(inquiry: Inquiry) -> Evidence:
    return _rounded(inquiry, "steps of 2% above convergence over those of 10%", _inefficient("fewer"), "7.7", ("0.077", "0.76"),
                    "by equation B.13 unrounded", argument="one number in a ball, at the ends of the exponents' digits too")


def efficient_by_search(inquiry: Inquiry) -> Evidence:
    """Equations B.12 and B.13 are those of the law: at one loss, sizes and steps of the two ways to it."""

    def cases() -> Iterator[Case]:
        constants = _steps_law()
        with mpmath.workdps(40):
            for loss in map(mpmath.mpf, ("1.7", "2.5", "4")):
                log_size, _ = _cheapest(constants, loss)
                other = mpmath.log(constants["N_c"]) - mpmath.log(loss / mpmath.mpf("1.02")) / constants["alpha_N"]
                claimed_size, claimed_steps = inquiry.formula(constants["alpha_N"], constants["alpha_S"])
                steps = [
                    mpmath.log(loss - (constants["N_c"] * mpmath.exp(-place)) ** constants["alpha_N"]) / -constants["alpha_S"]
                    for place in (log_size, other)
                ]
                yield Case(f"L = {float(loss)}: ratio of sizes", exact(mpmath.exp(log_size - other)), exact(claimed_size), 1e-12)
                found = exact(mpmath.exp(steps[0] - steps[1]))
                yield Case(f"L = {float(loss)}: ratio of steps", found, exact(claimed_steps), 1e-12)

    return enumerated(inquiry, cases(), Method.PROPERTY, "printed constants, optimum by search, losses 1.7, 2.5, 4")


def percent_for_percent(inquiry: Inquiry) -> Evidence:
    def percent(alpha: Any) -> Any:
        return 100 * ((-(arb(99) / 100).log() / alpha).exp() - 1)

    return _printed(inquiry, "percent of compute for 1% of loss", percent, "22", ("0.050",), "L ~ C^-0.050")


def compute_identity(inquiry: Inquiry) -> Evidence:
    constants = ("1.3e9", "2.0e6", "5.4e3")

    def days(size: Any, batch: Any, steps: Any) -> Any:
        return 6 * size * batch * steps / arb(PF_DAY)

    play = rounding(lambda *numbers: float(days(*(arb(n.numerator) / n.denominator for n in numbers)).mid()), *constants)
    case = enclosed("6 N B S_min at 1 PF-day, in PF-days", days(*balls(*constants)), inquiry.formula(), play)
    return enumerated(inquiry, [case], Method.BALL, "table 6; constants within their digits", argument="one product in a ball")


def tokens_printed(inquiry: Inquiry) -> Evidence:
    return _rounded(
        inquiry, "2 C_min / 6 N at 1 PF-day, in 1e10 tokens", lambda size: 2 * arb(PF_DAY) / (6 * size * arb(10) ** 10), "4",
        ("1.3e9",), "N = 1.3e9 at 1 PF-day, table 6", argument="one quotient in a ball, at the ends of the constant's digits too",
    )


def tokens_digits(inquiry: Inquiry) -> Evidence:
    return _rounded(
        inquiry, "2 C_min / 6 N at 1 PF-day, in 1e10 tokens", lambda size: 2 * arb(PF_DAY) / (6 * size * arb(10) ** 10), "2.2",
        ("1.3e9",), "N = 1.3e9 at 1 PF-day, table 6", argument="one quotient in a ball, at the ends of the constant's digits too",
    )


def tokens_table(inquiry: Inquiry) -> Evidence:
    return _rounded(
        inquiry, "2 B S_min at 1 PF-day, in 1e10 tokens", lambda batch, steps: 2 * batch * steps / arb(10) ** 10, "2",
        ("2.0e6", "5.4e3"), "table 6", argument="one product in a ball, at the ends of the constants' digits too",
    )


def tokens_least(inquiry: Inquiry) -> Evidence:
    return _rounded(
        inquiry, "B S_min at 1 PF-day, in 1e10 tokens", lambda batch, steps: batch * steps / arb(10) ** 10, "2",
        ("2.0e6", "5.4e3"), "table 6", argument="one product in a ball, at the ends of the constants' digits too",
    )


def _meeting() -> dict[str, float]:
    """Where L(D(C)) and L(C_min) meet, with printed constants: log10 of compute, parameters, tokens; the loss."""
    compute_law, data_law = (PUBLISHED[f"kaplan2020_{name}"].law for name in ("efficient_compute", "data"))

    def difference(log_compute: Any) -> float:
        compute = float(mpmath.exp(log_compute))
        return float(data_law(D=2e10 * compute**0.27) - compute_law(C_min=compute))

    low, high = 0.0, 40.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if difference(middle) > 0 else (middle, high)
    compute = float(mpmath.exp(low))
    return {
        "log10 C": float(mpmath.log10(compute)),
        "log10 N": float(mpmath.log10(1.3e9 * compute**0.73)),
        "log10 D": float(mpmath.log10(2e10 * compute**0.27)),
        "L": float(compute_law(C_min=compute)),
    }


def contradiction(inquiry: Inquiry) -> Evidence:
    tolerances = {"log10 C": 1.0, "log10 N": 1.0, "log10 D": 1.0, "L": 0.05}
    cases = [Case(name, value, inquiry.formula(name), tolerances[name]) for name, value in _meeting().items()]
    return enumerated(inquiry, cases, Method.PROPERTY, "bisection; powers of ten up to one, as the paper has it, the loss to "
        "its digit")


def contradiction_nearest(inquiry: Inquiry) -> Evidence:
    found = _meeting()
    cases = [Case(name, found[name], inquiry.formula(name), 0.5) for name in ("log10 C", "log10 N", "log10 D")]
    return enumerated(inquiry, cases, Method.PROPERTY, "bisection; the nearest power of ten")


def contradiction_tokens(inquiry: Inquiry) -> Evidence:
    tokens = 10 ** (_meeting()["log10 D"] - 11)
    case = Case("tokens where the two laws meet, in 1e11", tokens, inquiry.formula(), 0.05)
    return enumerated(inquiry, [case], Method.PROPERTY, "bisection; two digits")
