"""The panels that most figures of the paper's experiments share: accuracy on training draws, accuracy on the table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from headcount.figures import style
from headcount.figures._experiment_data import BOUNDS, Points, Results, spread, title

PANELS = {
    "draw_accuracy": ("draws", "on training draws, as published", "accuracy (fraction of draws right)"),
    "accuracy": ("table", "on the table, each association once", "accuracy (fraction of associations right)"),
}
"""By the accuracy's column: the panel's name in gids, its title, its vertical axis."""
BOUND_LABELS = {
    "corollary_1": "bound: Corollary 1, $Hd_h+d$ held, rest guessed",
    "previous": "bound: previous, $H(d_h-1)+1$ held, rest guessed",
    "chance": "bound: chance, $1/N$",
}
BOUND_LOOKS: dict[str, dict[str, Any]] = {
    "corollary_1": {"color": style.BLUE, "linestyle": "-", "linewidth": 1.0},
    "previous": {"color": style.ORANGE, "linestyle": "--", "linewidth": 1.0},
    "chance": {"color": style.GREY, "linestyle": ":", "linewidth": 1.0},
}
FIT_LOOKS: dict[str, dict[str, Any]] = {
    "least squares": {"color": style.BLACK, "linestyle": "-.", "linewidth": 0.7},
    "second least squares": {"color": style.BLACK, "linestyle": (0, (1, 1)), "linewidth": 0.9},
}
PUBLISHED: dict[str, Any] = {
    "linestyle": "none", "marker": "D", "color": style.BLACK, "fillstyle": "none", "markeredgewidth": 0.6
}  # fmt: skip
MANY = 6
"""More series than this are also labelled at their ends, and their bounds get a panel of their own."""
LABELLED_BELOW = 0.93
"""Curves that end below are labelled at their end, others where they get to the top."""


@dataclass(frozen=True)
class Fit:
    """A fitted curve, ready to be drawn.

    Attributes:
        name: one of FIT_LOOKS, the look and the start of the gid.
        label: the legend's.
        x, y: where it runs.
        note: what it came to, printed in the panel where there is one series; may be empty.
    """

    name: str
    label: str
    x: Float[np.ndarray, " places"]
    y: Float[np.ndarray, " places"]
    note: str = ""


Fits = Callable[[Results, Points], Sequence[Fit]]


def two_panels(found: Results, x_label: str, fits: Fits, *, knee: float | None = None) -> Figure:
    """Left accuracy on draws with the published points, right accuracy on the table with the bounds, one legend below.

    Bounds promise shares of the table, so that they have no place on the left, nor published points on the right. With many
    series their bounds are drawn in a third panel, which enlarges the right one's foot.

    Args:
        found: a table that was looked through.
        x_label: the horizontal axis, with its unit.
        fits: the curves to be drawn through the points of one series.
        knee: where to draw a vertical line, on the horizontal axis.
    """
    looks = series_looks(found)
    many = len(found.series) > MANY
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 6.0 if many else 4.2), layout="constrained")
        panels = made.subplot_mosaic("ab\ncd" if many else "ab", height_ratios=[1.35, 1.0] if many else [1.0])
        fitted: dict[str, Fit] = {}
        for letter, (accuracy, (short, heading, y_label)) in zip("ab", PANELS.items(), strict=True):
            axes = panels[letter]
            if short == "table" and not many:
                _draw_bounds(axes, found, looks)
            notes = []
            for series in found.series:
                for fit in _draw_series(axes, found, series, accuracy, looks[series], fits):
                    fitted.setdefault(fit.name, fit)
                    notes.append(fit.note)
            if len(found.series) == 1 and any(notes):
                axes.text(0.03, 0.97, "\n".join(filter(None, notes)), transform=axes.transAxes, va="top", fontsize=6.5,
                          gid=f"{short} notes", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5}, zorder=7)
            _name(axes, letter, heading, x_label, y_label)
            _finish(axes, found)
            if many:
                _label_ends(axes, found, accuracy, looks, gid=f"{short} label")
            if knee is not None:
                axes.axvline(knee, color=style.GREY, linewidth=0.8, zorder=1, gid=f"{short} knee")
        handles = _handles(found, looks, list(fitted.values()))
        if many:
            _enlarge(panels["c"], found, looks, x_label)
            panels["d"].set_axis_off()
            panels["d"].legend(handles=handles, loc="center", ncols=2, title=title(found, narrow=True), alignment="left",
                               handlelength=2.4, columnspacing=1.0, labelspacing=0.3)
        else:
            made.legend(handles=handles, loc="outside lower center", ncols=2, title=title(found), alignment="left",
                        handlelength=2.6, columnspacing=1.5, labelspacing=0.35)
    return made


def series_looks(found: Results) -> dict[str, dict[str, Any]]:
    """Colour and marker by d, open markers and broken lines for series with networks; one series alone is as in other figures."""
    if len(found.series) == 1:
        return {found.series[0]: {"color": style.VERMILLION, "marker": "o", "linestyle": "-", "fillstyle": "full"}}
    dims = sorted(set(found.embed_dims.values()))
    colours = style.in_order(len(dims))
    looks = {}
    for series in found.series:
        place, mlp = dims.index(found.embed_dims[series]), series in found.mlp
        looks[series] = {"color": colours[place], "marker": style.MARKERS[place % len(style.MARKERS)],
                         "linestyle": (0, (3, 1.2)) if mlp else "-", "fillstyle": "none" if mlp else "full"}
    return looks


def _name(axes: Axes, letter: str, heading: str, x_label: str, y_label: str) -> None:
    axes.set_title(letter, loc="left", fontweight="bold", fontsize=9)
    axes.set_title(heading, fontsize=8)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


def _draw_bounds(axes: Axes, found: Results, looks: dict[str, dict[str, Any]]) -> None:
    """Curves between the table's values, with several series in the series' colour. Chance is the same for all."""
    for name in BOUNDS:
        for series in found.series:
            rows = found.bound(series, name)
            look = dict(BOUND_LOOKS[name])
            if len(found.series) > 1:
                look |= {"color": looks[series]["color"], "linewidth": 0.8}
            if len(rows):
                axes.plot(rows["x"], rows["accuracy"], gid=f"{name}: {series}", zorder=2, **look)
    chance = found.of("bound", name="chance").drop_duplicates("x")
    if len(chance):
        axes.plot(chance["x"], chance["accuracy"], gid="chance", zorder=2, **BOUND_LOOKS["chance"])


def _draw_series(
    axes: Axes, found: Results, series: str, accuracy: str, look: dict[str, Any], fits: Fits
) -> Sequence[Fit]:
    short = PANELS[accuracy][0]
    size = 3.2 if len(found.series) > MANY else 4.0
    points = found.points(series, accuracy)
    fitted = fits(found, points)
    for fit in fitted:  # above a single series, below many
        axes.plot(fit.x, fit.y, gid=f"{short} {fit.name}: {series}", zorder=5 if len(found.series) == 1 else 2.5,
                  **FIT_LOOKS[fit.name])
    _draw_points(axes, points, f"{short}: {series}", f"{short} interval: {series}", look, size)
    published = found.of("published", series)
    published = published[published["draw_accuracy"].notna()]
    if accuracy == "draw_accuracy" and len(published):
        axes.plot(published["x"], published["draw_accuracy"], gid=f"published: {series}", zorder=6,
                  markersize=size + (1.6 if len(found.series) > MANY else 2.5), **PUBLISHED)
    return fitted


def _draw_points(axes: Axes, points: Points, gid: str, band_gid: str, look: dict[str, Any], size: float) -> None:
    if len(points.x):
        axes.plot(points.x, points.mean, gid=gid, markersize=size, zorder=4, **look)
    if np.isfinite(points.low).any():
        axes.fill_between(points.x, points.low, points.high, color=look["color"], alpha=0.3, linewidth=0, gid=band_gid, zorder=3)


def _enlarge(axes: Axes, found: Results, looks: dict[str, dict[str, Any]], x_label: str) -> None:
    """The bounds of many series, with what of the trained curves lies as low as they do."""
    _draw_bounds(axes, found, looks)
    for series in found.series:
        points = found.points(series, "accuracy")
        _draw_points(axes, points, f"enlarged: {series}", f"enlarged interval: {series}", looks[series], 3.2)
    heights = [found.bound(series, name)["accuracy"].max() for series in found.series for name in BOUNDS]
    top = max((float(height) for height in heights if height == height), default=1.0)
    _name(axes, "c", "as b, enlarged: the bounds", x_label, PANELS["accuracy"][2].replace(" of associations", ""))
    _finish(axes, found)
    axes.set_ylim(0, 1.1 * top)
    axes.set_yticks([])
    axes.yaxis.set_major_locator(MaxNLocator(5))
    ends = [(series, rows) for series in found.series if len(rows := found.bound(series, "corollary_1"))]
    places = spread([float(rows["accuracy"].iloc[-1]) for _, rows in ends], 0.062 * 1.1 * top, 0.0, 1.07 * top)
    for (series, _), y in zip(ends, places, strict=True):
        _label(axes, str(found.embed_dims[series]), (axes.get_xlim()[1], y), f"enlarged label: {series}")


def _finish(axes: Axes, found: Results) -> None:
    axes.set_ylim(0, 1.09 if len(found.series) > MANY else 1.03)
    axes.set_yticks(np.linspace(0, 1, 6))
    places = sorted(found.rows["x"].unique())
    if found.rows["axis"].iloc[0] != "nominal_parameters" and len(places) <= 11:
        axes.set_xticks(places)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    margin = 0.04 * (places[-1] - places[0]) or 1.0
    axes.set_xlim(places[0] - margin, places[-1] + margin)


def _label_ends(axes: Axes, found: Results, accuracy: str, looks: dict[str, dict[str, Any]], *, gid: str) -> None:
    """The value of d beside the end of each curve, or above where it gets to the top."""
    ends, tops = {}, {}
    for series in found.series:
        points = found.points(series, accuracy)
        if len(points.x) and points.mean[-1] < LABELLED_BELOW:
            ends[series] = float(points.mean[-1])
        elif len(points.x):
            first = int(np.argmax(points.mean >= LABELLED_BELOW))
            step = slice(max(first - 1, 0), first + 1)
            tops[series] = float(np.interp(LABELLED_BELOW, points.mean[step], points.x[step]))
    left, right = axes.get_xlim()
    for series, y in zip(ends, spread(list(ends.values()), 0.047, 0.0, 1.0), strict=True):
        _label(axes, str(found.embed_dims[series]), (right, y), f"{gid}: {series}")
    for series, x in zip(tops, spread(list(tops.values()), 0.055 * (right - left), left, right), strict=True):
        axes.annotate(str(found.embed_dims[series]), (x, 1.02), va="bottom", ha="center", fontsize=6.5, gid=f"{gid}: {series}")
    if ends or tops:
        _label(axes, "$d$", (right, 1.05), f"{gid}: heading")


def _label(axes: Axes, text: str, at: tuple[float, float], gid: str) -> None:
    """Text just outside the right edge."""
    axes.annotate(text, at, xytext=(2, 0), textcoords="offset points", va="center", ha="left", fontsize=6.5, gid=gid,
                  annotation_clip=False)


def _handles(found: Results, looks: dict[str, dict[str, Any]], fitted: Sequence[Fit]) -> list[Line2D]:
    """The legend's entries: curves, published points, fits, bounds."""
    if len(found.series) == 1:
        handles = [Line2D([], [], markersize=4.0, label="trained, mean", **looks[found.series[0]])]
    else:
        handles = [
            Line2D([], [], markersize=4.0, label=series.replace("d = ", "$d$ = "), **looks[series]) for series in found.series
        ]
    if found.of("published")["draw_accuracy"].notna().any():
        handles.append(Line2D([], [], markersize=5.0, label="published, on training draws", **PUBLISHED))
    handles += [Line2D([], [], label=fit.label, **FIT_LOOKS[fit.name]) for fit in fitted]
    for name in ("corollary_1", "previous"):
        if any(len(found.bound(series, name)) for series in found.series):
            look = BOUND_LOOKS[name] | ({"color": style.BLACK, "linewidth": 0.8} if len(found.series) > 1 else {})
            handles.append(Line2D([], [], label=_bound_label(found, name), **look))
    if len(found.of("bound", name="chance")):
        handles.append(Line2D([], [], label=_bound_label(found, "chance"), **BOUND_LOOKS["chance"]))
    return handles


def _bound_label(found: Results, name: str) -> str:
    label = BOUND_LABELS[name]
    if (found.rows["head_dim"] > found.rows["embed_dim"]).any():
        label = label.replace("$Hd_h+d$", "$H\\min(d,d_h)+d$")
    return label.replace(" held, rest guessed", "") if len(found.series) > MANY else label
