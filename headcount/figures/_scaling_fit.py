"""A fitted law over its points: loss against size, a curve for each number of tokens, and what it leaves, by compute."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from headcount.figures import style
from headcount.figures._scaling_looks import (
    COMPUTE,
    LINE_STYLES,
    LOSS,
    SHADE,
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

TABLE_COLUMNS = ("row", "group", "parameters", "tokens", "compute", "loss", "predicted", "predicted_low", "predicted_high",
                 "residual", "form", "against", "parameter_count", "refused")
MOST = 6
"""Groups of tokens."""
CURVE_POINTS = 80
CENTRAL = 0.95
"""Share of the residuals in the shaded band."""
WINDOW = 5
"""The running median of residuals is over a fifth of the points."""


def fit_table(fit: "ScalingFit") -> pd.DataFrame:
    """The data of `fit_drawing`: rows "point" with what the law leaves of them, rows "curve" over sizes for each group of tokens.

    A group has one number of tokens where at most 6 are there, else a sixth of the points; a curve is the law at the group's
    geometric mean, with its least and greatest values over the tokens of the group. `residual` is ln(loss / predicted).
    """
    points, predicted = fit.points, predictor(fit)
    against = "tokens" if fit.form.name == "kaplan-data" else "compute" if fit.form.name == "kaplan-compute" else "parameters"
    refused = "; ".join(f"{one.what}: {one.reason}" for one in fit.refusals) if fit.law is None else ""
    shared = {"form": str(fit.form.name), "against": against, "parameter_count": str(points.parameter_count), "refused": refused}
    gathered = groups(points.tokens, MOST) if against == "parameters" and fit.form.name != "kaplan-parameters" else []
    gathered = gathered or [(points.tokens.mean(), np.ones(points.num_points, dtype=bool))]
    at_points = np.full(points.num_points, np.nan) if predicted is None else predicted(points.parameters, points.tokens)
    parts = []
    for centre, mask in gathered:
        parts.append(pd.DataFrame({
            "row": "point", "group": float(centre), "parameters": points.parameters[mask], "tokens": points.tokens[mask],
            "compute": points.compute[mask], "loss": points.loss[mask], "predicted": at_points[mask],
            "residual": np.log(points.loss[mask] / at_points[mask]), **shared,
        }))  # fmt: skip
        if predicted is None:
            continue
        sizes = np.geomspace(points.parameters.min(), points.parameters.max(), CURVE_POINTS)
        held = np.full_like(sizes, float(centre))
        if against != "parameters":  # a law of one quantity: all that the axis needs
            shown = points.tokens if against == "tokens" else points.compute / 6.0
            held = np.geomspace(shown.min(), shown.max(), CURVE_POINTS)
            sizes = np.ones_like(held)
        ends = [predicted(sizes, np.full_like(sizes, end)) if against == "parameters" else predicted(sizes, held)
                for end in (points.tokens[mask].max(), points.tokens[mask].min())]
        parts.append(pd.DataFrame({
            "row": "curve", "group": float(centre), "parameters": sizes, "tokens": held, "compute": 6.0 * sizes * held,
            "predicted": predicted(sizes, held), "predicted_low": np.minimum(*ends), "predicted_high": np.maximum(*ends),
            **shared,
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True).reindex(columns=list(TABLE_COLUMNS))


def fit_drawing(table: pd.DataFrame) -> Figure:
    """Loss against model size with the law's curves (a), and residuals in percent of the loss by compute (b).

    Shaded in (a) is the law over the tokens of a group, where it gathers several; in (b) the central 95% of the residuals, with
    their running median over a fifth of the points, which is where a wrong form shows.

    Args:
        table: of `fit_table`.

    Raises:
        ValueError: a column is missing or there are no points.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.scaling.fit_figure")
    points = table[table["row"] == "point"]
    if points.empty:
        raise ValueError("table has no row of kind point: must have at least one")
    against, count = str(points["against"].iloc[0]), str(points["parameter_count"].iloc[0])
    values = sorted(points["group"].unique())
    series = looks(len(values))
    with style.styled():
        made = Figure(figsize=(style.COLUMN_WIDTH, 4.9), layout="constrained")
        top, bottom = made.subplots(2, 1, height_ratios=(1.7, 1.0))
        for place, (value, look) in enumerate(zip(values, series, strict=True)):
            part = table[table["group"] == value]
            _draw_group(top, bottom, part, against, look, LINE_STYLES[place % len(LINE_STYLES)], f"{value:.6g}")
        top.set_xlabel({"parameters": parameters_label(count), "tokens": TOKENS, "compute": COMPUTE}[against])
        top.set_ylabel(LOSS)
        top.margins(x=0.04, y=0.05)
        log_axis(top.xaxis)
        plain_log_axis(top.yaxis)
        _finish_residuals(bottom, points)
        letters((top, bottom))
        handles = [Line2D([], [], label=f"$D$ = {number(value)}" if len(values) > 1 else "points", markersize=3.2, linewidth=1.0,
                          linestyle=LINE_STYLES[place % len(LINE_STYLES)] if (table["row"] == "curve").any() else "none", **look)
                   for place, (value, look) in enumerate(zip(values, series, strict=True))]
        legend_below(made, handles + _more_handles(table, points), 2, _title(points, len(values)))
    return made


