"""Error against k, a curve for each depth."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from empirical.hop_errors import HOP_COLUMNS, KINDS, typed
from headcount.figures import style
from headcount.figures._hops_looks import (
    BUILT_LOOKS,
    OTHER_BUILT,
    depth_looks,
    dropout_on,
    samples_words,
    size_words,
    tier_words,
    width_words,
)
from headcount.figures.table import check_columns

LINEAR_BELOW = 0.1
"""Percent: from here down to zero the axis is linear, so that no errors at all have a place."""
TICKS = (0, 0.1, 1, 10, 100)
PANEL = ("group", "seq_len", "vocab_size", "num_heads", "embed_dim", "train_samples")
SERIES = ("name", "tier", "num_layers", "seed", "source")
CHANCE: dict[str, Any] = {"color": style.GREY, "linestyle": ":", "linewidth": 1.2}


def errors_figure(table: pd.DataFrame) -> Figure:
    """Error in percent of the positions that have an answer, against k, on an axis that is linear below 0.1%.

    A panel for each setting of what was trained and of what was published; built models stand in those of their strings' length
    and alphabet, or in one of their own. Trained models have the bands of their intervals.

    Args:
        table: rows with `empirical.hop_errors.HOP_COLUMNS`; of kind "bound" those named "chance" are drawn.

    Raises:
        ValueError: a column is missing, there is nothing to draw, a cell is not of its column, an error is not a share, a kind
            is unknown, two rows stand for one point, or a published one doesn't say whether dropout was on.
    """
    check_columns(table, HOP_COLUMNS, "empirical.hop_errors.HOP_COLUMNS")
    rows = typed(table)
    if unknown := sorted(set(rows["kind"]) - set(KINDS)):
        raise ValueError(f"kind = {unknown[0]!r}: must be one of {', '.join(KINDS)}")
    if not rows["error"].between(0, 1).all() or rows["num_hops"].isna().any():
        raise ValueError("table has a row without k or whose error is no share: num_hops and an error in [0, 1] are legal")
    models = rows[rows["kind"] != "bound"]
    if models.empty or models["num_layers"].isna().any():
        raise ValueError("table has no models, or one without num_layers: must have rows of kind built, trained or published")
    if models.duplicated([*PANEL[1:], *SERIES, "kind", "recipe", "num_hops"]).any():
        raise ValueError("table has two rows for one model and k: must have one")
    curves = models[models["kind"] != "built"]
    built = models[models["kind"] == "built"]
    looks = depth_looks(int(depth) for depth in (curves if len(curves) else built)["num_layers"])
    panels = _panels(curves, built)
    with style.styled():
        columns = min(3, len(panels))
        lines = -(-len(panels) // columns)
        width = style.COLUMN_WIDTH if columns == 1 else style.PAGE_WIDTH
        made = Figure(figsize=(width, 2.3 * lines + (1.5 if columns == 1 else 1.0)), layout="constrained")
        grid = made.subplots(lines, columns, squeeze=False, sharey=True)
        for axes, (key, part) in zip(grid.flat, panels, strict=False):
            _draw_panel(axes, key, part, rows, built, looks)
        for axes in list(grid.flat)[len(panels):]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("error (% of positions with an answer)")
        made.legend(handles=_handles(rows, curves, built, looks), loc="outside lower center", ncols=2 if columns == 1 else 4,
                    handlelength=2.4, columnspacing=1.2, labelspacing=0.35, title=_title(curves, built), alignment="left")
    return made


def _panels(curves: pd.DataFrame, built: pd.DataFrame) -> list[tuple[dict[Any, Any], pd.DataFrame]]:
    curves = curves.assign(group=curves["kind"])
    order = {"trained": 0, "published": 1}
    found: list[tuple[dict[Any, Any], pd.DataFrame]] = [
        (part[list(PANEL)].iloc[0].to_dict(), part) for _, part in curves.groupby(list(PANEL), dropna=False, sort=False)
    ]
    found.sort(key=lambda panel: order[str(panel[0]["group"])])  # trained ones first, else in the order of the table
    sizes = {(panel["seq_len"], panel["vocab_size"]) for panel, _ in found}
    for size in dict.fromkeys(zip(built["seq_len"], built["vocab_size"], strict=True)):
        if size not in sizes:
            own = {"group": "built", "seq_len": size[0], "vocab_size": size[1]}
            found.append((dict.fromkeys(PANEL, pd.NA) | own, curves.iloc[:0]))
    return found


def _draw_panel(
    axes: Axes, key: dict[str, Any], part: pd.DataFrame, rows: pd.DataFrame, built: pd.DataFrame, looks: dict[int, dict[str, Any]]
) -> None:
    size = (key["seq_len"], key["vocab_size"])
    chance = _of_size(rows[(rows["kind"] == "bound") & (rows["name"] == "chance")], size).sort_values("num_hops")
    if len(chance):
        axes.plot(_hops(chance), _percent(chance, "error"), gid=f"chance: {size[0]}", zorder=2, **CHANCE)
    for series, points in part.groupby(list(SERIES), dropna=False, sort=False):
        points = points.sort_values("num_hops")
        depth = int(points["num_layers"].iloc[0])
        noisy = bool(dropout_on(points).all())
        gid = f"{key['group']}: {key['num_heads']} heads, {series[0]}, L = {depth}, seed {series[3]}"
        trained = key["group"] == "trained"
        axes.plot(_hops(points), _percent(points, "error"), gid=gid, zorder=4, markersize=3.4, clip_on=False,
                  linestyle="-" if trained else (0, (1, 1.5)) if noisy else (0, (4, 1)), linewidth=1.2 if trained else 0.7,
                  fillstyle="none" if noisy else "full", **looks[depth])
        if trained and points["error_high"].notna().any():
            axes.fill_between(_hops(points), _percent(points, "error_low"), _percent(points, "error_high"), linewidth=0,
                              color=looks[depth]["color"], alpha=0.2, gid=f"{gid} interval", zorder=3)
    for recipe, points in _of_size(built, size).groupby("recipe", sort=True):
        axes.plot(_hops(points), _percent(points, "error"), gid=f"built: recipe {recipe}", zorder=3.5, linestyle="none",
                  clip_on=False, markeredgewidth=0.9, **BUILT_LOOKS.get(str(recipe), OTHER_BUILT))
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW, linscale=0.5)
    axes.set_ylim(0, 100)
    axes.yaxis.set_major_locator(FixedLocator(TICKS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    axes.set_xlabel("hops $k$")
    axes.set_title(_heading(key, part), fontsize=7.5)
    axes.spines["bottom"].set_position(("outward", 4))  # what is zero stands on the axis, not behind it


def _heading(key: dict[str, Any], part: pd.DataFrame) -> str:
    if key["group"] == "built":
        return f"built\n{size_words(key['seq_len'], key['vocab_size'])}"
    who = ", ".join(filter(None, ("trained here", tier_words(part["tier"])))) if key["group"] == "trained" else "published"
    sizes = [samples_words(key["train_samples"]), size_words(key["seq_len"], key["vocab_size"])]
    return "\n".join(
        ", ".join(filter(None, words)) for words in ([who, width_words(key["num_heads"], key["embed_dim"])], sizes)
    )


def _title(curves: pd.DataFrame, built: pd.DataFrame) -> str:
    said = []
    trained = curves[curves["kind"] == "trained"]
    if len(trained):
        tier = tier_words(trained["tier"]) or "no tier named"
        said.append(f"trained here: {tier}, {_strings(trained)} a point")
    if (curves["kind"] == "published").any():
        said.append("published: paper tier")
    if len(built):
        said.append(f"built: {_strings(built)} a point")
    return "; ".join(said)


def _strings(rows: pd.DataFrame) -> str:
    counts = rows["num_strings"].dropna()
    if counts.empty:
        return "strings not counted"
    least, most = int(counts.min()), int(counts.max())
    return f"{least} strings" if least == most else f"{least} to {most} strings"


def _handles(
    rows: pd.DataFrame, curves: pd.DataFrame, built: pd.DataFrame, looks: dict[int, dict[str, Any]]
) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    if len(curves):
        handles += [Line2D([], [], markersize=3.4, label=f"$L={depth}$ layers", **look) for depth, look in looks.items()]
    trained, published = curves[curves["kind"] == "trained"], curves[curves["kind"] == "published"]
    if trained["error_high"].notna().any():
        handles.append(Patch(color=style.GREY, alpha=0.3, linewidth=0, label="trained: 95% interval"))
    noisy = dropout_on(published)
    grey: dict[str, Any] = {"color": style.BLACK, "marker": "o", "markersize": 3.4, "linewidth": 0.7}
    if noisy.any():
        handles.append(Line2D([], [], fillstyle="none", linestyle=(0, (1, 1.5)), label="published, dropout on", **grey))
    if not noisy.all():
        handles.append(Line2D([], [], linestyle=(0, (4, 1)), label="published, dropout off", **grey))
    for recipe in sorted(set(built["recipe"])):
        look = BUILT_LOOKS.get(recipe, OTHER_BUILT)
        handles.append(Line2D([], [], linestyle="none", markeredgewidth=0.9, label=f"built: recipe {recipe}".strip(), **look))
    if ((rows["kind"] == "bound") & (rows["name"] == "chance")).any():
        handles.append(Line2D([], [], label="bound: from $X_i$ alone", **CHANCE))
    return handles


def _of_size(rows: pd.DataFrame, size: tuple[Any, Any]) -> pd.DataFrame:
    return rows[(rows["seq_len"] == size[0]) & (rows["vocab_size"] == size[1])]


def _hops(rows: pd.DataFrame) -> list[int]:
    return [int(num_hops) for num_hops in rows["num_hops"]]


def _percent(rows: pd.DataFrame, column: str) -> np.ndarray:
    return 100 * rows[column].to_numpy(dtype=float)
