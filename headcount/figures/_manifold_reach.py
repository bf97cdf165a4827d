"""How far built networks come: their error against grid, tokens and parameters, and the slopes beside those promised."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headcount.figures import style
from headcount.figures._manifold_looks import (
    SERIES,
    coloured,
    legend_under,
    same,
    series_words,
    split,
    theory_handle,
    theory_line,
    whisker,
)
from headcount.figures._scaling_looks import letters, log_axis
from headcount.figures.table import check_columns

REACH = ("manifold", "dimension", "ambient_dim", "target", "beta", "degree", "grid", "tokens", "parameters", "blocks", "rms",
         "sup")
SLOPES = (*SERIES, "error", "against", "slope", "low", "high", "predicted", "num_grids", "reason")
TABLE_COLUMNS = ("row", *REACH, "error", "against", "slope", "low", "high", "predicted", "num_grids", "reason")
SIZES = {"grid": "grid $N$ (cells an axis)", "tokens": "tokens $l$", "parameters": "parameters"}
SHIFT = 0.22
"""Between the rows of one series in the panel of slopes."""


def reach_table(table: pd.DataFrame, slopes: pd.DataFrame | None = None) -> pd.DataFrame:
    """The data of `reach_drawing`: rows "network" of the table, rows "slope" of `empirical.manifold_reach.reach_slopes`.

    Raises:
        ValueError: a column is missing, or there is no row.
    """
    check_columns(table, REACH, "empirical.manifold_reach.reach_table")
    if slopes is None:
        from empirical.manifold_reach import reach_slopes

        slopes = reach_slopes(table)
    check_columns(slopes, SLOPES, "empirical.manifold_reach.reach_slopes")
    parts = [table.assign(row="network"), slopes.assign(row="slope")]
    return pd.concat(parts, ignore_index=True).reindex(columns=list(TABLE_COLUMNS))


def reach_drawing(table: pd.DataFrame) -> Figure:
    """Root mean square of the error against each size, and the slopes with their intervals beside the predicted ones.

    Dotted lines have the predicted slope through the largest network of a series.

    Args:
        table: of `reach_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.manifolds.reach_figure")
    networks, slopes = table[table["row"] == "network"], table[(table["row"] == "slope") & (table["error"] == "rms")]
    series = split(networks, SERIES)
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 4.9 + 0.1 * len(series)), layout="constrained")
        panels = made.subplots(2, 2).ravel()
        for axes, (size, label) in zip(panels[:3], SIZES.items(), strict=True):
            for look, (about, part) in zip(coloured(len(series)), series, strict=True):
                _series(axes, part.sort_values(size), slopes[same(slopes, about)], size, series_words(about), look)
            axes.set_xlabel(label)
            axes.set_ylabel("rms error (units of $f$)")
            axes.set_yscale("log")
            axes.margins(0.06)
            log_axis(axes.xaxis)
            log_axis(axes.yaxis)
        _slopes(panels[3], series, slopes)
        letters(panels)
        handles: list[Any] = [Line2D([], [], label=series_words(about), **look)
                              for look, (about, _) in zip(coloured(len(series)), series, strict=True)]
        handles.append(theory_handle("promised slope", own=True))
        legend_under(made, handles, 2)
    return made


def _series(axes: Axes, part: pd.DataFrame, slopes: pd.DataFrame, size: str, name: str, look: dict[str, Any]) -> None:
    at, error = part[size].to_numpy(dtype=float), part["rms"].to_numpy(dtype=float)
    axes.plot(at, error, zorder=3, linewidth=0.9, gid=f"{size}: {name}", **look)
    own = slopes[slopes["against"] == size]
    if len(own) and len(at) > 1:
        order = float(own["predicted"].iloc[0])
        axes.plot(at, error[-1] * (at / at[-1]) ** order, zorder=2, gid=f"promised against {size}: {name}",
                  **theory_line(look["color"]))


def _slopes(axes: Axes, series: list[tuple[dict[str, Any], pd.DataFrame]], slopes: pd.DataFrame) -> None:
    """Rows by series: three slopes each, from the top against grid, tokens and parameters; ticks are what was promised."""
    known = slopes[["slope", "predicted"]].to_numpy(dtype=float)
    if np.isfinite(known).any():  # intervals of three networks may be as wide as they like
        axes.set_xlim(float(np.nanmin(known)) - 0.5, min(0.3, float(np.nanmax(known)) + 0.5))
    for place, (look, (about, _)) in enumerate(zip(coloured(len(series)), series, strict=True)):
        own = slopes[same(slopes, about)].set_index("against")
        for step, size in enumerate(SIZES):
            if size not in own.index:
                continue
            row, height = own.loc[size], place + (step - 1) * SHIFT
            axes.vlines([float(row["predicted"])], height - 0.11, height + 0.11, color=style.GREY, linewidth=2.2, zorder=2,
                        gid=f"promised slope against {size}: {series_words(about)}")
            whisker(axes, height, float(row["slope"]), float(row["low"]), float(row["high"]),
                    gid=f"slope against {size}: {series_words(about)}", **look, fillstyle="full" if step == 0 else "none")
        if place:
            axes.axhline(place - 0.5, color="#DDDDDD", linewidth=0.4, zorder=1, gid=f"between {place}")
    axes.set_ylim(len(series) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_ylabel("against $N$ (filled), $l$, parameters")
    axes.set_xlabel("slope of log error, 95% interval; grey: promised")