def _draw_group(
    top: Axes, bottom: Axes, part: pd.DataFrame, against: str, look: dict[str, Any], line: Any, name: str
) -> None:
    points, curve = part[part["row"] == "point"], part[part["row"] == "curve"].sort_values(against)
    top.plot(points[against], points["loss"], linestyle="none", markersize=2.8, markeredgewidth=0.5, zorder=4,
             gid=f"points: {name}", **look)
    if len(curve):
        if (curve["predicted_high"] > curve["predicted_low"] * (1 + 1e-9)).any():
            top.fill_between(curve[against], curve["predicted_low"], curve["predicted_high"], color=look["color"], alpha=0.18,
                             linewidth=0, zorder=1, gid=f"band: {name}")
        top.plot(curve[against], curve["predicted"], color=look["color"], linestyle=line, linewidth=1.0, zorder=3,
                 gid=f"curve: {name}")
        bottom.plot(points["compute"], 100 * points["residual"], linestyle="none", markersize=2.8, markeredgewidth=0.5, zorder=4,
                    gid=f"residuals: {name}", **look)


def _finish_residuals(axes: Axes, points: pd.DataFrame) -> None:
    axes.set_xlabel(COMPUTE)
    axes.set_ylabel("loss above\nthe law (%)")
    known = points[points["residual"].notna()].sort_values("compute")
    axes.axhline(0, color=style.BLACK, linewidth=0.6, zorder=2, gid="zero")
    if len(known):
        percent = 100 * known["residual"].to_numpy()
        low, high = np.quantile(percent, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2])
        axes.axhspan(low, high, zorder=1, gid="central residuals", **SHADE)
        window = max(3, len(known) // WINDOW)
        if len(known) >= 2 * window:
            median = pd.Series(percent).rolling(window, center=True).median()
            axes.plot(known["compute"], median, color=style.VERMILLION, linewidth=1.3, zorder=5, gid="running median")
    else:
        axes.text(0.5, 0.6, "no law: the fit was refused", transform=axes.transAxes, ha="center", fontsize=7)
    axes.set_xlim(0.8 * points["compute"].min(), 1.25 * points["compute"].max())
    axes.margins(y=0.08)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    log_axis(axes.xaxis)


def _more_handles(table: pd.DataFrame, points: pd.DataFrame) -> list[Any]:
    handles: list[Any] = []
    curves = table[table["row"] == "curve"]
    if (curves["predicted_high"] > curves["predicted_low"] * (1 + 1e-9)).any():
        handles.append(Patch(color=style.BLUE, alpha=0.25, linewidth=0, label="a: law over the group's $D$"))
    if points["residual"].notna().any():
        handles.append(Patch(label="b: central 95% of points", **SHADE))
        if len(points) >= 2 * max(3, len(points) // WINDOW):
            handles.append(Line2D([], [], color=style.VERMILLION, linewidth=1.3, label="b: running median"))
    return handles


def _title(points: pd.DataFrame, num_groups: int) -> str:
    said = f"law: {points['form'].iloc[0]}, {len(points)} points"
    distinct = points.groupby("group")["tokens"].nunique()
    return said + ("; groups of $D$ by their geometric mean" if num_groups > 1 and (distinct > 1).any() else "")
