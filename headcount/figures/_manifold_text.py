"""Real text: data exponents that the dimension of hidden states foretells, observed ones, and dimensions beside controls."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETUP
from matplotlib.patches import Patch

from empirical._text_agreement import TOLERANCE
from headcount.figures import style
from headcount.figures._manifold_dimension import METHOD_WORDS
from headcount.figures._manifold_looks import THEORY, legend_under, split, theory_handle, whisker
from headcount.figures._scaling_looks import letters, log_axis
from headcount.figures.table import check_columns

AGREED = ("kind", "embed_dim", "total_parameters", "tokens", "metric", "method", "source", "count", "predicted", "predicted_low",
          "predicted_high", "observed", "observed_low", "observed_high", "dimension", "reason")
DIMENSIONS = ("kind", "embed_dim", "tokens", "metric", "method", "dimension", "low", "high", "corrected", "corrected_low",
              "corrected_high", "saturated")
TEXT_COLUMNS = ("row", *AGREED, "low", "high", "corrected", "corrected_low", "corrected_high", "saturated", "floor")
KINDS: dict[str, dict[str, Any]] = {
    "trained": {"color": style.BLACK, "marker": "o", "fillstyle": "full"},
    "untrained": {"color": style.VERMILLION, "marker": "s", "fillstyle": "none"},
    "gaussian": {"color": style.BLUE, "marker": "^", "fillstyle": "none"},
    "shuffled": {"color": style.GREEN, "marker": "D", "fillstyle": "none"},
}  # fmt: skip
KIND_WORDS = {"trained": "trained models", "untrained": "before training", "gaussian": "normal, same covariance",
              "shuffled": "coordinates shuffled"}
SOURCES: dict[str, dict[str, Any]] = {
    "slope": {"color": style.BLACK, "marker": "o"}, "early": {"color": "#8F3A00", "marker": "v"},
    "late": {"color": "#8F3A00", "marker": "^"}, "offset": {"color": style.BLUE, "marker": "s"},
    "joint": {"color": style.BLUE, "marker": "D"},
}  # fmt: skip
"""Ways to read the observed exponent, in the order of their rows."""
SOURCE_WORDS = {"slope": "line, no floor", "offset": "with a floor", "joint": "joint fit", "early": "line, fewer tokens",
                "late": "line, more tokens"}
NO_FLOOR = "no floor above 0"
"""In the reason of a fit with a floor that found none."""
PREDICTED: dict[str, Any] = {"facecolor": "#F3D9A4", "linewidth": 0}
WITHIN: dict[str, Any] = {"facecolor": "#BDBDBD", "linewidth": 0}
AT_LEAST: dict[str, Any] = {"marker": r"$\geq$", "markersize": 7.5, "markeredgewidth": 0.2, "linestyle": "none"}
MOST = 1.0
"""Up to where observed exponents are drawn; intervals that go on have an arrow."""


def text_table(dimensions: pd.DataFrame, observed: pd.DataFrame, *, method: str = "levina_bickel",
               metric: str = "euclidean") -> pd.DataFrame:
    """The data of `text_drawing`: rows "exponent" of `empirical.text_dimension.agreement`, rows "dimension" of `dimensions`.

    Args:
        dimensions: of `empirical.text_dimension.text_dimensions`.
        observed: of `empirical.text_dimension.observed_exponents`.
        method, metric: whose rows are drawn.

    Raises:
        ValueError: a column is missing, or nothing is of this method and metric.
    """
    check_columns(dimensions, DIMENSIONS, "empirical.text_dimension.text_dimensions")
    from empirical.text_dimension import agreement

    agreed = agreement(dimensions, observed)
    if "floor" in observed:
        keys = ["source", "count", "observed"]
        floors = observed.loc[observed["quantity"] == "data", ["source", "count", "exponent", "floor"]]
        agreed = agreed.merge(floors.rename(columns={"exponent": "observed"}).drop_duplicates(keys), on=keys, how="left")
    parts = [table[(table["method"] == method) & (table["metric"] == metric)].assign(row=row)
             for row, table in (("exponent", agreed), ("dimension", dimensions))]
    if parts[1].empty:
        raise ValueError(f"method = {method!r}, metric = {metric!r}: the table has no row of these")
    drawn = [part.reindex(columns=list(TEXT_COLUMNS)).astype(object) for part in parts if len(part)]
    return pd.concat(drawn, ignore_index=True).infer_objects()


def text_drawing(table: pd.DataFrame) -> Figure:
    """Observed data exponents of trained models beside the predicted ones (a), and dimensions by width beside controls (b).

    In a, each width is a group of rows on the interval that the dimension predicts for it; the band within is 0.02 about the
    predicted number. Markers are hollow where a fit with a floor found none above 0, arrows say that an interval goes on. In b
    bars are the interval of the dimension after its bias; an arrow is at an open end, and a sign for "at least" at the lower end
    where there is no number.

    Args:
        table: of `text_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, TEXT_COLUMNS, "headcount.figures.manifolds.text_figure")
    pairs = table[(table["row"] == "exponent") & (table["kind"] == "trained") & table["observed"].astype(float).notna()]
    clouds = table[table["row"] == "dimension"]
    with style.styled():
        rows = sum(len(part) for _, part in _grouped(pairs))
        made = Figure(figsize=(style.PAGE_WIDTH, 2.2 + 0.14 * max(rows, 12)), layout="constrained")
        left, right = made.subplots(1, 2)
        _agreement(left, pairs)
        _dimensions(right, clouds)
        letters((left, right))
        legend_under(made, _handles(pairs, clouds), 3)
    return made


def _grouped(pairs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The observed exponents of each size, by name, and at the end the joint fits, which are the same for all sizes."""
    order = {source: place for place, source in enumerate(SOURCES)}
    ranked = pairs.assign(rank=pairs["source"].map(order)).sort_values(["total_parameters", "rank"], kind="stable")
    sizes = ranked[ranked["source"] != "joint"].drop_duplicates(["total_parameters", "source", "count"])
    joint = ranked[ranked["source"] == "joint"].drop_duplicates(["source", "count"])
    found = [(f"width {int(part['embed_dim'].iloc[0])}", part) for _, part in split(sizes, ("total_parameters",))]
    return [*found, ("all sizes", joint)] if len(joint) else found


def _no_floor(row: Any) -> bool:
    return row["source"] in ("offset", "joint") and (NO_FLOOR in str(row["reason"]) or float(row["floor"]) == 0)


def _agreement(axes: Axes, pairs: pd.DataFrame) -> None:
    """Rows of observed exponents, in groups by size, on what was predicted for each."""
    seen = pairs[["observed", "observed_low", "observed_high", "predicted_high"]].to_numpy(dtype=float)
    seen = seen[np.isfinite(seen)]
    axes.set_xlim(min(0.0, float(seen.min(initial=0.0))), min(MOST, 1.1 * float(seen.max(initial=0.1))))
    place, middles, names = 0.0, [], []
    for name, part in _grouped(pairs):
        first = place
        for row in part.to_dict("records"):
            whisker(axes, place, float(row["observed"]), float(row["observed_low"]), float(row["observed_high"]), markersize=3.8,
                    gid=" ".join(filter(None, (str(row["source"]), _count(row), name))),
                    fillstyle="none" if _no_floor(row) else "full", **SOURCES.get(str(row["source"]), SOURCES["slope"]))
            if row["source"] == "joint" and _count(row):
                axes.annotate(f"$N$ {_count(row)}", (axes.get_xlim()[1], place), ha="right", va="center", fontsize=6)
            place += 1.0
        if name != "all sizes":
            one = part.iloc[0]
            rows, value = [first - 0.6, place - 0.4], float(one["predicted"])
            low, high = float(one["predicted_low"]), float(one["predicted_high"])
            if math.isfinite(low) and math.isfinite(high):
                axes.fill_betweenx(rows, low, high, zorder=1, gid=f"predicted: {name}", **PREDICTED)
            if math.isfinite(value):
                axes.fill_betweenx(rows, value - TOLERANCE, value + TOLERANCE, zorder=1.5, gid=f"tolerance: {name}", **WITHIN)
        middles.append((first + place - 1) / 2)
        names.append(name)
        place += 0.6
    axes.set_ylim(place - 0.7, -0.9)
    axes.set_yticks(middles, labels=names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("data exponent $\\alpha_D$, 95% interval")


def _count(row: Any) -> str:
    return row["count"] if isinstance(row["count"], str) else ""


def _dimensions(axes: Axes, clouds: pd.DataFrame) -> None:
    widths = sorted({int(width) for width in clouds["embed_dim"]})
    kinds = [kind for kind in KINDS if kind in set(clouds["kind"])]
    ends = np.array([widths[0], widths[-1]], dtype=float)
    known = clouds[["corrected", "corrected_low"]].to_numpy(dtype=float)
    known = known[np.isfinite(known) & (known > 0)]
    least, most = (float(known.min()), float(known.max())) if known.size else (1.0, 1.0)
    axes.set_xscale("log")
    axes.set_ylim(0.8 * least, 1.6 * max(float(ends[1]), most))
    top = axes.get_ylim()[1]
    for place, kind in enumerate(kinds):
        own = clouds[clouds["kind"] == kind].sort_values("tokens")
        shift, colour = 1.07 ** (place - (len(kinds) - 1) / 2), KINDS[kind]["color"]
        last = own.drop_duplicates("embed_dim", keep="last").sort_values("embed_dim")
        at, value = last["embed_dim"].to_numpy(dtype=float) * shift, last["corrected"].to_numpy(dtype=float)
        low, high = (last[f"corrected_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
        opened = np.isinf(high) & np.isfinite(low)
        shown = np.isfinite(low) & ~np.isnan(high)
        axes.vlines(at[shown], low[shown], np.where(opened, 1e6, high)[shown], color=colour, linewidth=0.9, zorder=2,
                    gid=f"{kind} interval")
        axes.plot(at, value, linestyle="none", zorder=3, gid=f"{kind} dimension", **KINDS[kind])
        lower = np.isnan(value) & np.isfinite(low)
        if opened.any():  # an empty line that is not clipped has an unbounded box, which breaks the layout
            axes.plot(at[opened], np.full(opened.sum(), top), color=colour, marker=CARETUP, linestyle="none", clip_on=False,
                      zorder=4, gid=f"{kind} open")
        axes.plot(at[lower], low[lower], color=colour, zorder=3, gid=f"{kind} at least", **AT_LEAST)
    axes.plot(ends, ends, zorder=1, gid="width", **THEORY)
    axes.set_xlabel("width $m$ of the model")
    method = METHOD_WORDS.get(str(clouds["method"].iloc[0]), "estimated")
    axes.set_ylabel(f"dimension of hidden states,\nbias taken off ({method})")
    axes.margins(x=0.1)
    log_axis(axes.yaxis)
    log_axis(axes.xaxis)
    axes.set_xticks(widths, labels=[str(width) for width in widths])


def _handles(pairs: pd.DataFrame, clouds: pd.DataFrame) -> list[Any]:
    handles: list[Any] = [Patch(label="predicted, interval of the dimension", **PREDICTED),
                          Patch(label=f"predicted number ±{TOLERANCE:g}", **WITHIN)]
    handles += [Line2D([], [], linestyle="none", label=f"observed: {SOURCE_WORDS[source]}", **look)
                for source, look in SOURCES.items() if source in set(pairs["source"])]
    if any(_no_floor(row) for row in pairs.to_dict("records")):
        handles.append(Line2D([], [], color=style.BLUE, marker="s", linestyle="none", fillstyle="none",
                              label="hollow: no floor above 0 fits"))
    handles += [Line2D([], [], linestyle="none", label=KIND_WORDS.get(kind, kind), **KINDS[kind])
                for kind in KINDS if kind in set(clouds["kind"])]
    values, ends = (clouds[name].astype(float) for name in ("corrected", "corrected_low"))
    if (values.isna() & ends.notna()).any():
        handles.append(Line2D([], [], color=style.BLACK, label="at least: no number", **AT_LEAST))
    return [*handles, theory_handle("as many dimensions as width")]
