"""How to spend a compute budget: parameters against tokens, for the lowest loss, or for the lowest bill with inference in it.

For L = E + A/N^alpha + B/D^beta and C = 6 N D the optimum is N = G (C/6)^a, D = (C/6)^b / G with a = beta / (alpha + beta),
b = alpha / (alpha + beta): *the exponent of N has the other letter*. The steeper term needs less of its own resource. Texts that
print a = alpha / (alpha + beta), or use the letters alpha and beta a second time for a and b, hand N's budget to D:
`swapped_exponents` finds out, `derive_allocation` derives it, `brute_force_allocation` does without any derivation.

Two digits of an exponent are too few: at Gopher's 5.76e23 FLOP the printed constants of Hoffmann et al. 2022 give 32B parameters,
their unrounded ones 40B, the refit of Besiroglu et al. 2024 72B.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from theory._allocation_derivation import Derivation as Derivation
from theory._allocation_derivation import derive_allocation as derive_allocation
from theory.scaling import PUBLISHED, HoffmannLaw
from theory.scaling_units import FLOPS_PER_PARAMETER_TOKEN, PF_DAY, Values, checked_values, plain

INFERENCE_FLOPS_PER = 2.0
"""FLOP per parameter and token of a forward pass."""
GOPHER_COMPUTE = 5.76e23
"""FLOP of Gopher's training, at which Hoffmann et al. 2022 train Chinchilla (70B parameters, 1.4T tokens)."""


@dataclass(frozen=True, eq=False)
class Allocation:
    """One way to spend a budget; floats, or arrays of one shape for an array of budgets.

    Attributes:
        compute: FLOP (for Kaplan's C_min see `KaplanAllocation`).
        parameters, tokens: N and D, as the law counts them.
        loss: nats per token.
        tokens_per_parameter: D / N.
    """

    compute: Any
    parameters: Any
    tokens: Any
    loss: Any
    tokens_per_parameter: Any


@dataclass(frozen=True, eq=False)
class KaplanAllocation(Allocation):
    """What Kaplan et al. 2020 recommend. `compute` is C_min in FLOP: what the loss would cost far below the critical batch.

    Attributes:
        batch_tokens: tokens per batch, 2.0e6 C^0.24.
        minimum_steps: S_min, 5.4e3 C^0.03; a run at the critical batch takes twice as many.
        flops: 6 N D. At D = 2e10 C^0.27 it is 1.8 C_min, nearly the 2 C_min of a run at the critical batch.
    """

    batch_tokens: Any
    minimum_steps: Any
    flops: Any


@dataclass(frozen=True)
class PublishedExponents:
    """Exponents N ~ C^a, D ~ C^b as printed, with 10th and 90th percentiles over 100 subsamples of 80 per cent where given."""

    a: float
    b: float
    a_percentiles: tuple[float, float] | None
    b_percentiles: tuple[float, float] | None
    source: str


EXPONENTS: Mapping[str, PublishedExponents] = MappingProxyType(
    {
        "envelope": PublishedExponents(0.50, 0.50, (0.488, 0.502), (0.501, 0.512), "Hoffmann et al. 2022, table 2, approach 1"),
        "isoFLOP": PublishedExponents(0.49, 0.51, (0.462, 0.534), (0.483, 0.529), "Hoffmann et al. 2022, table 2, approach 2"),
        "parametric": PublishedExponents(0.46, 0.54, (0.454, 0.455), (0.542, 0.543), "Hoffmann et al. 2022, table 2, approach 3"),
        "Kaplan": PublishedExponents(0.73, 0.27, None, None, "Kaplan et al. 2020, as quoted in Hoffmann et al. 2022, table 2"),
    }
)
"""Approach -> exponents. Those of approach 3 follow from no published constants: .4516 rounded, .4565 unrounded."""


