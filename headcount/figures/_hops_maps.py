"""Attention maps of a built and a trained model on one string, the hop that each head makes marked."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from empirical.hop_maps import MAP_COLUMNS
from headcount.figures import style
from headcount.figures._hops_looks import tier_words
from headcount.figures.table import check_columns

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MOST_LETTERS = 40
"""Strings up to this length have their symbols along the axes, longer ones positions."""
PANEL = 1.6
"""Width of a map, inches."""


def maps_figure(built: pd.DataFrame, trained: pd.DataFrame) -> Figure:
    """Maps of the chosen heads, layers downwards, the built model on the left, the trained one on the right.

    Rows of a map are the positions that look, columns where they look; a circle marks the target of the row, the previous token
    or find^j, where it is defined. The heading of a map says which target that is, and the cosine with it on this string.

    Args:
        built, trained: of `empirical.hop_maps.map_table`, of kind "built" and "trained" (or "published"), for one string and k.

    Raises:
        ValueError: a column is missing, a table has no rows or is of the wrong kind, of several models, strings or k, a head's
            map is not square, or the two are not of the same string and k.
    """
    for name, table, kinds in (("built", built, ("built",)), ("trained", trained, ("trained", "published"))):
        check_columns(table, MAP_COLUMNS, "empirical.hop_maps.map_table")
        if not set(table["kind"]) <= set(kinds):
            raise ValueError(f"{name} has rows of kind {', '.join(sorted(set(table['kind'])))}: must be of kind {kinds[0]}")
        for column in ("kind", "name", "tier", "num_hops", "string"):
            if table[column].fillna("").nunique() != 1:
                raise ValueError(f"{name} has {table[column].nunique()} different values of {column}: must have one")
    for column in ("num_hops", "string"):
        if built[column].iloc[0] != trained[column].iloc[0]:
            raise ValueError(f"built and trained differ in {column}: must be of the same string and k")
    sides = [_by_layer(built), _by_layer(trained)]
    widths = [max(len(heads) for heads in side.values()) for side in sides]
    layers = sorted(set(sides[0]) | set(sides[1]))
    with style.styled():
        columns = sum(widths)
        size = (max(style.COLUMN_WIDTH, PANEL * columns), 0.8 + 1.17 * PANEL * len(layers))
        made = Figure(figsize=size, layout="constrained")
        grid = made.subplots(len(layers), columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        start = 0
        for side, width, table in zip(sides, widths, (built, trained), strict=True):
            for place, layer in enumerate(layers):
                for head, part in enumerate(side.get(layer, [])):
                    _draw_map(grid[place, start + head], part, first=place == 0 and head == 0, table=table)
            start += width
        first = built.iloc[0]
        for axes in grid[-1]:
            axes.set_xlabel("position attended to", fontsize=6.5)
        for axes in grid[:, 0]:
            axes.set_ylabel("position that looks", fontsize=6.5)
        handles = [
            Line2D([], [], linestyle="none", marker="o", fillstyle="none", color=style.VERMILLION, markersize=3.5,
                   label="target: where the head's hop leads"),
            Line2D([], [], linestyle="none", marker="s", color=style.BLACK, markersize=4.5, label="weight 1 (white: 0)"),
        ]
        made.legend(handles=handles, loc="outside lower center", ncols=2,
                    title=f"$k={first['num_hops']}$, one string: {_letters(str(first['string']))}")
    return made


def _by_layer(table: pd.DataFrame) -> dict[int, list[pd.DataFrame]]:
    found: dict[int, list[pd.DataFrame]] = {}
    for _, part in table.groupby(["layer", "head"], sort=True):
        layer, size = int(part["layer"].iloc[0]), int(part["row"].max()) + 1
        if len(part) != size**2 or part.duplicated(["row", "column"]).any() or int(part["column"].max()) + 1 != size:
            raise ValueError(f"layer {layer} has {len(part)} weights for a head with {size} rows: must be a square of them")
        found.setdefault(layer, []).append(part.sort_values(["row", "column"]))
    return found


def _draw_map(axes: Axes, part: pd.DataFrame, *, first: bool, table: pd.DataFrame) -> None:
    size = int(part["row"].max()) + 1
    weights = part["weight"].to_numpy(dtype=float).reshape(size, size)
    targets = part["target_column"].to_numpy(dtype=int).reshape(size, size)[:, 0]
    head = part.iloc[0]
    gid = f"{head['kind']}: layer {head['layer']}, head {head['head']}"
    axes.set_axis_on()
    axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, interpolation="nearest", gid=gid)
    rows = np.flatnonzero(targets >= 0)
    axes.plot(targets[rows], rows, linestyle="none", marker="o", fillstyle="none", color=style.VERMILLION, markeredgewidth=0.7,
              markersize=min(6.0, 125 / size), gid=f"{gid} target")
    axes.grid(False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    string = str(table["string"].iloc[0])
    if size <= MOST_LETTERS:
        labels = ["$k$"] * (size - len(_symbols(string))) + [LETTERS[symbol % 26] for symbol in _symbols(string)]
        axes.set_xticks(range(size), labels, fontsize=min(5.0, 100 / size))
        axes.set_yticks(range(size), labels, fontsize=min(5.0, 100 / size))
        axes.tick_params(length=0, pad=1)
    cosine = f", cosine {head['cosine']:.2f}" if head["cosine"] == head["cosine"] else ""
    target = str(head["target"]).replace("find^", "find$^{") + ("}$" if "^" in str(head["target"]) else "")
    title = f"layer {head['layer']}, head {head['head']}\n{target}{cosine}"
    if first:
        title = f"{_who(table)}\n{title}"
    axes.set_title(title, fontsize=6.5)


def _who(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    tier = tier_words([str(first["tier"] or "")])
    return f"{first['kind']}: {first['name']}" + (f", {tier}" if tier else "")


def _symbols(string: str) -> list[int]:
    return [int(symbol) for symbol in string.split()]


def _letters(string: str) -> str:
    symbols = _symbols(string)
    shown = "".join(LETTERS[symbol % 26] for symbol in symbols[:MOST_LETTERS])
    return shown + ("..." if len(symbols) > MOST_LETTERS else "")
