"""The rates on a manifold derived with sympy: from the two parts of the risk to the exponents and the identity between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class RateDerivation:
    """The rates, step by step; all fields are sympy expressions in positive d, beta, n (samples), P (parameters), eps.

    Attributes:
        risk: eps^2 + eps^(-d/beta) / n, squared bias and entropy of a class of that accuracy; no constants, no logarithms.
        best_accuracy: the eps at which the risk is stationary.
        curvature: second derivative of the risk in ln eps, a sum of positive terms: that point is the only one, a minimum.
        best_risk: the risk there.
        data_exponent: -d ln best_risk / d ln n.
        model_error: eps^2 of a network of P parameters, from P = eps^(-d/beta).
        model_exponent: -d ln model_error / d ln P.
        best_parameters: eps^(-d/beta) at the best accuracy.
        inverse_difference: 1/data_exponent - 1/model_exponent.
        residuals: description of a step -> what has to be 0 there; each is simplified.
    """

    risk: Any
    best_accuracy: Any
    curvature: Any
    best_risk: Any
    data_exponent: Any
    model_error: Any
    model_exponent: Any
    best_parameters: Any
    inverse_difference: Any
    residuals: Mapping[str, Any]


@cache
def derive_rates() -> RateDerivation:
    """Minimises squared bias plus entropy over the accuracy, and reads the exponents off. Derived here; about a second, once.

    The premises are Havrilla and Liao 2024's: a class of eps^(-d/beta) parameters has an error of eps (theorem 2), the entropy of
    the class is of that order too up to logarithms, and the risk is at most of the order of squared bias plus entropy over n.
    What is derived is how the exponents follow from these: bounds of errors give exponents that they have at least.
    """
    import sympy

    d, beta, n, size, eps = sympy.symbols("d beta n P eps", positive=True)
    risk = eps**2 + eps ** (-d / beta) / n
    # In t = ln eps the risk is a sum of two exponentials: its derivative vanishes where two logarithms are equal, linear in t.
    t = sympy.Symbol("t", real=True)
    (best_t,) = sympy.solve(sympy.log(2) + 2 * t - (sympy.log(d / (beta * n)) - d * t / beta), t)
    best_accuracy = sympy.exp(best_t)
    slope = sympy.expand(eps * sympy.diff(risk, eps))
    curvature = sympy.expand(eps * sympy.diff(eps * sympy.diff(risk, eps), eps))
    bias, entropy = eps**2, eps ** (-d / beta) / n
    best_bias = sympy.exp(2 * best_t)
    # At the stationary point 2 bias = (d/beta) entropy, so that the risk is the bias times a number without n.
    best_risk = best_bias * (1 + 2 * beta / d)
    data_exponent = _log_slope(best_risk, n)
    model_error = size ** (-2 * beta / d)
    model_exponent = _log_slope(model_error, size)
    best_parameters = sympy.exp(-d * best_t / beta)
    difference = sympy.simplify(1 / data_exponent - 1 / model_exponent)
    log_bias, log_entropy = 2 * best_t, -d * best_t / beta - sympy.log(n)
    residuals = {
        "slope of the risk is 2 bias - (d/beta) entropy": slope - (2 * bias - d / beta * entropy),
        "curvature is 4 bias + (d/beta)^2 entropy": curvature - (4 * bias + (d / beta) ** 2 * entropy),
        "at the best accuracy: ln(2 bias) - ln((d/beta) entropy)": sympy.log(2) + log_bias - sympy.log(d / beta) - log_entropy,
        "risk there: ln(entropy / bias) - ln(2 beta / d)": log_entropy - log_bias - sympy.log(2 * beta / d),
        "best accuracy falls as n^(-beta/(2 beta + d))": _log_slope(best_accuracy, n) - beta / (2 * beta + d),
        "best parameters grow as n^(d/(2 beta + d))": -_log_slope(best_parameters, n) - d / (2 * beta + d),
        "error of P = eps^(-d/beta) parameters is eps": model_error.subs(size, eps ** (-d / beta)) - eps**2,
        "data exponent is 2 beta / (2 beta + d)": data_exponent - 2 * beta / (2 * beta + d),
        "model exponent is 2 beta / d": model_exponent - 2 * beta / d,
        "1/alpha_D - 1/alpha_N is 1": difference - 1,
    }
    return RateDerivation(
        risk, best_accuracy, curvature, best_risk, data_exponent, model_error, model_exponent, best_parameters, difference,
        MappingProxyType({words: _simplified(value) for words, value in residuals.items()}),
    )  # fmt: skip


def _simplified(expression: Any) -> Any:
    import sympy

    return sympy.simplify(sympy.expand(sympy.expand_log(sympy.powdenest(expression, force=True), force=True)))


def _log_slope(expression: Any, symbol: Any) -> Any:
    """-d ln expression / d ln symbol."""
    import sympy

    logarithm = sympy.expand_log(sympy.log(expression), force=True)
    return sympy.simplify(-symbol * sympy.diff(logarithm, symbol))
