"""Runs of one's own: loss by model size for each number of tokens, and by tokens for each size, with the law's curves."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headcount.figures import style
from headcount.figures._scaling_looks import (
    LINE_STYLES,
    LOSS,
    TOKENS,
    groups,
    legend_below,
    letters,
    log_axis,
    looks,
    number,
    parameters_label,
    plain_log_axis,
)
from headcount.figures._scaling_predictions import predictor
from headcount.figures.table import check_columns

if TYPE_CHECKING:
    from empirical.scaling_fits import ScalingFit

RUN_COLUMNS = ("kind", "architecture", "total_parameters", "non_embedding_parameters", "tokens", "loss", "loss_low", "loss_high",
               "seed", "tier")
TABLE_COLUMNS = ("row", "against", "group", "architecture", "parameters", "tokens", "loss", "loss_low", "loss_high", "seed",
                 "tier", "parameter_count")
MOST = 8
"""Series in a panel: more can't be told apart."""
PANELS = ("parameters", "tokens")
CURVE_POINTS = 60


def runs_table(table: pd.DataFrame, fit: "ScalingFit | None") -> pd.DataFrame:
    """The data of `runs_drawing`: rows "run" once for each panel, and rows "curve" where there is a fit that gave a law.

    A panel's `group` is the quantity held: tokens where loss is drawn against parameters, and the other way round; where more
    than 8 values are there they are gathered in bins of equal counts and named by their geometric means.

    Args:
        table: runs with at least `RUN_COLUMNS`, of which those with a finite loss are drawn.
        fit: to the same runs; its `points.parameter_count` picks the count of parameters ("total" where there is no fit).

    Raises:
        ValueError: a column is missing, or no run has a finite loss.
    """
    check_columns(table, RUN_COLUMNS, "empirical.scaling_runs.read_runs")
    count = "total" if fit is None else str(fit.points.parameter_count)
    counted = "non_embedding_parameters" if count == "non-embedding" else "total_parameters"
    runs = table[np.isfinite(table["loss"].to_numpy(dtype=float))]
    if runs.empty:
        raise ValueError("table has no run with a finite loss: must have at least one")
    own = pd.DataFrame({
        "row": "run", "architecture": runs["architecture"].astype(str), "parameters": runs[counted].astype(float),
        "tokens": runs["tokens"].astype(float),
        **{name: runs[name].astype(float) for name in ("loss", "loss_low", "loss_high")}, "seed": runs["seed"],
        "tier": runs["tier"], "parameter_count": count,
    })  # fmt: skip
    predicted = None if fit is None else predictor(fit)
    parts = []
    for against, held in (PANELS, PANELS[::-1]):
        values = own[held].to_numpy(dtype=float)
        for centre, mask in groups(values, MOST):
            parts.append(own[mask].assign(against=against, group=float(centre)))
        if predicted is None:
            continue
        fitted = own[own["architecture"].str.contains("transformer")] if _has_transformers(own) else own
        ends = fitted[against].to_numpy(dtype=float)
        dense = np.geomspace(ends.min(), ends.max(), CURVE_POINTS)
        for centre, mask in groups(values, MOST):
            if not mask[own.index.isin(fitted.index)].any() and len(fitted) != len(own):
                continue
            at = {against: dense, held: np.full_like(dense, float(centre))}
            parts.append(pd.DataFrame({"row": "curve", "against": against, "group": float(centre), **at,
                                       "loss": predicted(at["parameters"], at["tokens"]), "parameter_count": count}))
    return pd.concat(parts, ignore_index=True).reindex(columns=list(TABLE_COLUMNS))


def _has_transformers(own: pd.DataFrame) -> bool:
    return bool(own["architecture"].str.contains("transformer").any())


def runs_drawing(table: pd.DataFrame) -> Figure:
    """Loss against parameters, a series for each number of tokens (a), and against tokens, a series for each size (b).

    Filled markers are the architecture with the most runs, open ones the others; bars are the intervals of the held-out loss;
    lines are the fitted law at the group's value.

    Args:
        table: of `runs_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.scaling.runs_figure")
    runs = table[table["row"] == "run"]
    architectures = list(runs["architecture"].value_counts().index)
    count = str(table["parameter_count"].iloc[0])
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 3.9), layout="constrained")
        panels = made.subplots(1, 2, sharey=True)
        for axes, against in zip(panels, PANELS, strict=True):
            handles = _draw(axes, table[table["against"] == against], against, architectures)
            held = "$D$ (tokens)" if against == "parameters" else "$N$ (parameters)"
            axes.set_xlabel(parameters_label(count) if against == "parameters" else TOKENS)
            axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, -0.2), ncols=3, title=held, alignment="left",
                        handlelength=2.2, columnspacing=1.0, labelspacing=0.3)
            axes.margins(x=0.05, y=0.06)
            log_axis(axes.xaxis)
        panels[0].set_ylabel(f"held-out {LOSS}")
        plain_log_axis(panels[0].yaxis)
        letters(panels)
        legend_below(made, _kinds(table, architectures), 4)
    return made


def _draw(axes: Axes, table: pd.DataFrame, against: str, architectures: list[str]) -> list[Line2D]:
    values = sorted(table["group"].unique())
    handles = []
    for place, (value, look) in enumerate(zip(values, looks(len(values)), strict=True)):
        part = table[table["group"] == value]
        style_of_line = LINE_STYLES[place % len(LINE_STYLES)]
        curve = part[part["row"] == "curve"].sort_values(against)
        if len(curve):
            axes.plot(curve[against], curve["loss"], color=look["color"], linestyle=style_of_line, linewidth=1.0, zorder=2,
                      gid=f"curve: {against} at {value:.6g}")
        for architecture in architectures:
            runs = part[(part["row"] == "run") & (part["architecture"] == architecture)].sort_values(against)
            if runs.empty:
                continue
            gid = f"runs: {architecture}, {against} at {value:.6g}"
            known = runs[runs["loss_low"].notna() & runs["loss_high"].notna()]
            axes.vlines(known[against], known["loss_low"], known["loss_high"], color=look["color"], linewidth=0.9, zorder=3,
                        gid=f"{gid} bars")
            axes.plot(runs[against], runs["loss"], linestyle="none", markersize=4.2, zorder=4, gid=gid,
                      fillstyle="full" if architecture == architectures[0] else "none", **look)
        handles.append(Line2D([], [], label=number(value), markersize=4.2, linestyle=style_of_line if len(curve) else "none",
                              linewidth=1.0, **look))
    return handles


def _kinds(table: pd.DataFrame, architectures: list[str]) -> list[Any]:
    grey: dict[str, Any] = {"color": style.GREY, "marker": "o", "linestyle": "none", "markersize": 4.2}
    tiers = sorted({str(tier) for tier in table["tier"].dropna() if str(tier)})
    tier = f", {' and '.join(tiers)} tier" if tiers else ""
    handles = [Line2D([], [], fillstyle="full" if place == 0 else "none", label=f"{name}{tier}", **grey)
               for place, name in enumerate(architectures)]
    if (table["row"] == "curve").any():
        handles.append(Line2D([], [], color=style.GREY, linewidth=1.0, label="the fitted law"))
    if table["loss_low"].notna().any():
        handles.append(Line2D([], [], color=style.GREY, linewidth=0.9, linestyle="none", marker="|", markersize=7,
                              label="95% interval"))
    return handles
