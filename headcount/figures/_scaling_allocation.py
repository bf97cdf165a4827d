"""Allocation of compute with its uncertainty: the bootstrap's optimal models at a budget, and tokens per parameter by budget."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from empirical.scaling_bootstrap import allocation_cloud
from headcount.figures import style
from headcount.figures._scaling_looks import (
    COMPUTE,
    LINE_STYLES,
    LOSS,
    SHADE,
    TOKENS,
    interval_words,
    legend_below,
    letters,
    log_axis,
    number,
    parameters_label,
    plain_log_axis,
)
from headcount.figures.table import check_columns
from theory.scaling_units import FLOPS_PER_PARAMETER_TOKEN

if TYPE_CHECKING:
    from empirical.scaling_fits import ScalingFit

QUANTITIES = {"parameters": "parameters", "tokens": "tokens", "ratio": "tokens_per_parameter", "loss": "loss"}
TABLE_COLUMNS = ("row", "compute", *(f"{name}{end}" for name in QUANTITIES for end in ("", "_low", "_high")), "method", "level",
                 "largest_compute", "parameter_count")
LINE_POINTS = 25
RULE = 20.0
"""Tokens per parameter of the rule of thumb that is read from Hoffmann et al. 2022, table 3."""
FAR = 10.0
"""Times the largest compute of the points: an allocation beyond it is an extrapolation that nothing has tested."""


def allocation_table(fit: "ScalingFit", compute: float) -> pd.DataFrame:
    """The data of `allocation_drawing`.

    Rows: "resample" (the optimal model of each bootstrap fit at `compute`), "estimate" (the fit's own, with its intervals) and
    "line" (the same at budgets from the least compute of the points to the larger of theirs and `compute`). Resamples are of runs
    where those were drawn, else of points; without a bootstrap there are none, and no intervals. `ratio` is tokens per parameter.

    Raises:
        ValueError: the fit has no law, or one without an optimal allocation, or compute is not finite and > 0.
    """
    bootstrap = fit.bootstrap_runs if fit.bootstrap_runs is not None else fit.bootstrap_pairs
    parts = [_estimate(fit, float(compute), "estimate")]
    ends = float(fit.points.compute.min()), max(float(compute), float(fit.points.compute.max()))
    parts += [_estimate(fit, float(budget), "line") for budget in np.geomspace(*ends, LINE_POINTS)]
    if bootstrap is not None:
        cloud = allocation_cloud(bootstrap, float(compute))
        own = {name: cloud[column] for name, column in QUANTITIES.items()}
        parts.append(pd.DataFrame({"row": "resample", "compute": float(compute), **own}))
    parts = [part.dropna(axis="columns", how="all") for part in parts if len(part)]
    joined = pd.concat(parts, ignore_index=True).reindex(columns=list(TABLE_COLUMNS))
    return joined.assign(level=fit.level, largest_compute=float(fit.points.compute.max()),
                         parameter_count=str(fit.points.parameter_count))


def _estimate(fit: "ScalingFit", compute: float, row: str) -> pd.DataFrame:
    found = fit.allocation(compute)
    columns: dict[str, Any] = {"row": row, "compute": compute, "method": found.method}
    for name, attribute in QUANTITIES.items():
        one = getattr(found, attribute)
        columns |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return pd.DataFrame([columns])


def allocation_drawing(table: pd.DataFrame) -> Figure:
    """The optimal models of all resamples at one budget, by size, tokens and loss (a), and tokens per parameter by budget (b).

    At one budget N D = C/6, so that the tokens of (a) are an axis of their own above that of the size. The vertical lines of (b)
    are the largest compute of the points and ten times it.

    Args:
        table: of `allocation_table`.

    Raises:
        ValueError: a column is missing, or there is not one estimate.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.scaling.allocation_figure")
    estimates, line = table[table["row"] == "estimate"], table[table["row"] == "line"].sort_values("compute")
    if len(estimates) != 1:
        raise ValueError(f"table has {len(estimates)} rows of kind estimate: must have one")
    best = estimates.iloc[0]
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 4.0), layout="constrained")
        left, right = made.subplots(1, 2)
        _draw_cloud(left, table[table["row"] == "resample"], best)
        if line["ratio_low"].notna().any():
            right.fill_between(line["compute"], line["ratio_low"], line["ratio_high"], zorder=1, gid="ratio interval", **SHADE)
        right.plot(line["compute"], line["ratio"], color=style.BLACK, zorder=3, gid="ratio")
        right.axhline(RULE, color=style.BLUE, linestyle=LINE_STYLES[2], linewidth=1.1, zorder=2, gid="rule")
        for times, line_style in ((1.0, "-"), (FAR, LINE_STYLES[1])):
            right.axvline(times * float(best["largest_compute"]), color=style.GREY, linestyle=line_style, linewidth=1.0,
                          zorder=2, gid=f"{times:g} times the largest compute")
        right.plot([best["compute"]], [best["ratio"]], linestyle="none", zorder=5, gid="ratio at the budget", **_STAR)
        right.set_xlabel(COMPUTE)
        right.set_ylabel("optimal tokens per parameter $D/N$")
        right.margins(x=0.05, y=0.08)
        log_axis(right.xaxis)
        log_axis(right.yaxis)
        letters((left, right))
        legend_below(made, _handles(table, best), 2, _title(best))
    return made


