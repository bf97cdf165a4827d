"""Estimates of dimension: how far they fall short of the true one, what that does to exponents, and how scale changes them."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from empirical._text_agreement import TOLERANCE
from headcount.figures import style
from headcount.figures._manifold_looks import THEORY, coloured, legend_under, split, theory_handle
from headcount.figures._scaling_looks import SHADE, letters, log_axis
from headcount.figures.table import check_columns

BIAS = ("family", "dimension", "method", "neighbours", "num_points", "estimate", "low", "high")
BIAS_COLUMNS = (*BIAS, "beta", "data_exponent", "implied_exponent", "implied_low", "implied_high")
SCALES = ("method", "neighbours", "scale", "dimension", "low", "high")
METHOD_WORDS = {"levina_bickel": "Levina-Bickel", "two_nn": "TwoNN", "gride": "Gride", "local_pca": "local PCA",
                "correlation_dimension": "correlation dimension"}
FAMILY_LINES: dict[str, Any] = {"ball": "-", "gaussian": (0, (4, 1.5)), "sphere": (0, (1, 1.2))}
FILLS = ("full", "none", "bottom")
"""Of markers, by family in order."""


def bias_table(curve: pd.DataFrame, beta: float = 1.0) -> pd.DataFrame:
    """The data of `bias_drawing`: the curve with the data exponents 2 beta/(2 beta + d) of the true and the estimated dimension.

    Raises:
        ValueError: a column is missing, there is no row, or beta is not a finite number > 0.
    """
    check_columns(curve, BIAS, "empirical.dimension.bias_curve")
    if not 0 < beta < math.inf:
        raise ValueError(f"beta = {beta}: must be a finite number > 0")
    found = curve.loc[:, list(BIAS)].assign(beta=float(beta))
    sources = {"data_exponent": "dimension", "implied_exponent": "estimate", "implied_low": "high", "implied_high": "low"}
    for name, of in sources.items():
        found[name] = 2 * beta / (2 * beta + found[of].astype(float))
    return found.reindex(columns=list(BIAS_COLUMNS)).reset_index(drop=True)


def bias_drawing(table: pd.DataFrame) -> Figure:
    """Estimated against true dimension, and how much too large a data exponent follows; markers by method, lines by family.

    Args:
        table: of `bias_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, BIAS_COLUMNS, "headcount.figures.manifolds.bias_figure")
    methods, families = (list(dict.fromkeys(table[name].astype(str))) for name in ("method", "family"))
    look_of = dict(zip(methods, coloured(len(methods)), strict=True))
    line_of = {family: {"linestyle": FAMILY_LINES.get(family, "-"), "fillstyle": FILLS[place % len(FILLS)]}
               for place, family in enumerate(families)}
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 3.5), layout="constrained")
        left, right = made.subplots(1, 2)
        for about, part in split(table.sort_values("dimension"), ("method", "family")):
            method, family = str(about["method"]), str(about["family"])
            line = {**look_of[method], **line_of[family]}
            at = part["dimension"].to_numpy(dtype=float)
            name = f"{method}, {family}"
            left.plot(at, part["estimate"], gid=f"estimate: {name}", linewidth=0.9, zorder=3, **line)
            left.vlines(at, part["low"], part["high"], color=line["color"], linewidth=0.9, zorder=2, gid=f"estimate: {name} bars")
            right.plot(at, part["implied_exponent"] - part["data_exponent"], gid=f"exponent: {name}", linewidth=0.9,
                       zorder=3, **line)
        ends = np.array([table["dimension"].min(), table["dimension"].max()], dtype=float)
        left.plot(ends, ends, zorder=1, gid="no bias", **THEORY)
        right.axhline(0.0, zorder=1, gid="no error", **THEORY)
        right.axhspan(-TOLERANCE, TOLERANCE, zorder=0, gid="tolerance", **SHADE)
        for axes in (left, right):
            axes.set_xlabel("true dimension $d$")
            axes.margins(0.05)
            log_axis(axes.xaxis)
        log_axis(left.yaxis)
        left.set_ylabel("estimated dimension")
        right.yaxis.set_major_locator(MaxNLocator(6))
        right.set_ylabel(f"implied $\\alpha_D$ minus true, β = {float(table['beta'].iloc[0]):g}")
        right.set_title(f"grey: ±{TOLERANCE:g}", fontsize=8)
        letters((left, right))
        handles = [Line2D([], [], label=_method_words(method, table), **look_of[method]) for method in methods]
        handles += [Line2D([], [], color=style.GREY, marker="o", markersize=3.5, label=f"{family}, {_points(table)}", **line)
                    for family, line in line_of.items()]
        legend_under(made, [*handles, theory_handle("no bias")], 3)
    return made


def _points(table: pd.DataFrame) -> str:
    return " or ".join(f"{int(count):,}" for count in sorted(table["num_points"].unique())) + " points"


def _method_words(method: str, table: pd.DataFrame) -> str:
    counts = sorted({int(count) for count in table.loc[table["method"] == method, "neighbours"]})
    words = METHOD_WORDS.get(method, method)
    return words if counts in ([0], [2]) else f"{words}, k = {' or '.join(map(str, counts))}"


def scales_table(table: pd.DataFrame) -> pd.DataFrame:
    """The data of `scales_drawing`: rows with a finite estimate, and where given their cloud (`name`) and its `true_dimension`.

    Raises:
        ValueError: a column is missing, or no estimate is finite.
    """
    check_columns(table, SCALES, "empirical.dimension.dimension_by_scale")
    found = table[np.isfinite(table["dimension"].to_numpy(dtype=float)) & (table["scale"].to_numpy(dtype=float) > 0)]
    if found.empty:
        raise ValueError("table has no finite estimate: must have at least one")
    absent = {name: value for name, value in (("name", ""), ("true_dimension", np.nan)) if name not in found}
    return found.assign(**absent).reindex(columns=["name", *SCALES, "true_dimension"]).reset_index(drop=True)


def scales_drawing(table: pd.DataFrame) -> Figure:
    """Estimates against the distance to the farthest neighbour looked at, with intervals, a panel for each cloud of points.

    Args:
        table: of `scales_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, ("name", *SCALES, "true_dimension"), "headcount.figures.manifolds.scales_figure")
    clouds = split(table.assign(name=table["name"].fillna("")), ("name",))
    methods = list(dict.fromkeys(table["method"].astype(str)))
    with style.styled():
        columns = min(3, len(clouds))
        lines = -(-len(clouds) // columns)
        made = Figure(figsize=(style.COLUMN_WIDTH if columns == 1 else style.PAGE_WIDTH, 2.5 * lines + 0.5), layout="constrained")
        grid = made.subplots(lines, columns, squeeze=False)
        for axes in list(grid.flat)[len(clouds):]:
            axes.set_axis_off()
        for axes, (about, part) in zip(grid.flat, clouds, strict=False):
            _scales(axes, part, methods, str(about["name"]))
        for axes in grid[:, 0]:
            axes.set_ylabel("estimated dimension")
        if len(clouds) > 1:
            letters(list(grid.flat)[: len(clouds)])
        handles = [Line2D([], [], label=METHOD_WORDS.get(name, name), **look)
                   for name, look in zip(methods, coloured(len(methods)), strict=True)]
        if table["true_dimension"].notna().any():
            handles.append(theory_handle("dimension of the manifold"))
        legend_under(made, handles, 3 if columns > 1 else 2)
    return made


def _scales(axes: Axes, part: pd.DataFrame, methods: list[str], name: str) -> None:
    for method, look in zip(methods, coloured(len(methods)), strict=True):
        own = part[part["method"] == method].sort_values("scale")
        known = own[np.isfinite(own["low"].to_numpy(dtype=float)) & np.isfinite(own["high"].to_numpy(dtype=float))]
        axes.vlines(known["scale"], known["low"], known["high"], color=look["color"], linewidth=0.9, zorder=2,
                    gid=f"{name} {method} bars")
        axes.plot(own["scale"], own["dimension"], linewidth=0.9, zorder=3, gid=f"{name} {method}", **look)
    truth = part["true_dimension"].dropna()
    if len(truth):
        axes.axhline(float(truth.iloc[0]), zorder=1, gid=f"{name} truth", **THEORY)
    axes.set_xlabel("mean distance to the $k$-th neighbour")
    axes.set_title(name, fontsize=8)
    axes.margins(0.07)
    log_axis(axes.xaxis)
    log_axis(axes.yaxis)
