"""How statements on networks are checked without building one: pieces of ReLU networks, routing constants, charts of spheres."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import sympy
from flint import arb

from headcount.claims._printed import balls, enclosed
from headcount.claims.checks import enumerated, identity
from headcount.claims.claim import Case, Evidence, Inquiry, Method


def relu_pieces(inquiry: Inquiry) -> Evidence:
    """The best line on a stretch of length h is off x^2 by h^2/8: deviation at the ends and in the middle, alternating."""
    left, length, slope, constant = sympy.symbols("a h s c", real=True)
    at_ends, at_middle = (
        sum(x**2 - slope * x - constant for x in places) for places in ((left, left + length), (left + length / 2,))
    )
    alternating = sympy.expand(at_ends - 2 * at_middle)
    pairs = {"e(a) - 2 e(a + h/2) + e(a + h), four times the least error": (alternating / 4, inquiry.formula(length))}
    return identity(
        inquiry, pairs,
        argument="any line's errors e at two ends and the middle have e(a) - 2 e(m) + e(b) = h^2/2, so that one of them is "
        "at least h^2/8; K pieces on [0, 1] have one of length 1/K at least; and a layer of w units cuts each piece into w + "
        "1 at most",
    )


def _interpolant_error(pieces: int) -> float:
    """Largest distance of x^2 from one hidden layer's interpolant with its line moved down by half, on a fine grid."""
    knots = np.linspace(0, 1, pieces + 1)
    x = np.linspace(0, 1, 64 * pieces + 1)
    slopes = np.diff(knots**2) * pieces
    bends = np.diff(slopes, prepend=0.0)
    network = np.maximum(x[:, None] - knots[None, :-1], 0) @ bends - 1 / (8 * pieces**2)
    return float(np.abs(network - x**2).max())


