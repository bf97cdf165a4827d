"""The figures of the paper's experiments, one function for each kind, drawn from tables of `empirical.experiments.results`.

Most have two panels, as there are two accuracies that must not be mixed: on training draws, which is what was published, and on
the table with each association counted once, which is what the bounds speak of.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from headcount.figures import _experiment_fits as fits
from headcount.figures import _experiment_reanalyses as reanalyses
from headcount.figures import style
from headcount.figures._experiment_axes import two_panels
from headcount.figures._experiment_data import results
from headcount.figures._experiment_slopes import memory_per_head


def draw(name: str, table: pd.DataFrame, png: Path, pdf: Path) -> None:
    """Write `figure(name, table)` as PNG and PDF; same table, same bytes. Raises ValueError like it, OSError on writing."""
    style.save(figure(name, table), png, pdf)


def figure(name: str, table: pd.DataFrame) -> Figure:
    """One of the twelve figures.

    Args:
        name: a key of FIGURES.
        table: what `empirical.experiments.results` returns for the experiment, of one tier and variant.

    Raises:
        ValueError: an unknown name; a column that is missing, no rows, rows of several settings, tiers or variants, rows of an
            experiment with another axis, two rows for one point.

    Source of curves and published points: Dana, Pydi and Chevaleyre 2025, experiments 1 to 6 and their supplements.
    """
    if name not in FIGURES:
        raise ValueError(f"name = {name!r}: must be one of {', '.join(FIGURES)}")
    return FIGURES[name](table)


def draw_reanalysis(name: str, tables: Mapping[str, pd.DataFrame], png: Path, pdf: Path) -> None:
    """Write `reanalysis(name, tables)` as PNG and PDF; same tables, same bytes. Raises ValueError like it, OSError on writing."""
    style.save(reanalysis(name, tables), png, pdf)


def reanalysis(name: str, tables: Mapping[str, pd.DataFrame]) -> Figure:
    """One of the two re-analyses; what they show is said in `headcount.figures._experiment_reanalyses`.

    Args:
        name: one of REANALYSES.
        tables: what `empirical.experiments.results` returns, by experiment and variant: "exp_1 notebook", "exp_2 paper" and so
            on, or "exp_1" alone, the variant being that of the table's models. "effective_parameters" takes any of exp_1, exp_2
            and exp_3; "variants" takes exp_2 in both variants.

    Raises:
        ValueError: an unknown name or key; a table that `figure` would refuse, of the other variant than its key, of several
            layers or with networks; a variant that is missing; tables of different vocabularies.
    """
    if name not in REANALYSES:
        raise ValueError(f"name = {name!r}: must be one of {', '.join(REANALYSES)}")
    return {"effective_parameters": reanalyses.effective_parameters, "variants": reanalyses.variants}[name](tables)


def against_heads(table: pd.DataFrame) -> Figure:
    """Accuracy against H, a curve for each d; a least-squares line for each."""
    found = results(table, "num_heads")
    return two_panels(found, "attention heads $H$" + _each_layer(found.setting["num_layers"]), fits.lines)


def against_head_dim(table: pd.DataFrame) -> Figure:
    """Accuracy against d_h, with the paper's parabola and a line."""
    return two_panels(results(table, "head_dim"), "head dimension $d_h$", fits.in_head_dim)


def against_embed_dim(table: pd.DataFrame) -> Figure:
    """Accuracy against d, with lines on both sides of d = d_h, where the shared maps of the notebook's code stop to matter."""
    found = results(table, "embed_dim")
    return two_panels(found, "embedding dimension $d$", fits.in_embed_dim, knee=float(found.rows["head_dim"].iloc[0]))


def against_parameters(table: pd.DataFrame) -> Figure:
    """Accuracy against the paper's count of parameters, for models that grow by heads or by the width of a network behind one."""
    return two_panels(results(table, "nominal_parameters"), "parameters, as counted in the paper", fits.lines)


def _each_layer(num_layers: int) -> str:
    return " in each layer" if num_layers > 1 else ""


FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "exp_1": against_heads,
    "exp_2": against_head_dim,
    "exp_3": against_embed_dim,
    "exp_4": memory_per_head,
    "exp_5": against_parameters,
    "exp_6": against_heads,
    "exp_1_large": against_heads,
    "exp_2_large": against_head_dim,
    "exp_5_large": against_parameters,
    "exp_1_deep": against_heads,
    "exp_2_deep": against_head_dim,
    "exp_5_deep": against_parameters,
}

REANALYSES = ("effective_parameters", "variants")
