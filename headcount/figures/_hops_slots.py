"""Slots that routing by attention needs, as measured, beside the number for which the proof speaks."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from headcount.figures import style
from headcount.figures.table import check_columns

COLUMNS = ("num_machines", "messages", "slots", "exact", "trials", "proof_bound")


def slots_figure(table: pd.DataFrame) -> Figure:
    """Left, the share of routings that came out exact against the slots; right, the least slots with all exact against the
    proof's number.

    Args:
        table: of `empirical.routing_slots.routing_slots`.

    Raises:
        ValueError: a column is missing, there are no rows, a number that is not one, not more exact than trials, or one size
            with two proof bounds or two rows for one number of slots.
    """
    check_columns(table, COLUMNS, "empirical.routing_slots.routing_slots")
    try:
        rows = table[list(COLUMNS)].astype(float)
    except (TypeError, ValueError):
        raise ValueError("table has a cell that is no number: numbers are legal") from None
    if not (rows[["num_machines", "messages", "slots", "trials", "proof_bound"]] > 0).all(axis=None):
        raise ValueError("table has a number that is not above 0: only exact may be 0")
    if not rows["exact"].between(0, rows["trials"]).all():
        raise ValueError("table has a row with exact outside 0 to trials: must be a count of the trials")
    sizes = rows.groupby(["num_machines", "messages"])
    if (sizes["proof_bound"].nunique() > 1).any() or rows.duplicated(["num_machines", "messages", "slots"]).any():
        raise ValueError("table has one size with two proof bounds or one number of slots twice: must have one")
    parts = [
        (int(part["num_machines"].iloc[0]), int(part["messages"].iloc[0]), part.sort_values("slots")) for _, part in sizes
    ]
    looks = [
        {"color": colour, "marker": style.MARKERS[place % len(style.MARKERS)]}
        for place, colour in enumerate(style.in_order(len(parts)))
    ]
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 3.3 + 0.15 * -(-len(parts) // 3)), layout="constrained")
        shares, least = made.subplots(1, 2)
        for (machines, messages, part), look in zip(parts, looks, strict=True):
            gid = f"{machines} machines, {messages} messages"
            label = f"{machines} machines, {messages} message{'' if messages == 1 else 's'} each"
            share = (100 * part["exact"] / part["trials"]).to_numpy()
            shares.plot(part["slots"].to_numpy(), share, gid=f"share: {gid}", label=label, zorder=3, clip_on=False, **look)
            bound = float(part["proof_bound"].iloc[0])
            shares.plot([bound, bound], [88, 100], gid=f"bound: {gid}", linewidth=1.0, color=look["color"], linestyle=":",
                        zorder=2)
            shares.plot([bound], [100], gid=f"bound end: {gid}", color=look["color"], marker=look["marker"], fillstyle="none",
                        zorder=4, clip_on=False)
            # Enough from here on: as many slots or more never failed.
            failed = part["slots"][part["exact"] < part["trials"]]
            enough = part["slots"][part["slots"] > (failed.max() if len(failed) else 0)]
            if len(enough):
                least.plot([bound], [float(enough.min())], gid=f"least: {gid}", linestyle="none", zorder=3, **look)
            else:  # an arrow from the most that was tried
                least.plot([bound], [float(part["slots"].max())], gid=f"more than: {gid}", linestyle="none", zorder=3,
                           color=look["color"], marker=r"$\uparrow$", markersize=7)
        numbers = rows[["slots", "proof_bound"]].to_numpy()
        ends = [float(numbers.min()), float(numbers.max())]
        least.plot(ends, ends, color=style.GREY, linestyle="--", linewidth=1.0, zorder=2, gid="equal",
                   label="as many as the proof asks for")
        _finish(shares, least, ends, _trials(rows))
        handles, labels = shares.get_legend_handles_labels()
        own, own_labels = least.get_legend_handles_labels()
        made.legend(handles + own, labels + own_labels, loc="outside lower center", ncols=3, alignment="left", columnspacing=1.2,
                    handlelength=2.4, labelspacing=0.35,
                    title="measured: filled; bound: open and dotted, the slots for which the proof speaks")
    return made


def _finish(shares: Axes, least: Axes, ends: list[float], trials: str) -> None:
    shares.set_ylim(-3, 103)
    shares.set_yticks(np.linspace(0, 100, 6))
    shares.set_xlabel("slots for messages")
    shares.set_ylabel(f"routings that came out exact (% of {trials})")
    least.set_xlabel("slots for which the proof speaks")
    least.set_ylabel(f"least slots with all of {trials} exact")
    for letter, axes in (("a", shares), ("b", least)):
        axes.set_title(letter, loc="left", fontweight="bold", fontsize=9)
    for axis in (shares.xaxis, least.xaxis, least.yaxis):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(10))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axes in (shares, least):
        axes.set_xlim(0.8 * ends[0], 1.25 * ends[1])
    least.set_ylim(0.8 * ends[0], 1.25 * ends[1])


def _trials(rows: pd.DataFrame) -> str:
    least, most = int(rows["trials"].min()), int(rows["trials"].max())
    return f"{most} trials" if least == most else f"{least} to {most} trials"
