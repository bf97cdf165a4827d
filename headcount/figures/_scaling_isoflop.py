"""Optima without a law: loss against size at each budget with its parabola, and the power law through the minima."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from empirical.scaling_approaches import Approach
from headcount.figures import style
from headcount.figures._scaling_looks import (
    COMPUTE,
    LINE_STYLES,
    LOSS,
    SHADE,
    interval_words,
    legend_below,
    letters,
    log_axis,
    looks,
    number,
    plain_log_axis,
)
from headcount.figures.table import check_columns

TABLE_COLUMNS = ("row", "approach", "group", "parameters", "parameters_low", "parameters_high", "tokens", "compute", "loss",
                 "kept", "reason", "level", "exponent", "exponent_low", "exponent_high")
REFUSED: dict[str, Any] = {"color": style.GREY, "marker": "x", "markersize": 3.2, "markeredgewidth": 0.8}
NAMED = 9
"""Groups with a name of their own in the legend; the paper had nine budgets."""
FIT_POINTS = 40


def isoflop_table(approach: Approach) -> pd.DataFrame:
    """The data of `isoflop_drawing`, one tidy table.

    Rows: "member" (a point of a group; `loss` is carried to the budget), "curve" (the fitted curve), "optimum" (with its
    interval), "fit" (the power law through the optima, with its interval) and "refused" (a group without an optimum, and
    its `reason`).
    `group` is a budget in FLOP (iso-flop) or a size (envelope); `kept` says whether it has an optimum.
    """
    members = approach.members.assign(row="member", loss=approach.members["adjusted_loss"])
    curves, optima = approach.curves.assign(row="curve"), approach.optima.assign(row="optimum", group=approach.optima["compute"])
    refused = pd.DataFrame({
        "row": "refused", "group": [one.group for one in approach.refusals], "reason": [one.reason for one in approach.refusals]
    })  # fmt: skip
    parts = [members, curves, optima, refused]
    exponent = approach.parameters_exponent
    if not approach.reason:
        ends = approach.optima["compute"].to_numpy(dtype=float)
        for compute in np.geomspace(ends.min() / 3, ends.max() * 3, FIT_POINTS):
            size, tokens = approach.predict(float(compute))
            row = {"row": "fit", "compute": float(compute), "parameters": size.value, "tokens": tokens.value}
            parts.append(pd.DataFrame([row | {"parameters_low": size.low, "parameters_high": size.high}]))
    shared = {"approach": approach.name, "level": approach.level, "exponent": exponent.value, "exponent_low": exponent.low,
              "exponent_high": exponent.high}
    filled = [part for part in parts if len(part)]
    if not filled:
        raise ValueError("approach has neither groups nor refusals: must have at least one")
    joined = pd.concat([part.reindex(columns=list(TABLE_COLUMNS)).dropna(axis="columns", how="all") for part in filled],
                       ignore_index=True)
    return joined.assign(**shared).reindex(columns=list(TABLE_COLUMNS))


def isoflop_drawing(table: pd.DataFrame) -> Figure:
    """Loss by size within each group with the fitted curves (a); optimal size against compute with its power law (b).

    For isoFLOP curves a group is a budget, and its minimum is marked in (a); for the envelope it is a size, and (a) is over
    compute. Groups that were refused are grey crosses with dotted curves.

    Args:
        table: of `isoflop_table`.

    Raises:
        ValueError: a column is missing or there are no groups.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.scaling.isoflop_figure")
    members = table[table["row"] == "member"]
    iso = table["approach"].iloc[0] == "iso-flop"
    against = "parameters" if iso else "compute"
    kept = sorted(members.loc[members["kept"].astype(bool), "group"].unique())
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 4.1), layout="constrained")
        left, right = made.subplots(1, 2)
        series = looks(len(kept))
        for place, (group, look) in enumerate(zip(kept, series, strict=True)):
            _draw_group(left, table[(table["group"] == group) & table["kept"].eq(True)], against, look,
                        LINE_STYLES[place % len(LINE_STYLES)], f"{group:.4g}")
        refused = table[table["kept"].eq(False)]
        for group, part in refused.groupby("group"):
            _draw_group(left, part, against, REFUSED, (0, (1, 1.5)), f"refused {float(group):.4g}")  # type: ignore[arg-type]
        optima = table[table["row"] == "optimum"].sort_values("compute")
        if iso:
            left.plot(optima["parameters"], optima["loss"], linestyle="none", marker="*", markersize=8, color=style.VERMILLION,
                      markeredgecolor="white", markeredgewidth=0.5, zorder=6, gid="minima")
        else:
            left.plot(optima["compute"], optima["loss"], color=style.VERMILLION, linewidth=2.0, zorder=6, gid="envelope")
        _draw_optima(right, table, optima, None if not iso else dict(zip(kept, series, strict=True)))
        left.set_xlabel("parameters $N$" if iso else COMPUTE)
        left.set_ylabel(LOSS)
        left.margins(x=0.05, y=0.06)
        log_axis(left.xaxis)
        plain_log_axis(left.yaxis)
        letters((left, right))
        held = "a: budgets in FLOP" if iso else "a: sizes in parameters"
        held += f" ({NAMED} of {len(kept)} named)" if len(kept) > NAMED else ""
        legend_below(made, _handles(table, kept, series, iso, refused), 4, held)
    return made


