"""The landscape: heads against associations held, bits per effective parameter, and seconds, for every method there is."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from empirical.comparison import mean_interval
from empirical.landscape import headline
from headcount.figures import style
from headcount.figures.table import one_setting

LARGE = "large marker: median, everything held"
WIDTH = 7.2
"""Inches: two columns of a paper."""
SETTING = ("vocab_size", "seq_len", "embed_dim", "num_associations")
COLUMNS = ("kind", "name", "num_heads", "held", "bits_per_effective_parameter", "seconds", "table_seed", "model_seed", "origin",
           "certified", *SETTING)
BOUNDS: dict[str, dict[str, Any]] = {
    "corollary_1": {"label": "bound: Corollary 1, $Hd_h+d$", "color": style.BLUE, "linestyle": "-"},
    "planar_count": {"label": "bound: planar and scalar, $d(H+1)$", "color": style.SKY_BLUE, "linestyle": "--"},
    "threshold": {"label": "bound: threshold law of frozen heads", "color": style.ORANGE, "linestyle": "-."},
    "U0": {"label": "ceiling U0: all sequences, $N^2$", "color": style.BLACK, "linestyle": "-"},
    "U1": {"label": "ceiling U1: 64-bit weights", "color": style.GREY, "linestyle": "-"},
    "U2": {"label": "ceiling U2: heads before labels", "color": style.GREY, "linestyle": "--"},
    "U3": {"label": "ceiling U3: attention before labels", "color": style.GREY, "linestyle": "-."},
    "U4": {"label": "ceiling U4: hard attention", "color": style.GREY, "linestyle": ":"},
}
MODELS: dict[str, dict[str, Any]] = {
    "mahdavi": {"label": "built: rival, Mahdavi et al.", "color": style.GREY, "marker": "<"},
    "huben_morris": {"label": "built: rival, Huben and Morris", "color": style.GREY, "marker": ">"},
    "bubeck": {"label": "built: rival, Bubeck et al., MLP", "color": style.GREY, "marker": "d"},
    "staircase": {"label": "built: staircase (Corollary 1)", "color": style.BLUE, "marker": "s"},
    "scalar": {"label": "built: scalar, $d_h=1$", "color": style.SKY_BLUE, "marker": "v"},
    "planar": {"label": "built: planar, $d_h=2$", "color": style.SKY_BLUE, "marker": "D"},
    "readout": {"label": "built: frozen heads, readout solved", "color": style.ORANGE, "marker": "^"},
    "block_staircase": {"label": "built: block staircase", "color": style.GREEN, "marker": "P"},
    "block_staircase_search": {"label": "built: block staircase, searched", "color": style.GREEN, "marker": "p"},
    "column_generation": {"label": "built: column generation", "color": style.YELLOW, "marker": "X"},
    "solver": {"label": "solved: second order", "color": style.PURPLE, "marker": "*"},
    "adam": {"label": "trained: Adam", "color": style.VERMILLION, "marker": "o"},
}


def draw(table: pd.DataFrame, png: Path, pdf: Path) -> None:
    """Write `figure(table)` as PNG and PDF; same table, same bytes. Raises ValueError like `figure`, OSError on writing."""
    style.save(figure(table), png, pdf)


def figure(table: pd.DataFrame) -> Figure:
    """Three panels over the number of heads: associations held, bits per effective parameter, seconds.

    Every built or solved model is a small marker, one per label table; a large one is the median over tables of the fewest heads
    that held everything, where it exists. Trained models are a mean with its 95% Student interval over models that did not
    diverge. Bounds and ceilings are curves.

    Args:
        table: rows of `empirical.landscape.landscape`, of one setting (N, S, d, T0).

    Raises:
        ValueError: a column of the table is missing, it has no rows, or rows of several settings.
    """
    setting = one_setting(table, COLUMNS, SETTING, "empirical.landscape.landscape")
    with style.styled():
        made = Figure(figsize=(WIDTH, 6.6), layout="constrained")
        fewest = headline(table).set_index("name")["heads"].to_dict()
        panels = made.subplot_mosaic([["held", "held"], ["bits", "seconds"]], height_ratios=[1.45, 1.0])
        _bounds(panels["held"], table, _top(setting))
        for name, column in (("held", "held"), ("bits", "bits_per_effective_parameter"), ("seconds", "seconds")):
            for found in _methods(table):
                _models(panels[name], table[table["name"].eq(found) & table["kind"].ne("bound")], column, fewest[found])
        _finish(panels, setting, table)
        handles, labels = panels["held"].get_legend_handles_labels()
        large = Line2D([], [], linestyle="none", marker="o", color="white", markeredgecolor=style.BLACK, markersize=7.5)
        title = ", ".join(f"${symbol}={setting[name]}$" for symbol, name in zip(("N", "S", "d"), SETTING, strict=False))
        made.legend([*handles, large], [*labels, LARGE], loc="outside lower center", ncols=3,
                    title=f"{title}, {setting['num_associations']:,} associations with random labels", handlelength=2.2,
                    columnspacing=1.2, labelspacing=0.35, handletextpad=0.5)
    return made


def _methods(table: pd.DataFrame) -> Sequence[str]:
    present = set(table.loc[table["kind"].ne("bound"), "name"])
    return [name for name in MODELS if name in present] + sorted(present - set(MODELS))


def _top(setting: dict[str, int]) -> float:
    return 4.0 * setting["num_associations"]


def _bounds(axes: Axes, table: pd.DataFrame, top: float) -> None:
    """Curves, but for those that lie above the panel everywhere."""
    for name, look in BOUNDS.items():
        rows = table[table["kind"].eq("bound") & table["name"].eq(name)].sort_values("num_heads")
        if len(rows) and float(rows["held"].min()) < top:
            axes.plot(rows["num_heads"].astype(float), rows["held"].astype(float), linewidth=1.0, gid=name, zorder=2, **look)


def _models(axes: Axes, rows: pd.DataFrame, column: str, fewest: float) -> None:
    rows = rows[rows[column].notna() & rows["num_heads"].gt(0)]
    if not len(rows):
        return
    name = str(rows["name"].iloc[0])
    look = MODELS.get(name, {"label": f"{rows['kind'].iloc[0]}: {name}", "color": style.BLACK, "marker": "h"})
    heads, values = rows["num_heads"].astype(float), rows[column].astype(float)
    if rows["kind"].iloc[0] == "trained":
        _band(axes, rows, column, look)
        return
    size = 6.0 if name == "solver" else 3.5
    axes.plot(heads, values, linestyle="none", marker=look["marker"], color=look["color"], markersize=size, alpha=0.75,
              markeredgewidth=0.3, markeredgecolor=style.BLACK, label=look["label"], gid=name, zorder=4)
    if not math.isnan(fewest):
        whole = rows[rows["held"] == rows["num_associations"]]
        at = whole[whole["num_heads"].astype(float) == fewest][column].astype(float).median()
        axes.plot([fewest], [at], marker=look["marker"], color=look["color"], markersize=11.0 if name == "solver" else 7.5,
                  linestyle="none", gid=f"{name} everything", zorder=6, markeredgecolor=style.BLACK, markeredgewidth=0.5)


def _band(axes: Axes, rows: pd.DataFrame, column: str, look: dict[str, Any]) -> None:
    groups = rows.assign(num_heads=rows["num_heads"].astype(float)).groupby("num_heads")[column]
    found = [(heads, *mean_interval(part.astype(float).tolist())) for heads, part in groups]
    heads, mean, low, high = np.array(found).T
    axes.plot(heads, mean, "-", marker=look["marker"], color=look["color"], markersize=3.5, label=look["label"], gid="adam",
              zorder=5)
    axes.fill_between(heads, low, high, color=look["color"], alpha=0.25, linewidth=0, gid="adam interval", zorder=3)


def _finish(panels: dict[str, Axes], setting: dict[str, int], table: pd.DataFrame) -> None:
    most = float(table.loc[table["kind"].ne("bound"), "num_heads"].astype(float).max())
    for axes in panels.values():
        axes.set_xscale("log")
        axes.set_xlim(0.9, 1.15 * max(2.0, most))
        axes.set_xlabel("attention heads $H$")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    held = panels["held"]
    held.set_yscale("log")
    held.set_ylim(max(1.0, 0.5 * setting["embed_dim"]), _top(setting))
    held.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    held.set_ylabel("associations held")
    panels["bits"].set_ylabel("bits per effective parameter")
    panels["bits"].set_ylim(bottom=0)
    panels["seconds"].set_yscale("log")
    panels["seconds"].set_ylabel("time for one model (s)")
    for letter, axes in zip("abc", panels.values(), strict=True):
        axes.set_title(letter, loc="left", fontweight="bold", fontsize=9)
