"""Models trained on functions on manifolds: error against samples or parameters, and exponents beside those of the theory."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headcount.figures import style
from headcount.figures._manifold_looks import (
    LIMITED,
    coloured,
    dot_rows,
    legend_under,
    manifold_words,
    same,
    split,
    target_words,
    theory_handle,
    theory_line,
    whisker,
)
from headcount.figures._scaling_looks import letters, log_axis
from headcount.figures.table import check_columns

ABOUT = ("kind", "manifold", "dimension", "ambient_dim", "target", "beta", "attention")
RUNS = (*ABOUT, "experiment", "parameters", "samples", "seed", "mse", "target_variance")
EXPONENTS = ("experiment", *ABOUT, "exponent", "low", "high", "predicted", "reason")
TABLE_COLUMNS = ("row", "experiment", *ABOUT, "size", "seed", "share", "exponent", "low", "high", "predicted", "reason",
                 "floor_off", "floor_off_low", "floor_off_high")
SIZE = {"data": "samples", "model": "parameters"}
LABEL = {"data": "samples $n$", "model": "parameters"}
PROMISE = {"data": "$2\\beta/(2\\beta+d)$", "model": "$2\\beta/d$"}
MOST_PANELS = 3
NOT_LEARNT = 0.5
"""Share of the variance: a series that leaves more at all sizes has no line of the theory beside it."""
FILLS: dict[str, Any] = {"": "full", "limited": "none", "built": "left"}
FLOOR_OFF: dict[str, Any] = {"marker": "d", "markersize": 3.0, "fillstyle": "full"}


def trained_table(runs: pd.DataFrame, exponents: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The data of `trained_drawing`: rows "run", a model and the share of the target's variance it leaves, and "exponent".

    Args:
        runs: of `empirical.manifold_runs.read_cells` and `built_rows`; those of the experiment with a finite error > 0 are
            drawn, runs that only check the number of steps are left out.
        exponents: of `empirical.manifold_runs.measured_exponents`.
        experiment: "data" or "model".

    Raises:
        ValueError: another experiment, a column is missing, or nothing can be drawn.
    """
    if experiment not in SIZE:
        raise ValueError(f"experiment = {experiment!r}: data and model are legal")
    check_columns(runs, RUNS, "empirical.manifold_runs.read_cells")
    check_columns(exponents, EXPONENTS, "empirical.manifold_runs.measured_exponents")
    own = runs[(runs["experiment"] == experiment) & np.isfinite(runs["mse"].to_numpy(dtype=float)) & (runs["mse"] > 0)]
    if "check" in own:
        own = own[own["check"].fillna("") == ""]
    if own.empty:
        raise ValueError(f"table has no run of the experiment {experiment} with an error > 0: must have at least one")
    drawn = own.assign(row="run", size=own[SIZE[experiment]].astype(float), share=own["mse"] / own["target_variance"])
    found = exponents[exponents["experiment"] == experiment].assign(row="exponent")
    parts = [part.reindex(columns=list(TABLE_COLUMNS)).astype(object) for part in (drawn, found)]
    return pd.concat(parts, ignore_index=True).infer_objects()


