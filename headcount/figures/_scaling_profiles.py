"""Profile likelihoods: how the objective rises when one constant is held, beside the bootstrap's interval of it."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from headcount.figures import style
from headcount.figures._scaling_looks import LINE_STYLES, SHADE, interval_words, legend_below
from headcount.figures.table import check_columns

if TYPE_CHECKING:
    from empirical.scaling_fits import ScalingFit

TABLE_COLUMNS = ("row", "symbol", "method", "value", "objective", "rise", "threshold_rise", "low", "high", "level", "reason")
NAMES = {
    "E": "$E$ (nats per token)", "A": "$A$", "B": "$B$", "alpha": "$\\alpha$", "beta": "$\\beta$",
    "a": "$a$, with $N_{opt}\\propto C^a$", "b": "$b$, with $D_{opt}\\propto C^b$",
}  # fmt: skip
PROFILE, PAIRS, RUNS = "profile", "bootstrap by points", "bootstrap by runs"
BARS = {PAIRS: (style.BLUE, "o", 1.35), RUNS: (style.ORANGE, "s", 1.7)}
"""Colour and marker of a bootstrap's bar, and its height in units of the threshold."""
TOP = 2.2
"""Of the vertical axis, in the same units."""


def profiles_table(fit: "ScalingFit") -> pd.DataFrame:
    """The data of `profiles_drawing`: rows "profile" (the objective with the constant held), rows "interval" by each method.

    `rise` is the objective above its minimum, and `threshold_rise` where it ends the interval.

    Raises:
        ValueError: the fit has no profiles.
    """
    if not fit.profiles:
        raise ValueError("fit has no profiles: fit_scaling_law(.., profiles=True) makes them")
    parts = []
    for symbol, one in fit.profiles.items():
        least = float(np.min(one.objective)) if one.objective.size else float("nan")
        threshold = one.threshold - least
        parts.append(pd.DataFrame({"row": "profile", "symbol": symbol, "method": PROFILE, "value": one.grid,
                                   "objective": one.objective, "rise": one.objective - least, "threshold_rise": threshold}))
        intervals = [(PROFILE, one.estimate, one.low, one.high, one.level, one.reason)]
        for method, bootstrap in ((PAIRS, fit.bootstrap_pairs), (RUNS, fit.bootstrap_runs)):
            if bootstrap is not None:
                found = bootstrap.interval(symbol)
                intervals.append((method, found.value, found.low, found.high, found.level, ""))
        parts.append(pd.DataFrame(intervals, columns=["method", "value", "low", "high", "level", "reason"]).assign(
            row="interval", symbol=symbol, threshold_rise=threshold))
    filled = [part.dropna(axis="columns", how="all") for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True).reindex(columns=list(TABLE_COLUMNS))


def profiles_drawing(table: pd.DataFrame) -> Figure:
    """The rise of the objective over its minimum for each constant, in units of the rise that ends the interval.

    The shaded part is the profile's interval; bars are the bootstrap's. An open end runs to the edge of the panel.

    Args:
        table: of `profiles_table`.

    Raises:
        ValueError: a column is missing or there is no profile.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.scaling.profiles_figure")
    symbols = list(dict.fromkeys(table["symbol"]))
    with style.styled():
        columns = min(2, len(symbols))
        lines = -(-len(symbols) // columns)
        made = Figure(figsize=(style.COLUMN_WIDTH if columns == 1 else style.PAGE_WIDTH, 2.0 * lines + 0.6), layout="constrained")
        grid = made.subplots(lines, columns, squeeze=False, sharey=True)
        for axes, symbol in zip(grid.flat, symbols, strict=False):
            _draw(axes, str(symbol), table[table["symbol"] == symbol])
        for axes in list(grid.flat)[len(symbols):]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("rise of the objective\n(1 ends the interval)")
        level = 100 * float(table["level"].max())
        handles: list[Any] = [Line2D([], [], color=style.BLACK, marker=".", label="profile: the others refitted"),
                              Patch(label=f"its {level:g}% interval", **SHADE)]
        for method in (PAIRS, RUNS):
            if (table["method"] == method).any():
                colour, marker, _ = BARS[method]
                handles.append(Line2D([], [], color=colour, marker=marker, markersize=3.5, label=f"{method}, {level:g}%"))
        legend_below(made, handles, 2 if columns == 1 else 4)
    return made


def _draw(axes: Axes, symbol: str, part: pd.DataFrame) -> None:
    curve = part[part["row"] == "profile"].sort_values("value")
    unit = float(part["threshold_rise"].iloc[0])
    intervals = part[part["row"] == "interval"].set_index("method")
    found = {str(row["method"]): row for row in part[part["row"] == "interval"].to_dict("records")}
    own = found[PROFILE]
    rise = curve["rise"].to_numpy() / (unit if np.isfinite(unit) and unit > 0 else 1.0)
    axes.plot(curve["value"], rise, color=style.BLACK, marker=".", markersize=3.5, zorder=4, gid=f"profile: {symbol}")
    axes.set_ylim(-0.08, TOP)
    left, right = _limits(curve["value"].to_numpy(), rise, intervals)
    axes.set_xlim(left, right)
    low, high = (float(own[end]) for end in ("low", "high"))
    if not np.isnan([low, high]).any():
        axes.axvspan(max(low, left), min(high, right), zorder=1, gid=f"interval: {symbol}", **SHADE)
    axes.axhline(1.0, color=style.GREY, linestyle=LINE_STYLES[1], linewidth=0.9, zorder=2, gid=f"threshold: {symbol}")
    for method, (colour, marker, height) in BARS.items():
        if method in found:
            one = found[method]
            ends = [max(float(one["low"]), left), min(float(one["high"]), right)]
            if not np.isnan([float(one["low"]), float(one["high"])]).any():
                axes.plot(ends, [height, height], color=colour, linewidth=1.6, zorder=3, gid=f"{method}: {symbol}")
            axes.plot([float(one["value"])], [height], color=colour, marker=marker, markersize=3.5, zorder=5, linestyle="none",
                      gid=f"{method}: {symbol} estimate")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(NAMES.get(symbol, symbol))
    axes.set_title(interval_words(float(own["value"]), low, high, 4), fontsize=7.5)


def _limits(values: np.ndarray, rise: np.ndarray, intervals: pd.DataFrame) -> tuple[float, float]:
    """Where the profile is within the panel, and the ends of intervals that are no farther than that is wide, with some room."""
    seen = values[rise <= TOP]
    ends = intervals[["low", "high", "value"]].to_numpy(dtype=float).ravel()
    width = float(np.ptp(seen))
    near = (ends >= seen.min() - width) & (ends <= seen.max() + width)
    places = np.concatenate([seen, ends[near]])
    room = 0.05 * float(np.ptp(places)) or 1e-3
    return float(places.min()) - room, float(places.max()) + room
