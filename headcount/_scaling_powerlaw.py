"""What `headcount scaling powerlaw` does: the numbers of one column, their tail, and a verdict with its reasons."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from rich.table import Table

from empirical._number_tables import NumberTable, read_table, unusable
from headcount import console
from headcount._output import wanted_folder, write_figure
from headcount._progress import stages
from theory.power_laws import PowerLawFit, fit_power_law

SHOWN_ROWS = 5


def powerlaw(
    *,
    path: Path,
    column: str | None,
    kind: Literal["discrete", "continuous"] | None,
    x_min: float | None,
    bootstraps: int,
    seed: int,
    out: Path | None,
) -> None:
    """`headcount scaling powerlaw`."""
    name, values, dropped = read_values(path, column)
    console.say(f"{path}: {values.size:,} values in column {name!r}, {len(dropped):,} rows dropped")
    tell_dropped(dropped)
    discrete = None if kind is None else kind == "discrete"
    above = values.size if x_min is None else int((values >= x_min).sum())
    if not above:
        raise ValueError(f"--x-min {x_min:g}: none of {values.size:,} values is at least that, the largest is {values.max():g}")
    with wanted_folder(out, "--out") as folder:
        fit = _fit(values, discrete, x_min, bootstraps, seed)
        console.show(_table(fit))
        if folder is None:
            return
        if not fit.num_tail:
            console.say("no figure: there is no tail to draw")
            return
        from headcount.figures.scaling import tail_figure

        write_figure(folder, "tail", *tail_figure(fit))


def _fit(
    values: Float[np.ndarray, " n"], discrete: bool | None, x_min: float | None, bootstraps: int, seed: int
) -> PowerLawFit:
    with stages() as tell:
        return fit_power_law(
            values, discrete=discrete, x_min=x_min, bootstraps=bootstraps, seed=seed,
            progress=lambda done, total: tell("replicates", done, total),
        )  # fmt: skip


def _table(fit: PowerLawFit) -> Table:
    low, high = fit.interval
    error = f" +- {fit.p_value_error:.3f}" if fit.num_bootstraps else ""
    rows = {
        "verdict": str(fit.verdict),
        **{f"reason {number}": reason for number, reason in enumerate(fit.reasons, 1)},
        "exponent g of p(x) ~ x^-g": f"{fit.exponent:.4g} [{low:.4g}, {high:.4g}], standard error {fit.standard_error:.2g}",
        "the same by rank, f(r) ~ r^-z": f"z = {fit.rank_exponent:.4g}",
        "tail": f"{fit.num_tail:,} of {fit.num_values:,} values, from x_min = {fit.x_min:.6g}; "
        f"{'whole numbers' if fit.discrete else 'continuous'}",
        "distance (Kolmogorov-Smirnov)": f"{fit.distance:.4f}, p = {fit.p_value:.3f}{error} ({fit.num_bootstraps} replicates)",
    }
    for test in fit.comparisons:
        said = f"ln likelihood ratio {test.ratio:+.2f}, p = {test.p_value:.2g}: {test.favours} is likelier"
        rows[f"against {test.rival}"] = test.reason or said
    return console.facts("Is the tail a power law?", rows)


def read_values(path: Path, column: str | None) -> tuple[str, Float[np.ndarray, " n"], list[tuple[int, str]]]:
    """Name of the column, its numbers > 0, and (line, reason) of all rows that have none.

    Raises ValueError for a file or column that is none, several columns of numbers and none told, text among numbers.
    """
    table = read_table(path)
    name = column if column is not None else _only_numbers(table)
    if table.header.count(name) != 1:
        times = table.header.count(name)
        raise ValueError(f"{path}: --column {name!r} is there {times} times; one of {', '.join(table.header)} is legal")
    numbers = table.numbers(name)
    usable = np.isfinite(numbers) & (numbers > 0)
    dropped = [(table.lines[place], unusable(name, numbers[place])) for place in np.flatnonzero(~usable)]
    return name, numbers[usable], dropped


def _only_numbers(table: NumberTable) -> str:
    found = []
    for name in dict.fromkeys(table.header):
        try:
            table.numbers(name)
        except ValueError:
            continue
        found.append(name)
    if len(found) != 1:
        what = f"columns {', '.join(found)} have numbers" if found else "no column has numbers only"
        raise ValueError(f"{table.name}: {what}; tell which by --column, columns are {', '.join(table.header)}")
    return found[0]


def tell_dropped(dropped: Sequence[tuple[int, str]]) -> None:
    """Names the rows that were left out: the first few with their reasons, then the lines of all others."""
    for line, reason in dropped[:SHOWN_ROWS]:
        console.say(f"  dropped line {line}: {reason}")
    if len(dropped) > SHOWN_ROWS:
        console.say(f"  dropped for reasons like these: lines {_ranges([line for line, _ in dropped[SHOWN_ROWS:]])}")


def _ranges(lines: Sequence[int]) -> str:
    """ "7, 9-12" of 7, 9, 10, 11, 12."""
    found: list[list[int]] = []
    for line in lines:
        if found and line == found[-1][1] + 1:
            found[-1][1] = line
        else:
            found.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
