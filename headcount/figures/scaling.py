"""The figures on scaling laws, one function each: from a result to a tidy table and what draws that table.

    table, draw = fit_figure(fit)
    draw(Path("fit.png"), Path("fit.pdf"))

A table holds everything that is drawn, intervals included, so that it can be published beside the figure. Drawings are the same
bytes for the same table; series have markers or line styles of their own, so that they are told apart without colour.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from empirical.scaling_approaches import Approach
from headcount.figures import style
from headcount.figures._scaling_allocation import allocation_drawing, allocation_table
from headcount.figures._scaling_counting import LAW, counting_drawing, counting_table
from headcount.figures._scaling_fit import fit_drawing, fit_table
from headcount.figures._scaling_isoflop import isoflop_drawing, isoflop_table
from headcount.figures._scaling_positions import positions_drawing, positions_table
from headcount.figures._scaling_powers import ranks_drawing, ranks_table, tail_drawing, tail_table
from headcount.figures._scaling_profiles import profiles_drawing, profiles_table
from headcount.figures._scaling_runs import runs_drawing, runs_table
from headcount.figures._scaling_spectra import spectra_drawing, spectra_table
from theory.power_laws import PowerLawFit, RankFrequency
from theory.spectra import SpectrumVerdict

if TYPE_CHECKING:
    from empirical.scaling_fits import ScalingFit

__all__ = [
    "DRAWINGS",
    "Made",
    "allocation_figure",
    "counting_figure",
    "fit_figure",
    "isoflop_figure",
    "positions_figure",
    "profiles_figure",
    "ranks_figure",
    "runs_figure",
    "spectra_figure",
    "tail_figure",
]

Made = tuple[pd.DataFrame, Callable[[Path, Path], None]]
"""The data behind a figure, and what writes the figure to a PNG and a PDF (OSError where that fails)."""

DRAWINGS: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "fit": fit_drawing, "isoflop": isoflop_drawing, "profiles": profiles_drawing, "allocation": allocation_drawing,
    "counting": counting_drawing, "tail": tail_drawing, "ranks": ranks_drawing, "spectra": spectra_drawing, "runs": runs_drawing,
    "positions": positions_drawing,
}  # fmt: skip
"""By the name of the figure: from its table, also one read back from a file, to the figure in matplotlib."""


def _made(name: str, table: pd.DataFrame) -> Made:
    return table, lambda png, pdf: style.save(DRAWINGS[name](table), png, pdf)


def fit_figure(fit: "ScalingFit") -> Made:
    """A fitted law: loss against size with a curve for each group of tokens, and residuals by compute. See `fit_table`."""
    return _made("fit", fit_table(fit))


def isoflop_figure(approach: Approach) -> Made:
    """Optima without a law: fitted curves by group, and optimal size against compute with its power law and interval.

    Of `empirical.scaling_approaches.iso_flop` or `envelope`. Raises ValueError where there is neither a group nor a refusal.
    """
    return _made("isoflop", isoflop_table(approach))


def profiles_figure(fit: "ScalingFit") -> Made:
    """Profile likelihoods of a fit's constants beside their bootstrap intervals. Raises ValueError for a fit without profiles."""
    return _made("profiles", profiles_table(fit))


def allocation_figure(fit: "ScalingFit", compute: float) -> Made:
    """The bootstrap's cloud of optimal models at `compute` (FLOP) with intervals, and tokens per parameter by compute.

    Raises ValueError for a fit without a law, a law without an optimum, or compute that is not finite and > 0.
    """
    return _made("allocation", allocation_table(fit, compute))


def counting_figure(law: str = LAW) -> Made:
    """Why Kaplan et al. 2020 found a larger exponent than Hoffmann et al. 2022: parameters counted without the embedding.

    After Pearce and Song 2024; `theory.parameter_counting` has the derivation. Raises ValueError for a `law` that is no key of
    `theory.scaling.PUBLISHED` with a law of Hoffmann's form.
    """
    return _made("counting", counting_table(law))


def tail_figure(fit: PowerLawFit) -> Made:
    """A tail with its power law and the rivals. Raises ValueError for a fit without a tail."""
    return _made("tail", tail_table(fit))


def ranks_figure(found: RankFrequency) -> Made:
    """Frequencies by rank with the slope, and where honest the interval, of each segment."""
    return _made("ranks", ranks_table(found))


def spectra_figure(verdicts: dict[str, SpectrumVerdict]) -> Made:
    """Spectra beside Marchenko and Pastur's law and permuted copies, a panel by name. Raises ValueError without verdicts."""
    return _made("spectra", spectra_table(verdicts))


def runs_figure(table: pd.DataFrame, fit: "ScalingFit | None" = None) -> Made:
    """Runs of `empirical.scaling_runs.read_runs`: loss by size for each number of tokens, by tokens for each size, and the law.

    Raises ValueError for missing columns or no finite loss.
    """
    return _made("runs", runs_table(table, fit))


def positions_figure(table: pd.DataFrame) -> Made:
    """Runs of `empirical.scaling_runs.read_positions`: loss by token position, a panel for each architecture.

    Raises ValueError for missing columns, no finite loss, or a position below 1.
    """
    return _made("positions", positions_table(table))