def allocation_exponents(law: HoffmannLaw) -> tuple[float, float]:
    """(a, b) of N ~ C^a and D ~ C^b: a = beta / (alpha + beta), b = alpha / (alpha + beta), a + b = 1.

    Hoffmann et al. 2022, equation 4.
    """
    total = law.alpha + law.beta
    return law.beta / total, law.alpha / total


def optimal_allocation(law: HoffmannLaw, compute: Values, *, flops_per: float = FLOPS_PER_PARAMETER_TOKEN) -> Allocation:
    """The N and D of lowest loss with `flops_per` N D = `compute` FLOP. Hoffmann et al. 2022, equation 4.

    Raises ValueError for numbers that are not finite and > 0.
    """
    budget = checked_values("compute", compute)
    product = budget / float(checked_values("flops_per", flops_per))
    a, b = allocation_exponents(law)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        parameters, tokens = law.balance * product**a, product**b / law.balance
    return _allocation(law, budget, parameters, tokens)


def brute_force_allocation(
    law: HoffmannLaw, compute: float, *, flops_per: float = FLOPS_PER_PARAMETER_TOKEN, points: int = 2001
) -> Allocation:
    """The same by search alone: the lowest of `points` log-spaced N, refined between its neighbours by golden section.

    For checking `optimal_allocation`, which it shares nothing with: the grid covers thirty decades of N around the square root of
    the budget. A minimum is found to about 1e-8 of ln N, as the loss is flat there. Raises ValueError for numbers out of range,
    and where the minimum lies at the grid's edge.
    """
    product = float(checked_values("compute", compute)) / float(checked_values("flops_per", flops_per))

    def reducible(log_parameters: Any) -> Any:
        # Without E, whose digits would drown those of the rest.
        return law.A * np.exp(-law.alpha * log_parameters) + law.B * np.exp(-law.beta * (np.log(product) - log_parameters))

    grid = np.log(product) / 2 + np.linspace(-15, 15, points) * np.log(10)
    best = int(np.argmin(reducible(grid)))
    if best in (0, points - 1):
        raise ValueError(f"compute = {compute:g}: must have its optimum within 15 decades of N = D for this law")
    found = minimize_scalar(
        reducible, bracket=(grid[best - 1], grid[best], grid[best + 1]), method="golden", options={"xtol": 1e-12}
    )
    parameters = float(np.exp(found.x))
    return _allocation(law, float(compute), parameters, product / parameters)


def kaplan_allocation(compute: Values) -> KaplanAllocation:
    """Kaplan's sizes for C_min FLOP: N = 1.3e9 C^0.73 (non-embedding), D = 2e10 C^0.27, batch 2.0e6 C^0.24, S_min = 5.4e3 C^0.03.

    C in PF-days inside; `loss` is that of L(C_min). Kaplan et al. 2020, table 6 and section 6. The printed prefactors bear
    checking: C_min = 6 N E_min at 1 PF-day makes E_min = 1.1e10 tokens, which is B S_min, and 2 E_min = 2.2e10 those of a run at
    the critical batch. So 2e10 belongs to C = 2 C_min, and the text's D = 2 C_min / 6 N = 4e10 C^0.26 is twice what it says.
    """
    budget = checked_values("compute", compute)
    days = budget / PF_DAY
    parameters, tokens = 1.3e9 * days**0.73, 2e10 * days**0.27
    loss = PUBLISHED["kaplan2020_efficient_compute"].law(C_min=days)
    values = (budget, parameters, tokens, loss, tokens / parameters, 2.0e6 * days**0.24, 5.4e3 * days**0.03)
    return KaplanAllocation(*(plain(value) for value in (*values, FLOPS_PER_PARAMETER_TOKEN * parameters * tokens)))


class ExponentVerdict(StrEnum):
    """What a claimed exponent of N is."""

    RIGHT = "right"
    SWAPPED = "swapped"
    NEITHER = "neither"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class ExponentClaim:
    """A claimed exponent of N held against a law.

    Attributes:
        claimed: N ~ C^claimed.
        parameters_exponent, tokens_exponent: a and b of the law.
        verdict: "swapped" where it is the tokens' exponent; "cannot tell" where it is within `tolerance` of both.
        tolerance: half a unit of the last digit claimed.
    """

    claimed: float
    parameters_exponent: float
    tokens_exponent: float
    verdict: ExponentVerdict
    tolerance: float


