"""Experiment 4: the memory that one more head adds, against d = d_h, on plain axes as in the paper and on logarithmic ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from empirical.experiments import slopes
from empirical.regression import Line, line
from headcount.figures import style
from headcount.figures._experiment_data import ACCURACIES, results, title

FEWEST = 3
BOUNDS: dict[str, dict[str, Any]] = {
    "corollary_1": {"label": "bound: Corollary 1, $d_h$", "color": style.BLUE, "linestyle": "-", "linewidth": 1.0},
    "previous": {"label": "bound: previous, $d_h-1$", "color": style.ORANGE, "linestyle": "--", "linewidth": 1.0},
}


@dataclass(frozen=True)
class _Source:
    """What slopes are taken from."""

    kind: str
    accuracy: str
    label: str
    look: dict[str, Any]
    line: str


SOURCES = (
    _Source("trained", "draw_accuracy", "trained, on draws", {"color": style.VERMILLION, "marker": "o", "markersize": 4.0}, "-"),
    _Source("trained", "accuracy", "trained, on the table", {"color": style.PURPLE, "marker": "s", "markersize": 4.0}, "--"),
    _Source("published", "draw_accuracy", "published, on draws",
            {"color": style.BLACK, "marker": "D", "markersize": 6.5, "fillstyle": "none", "markeredgewidth": 0.6}, ":"),
)  # fmt: skip


def memory_per_head(table: pd.DataFrame) -> Figure:
    """Slopes of memory in H against d = d_h, by the paper's rule (see `empirical.experiments.slopes`), with both bounds' slopes.

    Bars are 95% Student intervals of the trained models' slopes. The log-log slope of each kind, with its interval, stands in the
    legend; its power law is drawn in the right panel. The bounds' slopes in H, d_h and d_h - 1, speak of memory on the table.

    Raises:
        ValueError: as `results`; no curve along H.

    Source: Dana, Pydi and Chevaleyre 2025, experiment 4.
    """
    found = results(table, "num_heads")
    by_accuracy = {accuracy: _with_slopes(table, accuracy) for accuracy in ACCURACIES}
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 4.4), layout="constrained")
        panels = made.subplots(1, 2)
        for letter, axes, heading in zip("ab", panels, ("plain axes", "logarithmic axes, with power laws"), strict=True):
            axes.set_title(letter, loc="left", fontweight="bold", fontsize=9)
            axes.set_title(heading, fontsize=8)
            axes.set_xlabel("embedding and head dimension $d=d_h$")
            axes.set_ylabel("memory per head (associations)")
        dims: set[float] = set()
        found_slopes: list[float] = []
        top = 1.0
        for source in SOURCES:
            rows = by_accuracy[source.accuracy]
            rows = rows[rows["kind"] == source.kind].sort_values("embed_dim")
            if not len(rows):
                continue
            dims |= set(rows["embed_dim"])
            found_slopes += rows["slope"].tolist()
            reach = rows["slope_high"].clip(upper=1.5 * rows["slope"]) if source.kind == "trained" else rows["slope"]
            top = max(top, float(rows["slope"].max()), float(reach.fillna(0).max()))
            _draw_source(panels, rows, source)
        widths = np.arange(min(dims, default=1), max(dims, default=1) + 1)
        for axes in panels:
            for name, look in BOUNDS.items():
                height = widths - (name == "previous")
                axes.plot(widths[height > 0], height[height > 0], gid=name, zorder=2, **look)
        _finish(panels[0], panels[1], np.array(sorted(dims)), found_slopes, top)
        heading = "\n".join([
            title(found, band=False),
            "slopes by least squares on the points up to the first accuracy above .95, bars: their 95% intervals",
        ])
        drawn = by_accuracy["draw_accuracy"]["kind"].eq("trained").sum()
        if drawn < len(found.series):
            heading += f"; {len(found.series) - drawn} of {len(found.series)} widths have none"
        made.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=2, title=heading, alignment="left",
                    handlelength=2.6, columnspacing=1.5, labelspacing=0.35)
    return made


def _with_slopes(table: pd.DataFrame, accuracy: str) -> pd.DataFrame:
    """The curves that have a slope, numbers as plain floats."""
    found = slopes(table, rule="paper", accuracy="draw_accuracy" if accuracy == "draw_accuracy" else "accuracy")
    numbers = ["embed_dim", "slope", "slope_low", "slope_high"]
    found[numbers] = found[numbers].astype(float)
    return found[found["slope"].notna()]


def _draw_source(panels: np.ndarray, rows: pd.DataFrame, source: _Source) -> None:
    label, gid = source.label, f"{source.kind}: {source.accuracy}"
    law = _power_law(rows)
    if law is not None:
        slope = law.slope
        interval = "" if isnan(slope.low) else f" [{slope.low:.2f}, {slope.high:.2f}]"
        label += f": log-log slope {slope.value:.2f}{interval}"
    for axes in panels:
        axes.plot(rows["embed_dim"], rows["slope"], linestyle="none", label=label, gid=gid, zorder=5, **source.look)
        sure = rows[rows["slope_low"].notna()]
        if source.kind == "published" or not len(sure):
            continue
        axes.vlines(sure["embed_dim"], sure["slope_low"], sure["slope_high"], color=source.look["color"], linewidth=0.8, zorder=4,
                    gid=f"interval {gid}")
    if law is not None:
        dims = rows.loc[rows["slope"] > 0, "embed_dim"]
        ends = np.array([dims.min(), dims.max()])
        panels[1].plot(ends, np.exp(law.intercept.value + law.slope.value * np.log(ends)), color=source.look["color"],
                       linestyle=source.line, linewidth=0.9, gid=f"power law {gid}", zorder=3)


def _power_law(rows: pd.DataFrame) -> Line | None:
    """log slope against log d, as `empirical.experiments.slope_exponent`; None where too few slopes are above 0."""
    kept = rows[rows["slope"] > 0]
    if kept["embed_dim"].nunique() < FEWEST:
        return None
    return line(np.log(kept["embed_dim"].to_numpy()), np.log(kept["slope"].to_numpy()))


def _finish(plain: Axes, logarithmic: Axes, widths: np.ndarray, found: Sequence[float], top: float) -> None:
    """Limits that hold every slope; those below 0 have no logarithm and are in the left panel only."""
    plain.set_xticks(widths)
    plain.set_ylim(min(0.0, 1.3 * min(found, default=0.0)), 1.08 * top)
    logarithmic.set_xscale("log")
    logarithmic.set_yscale("log")
    logarithmic.set_ylim(0.5 * min([1.0, *(slope for slope in found if slope > 0)]), 2 * top)
    chosen = widths if len(widths) <= 6 else [width for width in widths if width in (3, 4, 5, 7, 10, 13)]
    logarithmic.set_xticks(chosen)
    for axis in (logarithmic.xaxis, logarithmic.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
