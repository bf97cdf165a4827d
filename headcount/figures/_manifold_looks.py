"""What the figures on functions on manifolds share: names of manifolds and targets, parts of tables, exponents with intervals."""

import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT

from headcount.figures import style

THEORY: dict[str, Any] = {"color": style.GREY, "linestyle": (0, (4, 1.6)), "linewidth": 0.9}
"""Of lines that a theorem draws."""
LIMITED = "hollow: something else limits it, see reason"
"""In the legend, of exponents with a reason not to be taken for the theory's."""
SERIES = ("manifold", "ambient_dim", "target", "beta", "degree")
"""What tells built networks of a table of `empirical.manifold_reach` apart, besides their grid."""


def manifold_words(name: str) -> str:
    """The name of a manifold as a reader writes it.

    >>> manifold_words("circle in R^8"), manifold_words("circle x sphere-2")
    ('circle in $\\\\mathbb{R}^{8}$', 'circle × 2-sphere')
    """
    plain = re.sub(r"\b(sphere|torus)-(\d+)", r"\2-\1", name).replace(" x ", " × ")
    return re.sub(r"\bR\^(\d+)", r"$\\mathbb{R}^{\1}$", plain)


def target_words(target: str, beta: float) -> str:
    """A target with its smoothness, for example "Weierstrass, β = 0.5"; a smooth one is only that."""
    if math.isinf(beta):
        return "smooth" if target.lower().startswith("smooth") else target
    name = re.sub(r"[\s(,]*(beta\s*=?\s*)?[\d.]+\)?$", "", target) or "target"
    return f"{name[:1].upper()}{name[1:]}, β = {beta:g}"


def degree_words(degree: int) -> str:
    """How a network reads its bumps: steps, hats or local polynomials of a degree."""
    return {0: "steps", 1: "hats"}.get(int(degree), f"degree {int(degree)}")


def series_words(row: Any) -> str:
    """Manifold, target and degree of a row of a table of built networks."""
    target = target_words(str(row["target"]), float(row["beta"]))
    return f"{manifold_words(str(row['manifold']))}: {target}; {degree_words(row['degree'])}"


def split(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The parts of a table with equal values in these columns, in order of appearance; a missing value is a value too."""
    found = table.groupby(list(columns), sort=False, dropna=False)
    return [(dict(zip(columns, key if isinstance(key, tuple) else (key,), strict=True)), part) for key, part in found]


def same(table: pd.DataFrame, values: dict[str, Any]) -> Any:
    """Which rows of a table have these values, by column; a missing value equals a missing one."""
    mask = np.ones(len(table), dtype=bool)
    for name, value in values.items():
        own = table[name]
        mask &= (own.isna() if pd.isna(value) else own == value).to_numpy()
    return mask


def exponent_words(value: float, low: float, high: float) -> str:
    """For example "1.99 [1.97, 2.01]"; ends that are not known are left out."""
    if not math.isfinite(value):
        return "not known"
    ends = [f"{end:.2f}" if math.isfinite(end) else "?" for end in (low, high)]
    return f"{value:.2f}" + ("" if ends == ["?", "?"] else f" [{ends[0]}, {ends[1]}]")


def dot_rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows of a dot plot from the top down, named at the left."""
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), labels=list(names))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def whisker(axes: Axes, place: float, value: float, low: float, high: float, gid: str, **look: Any) -> None:
    """A value with its interval on a row of a dot plot: no bar where an end is not known, an arrow where the axis ends before it.

    Nothing where the value is not known. To be called when the limits of the axis are final.
    """
    if not math.isfinite(value):
        return
    colour = look.get("color", style.BLACK)
    if not (math.isnan(low) or math.isnan(high)):
        left, right = axes.get_xlim()
        drawn = (low if math.isfinite(low) else 2 * left - right), (high if math.isfinite(high) else 2 * right - left)
        axes.hlines([place], [drawn[0]], [drawn[1]], color=colour, linewidth=1.2, zorder=3, gid=f"{gid} interval")
        for cut, side in ((low < left, "left"), (high > right, "right")):
            if cut:
                arrow(axes, place, side, gid, colour)
    axes.plot([value], [place], linestyle="none", zorder=4, gid=gid, **{"markersize": 4.5, **look})


def arrow(axes: Axes, place: float, side: str, gid: str, colour: str) -> None:
    """At the end of an axis, where what is drawn on a row goes on."""
    axes.plot([axes.get_xlim()[side == "right"]], [place], color=colour, linestyle="none", clip_on=False, zorder=5,
              markersize=4.5, marker=CARETRIGHT if side == "right" else CARETLEFT, gid=f"{gid} goes on {side}")


def coloured(count: int) -> list[dict[str, Any]]:
    """Colour and marker of each of `count` series with an order, from light to dark, none of them near the theory's grey.

    Of matplotlib's inferno, whose lightness falls evenly, without its pale and its black end.
    """
    top = 0.76 if count > 2 else 0.6  # two need not begin pale
    places = [top - (top - 0.14) * place / max(count - 1, 1) for place in range(count)]
    return [{"color": to_hex(matplotlib.colormaps["inferno"](at)), "marker": style.MARKERS[place % len(style.MARKERS)]}
            for place, at in enumerate(places)]


def legend_under(made: Figure, handles: Sequence[Any], columns: int) -> None:
    """One legend under the panels, with lines long enough to see their dashes."""
    made.legend(handles=list(handles), loc="outside lower center", ncols=columns, alignment="left", handlelength=3.6,
                columnspacing=1.2, labelspacing=0.35)


def theory_line(colour: str) -> dict[str, Any]:
    """Of a line that a theorem draws for one series, in the colour of that series."""
    return {"color": colour, "linestyle": (0, (1, 1.6)), "linewidth": 0.9}


def theory_handle(label: str, own: bool = False) -> Line2D:
    """The legend's entry of `THEORY`, or of `theory_line` of series that have one each."""
    return Line2D([], [], label=label, **(theory_line(style.BLACK) if own else THEORY))
