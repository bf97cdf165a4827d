"""Spectra beside their two nulls: Marchenko and Pastur's law for noise of the same shape, and copies with permuted columns."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from headcount.figures import style
from headcount.figures._scaling_looks import LINE_STYLES, interval_words, legend_below, log_axis
from headcount.figures.table import check_columns
from theory.spectra import SpectrumVerdict

TABLE_COLUMNS = ("name", "rows", "columns", "rank", "singular_value", "expected", "gaussian_low", "gaussian_high", "permuted_low",
                 "permuted_high", "gaussian_p_value", "permuted_p_value", "verdict", "fitted", "exponent", "exponent_low",
                 "exponent_high")
SMALLEST = 1e-6
"""Of the largest: what is below is rounding, and left out."""
VALUES: dict[str, Any] = {"color": style.BLACK, "marker": "o", "markersize": 2.6, "linestyle": "none", "markeredgewidth": 0.4}
EXPECTED: dict[str, Any] = {"color": style.BLUE, "linestyle": LINE_STYLES[1], "linewidth": 1.1}
GAUSSIAN: dict[str, Any] = {"facecolor": "#BBDDF6", "edgecolor": "#BBDDF6", "linewidth": 2.0}
PERMUTED: dict[str, Any] = {"facecolor": "none", "edgecolor": style.ORANGE, "hatch": "//////", "linewidth": 0.6}
FITTED: dict[str, Any] = {"color": style.VERMILLION, "linewidth": 1.4}
MOST_MARKS = 150


def spectra_table(verdicts: dict[str, SpectrumVerdict]) -> pd.DataFrame:
    """The data of `spectra_drawing`: a row for each singular value of each matrix, with both nulls at its rank.

    `fitted` is the power law's value at the rank, where the tail was fitted and reaches so far: x_min (n/r)^(1/(g - 1)).

    Raises:
        ValueError: no verdicts.
    """
    if not verdicts:
        raise ValueError("verdicts is empty: must have at least one spectrum")
    parts = []
    for name, found in verdicts.items():
        gaussian, permuted = found.nulls
        ranks = np.arange(1, found.singular_values.size + 1)
        fitted, exponent = np.full(ranks.size, np.nan), [np.nan] * 3
        if found.fit is not None and found.fit.num_tail:
            tail = ranks <= found.fit.num_tail
            z = 1 / (found.fit.exponent - 1)
            fitted[tail] = found.fit.x_min * (found.fit.num_tail / ranks[tail]) ** z
            exponent = [-z, *(-1 / (end - 1) if end > 1 else np.nan for end in found.fit.interval)]
        parts.append(pd.DataFrame({
            "name": name, "rows": found.shape[0], "columns": found.shape[1], "rank": ranks,
            "singular_value": found.singular_values, "expected": found.expected, "gaussian_low": gaussian.low,
            "gaussian_high": gaussian.high, "permuted_low": permuted.low, "permuted_high": permuted.high,
            "gaussian_p_value": gaussian.p_value, "permuted_p_value": permuted.p_value, "verdict": str(found.verdict),
            "fitted": fitted, "exponent": exponent[0], "exponent_low": exponent[1], "exponent_high": exponent[2],
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)[list(TABLE_COLUMNS)]


def spectra_drawing(table: pd.DataFrame) -> Figure:
    """Singular values by rank on two logarithmic axes, a panel for each matrix; bands are all copies of a null, none left out.

    Args:
        table: of `spectra_table`.

    Raises:
        ValueError: a column is missing or there are no rows.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.scaling.spectra_figure")
    names = list(dict.fromkeys(table["name"]))
    with style.styled():
        columns = min(3, len(names))
        lines = -(-len(names) // columns)
        width = style.COLUMN_WIDTH if columns == 1 else style.PAGE_WIDTH
        made = Figure(figsize=(width, 2.5 * lines + (1.3 if columns == 1 else 0.8)), layout="constrained")
        grid = made.subplots(lines, columns, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            _draw(axes, str(name), table[table["name"] == name])
        for axes in list(grid.flat)[len(names):]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("singular value / $\\sqrt{n}$")
        handles: list[Any] = [
            Line2D([], [], label="data", **VALUES), Line2D([], [], label="Marchenko-Pastur", **EXPECTED),
            Patch(label="all Gaussian copies", **GAUSSIAN), Patch(label="all permuted copies", **PERMUTED),
        ]  # fmt: skip
        if table["fitted"].notna().any():
            handles.append(Line2D([], [], label="power law fitted to the tail", **FITTED))
        legend_below(made, handles, 2 if columns == 1 else 3)
    return made


def _draw(axes: Axes, name: str, part: pd.DataFrame) -> None:
    part = part.sort_values("rank")
    part = part[part["singular_value"] > SMALLEST * part["singular_value"].max()]
    least = SMALLEST * float(part["singular_value"].max())
    ranks = part["rank"].to_numpy()
    for null, look in (("gaussian", GAUSSIAN), ("permuted", PERMUTED)):
        low, high = (part[f"{null}_{end}"].to_numpy().clip(least) for end in ("low", "high"))
        axes.fill_between(ranks, low, high, zorder=1 if null == "gaussian" else 1.5, gid=f"{name}: {null}", **look)
    axes.plot(ranks, part["expected"].to_numpy().clip(least), zorder=2, gid=f"{name}: expected", **EXPECTED)
    marks = np.arange(len(part))
    if len(part) > MOST_MARKS:
        marks = np.unique(np.geomspace(1, len(part), MOST_MARKS).round().astype(int)) - 1
    axes.plot(ranks[marks], part["singular_value"].to_numpy()[marks], zorder=4, gid=f"{name}: data", **VALUES)
    tail = part[part["fitted"].notna()]
    if len(tail):
        axes.plot(tail["rank"], tail["fitted"], zorder=5, gid=f"{name}: fitted", **FITTED)
    log_axis(axes.xaxis)
    log_axis(axes.yaxis)
    axes.set_xlabel("rank $r$")
    first = part.iloc[0]
    said = f"{name}, {first['rows']:,} x {first['columns']:,}\nverdict: {first['verdict']}"
    if len(tail):
        ends = sorted((float(first["exponent_low"]), float(first["exponent_high"])))
        said += f"\nfitted slope {interval_words(float(first['exponent']), ends[0], ends[1], 2)}"
    axes.set_title(said, fontsize=7.5)