def _draw_group(axes: Axes, part: pd.DataFrame, against: str, look: dict[str, Any], line: Any, name: str) -> None:
    members, curve = part[part["row"] == "member"], part[part["row"] == "curve"].sort_values(against)
    marks: dict[str, Any] = {"linestyle": "none", "markersize": 3.2, "markeredgewidth": 0.6} | look
    axes.plot(members[against], members["loss"], zorder=4, gid=f"members: {name}", **marks)
    axes.plot(curve[against], curve["loss"], color=look["color"], linestyle=line, linewidth=0.9, zorder=3, gid=f"curve: {name}")


def _draw_optima(
    axes: Axes, table: pd.DataFrame, optima: pd.DataFrame, by_group: dict[float, dict[str, Any]] | None
) -> None:
    axes.set_xlabel(COMPUTE)
    axes.set_ylabel("optimal parameters $N$")
    if optima.empty:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no optimum: all groups refused", transform=axes.transAxes, ha="center", fontsize=7)
        return
    fit = table[table["row"] == "fit"].sort_values("compute")
    if len(fit):
        axes.fill_between(fit["compute"], fit["parameters_low"], fit["parameters_high"], zorder=1, gid="fit interval", **SHADE)
        axes.plot(fit["compute"], fit["parameters"], color=style.BLACK, linewidth=1.0, zorder=3, gid="fit")
    if by_group is None:
        axes.plot(optima["compute"], optima["parameters"], color=style.VERMILLION, linewidth=2.0, zorder=4, gid="optima")
    else:
        for _, row in optima.iterrows():
            look = by_group.get(row["group"], {"color": style.VERMILLION, "marker": "*"})
            gid = f"optimum: {row['group']:.4g}"
            if np.isfinite([row["parameters_low"], row["parameters_high"]]).all():
                axes.vlines([row["compute"]], [row["parameters_low"]], [row["parameters_high"]], color=look["color"], zorder=4,
                            linewidth=1.0, gid=f"{gid} bar")
            axes.plot([row["compute"]], [row["parameters"]], linestyle="none", markersize=3.5, zorder=5, gid=gid, **look)
    axes.margins(x=0.05, y=0.06)
    log_axis(axes.xaxis)
    log_axis(axes.yaxis)


def _handles(
    table: pd.DataFrame, kept: list[float], series: list[dict[str, Any]], iso: bool, refused: pd.DataFrame
) -> list[Any]:
    shown = set(np.linspace(0, len(kept) - 1, NAMED).round().astype(int)) if len(kept) > NAMED else set(range(len(kept)))
    handles: list[Any] = [
        Line2D([], [], label=number(group), markersize=3.2, linewidth=0.9, linestyle=LINE_STYLES[place % len(LINE_STYLES)],
               **look)
        for place, (group, look) in enumerate(zip(kept, series, strict=True)) if place in shown
    ]  # fmt: skip
    if iso and kept:
        handles.append(Line2D([], [], color=style.VERMILLION, marker="*", markersize=8, linestyle="none", label="minimum"))
    elif kept:
        handles.append(Line2D([], [], color=style.VERMILLION, linewidth=2.0, label="envelope"))
    if len(refused):
        num = refused["group"].nunique()
        handles.append(Line2D([], [], linewidth=0.9, linestyle=(0, (1, 1.5)), **REFUSED, label=f"refused: {num}"))
    first, level = table.iloc[0], 100 * float(table["level"].iloc[0])
    if (table["row"] == "fit").any():
        words = interval_words(float(first["exponent"]), float(first["exponent_low"]), float(first["exponent_high"]))
        handles.append(Line2D([], [], color=style.BLACK, linewidth=1.0, label=f"b: $N\\propto C^a$, $a$ = {words}"))
        handles.append(Patch(label=f"b: {level:g}% interval{' (also bars)' if iso else ''}", **SHADE))
    return handles
