"""What Kaplan et al. 2020 derive from their laws: how much data, which batch, how many steps, when to stop, which sizes waste.

Each function is one formula with the published constants as defaults (`theory.scaling.PUBLISHED`), so that another fit can be put
in their place. Parameters are non-embedding ones, a batch is counted in tokens. What is printed and what follows from the
printed constants differs in places, and the docstrings say where.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from theory.scaling import (
    PUBLISHED,
    CriticalBatchLaw,
    KaplanDataLaw,
    KaplanEfficientComputeLaw,
    KaplanJointLaw,
    KaplanParametersLaw,
    KaplanStepsLaw,
)
from theory.scaling_units import FLOPS_PER_PARAMETER_TOKEN, PF_DAY, Values, checked_values, plain

JOINT = cast(KaplanJointLaw, PUBLISHED["kaplan2020_joint"].law)
STEPS = cast(KaplanStepsLaw, PUBLISHED["kaplan2020_steps"].law)
PARAMETERS = cast(KaplanParametersLaw, PUBLISHED["kaplan2020_parameters"].law)
DATA = cast(KaplanDataLaw, PUBLISHED["kaplan2020_data"].law)
EFFICIENT_COMPUTE = cast(KaplanEfficientComputeLaw, PUBLISHED["kaplan2020_efficient_compute"].law)
CRITICAL_BATCH = cast(CriticalBatchLaw, PUBLISHED["kaplan2020_critical_batch"].law)

WEBTEXT2_TOKENS = 2.29e10
"""Tokens of Kaplan's training data, 20.3M documents in BPE of 50257 symbols."""
KAPLAN_BATCH_TOKENS = 512 * 1024
"""512 sequences of 1024 tokens: 2^19."""
KAPLAN_NUM_STEPS = 250_000
"""Steps of a run of theirs, 3000 of them warm-up: 5.7 times through WebText2."""


def kaplan_learning_rate(parameters: Values) -> Any:
    """0.003239 - 0.0001395 ln N, Kaplan's rule of thumb; ValueError where it isn't above 0 (N > 1.2e10).

    Kaplan et al. 2020, equation D.1. N non-embedding parameters, checked there up to 1e9 or so.
    """
    rate = 0.003239 - 0.0001395 * np.log(checked_values("parameters", parameters))
    if (rate <= 0).any():
        raise ValueError(f"parameters = {float(np.max(parameters)):g}: must be below 1.21e10 for a rate above 0")
    return plain(rate)


def overfitting_penalty(parameters: Values, tokens: Values, law: KaplanJointLaw = JOINT) -> Any:
    """dL = L(N, D) / L(N, infinity) - 1 = [1 + (N / N_c)^(alpha_N / alpha_D) D_c / D]^alpha_D - 1, a function of N^0.74 / D.

    Kaplan et al. 2020, equation 4.3, where the ratio N / N_c is easily read upside down. 0.74 is 0.076 / 0.103 of the joint fit;
    alpha_D = 0.095 of the law of one quantity would make it 0.80.
    """
    size, data = checked_values("parameters", parameters), checked_values("tokens", tokens)
    ratio = (size / law.N_c) ** (law.alpha_N / law.alpha_D) * law.D_c / data
    return plain(np.expm1(law.alpha_D * np.log1p(ratio)))


def overfitting_floor(parameters: Values, penalty: float = 0.02, law: KaplanJointLaw = JOINT) -> Any:
    """The fewest tokens for which `overfitting_penalty` is at most `penalty`: D = 5519 N^0.738 at 2 per cent.

    Printed as 5e3 N^0.74. A floor under the data of a model that trains until it converges, no rule for sharing out compute.
    Kaplan et al. 2020, equation 4.4, from 4.3.
    """
    size, most = checked_values("parameters", parameters), float(checked_values("penalty", penalty))
    ratio = np.expm1(np.log1p(most) / law.alpha_D)
    return plain(law.D_c * (size / law.N_c) ** (law.alpha_N / law.alpha_D) / ratio)


def minimum_steps(steps: Values, batch: Values, critical_batch: Values) -> Any:
    """S_min = S / (1 + B_crit / B): what S steps at batch B would be at a batch far above the critical one. Equation 5.4."""
    number, size, critical = _three("steps", steps, batch, critical_batch)
    return plain(number / (1 + critical / size))


def minimum_examples(examples: Values, batch: Values, critical_batch: Values) -> Any:
    """E_min = E / (1 + B / B_crit): the tokens that E = B S would be at a batch far below the critical one. From equation 5.1."""
    number, size, critical = _three("examples", examples, batch, critical_batch)
    return plain(number / (1 + size / critical))


def minimum_compute(compute: Values, batch: Values, critical_batch: Values) -> Any:
    """C_min = C / (1 + B / B_crit), in the unit of `compute`. Kaplan et al. 2020, equation 5.5."""
    number, size, critical = _three("compute", compute, batch, critical_batch)
    return plain(number / (1 + size / critical))


