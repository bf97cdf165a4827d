"""What both approaches without a law share: the optima of a table, the power laws through them, and their tables."""

from dataclasses import dataclass
from math import exp, inf, log, nan
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from empirical._scaling_groups import RefusedGroup
from empirical._scaling_points import ScalingPoints
from empirical.regression import Estimate, line
from theory.scaling_units import FLOPS_PER_PARAMETER_TOKEN

if TYPE_CHECKING:
    import pandas as pd

OPTIMA = ("compute", "parameters", "parameters_low", "parameters_high", "tokens", "loss", "num_points")
MEMBERS = ("group", "parameters", "tokens", "compute", "loss", "adjusted_loss", "kept")
CURVES = ("group", "parameters", "tokens", "compute", "loss", "kept")
Columns = list[np.ndarray]
"""Rows of one group, column by column."""
DRIFT = 0.3
"""Decades that the middle of the sizes may move against the optimum, over all budgets, before a note says so."""


@dataclass(frozen=True, eq=False)
class Approach:
    """Best N and D at each budget, and the power laws N_opt = prefactor C^a and D_opt = prefactor C^b through them (C in FLOP).

    Attributes:
        name: "iso-flop" or "envelope".
        parameters_exponent, parameters_prefactor: of N_opt, with bootstrap intervals. They know of noise in the losses alone.
        tokens_exponent, tokens_prefactor: of D_opt.
        scatter_exponent: a again with Student's interval from the scatter of the optima about their line, which also sees what
            parabolas get wrong differently at each budget: of the two the wider one is the one to trust. NaN ends for the
            envelope, whose optima are not independent.
        optima: one row per budget: compute, parameters (parameters_low, parameters_high at `level`), tokens, loss (nats per
            token), num_points.
        members: the points of each group: group (FLOP of the budget, or N of the size), parameters, tokens, compute, loss,
            adjusted_loss (carried to the budget), kept (whether the group is in the fit).
        curves: the fitted curves over their own ranges: group, parameters, tokens, compute, loss, kept.
        refusals: budgets, sizes or ranges of compute that were left out, and why.
        notes: what a reader of the exponents must know.
        reason: why there is no exponent (the numbers are NaN then), or "".
        draws: (draws, 2): intercept and slope of ln N_opt on ln C in each bootstrap draw that has them.
        level: of confidence.
        freedom: degrees of freedom that the fits have left, to which percentiles are expanded.
        steps: by how much the interval of the exponent is widened for the steps between sizes (envelope).
    """

    name: Literal["iso-flop", "envelope"]
    parameters_exponent: Estimate
    parameters_prefactor: Estimate
    tokens_exponent: Estimate
    tokens_prefactor: Estimate
    scatter_exponent: Estimate
    optima: "pd.DataFrame"
    members: "pd.DataFrame"
    curves: "pd.DataFrame"
    refusals: tuple[RefusedGroup, ...]
    notes: tuple[str, ...]
    reason: str
    draws: Float[np.ndarray, "draws 2"]
    level: float
    freedom: float = inf
    steps: float = 0.0

    def predict(self, compute: float) -> tuple[Estimate, Estimate]:
        """N_opt and D_opt (tokens) at a budget in FLOP, with bootstrap intervals; NaN where there is no exponent.

        Raises ValueError for a budget that is not finite and > 0.
        """
        if not 0 < compute < inf:
            raise ValueError(f"compute = {compute}: a finite number of FLOP > 0 is legal")
        if self.reason:
            return self.parameters_exponent, self.tokens_exponent
        logs = log(compute)
        value = log(self.parameters_prefactor.value) + self.parameters_exponent.value * logs
        low, high = ends(self.draws[:, 0] + self.draws[:, 1] * logs, self.level, self.freedom)
        away = self.steps * float(np.abs(np.log(self.optima["compute"].to_numpy()) - logs).max())
        low, high = low - away, high + away
        tokens = logs - log(FLOPS_PER_PARAMETER_TOKEN)
        return (
            Estimate(exp(value), exp(low), exp(high), self.level),
            Estimate(exp(tokens - value), exp(tokens - high), exp(tokens - low), self.level),
        )


def build(
    name: Literal["iso-flop", "envelope"],
    optima: "pd.DataFrame",
    draws: Float[np.ndarray, "draws 2"],
    tables: tuple[list[Columns], list[Columns]],
    refusals: list[RefusedGroup],
    notes: list[str],
    level: float,
    *,
    reason: str = "",
    freedom: float = inf,
    steps: float = 0.0,
    independent: bool = False,
) -> Approach:
    """The power laws through the optima, or the `reason` why there are none.

    freedom: degrees of freedom of the draws, for `ends`. steps: what the steps between sizes may add to the error of the
    exponent, by which intervals are widened. independent: whether the scatter about the line means anything.
    """
    logs, sizes = np.log(optima["compute"].to_numpy()), np.log(optima["parameters"].to_numpy())
    if not reason and logs.size < 2:
        found = "one budget has" if logs.size else "no budget has"
        reason = f"{found} a minimum inside its sizes: a power law needs two"
    none = Estimate(nan, nan, nan, level)
    members, curves = (_joined(rows, columns) for rows, columns in zip(tables, (MEMBERS, CURVES), strict=True))
    if reason:
        return Approach(
            name, none, none, none, none, none, optima, members, curves, tuple(refusals), tuple(notes), reason,
            np.empty((0, 2)), level,
        )  # fmt: skip
    fit = line(logs, sizes, level=level)
    a, intercept = fit.slope.value, fit.intercept.value
    low, high = ends(draws[:, 1], level, freedom)
    low, high = low - steps, high + steps
    shift = steps * float(np.abs(logs).max())  # of the intercept, at C = 1
    low_k, high_k = ends(draws[:, 0], level, freedom)
    low_k, high_k = low_k - shift, high_k + shift
    six = log(FLOPS_PER_PARAMETER_TOKEN)
    return Approach(
        name,
        Estimate(a, low, high, level),
        Estimate(exp(intercept), exp(low_k), exp(high_k), level),
        Estimate(1 - a, 1 - high, 1 - low, level),
        Estimate(exp(-six - intercept), exp(-six - high_k), exp(-six - low_k), level),
        fit.slope if independent else Estimate(a, nan, nan, level),
        optima, members, curves, tuple(refusals), tuple(notes), "", draws, level, freedom, steps,
    )  # fmt: skip


