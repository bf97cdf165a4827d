"""What the figures on scaling laws share: logarithmic axes, groups of a quantity, words for numbers, legends below the panels."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from headcount.figures import style

LINE_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)))
"""For lines without markers, so that they are told apart in grey."""
SHADE: dict[str, Any] = {"color": style.GREY, "alpha": 0.25, "linewidth": 0}
"""Of intervals that are shaded."""
PARAMETERS = {"total": "total parameters $N$", "non-embedding": "non-embedding parameters $N$", "not stated": "parameters $N$"}
TOKENS, COMPUTE, LOSS = "training tokens $D$", "training compute $C$ (FLOP)", "loss (nats per token)"


def parameters_label(parameter_count: str) -> str:
    """The label of an axis of parameters, with how they were counted where that is known."""
    return PARAMETERS.get(parameter_count, PARAMETERS["not stated"])


def number(value: float, digits: int = 3) -> str:
    """A number for a label: plain between a thousandth and 100,000, else with a power of ten in mathtext.

    >>> number(0.51), number(1.3e9), number(1e21)
    ('0.51', '$1.3\\\\times10^{9}$', '$10^{21}$')
    """
    if not math.isfinite(value):
        return "unbounded"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
    leading, power = f"{value:.{digits - 1}e}".split("e")
    leading = leading.rstrip("0").rstrip(".") if "." in leading else leading
    return f"$10^{{{int(power)}}}$" if leading == "1" else f"${leading}\\times10^{{{int(power)}}}$"


def interval_words(value: float, low: float, high: float, digits: int = 3) -> str:
    """For example "0.513 [0.48, 0.56]"; an end that is not known is left open."""
    ends = [number(end, digits) if math.isfinite(end) else "?" for end in (low, high)]
    return number(value, digits) + ("" if ends == ["?", "?"] else f" [{ends[0]}, {ends[1]}]")


def log_axis(axis: Axis) -> None:
    """A logarithmic axis: powers of ten where it spans two decades or more, else plain numbers; no labels in between.

    To be called when the limits are final.
    """
    _make_log(axis)
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low)
    if decades >= 2:
        axis.set_major_locator(LogLocator(10, numticks=7))
        axis.set_minor_locator(NullLocator() if decades > 9 else LogLocator(10, subs=tuple(range(2, 10)), numticks=12))
    else:
        axis.set_major_locator(FixedLocator(_steps(low, high)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(NullFormatter())


def _make_log(axis: Axis) -> None:
    axes = axis.axes
    if axis is axes.xaxis:
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")


def plain_log_axis(axis: Axis) -> None:
    """A logarithmic axis with plain numbers, for losses. To be called when the limits are final."""
    _make_log(axis)
    low, high = sorted(axis.get_view_interval())
    if high / low < 3:
        axis.set_major_locator(FixedLocator([value for value in MaxNLocator(6).tick_values(low, high) if low <= value <= high]))
    else:
        axis.set_major_locator(FixedLocator(_steps(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


_LEADING = ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8))


def _steps(low: float, high: float) -> list[float]:
    """Numbers of one or two digits within an interval: 1, 2 and 5 times powers of ten, and more of them where these are few."""
    powers = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for leading in _LEADING:
        found = [float(value) for value in np.sort(np.outer(powers, leading).ravel()) if low <= value <= high]
        if len(found) >= 4:
            return found
    return [float(value) for value in MaxNLocator(5).tick_values(low, high) if low <= value <= high]


def groups(values: Float[np.ndarray, " points"], most: int = 6) -> list[tuple[Float[np.ndarray, ""], Any]]:
    """Up to `most` groups of positive numbers: one for each distinct number where these are few, else bins with equal counts.

    Returns:
        For each group, in ascending order, (the geometric mean, which of the values are in it).
    """
    rounded = np.round(np.log(values), 3)  # what differs by a thousandth is one setting
    distinct = np.unique(rounded)
    if len(distinct) <= most:
        masks = [rounded == one for one in distinct]
    else:
        edges = np.quantile(np.log(values), np.linspace(0, 1, most + 1))[1:-1]
        places = np.searchsorted(edges, np.log(values), side="right")
        masks = [places == place for place in range(most)]
    return [(np.exp(np.log(values[mask]).mean()), mask) for mask in masks if mask.any()]


def looks(count: int) -> list[dict[str, Any]]:
    """Colour and marker of each of `count` series with an order, from light to dark."""
    return [
        {"color": colour, "marker": style.MARKERS[place % len(style.MARKERS)]}
        for place, colour in enumerate(style.in_order(count))
    ]


def letters(panels: Iterable[Axes]) -> None:
    """Name the panels a, b, c ... at their upper left."""
    for letter, axes in zip("abcdefghijkl", panels, strict=False):
        axes.set_title(letter, loc="left", fontweight="bold", fontsize=9)


def legend_below(made: Figure, handles: Sequence[Any], columns: int, title: str = "") -> None:
    """One legend for all panels, under them, where it hides nothing."""
    made.legend(handles=list(handles), loc="outside lower center", ncols=columns, alignment="left", handlelength=2.4,
                columnspacing=1.2, labelspacing=0.35, title=title or None)