def swapped_exponents(law: HoffmannLaw, claimed_a: float, *, tolerance: float = 0.005) -> ExponentClaim:
    """Whether an exponent claimed for N is N's, or D's under the wrong name. Raises ValueError for numbers that are not > 0.

    `tolerance` is what rounding may do: 0.005 for two digits. The law's own constants are taken as exact.
    """
    claimed, slack = float(checked_values("claimed_a", claimed_a)), float(checked_values("tolerance", tolerance))
    a, b = allocation_exponents(law)
    right, wrong = abs(claimed - a) <= slack, abs(claimed - b) <= slack
    verdict = {
        (True, True): ExponentVerdict.CANNOT_TELL,
        (True, False): ExponentVerdict.RIGHT,
        (False, True): ExponentVerdict.SWAPPED,
        (False, False): ExponentVerdict.NEITHER,
    }[right, wrong]
    return ExponentClaim(claimed, a, b, verdict, slack)


@dataclass(frozen=True)
class InferenceAllocation:
    """The cheapest model of a given loss when so many tokens will be asked of it, and the reference it replaces.

    Attributes:
        parameters, tokens: N and D_tr.
        loss: of both.
        inference_tokens: D_inf.
        training_flops, inference_flops: of the new model.
        cost: in the prices given; FLOP where none were.
        reference: the model it replaces, compute-optimal for the loss unless one was given by both numbers.
        reference_cost: its training and inference in the same prices.
    """

    parameters: float
    tokens: float
    loss: float
    inference_tokens: float
    training_flops: float
    inference_flops: float
    cost: float
    reference: Allocation
    reference_cost: float

    @property
    def tokens_per_parameter(self) -> float:
        """D_tr / N."""
        return self.tokens / self.parameters

    @property
    def saving(self) -> float:
        """What the new model saves, in the unit of `cost`."""
        return self.reference_cost - self.cost

    @property
    def saving_share(self) -> float:
        """The saving relative to the cost of the reference."""
        return self.saving / self.reference_cost


def inference_allocation(
    law: HoffmannLaw,
    *,
    inference_tokens: float,
    loss: float | None = None,
    parameters: float | None = None,
    tokens: float | None = None,
    compute: float | None = None,
    train_flops: float = FLOPS_PER_PARAMETER_TOKEN,
    inference_flops: float = INFERENCE_FLOPS_PER,
    train_price: float = 1.0,
    inference_price: float = 1.0,
    train_utilisation: float = 1.0,
    inference_utilisation: float = 1.0,
) -> InferenceAllocation:
    """Minimises training plus inference, 6 N D_tr + 2 N D_inf, among models of one loss. Sardana et al. 2024, equations 2 and 4.

    At the optimum alpha A / N^alpha = (beta B / D^beta) (1 + r D_inf / D) with r the cost ratio of inference to training, 1/3 in
    FLOP. In s, the parameters' share of L - E, the left side grows and the right one falls: there is exactly one (derived here).

    Args:
        law: Hoffmann's; two digits in its exponents change the answer by half.
        inference_tokens: D_inf >= 0.
        loss: that wanted, above E; or instead of it a reference model:
        parameters, tokens: one of them, the other compute-optimal, or both as they are;
        compute: FLOP of training a compute-optimal reference.
        train_flops, inference_flops: per parameter and token.
        train_price, inference_price: per FLOP at full use of the machine.
        train_utilisation, inference_utilisation: share of the machine's FLOP that is used; above 0, at most 1.

    Raises:
        ValueError: no or more than one reference, a loss not above E, numbers out of range.
    """
    asked = float(checked_values("inference_tokens", inference_tokens, zero=True))
    prices = []
    for kind, flops, price, used in (
        ("train", train_flops, train_price, train_utilisation),
        ("inference", inference_flops, inference_price, inference_utilisation),
    ):
        share = float(checked_values(f"{kind}_utilisation", used))
        if share > 1:
            raise ValueError(f"{kind}_utilisation = {share}: must be above 0 and at most 1")
        prices.append(float(checked_values(f"{kind}_flops", flops)) * float(checked_values(f"{kind}_price", price)) / share)
    reference = _reference(law, train_flops, loss, parameters, tokens, compute)
    # L - E from its terms: as a difference it would lose the digits of E.
    gap = law.A / reference.parameters**law.alpha + law.B / reference.tokens**law.beta
    best = _cheapest(law, gap, asked * prices[1] / prices[0])
    size, data = best
    _allocation(law, 0.0, size, data)  # refuses what float64 can't hold
    return InferenceAllocation(
        size,
        data,
        float(reference.loss),
        asked,
        train_flops * size * data,
        inference_flops * size * asked,
        size * (prices[0] * data + prices[1] * asked),
        reference,
        float(reference.parameters) * (prices[0] * float(reference.tokens) + prices[1] * asked),
    )


