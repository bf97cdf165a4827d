"""A fitted scaling law as a tidy table, as warnings and as lines of text."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from empirical._scaling_forms import SumForm
from empirical._scaling_noise import NO_NOISE

if TYPE_CHECKING:
    import pandas as pd

    from empirical.scaling_fits import ScalingFit

COLUMNS = ("parameter", "value", "method", "low", "high", "level", "reason")
WEAK = 1e5
"""A condition number from which the weakest combination is called undecided."""
NO_FLOOR = 1e-2
"""A floor below this share of the lowest loss is called absent."""
FAR_OFF = 30.0
"""Residuals of ln L above this many times the median one are named; of Gaussian noise that is 20 standard deviations."""
ALONE = 3.0
"""Points that have no other within this many decades of N, or of D, are named."""
NAMED = 5
"""At most so many points by name in one warning."""


def constants_table(fit: "ScalingFit") -> "pd.DataFrame":
    """One row per constant and method of interval."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for symbol, value in fit.constants.items():
        first = len(rows)
        for bootstrap in (fit.bootstrap_pairs, fit.bootstrap_runs):
            if bootstrap is not None:
                interval = bootstrap.interval(symbol)
                open_ = "" if np.isfinite([interval.low, interval.high]).all() else "too few resamples have a finite fit"
                rows.append(_row(symbol, value, f"bootstrap of {bootstrap.unit}", interval.low, interval.high, fit.level, open_))
        if symbol in fit.profiles:
            profile = fit.profiles[symbol]
            rows.append(_row(symbol, value, "profile likelihood", profile.low, profile.high, fit.level, profile.reason))
        if len(rows) == first:
            nan = float("nan")
            rows.append(_row(symbol, value, "none", nan, nan, fit.level, "no interval was asked for"))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(*values: object) -> dict[str, Any]:
    return dict(zip(COLUMNS, values, strict=True))


def warnings_of(fit: "ScalingFit") -> tuple[str, ...]:
    """What weakens a fit that was made."""
    lines, seen, weak = list[str](), fit.convergence, fit.identifiability
    if seen is not None and not seen.certified:
        lines.append(
            f"the ten best starts do not end at one minimum: objectives differ by {seen.objective_spread:.2g} of the lowest, "
            f"parameters by up to {seen.theta_spread:.2g}"
        )
    if seen is not None and seen.num_converged < seen.num_starts:
        lines.append(f"{seen.num_starts - seen.num_converged} of {seen.num_starts} starts did not converge")
    if fit.constants and not weak.condition <= WEAK:
        lines.append(f"the design hardly decides {weak.weakest}: condition number {weak.condition:.3g}")
    floor = fit.constants.get("E")
    if isinstance(fit.form, SumForm) and fit.form.floor and floor is not None and floor < NO_FLOOR * fit.points.loss.min():
        lines.append(f"the fit has no floor to speak of: E = {floor:.3g}; the exponents then stand for a law without one")
    if fit.points.parameter_count == "not stated":
        lines.append("whether N counts embeddings is not stated: exponents at small N depend on it")
    if exact(fit):
        lines.append(
            f"the law passes through all points (largest residual of ln L {np.abs(fit.residuals).max():.1g}): what is left is "
            "rounding, intervals have no width, and no table that was measured looks like this"
        )
    lines.extend(odd_points(fit))
    for bootstrap in (fit.bootstrap_pairs, fit.bootstrap_runs):
        lines.extend(bootstrap.warnings if bootstrap is not None else ())
    if fit.points.dropped:
        first = fit.points.dropped[0]
        lines.append(f"{len(fit.points.dropped)} rows were left out; the first, line {first.line}: {first.reason}")
    return tuple(lines)


def exact(fit: "ScalingFit") -> bool:
    """Whether the residuals of a fit are nothing but rounding."""
    return bool((np.abs(fit.residuals) <= NO_NOISE).all())


