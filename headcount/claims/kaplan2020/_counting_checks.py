"""How counts of parameters and operations are checked: matrix by matrix, and by torch's own counter of operations."""

from collections.abc import Iterator
from fractions import Fraction
from math import exp, log

import sympy
import torch
from flint import arb, fmpq
from scipy.optimize import brentq, minimize_scalar
from torch.utils.flop_counter import FlopCounterMode

from headcount.claims._printed import enclosed
from headcount.claims.checks import enumerated, identity
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from theory.scaling import PUBLISHED
from theory.scaling_units import PearceSongCounting

SIZES = ((1, 4), (2, 8), (3, 12), (4, 32))
CONTEXTS = (1, 2, 5, 16)


def _shapes(width: int, attention: int, hidden: int) -> list[tuple[int, int]]:
    """The weight matrices of one layer: queries, keys, values, output, and the two of the network."""
    return [(width, attention)] * 3 + [(attention, width), (width, hidden), (hidden, width)]


def parameters(inquiry: Inquiry) -> tuple[Evidence, Evidence]:
    width, attention, hidden, layers = sympy.symbols("m a h L", positive=True)
    counted = layers * sum(rows * columns for rows, columns in _shapes(width, attention, hidden))
    proof = identity(
        inquiry, {"entries of all matrices": (counted, inquiry.formula(layers, width, attention, hidden))},
        argument="the entries of the six matrices of a layer, added up in symbols",
    )
    return proof, enumerated(inquiry, _modules(inquiry), Method.EXACT, "torch modules of 1 to 4 layers, width 4 to 32, no biases")


def _modules(inquiry: Inquiry) -> Iterator[Case]:
    for layers, width in SIZES:
        block = torch.nn.ModuleList(
            [torch.nn.MultiheadAttention(width, 2, bias=False), torch.nn.Linear(width, 4 * width, bias=False),
             torch.nn.Linear(4 * width, width, bias=False)]
        )
        counted = layers * sum(weights.numel() for weights in block.parameters())
        words = f"n_layer = {layers}, d_model = {width}: parameters"
        yield Case(words, counted, inquiry.formula(layers, width, width, 4 * width))


def parameters_short(inquiry: Inquiry) -> Evidence:
    width, layers = sympy.symbols("m L", positive=True)
    counted = layers * sum(rows * columns for rows, columns in _shapes(width, width, 4 * width))
    return identity(
        inquiry, {"entries of all matrices": (counted, inquiry.formula(layers, width))},
        argument="the entries of the six matrices of a layer, added up in symbols",
    )


def _operations(layers: int, width: int, context: int, *, backward: bool = False, attend: bool = True) -> int:
    """Floating-point operations of one sequence, counted by torch while they are done, without masks."""
    weights = [
        [torch.zeros(shape, requires_grad=backward) for shape in _shapes(width, width, 4 * width)] for _ in range(layers)
    ]
    rows = torch.zeros(context, width, requires_grad=backward)
    with FlopCounterMode(display=False) as counter:
        for query, key, value, output, first, second in weights:
            queries, keys, values = rows @ query, rows @ key, rows @ value
            mixed = (queries @ keys.T) @ values if attend else queries + keys + values
            rows = (mixed @ output) @ first @ second
        if backward:
            rows.sum().backward()
    return int(counter.get_total_flops())