def relu_depth(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for pieces in (2, 8, 32, 128):
            error = _interpolant_error(pieces)
            words = f"one hidden layer of {pieces} units is off x^2 by {error:.3g}: hidden layers"
            yield Case(words, 1, inquiry.formula(error))

    return enumerated(inquiry, cases(), Method.PROPERTY, "x^2 on [0, 1], interpolants at evenly spaced knots, on grids of 64 "
                      "points a piece")


def _sawtooth_error(layers: int) -> Fraction:
    """Error of x - sum g_k/4^k, g_k the k-fold tent map, of x^2 on [0, 1]: exactly, at the middles of all dyadic pieces."""
    worst = Fraction(0)
    for place in range(2**layers):
        x = Fraction(2 * place + 1, 2 ** (layers + 1))
        tent, approximant = x, x
        for k in range(1, layers + 1):
            tent = 2 * tent if tent < Fraction(1, 2) else 2 - 2 * tent
            approximant -= tent / 4**k
        worst = max(worst, abs(approximant - x * x))
    return worst


def relu_depth_width(inquiry: Inquiry) -> list[Evidence]:
    """A layer of w units cuts every piece into w + 1 at most, so that L layers leave (w + 1)^L; each is off by h^2/8 or more."""
    layers, width, height = sympy.symbols("L w h", positive=True)
    pieces = (width + 1) ** layers
    # The least error that so many pieces allow: one of them is 1/pieces long or longer, and no line does better on it.
    slope, constant = sympy.symbols("s c", real=True)
    errors = [x**2 - slope * x - constant for x in (0, height / 2, height)]
    least = sympy.expand(errors[0] - 2 * errors[1] + errors[2]) / 4
    formula = inquiry.formula(least.subs(height, 1 / pieces), width)
    counted = identity(
        inquiry,
        {"hidden layers, at the least error that (w + 1)^L pieces allow": (
            layers, sympy.simplify(sympy.expand_log(sympy.sympify(formula), force=True)))},
        argument="on a linear piece each unit of the next layer is linear too and changes its sign once at most: w cuts, w + 1 "
        "pieces; after L layers (w + 1)^L, the longest at least (w + 1)^(-L) long, on which any line is off by a length squared "
        "over 8 (relu-pieces); the bound on L falls with the error",
    )

    def cases() -> Iterator[Case]:
        for number in range(1, inquiry.pick(6, 11, 14)):
            error = _sawtooth_error(number)
            words = f"{number} layers of 4 units (tent maps), off x^2 by {error}: hidden layers"
            yield Case(words, number, float(inquiry.formula(float(error), 4)), 1e-12)

    return [counted, enumerated(inquiry, cases(), Method.EXACT, "networks of tent maps, of 1 layer up")]


def _fraction(number: sympy.Expr) -> Fraction:
    """Exactly where it is rational, from its float otherwise."""
    return Fraction(int(number.p), int(number.q)) if number.is_Rational else Fraction(float(number))


def routing_lower(inquiry: Inquiry) -> Evidence:
    angle = sympy.Symbol("x", positive=True)
    if sympy.simplify(1 - sympy.cos(angle) - 2 * sympy.sin(angle / 2) ** 2) != 0:
        raise ArithmeticError("1 - cos x is not 2 sin(x/2)^2")
    # As sin y <= y the constant is at least 2/x^2, where x = pi/(2l) is the angle between neighbours.
    share = sympy.simplify(inquiry.formula(sympy.pi / (2 * angle)) * angle**2 / 2)
    share = share if share.is_number else share.subs(angle, sympy.Rational(1, 100))
    cases = [Case("2/x^2, in units of itself, against the formula", 1, _fraction(share))]
    cases += [
        enclosed(f"l = {length}: 1/(1 - cos(pi/(2l)))", 1 / (1 - (arb.pi() / (2 * length)).cos()), inquiry.formula(float(length)))
        for length in (2, 16, 64, 256, 1024)
    ]
    return enumerated(inquiry, cases, Method.SYMBOLIC, "any l, in symbols; l = 2 .. 1024 in balls besides",
                      argument="1/(1 - cos x) = 1/(2 sin(x/2)^2) >= 2/x^2 as sin y <= y, at x = pi/(2l)")


def routing_enough(inquiry: Inquiry) -> Evidence:
    """The largest score of a wrong pair, in units of M: a form's value of M, less C times the least bracket."""
    length = sympy.Symbol("l", positive=True)
    least = 1 - sympy.cos(sympy.pi / (2 * length))
    constant = inquiry.formula(length)
    score = sympy.simplify(1 - constant * least)
    score = score if score.is_number else score.subs(length, 2)
    case = Case("largest score of another pair, in units of M", _fraction(score), 0)
    return enumerated(inquiry, [case], Method.SYMBOLIC, "any l", argument="another pair has another target or another "
                      "source; its bracket is -(1 - cos(pi/(2l))) at most, and the form is M at most")


def positions(inquiry: Inquiry) -> Evidence:
    one, other, length = sympy.symbols("s t l", positive=True)
    first, second = (sympy.pi * token / (2 * length) for token in (one, other))
    product = sympy.cos(first) * sympy.cos(second) + sympy.sin(first) * sympy.sin(second)
    return identity(inquiry, {"inner product of two position rows": (product, inquiry.formula(one - other, length))},
                    argument="the formula for the cosine of a difference; angles in one quadrant, so that it falls with the "
                    "distance of the tokens")


def signed(inquiry: Inquiry) -> Evidence:
    score = sympy.Symbol("s", real=True)
    both = [(x + sympy.Abs(x)) / 2 for x in (score, -score)]
    return identity(inquiry, {"relu(s) - relu(-s)": (both[0] - both[1], inquiry.formula(score))},
                    argument="relu(s) = (s + |s|)/2")


def chart_radius(inquiry: Inquiry) -> Evidence:
    # On a sphere of radius 1 a point at the angle u from the centre is at the distance 2 sin(u/2) and projects to sin(u).
    angle = sympy.Symbol("u", positive=True)
    turning = sympy.solve(sympy.diff(sympy.sin(angle), angle), angle)[0]
    radius = sympy.simplify(2 * sympy.sin(turning / 2))
    middle = balls("2")[0].sqrt()
    if sympy.simplify(radius - sympy.sqrt(2)) != 0:
        raise ArithmeticError(f"the projection turns back at {radius}, not at the root of 2")
    case = enclosed("largest radius of a one-to-one chart of a sphere, over its reach", middle, inquiry.formula(), 0.0)
    return enumerated(inquiry, [case], Method.SYMBOLIC, "spheres of any dimension, by their great circles",
                      argument="the projection sin(u) grows until u = pi/2, at the distance 2 sin(pi/4) from the centre")
