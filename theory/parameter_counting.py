"""How Hoffmann's optimum looks to someone who counts parameters without the embedding: nearly Kaplan's exponent.

Take Hoffmann's law in total parameters as true and minimise it over models of equal *non-embedding* compute C = 6 N D. As small
models are mostly embedding, N_total grows as N^(1/3) at first, and the optimal N looks like C^0.76 for the tiniest of models,
steeper still in between, and C^a only in the limit. A straight line through Kaplan's range of sizes gets 0.79 (constants of
Besiroglu et al. 2024). Pearce and Song 2024; the closed forms of local slopes and limits are derived here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from theory.allocation import allocation_exponents
from theory.scaling import HoffmannLaw
from theory.scaling_units import FLOPS_PER_PARAMETER_TOKEN, PearceSongCounting, checked_values

KAPLAN_SIZES = (768.0, 1.5e9)
"""Non-embedding parameters of the smallest and the largest model of Kaplan et al. 2020."""


@dataclass(frozen=True, eq=False)
class ReconciledExponents:
    """The optimum in non-embedding terms at every size, and its exponents.

    Attributes:
        parameters: N, non-embedding, float64 (sizes,), ascending.
        total_parameters: of the same models.
        tokens: D with which N is optimal.
        compute: C = 6 N D, non-embedding FLOP.
        loss: nats per token.
        local_slopes: d ln N / d ln C at each size.
        global_slope: of the least-squares line of ln N on ln C: the exponent that would be published.
        tiny_limit, large_limit: of the local slope for N -> 0 and N -> infinity.
        loss_exponent: slope of the least-squares line of ln L on ln C (no floor taken off, as Kaplan's laws have none); negative.
    """

    parameters: Float[np.ndarray, " sizes"]
    total_parameters: Float[np.ndarray, " sizes"]
    tokens: Float[np.ndarray, " sizes"]
    compute: Float[np.ndarray, " sizes"]
    loss: Float[np.ndarray, " sizes"]
    local_slopes: Float[np.ndarray, " sizes"]
    global_slope: float
    tiny_limit: float
    large_limit: float
    loss_exponent: float


def kaplan_sizes(number: int = 20) -> Float[np.ndarray, " sizes"]:
    """Log-spaced sizes over Kaplan's range, 768 to 1.5e9."""
    return np.geomspace(*KAPLAN_SIZES, number)


def reconciliation(
    law: HoffmannLaw, sizes: Float[np.ndarray, " sizes"] | None = None, counting: PearceSongCounting | None = None
) -> ReconciledExponents:
    """Optimal training of models of these non-embedding `sizes`, 20 over Kaplan's range by default, by a law in total parameters.

    The condition is alpha A N_T^-alpha (d ln N_T / d ln N) = beta B D^-beta, which gives D, then C. With q the embedding's share
    and e = 1 - 2q/3 the elasticity of N_T, d ln D / d ln N = (alpha e - (4/9) q (1 - q) / e) / beta. Where that is above -1, and
    nowhere else, the condition marks a minimum, and C grows with N. Pearce and Song 2024, section 3; the slopes derived here.

    Raises ValueError for a law fitted to non-embedding parameters, fewer than two sizes, sizes that are not ascending and > 0,
    and sizes at which there is no minimum.
    """
    if law.parameter_unit != "total parameters":
        raise ValueError(f"law has N in {law.parameter_unit}: must be in total parameters")
    rule = PearceSongCounting() if counting is None else counting
    small = checked_values("sizes", kaplan_sizes() if sizes is None else sizes)
    if small.ndim != 1 or small.size < 2 or (np.diff(small) <= 0).any():
        raise ValueError(f"sizes has shape {small.shape}: must be at least two ascending numbers")
    total, share = rule.total(small), rule.embedding_share(small)
    elasticity = 1 - (2 / 3) * share
    tokens = (law.beta * law.B * total**law.alpha / (law.alpha * law.A * elasticity)) ** (1 / law.beta)
    growth = (law.alpha * elasticity - (4 / 9) * share * (1 - share) / elasticity) / law.beta
    if (growth <= -1).any():
        raise ValueError(f"sizes = {small[growth <= -1][0]:g}: must be where compute grows with the optimal size")
    compute = FLOPS_PER_PARAMETER_TOKEN * small * tokens
    loss = np.asarray(law.loss(total, tokens))
    return ReconciledExponents(
        small,
        total,
        tokens,
        compute,
        loss,
        1 / (1 + growth),
        _slope(compute, small),
        law.beta / (law.alpha / 3 + law.beta),
        allocation_exponents(law)[0],
        _slope(compute, loss),
    )


def _slope(x: Any, y: Any) -> float:
    """Of the least-squares line of ln y on ln x."""
    logs = np.log(x) - np.log(x).mean()
    return float(logs @ np.log(y) / (logs @ logs))
