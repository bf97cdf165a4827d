"""How many hops a depth reaches, beside the reach of the two constructions."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from empirical.hop_thresholds import LAWS, THRESHOLD_COLUMNS
from headcount.figures import style
from headcount.figures._hops_looks import (
    BUILT_LOOKS,
    OTHER_BUILT,
    dropout_on,
    samples_words,
    size_words,
    tier_words,
    width_words,
)
from headcount.figures.table import check_columns
from theory.hops import reach

SERIES = ("kind", "name", "recipe", "tier", "num_heads", "embed_dim", "seq_len", "vocab_size", "train_samples", "seed", "noisy")
LAW_LOOKS: dict[str, dict[str, Any]] = {
    "2^(L-2)": {"color": style.GREY, "linestyle": "--", "label": "bound: recipe A, $2^{L-2}$"},
    "2^(L-1)-1": {"color": style.GREY, "linestyle": "-", "label": "bound: recipe B, $2^{L-1}-1$"},
}
TRAINED_COLOURS = (style.VERMILLION, style.BLUE, style.ORANGE, style.SKY_BLUE, style.PURPLE, style.GREEN)
TRAINED_MARKERS = ("o", "v", "P", "X", "<", ">")
PUBLISHED_MARKERS = ("^", "h", "p", "d", "8", "*")
DODGE = 0.09
"""Layers between neighbouring series, so that their bars can be told apart."""


def thresholds_figure(table: pd.DataFrame) -> Figure:
    """The largest K with errors below a level up to it, against the number of layers; a panel for each level.

    The vertical axis is logarithmic above 1 and has 0, where k = 1 fails already. Bars run over the interval; an arrow up says
    that all k measured pass, so that K may be larger. Series stand a little beside their depth so as not to cover each other.

    Args:
        table: of `empirical.hop_thresholds.thresholds`.

    Raises:
        ValueError: a column is missing, there are no rows, two rows stand for one point, or a published one doesn't say
            whether dropout was on.
    """
    check_columns(table, THRESHOLD_COLUMNS, "empirical.hop_thresholds.thresholds")
    rows = table.assign(**{name: table[name].fillna("").astype(str) for name in ("kind", "name", "recipe", "tier", "source")})
    rows = rows.assign(noisy=dropout_on(rows))
    widths = ["num_heads", "embed_dim", "seed"]  # a built series is a recipe, whose widths go with its depth
    rows[widths] = rows[widths].mask(rows["kind"] == "built")
    if rows.duplicated([*SERIES, "num_layers", "level"]).any():
        raise ValueError("table has two rows for one model and level: must have one")
    groups = [part for _, part in rows.groupby(list(SERIES), dropna=False, sort=False)]
    looks = _looks(groups)
    sizes: dict[Any, set[str]] = {kind: {size_words(*size) for size in zip(part["seq_len"], part["vocab_size"], strict=True)}
             for kind, part in rows[rows["kind"] != "built"].groupby("kind", sort=True)}
    labels = [_label(part, with_size=len(sizes.get(part["kind"].iloc[0], ())) > 1) for part in groups]
    labels = [
        f"{label}, {part['name'].iloc[0]}" if labels.count(label) > 1 else label
        for label, part in zip(labels, groups, strict=True)
    ]
    levels = sorted(rows["level"].unique())
    depths = sorted({int(depth) for depth in rows["num_layers"]})
    with style.styled():
        width = style.COLUMN_WIDTH if len(levels) == 1 else style.PAGE_WIDTH
        made = Figure(figsize=(width, 2.9 + 0.17 * (len(groups) + 2) / (1 if len(levels) == 1 else 2)), layout="constrained")
        panels = made.subplots(1, len(levels), squeeze=False, sharey=True)[0]
        top = max(1, *(int(value) for name in ("threshold", "high", "law_b") for value in rows[name].dropna()))
        for axes, level in zip(panels, levels, strict=True):
            for law, recipe in LAWS.items():
                dense = range(max(2, depths[0]), max(2, depths[-1]) + 1)
                axes.plot(dense, [reach(depth, recipe) for depth in dense], gid=f"law {law}: {level}", zorder=2, linewidth=1.0,
                          **{name: value for name, value in LAW_LOOKS[law].items() if name != "label"})
            for place, (part, look, label) in enumerate(zip(groups, looks, labels, strict=True)):
                shift = min(DODGE, 0.7 / len(groups)) * (place - (len(groups) - 1) / 2)
                _draw_series(axes, part[part["level"] == level], look, shift, f"{label}: {level}")
            _finish(axes, float(level), depths, top)
        panels[0].set_ylabel("largest $K$: all $k\\leq K$ below the level")
        handles = [Line2D([], [], linewidth=1.0, **look) for look in LAW_LOOKS.values()]
        handles += [Line2D([], [], label=label, markersize=4.5, **look) for label, look in zip(labels, looks, strict=True)]
        if (table["censored"].astype(bool)).any():
            handles.append(Line2D([], [], color=style.BLACK, marker=r"$\uparrow$", linestyle="none", markersize=6,
                                  label="all $k$ measured pass: $K$ or more"))
        made.legend(handles=handles, loc="outside lower center", ncols=1 if len(levels) == 1 else 2, alignment="left",
                    handlelength=2.4, labelspacing=0.35, columnspacing=1.2, title=_title(rows, sizes))
    return made


def _draw_series(axes: Axes, rows: pd.DataFrame, look: dict[str, Any], shift: float, gid: str) -> None:
    if rows.empty:
        return
    rows = rows.sort_values("num_layers")
    x = rows["num_layers"].to_numpy(dtype=float) + shift
    y = rows["threshold"].to_numpy(dtype=float, na_value=np.nan)
    low, high = (rows[name].to_numpy(dtype=float, na_value=np.nan) for name in ("low", "high"))
    known = ~np.isnan(low) & ~np.isnan(high)
    if known.any():
        axes.vlines(x[known], low[known], high[known], color=look["color"], linewidth=1.0, alpha=0.8, zorder=3, gid=f"{gid} bars")
    axes.plot(x, y, markersize=4.5, zorder=4, gid=gid, clip_on=False, **look)
    censored = rows["censored"].astype(bool).to_numpy()
    if censored.any():
        axes.plot(x[censored], y[censored] * 1.22, marker=r"$\uparrow$", color=look["color"], linestyle="none", markersize=6,
                  zorder=4, gid=f"{gid} censored", clip_on=False)


def _finish(axes: Axes, level: float, depths: list[int], top: int) -> None:
    axes.set_yscale("symlog", base=2, linthresh=1, linscale=0.6)
    axes.set_ylim(-0.12, 1.5 * top)
    ticks = [0, *(2**power for power in range(1 + int(np.log2(1.5 * top))))]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xticks(depths)
    axes.set_xlim(depths[0] - 0.5, depths[-1] + 0.5)
    axes.set_xlabel("layers $L$")
    axes.set_title(f"error below {100 * level:g}%", fontsize=8)


def _looks(groups: list[pd.DataFrame]) -> list[dict[str, Any]]:
    looks: list[dict[str, Any]] = []
    trained = published = 0
    for part in groups:
        kind = part["kind"].iloc[0]
        if kind == "built":
            looks.append(BUILT_LOOKS.get(part["recipe"].iloc[0], OTHER_BUILT) | {"linestyle": "none"})
            looks[-1].pop("markersize")
        elif kind == "trained":
            looks.append({"color": TRAINED_COLOURS[trained % 6], "marker": TRAINED_MARKERS[trained % 6], "linestyle": "none"})
            trained += 1
        else:
            noisy = bool(dropout_on(part).all())
            looks.append({"color": style.BLACK, "marker": PUBLISHED_MARKERS[published % 6], "linestyle": "none",
                          "fillstyle": "none" if noisy else "full"})
            published += 1
    return looks


def _title(rows: pd.DataFrame, sizes: dict[Any, set[str]]) -> str:
    """What labels need not repeat: the tier of each kind, and the strings where it has one size of them."""
    said = []
    for kind, words in sizes.items():
        tier = tier_words(rows.loc[rows["kind"] == kind, "tier"]) or "no tier named"
        said.append(f"{kind}: " + ", ".join([tier, *(words if len(words) == 1 else ())]))
    if rows["low"].notna().any():
        said.append("bars: from the errors' 95% intervals")
    return "; ".join(said)


def _label(rows: pd.DataFrame, *, with_size: bool) -> str:
    first = rows.iloc[0]
    kind, width = str(first["kind"]), width_words(first["num_heads"], first["embed_dim"])
    if kind == "built":
        return ", ".join(filter(None, ("built", f"recipe {first['recipe']}" if first["recipe"] else str(first["name"]))))
    sizes = size_words(first["seq_len"], first["vocab_size"]) if with_size else ""
    if kind == "published":
        reading = "dropout on" if bool(dropout_on(rows).all()) else "dropout off"
        return ", ".join(filter(None, ("published", reading, width, samples_words(first["train_samples"]), sizes)))
    seed = "" if pd.isna(first["seed"]) else f"seed {first['seed']}"
    return ", ".join(
        filter(None, ("trained", tier_words([first["tier"]]), width, samples_words(first["train_samples"]), sizes, seed))
    )
