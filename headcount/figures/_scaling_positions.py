"""Loss by the position of the predicted token: how far back each architecture makes use of its context."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from headcount.figures import style
from headcount.figures._scaling_looks import (
    LINE_STYLES,
    LOSS,
    SHADE,
    legend_below,
    log_axis,
    looks,
    number,
    plain_log_axis,
)
from headcount.figures.table import check_columns

RUN_COLUMNS = ("name", "architecture", "total_parameters", "non_embedding_parameters", "tokens", "seed", "tier", "position",
               "loss", "loss_low", "loss_high")
TABLE_COLUMNS = ("architecture", "parameters", "tokens", "tier", "num_runs", "first_position", "last_position", "position",
                 "loss", "loss_low", "loss_high")
MOST = 4
"""Sizes of an architecture."""
BINS_A_DOUBLING = 3


def positions_table(table: pd.DataFrame) -> pd.DataFrame:
    """The data of `positions_drawing`: mean loss over bins of positions, three to a doubling, up to 4 sizes an architecture.

    A size is drawn at the most tokens that it was trained on, and where all architectures have runs of one number of tokens, at
    the largest such number. Where a size has several seeds their mean is taken. A last bin that the context cuts to less than
    half goes with the one before. `loss_low` and `loss_high` are the means of the ends of the intervals of the bin's positions
    and seeds: not narrowed by averaging, as positions of one window depend on each other.

    Args:
        table: with at least the columns `RUN_COLUMNS`, of `empirical.scaling_runs.read_positions`.

    Raises:
        ValueError: a column is missing, no finite loss, or a position below 1.
    """
    check_columns(table, RUN_COLUMNS, "empirical.scaling_runs.read_positions")
    rows = table[np.isfinite(table["loss"].to_numpy(dtype=float))]
    if rows.empty or (rows["position"] < 1).any():
        raise ValueError("table has no finite loss, or a position below 1: positions from 1 and finite losses are legal")
    shared = set.intersection(*(set(part["tokens"]) for _, part in rows.groupby("architecture")))
    if shared:
        rows = rows[rows["tokens"] == max(shared)]
    parts = []
    for _, own in rows.groupby("architecture", sort=True):
        sizes = sorted(own["total_parameters"].unique())
        for size in [sizes[place] for place in np.unique(np.linspace(0, len(sizes) - 1, MOST).round().astype(int))]:
            part = own[own["total_parameters"] == size]
            part = part[part["tokens"] == part["tokens"].max()]
            parts.append(_binned(part))
    return pd.concat(parts, ignore_index=True)[list(TABLE_COLUMNS)]


def _binned(part: pd.DataFrame) -> pd.DataFrame:
    first = part.iloc[0]
    positions = part["position"].to_numpy(dtype=float)
    bins = np.floor(BINS_A_DOUBLING * np.log2(positions) + 1e-9).astype(int)
    last = bins == bins.max()
    before = bins == bins.max() - 1
    if 2 * np.count_nonzero(last) < np.count_nonzero(before):
        bins[last] -= 1
    gathered = part.assign(bin=bins, log_position=np.log(positions)).groupby("bin")
    found = gathered[["loss", "loss_low", "loss_high", "log_position"]].mean()
    ends = gathered["position"].agg(first_position="min", last_position="max")
    return found.join(ends).assign(
        position=np.exp(found["log_position"]), architecture=first["architecture"], parameters=int(first["total_parameters"]),
        tokens=int(first["tokens"]), tier=first["tier"], num_runs=part["name"].nunique(),
    ).reset_index(drop=True)


def positions_drawing(table: pd.DataFrame) -> Figure:
    """Loss against the number of tokens of context before the predicted one, a panel for each architecture on the same axes.

    Args:
        table: of `positions_table`.

    Raises:
        ValueError: a column is missing or there are no rows.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.scaling.positions_figure")
    architectures = sorted(table["architecture"].unique(), key=lambda name: ("transformer" not in str(name).lower(), str(name)))
    with style.styled():
        width = style.COLUMN_WIDTH if len(architectures) == 1 else style.PAGE_WIDTH
        made = Figure(figsize=(width, 3.4), layout="constrained")
        panels = made.subplots(1, len(architectures), sharex=True, sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, architectures, strict=True):
            _draw(axes, str(name), table[table["architecture"] == name])
        panels[0].set_ylabel(f"held-out {LOSS}")
        panels[0].margins(x=0.04, y=0.06)
        log_axis(panels[0].xaxis)
        plain_log_axis(panels[0].yaxis)
        legend_below(made, [Patch(label="95% intervals", **SHADE)], 1)
    return made


def _draw(axes: Axes, name: str, part: pd.DataFrame) -> None:
    sizes = sorted(part["parameters"].unique())
    handles = []
    for place, (size, look) in enumerate(zip(sizes, looks(len(sizes)), strict=True)):
        one = part[part["parameters"] == size].sort_values("position")
        line = LINE_STYLES[place % len(LINE_STYLES)]
        gid = f"{name}: {size}"
        if one["loss_low"].notna().all():
            axes.fill_between(one["position"], one["loss_low"], one["loss_high"], color=look["color"], alpha=0.2, linewidth=0,
                              zorder=2, gid=f"{gid} interval")
        axes.plot(one["position"], one["loss"], linestyle=line, markersize=3.2, linewidth=1.0, zorder=4, gid=gid, **look)
        num = int(one["num_runs"].iloc[0])
        handles.append(Line2D([], [], linestyle=line, markersize=3.2, linewidth=1.0,
                              label=f"$N$ = {number(float(size))}" + (f", {num} seeds" if num > 1 else ""), **look))
    tokens = sorted(part["tokens"].unique())
    said = f"$D$ = {number(float(tokens[0]))}" + (f" to {number(float(tokens[-1]))}" if len(tokens) > 1 else "") + " tokens"
    tiers = sorted({str(tier) for tier in part["tier"] if str(tier)})
    axes.set_title(", ".join([name, said, *(f"{tier} tier" for tier in tiers)]), fontsize=7.5)
    axes.set_xlabel("tokens of context before the predicted one")
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, -0.22), ncols=2, handlelength=2.6, columnspacing=1.2,
                labelspacing=0.3, title="total parameters", alignment="left")