def odd_points(fit: "ScalingFit") -> list[str]:
    """Warnings on points that a law cannot have much to do with: far off it, or far away from all others in N or D."""
    points, lines = fit.points, list[str]()
    size = np.abs(fit.residuals)
    bound = FAR_OFF * max(float(np.median(size)), NO_NOISE)
    far = np.flatnonzero(size > bound)
    if far.size:
        order = far[np.argsort(-size[far], kind="stable")]
        most = f"residuals of ln L are above {FAR_OFF:g} times the median one ({np.median(size):.2g})"
        lines.append(f"{most} at {_named(fit, order)}: look for a wrong number there")
    for symbol, logs in (("N", points.log_parameters), ("D", points.log_tokens)):
        alone = _alone(logs)
        if alone.size:
            lines.append(f"over {ALONE:g} decades of {symbol} from all other points: {_named(fit, alone)}: look for a wrong unit")
    return lines


def _alone(logs: Float[np.ndarray, " points"]) -> Int[np.ndarray, " some"]:
    """The places of values without any other within ALONE decades."""
    if len(logs) < 2:
        return np.empty(0, dtype=np.int64)
    order = np.argsort(logs, kind="stable")
    gaps = np.concatenate([[np.inf], np.diff(logs[order]), [np.inf]]) / np.log(10)
    return np.sort(order[np.minimum(gaps[1:], gaps[:-1]) > ALONE])


def _named(fit: "ScalingFit", places: Int[np.ndarray, " some"]) -> str:
    """Points by their index (from 0) and numbers."""
    points = fit.points
    names = [
        f"point {place} (N = {points.parameters[place]:.4g}, D = {points.tokens[place]:.4g}, L = {points.loss[place]:.4g})"
        for place in places[:NAMED].tolist()
    ]
    return ", ".join(names) + (f" and {len(places) - NAMED} more" if len(places) > NAMED else "")


def summary_lines(fit: "ScalingFit") -> tuple[str, ...]:
    """The fit for people."""
    points, design = fit.points, fit.identifiability.design
    lines = [
        f"{fit.form.name}: {points.num_points} points, N over {design.decades_parameters:.2f} decades, D over "
        f"{design.decades_tokens:.2f} ({len(points.dropped)} rows left out)"
    ]
    lines += [f"refused: {one}" for one in fit.refusals]
    table = fit.table()
    for symbol in dict.fromkeys(table["parameter"].tolist()):
        part = table[table["parameter"] == symbol]
        ends = "; ".join(f"{row.method} {row.low:.5g} to {row.high:.5g}" for row in part.itertuples() if row.method != "none")
        lines.append(f"{symbol} = {part['value'].iloc[0]:.5g}" + (f" ({fit.level:.0%}: {ends})" if ends else ""))
    if fit.convergence is not None:
        seen = fit.convergence
        if fit.constants:
            spread = float(np.sqrt(np.mean(fit.residuals**2)))
            lines.append(
                f"objective {fit.objective:.6g} (sum of Huber losses, delta {fit.delta:g}), "
                f"root mean square of ln L residuals {spread:.3g}"
            )
        lines.append(
            f"{seen.reached_by} of {seen.num_starts} starts end at this minimum, {seen.num_elsewhere} at others, "
            f"{seen.num_starts - seen.num_converged} at none; "
            f"ten best within {seen.objective_spread:.1g}; gradient {seen.gradient_norm:.1g}"
        )
    where = fit.identifiability
    values = ", ".join(f"{value:.3g}" for value in where.singular_values)
    lines.append(
        f"identifiability at {where.at}: singular values {values}; condition {where.condition:.4g}; weakest: {where.weakest}"
    )
    if fit.influence is not None:
        lines.extend(fit.influence.sentences)
    if fit.back_test is not None:
        lines.extend(_back_test_lines(fit))
    lines += [f"warning: {line}" for line in fit.warnings]
    return tuple(lines)


def _back_test_lines(fit: "ScalingFit") -> list[str]:
    """The back-test, a line per form."""
    test = fit.back_test
    if test is None or test.reason:
        return [] if test is None else [f"no back-test: {test.reason}"]
    return [
        f"back-test below and above {test.cut:.3g} FLOP, {row.form}: "
        + (str(row.reason) or f"log-RMSE {row.log_rmse_in:.4f} in, {row.log_rmse_out:.4f} out, bias {row.bias_out:+.4f}")
        for row in test.table.itertuples()
    ]