def lines(
    x: Float[np.ndarray, " places"], draws: Float[np.ndarray, "draws places"]
) -> Float[np.ndarray, "known 2"]:
    """Intercept and slope of a line through the places of each draw that are not NaN; draws with under two are left out."""
    known = np.isfinite(draws)
    counts = known.sum(axis=1)
    known, draws = known[counts >= 2], draws[counts >= 2]
    counts = counts[counts >= 2]
    values = np.where(known, draws, 0.0)
    mean_x, mean_y = (known @ x) / counts, values.sum(axis=1) / counts
    centred = np.where(known, x - mean_x[:, None], 0.0)
    slope = (centred * values).sum(axis=1) / (centred**2).sum(axis=1)
    return np.column_stack([mean_y - slope * mean_x, slope])


def ends(values: Float[np.ndarray, " draws"], level: float, freedom: float = inf) -> tuple[float, float]:
    """Percentiles of the draws that are not NaN; NaN without any.

    With `freedom` degrees of freedom left by the fits they are expanded to Student's (Hesterberg 2015): draws from few residuals
    spread as they should on average, but how much they do is itself uncertain.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return nan, nan
    tail = float(stats.norm.sf(stats.t.ppf(0.5 + level / 2, freedom)))
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def sign_draws(points: ScalingPoints, draws: int, seed: int) -> Int[np.ndarray, "draws points"]:
    """Random signs: one for each run in each draw, where runs are known, otherwise one for each point."""
    names = np.arange(points.num_points) if points.runs is None else np.unique(points.runs, return_inverse=True)[1]
    signs = np.random.default_rng(seed).integers(0, 2, size=(draws, int(names.max()) + 1), dtype=np.int8)
    return (2 * signs - 1)[:, names]


def optimum(
    log_compute: float, log_size: float, low: float, high: float, loss: float, num_points: int
) -> dict[str, float]:
    """A row of `optima`."""
    tokens = log_compute - log_size - log(FLOPS_PER_PARAMETER_TOKEN)
    row = (exp(log_compute), exp(log_size), exp(low), exp(high), exp(tokens), loss, num_points)
    return dict(zip(OPTIMA, row, strict=True))


def optima_table(rows: list[dict[str, float]]) -> "pd.DataFrame":
    """The rows as a table, with all its columns even without rows."""
    import pandas as pd

    return pd.DataFrame(rows, columns=list(OPTIMA)).astype(dict.fromkeys(OPTIMA[:-1], float) | {OPTIMA[-1]: int})


def member_rows(
    points: ScalingPoints, part: Int[np.ndarray, " members"], group: float, adjusted: Float[np.ndarray, " members"], kept: bool
) -> Columns:
    """Rows of `members`."""
    rows = (points.parameters[part], points.tokens[part], points.compute[part], points.loss[part], adjusted)
    return [np.full(part.size, group), *rows, np.full(part.size, kept)]


def curve_rows(
    group: float,
    log_size: Float[np.ndarray, " places"],
    log_compute: Float[np.ndarray, " places"],
    loss: Float[np.ndarray, " places"],
    kept: bool,
) -> Columns:
    """Rows of `curves`."""
    size, compute = np.exp(log_size), np.exp(log_compute)
    tokens = compute / (FLOPS_PER_PARAMETER_TOKEN * size)
    return [np.full(size.size, group), size, tokens, compute, loss, np.full(size.size, kept)]


def drift_notes(log_compute: Float[np.ndarray, " budgets"], offset: Float[np.ndarray, " budgets"]) -> list[str]:
    """A note where the middle of the sizes moves against the optimum by more than `DRIFT` decades over the budgets."""
    if log_compute.size < 2:
        return []
    slope = line(log_compute, offset).slope.value
    drift = float(slope * np.ptp(log_compute) / log(10))
    if abs(drift) <= DRIFT:
        return []
    return [
        f"from the smallest budget to the largest the middle of the sizes moves {drift:+.2f} decades against the optimum: "
        "parabolas bias the exponent then"
    ]


def _joined(rows: list[Columns], names: tuple[str, ...]) -> "pd.DataFrame":
    """Rows below each other as one table."""
    import pandas as pd

    if not rows:
        return pd.DataFrame({name: np.empty(0, dtype=bool if name == "kept" else float) for name in names})
    return pd.DataFrame({name: np.concatenate(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)})
