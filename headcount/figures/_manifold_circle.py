"""A function on the circle beside the transformers built for it: seen on the circle, along it, and what is left of it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headcount.figures import style
from headcount.figures._manifold_looks import degree_words, split, target_words
from headcount.figures._scaling_looks import letters, number
from headcount.figures.table import check_columns

if TYPE_CHECKING:
    from constructions.manifolds import ManifoldNetwork
    from theory.manifolds import Target

TABLE_COLUMNS = ("row", "manifold", "target", "beta", "degree", "grid", "angle", "value", "approximant", "residual", "rms", "sup",
                 "tokens", "blocks")
ANGLES = 3600
TILT, HEIGHT = 0.36, 0.85
"""Of the circle seen from the side: how far it is opened, and the height of the largest value over it, in radii."""
COLUMNS = 420
"""Of a thinned curve, each with its lowest and its highest value: print of 300 dots an inch shows no more of it."""
FAR, NEAR = ("#E9EFF4", "#F4ECE6"), ("#CFE0EC", "#EBD8C8")
"""Tints of that curtain above and below the circle, on its far and on its near half."""
TARGET: dict[str, Any] = {"color": "#A9A9A9", "linewidth": 2.2, "solid_capstyle": "round"}
BUILT: dict[str, Any] = {"color": style.BLUE, "linewidth": 0.9}
FOOT: dict[str, Any] = {"color": style.BLACK, "linewidth": 0.7}


def circle_table(networks: Sequence[tuple["Target", Sequence["ManifoldNetwork"]]], num_angles: int = ANGLES) -> pd.DataFrame:
    """The data of `circle_drawing`: rows "point", for each target, grid and angle; rows "error", for each target and grid.

    Args:
        networks: targets on a circle, in any embedding, each with the networks built for it.
        num_angles: at which both are evaluated, evenly spaced from half a step on: rms and sup are over these.

    Raises:
        ValueError: no target, a target without a network, or a manifold that is not a circle.
    """
    parts = []
    step = 2 * np.pi / num_angles
    angles = (np.arange(num_angles) + 0.5) * step
    for target, built in networks:
        if not built:
            raise ValueError(f"networks has none for the target {target.name}: must have at least one for each")
        for network in sorted(built, key=lambda one: int(one.grid)):
            manifold = network.manifold
            if (manifold.dimension, manifold.num_parameters) != (1, 1) or "circle" not in manifold.name:
                raise ValueError(f"networks has one on {manifold.name}: must be on a circle")
            points = manifold.points(angles[:, None])
            value, approximant = (np.asarray(one(points), dtype=float) for one in (target, network))
            residual = approximant - value
            about = {"manifold": manifold.name, "target": target.name, "beta": float(target.smoothness),
                     "degree": int(network.degree), "grid": int(network.grid), "tokens": int(network.num_tokens),
                     "blocks": int(network.num_blocks)}
            parts.append(pd.DataFrame({"row": "point", **about, "angle": angles, "value": value, "approximant": approximant,
                                       "residual": residual}))
            parts.append(pd.DataFrame([{"row": "error", **about, "rms": float(np.sqrt((residual**2).mean())),
                                        "sup": float(np.abs(residual).max())}]))
    if not parts:
        raise ValueError("networks is empty: must have at least one target")
    return pd.concat(parts, ignore_index=True).reindex(columns=list(TABLE_COLUMNS))


def circle_drawing(table: pd.DataFrame) -> Figure:
    """A row for each target: on the circle, along it, and a strip of residuals for each grid, each on its own scale.

    The first two panels show the coarsest grid, whose error can be seen, over the target. Curves
    are thinned to what print can show of them.

    Args:
        table: of `circle_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.manifolds.circle_figure")
    targets = split(table, ("target", "beta"))
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 2.3 * len(targets) + 0.5), layout="constrained")
        outer = made.add_gridspec(len(targets), 3, width_ratios=(1.3, 1.5, 1.5))
        lettered = []
        for line, (about, part) in enumerate(targets):
            points, errors = part[part["row"] == "point"], part[part["row"] == "error"].sort_values("grid")
            coarse = points[points["grid"] == points["grid"].min()].sort_values("angle")
            name = target_words(str(about["target"]), float(about["beta"]))
            panels = [made.add_subplot(outer[line, column]) for column in range(2)]
            stack = outer[line, 2].subgridspec(len(errors), 1, hspace=0.0)
            strips = [made.add_subplot(stack[strip, 0]) for strip in range(len(errors))]
            _crown(panels[0], coarse, name)
            _along(panels[1], coarse, name)
            _strips(strips, points, errors, name)
            for axes in (*panels[1:], *strips):
                _turn(axes, named=line == len(targets) - 1 and axes in (panels[1], strips[-1]))
            lettered += [*panels, strips[0]]
        letters(lettered)
        made.legend(handles=_handles(), loc="outside lower center", ncols=3, handlelength=2.4, columnspacing=1.8)
    return made


def _closed(table: pd.DataFrame, values: str) -> Float[np.ndarray, " points"]:
    """A column by angle, closed to a turn."""
    own = table[values].to_numpy(dtype=float)
    return np.append(own, own[0] + (2 * np.pi if values == "angle" else 0.0))


def _crown(axes: Axes, coarse: pd.DataFrame, name: str) -> None:
    """Target and approximant as heights over the circle, seen from the side and above, the near half in front."""
    coarse = coarse.iloc[thinned(coarse["value"].to_numpy(dtype=float))]
    angles, value, approximant = (_closed(coarse, column) for column in ("angle", "value", "approximant"))
    unit = HEIGHT / float(np.abs(value).max() or 1.0)
    across, deep = np.cos(angles), TILT * np.sin(angles)
    for half, layer, tints in ((np.sin(angles) > 0, 1, FAR), (np.sin(angles) <= 0, 5, NEAR)):
        quads, colours = [], []
        states = np.where(half, np.where(value >= 0, 1, 2), 0)
        starts = np.flatnonzero(np.diff(states, prepend=-1))
        for first, last in zip(starts, [*starts[1:], len(states) - 1], strict=True):  # one polygon for each run of one sign
            if states[first] and last > first:
                run = slice(first, last + 1)
                foot, head = (np.stack([across[run], deep[run] + unit * heights[run]], axis=1) for heights in (0 * value, value))
                quads.append(np.concatenate([foot, head[::-1]]))
                colours.append(tints[states[first] - 1])
        axes.add_collection(PolyCollection(quads, facecolors=colours, linewidths=0, zorder=layer, gid=f"heights: {name} {layer}"))
        for heights, look, kind in ((0 * value, FOOT, "circle"), (value, TARGET, "target"), (approximant, BUILT, "approximant")):
            drawn = np.where(half, deep + unit * heights, np.nan)
            axes.plot(across, drawn, zorder=layer + 1 + (kind == "approximant"), gid=f"{kind} around: {name} {layer}", **look)
    axes.set_aspect("equal")
    axes.set_xlim(-1.08, 1.08)
    axes.set_ylim(-TILT - HEIGHT * 0.9, TILT + HEIGHT * 1.05)
    axes.set_axis_off()
    axes.set_title(name, fontsize=8)


def thinned(values: Float[np.ndarray, " points"], columns: int = COLUMNS) -> Int[np.ndarray, " kept"]:
    """Places to keep of a curve with even steps: of each column the first, lowest and highest value, and the last of all.

    All places where there are no more than four for a column.
    """
    count = len(values)
    if count <= 4 * columns:
        return np.arange(count)
    edges = np.linspace(0, count, columns + 1).astype(int)
    kept = [place for left, right in pairwise(edges)
            for place in (left, left + values[left:right].argmin(), left + values[left:right].argmax())]
    return np.unique([*kept, count - 1])


def _curve(axes: Axes, table: pd.DataFrame, column: str, gid: str, **look: Any) -> None:
    own = table[column].to_numpy(dtype=float)
    kept = thinned(own)
    axes.plot(table["angle"].to_numpy(dtype=float)[kept], own[kept], gid=gid, **look)


def _along(axes: Axes, coarse: pd.DataFrame, name: str) -> None:
    _curve(axes, coarse, "value", f"target: {name}", zorder=2, **TARGET)
    _curve(axes, coarse, "approximant", f"approximant: {name}", zorder=3, **BUILT)
    axes.set_ylabel("$f$")
    axes.set_title(f"$N={int(coarse['grid'].iloc[0])}$, {degree_words(coarse['degree'].iloc[0])}", fontsize=8)


def _strips(strips: Sequence[Axes], points: pd.DataFrame, errors: pd.DataFrame, name: str) -> None:
    """Residuals by grid, coarsest first, each on a scale of its own whose ends are written at it."""
    for axes, error in zip(strips, errors.to_dict("records"), strict=True):
        own = points[points["grid"] == error["grid"]].sort_values("angle")
        about, most = f"residual: {name} {int(error['grid'])}", float(error["sup"]) or 1.0
        kept = thinned(own["residual"].to_numpy(dtype=float))
        axes.fill_between(own["angle"].iloc[kept], own["residual"].iloc[kept], color=style.VERMILLION, linewidth=0, zorder=2,
                          gid=f"{about} area")
        _curve(axes, own, "residual", about, color=style.VERMILLION, linewidth=0.5, zorder=3)
        axes.set_ylim(-1.08 * most, 1.08 * most)
        axes.set_yticks([-most, 0.0, most], labels=[f"−{number(most, 2)}", "0", number(most, 2)])
        axes.set_title(f"$N={int(error['grid'])}$:  rms {number(error['rms'], 2)}", loc="right", fontsize=7, pad=2)
        axes.spines["bottom"].set_visible(axes is strips[-1])
    strips[len(strips) // 2].set_ylabel("residual, each on its own scale")


def _turn(axes: Axes, named: bool) -> None:
    axes.set_xlim(0, 2 * np.pi)
    axes.set_xticks([0, np.pi / 2, np.pi, 3 * np.pi / 2, 2 * np.pi], labels=["0", "π/2", "π", "3π/2", "2π"])
    axes.tick_params(axis="x", labelbottom=named, length=3.5 if named else 0)
    if named:
        axes.set_xlabel("angle along the circle (rad)")


def _handles() -> list[Line2D]:
    return [Line2D([], [], label="target $f$", **TARGET), Line2D([], [], label="built transformer, coarsest grid", **BUILT),
            Line2D([], [], label="residual: built − $f$", color=style.VERMILLION, linewidth=2.5)]
