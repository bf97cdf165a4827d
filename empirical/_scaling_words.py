"""A fitted scaling law as a tidy table, as warnings and as lines of text."""

from typing import TYPE_CHECKING, Any

import numpy as np

from empirical._scaling_forms import SumForm

if TYPE_CHECKING:
    import pandas as pd

    from empirical.scaling_fits import ScalingFit

COLUMNS = ("parameter", "value", "method", "low", "high", "level", "reason")
WEAK = 1e5
"""A condition number from which the weakest combination is called undecided."""
NO_FLOOR = 1e-2
"""A floor below this share of the lowest loss is called absent."""


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
    if not weak.condition <= WEAK:
        lines.append(f"the design hardly decides {weak.weakest}: condition number {weak.condition:.3g}")
    floor = fit.constants.get("E")
    if isinstance(fit.form, SumForm) and fit.form.floor and floor is not None and floor < NO_FLOOR * fit.points.loss.min():
        lines.append(f"the fit has no floor to speak of: E = {floor:.3g}; the exponents then stand for a law without one")
    if fit.points.parameter_count == "not stated":
        lines.append("whether N counts embeddings is not stated: exponents at small N depend on it")
    for bootstrap in (fit.bootstrap_pairs, fit.bootstrap_runs):
        lines.extend(bootstrap.warnings if bootstrap is not None else ())
    if fit.points.dropped:
        first = fit.points.dropped[0]
        lines.append(f"{len(fit.points.dropped)} rows were left out; the first, line {first.line}: {first.reason}")
    return tuple(lines)


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
