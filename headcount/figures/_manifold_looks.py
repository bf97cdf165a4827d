"""What the figures on functions on manifolds share: names of manifolds and targets, parts of tables, exponents with intervals."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from headcount.figures import style

THEORY: dict[str, Any] = {"color": style.GREY, "linestyle": (0, (4, 1.6)), "linewidth": 0.9}
"""Of lines that a theorem draws."""
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
    """A value with its interval on a row of a dot plot; nothing where the value is not known, no bar where an end is not."""
    if not math.isfinite(value):
        return
    if math.isfinite(low) and math.isfinite(high):
        axes.hlines([place], [low], [high], color=look.get("color", style.BLACK), linewidth=1.2, zorder=3, gid=f"{gid} interval")
    axes.plot([value], [place], linestyle="none", markersize=4.5, zorder=4, gid=gid, **look)


def theory_handle(label: str) -> Line2D:
    """The legend's entry of `THEORY`."""
    return Line2D([], [], label=label, **THEORY)
