"""The compute-optimal model that a fitted law gives at a budget, with its interval from the bootstrap."""

from dataclasses import dataclass

import numpy as np

from empirical._regression_lines import Estimate
from empirical.scaling_bootstrap import Bootstrap, allocation_cloud, percentiles
from theory.allocation import optimal_allocation
from theory.scaling import HoffmannLaw

FAR = 10.0
"""Budgets beyond this many times the largest compute in the table are far extrapolations."""


@dataclass(frozen=True)
class AllocationEstimate:
    """Where the loss is lowest with 6 N D = compute.

    Attributes:
        compute: C, FLOP.
        parameters, tokens, tokens_per_parameter, loss: N, D, D/N and nats per token, each with a bootstrap interval (NaN ends
            without).
        method: what the intervals are from.
        extrapolation: C over the largest C in the table.
        warnings: what weakens the estimate, one line each.
    """

    compute: float
    parameters: Estimate
    tokens: Estimate
    tokens_per_parameter: Estimate
    loss: Estimate
    method: str
    extrapolation: float
    warnings: tuple[str, ...]


def estimate_allocation(
    law: HoffmannLaw, bootstrap: Bootstrap | None, compute: float, level: float, largest: float
) -> AllocationEstimate:
    """The law's optimum and the percentiles of the resamples' optima. Raises ValueError for a budget that is not finite and >
    0."""
    optimum = optimal_allocation(law, compute)
    names = ("parameters", "tokens", "tokens_per_parameter", "loss")
    ends = dict.fromkeys(names, (float("nan"), float("nan")))
    warnings = list[str]()
    if bootstrap is None:
        warnings.append("no interval: the fit was made without a bootstrap")
    else:
        cloud = allocation_cloud(bootstrap, compute)
        ends = {name: percentiles(cloud[name].to_numpy(), level, num_failed=bootstrap.num_failed) for name in names}
        without = int(cloud["parameters"].isna().sum())
        if without:
            warnings.append(f"{without} of {len(cloud)} resamples have no optimum (an exponent is not > 0)")
        if np.isnan(ends["parameters"][0]):
            warnings.append(f"too few resamples with an optimum for a {level:.0%} interval")
    ratio = compute / largest
    if ratio > FAR:
        warnings.append(
            f"{compute:.3g} FLOP is {ratio:.3g} times the largest compute in the table ({largest:.3g}): beyond {FAR:g} times the "
            "interval says nothing about whether the law still holds"
        )
    estimates = {name: Estimate(float(getattr(optimum, name)), *ends[name], level) for name in names}
    method = "none" if bootstrap is None else f"bootstrap of {bootstrap.unit}"
    return AllocationEstimate(
        compute=float(compute), **estimates, method=method, extrapolation=float(ratio), warnings=tuple(warnings)
    )
