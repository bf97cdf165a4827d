"""The compute-optimal allocation derived with sympy, from Lagrange's conditions to the closed form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from theory.scaling import HoffmannLaw


@dataclass(frozen=True)
class Derivation:
    """The allocation derived with sympy; all fields are sympy expressions in positive A, B, alpha, beta, C, k (FLOP per N D).

    Attributes:
        parameters, tokens: the optimum in closed form, from Lagrange's conditions.
        first_order: logarithm of the ratio of alpha A / N^alpha to beta B / D^beta at the optimum; 0.
        budget: logarithm of the ratio of k N D to C there; 0.
        exponents: d ln N / d ln C and d ln D / d ln C.
        curvature: second derivative of the loss in ln N along the budget, a sum of positive terms: the optimum is a minimum.
    """

    parameters: Any
    tokens: Any
    first_order: Any
    budget: Any
    exponents: tuple[Any, Any]
    curvature: Any


def derive_allocation() -> Derivation:
    """Minimises E + A/N^alpha + B/D^beta subject to k N D = C by Lagrange's multiplier, in logarithms where it is linear.

    Derived here; the result is equation 4 of Hoffmann et al. 2022. Takes seconds.
    """
    import sympy

    names = "A B alpha beta C k N D lambda"
    big_a, big_b, alpha, beta, compute, per, size, data, multiplier = sympy.symbols(names, positive=True)
    floor = sympy.Symbol("E", positive=True)
    loss = HoffmannLaw.formula(None, E=floor, A=big_a, B=big_b, alpha=alpha, beta=beta, N=size, D=data)
    lagrangian = loss + multiplier * (per * size * data - compute)
    # N dL/dN = D dL/dD: the multiplier's term is the same in both, and drops out.
    condition = sympy.simplify(size * sympy.diff(lagrangian, size) - data * sympy.diff(lagrangian, data))
    log_size, log_data = sympy.symbols("n d", real=True)
    marginal_size, marginal_data = alpha * big_a / size**alpha, beta * big_b / data**beta
    if sympy.simplify(condition + marginal_size - marginal_data) != 0:
        raise ArithmeticError("the first-order condition is not alpha A / N^alpha = beta B / D^beta")
    solution = sympy.solve(
        [
            sympy.log(alpha * big_a) - alpha * log_size - sympy.log(beta * big_b) + beta * log_data,
            log_size + log_data - sympy.log(compute / per),
        ],
        [log_size, log_data],
        dict=True,
    )[0]
    where = {size: sympy.exp(solution[log_size]), data: sympy.exp(solution[log_data])}
    along = loss.subs(data, compute / (per * size))
    curvature = size * sympy.diff(size * sympy.diff(along, size), size)
    return Derivation(
        where[size],
        where[data],
        _vanishing(marginal_size - marginal_data, where),
        _vanishing(per * size * data - compute, where),
        (_log_slope(where[size], compute), _log_slope(where[data], compute)),
        sympy.simplify(curvature),
    )


def _vanishing(difference: Any, where: Mapping[Any, Any]) -> Any:
    import sympy

    # Two positive terms are equal where the logarithm of their ratio is 0, which expands to something linear.
    first, second = difference.as_ordered_terms()
    ratio = sympy.expand_log(sympy.log((-first / second).subs(where)), force=True)
    return sympy.simplify(sympy.expand(sympy.simplify(ratio)))


def _log_slope(expression: Any, symbol: Any) -> Any:
    import sympy

    return sympy.simplify(symbol * sympy.diff(sympy.log(expression), symbol))