def forward_dense(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for layers, width in SIZES:
            for context in CONTEXTS:
                words = f"n_layer = {layers}, d_model = {width}, n_ctx = {context}: operations per token"
                done = Fraction(_operations(layers, width, context), context)
                yield Case(words, done, inquiry.formula(layers, width, context))

    return enumerated(inquiry, cases(), Method.EXACT, "forward passes counted by torch, every query times every key")


def forward_causal(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for layers, width in SIZES:
            for context in CONTEXTS:
                maps = Fraction(_operations(layers, width, context, attend=False), context)
                # Position t multiplies its query with t keys, and weighs t values: 2 operations per entry, both.
                looks = Fraction(sum(4 * position * width for position in range(1, context + 1)), context)
                words = f"n_layer = {layers}, d_model = {width}, n_ctx = {context}: operations per token"
                yield Case(words, maps + layers * looks, inquiry.formula(layers, width, context))

    width, layers, context, position = sympy.symbols("m L n t", positive=True, integer=True)
    looks = sympy.summation(4 * position * width, (position, 1, context)) / context
    total = layers * (2 * sum(rows * columns for rows, columns in _shapes(width, width, 4 * width)) + looks)
    if sympy.simplify(total - inquiry.formula(layers, width, context)) != 0:
        return enumerated(inquiry, cases(), Method.EXACT, "position by position")
    return enumerated(
        inquiry, cases(), Method.EXACT, "maps counted by torch, looks at earlier positions one by one",
        argument="the sum over positions and matrices, in symbols",
    )


def training(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for layers, width in SIZES:
            for context in CONTEXTS:
                number = layers * sum(rows * columns for rows, columns in _shapes(width, width, 4 * width))
                both = _operations(layers, width, context, backward=True, attend=False)
                words = f"n_layer = {layers}, d_model = {width}, {context} tokens: operations per parameter and token"
                yield Case(words, Fraction(both, number * context), inquiry.formula())

    return enumerated(
        inquiry, cases(), Method.EXACT, "forward and backward passes counted by torch, products with weights alone",
        argument="a product with a weight matrix takes 2 operations per entry and token, its gradients by the weights and by "
            "what "
        "it was applied to 2 each; the lowest layer's counts too, since what is below, the embedding, is trained",
    )


def context_share(inquiry: Inquiry) -> Evidence:
    width, layers, context = sympy.symbols("m L n", positive=True)
    share = (2 * layers * context * width) / (2 * layers * sum(r * c for r, c in _shapes(width, width, 4 * width)))
    return identity(
        inquiry, {"share of the term with n_ctx, of that with N": (share, inquiry.formula(width, context))},
        argument="both terms are written out; they are equal at d_model = n_ctx / 12",
    )


def learning_rate_ends(inquiry: Inquiry) -> Evidence:
    # The rule is linear in ln N; its zero is the quotient of its constants.
    zero = arb(fmpq(3239, 10**6) / fmpq(1395, 10**7)) / arb(10).log()
    case = enclosed("log10 of the N at which the learning rate is 0", zero, inquiry.formula(), 0.5)
    return enumerated(
        inquiry, [case], Method.BALL, "the rule's zero in a ball; N to the nearest power of ten",
        argument="the rule falls in ln N and is linear there, so that it has one zero",
    )


def _log_size(log_compute: float) -> float:
    """ln N without embedding at the optimum of C = 6 N D by Besiroglu's law of total parameters, by search: good to 1e-5."""
    constants, counting = PUBLISHED["besiroglu2024"].law.constants, PearceSongCounting()

    def reducible(log_parameters: float) -> float:
        total = exp(log_parameters) + counting.coefficient * exp(log_parameters / 3)
        tokens = exp(log_compute - log_parameters) / 6
        return constants["A"] / total ** constants["alpha"] + constants["B"] / tokens ** constants["beta"]

    return float(minimize_scalar(reducible, bounds=(1, 40), method="bounded", options={"xatol": 1e-7}).x)


def counting_slope(inquiry: Inquiry) -> Evidence:
    num = inquiry.pick(200, 1000, 4000)
    # Budgets at which the optimum runs over the sizes of Kaplan et al.
    low, high = (brentq(lambda budget, end=end: _log_size(budget) - log(end), 20, 70, xtol=1e-4) for end in (768, 1.5e9))
    budgets = [low + (high - low) * place / (num - 1) for place in range(num)]
    sizes = [_log_size(budget) for budget in budgets]
    mean = sum(budgets) / num
    slope = sum((x - mean) * y for x, y in zip(budgets, sizes, strict=True)) / sum((x - mean) ** 2 for x in budgets)
    case = Case("least-squares slope of ln N* against ln C, N* from 768 to 1.5e9", slope, inquiry.formula(), 0.005)
    return enumerated(inquiry, [case], Method.PROPERTY, f"{num} budgets, each optimum by search; slope to the printed digit")


def counting_limits(inquiry: Inquiry) -> Evidence:
    """Both limits of the local slope, from the condition for an optimum, in symbols."""
    alpha, beta, root, omega, ratio = sympy.symbols("alpha beta w omega r", positive=True)
    slope, bend = sympy.symbols("s k")
    # With w = N^(1/3) and e = d ln N_T / d ln N the optimum balances alpha e A/N_T^alpha and beta B/D^beta. The derivative of the
    # logarithms by ln C, with d ln D = d ln C - d ln N and k = d ln e / d ln N, is (k - alpha e) s = -beta (1 - s).
    elasticity = sympy.cancel(root / 3 * sympy.diff(sympy.log(root**3 + omega * root), root))
    bending = sympy.cancel(root / 3 * sympy.diff(elasticity, root) / elasticity)
    (found,) = sympy.solve(sympy.Eq((bend - alpha * ratio) * slope, -beta * (1 - slope)), slope)
    share = root**2 / (root**2 + omega)  # q, what N is of N_T
    pairs = {"k, less (4/9) q (1 - q)/e": (sympy.cancel(bending - share * (1 - share) * sympy.Rational(4, 9) / elasticity), 0)}
    for words, end, value in (("large N", sympy.oo, sympy.Integer(1)), ("small N", sympy.Integer(0), sympy.Rational(1, 3))):
        limits = {ratio: sympy.limit(elasticity, root, end), bend: sympy.limit(bending, root, end)}
        pairs[words] = (found.subs(limits), inquiry.formula(alpha, beta, value))
    return identity(
        inquiry, pairs,
        argument="the local slope is beta/(beta + alpha e - k) with k = (4/9) q (1 - q)/e, q the share that N has of all "
        "parameters: rational in N^(1/3); q tends to 1 or 0, so that k vanishes at both ends, and e tends to 1 or 1/3",
    )