def trained_drawing(table: pd.DataFrame) -> Figure:
    """The error's share of the target's variance by size, a panel for each smoothness, and the exponents with their intervals.

    Lines join geometric means over seeds, bars span the seeds. Hollow markers are series whose exponent has a reason not to be
    taken for the theory's, half-filled ones networks built by hand. Dotted lines have the exponent that theory promises, through
    the middle of a trained series that is learnt; for smooth targets, which allow any exponent in the parameters, there is none.
    Where the exponents have them, small diamonds are exponents after the error at unbounded size is taken off.

    Args:
        table: of `trained_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.manifolds.data_exponent_figure")
    experiment = str(table["experiment"].iloc[0])
    runs, exponents = table[table["row"] == "run"], table[table["row"] == "exponent"]
    targets = split(runs, ("target", "beta"))[:MOST_PANELS]
    look_of = _looks(table)
    with style.styled():
        rows = 0.24 * max(3, len(exponents))
        made = Figure(figsize=(style.PAGE_WIDTH, 4.3 + rows), layout="constrained")
        outer = made.add_gridspec(2, 1, height_ratios=(2.5, rows))
        panels = outer[0].subgridspec(1, len(targets)).subplots(squeeze=False, sharey=True)[0]
        for axes, (about, part) in zip(panels, targets, strict=True):
            _errors(axes, part, exponents[same(exponents, about)], look_of)
            axes.set_title(target_words(str(about["target"]), float(about["beta"])), fontsize=8)
            axes.set_xlabel(LABEL[experiment])
        panels[0].set_ylabel("share of the variance that is left")
        for axes in panels:
            axes.margins(0.06)
            log_axis(axes.xaxis)
        log_axis(panels[0].yaxis)
        dots = made.add_subplot(outer[1])
        _dots(dots, exponents, look_of, experiment)
        letters([*panels, dots])
        legend_under(made, _handles(table, look_of), 3)
    return made


def _series(row: Any) -> tuple[Any, ...]:
    """What a series looks like depends on: its manifold and, if trained, its attention."""
    return row["manifold"], row["ambient_dim"], row["kind"], row["attention"] if row["kind"] == "trained" else ""


def _looks(table: pd.DataFrame) -> dict[Any, dict[str, Any]]:
    """Colours by manifold; markers too, but one of its own for each kind of attention after the first."""
    ordered = table.sort_values("dimension", kind="stable")
    places = [tuple(about.values()) for about, _ in split(ordered, ("manifold", "ambient_dim"))]
    base = dict(zip(places, coloured(len(places)), strict=True))
    attentions = [about["attention"] for about, _ in split(table[table["kind"] == "trained"], ("attention",))]
    found = {}
    for about, _ in split(ordered, ("manifold", "ambient_dim", "kind", "attention")):
        manifold, ambient, kind, attention = series = _series(about)
        place = places.index((manifold, ambient))
        later = attentions.index(attention) if kind == "trained" else 0
        marker = style.MARKERS[(place + later * len(places)) % len(style.MARKERS)]
        found[series] = {**base[(manifold, ambient)], "marker": marker, "fillstyle": FILLS["built" if kind == "built" else ""]}
    return found


def _limited(row: Any) -> bool:
    return isinstance(row["reason"], str) and bool(row["reason"])


def _errors(axes: Axes, runs: pd.DataFrame, exponents: pd.DataFrame, look_of: dict[Any, dict[str, Any]]) -> None:
    for about, part in split(runs, ("manifold", "ambient_dim", "kind", "attention")):
        look = dict(look_of[_series(about)])
        name = " ".join(str(value) for value in about.values())
        logs = part["share"].astype(float).map(math.log).groupby(part["size"].astype(float))
        at, middle = logs.mean().index.to_numpy(), np.exp(logs.mean().to_numpy())
        low, high = np.exp(logs.min().to_numpy()), np.exp(logs.max().to_numpy())
        own = exponents[same(exponents, about)].to_dict("records")
        if own and _limited(own[0]):
            look["fillstyle"] = FILLS["limited"]
        axes.vlines(at, low, high, color=look["color"], linewidth=0.9, zorder=2, gid=f"seeds: {name}")
        axes.plot(at, middle, linewidth=0.9, zorder=3, gid=f"error: {name}", linestyle=_line(about), **look)
        promised = float(own[0]["predicted"]) if own else math.nan
        if about["kind"] == "trained" and math.isfinite(promised) and len(at) > 1 and (middle <= NOT_LEARNT).any():
            centre = np.exp(np.log(at).mean()), np.exp(np.log(middle).mean())
            axes.plot(at, centre[1] * (at / centre[0]) ** -promised, zorder=1, gid=f"theory: {name}",
                      **theory_line(look["color"]))


def _line(about: dict[str, Any]) -> Any:
    return (0, (4, 1.2, 1, 1.2)) if about["kind"] == "built" else (0, (5, 1.6)) if about["attention"] == "softmax" else "-"


def _dots(axes: Axes, exponents: pd.DataFrame, look_of: dict[Any, dict[str, Any]], experiment: str) -> None:
    known = exponents[["exponent", "predicted", "floor_off"]].to_numpy(dtype=float)
    known = known[np.isfinite(known)]
    if known.size:
        axes.set_xlim(min(0.0, float(known.min())) - 0.1, float(known.max()) * 1.15 + 0.1)
    names = []
    for place, row in enumerate(exponents.to_dict("records")):
        how = f"trained, {row['attention']}" if row["kind"] == "trained" else "built"
        names.append(f"{manifold_words(str(row['manifold']))}, {target_words(str(row['target']), float(row['beta']))} ({how})")
        _promise(axes, place, row)
        look = dict(look_of[_series(row)])
        if _limited(row):
            look["fillstyle"] = FILLS["limited"]
        whisker(axes, place, float(row["exponent"]), float(row["low"]), float(row["high"]), gid=f"exponent {place}", **look)
        whisker(axes, place + 0.27, float(row["floor_off"]), float(row["floor_off_low"]), float(row["floor_off_high"]),
                gid=f"floor taken off {place}", **{**FLOOR_OFF, "color": look["color"]})
    dot_rows(axes, names)
    axes.set_xlabel(f"exponent of the squared error, 95% interval; grey: {PROMISE[experiment]}")


def _promise(axes: Axes, place: int, row: Any) -> None:
    """What theory promises on a row: a tick, for smooth targets the limit of large beta; in words where nothing finite is."""
    predicted, words = float(row["predicted"]), "smooth: no finite exponent is promised"
    if math.isfinite(predicted):
        axes.vlines([predicted], place - 0.34, place + 0.34, color=style.GREY, linewidth=2.2, zorder=2, gid=f"promised {place}")
        words = "limit" if math.isinf(float(row["beta"])) and row["kind"] == "trained" else ""
    axes.annotate(words, (predicted if words == "limit" else axes.get_xlim()[1], place - 0.3), zorder=6, fontsize=6, va="center",
                  xytext=(3, 0) if words == "limit" else (0, 0), textcoords="offset points", color=style.GREY,
                  ha="left" if words == "limit" else "right")


def _handles(table: pd.DataFrame, look_of: dict[Any, dict[str, Any]]) -> list[Any]:
    handles: list[Any] = []
    drawn = table[table["row"] == "exponent"] if (table["row"] == "exponent").any() else table
    for series, look in look_of.items():
        manifold, ambient, kind, attention = series
        own = table[same(table, {"manifold": manifold, "ambient_dim": ambient})]
        words = manifold_words(str(manifold))
        inside = "" if "mathbb" in words else f" in $\\mathbb{{R}}^{{{int(ambient)}}}$"
        how = "built" if kind == "built" else f"trained, {attention}"
        handles.append(Line2D([], [], linewidth=0.9, linestyle=_line({"kind": kind, "attention": attention}),
                              label=f"{words}{inside}, $d={int(own['dimension'].iloc[0])}$: {how}", **look))
    if any(_limited(row) for row in drawn.to_dict("records")):
        handles.append(Line2D([], [], color=style.BLACK, marker="o", linestyle="none", fillstyle=FILLS["limited"], label=LIMITED))
    if drawn["floor_off"].notna().any():
        handles.append(Line2D([], [], color=style.BLACK, linestyle="none", label="floor taken off", **FLOOR_OFF))
    return [*handles, theory_handle("theory's exponent", own=True)]
