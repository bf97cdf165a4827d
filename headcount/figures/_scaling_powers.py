"""Tails and ranks: a tail with its power law and rivals, and counts by rank with the slopes that may be trusted."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headcount.figures import style
from headcount.figures._scaling_looks import LINE_STYLES, interval_words, legend_below, log_axis, number
from headcount.figures.table import check_columns
from theory.power_laws import PowerLawFit, RankFrequency

TAIL_COLUMNS = ("row", "law", "x", "survival", "exponent", "exponent_low", "exponent_high", "x_min", "p_value", "ratio",
                "rival_p_value", "favours", "verdict")
RANK_COLUMNS = ("row", "rank", "count", "frequency", "halves", "well_ranked", "first_rank", "last_rank", "slope", "slope_low",
                "slope_high", "num_types", "reason")
POWER_LAW = "power law"
RIVAL_LOOKS: dict[str, dict[str, Any]] = {
    "exponential": {"color": style.GREY, "linestyle": LINE_STYLES[1]},
    "lognormal": {"color": style.BLUE, "linestyle": LINE_STYLES[2]},
    "stretched exponential": {"color": style.GREEN, "linestyle": LINE_STYLES[3]},
    "truncated power law": {"color": style.ORANGE, "linestyle": LINE_STYLES[4]},
}
OTHER_LOOK: dict[str, Any] = {"color": style.PURPLE, "linestyle": LINE_STYLES[5]}
MOST_MARKS = 400
"""Marks of a sorted curve: more lie on one another."""
LEAST_SHOWN = 0.3
"""Of the share of one value: how far below the lowest mark rivals are drawn."""
SEGMENT_COLOURS = (style.BLACK, style.VERMILLION, style.BLUE, style.GREEN, style.PURPLE, style.ORANGE, style.SKY_BLUE)


def tail_table(fit: PowerLawFit) -> pd.DataFrame:
    """The data of `tail_drawing`: rows "value" (the share of the tail at or above each value) and rows "law" (curves).

    Laws of integers are given at integers. Values are thinned to at most 400, evenly in the logarithm of the share.

    Raises:
        ValueError: the fit has no tail.
    """
    if fit.num_tail == 0:
        raise ValueError(f"fit has no tail to draw: {fit.reasons[0] if fit.reasons else 'num_tail must be above 0'}")
    values, first = np.unique(fit.tail, return_index=True)
    shares = 1 - first / fit.tail.size
    kept = _thinned(shares)
    grid = np.unique(np.round(fit.grid)) if fit.discrete else fit.grid
    shared = {"exponent": fit.exponent, "exponent_low": fit.interval[0], "exponent_high": fit.interval[1], "x_min": fit.x_min,
              "p_value": fit.p_value, "verdict": str(fit.verdict)}
    parts = [pd.DataFrame({"row": "value", "x": values[kept], "survival": shares[kept], **shared}),
             pd.DataFrame({"row": "law", "law": POWER_LAW, "x": grid, "survival": fit.survival(grid), **shared})]
    for rival in fit.comparisons:
        if np.isfinite(rival.ratio) and rival.survival.size:
            survival = _between(grid, fit.grid, rival.survival)
            said = {"ratio": rival.ratio, "rival_p_value": rival.p_value, "favours": rival.favours}
            parts.append(pd.DataFrame({"row": "law", "law": rival.rival, "x": grid, "survival": survival, **shared, **said}))
    return pd.concat(parts, ignore_index=True).reindex(columns=list(TAIL_COLUMNS))


def tail_drawing(table: pd.DataFrame) -> Figure:
    """The share of the tail at or above x on two logarithmic axes: values, the power law, and the rivals that could be fitted.

    The legend says of each rival what the likelihood-ratio test favours; p is that of the power law's own goodness of fit.

    Args:
        table: of `tail_table`.

    Raises:
        ValueError: a column is missing or there are no values.
    """
    check_columns(table, TAIL_COLUMNS, "headcount.figures.scaling.tail_figure")
    values = table[table["row"] == "value"].sort_values("x")
    lowest = float(values["survival"].min())
    with style.styled():
        made = Figure(figsize=(style.COLUMN_WIDTH, 4.1), layout="constrained")
        axes = made.subplots()
        axes.plot(values["x"], values["survival"], linestyle="none", marker="o", markersize=3.0, fillstyle="none",
                  markeredgewidth=0.6, color=style.BLACK, zorder=2, gid="values")
        handles = [Line2D([], [], linestyle="none", marker="o", markersize=3.0, fillstyle="none", markeredgewidth=0.6,
                          color=style.BLACK, label="values of the tail")]
        for name, curve in table[table["row"] == "law"].groupby("law", sort=False):
            curve = curve[curve["survival"] > LEAST_SHOWN * lowest].sort_values("x")
            own = name == POWER_LAW
            look = {"color": style.VERMILLION, "linestyle": "-"} if own else RIVAL_LOOKS.get(str(name), OTHER_LOOK)
            look = look | {"linewidth": 1.4 if own else 1.1}
            axes.plot(curve["x"], curve["survival"], zorder=4 if own else 3, gid=f"law: {name}", **look)
            handles.append(Line2D([], [], label=_law_words(str(name), table), **look))
        axes.set_xlabel("value $x$")
        axes.set_ylabel("share of the tail with at least $x$")
        axes.margins(x=0.04, y=0.04)
        log_axis(axes.xaxis)
        log_axis(axes.yaxis)
        first = table.iloc[0]
        tested = f", $p$ = {first['p_value']:.2g}" if np.isfinite(first["p_value"]) else ", not tested"
        legend_below(made, handles, 1, f"verdict: {first['verdict']}{tested}, $x_{{\\min}}$ = {number(float(first['x_min']))}")
    return made


def _law_words(name: str, table: pd.DataFrame) -> str:
    rows = table[(table["row"] == "law") & (table["law"] == name)]
    first = rows.iloc[0]
    if name == POWER_LAW:
        return f"power law, $g$ = {interval_words(first['exponent'], first['exponent_low'], first['exponent_high'])}"
    said = {name: "likelier", POWER_LAW: "less likely"}.get(str(first["favours"]), "undecided")
    return f"{name}: {said} ($p$ = {first['rival_p_value']:.2g})"


def ranks_table(found: RankFrequency) -> pd.DataFrame:
    """The data of `ranks_drawing`: rows "type" (a rank and its count, zeros too) and "segment" (slopes, intervals)."""
    types = pd.DataFrame({"row": "type", "rank": found.ranks, "count": found.counts, "frequency": found.frequencies})
    segments = pd.DataFrame([
        {"row": "segment", "first_rank": one.first_rank, "last_rank": one.last_rank, "slope": one.slope, "slope_low": one.low,
         "slope_high": one.high, "num_types": one.num_types, "reason": one.reason}
        for one in found.segments
    ])  # fmt: skip
    joined = pd.concat([part for part in (types, segments) if len(part)], ignore_index=True).reindex(columns=list(RANK_COLUMNS))
    return joined.assign(halves=found.halves, well_ranked=found.well_ranked)


def ranks_drawing(table: pd.DataFrame) -> Figure:
    """Frequency against rank with the slope of each segment, each line where its fit puts it.

    To the right of the dotted line ranks rest on fewer than 100 counts, and a fall there may be noise sorted into order.

    Ranks are gathered in bins, 20 a decade; a mark is a bin's mean frequency, zeros included, so that it can be held against the
    slopes, which are fitted to means as well.

    Args:
        table: of `ranks_table`.

    Raises:
        ValueError: a column is missing or there are no types.
    """
    check_columns(table, RANK_COLUMNS, "headcount.figures.scaling.ranks_figure")
    types = table[table["row"] == "type"].sort_values("rank")
    segments = table[(table["row"] == "segment") & table["slope"].notna()]
    ranks, shares = types["rank"].to_numpy(dtype=float), types["frequency"].to_numpy(dtype=float)
    bins = np.floor(20 * np.log10(ranks)).astype(int)
    means = types.assign(bin=bins, log_rank=np.log(ranks)).groupby("bin")[["log_rank", "frequency"]].mean()
    means = means[means["frequency"] > 0]
    with style.styled():
        made = Figure(figsize=(style.COLUMN_WIDTH, 3.3 + 0.17 * len(segments)), layout="constrained")
        axes = made.subplots()
        axes.plot(np.exp(means["log_rank"]), means["frequency"], linestyle="none", marker="o", markersize=3.2, color=style.GREY,
                  fillstyle="none", markeredgewidth=0.7, zorder=2, gid="types")
        halves = bool(table["halves"].iloc[0])
        said = "ranks and counts of different halves" if halves else "ranks and counts of the same data"
        handles = [Line2D([], [], linestyle="none", marker="o", markersize=3.2, color=style.GREY, fillstyle="none",
                          markeredgewidth=0.7, label="mean of a bin of ranks")]
        for place, (_, one) in enumerate(segments.iterrows()):
            first, last, slope = float(one["first_rank"]), float(one["last_rank"]), float(one["slope"])
            inside = (ranks >= first) & (ranks <= last)
            level = _level(ranks[inside], shares[inside], slope, halves)
            ends = np.array([first, last])
            look = {"color": SEGMENT_COLOURS[place % len(SEGMENT_COLOURS)], "linestyle": LINE_STYLES[place % len(LINE_STYLES)]}
            axes.plot(ends, np.exp(level + slope * np.log(ends)), zorder=3, linewidth=1.3, gid=f"segment: {first:g} to {last:g}",
                      **look)
            interval = interval_words(slope, float(one["slope_low"]), float(one["slope_high"]), 4)
            handles.append(Line2D([], [], linewidth=1.3, label=f"ranks {first:,.0f} to {last:,.0f}: slope {interval}", **look))
        well_ranked = int(table["well_ranked"].iloc[0])
        if 0 < well_ranked < ranks.max():
            axes.axvline(well_ranked, color=style.BLACK, linestyle=":", linewidth=1.0, zorder=1, gid="well ranked")
            handles.append(Line2D([], [], color=style.BLACK, linestyle=":", linewidth=1.0,
                                  label=f"rank {well_ranked:,}: the last with 100 counts"))
        axes.set_xlabel("rank $r$")
        axes.set_ylabel("frequency (share of all counts)")
        log_axis(axes.xaxis)
        log_axis(axes.yaxis)
        legend_below(made, handles, 1, f"{said}; brackets: 95%, where known")
    return made


def _level(ranks: np.ndarray, shares: np.ndarray, slope: float, halves: bool) -> float:
    """ln of a segment's line at rank 1: as many counts as there are (split halves), or the mean of the logarithms, as fitted."""
    if not halves:
        return float((np.log(shares) - slope * np.log(ranks)).mean())
    return float(np.log(shares.sum()) - np.log((ranks**slope).sum()))


def _between(x: np.ndarray, grid: np.ndarray, survival: np.ndarray) -> np.ndarray:
    """A survival function between the points that it is known at, straight in both logarithms."""
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(survival), -700.0)
    return np.exp(np.interp(np.log(x), np.log(grid), logs))


def _thinned(shares: np.ndarray) -> np.ndarray:
    """Which of falling shares to draw: all if few, else about evenly in their logarithms, first and last included."""
    if shares.size <= MOST_MARKS:
        return np.arange(shares.size)
    wanted = np.geomspace(shares[0], shares[-1], MOST_MARKS)
    places = np.searchsorted(-shares, -wanted).clip(0, shares.size - 1)
    return np.unique(np.append(places, [0, shares.size - 1]))