def _cheapest(law: HoffmannLaw, gap: float, weighted_tokens: float) -> tuple[float, float]:
    """N and D of the lowest N (D + weighted tokens) with A/N^alpha + B/D^beta = gap, through t = log(s / (1 - s))."""

    def log_tokens(t: float) -> float:
        return float((np.log(law.B / gap) + np.logaddexp(0, t)) / law.beta)

    def excess(t: float) -> float:
        # log of (alpha A / N^alpha) / ((beta B / D^beta) (1 + weighted / D)); strictly increasing in t.
        extra = np.logaddexp(0, np.log(weighted_tokens) - log_tokens(t)) if weighted_tokens else 0.0
        return float(t + np.log(law.alpha / law.beta) - extra)

    start = float(np.log(law.beta / law.alpha))  # the optimum without inference, where the excess is <= 0 but for rounding
    end = start + 1.0
    while excess(end) < 0:
        end = start + 2 * (end - start)
    t = start if excess(start) >= 0 else float(brentq(excess, start, end, xtol=1e-14, rtol=1e-14))
    log_parameters = (np.log(law.A / gap) + np.logaddexp(0, -t)) / law.alpha
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(log_parameters)), float(np.exp(log_tokens(t)))


def _reference(
    law: HoffmannLaw,
    train_flops: float,
    loss: float | None,
    parameters: float | None,
    tokens: float | None,
    compute: float | None,
) -> Allocation:
    ways = [loss is not None, compute is not None, parameters is not None or tokens is not None]
    if sum(ways) != 1:
        raise ValueError(f"{sum(ways)} references given: must be one of loss, compute, parameters and/or tokens")
    if compute is not None:
        return optimal_allocation(law, compute, flops_per=train_flops)
    if loss is not None:
        wanted = float(checked_values("loss", loss))
        if wanted <= law.E:
            raise ValueError(f"loss = {wanted}: must be above the law's E = {law.E}")
        size, data = _cheapest(law, wanted - law.E, 0.0)
    else:
        size = float(checked_values("parameters", parameters)) if parameters is not None else law.paired_parameters(tokens or 0.0)
        data = float(checked_values("tokens", tokens)) if tokens is not None else law.paired_tokens(size)
    return _allocation(law, train_flops * size * data, size, data)


def _allocation(law: HoffmannLaw, compute: Any, parameters: Any, tokens: Any) -> Allocation:
    for name, numbers in (("parameters", parameters), ("tokens", tokens)):
        if not (np.isfinite(numbers) & (np.asarray(numbers) > 0)).all():
            raise ValueError(f"law = {law}: must have an optimum that float64 can hold, but {name} are none")
    loss = law.loss(parameters, tokens)
    return Allocation(*(plain(value) for value in (compute, parameters, tokens, loss, np.divide(tokens, parameters))))
