"""What `headcount scaling fit` does: read a table, fit, judge, say all of it, and write tables and figures where asked."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path

import pandas as pd
from rich.table import Table

from empirical.regression import Estimate
from empirical.scaling_approaches import Approach, envelope, iso_flop
from empirical.scaling_fits import ScalingFit, fit_scaling_law
from empirical.scaling_points import ParameterCount, ScalingPoints, parse_columns, parse_units, read_points
from headcount import console
from headcount._output import checked_file, wanted_folder, write_figure
from headcount._progress import stages
from headcount._scaling_powerlaw import tell_dropped
from headcount.figures import scaling as drawings
from theory._whole_files import whole_files
from theory.scaling import HoffmannLaw

ONE_QUANTITY = ("kaplan-parameters", "kaplan-data", "kaplan-compute")
REFUSED = 1


def fit(
    *,
    path: Path,
    law: str,
    columns: str | None,
    units: str | None,
    counts: ParameterCount,
    bootstraps: int,
    level: float,
    delta: float,
    cut: float | None,
    flops: Sequence[float],
    anyway: bool,
    seed: int,
    out: Path | None,
) -> int:
    """`headcount scaling fit`; 1 where the fit is refused."""
    points = read_points(
        path, None if columns is None else parse_columns(columns), units=None if units is None else parse_units(units),
        parameter_count=counts,
    )  # fmt: skip
    with wanted_folder(out, "--out") as folder:
        return _fit(points, law, bootstraps, level, delta, cut, flops, anyway, seed, folder)


def _fit(
    points: ScalingPoints, law: str, bootstraps: int, level: float, delta: float, cut: float | None, flops: Sequence[float],
    anyway: bool, seed: int, folder: Path | None,
) -> int:  # fmt: skip
    _tell_points(points)
    with stages() as progress:
        found = fit_scaling_law(
            points, law, delta=delta, bootstraps=bootstraps, level=level, back_test_cut=cut, seed=seed, anyway=anyway,
            progress=progress,
        )  # fmt: skip
    budgets = list(flops) or [float(points.compute.max())]
    ways = () if law in ONE_QUANTITY else (envelope, iso_flop)
    approaches = tuple(way(points, level=level, seed=seed) for way in ways)
    for refusal in found.refusals:
        console.say(f"refused: {refusal}")
    if found.refusals and not anyway and found.convergence is None:
        console.say("(--anyway fits all the same where that is possible, with these reasons as warnings)")
    _tell_fit(found)
    if approaches and (not found.refusals or any(not approach.reason for approach in approaches)):
        _tell_approaches(found, approaches)
        _tell_allocation(found, approaches, budgets)
    for warning in (*points.warnings, *found.warnings):
        console.say(f"warning: {warning}")
    if folder is not None:
        _write(folder, found, approaches, budgets)
    return REFUSED if found.refusals else 0


def _tell_points(points: ScalingPoints) -> None:
    word = "point" if points.num_points == 1 else "points"
    console.say(f"{points.source}: {points.num_points:,} {word}, {len(points.dropped):,} rows dropped")
    tell_dropped([(row.line, row.reason) for row in points.dropped])
    for note in points.notes:
        console.say(f"  {note}")


def _tell_fit(found: ScalingFit) -> None:
    table = found.table()
    if len(table):
        methods = [method for method in dict.fromkeys(table["method"]) if method != "none"]
        title = f"{found.law.name if found.law is not None else found.form.name}, {found.level:.0%} intervals"
        shown = console.frame(title, "constant", "value", *methods, left=("constant",))
        for symbol, rows in table.groupby("parameter", sort=False):
            known = rows[rows["low"].notna()]
            ends = {row.method: f"[{row.low:.4g}, {row.high:.4g}]" for row in known.itertuples()}
            shown.add_row(str(symbol), f"{rows['value'].iloc[0]:.5g}", *(ends.get(method, "-") for method in methods))
        console.show(shown)
    said = {}
    if found.law is not None and found.convergence is not None:
        seen = found.convergence
        said["minimum"] = (
            f"sum of Huber losses {found.objective:.6g}; {seen.reached_by:,} of {seen.num_starts:,} starts end there, "
            f"{seen.num_elsewhere:,} elsewhere, {seen.num_starts - seen.num_converged:,} nowhere"
        )
        said["certificate"] = (
            f"gradient {seen.gradient_norm:.1g}; ten best starts within {seen.objective_spread:.1g} of the objective, "
            f"{seen.theta_spread:.1g} of the parameters"
        )
        said["residuals of ln L"] = f"root mean square {float((found.residuals**2).mean()) ** 0.5:.4g}"
    design = found.identifiability.design
    spans = {"N": design.decades_parameters, "D": design.decades_tokens, "C": design.decades_compute}
    said["decades"] = ", ".join(f"{name} {span:.2f}" for name, span in spans.items())
    said["decades"] += f"; ln N and ln D correlated {design.correlation:.2f}"
    weak = found.identifiability
    values = ", ".join(f"{value:.3g}" for value in weak.singular_values)
    said["identifiability"] = f"singular values {values} (condition {weak.condition:.3g}), at {weak.at}"
    said["weakest"] = weak.weakest
    if found.influence is not None:
        said |= {f"influence {place}": sentence for place, sentence in enumerate(found.influence.sentences, 1)}
    if found.back_test is not None:
        said |= {f"back-test {place}": sentence for place, sentence in enumerate(found.back_test.sentences, 1)}
    console.show(console.facts("How far to trust it", said))


def _tell_approaches(found: ScalingFit, approaches: Sequence[Approach]) -> None:
    headings = ("approach", "a", "interval", "budgets", "refused")
    table = console.frame("N_opt ~ C^a by three approaches", *headings, left=("approach",))
    for number, approach in enumerate(approaches, 1):
        a = approach.parameters_exponent
        name, budgets, refused = f"{number} {approach.name}", str(len(approach.optima)), str(len(approach.refusals))
        table.add_row(name, console.number(a.value, ".4f"), _ends(a), budgets, refused)
    if "a" in found.constants:
        bootstrap = found.bootstrap_runs or found.bootstrap_pairs
        profile = found.profiles.get("a")
        interval = f"[{profile.low:.4f}, {profile.high:.4f}]" if profile else _ends(bootstrap.interval("a")) if bootstrap else "-"
        table.add_row("3 parametric", f"{found.constants['a']:.4f}", interval, "-", "-")
    console.show(table)
    for approach in approaches:
        if approach.reason:
            console.say(f"{approach.name} refused: {approach.reason}")
        for note in approach.notes:
            console.say(f"{approach.name}: {note}")
        for refusal in approach.refusals[:3]:
            console.say(f"{approach.name} left out {refusal.what}: {refusal.reason}")
        if len(approach.refusals) > 3:
            console.say(f"{approach.name} left out {len(approach.refusals) - 3} more")


def _ends(estimate: Estimate) -> str:
    return "-" if isnan(estimate.low) else f"[{estimate.low:.4f}, {estimate.high:.4f}]"


def _tell_allocation(found: ScalingFit, approaches: Sequence[Approach], budgets: Sequence[float]) -> None:
    table = console.frame(
        f"Optimal model, {found.level:.0%} intervals", "FLOP", "approach", "parameters", "interval", "tokens", "tokens/par.",
        left=("approach",),
    )  # fmt: skip
    rows, warnings = 0, []
    for budget in budgets:
        for number, approach in enumerate(approaches, 1):
            if approach.reason:
                continue
            size, tokens = approach.predict(budget)
            _add(table, budget, f"{number} {approach.name}", size, tokens.value)
            rows += 1
        if isinstance(found.law, HoffmannLaw):
            best = found.allocation(budget)
            _add(table, budget, "3 parametric", best.parameters, best.tokens.value)
            warnings += list(best.warnings)
            rows += 1
    if rows:
        console.show(table)
    for warning in dict.fromkeys(warnings):
        console.say(f"warning: {warning}")


def _add(table: Table, budget: float, name: str, size: Estimate, tokens: float) -> None:
    interval = "-" if isnan(size.low) else f"[{size.low:.3g}, {size.high:.3g}]"
    table.add_row(f"{budget:.4g}", name, f"{size.value:.4g}", interval, f"{tokens:.4g}", f"{tokens / size.value:.3g}")


def _write(folder: Path, found: ScalingFit, approaches: Sequence[Approach], budgets: Sequence[float]) -> None:
    """All tables as CSV and all figures that the fit has."""
    points = found.points
    tables = {
        "points": points.table(),
        "dropped": pd.DataFrame([(row.line, row.reason) for row in points.dropped], columns=["line", "reason"]),
        "constants": found.table(),
    }
    if found.influence is not None:
        tables["influence"] = found.influence.table
    if found.back_test is not None:
        tables["back_test"] = found.back_test.table
    for approach in approaches:
        tables[f"{approach.name}-optima"] = approach.optima
        tables[f"{approach.name}-refused"] = pd.DataFrame(
            [(refusal.what, refusal.reason) for refusal in approach.refusals], columns=["left_out", "reason"]
        )
    places = [checked_file(folder / f"{name}.csv", "--out", {}) for name in tables]
    with whole_files(*places) as partials:
        for table, partial in zip(tables.values(), partials, strict=True):
            table.to_csv(partial, index=False)
    for place in places:
        console.say(f"CSV {place}")
    if found.law is not None:
        write_figure(folder, "figure-fit", *drawings.fit_figure(found))
    if found.profiles:
        write_figure(folder, "figure-profiles", *drawings.profiles_figure(found))
    if isinstance(found.law, HoffmannLaw) and found.bootstrap_pairs is not None:
        write_figure(folder, "figure-allocation", *drawings.allocation_figure(found, max(budgets)))
    for approach in approaches:
        if len(approach.members):
            write_figure(folder, f"figure-{approach.name}", *drawings.isoflop_figure(approach))
