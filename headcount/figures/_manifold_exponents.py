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
    THEORY,
    dot_rows,
    manifold_words,
    same,
    split,
    target_words,
    theory_handle,
    whisker,
)
from headcount.figures._scaling_looks import legend_below, letters, log_axis, looks
from headcount.figures.table import check_columns

ABOUT = ("kind", "manifold", "dimension", "ambient_dim", "target", "beta", "attention")
RUNS = (*ABOUT, "experiment", "parameters", "samples", "seed", "mse", "target_variance")
EXPONENTS = ("experiment", *ABOUT, "exponent", "low", "high", "predicted", "reason")
TABLE_COLUMNS = ("row", "experiment", *ABOUT, "size", "seed", "share", "exponent", "low", "high", "predicted", "reason")
SIZE = {"data": "samples", "model": "parameters"}
LABEL = {"data": "samples $n$", "model": "parameters"}
PROMISE = {"data": "$2\\beta/(2\\beta+d)$", "model": "$2\\beta/d$"}
MOST_PANELS = 3


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

    Lines join geometric means over seeds, bars span the seeds. Open markers are networks built by hand. Dashed lines have the
    exponent that theory promises, through the middle of a trained series; for smooth targets, which allow any exponent in the
    parameters, there is none.

    Args:
        table: of `trained_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.manifolds.data_exponent_figure")
    experiment = str(table["experiment"].iloc[0])
    runs, exponents = table[table["row"] == "run"], table[table["row"] == "exponent"]
    targets = split(runs, ("target", "beta"))[:MOST_PANELS]
    places = [tuple(about.values()) for about, _ in split(table.sort_values("dimension"), ("manifold", "ambient_dim"))]
    look_of = dict(zip(places, looks(len(places)), strict=True))
    count = len(exponents)
    with style.styled():
        rows = 0.2 * max(3, count)
        made = Figure(figsize=(style.PAGE_WIDTH, 4.1 + rows), layout="constrained")
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
        legend_below(made, _handles(table, look_of), 3)
    return made


def _errors(axes: Axes, runs: pd.DataFrame, exponents: pd.DataFrame, look_of: dict[Any, dict[str, Any]]) -> None:
    for about, part in split(runs, ("manifold", "ambient_dim", "kind", "attention")):
        look = look_of[(about["manifold"], about["ambient_dim"])]
        name = " ".join(str(value) for value in about.values())
        logs = part["share"].astype(float).map(math.log).groupby(part["size"].astype(float))
        at, middle = logs.mean().index.to_numpy(), np.exp(logs.mean().to_numpy())
        built = about["kind"] == "built"
        low, high = np.exp(logs.min().to_numpy()), np.exp(logs.max().to_numpy())
        axes.vlines(at, low, high, color=look["color"], linewidth=0.9, zorder=2, gid=f"seeds: {name}")
        axes.plot(at, middle, linewidth=0.9, zorder=3, fillstyle="none" if built else "full", gid=f"error: {name}",
                  linestyle=_line(about), **look)
        promised = exponents[same(exponents, about)]["predicted"].astype(float)
        if not built and len(promised) and np.isfinite(promised.iloc[0]) and len(at) > 1:
            centre = np.exp(np.log(at).mean()), np.exp(np.log(middle).mean())
            axes.plot(at, centre[1] * (at / centre[0]) ** -float(promised.iloc[0]), zorder=1, gid=f"theory: {name}", **THEORY)


def _line(about: dict[str, Any]) -> Any:
    return (0, (1, 1.2)) if about["kind"] == "built" else (0, (6, 1.5)) if about["attention"] == "softmax" else "-"


def _dots(axes: Axes, exponents: pd.DataFrame, look_of: dict[Any, dict[str, Any]], experiment: str) -> None:
    names = []
    for place, row in enumerate(exponents.to_dict("records")):
        how = f"trained, {row['attention']}" if row["kind"] == "trained" else "built"
        names.append(f"{manifold_words(str(row['manifold']))}, {target_words(str(row['target']), float(row['beta']))} ({how})")
        predicted = float(row["predicted"])
        if np.isfinite(predicted):
            axes.vlines([predicted], place - 0.32, place + 0.32, color=style.GREY, linewidth=2.2, zorder=2,
                        gid=f"promised {place}")
        whisker(axes, place, float(row["exponent"]), float(row["low"]), float(row["high"]), gid=f"exponent {place}",
                fillstyle="none" if row["kind"] == "built" else "full", **look_of[(row["manifold"], row["ambient_dim"])])
    dot_rows(axes, names)
    known = exponents[["exponent", "predicted"]].to_numpy(dtype=float)
    known = known[np.isfinite(known)]
    if known.size:
        axes.set_xlim(min(0.0, float(known.min()) - 0.1), float(known.max()) * 1.15 + 0.1)
    axes.set_xlabel(f"exponent of the squared error, 95% interval; grey: {PROMISE[experiment]}")


def _handles(table: pd.DataFrame, look_of: dict[Any, dict[str, Any]]) -> list[Any]:
    handles: list[Any] = []
    for (manifold, ambient), look in look_of.items():
        own = table[same(table, {"manifold": manifold, "ambient_dim": ambient})]
        words = manifold_words(str(manifold))
        inside = "" if "mathbb" in words else f" in $\\mathbb{{R}}^{{{int(ambient)}}}$"
        handles.append(Line2D([], [], label=f"{words}{inside}, $d={int(own['dimension'].iloc[0])}$", **look))
    for about, _ in split(table[table["row"] == "run"], ("kind", "attention")):
        built = about["kind"] == "built"
        handles.append(Line2D([], [], color=style.GREY, marker="o", markersize=3.5, fillstyle="none" if built else "full",
                              linestyle=_line(about), label="built" if built else f"trained, {about['attention']} attention"))
    return [*handles, theory_handle("theory's exponent")]