@dataclass(frozen=True)
class BatchCost:
    """Steps and tokens to a given loss at some batch, beside the least possible: (S/S_min - 1)(E/E_min - 1) = 1.

    Attributes:
        steps, examples: S and E = B S.
        steps_ratio, examples_ratio: S / S_min and E / E_min; both 2 at the critical batch.
    """

    steps: Any
    examples: Any
    steps_ratio: Any
    examples_ratio: Any


def batch_cost(batch: Values, least_steps: Values, critical_batch: Values) -> BatchCost:
    """Time (steps) against compute (tokens) at batch B: S = S_min (1 + B_crit / B), E = E_min (1 + B / B_crit).

    E_min = B_crit S_min. McCandlish et al. 2018 and Kaplan et al. 2020, equations 5.1 and 5.2. Raises ValueError for numbers that
    are not finite and > 0.
    """
    least, size, critical = _three("least_steps", least_steps, batch, critical_batch)
    in_steps, in_examples = 1 + critical / size, 1 + size / critical
    return BatchCost(*(plain(value) for value in (least * in_steps, critical * least * in_examples, in_steps, in_examples)))


def critical_batch(loss: Values, law: CriticalBatchLaw = CRITICAL_BATCH) -> Any:
    """B_crit in tokens at a loss in nats per token; doubles with every 13 per cent that the loss falls (2^-0.21 = 0.865)."""
    return law.batch(loss)


def earliest_stop(
    parameters: Values, tokens: Values, steps_law: KaplanStepsLaw = STEPS, joint_law: KaplanJointLaw = JOINT
) -> Any:
    """S_stop >= S_c / [L(N, D) - L(N, infinity)]^(1 / alpha_S): no stopping earlier than this, with D tokens to learn from.

    The steps at which a model with endless data would be as good as one with D tokens ever gets. Kaplan et al. 2020, equation
    5.7, which takes the constants of two fits.
    """
    size, data = checked_values("parameters", parameters), checked_values("tokens", tokens)
    loss = (joint_law.N_c / size) ** joint_law.alpha_N
    gap = loss * overfitting_penalty(size, data, joint_law)
    return plain(steps_law.S_c / gap ** (1 / steps_law.alpha_S))


def efficient_excess(law: KaplanStepsLaw = STEPS) -> float:
    """alpha_N / alpha_S: compute-efficient training stops so far, relatively, above the converged loss. 0.10, so at 1.10 times.

    Where N dL/dN = S dL/dS at N S = const. Kaplan et al. 2020, appendix B.
    """
    return law.alpha_N / law.alpha_S


@dataclass(frozen=True)
class StoppingComparison:
    """Two ways to one loss, stopping at (1 + f) L(N) for two f: quantities of the first relative to the second."""

    parameters_ratio: float
    steps_ratio: float
    compute_ratio: float


def compare_stopping(excess: float | None = None, other: float = 0.02, law: KaplanStepsLaw = STEPS) -> StoppingComparison:
    """A model stopped at (1 + `excess`) times its converged loss, against a smaller one trained to (1 + `other`), at equal loss.

    N ~ (1 + f)^(1 / alpha_N), S_min ~ (1 + 1/f)^(1 / alpha_S), and the critical batch is that of the loss, so compute is their
    product. `excess` is `efficient_excess` by default. Against 2 per cent: 2.71 times the parameters, 0.131 of the steps, 0.354
    of the compute; printed as 2.7, 7.7 times fewer (1 / 0.13; 7.64 by the constants) and 65 per cent less. Kaplan et al. 2020,
    appendix B.
    """
    first = efficient_excess(law) if excess is None else float(checked_values("excess", excess))
    second = float(checked_values("other", other))
    parameters = ((1 + first) / (1 + second)) ** (1 / law.alpha_N)
    steps = ((1 + 1 / first) / (1 + 1 / second)) ** (1 / law.alpha_S)
    return StoppingComparison(parameters, steps, parameters * steps)


def wrong_size_compute(size_ratio: Values, law: KaplanStepsLaw = STEPS) -> Any:
    """C / C_opt for a model of `size_ratio` times the compute-efficient size, at equal loss; infinity where it never gets there.

    r [1 + (alpha_S / alpha_N)(1 - r^-alpha_N)]^(-1 / alpha_S): 1.16 at r = 0.6 and 1.20 at 2.2, "about 20 per cent". Derived from
    L(N, S_min) at one critical batch; Kaplan et al. 2020, appendix B.
    """
    ratio = checked_values("size_ratio", size_ratio)
    left = 1 - (law.alpha_S / law.alpha_N) * np.expm1(-law.alpha_N * np.log(ratio))
    reached = left > 0
    steps = np.where(reached, np.where(reached, left, 1.0) ** (-1 / law.alpha_S), np.inf)
    return plain(ratio * steps)


