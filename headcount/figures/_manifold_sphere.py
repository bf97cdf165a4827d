"""A function on the sphere beside the transformers built for it, and the residual of each, seen from far away."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle as Disc

from headcount.figures import style
from headcount.figures._manifold_looks import THEORY, degree_words, target_words
from headcount.figures._scaling_looks import letters, log_axis, number
from headcount.figures.table import check_columns

if TYPE_CHECKING:
    from constructions.manifolds import ManifoldNetwork
    from theory.manifolds import Target

TABLE_COLUMNS = ("row", "manifold", "target", "beta", "degree", "grid", "across", "up", "x", "y", "z", "value", "approximant",
                 "residual", "rms", "sup", "tokens", "blocks", "num_points")
RESOLUTION = 97
"""Of the picture, on each side."""
EYE = (0.62, -0.66, 0.42)
"""Where the eye is, far away; z is up."""
VALUES, RESIDUALS = "cividis", "YlOrBr"
"""Their lightness is even: a larger value is lighter in grey print too, a larger residual darker."""


def view() -> Float[np.ndarray, "3 3"]:
    """Rows: the directions across, up and towards the eye."""
    towards = np.array(EYE) / np.linalg.norm(EYE)
    across = np.cross([0.0, 0.0, 1.0], towards)
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(towards, across), towards])


def sphere_table(
    networks: Sequence["ManifoldNetwork"], target: "Target", *, resolution: int = RESOLUTION, num_points: int = 1500,
    seed: int = 0,
) -> pd.DataFrame:
    """The data of `sphere_drawing`: rows "pixel" of the near half for each grid, and rows "error" at random points of all of it.

    Pixels are on a square grid of the picture; those a little beyond the edge have the values of the edge, to be cut off there.

    Args:
        networks: built for the target on a 2-sphere, in any embedding.
        target: what they approximate.
        resolution: pixels on each side of the picture.
        num_points, seed: of the random points.

    Raises:
        ValueError: no network, or one that is not on a 2-sphere.
    """
    if not networks:
        raise ValueError("networks is empty: must have at least one")
    edge = 1 + 3 / resolution
    side = np.linspace(-edge, edge, resolution)
    across, up = (plane.ravel() for plane in np.meshgrid(side, side))
    distance = np.hypot(across, up)
    kept = distance <= edge
    across, up, distance = across[kept], up[kept], np.maximum(distance[kept], 1.0)
    flat = np.stack([across / distance, up / distance], axis=1)
    seen = np.column_stack([flat, np.sqrt(np.maximum(0.0, 1 - (flat**2).sum(axis=1)))]) @ view()
    parts = []
    for network in sorted(networks, key=lambda one: int(one.grid)):
        manifold = network.manifold
        if manifold.dimension != 2 or not manifold.name.startswith("sphere"):
            raise ValueError(f"networks has one on {manifold.name}: must be on sphere-2")
        sample = manifold.sample(num_points, np.random.default_rng(seed))
        about = {"manifold": manifold.name, "target": target.name, "beta": float(target.smoothness),
                 "degree": int(network.degree), "grid": int(network.grid), "tokens": int(network.num_tokens),
                 "blocks": int(network.num_blocks)}
        error = np.asarray(network(sample), dtype=float) - np.asarray(target(sample), dtype=float)
        points = manifold.points(seen)
        value, approximant = (np.asarray(one(points), dtype=float) for one in (target, network))
        parts.append(pd.DataFrame({"row": "pixel", **about, "across": across, "up": up, "x": seen[:, 0], "y": seen[:, 1],
                                   "z": seen[:, 2], "value": value, "approximant": approximant, "residual": approximant - value}))
        parts.append(pd.DataFrame([{"row": "error", **about, "rms": float(np.sqrt((error**2).mean())),
                                    "sup": float(np.abs(error).max()), "num_points": num_points}]))
    return pd.concat(parts, ignore_index=True).reindex(columns=list(TABLE_COLUMNS))


def sphere_drawing(table: pd.DataFrame) -> Figure:
    """Above the target and what was built for it, below the error by grid and the absolute residuals, all on one scale.

    Colours get lighter with larger values, and darker with larger residuals; lines are at equal values.

    Args:
        table: of `sphere_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.manifolds.sphere_figure")
    pixels, errors = table[table["row"] == "pixel"], table[table["row"] == "error"].sort_values("grid")
    values = pixels[["value", "approximant"]].to_numpy(dtype=float)
    shown = Normalize(float(values.min()), float(values.max()))
    worst = float(pixels["residual"].abs().max()) or 1.0
    sizes = PowerNorm(0.5, 0.0, worst)  # by the square root: of a small residual too one sees where it is
    levels = np.linspace(shown.vmin or 0.0, shown.vmax or 1.0, 9)[1:-1]
    count = len(errors)
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 3.95), layout="constrained")
        panels = made.subplots(2, count + 1, squeeze=False)
        first = pixels[pixels["grid"] == errors["grid"].iloc[0]]
        about = errors.iloc[0]
        _ball(panels[0, 0], first, first["value"].to_numpy(), VALUES, shown, levels, "target")
        panels[0, 0].set_title(f"target $f$ ({target_words(str(about['target']), float(about['beta']))})", fontsize=8)
        for place, error in enumerate(errors.to_dict("records")):
            own = pixels[pixels["grid"] == error["grid"]]
            grid = int(error["grid"])
            _ball(panels[0, place + 1], own, own["approximant"].to_numpy(), VALUES, shown, levels, f"approximant {grid}")
            panels[0, place + 1].set_title(f"built, $N={grid}$, {degree_words(error['degree'])}", fontsize=8)
            size = own["residual"].abs().to_numpy()
            _ball(panels[1, place + 1], own, size, RESIDUALS, sizes, None, f"residual {grid}")
            panels[1, place + 1].set_title(f"residual: rms {number(error['rms'], 2)}", fontsize=8)
        _shrinking(panels[1, 0], errors)
        _bar(made, panels[0].tolist(), VALUES, shown, "value")
        _bar(made, panels[1].tolist(), RESIDUALS, sizes, "|built − $f$|, same units")
        letters(panels.flat)
    return made


def _ball(axes: Axes, pixels: pd.DataFrame, values: Float[np.ndarray, " pixels"], colours: str, norm: Normalize, levels: Any,
          name: str) -> None:
    """One sphere: colours, lines of equal value where asked for, meridians and circles of latitude."""
    picture = pixels.assign(shown=values).pivot_table(index="up", columns="across", values="shown")
    across, up = picture.columns.to_numpy(dtype=float), picture.index.to_numpy(dtype=float)
    drawn = np.ma.masked_invalid(picture.to_numpy(dtype=float))
    half = (across[1] - across[0]) / 2
    extent = (across[0] - half, across[-1] + half, up[0] - half, up[-1] + half)
    image = axes.imshow(drawn, origin="lower", extent=extent, cmap=colours, norm=norm, interpolation="bilinear", zorder=1,
                        gid=name)
    edge = Disc((0, 0), 1.0, facecolor="none", edgecolor=style.BLACK, linewidth=0.8, zorder=5, gid=f"edge: {name}")
    axes.add_patch(edge)
    image.set_clip_path(edge)
    if levels is not None:
        lines = axes.contour(across, up, drawn, levels=levels, colors="#FFFFFF", linewidths=0.6, linestyles="solid", zorder=3)
        lines.set_clip_path(edge)
        lines.set_gid(f"levels: {name}")
    for line in graticule():
        axes.plot(line[:, 0], line[:, 1], color=style.BLACK, linewidth=0.35, alpha=0.4, zorder=2, gid=f"graticule: {name}")
    axes.set_xlim(-1.04, 1.04)
    axes.set_ylim(-1.04, 1.04)
    axes.set_aspect("equal")
    axes.set_axis_off()


def graticule() -> list[Float[np.ndarray, "points 2"]]:
    """Meridians and circles of latitude, 30 degrees apart, as seen; NaN where they are behind."""
    around = np.linspace(0, 2 * np.pi, 181)
    found = []
    for latitude in np.deg2rad([-60, -30, 0, 30, 60]):
        level = np.full_like(around, np.sin(latitude))
        found.append(np.stack([np.cos(latitude) * np.cos(around), np.cos(latitude) * np.sin(around), level], axis=1))
    for longitude in np.deg2rad(np.arange(0, 180, 30)):
        found.append(np.stack([np.cos(around) * np.cos(longitude), np.cos(around) * np.sin(longitude), np.sin(around)], axis=1))
    seen = [line @ view().T for line in found]
    return [np.where(line[:, 2:] >= 0, line[:, :2], np.nan) for line in seen]


def _bar(made: Figure, panels: list[Axes], colours: str, norm: Normalize, label: str) -> None:
    bar = made.colorbar(ScalarMappable(norm=norm, cmap=colours), ax=panels, shrink=0.85, aspect=16, pad=0.01)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)


def _shrinking(axes: Axes, errors: pd.DataFrame) -> None:
    """Error at random points against the grid, with the line of the order that theory promises through the finest."""
    grid, rms, sup = (errors[name].to_numpy(dtype=float) for name in ("grid", "rms", "sup"))
    order = min(float(errors["beta"].iloc[0]), float(errors["degree"].iloc[0]) + 1)
    axes.plot(grid, rms[-1] * (grid / grid[-1]) ** -order, zorder=2, gid="theory", **THEORY)
    axes.plot(grid, sup, color=style.GREY, marker="s", fillstyle="none", linewidth=0.8, zorder=3, gid="sup")
    axes.plot(grid, rms, color=style.BLACK, marker="o", zorder=4, gid="rms")
    axes.set_yscale("log")
    axes.margins(0.14, 0.12)
    log_axis(axes.xaxis)
    log_axis(axes.yaxis)
    axes.set_xticks(grid, labels=[f"{int(one)}" for one in grid])
    axes.set_xlabel("grid $N$")
    axes.set_ylabel("error")
    axes.set_box_aspect(0.82)
    for values, name, shift in ((sup, "largest", (5, 4)), (rms, "rms", (-4, -11))):
        axes.annotate(name, (grid[0], values[0]), xytext=shift, textcoords="offset points", fontsize=6.5)
    axes.set_title(f"dashed: $N^{{-{order:g}}}$", fontsize=8)