_STAR: dict[str, Any] = {"color": style.VERMILLION, "marker": "*", "markersize": 10, "markeredgecolor": "white",
                         "markeredgewidth": 0.6}
_CLOUD: dict[str, Any] = {"color": style.BLUE, "marker": "o", "markersize": 2.6, "fillstyle": "none", "markeredgewidth": 0.5,
                          "linestyle": "none"}


def _draw_cloud(axes: Axes, cloud: pd.DataFrame, best: pd.Series) -> None:
    axes.plot(cloud["parameters"], cloud["loss"], zorder=2, gid="cloud", **_CLOUD)
    bars: dict[str, Any] = {"color": style.VERMILLION, "linewidth": 1.3, "zorder": 4}
    if best[["parameters_low", "parameters_high"]].notna().all():
        axes.hlines([best["loss"]], [best["parameters_low"]], [best["parameters_high"]], gid="interval of the size", **bars)
    if best[["loss_low", "loss_high"]].notna().all():
        axes.vlines([best["parameters"]], [best["loss_low"]], [best["loss_high"]], gid="interval of the loss", **bars)
    axes.plot([best["parameters"]], [best["loss"]], linestyle="none", zorder=5, gid="estimate", **_STAR)
    axes.set_xlabel(f"optimal {parameters_label(str(best['parameter_count']))}")
    axes.set_ylabel(f"predicted {LOSS}")
    axes.margins(0.06)
    log_axis(axes.xaxis)
    plain_log_axis(axes.yaxis)
    product = float(best["compute"]) / FLOPS_PER_PARAMETER_TOKEN
    above = axes.secondary_xaxis("top", functions=(lambda sizes: _other(product, sizes), lambda tokens: _other(product, tokens)))
    above.set_xlabel(f"optimal {TOKENS}", labelpad=5)
    low, high = sorted(product / np.asarray(axes.get_xlim()))
    above.set_xlim(high, low)
    log_axis(above.xaxis)
    axes.grid(True)


def _other(product: float, values: Any) -> Any:
    """N from D and D from N; matplotlib also tries places that are none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return product / np.asarray(values, dtype=float)


def _handles(table: pd.DataFrame, best: pd.Series) -> list[Any]:
    size, tokens = (interval_words(float(best[name]), float(best[f"{name}_low"]), float(best[f"{name}_high"]))
                    for name in ("parameters", "tokens"))
    handles: list[Any] = [Line2D([], [], linestyle="none", label=f"$N$ = {size}", **_STAR),
                          Line2D([], [], linestyle="none", label=f"$D$ = {tokens}", **_STAR)]
    num = int((table["row"] == "resample").sum())
    if num:
        handles.append(Line2D([], [], label=f"a: {num} resamples", **_CLOUD))
    handles.append(Line2D([], [], color=style.BLACK, label="b: the fit's optimum"))
    if table["ratio_low"].notna().any():
        handles.append(Patch(label=f"b: {100 * float(best['level']):g}% interval", **SHADE))
    return [
        *handles,
        Line2D([], [], color=style.BLUE, linestyle=LINE_STYLES[2], linewidth=1.1, label=f"b: {RULE:g} tokens per parameter"),
        Line2D([], [], color=style.GREY, linewidth=1.0, label="b: largest compute of the points"),
        Line2D([], [], color=style.GREY, linestyle=LINE_STYLES[1], linewidth=1.0, label="b: ten times it"),
    ]


def _title(best: pd.Series) -> str:
    said = f"$C$ = {number(float(best['compute']))} FLOP"
    if best[["parameters_low", "parameters_high"]].notna().all():
        said += f"; bars and brackets: {100 * float(best['level']):g}%, {best['method']}"
    over = float(best["compute"]) / float(best["largest_compute"])
    return said + (f"; {over:.0f} times the largest compute of the points" if over > FAR else "")