def wrong_size_steps(size_ratio: Values, law: KaplanStepsLaw = STEPS) -> Any:
    """S / S_opt for such a model: the serial time that a larger one saves (0.55 at r = 2.2)."""
    return plain(np.asarray(wrong_size_compute(size_ratio, law)) / checked_values("size_ratio", size_ratio))


def compute_for_loss(loss_ratio: float, law: KaplanEfficientComputeLaw = EFFICIENT_COMPUTE) -> float:
    """How many times the compute a loss `loss_ratio` times as high needs: ratio^(-1 / alpha_C). 1.22 offsets 1 per cent."""
    return float(checked_values("loss_ratio", loss_ratio) ** (-1 / law.alpha_C))


@dataclass(frozen=True)
class EfficientExponents:
    """Exponents of compute-efficient training in C_min, from theory.

    Attributes:
        loss: x = 1 / (1/alpha_S + 1/alpha_B + 1/alpha_N), L ~ C_min^-x.
        parameters, batch, steps: of N, B and S; 1 together.
    """

    loss: float
    parameters: float
    batch: float
    steps: float

    @property
    def tokens(self) -> float:
        """Of D = B S."""
        return self.batch + self.steps


def efficient_exponents(law: KaplanStepsLaw = STEPS, batch_law: CriticalBatchLaw = CRITICAL_BATCH) -> EfficientExponents:
    """The harmonic sum of exponents; C_min ~ N B S at the optimum. Kaplan et al. 2020, equations 1.7, 1.8 and B.9.

    The constants give 0.0525 (0.0520 with alpha_N = 0.076 of the other fit); the paper prints 0.054 and 0.052 and fits 0.050. So
    N ~ C^0.68, where it prints 0.71 from theory and 0.73 from the fit.
    """
    loss = 1 / (1 / law.alpha_S + 1 / batch_law.alpha_B + 1 / law.alpha_N)
    return EfficientExponents(loss, loss / law.alpha_N, loss / batch_law.alpha_B, loss / law.alpha_S)


@dataclass(frozen=True)
class Contradiction:
    """Where the loss of compute-efficient training would fall below what its data allow: beyond, the laws contradict each other.

    Attributes:
        compute: C* in PF-days.
        parameters, tokens: N* and D*.
        loss: L*, nats per token.
    """

    compute: float
    parameters: float
    tokens: float
    loss: float


def contradiction(
    compute_law: KaplanEfficientComputeLaw = EFFICIENT_COMPUTE,
    data_law: KaplanDataLaw = DATA,
    *,
    tokens: tuple[float, float] = (2e10, 0.27),
    parameters: tuple[float, float] = (1.3e9, 0.73),
) -> Contradiction:
    """The crossing of L(C_min) with L(D(C_min)), for D = factor C^exponent and N likewise (C in PF-days).

    Data are needed as N^0.74, so as C^0.54, and come as C^0.27. C* = 1.1e4 PF-days, N* = 1.2e12, L* = 1.67 as printed (1e4,
    1e12, 1.7); D* is 2.5e11, and 4.5e11 by the other printed rule 4e10 C^0.26 at the same C*, where 1e12 is printed. Kaplan et
    al. 2020, section 6.3. Raises ValueError for numbers that are not > 0, or exponents with which the laws are parallel.
    """
    factor, power = (float(checked_values("tokens", number)) for number in tokens)
    size_factor, size_power = (float(checked_values("parameters", number)) for number in parameters)
    slope = compute_law.alpha_C - data_law.alpha_D * power
    needed = compute_law.alpha_C * np.log(compute_law.C_c) - data_law.alpha_D * np.log(data_law.D_c / factor)
    if abs(needed) >= 300 * abs(slope):  # e^300 PF-days
        parallel = compute_law.alpha_C / data_law.alpha_D
        raise ValueError(f"tokens = {tokens}: must have an exponent further from {parallel:g}, where the laws never cross")
    compute = float(np.exp(needed / slope))
    data = factor * compute**power
    return Contradiction(compute, size_factor * compute**size_power, data, float(data_law.loss(data)))


def tokens_of_compute(compute: Values, parameters: Values) -> Any:
    """E_min = C_min / (6 N) for C_min in PF-days: tokens at a batch far below the critical one; twice as many at it."""
    flops_per_token = FLOPS_PER_PARAMETER_TOKEN * checked_values("parameters", parameters)
    return plain(checked_values("compute", compute) * PF_DAY / flops_per_token)


def _three(name: str, number: Values, batch: Values, critical: Values) -> tuple[Any, Any, Any]:
    return checked_values(name, number), checked_values("batch", batch), checked_values("critical_batch", critical)
